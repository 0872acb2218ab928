//! Kubernetes workloads: anything with a pod in it. What an object leaves out has the API's
//! defaults: 30 s of grace, TERM.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::workload::{Probe, Workload, adieu_in_image, name_dropped, signal_named, unwrap_adieu};
use crate::lint::Lint;
use crate::lint::yaml::Node;
use adieu::settings::Platform;

/// The containers of one object; none when it has no pod.
pub(crate) fn read(object: Node) -> Result<Vec<Workload>, String> {
    if object.get("kind").and_then(Node::text).as_deref() == Some("List") {
        let items = object.get("items").map(Node::items).unwrap_or_default();
        return Ok(items
            .into_iter()
            .map(read)
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect());
    }
    let kind = object.get("kind").and_then(Node::text).unwrap_or_default();
    let pod = match kind.as_str() {
        "Pod" => object.get("spec"),
        "CronJob" => object.at("spec.jobTemplate.spec.template.spec"),
        _ => object.at("spec.template.spec"),
    };
    let Some(pod) = pod else { return Ok(Vec::new()) };
    let containers = pod.get("containers").map(Node::items).unwrap_or_default();
    Ok(containers.into_iter().map(|container| workload(pod, container)).collect())
}

fn workload(pod: Node, container: Node) -> Workload {
    let env = env(container);
    let words = command(container, &env.known);
    let (adieu, command) = unwrap_adieu(words);
    let adieu = adieu.or_else(|| adieu_in_image(&env.known));
    let grace = pod.get("terminationGracePeriodSeconds").and_then(Node::number).unwrap_or(30);
    let hook = container.at("lifecycle.preStop");
    let readiness = container.get("readinessProbe");
    let mut workload = Workload {
        name: container.get("name").and_then(Node::text).unwrap_or_else(|| "container".into()),
        platform: Platform::Kubernetes,
        command,
        adieu,
        env: env.known,
        grace: Duration::from_secs(grace),
        hook: hook.and_then(hook_sleep).unwrap_or_default(),
        stop_signal: stop_signal(container).unwrap_or(Signal::SIGTERM),
        readiness: readiness.and_then(|probe| http_probe(probe, container)),
        lints: env.lints,
    };
    if grace == 0 {
        workload.lints.push(Lint::new(
            "terminationGracePeriodSeconds is 0: the pod is killed at once",
            "leave it out, or give the app time",
        ));
    }
    if let Some(hook) = hook.filter(|hook| hook_sleep(*hook).is_none()) {
        let what = hook.at("exec.command").map(Node::texts).unwrap_or_default().join(" ");
        workload.lints.push(Lint::new(
            format!("the preStop hook is not a sleep and is not rehearsed: {what}")
                .trim_end_matches([':', ' '])
                .to_owned(),
            "with adieu it can be an --on-stop hook, which is",
        ));
    }
    check_readiness(&mut workload, container);
    name_dropped(&mut workload, container, &["workingDir", "envFrom"]);
    check_pid_one(&mut workload, pod);
    workload.check_shell();
    workload.check_times();
    workload.check_probe();
    workload
}

/// `command` and `args` with $(NAME) filled in, as the kubelet does; `args` alone belong to an
/// entrypoint that only the image knows.
fn command(container: Node, env: &[(String, String)]) -> Vec<String> {
    let mut words = container.get("command").map(Node::texts).unwrap_or_default();
    if words.is_empty() {
        return words;
    }
    words.extend(container.get("args").map(Node::texts).unwrap_or_default());
    for word in &mut words {
        for (name, value) in env {
            *word = word.replace(&format!("$({name})"), value);
        }
    }
    words
}

/// `lifecycle.stopSignal`, of Kubernetes 1.33 and later.
fn stop_signal(container: Node) -> Option<Signal> {
    signal_named(&container.at("lifecycle.stopSignal")?.text()?).ok()
}

struct Env {
    known: Vec<(String, String)>,
    lints: Vec<Lint>,
}

fn env(container: Node) -> Env {
    let mut env = Env { known: Vec::new(), lints: Vec::new() };
    for entry in container.get("env").map(Node::items).unwrap_or_default() {
        let Some(name) = entry.get("name").and_then(Node::text) else { continue };
        match entry.get("value").and_then(Node::text) {
            Some(value) => env.known.push((name, value)),
            None => env.lints.push(elsewhere(&name)),
        }
    }
    env
}

fn elsewhere(name: &str) -> Lint {
    Lint::new(format!("the value of {name} is not in the manifest"), format!("give it: --env {name}=VALUE"))
}

/// A hook that only sleeps: the `sleep` action, or `sleep N`, with or without a shell in front.
fn hook_sleep(hook: Node) -> Option<Duration> {
    if let Some(seconds) = hook.at("sleep.seconds").and_then(Node::number) {
        return Some(Duration::from_secs(seconds));
    }
    let words = hook.at("exec.command")?.texts();
    let line = match words.as_slice() {
        [shell, flag, launch] if shell.ends_with("sh") && flag.ends_with('c') => launch.clone(),
        words => words.join(" "),
    };
    let mut parts = line.split_whitespace();
    let sleeps = parts.next()?.rsplit('/').next() == Some("sleep");
    let seconds = parts.next()?.trim_end_matches('s').parse().ok()?;
    (sleeps && parts.next().is_none()).then(|| Duration::from_secs(seconds))
}

/// A probe's port may be a name that the container declares.
fn http_probe(probe: Node, container: Node) -> Option<Probe> {
    let http = probe.get("httpGet")?;
    let port = http.get("port")?;
    let named = || {
        let name = port.text()?;
        let ports = container.get("ports")?.items();
        ports
            .into_iter()
            .find(|entry| entry.get("name").and_then(Node::text).as_ref() == Some(&name))?
            .get("containerPort")?
            .number()
    };
    let port = u16::try_from(port.number().or_else(named)?).ok()?;
    Some(Probe { port, path: http.get("path").and_then(Node::text).unwrap_or_else(|| "/".into()) })
}

fn check_readiness(workload: &mut Workload, container: Node) {
    if container.get("readinessProbe").is_none() && container.get("ports").is_some() {
        workload.lints.push(Lint::new(
            "there is no readiness probe: requests come as soon as the container has started",
            "add one; with adieu: --health 0.0.0.0:9000 and path /readyz",
        ));
    }
    let liveness = container.get("livenessProbe").and_then(|probe| http_probe(probe, container));
    let asks_readiness = liveness
        .as_ref()
        .is_some_and(|probe| probe.path.ends_with("/readyz") || probe.path.ends_with("/health/ready"));
    if asks_readiness {
        workload.lints.push(Lint::new(
            "the liveness probe asks for readiness: the kubelet would kill the pod while it drains",
            "let it ask /livez",
        ));
    }
}

fn check_pid_one(workload: &mut Workload, pod: Node) {
    for key in ["shareProcessNamespace", "hostPID"] {
        if workload.adieu.is_some() && pod.get(key).and_then(Node::text).as_deref() == Some("true") {
            workload.lints.push(Lint::new(
                format!("with {key}, adieu is not PID 1; it reaps its own descendants only"),
                "nothing is wrong with that, but it is not what is rehearsed here",
            ));
        }
    }
}
