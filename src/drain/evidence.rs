//! Is a request in flight on this connection? The rule, and what counts as evidence. The kernel does not know requests, but it
//! remembers when a socket last received and last sent data, whether the peer has acknowledged, and how many segments went each
//! way; from these, and from what earlier samples showed, [`judge`] names the one piece of evidence that decides. Pure: it knows
//! no clock and no descriptor, and every doubt counts as in flight, since waiting costs little and a lost request is what this
//! program is there to prevent.

use std::time::Duration;

use crate::sys::tcp::{Sample, TcpInfo, TcpState};

/// A receiver acknowledges within 200 ms (TCP_DELACK_MAX); this much later its kernel has kept no acknowledgement back.
const ACKNOWLEDGED_BY: Duration = Duration::from_millis(250);

/// What came in longer ago than this, and was never answered, is no request: a websocket or an HTTP/2 connection on which the
/// client spoke last, or a socket that its program has forgotten to close.
const NEVER_ANSWERED: Duration = Duration::from_secs(30);

/// How long the evidence holds, as configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Patience {
    /// `--drain-quiet`: data sent within this time keeps a connection in flight.
    pub quiet: Duration,
    /// `--drain-longest`: how long a tie counts as in flight.
    pub longest: Duration,
}

/// What decided. The first eight say that something is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Evidence {
    /// The app has not read all that it was sent.
    Unread,
    /// The client has not acknowledged all that it was sent.
    Unsent,
    /// The app has not accepted the connection.
    Unaccepted,
    /// It is so young that its request may be on the way.
    Newborn,
    /// Data came in after the last that went out, or nothing ever went out.
    Unanswered,
    /// Data went out just now; a stream may be pausing.
    JustSent,
    /// The last data in and out share a tick, and nothing tells which was first.
    Tie,
    /// Nothing but the connection itself can be seen.
    Established,

    /// Nothing has ever come in.
    NeverAsked,
    /// The last data went out after the last came in.
    Answered,
    /// A tie, and the client has acknowledged since, on its own: it was given something to acknowledge and had nothing to say.
    AcknowledgedSince,
    /// A tie, and our kernel never had to acknowledge separately what came in: an answer carried the acknowledgement.
    AnswerAcknowledged,
    /// A tie on a connection that was idle: at most one segment came in since, and something went out in the same tick.
    OneInOneOut,
    /// A tie so old that no request takes as long.
    OldTie,
    /// Unanswered for so long that it is no request.
    NeverAnswered,
    /// The app has closed it, and everything has arrived.
    Closed,
}

impl Evidence {
    pub fn in_flight(self) -> bool {
        match self {
            Evidence::Unread
            | Evidence::Unsent
            | Evidence::Unaccepted
            | Evidence::Newborn
            | Evidence::Unanswered
            | Evidence::JustSent
            | Evidence::Tie
            | Evidence::Established => true,
            Evidence::NeverAsked
            | Evidence::Answered
            | Evidence::AcknowledgedSince
            | Evidence::AnswerAcknowledged
            | Evidence::OneInOneOut
            | Evidence::OldTie
            | Evidence::NeverAnswered
            | Evidence::Closed => false,
        }
    }

    /// In flight by caution alone: whoever is cut off here has most likely had its answer.
    pub fn is_caution(self) -> bool {
        matches!(self, Evidence::Newborn | Evidence::JustSent)
    }
}

/// What earlier samples of one connection have shown.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct History {
    last: Option<TcpInfo>,
    /// `bare_out` as it was at the last sample before the newest data; None if the connection was first seen with it.
    bare_before: Option<u32>,
    /// `data_in` and `data_out` when the connection was last found idle.
    idle_at: Option<(u32, u32)>,
}

impl History {
    /// Takes in the next sample and judges it.
    pub fn observe(&mut self, sample: &Sample, patience: &Patience) -> Evidence {
        if let (Some(now), Some(last)) = (&sample.info, &self.last)
            && (now.data_in, now.data_out) != (last.data_in, last.data_out)
        {
            self.bare_before = Some(last.bare_out);
        }
        let evidence = judge(sample, self, patience);
        if let Some(now) = &sample.info {
            self.last = Some(*now);
            if !evidence.in_flight() {
                self.idle_at = Some((now.data_in, now.data_out));
            }
        }
        evidence
    }

    /// How often, since the sample before, data came in and data went out: requests answered, if each takes a segment each way.
    /// An upload or a download alone is none.
    pub fn turns_until(&self, now: &Sample) -> u32 {
        let Some(now) = &now.info else { return 0 };
        let (data_in, data_out) = self.last.map_or((0, 0), |last| (last.data_in, last.data_out));
        now.data_in.wrapping_sub(data_in).min(now.data_out.wrapping_sub(data_out))
    }
}

/// The rule. The queues first, since they cannot lie; then the order of the last data in and out; then, for a tie, what else is
/// known; each step only where those before it left the matter open.
pub fn judge(sample: &Sample, history: &History, patience: &Patience) -> Evidence {
    if sample.unread > 0 {
        return Evidence::Unread;
    }
    if sample.unsent > 0 {
        return Evidence::Unsent;
    }
    match (sample.state, &sample.info) {
        (TcpState::Unaccepted, _) => Evidence::Unaccepted,
        (TcpState::Closing, _) => Evidence::Closed,
        (TcpState::Established, None) => Evidence::Established,
        // Most likely a socket that its program forgot; without clocks a half-closed client cannot be told from it.
        (TcpState::HalfClosed, None) => Evidence::NeverAnswered,
        (TcpState::Established | TcpState::HalfClosed, Some(info)) => judge_order(info, history, patience),
    }
}

/// Which was last, the client's data or ours?
fn judge_order(info: &TcpInfo, history: &History, patience: &Patience) -> Evidence {
    let never_answered = info.received_ago >= NEVER_ANSWERED.max(patience.longest);
    match (info.data_in, info.data_out) {
        (0, 0) if info.sent_ago < patience.quiet => Evidence::Newborn,
        (0, 0) => Evidence::NeverAsked,
        (_, 0) if never_answered => Evidence::NeverAnswered,
        (_, 0) => Evidence::Unanswered,
        _ if info.received_ago < info.sent_ago && never_answered && info.data_in > 0 => {
            Evidence::NeverAnswered
        }
        _ if info.received_ago < info.sent_ago && info.data_in > 0 => Evidence::Unanswered,
        _ if info.sent_ago < patience.quiet => Evidence::JustSent,
        (0, _) => Evidence::NeverAsked,
        _ if info.sent_ago < info.received_ago => Evidence::Answered,
        _ => judge_tie(info, history, patience),
    }
}

/// The last data in and out share a tick of the kernel's clock: a fast answer, and a fast answer with the next request right
/// behind it, look alike. They differ in how each side acknowledges.
fn judge_tie(info: &TcpInfo, history: &History, patience: &Patience) -> Evidence {
    if info.acked_ago < info.received_ago {
        return Evidence::AcknowledgedSince;
    }
    // A connection first seen now may have sent its SYN-ACK.
    let bare_before = history.bare_before.unwrap_or(1);
    let grown = info.bare_out.wrapping_sub(bare_before) as i32 > 0;
    if info.received_ago >= ACKNOWLEDGED_BY && !grown {
        return Evidence::AnswerAcknowledged;
    }
    if let Some((data_in, data_out)) = history.idle_at {
        let (came, went) = (info.data_in.wrapping_sub(data_in), info.data_out.wrapping_sub(data_out));
        if (came, went) == (0, 0) || came == 1 && went > 0 {
            return Evidence::OneInOneOut;
        }
    }
    if info.received_ago >= patience.longest { Evidence::OldTie } else { Evidence::Tie }
}

/// A connection from the app to a service, such as a database: has it asked and not heard back? The mirror of the rule above: a
/// service that has our question but no answer yet acknowledges it separately, later than the tie.
pub fn judge_outbound(sample: &Sample, patience: &Patience) -> Evidence {
    if sample.unsent > 0 {
        return Evidence::Unsent;
    }
    let info = match (sample.state, &sample.info) {
        (TcpState::Unaccepted | TcpState::Closing | TcpState::HalfClosed, _) => {
            return Evidence::Closed;
        }
        (TcpState::Established, None) if sample.unread > 0 => return Evidence::Unread,
        (TcpState::Established, None) => return Evidence::Established,
        (TcpState::Established, Some(info)) => info,
    };
    let (sent, received) = (info.sent_ago, info.received_ago);
    if info.data_out == 0 {
        Evidence::NeverAsked
    } else if (sent < received || info.data_in == 0) && sent >= NEVER_ANSWERED.max(patience.longest) {
        Evidence::NeverAnswered
    } else if sent < received || info.data_in == 0 {
        Evidence::Unanswered
    } else if received < sent {
        Evidence::Answered
    } else if sent >= patience.longest {
        Evidence::OldTie
    } else if sent < ACKNOWLEDGED_BY || info.acked_ago < sent {
        Evidence::Tie
    } else {
        Evidence::AnswerAcknowledged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PATIENCE: Patience = Patience { quiet: Duration::from_secs(1), longest: Duration::from_secs(10) };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Open, queues empty; ages in milliseconds; one segment each way and the SYN-ACK.
    fn clocks(received: u64, sent: u64, acked: u64) -> TcpInfo {
        let (data_in, data_out, bare_out) = (1, 1, 1);
        TcpInfo {
            sent_ago: ms(sent),
            received_ago: ms(received),
            acked_ago: ms(acked),
            data_in,
            data_out,
            bare_out,
            ..TcpInfo::default()
        }
    }

    fn open(clocks: TcpInfo) -> Sample {
        Sample { state: TcpState::Established, unread: 0, unsent: 0, info: Some(clocks) }
    }

    fn first_sight(sample: Sample) -> Evidence {
        History::default().observe(&sample, &PATIENCE)
    }

    #[test]
    fn unread_bytes_are_work() {
        assert_eq!(first_sight(Sample { unread: 1, ..open(clocks(5000, 4000, 4000)) }), Evidence::Unread);
    }

    #[test]
    fn unacknowledged_bytes_are_work_even_after_the_app_has_closed() {
        assert_eq!(first_sight(Sample { unsent: 1, ..open(clocks(5000, 4000, 4000)) }), Evidence::Unsent);
        let closing = Sample { state: TcpState::Closing, ..open(clocks(5000, 4000, 4000)) };
        assert_eq!(first_sight(Sample { unsent: 9, ..closing }), Evidence::Unsent);
        assert_eq!(first_sight(closing), Evidence::Closed);
    }

    #[test]
    fn a_connection_nobody_accepted_is_work_however_old() {
        let waiting = Sample { state: TcpState::Unaccepted, ..open(clocks(60_000, 60_000, 60_000)) };
        assert_eq!(first_sight(waiting), Evidence::Unaccepted);
    }

    #[test]
    fn a_silent_connection_is_idle_once_it_is_no_newborn() {
        let silent = |age| open(TcpInfo { data_in: 0, data_out: 0, ..clocks(age, age, age) });
        assert_eq!(first_sight(silent(3)), Evidence::Newborn);
        assert_eq!(first_sight(silent(1000)), Evidence::NeverAsked);
    }

    #[test]
    fn a_greeting_from_the_server_is_no_request() {
        let greeted = |sent| open(TcpInfo { data_in: 0, ..clocks(5000, sent, sent) });
        assert_eq!(first_sight(greeted(5000)), Evidence::NeverAsked);
        assert_eq!(first_sight(greeted(20)), Evidence::JustSent);
    }

    #[test]
    fn asked_and_never_answered_is_in_flight_for_thirty_seconds() {
        let asked = |age| open(TcpInfo { data_out: 0, ..clocks(age, age + 5, age) });
        assert_eq!(first_sight(asked(0)), Evidence::Unanswered);
        assert_eq!(first_sight(asked(29_999)), Evidence::Unanswered);
        assert_eq!(first_sight(asked(30_000)), Evidence::NeverAnswered);
    }

    #[test]
    fn the_first_request_may_share_its_tick_with_the_connection_itself() {
        assert_eq!(first_sight(open(TcpInfo { data_out: 0, ..clocks(40, 40, 40) })), Evidence::Unanswered);
    }

    #[test]
    fn received_after_sent_is_in_flight() {
        assert_eq!(first_sight(open(clocks(4, 8, 4))), Evidence::Unanswered);
        assert_eq!(first_sight(open(clocks(20_000, 20_004, 20_000))), Evidence::Unanswered);
    }

    #[test]
    fn a_websocket_on_which_the_client_spoke_last_is_idle_in_the_end() {
        assert_eq!(first_sight(open(clocks(30_000, 40_000, 30_000))), Evidence::NeverAnswered);
    }

    #[test]
    fn a_longest_request_beyond_thirty_seconds_is_believed() {
        let patience = Patience { longest: ms(60_000), ..PATIENCE };
        assert_eq!(
            History::default().observe(&open(clocks(45_000, 50_000, 45_000)), &patience),
            Evidence::Unanswered
        );
    }

    #[test]
    fn sent_after_received_is_idle_once_quiet() {
        assert_eq!(first_sight(open(clocks(1600, 999, 900))), Evidence::JustSent);
        assert_eq!(first_sight(open(clocks(1600, 1000, 900))), Evidence::Answered);
    }

    #[test]
    fn a_half_closed_client_gets_its_answer_and_a_leaked_socket_holds_nothing_up() {
        let half = |clocks| Sample { state: TcpState::HalfClosed, ..open(clocks) };
        assert_eq!(first_sight(half(clocks(100, 5000, 100))), Evidence::Unanswered);
        assert_eq!(first_sight(half(clocks(5000, 4000, 4000))), Evidence::Answered);
        assert_eq!(first_sight(half(clocks(90_000, 95_000, 90_000))), Evidence::NeverAnswered);
    }

    #[test]
    fn a_tie_is_idle_when_the_client_acknowledged_later_on_its_own() {
        let grown = TcpInfo { bare_out: 7, ..clocks(2000, 2000, 1960) };
        assert_eq!(first_sight(open(grown)), Evidence::AcknowledgedSince);
        assert_eq!(first_sight(open(TcpInfo { acked_ago: ms(2000), ..grown })), Evidence::Tie);
    }

    #[test]
    fn a_tie_is_idle_when_the_answer_carried_our_acknowledgement() {
        assert_eq!(first_sight(open(clocks(2000, 2000, 2000))), Evidence::AnswerAcknowledged);
        assert_eq!(first_sight(open(TcpInfo { bare_out: 2, ..clocks(2000, 2000, 2000) })), Evidence::Tie);
    }

    #[test]
    fn a_young_tie_proves_nothing_yet() {
        let patience = Patience { quiet: Duration::ZERO, ..PATIENCE };
        assert_eq!(History::default().observe(&open(clocks(249, 249, 249)), &patience), Evidence::Tie);
        assert_eq!(
            History::default().observe(&open(clocks(250, 250, 250)), &patience),
            Evidence::AnswerAcknowledged
        );
    }

    #[test]
    fn acknowledgements_are_counted_from_the_sample_before_the_tie() {
        let before = TcpInfo { bare_out: 5, ..clocks(3000, 3000, 3000) };
        let tie = |bare_out| TcpInfo { data_in: 3, data_out: 3, bare_out, ..clocks(2000, 2000, 2000) };
        for (bare_out, expected) in [(5, Evidence::AnswerAcknowledged), (6, Evidence::Tie)] {
            let mut history = History::default();
            history.observe(&open(before), &PATIENCE);
            assert_eq!(history.observe(&open(tie(bare_out)), &PATIENCE), expected);
            // Looking again does not move the point from which they are counted.
            assert_eq!(history.observe(&open(tie(bare_out)), &PATIENCE), expected);
        }
    }

    #[test]
    fn the_separate_acknowledgement_of_a_request_seen_in_a_tie_keeps_it_in_flight() {
        // The tie is seen at once, then the kernel acknowledges the unanswered request by itself.
        let mut history = History::default();
        let patience = Patience { quiet: Duration::ZERO, ..PATIENCE };
        history.observe(&open(clocks(500, 500, 500)), &patience);
        let tie =
            |age, bare_out| open(TcpInfo { data_in: 3, data_out: 2, bare_out, ..clocks(age, age, age) });
        assert_eq!(history.observe(&tie(4, 1), &patience), Evidence::Tie);
        assert_eq!(history.observe(&tie(260, 2), &patience), Evidence::Tie);
        assert_eq!(history.observe(&tie(9_999, 2), &patience), Evidence::Tie);
        assert_eq!(history.observe(&tie(10_000, 2), &patience), Evidence::OldTie);
    }

    #[test]
    fn one_segment_in_and_one_out_since_idle_is_an_answered_request() {
        let mut history = History::default();
        let idle = TcpInfo { bare_out: 9, ..clocks(5000, 4000, 3900) };
        assert_eq!(history.observe(&open(idle), &PATIENCE), Evidence::Answered);
        let after =
            |data_in, data_out| open(TcpInfo { data_in, data_out, bare_out: 10, ..clocks(1500, 1500, 1500) });
        let mut answered = history;
        assert_eq!(answered.observe(&after(2, 2), &PATIENCE), Evidence::OneInOneOut);
        assert_eq!(
            answered.observe(&after(2, 2), &PATIENCE),
            Evidence::OneInOneOut,
            "a second look finds the same"
        );
        let mut twice = history;
        assert_eq!(twice.observe(&after(3, 2), &PATIENCE), Evidence::Tie, "two segments may be two requests");
        assert_eq!(
            history.observe(&after(2, 1), &PATIENCE),
            Evidence::Tie,
            "nothing went out: it is the request that came in"
        );
    }

    #[test]
    fn where_only_the_queues_can_be_seen_an_established_connection_counts() {
        let bare = Sample { state: TcpState::Established, unread: 0, unsent: 0, info: None };
        assert_eq!(first_sight(bare), Evidence::Established);
        assert_eq!(first_sight(Sample { state: TcpState::HalfClosed, ..bare }), Evidence::NeverAnswered);
    }

    #[test]
    fn turns_are_counted_between_samples() {
        let mut history = History::default();
        let at = |data_in, data_out| open(TcpInfo { data_in, data_out, ..clocks(0, 0, 0) });
        assert_eq!(history.turns_until(&at(2, 2)), 2);
        history.observe(&at(2, 2), &PATIENCE);
        assert_eq!(history.turns_until(&at(5, 9)), 3);
        assert_eq!(history.turns_until(&at(500, 2)), 0, "an upload is one request");
        assert_eq!(history.turns_until(&at(2, 500)), 0, "so is a download");
    }

    #[test]
    fn a_query_is_in_flight_until_its_answer_comes() {
        let outbound = |clocks| judge_outbound(&open(clocks), &PATIENCE);
        assert_eq!(outbound(clocks(5000, 3000, 2960)), Evidence::Unanswered);
        assert_eq!(outbound(TcpInfo { data_in: 0, ..clocks(5, 5, 5) }), Evidence::Unanswered);
        assert_eq!(outbound(clocks(3000, 5000, 3000)), Evidence::Answered);
        assert_eq!(outbound(clocks(31_000, 30_500, 30_500)), Evidence::NeverAnswered);
        assert_eq!(outbound(TcpInfo { data_out: 0, ..clocks(5, 50, 5) }), Evidence::NeverAsked);
        let unsent = Sample { unsent: 12, ..open(clocks(3000, 5000, 3000)) };
        assert_eq!(judge_outbound(&unsent, &PATIENCE), Evidence::Unsent);
    }

    #[test]
    fn a_query_in_a_tie_is_in_flight_while_young_or_acknowledged_separately() {
        let outbound = |clocks| judge_outbound(&open(clocks), &PATIENCE);
        assert_eq!(outbound(clocks(100, 100, 100)), Evidence::Tie);
        assert_eq!(outbound(clocks(900, 900, 860)), Evidence::Tie);
        assert_eq!(outbound(clocks(900, 900, 900)), Evidence::AnswerAcknowledged);
        assert_eq!(outbound(clocks(10_000, 10_000, 9_960)), Evidence::OldTie);
    }

    prop_compose! {
        fn any_clocks()(
            sent in 0u64..40_000, received in 0u64..40_000, acked in 0u64..40_000,
            data_in in 0u32..5, data_out in 0u32..5, bare_out in 0u32..5, tie in any::<bool>(),
        ) -> TcpInfo {
            let received = if tie { sent } else { received };
            TcpInfo { data_in, data_out, bare_out, ..clocks(received, sent, acked) }
        }
    }

    fn any_state() -> impl Strategy<Value = TcpState> {
        prop::sample::select(vec![
            TcpState::Unaccepted,
            TcpState::Established,
            TcpState::HalfClosed,
            TcpState::Closing,
        ])
    }

    prop_compose! {
        fn any_sample()(
            state in any_state(), unread in 0u32..3, unsent in 0u32..3, clocks in prop::option::of(any_clocks()),
        ) -> Sample {
            Sample { state, unread, unsent, info: clocks }
        }
    }

    proptest! {
        #[test]
        fn bytes_in_a_queue_are_always_in_flight(past in prop::collection::vec(any_sample(), 0..6), last in any_sample()) {
            let mut history = History::default();
            past.iter().for_each(|sample| { history.observe(sample, &PATIENCE); });
            let in_flight = history.observe(&last, &PATIENCE).in_flight();
            prop_assert!(in_flight || last.unread == 0 && last.unsent == 0);
        }

        #[test]
        fn an_unanswered_request_is_in_flight_whatever_was_seen_before(
            past in prop::collection::vec(any_sample(), 0..6), mut last in any_clocks(), by in 1u64..1000,
        ) {
            last.data_in = last.data_in.max(1);
            last.received_ago = last.received_ago.min(ms(29_000));
            last.sent_ago = last.received_ago + ms(by);
            let mut history = History::default();
            past.iter().for_each(|sample| { history.observe(sample, &PATIENCE); });
            prop_assert!(history.observe(&open(last), &PATIENCE).in_flight());
        }

        #[test]
        fn everything_accepted_with_empty_queues_is_idle_in_the_end(mut last in any_clocks()) {
            last.received_ago += ms(30_000);
            last.sent_ago += ms(30_000);
            prop_assert!(!first_sight(open(last)).in_flight());
        }

        #[test]
        fn looking_again_at_the_same_thing_changes_nothing(past in prop::collection::vec(any_sample(), 0..6), last in any_sample()) {
            let mut history = History::default();
            past.iter().for_each(|sample| { history.observe(sample, &PATIENCE); });
            let first = history.observe(&last, &PATIENCE);
            prop_assert_eq!(history.observe(&last, &PATIENCE).in_flight(), first.in_flight());
        }

        /// A simulated connection, its kernel and its clock of 4 ms: a request in flight is never called idle.
        #[test]
        fn a_simulated_connection_is_never_called_idle_while_a_request_is_in_flight(
            story in prop::collection::vec((0u64..60, 0u64..60, any::<bool>()), 1..40), looks in prop::collection::vec(1u64..700, 200),
        ) {
            simulate(&story, &looks);
        }
    }

    /// Plays `story`: the client waits, asks, the server takes its time and answers; and looks at the sampled times.
    /// Time in milliseconds. The kernel acknowledges a request by itself 40 ms after it, unless an answer went out before.
    fn simulate(story: &[(u64, u64, bool)], looks: &[u64]) {
        const TICK: u64 = 4;
        let mut events = vec![];
        let mut now = 10_000u64;
        for &(pause, work, slow) in story {
            now += if pause < 20 { 0 } else { pause };
            events.push((now, "ask"));
            let work = if work < 20 {
                0
            } else if slow {
                work * 50
            } else {
                work
            };
            if work > 40 {
                events.push((now + 40, "ack"));
            }
            now += work;
            events.push((now, "answer"));
        }
        let (mut sent, mut received, mut acked) = (9_000, 9_000, 9_000);
        let (mut data_in, mut data_out, mut bare_out) = (0, 0, 1);
        let mut history = History::default();
        let (mut next, mut busy, mut at) = (0, false, 9_900);
        for look in looks {
            at += look;
            while next < events.len() && events[next].0 <= at {
                let tick = events[next].0 / TICK * TICK;
                match events[next].1 {
                    "ask" => (received, acked, data_in, busy) = (tick, tick, data_in + 1, true),
                    "ack" => bare_out += 1,
                    _ => (sent, data_out, busy) = (tick, data_out + 1, false),
                }
                next += 1;
            }
            let clock = at / TICK * TICK;
            let ago = |then: u64| ms(clock - then);
            let clocks = TcpInfo {
                sent_ago: ago(sent),
                received_ago: ago(received),
                acked_ago: ago(acked),
                data_out,
                data_in,
                bare_out,
                ..TcpInfo::default()
            };
            let patience = Patience { quiet: Duration::ZERO, ..PATIENCE };
            let evidence = history.observe(&open(clocks), &patience);
            assert!(evidence.in_flight() || !busy, "{evidence:?} at {at}: {clocks:?}");
        }
    }
}
