//! The timeline as text: one column for a span of time, one lane for each kind of request, and
//! above them what the platform and adieu did.

use anstyle::Style;

use super::run::{TimeRange, path_of};
use super::style::{BAD, GOOD, WARN, line, paint, shorten};
use crate::recording::{At, ConnectionUse, Fate, RecordedPhase, Recording, Request};

/// The widths of the labels and of the lanes, in columns.
const LABEL: usize = 18;
const LANE: usize = 60;

/// The lanes: what the platform did, what adieu did, and each kind of request.
pub(crate) fn lanes(recording: &Recording, range: TimeRange) -> String {
    let mut page = String::new();
    line(&mut page, &row("seconds", &ruler(range)));
    line(&mut page, &row("platform", &platform_lane(recording, range)));
    if !recording.phases().is_empty() {
        line(&mut page, &row("adieu", &phase_lane(recording.phases(), range)));
    }
    for (index, target) in recording.targets.iter().enumerate() {
        for connection in ConnectionUse::ALL {
            let used = |r: &Request| r.target == index as u16 && r.connection == connection;
            if !recording.requests.iter().any(used) {
                continue;
            }
            let label = format!("{:<4} {}", connection.label(), shorten(path_of(&target.url), LABEL - 8));
            line(&mut page, &row(&label, &request_lane(recording, index as u16, connection, range)));
        }
    }
    page
}

fn row(label: &str, lane: &str) -> String {
    format!("  {label:<width$}{lane}", width = LABEL - 2)
}

fn column(at: At, range: TimeRange) -> usize {
    let place = (at.0 - range.from.0) * LANE as i64 / range.length();
    place.clamp(0, LANE as i64 - 1) as usize
}

fn ruler(range: TimeRange) -> String {
    let mut cells = vec![' '; LANE];
    for at in range.ticks(12) {
        let text = if at.0 % 1000 == 0 {
            format!("{}", at.0 / 1000)
        } else {
            format!("{:.1}", at.0 as f64 / 1000.0)
        };
        let place = column(at, range);
        if place + text.len() > LANE {
            continue;
        }
        for (offset, letter) in text.chars().enumerate() {
            cells[place + offset] = letter;
        }
    }
    cells.into_iter().collect()
}

/// Marks, each followed by its name where there is room.
fn platform_lane(recording: &Recording, range: TimeRange) -> String {
    let mut marks = vec![
        (At(0), "stop"),
        (At(recording.limits.removal_ms as i64), "removed"),
        (recording.end.at, "gone"),
    ];
    let hook = At(recording.limits.hook_ms as i64);
    if hook > At(0) {
        marks.push((hook, &recording.limits.stop_signal));
    }
    if let Some(kill) = recording.killed {
        marks.push((kill, "KILL"));
    } else if At(recording.limits.grace_ms as i64) <= range.to {
        marks.push((At(recording.limits.grace_ms as i64), "(kill)"));
    }
    marks.sort_by_key(|(at, _)| *at);
    let mut cells: Vec<char> = vec![' '; LANE];
    for (number, (at, name)) in marks.iter().enumerate() {
        let place = column(*at, range);
        cells[place] = '|';
        let room =
            marks.get(number + 1).map_or(LANE, |(next, _)| column(*next, range)).saturating_sub(place + 1);
        if name.len() <= room {
            for (offset, letter) in name.chars().enumerate() {
                cells[place + 1 + offset] = letter;
            }
        }
    }
    cells.into_iter().collect()
}

/// Each phase as its name in a row of dashes.
fn phase_lane(phases: &[RecordedPhase], range: TimeRange) -> String {
    let mut cells: Vec<char> = vec![' '; LANE];
    for span in phases.iter().filter(|span| span.to > range.from) {
        let (from, to) = (column(span.from, range), column(span.to, range));
        cells[from..to.max(from + 1)].fill('-');
        cells[from] = '|';
        let name = span.phase.as_str();
        if from + 1 + name.len() <= to {
            for (offset, letter) in name.chars().enumerate() {
                cells[from + 1 + offset] = letter;
            }
        }
    }
    cells.into_iter().collect()
}

/// The worst fate of the requests in one column.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Cell {
    Empty,
    Busy,
    TurnedAway,
    CutOff,
}

fn request_lane(recording: &Recording, target: u16, connection: ConnectionUse, range: TimeRange) -> String {
    let mut cells = [Cell::Empty; LANE];
    let lane = recording
        .requests
        .iter()
        .filter(|r| r.target == target && r.connection == connection && r.to >= range.from);
    for request in lane {
        let (from, to) = (column(request.from, range), column(request.to, range));
        for cell in &mut cells[from..=to] {
            *cell = (*cell).max(Cell::Busy);
        }
        cells[to] = cells[to].max(match request.fate {
            Fate::Answered { .. } => Cell::Busy,
            Fate::TurnedAway { .. } => Cell::TurnedAway,
            Fate::CutOff { .. } => Cell::CutOff,
        });
    }
    let mut text = String::new();
    for group in cells.chunk_by(|a, b| a == b) {
        let (letter, style) = match group[0] {
            Cell::Empty => (" ", Style::new()),
            Cell::Busy => ("=", GOOD),
            Cell::TurnedAway => ("o", WARN),
            Cell::CutOff => ("x", BAD),
        };
        text.push_str(&paint(style, &letter.repeat(group.len())));
    }
    text
}
