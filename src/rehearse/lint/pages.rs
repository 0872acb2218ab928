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

/// All rules with an index: the text of packaging/docs/lint.md.
#[must_use]
pub fn book() -> String {
    let mut book = String::from(
        "# The rules of adieu-rehearse --lint\n\n\
         Written by `adieu-rehearse --explain all`; a test compares the two.\n\n\
         `adieu-rehearse --lint FILE...` checks Kubernetes objects, compose files, systemd units, Quadlets and Dockerfiles \
         without running anything. Give all files of one workload together: a PodDisruptionBudget or a policy in one file may \
         apply to the Deployment in another; an object without a namespace may be in any. Of a custom resource, the pods are \
         judged wherever they stand in it, but not their replicas, rollouts and routes. `-` reads standard input.\n\n\
         It fails (status 1) on warnings and errors; `--fail-on` changes that. `--allow RULE` skips a rule; a comment in a \
         file skips it for that file: `# adieu: allow RULE`.\n\n\
         | rule | severity | what it finds |\n|---|---|---|\n",
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
