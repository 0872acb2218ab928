//! The result for machines: every request and every finding.

use serde::Serialize;

use super::run::Run;

#[derive(Serialize)]
struct Page<'a> {
    /// Raised when a field changes its meaning.
    version: u8,
    good: bool,
    runs: &'a [Run],
}

/// `good` is what the exit status says.
#[must_use]
pub fn json(runs: &[Run], good: bool) -> String {
    // Plain data with string keys: there is nothing in it that JSON cannot say.
    serde_json::to_string_pretty(&Page { version: 2, good, runs }).unwrap_or_default() + "\n"
}
