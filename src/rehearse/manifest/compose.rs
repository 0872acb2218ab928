//! Compose files: their services. What a service does not set has the engine's defaults: 10 s of
//! grace, TERM.

use std::path::PathBuf;

use super::ManifestSources;
use super::variables::{self, Variables};
use super::workload::{Workload, name_dropped, name_rest, signal_named};
use crate::lint::interpolate::interpolate;
use crate::lint::services::{self, ComposeService};
use crate::lint::yaml::Node;
use crate::recording::ManifestNote;
use adieu::settings::{Platform, values};

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;
type Fill<'a> = &'a dyn Fn(String) -> Result<String, String>;

/// What the rehearsal honours, and what it has a note of its own for.
const HONOURED: [&str; 12] = [
    "command",
    "entrypoint",
    "env_file",
    "environment",
    "extends",
    "init",
    "post_start",
    "pre_stop",
    "stop_grace_period",
    "stop_signal",
    "user",
    "working_dir",
];
/// What does not change how one container starts and stops; the lint judges some of it.
const WITHOUT_EFFECT: [&str; 19] = [
    "annotations",
    "attach",
    "build",
    "container_name",
    "depends_on",
    "develop",
    "expose",
    "healthcheck",
    "hostname",
    "image",
    "labels",
    "logging",
    "networks",
    "platform",
    "ports",
    "profiles",
    "pull_policy",
    "restart",
    "scale",
];
/// Values that change nothing.
const USUAL: [(&str, &str); 4] =
    [("privileged", "false"), ("read_only", "false"), ("stdin_open", "false"), ("tty", "false")];

pub(crate) fn read(file: Node, sources: &ManifestSources) -> Result<Vec<Workload>, String> {
    let read = |service: ComposeService| {
        workload(&service, sources).map_err(|why| format!("service {}: {why}", service.name))
    };
    services::all(file).into_iter().map(read).collect()
}

fn workload(service: &ComposeService, sources: &ManifestSources) -> Result<Workload, String> {
    let fill = |text: String| interpolate(&text, sources.variable, &|_| Ok(String::new()));
    let filled = |key: &str| service.text_at(key).map(fill).transpose();
    let mut words = words(service.at("entrypoint"), &fill)?;
    words.extend(self::words(service.at("command"), &fill)?);
    let object = format!("service {}", service.name);
    let mut workload = Workload::new(service.name.clone(), Platform::Docker, words);
    workload.object.clone_from(&object);
    let mut env = env_files(&mut workload, service, &fill, sources)?;
    let (own, unknown) = environment(service, &fill, sources.variable)?;
    env.extend(own);
    workload.notes.extend(unknown);
    workload.set_env(env);
    if let Some(grace) = filled("stop_grace_period")? {
        workload.grace = values::duration(&grace).map_err(|why| format!("stop_grace_period: {why}"))?;
    }
    if let Some(signal) = filled("stop_signal")? {
        workload.stop_signal = signal_named(&signal).map_err(|why| format!("stop_signal: {why}"))?;
    }
    workload.directory = filled("working_dir")?.map(PathBuf::from);
    workload.user = filled("user")?;
    note_init(&mut workload, service);
    note_others(&mut workload, service);
    let mut set = service.settings();
    set.retain(|(key, _)| !key.starts_with("x-"));
    name_rest(&mut workload, &object, &set, &[&HONOURED, &WITHOUT_EFFECT], &USUAL);
    if service.extends_elsewhere {
        name_dropped(&mut workload, service.own(), &["extends"]);
    }
    name_dropped(&mut workload, service.own(), &["post_start", "pre_stop"]);
    Ok(workload)
}

fn note_init(workload: &mut Workload, service: &ComposeService) {
    if workload.adieu.is_none() && service.says_true("init") {
        workload.notes.push(ManifestNote::new(
            "init: true adds the engine's init, which is not rehearsed",
            "to rehearse with an init: --init PATH",
        ));
    }
}

/// The services that compose starts before it: a list of names, or a mapping.
fn note_others(workload: &mut Workload, service: &ComposeService) {
    let Some(needed) = service.at("depends_on") else { return };
    let named = needed.settings().into_iter().map(|(name, _)| name).chain(needed.texts());
    let others: Vec<String> = named.map(|name| format!("service {name}")).collect();
    if !others.is_empty() {
        workload.notes.push(ManifestNote::new(
            format!("not run: {}", others.join(", ")),
            "start what the app needs of them yourself: docker compose up --detach NAME",
        ));
    }
}

/// The files of `env_file`: one, a list, or a list of mappings with `path` and `required`. Only
/// this service needs them.
fn env_files(
    workload: &mut Workload,
    service: &ComposeService,
    fill: Fill,
    sources: &ManifestSources,
) -> Result<Variables, String> {
    let mut env = Vec::new();
    // Those of an extended service come first.
    for entry in service.lists("env_file").into_iter().flat_map(one_or_list) {
        let Some(path) = entry.text().or_else(|| entry.get("path")?.text()) else { continue };
        let path = fill(path)?;
        let required = entry.get("required").and_then(Node::text).as_deref() != Some("false");
        match (sources.file)(&path) {
            Ok(text) => env.extend(variables::of_compose(&text)),
            Err(why) if required => {
                workload.refusal.get_or_insert(format!("cannot read env_file '{path}': {why}"));
            }
            Err(why) => workload.notes.push(ManifestNote::new(
                format!("env_file '{path}' cannot be read: {why}"),
                "give its variables with --env NAME=VALUE",
            )),
        }
    }
    Ok(env)
}

fn one_or_list(node: Node) -> Vec<Node> {
    if node.text().is_some() { vec![node] } else { node.items() }
}

/// A list has one word each; a text is split into words as a shell does, but no shell runs it.
fn words(node: Option<Node>, fill: Fill) -> Result<Vec<String>, String> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let Some(line) = node.text() else { return node.texts().into_iter().map(fill).collect() };
    let line = fill(line)?;
    shlex::split(&line).ok_or_else(|| format!("a quote is not closed in '{line}'"))
}

/// A name without a value gets it from our environment.
fn environment(
    service: &ComposeService,
    fill: Fill,
    variable: Lookup,
) -> Result<(Variables, Vec<ManifestNote>), String> {
    let (mut env, mut notes) = (Vec::new(), Vec::new());
    for (name, value, _) in service.environment() {
        match value.map(fill).transpose()?.or_else(|| variable(&name)) {
            Some(value) => env.push((name, value)),
            None => notes.push(ManifestNote::new(
                format!("the value of {name} is not in the manifest"),
                format!("give it with --env {name}=VALUE"),
            )),
        }
    }
    Ok((env, notes))
}
