//! The rules that need several Kubernetes objects: replicas, rollouts, disruption budgets, and what
//! kills before the grace is over.

use std::time::Duration;

use adieu::moment::show_duration;

use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::{Rule, Severity};

/// All objects of all files.
#[derive(Default)]
pub(crate) struct Cluster {
    pub(crate) workloads: Vec<WorkloadObject>,
    pub(crate) budgets: Vec<Disruption>,
    pub(crate) scalers: Vec<Scaler>,
    pub(crate) caps: Vec<Cap>,
    /// They are read before everything else.
    pub(crate) routes: Vec<Route>,
}

/// A Service, which sends requests to the pods that it selects.
pub(crate) struct Route {
    /// Empty when the file sets none, as below.
    pub(crate) namespace: String,
    pub(crate) selector: Vec<(String, String)>,
    /// The numbers among its target ports; a name must be one that a container declares.
    pub(crate) ports: Vec<u64>,
}

pub(crate) struct WorkloadObject {
    pub(crate) subject: ObjectRef,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) place: Position,
    /// The labels of its pods.
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) replicas: Option<Spot<u64>>,
    pub(crate) strategy: Option<Spot<String>>,
    pub(crate) unavailable: Option<Spot<String>>,
    pub(crate) grace: Spot<Duration>,
    /// It gets requests.
    pub(crate) routed: bool,
}

/// A PodDisruptionBudget.
pub(crate) struct Disruption {
    pub(crate) subject: ObjectRef,
    pub(crate) place: Position,
    pub(crate) namespace: String,
    pub(crate) selector: Vec<(String, String)>,
    /// It also selects by expressions, which are not read here.
    pub(crate) expressions: bool,
    pub(crate) min_available: Option<Spot<String>>,
    pub(crate) max_unavailable: Option<Spot<String>>,
}

/// A HorizontalPodAutoscaler.
pub(crate) struct Scaler {
    pub(crate) namespace: String,
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) least: u64,
}

/// A limit on the grace of pods, set by another object.
pub(crate) struct Cap {
    pub(crate) subject: ObjectRef,
    pub(crate) place: Position,
    pub(crate) limit: Duration,
    pub(crate) what: String,
}

/// Kinds with a number of replicas, and a way to replace them.
const REPLICATED: [&str; 5] = ["Deployment", "DeploymentConfig", "ReplicaSet", "Rollout", "StatefulSet"];

impl Cluster {
    /// A Service sends requests to such a pod, on a port that none of its containers declares.
    pub(crate) fn routes_beside(
        &self,
        namespace: &str,
        labels: &[(String, String)],
        declared: &[u64],
    ) -> bool {
        let selects = |route: &Route| {
            let all = route.selector.iter().all(|label| labels.contains(label));
            may_be_same(&route.namespace, namespace) && all && !route.selector.is_empty()
        };
        let undeclared = |route: &Route| route.ports.iter().any(|port| !declared.contains(port));
        self.routes.iter().any(|route| selects(route) && undeclared(route))
    }

    pub(crate) fn check(&self, findings: &mut Findings) {
        for workload in &self.workloads {
            self.check_caps(workload, findings);
            if workload.routed && REPLICATED.contains(&workload.kind.as_str()) {
                self.check_replicas(workload, findings);
                self.check_rollout(workload, findings);
            }
        }
    }

    fn check_caps(&self, workload: &WorkloadObject, findings: &mut Findings) {
        let tightest =
            self.caps.iter().filter(|cap| cap.limit < workload.grace.value).min_by_key(|cap| cap.limit);
        let Some(cap) = tightest else { return };
        let shown = show_duration;
        let message = format!(
            "the pod asks for {}, but {} allows at most {} ({}, {}:{})",
            shown(workload.grace.value),
            cap.what,
            shown(cap.limit),
            cap.subject.object,
            cap.subject.file,
            cap.place.line
        );
        findings.add(Rule::GraceCapped, &workload.subject, workload.grace.place, message).remedy(format!(
            "raise that limit to {}, or make the stop fit into {}",
            shown(workload.grace.value),
            shown(cap.limit)
        ));
    }

    /// The least number of pods, and where it is set.
    fn least(&self, workload: &WorkloadObject) -> (u64, Position) {
        let place = workload.replicas.as_ref().map_or(workload.place, |spot| spot.place);
        match self.scaler(workload) {
            Some(scaler) => (scaler.least, place),
            None => (workload.replicas.as_ref().map_or(1, |spot| spot.value), place),
        }
    }

    fn scaler(&self, workload: &WorkloadObject) -> Option<&Scaler> {
        self.scalers.iter().find(|scaler| {
            scaler.kind == workload.kind
                && scaler.name == workload.name
                && may_be_same(&scaler.namespace, &workload.namespace)
        })
    }

    fn check_replicas(&self, workload: &WorkloadObject, findings: &mut Findings) {
        let (least, place) = self.least(workload);
        let budget = self.budgets.iter().find(|budget| budget.selects(workload));
        if least == 1 {
            let message = if self.scaler(workload).is_some() {
                "its HorizontalPodAutoscaler goes down to one replica"
            } else if workload.replicas.is_some() {
                "it has one replica"
            } else {
                "it has no number of replicas, which means one"
            };
            // A StatefulSet of one is mostly a database, where a second replica would not help.
            let severity = if workload.kind == "StatefulSet" { Severity::Note } else { Severity::Warning };
            findings.add(Rule::OneReplica, &workload.subject, place, message).weigh(severity);
        }
        match budget {
            Some(budget) => budget.check(least, findings),
            None if least > 1 => {
                let message = format!("it has {least} replicas, and no PodDisruptionBudget in these files");
                findings.add(Rule::BudgetMissing, &workload.subject, workload.place, message);
            }
            None => {}
        }
    }

    fn check_rollout(&self, workload: &WorkloadObject, findings: &mut Findings) {
        if let Some(strategy) = workload.strategy.as_ref().filter(|strategy| strategy.value == "Recreate") {
            findings.add(Rule::RolloutGap, &workload.subject, strategy.place, "the strategy is Recreate");
            return;
        }
        let (least, _) = self.least(workload);
        let Some(unavailable) = &workload.unavailable else { return };
        if share(&unavailable.value, least, Round::Down).is_some_and(|gone| gone >= least && least > 0) {
            let message = format!("maxUnavailable is {} with {}", unavailable.value, counted(least));
            findings.add(Rule::RolloutGap, &workload.subject, unavailable.place, message);
        }
    }
}

impl Disruption {
    fn selects(&self, workload: &WorkloadObject) -> bool {
        let all = self.selector.iter().all(|label| workload.labels.contains(label));
        let here = may_be_same(&self.namespace, &workload.namespace);
        here && all && !(self.selector.is_empty() && self.expressions)
    }

    fn check(&self, replicas: u64, findings: &mut Findings) {
        let blocked = match (&self.min_available, &self.max_unavailable) {
            (_, Some(spot)) => share(&spot.value, replicas, Round::Up)
                .filter(|gone| *gone == 0)
                .map(|_| (spot.place, format!("maxUnavailable is {}", spot.value))),
            (Some(spot), None) => share(&spot.value, replicas, Round::Up)
                .filter(|kept| *kept >= replicas)
                .map(|_| (spot.place, format!("minAvailable is {} with {}", spot.value, counted(replicas)))),
            (None, None) => None,
        };
        if let Some((place, message)) = blocked {
            findings.add(Rule::BudgetBlocks, &self.subject, place, message);
        } else if self.min_available.is_none() && self.max_unavailable.is_none() {
            // The API takes a missing minAvailable as 1.
            if replicas == 1 {
                findings.add(Rule::BudgetBlocks, &self.subject, self.place, "it protects the only replica");
            }
        }
    }
}

/// A file may leave the namespace to `kubectl --namespace`, so a missing one may be any.
fn may_be_same(one: &str, other: &str) -> bool {
    one == other || one.is_empty() || other.is_empty()
}

fn counted(replicas: u64) -> String {
    if replicas == 1 { "1 replica".to_owned() } else { format!("{replicas} replicas") }
}

/// How the API rounds a percentage: up in budgets, down in maxUnavailable of a rollout.
#[derive(Clone, Copy)]
enum Round {
    Up,
    Down,
}

/// A number of pods, or a percentage of them.
fn share(text: &str, replicas: u64, round: Round) -> Option<u64> {
    let Some(percent) = text.strip_suffix('%') else { return text.parse().ok() };
    let part = percent.parse::<u64>().ok()?.checked_mul(replicas)?;
    Some(match round {
        Round::Up => part.div_ceil(100),
        Round::Down => part / 100,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_rounded_as_the_api_does() {
        assert_eq!(share("25%", 1, Round::Down), Some(0));
        assert_eq!(share("25%", 1, Round::Up), Some(1));
        assert_eq!(share("100%", 3, Round::Down), Some(3));
        assert_eq!(share("2", 3, Round::Up), Some(2));
        assert_eq!(share("many", 3, Round::Up), None);
    }
}
