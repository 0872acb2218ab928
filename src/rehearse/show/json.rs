//! The result for machines, with every request and every point of the checklist.

use schemars::JsonSchema;
use serde::Serialize;

use super::run::Run;

/// Of the format.
pub const VERSION: u64 = 2;

/// The result of a rehearsal by adieu-rehearse.
#[derive(JsonSchema, Serialize)]
struct RehearsalReport<'a> {
    /// The version of the format; it is raised when a field changes its meaning.
    version: u64,
    /// In the last run, which decides, no request was lost and no point failed.
    good: bool,
    runs: &'a [Run],
}

/// `good` matches the exit status.
#[must_use]
pub fn json(runs: &[Run], good: bool) -> String {
    // Plain data with string keys cannot fail to serialise.
    serde_json::to_string_pretty(&RehearsalReport { version: VERSION, good, runs }).unwrap_or_default() + "\n"
}

/// The JSON Schema of the report: the text of packaging/schema/rehearsal.json.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(RehearsalReport);
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
