//! What several looks mean together. One look may fall between an answer and the next request, so
//! two looks in a row must find nothing in flight, and no balancer may still open connections.
//! Where nothing can be seen, only the drain timeout ends the wait. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::pinned::{Pinned, Traffic};
use crate::lifecycle::Event;
use crate::moment::Moment;

/// What a look led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Something is in flight, or it is too early to say.
    Busy,
    /// Nothing was in flight at two looks in a row, the last of them since draining began, and new
    /// connections no longer come.
    Idle,
    /// Requests keep coming at the same rate and few are in flight now: end the drain, since
    /// waiting cannot help.
    Pinned,
    /// Nothing can be seen; the reason was logged.
    Blind,
}

impl Verdict {
    /// The event for the lifecycle if the wait is over. `check_idle` is the result of
    /// `--drain-check`; true without one.
    #[must_use]
    pub fn event(self, check_idle: bool) -> Option<Event> {
        match self {
            Verdict::Busy | Verdict::Blind => None,
            Verdict::Idle => check_idle.then_some(Event::Drained),
            Verdict::Pinned => check_idle.then_some(Event::Pinned),
        }
    }
}

/// How many looks in a row must have seen nothing in flight.
const IDLE_LOOKS: u32 = 2;

/// So many new connections with a request, within this time, come from a balancer and from no
/// health check. One that is answered between two looks is not seen.
const MANY_NEWCOMERS: u32 = 3;
const LATELY: Duration = Duration::from_millis(1500);

/// What the next verdict needs of the looks so far.
#[derive(Default, Debug)]
pub(super) struct Looks {
    idle_in_a_row: u32,
    pinned: Pinned,
    /// The looks that have seen new connections lately.
    newcomers: VecDeque<(Moment, u32)>,
}

/// What one look at everything has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct LookSummary {
    pub idle: bool,
    pub traffic: Traffic,
    /// Unix connections in flight; no request rate is known of them.
    pub unix: usize,
}

impl Looks {
    /// Draining begins: requests before it are no sign of pinned clients.
    pub(super) fn begin(&mut self) {
        self.pinned = Pinned::default();
    }

    /// Takes in a look at everything.
    pub(super) fn take(&mut self, now: Moment, draining: bool, sight: LookSummary) -> Verdict {
        self.idle_in_a_row = if sight.idle { self.idle_in_a_row.saturating_add(1) } else { 0 };
        let balanced = self.balancer_sends(now, sight.traffic.newcomers);
        if !draining {
            return Verdict::Busy;
        }
        let pinned = self.pinned.look(now, sight.traffic) && sight.unix == 0;
        if self.idle_in_a_row >= IDLE_LOOKS && !balanced {
            Verdict::Idle
        } else if pinned && !sight.idle {
            Verdict::Pinned
        } else {
            Verdict::Busy
        }
    }

    /// Takes in how many connections have brought their first request; true if so many have lately
    /// that a balancer still sends.
    fn balancer_sends(&mut self, now: Moment, newcomers: u32) -> bool {
        while self.newcomers.front().is_some_and(|(at, _)| now.since(*at) > LATELY) {
            self.newcomers.pop_front();
        }
        if newcomers > 0 {
            self.newcomers.push_back((now, newcomers));
        }
        let all = self.newcomers.iter().fold(0u32, |sum, (_, count)| sum.saturating_add(*count));
        all >= MANY_NEWCOMERS
    }

    /// The connections that were busy at the last full look are idle now. The others were idle
    /// then, so this counts as one look; only a full look can confirm it.
    pub(super) fn none_busy(&mut self) {
        self.idle_in_a_row = self.idle_in_a_row.max(1);
    }

    /// Nothing could be seen.
    pub(super) fn blind(&mut self) -> Verdict {
        self.idle_in_a_row = 0;
        Verdict::Blind
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sight(idle: bool) -> LookSummary {
        LookSummary { idle, traffic: Traffic::default(), unix: 0 }
    }

    /// Looks once a second.
    fn verdicts(looks: &[(bool, LookSummary)]) -> Vec<Verdict> {
        let mut state = Looks::default();
        let at = |n: usize| Duration::from_secs(n as u64);
        looks
            .iter()
            .enumerate()
            .map(|(n, (draining, sight))| state.take(Moment::at(at(n)), *draining, *sight))
            .collect()
    }

    #[test]
    fn idle_must_hold_twice_and_counts_from_before_the_drain() {
        use Verdict::{Busy, Idle};
        assert_eq!(verdicts(&[(true, sight(true)), (true, sight(true))]), [Busy, Idle]);
        assert_eq!(verdicts(&[(false, sight(true)), (true, sight(true))]), [Busy, Idle]);
        let broken = [true, false, true, true].map(|idle| (true, sight(idle)));
        assert_eq!(verdicts(&broken), [Busy, Busy, Busy, Idle]);
    }

    #[test]
    fn the_busy_ones_alone_can_be_the_first_of_two_looks_and_not_the_second() {
        let mut looks = Looks::default();
        let at = Moment::START;
        assert_eq!(looks.take(at, true, sight(false)), Verdict::Busy);
        looks.none_busy();
        looks.none_busy();
        assert_eq!(looks.take(at, true, sight(true)), Verdict::Idle);
    }

    /// A hundred requests a second on connections that stay.
    fn stream() -> LookSummary {
        let traffic = Traffic { came: 100, urgent: 1, ..Traffic::default() };
        LookSummary { traffic, ..sight(false) }
    }

    #[test]
    fn clients_that_never_stop_asking_are_pinned_unless_something_else_is_in_flight() {
        use Verdict::{Busy, Pinned};
        assert_eq!(verdicts(&[(true, stream()); 4]), [Busy, Busy, Busy, Pinned]);
        let beside = LookSummary { unix: 1, ..stream() };
        assert_eq!(verdicts(&[(true, beside); 4]), [Busy; 4], "a unix connection may be slow");
        let mut rests = [(true, stream()); 4];
        rests[3].1.idle = true;
        assert_eq!(verdicts(&rests), [Busy; 4], "idle once, which the next look confirms");
    }

    #[test]
    fn a_balancer_that_still_opens_connections_is_waited_for_and_a_health_check_is_not() {
        let came = |newcomers| {
            let traffic = Traffic { newcomers, ..Traffic::default() };
            (true, LookSummary { traffic, ..sight(true) })
        };
        let idle = |newcomers: &[u32]| {
            let looks: Vec<(bool, LookSummary)> = newcomers.iter().map(|count| came(*count)).collect();
            verdicts(&looks).iter().map(|verdict| *verdict == Verdict::Idle).collect::<Vec<bool>>()
        };
        assert_eq!(idle(&[0, 0, 2, 2, 2, 0, 0]), [false, true, true, false, false, true, true]);
        assert_eq!(idle(&[0, 1, 1, 1, 1]), [false, true, true, true, true]);
    }

    #[test]
    fn requests_before_the_drain_are_no_sign_of_pinned_clients() {
        let mut looks = Looks::default();
        let at = |second| Moment::at(Duration::from_secs(second));
        for second in 0..3 {
            assert_eq!(looks.take(at(second), true, stream()), Verdict::Busy);
        }
        looks.begin();
        assert_eq!(looks.take(at(3), true, stream()), Verdict::Busy);
    }

    #[test]
    fn blind_is_never_idle() {
        let mut looks = Looks::default();
        looks.take(Moment::at(Duration::ZERO), true, sight(true));
        assert_eq!(looks.blind(), Verdict::Blind);
        assert_eq!(
            looks.take(Moment::at(Duration::ZERO), true, sight(true)),
            Verdict::Busy,
            "it begins anew"
        );
        assert_eq!(Verdict::Blind.event(true), None);
    }

    #[test]
    fn a_check_that_is_busy_holds_the_drain() {
        assert_eq!(Verdict::Idle.event(true), Some(Event::Drained));
        assert_eq!(Verdict::Idle.event(false), None);
        assert_eq!(Verdict::Pinned.event(false), None);
        assert_eq!(Verdict::Busy.event(true), None);
    }
}
