//! systemd units: the [Service] section. What it leaves out has systemd's defaults: 90 s, TERM, and
//! TERM to every process of the service at once (KillMode=control-group, systemd.kill(5)).

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::workload::{PreStart, Workload, signal_named};
use super::{ManifestSources, variables};
use crate::lint::Lint;
use adieu::settings::{Platform, values};

/// The characters in front of a command that say how systemd starts it, systemd.service(5).
const PREFIXES: [char; 5] = ['@', '-', ':', '+', '!'];

pub(crate) fn read(text: &str, sources: &ManifestSources) -> Result<Workload, String> {
    let settings = section(text, "[Service]");
    let last = |key: &'static str| all(&settings, key).last();
    let start = last("ExecStart").ok_or("there is no ExecStart in [Service]")?;
    let words = split(start.trim_start_matches(PREFIXES))?;
    let name = last("SyslogIdentifier").unwrap_or("service").to_owned();
    let mut workload = Workload::new(name, Platform::Systemd, words);
    let (env, unread) = environment(&settings, sources)?;
    workload.set_env(env);
    workload.lints.extend(unread);
    if let Some(timeout) = last("TimeoutStopSec").or(last("TimeoutSec")) {
        workload.grace = seconds(timeout)?;
    }
    if let Some(signal) = last("KillSignal") {
        workload.stop_signal = signal_named(signal)?;
    }
    // A minus means that the folder may be missing.
    let directory = last("WorkingDirectory").map(|directory| directory.trim_start_matches('-'));
    workload.directory = directory.map(PathBuf::from);
    workload.user = whom(last("User"), last("Group"));
    workload.before = all(&settings, "ExecStartPre").map(pre_start).collect::<Result<Vec<_>, _>>()?;
    check_kill_mode(&mut workload, last("KillMode"));
    if last("Type") == Some("forking") {
        workload.lints.push(Lint::new(
            "Type=forking lets the first process end at once, which is taken for the end of the app",
            "let the program stay in the foreground, with Type=exec",
        ));
    }
    if let Some(stop) = last("ExecStop") {
        workload.lints.push(Lint::new(
            format!("ExecStop runs before the stop signal and is not rehearsed: {stop}"),
            "with adieu it can be an --on-stop hook, which is",
        ));
    }
    if last("SendSIGKILL").is_some_and(|value| ["no", "false", "0", "off"].contains(&value)) {
        workload
            .lints
            .push(Lint::new("SendSIGKILL=no lets a service that hangs hang forever", "leave it out"));
    }
    workload.check_shell();
    workload.check_times();
    Ok(workload)
}

/// `USER` or `USER:GROUP`.
pub(super) fn whom(user: Option<&str>, group: Option<&str>) -> Option<String> {
    let user = user?;
    Some(group.map_or_else(|| user.to_owned(), |group| format!("{user}:{group}")))
}

fn pre_start(line: &str) -> Result<PreStart, String> {
    let command = line.trim_start_matches(PREFIXES);
    let may_fail = line[..line.len() - command.len()].contains('-');
    Ok(PreStart { command: split(command)?.into_iter().map(OsString::from).collect(), may_fail })
}

/// The variables of Environment and EnvironmentFile; the files go over, systemd.exec(5).
pub(super) fn environment(
    settings: &[(String, String)],
    sources: &ManifestSources,
) -> Result<(Vec<(String, String)>, Vec<Lint>), String> {
    let pairs = all(settings, "Environment").map(split).collect::<Result<Vec<_>, _>>()?.concat();
    let mut env: Vec<(String, String)> = pairs.iter().filter_map(|pair| named(pair)).collect();
    let mut lints = Vec::new();
    for file in all(settings, "EnvironmentFile") {
        match (sources.file)(file.trim_start_matches('-')) {
            Ok(text) => {
                for (name, value) in variables::of_systemd(&text) {
                    env.retain(|(other, _)| *other != name);
                    env.push((name, value));
                }
            }
            Err(why) => lints.push(Lint::new(
                format!("the variables in {} are not read: {why}", file.trim_start_matches('-')),
                "give them: --env NAME=VALUE",
            )),
        }
    }
    Ok((env, lints))
}

fn check_kill_mode(workload: &mut Workload, mode: Option<&str>) {
    let lint = match (mode.unwrap_or("control-group"), workload.adieu.is_some()) {
        ("mixed", _) | ("control-group", false) => return,
        ("control-group", true) => Lint::new(
            "KillMode=control-group sends the stop signal to the app as well, behind adieu's back",
            "set KillMode=mixed: the signal goes to adieu alone, the final SIGKILL to all",
        ),
        ("process", _) => Lint::new(
            "KillMode=process leaves the service's other processes running after a stop",
            "set KillMode=mixed",
        ),
        (other, _) => Lint::new(format!("KillMode={other} stops nothing"), "set KillMode=mixed"),
    };
    workload.lints.push(lint);
}

/// The assignments of one section; a line that ends with a backslash goes on in the next,
/// systemd.syntax(7). An empty value takes back what stood before.
pub(super) fn section(text: &str, name: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", " ");
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
    {
        if line.starts_with('[') {
            inside = line == name;
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            let (key, value) = (key.trim(), value.trim());
            if value.is_empty() {
                settings.retain(|(name, _)| name != key);
            } else {
                settings.push((key.to_owned(), value.to_owned()));
            }
        }
    }
    settings
}

pub(super) fn all<'a>(settings: &'a [(String, String)], key: &'a str) -> impl Iterator<Item = &'a str> {
    settings.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
}

pub(super) fn split(line: &str) -> Result<Vec<String>, String> {
    shlex::split(line).ok_or_else(|| format!("quotes do not match in '{line}'"))
}

fn named(pair: &str) -> Option<(String, String)> {
    pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// systemd.time(7), as far as timeouts use it: `90`, `1min 30s`, `infinity`.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    if text == "infinity" {
        return Ok(Duration::from_secs(3600));
    }
    values::duration(&text.replace(' ', ""))
}
