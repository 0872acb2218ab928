//! Kubernetes workloads: all objects with a pod. What an object does not set has the API's
//! defaults: 30 s of grace, TERM.

use std::path::PathBuf;
use std::time::Duration;

use super::variables::PodVariables;
use super::workload::{Probe, Workload, adieu_in_image, name_dropped, name_rest, signal_named};
use crate::lint::kubernetes::{self, filled_in, is_sidecar, port_number};
use crate::lint::service::PreStopHook;
use crate::lint::yaml::Node;
use crate::recording::ManifestNote;
use adieu::settings::Platform;

/// The containers of all objects in a file.
///
/// # Errors
/// An unknown stop signal, which the API server rejects too.
pub(crate) fn read(documents: &[Node]) -> Result<Vec<Workload>, String> {
    let objects: Vec<Node> = documents.iter().flat_map(|document| listed(*document)).collect();
    let variables = PodVariables::of(&objects);
    let mut workloads = Vec::new();
    // The pods of Helm hooks test or prepare the app. They count only in a file with nothing else.
    let (hooks, own): (Vec<Node>, Vec<Node>) = objects.into_iter().partition(|object| is_helm_hook(*object));
    for group in [own, hooks] {
        for (object, pod) in group.into_iter().filter_map(|object| Some((object, pod(object)?))) {
            for container in pod.items_at("containers") {
                let mut workload = workload(pod, container, &variables)?;
                workload.object = kubernetes::object_name(object, container);
                workloads.push(workload);
            }
        }
        if !workloads.is_empty() {
            break;
        }
    }
    Ok(workloads)
}

/// The objects of one document: the items of a List or a DeploymentList, or the document itself.
fn listed(object: Node) -> Vec<Node> {
    match object.get("kind").and_then(Node::text) {
        Some(kind) if kind.ends_with("List") && object.get("items").is_some() => {
            object.items_at("items").into_iter().flat_map(listed).collect()
        }
        Some(_) => vec![object],
        None => Vec::new(),
    }
}

fn is_helm_hook(object: Node) -> bool {
    let annotations = object.at("metadata.annotations");
    annotations.is_some_and(|annotations| annotations.get("helm.sh/hook").is_some())
}

/// The spec of an object's pod, if it has one.
fn pod(object: Node) -> Option<Node> {
    match object.get("kind").and_then(Node::text).as_deref() {
        Some("Pod") => object.get("spec"),
        Some("CronJob") => object.at("spec.jobTemplate.spec.template.spec"),
        Some(_) | None => object.at("spec.template.spec"),
    }
}

fn workload<'a>(
    pod: Node<'a>,
    container: Node<'a>,
    variables: &PodVariables<'a>,
) -> Result<Workload, String> {
    let name = container.get("name").and_then(Node::text).unwrap_or_else(|| "container".into());
    let (env, unknown) = variables.of_container(container);
    let grace = pod.get("terminationGracePeriodSeconds").and_then(Node::number).unwrap_or(30);
    let hook = container.at("lifecycle.preStop").map(|node| (node, kubernetes::hook(node)));
    let readiness = container.get("readinessProbe");
    let mut workload = Workload::new(name, Platform::Kubernetes, command(container, &env));
    if behind_adieu(container, &env) {
        workload.notes.push(ManifestNote::new(
            "adieu is taken for the image's entry point, as its variables show, and args for the command",
            "give the command after -- if the image has another one",
        ));
    }
    workload.set_env(env);
    workload.notes.extend(unknown);
    workload.grace = Duration::from_secs(grace);
    workload.readiness = readiness.and_then(|probe| http_probe(probe, container));
    workload.directory = container.get("workingDir").and_then(Node::text).map(PathBuf::from);
    workload.user = user(pod, container);
    // Kubernetes 1.33 and later.
    if let Some(name) = container.at("lifecycle.stopSignal").and_then(Node::text) {
        let why = |why: String| format!("lifecycle.stopSignal of '{}': {why}", workload.name);
        workload.stop_signal = signal_named(&name).map_err(why)?;
    }
    if let Some((node, hook)) = hook {
        note_hook(&mut workload, node, &hook);
    }
    if let Some(lifecycle) = container.get("lifecycle") {
        name_dropped(&mut workload, lifecycle, &["postStart"]);
    }
    note_security(&mut workload, pod, container);
    note_pid_namespace(&mut workload, pod);
    note_others(&mut workload, pod, container);
    note_rest(&mut workload, pod, container);
    Ok(workload)
}

/// What the securityContext says: the container's, else the pod's.
fn security<'a>(pod: Node<'a>, container: Node<'a>, key: &str) -> Option<Node<'a>> {
    [container, pod].into_iter().find_map(|node| node.get("securityContext")?.get(key))
}

fn user(pod: Node, container: Node) -> Option<String> {
    let number = |key: &str| security(pod, container, key).and_then(Node::number);
    let user = number("runAsUser")?;
    Some(number("runAsGroup").map_or_else(|| user.to_string(), |group| format!("{user}:{group}")))
}

/// adieu is the image's entry point, as its variables show, and `args` are the app's command.
fn behind_adieu(container: Node, env: &[(String, String)]) -> bool {
    let words = |key: &str| container.get(key).map(Node::texts).unwrap_or_default();
    words("command").is_empty() && !words("args").is_empty() && adieu_in_image(env).is_some()
}

/// `command` and `args` with $(NAME) filled in as the kubelet does. `args` without `command` are
/// for an entry point that only the image knows, unless it is adieu.
fn command(container: Node, env: &[(String, String)]) -> Vec<String> {
    let args = container.get("args").map(Node::texts).unwrap_or_default();
    let mut words = container.get("command").map(Node::texts).unwrap_or_default();
    if words.is_empty() && !behind_adieu(container, env) {
        return words;
    }
    // Options of adieu, or the dashes that end them.
    if words.is_empty() && args.first().is_some_and(|first| first.starts_with('-')) {
        words.push("adieu".to_owned());
    }
    words.extend(args);
    let value =
        |name: &str| env.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    words.iter().map(|word| filled_in(word, &value)).collect()
}

/// A hook's sleep is rehearsed, and nothing else of it.
fn note_hook(workload: &mut Workload, node: Node, hook: &PreStopHook) {
    let what = node.at("exec.command").map(Node::texts).unwrap_or_default().join(" ");
    let mut advice = "under adieu it can be an --on-stop hook, which is rehearsed";
    let left_out = match hook {
        PreStopHook::Sleep(time) => {
            workload.hook = *time;
            return;
        }
        PreStopHook::SleepFirst(time) => {
            workload.hook = *time;
            "of the preStop hook, only the sleep is rehearsed"
        }
        PreStopHook::Endless => {
            advice = "let it end: adieu --wait, or a sleep";
            "the preStop hook never ends by itself and is not rehearsed"
        }
        PreStopHook::Wait | PreStopHook::Other => "the preStop hook is not a sleep and is not rehearsed",
    };
    let message = format!("{left_out}: {what}").trim_end_matches([':', ' ']).to_owned();
    workload.notes.push(ManifestNote::new(message, advice));
}

/// A probe's port may be a name that the container declares.
fn http_probe(probe: Node, container: Node) -> Option<Probe> {
    let http = probe.get("httpGet")?;
    let port = u16::try_from(port_number(http.get("port")?, container)?).ok()?;
    Some(Probe { port, path: http.get("path").and_then(Node::text).unwrap_or_else(|| "/".into()) })
}

/// Names what the rehearsal leaves out of the securityContext, which limits adieu and the app.
fn note_security(workload: &mut Workload, pod: Node, container: Node) {
    const HONOURED: [&str; 3] = ["runAsGroup", "runAsNonRoot", "runAsUser"];
    const USUAL: [(&str, &str); 4] = [
        ("allowPrivilegeEscalation", "true"),
        ("privileged", "false"),
        ("procMount", "Default"),
        ("readOnlyRootFilesystem", "false"),
    ];
    let set = |key: &str| security(pod, container, key);
    let nonroot = set("runAsNonRoot").and_then(Node::text).as_deref() == Some("true");
    if workload.user.is_none() && (nonroot || set("runAsGroup").is_some()) {
        workload.notes.push(ManifestNote::new(
            "the image's user is not known here, so it is rehearsed as you",
            "set runAsUser, or rehearse in a container: --image",
        ));
    }
    let contexts = [container, pod].into_iter().filter_map(|node| node.get("securityContext"));
    let mut all: Vec<(String, Option<String>)> = Vec::new();
    for (key, value) in contexts.flat_map(Node::settings) {
        if !all.iter().any(|(other, _)| *other == key) {
            all.push((key, value));
        }
    }
    name_rest(workload, "the securityContext", &all, &[&HONOURED], &USUAL);
}

/// Names whatever else the container and its pod set that the rehearsal leaves out. The lint judges
/// the probes.
fn note_rest(workload: &mut Workload, pod: Node, container: Node) {
    const OF_CONTAINER: [&str; 14] = [
        "args",
        "command",
        "env",
        "envFrom",
        "image",
        "imagePullPolicy",
        "lifecycle",
        "livenessProbe",
        "name",
        "ports",
        "securityContext",
        "startupProbe",
        "terminationMessagePath",
        "workingDir",
    ];
    /// A probe that does not use HTTP is not rehearsed.
    const PROBE: [&str; 1] = ["readinessProbe"];
    const HONOURED_OF_POD: [&str; 6] = [
        "containers",
        "hostPID",
        "initContainers",
        "securityContext",
        "shareProcessNamespace",
        "terminationGracePeriodSeconds",
    ];
    /// Where and when a pod runs, not how. A volume has an effect by a volumeMount alone.
    const WITHOUT_EFFECT: [&str; 25] = [
        "activeDeadlineSeconds",
        "affinity",
        "automountServiceAccountToken",
        "ephemeralContainers",
        "hostname",
        "imagePullSecrets",
        "nodeName",
        "nodeSelector",
        "os",
        "overhead",
        "preemptionPolicy",
        "priority",
        "priorityClassName",
        "readinessGates",
        "resourceClaims",
        "restartPolicy",
        "schedulerName",
        "schedulingGates",
        "serviceAccount",
        "serviceAccountName",
        "setHostnameAsFQDN",
        "subdomain",
        "tolerations",
        "topologySpreadConstraints",
        "volumes",
    ];
    const USUAL: [(&str, &str); 11] = [
        ("dnsPolicy", "ClusterFirst"),
        ("enableServiceLinks", "true"),
        ("enableServiceLinks", "false"),
        ("hostIPC", "false"),
        ("hostNetwork", "false"),
        ("hostUsers", "true"),
        ("stdin", "false"),
        ("stdinOnce", "false"),
        ("terminationMessagePolicy", "File"),
        ("terminationMessagePolicy", "FallbackToLogsOnError"),
        ("tty", "false"),
    ];
    let probe: &[&str] = if workload.readiness.is_some() { &PROBE } else { &[] };
    let of = format!("container {}", workload.name);
    name_rest(workload, &of, &container.settings(), &[&OF_CONTAINER, probe], &USUAL);
    name_rest(workload, "the pod", &pod.settings(), &[&HONOURED_OF_POD, &WITHOUT_EFFECT], &USUAL);
    if let Some(lifecycle) = container.get("lifecycle") {
        let known = ["postStart", "preStop", "stopSignal"];
        name_rest(workload, "lifecycle", &lifecycle.settings(), &[&known], &[]);
    }
}

/// The pod's other containers. An init container that restarts always is a sidecar: it runs beside
/// the app and ends after it.
fn note_others(workload: &mut Workload, pod: Node, container: Node) {
    let named = |container: &Node| container.text_at("name").unwrap_or_else(|| "without a name".into());
    let before = pod.items_at("initContainers").into_iter().map(|container| {
        let sidecar = is_sidecar(container);
        format!("{} {}", if sidecar { "sidecar" } else { "init container" }, named(&container))
    });
    let beside = pod.items_at("containers").into_iter().filter(|other| other.place() != container.place());
    let beside = beside.map(|other| format!("container {}", named(&other)));
    let others: Vec<String> = before.chain(beside).collect();
    if !others.is_empty() {
        workload.notes.push(ManifestNote::new(
            format!("not run: {}", others.join(", ")),
            "start what the app needs of them yourself; for the stop of another container: --container NAME",
        ));
    }
}

fn note_pid_namespace(workload: &mut Workload, pod: Node) {
    for key in ["shareProcessNamespace", "hostPID"] {
        if workload.adieu.is_some() && pod.get(key).and_then(Node::text).as_deref() == Some("true") {
            workload.notes.push(ManifestNote::new(
                format!("with {key}, adieu is not PID 1; it reaps only its own descendants"),
                "the rehearsal still runs adieu as PID 1",
            ));
        }
    }
}
