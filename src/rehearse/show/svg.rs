//! The result as a picture, for a pull request or a slide: one panel for each run, all on one time
//! scale. Each client has a row with its requests as bars. adieu's phases are bands behind the
//! bars, what the platform does are lines, and the checklist is below. It needs no drawing library,
//! because almost all of it is rectangles. One style sheet has the colours for light and dark mode;
//! fates also differ in shape, for people who cannot tell the colours apart.

use std::fmt::Write;

use super::run::{Run, TimeRange, path_of, played};
use crate::recording::{At, Fate, Isolation, RecordedPhase, Recording, Request};
use crate::verdict::{Outcome, Point, PointResult};

const WIDTH: i64 = 960;
/// The left and right end of the lanes.
const LEFT: i64 = 150;
const RIGHT: i64 = 930;
/// The height of a client's row, and of the bars in it.
const ROW: i64 = 13;
const BAR: i64 = 9;
/// The heights of a panel's parts: title and names above the rows, axis below, checklist.
const HEAD: i64 = 96;
const AXIS: i64 = 34;
const CHECK_ROW: i64 = 20;
const CHECK_ROWS: i64 = (Point::ALL.len() as i64 + 1) / 2;

const STYLE: &str = "\
text{font:12px ui-sans-serif,system-ui,'Segoe UI','DejaVu Sans',sans-serif;fill:#24292f}\
.title{font-size:16px;font-weight:600}.faint{fill:#59636e}.small{font-size:11px}.strong{font-weight:600}\
.back{fill:#ffffff}.panel{fill:#f6f8fa}.grid{stroke:#d1d9e0;stroke-width:1}\
.stop{stroke:#24292f;stroke-width:1.5}.mark{stroke:#59636e;stroke-width:1;stroke-dasharray:4 3}\
.kill{stroke:#cf222e;stroke-width:2;stroke-dasharray:7 4}.killtext{fill:#cf222e;font-weight:600}\
.answered{stroke:#2da44e;fill:#2da44e}.cut{stroke:#cf222e;fill:#cf222e}.away{stroke:#bf8700;fill:#bf8700}\
.pre-stop{fill:#0969da;fill-opacity:.13}.draining{fill:#8250df;fill-opacity:.15}.stopping{fill:#bf8700;fill-opacity:.18}\
.killing{fill:#cf222e;fill-opacity:.2}.sweeping,.leaving,.other{fill:#59636e;fill-opacity:.15}\
.glyph{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}.pass{stroke:#2da44e}.fail{stroke:#cf222e}.unseen{stroke:#8c959f}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9198a1}.back{fill:#0d1117}.panel{fill:#161b22}\
.grid{stroke:#30363d}.stop{stroke:#e6edf3}.mark{stroke:#9198a1}.answered{stroke:#3fb950;fill:#3fb950}.cut{stroke:#f85149;fill:#f85149}\
.away{stroke:#d29922;fill:#d29922}.kill,.fail{stroke:#f85149}.killtext{fill:#f85149}.pass{stroke:#3fb950}}";

/// One picture for all runs.
#[must_use]
pub fn svg(runs: &[Run]) -> String {
    let range = TimeRange::of(runs);
    let mut body = String::new();
    let mut top = 16;
    for run in runs {
        top += panel(&mut body, run, range, top) + 18;
    }
    legend(&mut body, top + 6);
    let height = top + 32;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n\
         <rect class=\"back\" width=\"{WIDTH}\" height=\"{height}\"/>\n{body}</svg>\n",
        escape(&summary(runs))
    )
}

/// The text for screen readers.
fn summary(runs: &[Run]) -> String {
    let each = runs.iter().map(|run| {
        let tally = run.verdict.tally;
        format!(
            "{}, {}: {} of {} requests lost",
            run.recording.app,
            run.recording.mode.label(),
            tally.lost(),
            tally.sent
        )
    });
    each.collect::<Vec<_>>().join("; ")
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn write_text(out: &mut String, x: i64, y: i64, class: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x}\" y=\"{y}\" class=\"{class}\">{}</text>", escape(text));
}

/// Like `write_text`, but with another text-anchor.
fn write_anchored(out: &mut String, x: i64, y: i64, class: &str, anchor: &str, text: &str) {
    let _ = writeln!(
        out,
        "<text x=\"{x}\" y=\"{y}\" class=\"{class}\" text-anchor=\"{anchor}\">{}</text>",
        escape(text)
    );
}

fn x_of(at: At, range: TimeRange) -> i64 {
    (LEFT + (at.0 - range.from.0) * (RIGHT - LEFT) / range.length()).clamp(LEFT, RIGHT)
}

/// Draws one run and returns its height.
fn panel(out: &mut String, run: &Run, range: TimeRange, top: i64) -> i64 {
    let recording = &run.recording;
    let clients = recording.requests.iter().map(|request| request.client + 1).max().unwrap_or(0);
    let rows = (i64::from(clients) * ROW).max(ROW * 2);
    let lanes = top + HEAD;
    let checks = lanes + rows + AXIS;
    let height = HEAD + rows + AXIS + CHECK_ROWS * CHECK_ROW + 8;
    let _ = writeln!(
        out,
        "<rect class=\"panel\" x=\"8\" y=\"{top}\" width=\"{}\" height=\"{height}\" rx=\"8\"/>",
        WIDTH - 16
    );
    heading(out, run, top);
    for span in recording.phases() {
        phase(out, span, range, lanes, rows);
    }
    axis(out, range, lanes, rows);
    labels(out, recording, lanes);
    for client in 0..clients {
        bars(out, recording, client, range, lanes + i64::from(client) * ROW + ROW / 2 + 1);
    }
    marks(out, recording, range, lanes, rows);
    checklist(out, &run.verdict.findings, checks + 6);
    height
}

fn heading(out: &mut String, run: &Run, top: i64) {
    let recording = &run.recording;
    let title = format!("{} \u{2014} {}", recording.app, recording.mode.label());
    write_text(out, 24, top + 26, "title", &title);
    let tally = run.verdict.tally;
    let (class, lost) = match tally.lost() {
        0 if tally.sent == 0 => ("faint", "no request was sent".to_owned()),
        0 => ("faint strong", format!("all {} requests answered", tally.sent)),
        lost => ("killtext", format!("{lost} of {} requests lost", tally.sent)),
    };
    write_anchored(out, RIGHT, top + 26, class, "end", &lost);
    let isolation = match recording.isolation {
        Isolation::PidNamespace | Isolation::UserNamespace => "PID 1 of its own namespace",
        Isolation::Container { .. } => "PID 1 of a container",
        Isolation::Ordinary { .. } => "an ordinary process, not PID 1",
    };
    let about = format!(
        "{isolation}; {}grace {}; ended {} after the stop with {}",
        played(recording),
        At(recording.limits.grace_ms as i64),
        recording.end.at,
        recording.end.exit
    );
    write_text(out, 24, top + 44, "faint", &about);
}

fn phase(out: &mut String, span: &RecordedPhase, range: TimeRange, lanes: i64, rows: i64) {
    if span.to <= range.from || span.from < At(0) {
        return;
    }
    let (from, to) = (x_of(span.from, range), x_of(span.to, range));
    let known = ["pre-stop", "draining", "stopping", "killing", "sweeping", "leaving"];
    let class = if known.contains(&span.phase.as_str()) { span.phase.as_str() } else { "other" };
    let width = (to - from).max(2);
    let _ = writeln!(
        out,
        "<rect class=\"{class}\" x=\"{from}\" y=\"{}\" width=\"{width}\" height=\"{}\"><title>{} {} to {}</title></rect>",
        lanes - 18,
        rows + 18,
        escape(&span.phase),
        span.from,
        span.to
    );
    // A letter is about seven pixels wide.
    if width > span.phase.len() as i64 * 7 + 4 {
        write_anchored(out, from + width / 2, lanes - 5, "small strong", "middle", &span.phase);
    }
}

fn axis(out: &mut String, range: TimeRange, lanes: i64, rows: i64) {
    let bottom = lanes + rows;
    for at in range.ticks(14) {
        let x = x_of(at, range);
        let _ = writeln!(
            out,
            "<line class=\"grid\" x1=\"{x}\" x2=\"{x}\" y1=\"{lanes}\" y2=\"{}\"/>",
            bottom + 4
        );
        write_anchored(out, x, bottom + 17, "small faint", "middle", &format!("{} s", at.0 as f64 / 1000.0));
    }
}

/// One label for each group of equal clients.
fn labels(out: &mut String, recording: &Recording, lanes: i64) {
    let mut seen = Vec::new();
    for request in &recording.requests {
        let group = (request.target, request.connection);
        if seen.contains(&group) {
            continue;
        }
        seen.push(group);
        let kind = request.connection.label();
        let target =
            recording.targets.get(usize::from(request.target)).map_or("", |target| path_of(&target.url));
        let target: String = if target.chars().count() > 14 {
            target.chars().take(13).chain(['\u{2026}']).collect()
        } else {
            target.to_owned()
        };
        let y = lanes + i64::from(request.client) * ROW + ROW - 2;
        write_text(out, 24, y, "small faint", kind);
        write_text(out, 56, y, "small", &target);
    }
}

/// A client's requests: one path for all that were answered, a separate shape for each that was
/// lost.
fn bars(out: &mut String, recording: &Recording, client: u16, range: TimeRange, y: i64) {
    let mine =
        recording.requests.iter().filter(|request| request.client == client && request.to >= range.from);
    let mut answered = String::new();
    let mut lost = String::new();
    for request in mine {
        let (from, to) = (x_of(request.from, range), x_of(request.to, range));
        let width = (to - from - 1).max(2);
        match &request.fate {
            Fate::Answered { .. } => {
                let _ = write!(answered, "M{from} {y}h{width}");
            }
            Fate::TurnedAway { .. } => turned_away(&mut lost, request, from, y),
            Fate::CutOff { .. } => cut_off(&mut lost, request, from, width, y),
        }
    }
    if !answered.is_empty() {
        let _ =
            writeln!(out, "<path class=\"answered\" fill=\"none\" stroke-width=\"{BAR}\" d=\"{answered}\"/>");
    }
    out.push_str(&lost);
}

/// A narrow mark, because a refused request takes no time.
fn turned_away(out: &mut String, request: &Request, x: i64, y: i64) {
    let top = y - BAR / 2;
    let _ = writeln!(
        out,
        "<rect class=\"away\" stroke=\"none\" x=\"{x}\" y=\"{top}\" width=\"3\" height=\"{BAR}\"><title>{} {}</title></rect>",
        request.from,
        escape(&request.fate.to_string())
    );
}

/// A bar that ends in a cross.
fn cut_off(out: &mut String, request: &Request, x: i64, width: i64, y: i64) {
    let end = x + width;
    let (top, bottom) = (y - BAR / 2, y + BAR / 2);
    let _ = writeln!(
        out,
        "<g class=\"cut\"><title>{} to {}: {}</title><rect stroke=\"none\" x=\"{x}\" y=\"{top}\" width=\"{width}\" height=\"{BAR}\"/>\
         <path fill=\"none\" stroke-width=\"2.5\" d=\"M{} {top}L{} {bottom}M{} {bottom}L{} {top}\"/></g>",
        request.from,
        request.to,
        escape(&request.fate.to_string()),
        end + 1,
        end + 10,
        end + 1,
        end + 10
    );
}

/// A vertical line through a panel.
struct EventLine<'a> {
    at: At,
    name: &'a str,
    /// CSS classes of the line and of its name.
    line: &'static str,
    text: &'static str,
}

/// What the platform did, and a kill by adieu.
fn marks_of<'a>(recording: &Recording, signal: &'a str, range: TimeRange) -> Vec<EventLine<'a>> {
    let mark = |at, name, line, text| EventLine { at, name, line, text };
    let limits = &recording.limits;
    let (grace, hook) = (At(limits.grace_ms as i64), At(limits.hook_ms as i64));
    let mut marks = vec![
        mark(At(0), if hook > At(0) { "stop" } else { signal }, "stop", ""),
        mark(At(limits.removal_ms as i64), "removed from the balancer", "mark", "faint"),
        mark(recording.end.at, "gone", "stop", ""),
    ];
    if hook > At(0) {
        marks.push(mark(hook, signal, "stop", ""));
    }
    if let Some(killed) = recording.adieu_report.as_ref().and_then(|report| report.killed) {
        marks.push(mark(killed, "SIGKILL by adieu", "kill", "killtext"));
    }
    match recording.killed {
        Some(killed) => marks.push(mark(killed, "SIGKILL", "kill", "killtext")),
        None if grace <= range.to => marks.push(mark(grace, "SIGKILL would come", "kill", "killtext")),
        None => {}
    }
    marks
}

/// Vertical lines with their names above the lanes, on three levels so that names do not overlap.
/// Kills are drawn on top of the others.
fn marks(out: &mut String, recording: &Recording, range: TimeRange, lanes: i64, rows: i64) {
    let signal = format!("SIG{}", recording.limits.stop_signal);
    let mut marks = marks_of(recording, &signal, range);
    marks.sort_by_key(|mark| mark.line == "kill");
    for EventLine { at, line, .. } in &marks {
        let x = x_of(*at, range);
        let (top, bottom) = (lanes - 20, lanes + rows);
        let _ = writeln!(out, "<line class=\"{line}\" x1=\"{x}\" x2=\"{x}\" y1=\"{top}\" y2=\"{bottom}\"/>");
    }
    marks.sort_by_key(|mark| mark.at);
    let mut taken = [0_i64; 3];
    for EventLine { at, name, text, .. } in &marks {
        let (x, width) = (x_of(*at, range), name.len() as i64 * 6);
        let (anchor, left) = if x + width > RIGHT { ("end", x - width) } else { ("start", x) };
        let storey = taken.iter().position(|end| left >= *end).unwrap_or(2);
        taken[storey] = left + width + 8;
        write_anchored(out, x, lanes - 24 - storey as i64 * 12, &format!("small {text}"), anchor, name);
    }
    let grace = At(recording.limits.grace_ms as i64);
    if recording.killed.is_none() && grace > range.to {
        let note = format!("SIGKILL would come at {grace} \u{2192}");
        write_anchored(out, RIGHT, lanes + rows + 31, "small killtext", "end", &note);
    }
}

/// The checklist in two columns.
fn checklist(out: &mut String, findings: &[PointResult], top: i64) {
    for (index, finding) in findings.iter().enumerate() {
        let x = 24 + (index as i64 / CHECK_ROWS) * 460;
        let y = top + (index as i64 % CHECK_ROWS) * CHECK_ROW;
        let (class, path) = match finding.outcome {
            Outcome::Pass => ("pass", format!("M{} {}l4 4l7 -8", x, y + 1)),
            Outcome::Fail => ("fail", format!("M{} {}l9 9m0 -9l-9 9", x + 1, y - 4)),
            Outcome::NotSeen => ("unseen", format!("M{} {}h9", x + 1, y + 1)),
        };
        let _ = writeln!(out, "<path class=\"glyph {class}\" d=\"{path}\"/>");
        let text_class = match finding.outcome {
            Outcome::Pass => "",
            Outcome::Fail => "strong",
            Outcome::NotSeen => "faint",
        };
        let seen = if finding.outcome == Outcome::NotSeen { " (not seen)" } else { "" };
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{}\" class=\"{text_class}\">{}{seen}<title>{}</title></text>",
            x + 20,
            y + 5,
            escape(finding.point.label()),
            escape(&finding.seen)
        );
    }
}

fn legend(out: &mut String, y: i64) {
    let fates = [(24, "answered", "answered"), (124, "cut", "cut off"), (214, "away", "turned away")];
    for (x, class, name) in fates {
        let width = if class == "away" { 3 } else { 22 };
        let _ = writeln!(
            out,
            "<rect class=\"{class}\" stroke=\"none\" x=\"{x}\" y=\"{}\" width=\"{width}\" height=\"{BAR}\"/>",
            y - BAR + 1
        );
        if class == "cut" {
            let _ = writeln!(
                out,
                "<path class=\"cut\" fill=\"none\" stroke-width=\"2.5\" d=\"M{0} {1}l9 8m0 -8l-9 8\"/>",
                x + 23,
                y - BAR + 1
            );
        }
        let gap = match class {
            "cut" => 36,
            "away" => 8,
            _ => 28,
        };
        write_text(out, x + gap, y + 1, "small", name);
    }
    let text = "new: one per request; kept: keep-alive; pin: until the app closes it; open: a stream";
    write_text(out, 320, y + 1, "small faint", text);
    write_anchored(out, RIGHT, y + 1, "small faint", "end", "adieu-rehearse");
}
