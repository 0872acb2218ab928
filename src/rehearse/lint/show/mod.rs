//! The output formats for findings: text for people, JSON and SARIF for machines, and workflow
//! commands for GitHub.

mod github;
mod sarif;
mod text;

use serde::Serialize;

use super::Judgement;
use super::finding::Finding;

/// The format of the findings.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    Json,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Workflow commands, which GitHub shows beside the lines.
    Github,
}

/// The page of this format.
#[must_use]
pub fn show(format: Format, judgement: &Judgement) -> String {
    let findings = &judgement.findings;
    match format {
        Format::Text => text::text(judgement),
        Format::Json => json(findings, judgement.files),
        Format::Sarif => sarif::sarif(findings),
        Format::Github => github::github(findings),
    }
}

#[derive(Serialize)]
struct LintReport<'a> {
    /// Raised when a field changes its meaning.
    version: u8,
    files: usize,
    findings: &'a [Finding],
}

fn json(findings: &[Finding], files: usize) -> String {
    // Plain data with string keys cannot fail to serialise.
    serde_json::to_string_pretty(&LintReport { version: 1, files, findings }).unwrap_or_default() + "\n"
}
