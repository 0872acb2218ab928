//! The checklist for CI systems: a suite for each run, a case for each point. A point that was not
//! seen counts as skipped.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::run::Run;
use crate::verdict::{Outcome, PointResult};

/// JUnit XML without timestamps, so that equal rehearsals give equal files.
#[must_use]
pub fn junit(runs: &[Run]) -> String {
    let mut report = Report::new("adieu-rehearse");
    for (number, run) in runs.iter().enumerate() {
        // The last run decides, as for the exit status; the bare run before it is only for
        // comparison.
        let decides = number + 1 == runs.len();
        let mut suite = TestSuite::new(format!("{} ({})", run.recording.app, run.recording.mode.label()));
        let cases = std::iter::once(no_loss(run)).chain(run.verdict.findings.iter().map(case));
        suite.add_test_cases(cases.map(|mut case| {
            case.set_classname(format!("adieu-rehearse.{}", run.recording.mode.label().replace(' ', "-")));
            case.set_time(time_of(run));
            if !decides {
                case.status = only_compared(case.status);
            }
            case
        }));
        report.add_test_suite(suite);
    }
    // It can fail only in the writer, and writing to a string does not fail.
    report.to_string().unwrap_or_default()
}

/// A rehearsal that could not be judged, for example because the app dies at its start: one case,
/// in error.
#[must_use]
pub fn trouble(app: &str, why: &str) -> String {
    let mut report = Report::new("adieu-rehearse");
    let mut suite = TestSuite::new(app);
    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
    status.set_message(why);
    let mut case = TestCase::new("can be rehearsed", status);
    case.set_classname("adieu-rehearse").set_time(Duration::ZERO);
    suite.add_test_case(case);
    report.add_test_suite(suite);
    report.to_string().unwrap_or_default()
}

/// From the stop request to the end, the time of the whole stop for every case.
fn time_of(run: &Run) -> Duration {
    Duration::from_millis(run.recording.end.at.0.try_into().unwrap_or_default())
}

/// A failure in a run that is only for comparison is shown as skipped.
fn only_compared(status: TestCaseStatus) -> TestCaseStatus {
    let TestCaseStatus::NonSuccess { message, .. } = status else { return status };
    let mut status = TestCaseStatus::skipped();
    status.set_message(format!("would fail: {}", message.as_ref().map_or("", |message| message.as_str())));
    status
}

fn no_loss(run: &Run) -> TestCase {
    let tally = run.verdict.tally;
    let status = match tally.lost() {
        0 if tally.sent == 0 => {
            let mut status = TestCaseStatus::skipped();
            status.set_message("no request was sent");
            status
        }
        0 => TestCaseStatus::success(),
        lost => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(format!("{lost} of {} requests were lost", tally.sent));
            status
        }
    };
    TestCase::new("loses no request", status)
}

fn case(finding: &PointResult) -> TestCase {
    let status = match finding.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        Outcome::NotSeen => {
            let mut status = TestCaseStatus::skipped();
            status.set_message(finding.seen.clone());
            status
        }
        Outcome::Fail => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_message(finding.seen.clone());
            status.set_description(finding.advice.clone());
            status
        }
    };
    TestCase::new(finding.point.label(), status)
}
