//! Compose files: their services. What a service does not set has the engine's defaults: 10 s of
//! grace, TERM.

use std::path::PathBuf;

use super::ManifestSources;
use super::variables::{self, Variables};
use super::workload::{Workload, name_dropped, name_rest, signal_named};
use crate::lint::yaml::Node;
use crate::recording::ManifestNote;
use adieu::settings::{Platform, values};

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

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
    let services = file.get("services").map(Node::entries).unwrap_or_default();
    services.into_iter().map(|(name, service)| workload(name, service, sources)).collect()
}

fn workload(name: String, service: Node, sources: &ManifestSources) -> Result<Workload, String> {
    let fill = |text: String| interpolate(&text, sources.variable);
    let filled = |key: &str| service.get(key).and_then(Node::text).map(fill);
    let mut words = words(service.get("entrypoint"), &fill)?;
    words.extend(self::words(service.get("command"), &fill)?);
    let object = format!("service {name}");
    let mut workload = Workload::new(name, Platform::Docker, words);
    workload.object.clone_from(&object);
    let (mut env, mut notes) = env_files(service, &fill, sources)?;
    let (own, unknown) = environment(service, &fill, sources.variable);
    env.extend(own);
    notes.extend(unknown);
    workload.notes.extend(notes);
    workload.set_env(env);
    if let Some(grace) = filled("stop_grace_period") {
        workload.grace = values::duration(&grace)?;
    }
    if let Some(signal) = filled("stop_signal") {
        workload.stop_signal = signal_named(&signal)?;
    }
    workload.directory = filled("working_dir").map(PathBuf::from);
    workload.user = filled("user");
    note_init(&mut workload, service);
    note_others(&mut workload, service);
    let mut set = service.settings();
    set.retain(|(key, _)| !key.starts_with("x-"));
    name_rest(&mut workload, &object, &set, &[&HONOURED, &WITHOUT_EFFECT], &USUAL);
    name_dropped(&mut workload, service, &["extends", "post_start", "pre_stop"]);
    Ok(workload)
}

fn note_init(workload: &mut Workload, service: Node) {
    if workload.adieu.is_none() && service.says_true("init") {
        workload.notes.push(ManifestNote::new(
            "init: true adds the engine's init, which is not rehearsed",
            "to rehearse with an init: --init PATH",
        ));
    }
}

/// The services that compose starts before it: a list of names, or a mapping.
fn note_others(workload: &mut Workload, service: Node) {
    let Some(needed) = service.get("depends_on") else { return };
    let named = needed.settings().into_iter().map(|(name, _)| name).chain(needed.texts());
    let others: Vec<String> = named.map(|name| format!("service {name}")).collect();
    if !others.is_empty() {
        workload.notes.push(ManifestNote::new(
            format!("not run: {}", others.join(", ")),
            "start what the app needs of them yourself: docker compose up --detach NAME",
        ));
    }
}

/// The files of `env_file`: one, a list, or a list of mappings with `path` and `required`.
fn env_files(
    service: Node,
    fill: &dyn Fn(String) -> String,
    sources: &ManifestSources,
) -> Result<(Variables, Vec<ManifestNote>), String> {
    let (mut env, mut notes) = (Vec::new(), Vec::new());
    let Some(node) = service.get("env_file") else { return Ok((env, notes)) };
    let entries = if node.text().is_some() { vec![node] } else { node.items() };
    for entry in entries {
        let Some(path) = entry.text().or_else(|| entry.get("path")?.text()).map(fill) else { continue };
        let required = entry.get("required").and_then(Node::text).as_deref() != Some("false");
        match (sources.file)(&path) {
            Ok(text) => env.extend(variables::of_compose(&text)),
            Err(why) if required => return Err(format!("cannot read env_file '{path}': {why}")),
            Err(why) => notes.push(ManifestNote::new(
                format!("env_file '{path}' cannot be read: {why}"),
                "give its variables with --env NAME=VALUE",
            )),
        }
    }
    Ok((env, notes))
}

/// A list has one word each; a text is split into words as a shell does, but no shell runs it.
fn words(node: Option<Node>, fill: &dyn Fn(String) -> String) -> Result<Vec<String>, String> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let Some(line) = node.text() else { return Ok(node.texts().into_iter().map(fill).collect()) };
    let line = fill(line);
    shlex::split(&line).ok_or_else(|| format!("a quote is not closed in '{line}'"))
}

/// A list of NAME=VALUE or a mapping; a name without a value gets it from our environment.
fn environment(
    service: Node,
    fill: &dyn Fn(String) -> String,
    variable: Lookup,
) -> (Variables, Vec<ManifestNote>) {
    let Some(node) = service.get("environment") else { return (Vec::new(), Vec::new()) };
    let mut pairs: Vec<(String, Option<String>)> =
        node.entries().into_iter().map(|(name, value)| (name, value.text())).collect();
    pairs.extend(node.texts().into_iter().map(|line| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (line, None),
    }));
    let (mut env, mut notes) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        match value.map(fill).or_else(|| variable(&name)) {
            Some(value) => env.push((name, value)),
            None => notes.push(ManifestNote::new(
                format!("the value of {name} is not in the manifest"),
                format!("give it with --env {name}=VALUE"),
            )),
        }
    }
    (env, notes)
}

/// Fills in `$NAME`, `${NAME}`, `${NAME:-default}` and `$$` as compose does.
fn interpolate(text: &str, variable: Lookup) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        out.push_str(&rest[..dollar]);
        rest = &rest[dollar + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((inner, after)) = rest.strip_prefix('{').and_then(|braced| braced.split_once('}'))
        {
            let (name, default) =
                inner.split_once(":-").or_else(|| inner.split_once('-')).unwrap_or((inner, ""));
            out.push_str(
                &variable(name).filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned()),
            );
            rest = after;
        } else {
            let end = rest
                .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .unwrap_or(rest.len());
            out.push_str(&variable(&rest[..end]).unwrap_or_default());
            rest = &rest[end..];
        }
    }
    out + rest
}
