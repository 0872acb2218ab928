//! Quadlets, podman-systemd.unit(5): a container that systemd runs. podman stops it and kills it
//! after 10 s; systemd kills podman.

use std::path::PathBuf;

use super::ManifestSources;
use super::systemd::{WITHOUT_EFFECT, all, environment, in_effect, section, split, user_and_group};
use super::workload::{Workload, name_rest, signal_named};
use crate::recording::ManifestNote;
use adieu::settings::{Platform, values};

/// What the rehearsal honours, and what it has a note of its own for.
const HONOURED: [&str; 11] = [
    "Entrypoint",
    "Environment",
    "EnvironmentFile",
    "Exec",
    "Group",
    "PodmanArgs",
    "RunInit",
    "StopSignal",
    "StopTimeout",
    "User",
    "WorkingDir",
];
/// What does not change how the container starts and stops; the lint judges some of it.
const NAMES_AND_LOGS: [&str; 13] = [
    "Annotation",
    "AutoUpdate",
    "ContainerName",
    "ExposeHostPort",
    "HostName",
    "Image",
    "Label",
    "LogDriver",
    "LogOpt",
    "NetworkAlias",
    "Notify",
    "PublishPort",
    "Pull",
];
/// The section of podman's own service.
const OF_SERVICE: [&str; 4] = ["KillMode", "TimeoutSec", "TimeoutStopSec", "Type"];

pub(crate) fn read(text: &str, sources: &ManifestSources) -> Result<Workload, String> {
    let settings = section(text, "Container")?;
    let last = |key: &'static str| all(&settings, key).last();
    let mut words = last("Entrypoint").map_or(Ok(Vec::new()), entrypoint)?;
    words.extend(last("Exec").map_or(Ok(Vec::new()), split)?);
    let name = last("ContainerName").unwrap_or("container").to_owned();
    let mut workload = Workload::new(name, Platform::Docker, words);
    let (env, unread) = environment(&settings, sources)?;
    workload.set_env(env);
    workload.notes.extend(unread);
    if let Some(timeout) =
        last("StopTimeout").map(str::to_owned).or_else(|| podman_option(&settings, "--stop-timeout"))
    {
        workload.grace = values::duration(&timeout)?;
    }
    if let Some(signal) =
        last("StopSignal").map(str::to_owned).or_else(|| podman_option(&settings, "--stop-signal"))
    {
        workload.stop_signal = signal_named(&signal)?;
    }
    workload.directory = last("WorkingDir").map(PathBuf::from);
    workload.user = user_and_group(last("User"), last("Group"));
    if workload.adieu.is_none()
        && last("RunInit").is_some_and(|value| ["true", "yes", "1", "on"].contains(&value))
    {
        workload.notes.push(ManifestNote::new(
            "RunInit=true adds podman's init, which is not rehearsed",
            "to rehearse with an init: --init PATH",
        ));
    }
    note_rest(&mut workload, &settings, &section(text, "Service")?);
    Ok(workload)
}

/// Names whatever else the container and podman's service set that the rehearsal leaves out.
fn note_rest(workload: &mut Workload, settings: &[(String, String)], service: &[(String, String)]) {
    let mut set = in_effect(settings);
    // The lint judges how healthy it is.
    set.retain(|(key, _)| !key.starts_with("Health"));
    for option in podman_options(settings) {
        set.push((format!("PodmanArgs={option}"), None));
    }
    name_rest(workload, "[Container]", &set, &[&HONOURED, &NAMES_AND_LOGS], &[]);
    name_rest(workload, "[Service]", &in_effect(service), &[&OF_SERVICE, &WITHOUT_EFFECT], &[]);
}

/// The options in PodmanArgs that are not honoured.
fn podman_options(settings: &[(String, String)]) -> impl Iterator<Item = &str> {
    let words = all(settings, "PodmanArgs").flat_map(str::split_whitespace);
    let options =
        words.filter(|word| word.starts_with('-')).map(|word| word.split('=').next().unwrap_or(word));
    options.filter(|option| !["--stop-timeout", "--stop-signal"].contains(option))
}

/// A JSON array, or one program.
fn entrypoint(value: &str) -> Result<Vec<String>, String> {
    if value.starts_with('[') {
        return serde_json::from_str(value).map_err(|_| format!("Entrypoint is not JSON: {value}"));
    }
    split(value)
}

/// The value of an option in `PodmanArgs=--stop-timeout=30`, which podman versions without
/// StopTimeout and StopSignal need.
fn podman_option(settings: &[(String, String)], name: &str) -> Option<String> {
    let words: Vec<&str> = all(settings, "PodmanArgs").flat_map(str::split_whitespace).collect();
    let given = words.iter().enumerate().find_map(|(place, word)| match word.strip_prefix(name)? {
        "" => words.get(place + 1).copied(),
        rest => rest.strip_prefix('='),
    });
    given.map(str::to_owned)
}
