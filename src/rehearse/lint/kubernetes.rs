//! Kubernetes objects, one at a time: what they set for a stop. `cluster` checks what needs several
//! objects.

use std::collections::HashSet;
use std::time::Duration;

use adieu::settings::{Platform, values};

use super::cluster::{Cap, Cluster, Disruption, Route, Scaler, WorkloadObject};
use super::finding::{Findings, ObjectRef, Spot};
use super::rules::{Rule, Severity};
use super::service::{PreStopHook, Service};
use super::yaml::Node;

/// The port of adieu's health address in all examples.
const HEALTH_PORT: u16 = 9090;

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
    caps(&kind, object, &subject, cluster);
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

fn container_name(title: &str, container: Node) -> String {
    format!("{title}, container {}", container.text_at("name").unwrap_or_default())
}

fn pods(kind: &str, object: Node, subject: &ObjectRef, cluster: &mut Cluster, findings: &mut Findings) {
    let (template, pod) = match kind {
        "Pod" => (Some(object), object.get("spec")),
        "CronJob" => {
            (object.at("spec.jobTemplate.spec.template"), object.at("spec.jobTemplate.spec.template.spec"))
        }
        _ => (object.at("spec.template"), object.at("spec.template.spec")),
    };
    let (Some(template), Some(pod)) = (template, pod.filter(|pod| pod.get("containers").is_some())) else {
        return;
    };
    let namespace = object.text_at("metadata.namespace").unwrap_or_default();
    let labels = labels(template.at("metadata.labels"));
    let serves = !["Job", "CronJob"].contains(&kind);
    let containers = pod.items_at("containers");
    let beside = cluster.routes_beside(&namespace, &labels, &declared_ports(&containers));
    // `ports` may be left out. Nothing tells then which container listens; mostly it is the first.
    let unnamed = containers.iter().position(|container| beside && !has_ports(*container));
    let mut routed = false;
    for sidecar in pod.items_at("initContainers").into_iter().filter(|one| is_sidecar(*one)) {
        // The kubelet stops it after the containers, so it needs no delay of its own.
        let service = service(subject, pod, sidecar);
        service.check(findings);
        cap_of_liveness(&service, sidecar, findings);
        check_probes(&service, sidecar, findings);
    }
    for (place, container) in containers.into_iter().enumerate() {
        let service = service(subject, pod, container);
        service.check(findings);
        cap_of_liveness(&service, container, findings);
        if serves && (has_ports(container) || unnamed == Some(place)) {
            routed = true;
            check_routing(&service, pod, container, findings);
        }
        check_probes(&service, container, findings);
    }
    let grace = pod.get("terminationGracePeriodSeconds");
    cluster.workloads.push(WorkloadObject {
        subject: subject.clone(),
        kind: kind.to_owned(),
        name: object.text_at("metadata.name").unwrap_or_default(),
        namespace,
        place: object.place(),
        labels,
        replicas: object.at("spec.replicas").and_then(|node| Some(node.spot(node.number()?))),
        strategy: object.at("spec.strategy.type").and_then(|node| Some(node.spot(node.text()?))),
        unavailable: [
            "spec.strategy.rollingUpdate.maxUnavailable",
            "spec.updateStrategy.rollingUpdate.maxUnavailable",
        ]
        .into_iter()
        .find_map(|path| object.at(path))
        .and_then(|node| Some(node.spot(node.text()?))),
        grace: grace
            .and_then(|node| Some(node.spot(Duration::from_secs(node.number()?))))
            .unwrap_or_else(|| pod.spot(Platform::Kubernetes.grace())),
        routed,
    });
}

fn labels(node: Option<Node>) -> Vec<(String, String)> {
    let entries = node.map(Node::entries).unwrap_or_default();
    entries.into_iter().filter_map(|(name, value)| Some((name, value.text()?))).collect()
}

/// An init container that runs beside the containers.
fn is_sidecar(container: Node) -> bool {
    container.text_at("restartPolicy").as_deref() == Some("Always")
}

fn declared_ports(containers: &[Node]) -> Vec<u64> {
    let ports = containers.iter().flat_map(|container| container.items_at("ports"));
    ports.filter_map(|port| port.number_at("containerPort")).collect()
}

fn has_ports(container: Node) -> bool {
    !container.items_at("ports").is_empty()
}

fn service(subject: &ObjectRef, pod: Node, container: Node) -> Service {
    let (env, hidden) = env(container);
    let fill = |word: String| {
        env.iter().fold(word, |word, (name, spot)| word.replace(&format!("$({name})"), &spot.value))
    };
    let (command, args) = (container.get("command"), container.get("args"));
    let words = |node: Option<Node>| node.map(Node::texts).unwrap_or_default().into_iter().map(fill);
    let all: Vec<String> = words(command).chain(words(args)).collect();
    let grace = pod.get("terminationGracePeriodSeconds");
    Service {
        subject: ObjectRef { file: subject.file.clone(), object: container_name(&subject.object, container) },
        place: container.place(),
        platform: Platform::Kubernetes,
        grace: grace.and_then(|node| Some(node.spot(Duration::from_secs(node.number()?)))),
        grace_key: "terminationGracePeriodSeconds",
        hook: container.at("lifecycle.preStop").map(|node| node.spot(hook(node))),
        command: command.or(args).filter(|_| !all.is_empty()).map(|node| node.spot(all)),
        behind_entrypoint: command.is_none(),
        image: container.text_at("image"),
        env,
        hidden,
        more_env: container.get("envFrom").is_some(),
        stop_signal: container.at("lifecycle.stopSignal").and_then(|node| Some(node.spot(node.text()?))),
        usual_signal: None,
    }
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

/// The `sleep` action, `sleep N` with or without a shell, and adieu's own `--wait`.
fn hook(node: Node) -> PreStopHook {
    if let Some(seconds) = node.number_at("sleep.seconds") {
        return PreStopHook::Sleep(Duration::from_secs(seconds));
    }
    let words = node.at("exec.command").map(Node::texts).unwrap_or_default();
    let (line, rest) = match words.as_slice() {
        [shell, flag, line] if shell.ends_with("sh") && flag.ends_with('c') => first_command(line),
        words => (words.join(" "), false),
    };
    let parts: Vec<&str> = line.split_whitespace().collect();
    match parts.as_slice() {
        [sleep, time] if sleep.rsplit('/').next() == Some("sleep") => match values::duration(time) {
            Ok(time) if rest => PreStopHook::SleepFirst(time),
            Ok(time) => PreStopHook::Sleep(time),
            Err(_) => PreStopHook::Other,
        },
        [adieu, rest @ ..] if adieu.rsplit('/').next() == Some("adieu") && rest.contains(&"--wait") => {
            PreStopHook::Wait
        }
        _ => PreStopHook::Other,
    }
}

/// The first command of a shell's line, and whether more follows. The shell does not wait for a
/// command before a single `&`, so that one is not taken apart.
fn first_command(line: &str) -> (String, bool) {
    let ends = [";", "&&", "||", "\n"].iter().filter_map(|end| line.find(end));
    match ends.min().map(|end| line.split_at(end)) {
        Some((first, rest)) => {
            let more = !rest.trim_start_matches([';', '\n', ' ']).is_empty();
            (first.trim().to_owned(), more)
        }
        None => (line.to_owned(), false),
    }
}

/// What a probe asks, in the words of the manifest, so that two probes can be compared.
#[derive(PartialEq, Eq, Debug)]
enum Question {
    Http { port: u64, path: String },
    Tcp,
    Other(String),
}

fn question(probe: Node, container: Node) -> Question {
    if let Some(http) = probe.get("httpGet") {
        let path = http.text_at("path").unwrap_or_else(|| "/".into());
        return match http.get("port").and_then(|port| port_number(port, container)) {
            Some(port) => Question::Http { port, path },
            None => Question::Other(format!("http {path}")),
        };
    }
    if probe.get("tcpSocket").is_some() {
        return Question::Tcp;
    }
    Question::Other(probe.at("exec.command").map(Node::texts).unwrap_or_default().join(" "))
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

/// adieu's own readiness paths.
const READY: [&str; 2] = ["/readyz", "/health/ready"];

/// The rules for a container that gets requests through a service.
fn check_routing(service: &Service, pod: Node, container: Node, findings: &mut Findings) {
    let subject = &service.subject;
    if !service.has_adieu() && service.hook.is_none() {
        let message = "it does not keep serving after its endpoint is removed: it has no preStop hook, and adieu is not seen";
        let finding = findings.add(Rule::NoDelay, subject, service.place, message);
        if service.command.is_none() || service.behind_entrypoint {
            finding.remedy(
                "if the image's entry point is adieu, set ADIEU_GRACE, so that it is seen here; else add a preStop hook: \
                 adieu --wait, or sleep",
            );
        }
    }
    let Some(probe) = container.get("readinessProbe") else {
        let port = free_port(pod);
        let message = if has_ports(container) {
            "it has ports, but no readinessProbe"
        } else {
            "a Service sends it requests, but it has no readinessProbe"
        };
        findings.add(Rule::ReadinessMissing, subject, service.place, message).remedy(format!(
            "add one; under adieu: ADIEU_HEALTH=0.0.0.0:{port}, and path /readyz on port {port}"
        ));
        return;
    };
    if !service.has_adieu() {
        return;
    }
    let Some(Ok(settings)) = service.settings() else { return };
    let asked = question(probe, container);
    let Some(health) = settings.ready.health else {
        let message = "the readiness probe asks the app, and adieu has no health address (ADIEU_HEALTH)";
        if !matches!(&asked, Question::Other(command) if command.contains("--probe")) {
            let port = free_port(pod);
            findings.add(Rule::ReadinessNeverFails, subject, probe.place(), message).remedy(format!(
                "set ADIEU_HEALTH=0.0.0.0:{port}, and let the probe ask for /readyz on port {port}"
            ));
        }
        return;
    };
    let message = match &asked {
        Question::Http { port, .. } if *port != u64::from(health.port()) => {
            format!("the readiness probe asks the app on port {port}, but adieu answers on {}", health.port())
        }
        Question::Http { path, .. } if !READY.contains(&path.as_str()) => {
            format!("the readiness probe asks adieu for {path}, which is not readiness")
        }
        Question::Http { .. } if health.ip().is_loopback() => {
            let message = format!("adieu listens on {health}, but the probe comes over the network");
            findings
                .add(Rule::HealthUnreachable, subject, probe.place(), message)
                .remedy(format!("set ADIEU_HEALTH=0.0.0.0:{}", health.port()));
            return;
        }
        Question::Tcp => {
            "the readiness probe only opens a connection, which succeeds until the app is gone".to_owned()
        }
        Question::Other(command) if !command.contains("--probe") => {
            "the readiness probe runs a command other than adieu --probe readyz".to_owned()
        }
        Question::Http { .. } | Question::Other(_) => return,
    };
    findings
        .add(Rule::ReadinessNeverFails, subject, probe.place(), message)
        .remedy(format!("let it ask adieu: port {}, path /readyz", health.port()));
}

/// A port for adieu's health address: 9090, or the next that nothing in the pod mentions, since its
/// containers share their ports.
fn free_port(pod: Node) -> u16 {
    let mut scalars = Vec::new();
    pod.scalars("", &mut scalars);
    let texts: Vec<String> = scalars.into_iter().filter_map(|(_, node)| node.text()).collect();
    let numbers = texts.iter().flat_map(|text| text.split(|letter: char| !letter.is_ascii_digit()));
    let mentioned: HashSet<u16> = numbers.filter_map(|number| number.parse().ok()).collect();
    (HEALTH_PORT..u16::MAX).find(|port| !mentioned.contains(port)).unwrap_or(HEALTH_PORT)
}

fn check_probes(service: &Service, container: Node, findings: &mut Findings) {
    for key in ["readinessProbe", "livenessProbe", "startupProbe"] {
        let Some(probe) = container.get(key) else { continue };
        let command = probe.at("exec.command").map(Node::texts).unwrap_or_default().join(" ");
        service.check_probe(&command, probe.place(), findings);
    }
    let Some(probe) = container.get("livenessProbe") else { return };
    let liveness = question(probe, container);
    if let Question::Http { path, .. } = &liveness
        && READY.contains(&path.as_str())
    {
        let message =
            format!("the liveness probe asks {path}: the pod is restarted whenever it is not ready");
        findings
            .add(Rule::LivenessIsReadiness, &service.subject, probe.place(), message)
            .weigh(Severity::Error)
            .remedy("let it ask /livez");
        return;
    }
    let same = container.get("readinessProbe").is_some_and(|probe| question(probe, container) == liveness);
    if same && liveness != Question::Tcp {
        let message = "liveness and readiness ask the same address: a pod that is not ready is also killed";
        findings.add(Rule::LivenessIsReadiness, &service.subject, probe.place(), message);
    }
}

fn cap_of_liveness(service: &Service, container: Node, findings: &mut Findings) {
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

/// Objects that limit the grace of pods.
fn caps(kind: &str, object: Node, subject: &ObjectRef, cluster: &mut Cluster) {
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
