//! Quadlets, podman-systemd.unit(5): a container that systemd runs. podman stops it, after 10 s by
//! KILL, and systemd kills podman.

use std::path::PathBuf;

use super::ManifestSources;
use super::systemd::{all, environment, seconds, section, split, whom};
use super::workload::{Workload, signal_named};
use crate::lint::Lint;
use adieu::moment::show_duration;
use adieu::settings::{Platform, values};

pub(crate) fn read(text: &str, sources: &ManifestSources) -> Result<Workload, String> {
    let settings = section(text, "[Container]");
    let last = |key: &'static str| all(&settings, key).last();
    let mut words = last("Entrypoint").map_or(Ok(Vec::new()), entrypoint)?;
    words.extend(last("Exec").map_or(Ok(Vec::new()), split)?);
    let name = last("ContainerName").unwrap_or("container").to_owned();
    let mut workload = Workload::new(name, Platform::Docker, words);
    let (env, unread) = environment(&settings, sources)?;
    workload.set_env(env);
    workload.lints.extend(unread);
    if let Some(timeout) = last("StopTimeout").map(str::to_owned).or_else(|| podman_argument(&settings)) {
        workload.grace = values::duration(&timeout)?;
    }
    if let Some(signal) = last("StopSignal") {
        workload.stop_signal = signal_named(signal)?;
    }
    workload.directory = last("WorkingDir").map(PathBuf::from);
    workload.user = whom(last("User"), last("Group"));
    if last("RunInit").is_some_and(|value| ["true", "yes", "1", "on"].contains(&value)) {
        workload
            .lints
            .push(Lint::new("RunInit=true puts podman's init in front, which is left out", "drop it"));
    }
    check_limit(&mut workload, text)?;
    workload.check_shell();
    workload.check_times();
    Ok(workload)
}

/// A JSON array, or one program.
fn entrypoint(value: &str) -> Result<Vec<String>, String> {
    if value.starts_with('[') {
        return serde_json::from_str(value).map_err(|_| format!("Entrypoint is no JSON: {value}"));
    }
    split(value)
}

/// `PodmanArgs=--stop-timeout=30`, which older versions of podman need for StopTimeout.
fn podman_argument(settings: &[(String, String)]) -> Option<String> {
    let words: Vec<String> =
        all(settings, "PodmanArgs").flat_map(str::split_whitespace).map(str::to_owned).collect();
    let place = words.iter().position(|word| word.starts_with("--stop-timeout"))?;
    let given = words[place].strip_prefix("--stop-timeout=").map(str::to_owned);
    given.or_else(|| words.get(place + 1).cloned())
}

/// systemd's own limit of the service around the container.
fn check_limit(workload: &mut Workload, text: &str) -> Result<(), String> {
    let settings = section(text, "[Service]");
    let given = all(&settings, "TimeoutStopSec").last().or(all(&settings, "TimeoutSec").last());
    let limit = given.map_or(Ok(Platform::Systemd.grace()), seconds)?;
    if limit <= workload.grace {
        let (limit, grace) = (show_duration(limit), show_duration(workload.grace));
        workload.lints.push(Lint::new(
            format!("systemd kills podman after {limit}, and the container has {grace}"),
            "set TimeoutStopSec in [Service] some seconds longer than the container's StopTimeout",
        ));
    }
    Ok(())
}
