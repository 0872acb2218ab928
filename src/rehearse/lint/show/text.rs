//! Findings for people: the position as compilers write it, then what is wrong, then how to fix it.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::lint::finding::Finding;
use crate::lint::rules::Severity;

pub(super) fn text(findings: &[Finding], files: usize) -> String {
    let mut page = String::new();
    for finding in findings {
        let Finding { rule, severity, file, line, column, object, message, remedy } = finding;
        let style = style(*severity);
        let _ = writeln!(
            page,
            "{file}:{line}:{column}: {style}{}{style:#} [{}] {object}: {message}\n    {remedy}",
            severity.name(),
            rule.id()
        );
    }
    let _ = writeln!(page, "{}", summary(findings, files));
    if let Some(finding) = findings.first() {
        let _ = writeln!(page, "Why: adieu-rehearse --explain {}", finding.rule.id());
    }
    page
}

fn style(severity: Severity) -> Style {
    match severity {
        Severity::Error => AnsiColor::Red.on_default().bold(),
        Severity::Warning => AnsiColor::Yellow.on_default(),
        Severity::Note => Style::new().dimmed(),
    }
}

fn summary(findings: &[Finding], files: usize) -> String {
    let many = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let counted = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let each: Vec<String> = Severity::ALL
        .into_iter()
        .rev()
        .filter(|severity| counted(*severity) > 0)
        .map(|severity| many(counted(severity), severity.name()))
        .collect();
    let found = if each.is_empty() { "nothing found".to_owned() } else { each.join(", ") };
    format!("{found} in {}", many(files, "file"))
}
