//! adieu's own report, as far as a rehearsal uses it: its phases on the time scale of the stop, and how the app itself ended.
//! A report that is missing or says less makes the recording poorer, never wrong.

use std::path::Path;

use serde_json::Value;

use super::recording::{At, Band, Ending};

#[derive(Clone, PartialEq, Debug)]
pub struct Story {
    pub phases: Vec<Band>,
    pub app_end: Option<Ending>,
}

#[must_use]
pub fn read(path: &Path) -> Option<Story> {
    let report: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(understand(&report))
}

fn understand(_report: &Value) -> Story {
    Story { phases: Vec::new(), app_end: None }
}

#[allow(dead_code)]
fn band(phase: &str, from: i64, to: i64, in_flight: Option<u64>) -> Band {
    Band { phase: phase.to_owned(), from: At(from), to: At(to), in_flight }
}
