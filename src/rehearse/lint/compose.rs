//! Compose files: their services.

use std::time::Duration;

use adieu::moment::show_duration;
use adieu::settings::{Platform, values};

use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::{Rule, Severity};
use super::service::Service;
use super::yaml::Node;

pub(crate) fn read(file: &str, document: Node, findings: &mut Findings) -> Result<(), (Position, String)> {
    for (name, node) in document.get("services").map(Node::entries).unwrap_or_default() {
        let subject = ObjectRef { file: file.to_owned(), object: format!("service {name}") };
        let service = service(subject, node)?;
        service.check(findings);
        check_own(&service, node, findings);
    }
    Ok(())
}

fn service(subject: ObjectRef, node: Node) -> Result<Service, (Position, String)> {
    let (entrypoint, command) = (node.get("entrypoint"), node.get("command"));
    let all = [words(entrypoint)?, words(command)?].concat();
    let (env, hidden) = environment(node);
    let grace = match node.get("stop_grace_period").and_then(|grace| Some((grace, fill(&grace.text()?)?))) {
        Some((grace, text)) => Some(grace.spot(values::duration(&text).map_err(|why| (grace.place(), why))?)),
        None => None,
    };
    Ok(Service {
        subject,
        place: node.place(),
        platform: Platform::Docker,
        grace,
        grace_key: "stop_grace_period",
        hook: None,
        command: entrypoint.or(command).filter(|_| !all.is_empty()).map(|node| node.spot(all)),
        behind_entrypoint: entrypoint.is_none(),
        image: image(node),
        env,
        hidden,
        more_env: node.get("env_file").is_some() || node.get("extends").is_some(),
        stop_signal: node.get("stop_signal").and_then(|node| Some(node.spot(fill(&node.text()?)?))),
        usual_signal: None,
    })
}

/// With `build`, it is only the name of what is built.
fn image(node: Node) -> Option<String> {
    let name = node.text_at("image").filter(|_| node.get("build").is_none())?;
    Some(fill(&name).unwrap_or(name))
}

fn check_own(service: &Service, node: Node, findings: &mut Findings) {
    let subject = &service.subject;
    if service.has_adieu() && node.says_true("init") {
        let place = node.get("init").map_or(service.place, Node::place);
        findings
            .add(Rule::InitTwice, subject, place, "init: true adds another init in front of adieu")
            .remedy("remove init: true");
    }
    let hidden = node.get("stop_grace_period").is_some() && service.grace.is_none();
    if service.grace.is_none() && !hidden && node.get("extends").is_none() {
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
    let Some(test) = node.at("healthcheck.test").filter(|_| service.has_adieu()) else { return };
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
fn environment(node: Node) -> (Vec<(String, Spot<String>)>, Vec<String>) {
    let (mut env, mut hidden) = (Vec::new(), Vec::new());
    let Some(node) = node.get("environment") else { return (env, hidden) };
    let mut note =
        |name: String, value: Option<String>, node: Node| match value.and_then(|value| fill(&value)) {
            Some(value) => env.push((name, node.spot(value))),
            None => hidden.push(name),
        };
    for (name, value) in node.entries() {
        note(name, value.text(), value);
    }
    for item in node.items() {
        let Some(text) = item.text() else { continue };
        match text.split_once('=') {
            Some((name, value)) => note(name.to_owned(), Some(value.to_owned()), item),
            None => note(text, None, item),
        }
    }
    (env, hidden)
}

/// Fills in `${NAME:-default}` and `$$`; `None` where the environment decides.
fn fill(text: &str) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else {
            let (inner, after) = after.strip_prefix('{')?.split_once('}')?;
            out.push_str(inner.split_once(":-").or_else(|| inner.split_once('-'))?.1);
            rest = after;
        }
    }
    Some(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_in_the_file_is_filled_in() {
        assert_eq!(fill("a ${X:-b} $$c").as_deref(), Some("a b $c"));
        assert_eq!(fill("${X-30s}").as_deref(), Some("30s"));
        assert_eq!(fill("$X"), None);
        assert_eq!(fill("${X}"), None);
        assert_eq!(fill("plain").as_deref(), Some("plain"));
    }
}
