//! Compose files: their services. What a service leaves out has the engine's defaults: 10 s of
//! grace, TERM.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::workload::{Workload, adieu_in_image, name_dropped, signal_named, unwrap_adieu};
use crate::lint::Lint;
use crate::lint::yaml::Node;
use adieu::settings::{Platform, values};

type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

pub(crate) fn read(file: Node, variable: Lookup) -> Result<Vec<Workload>, String> {
    let services = file.get("services").map(Node::entries).unwrap_or_default();
    services.into_iter().map(|(name, service)| workload(name, service, variable)).collect()
}

fn workload(name: String, service: Node, variable: Lookup) -> Result<Workload, String> {
    let fill = |text: String| interpolate(&text, variable);
    let mut words = words(service.get("entrypoint"), &fill)?;
    words.extend(self::words(service.get("command"), &fill)?);
    let from_image =
        service.get("entrypoint").is_none() && service.get("image").is_some() && words.is_empty();
    let (adieu, command) = unwrap_adieu(words);
    let grace = service.get("stop_grace_period").and_then(Node::text).map(fill);
    let stop_signal = service.get("stop_signal").and_then(Node::text).map(fill);
    let (env, lints) = environment(service, &fill, variable);
    let adieu = adieu.or_else(|| adieu_in_image(&env));
    let mut workload = Workload {
        name,
        platform: Platform::Docker,
        command,
        adieu,
        env,
        grace: grace.map_or(Ok(Platform::Docker.grace()), |text| values::duration(&text))?,
        hook: Duration::ZERO,
        stop_signal: stop_signal.map_or(Ok(Signal::SIGTERM), |text| signal_named(&text))?,
        readiness: None,
        lints,
    };
    if workload.adieu.is_some() && service.get("init").and_then(Node::text).as_deref() == Some("true") {
        workload.lints.push(Lint::new(
            "init: true puts another init in front of adieu, which is then not PID 1",
            "drop init: true",
        ));
    }
    if !from_image && workload.grace <= Platform::Docker.grace() && service.get("stop_grace_period").is_none()
    {
        workload.lints.push(Lint::new(
            "there is no stop_grace_period: the engine kills after 10 s",
            "set it to the pre-stop sleep, the longest request and some seconds more: stop_grace_period: 30s",
        ));
    }
    check_healthcheck(&mut workload, service);
    name_dropped(&mut workload, service, &["working_dir", "env_file", "user"]);
    workload.check_shell();
    workload.check_times();
    Ok(workload)
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
