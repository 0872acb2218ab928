//! What every picture shows: the runs, and the time range that they share.

use schemars::JsonSchema;
use serde::Serialize;

use crate::recording::{At, Recording};
use crate::verdict::RunVerdict;

/// One rehearsal and its verdict.
#[derive(JsonSchema, Serialize, Clone, PartialEq, Debug)]
pub struct Run {
    pub recording: Recording,
    pub verdict: RunVerdict,
}

/// The time range that all runs of one picture share.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeRange {
    pub from: At,
    pub to: At,
}

impl TimeRange {
    /// From a little before the stop to a little after the last event.
    #[must_use]
    pub fn of(runs: &[Run]) -> TimeRange {
        let mut range = TimeRange { from: At(-1000), to: At(1000) };
        for Run { recording, .. } in runs {
            let last = recording.requests.iter().map(|request| request.to).max().unwrap_or(At(0));
            let removal = At(recording.limits.removal_ms as i64);
            range.to = range.to.max(last).max(recording.end.at).max(removal);
            let first = recording.requests.iter().map(|request| request.from).min().unwrap_or(At(0));
            range.from = range.from.min(first.max(At(-2000)));
        }
        // The kill is in the picture unless most of the picture would be empty.
        for Run { recording, .. } in runs {
            let kill = recording.limits.grace_ms as i64;
            if kill * 2 <= range.to.0 * 5 {
                range.to = range.to.max(At(kill));
            }
        }
        range.to = At(range.to.0 + (range.to.0 - range.from.0) / 40);
        range
    }

    #[must_use]
    pub fn length(self) -> i64 {
        (self.to.0 - self.from.0).max(1)
    }

    /// The distance between two ticks, in milliseconds: a round number that gives at most `most` of
    /// them.
    #[must_use]
    pub fn tick(self, most: i64) -> i64 {
        let steps = [500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000, 120_000, 300_000, 600_000];
        steps.into_iter().find(|step| self.length() / step < most).unwrap_or(3_600_000)
    }

    /// The ticks' times: multiples of the distance, the stop at 0 among them.
    pub fn ticks(self, most: i64) -> impl Iterator<Item = At> {
        let tick = self.tick(most);
        let first = self.from.0.div_euclid(tick) + i64::from(self.from.0.rem_euclid(tick) != 0);
        (first..).map(move |number| At(number * tick)).take_while(move |at| *at <= self.to)
    }
}

/// The path of a target. Scheme, host and port are mostly the same for all.
#[must_use]
pub fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    match rest.strip_prefix("unix:").and_then(|rest| rest.split_once(':')) {
        Some((_, path)) => path,
        None => rest.find('/').map_or("/", |slash| &rest[slash..]),
    }
}

/// The platform whose limits were played, as a prefix of the limits.
#[must_use]
pub fn played(recording: &Recording) -> String {
    match recording.limits.platform.as_str() {
        "none" => String::new(),
        platform => format!("{platform}: "),
    }
}
