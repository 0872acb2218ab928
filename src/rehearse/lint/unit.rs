//! systemd units: what their [Service] sets for a stop.

use std::time::Duration;

use adieu::settings::{Platform, values};
use adieu::signal::Signal;

use super::command::base_name;
use super::expand::{Unfilled, UnitName};
use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::{Rule, Severity};
use super::service::{PreStopHook, Service};
use super::unit_file::{ExecLine, Unit};

/// systemd's default: DefaultTimeoutStopSec of systemd-system.conf(5).
pub(super) const TIMEOUT: Duration = Duration::from_secs(90);

/// Variables of a command that systemd sets itself, systemd.exec(5).
const OF_SYSTEMD: [&str; 12] = [
    "CACHE_DIRECTORY",
    "CONFIGURATION_DIRECTORY",
    "CREDENTIALS_DIRECTORY",
    "HOME",
    "LOGNAME",
    "LOGS_DIRECTORY",
    "MAINPID",
    "PATH",
    "RUNTIME_DIRECTORY",
    "SHELL",
    "STATE_DIRECTORY",
    "USER",
];

pub(super) fn read(
    unit: &Unit,
    subject: ObjectRef,
    findings: &mut Findings,
) -> Result<(), (Position, String)> {
    let name = UnitName(&subject.object);
    let env = env(unit, "Service", &name);
    let more_env = !unit.all("Service", "EnvironmentFile").is_empty();
    // What a file or systemd itself may set stays as it is written.
    let value = |name: &str| {
        let given = env.iter().rev().find(|(known, _)| known == name).map(|(_, spot)| spot.value.clone());
        given.or_else(|| (more_env || OF_SYSTEMD.contains(&name)).then(|| format!("${name}")))
    };
    let words = |spot: &Spot<String>| {
        let line = name.specifiers(&spot.value, &mut Unfilled::default());
        let line = ExecLine::parse(&line, &value, &mut Unfilled::default());
        line.map(|line| line.words).map_err(|why| (spot.place, why))
    };
    let start = unit.last("Service", "ExecStart");
    let command = start.map(|spot| Ok(Spot::new(words(&spot)?, spot.place))).transpose()?;
    let timeout = timeout(unit)?;
    if let Some(spot) = timeout.as_ref().filter(|spot| spot.value.is_none()) {
        findings.add(Rule::GraceEndless, &subject, spot.place, "TimeoutStopSec sets no limit");
    }
    let endless = timeout.as_ref().is_some_and(|spot| spot.value.is_none());
    let stop = unit.all("Service", "ExecStop");
    let stop_words = stop.iter().map(&words).collect::<Result<Vec<_>, _>>()?;
    let service = Service {
        place: unit.place("Service"),
        platform: Platform::Systemd,
        grace: timeout.and_then(|spot| Some(Spot::new(spot.value?, spot.place))),
        grace_key: "TimeoutStopSec",
        hook: stop.first().map(|spot| Spot::new(PreStopHook::Other, spot.place)),
        command,
        behind_entrypoint: false,
        image: None,
        env: env.clone(),
        hidden: Vec::new(),
        // Without a limit by systemd, adieu's grace has nothing to match.
        more_env: endless || more_env,
        stop_signal: unit.last("Service", "KillSignal"),
        signals_all: kill_mode(unit) == ALL,
        usual_signal: Some(Signal::TERM),
        subject,
    };
    service.check(findings);
    check_kill_mode(unit, &service, findings);
    check_type(unit, &service, findings);
    for (spot, words) in stop.iter().zip(stop_words) {
        check_exec_stop(spot.place, &words, &service, findings);
    }
    check_kill_off(unit, &service.subject, findings);
    Ok(())
}

pub(super) fn check_kill_off(unit: &Unit, subject: &ObjectRef, findings: &mut Findings) {
    let off = unit
        .last("Service", "SendSIGKILL")
        .filter(|spot| ["no", "false", "0", "off"].contains(&spot.value.as_str()));
    if let Some(spot) = off {
        findings.add(Rule::KillOff, subject, spot.place, "SendSIGKILL is off");
    }
}

/// The KillMode that signals every process of the unit: systemd's default.
const ALL: &str = "control-group";

fn kill_mode(unit: &Unit) -> String {
    unit.last("Service", "KillMode").map_or_else(|| ALL.to_owned(), |spot| spot.value)
}

fn check_kill_mode(unit: &Unit, service: &Service, findings: &mut Findings) {
    let given = unit.last("Service", "KillMode");
    let place = given.as_ref().map_or(service.place, |spot| spot.place);
    let mode = kill_mode(unit);
    let (message, severity) = match (mode.as_str(), service.has_adieu()) {
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

fn check_exec_stop(place: Position, words: &[String], service: &Service, findings: &mut Findings) {
    let name = words.first().map(|word| base_name(word)).unwrap_or_default();
    if ["kill", "pkill", "killall"].contains(&name.as_str()) {
        let message = format!("{} returns before the service ends", words.join(" "));
        findings.add(Rule::ExecStopReturns, &service.subject, place, message);
    }
}

/// The variables of Environment.
pub(super) fn env(unit: &Unit, section: &str, name: &UnitName) -> Vec<(String, Spot<String>)> {
    let mut env = Vec::new();
    for spot in unit.all(section, "Environment") {
        let line = name.specifiers(&spot.value, &mut Unfilled::default());
        for pair in shlex::split(&line).unwrap_or_default() {
            if let Some((name, value)) = pair.split_once('=') {
                env.push((name.to_owned(), Spot::new(value.to_owned(), spot.place)));
            }
        }
    }
    env
}

/// How long systemd waits; an inner `None` means without end.
pub(super) fn timeout(unit: &Unit) -> Result<Option<Spot<Option<Duration>>>, (Position, String)> {
    let given = unit.last("Service", "TimeoutStopSec").or_else(|| unit.last("Service", "TimeoutSec"));
    given.map(|spot| Ok(Spot::new(time(&spot)?, spot.place))).transpose()
}

/// systemd.time(7), as far as timeouts use it. 0 means without end (systemd.service(5)).
fn time(spot: &Spot<String>) -> Result<Option<Duration>, (Position, String)> {
    if ["infinity", "0"].contains(&spot.value.as_str()) {
        return Ok(None);
    }
    let plain = spot.value.replace(' ', "");
    values::duration(&plain).map(Some).map_err(|why| (spot.place, why))
}
