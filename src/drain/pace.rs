//! When to look. A look costs processor time that the app needs, and takes longer the more
//! connections there are. So after each look the drain waits twenty times its cost, which keeps
//! looks under five per cent of a core. Where that makes full looks rare, the drain asks for the
//! few busy connections one by one in between. Pure: callers pass costs and times.

use std::time::Duration;

use crate::moment::Moment;

/// How often to look while looking is cheap.
const EVERY: Duration = Duration::from_millis(50);

/// How often to ask for the busy ones while full looks are rarer than that.
const EVERY_BUSY: Duration = Duration::from_millis(100);

/// One part in this many of the time may go into looks.
const SHARE: u32 = 20;

/// By how much asking for the busy ones may delay the next full look.
const BUSY_MAY_TAKE: Duration = EVERY;

/// What kind of look is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Due {
    /// At all connections.
    Full,
    /// At those that were busy, one by one.
    Busy,
}

#[derive(Default, Debug)]
pub(super) struct Pace {
    full: Moment,
    busy: Option<Moment>,
}

impl Pace {
    /// A full look is due at once.
    pub(super) fn hurry(&mut self, now: Moment) {
        self.full = self.full.min(now);
        self.busy = None;
    }

    pub(super) fn deadline(&self) -> Moment {
        self.busy.map_or(self.full, |busy| busy.min(self.full))
    }

    pub(super) fn due(&self, now: Moment) -> Option<Due> {
        if now >= self.full {
            Some(Due::Full)
        } else if self.busy.is_some_and(|busy| now >= busy) {
            Some(Due::Busy)
        } else {
            None
        }
    }

    /// A full look has been taken; `ask_busy` is the estimated cost of asking for the busy ones, if
    /// there are any.
    pub(super) fn looked(&mut self, now: Moment, cost: Duration, ask_busy: Option<Duration>) {
        let wait = EVERY.max(cost.saturating_mul(SHARE));
        self.full = now + wait;
        self.busy = None;
        if wait > EVERY_BUSY {
            self.ask_later(now, ask_busy);
        }
    }

    /// The busy ones have been asked for, which delays the next full look by twenty times its cost.
    pub(super) fn asked(&mut self, now: Moment, cost: Duration) {
        self.full = self.full + cost.saturating_mul(SHARE);
        self.ask_later(now, Some(cost));
    }

    fn ask_later(&mut self, now: Moment, cost: Option<Duration>) {
        let affordable = cost.is_some_and(|cost| cost.saturating_mul(SHARE) <= BUSY_MAY_TAKE);
        self.busy = affordable.then_some(now + EVERY_BUSY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn cheap_looks_come_every_fifty_milliseconds() {
        let mut pace = Pace::default();
        assert_eq!(pace.due(Moment::at(us(0))), Some(Due::Full));
        pace.looked(Moment::at(us(0)), us(100), Some(us(9)));
        assert_eq!((pace.deadline(), pace.due(Moment::at(us(49_999)))), (Moment::at(us(50_000)), None));
    }

    #[test]
    fn dear_looks_are_rare_and_the_busy_ones_are_asked_in_between() {
        let mut pace = Pace::default();
        pace.looked(Moment::at(us(0)), us(50_000), Some(us(90)));
        assert_eq!(
            (pace.deadline(), pace.due(Moment::at(us(100_000)))),
            (Moment::at(us(100_000)), Some(Due::Busy))
        );
        pace.asked(Moment::at(us(100_000)), us(90));
        assert_eq!(pace.deadline(), Moment::at(us(200_000)));
        assert_eq!(pace.due(Moment::at(us(1_001_800))), Some(Due::Full), "put off by what the question cost");
    }

    #[test]
    fn many_busy_ones_are_not_asked() {
        let mut pace = Pace::default();
        pace.looked(Moment::at(us(0)), us(50_000), Some(us(2_600)));
        assert_eq!(pace.deadline(), Moment::at(us(1_000_000)));
        pace.looked(Moment::at(us(0)), us(50_000), None);
        assert_eq!(pace.deadline(), Moment::at(us(1_000_000)));
    }

    #[test]
    fn a_look_can_be_hurried() {
        let mut pace = Pace::default();
        pace.looked(Moment::at(us(0)), us(50_000), None);
        pace.hurry(Moment::at(us(20_000)));
        assert_eq!(pace.due(Moment::at(us(20_000))), Some(Due::Full));
    }

    proptest! {
        #[test]
        fn looking_never_costs_more_than_five_per_cent(costs in prop::collection::vec((0u64..60_000, 0u64..2_000), 1..60)) {
            let (mut pace, mut now, mut spent) = (Pace::default(), us(0), us(0));
            for (full, busy) in costs {
                now = now.max(pace.deadline().since_start());
                // What was spent before this look has been paid for, but for the busy ones'
                // advance.
                match pace.due(Moment::at(now)) {
                    Some(Due::Full) => {
                        prop_assert!(spent * SHARE <= now);
                        pace.looked(Moment::at(now), us(full), Some(us(busy)));
                        spent += us(full);
                    }
                    Some(Due::Busy) => {
                        pace.asked(Moment::at(now), us(busy));
                        spent += us(busy);
                    }
                    None => unreachable!(),
                }
            }
        }
    }
}
