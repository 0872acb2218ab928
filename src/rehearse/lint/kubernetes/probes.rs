//! What the probes of a container ask, and whom.

use std::collections::HashSet;

use super::{has_ports, port_number};
use crate::lint::finding::Findings;
use crate::lint::rules::{Rule, Severity};
use crate::lint::service::Service;
use crate::lint::yaml::Node;

/// The port of adieu's health address in all examples.
const HEALTH_PORT: u16 = 9090;

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

/// adieu's own readiness paths.
const READY: [&str; 2] = ["/readyz", "/health/ready"];

/// The rules for a container that gets requests through a service.
pub(super) fn check_routing(service: &Service, pod: Node, container: Node, findings: &mut Findings) {
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
    if container.get("readinessProbe").is_none() {
        let port = free_port(pod);
        let message = if has_ports(container) {
            "it has ports, but no readinessProbe"
        } else {
            "a Service sends it requests, but it has no readinessProbe"
        };
        findings.add(Rule::ReadinessMissing, subject, service.place, message).remedy(format!(
            "add one; under adieu: ADIEU_HEALTH=0.0.0.0:{port}, and path /readyz on port {port}"
        ));
    }
}

/// Whether readiness fails when adieu is asked to stop, if there is a probe for it.
pub(super) fn check_readiness(service: &Service, pod: Node, container: Node, findings: &mut Findings) {
    let subject = &service.subject;
    let Some(probe) = container.get("readinessProbe").filter(|_| service.has_adieu()) else { return };
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

pub(super) fn check(service: &Service, container: Node, findings: &mut Findings) {
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
