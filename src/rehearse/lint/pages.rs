//! The page of each rule, for `--explain` and the documentation.

use std::fmt::Write;

use super::rules::Rule;

/// One rule in Markdown.
#[must_use]
pub fn page(rule: Rule) -> String {
    format!(
        "## {}\n\n**{}**: {}.\n\n{}\n\n*What to do*: {}\n",
        rule.id(),
        rule.severity().name(),
        rule.title(),
        rule.why(),
        rule.remedy()
    )
}

/// All of them, with an index: what packaging/docs/lint.md holds.
#[must_use]
pub fn book() -> String {
    let mut book = String::from(
        "# The rules of adieu-rehearse --lint\n\n\
         Written by `adieu-rehearse --explain all`; a test holds that this is what it says.\n\n\
         `adieu-rehearse --lint FILE...` judges Kubernetes objects, compose files, systemd units, Quadlets and Dockerfiles \
         without running anything. Give all files of one workload together: a PodDisruptionBudget or a policy in one file is \
         held against the Deployment in another. `-` reads standard input.\n\n\
         It fails (status 1) on warnings and errors; `--fail-on` says otherwise. A rule is silenced by `--allow RULE`, or for \
         one file by a comment in it: `# adieu: allow RULE`.\n\n\
         | rule | weight | what it finds |\n|---|---|---|\n",
    );
    for rule in Rule::ALL {
        let id = rule.id();
        let _ = writeln!(book, "| [{id}](#{id}) | {} | {} |", rule.severity().name(), rule.title());
    }
    for rule in Rule::ALL {
        let _ = write!(book, "\n{}", page(*rule));
    }
    book
}
