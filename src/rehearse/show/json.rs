//! The result for machines: every request and every finding.

use schemars::JsonSchema;
use serde::Serialize;

use super::run::Run;

/// Of the format.
pub const VERSION: u64 = 2;

/// The result of a rehearsal by adieu-rehearse.
#[derive(JsonSchema, Serialize)]
struct RehearsalReport<'a> {
    /// Raised when a field changes its meaning.
    version: u64,
    /// Nothing was lost and nothing failed in the run that decides, the last one.
    good: bool,
    runs: &'a [Run],
}

/// `good` is what the exit status says.
#[must_use]
pub fn json(runs: &[Run], good: bool) -> String {
    // Plain data with string keys: there is nothing in it that JSON cannot say.
    serde_json::to_string_pretty(&RehearsalReport { version: VERSION, good, runs }).unwrap_or_default() + "\n"
}

/// The JSON Schema of it, as packaging/schema/rehearsal.json holds it.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(RehearsalReport);
    serde_json::to_string_pretty(&schema).unwrap_or_default() + "\n"
}
