//! Compose files: their services. What a service leaves out has the engine's defaults: 10 s of
//! grace, TERM.

use std::path::PathBuf;

use super::workload::{Workload, name_dropped, signal_named};
use super::{ManifestSources, variables};
use crate::lint::Lint;
use crate::lint::yaml::Node;
use adieu::settings::{Platform, values};

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(crate) fn read(file: Node, sources: &ManifestSources) -> Result<Vec<Workload>, String> {
    let services = file.get("services").map(Node::entries).unwrap_or_default();
    services.into_iter().map(|(name, service)| workload(name, service, sources)).collect()
}

fn workload(name: String, service: Node, sources: &ManifestSources) -> Result<Workload, String> {
    let fill = |text: String| interpolate(&text, sources.variable);
    let filled = |key: &str| service.get(key).and_then(Node::text).map(fill);
    let mut words = words(service.get("entrypoint"), &fill)?;
    words.extend(self::words(service.get("command"), &fill)?);
    let from_image =
        service.get("entrypoint").is_none() && service.get("image").is_some() && words.is_empty();
    let mut workload = Workload::new(name, Platform::Docker, words);
    let (mut env, mut lints) = env_files(service, &fill, sources)?;
    let (own, unknown) = environment(service, &fill, sources.variable);
    env.extend(own);
    lints.extend(unknown);
    workload.lints.extend(lints);
    workload.set_env(env);
    if let Some(grace) = filled("stop_grace_period") {
        workload.grace = values::duration(&grace)?;
    }
    if let Some(signal) = filled("stop_signal") {
        workload.stop_signal = signal_named(&signal)?;
    }
    workload.directory = filled("working_dir").map(PathBuf::from);
    workload.user = filled("user");
    check_init(&mut workload, service);
    if !from_image && workload.grace <= Platform::Docker.grace() && service.get("stop_grace_period").is_none()
    {
        workload.lints.push(Lint::new(
            "there is no stop_grace_period: the engine kills after 10 s",
            "set it to the pre-stop sleep, the longest request and some seconds more: stop_grace_period: 30s",
        ));
    }
    check_healthcheck(&mut workload, service);
    name_dropped(&mut workload, service, &["extends", "post_start", "pre_stop"]);
    workload.check_shell();
    workload.check_times();
    Ok(workload)
}

fn check_init(workload: &mut Workload, service: Node) {
    if service.get("init").and_then(Node::text).as_deref() != Some("true") {
        return;
    }
    workload.lints.push(if workload.adieu.is_some() {
        Lint::new(
            "init: true puts another init in front of adieu, which is then not PID 1",
            "drop init: true",
        )
    } else {
        Lint::new("init: true puts the engine's init in front, which is left out", "to rehearse it: --init")
    });
}

/// The files of `env_file`: one, a list, or a list of mappings with `path` and `required`.
fn env_files(
    service: Node,
    fill: &dyn Fn(String) -> String,
    sources: &ManifestSources,
) -> Result<(Vec<(String, String)>, Vec<Lint>), String> {
    let (mut env, mut lints) = (Vec::new(), Vec::new());
    let Some(node) = service.get("env_file") else { return Ok((env, lints)) };
    let entries = if node.text().is_some() { vec![node] } else { node.items() };
    for entry in entries {
        let Some(path) = entry.text().or_else(|| entry.get("path")?.text()).map(fill) else { continue };
        let required = entry.get("required").and_then(Node::text).as_deref() != Some("false");
        match (sources.file)(&path) {
            Ok(text) => env.extend(variables::of_compose(&text)),
            Err(why) if required => return Err(format!("cannot read env_file '{path}': {why}")),
            Err(why) => lints.push(Lint::new(
                format!("env_file '{path}' cannot be read: {why}"),
                "give its variables: --env NAME=VALUE",
            )),
        }
    }
    Ok((env, lints))
}

/// A list is taken word by word; a text is split as a shell splits words, but no shell runs it.
fn words(node: Option<Node>, fill: &dyn Fn(String) -> String) -> Result<Vec<String>, String> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let Some(line) = node.text() else { return Ok(node.texts().into_iter().map(fill).collect()) };
    let line = fill(line);
    shlex::split(&line).ok_or_else(|| format!("quotes do not match in '{line}'"))
}

/// A list of NAME=VALUE or a mapping; a name alone is taken from the surroundings.
fn environment(
    service: Node,
    fill: &dyn Fn(String) -> String,
    variable: Lookup,
) -> (Vec<(String, String)>, Vec<Lint>) {
    let Some(node) = service.get("environment") else { return (Vec::new(), Vec::new()) };
    let mut pairs: Vec<(String, Option<String>)> =
        node.entries().into_iter().map(|(name, value)| (name, value.text())).collect();
    pairs.extend(node.texts().into_iter().map(|line| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => (line, None),
    }));
    let (mut env, mut lints) = (Vec::new(), Vec::new());
    for (name, value) in pairs {
        match value.map(fill).or_else(|| variable(&name)) {
            Some(value) => env.push((name, value)),
            None => lints.push(Lint::new(
                format!("the value of {name} is not in the manifest"),
                format!("give it: --env {name}=VALUE"),
            )),
        }
    }
    (env, lints)
}

/// `$NAME`, `${NAME}`, `${NAME:-default}` and `$$`, as compose fills them in.
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

fn check_healthcheck(workload: &mut Workload, service: Node) {
    let Some(test) = service.at("healthcheck.test") else { return };
    let asked = test.text().unwrap_or_else(|| test.texts().join(" "));
    if workload.adieu.is_some()
        && !asked.contains("readyz")
        && !asked.contains("--probe")
        && !asked.contains("/health/ready")
    {
        workload.lints.push(Lint::new(
            format!("the healthcheck asks the app, which knows nothing of the stop: {asked}"),
            "let it ask adieu: test: [CMD, /adieu, --probe, readyz], with ADIEU_HEALTH set",
        ));
    }
}
