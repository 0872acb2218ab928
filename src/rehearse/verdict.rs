//! The checklist: its points, the outcome of each, and the verdict on a run.

use schemars::JsonSchema;
use serde::Serialize;

use super::recording::Tally;

/// The points, in the order of a stop.
#[derive(JsonSchema, Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Point {
    HandlesStopSignal,
    FailsReadinessFirst,
    StopsAccepting,
    FinishesRequests,
    LetsConnectionsGo,
    DrainFitsGrace,
    ClosesDatabases,
    LeavesNoProcess,
    ExitsInTime,
}

impl Point {
    pub const ALL: [Point; 9] = [
        Point::HandlesStopSignal,
        Point::FailsReadinessFirst,
        Point::StopsAccepting,
        Point::FinishesRequests,
        Point::LetsConnectionsGo,
        Point::DrainFitsGrace,
        Point::ClosesDatabases,
        Point::LeavesNoProcess,
        Point::ExitsInTime,
    ];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Point::HandlesStopSignal => "handles the stop signal",
            Point::FailsReadinessFirst => "fails readiness first",
            Point::StopsAccepting => "stops accepting",
            Point::FinishesRequests => "finishes requests in flight",
            Point::LetsConnectionsGo => "closes keep-alive connections",
            Point::DrainFitsGrace => "drain fits the grace",
            Point::ClosesDatabases => "closes its database connections",
            Point::LeavesNoProcess => "leaves no process",
            Point::ExitsInTime => "exits in time, clean status",
        }
    }
}

#[derive(JsonSchema, Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Pass,
    Fail,
    NotSeen,
}

impl Outcome {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::NotSeen => "not seen",
        }
    }
}

/// One point of the checklist.
#[derive(JsonSchema, Serialize, Clone, PartialEq, Eq, Debug)]
pub struct PointResult {
    pub point: Point,
    pub outcome: Outcome,
    /// What was observed.
    pub seen: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
}

#[derive(JsonSchema, Serialize, Clone, PartialEq, Eq, Debug)]
pub struct RunVerdict {
    pub tally: Tally,
    pub findings: Vec<PointResult>,
}

impl RunVerdict {
    /// No request was lost and no point failed.
    #[must_use]
    pub fn good(&self) -> bool {
        self.tally.lost() == 0 && self.failures().next().is_none()
    }

    pub fn failures(&self) -> impl Iterator<Item = &PointResult> {
        self.findings.iter().filter(|finding| finding.outcome == Outcome::Fail)
    }
}
