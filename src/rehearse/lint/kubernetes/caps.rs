//! Objects and probes that limit the grace of pods.

use std::time::Duration;

use adieu::settings::values;

use crate::lint::cluster::{Cap, Cluster};
use crate::lint::finding::{Findings, ObjectRef};
use crate::lint::rules::{Rule, Severity};
use crate::lint::service::Service;
use crate::lint::yaml::Node;

/// Objects that limit the grace of pods.
pub(super) fn read(kind: &str, object: Node, subject: &ObjectRef, cluster: &mut Cluster) {
    let mut cap = |node: Node, limit: Duration, what: String| {
        cluster.caps.push(Cap { subject: subject.clone(), place: node.place(), limit, what });
    };
    let time = |node: Node| values::duration(&node.text()?).ok();
    match kind {
        "KubeletConfiguration" => {
            let whole = object.get("shutdownGracePeriod").and_then(|node| Some((node, time(node)?)));
            if let Some((node, whole)) = whole.filter(|(_, whole)| !whole.is_zero()) {
                let critical =
                    object.get("shutdownGracePeriodCriticalPods").and_then(time).unwrap_or_default();
                let limit = whole.saturating_sub(critical);
                cap(
                    node,
                    limit,
                    "a shutdown of the node (shutdownGracePeriod less shutdownGracePeriodCriticalPods)"
                        .into(),
                );
            }
            for entry in object.items_at("shutdownGracePeriodByPodPriority") {
                if entry.number_at("priority") == Some(0) {
                    let limit =
                        Duration::from_secs(entry.number_at("shutdownGracePeriodSeconds").unwrap_or(0));
                    cap(entry, limit, "a shutdown of the node (shutdownGracePeriodByPodPriority)".into());
                }
            }
            let evicted =
                object.get("evictionMaxPodGracePeriod").and_then(|node| Some((node, node.number()?)));
            if let Some((node, seconds)) = evicted.filter(|_| object.get("evictionSoft").is_some()) {
                cap(node, Duration::from_secs(seconds), "a soft eviction (evictionMaxPodGracePeriod)".into());
            }
        }
        "NodePool" | "NodeClaim" => {
            let paths = ["spec.template.spec.terminationGracePeriod", "spec.terminationGracePeriod"];
            let found = paths.into_iter().find_map(|path| object.at(path));
            if let Some((node, limit)) = found.and_then(|node| Some((node, time(node)?))) {
                cap(node, limit, "the removal of a node of this pool".into());
            }
        }
        _ if kind.ends_with("Policy") || kind.ends_with("Constraint") => {
            let mut scalars = Vec::new();
            object.scalars("", &mut scalars);
            for (key, node) in scalars {
                let text = node.text().unwrap_or_default();
                let found =
                    if key == "terminationGracePeriodSeconds" { limit_in(&text) } else { capped_by(&text) };
                if let Some(seconds) = found {
                    cap(node, Duration::from_secs(seconds), "the policy".into());
                }
            }
        }
        _ => {
            let mut scalars = Vec::new();
            object.scalars("", &mut scalars);
            for (_, node) in scalars {
                let text = node.text().unwrap_or_default();
                let seconds =
                    text.strip_prefix("--max-graceful-termination-sec=").and_then(|text| text.parse().ok());
                if let Some(seconds) = seconds {
                    cap(
                        node,
                        Duration::from_secs(seconds),
                        "the cluster autoscaler, when it removes a node,".into(),
                    );
                }
            }
        }
    }
}

/// The limit in an expression: `object.spec.terminationGracePeriodSeconds <= 30`,
/// `terminationGracePeriodSeconds: 30`.
fn capped_by(expression: &str) -> Option<u64> {
    let found = expression.split("terminationGracePeriodSeconds").skip(1);
    found.filter_map(|rest| limit_in(rest.trim_start_matches([')', '"', '\'', ' ']))).min()
}

/// `30`, `<=30`, `<= 30`, `<31`, `: 30`; not `>=30`, which is no upper limit.
fn limit_in(text: &str) -> Option<u64> {
    let text = text.trim().trim_start_matches([':', '=', '"', '\'', ' ']);
    let (below, rest) = match text.strip_prefix("<=") {
        Some(rest) => (false, rest),
        None => text.strip_prefix('<').map_or((false, text), |rest| (true, rest)),
    };
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().ok()?;
    Some(if below { number.saturating_sub(1) } else { number })
}

/// A probe's own grace, for a restart.
pub(super) fn check_probes(service: &Service, container: Node, findings: &mut Findings) {
    for probe in ["livenessProbe", "startupProbe"] {
        let own = container.get(probe).and_then(|probe| probe.get("terminationGracePeriodSeconds"));
        let Some((node, seconds)) = own.and_then(|node| Some((node, node.number()?))) else { continue };
        if Duration::from_secs(seconds) < service.whole_grace() {
            let message = format!(
                "a restart by the {probe} has a grace of {seconds} s, any other stop {} s",
                service.whole_grace().as_secs()
            );
            findings.add(Rule::GraceCapped, &service.subject, node.place(), message).weigh(Severity::Warning);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_read_out_of_policies() {
        for (text, limit) in [
            ("object.spec.terminationGracePeriodSeconds <= 30", Some(30)),
            (
                "!has(object.spec.terminationGracePeriodSeconds) || object.spec.terminationGracePeriodSeconds < 61",
                Some(60),
            ),
            ("Object{spec: Object.spec{terminationGracePeriodSeconds: 25}}", Some(25)),
            ("object.spec.terminationGracePeriodSeconds >= 30", None),
            ("has(object.spec.terminationGracePeriodSeconds)", None),
            ("something else", None),
        ] {
            assert_eq!(capped_by(text), limit, "{text}");
        }
        assert_eq!(limit_in("<=30"), Some(30));
        assert_eq!(limit_in("30"), Some(30));
        assert_eq!(limit_in(">=30"), None);
    }
}
