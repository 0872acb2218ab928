//! Is a request in flight on this connection? The rule, and its evidence. The kernel does not know
//! requests, but it remembers when a socket last received and last sent data, whether the peer has
//! acknowledged it, and how many segments and bytes went each way. From these, from earlier looks
//! at the connection ([`History`]) and from all connections of its listener ([`Rhythm`]), [`judge`]
//! names the one piece of evidence that decides. Pure. Every doubt counts as in flight: waiting
//! costs little, and preventing lost requests is what adieu is for.
//!
//! | what is seen | evidence | in flight |
//! |---|---|---|
//! | bytes the app has not read, or the client has not acknowledged | `Unread`, `Unsent` | yes, always |
//! | in the accept queue | `Unaccepted` | yes, always |
//! | no data either way | `Newborn`, then `NeverAsked` | for `--drain-quiet` |
//! | data only from the app, such as a greeting | `JustSent`, then `NeverAsked` | for `--drain-quiet` |
//! | the client sent last | `Unanswered` | yes, however old |
//! | the same, where it was idle like this before and went on | `RestsOpen` | for `--drain-longest` |
//! | the app sent last, and that was `100 Continue` | `Continue` | yes, however old |
//! | the app sent last; the exchange is like others that were complete | `JustSent`, then `Answered` | for `--drain-quiet` |
//! | the same, of any size, on a listener with many exchanges seen and no pause | `MayGoOn`, then `Answered` | for twice `--drain-quiet` |
//! | the same, unseen, on a connection that has been through many exchanges | `MayGoOn`, then `Answered` | for some six seconds |
//! | the same, and threads of the app block in reads on other connections | `MayGoOn`, then `Answered` | for `--drain-longest` |
//! | the same, where answers of this listener pause | `MayGoOn`, then `Answered` | for longer than the longest pause |
//! | the same, and nothing like it was seen | `MayGoOn`, then `Answered` | for `--drain-longest` |
//! | the same, and it may all be a TLS handshake, or settings of HTTP/2 | `Handshake`, then `Answered` | for a minute |
//! | any of these, and a thread of the app blocks in a read on this very connection | `MayGoOn`, then `Answered` | for twice `--drain-quiet`, or as if unseen |
//! | the app sent last, one of short exchanges at even intervals, and no small frames but pings of a websocket | `Routine` | no |
//! | both in one tick of the clock, and it is unknown which was last | `Tie`, then `OldTie` | for a minute |
//! | the app has closed it, and all has arrived | `Closed` | no |
//! | no more than that it is there (/proc/net) | `Established` | yes, always |

use std::time::Duration;

use super::history::{ACKNOWLEDGED_BY, BRIEF, History, has_room_for_handshake};
use super::readers::Reading;
use super::rhythm::Rhythm;
use crate::moment::Moment;
use crate::sys::tcp::{Sample, TcpInfo, TcpState};

/// How long a likely but uncertain request counts: longer than nearly every request takes, and
/// short enough for connections of a pool, which are idle for minutes.
const LONG_SILENCE: Duration = Duration::from_secs(60);

/// No TLS ClientHello is smaller.
const SMALLEST_HELLO: u64 = 160;

/// A client that pauses a handshake for longer does not go on with it.
const SLOW_HANDSHAKE: Duration = Duration::from_secs(3);

/// The silence after which a connection with many exchanges is idle if its last exchange came
/// before the first look: longer than most pauses, and over within two seconds after the default
/// pre-stop sleep. A pause that is longer, begun before the stop, on a server with an event loop,
/// cannot be told from rest.
const UNSEEN: Duration = Duration::from_millis(6_200);

/// How long the evidence holds, as configured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Patience {
    /// `--drain-quiet`: the shortest silence after which an answer counts as complete.
    pub quiet: Duration,
    /// `--drain-longest`: the longest such silence.
    pub longest: Duration,
}

/// What decided. The first eleven mean that something is in flight.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Evidence {
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
    /// The app has sent `100 Continue`, so that the rest of the request follows.
    Continue,
    /// Data went out just now.
    JustSent,
    /// Data went out, and answers like this one may pause for longer.
    MayGoOn,
    /// All that went out may be a TLS handshake, or settings of HTTP/2, with a request behind it.
    Handshake,
    /// The last data in and out share a tick, and nothing tells which was first.
    Tie,
    /// Nothing but the connection itself can be seen.
    Established,

    /// Nothing has ever come in.
    NeverAsked,
    /// The last data went out after the last came in, and the silence since then is longer than an
    /// answer's pauses.
    Answered,
    /// Answered, as evenly as the exchanges before: a health check.
    Routine,
    /// A tie so old that most likely the answer was last.
    OldTie,
    /// The client sent last, was silent for long like this before, and went on: no request.
    RestsOpen,
    /// The app has closed it, and everything has arrived.
    Closed,
}

impl Evidence {
    pub(super) fn in_flight(self) -> bool {
        match self {
            Evidence::Unread
            | Evidence::Unsent
            | Evidence::Unaccepted
            | Evidence::Newborn
            | Evidence::Unanswered
            | Evidence::Continue
            | Evidence::JustSent
            | Evidence::MayGoOn
            | Evidence::Handshake
            | Evidence::Tie
            | Evidence::Established => true,
            Evidence::NeverAsked
            | Evidence::Answered
            | Evidence::Routine
            | Evidence::OldTie
            | Evidence::RestsOpen
            | Evidence::Closed => false,
        }
    }

    /// Most likely idle, but not certainly.
    pub(super) fn is_doubt(self) -> bool {
        matches!(self, Evidence::MayGoOn | Evidence::Handshake | Evidence::Tie)
    }

    /// In flight by caution alone: most likely the client has its whole answer.
    pub(super) fn is_caution(self) -> bool {
        match self {
            Evidence::Newborn | Evidence::JustSent | Evidence::MayGoOn => true,
            Evidence::Unread
            | Evidence::Unsent
            | Evidence::Unaccepted
            | Evidence::Unanswered
            | Evidence::Continue
            | Evidence::Handshake
            | Evidence::Tie
            | Evidence::Established
            | Evidence::NeverAsked
            | Evidence::Answered
            | Evidence::Routine
            | Evidence::OldTie
            | Evidence::RestsOpen
            | Evidence::Closed => false,
        }
    }
}

/// Who sent last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaker {
    Nobody,
    Client,
    Server,
    /// A tie.
    Either,
}

impl History {
    /// Takes in the next sample and judges it.
    pub(super) fn observe(
        &mut self,
        now: Moment,
        sample: &Sample,
        rhythm: &mut Rhythm,
        patience: &Patience,
    ) -> Evidence {
        self.take(now, sample, rhythm);
        let speaker = sample.info.as_ref().map_or(Speaker::Nobody, |info| speaker(info, self));
        if let Some(info) = &sample.info
            && speaker == Speaker::Server
            && info.data_in == 1
            && info.sent_ago >= if info.bytes_in < SMALLEST_HELLO { ACKNOWLEDGED_BY } else { SLOW_HANDSHAKE }
        {
            rhythm.is_without_tls();
        }
        let evidence = judge(sample, self, rhythm, patience);
        rhythm.reading(self.reading, evidence);
        self.judged(now, sample, speaker, !evidence.in_flight(), rhythm);
        evidence
    }
}

/// The rule. The queues first, since they cannot lie; then who sent last; then whether an answer is
/// complete. Each step decides only what the steps before it left open.
pub(super) fn judge(sample: &Sample, history: &History, rhythm: &Rhythm, patience: &Patience) -> Evidence {
    if sample.unread > 0 {
        return Evidence::Unread;
    }
    if sample.unsent > 0 {
        return Evidence::Unsent;
    }
    let info = match (sample.state, &sample.info) {
        (TcpState::Unaccepted, _) => return Evidence::Unaccepted,
        (TcpState::Closing, _) => return Evidence::Closed,
        (TcpState::Established | TcpState::HalfClosed, None) => return Evidence::Established,
        (TcpState::Established | TcpState::HalfClosed, Some(info)) => info,
    };
    match speaker(info, history) {
        Speaker::Nobody if info.sent_ago < patience.quiet => Evidence::Newborn,
        Speaker::Nobody => Evidence::NeverAsked,
        Speaker::Client if history.rests_open() && info.received_ago >= patience.longest => {
            Evidence::RestsOpen
        }
        Speaker::Client => Evidence::Unanswered,
        Speaker::Either if info.received_ago < tie_lasts(info, history, rhythm, patience) => Evidence::Tie,
        Speaker::Either => Evidence::OldTie,
        Speaker::Server if info.data_in == 0 && info.sent_ago < patience.quiet => Evidence::JustSent,
        Speaker::Server if info.data_in == 0 => Evidence::NeverAsked,
        Speaker::Server => judge_answer(info, history, rhythm, patience),
    }
}

/// Who sent last?
fn speaker(info: &TcpInfo, history: &History) -> Speaker {
    match (info.data_in, info.data_out) {
        (0, 0) => Speaker::Nobody,
        (_, 0) => Speaker::Client,
        (0, _) => Speaker::Server,
        _ if info.received_ago < info.sent_ago => Speaker::Client,
        _ if info.sent_ago < info.received_ago => Speaker::Server,
        _ => judge_tie(info, history),
    }
}

/// The last data in and out share a tick of the kernel's clock. A fast answer, and a fast answer
/// with the next request right behind it, look alike then. They differ in how each side
/// acknowledges.
fn judge_tie(info: &TcpInfo, history: &History) -> Speaker {
    // The client has acknowledged something later than it last sent data.
    if history.answer_acked_apart {
        return Speaker::Server;
    }
    // The client acknowledged the newest answer with its next request, or the kernel the newest
    // request with a bare segment: no answer carried it.
    if history.request_acks_answer || history.request_acked_apart {
        return Speaker::Client;
    }
    // Of a connection first seen now, the one bare segment may be its SYN-ACK.
    let bare_before = history.bare_before.unwrap_or(1);
    let grown = info.bare_out.wrapping_sub(bare_before).cast_signed() > 0;
    if info.received_ago >= ACKNOWLEDGED_BY && !grown {
        return Speaker::Server;
    }
    if info.data_in == 1 {
        return Speaker::Server;
    }
    if let Some((data_in, data_out)) = history.rested_at {
        let (came, went) = (info.data_in.wrapping_sub(data_in), info.data_out.wrapping_sub(data_out));
        if (came, went) == (0, 0) || came == 1 && went > 0 {
            return Speaker::Server;
        }
    }
    Speaker::Either
}

/// In most exchanges an acknowledgement tells who was last, so that what it leaves open is most
/// likely a request: the client's own comes later than the answer, and an answer carries ours. So
/// is a tie in a TLS handshake, whose tickets come at the same time as the request.
fn tie_lasts(info: &TcpInfo, history: &History, rhythm: &Rhythm, patience: &Patience) -> Duration {
    let lasts = LONG_SILENCE.max(patience.longest);
    lasts.min(awaits_client(info, history, rhythm, patience).unwrap_or(lasts))
}

/// A thread of the app blocks in a read on this connection, which it does not do while it works on
/// a request: the silence after which the connection is idle then. None where the read proves
/// nothing: on a connection with frames too small for HTTP/1, which may carry several requests at
/// once, and where such threads were seen to read while a request was open.
fn awaits_client(
    info: &TcpInfo,
    history: &History,
    rhythm: &Rhythm,
    patience: &Patience,
) -> Option<Duration> {
    let brief = history.asks_briefly() || sends_small_frames(info);
    if history.reading != Reading::Yes || brief || rhythm.reads_ahead() {
        return None;
    }
    Some(if history.has_answered_in_sight() && rhythm.works_apart() {
        patience.quiet.saturating_mul(2)
    } else {
        UNSEEN
    })
}

/// On the whole, the client's segments are too small for requests of HTTP/1.
fn sends_small_frames(info: &TcpInfo) -> bool {
    info.bytes_in.checked_div(info.data_in.into()).unwrap_or(0) <= BRIEF
}

/// The app sent last. Is its answer complete?
fn judge_answer(info: &TcpInfo, history: &History, rhythm: &Rhythm, patience: &Patience) -> Evidence {
    if history.awaits_body(info, rhythm) {
        return Evidence::Continue;
    }
    let wait = silence(info, history, rhythm, patience);
    if info.sent_ago >= wait.of {
        Evidence::Answered
    } else if history.is_routine(info) {
        Evidence::Routine
    } else if info.sent_ago < patience.quiet {
        Evidence::JustSent
    } else {
        wait.evidence
    }
}

/// The silence after which an answer is complete, and the evidence until then.
struct Silence {
    of: Duration,
    evidence: Evidence,
}

/// How long the app must have been silent for its answer to be complete.
fn silence(info: &TcpInfo, history: &History, rhythm: &Rhythm, patience: &Patience) -> Silence {
    let twice = patience.quiet.saturating_mul(2);
    let present = history.present(info, rhythm);
    let of = match present.known {
        // Several requests may be in flight at once, and this answered one of them.
        _ if history.asks_briefly() => patience.longest,
        Some((shape, _)) if rhythm.knows(shape) => patience.quiet,
        Some((_, (_, answered))) if !present.first && rhythm.is_steady(answered) => twice,
        _ if present.overlapped => patience.longest,
        None if sends_small_frames(info) => patience.longest,
        None if history.is_experienced(info, rhythm) && rhythm.is_steady(u64::MAX) => twice,
        None if history.reading == Reading::Elsewhere => patience.longest,
        None if history.is_experienced(info, rhythm) => UNSEEN,
        _ => patience.longest,
    };
    let of = of.max(rhythm.beyond_pauses().unwrap_or_default()).min(patience.longest.max(patience.quiet));
    if let Some(certain) = awaits_client(info, history, rhythm, patience) {
        return Silence { of: of.min(certain), evidence: Evidence::MayGoOn };
    }
    let handshake = may_be_handshake(info, history, rhythm) || may_be_http2_settings(info, history);
    if of >= patience.longest && handshake {
        return Silence { of: LONG_SILENCE.max(patience.longest), evidence: Evidence::Handshake };
    }
    Silence { of, evidence: Evidence::MayGoOn }
}

/// May all that was sent be a TLS handshake and its session tickets? Judged by numbers and sizes:
/// the ClientHello, the client's end of the handshake and the request, which within milliseconds is
/// answered by tickets only.
fn may_be_handshake(info: &TcpInfo, history: &History, rhythm: &Rhythm) -> bool {
    // A server that sends its tickets with the handshake, as Go does, or none at all sends nothing
    // behind the request.
    !rhythm.speaks_plainly()
        && !history.has_completed()
        && (2..=5).contains(&info.data_in)
        && (2..=8).contains(&info.data_out)
        && has_room_for_handshake(info)
        && was_sent_at_once(info)
}

/// May the last that was sent be the settings and acknowledgements with which a connection of
/// HTTP/2 begins, around and behind its first requests?
fn may_be_http2_settings(info: &TcpInfo, history: &History) -> bool {
    /// The preface, a frame of settings and the smallest of headers (RFC 9113).
    const SMALLEST: u64 = 24 + 9 + 10;
    !history.has_completed()
        && (2..=5).contains(&info.data_in)
        && info.bytes_in >= SMALLEST
        && sends_small_frames(info)
        && was_sent_at_once(info)
}

fn was_sent_at_once(info: &TcpInfo) -> bool {
    const AT_ONCE: Duration = Duration::from_millis(500);
    info.received_ago.saturating_sub(info.sent_ago) <= AT_ONCE
}

/// A connection from the app to a service, such as a database: is a query unanswered? The mirror of
/// the rule above: a service that has the query but no answer yet acknowledges it with a bare
/// segment, later than the tie.
pub(super) fn judge_outbound(sample: &Sample, patience: &Patience) -> Evidence {
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
    } else if sent < received || info.data_in == 0 {
        Evidence::Unanswered
    } else if received < sent {
        Evidence::Answered
    } else if sent >= patience.longest {
        Evidence::OldTie
    } else if sent < ACKNOWLEDGED_BY || info.acked_ago < sent {
        Evidence::Tie
    } else {
        Evidence::Answered
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

    /// Late enough for everything to have happened after adieu's start.
    fn moment(at: u64) -> Moment {
        Moment::at(ms(1_000_000 + at))
    }

    /// Queues empty; ages in milliseconds; one segment each way and the SYN-ACK.
    fn info(received: u64, sent: u64, acked: u64) -> TcpInfo {
        TcpInfo {
            sent_ago: ms(sent),
            received_ago: ms(received),
            acked_ago: ms(acked),
            data_in: 1,
            data_out: 1,
            bare_out: 1,
            bytes_in: 80,
            bytes_out: 170,
            ..TcpInfo::default()
        }
    }

    fn open(info: TcpInfo) -> Sample {
        Sample { state: TcpState::Established, unread: 0, unsent: 0, info: Some(info) }
    }

    fn first_sight(sample: Sample) -> Evidence {
        History::default().observe(moment(0), &sample, &mut Rhythm::default(), &PATIENCE)
    }

    /// A connection in time, as a listener's kernel and client move it; looks are taken when the
    /// test says.
    struct Client {
        now: u64,
        received: u64,
        sent: u64,
        info: TcpInfo,
        history: History,
        /// It has received what it has not acknowledged: its next request does, or 40 ms.
        owes: bool,
    }

    impl Client {
        /// Connected in sight, at this time in milliseconds.
        fn connects(now: u64) -> Client {
            let info = TcpInfo { data_in: 0, data_out: 0, bytes_in: 0, bytes_out: 0, ..info(0, 0, 0) };
            Client { now, received: now, sent: now, info, history: History::born_in_sight(), owes: false }
        }

        /// Connected long before, after so many exchanges, the last of them just now.
        fn kept(now: u64, exchanges: u32) -> Client {
            let count = u64::from(exchanges);
            let counters = TcpInfo { data_in: exchanges, data_out: exchanges, ..info(0, 0, 0) };
            let counters = TcpInfo { bytes_in: 80 * count, bytes_out: 170 * count, ..counters };
            Client {
                now,
                received: now - 8,
                sent: now,
                info: counters,
                history: History::default(),
                owes: true,
            }
        }

        fn waits(&mut self, time: u64) -> &mut Client {
            self.now += time;
            if self.owes && self.now - self.sent >= 40 {
                self.owes = false;
                self.info.bare_in += 1;
            }
            self
        }

        fn asks(&mut self, bytes: u64) -> &mut Client {
            self.received = self.now;
            self.info.data_in += 1;
            self.info.bytes_in += bytes;
            self.owes = false;
            self
        }

        fn hears(&mut self, bytes: u64) -> &mut Client {
            self.sent = self.now;
            self.info.data_out += 1;
            self.info.bytes_out += bytes;
            self.owes = true;
            self
        }

        fn look(&mut self, rhythm: &mut Rhythm) -> Evidence {
            let (received, sent) = (self.now - self.received, self.now - self.sent);
            let aged = TcpInfo { received_ago: ms(received), sent_ago: ms(sent), ..self.info };
            let sample = open(TcpInfo { acked_ago: ms(received.min(sent)), ..aged });
            self.history.observe(moment(self.now), &sample, rhythm, &PATIENCE)
        }

        /// Asks and is answered after so long, with looks on the way.
        fn exchange(&mut self, asked: u64, service: u64, answered: u64, rhythm: &mut Rhythm) {
            self.asks(asked).look(rhythm);
            self.waits(service).hears(answered).look(rhythm);
            self.waits(50).look(rhythm);
        }
    }

    /// A listener whose clients ask for 80 bytes and get 170 within 8 ms.
    fn known_listener() -> Rhythm {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(0);
        client.look(&mut rhythm);
        (0..4).for_each(|_| client.exchange(80, 8, 170, &mut rhythm));
        rhythm
    }

    #[test]
    fn unread_bytes_are_work() {
        assert_eq!(first_sight(Sample { unread: 1, ..open(info(50_000, 40_000, 40_000)) }), Evidence::Unread);
    }

    #[test]
    fn unacknowledged_bytes_are_work_even_after_the_app_has_closed() {
        let old = info(50_000, 40_000, 40_000);
        assert_eq!(first_sight(Sample { unsent: 1, ..open(old) }), Evidence::Unsent);
        let closing = Sample { state: TcpState::Closing, ..open(old) };
        assert_eq!(first_sight(Sample { unsent: 9, ..closing }), Evidence::Unsent);
        assert_eq!(first_sight(closing), Evidence::Closed);
    }

    #[test]
    fn a_connection_nobody_accepted_is_work_however_old() {
        let waiting = Sample { state: TcpState::Unaccepted, ..open(info(60_000, 60_000, 60_000)) };
        assert_eq!(first_sight(waiting), Evidence::Unaccepted);
    }

    #[test]
    fn a_silent_connection_is_idle_once_it_is_no_newborn() {
        let silent = |age| open(TcpInfo { data_in: 0, data_out: 0, ..info(age, age, age) });
        assert_eq!(first_sight(silent(3)), Evidence::Newborn);
        assert_eq!(first_sight(silent(1000)), Evidence::NeverAsked);
    }

    #[test]
    fn a_greeting_from_the_server_is_no_request() {
        let greeted = |sent| open(TcpInfo { data_in: 0, ..info(5000, sent, sent) });
        assert_eq!(first_sight(greeted(5000)), Evidence::NeverAsked);
        assert_eq!(first_sight(greeted(20)), Evidence::JustSent);
    }

    #[test]
    fn asked_and_never_answered_is_in_flight_however_old() {
        let asked = |age| open(TcpInfo { data_out: 0, ..info(age, age + 5, age) });
        for age in [0, 40, 29_999, 45_000, 3_600_000] {
            assert_eq!(first_sight(asked(age)), Evidence::Unanswered);
            assert_eq!(first_sight(open(info(age, age + 4, age))), Evidence::Unanswered);
        }
        // The first request may share its tick with the connection itself.
        assert_eq!(first_sight(open(TcpInfo { data_out: 0, ..info(40, 40, 40) })), Evidence::Unanswered);
    }

    #[test]
    fn a_half_closed_client_gets_its_answer_and_a_leaked_socket_holds_nothing_up() {
        let half = |info| Sample { state: TcpState::HalfClosed, ..open(info) };
        assert_eq!(first_sight(half(info(90_000, 95_000, 90_000))), Evidence::Unanswered);
        assert_eq!(first_sight(half(info(15_000, 14_000, 14_000))), Evidence::Answered);
    }

    #[test]
    fn a_single_exchange_of_an_unknown_kind_may_go_on_for_the_longest_pause() {
        for (age, expected) in
            [(500, Evidence::JustSent), (9_999, Evidence::MayGoOn), (10_000, Evidence::Answered)]
        {
            assert_eq!(first_sight(open(info(age + 600, age, age))), expected);
        }
    }

    #[test]
    fn an_exchange_like_others_that_were_complete_is_believed_when_it_is_quiet() {
        let mut rhythm = known_listener();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        assert_eq!(client.waits(949).look(&mut rhythm), Evidence::JustSent);
        assert_eq!(client.waits(1).look(&mut rhythm), Evidence::Answered);
        // Headers of an answer that pauses are not like them.
        client.exchange(80, 8, 120, &mut rhythm);
        assert_eq!(client.waits(8000).look(&mut rhythm), Evidence::MayGoOn);
        client.hears(50).look(&mut rhythm);
        assert_eq!(client.waits(9000).look(&mut rhythm), Evidence::MayGoOn, "this listener pauses");
    }

    #[test]
    fn a_first_request_is_known_from_its_beginning_also_where_it_came_before_the_first_look() {
        let mut rhythm = Rhythm::default();
        // Gone with its answer, so that this was complete.
        let mut brief = Client::kept(5000, 1);
        brief.waits(300).look(&mut rhythm);
        brief.history.gone(&mut rhythm);
        let mut busy = Client::connects(5000);
        busy.history = History::default();
        assert_eq!(busy.asks(80).look(&mut rhythm), Evidence::Unanswered);
        busy.waits(8000).hears(170).look(&mut rhythm);
        let mut answered = Client::kept(13_000, 1);
        for client in [&mut busy, &mut answered] {
            client.waits(300).look(&mut rhythm);
            assert_eq!(client.waits(700).look(&mut rhythm), Evidence::Answered, "as others of this size");
        }
        // Of several segments nobody knows where the last request began.
        let mut kept = Client::kept(5000, 2);
        kept.look(&mut rhythm);
        assert_eq!(kept.waits(9_999).look(&mut rhythm), Evidence::MayGoOn);
    }

    #[test]
    fn a_request_that_came_before_the_first_look_does_not_show_what_its_client_speaks() {
        let mut rhythm = Rhythm::default();
        let mut upgraded = Client::kept(5000, 1);
        upgraded.look(&mut rhythm);
        assert!(!upgraded.waits(20_000).look(&mut rhythm).in_flight());
        assert!(!upgraded.history.speaks_like_http(), "it may be a websocket");
        let mut seen = Client::connects(5000);
        seen.look(&mut rhythm);
        seen.exchange(80, 8, 170, &mut rhythm);
        assert!(seen.history.speaks_like_http());
    }

    #[test]
    fn messages_in_turn_show_http_also_within_ticks_and_small_ones_do_not() {
        for (size, at_once, shown) in [(59, 1, true), (59, 500, true), (36, 1, false), (34, 500, false)] {
            let mut rhythm = Rhythm::default();
            let mut client = Client::kept(5000, 7);
            // The answer and the next request, and so on.
            client.hears(170).asks(size).waits(300).look(&mut rhythm);
            assert!(!client.history.speaks_like_http(), "nothing has come in sight");
            for _ in 0..at_once {
                client.hears(170).asks(size);
            }
            client.waits(300).look(&mut rhythm);
            assert_eq!(client.history.speaks_like_http(), shown, "{size} {at_once}");
        }
    }

    #[test]
    fn a_small_message_after_an_answer_is_none_of_http_unless_leave_was_given_to_send_it() {
        for (answer, shown) in [(170, false), (25, true)] {
            let mut rhythm = known_listener();
            let mut client = Client::connects(5000);
            client.look(&mut rhythm);
            client.exchange(80, 8, 170, &mut rhythm);
            client.exchange(80, 8, answer, &mut rhythm);
            client.exchange(9, 8, 170, &mut rhythm);
            assert_eq!(client.history.speaks_like_http(), shown, "after {answer} bytes");
        }
    }

    #[test]
    fn a_connection_kept_through_many_exchanges_is_idle_two_seconds_after_the_usual_sleep() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::kept(5000, 20);
        client.look(&mut rhythm);
        assert_eq!(client.waits(6_199).look(&mut rhythm), Evidence::MayGoOn);
        assert_eq!(client.waits(1).look(&mut rhythm), Evidence::Answered);
        // Where much was seen and nothing paused, sooner.
        (0..20).for_each(|_| client.exchange(80, 8, 170, &mut rhythm));
        let mut other = Client::kept(9000, 20);
        assert_eq!(other.waits(2000).look(&mut rhythm), Evidence::Answered);
    }

    #[test]
    fn a_thread_that_waits_for_its_client_says_that_an_answer_was_complete() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::kept(5000, 1);
        client.history.reads(Reading::Yes);
        assert_eq!(client.waits(6_199).look(&mut rhythm), Evidence::MayGoOn);
        assert_eq!(client.waits(1).look(&mut rhythm), Evidence::Answered, "not after ten seconds");
        // Threads of this listener do not read while they work.
        let mut other = Client::connects(5000);
        other.look(&mut rhythm);
        other.history.reads(Reading::No);
        other.asks(80).look(&mut rhythm);
        other.hears(170).look(&mut rhythm);
        other.history.reads(Reading::Yes);
        assert_eq!(other.waits(1_999).look(&mut rhythm), Evidence::MayGoOn);
        assert_eq!(other.waits(1).look(&mut rhythm), Evidence::Answered);
        // That this one did not read when its request was open is not known.
        let mut unseen = Client::kept(5000, 1);
        unseen.history.reads(Reading::Yes);
        assert_eq!(unseen.waits(6_199).look(&mut rhythm), Evidence::MayGoOn);
        // Whose thread does something else has not finished.
        let mut pausing = Client::kept(5000, 20);
        pausing.history.reads(Reading::Elsewhere);
        assert_eq!(pausing.waits(9_999).look(&mut rhythm), Evidence::MayGoOn);
        // Nor does it say anything where it reads while requests are open, or of small frames.
        let mut frames = Client::kept(5000, 1);
        frames.info.bytes_in = 20;
        frames.history.reads(Reading::Yes);
        assert_eq!(frames.waits(9_999).look(&mut rhythm), Evidence::MayGoOn);
        let mut open = Client::connects(5000);
        open.history.reads(Reading::Yes);
        assert_eq!(open.asks(80).look(&mut rhythm), Evidence::Unanswered);
        let mut client = Client::kept(5000, 1);
        client.history.reads(Reading::Yes);
        assert_eq!(client.waits(9_999).look(&mut rhythm), Evidence::MayGoOn);
    }

    #[test]
    fn any_size_is_believed_of_a_listener_that_never_pauses() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(0);
        client.look(&mut rhythm);
        (0..20).for_each(|n| client.exchange(80, 8, 170 + 200 * n, &mut rhythm));
        client.exchange(80, 8, 90_000, &mut rhythm);
        assert_eq!(client.waits(1950).look(&mut rhythm), Evidence::Answered);
        client.exchange(80, 8, 120, &mut rhythm);
        assert_eq!(client.waits(1950).look(&mut rhythm), Evidence::MayGoOn, "shorter than any was");
    }

    #[test]
    fn where_answers_pause_silence_must_be_longer_than_the_longest_pause() {
        let mut rhythm = known_listener();
        rhythm.paused(ms(2000), None);
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        assert_eq!(client.waits(3100).look(&mut rhythm), Evidence::MayGoOn);
        assert_eq!(client.waits(100).look(&mut rhythm), Evidence::Answered);
    }

    #[test]
    fn a_stream_of_events_is_in_flight_between_them() {
        let mut rhythm = known_listener();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.asks(90).waits(5).hears(140).look(&mut rhythm);
        for _ in 0..20 {
            for _ in 0..40 {
                assert!(client.waits(50).look(&mut rhythm).in_flight());
            }
            assert!(client.hears(30).look(&mut rhythm).in_flight());
        }
    }

    #[test]
    fn a_request_to_go_on_is_no_answer() {
        let mut rhythm = known_listener();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        client.exchange(200, 8, 25, &mut rhythm);
        assert_eq!(client.waits(60_000).look(&mut rhythm), Evidence::Continue);
        let first = TcpInfo { bytes_out: 25, ..info(30_000, 30_000, 30_000) };
        assert_eq!(first_sight(open(first)), Evidence::Continue, "also when nobody saw it");
    }

    #[test]
    fn the_second_of_two_pipelined_requests_is_waited_for() {
        let mut rhythm = known_listener();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        client.exchange(160, 8, 170, &mut rhythm);
        assert_eq!(client.waits(9900).look(&mut rhythm), Evidence::MayGoOn);
    }

    #[test]
    fn an_answer_on_a_connection_with_small_requests_may_be_one_of_several() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        (0..30).for_each(|_| client.exchange(15, 2, 60, &mut rhythm));
        assert_eq!(client.waits(9900).look(&mut rhythm), Evidence::MayGoOn);
        assert_eq!(client.waits(100).look(&mut rhythm), Evidence::Answered);
    }

    #[test]
    fn a_client_that_asks_again_while_it_waits_may_be_owed_two_answers() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        (0..30).for_each(|_| client.exchange(80, 2, 170, &mut rhythm));
        client.asks(80).look(&mut rhythm);
        client.waits(500).look(&mut rhythm);
        client.asks(80).look(&mut rhythm);
        client.waits(5).hears(170).look(&mut rhythm);
        assert_eq!(client.waits(9900).look(&mut rhythm), Evidence::MayGoOn);
    }

    /// Hello, end of handshake and request from the client; certificates and session tickets from
    /// the server.
    fn handshake(silent: u64) -> TcpInfo {
        let counters = TcpInfo { data_in: 3, data_out: 2, bytes_in: 760, bytes_out: 1900, ..info(0, 0, 0) };
        TcpInfo { received_ago: ms(silent + 4), sent_ago: ms(silent), acked_ago: ms(silent), ..counters }
    }

    #[test]
    fn session_tickets_are_no_answer() {
        for silent in [1_000, 11_000, 45_000, 59_000] {
            assert_eq!(first_sight(open(handshake(silent))), Evidence::Handshake);
        }
        assert_eq!(first_sight(open(handshake(60_000))), Evidence::Answered, "a pool that has rested");
        let tie = |age| open(TcpInfo { received_ago: ms(age), bare_out: 4, ..handshake(age) });
        assert_eq!(first_sight(tie(45_000)), Evidence::Tie);
        assert_eq!(first_sight(tie(60_000)), Evidence::OldTie);
        let without = |age| {
            let counters = TcpInfo { data_out: 1, bytes_in: 685, bytes_out: 1321, ..handshake(age) };
            open(TcpInfo { received_ago: ms(age), bare_out: 2, ..counters })
        };
        assert_eq!(first_sight(without(59_000)), Evidence::Tie, "all of it within one tick");
        let late = TcpInfo { received_ago: ms(12_000), ..handshake(11_000) };
        assert_eq!(first_sight(open(late)), Evidence::Answered, "tickets are sent at once");
    }

    #[test]
    fn settings_of_http2_are_no_answer_and_pauses_in_small_frames_no_rest() {
        let sent = |data_in, bytes_in, silent| {
            let counters = TcpInfo { data_in, data_out: 4, bytes_in, ..info(silent + 8, silent, silent) };
            first_sight(open(counters))
        };
        for silent in [1_000, 9_999, 59_000] {
            assert_eq!(sent(4, 90, silent), Evidence::Handshake);
        }
        assert_eq!(sent(4, 90, 60_000), Evidence::Answered);
        // Of an older connection, as of any with small requests.
        assert_eq!(sent(6, 130, 9_999), Evidence::MayGoOn);
        assert_eq!(sent(6, 130, 10_000), Evidence::Answered);
        assert_eq!(sent(6, 80 * 6, 6_200), Evidence::Answered, "requests of HTTP/1");
    }

    #[test]
    fn where_one_segment_was_answered_there_is_no_handshake() {
        let mut rhythm = Rhythm::default();
        let mut plain = Client::connects(0);
        plain.look(&mut rhythm);
        plain.exchange(80, 8, 170, &mut rhythm);
        plain.waits(300).look(&mut rhythm);
        let evidence =
            History::default().observe(moment(0), &open(handshake(11_000)), &mut rhythm, &PATIENCE);
        assert_eq!(evidence, Evidence::Answered);
    }

    #[test]
    fn a_first_exchange_over_tls_is_believed_when_others_like_it_were_complete() {
        let mut rhythm = Rhythm::default();
        let first = |rhythm: &mut Rhythm, answered: u64| {
            let mut client = Client::connects(5000);
            client.look(rhythm);
            client.asks(500).hears(1400).asks(80).asks(180).waits(4).hears(500 + answered).look(rhythm);
            client.waits(200).look(rhythm);
            client
        };
        let mut other = first(&mut rhythm, 300);
        other.exchange(180, 5, 300, &mut rhythm);
        let mut client = first(&mut rhythm, 300);
        assert_eq!(client.waits(1000).look(&mut rhythm), Evidence::Answered);
        let mut waiting = first(&mut rhythm, 0);
        assert_eq!(waiting.waits(40_000).look(&mut rhythm), Evidence::Handshake);
    }

    #[test]
    fn a_health_check_on_a_kept_connection_holds_nothing_up() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::kept(5000, 300);
        client.look(&mut rhythm);
        for _ in 0..6 {
            client.waits(850).exchange(80, 4, 170, &mut rhythm);
        }
        assert_eq!(client.waits(50).look(&mut rhythm), Evidence::Routine);
        assert_eq!(client.waits(800).asks(80).look(&mut rhythm), Evidence::Unanswered);
        // Another kind of request on the same connection is none.
        client.waits(4).hears(400).look(&mut rhythm);
        assert_eq!(client.waits(50).look(&mut rhythm), Evidence::JustSent);
    }

    #[test]
    fn pings_beside_a_request_and_messages_of_a_stream_are_no_health_check() {
        // HTTP/2's ping, a message and its echo, a message and a window update; a websocket's ping.
        for (asked, answered, routine) in [
            (17, 17, false),
            (34, 34, false),
            (34, 13, false),
            (43, 36, false),
            (47, 300, false),
            (60, 90, false),
            (10, 6, true),
        ] {
            let mut rhythm = Rhythm::default();
            let mut client = Client::kept(5000, 300);
            client.look(&mut rhythm);
            for _ in 0..20 {
                client.waits(850).exchange(asked, 4, answered, &mut rhythm);
            }
            let evidence = client.waits(50).look(&mut rhythm);
            assert_eq!(evidence == Evidence::Routine, routine, "{asked} {answered}: {evidence:?}");
            // Nor is a longer exchange on such a connection.
            for _ in 0..6 {
                client.waits(850).exchange(90, 4, 170, &mut rhythm);
            }
            assert_eq!(client.waits(50).look(&mut rhythm), Evidence::JustSent);
        }
    }

    /// As in gRPC, the first time that it is seen.
    #[test]
    fn a_message_of_a_stream_after_a_rest_is_known_by_what_the_client_sends_back() {
        for (sends_back, holds) in
            [(43, Evidence::MayGoOn), (17, Evidence::MayGoOn), (80, Evidence::Answered)]
        {
            let mut rhythm = Rhythm::default();
            let mut client = Client::kept(5000, 20);
            client.waits(100).asks(60).waits(6000).look(&mut rhythm);
            client.waits(1000).hears(46).asks(sends_back).waits(4).hears(17).look(&mut rhythm);
            assert_eq!(client.waits(8000).look(&mut rhythm), holds, "{sends_back}");
        }
    }

    #[test]
    fn a_client_in_a_hurry_has_no_beat() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::kept(5000, 300);
        client.look(&mut rhythm);
        for _ in 0..30 {
            client.waits(50).exchange(80, 4, 170, &mut rhythm);
        }
        assert_eq!(client.waits(50).look(&mut rhythm), Evidence::JustSent);
    }

    #[test]
    fn a_connection_that_rests_while_its_client_spoke_last_is_idle_after_the_longest_request() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::kept(5000, 20);
        client.look(&mut rhythm);
        for _ in 0..3 {
            // A question, an answer, and a window update that nobody answers.
            client.waits(100).asks(60).waits(10).hears(5000).look(&mut rhythm);
            client.waits(10).asks(13).look(&mut rhythm);
            assert_eq!(client.waits(3000).look(&mut rhythm), Evidence::Unanswered);
        }
        client.waits(100).asks(60).look(&mut rhythm);
        assert_eq!(client.waits(9_999).look(&mut rhythm), Evidence::Unanswered);
        assert_eq!(client.waits(1).look(&mut rhythm), Evidence::RestsOpen);
    }

    #[test]
    fn an_upload_that_pauses_has_not_shown_that_it_rests() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        for _ in 0..10 {
            client.waits(1500).asks(4000).look(&mut rhythm);
            assert_eq!(client.waits(1000).look(&mut rhythm), Evidence::Unanswered);
        }
        assert_eq!(client.waits(90_000).look(&mut rhythm), Evidence::Unanswered);
    }

    #[test]
    fn a_client_that_asks_again_at_once_has_not_shown_that_it_rests() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.asks(80).look(&mut rhythm);
        for _ in 0..6 {
            // The answer and the next request in one tick.
            client.hears(170).asks(80).waits(20).look(&mut rhythm);
            client.info.bare_out += 1;
            client.waits(50).look(&mut rhythm);
            assert_eq!(client.waits(550).look(&mut rhythm), Evidence::Unanswered);
        }
        assert_eq!(client.waits(30_000).look(&mut rhythm), Evidence::Unanswered);
    }

    #[test]
    fn the_rest_of_an_answer_right_before_the_next_request_is_a_pause() {
        let mut rhythm = known_listener();
        let mut client = Client::connects(5000);
        client.look(&mut rhythm);
        client.exchange(80, 8, 170, &mut rhythm);
        for _ in 0..3 {
            client.asks(80).look(&mut rhythm);
            client.waits(300).hears(120).look(&mut rhythm);
            assert!(client.waits(1450).look(&mut rhythm).in_flight());
            client.waits(50).hears(50).waits(4);
        }
        client.asks(80).look(&mut rhythm);
        let mut other = Client::connects(20_000);
        other.look(&mut rhythm);
        other.exchange(80, 8, 170, &mut rhythm);
        other.asks(80).look(&mut rhythm);
        other.waits(8).hears(120).look(&mut rhythm);
        assert_eq!(other.waits(2_400).look(&mut rhythm), Evidence::MayGoOn);
    }

    /// A tie of a connection with several segments, of which no look has seen the beginning.
    fn tie(age: u64, acked: u64, bare_out: u32) -> Sample {
        open(TcpInfo {
            data_in: 10,
            data_out: 9,
            bare_out,
            bare_in: 9,
            bytes_in: 800,
            ..info(age, age, acked)
        })
    }

    #[test]
    fn a_tie_is_an_answer_when_the_client_acknowledged_later_on_its_own() {
        assert_eq!(first_sight(tie(7000, 6960, 7)), Evidence::Answered);
        assert_eq!(first_sight(tie(2000, 2000, 7)), Evidence::Tie);
        assert_eq!(
            first_sight(tie(59_000, 59_000, 7)),
            Evidence::Tie,
            "clients delay acknowledgements by now"
        );
        assert_eq!(first_sight(tie(60_000, 60_000, 7)), Evidence::OldTie);
        // It may be a keep-alive probe of our own kernel, a second after the data or later.
        assert_eq!(first_sight(tie(7000, 6101, 7)), Evidence::Answered);
        for acked in [6100, 6000, 20] {
            assert_eq!(first_sight(tie(7000, acked, 8)), Evidence::Tie);
        }
        // Which hides what was seen before, on the same data alone.
        let (mut history, mut rhythm) = (History::default(), Rhythm::default());
        for (look, expected) in [
            (tie(1500, 1460, 7), Evidence::MayGoOn),
            (tie(16_500, 1400, 8), Evidence::Answered),
            (open(TcpInfo { data_in: 12, data_out: 11, bare_out: 9, ..info(1500, 1500, 0) }), Evidence::Tie),
        ] {
            assert_eq!(history.observe(moment(0), &look, &mut rhythm, &PATIENCE), expected);
        }
        // A slow request right behind a first, fast one.
        let early = |age| open(TcpInfo { data_in: 2, bare_out: 2, ..info(age, age, age) });
        assert_eq!(first_sight(early(59_999)), Evidence::Tie);
        assert_eq!(first_sight(early(60_000)), Evidence::OldTie);
    }

    #[test]
    fn a_tie_is_an_answer_when_the_answer_carried_our_acknowledgement() {
        assert_eq!(first_sight(tie(7000, 7000, 1)), Evidence::Answered);
        assert_eq!(first_sight(tie(249, 249, 1)), Evidence::Tie, "it proves nothing yet");
    }

    #[test]
    fn a_tie_is_a_question_when_our_kernel_acknowledged_it_separately() {
        let (mut history, mut rhythm) = (History::default(), Rhythm::default());
        let mut look = |at, sample| history.observe(moment(at), &sample, &mut rhythm, &PATIENCE);
        look(0, open(TcpInfo { data_in: 8, data_out: 8, bare_out: 3, ..info(500, 496, 450) }));
        assert_eq!(look(504, tie(4, 4, 3)), Evidence::Tie);
        assert_eq!(look(554, tie(54, 54, 4)), Evidence::Unanswered);
        assert_eq!(look(60_500, tie(60_000, 60_000, 4)), Evidence::Unanswered, "however old");
    }

    #[test]
    fn a_tie_is_a_question_when_it_acknowledged_the_answer() {
        let before = TcpInfo { data_in: 9, data_out: 8, bare_in: 9, ..info(600, 1600, 600) };
        let then = TcpInfo { bare_in: 9, ..tie(4, 4, 3).info.unwrap() };
        let bare = TcpInfo { bare_in: 10, ..then };
        for (info, unsent, evidence) in [
            (then, 0, Evidence::Unanswered),
            (bare, 0, Evidence::Tie),
            // Not yet acknowledged.
            (then, 20, Evidence::Unsent),
        ] {
            let (mut history, mut rhythm) = (History::default(), Rhythm::default());
            history.observe(moment(0), &open(before), &mut rhythm, &PATIENCE);
            let seen =
                history.observe(moment(1000), &Sample { unsent, ..open(info) }, &mut rhythm, &PATIENCE);
            assert_eq!(seen, evidence);
            assert_eq!(history.has_completed(), evidence == Evidence::Unanswered);
            let later = TcpInfo { bare_in: 10, ..info };
            let seen = history.observe(moment(1050), &open(later), &mut rhythm, &PATIENCE);
            assert_eq!(seen == Evidence::Unanswered, evidence == Evidence::Unanswered, "a bare one, at last");
        }
    }

    #[test]
    fn one_segment_in_and_one_out_since_a_rest_is_an_answered_request() {
        for (data_in, expected) in [(9, Evidence::MayGoOn), (10, Evidence::Tie)] {
            let (mut history, mut rhythm) = (History::default(), Rhythm::default());
            let rest = open(TcpInfo { data_in: 8, data_out: 8, bare_out: 3, ..info(5000, 4000, 3900) });
            history.observe(moment(0), &rest, &mut rhythm, &PATIENCE);
            let after = TcpInfo { data_in, data_out: 9, bare_out: 5, bare_in: 9, ..info(2500, 2500, 2500) };
            for at in [5000, 5001] {
                let evidence = history.observe(moment(at), &open(after), &mut rhythm, &PATIENCE);
                assert_eq!(evidence, expected, "two segments may be two requests");
            }
        }
    }

    #[test]
    fn where_only_the_queues_can_be_seen_an_established_connection_counts() {
        let bare = Sample { state: TcpState::Established, unread: 0, unsent: 0, info: None };
        assert_eq!(first_sight(bare), Evidence::Established);
        assert_eq!(first_sight(Sample { state: TcpState::HalfClosed, ..bare }), Evidence::Established);
    }

    #[test]
    fn turns_are_counted_between_looks() {
        let (mut history, mut rhythm) = (History::default(), Rhythm::default());
        let at = |data_in, data_out| open(TcpInfo { data_in, data_out, ..info(0, 0, 0) });
        assert_eq!(history.turns_until(&at(2, 2)), 2);
        history.observe(moment(0), &at(2, 2), &mut rhythm, &PATIENCE);
        assert_eq!(history.turns_until(&at(5, 9)), 3);
        assert_eq!(history.turns_until(&at(500, 2)), 0, "an upload is one request");
        assert_eq!(history.turns_until(&at(2, 500)), 0, "so is a download");
    }

    #[test]
    fn each_evidence_answers_the_questions_of_the_drain() {
        // In flight; most likely at rest; in flight by caution alone.
        let answers = |e: Evidence| [e.in_flight(), e.is_doubt(), e.is_caution()];
        let rows = [
            (Evidence::Unread, [true, false, false]),
            (Evidence::Unsent, [true, false, false]),
            (Evidence::Unaccepted, [true, false, false]),
            (Evidence::Newborn, [true, false, true]),
            (Evidence::Unanswered, [true, false, false]),
            (Evidence::Continue, [true, false, false]),
            (Evidence::JustSent, [true, false, true]),
            (Evidence::MayGoOn, [true, true, true]),
            (Evidence::Handshake, [true, true, false]),
            (Evidence::Tie, [true, true, false]),
            (Evidence::Established, [true, false, false]),
            (Evidence::NeverAsked, [false; 3]),
            (Evidence::Answered, [false; 3]),
            (Evidence::Routine, [false; 3]),
            (Evidence::OldTie, [false; 3]),
            (Evidence::RestsOpen, [false; 3]),
            (Evidence::Closed, [false; 3]),
        ];
        for (evidence, expected) in rows {
            assert_eq!(answers(evidence), expected, "{evidence:?}");
        }
    }

    #[test]
    fn a_greeting_is_never_a_question_and_rests_when_it_is_over() {
        let greeting = |received, sent| open(TcpInfo { data_in: 0, ..info(received, sent, sent) });
        assert_eq!(first_sight(greeting(5, 50)), Evidence::JustSent, "nothing ever came");
        assert_eq!(first_sight(greeting(5, 999)), Evidence::JustSent);
        assert_eq!(first_sight(greeting(5, 1_000)), Evidence::NeverAsked);
    }

    #[test]
    fn the_order_of_the_last_data_decides_where_there_is_one() {
        let kept =
            |received, sent, acked| open(TcpInfo { data_in: 2, data_out: 2, ..info(received, sent, acked) });
        assert_eq!(first_sight(kept(100, 50, 100)), Evidence::JustSent);
        assert_eq!(first_sight(kept(100, 100, 100)), Evidence::Tie);
        // No acknowledgement was kept back for so long, and none was sent apart.
        assert_eq!(first_sight(kept(300, 300, 300)), Evidence::JustSent);
    }

    #[test]
    fn an_answer_to_a_first_segment_alone_shows_that_there_is_no_tls() {
        let shows = |bytes_in, sent| {
            let mut rhythm = Rhythm::default();
            let sample = open(TcpInfo { bytes_in, ..info(sent + 5, sent, sent) });
            History::default().observe(moment(0), &sample, &mut rhythm, &PATIENCE);
            rhythm.speaks_plainly()
        };
        assert!(shows(SMALLEST_HELLO - 1, 250) && !shows(SMALLEST_HELLO - 1, 249));
        assert!(shows(SMALLEST_HELLO, 3_000) && !shows(SMALLEST_HELLO, 2_999), "it may be a slow hello");
    }

    #[test]
    fn what_may_go_on_is_no_rest() {
        let mut history = History::default();
        history.observe(moment(0), &open(info(25, 20, 20)), &mut Rhythm::default(), &PATIENCE);
        assert_eq!(history.rested_at, None);
        history.observe(moment(0), &open(info(255, 250, 250)), &mut Rhythm::default(), &PATIENCE);
        assert_eq!(history.rested_at, Some((1, 1)));
    }

    #[test]
    fn a_first_exchange_of_another_kind_is_unknown_where_others_are_steady() {
        let mut rhythm = Rhythm::default();
        let mut client = Client::connects(0);
        client.look(&mut rhythm);
        (0..20).for_each(|_| client.exchange(80, 8, 170, &mut rhythm));
        let mut other = Client::connects(5_000);
        other.look(&mut rhythm);
        other.asks(250).look(&mut rhythm);
        other.waits(8).hears(9_000).look(&mut rhythm);
        // It may be a handshake until it has been silent for longer than one rests.
        assert_eq!(other.waits(2_999).look(&mut rhythm), Evidence::MayGoOn);
        assert_eq!(other.waits(1).look(&mut rhythm), Evidence::Answered);
    }

    #[test]
    fn of_a_query_without_details_unread_bytes_are_all_that_tells() {
        let bare = Sample { info: None, ..open(info(5, 5, 5)) };
        assert_eq!(judge_outbound(&bare, &PATIENCE), Evidence::Established);
        assert_eq!(judge_outbound(&Sample { unread: 1, ..bare }, &PATIENCE), Evidence::Unread);
    }

    #[test]
    fn a_query_is_in_flight_until_its_answer_comes() {
        let outbound = |info| judge_outbound(&open(info), &PATIENCE);
        assert_eq!(outbound(info(5000, 3000, 2960)), Evidence::Unanswered);
        assert_eq!(outbound(info(95_000, 90_000, 90_000)), Evidence::Unanswered);
        assert_eq!(outbound(TcpInfo { data_in: 0, ..info(5, 5, 5) }), Evidence::Unanswered);
        assert_eq!(outbound(info(3000, 5000, 3000)), Evidence::Answered);
        assert_eq!(outbound(TcpInfo { data_out: 0, ..info(5, 50, 5) }), Evidence::NeverAsked);
        let unsent = Sample { unsent: 12, ..open(info(3000, 5000, 3000)) };
        assert_eq!(judge_outbound(&unsent, &PATIENCE), Evidence::Unsent);
    }

    #[test]
    fn a_query_in_a_tie_is_in_flight_while_young_or_acknowledged_separately() {
        let outbound = |info| judge_outbound(&open(info), &PATIENCE);
        assert_eq!(outbound(info(100, 100, 100)), Evidence::Tie);
        assert_eq!(outbound(info(900, 900, 860)), Evidence::Tie);
        assert_eq!(outbound(info(900, 900, 900)), Evidence::Answered);
        assert_eq!(outbound(info(249, 249, 249)), Evidence::Tie);
        assert_eq!(outbound(info(250, 250, 250)), Evidence::Answered);
        assert_eq!(outbound(info(10_000, 10_000, 9_960)), Evidence::OldTie);
    }

    prop_compose! {
        fn any_info()(
            sent in 0u64..40_000, received in 0u64..40_000, acked in 0u64..40_000, bytes in 0u64..20_000,
            data_in in 0u32..9, data_out in 0u32..9, bare_out in 0u32..5, bare_in in 0u32..5, tie in any::<bool>(),
        ) -> TcpInfo {
            let received = if tie { sent } else { received };
            let counters = TcpInfo { data_in, data_out, bare_out, bare_in, ..info(received, sent, acked) };
            TcpInfo { bytes_in: bytes, bytes_out: 20_000 - bytes, ..counters }
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
            state in any_state(), unread in 0u32..3, unsent in 0u32..3, info in prop::option::of(any_info()),
        ) -> Sample {
            Sample { state, unread, unsent, info }
        }
    }

    /// Looks a second apart at anything at all.
    fn past(samples: &[Sample]) -> (History, Rhythm, u64) {
        let (mut history, mut rhythm, mut at) = (History::default(), Rhythm::default(), 0);
        for sample in samples {
            at += 1000;
            history.observe(moment(at), sample, &mut rhythm, &PATIENCE);
        }
        (history, rhythm, at + 1000)
    }

    proptest! {
        /// Promise 1: what is in a queue is work.
        #[test]
        fn bytes_in_a_queue_are_always_in_flight(samples in prop::collection::vec(any_sample(), 0..6), last in any_sample()) {
            let (mut history, mut rhythm, at) = past(&samples);
            let in_flight = history.observe(moment(at), &last, &mut rhythm, &PATIENCE).in_flight();
            prop_assert!(in_flight || last.unread == 0 && last.unsent == 0);
        }

        /// Promise 1: asked and not answered is in flight, whatever its age, on a connection that
        /// has shown nothing else.
        #[test]
        fn an_unanswered_request_is_in_flight_however_old(mut last in any_info(), age in 0u64..10_000_000, by in 1u64..1000) {
            last.data_in = last.data_in.max(1);
            last.received_ago = ms(age);
            last.sent_ago = last.received_ago + ms(by);
            prop_assert!(first_sight(open(last)).in_flight());
        }

        /// The same on any connection, for as long as the longest request.
        #[test]
        fn an_unanswered_request_is_in_flight_whatever_was_seen_before(
            samples in prop::collection::vec(any_sample(), 0..6), mut last in any_info(), by in 1u64..1000,
        ) {
            last.data_in = last.data_in.max(1);
            last.received_ago = last.received_ago.min(ms(9_000));
            last.sent_ago = last.received_ago + ms(by);
            let (mut history, mut rhythm, at) = past(&samples);
            prop_assert!(history.observe(moment(at), &open(last), &mut rhythm, &PATIENCE).in_flight());
        }

        /// Promise 2: whoever was answered is let go in the end, whatever was seen.
        #[test]
        fn what_was_answered_is_idle_in_the_end(
            samples in prop::collection::vec(any_sample(), 0..6), mut last in any_info(), by in 1u64..1000,
        ) {
            last.data_out = last.data_out.max(1);
            last.sent_ago += ms(60_000);
            last.received_ago = last.sent_ago + ms(by);
            let (mut history, mut rhythm, at) = past(&samples);
            let evidence = history.observe(moment(at), &open(last), &mut rhythm, &PATIENCE);
            prop_assert!(!evidence.in_flight() || evidence == Evidence::Continue, "{:?}", evidence);
        }

        #[test]
        fn looking_again_at_the_same_thing_changes_nothing(samples in prop::collection::vec(any_sample(), 0..6), last in any_sample()) {
            let (mut history, mut rhythm, at) = past(&samples);
            let first = history.observe(moment(at), &last, &mut rhythm, &PATIENCE);
            let again = history.observe(moment(at), &last, &mut rhythm, &PATIENCE);
            prop_assert_eq!(again.in_flight(), first.in_flight());
        }

        /// A simulated connection, its kernel and its clock, of 1000, 250 or 100 ticks a second: a
        /// request in flight is never called idle.
        #[test]
        fn a_simulated_connection_is_never_called_idle_while_a_request_is_in_flight(
            story in prop::collection::vec((0u64..60, 0u64..60, any::<bool>()), 1..40), looks in prop::collection::vec(1u64..700, 200),
            tick in prop::sample::select(vec![1, 4, 10]), quick in any::<bool>(),
        ) {
            simulate(&story, &looks, tick, quick);
        }
    }

    /// Plays `story`: the client waits, asks, the server takes its time and answers; and looks at
    /// the sampled times. Time in milliseconds. The kernel acknowledges a request by itself 40 ms
    /// after it, unless an answer went out before; so does the client's, or at once. It probes
    /// whether a silent client is still there.
    fn simulate(story: &[(u64, u64, bool)], looks: &[u64], tick: u64, quick: bool) {
        let mut events = vec![];
        let mut now = 10_000u64;
        for &(pause, work, slow) in story {
            now += if pause < 20 { 0 } else { pause };
            events.push((now, "ask"));
            let work = if work < 20 {
                0
            } else if slow {
                work * 300
            } else {
                work
            };
            if work > 40 {
                events.push((now + 40, "ack"));
            }
            for probe in (1..).map(|n| n * 1000).take_while(|probe| *probe < work) {
                events.push((now + probe, "probe"));
            }
            now += work;
            events.push((now, "answer"));
            events.push((now + if quick { 0 } else { 40 }, "acked"));
        }
        events.sort_by_key(|(at, _)| *at);
        let (mut sent, mut received, mut acked) = (9_000, 9_000, 9_000);
        let (mut data_in, mut data_out, mut bare_in, mut bare_out, mut owes) = (0, 0, 1, 1, false);
        let (mut history, mut rhythm) = (History::default(), Rhythm::default());
        let (mut next, mut busy, mut at) = (0, false, 9_900);
        for look in looks {
            at += look;
            while next < events.len() && events[next].0 <= at {
                let then = events[next].0 / tick * tick;
                match events[next].1 {
                    "ask" => {
                        (received, acked, data_in) = (then, then, data_in + 1);
                        (busy, owes) = (true, false);
                    }
                    "ack" => bare_out += 1,
                    "probe" => (acked, bare_in, bare_out) = (then, bare_in + 1, bare_out + 1),
                    "acked" if owes => (acked, bare_in, owes) = (then, bare_in + 1, false),
                    "acked" => {}
                    _ => (sent, data_out, busy, owes) = (then, data_out + 1, false, true),
                }
                next += 1;
            }
            let clock = at / tick * tick;
            let ago = |then: u64| ms(clock - then);
            let clocks = TcpInfo {
                sent_ago: ago(sent),
                received_ago: ago(received),
                acked_ago: ago(acked),
                data_out,
                data_in,
                bare_in,
                bare_out,
                ..TcpInfo::default()
            };
            let patience = Patience { quiet: Duration::ZERO, ..PATIENCE };
            let sample = Sample { unsent: owes.into(), ..open(clocks) };
            let evidence = history.observe(moment(at), &sample, &mut rhythm, &patience);
            assert!(evidence.in_flight() || !busy, "{evidence:?} at {at}: {clocks:?}");
        }
    }
}
