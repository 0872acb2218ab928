//! The result for a terminal: a timeline that fits into 80 columns, then the numbers, then the
//! checklist. It has colours, which printing removes for anything but a terminal.

use std::fmt::Write;

use anstyle::Style;

use super::lanes;
use super::run::{Run, TimeRange, played};
use super::style::{BAD, FAINT, GOOD, STRONG, WARN, line, paint, shorten};
use crate::recording::{At, Isolation, Recording};
use crate::verdict::{Outcome, Point, PointResult};

const WIDTH: usize = 80;

/// All runs on one time scale, and side by side where that is possible.
#[must_use]
pub fn text(runs: &[Run]) -> String {
    let range = TimeRange::of(runs);
    let mut page = String::new();
    for run in runs {
        head(&mut page, &run.recording);
        page.push_str(&lanes::lanes(&run.recording, range));
        page.push('\n');
    }
    page.push_str(&legend());
    page.push('\n');
    numbers(&mut page, runs);
    page.push('\n');
    checklist(&mut page, runs);
    page.push('\n');
    lints(&mut page, runs);
    page.push_str(&conclusion(runs));
    page
}

fn head(page: &mut String, recording: &Recording) {
    let limits = &recording.limits;
    let title = format!("{}, {}", shorten(&recording.app, 40), recording.mode.label());
    line(page, &paint(STRONG, &title));
    let isolation = match &recording.isolation {
        Isolation::PidNamespace => "PID 1 of its own namespace".to_owned(),
        Isolation::UserNamespace => "PID 1 of its own namespace, without root".to_owned(),
        Isolation::Container { engine } => format!("PID 1 of a container, run by {engine}"),
        Isolation::Ordinary { why } => {
            format!("an ordinary process, not PID 1: no namespaces are permitted here ({why})")
        }
    };
    let text = format!(
        "{isolation}; {}grace {}, removed from the balancer after {}",
        played(recording),
        At(limits.grace_ms as i64),
        At(limits.removal_ms as i64)
    );
    for part in fold(&text, WIDTH - 2) {
        line(page, &format!("  {}", paint(FAINT, &part)));
    }
}

fn legend() -> String {
    format!(
        "  {} answered   {} cut off   {} turned away   kept, new: connections\n",
        paint(GOOD, "="),
        paint(BAD, "x"),
        paint(WARN, "o")
    )
}

fn numbers(page: &mut String, runs: &[Run]) {
    let mut titles = format!("{:32}", "");
    for run in runs {
        let _ = write!(titles, "{:>14}", run.recording.mode.label());
    }
    if runs.len() > 1 {
        line(page, &titles);
    }
    let mut count = |name: &str, style: Style, value: &dyn Fn(&Run) -> String| {
        let mut text = format!("  {name:<30}");
        for run in runs {
            let value = value(run);
            let style = if value == "0" { Style::new() } else { style };
            text.push_str(&paint(style, &format!("{value:>14}")));
        }
        line(page, &text);
    };
    count("requests sent", Style::new(), &|run| run.verdict.tally.sent.to_string());
    count("  answered", GOOD, &|run| run.verdict.tally.answered.to_string());
    count("  cut off", BAD, &|run| run.verdict.tally.cut_off.to_string());
    count("  turned away", WARN, &|run| run.verdict.tally.turned_away.to_string());
    count("in flight at the stop", Style::new(), &|run| run.recording.in_flight().count().to_string());
    count("from the stop to the end", Style::new(), &|run| run.recording.end.at.to_string());
    count("ended with", Style::new(), &|run| run.recording.end.exit.to_string());
}

fn outcome_style(outcome: Outcome) -> Style {
    match outcome {
        Outcome::Pass => GOOD,
        Outcome::Fail => BAD,
        Outcome::NotSeen => FAINT,
    }
}

fn checklist(page: &mut String, runs: &[Run]) {
    match runs {
        [run] => {
            for finding in &run.verdict.findings {
                let outcome = format!("{:<10}", finding.outcome.label());
                line(
                    page,
                    &format!(
                        "  {}{}",
                        paint(outcome_style(finding.outcome), &outcome),
                        finding.point.label()
                    ),
                );
                details(page, finding, 12);
            }
        }
        runs => {
            for (index, point) in Point::ALL.into_iter().enumerate() {
                let mut text = format!("  {:<30}", point.label());
                for run in runs {
                    let outcome = run.verdict.findings[index].outcome;
                    text.push_str(&paint(outcome_style(outcome), &format!("{:>14}", outcome.label())));
                }
                line(page, &text);
            }
            for run in runs {
                for finding in run.verdict.failures() {
                    line(page, "");
                    let title = format!("{}: {}", run.recording.mode.label(), finding.point.label());
                    line(page, &format!("  {} {title}", paint(BAD, "FAIL")));
                    details(page, finding, 7);
                }
            }
        }
    }
}

fn details(page: &mut String, finding: &PointResult, indent: usize) {
    let space = " ".repeat(indent);
    for part in fold(&finding.seen, WIDTH - indent) {
        line(page, &format!("{space}{}", paint(FAINT, &part)));
    }
    if !finding.advice.is_empty() {
        for (number, part) in fold(&finding.advice, WIDTH - indent - 3).into_iter().enumerate() {
            line(page, &format!("{space}{} {part}", if number == 0 { "->" } else { "  " }));
        }
    }
}

/// The problems in the manifest. They are the same for every run, except for what a rehearsal adds.
fn lints(page: &mut String, runs: &[Run]) {
    let Some(recording) = runs.iter().map(|run| &run.recording).max_by_key(|recording| recording.lints.len())
    else {
        return;
    };
    if recording.lints.is_empty() {
        return;
    }
    line(page, &paint(STRONG, "in the manifest"));
    for lint in &recording.lints {
        for (number, part) in fold(&lint.what, WIDTH - 4).into_iter().enumerate() {
            line(page, &format!("  {} {part}", if number == 0 { paint(WARN, "!") } else { " ".to_owned() }));
        }
        for (number, part) in fold(&lint.advice, WIDTH - 7).into_iter().enumerate() {
            line(page, &format!("    {} {part}", if number == 0 { "->" } else { "  " }));
        }
    }
    line(page, "");
}

fn conclusion(runs: &[Run]) -> String {
    let mut text = String::new();
    for run in runs {
        let lost = run.verdict.tally.lost();
        let failed = run.verdict.failures().count();
        let verdict = match (lost, failed) {
            (0, 0) if run.verdict.tally.sent == 0 => {
                paint(GOOD, "no point failed; no request was sent, so no loss could be seen")
            }
            (0, failed) if run.verdict.tally.sent == 0 => {
                paint(BAD, &format!("{failed} of {} points failed; no request was sent", Point::ALL.len()))
            }
            (0, 0) => paint(GOOD, "nothing lost"),
            (0, 1) => paint(BAD, "nothing lost, but 1 point failed"),
            (0, failed) => paint(BAD, &format!("nothing lost, but {failed} points failed")),
            (lost, failed) => paint(
                BAD,
                &format!(
                    "{lost} of {} requests lost, {failed} of {} points failed",
                    run.verdict.tally.sent,
                    Point::ALL.len()
                ),
            ),
        };
        line(&mut text, &format!("{}: {verdict}", run.recording.mode.label()));
    }
    text
}

/// Breaks a text into lines of this width at spaces.
fn fold(text: &str, width: usize) -> Vec<String> {
    // A number and its unit stay on one line.
    let units = |text: &str| {
        [" s ", " s:", " s,", " ms "]
            .iter()
            .fold(text.to_owned(), |text, unit| text.replace(unit, &unit.replacen(' ', "\u{a0}", 1)))
    };
    let text = units(&format!("{text} "));
    let mut lines = vec![String::new()];
    for word in text.trim_end().split(' ') {
        let last = lines.last_mut().expect("there is always a last line");
        if last.is_empty() || last.chars().count() + 1 + word.chars().count() <= width {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.into_iter().map(|line| line.replace('\u{a0}', " ")).collect()
}
