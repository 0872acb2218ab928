//! What earlier looks have shown of one connection: who sent last, where the present exchange
//! began, how many were completed, and two habits: even intervals, as health checks have, and
//! silence with an open request, as websockets and HTTP/2 have. Pure.

use std::time::Duration;

use super::evidence::Speaker;
use super::readers::Reading;
use super::rhythm::{Rhythm, Shape};
use crate::moment::Moment;
use crate::sys::tcp::{Sample, TcpInfo, TcpState};

/// No common client of HTTP/1.1 sends so small a request; clients of HTTP/2, which indexes headers,
/// do.
pub(super) const BRIEF: u64 = 36;

/// Too small for a request of HTTP/1, or just what a client of HTTP/2 sends back for what it
/// receives: one or two WINDOW_UPDATE and PING frames each (RFC 9113, sections 6.7 and 6.9), as
/// gRPC's clients do for each message of a stream.
pub(super) fn is_brief(asked: u64) -> bool {
    asked <= BRIEF || is_housekeeping(asked)
}

fn is_housekeeping(bytes: u64) -> bool {
    const WINDOW_UPDATE: u64 = 13;
    const PING: u64 = 17;
    let sum = |updates: u64, pings: u64| {
        WINDOW_UPDATE.saturating_mul(updates).saturating_add(PING.saturating_mul(pings))
    };
    bytes > 0 && (0..=2).any(|updates| (0..=2).any(|pings| sum(updates, pings) == bytes))
}

/// Data that a client sends this long after its last, and still without an answer, is no second
/// part of the same request.
const APART: Duration = Duration::from_millis(100);

/// The segments from a client in a TLS handshake, with the request behind it.
const HANDSHAKE: u32 = 5;

/// A connection that is silent for this long rests.
const REST: Duration = Duration::from_millis(500);

/// A receiver acknowledges within 200 ms (TCP_DELACK_MAX); after this long its kernel holds back no
/// acknowledgement.
pub(super) const ACKNOWLEDGED_BY: Duration = Duration::from_millis(250);

/// The kernel's keep-alive probes begin a second after the last segment or later (TCP_KEEPIDLE,
/// tcp(7)). What the client acknowledges from then on may be a probe.
const PROBED_AFTER: Duration = Duration::from_millis(900);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Last {
    at: Moment,
    info: TcpInfo,
    speaker: Speaker,
    unsent: u32,
}

/// A request and what was sent for it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Exchange {
    /// Its beginning is known, and no other exchange overlapped it.
    whole: bool,
    /// The connection's first.
    first: bool,
    /// The connection's counters at its beginning.
    bytes_in: u64,
    bytes_out: u64,
    asked_at: Moment,
}

/// Short exchanges of one size, evenly apart.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Beat {
    asked_at: Option<Moment>,
    interval: Option<Duration>,
    sizes: (u64, u64),
    even: u8,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct History {
    born_in_sight: bool,
    last: Option<Last>,
    exchange: Exchange,
    /// Exchanges that were completed in sight.
    completed: u32,
    /// Requests that were seen answered to the end, and whether the last one is among them.
    answered: u32,
    is_counted: bool,
    /// The client sent more while its request was open, as in HTTP/2: an answer may be to either,
    /// and another may still come.
    overlapped: bool,
    /// The client has sent messages, as large as requests of HTTP/1, after the app had sent one.
    alternates: bool,
    /// It has sent requests that are too small for HTTP/1, and got answers: so several may be in
    /// flight, as in HTTP/2.
    brief: bool,
    beat: Beat,
    /// What had been sent when a request was last seen open.
    open_at: Option<u64>,
    /// Whether a thread of the app blocks in a read on it.
    pub(super) reading: Reading,
    /// Rests with an open request after which the client went on, with data from the server in
    /// between.
    open_rests: u8,
    served_since_rest: bool,
    /// `bare_out` as it was at the last look before the newest data; None if the connection was
    /// first seen with it.
    pub(super) bare_before: Option<u32>,
    /// The kernel has acknowledged the newest data with a bare segment: no answer carried the
    /// acknowledgement.
    pub(super) request_acked_apart: bool,
    /// The newest data from the client came with the acknowledgement of the newest that was sent:
    /// all of it is acknowledged, and no bare segment has come.
    pub(super) request_acks_answer: bool,
    /// Since the newest data, the client has acknowledged something later than it sent its last,
    /// and it was no keep-alive probe.
    pub(super) answer_acked_apart: bool,
    /// `data_in` and `data_out` when the connection was last found at rest.
    pub(super) rested_at: Option<(u32, u32)>,
}

impl History {
    /// Of a connection that was not there at an earlier look at all of them.
    pub(super) fn born_in_sight() -> History {
        History { born_in_sight: true, ..History::default() }
    }

    /// Takes in whether a thread blocks in a read on it.
    pub(super) fn reads(&mut self, reading: Reading) {
        self.reading = reading;
    }

    /// Takes in what a look saw, before it is judged.
    pub(super) fn take(&mut self, now: Moment, sample: &Sample, rhythm: &mut Rhythm) {
        let Some(info) = &sample.info else { return };
        let counted = (info.data_in, info.data_out);
        let is_same = self.last.is_some_and(|last| (last.info.data_in, last.info.data_out) == counted);
        self.answer_acked_apart = is_answer_acked_apart(info) || is_same && self.answer_acked_apart;
        let Some(last) = self.last else {
            self.born_in_sight |= info.data_in == 0;
            // Of one segment, and of all that is unanswered, nothing came before. Looks at very
            // many connections are rare, and most requests begin between the stop and the first.
            let from_birth = self.born_in_sight || info.data_in == 1 || info.data_out == 0;
            self.exchange = Exchange {
                whole: from_birth,
                first: from_birth,
                asked_at: now - info.received_ago,
                ..Exchange::default()
            };
            return;
        };
        let came = info.data_in.wrapping_sub(last.info.data_in);
        let went = info.data_out.wrapping_sub(last.info.data_out);
        if (came, went) == (0, 0) {
            // A FIN gets a bare acknowledgement too.
            let established = sample.state == TcpState::Established;
            let recent = info.received_ago <= ACKNOWLEDGED_BY.saturating_add(now.since(last.at));
            self.request_acked_apart |= established && recent && info.bare_out != last.info.bare_out;
            return;
        }
        self.bare_before = Some(last.info.bare_out);
        self.request_acked_apart = false;
        self.request_acks_answer =
            came > 0 && went > 0 && sample.unsent == 0 && info.bare_in == last.info.bare_in;
        // After a rest, the app sent a message of a stream.
        let rested = last.info.received_ago.min(last.info.sent_ago) >= REST;
        let asked = info.bytes_in.wrapping_sub(last.info.bytes_in);
        self.brief |= rested && came == 1 && went > 0 && is_housekeeping(asked);
        let was_answered = last.speaker == Speaker::Server && !self.awaits_body(&last.info, rhythm);
        self.brief |= was_answered && came == 1 && is_brief(asked);
        let is_message = came > 0 && asked > BRIEF.saturating_mul(came.into());
        let is_next = match last.speaker {
            Speaker::Server | Speaker::Either => true,
            Speaker::Client => went > 0,
            Speaker::Nobody => false,
        };
        self.alternates |= is_message && is_next;
        match last.speaker {
            Speaker::Server if came > 0 => self.asked_again(now, sample, info, &last, rhythm),
            Speaker::Server => self.answer_goes_on(now, info, &last, rhythm),
            Speaker::Client => self.after_question(now, sample, info, &last, rhythm),
            Speaker::Either => self.exchange.whole = false,
            Speaker::Nobody => self.exchange.asked_at = now - info.received_ago,
        }
        self.served_since_rest |= went > 0;
    }

    /// Notes the judgement, so that the next look can tell what has changed.
    pub(super) fn judged(
        &mut self,
        now: Moment,
        sample: &Sample,
        speaker: Speaker,
        idle: bool,
        rhythm: &Rhythm,
    ) {
        let Some(info) = sample.info else { return };
        self.count(&info, speaker, idle, rhythm);
        self.last = Some(Last { at: now, info, speaker, unsent: sample.unsent });
        if speaker == Speaker::Client {
            self.open_at = Some(info.bytes_out);
        }
        // After a tie that has only grown old nobody knows who sent last.
        let at_rest = idle || info.sent_ago >= ACKNOWLEDGED_BY;
        if at_rest && speaker != Speaker::Either && speaker != Speaker::Client {
            self.rested_at = Some((info.data_in, info.data_out));
        }
    }

    /// Counts requests that were answered to the end since the last look. What may be a TLS
    /// handshake, or frames of HTTP/2, counts only once it is followed by rest or by a request.
    fn count(&mut self, info: &TcpInfo, speaker: Speaker, idle: bool, rhythm: &Rhythm) {
        let Some(last) = self.last else {
            // Nobody knows when an old connection was answered.
            self.is_counted = !self.born_in_sight && speaker != Speaker::Client;
            return;
        };
        let came = info.data_in.wrapping_sub(last.info.data_in);
        let went = info.data_out.wrapping_sub(last.info.data_out);
        if came > 0 {
            let may_be_handshake = !rhythm.speaks_plainly() && last.info.data_in <= HANDSHAKE;
            // Who asks again has its answer, and in a tie one of the two is answered by now.
            let ended = matches!(last.speaker, Speaker::Server | Speaker::Either)
                && !self.is_counted
                && !(may_be_handshake && has_room_for_handshake(&last.info));
            let asked = came.saturating_add((last.speaker == Speaker::Client).into());
            let between = match speaker {
                _ if may_be_handshake || self.brief => 0,
                Speaker::Client => asked.saturating_sub(1).min(went),
                Speaker::Server | Speaker::Either => asked.min(went).saturating_sub(1),
                Speaker::Nobody => 0,
            };
            self.answered = self.answered.saturating_add(u32::from(ended)).saturating_add(between);
            self.is_counted = false;
        }
        if idle && speaker == Speaker::Server && info.data_in > 0 {
            self.count_last();
        }
    }

    fn count_last(&mut self) {
        self.answered = self.answered.saturating_add((!self.is_counted).into());
        self.is_counted = true;
    }

    /// Requests that were seen answered to the end.
    pub(super) fn answered(&self) -> u32 {
        self.answered
    }

    /// How many requests were answered since the last look, if each takes a segment each way. An
    /// upload or a download alone is none.
    pub(super) fn turns_until(&self, now: &Sample) -> u32 {
        let Some(now) = &now.info else { return 0 };
        let (data_in, data_out) = self.last.map_or((0, 0), |last| (last.info.data_in, last.info.data_out));
        now.data_in.wrapping_sub(data_in).min(now.data_out.wrapping_sub(data_out))
    }

    /// Everything was answered at the last look: so the answer was complete, unless more of it went
    /// out before the request came.
    fn asked_again(
        &mut self,
        now: Moment,
        sample: &Sample,
        info: &TcpInfo,
        last: &Last,
        rhythm: &mut Rhythm,
    ) {
        let went = info.data_out != last.info.data_out;
        let came_one = info.data_in.wrapping_sub(last.info.data_in) == 1;
        if went && came_one && self.client_was_last(info) {
            self.answer_goes_on(now, info, last, rhythm);
            self.next_request(now, sample, info, last, rhythm);
            return;
        }
        if last.unsent == 0 {
            self.complete(&last.info, last.info.bytes_out, rhythm);
        }
        self.begin(now, info, last, last.info.bytes_out);
        self.exchange.whole = last.unsent == 0 && (!went || came_one && info.sent_ago <= info.received_ago);
    }

    /// All that went out was for the request before.
    fn next_request(
        &mut self,
        now: Moment,
        sample: &Sample,
        info: &TcpInfo,
        last: &Last,
        rhythm: &mut Rhythm,
    ) {
        if sample.unsent == 0 {
            self.complete(&last.info, info.bytes_out, rhythm);
        }
        self.begin(now, info, last, info.bytes_out);
        self.exchange.whole = sample.unsent == 0;
    }

    fn answer_goes_on(&mut self, now: Moment, info: &TcpInfo, last: &Last, rhythm: &mut Rhythm) {
        if last.unsent > 0 {
            // The client was slow to read.
            return;
        }
        // Perhaps the other answer, perhaps the rest of this one.
        self.overlapped = false;
        let (stopped, went_on) = (last.at - last.info.sent_ago, now - info.sent_ago);
        let before = self.shape(&last.info, rhythm).map(|shape| (shape, self.sizes(&last.info)));
        rhythm.paused(went_on.since(stopped), before);
    }

    /// Data has moved on a connection on which the client had sent last.
    fn after_question(
        &mut self,
        now: Moment,
        sample: &Sample,
        info: &TcpInfo,
        last: &Last,
        rhythm: &mut Rhythm,
    ) {
        let came = info.data_in.wrapping_sub(last.info.data_in);
        let went = info.data_out.wrapping_sub(last.info.data_out);
        let rested = last.info.received_ago;
        match (came, went) {
            (0, _) => {
                if rested >= REST {
                    self.open_rests = 0;
                }
            }
            (_, 0) => self.went_on(rested),
            // The answer, and then the next request.
            (1, _) if self.client_was_last(info) => {
                self.next_request(now, sample, info, last, rhythm);
            }
            // One segment each: the request's was first, or in one tick perhaps the answer's.
            (1, 1) if info.sent_ago < info.received_ago => self.went_on(rested),
            (1, 1) => {
                self.overlapped |= rested >= APART;
                self.exchange.whole = false;
            }
            _ => self.exchange.whole = false,
        }
    }

    /// Of data that came and went since the last look.
    fn client_was_last(&self, info: &TcpInfo) -> bool {
        info.received_ago < info.sent_ago || info.received_ago == info.sent_ago && self.request_acks_answer
    }

    fn went_on(&mut self, rested: Duration) {
        self.overlapped |= rested >= APART;
        if rested >= REST && self.served_since_rest {
            self.open_rests = self.open_rests.saturating_add(1);
            self.served_since_rest = false;
        }
    }

    /// The exchange is over, with these counters.
    fn complete(&mut self, asked: &TcpInfo, bytes_out: u64, rhythm: &mut Rhythm) {
        self.completed = self.completed.saturating_add(1);
        let exchange = self.exchange;
        let info = TcpInfo { bytes_out, ..*asked };
        let Some(shape) = self.shape(&info, rhythm) else { return self.beat = Beat::default() };
        let sizes = self.sizes(&info);
        self.brief |= is_brief(sizes.0);
        if sizes.1 != CONTINUE {
            rhythm.completed(shape, sizes);
        }
        self.beat = self.beat.next(exchange.asked_at, sizes);
    }

    fn begin(&mut self, now: Moment, info: &TcpInfo, last: &Last, bytes_out: u64) {
        let asked_at = now - info.received_ago;
        let bytes_in = last.info.bytes_in;
        self.exchange = Exchange { asked_at, bytes_in, bytes_out, ..Exchange::default() };
    }

    fn sizes(&self, info: &TcpInfo) -> (u64, u64) {
        let exchange = &self.exchange;
        (info.bytes_in.wrapping_sub(exchange.bytes_in), info.bytes_out.wrapping_sub(exchange.bytes_out))
    }

    fn shape(&self, info: &TcpInfo, rhythm: &Rhythm) -> Option<Shape> {
        let (asked, answered) = self.sizes(info);
        match self.exchange {
            _ if self.overlapped => None,
            Exchange { whole: false, .. } => None,
            Exchange { first: true, .. } if !rhythm.speaks_plainly() => Some(Shape::first(asked, answered)),
            Exchange { .. } => Some(Shape::new(asked, answered)),
        }
    }

    /// What is known of the exchange that these counters end.
    pub(super) fn present(&self, info: &TcpInfo, rhythm: &Rhythm) -> Present {
        let known = self.shape(info, rhythm).map(|shape| (shape, self.sizes(info)));
        let first = self.exchange.first;
        Present { known, first: first && !rhythm.speaks_plainly(), overlapped: self.overlapped }
    }

    /// The connection is gone. A client waits with that until it has its whole answer.
    pub(super) fn gone(&mut self, rhythm: &mut Rhythm) {
        if let Some(Last { speaker: Speaker::Server, unsent: 0, info, .. }) = self.last {
            self.complete(&info, info.bytes_out, rhythm);
            if info.data_in > 0 {
                self.count_last();
            }
        }
    }

    /// The connection has had several exchanges: they were seen, or it has more segments each way
    /// than one exchange takes, with a TLS handshake where one is possible.
    pub(super) fn is_experienced(&self, info: &TcpInfo, rhythm: &Rhythm) -> bool {
        let one_exchange = if rhythm.speaks_plainly() || !has_room_for_handshake(info) { 2 } else { 5 };
        self.completed >= 2 || info.data_in.min(info.data_out) > one_exchange
    }

    /// The app has sent `100 Continue`, and the body is still to come.
    pub(super) fn awaits_body(&self, info: &TcpInfo, rhythm: &Rhythm) -> bool {
        let unseen_first = info.data_out == 1 && info.bytes_out == CONTINUE;
        let since_open = self.open_at.map(|bytes_out| info.bytes_out.wrapping_sub(bytes_out));
        let known = self.present(info, rhythm).known.is_some_and(|(_, (_, answered))| answered == CONTINUE);
        (known || unseen_first || since_open == Some(CONTINUE)) && !self.brief
    }

    /// At the last look.
    pub(super) fn last_speaker(&self) -> Speaker {
        self.last.map_or(Speaker::Nobody, |last| last.speaker)
    }

    /// A request was seen open, and something was sent since.
    pub(super) fn has_answered_in_sight(&self) -> bool {
        self.open_at.is_some()
    }

    pub(super) fn asks_briefly(&self) -> bool {
        self.brief
    }

    /// Requests on it were answered in sight, were long enough for HTTP/1, and it never rested with
    /// an open request.
    pub(super) fn speaks_like_http(&self) -> bool {
        let has_asked = self.alternates || !is_brief(self.last_asked());
        has_asked && !self.brief && self.open_rests == 0
    }

    /// The size of the last request, if it came in sight.
    fn last_asked(&self) -> u64 {
        let asked = |last: Last| last.info.bytes_in.saturating_sub(self.exchange.bytes_in);
        let in_sight = self.exchange.whole && (self.born_in_sight || !self.exchange.first);
        self.last.filter(|_| in_sight).map_or(0, asked)
    }

    pub(super) fn has_completed(&self) -> bool {
        self.completed > 0
    }

    /// It has shown that it rests with open requests.
    pub(super) fn rests_open(&self) -> bool {
        self.open_rests >= 2
    }

    /// The exchange that these counters end continues its even intervals. Small frames prove
    /// nothing: HTTP/2's pings come and go beside a request, and so do the messages of a stream.
    /// Only a websocket's pings do.
    pub(super) fn is_routine(&self, info: &TcpInfo) -> bool {
        let sizes = self.sizes(info);
        let brief = self.brief || is_brief(sizes.0);
        self.beat.even >= 1
            && self.exchange.whole
            && !self.overlapped
            && alike(sizes, self.beat.sizes)
            && (!brief || sizes == self.beat.sizes && is_websocket_ping(sizes))
    }
}

/// The present exchange: its shape and sizes, asked and answered, if it was seen whole.
pub(super) struct Present {
    pub known: Option<(Shape, (u64, u64))>,
    /// It may include a TLS handshake.
    pub first: bool,
    pub overlapped: bool,
}

fn is_answer_acked_apart(info: &TcpInfo) -> bool {
    let after = info.received_ago.saturating_sub(info.acked_ago);
    !after.is_zero() && after < PROBED_AFTER
}

/// Enough bytes each way for a TLS handshake with its session tickets, a request behind it, and no
/// large answer.
pub(super) fn has_room_for_handshake(info: &TcpInfo) -> bool {
    (300..=8_000).contains(&info.bytes_in) && (450..=16_000).contains(&info.bytes_out)
}

/// `HTTP/1.1 100 Continue` and two line ends: no answer but leave to send the body.
const CONTINUE: u64 = 25;

/// A client's frames carry a mask of four bytes (RFC 6455, section 5.2), and a pong has the payload
/// of its ping.
fn is_websocket_ping((asked, answered): (u64, u64)) -> bool {
    const MASK: u64 = 4;
    asked == answered.saturating_add(MASK)
}

fn alike(a: (u64, u64), b: (u64, u64)) -> bool {
    const NEARLY: u64 = 16;
    a.0.abs_diff(b.0) <= NEARLY && a.1.abs_diff(b.1) <= NEARLY
}

impl Beat {
    /// One exchange later.
    fn next(self, asked_at: Moment, sizes: (u64, u64)) -> Beat {
        const SHORTEST: Duration = Duration::from_millis(400);
        let interval = self.asked_at.map(|before| asked_at.since(before));
        let even = match (self.interval, interval) {
            (Some(before), Some(now)) if now >= SHORTEST && alike(sizes, self.sizes) => {
                before.abs_diff(now)
                    <= before.checked_div(5).unwrap_or_default().max(Duration::from_millis(100))
            }
            _ => false,
        };
        let even = if even { self.even.saturating_add(1) } else { 0 };
        Beat { asked_at: Some(asked_at), interval, sizes, even }
    }
}
