//! Compares a run with the report of an earlier rehearsal, so that an app that is not perfect yet
//! does not get worse unnoticed.

use serde::Deserialize;

use super::recording::Mode;
use super::show::run::Run;
use super::verdict::Outcome;

/// How many requests the stop meets is chance, so the share of lost requests counts as worse only
/// when it is larger by more than half.
const NOISE: f64 = 1.5;

/// The fields of a report that are read; the others may have changed.
#[derive(Deserialize)]
struct EarlierReport {
    version: u64,
    runs: Vec<Earlier>,
}

#[derive(Deserialize)]
struct Earlier {
    recording: EarlierRecording,
    verdict: EarlierVerdict,
}

#[derive(Deserialize)]
struct EarlierRecording {
    mode: Mode,
}

#[derive(Deserialize)]
struct EarlierVerdict {
    tally: EarlierTally,
    findings: Vec<EarlierFinding>,
}

#[derive(Deserialize)]
struct EarlierTally {
    sent: usize,
    answered: usize,
}

#[derive(Deserialize)]
struct EarlierFinding {
    point: String,
    outcome: String,
}

/// An earlier rehearsal.
pub struct Baseline(Vec<Earlier>);

/// What has changed since, one line each.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Comparison {
    pub worse: Vec<String>,
    pub better: Vec<String>,
}

impl Baseline {
    /// Reads a report that `--report` has written.
    ///
    /// # Errors
    /// Why it cannot be used, and how to get one that can.
    pub fn read(text: &str) -> Result<Baseline, String> {
        let report: EarlierReport = serde_json::from_str(text).map_err(|error| {
            format!(
                "line {}: this is not a report of a rehearsal ({error}); write one with --report",
                error.line()
            )
        })?;
        if report.version != super::show::json::VERSION {
            return Err(format!(
                "it has format {}, not {}, from another version of adieu-rehearse; write it again with --report",
                report.version,
                super::show::json::VERSION
            ));
        }
        Ok(Baseline(report.runs))
    }

    /// Compares a run with the earlier one of the same mode.
    ///
    /// # Errors
    /// The report has no run of that mode.
    pub fn compare(&self, run: &Run) -> Result<Comparison, String> {
        let mode = run.recording.mode;
        let earlier = self
            .0
            .iter()
            .find(|earlier| earlier.recording.mode == mode)
            .ok_or_else(|| format!("it has no run {}; write it again with --report", mode.label()))?;
        let mut comparison = Comparison::default();
        losses(&earlier.verdict.tally, run, &mut comparison);
        for finding in &run.verdict.findings {
            let point = serde_json::to_value(finding.point).unwrap_or_default();
            let before = earlier.verdict.findings.iter().find(|before| point == before.point.as_str());
            let failed = before.is_some_and(|before| before.outcome == "fail");
            let label = finding.point.label();
            match (failed, finding.outcome) {
                (false, Outcome::Fail) => comparison.worse.push(format!("{label}: {}", finding.seen)),
                (true, Outcome::Pass) => comparison.better.push(format!("{label}: {}", finding.seen)),
                // A point that was not seen is neither worse nor better.
                (false, Outcome::Pass | Outcome::NotSeen) | (true, Outcome::Fail | Outcome::NotSeen) => {}
            }
        }
        Ok(comparison)
    }
}

fn losses(before: &EarlierTally, run: &Run, comparison: &mut Comparison) {
    let now = run.verdict.tally;
    let lost_before = before.sent.saturating_sub(before.answered);
    let share = |lost: usize, sent: usize| if sent == 0 { 0.0 } else { lost as f64 / sent as f64 };
    let (then, today) = (share(lost_before, before.sent), share(now.lost(), now.sent));
    let line =
        format!("{} of {} requests lost, before: {lost_before} of {}", now.lost(), now.sent, before.sent);
    if today > then * NOISE {
        comparison.worse.push(line);
    } else if now.sent > 0 && today * NOISE < then {
        comparison.better.push(line);
    }
}

impl Comparison {
    /// For the terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (word, lines) in [("worse", &self.worse), ("better", &self.better)] {
            for line in lines {
                text.push_str(&format!("{word} than the baseline: {line}\n"));
            }
        }
        if self.worse.is_empty() {
            text.push_str("nothing is worse than the baseline\n");
        }
        text
    }
}
