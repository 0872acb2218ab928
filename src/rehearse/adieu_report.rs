//! adieu's own report, as far as a rehearsal uses it: its phases in milliseconds since the stop
//! request, how the app itself ended, and what adieu had to kill. Without a report the recording
//! has less in it, but nothing wrong.

use std::path::Path;

use serde::Deserialize;

use super::recording::{AdieuReport, At, RecordedExit, RecordedPhase};
use adieu::signal::Signal;

/// Its times are milliseconds since adieu's start.
#[derive(Deserialize)]
struct Reported {
    asked: Option<ReportedRequest>,
    phases: Vec<ReportedSpan>,
    cut_off: ReportedCutOff,
    killed: bool,
    leftovers: ReportedLeftovers,
    app: Option<ReportedEnd>,
}

#[derive(Deserialize)]
struct ReportedRequest {
    at_ms: i64,
}

#[derive(Deserialize)]
struct ReportedSpan {
    phase: String,
    begin_ms: i64,
    end_ms: Option<i64>,
}

#[derive(Deserialize)]
struct ReportedCutOff {
    at_stopping: Option<u64>,
}

#[derive(Deserialize)]
struct ReportedLeftovers {
    swept: bool,
    killed: bool,
}

#[derive(Deserialize)]
struct ReportedEnd {
    status: u8,
    signal: Option<String>,
}

/// Reads the report. `hook_ms` is the time from the platform's stop request to its signal.
pub(crate) fn read(path: &Path, hook_ms: u64) -> Option<AdieuReport> {
    understand(&std::fs::read(path).ok()?, hook_ms)
}

fn understand(report: &[u8], hook_ms: u64) -> Option<AdieuReport> {
    let report: Reported = serde_json::from_slice(report).ok()?;
    // If the app ended before the stop request, there are no phases of a stop, but its end counts.
    let app = report.app.is_some();
    let asked = report.asked.map(|asked| asked.at_ms).or(app.then_some(i64::MAX / 2))?;
    let at = |ms: i64| At(ms - asked + hook_ms as i64);
    let during_stop = report
        .phases
        .iter()
        .filter(|span| span.begin_ms >= asked && span.end_ms.is_some_and(|end| end > span.begin_ms));
    let span = |span: &ReportedSpan| RecordedPhase {
        phase: span.phase.clone(),
        from: at(span.begin_ms),
        to: at(span.end_ms.unwrap_or(span.begin_ms)),
        in_flight: report.cut_off.at_stopping.filter(|_| span.phase == "draining"),
    };
    let killing = report.phases.iter().find(|span| span.phase == "killing");
    let app_end =
        report.app.map(|end| match end.signal.as_deref().and_then(|name| name.parse::<Signal>().ok()) {
            Some(signal) => RecordedExit::Signal(signal.number() as u8),
            None => RecordedExit::Status(end.status),
        });
    Some(AdieuReport {
        phases: during_stop.map(span).collect(),
        app_end,
        killed: killing.filter(|_| report.killed).map(|span| at(span.begin_ms)),
        signalled: report.phases.iter().any(|span| span.phase == "stopping" || span.phase == "killing"),
        swept: report.leftovers.swept,
        killed_leftovers: report.leftovers.killed,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPORT: &str = r#"{"asked": {"at_ms": 1500},
        "phases": [{"phase": "running", "begin_ms": 1, "end_ms": 1500}, {"phase": "pre-stop", "begin_ms": 1500, "end_ms": 2500},
            {"phase": "draining", "begin_ms": 2500, "end_ms": 2700}, {"phase": "stopping", "begin_ms": 2700, "end_ms": 2700},
            {"phase": "killing", "begin_ms": 2700, "end_ms": 2701}, {"phase": "gone", "begin_ms": 2701, "end_ms": null}],
        "cut_off": {"at_stopping": 2}, "killed": true, "leftovers": {"swept": true, "killed": false},
        "app": {"at_ms": 2700, "status": 137, "signal": "KILL"}, "more": "than is used"}"#;

    #[test]
    fn a_report_is_put_on_the_time_scale_of_the_stop() {
        let report = understand(REPORT.as_bytes(), 100).expect("a report");
        let phases: Vec<_> = report
            .phases
            .iter()
            .map(|span| (span.phase.as_str(), span.from, span.to, span.in_flight))
            .collect();
        assert_eq!(
            phases,
            [
                ("pre-stop", At(100), At(1100), None),
                ("draining", At(1100), At(1300), Some(2)),
                ("killing", At(1300), At(1301), None)
            ]
        );
        assert_eq!(report.app_end, Some(RecordedExit::Signal(9)));
        assert_eq!(report.killed, Some(At(1300)));
        assert!(report.signalled && report.swept && !report.killed_leftovers);
    }

    #[test]
    fn an_app_that_ended_before_the_stop_was_not_signalled() {
        let report = br#"{"asked": null, "phases": [{"phase": "running", "begin_ms": 1, "end_ms": 9}], "cut_off": {"at_stopping": null},
            "killed": false, "leftovers": {"swept": false, "killed": false}, "app": {"at_ms": 9, "status": 0, "signal": null}}"#;
        let report = understand(report, 0).expect("a report");
        assert!(!report.signalled && report.phases.is_empty());
    }

    #[test]
    fn no_stop_no_report() {
        assert!(understand(br#"{"asked": null}"#, 0).is_none());
        assert!(understand(b"", 0).is_none());
    }
}
