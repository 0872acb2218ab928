//! What is known of each connection. Every look enters what it saw, by socket cookie, so that the
//! rule can tell new data from old. Connections that a full look did not see are gone. Pure.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use super::evidence::{Evidence, Patience};
use super::history::History;
use super::let_go::{LastData, ShutConnection};
use super::pinned::{Traffic, WINDOW};
use super::readers::Reading;
use super::rhythm::Rhythm;
use crate::moment::Moment;
use crate::sys::tcp::{Connection, Sample, TcpInfo};

/// A client's connection as the last look saw it, and its evidence.
#[derive(Debug)]
pub(super) struct JudgedConnection {
    /// From the kernel: cookie, addresses, inode, queues, counters.
    pub connection: Connection,
    pub evidence: Evidence,
    /// When it was first seen, or last seen to have answered.
    pub moved: Moment,
    /// When it was first seen.
    pub since: Moment,
    history: History,
    look: u64,
    /// What its client had sent when we shut it behind its answer.
    shut_at: Option<u64>,
}

impl JudgedConnection {
    /// It would be cut off if it ended now.
    fn is_asking(&self) -> bool {
        let asked = self.connection.sample.info.map(|info| info.bytes_in);
        let is_answered = self.shut_at.is_some() && asked <= self.shut_at;
        self.evidence.in_flight() && !self.evidence.is_caution() && !is_answered
    }

    /// Who sent last, as `info` of this look has it.
    pub(super) fn last_data(&self, info: &TcpInfo) -> LastData {
        let written = info.bytes_out.saturating_add(self.connection.sample.unsent.into());
        LastData { by: self.history.last_speaker(), received: info.bytes_in, written }
    }

    /// Requests and answers have alternated in sight, as in HTTP/1.
    pub(super) fn speaks_like_http(&self) -> bool {
        self.history.speaks_like_http()
    }

    /// Takes its end in; how many of its requests were answered by that, and how many may have been
    /// cut off.
    fn gone(&mut self, rhythms: &mut HashMap<u16, Rhythm>) -> (u32, u32) {
        let (asking, shut) = (self.is_asking(), self.shut_at.is_some());
        let before = self.history.answered();
        if let Some(rhythm) = rhythms.get_mut(&self.connection.id.local.port()) {
            self.history.gone(rhythm);
        }
        // Its whole answer was there when it was shut.
        let behind_answer = shut && !asking && self.evidence == Evidence::Unanswered;
        let answered = self.history.answered().wrapping_sub(before).max(behind_answer.into());
        if asking { (0, 1) } else { (answered, 0) }
    }
}

#[derive(Debug)]
pub(super) struct Connections {
    patience: Patience,
    known: HashMap<u64, JudgedConnection>,
    look: u64,
    /// By local port.
    rhythms: HashMap<u16, Rhythm>,
    /// Since the last look at all: requests on connections that have been there for long, and
    /// connections that brought their first.
    came: u32,
    newcomers: u32,
    /// Since the last tally.
    answered: u32,
    closed: u32,
}

/// The sum of a look.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct LookTotals {
    pub connections: usize,
    /// By local port.
    pub in_flight: BTreeMap<u16, usize>,
    pub traffic: Traffic,
    /// Since the tally before: requests seen answered, and connections that were gone with a
    /// request in flight at the last look.
    pub answered: u32,
    pub closed: u32,
}

impl Connections {
    pub(super) fn new(patience: Patience) -> Connections {
        Connections {
            patience,
            known: HashMap::new(),
            look: 0,
            rhythms: HashMap::new(),
            came: 0,
            newcomers: 0,
            answered: 0,
            closed: 0,
        }
    }

    /// Every connection that the last look saw.
    pub(super) fn iter(&self) -> impl Iterator<Item = &JudgedConnection> {
        self.known.values()
    }

    /// Whether some connections can be judged better by what the app's threads do.
    pub(super) fn has_doubts(&self) -> bool {
        self.known.values().any(|known| {
            let silent = known.connection.sample.info.map(|info| info.sent_ago.min(info.received_ago));
            let silent = silent >= Some(self.patience.quiet);
            known.evidence == Evidence::Unanswered || known.evidence.is_doubt() && silent
        })
    }

    /// By listening port, the longest pause that was seen inside an answer.
    pub(super) fn pauses(&self) -> HashMap<u16, Duration> {
        self.rhythms.iter().map(|(port, rhythm)| (*port, rhythm.longest_pause())).collect()
    }

    /// By listening port, what its connections have shown.
    pub(super) fn rhythms(&self) -> &HashMap<u16, Rhythm> {
        &self.rhythms
    }

    /// A look at all connections begins.
    pub(super) fn begin_look(&mut self) {
        self.look = self.look.wrapping_add(1);
    }

    /// Enters one connection; true if it is in flight.
    pub(super) fn enter(&mut self, now: Moment, connection: &Connection, reading: Reading) -> bool {
        let sample = &connection.sample;
        let history = if self.look > 1 { History::born_in_sight() } else { History::default() };
        let fresh = JudgedConnection {
            connection: *connection,
            history,
            evidence: Evidence::Closed,
            moved: now,
            since: now,
            look: 0,
            shut_at: None,
        };
        let known = self.known.entry(connection.id.cookie).or_insert(fresh);
        let asked = |sample: &Sample| sample.info.is_some_and(|info| info.data_in > 0);
        let had_asked = known.look != 0 && asked(&known.connection.sample);
        let turns = known.history.turns_until(sample);
        if turns > 0 {
            known.moved = now;
        }
        if !had_asked && asked(sample) {
            // What the first look finds may have been there for long.
            self.newcomers = self.newcomers.saturating_add(u32::from(self.look > 1));
        } else if now.since(known.since) >= WINDOW {
            // Frames of a multiplexed connection come and go beside a slow request.
            if !known.history.asks_briefly() {
                self.came = self.came.saturating_add(turns);
            }
        }
        known.connection = *connection;
        let answered = known.history.answered();
        let rhythm = self.rhythms.entry(connection.id.local.port()).or_default();
        known.history.reads(reading);
        known.evidence = known.history.observe(now, sample, rhythm, &self.patience);
        known.look = self.look;
        self.answered = self.answered.saturating_add(known.history.answered().wrapping_sub(answered));
        known.evidence.in_flight()
    }

    /// It was shut by us, so that its end is no surprise.
    pub(super) fn was_shut(&mut self, shut: &ShutConnection) {
        if let Some(known) = self.known.get_mut(&shut.cookie) {
            known.shut_at = Some(shut.received);
        }
    }

    /// It is gone.
    pub(super) fn remove(&mut self, cookie: u64) {
        if let Some(mut known) = self.known.remove(&cookie) {
            let (answered, closed) = known.gone(&mut self.rhythms);
            self.answered = self.answered.saturating_add(answered);
            self.closed = self.closed.saturating_add(closed);
        }
    }

    /// The full look has ended: what it did not see is gone.
    pub(super) fn remove_unseen(&mut self) {
        let (look, rhythms) = (self.look, &mut self.rhythms);
        let (mut answered, mut closed) = (self.answered, self.closed);
        self.known.retain(|_, known| {
            let seen = known.look == look;
            if !seen {
                let gone = known.gone(rhythms);
                answered = answered.saturating_add(gone.0);
                closed = closed.saturating_add(gone.1);
            }
            seen
        });
        (self.answered, self.closed) = (answered, closed);
    }

    /// Sums up a look at all connections, and starts new counts.
    pub(super) fn tally(&mut self, now: Moment) -> LookTotals {
        let mut tally = self.tally_busy(now);
        tally.traffic.came = std::mem::take(&mut self.came);
        tally.traffic.newcomers = std::mem::take(&mut self.newcomers);
        tally
    }

    /// Sums up a look at the busy ones. Requests and connections that came are counted on, since
    /// only a look at all leads to a verdict.
    pub(super) fn tally_busy(&mut self, now: Moment) -> LookTotals {
        let mut tally = LookTotals { connections: self.known.len(), ..LookTotals::default() };
        for known in self.known.values().filter(|known| known.evidence.in_flight()) {
            let port = known.connection.id.local.port();
            let in_flight = tally.in_flight.entry(port).or_default();
            *in_flight = in_flight.saturating_add(1);
            // A connection that sends without a new request is a stream, and the end of the app
            // would cut it off.
            let still = now.since(known.moved) >= WINDOW;
            if still || !known.evidence.is_caution() {
                tally.traffic.urgent = tally.traffic.urgent.saturating_add(1);
                tally.traffic.slow = tally.traffic.slow.saturating_add(still.into());
            }
        }
        tally.answered = std::mem::take(&mut self.answered);
        tally.closed = std::mem::take(&mut self.closed);
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::tcp::{Family, SocketId, TcpState};
    use std::time::Duration;

    const PATIENCE: Patience = Patience { quiet: Duration::from_secs(1), longest: Duration::from_secs(10) };

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    fn sample(cookie: u64, port: u16, received: u64, sent: u64, segments: u32) -> Connection {
        let info = TcpInfo {
            sent_ago: Duration::from_millis(sent),
            received_ago: Duration::from_millis(received),
            acked_ago: Duration::from_millis(received.min(sent)),
            data_in: segments,
            data_out: segments,
            bare_out: 1,
            ..TcpInfo::default()
        };
        let sample = Sample { state: TcpState::Established, unread: 0, unsent: 0, info: Some(info) };
        let (local, remote) = (([127, 0, 0, 1], port).into(), ([127, 0, 0, 1], 50_000).into());
        let id = SocketId { family: Family::V4, cookie, local, remote, interface: 0 };
        Connection { id, inode: 5, uid: 0, sample }
    }

    #[test]
    fn the_tally_counts_by_port_and_forgets_the_gone() {
        let mut connections = Connections::new(PATIENCE);
        connections.begin_look();
        assert!(connections.enter(at(1), &sample(7, 80, 100, 5000, 3), Reading::Unknown));
        assert!(connections.enter(at(1), &sample(8, 81, 100, 5000, 3), Reading::Unknown));
        assert!(!connections.enter(at(1), &sample(9, 80, 15_000, 14_000, 3), Reading::Unknown));
        connections.remove_unseen();
        let tally = connections.tally(at(1));
        assert_eq!((tally.connections, tally.in_flight), (3, BTreeMap::from([(80, 1), (81, 1)])));
        connections.begin_look();
        connections.enter(at(2), &sample(7, 80, 5000, 100, 4), Reading::Unknown);
        connections.remove_unseen();
        let tally = connections.tally(at(2));
        assert_eq!((tally.connections, tally.in_flight), (1, BTreeMap::from([(80, 1)])));
        assert_eq!(
            tally.traffic,
            Traffic { came: 0, urgent: 0, slow: 0, newcomers: 0 },
            "just answered: caution alone"
        );
    }

    #[test]
    fn a_connection_that_was_let_go_has_not_closed_in_flight_unless_it_asked_again() {
        let mut connections = Connections::new(PATIENCE);
        let asking = |cookie, bytes_in| {
            let mut asking = sample(cookie, 80, 100, 5000, 3);
            asking.sample.info.as_mut().unwrap().bytes_in = bytes_in;
            asking
        };
        connections.begin_look();
        for cookie in 7..=9 {
            connections.enter(at(1), &asking(cookie, 240), Reading::Unknown);
        }
        connections.was_shut(&ShutConnection { cookie: 7, received: 240 });
        connections.was_shut(&ShutConnection { cookie: 8, received: 240 });
        connections.begin_look();
        connections.enter(at(1), &asking(8, 320), Reading::Unknown);
        connections.remove_unseen();
        let tally = connections.tally(at(1));
        assert_eq!((tally.closed, tally.answered), (1, 1), "9 was not let go");
        connections.remove(8);
        assert_eq!(connections.tally(at(1)).closed, 1);
    }

    /// Looks at one connection of a listener, with the times since data came and went, and the
    /// segments and bytes each way.
    fn answered(looks: &[(u64, u64, [u32; 2], [u64; 2])], in_sight: bool) -> u32 {
        let mut connections = Connections::new(PATIENCE);
        let mut sum = 0;
        if in_sight {
            connections.begin_look();
        }
        for (second, (received, sent, segments, bytes)) in looks.iter().enumerate() {
            let mut seen = sample(7, 80, *received, *sent, 1);
            if let Some(info) = &mut seen.sample.info {
                [info.data_in, info.data_out] = *segments;
                info.bare_in = info.data_out;
                [info.bytes_in, info.bytes_out] = *bytes;
            }
            connections.begin_look();
            connections.enter(at(second as u64), &seen, Reading::Unknown);
            sum += connections.tally(at(second as u64)).answered;
        }
        connections.begin_look();
        connections.remove_unseen();
        sum + connections.tally(at(60)).answered
    }

    #[test]
    fn a_handshake_and_a_first_part_are_no_answers() {
        // Session tickets come behind the request; then it ends.
        let handshake = (900, 895, [2, 4], [750, 2000]);
        assert_eq!(answered(&[handshake, (1900, 1895, [2, 4], [750, 2000])], true), 0);
        let request = (100, 1900, [3, 4], [850, 2000]);
        assert_eq!(answered(&[handshake, request], true), 0, "the handshake is no answer");
        assert_eq!(answered(&[handshake, request, (1100, 1050, [3, 5], [850, 2200])], true), 1);
        // Headers, and the rest 2 s later.
        let part = (100, 90, [1, 1], [80, 120]);
        assert_eq!(
            answered(&[part, (1100, 1090, [1, 1], [80, 120]), (2100, 20, [1, 2], [80, 500])], true),
            1
        );
    }

    #[test]
    fn each_request_that_ends_in_sight_is_counted_once() {
        let before = [(9000, 8990, [40, 40], [3200, 6800]), (10_000, 9990, [40, 40], [3200, 6800])];
        assert_eq!(answered(&before, false), 0, "answered before the stop");
        let then = (500, 490, [50, 50], [4000, 8500]);
        assert_eq!(answered(&[before[0], then], false), 10, "the last by its end");
        assert_eq!(answered(&[before[0], then, (20_000, 19_990, [50, 50], [4000, 8500])], false), 10);
        assert_eq!(answered(&[before[0], (10, 490, [50, 49], [4000, 8330])], false), 9, "one is open");
        // Each request and its answer share a tick.
        let ties: Vec<_> =
            (1..=6).map(|n| (50, 50, [40 + n, 40 + 2 * n], [3200 + 80 * u64::from(n), 9000])).collect();
        assert_eq!(answered(&ties, false), 4, "not the first, from before, nor the last, which may be open");
    }

    #[test]
    fn new_connections_that_a_look_at_the_busy_ones_has_seen_are_counted_at_the_next_look_at_all() {
        let mut connections = Connections::new(PATIENCE);
        connections.begin_look();
        connections.begin_look();
        let mut silent = sample(7, 80, 100, 100, 0);
        connections.enter(at(1), &silent, Reading::Unknown);
        assert_eq!(connections.tally(at(1)).traffic.newcomers, 0);
        silent.sample.info.as_mut().unwrap().data_in = 1;
        connections.enter(at(2), &silent, Reading::Unknown);
        assert_eq!(connections.tally_busy(at(2)).traffic.newcomers, 0);
        assert_eq!(connections.tally(at(3)).traffic.newcomers, 1);
        assert_eq!(connections.tally(at(4)).traffic.newcomers, 0);
    }

    #[test]
    fn a_busy_connection_that_answers_nothing_is_slow() {
        let mut connections = Connections::new(PATIENCE);
        for (second, slow) in [(1, 0), (3, 0), (4, 1)] {
            connections.begin_look();
            connections.enter(
                at(second),
                &sample(7, 80, 100 + 1000 * second, 9000 + 1000 * second, 3),
                Reading::Unknown,
            );
            assert_eq!(connections.tally(at(second)).traffic.slow, slow);
        }
    }

    #[test]
    fn a_stream_without_questions_is_slow_and_not_caution() {
        let mut connections = Connections::new(PATIENCE);
        for (second, urgent) in [(1, 0), (3, 0), (4, 1)] {
            connections.begin_look();
            let mut sample = sample(7, 80, 9000 + 1000 * second, 100, 3);
            if let Some(info) = &mut sample.sample.info {
                info.data_out += second as u32;
            }
            assert!(connections.enter(at(second), &sample, Reading::Unknown));
            assert_eq!(connections.tally(at(second)).traffic.urgent, urgent);
        }
    }
}
