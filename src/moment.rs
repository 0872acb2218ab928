//! Points in time, kept apart from lengths of time by their type. Pure: the one clock is in `sys`.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// A point in time on the monotonic clock, counted from adieu's start. Arithmetic stops at the ends
/// and never overflows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(Duration);

impl Moment {
    /// adieu's start.
    pub const START: Moment = Moment(Duration::ZERO);

    /// The point in time this long after adieu's start.
    pub const fn at(since_start: Duration) -> Moment {
        Moment(since_start)
    }

    /// How long adieu had been running.
    pub const fn since_start(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is; zero when it is before.
    pub fn since(self, earlier: Moment) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Moment {
    type Output = Moment;

    fn add(self, length: Duration) -> Moment {
        Moment(self.0.saturating_add(length))
    }
}

/// Not before adieu's start.
impl Sub<Duration> for Moment {
    type Output = Moment;

    fn sub(self, length: Duration) -> Moment {
        Moment(self.0.saturating_sub(length))
    }
}

impl fmt::Debug for Moment {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_stops_at_the_ends() {
        let second = Duration::from_secs(1);
        assert_eq!(Moment::START - second, Moment::START);
        assert_eq!(Moment::at(Duration::MAX) + second, Moment::at(Duration::MAX));
        assert_eq!(Moment::START.since(Moment::START + second), Duration::ZERO);
        assert_eq!((Moment::START + second).since(Moment::START), second);
    }
}
