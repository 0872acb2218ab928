//! Quadlets, from which podman makes units (podman-systemd.unit(5)).

use std::time::Duration;

use adieu::moment::show_duration;
use adieu::settings::{Platform, values};

use super::expand::UnitName;
use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::Rule;
use super::service::Service;
use super::unit::{TIMEOUT, check_kill_off, env, timeout};
use super::unit_file::Unit;

/// A Quadlet's container; the unit that podman makes of it has limits of its own.
pub(super) fn read(
    unit: &Unit,
    subject: ObjectRef,
    findings: &mut Findings,
) -> Result<(), (Position, String)> {
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
        env: env(unit, "Container", &UnitName(&subject.object)),
        hidden: Vec::new(),
        signals_all: false,
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
    let timeout = timeout(unit)?;
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

/// The value of an option in `PodmanArgs=--stop-timeout=30`, which podman versions without
/// StopTimeout and StopSignal need.
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

fn words(spot: &Spot<String>) -> Result<Vec<String>, (Position, String)> {
    let closed = shlex::split(&spot.value);
    closed.ok_or_else(|| (spot.place, format!("a quote is not closed in '{}'; close it", spot.value)))
}
