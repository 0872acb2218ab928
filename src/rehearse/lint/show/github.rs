//! Findings as workflow commands. The format is in GitHub's documentation ("Workflow commands for
//! GitHub Actions"), the escapes in actions/toolkit, packages/core/src/command.ts.

use std::fmt::Write;

use crate::lint::finding::Finding;
use crate::lint::rules::Severity;

pub(super) fn github(findings: &[Finding]) -> String {
    let mut page = String::new();
    for finding in findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let _ = writeln!(
            page,
            "::{command} file={},line={},col={},title={}::{}",
            property(&finding.file),
            finding.line,
            finding.column,
            property(finding.rule.id()),
            data(&format!("{}: {}\n{}", finding.object, finding.message, finding.remedy))
        );
    }
    page
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(data("50%\nmore"), "50%25%0Amore");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
    }
}
