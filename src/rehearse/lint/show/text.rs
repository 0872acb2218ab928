//! Findings for people: the position as compilers write it, then what is wrong, then how to fix it.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::lint::Judgement;
use crate::lint::finding::Finding;
use crate::lint::rules::Severity;

pub(super) fn text(judgement: &Judgement) -> String {
    let findings = &judgement.findings;
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
    let _ = writeln!(page, "{}", summary(judgement));
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

fn summary(judgement: &Judgement) -> String {
    let Judgement { findings, files, services } = judgement;
    let many = |number: usize, word: &str| format!("{number} {word}{}", if number == 1 { "" } else { "s" });
    let counted = |severity: Severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let each: Vec<String> = Severity::ALL
        .into_iter()
        .rev()
        .filter(|severity| counted(*severity) > 0)
        .map(|severity| many(counted(severity), severity.name()))
        .collect();
    let files = many(*files, "file");
    match (each.is_empty(), services) {
        (true, 0) => format!("nothing to judge in {files}: no container, service or image"),
        (true, _) => format!("nothing found in {files}"),
        (false, _) => format!("{} in {files}", each.join(", ")),
    }
}
