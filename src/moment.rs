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

/// Half of a length.
pub fn half(length: Duration) -> Duration {
    part(length, 2)
}

/// A length, divided into so many equal parts.
pub fn part(length: Duration, parts: u32) -> Duration {
    length.checked_div(parts).unwrap_or_default()
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

/// A length of time in the notation of settings: `1m30s`, `2.5s`, `500ms`.
pub fn show_duration(length: Duration) -> String {
    let millis = length.as_millis();
    match (millis / 60_000, millis % 60_000) {
        (0, 0) => "0s".to_owned(),
        (0, rest) if rest < 1000 => format!("{rest}ms"),
        (0, rest) => in_seconds(rest),
        (minutes, 0) => format!("{minutes}m"),
        (minutes, rest) => format!("{minutes}m{}", in_seconds(rest)),
    }
}

fn in_seconds(millis: u128) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

/// A length that was measured: below a second to the millisecond, from there to a tenth.
pub fn show_measured(length: Duration) -> String {
    let millis = length.as_millis() as u64;
    let exact = if millis < 1000 { millis } else { (millis.saturating_add(50) / 100).saturating_mul(100) };
    show_duration(Duration::from_millis(exact))
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

    #[test]
    fn what_was_measured_is_shown_as_exactly_as_it_was() {
        let shown = |millis| show_measured(Duration::from_millis(millis));
        assert_eq!([0, 34, 999, 1000, 1049, 1050].map(shown), ["0s", "34ms", "999ms", "1s", "1s", "1.1s"]);
        assert_eq!([59_960, 75_300].map(shown), ["1m", "1m15.3s"]);
    }
}
