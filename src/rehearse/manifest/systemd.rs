//! systemd units: the [Service] section. What it leaves out has systemd's defaults: 90 s, TERM, and
//! TERM to every process of the service at once (KillMode=control-group, systemd.kill(5)).

use std::time::Duration;

use nix::sys::signal::Signal;

use super::workload::{Workload, signal_named, unwrap_adieu};
use crate::lint::Lint;
use adieu::settings::{Platform, values};

pub(crate) fn read(text: &str) -> Result<Workload, String> {
    let settings = section(text);
    let last = |key: &'static str| all(&settings, key).last();
    let start = last("ExecStart").ok_or("there is no ExecStart in [Service]")?;
    // The prefixes @ - : + ! say how systemd starts it, systemd.service(5).
    let words = split(start.trim_start_matches(['@', '-', ':', '+', '!']))?;
    let (adieu, command) = unwrap_adieu(words);
    let timeout = last("TimeoutStopSec").or(last("TimeoutSec"));
    let mut workload = Workload {
        name: last("SyslogIdentifier").unwrap_or("service").to_owned(),
        platform: Platform::Systemd,
        command,
        adieu,
        env: all(&settings, "Environment")
            .map(split)
            .collect::<Result<Vec<_>, _>>()?
            .concat()
            .iter()
            .filter_map(|pair: &String| named(pair))
            .collect(),
        grace: timeout.map_or(Ok(Platform::Systemd.grace()), seconds)?,
        hook: Duration::ZERO,
        stop_signal: last("KillSignal").map_or(Ok(Signal::SIGTERM), signal_named)?,
        readiness: None,
        lints: Vec::new(),
    };
    check_kill_mode(&mut workload, last("KillMode"));
    for key in ["ExecStartPre", "WorkingDirectory", "User"] {
        if let Some(value) = last(key) {
            workload.lints.push(Lint::new(
                format!("{key}={value} is not honoured by the rehearsal"),
                "rehearse where that holds already",
            ));
        }
    }
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
    if let Some(file) = last("EnvironmentFile") {
        workload
            .lints
            .push(Lint::new(format!("the variables in {file} are not read"), "give them: --env NAME=VALUE"));
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

/// The assignments of [Service]; a line that ends with a backslash goes on in the next,
/// systemd.syntax(7). An empty value takes back what stood before.
fn section(text: &str) -> Vec<(String, String)> {
    let joined = text.replace("\\\n", " ");
    let mut settings: Vec<(String, String)> = Vec::new();
    let mut inside = false;
    for line in joined.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']))
    {
        if line.starts_with('[') {
            inside = line == "[Service]";
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

fn all<'a>(settings: &'a [(String, String)], key: &'a str) -> impl Iterator<Item = &'a str> {
    settings.iter().filter(move |(name, _)| name == key).map(|(_, value)| value.as_str())
}

fn split(line: &str) -> Result<Vec<String>, String> {
    shlex::split(line).ok_or_else(|| format!("quotes do not match in '{line}'"))
}

fn named(pair: &str) -> Option<(String, String)> {
    pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// systemd.time(7), as far as timeouts use it: `90`, `1min 30s`, `infinity`.
fn seconds(text: &str) -> Result<Duration, String> {
    if text == "infinity" {
        return Ok(Duration::from_secs(3600));
    }
    values::duration(&text.replace(' ', ""))
}
