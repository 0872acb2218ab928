//! What the connections of one listener have shown since the stop request: which requests and
//! answers are complete by their sizes, and how long answers pause. One connection shows little
//! before its client's next request; all of a listener's together show much, since the same program
//! serves them. Pure.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::evidence::Evidence;
use super::readers::Reading;
use crate::moment::half;

/// How many sizes of requests and answers are remembered; more do not help.
const SHAPES: usize = 1024;

/// Any program pauses this long while it writes.
const PAUSE: Duration = Duration::from_millis(30);

/// A busy machine can delay a program this long between two writes.
const HICCUP: Duration = Duration::from_millis(500);

/// After this many exchanges without a pause, answers of this listener do not pause.
const LIVELY: u32 = 16;

/// The size of a request and of what was sent for it, both in classes: two exchanges alike are most
/// likely of the same kind.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Shape {
    asked: u64,
    answered: u64,
}

impl Shape {
    /// Of an exchange on a connection that has had others. Classes are about a tenth wide, as dates
    /// and counters differ.
    pub(super) fn new(asked: u64, answered: u64) -> Shape {
        Shape { asked: eighth_of_octave(asked), answered: eighth_of_octave(answered) }
    }

    /// Of the first exchange, with a TLS handshake in it, if there is one: finer, since an answer
    /// is small beside certificates.
    pub(super) fn first(asked: u64, answered: u64) -> Shape {
        const APART: u64 = 1 << 32;
        Shape { asked: eighth_of_octave(asked) | APART, answered: answered / 16 }
    }
}

fn eighth_of_octave(size: u64) -> u64 {
    let octave = size.checked_ilog2().unwrap_or(0);
    // The three bits behind the first.
    let eighth = (size.unbounded_shl(63_u32.saturating_sub(octave)) >> 60) & 7;
    u64::from(octave) << 3 | eighth
}

fn sixteenths(sizes: (u64, u64)) -> (u64, u64) {
    (sizes.0 / 16, sizes.1 / 16)
}

#[derive(Clone, Default, Debug)]
pub(super) struct Rhythm {
    longest_pause: Duration,
    exchanges: u32,
    /// The smallest complete answer.
    smallest: Option<u64>,
    complete: HashSet<Shape>,
    /// The same by sizes that are sixteen bytes apart.
    complete_near: HashMap<(u64, u64), u32>,
    paused_near: HashSet<(u64, u64)>,
    /// What had been sent when an answer paused.
    paused: HashSet<Shape>,
    plain: bool,
    readers: Readership,
}

/// When its threads were seen to block in a read on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Readership {
    /// Not while a request was open.
    apart: bool,
    /// While a request was open, as in a tunnel with a thread for each direction.
    ahead: bool,
}

impl Rhythm {
    /// An exchange was complete: its client has sent the next request.
    pub(super) fn completed(&mut self, shape: Shape, sizes: (u64, u64)) {
        let answered = sizes.1;
        self.exchanges = self.exchanges.saturating_add(1);
        self.smallest = Some(self.smallest.map_or(answered, |smallest| smallest.min(answered)));
        if self.complete.len() < SHAPES {
            self.complete.insert(shape);
        }
        if self.complete_near.len() < SHAPES {
            let times = self.complete_near.entry(sixteenths(sizes)).or_default();
            *times = times.saturating_add(1);
        }
    }

    /// An answer went on after a silence, before which it had this shape and these sizes, if they
    /// are known.
    pub(super) fn paused(&mut self, pause: Duration, before: Option<(Shape, (u64, u64))>) {
        if pause < PAUSE {
            return;
        }
        self.longest_pause = self.longest_pause.max(pause);
        if self.paused.len() < SHAPES {
            self.paused.extend(before.map(|(shape, _)| shape));
        }
        if self.paused_near.len() < SHAPES {
            self.paused_near.extend(before.map(|(_, sizes)| sixteenths(sizes)));
        }
    }

    /// The longest pause inside an answer; zero when none was seen.
    pub(super) fn longest_pause(&self) -> Duration {
        self.longest_pause
    }

    /// Something was answered for a first segment alone: no TLS handshake, which takes two of the
    /// client's.
    pub(super) fn is_without_tls(&mut self) {
        self.plain = true;
    }

    pub(super) fn speaks_plainly(&self) -> bool {
        self.plain
    }

    /// A connection judged so is read from by a thread, or not.
    pub(super) fn reading(&mut self, reading: Reading, evidence: Evidence) {
        match (reading, evidence) {
            (Reading::Yes, Evidence::Unanswered) => self.readers.ahead = true,
            (Reading::No | Reading::Elsewhere, Evidence::Unanswered) => self.readers.apart = true,
            (Reading::Yes | Reading::No | Reading::Elsewhere | Reading::Unknown, _) => {}
        }
    }

    pub(super) fn works_apart(&self) -> bool {
        self.readers.apart
    }

    pub(super) fn reads_ahead(&self) -> bool {
        self.readers.ahead
    }

    /// Exchanges of this shape were complete, and none was only the beginning of an answer.
    pub(super) fn knows(&self, shape: Shape) -> bool {
        self.complete.contains(&shape) && !self.paused.contains(&shape)
    }

    /// Exchanges of these sizes of request and answer were complete, at least twice, as one may
    /// have been misjudged; and nothing like them was only the beginning of an answer.
    pub(super) fn is_complete(&self, asked: u64, answered: u64) -> bool {
        let (asked, answered) = sixteenths((asked, answered));
        let around = |n: u64| n.saturating_sub(1)..=n.saturating_add(1);
        let near = || around(asked).flat_map(|asked| around(answered).map(move |answered| (asked, answered)));
        let times: u32 = near().filter_map(|sizes| self.complete_near.get(&sizes)).sum();
        times >= 2 && !near().any(|sizes| self.paused_near.contains(&sizes))
    }

    /// Many exchanges were seen, answers do not pause, and this one is no shorter than the
    /// shortest, so it is not only a first part.
    pub(super) fn is_steady(&self, answered: u64) -> bool {
        self.exchanges >= LIVELY
            && self.longest_pause < HICCUP
            && self.smallest.is_some_and(|smallest| answered >= smallest)
    }

    /// A silence longer than the pauses seen: half as long again as the longest. None if none was
    /// seen.
    pub(super) fn beyond_pauses(&self) -> Option<Duration> {
        let pause = Some(self.longest_pause).filter(|pause| !pause.is_zero())?;
        Some(pause.saturating_add(half(pause)).saturating_add(Duration::from_millis(200)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_shape_is_complete_until_it_was_only_a_beginning() {
        let mut rhythm = Rhythm::default();
        let shape = Shape::new(80, 170);
        assert!(!rhythm.knows(shape));
        rhythm.completed(shape, (80, 170));
        assert!(rhythm.knows(Shape::new(82, 172)), "nearly the same size");
        assert!(!rhythm.knows(Shape::new(80, 1700)) && !rhythm.knows(Shape::new(160, 170)));
        rhythm.paused(ms(400), Some((shape, (80, 170))));
        assert!(!rhythm.knows(shape));
        assert_eq!(rhythm.beyond_pauses(), Some(ms(800)));
    }

    #[test]
    fn a_whole_answer_is_told_from_a_part_that_is_nearly_as_long() {
        let mut rhythm = Rhythm::default();
        rhythm.completed(Shape::new(80, 4336), (80, 4336));
        assert!(!rhythm.is_complete(80, 4336), "once is chance");
        rhythm.completed(Shape::new(80, 4336), (80, 4336));
        for part in [1366, 2732, 4098] {
            rhythm.paused(ms(1000), Some((Shape::new(80, part), (80, part))));
        }
        assert!(rhythm.is_complete(80, 4336) && rhythm.is_complete(82, 4340));
        assert!(
            !rhythm.is_complete(80, 4098) && !rhythm.is_complete(80, 4200) && !rhythm.is_complete(80, 240)
        );
    }

    #[test]
    fn first_exchanges_are_told_apart_finely() {
        let mut rhythm = Rhythm::default();
        rhythm.completed(Shape::first(700, 2600), (700, 2600));
        assert!(rhythm.knows(Shape::first(702, 2601)));
        assert!(!rhythm.knows(Shape::first(700, 2430)), "the answer is missing");
        assert!(!rhythm.knows(Shape::new(700, 2600)));
    }

    #[test]
    fn any_size_has_a_class() {
        let sizes = [0, 1, 7, 8, 9, 100, 110, 1 << 40, u64::MAX];
        let classes: Vec<u64> = sizes.map(eighth_of_octave).to_vec();
        assert!(classes.is_sorted(), "{classes:?}");
        assert_ne!(eighth_of_octave(100), eighth_of_octave(115));
    }

    #[test]
    fn a_listener_is_steady_after_many_exchanges_without_a_pause() {
        let mut rhythm = Rhythm::default();
        (0..LIVELY).for_each(|n| rhythm.completed(Shape::new(80, 200 + u64::from(n)), (80, 200)));
        assert!(rhythm.is_steady(5000) && !rhythm.is_steady(150));
        rhythm.paused(ms(20), None);
        assert!(rhythm.is_steady(200) && rhythm.beyond_pauses().is_none());
        rhythm.paused(ms(500), None);
        assert!(!rhythm.is_steady(200));
    }
}
