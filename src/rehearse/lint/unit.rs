//! systemd units, and Quadlets, from which podman makes units (podman-systemd.unit(5)).

use std::time::Duration;

use adieu::moment::show_duration;
use adieu::settings::{Platform, values};
use adieu::signal::Signal;

use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::{Rule, Severity};
use super::service::{PreStopHook, Service, base_name};

/// One assignment.
struct Assignment {
    section: String,
    key: String,
    value: String,
    line: usize,
}

/// A file's assignments, in order.
pub(crate) struct Unit {
    entries: Vec<Assignment>,
}

/// systemd's default: DefaultTimeoutStopSec of systemd-system.conf(5).
const TIMEOUT: Duration = Duration::from_secs(90);

pub(crate) fn read(file: &str, text: &str, findings: &mut Findings) -> Result<(), (Position, String)> {
    let unit = Unit::parse(text)?;
    let name = base_name(file);
    if unit.has("Container") {
        quadlet(&unit, ObjectRef { file: file.to_owned(), object: name }, findings)
    } else if unit.has("Service") {
        service(&unit, ObjectRef { file: file.to_owned(), object: name }, findings)
    } else {
        Ok(())
    }
}

impl Unit {
    /// systemd.syntax(7): a backslash at the end of a line continues it on the next; an empty value
    /// removes earlier ones.
    fn parse(text: &str) -> Result<Unit, (Position, String)> {
        let (mut entries, mut section) = (Vec::<Assignment>::new(), String::new());
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut line = line.trim().to_owned();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            while line.ends_with('\\') {
                line.pop();
                let Some((_, more)) = lines.next() else { break };
                if !more.trim_start().starts_with(['#', ';']) {
                    line.push(' ');
                    line.push_str(more.trim());
                } else {
                    line.push('\\');
                }
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                if value.is_empty() {
                    entries.retain(|entry| (&entry.section, &entry.key) != (&section, &key));
                } else {
                    entries.push(Assignment { section: section.clone(), key, value, line: number + 1 });
                }
            } else {
                let why = format!("'{line}' is not an assignment; write Name=value");
                return Err((Position::line(number + 1), why));
            }
        }
        Ok(Unit { entries })
    }

    fn has(&self, section: &str) -> bool {
        self.entries.iter().any(|entry| entry.section == section)
    }

    fn all(&self, section: &str, key: &str) -> Vec<Spot<String>> {
        let wanted = self.entries.iter().filter(|entry| entry.section == section && entry.key == key);
        wanted.map(|entry| Spot::new(entry.value.clone(), Position::line(entry.line))).collect()
    }

    fn last(&self, section: &str, key: &str) -> Option<Spot<String>> {
        self.all(section, key).pop()
    }

    fn place(&self, section: &str) -> Position {
        let first = self.entries.iter().find(|entry| entry.section == section);
        Position::line(first.map_or(1, |entry| entry.line))
    }

    fn env(&self, section: &str) -> Vec<(String, Spot<String>)> {
        let mut env = Vec::new();
        for spot in self.all(section, "Environment") {
            for pair in shlex::split(&spot.value).unwrap_or_default() {
                if let Some((name, value)) = pair.split_once('=') {
                    env.push((name.to_owned(), Spot::new(value.to_owned(), spot.place)));
                }
            }
        }
        env
    }

    /// How long systemd waits; an inner `None` means without end.
    fn timeout(&self) -> Result<Option<Spot<Option<Duration>>>, (Position, String)> {
        let given = self.last("Service", "TimeoutStopSec").or_else(|| self.last("Service", "TimeoutSec"));
        given.map(|spot| Ok(Spot::new(time(&spot)?, spot.place))).transpose()
    }
}

/// systemd.time(7), as far as timeouts use it. 0 means without end (systemd.service(5)).
fn time(spot: &Spot<String>) -> Result<Option<Duration>, (Position, String)> {
    if ["infinity", "0"].contains(&spot.value.as_str()) {
        return Ok(None);
    }
    let plain = spot.value.replace(' ', "");
    values::duration(&plain).map(Some).map_err(|why| (spot.place, why))
}

fn words(spot: &Spot<String>) -> Result<Vec<String>, (Position, String)> {
    // The prefixes say how systemd starts it (systemd.service(5)).
    let line = spot.value.trim_start_matches(['@', '-', ':', '+', '!', '|']);
    shlex::split(line).ok_or_else(|| (spot.place, format!("a quote is not closed in '{line}'; close it")))
}

fn service(unit: &Unit, subject: ObjectRef, findings: &mut Findings) -> Result<(), (Position, String)> {
    let command = match unit.last("Service", "ExecStart") {
        Some(spot) => Some(Spot::new(words(&spot)?, spot.place)),
        None => None,
    };
    let timeout = unit.timeout()?;
    if let Some(spot) = timeout.as_ref().filter(|spot| spot.value.is_none()) {
        findings.add(Rule::GraceEndless, &subject, spot.place, "TimeoutStopSec sets no limit");
    }
    let endless = timeout.as_ref().is_some_and(|spot| spot.value.is_none());
    let stop = unit.all("Service", "ExecStop");
    let service = Service {
        place: unit.place("Service"),
        platform: Platform::Systemd,
        grace: timeout.and_then(|spot| Some(Spot::new(spot.value?, spot.place))),
        grace_key: "TimeoutStopSec",
        hook: stop.first().map(|spot| Spot::new(PreStopHook::Other, spot.place)),
        command,
        behind_entrypoint: false,
        image: None,
        env: unit.env("Service"),
        hidden: Vec::new(),
        // Without a limit by systemd, adieu's grace has nothing to match.
        more_env: endless || !unit.all("Service", "EnvironmentFile").is_empty(),
        stop_signal: unit.last("Service", "KillSignal"),
        usual_signal: Some(Signal::TERM),
        subject,
    };
    service.check(findings);
    check_kill_mode(unit, &service, findings);
    check_type(unit, &service, findings);
    for spot in &stop {
        check_exec_stop(spot, &service, findings);
    }
    check_kill_off(unit, &service.subject, findings);
    Ok(())
}

fn check_kill_off(unit: &Unit, subject: &ObjectRef, findings: &mut Findings) {
    let off = unit
        .last("Service", "SendSIGKILL")
        .filter(|spot| ["no", "false", "0", "off"].contains(&spot.value.as_str()));
    if let Some(spot) = off {
        findings.add(Rule::KillOff, subject, spot.place, "SendSIGKILL is off");
    }
}

fn check_kill_mode(unit: &Unit, service: &Service, findings: &mut Findings) {
    let given = unit.last("Service", "KillMode");
    let place = given.as_ref().map_or(service.place, |spot| spot.place);
    let mode = given.as_ref().map_or("control-group", |spot| spot.value.as_str());
    let (message, severity) = match (mode, service.has_adieu()) {
        ("mixed", _) | ("control-group", false) => return,
        ("control-group", true) => {
            ("systemd sends the stop signal to the app as well as to adieu".to_owned(), Severity::Error)
        }
        ("process", _) => {
            ("KillMode=process leaves the service's other processes running".to_owned(), Severity::Warning)
        }
        (other, _) => (format!("KillMode={other} does not stop the service"), Severity::Error),
    };
    findings.add(Rule::KillMode, &service.subject, place, message).weigh(severity);
}

fn check_type(unit: &Unit, service: &Service, findings: &mut Findings) {
    let Some(spot) = unit.last("Service", "Type").filter(|_| service.has_adieu()) else { return };
    let message = match spot.value.as_str() {
        "forking" => "Type=forking waits for adieu to fork, which it never does",
        "oneshot" => "with Type=oneshot the unit is starting as long as the app runs",
        _ => return,
    };
    findings.add(Rule::UnitType, &service.subject, spot.place, message);
}

fn check_exec_stop(spot: &Spot<String>, service: &Service, findings: &mut Findings) {
    let Ok(words) = words(spot) else { return };
    let name = words.first().map(|word| base_name(word)).unwrap_or_default();
    if ["kill", "pkill", "killall"].contains(&name.as_str()) {
        let message = format!("{} returns before the service ends", words.join(" "));
        findings.add(Rule::ExecStopReturns, &service.subject, spot.place, message);
    }
}

/// A Quadlet's container; the unit that podman makes of it has limits of its own.
fn quadlet(unit: &Unit, subject: ObjectRef, findings: &mut Findings) -> Result<(), (Position, String)> {
    let own = |key: &str| unit.last("Container", key);
    let (entrypoint, exec) = (own("Entrypoint"), own("Exec"));
    let mut all = entrypoint.as_ref().map(entrypoint_words).transpose()?.unwrap_or_default();
    all.extend(exec.as_ref().map(words).transpose()?.unwrap_or_default());
    let stop_timeout = own("StopTimeout").or_else(|| podman_option(unit, "--stop-timeout"));
    let grace = match stop_timeout {
        Some(spot) => {
            Some(Spot::new(values::duration(&spot.value).map_err(|why| (spot.place, why))?, spot.place))
        }
        None => None,
    };
    let place = unit.place("Container");
    let service = Service {
        place,
        platform: Platform::Docker,
        grace,
        grace_key: "StopTimeout",
        hook: None,
        command: entrypoint
            .as_ref()
            .or(exec.as_ref())
            .filter(|_| !all.is_empty())
            .map(|spot| Spot::new(all, spot.place)),
        behind_entrypoint: entrypoint.is_none(),
        image: own("Image").map(|spot| spot.value),
        env: unit.env("Container"),
        hidden: Vec::new(),
        more_env: !unit.all("Container", "EnvironmentFile").is_empty(),
        stop_signal: own("StopSignal").or_else(|| podman_option(unit, "--stop-signal")),
        usual_signal: None,
        subject,
    };
    service.check(findings);
    if let Some(spot) = own("HealthCmd") {
        service.check_probe(&spot.value, spot.place, findings);
    }
    if service.has_adieu()
        && let Some(spot) =
            own("RunInit").filter(|spot| ["true", "yes", "1", "on"].contains(&spot.value.as_str()))
    {
        findings
            .add(
                Rule::InitTwice,
                &service.subject,
                spot.place,
                "RunInit=true adds another init in front of adieu",
            )
            .remedy("remove RunInit=true");
    }
    if service.grace.is_none() {
        findings
            .add(
                Rule::GraceMissing,
                &service.subject,
                place,
                "there is no StopTimeout, so podman kills after 10s",
            )
            .remedy("set StopTimeout=30, or as long as the pre-stop sleep and the longest request take");
    }
    let timeout = unit.timeout()?;
    let limit = timeout.as_ref().map_or(Some(TIMEOUT), |spot| spot.value);
    if limit.is_some_and(|limit| limit <= service.whole_grace()) {
        let at = timeout.as_ref().map_or(service.grace_place(), |spot| spot.place);
        let shown = show_duration;
        let message = format!(
            "systemd kills podman after {}, but the container has {}",
            shown(limit.unwrap_or_default()),
            shown(service.whole_grace())
        );
        findings.add(Rule::GraceCapped, &service.subject, at, message).remedy(format!(
            "set TimeoutStopSec to {} or more",
            shown(service.whole_grace() + Duration::from_secs(15))
        ));
    }
    if let Some(spot) = unit
        .last("Service", "KillMode")
        .filter(|spot| !["mixed", "control-group"].contains(&spot.value.as_str()))
    {
        findings.add(
            Rule::KillMode,
            &service.subject,
            spot.place,
            format!("KillMode={} in a Quadlet", spot.value),
        );
    }
    check_kill_off(unit, &service.subject, findings);
    Ok(())
}

/// The value of an option in `PodmanArgs=--stop-timeout=30`: podman versions without StopTimeout and
/// StopSignal need it.
fn podman_option(unit: &Unit, name: &str) -> Option<Spot<String>> {
    let arguments = unit.all("Container", "PodmanArgs");
    arguments.iter().rev().find_map(|spot| {
        let words = shlex::split(&spot.value)?;
        let given = words.iter().enumerate().find_map(|(place, word)| match word.strip_prefix(name)? {
            "" => words.get(place + 1).map(String::as_str),
            rest => rest.strip_prefix('='),
        })?;
        Some(Spot::new(given.to_owned(), spot.place))
    })
}

/// `Entrypoint=` is a JSON array or a single command.
fn entrypoint_words(spot: &Spot<String>) -> Result<Vec<String>, (Position, String)> {
    if spot.value.starts_with('[') {
        return serde_json::from_str(&spot.value).map_err(|_| {
            (spot.place, "Entrypoint is not JSON; write [\"program\", \"argument\"]".to_owned())
        });
    }
    words(spot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_and_empty_values_take_back() {
        let unit = Unit::parse("[Service]\nExecStart=a \\\n  # a comment\n  b\nEnvironment=X=1 \"Y=2 3\"\nKillMode=none\nKillMode=\n").unwrap();
        assert_eq!(unit.last("Service", "ExecStart").map(|spot| spot.place.line), Some(2));
        assert_eq!(unit.env("Service").len(), 2);
        assert!(unit.last("Service", "KillMode").is_none());
        let (place, why) = Unit::parse("[Service]\nnonsense\n").err().unwrap();
        assert_eq!((place.line, why.contains("Name=value")), (2, true));
    }
}
