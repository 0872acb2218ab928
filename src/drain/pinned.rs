//! When waiting cannot help. Clients with keep-alive connections straight to the app, with no load
//! balancer between, never stop: each answer brings their next request. When requests have kept
//! coming for three seconds and their rate has not fallen, this ends the drain, at a moment with
//! the fewest in flight. It never gives up a request that waiting would save: while one connection
//! is busy with the same request, the drain goes on. It also goes on while new connections come: a
//! balancer that has not seen the failed readiness still sends, and will stop. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::moment::Moment;

/// How long the rate must have held. A connection that has answered nothing for as long is busy
/// with something else.
pub(super) const WINDOW: Duration = Duration::from_secs(3);

/// Fewer requests than this within the window come from a scraper or a health check.
const FEWEST: u64 = 6;

/// The requests that a look saw.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Traffic {
    /// Requests that came since the look before, on connections that have been there for
    /// [`WINDOW`].
    pub came: u32,
    /// Connections that brought their first request since the look before.
    pub newcomers: u32,
    /// Connections with a request that would be cut off now.
    pub urgent: usize,
    /// Those of them that have answered nothing for [`WINDOW`].
    pub slow: usize,
}

#[derive(Default, Debug)]
pub(super) struct Pinned {
    looks: VecDeque<Mark>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    at: Moment,
    /// Requests that came since the first look.
    came: u64,
    urgent: usize,
    newcomers: u32,
}

impl Pinned {
    /// Takes in a look; true if this is the moment to end the drain.
    pub(super) fn look(&mut self, now: Moment, traffic: Traffic) -> bool {
        let came = match self.looks.back() {
            Some(last) => last.came.saturating_add(traffic.came.into()),
            // What came before the first look belongs to no known time.
            None => 0,
        };
        self.looks.push_back(Mark { at: now, came, urgent: traffic.urgent, newcomers: traffic.newcomers });
        self.forget(now);
        let fewest = self.looks.iter().map(|look| look.urgent).min().unwrap_or(0);
        // A balancer still sends.
        let newcomers = self.looks.iter().skip(1).any(|look| look.newcomers > 0);
        traffic.slow == 0 && !newcomers && traffic.urgent <= fewest && self.keeps_coming(now)
    }

    /// Has the rate held? Compares the thirds of the window.
    fn keeps_coming(&self, now: Moment) -> bool {
        let Some(first) = self.looks.front() else {
            return false;
        };
        let window = now.since(first.at);
        if window < WINDOW || self.looks.len() < 4 {
            return false;
        }
        let at = |thirds: u32| {
            self.came_by(first.at + window.saturating_mul(thirds).checked_div(3).unwrap_or_default())
        };
        let [early, middle, late] = [at(1) - at(0), at(2) - at(1), at(3) - at(2)];
        at(3) - at(0) >= FEWEST as f64 && late >= early && middle + late >= 2.0 * early
    }

    /// Requests that came until then, taken as evenly spread between two looks.
    fn came_by(&self, then: Moment) -> f64 {
        let last = self.looks.len().saturating_sub(1);
        let after = self.looks.iter().position(|look| look.at >= then).unwrap_or(last);
        let (Some(a), Some(b)) = (self.looks.get(after.saturating_sub(1)), self.looks.get(after)) else {
            return 0.0;
        };
        let span = b.at.since(a.at).as_secs_f64();
        let part = if span > 0.0 { then.since(a.at).as_secs_f64() / span } else { 1.0 };
        a.came as f64 + part * b.came.saturating_sub(a.came) as f64
    }

    /// Keeps what makes up the window, and at least four looks, however far apart they are.
    fn forget(&mut self, now: Moment) {
        while self.looks.len() > 4 && self.looks.get(1).is_some_and(|look| now.since(look.at) >= WINDOW) {
            self.looks.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Looks every 100 ms; at which look, if any, does it leave?
    fn leaves(looks: impl Iterator<Item = Traffic>) -> Option<usize> {
        let mut pinned = Pinned::default();
        looks.enumerate().position(|(i, traffic)| pinned.look(Moment::at(ms(5000 + 100 * i as u64)), traffic))
    }

    fn busy(came: u32, urgent: usize) -> Traffic {
        Traffic { came, urgent, slow: 0, newcomers: 0 }
    }

    #[test]
    fn a_steady_stream_ends_it_after_three_seconds() {
        assert_eq!(leaves((0..100).map(|_| busy(10, 3))), Some(30));
    }

    #[test]
    fn it_leaves_when_the_fewest_are_in_flight() {
        let look = |i: usize| busy(10, if i % 10 == 7 { 1 } else { 5 });
        assert_eq!(leaves((0..100).map(look)), Some(37));
    }

    #[test]
    fn a_falling_rate_is_worth_waiting_for() {
        assert_eq!(leaves((0..100).map(|i| busy(100 - i, 3))), None);
    }

    #[test]
    fn a_rate_that_has_fallen_and_stays_is_pinned() {
        let left = leaves((0..100).map(|i| busy(if i < 20 { 100 } else { 10 }, 3)));
        assert_eq!(left, Some(49), "three seconds after the last look at the high rate");
    }

    #[test]
    fn a_slow_request_is_waited_for_though_others_keep_coming() {
        let look = |i: usize| Traffic { came: 10, urgent: 2, slow: usize::from(i < 80), newcomers: 0 };
        assert_eq!(leaves((0..100).map(look)), Some(80));
    }

    #[test]
    fn a_balancer_that_opens_connections_is_worth_waiting_for() {
        let look = |i: usize| Traffic { newcomers: u32::from(i.is_multiple_of(20) && i < 60), ..busy(10, 3) };
        assert_eq!(leaves((0..100).map(look)), Some(70), "three seconds after the last that came");
    }

    #[test]
    fn a_health_check_each_second_is_no_stream() {
        assert_eq!(leaves((0..200).map(|i| busy(u32::from(i % 10 == 0), 1))), None);
    }

    #[test]
    fn requests_in_flight_without_new_ones_are_no_stream() {
        assert_eq!(leaves((0..200).map(|_| busy(0, 5))), None);
    }

    #[test]
    fn late_looks_decide_the_same() {
        let mut pinned = Pinned::default();
        let mut look = |second: u64| pinned.look(Moment::at(ms(second * 1000)), busy(100, 1));
        assert!(![5, 7, 9].map(&mut look).contains(&true), "three looks are too few");
        assert!(look(11));
    }
}
