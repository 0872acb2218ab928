//! Kubernetes objects, one at a time: what they set for a stop. `cluster` checks what needs several
//! objects.

mod caps;
mod nested;
mod pre_stop;
mod probes;

use std::time::Duration;

use adieu::settings::Platform;

use super::cluster::{Cluster, Disruption, Route, Scaler, WorkloadObject};
use super::finding::{Findings, ObjectRef, Spot};
use super::service::Service;
use super::yaml::Node;
pub(crate) use pre_stop::hook;

/// Collects the Services, which may stand after the pods that they send requests to.
pub(crate) fn read_routes(object: Node, cluster: &mut Cluster) {
    for item in object.items_at("items") {
        read_routes(item, cluster);
    }
    if object.text_at("kind").as_deref() != Some("Service") {
        return;
    }
    // Without a target port, the port itself is meant.
    let target = |port: Node| port.get("targetPort").or_else(|| port.get("port"))?.number();
    cluster.routes.push(Route {
        namespace: object.text_at("metadata.namespace").unwrap_or_default(),
        selector: labels(object.at("spec.selector")),
        ports: object.items_at("spec.ports").into_iter().filter_map(target).collect(),
    });
}

/// Collects what an object sets, and checks what needs no other object.
pub(crate) fn read(file: &str, object: Node, cluster: &mut Cluster, findings: &mut Findings) {
    let kind = object.text_at("kind").unwrap_or_default();
    if kind.ends_with("List") && object.get("items").is_some() {
        for item in object.items_at("items") {
            read(file, item, cluster, findings);
        }
        return;
    }
    let subject = ObjectRef { file: file.to_owned(), object: title(object) };
    caps::read(&kind, object, &subject, cluster);
    match kind.as_str() {
        "PodDisruptionBudget" => cluster.budgets.push(budget(object, subject)),
        "HorizontalPodAutoscaler" => cluster.scalers.extend(scaler(object)),
        _ => pods(&kind, object, &subject, cluster, findings),
    }
}

/// `Deployment my-app`
fn title(object: Node) -> String {
    let text = |path: &str| object.text_at(path).unwrap_or_default();
    format!("{} {}", text("kind"), text("metadata.name")).trim().to_owned()
}

/// The name of a container in findings: `Deployment my-app, container web`.
pub(crate) fn object_name(object: Node, container: Node) -> String {
    container_name(&title(object), container)
}

/// Knative lets the only container go without a name.
fn container_name(title: &str, container: Node) -> String {
    let name = container.text_at("name");
    name.map_or_else(|| title.to_owned(), |name| format!("{title}, container {name}"))
}

/// A pod that an object describes.
#[derive(Clone, Copy)]
struct Pod<'a> {
    spec: Node<'a>,
    /// Its terminationGracePeriodSeconds.
    grace: Option<Node<'a>>,
}

fn pods(kind: &str, object: Node, subject: &ObjectRef, cluster: &mut Cluster, findings: &mut Findings) {
    let (template, pod) = match kind {
        "Pod" => (Some(object), object.get("spec")),
        "CronJob" => {
            (object.at("spec.jobTemplate.spec.template"), object.at("spec.jobTemplate.spec.template.spec"))
        }
        _ => (object.at("spec.template"), object.at("spec.template.spec")),
    };
    let pod = pod.filter(|pod| pod.get("containers").is_some());
    let (Some(template), Some(spec)) = (template, pod) else {
        for pod in nested::pods(object) {
            nested_pod(object, pod, subject, cluster, findings);
        }
        return;
    };
    let pod = Pod { spec, grace: spec.get("terminationGracePeriodSeconds") };
    let mut workload = workload(object, pod, subject);
    workload.labels = labels(template.at("metadata.labels"));
    // Knative's own proxy is before the container: it keeps serving, and has the readiness probe.
    let proxied = object.text_at("apiVersion").is_some_and(|api| api.starts_with("serving.knative.dev/"));
    let serves = !["Job", "CronJob"].contains(&kind) && !proxied;
    let containers = spec.items_at("containers");
    let beside = cluster.routes_beside(&workload.namespace, &workload.labels, &declared_ports(&containers));
    // `ports` may be left out. Nothing tells then which container listens; mostly it is the first.
    let unnamed = containers.iter().position(|container| beside && !has_ports(*container));
    check_sidecars(pod, subject, findings);
    for (place, container) in containers.into_iter().enumerate() {
        let service = service(subject, pod, container);
        check(&service, container, findings);
        if serves && (has_ports(container) || unnamed == Some(place)) {
            workload.routed = true;
            probes::check_routing(&service, spec, container, findings);
            probes::check_readiness(&service, spec, container, findings);
        }
    }
    cluster.workloads.push(workload);
}

/// A pod of a custom resource. Who sends it requests, and how many there are, only its controller
/// knows.
fn nested_pod(object: Node, pod: Pod, subject: &ObjectRef, cluster: &mut Cluster, findings: &mut Findings) {
    check_sidecars(pod, subject, findings);
    for container in pod.spec.items_at("containers") {
        let service = service(subject, pod, container);
        check(&service, container, findings);
        if has_ports(container) {
            probes::check_readiness(&service, pod.spec, container, findings);
        }
    }
    cluster.workloads.push(workload(object, pod, subject));
}

/// The kubelet stops them after the containers, so they need no delay of their own.
fn check_sidecars(pod: Pod, subject: &ObjectRef, findings: &mut Findings) {
    for sidecar in pod.spec.items_at("initContainers").into_iter().filter(|one| is_sidecar(*one)) {
        check(&service(subject, pod, sidecar), sidecar, findings);
    }
}

/// What holds for every container.
fn check(service: &Service, container: Node, findings: &mut Findings) {
    service.check(findings);
    caps::check_probes(service, container, findings);
    probes::check(service, container, findings);
}

/// What an object sets for this pod; it is not known yet who sends it requests.
fn workload(object: Node, pod: Pod, subject: &ObjectRef) -> WorkloadObject {
    WorkloadObject {
        subject: subject.clone(),
        kind: object.text_at("kind").unwrap_or_default(),
        name: object.text_at("metadata.name").unwrap_or_default(),
        namespace: object.text_at("metadata.namespace").unwrap_or_default(),
        place: object.place(),
        labels: Vec::new(),
        replicas: object.at("spec.replicas").and_then(|node| Some(node.spot(node.number()?))),
        strategy: object.at("spec.strategy.type").and_then(|node| Some(node.spot(node.text()?))),
        unavailable: [
            "spec.strategy.rollingUpdate.maxUnavailable",
            "spec.updateStrategy.rollingUpdate.maxUnavailable",
            "spec.strategy.canary.maxUnavailable",
        ]
        .into_iter()
        .find_map(|path| object.at(path))
        .and_then(|node| Some(node.spot(node.text()?))),
        grace: grace(pod).unwrap_or_else(|| pod.spec.spot(Platform::Kubernetes.grace())),
        routed: false,
    }
}

fn grace(pod: Pod) -> Option<Spot<Duration>> {
    let node = pod.grace?;
    Some(node.spot(Duration::from_secs(node.number()?)))
}

fn labels(node: Option<Node>) -> Vec<(String, String)> {
    let entries = node.map(Node::entries).unwrap_or_default();
    entries.into_iter().filter_map(|(name, value)| Some((name, value.text()?))).collect()
}

/// An init container that runs beside the containers.
pub(crate) fn is_sidecar(container: Node) -> bool {
    container.text_at("restartPolicy").as_deref() == Some("Always")
}

fn declared_ports(containers: &[Node]) -> Vec<u64> {
    let ports = containers.iter().flat_map(|container| container.items_at("ports"));
    ports.filter_map(|port| port.number_at("containerPort")).collect()
}

fn has_ports(container: Node) -> bool {
    !container.items_at("ports").is_empty()
}

fn service(subject: &ObjectRef, pod: Pod, container: Node) -> Service {
    let (env, hidden) = env(container);
    let value =
        |name: &str| env.iter().rev().find(|(known, _)| known == name).map(|(_, spot)| spot.value.clone());
    let fill = |word: String| filled_in(&word, &value);
    let (command, args) = (container.get("command"), container.get("args"));
    let words = |node: Option<Node>| node.map(Node::texts).unwrap_or_default().into_iter().map(fill);
    let all: Vec<String> = words(command).chain(words(args)).collect();
    Service {
        subject: ObjectRef { file: subject.file.clone(), object: container_name(&subject.object, container) },
        place: container.place(),
        platform: Platform::Kubernetes,
        grace: grace(pod),
        grace_key: "terminationGracePeriodSeconds",
        hook: container.at("lifecycle.preStop").map(|node| node.spot(hook(node))),
        command: command.or(args).filter(|_| !all.is_empty()).map(|node| node.spot(all)),
        behind_entrypoint: command.is_none(),
        image: container.text_at("image"),
        env,
        hidden,
        signals_all: false,
        more_env: container.get("envFrom").is_some(),
        stop_signal: container.at("lifecycle.stopSignal").and_then(|node| Some(node.spot(node.text()?))),
        usual_signal: None,
    }
}

/// Fills variables into a word of a command as the kubelet does: `$(NAME)` is its value, if
/// there is one, and `$$` a dollar sign.
pub(crate) fn filled_in(word: &str, value: &dyn Fn(&str) -> Option<String>) -> String {
    let (mut out, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let named = after.strip_prefix('(').and_then(|inner| inner.split_once(')'));
        let found = named.and_then(|(name, after)| Some((value(name)?, after)));
        rest = match found {
            Some((value, after)) => {
                out.push_str(&value);
                after
            }
            None => {
                out.push('$');
                after.strip_prefix('$').unwrap_or(after)
            }
        };
    }
    out + rest
}

/// The variables with a value here, and the names of the others; `envFrom` may add any.
fn env(container: Node) -> (Vec<(String, Spot<String>)>, Vec<String>) {
    let (mut env, mut hidden) = (Vec::new(), Vec::new());
    for entry in container.items_at("env") {
        let Some(name) = entry.text_at("name") else { continue };
        match entry.get("value").and_then(|node| Some(node.spot(node.text()?))) {
            Some(spot) => env.push((name, spot)),
            None => hidden.push(name),
        }
    }
    (env, hidden)
}

/// A probe's port may be a name that the container declares.
pub(crate) fn port_number(port: Node, container: Node) -> Option<u64> {
    if let Some(number) = port.number() {
        return Some(number);
    }
    let name = port.text()?;
    let ports = container.items_at("ports");
    ports.into_iter().find(|entry| entry.text_at("name").as_ref() == Some(&name))?.number_at("containerPort")
}

fn budget(object: Node, subject: ObjectRef) -> Disruption {
    let spec = object.get("spec");
    let text = |key: &str| {
        let node = spec?.get(key)?;
        Some(node.spot(node.text()?))
    };
    Disruption {
        subject,
        place: object.place(),
        namespace: object.text_at("metadata.namespace").unwrap_or_default(),
        selector: labels(object.at("spec.selector.matchLabels")),
        expressions: object.at("spec.selector.matchExpressions").is_some(),
        min_available: text("minAvailable"),
        max_unavailable: text("maxUnavailable"),
    }
}

fn scaler(object: Node) -> Option<Scaler> {
    Some(Scaler {
        namespace: object.text_at("metadata.namespace").unwrap_or_default(),
        kind: object.text_at("spec.scaleTargetRef.kind")?,
        name: object.text_at("spec.scaleTargetRef.name")?,
        least: object.number_at("spec.minReplicas").unwrap_or(1),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_filled_in_as_the_kubelet_does() {
        let value = |name: &str| (name == "A").then(|| "a".to_owned());
        for (word, filled) in
            [("x$(A)y$(A)", "xaya"), ("$$(A) $(B) $A $", "$(A) $(B) $A $"), ("$(A", "$(A"), ("$$$(A)", "$a")]
        {
            assert_eq!(filled_in(word, &value), filled, "{word}");
        }
    }
}
