//! The checklist for CI systems: a suite for each way, a case for each point; what was not seen counts as skipped.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::run::Run;
use crate::verdict::{Finding, Outcome};

/// JUnit XML, without times of day, so that equal rehearsals give equal files.
#[must_use]
pub fn junit(runs: &[Run]) -> String {
    let mut report = Report::new("adieu-rehearse");
    for run in runs {
        let mut suite = TestSuite::new(format!("{} ({})", run.recording.app, run.recording.mode.label()));
        suite.add_test_case(no_loss(run));
        suite.add_test_cases(run.verdict.findings.iter().map(case));
        report.add_test_suite(suite);
    }
    // Its only error would be one of the writer, and a string takes everything.
    report.to_string().unwrap_or_default()
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

fn case(finding: &Finding) -> TestCase {
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
