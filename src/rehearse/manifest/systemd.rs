//! systemd units: the [Service] section. What it does not set has systemd's defaults: 90 s, TERM,
//! and TERM to every process of the service at once (KillMode=control-group, systemd.kill(5)).

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::ManifestSources;
use super::variables::{self, Variables};
use super::workload::{PreStart, Workload, name_rest, signal_named};
use crate::lint::expand::{Unfilled, UnitName};
use crate::lint::unit_file::{ExecLine, Unit};
use crate::recording::ManifestNote;
use adieu::settings::{Platform, values};

/// What the rehearsal honours, and what it has a note of its own for; the lint judges KillMode.
const HONOURED: [&str; 14] = [
    "Environment",
    "EnvironmentFile",
    "ExecStart",
    "ExecStartPre",
    "ExecStop",
    "Group",
    "KillMode",
    "KillSignal",
    "SyslogIdentifier",
    "TimeoutSec",
    "TimeoutStopSec",
    "Type",
    "User",
    "WorkingDirectory",
];

/// Settings that are used here and in which systemd fills in specifiers.
const FILLED: [&str; 8] = [
    "Environment",
    "EnvironmentFile",
    "ExecStart",
    "ExecStartPre",
    "Group",
    "SyslogIdentifier",
    "User",
    "WorkingDirectory",
];

/// What is about a service's start, restart, reload and log, and does not change a stop.
pub(super) const WITHOUT_EFFECT: [&str; 25] = [
    "ExecReload",
    "FileDescriptorStoreMax",
    "FileDescriptorStorePreserve",
    "LogLevelMax",
    "LogNamespace",
    "LogRateLimitBurst",
    "LogRateLimitIntervalSec",
    "NotifyAccess",
    "OOMPolicy",
    "OOMScoreAdjust",
    "ReloadSignal",
    "Restart",
    "RestartKillSignal",
    "RestartMaxDelaySec",
    "RestartPreventExitStatus",
    "RestartSec",
    "RestartSteps",
    "Slice",
    "Sockets",
    "StandardError",
    "StandardOutput",
    "SyslogLevel",
    "SyslogFacility",
    "TimeoutStartSec",
    "WatchdogSec",
];

const NO_START: &str =
    "there is no ExecStart in [Service]; a drop-in is rehearsed with its unit: systemctl cat NAME > FILE";

pub(crate) fn read(text: &str, sources: &ManifestSources) -> Result<Workload, String> {
    let (mut unfilled, unit) = (Unfilled::default(), UnitName(sources.name));
    let mut settings = section(text, "Service")?;
    for (_, value) in settings.iter_mut().filter(|(key, _)| FILLED.contains(&key.as_str())) {
        *value = unit.specifiers(value, &mut unfilled);
    }
    let last = |key: &'static str| all(&settings, key).last();
    let start = last("ExecStart").ok_or(NO_START)?;
    let (env, unread) = environment(&settings, sources)?;
    let start = command(start, &env, sources, &mut unfilled)?;
    let name = last("SyslogIdentifier").unwrap_or("service").to_owned();
    let mut workload = Workload::new(name, Platform::Systemd, start.words);
    workload.notes.extend(unread);
    if let Some(timeout) = last("TimeoutStopSec").or(last("TimeoutSec")) {
        workload.grace = seconds(timeout)?;
    }
    if let Some(signal) = last("KillSignal") {
        workload.stop_signal = signal_named(signal)?;
    }
    // A minus means that the directory may be missing.
    let directory = last("WorkingDirectory").map(|directory| directory.trim_start_matches('-'));
    workload.directory = directory.map(PathBuf::from);
    workload.user = user_and_group(last("User"), last("Group"));
    for line in all(&settings, "ExecStartPre") {
        let ExecLine { words, may_fail, own_name: _ } = command(line, &env, sources, &mut unfilled)?;
        let command = words.into_iter().map(OsString::from).collect();
        workload.before.push(PreStart { command, may_fail });
    }
    workload.set_env(env);
    note_unfilled(&mut workload, &unfilled);
    if let Some(own_name) = start.own_name {
        workload.notes.push(ManifestNote::new(
            format!("the program is not started under the name '{own_name}', which @ in ExecStart gives it"),
            "where the program looks at its own name, rehearse without @",
        ));
    }
    if last("Type") == Some("forking") {
        workload.notes.push(ManifestNote::new(
            "Type=forking lets the first process end at once, which the rehearsal takes for the end of the app",
            "run the program in the foreground, with Type=exec",
        ));
    }
    if let Some(stop) = last("ExecStop") {
        workload.notes.push(ManifestNote::new(
            format!("ExecStop runs before the stop signal and is not rehearsed: {stop}"),
            "under adieu it can be an --on-stop hook, which is rehearsed",
        ));
    }
    name_rest(&mut workload, "[Service]", &in_effect(&settings), &[&HONOURED, &WITHOUT_EFFECT], &[]);
    Ok(workload)
}

/// The settings without those that only say that something is off, as it is anyway.
pub(super) fn in_effect(settings: &[(String, String)]) -> Vec<(String, Option<String>)> {
    /// On, unless a unit says no.
    const ON: [&str; 3] = ["GuessMainPID", "IgnoreSIGPIPE", "SendSIGKILL"];
    const OFF: [&str; 4] = ["no", "false", "off", "0"];
    let is_off = |(key, value): &&(String, String)| {
        let says_off = OFF.contains(&value.as_str());
        says_off != ON.contains(&key.as_str())
    };
    let kept = settings.iter().filter(|setting| !is_off(setting));
    kept.map(|(key, value)| (key.clone(), Some(value.clone()))).collect()
}

/// `USER` or `USER:GROUP`.
pub(super) fn user_and_group(user: Option<&str>, group: Option<&str>) -> Option<String> {
    let user = user?;
    Some(group.map_or_else(|| user.to_owned(), |group| format!("{user}:{group}")))
}

/// A command line with the unit's variables and those that are given.
fn command(
    line: &str,
    env: &Variables,
    sources: &ManifestSources,
    unfilled: &mut Unfilled,
) -> Result<ExecLine, String> {
    let all = || env.iter().chain(sources.given);
    let value = |name: &str| all().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    ExecLine::parse(line, &value, unfilled)
}

fn note_unfilled(workload: &mut Workload, unfilled: &Unfilled) {
    let listed = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    if !unfilled.specifiers.is_empty() {
        workload.notes.push(ManifestNote::new(
            format!("not filled in: {}", listed(&unfilled.specifiers)),
            "of a template, rehearse an instance, such as a link to it named NAME@INSTANCE.service",
        ));
    }
    if !unfilled.variables.is_empty() {
        workload.notes.push(ManifestNote::new(
            format!("in its command, variables without a value are empty: {}", listed(&unfilled.variables)),
            "give them with --env NAME=VALUE",
        ));
    }
}

/// The variables of Environment and EnvironmentFile; the files override, systemd.exec(5).
pub(super) fn environment(
    settings: &[(String, String)],
    sources: &ManifestSources,
) -> Result<(Variables, Vec<ManifestNote>), String> {
    let pairs = all(settings, "Environment").map(split).collect::<Result<Vec<_>, _>>()?.concat();
    let mut env: Vec<(String, String)> = pairs.iter().filter_map(|pair| named(pair)).collect();
    let mut notes = Vec::new();
    for file in all(settings, "EnvironmentFile") {
        match (sources.file)(file.trim_start_matches('-')) {
            Ok(text) => {
                for (name, value) in variables::of_systemd(&text) {
                    env.retain(|(other, _)| *other != name);
                    env.push((name, value));
                }
            }
            Err(why) => notes.push(ManifestNote::new(
                format!("the variables in {} are not read: {why}", file.trim_start_matches('-')),
                "give them with --env NAME=VALUE",
            )),
        }
    }
    Ok((env, notes))
}

/// The assignments of one section.
pub(super) fn section(text: &str, name: &str) -> Result<Vec<(String, String)>, String> {
    let unit = Unit::parse(text).map_err(|(place, why)| format!("line {}: {why}", place.line))?;
    Ok(unit.settings(name))
}

pub(super) fn all<'a>(settings: &'a [(String, String)], key: &'a str) -> impl Iterator<Item = &'a str> {
    settings.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
}

pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    shlex::split(line).ok_or_else(|| format!("a quote is not closed in '{line}'"))
}

fn named(pair: &str) -> Option<(String, String)> {
    pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// systemd.time(7), as far as timeouts use it: `90`, `1min 30s`, `infinity`; 0 means infinity,
/// systemd.service(5).
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    if ["infinity", "0"].contains(&text) {
        return Ok(Duration::from_secs(3600));
    }
    values::duration(&text.replace(' ', ""))
}
