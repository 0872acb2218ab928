//! The result for a terminal: a timeline that fits into 80 columns, then the numbers, then the checklist. Colours are put in here
//! and taken out again by whoever prints it, unless it is a terminal.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use super::{Run, Stretch, lanes, played};
use crate::recording::{Ground, Recording};
use crate::verdict::{Finding, Outcome, Point};

const WIDTH: usize = 80;

pub const GOOD: Style = AnsiColor::Green.on_default();
pub const BAD: Style = AnsiColor::Red.on_default().bold();
pub const WARN: Style = AnsiColor::Yellow.on_default();
pub const FAINT: Style = Style::new().dimmed();
const STRONG: Style = Style::new().bold();

#[must_use]
pub fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// All runs, on one time scale; several of them side by side where that is possible.
#[must_use]
pub fn text(runs: &[Run]) -> String {
    let stretch = Stretch::of(runs);
    let mut page = String::new();
    for run in runs {
        head(&mut page, &run.recording);
        page.push_str(&lanes::lanes(&run.recording, stretch));
        page.push('\n');
    }
    page.push_str(&legend());
    page.push('\n');
    numbers(&mut page, runs);
    page.push('\n');
    checklist(&mut page, runs);
    page.push('\n');
    misfits(&mut page, runs);
    page.push_str(&conclusion(runs));
    page
}

pub fn line(page: &mut String, text: &str) {
    page.push_str(text.trim_end());
    page.push('\n');
}

fn head(page: &mut String, recording: &Recording) {
    let limits = &recording.limits;
    let title = format!("{}, {}", shorten(&recording.app, 40), recording.way.label());
    line(page, &paint(STRONG, &title));
    let ground = match &recording.ground {
        Ground::PidNamespace => "PID 1 of a namespace of its own".to_owned(),
        Ground::UserNamespace => "PID 1 of a user's namespace".to_owned(),
        Ground::Ordinary { why } => {
            format!("an ordinary process, not PID 1: no namespaces here ({why})")
        }
    };
    let text = format!(
        "{ground}; {}grace {}, removed from the balancer after {}",
        played(recording),
        seconds(limits.grace_ms),
        seconds(limits.removal_ms)
    );
    for part in fold(&text, WIDTH - 2) {
        line(page, &format!("  {}", paint(FAINT, &part)));
    }
}

fn seconds(ms: u64) -> String {
    if ms.is_multiple_of(1000) { format!("{} s", ms / 1000) } else { format!("{:.1} s", ms as f64 / 1000.0) }
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
        let _ = write!(titles, "{:>14}", run.recording.way.label());
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
    count("  turned away", WARN, &|run| (run.verdict.tally.refused + run.verdict.tally.failed).to_string());
    count("in flight at the stop", Style::new(), &|run| run.recording.in_flight().count().to_string());
    count("from the stop to the end", Style::new(), &|run| run.recording.end.at.to_string());
    count("ended with", Style::new(), &|run| run.recording.end.ending.to_string());
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
                    let title = format!("{}: {}", run.recording.way.label(), finding.point.label());
                    line(page, &format!("  {} {title}", paint(BAD, "FAIL")));
                    details(page, finding, 7);
                }
            }
        }
    }
}

fn details(page: &mut String, finding: &Finding, indent: usize) {
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

/// What the manifest says that does not fit; it is the same for every run but for what a rehearsal adds.
fn misfits(page: &mut String, runs: &[Run]) {
    let Some(recording) =
        runs.iter().map(|run| &run.recording).max_by_key(|recording| recording.misfits.len())
    else {
        return;
    };
    if recording.misfits.is_empty() {
        return;
    }
    line(page, &paint(STRONG, "in the manifest"));
    for misfit in &recording.misfits {
        for (number, part) in fold(&misfit.what, WIDTH - 4).into_iter().enumerate() {
            line(page, &format!("  {} {part}", if number == 0 { paint(WARN, "!") } else { " ".to_owned() }));
        }
        for (number, part) in fold(&misfit.advice, WIDTH - 7).into_iter().enumerate() {
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
            (0, 0) => paint(GOOD, "nothing lost"),
            (0, 1) => paint(BAD, "nothing lost, but 1 point failed"),
            (0, failed) => paint(BAD, &format!("nothing lost, but {failed} points failed")),
            (lost, failed) => paint(
                BAD,
                &format!("{lost} of {} requests lost, {failed} of 8 points failed", run.verdict.tally.sent),
            ),
        };
        line(&mut text, &format!("{}: {verdict}", run.recording.way.label()));
    }
    text
}

/// Cuts the middle out of what is too long.
#[must_use]
pub fn shorten(text: &str, width: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= width {
        return text.to_owned();
    }
    let (front, back) = ((width - 2) / 2, (width - 2).div_ceil(2));
    let head: String = letters[..front].iter().collect();
    let tail: String = letters[letters.len() - back..].iter().collect();
    format!("{head}..{tail}")
}

/// Breaks a text into lines at spaces.
fn fold(text: &str, width: usize) -> Vec<String> {
    // A number stays with its unit.
    let units = |text: &str| text.replace(" s ", "\u{a0}s ").replace(" ms ", "\u{a0}ms ");
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
