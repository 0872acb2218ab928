//! How one connection is let go. A cork holds back the tail of the next answer in the kernel. Once
//! the tail stands still, the socket is shut for reading, so that the app sees an end of file and
//! closes. Tail and FIN leave in one segment, and no request can fall into the gap, since a client
//! sends none before it has its answer. Closing at an idle moment instead loses half of all races
//! against a client that sends its next request at once. Pure: looks and the time come in, what to
//! do comes out.
//!
//! | state | what is seen | then |
//! |---|---|---|
//! | corked | nothing for a second or more, and judged idle | shut for reading |
//! | corked | the whole tail: request and answer seen, everything read and acknowledged, less than a segment held, standing still | shut for reading |
//! | corked, where answers pause | the same, and of sizes of which other exchanges were complete and none paused | shut for reading |
//! | the same, or where it is unknown if the client had asked | another tail that stands still | flush, stay corked |
//! | corked | exactly a 100-continue held | flush, stay corked |
//! | corked | data without a request; a tail that grows on; a request before the answer has left | uncork, try again later, but not often |
//! | corked | a request that is too short; answers that escape | uncork, leave alone |
//! | corked | none of this for 3 s | uncork, try again: at once, if an answer is awaited |
//! | shut for reading | closed | it has been let go |
//! | shut for reading | written on | wait until it stands still |
//! | shut for reading | open, and nothing written for a while | shut for writing: it has been let go |
//! | any | closed, or another socket in its place | nothing more |

use std::fmt;
use std::time::Duration;

use crate::drain::evidence::Speaker;
use crate::drain::rhythm::Rhythm;
use crate::moment::Moment;
use crate::sys::duplicate::Tail;

/// How long one attempt may take, and how much of it goes into waiting for the tail: more, if a
/// tail is held just then, since a client that gets it may ask for something long at once.
pub(super) const ATTEMPT: Duration = Duration::from_secs(3);
const WATCHED_FOR: Duration = Duration::from_millis(2600);
const WATCHED_FOR_HELD: Duration = Duration::from_millis(2750);

/// How long a tail must have stood still, where no longer pause inside answers was seen.
const STILL: Duration = Duration::from_millis(10);

/// The same for an exchange whose like was not seen to be complete.
const STILL_UNKNOWN: Duration = Duration::from_millis(60);

/// Where a tail would have to stand still for longer, only one of a known size counts as whole: the
/// kernel itself sends a corked tail after 200 ms.
const LONGEST_STILL: Duration = Duration::from_millis(120);

/// A tail that is held for longer and grows on is a stream.
const STREAM: Duration = Duration::from_millis(150);

/// How long the app has to close what was shut for reading, where no longer pause inside answers
/// was seen.
const CLOSES_WITHIN: Duration = Duration::from_millis(20);

/// Between two looks at a connection that is corked, and at one that is only watched or shut.
const LOOK: Duration = Duration::from_millis(3);
const LOOK_UNCORKED: Duration = Duration::from_millis(12);

/// `HTTP/1.1 100 Continue` and two line ends: the client waits for it before it sends the body.
const CONTINUE: u64 = 25;

/// How many answers may leave in spite of the cork. An app that uncorks the socket with each answer
/// cannot be helped; a single answer may leave by chance, where it fills its last segment.
const ESCAPES: u32 = 8;

/// `GET / HTTP/1.1`, two line ends. What is shorter (a websocket's ping, HTTP/2's housekeeping) is
/// no request of HTTP/1.
const SHORTEST_REQUEST: u64 = 18;

/// What to do with a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Nothing,
    Uncork,
    /// Uncork, and cork again.
    Flush,
    ShutRead,
    ShutWrite,
    ShutBoth,
}

/// How an attempt has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AttemptEnd {
    /// The app closed it when it saw the end of file.
    LetGo,
    /// The app ignored the end of file; we closed it.
    Closed,
    /// It went away by itself.
    Gone,
    /// The client sent a request and got its answer, but there was no moment to close in time.
    Late,
    /// A request is being worked on for longer than an attempt may take.
    Unanswered,
    /// Nothing moved, or the attempt waited only for silence.
    Silent,
    /// The app sends data without a request, or the client sends before it has its answer, or the
    /// answer grows on: a stream, it seems. It may be chance: where the cork came within an answer,
    /// the client acknowledges the part before late.
    Streams,
    /// It does not speak HTTP/1: it is not touched again.
    LeftAlone,
    /// Its app uncorks it with each answer (nginx with `tcp_nopush`): it is not touched again.
    Escapes,
}

impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            AttemptEnd::LetGo => "let go",
            AttemptEnd::Closed => "closed for the app, which took no notice of its client's end",
            AttemptEnd::Gone => "gone by itself",
            AttemptEnd::Late => "no moment to let it go came in time",
            AttemptEnd::Unanswered => "its request takes long",
            AttemptEnd::Silent => "silent",
            AttemptEnd::Streams => "streams, or asks before it is answered",
            AttemptEnd::LeftAlone => "left alone: no exchange of HTTP/1",
            AttemptEnd::Escapes => "left alone: its answers cannot be held back",
        })
    }
}

/// Who sent last, when the counters stood like this: by the evidence of a look at all connections,
/// which may know it where the kernel's clocks do not tell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::drain) struct LastData {
    pub by: Speaker,
    /// Bytes received, and bytes written by the app, in the connection's life.
    pub received: u64,
    pub written: u64,
}

/// What else is known of the connection at a look.
#[derive(Clone, Copy, Debug)]
pub(super) struct ConnectionHints<'a> {
    /// What was seen of its listener.
    pub rhythm: Option<&'a Rhythm>,
    /// The longest pause that was seen inside an answer of this app.
    pub pause: Duration,
    /// By the evidence, nothing was in flight at the last look at all connections, and that was
    /// within the last second.
    pub idle: bool,
    /// This app ignores an end of file.
    pub ignores_end: bool,
    /// This app uncorks its connections.
    pub uncorks: bool,
    pub last_data: LastData,
}

/// An attempt to let it go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Attempt {
    began: Moment,
    /// How long it must have been silent to be shut at rest. Different for each, so that a client
    /// that sends a request every second meets the cork and not the end of the silence.
    rest: Duration,
    corked: bool,
    state: AttemptState,
    next: Moment,
    /// The exchange in which the attempt before ended.
    carried: Option<OpenExchange>,
}

/// An exchange that had begun when an attempt ended; void if more was received since.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct OpenExchange {
    received: u64,
    request_from: u64,
    answer_from: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AttemptState {
    /// Corked, if it is to be, and not yet looked at.
    New,
    /// Waiting for the tail, or for rest.
    Watched(Watched),
    /// Shut for reading.
    Shut(Shut),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Watched {
    /// The look before.
    seen: Tail,
    /// When the counters last moved; since when something is held.
    changed: Moment,
    held_since: Option<Moment>,
    moved: bool,
    /// The client has sent a request, so that what is written is an answer; and something was
    /// written since.
    asked: bool,
    answered: bool,
    /// It is unknown whether the client sent last before we watched, since both shared a tick: what
    /// is written next may be an answer, or an event of a stream.
    in_doubt: bool,
    /// How many answers have left in spite of the cork.
    escaped: u32,
    /// What was received before this request, if it came while we watched; what was written before
    /// its answer.
    request_from: Option<u64>,
    answer_from: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shut {
    seen: Tail,
    changed: Moment,
    /// A request still came in, and nothing was written since.
    asked: bool,
    /// The answer was whole by its size.
    is_sure: bool,
}

impl Attempt {
    /// Begins. The socket has to be corked if [`Attempt::is_corked`] says so, and then be looked
    /// at.
    pub(super) fn begin(
        now: Moment,
        rest: Duration,
        hints: &ConnectionHints,
        carried: Option<OpenExchange>,
    ) -> Attempt {
        let corked = !hints.answers_pause() || hints.rhythm.is_some();
        Attempt { began: now, rest, corked, state: AttemptState::New, next: now, carried }
    }

    /// The exchange that is going on, for the next attempt.
    pub(super) fn open_exchange(&self) -> Option<OpenExchange> {
        let AttemptState::Watched(watched) = &self.state else { return None };
        let (received, answer_from) = (watched.seen.received, watched.answer_from);
        watched.request_from.map(|request_from| OpenExchange { received, request_from, answer_from })
    }

    /// Whether the socket is held corked by us.
    pub(super) fn is_corked(&self) -> bool {
        self.corked
    }

    /// The client has sent a request or got an answer since this began, or is about to be let go:
    /// the moment to close may come at any time.
    pub(super) fn is_worth_waiting(&self) -> bool {
        match &self.state {
            AttemptState::New => false,
            AttemptState::Watched(watched) => self.corked && (watched.moved || watched.asked),
            AttemptState::Shut(_) => true,
        }
    }

    /// When to look next.
    pub(super) fn next(&self) -> Moment {
        self.next
    }

    /// The socket is not there any more, or another is in its place.
    pub(super) fn gone(&self) -> AttemptEnd {
        match self.state {
            AttemptState::New | AttemptState::Watched(_) => AttemptEnd::Gone,
            AttemptState::Shut(_) => AttemptEnd::LetGo,
        }
    }

    /// Takes in a look: what to do, and how the attempt has ended, if it has. No end leaves an open
    /// socket corked: what is shut for writing sends what was held.
    pub(super) fn look(
        &mut self,
        now: Moment,
        tail: &Tail,
        hints: &ConnectionHints,
    ) -> (Act, Option<AttemptEnd>) {
        self.next = now + if self.corked { LOOK } else { LOOK_UNCORKED };
        if !tail.open {
            return self.end(self.gone());
        }
        match &mut self.state {
            AttemptState::New => {
                self.state = AttemptState::Watched(Watched::new(now, tail, hints, self.carried));
            }
            AttemptState::Watched(watched) => {
                // Without a cork, what is held is held by the network.
                let end = watched.take_in(now, tail, hints);
                if let Some(end) = end.filter(|_| self.corked) {
                    return self.end(end);
                }
            }
            AttemptState::Shut(shut) => {
                shut.take_in(now, tail);
                return self.judge_shut(now, hints);
            }
        }
        self.judge_watched(now, hints)
    }

    /// Uncorks, if we have corked.
    fn end(&mut self, end: AttemptEnd) -> (Act, Option<AttemptEnd>) {
        let act = if self.corked { Act::Uncork } else { Act::Nothing };
        self.corked = false;
        (act, Some(end))
    }

    fn judge_watched(&mut self, now: Moment, hints: &ConnectionHints) -> (Act, Option<AttemptEnd>) {
        let AttemptState::Watched(watched) = &mut self.state else {
            return (Act::Nothing, None);
        };
        if self.corked && watched.is_continue() {
            watched.flushed();
            return (Act::Flush, None);
        }
        if self.corked && watched.is_whole(now, hints) || watched.is_at_rest(self.rest, hints) {
            let is_sure = watched.is_complete(hints);
            self.state = AttemptState::Shut(Shut { seen: watched.seen, changed: now, asked: false, is_sure });
            if hints.ignores_end {
                self.corked = false;
                return (Act::ShutBoth, Some(AttemptEnd::Closed));
            }
            return (Act::ShutRead, None);
        }
        let held_for = watched.held_since.map(|since| now.since(since));
        if self.corked && watched.escaped >= if hints.uncorks { 1 } else { ESCAPES } {
            return self.end(AttemptEnd::Escapes);
        }
        let proves_nothing = hints.answers_pause() || watched.in_doubt;
        if self.corked && proves_nothing && held_for > Some(STILL_UNKNOWN) {
            watched.passed_on();
            return (Act::Flush, None);
        }
        if self.corked && held_for > Some(STREAM) {
            return self.end(AttemptEnd::Streams);
        }
        let is_held = self.corked && watched.held_since.is_some();
        if now.since(self.began) >= if is_held { WATCHED_FOR_HELD } else { WATCHED_FOR } {
            let end = match watched {
                Watched { asked: true, answered: false, .. } => AttemptEnd::Unanswered,
                Watched { moved: true, asked: false, .. } if self.corked => AttemptEnd::Streams,
                Watched { moved: true, .. } if self.corked => AttemptEnd::Late,
                Watched { .. } => AttemptEnd::Silent,
            };
            return self.end(end);
        }
        (Act::Nothing, None)
    }

    fn judge_shut(&mut self, now: Moment, hints: &ConnectionHints) -> (Act, Option<AttemptEnd>) {
        let AttemptState::Shut(shut) = &self.state else {
            return (Act::Nothing, None);
        };
        let in_flight = shut.asked || shut.seen.unread > 0;
        if !in_flight && now.since(shut.changed) >= shut.closes_within(hints) {
            self.corked = false;
            return (Act::ShutWrite, Some(AttemptEnd::Closed));
        }
        if now.since(self.began) >= ATTEMPT {
            return self.end(AttemptEnd::Late);
        }
        (Act::Nothing, None)
    }
}

impl ConnectionHints<'_> {
    /// How long a tail must have stood still to be believed whole, whatever it is.
    fn still(&self) -> Duration {
        STILL.max(self.pause.saturating_mul(2))
    }

    /// Who sent last, as far as a look saw all that this one sees.
    fn last_speaker(&self, tail: &Tail) -> Speaker {
        let LastData { by, received, written } = self.last_data;
        if (received, written) == (tail.received, tail.written) { by } else { Speaker::Either }
    }

    /// Pauses are so long that standing still proves nothing.
    fn answers_pause(&self) -> bool {
        self.still() > LONGEST_STILL
    }
}

impl Watched {
    fn new(now: Moment, tail: &Tail, hints: &ConnectionHints, carried: Option<OpenExchange>) -> Watched {
        let carried = carried.filter(|exchange| exchange.received == tail.received);
        let is_tie = tail.received_ago == tail.sent_ago && tail.held == 0 && tail.unread == 0;
        let mut watched = Watched {
            seen: *tail,
            changed: now,
            held_since: (tail.held > 0).then_some(now),
            moved: false,
            // Received last, or in one tick with what was sent: it may be waiting for an answer.
            asked: tail.held > 0
                || tail.unread > 0
                || tail.received > 0 && tail.received_ago <= tail.sent_ago,
            // Nothing was held before the cork, but for what Nagle's algorithm holds behind the
            // same answer.
            answered: tail.held > 0,
            in_doubt: is_tie && tail.received > 0 && carried.is_none(),
            escaped: 0,
            request_from: carried.map(|exchange| exchange.request_from),
            answer_from: carried.map_or(tail.written, |exchange| exchange.answer_from),
        };
        watched.settle_doubt(hints);
        watched
    }

    /// Unless the socket, or a look at all connections, knows who sent last, the doubt stays.
    fn settle_doubt(&mut self, hints: &ConnectionHints) {
        if !self.in_doubt || self.moved {
            return;
        }
        let unreplied = self.seen.unreplied.then_some(Speaker::Client);
        match unreplied.unwrap_or_else(|| hints.last_speaker(&self.seen)) {
            Speaker::Client => self.in_doubt = false,
            Speaker::Server => (self.in_doubt, self.asked) = (false, false),
            Speaker::Nobody | Speaker::Either => {}
        }
    }

    /// Compares with the look before; an end when this is nothing to be let go.
    fn take_in(&mut self, now: Moment, tail: &Tail, hints: &ConnectionHints) -> Option<AttemptEnd> {
        self.settle_doubt(hints);
        let before = std::mem::replace(&mut self.seen, *tail);
        let (came, went) = (tail.received != before.received, tail.written != before.written);
        if tail.held == 0 {
            self.held_since = None;
        } else {
            self.held_since.get_or_insert(now);
        }
        if !came && !went {
            return None;
        }
        self.changed = now;
        self.moved = true;
        if went && !came && !self.asked && hints.answers_pause() {
            // The rest of an answer that had begun before.
            return None;
        }
        if came && before.held > 0 || went && !came && !self.asked {
            // The client sends before it has its answer, or the app sends without a request.
            return Some(AttemptEnd::Streams);
        }
        self.escaped = self.escaped.saturating_add(u32::from(came && self.answered));
        if came && (self.answered || !self.asked || self.in_doubt) {
            self.request_from = Some(before.received);
            self.answer_from = before.written;
        }
        self.answered = went || self.answered && !came;
        self.asked = true;
        self.in_doubt &= !came;
        let request = self.request_from.map(|from| tail.received.wrapping_sub(from));
        let is_short = self.answered && request.is_some_and(|length| length < SHORTEST_REQUEST);
        is_short.then_some(AttemptEnd::LeftAlone)
    }

    /// The held data has left, and was no answer.
    fn flushed(&mut self) {
        self.passed_on();
        self.answered = false;
    }

    /// The held data has left, and was a part of the answer.
    fn passed_on(&mut self) {
        self.seen.held = 0;
        self.held_since = None;
    }

    /// By its sizes, this exchange is like others that were complete.
    fn is_complete(&self, hints: &ConnectionHints) -> bool {
        let (Some(rhythm), Some(from)) = (hints.rhythm, self.request_from) else { return false };
        let answered = self.seen.written.wrapping_sub(self.answer_from);
        rhythm.is_complete(self.seen.received.wrapping_sub(from), answered)
    }

    /// For how long its tail has to stand still; None where that proves nothing.
    fn has_to_stand_still(&self, hints: &ConnectionHints) -> Option<Duration> {
        if self.is_complete(hints) {
            Some(STILL.max(hints.pause.min(STILL_UNKNOWN)))
        } else if hints.answers_pause() || self.in_doubt {
            None
        } else {
            Some(hints.still().max(if hints.rhythm.is_some() { STILL_UNKNOWN } else { STILL }))
        }
    }

    fn is_settled(&self) -> bool {
        self.seen.unread == 0 && self.seen.unacked == 0
    }

    fn is_continue(&self) -> bool {
        u64::from(self.seen.held) == CONTINUE
            && self.is_settled()
            && self.seen.written.wrapping_sub(self.answer_from) == CONTINUE
    }

    /// The answer is written, and its tail is held.
    fn is_whole(&self, now: Moment, hints: &ConnectionHints) -> bool {
        let held = 0 < self.seen.held && self.seen.held < self.seen.mss;
        let still = self.has_to_stand_still(hints);
        let stands_still = still.is_some_and(|still| now.since(self.changed) >= still);
        self.asked && self.answered && held && self.is_settled() && stands_still
    }

    fn is_at_rest(&self, rest: Duration, hints: &ConnectionHints) -> bool {
        let silent = self.seen.received_ago.min(self.seen.sent_ago);
        hints.idle
            && self.is_settled()
            && self.seen.held == 0
            && silent >= rest.max(hints.pause.saturating_mul(2))
    }
}

impl Shut {
    fn closes_within(&self, hints: &ConnectionHints) -> Duration {
        if self.is_sure { CLOSES_WITHIN } else { CLOSES_WITHIN.max(hints.pause.saturating_mul(2)) }
    }

    fn take_in(&mut self, now: Moment, tail: &Tail) {
        let before = std::mem::replace(&mut self.seen, *tail);
        let (came, went) = (tail.received != before.received, tail.written != before.written);
        if came || went || tail.unread != before.unread {
            self.changed = now;
        }
        self.asked = came || self.asked && !went;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::rhythm::Shape;
    use proptest::prelude::*;

    const HINTS: ConnectionHints = ConnectionHints {
        rhythm: None,
        pause: Duration::ZERO,
        idle: false,
        ignores_end: false,
        uncorks: false,
        last_data: LastData { by: Speaker::Either, received: 0, written: 0 },
    };
    const IDLE: ConnectionHints = ConnectionHints { idle: true, ..HINTS };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn at(n: u64) -> Moment {
        Moment::START + ms(n)
    }

    /// Asked and answered once, and silent since.
    fn answered(silent: u64) -> Tail {
        Tail {
            open: true,
            mss: 1448,
            received: 80,
            written: 200,
            received_ago: ms(silent + 8),
            sent_ago: ms(silent),
            ..Tail::default()
        }
    }

    /// A request has come and is being worked on.
    fn asked(tail: Tail) -> Tail {
        Tail { received: tail.received + 80, received_ago: ms(0), ..tail }
    }

    /// So much more was written, and is held.
    fn held(tail: Tail, bytes: u32) -> Tail {
        Tail { held: tail.held + bytes, written: tail.written + u64::from(bytes), ..tail }
    }

    fn begun(hints: &ConnectionHints) -> Attempt {
        Attempt::begin(at(0), ms(1500), hints, None)
    }

    #[test]
    fn a_whole_tail_that_stands_still_is_the_moment() {
        let mut attempt = begun(&HINTS);
        assert!(attempt.is_corked());
        let idle = answered(30);
        assert_eq!(attempt.look(at(0), &idle, &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.next(), at(3));
        assert_eq!(attempt.look(at(3), &asked(idle), &HINTS), (Act::Nothing, None));
        let tail = held(asked(idle), 150);
        assert_eq!(attempt.look(at(6), &tail, &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(15), &tail, &HINTS), (Act::Nothing, None), "not yet still");
        assert_eq!(attempt.look(at(16), &tail, &HINTS), (Act::ShutRead, None));
        assert_eq!(attempt.gone(), AttemptEnd::LetGo);
        let closing = Tail { open: false, ..tail };
        assert_eq!(attempt.look(at(19), &closing, &HINTS), (Act::Uncork, Some(AttemptEnd::LetGo)));
        assert!(!attempt.is_corked());
    }

    /// Corked, asked at 3 ms, and this seen from 6 ms on: what is done first, and when.
    fn first_act(tail: Tail, hints: &ConnectionHints) -> (u64, Act, Option<AttemptEnd>) {
        let mut attempt = begun(hints);
        attempt.look(at(0), &answered(30), hints);
        attempt.look(at(3), &asked(answered(30)), hints);
        for now in (6..4000).step_by(3) {
            let (act, end) = attempt.look(at(now), &tail, hints);
            if act != Act::Nothing || end.is_some() {
                return (now, act, end);
            }
        }
        panic!("nothing is ever done");
    }

    #[test]
    fn what_is_no_whole_tail_is_let_go_of_in_the_end() {
        let whole = held(asked(answered(30)), 150);
        assert_eq!(first_act(whole, &HINTS), (18, Act::ShutRead, None));
        let late = (2601, Act::Uncork, Some(AttemptEnd::Unanswered));
        assert_eq!(first_act(asked(answered(30)), &HINTS), late, "no answer");
        let stream = (159, Act::Uncork, Some(AttemptEnd::Streams));
        assert_eq!(first_act(Tail { unread: 1, ..whole }, &HINTS), stream, "not everything read");
        assert_eq!(first_act(Tail { unacked: 1, ..whole }, &HINTS), stream, "a slow reader");
        assert_eq!(first_act(Tail { mss: 150, ..whole }, &HINTS), stream, "the window is shut");
    }

    #[test]
    fn the_longest_pause_inside_answers_is_waited_for_twice() {
        let whole = held(asked(answered(30)), 150);
        assert_eq!(first_act(whole, &ConnectionHints { pause: ms(50), ..HINTS }), (108, Act::ShutRead, None));
    }

    #[test]
    fn where_answers_pause_for_longer_nothing_is_corked_and_only_rest_will_do() {
        let hints = ConnectionHints { pause: ms(61), ..IDLE };
        let mut attempt = begun(&hints);
        assert!(!attempt.is_corked());
        assert_eq!(attempt.look(at(0), &answered(400), &hints), (Act::Nothing, None));
        let tail = held(asked(answered(400)), 150);
        assert_eq!(attempt.look(at(12), &tail, &hints), (Act::Nothing, None));
        assert_eq!(attempt.look(at(100), &tail, &hints), (Act::Nothing, None), "held by the network");
        assert_eq!(attempt.look(at(1700), &answered(1600), &hints), (Act::ShutRead, None));
    }

    /// Answers of 4,336 bytes, which pause after 1,366.
    fn pausing() -> Rhythm {
        let mut rhythm = Rhythm::default();
        rhythm.completed(Shape::new(80, 4336), (80, 4336));
        rhythm.completed(Shape::new(80, 4336), (80, 4336));
        rhythm.paused(ms(1000), Some((Shape::new(80, 1366), (80, 1366))));
        rhythm
    }

    #[test]
    fn where_answers_pause_parts_are_let_through_and_a_whole_one_is_known_by_its_size() {
        let rhythm = pausing();
        let hints = ConnectionHints { pause: ms(1000), rhythm: Some(&rhythm), ..HINTS };
        let mut attempt = begun(&hints);
        assert!(attempt.is_corked());
        attempt.look(at(0), &answered(30), &hints);
        let part = held(asked(answered(30)), 1366);
        assert_eq!(attempt.look(at(3), &part, &hints), (Act::Nothing, None));
        assert_eq!(attempt.look(at(63), &part, &hints), (Act::Nothing, None));
        assert_eq!(attempt.look(at(66), &part, &hints), (Act::Flush, None));
        let rest = Tail { mss: 65_000, ..held(Tail { held: 0, ..part }, 2970) };
        assert_eq!(attempt.look(at(1000), &rest, &hints), (Act::Nothing, None));
        assert_eq!(attempt.look(at(1060), &rest, &hints), (Act::ShutRead, None));
        assert_eq!(attempt.look(at(1081), &rest, &hints), (Act::ShutWrite, Some(AttemptEnd::Closed)));
    }

    #[test]
    fn an_answer_that_takes_longer_than_an_attempt_is_known_by_its_size_in_the_next() {
        let rhythm = pausing();
        let hints = ConnectionHints { pause: ms(1000), rhythm: Some(&rhythm), ..HINTS };
        let mut attempt = begun(&hints);
        attempt.look(at(0), &answered(30), &hints);
        let part = held(asked(answered(30)), 1366);
        attempt.look(at(3), &part, &hints);
        attempt.look(at(66), &part, &hints);
        let sent = Tail { held: 0, ..part };
        assert_eq!(attempt.look(at(2750), &sent, &hints), (Act::Uncork, Some(AttemptEnd::Late)));
        let rest = Tail { mss: 65_000, ..held(sent, 2970) };
        for (carried, act) in [(attempt.open_exchange(), Act::ShutRead), (None, Act::Nothing)] {
            let mut next = Attempt::begin(at(2750), ms(1500), &hints, carried);
            next.look(at(2750), &sent, &hints);
            next.look(at(3000), &rest, &hints);
            assert_eq!(next.look(at(3060), &rest, &hints), (act, None));
        }
    }

    #[test]
    fn a_tail_that_is_held_when_the_time_is_over_still_gets_its_moment() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &answered(30), &HINTS);
        attempt.look(at(3), &asked(answered(30)), &HINTS);
        let tail = held(asked(answered(30)), 150);
        assert_eq!(attempt.look(at(2598), &tail, &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(2601), &tail, &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(2608), &tail, &HINTS), (Act::ShutRead, None));
    }

    #[test]
    fn a_kind_of_answer_that_was_never_seen_has_to_stand_still_for_longer() {
        let mut rhythm = Rhythm::default();
        rhythm.completed(Shape::new(80, 150), (80, 150));
        rhythm.completed(Shape::new(80, 150), (80, 150));
        let hints = ConnectionHints { rhythm: Some(&rhythm), ..HINTS };
        assert_eq!(first_act(held(asked(answered(30)), 150), &hints), (18, Act::ShutRead, None));
        assert_eq!(first_act(held(asked(answered(30)), 100), &hints), (66, Act::ShutRead, None));
    }

    #[test]
    fn a_connection_at_rest_is_shut_and_one_that_is_only_silent_is_not() {
        assert_eq!(begun(&IDLE).look(at(0), &answered(1500), &IDLE), (Act::ShutRead, None));
        assert_eq!(begun(&IDLE).look(at(0), &answered(1499), &IDLE), (Act::Nothing, None));
        assert_eq!(begun(&HINTS).look(at(0), &answered(9000), &HINTS), (Act::Nothing, None), "in flight");
        let unread = Tail { unread: 80, ..answered(9000) };
        assert_eq!(begun(&IDLE).look(at(0), &unread, &IDLE), (Act::Nothing, None), "just asked");
    }

    #[test]
    fn a_hundred_continue_is_let_through_and_the_answer_awaited() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &answered(30), &HINTS);
        attempt.look(at(3), &asked(answered(30)), &HINTS);
        let tail = held(asked(answered(30)), 25);
        assert_eq!(attempt.look(at(6), &tail, &HINTS), (Act::Flush, None));
        assert!(attempt.is_corked());
        // Three bytes of body, then the answer.
        let body = Tail { held: 0, received: tail.received + 3, ..tail };
        for now in [9, 30, 60] {
            assert_eq!(attempt.look(at(now), &body, &HINTS), (Act::Nothing, None));
        }
        assert_eq!(attempt.look(at(63), &held(body, 120), &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(75), &held(body, 120), &HINTS), (Act::ShutRead, None));
    }

    #[test]
    fn what_is_sent_unasked_is_a_stream() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &answered(300), &HINTS);
        let event = held(answered(300), 40);
        assert_eq!(attempt.look(at(3), &event, &HINTS), (Act::Uncork, Some(AttemptEnd::Streams)));
        assert!(!attempt.is_corked());
    }

    #[test]
    fn a_client_that_asks_before_it_is_answered_is_uncorked() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &answered(30), &HINTS);
        let tail = held(asked(answered(30)), 150);
        assert_eq!(attempt.look(at(3), &tail, &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(6), &asked(tail), &HINTS), (Act::Uncork, Some(AttemptEnd::Streams)));
    }

    #[test]
    fn what_is_shorter_than_any_request_is_none() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &answered(30), &HINTS);
        let ping = Tail { received: 86, received_ago: ms(0), ..answered(30) };
        assert_eq!(attempt.look(at(3), &held(ping, 6), &HINTS), (Act::Uncork, Some(AttemptEnd::LeftAlone)));
    }

    #[test]
    fn a_ping_after_one_whose_answer_shared_its_tick_is_no_request_either() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &tie(), &HINTS);
        let ping = Tail { received: 86, received_ago: ms(0), ..tie() };
        assert_eq!(attempt.look(at(3), &held(ping, 6), &HINTS), (Act::Uncork, Some(AttemptEnd::LeftAlone)));
    }

    /// Request and answer, or the answer before and a request, shared a tick.
    fn tie() -> Tail {
        Tail { received_ago: ms(300), sent_ago: ms(300), ..answered(300) }
    }

    fn said(by: Speaker) -> ConnectionHints<'static> {
        let Tail { received, written, .. } = tie();
        ConnectionHints { last_data: LastData { by, received, written }, ..HINTS }
    }

    /// What follows after so many milliseconds of the same.
    fn stands(attempt: &mut Attempt, from: u64, tail: &Tail, hints: &ConnectionHints) -> (u64, Act) {
        let mut looks =
            (from..from + 3000).step_by(3).map(|now| (now - from, attempt.look(at(now), tail, hints).0));
        looks.find(|(_, act)| *act != Act::Nothing).unwrap()
    }

    #[test]
    fn what_follows_a_tie_is_an_answer_if_the_client_was_last_and_a_stream_if_the_app_was() {
        for (hints, then) in [(said(Speaker::Client), Act::ShutRead), (said(Speaker::Server), Act::Uncork)] {
            let mut attempt = begun(&hints);
            assert_eq!(attempt.look(at(0), &tie(), &hints), (Act::Nothing, None));
            assert_eq!(stands(&mut attempt, 3, &held(tie(), 40), &hints).1, then);
        }
        // It was found out while we watched.
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &tie(), &HINTS);
        attempt.look(at(3), &tie(), &said(Speaker::Server));
        let event = attempt.look(at(6), &held(tie(), 40), &HINTS);
        assert_eq!(event, (Act::Uncork, Some(AttemptEnd::Streams)));
        // More has come since that look.
        let later = Tail { received: 160, ..tie() };
        let mut attempt = begun(&said(Speaker::Server));
        attempt.look(at(0), &later, &said(Speaker::Server));
        assert_eq!(stands(&mut attempt, 3, &held(later, 40), &HINTS), (63, Act::Flush));
    }

    #[test]
    fn where_nobody_knows_who_was_last_only_the_next_answer_counts() {
        let mut attempt = begun(&HINTS);
        attempt.look(at(0), &tie(), &HINTS);
        for from in [3, 500] {
            assert_eq!(stands(&mut attempt, from, &held(tie(), 40), &HINTS), (63, Act::Flush), "events");
        }
        let sent = Tail { held: 0, sent_ago: ms(0), ..held(tie(), 40) };
        attempt.look(at(600), &asked(sent), &HINTS);
        assert_eq!(stands(&mut attempt, 603, &held(asked(sent), 150), &HINTS), (12, Act::ShutRead));
    }

    #[test]
    fn a_request_that_was_in_flight_at_the_beginning_is_waited_for() {
        let mut attempt = begun(&HINTS);
        let working = Tail { received_ago: ms(400), sent_ago: ms(900), ..answered(0) };
        for now in [0, 3, 600] {
            assert_eq!(attempt.look(at(now), &working, &HINTS), (Act::Nothing, None));
        }
        assert_eq!(attempt.look(at(603), &held(working, 9), &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(615), &held(working, 9), &HINTS), (Act::ShutRead, None));
    }

    /// Shut for reading at 18 ms, with 150 bytes held.
    fn shut() -> (Attempt, Tail) {
        let mut attempt = begun(&HINTS);
        let tail = held(asked(answered(30)), 150);
        attempt.look(at(0), &answered(30), &HINTS);
        attempt.look(at(6), &tail, &HINTS);
        assert_eq!(attempt.look(at(18), &tail, &HINTS), (Act::ShutRead, None));
        (attempt, tail)
    }

    #[test]
    fn an_app_that_takes_no_notice_of_the_end_is_closed_for() {
        let (mut attempt, tail) = shut();
        assert_eq!(attempt.look(at(37), &tail, &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(38), &tail, &HINTS), (Act::ShutWrite, Some(AttemptEnd::Closed)));
        assert!(!attempt.is_corked());
    }

    #[test]
    fn an_app_that_writes_on_is_given_time() {
        let (mut attempt, tail) = shut();
        assert_eq!(attempt.look(at(36), &held(tail, 9), &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(55), &held(tail, 9), &HINTS), (Act::Nothing, None));
        assert_eq!(attempt.look(at(56), &held(tail, 9), &HINTS), (Act::ShutWrite, Some(AttemptEnd::Closed)));
    }

    #[test]
    fn a_request_that_came_in_after_all_is_not_closed_upon() {
        let (mut attempt, tail) = shut();
        for now in (21..3000).step_by(3) {
            assert_eq!(attempt.look(at(now), &asked(tail), &HINTS), (Act::Nothing, None));
        }
        assert_eq!(attempt.look(at(3000), &asked(tail), &HINTS), (Act::Uncork, Some(AttemptEnd::Late)));
    }

    #[test]
    fn an_app_known_to_take_no_notice_is_closed_for_at_once() {
        let hints = ConnectionHints { ignores_end: true, ..HINTS };
        let whole = held(asked(answered(30)), 150);
        assert_eq!(first_act(whole, &hints), (18, Act::ShutBoth, Some(AttemptEnd::Closed)));
    }

    #[test]
    fn a_connection_that_ends_by_itself_is_uncorked() {
        let mut attempt = begun(&HINTS);
        let closed = Tail { open: false, ..answered(30) };
        assert_eq!(attempt.look(at(0), &closed, &HINTS), (Act::Uncork, Some(AttemptEnd::Gone)));
        assert_eq!(begun(&HINTS).gone(), AttemptEnd::Gone);
    }

    /// A server, its client, and the kernel between them, a millisecond at a time.
    #[derive(Clone, Debug, Default)]
    struct World {
        tail: Tail,
        corked: bool,
        shut_read: bool,
        shut_write: bool,
        /// Parts of the answer yet to be written: after how long, how many bytes.
        answer: Vec<(u64, u32)>,
        /// Until the client asks again, once it has its whole answer.
        think: u64,
        ignores_end: bool,
        closes_after: u64,
        /// The evidence, as it was at the last look at all connections.
        idle: bool,
    }

    impl World {
        fn in_flight(&self) -> bool {
            !self.answer.is_empty() || self.tail.unread > 0
        }

        fn pass(&mut self, script: &mut impl Iterator<Item = (u64, Vec<(u64, u32)>)>) {
            self.tail.received_ago += ms(1);
            self.tail.sent_ago += ms(1);
            if let Some((wait, bytes)) = self.answer.first_mut() {
                if *wait > 0 {
                    *wait -= 1;
                } else {
                    self.tail.held += *bytes;
                    self.tail.written += u64::from(*bytes);
                    self.answer.remove(0);
                }
            } else if self.shut_read && !self.ignores_end {
                self.tail.open = self.closes_after > 0;
                self.closes_after = self.closes_after.saturating_sub(1);
            } else if self.think > 0 && self.tail.held == 0 {
                self.think -= 1;
            } else if self.tail.held == 0
                && !self.shut_write
                && let Some((think, answer)) = script.next()
            {
                (self.think, self.answer) = (think, answer);
                self.tail.received += 80;
                self.tail.received_ago = ms(0);
            }
            self.send();
        }

        /// What the kernel sends of what it holds.
        fn send(&mut self) {
            let full = self.tail.held / self.tail.mss * self.tail.mss;
            let sent = if self.corked && !self.shut_write { full } else { self.tail.held };
            if sent > 0 {
                self.tail.held -= sent;
                self.tail.sent_ago = ms(0);
            }
        }

        fn perform(&mut self, act: Act) {
            match act {
                Act::Nothing => {}
                Act::Uncork => self.corked = false,
                Act::Flush => {
                    self.corked = false;
                    self.send();
                    self.corked = true;
                }
                Act::ShutRead => self.shut_read = true,
                Act::ShutWrite => self.shut_write = true,
                Act::ShutBoth => (self.shut_read, self.shut_write) = (true, true),
            }
            self.send();
        }
    }

    fn answers() -> impl Strategy<Value = Vec<(u64, Vec<(u64, u32)>)>> {
        // Pauses before the first part are work; those between parts are at most 4 ms, below half
        // of the stillness asked for.
        let part = (0u64..=4, prop_oneof![1u32..200, Just(25), 1448u32..9000]);
        let answer = (0u64..900, 1u32..2000, prop::collection::vec(part, 0..4));
        let answer = answer.prop_map(|(work, first, rest)| {
            std::iter::once((work, first)).chain(rest).collect::<Vec<(u64, u32)>>()
        });
        prop::collection::vec((prop_oneof![Just(0u64), 1u64..40, 100u64..1200], answer), 0..30)
    }

    proptest! {
        /// Whatever client and server do: no act on a request in flight, never left corked, over in
        /// time.
        #[test]
        fn no_request_is_cut_and_no_socket_stays_corked(
            answers in answers(),
            before in 0u64..3000,
            looks in prop::collection::vec(1u64..8, 1..50),
            ignores_end: bool,
            known_for_it: bool,
            closes_after in 0u64..60,
            rest in 1000u64..2000,
            dies in prop::option::weighted(0.2, 0u64..3000),
        ) {
            let mut world = World { tail: answered(2000), ignores_end, closes_after, ..World::default() };
            let mut script = answers.into_iter();
            for _ in 0..before {
                world.pass(&mut script);
            }
            let hints = |world: &World| ConnectionHints {
                pause: ms(4), idle: world.idle, ignores_end: known_for_it, ..HINTS
            };
            world.idle = !world.in_flight();
            let mut attempt = Attempt::begin(at(0), ms(rest), &hints(&world), None);
            if attempt.is_corked() {
                world.corked = true;
            }
            let (mut now, mut looks, mut ended) = (0, looks.into_iter().cycle(), None);
            while ended.is_none() {
                prop_assert!(now < 3100, "over in time");
                let hints = hints(&world);
                let (act, end) = attempt.look(at(now), &world.tail, &hints);
                if matches!(act, Act::ShutRead | Act::ShutWrite | Act::ShutBoth) {
                    prop_assert!(!world.in_flight(), "cut at {now}: {world:?}");
                }
                world.perform(act);
                ended = end;
                prop_assert_eq!(attempt.is_corked(), world.corked && !world.shut_write);
                let step = attempt.next().since(at(now)).as_millis() as u64;
                for _ in 0..step + looks.next().unwrap_or(0) {
                    world.pass(&mut script);
                    now += 1;
                    if now % 100 == 0 {
                        world.idle = !world.in_flight();
                    }
                }
                if dies.is_some_and(|dies| now > dies) {
                    world.tail.open = false;
                }
            }
            prop_assert!(!world.corked || world.shut_write);
        }
    }
}
