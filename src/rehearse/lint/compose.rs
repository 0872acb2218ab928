//! Compose files: their services.

use std::time::Duration;

use adieu::moment::show_duration;
use adieu::settings::{Platform, values};

use super::finding::{Findings, ObjectRef, Position, Spot};
use super::interpolate::interpolate;
use super::rules::{Rule, Severity};
use super::service::Service;
use super::services::{self, ComposeService};
use super::yaml::Node;

pub(crate) fn read(file: &str, document: Node, findings: &mut Findings) -> Result<(), (Position, String)> {
    for compose in services::all(document) {
        let subject = ObjectRef { file: file.to_owned(), object: format!("service {}", compose.name) };
        let service = service(subject, &compose)?;
        service.check(findings);
        check_own(&service, &compose, findings);
    }
    Ok(())
}

fn service(subject: ObjectRef, compose: &ComposeService) -> Result<Service, (Position, String)> {
    let (entrypoint, command) = (compose.at("entrypoint"), compose.at("command"));
    let all = [words(entrypoint)?, words(command)?].concat();
    let (env, hidden) = environment(compose);
    let grace = match compose.at("stop_grace_period").and_then(|grace| Some((grace, fill(&grace.text()?)?))) {
        Some((grace, text)) => Some(grace.spot(values::duration(&text).map_err(|why| (grace.place(), why))?)),
        None => None,
    };
    Ok(Service {
        subject,
        place: compose.own().place(),
        platform: Platform::Docker,
        grace,
        grace_key: "stop_grace_period",
        hook: None,
        command: entrypoint.or(command).filter(|_| !all.is_empty()).map(|node| node.spot(all)),
        behind_entrypoint: entrypoint.is_none(),
        image: image(compose),
        env,
        hidden,
        signals_all: false,
        more_env: compose.at("env_file").is_some() || compose.extends_elsewhere,
        stop_signal: compose.at("stop_signal").and_then(|node| Some(node.spot(fill(&node.text()?)?))),
        usual_signal: None,
    })
}

/// With `build`, it is only the name of what is built.
fn image(compose: &ComposeService) -> Option<String> {
    let name = compose.text_at("image").filter(|_| compose.at("build").is_none())?;
    Some(fill(&name).unwrap_or(name))
}

fn check_own(service: &Service, compose: &ComposeService, findings: &mut Findings) {
    let subject = &service.subject;
    if service.has_adieu() && compose.says_true("init") {
        let place = compose.at("init").map_or(service.place, Node::place);
        findings
            .add(Rule::InitTwice, subject, place, "init: true adds another init in front of adieu")
            .remedy("remove init: true");
    }
    let hidden = compose.at("stop_grace_period").is_some() && service.grace.is_none();
    if service.grace.is_none() && !hidden && !compose.extends_elsewhere {
        findings
            .add(
                Rule::GraceMissing,
                subject,
                service.place,
                "there is no stop_grace_period, so the engine kills after 10s",
            )
            .remedy(
                "set stop_grace_period: 30s, or as long as the pre-stop sleep and the longest request take",
            );
    } else if service.whole_grace() < Duration::from_secs(5) && !service.whole_grace().is_zero() {
        let message = format!("stop_grace_period is {}", show_duration(service.whole_grace()));
        findings
            .add(Rule::GraceMissing, subject, service.grace_place(), message)
            .remedy("make it some seconds longer than the longest request");
    }
    let Some(test) = compose.at("healthcheck.test").filter(|_| service.has_adieu()) else { return };
    let asked = test.text().unwrap_or_else(|| test.texts().join(" "));
    service.check_probe(&asked, test.place(), findings);
    if !["--probe", "readyz", "/health/ready"].iter().any(|word| asked.contains(word)) {
        findings
            .add(
                Rule::ReadinessNeverFails,
                subject,
                test.place(),
                format!("the healthcheck asks the app, not adieu: {asked}"),
            )
            .weigh(Severity::Note)
            .remedy("let it ask adieu: test: [CMD, /adieu, --probe, readyz], with ADIEU_HEALTH set");
    }
}

/// A list has one word each; a text is split into words as a shell does, but no shell runs it.
fn words(node: Option<Node>) -> Result<Vec<String>, (Position, String)> {
    let Some(node) = node else { return Ok(Vec::new()) };
    let Some(line) = node.text() else {
        return Ok(node.texts().into_iter().map(|word| fill(&word).unwrap_or(word)).collect());
    };
    let line = fill(&line).unwrap_or(line);
    shlex::split(&line).ok_or_else(|| (node.place(), format!("a quote is not closed in '{line}'; close it")))
}

/// The variables with a value here, and the names of the others.
fn environment(compose: &ComposeService) -> (Vec<(String, Spot<String>)>, Vec<String>) {
    let (mut env, mut hidden) = (Vec::new(), Vec::new());
    for (name, value, node) in compose.environment() {
        match value.and_then(|value| fill(&value)) {
            Some(value) => env.push((name, node.spot(value))),
            None => hidden.push(name),
        }
    }
    (env, hidden)
}

/// Fills in variables; `None` where the environment decides.
fn fill(text: &str) -> Option<String> {
    interpolate(text, &|_| None, &|name| Err(name.to_owned())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_the_file_is_filled_in() {
        assert_eq!(fill("a ${X:-b} $$c").as_deref(), Some("a b $c"));
        assert_eq!(fill("${X-30s}").as_deref(), Some("30s"));
        for unknown in ["$X", "${X}", "${X:?must-be-set}", "${X:+set}"] {
            assert_eq!(fill(unknown), None, "{unknown}");
        }
    }
}
