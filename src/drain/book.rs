//! What is known of each connection. Every look enters what it saw, by socket cookie, so that the rule can tell what is new from
//! what was there before; those that a full look did not see are gone. Pure.

use std::collections::{BTreeMap, HashMap};

use super::pinned::{Traffic, WINDOW};
use super::rule::{Evidence, History, Limits, Sample};
use crate::lifecycle::Moment;

#[derive(Debug)]
struct Entry {
    history: History,
    evidence: Evidence,
    port: u16,
    /// When it was first seen, or last seen to have answered.
    moved: Moment,
    look: u64,
}

#[derive(Debug)]
pub struct Book {
    limits: Limits,
    entries: HashMap<u64, Entry>,
    look: u64,
    /// Requests that have come since the last tally.
    came: u32,
}

/// The sum of a look.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    pub connections: usize,
    /// By local port.
    pub in_flight: BTreeMap<u16, usize>,
    pub traffic: Traffic,
}

impl Book {
    pub fn new(limits: Limits) -> Book {
        Book { limits, entries: HashMap::new(), look: 0, came: 0 }
    }

    /// A full look begins.
    pub fn turn(&mut self) {
        self.look += 1;
    }

    /// Enters one connection; true if it is in flight.
    pub fn enter(&mut self, now: Moment, key: u64, port: u16, sample: &Sample) -> bool {
        let fresh =
            || Entry { history: History::default(), evidence: Evidence::Closed, port, moved: now, look: 0 };
        let entry = self.entries.entry(key).or_insert_with(fresh);
        let turns = entry.history.turns_until(sample);
        if turns > 0 {
            entry.moved = now;
        }
        // A connection not seen before brings a request, though it may not have been answered.
        let brings = entry.look == 0 && sample.clocks.is_some_and(|clocks| clocks.data_in > 0);
        self.came = self.came.saturating_add(turns.max(brings.into()));
        entry.evidence = entry.history.observe(sample, &self.limits);
        entry.look = self.look;
        entry.evidence.in_flight()
    }

    /// It is gone.
    pub fn strike(&mut self, key: u64) {
        self.entries.remove(&key);
    }

    /// The full look has ended: what it did not see is gone.
    pub fn strike_unseen(&mut self) {
        let look = self.look;
        self.entries.retain(|_, entry| entry.look == look);
    }

    /// Sums up, and begins to count anew what comes.
    pub fn tally(&mut self, now: Moment) -> Tally {
        let mut tally = Tally { connections: self.entries.len(), ..Tally::default() };
        for entry in self.entries.values().filter(|entry| entry.evidence.in_flight()) {
            *tally.in_flight.entry(entry.port).or_default() += 1;
            // One that sends and sends without being asked again is a stream, and cut off if we leave.
            let still = now.saturating_sub(entry.moved) >= WINDOW;
            if still || !entry.evidence.is_caution() {
                tally.traffic.urgent += 1;
                tally.traffic.slow += usize::from(still);
            }
        }
        tally.traffic.came = std::mem::take(&mut self.came);
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::super::rule::{Clocks, Standing};
    use super::*;
    use std::time::Duration;

    const LIMITS: Limits = Limits { quiet: Duration::from_secs(1), longest: Duration::from_secs(10) };

    fn at(seconds: u64) -> Moment {
        Duration::from_secs(seconds)
    }

    fn sample(received: u64, sent: u64, segments: u32) -> Sample {
        let clocks = Clocks {
            sent_ago: Duration::from_millis(sent),
            received_ago: Duration::from_millis(received),
            acked_ago: Duration::from_millis(received.min(sent)),
            data_in: segments,
            data_out: segments,
            bare_out: 1,
        };
        Sample { standing: Standing::Open, unread: 0, unsent: 0, clocks: Some(clocks) }
    }

    #[test]
    fn the_tally_counts_by_port_and_forgets_the_gone() {
        let mut book = Book::new(LIMITS);
        book.turn();
        assert!(book.enter(at(1), 7, 80, &sample(100, 5000, 3)));
        assert!(book.enter(at(1), 8, 81, &sample(100, 5000, 3)));
        assert!(!book.enter(at(1), 9, 80, &sample(5000, 4000, 3)));
        book.strike_unseen();
        let tally = book.tally(at(1));
        assert_eq!((tally.connections, tally.in_flight), (3, BTreeMap::from([(80, 1), (81, 1)])));
        book.turn();
        book.enter(at(2), 7, 80, &sample(5000, 100, 4));
        book.strike_unseen();
        let tally = book.tally(at(2));
        assert_eq!((tally.connections, tally.in_flight), (1, BTreeMap::from([(80, 1)])));
        assert_eq!(tally.traffic, Traffic { came: 1, urgent: 0, slow: 0 }, "just answered: caution alone");
    }

    #[test]
    fn a_busy_connection_that_answers_nothing_is_slow() {
        let mut book = Book::new(LIMITS);
        for (second, slow) in [(1, 0), (3, 0), (4, 1)] {
            book.turn();
            book.enter(at(second), 7, 80, &sample(100 + 1000 * second, 9000 + 1000 * second, 3));
            assert_eq!(book.tally(at(second)).traffic.slow, slow);
        }
    }

    #[test]
    fn a_stream_without_questions_is_slow_and_not_caution() {
        let mut book = Book::new(LIMITS);
        for (second, urgent) in [(1, 0), (3, 0), (4, 1)] {
            book.turn();
            let mut sample = sample(9000 + 1000 * second, 100, 3);
            if let Some(clocks) = &mut sample.clocks {
                clocks.data_out += second as u32;
            }
            assert!(book.enter(at(second), 7, 80, &sample));
            assert_eq!(book.tally(at(second)).traffic.urgent, urgent);
        }
    }
}
