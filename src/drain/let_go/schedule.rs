//! When the attempt at each connection begins, and how many run at once. Pure: callers pass looks
//! and times.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::connection::{Act, Attempt, AttemptEnd, ConnectionHints, LastData, OpenExchange};
use crate::drain::rhythm::Rhythm;
use crate::moment::Moment;
use crate::sys::duplicate::Tail;

/// Between two beginnings, on average, as long as the whole spread allows it: a few clients that
/// come back at once are no load for anybody.
const APART: Duration = Duration::from_millis(10);

/// A few connections begin within this, and those that come later.
const LEAST_SPREAD: Duration = Duration::from_millis(200);

/// A request that has been worked on for this long is answered at a moment of its own, which is not
/// to be missed: its client may ask for something as long at once.
const LONG: Duration = Duration::from_millis(200);

/// How many are corked at a time, and how many attempts run at a time.
const CORKED: usize = 64;
const ACTIVE: usize = 256;

/// A connection that was silent for this long and is judged idle is at rest; an attempt waits up to
/// twice as long for that.
pub(super) const REST: Duration = Duration::from_millis(1000);

/// Between two attempts at one connection.
const AGAIN: Duration = Duration::from_millis(100);

/// How often a connection may look like a stream until it is taken for one.
const STREAMS: u32 = 3;

/// After this many connections whose end of file the app ignored, it is known to ignore it.
const IGNORING: u32 = 3;

/// After this many connections that the app uncorked, and none let go, it is known to uncork them.
const UNCORKING: u32 = 3;

/// A connection that may be let go, from a look at all connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Offer {
    pub cookie: u64,
    /// The listener's.
    pub port: u16,
    /// Judged idle: nothing is in flight.
    pub idle: bool,
    /// The client has sent a request that is not answered.
    pub awaited: bool,
    pub last_data: LastData,
    /// Since data last came or went.
    pub silent: Duration,
    /// The longest pause that was seen inside an answer of its listener.
    pub pause: Duration,
}

/// How it went so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Count {
    /// Connections let go.
    pub let_go: u32,
    /// Connections that cannot be let go in this way: streams, and clients that send before they
    /// have their answer.
    pub left_alone: u32,
}

#[derive(Clone, Copy, Debug)]
struct Closing {
    port: u16,
    idle: bool,
    pause: Duration,
    last_data: LastData,
    /// When it was judged.
    judged: Moment,
    look: u64,
    /// Still to be let go: it had a request or an answer lately, or no attempt yet.
    owed: bool,
    /// How often it has looked like a stream.
    streams: u32,
    /// The exchange in which its last attempt ended.
    open_exchange: Option<OpenExchange>,
    state: ClosingState,
}

// A box would cost every active one an allocation, and the others little.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Copy, Debug)]
enum ClosingState {
    /// In the queue for this moment.
    Queued(Moment),
    Active(Attempt),
    Done,
}

/// Which connections to let go, and when.
#[derive(Debug)]
pub(super) struct CloseSchedule {
    spread_until: Moment,
    /// How much of it so many connections need.
    spread: Duration,
    entries: HashMap<u64, Closing>,
    /// Connections that wait for their attempt.
    queue: BTreeSet<(Moment, u64)>,
    active: BTreeSet<u64>,
    corked: usize,
    owed: usize,
    look: u64,
    ignoring: u32,
    uncorking: u32,
    /// By listening port.
    rhythms: HashMap<u16, Rhythm>,
    count: Count,
    chance: Chance,
}

impl CloseSchedule {
    /// The drain begins now. Beginnings are spread over this time, so that clients do not all come
    /// back at once.
    pub(super) fn new(now: Moment, spread: Duration, seed: u64) -> CloseSchedule {
        CloseSchedule {
            spread_until: now + spread,
            spread,
            entries: HashMap::new(),
            queue: BTreeSet::new(),
            active: BTreeSet::new(),
            corked: 0,
            owed: 0,
            look: 0,
            ignoring: 0,
            uncorking: 0,
            rhythms: HashMap::new(),
            count: Count::default(),
            chance: Chance(seed),
        }
    }

    /// What connections have shown so far, by listening port.
    pub(super) fn learn(&mut self, rhythms: HashMap<u16, Rhythm>) {
        self.rhythms = rhythms;
    }

    /// A look at all connections begins; it has seen so many.
    pub(super) fn begin_look(&mut self, connections: usize) {
        self.look = self.look.wrapping_add(1);
        self.spread = APART.saturating_mul(u32::try_from(connections).unwrap_or(u32::MAX));
    }

    /// This one is there and may be let go.
    pub(super) fn offer(&mut self, now: Moment, offer: Offer) {
        let at_rest = offer.idle && offer.silent >= REST;
        let begins_now = at_rest || offer.awaited && offer.silent >= LONG;
        match self.entries.get_mut(&offer.cookie) {
            Some(entry) => {
                entry.idle = offer.idle;
                entry.pause = offer.pause;
                entry.last_data = offer.last_data;
                entry.judged = now;
                entry.look = self.look;
                if let ClosingState::Queued(at) = &mut entry.state
                    && begins_now
                    && *at > now
                {
                    self.queue.remove(&(*at, offer.cookie));
                    self.queue.insert((now, offer.cookie));
                    *at = now;
                }
            }
            None => {
                let at = if begins_now { now } else { now + self.chance.within(self.spread(now)) };
                let entry = Closing {
                    port: offer.port,
                    idle: offer.idle,
                    pause: offer.pause,
                    last_data: offer.last_data,
                    judged: now,
                    look: self.look,
                    owed: !at_rest,
                    streams: 0,
                    open_exchange: None,
                    state: ClosingState::Queued(at),
                };
                self.entries.insert(offer.cookie, entry);
                self.queue.insert((at, offer.cookie));
                self.owed = self.owed.saturating_add(usize::from(entry.owed));
            }
        }
    }

    fn spread(&self, now: Moment) -> Duration {
        self.spread_until.since(now).min(self.spread).max(LEAST_SPREAD)
    }

    /// The look has ended: connections that were not offered are gone, except those with a running
    /// attempt.
    pub(super) fn end_look(&mut self) {
        let look = self.look;
        let unseen = |entry: &Closing| entry.look != look && !matches!(entry.state, ClosingState::Active(_));
        let gone: Vec<u64> =
            self.entries.iter().filter(|(_, entry)| unseen(entry)).map(|(cookie, _)| *cookie).collect();
        for cookie in gone {
            self.remove(cookie);
        }
    }

    fn remove(&mut self, cookie: u64) {
        let Some(entry) = self.entries.remove(&cookie) else { return };
        self.owed = self.owed.saturating_sub(usize::from(entry.owed));
        match entry.state {
            ClosingState::Queued(at) => {
                self.queue.remove(&(at, cookie));
            }
            ClosingState::Active(attempt) => {
                self.active.remove(&cookie);
                self.corked = self.corked.saturating_sub(usize::from(attempt.is_corked()));
            }
            ClosingState::Done => {}
        }
    }

    /// How many connections had a request or an answer lately and are still to be let go, so that
    /// the drain waits for them.
    pub(super) fn owed(&self) -> usize {
        self.owed
    }

    pub(super) fn count(&self) -> Count {
        self.count
    }

    /// When the next look at one of them is due.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let looks = self.attempts().map(|(_, attempt)| attempt.next());
        let begins = self.queue.first().map(|(at, _)| *at).filter(|_| self.has_room());
        looks.chain(begins).min()
    }

    fn attempts(&self) -> impl Iterator<Item = (u64, &Attempt)> {
        self.active.iter().filter_map(|cookie| match &self.entries.get(cookie)?.state {
            ClosingState::Active(attempt) => Some((*cookie, attempt)),
            ClosingState::Queued(_) | ClosingState::Done => None,
        })
    }

    fn has_room(&self) -> bool {
        self.corked < CORKED && self.active.len() < ACTIVE
    }

    /// The connections whose next look is due.
    pub(super) fn due(&self, now: Moment) -> Vec<u64> {
        self.attempts().filter(|(_, attempt)| attempt.next() <= now).map(|(cookie, _)| cookie).collect()
    }

    /// The next one to begin with, if one is due and there is room. It is to be
    /// [begun](CloseSchedule::begin) or [removed](CloseSchedule::gone).
    pub(super) fn next_to_begin(&self, now: Moment) -> Option<u64> {
        let (at, cookie) = self.queue.first()?;
        (*at <= now && self.has_room()).then_some(*cookie)
    }

    /// Whether the app ignores an end of file, and whether it uncorks its connections.
    fn habits(&self) -> (bool, bool) {
        (self.ignoring >= IGNORING, self.uncorking >= UNCORKING && self.count.let_go == 0)
    }

    /// It begins; true when the socket has to be corked now. In any case it is to be looked at
    /// then.
    pub(super) fn begin(&mut self, now: Moment, cookie: u64) -> bool {
        let rest = REST.saturating_add(self.chance.within(REST));
        let seen = self.habits();
        let Some(entry) = self.entries.get_mut(&cookie) else { return false };
        let hints = hints(entry, now, seen, &self.rhythms);
        let ClosingState::Queued(at) = entry.state else { return false };
        // What was at rest from the beginning is not made to wait.
        let rest = if entry.owed { rest } else { REST };
        let attempt = Attempt::begin(now, rest, &hints, entry.open_exchange.take());
        entry.state = ClosingState::Active(attempt);
        self.queue.remove(&(at, cookie));
        self.active.insert(cookie);
        self.corked = self.corked.saturating_add(usize::from(attempt.is_corked()));
        attempt.is_corked()
    }

    /// What a look at it showed; what to do, and how the attempt has ended by that.
    pub(super) fn look(&mut self, now: Moment, cookie: u64, tail: &Tail) -> (Act, Option<AttemptEnd>) {
        let seen = self.habits();
        let Some(entry) = self.entries.get_mut(&cookie) else { return (Act::Nothing, None) };
        let hints = hints(entry, now, seen, &self.rhythms);
        let ClosingState::Active(attempt) = &mut entry.state else { return (Act::Nothing, None) };
        let was_corked = attempt.is_corked();
        let (act, end) = attempt.look(now, tail, &hints);
        self.corked = self.corked.saturating_sub(usize::from(was_corked && !attempt.is_corked()));
        if attempt.is_worth_waiting() && !entry.owed {
            entry.owed = true;
            self.owed = self.owed.saturating_add(1);
        }
        if let Some(end) = end {
            entry.open_exchange = attempt.open_exchange();
            self.end(now, cookie, end);
        }
        (act, end)
    }

    /// The socket is not there any more; how its attempt has ended, if there was one.
    pub(super) fn gone(&mut self, now: Moment, cookie: u64) -> Option<AttemptEnd> {
        match self.entries.get(&cookie).map(|entry| entry.state) {
            Some(ClosingState::Active(attempt)) => {
                self.corked = self.corked.saturating_sub(usize::from(attempt.is_corked()));
                if let Some(Closing { state, .. }) = self.entries.get_mut(&cookie) {
                    *state = ClosingState::Done;
                }
                self.end(now, cookie, attempt.gone());
                Some(attempt.gone())
            }
            Some(ClosingState::Queued(_) | ClosingState::Done) => {
                self.remove(cookie);
                None
            }
            None => None,
        }
    }

    fn end(&mut self, now: Moment, cookie: u64, end: AttemptEnd) {
        self.active.remove(&cookie);
        if end == AttemptEnd::Gone {
            // If it is still there, the next look at all connections offers it again.
            return self.remove(cookie);
        }
        let again = now + AGAIN + self.chance.within(AGAIN.saturating_mul(2));
        let Some(entry) = self.entries.get_mut(&cookie) else { return };
        entry.streams = entry.streams.saturating_add(u32::from(end == AttemptEnd::Streams));
        let (next, owed) = match end {
            AttemptEnd::LetGo
            | AttemptEnd::Closed
            | AttemptEnd::Gone
            | AttemptEnd::LeftAlone
            | AttemptEnd::Escapes => (None, false),
            AttemptEnd::Streams if entry.streams >= STREAMS => (None, false),
            AttemptEnd::Unanswered => (Some(now), true),
            AttemptEnd::Late if entry.open_exchange.is_some() => (Some(now), true),
            AttemptEnd::Late | AttemptEnd::Streams => (Some(again), true),
            AttemptEnd::Silent => (Some(again), false),
        };
        self.owed = self.owed.saturating_add(usize::from(owed)).saturating_sub(usize::from(entry.owed));
        entry.owed = owed;
        entry.state = next.map_or(ClosingState::Done, ClosingState::Queued);
        if let Some(at) = next {
            self.queue.insert((at, cookie));
        }
        match end {
            AttemptEnd::LetGo => self.count.let_go = self.count.let_go.saturating_add(1),
            AttemptEnd::Closed => {
                self.count.let_go = self.count.let_go.saturating_add(1);
                self.ignoring = self.ignoring.saturating_add(1);
            }
            AttemptEnd::LeftAlone => self.count.left_alone = self.count.left_alone.saturating_add(1),
            AttemptEnd::Escapes => {
                self.count.left_alone = self.count.left_alone.saturating_add(1);
                self.uncorking = self.uncorking.saturating_add(1);
            }
            AttemptEnd::Streams => {
                self.count.left_alone = self.count.left_alone.saturating_add(u32::from(next.is_none()));
            }
            AttemptEnd::Gone | AttemptEnd::Late | AttemptEnd::Unanswered | AttemptEnd::Silent => {}
        }
    }

    /// The drain is over. Returns those that are still corked and must be uncorked now.
    pub(super) fn finish(&mut self) -> Vec<u64> {
        let corked = self.attempts().filter(|(_, attempt)| attempt.is_corked());
        let corked = corked.map(|(cookie, _)| cookie).collect();
        self.entries.clear();
        self.queue.clear();
        self.active.clear();
        (self.corked, self.owed) = (0, 0);
        corked
    }
}

fn hints<'a>(
    entry: &Closing,
    now: Moment,
    (ignores_end, uncorks): (bool, bool),
    rhythms: &'a HashMap<u16, Rhythm>,
) -> ConnectionHints<'a> {
    let fresh = now.since(entry.judged) < REST;
    let rhythm = rhythms.get(&entry.port);
    let Closing { pause, last_data, .. } = *entry;
    ConnectionHints { rhythm, pause, idle: entry.idle && fresh, ignores_end, uncorks, last_data }
}

/// Random enough to spread beginnings (SplitMix64).
#[derive(Debug)]
struct Chance(u64);

impl Chance {
    fn within(&mut self, length: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let part = (mixed ^ (mixed >> 31)) >> 40;
        length.mul_f64(part as f64 / (1u64 << 24) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drain::evidence::Speaker;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    fn at(n: u64) -> Moment {
        Moment::START + ms(n)
    }

    fn schedule() -> CloseSchedule {
        CloseSchedule::new(at(0), ms(2000), 7)
    }

    fn offer(cookie: u64, idle: bool, silent: u64) -> Offer {
        let last_data = LastData { by: Speaker::Either, received: 0, written: 0 };
        let silent = ms(silent);
        Offer { cookie, port: 80, idle, awaited: false, last_data, silent, pause: Duration::ZERO }
    }

    fn look_at_all(schedule: &mut CloseSchedule, now: u64, offers: impl IntoIterator<Item = Offer>) {
        let offers: Vec<Offer> = offers.into_iter().collect();
        schedule.begin_look(offers.len());
        offers.into_iter().for_each(|offer| schedule.offer(at(now), offer));
        schedule.end_look();
    }

    /// Asked and answered a moment ago.
    fn tail() -> Tail {
        Tail {
            open: true,
            mss: 1448,
            received: 80,
            written: 200,
            received_ago: ms(9),
            sent_ago: ms(3),
            ..Tail::default()
        }
    }

    #[test]
    fn beginnings_are_spread_over_the_first_part_of_the_drain() {
        let mut schedule = schedule();
        look_at_all(&mut schedule, 0, (0..1000).map(|cookie| offer(cookie, false, 0)));
        let begins: Vec<Moment> = schedule.queue.iter().map(|(at, _)| *at).collect();
        assert!(begins.first() < Some(&at(20)) && begins.last() > Some(&at(1980)));
        assert!(begins.last() < Some(&at(2000)));
        assert_eq!(schedule.owed(), 1000);
        // Who comes later does not wait as long, and few do not either.
        look_at_all(&mut schedule, 3000, [offer(2000, false, 0)]);
        assert!(schedule.queue.last().map(|(at, _)| *at) < Some(at(3200)));
        let mut few = self::schedule();
        look_at_all(&mut few, 0, (0..50).map(|cookie| offer(cookie, false, 0)));
        let last = few.queue.last().map(|(at, _)| *at);
        assert!(last > Some(at(300)) && last < Some(at(500)));
    }

    #[test]
    fn a_request_that_takes_long_is_not_made_to_wait_for_its_turn() {
        let mut schedule = schedule();
        let look = |schedule: &mut CloseSchedule, now| {
            let awaited = |cookie, since| Offer { awaited: true, ..offer(cookie, false, now - since) };
            let others = (10..1000).map(|cookie| offer(cookie, false, 5000));
            look_at_all(schedule, now, others.chain([awaited(1, 0)]).chain((2..10).map(|n| awaited(n, 160))));
        };
        look(&mut schedule, 200);
        assert_eq!(schedule.next_to_begin(at(200)), Some(1));
        let later = |schedule: &CloseSchedule| {
            schedule.queue.iter().filter(|(begins, cookie)| *cookie < 10 && *begins > at(360)).count()
        };
        assert!(later(&schedule) > 0);
        look(&mut schedule, 360);
        assert_eq!(later(&schedule), 0, "they are still worked on");
    }

    #[test]
    fn who_is_at_rest_begins_at_once_and_is_not_waited_for() {
        let mut schedule = schedule();
        look_at_all(&mut schedule, 0, [offer(1, true, 1000), offer(2, true, 999)]);
        assert_eq!((schedule.owed(), schedule.next_to_begin(at(0))), (1, Some(1)));
        assert!(schedule.begin(at(0), 1));
        let silent = Tail { received_ago: ms(1005), sent_ago: ms(1000), ..tail() };
        assert_eq!(schedule.look(at(0), 1, &silent), (Act::ShutRead, None));
        assert_eq!(schedule.gone(at(3), 1), Some(AttemptEnd::LetGo));
        assert_eq!(schedule.count(), Count { let_go: 1, left_alone: 0 });
    }

    #[test]
    fn no_more_than_so_many_are_corked_at_a_time() {
        let mut schedule = schedule();
        look_at_all(&mut schedule, 0, (0..100).map(|cookie| offer(cookie, false, 0)));
        let mut begun = vec![];
        while let Some(cookie) = schedule.next_to_begin(at(2000)) {
            assert!(schedule.begin(at(2000), cookie));
            begun.push(cookie);
        }
        assert_eq!(begun.len(), CORKED);
        assert_eq!(schedule.deadline(), Some(at(2000)), "those begun are to be looked at");
        schedule.gone(at(2001), begun[0]);
        assert!(schedule.next_to_begin(at(2001)).is_some(), "room again");
        assert_eq!(schedule.finish().len(), CORKED - 1);
        assert_eq!((schedule.deadline(), schedule.owed()), (None, 0));
    }

    #[test]
    fn an_app_that_ignores_its_clients_end_is_known_after_some() {
        let mut schedule = schedule();
        let resting = Tail { received_ago: ms(2009), sent_ago: ms(2003), ..tail() };
        for cookie in 0..=u64::from(IGNORING) {
            look_at_all(&mut schedule, 100 * cookie, [offer(cookie, true, 2003)]);
            schedule.begin(at(100 * cookie), cookie);
            let first = schedule.look(at(100 * cookie), cookie, &resting);
            if cookie < u64::from(IGNORING) {
                assert_eq!(first, (Act::ShutRead, None));
                let closed = (Act::ShutWrite, Some(AttemptEnd::Closed));
                assert_eq!(schedule.look(at(100 * cookie + 30), cookie, &resting), closed);
            } else {
                assert_eq!(first, (Act::ShutBoth, Some(AttemptEnd::Closed)));
            }
        }
    }

    #[test]
    fn an_app_that_uncorks_is_known_after_some() {
        let mut schedule = schedule();
        look_at_all(&mut schedule, 0, (0..=u64::from(UNCORKING)).map(|cookie| offer(cookie, false, 0)));
        for cookie in 0..=u64::from(UNCORKING) {
            schedule.begin(at(2000), cookie);
            let mut looks = 0;
            let end = loop {
                // One more was asked and answered since the look before, and nothing is held.
                let tail = Tail { received: 80 * (looks + 1), written: 200 * (looks + 1), ..tail() };
                looks += 1;
                assert!(looks < 100);
                if let (_, Some(end)) = schedule.look(at(2000 + 3 * looks), cookie, &tail) {
                    break end;
                }
            };
            assert_eq!(end, AttemptEnd::Escapes);
            assert_eq!(looks < 5, cookie == u64::from(UNCORKING), "after {looks} looks");
        }
        assert_eq!((schedule.owed(), schedule.count().left_alone), (0, UNCORKING + 1));
    }

    #[test]
    fn what_looks_like_a_stream_again_and_again_is_left_alone_and_no_longer_waited_for() {
        let mut schedule = schedule();
        let mut now = 2000;
        look_at_all(&mut schedule, 0, [offer(1, false, 0)]);
        for time in 1..=STREAMS {
            assert_eq!((schedule.next_to_begin(at(now)), schedule.owed()), (Some(1), 1));
            schedule.begin(at(now), 1);
            schedule.look(at(now), 1, &tail());
            let event = Tail { held: 9, written: 209, ..tail() };
            assert_eq!(schedule.look(at(now + 3), 1, &event), (Act::Uncork, Some(AttemptEnd::Streams)));
            assert_eq!(schedule.count().left_alone, u32::from(time == STREAMS));
            now += 1000;
        }
        assert_eq!((schedule.next_to_begin(at(now)), schedule.owed()), (None, 0));
    }

    #[test]
    fn a_long_request_is_waited_for_without_a_gap() {
        let mut schedule = schedule();
        look_at_all(&mut schedule, 0, [offer(1, false, 0)]);
        schedule.begin(at(2000), 1);
        let working = Tail { received: 160, received_ago: ms(0), ..tail() };
        schedule.look(at(2000), 1, &working);
        assert_eq!(schedule.look(at(4750), 1, &working), (Act::Uncork, Some(AttemptEnd::Unanswered)));
        assert_eq!((schedule.next_to_begin(at(4750)), schedule.owed()), (Some(1), 1));
    }

    proptest! {
        /// Whatever is seen, and in whichever order: counts are right, and every cork that was put
        /// is drawn.
        #[test]
        fn every_cork_is_drawn(steps in prop::collection::vec((0u64..400, 0u64..90, 0u8..6, any::<u32>()), 1..300)) {
            let mut schedule = schedule();
            let mut corked = HashSet::new();
            let mut now = 0;
            for (wait, cookie, what, number) in steps {
                now += wait;
                match what {
                    0 => look_at_all(&mut schedule, now, (0..cookie).map(|cookie| offer(cookie, number % 3 == 0, now))),
                    1 => {
                        while let Some(cookie) = schedule.next_to_begin(at(now)) {
                            if schedule.begin(at(now), cookie) {
                                corked.insert(cookie);
                            }
                        }
                    }
                    2 => {
                        schedule.gone(at(now), cookie);
                        corked.remove(&cookie);
                    }
                    _ => for cookie in schedule.due(at(now)) {
                        let bytes = number.rotate_left(cookie as u32);
                        let tail = Tail {
                            open: bytes % 11 != 0,
                            held: bytes % 3 * 100,
                            received: u64::from(bytes % 5),
                            written: u64::from(bytes % 7),
                            received_ago: ms(u64::from(bytes % 4000)),
                            sent_ago: ms(u64::from(bytes % 3000)),
                            ..tail()
                        };
                        let (act, _) = schedule.look(at(now), cookie, &tail);
                        if matches!(act, Act::Uncork | Act::ShutWrite | Act::ShutBoth) {
                            corked.remove(&cookie);
                        }
                    }
                }
                prop_assert_eq!(schedule.corked, corked.len());
                prop_assert!(schedule.corked <= CORKED && schedule.active.len() <= ACTIVE);
                prop_assert_eq!(schedule.owed, schedule.entries.values().filter(|entry| entry.owed).count());
                let queued = schedule.entries.values().filter(|entry| matches!(entry.state, ClosingState::Queued(_)));
                prop_assert_eq!(schedule.queue.len(), queued.count());
            }
            let left: HashSet<u64> = schedule.finish().into_iter().collect();
            prop_assert_eq!(left, corked);
        }
    }
}
