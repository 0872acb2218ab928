//! Findings as SARIF 2.1.0 (OASIS), for code scanning.

use serde_json::{Value, json};

use crate::lint::finding::Finding;
use crate::lint::pages;
use crate::lint::rules::Rule;

pub(super) fn sarif(findings: &[Finding]) -> String {
    let log = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "adieu-rehearse",
                "semanticVersion": env!("CARGO_PKG_VERSION"),
                "rules": Rule::ALL.iter().map(|rule| described(*rule)).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": findings.iter().map(result).collect::<Vec<_>>(),
        }],
    });
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

fn described(rule: Rule) -> Value {
    json!({
        "id": rule.id(),
        "shortDescription": {"text": rule.title()},
        "fullDescription": {"text": rule.why()},
        "help": {"text": rule.remedy(), "markdown": pages::page(rule)},
        "defaultConfiguration": {"level": rule.severity().name()},
    })
}

fn result(finding: &Finding) -> Value {
    json!({
        "ruleId": finding.rule.id(),
        "ruleIndex": Rule::ALL.iter().position(|rule| *rule == finding.rule),
        "level": finding.severity.name(),
        "message": {"text": format!("{}: {}. {}", finding.object, finding.message, finding.remedy)},
        "locations": [{"physicalLocation": {
            "artifactLocation": {"uri": uri(&finding.file)},
            "region": {"startLine": finding.line, "startColumn": finding.column},
        }}],
    })
}

/// A path as a URI reference (RFC 3986), with all but unreserved characters and / escaped.
fn uri(path: &str) -> String {
    let mut uri = String::new();
    for byte in path.trim_start_matches("./").bytes() {
        if byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte) {
            uri.push(char::from(byte));
        } else {
            uri.push_str(&format!("%{byte:02X}"));
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_uris() {
        assert_eq!(uri("./a b/c.yaml"), "a%20b/c.yaml");
    }
}
