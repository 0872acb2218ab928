//! Dockerfiles: what the last stage, and the stages that it is built on, set for the start and stop
//! of the container.

use adieu::settings::{Platform, Program};
use adieu::signal::Signal;

use super::command::{base_name, program_of_image};
use super::finding::{Findings, ObjectRef, Position, Spot};
use super::interpolate::interpolate;
use super::rules::{Rule, Severity};
use super::service::Service;

struct Instruction {
    name: String,
    rest: String,
    line: usize,
}

/// What is known at the end of a stage.
#[derive(Clone, Default)]
struct Stage {
    name: String,
    /// The image that the first of its stages is built on.
    base: String,
    line: usize,
    entrypoint: Option<Spot<Vec<String>>>,
    command: Option<Spot<Vec<String>>>,
    /// The entry point has the shell form: a shell runs it, and CMD is ignored.
    shell_form: bool,
    stop_signal: Option<Spot<String>>,
    env: Vec<(String, Spot<String>)>,
    healthcheck: Option<Spot<String>>,
    shell: Vec<String>,
}

/// Whether this is a Dockerfile, by its name or first instruction.
pub(crate) fn is_one(name: &str, text: &str) -> bool {
    let named = ["Dockerfile", "Containerfile"].iter().any(|word| name.starts_with(word));
    let ends =
        name.ends_with(".dockerfile") || name.ends_with(".Dockerfile") || name.ends_with(".containerfile");
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let word = first.and_then(|line| line.split_whitespace().next()).unwrap_or_default();
    named || ends || word == "FROM" || word == "ARG"
}

pub(crate) fn read(file: &str, text: &str, findings: &mut Findings) -> Result<(), (Position, String)> {
    let subject = ObjectRef { file: file.to_owned(), object: base_name(file) };
    let mut noted = Findings::default();
    let stages = stages(&instructions(text), &subject, &mut noted)?;
    let Some(stage) = stages.last() else {
        return Err((Position::line(1), "there is no FROM; a Dockerfile begins with FROM IMAGE".to_owned()));
    };
    // Earlier stages count only where the last one is built on them.
    let counts = |line: usize| stage.spots().contains(&line) || line >= stage.line;
    findings.found.extend(noted.found.into_iter().filter(|finding| counts(finding.line)));
    let service = stage.service(subject);
    service.check(findings);
    check_health(&service, stage, findings);
    Ok(())
}

/// The instructions: continued lines are joined, comments and here-documents are skipped.
fn instructions(text: &str) -> Vec<Instruction> {
    let escape = if text.lines().take(3).any(|line| line.replace(' ', "").eq_ignore_ascii_case("#escape=`")) {
        '`'
    } else {
        '\\'
    };
    let mut found = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let mut whole = line.trim().to_owned();
        if whole.is_empty() || whole.starts_with('#') {
            continue;
        }
        while whole.ends_with(escape) {
            whole.pop();
            // Comments and empty lines inside an instruction are skipped.
            let more = lines
                .by_ref()
                .map(|(_, line)| line.trim())
                .find(|line| !line.is_empty() && !line.starts_with('#'));
            let Some(more) = more else { break };
            whole.push(' ');
            whole.push_str(more);
        }
        let (name, rest) = whole.split_once(char::is_whitespace).unwrap_or((&whole, ""));
        let name = name.to_ascii_uppercase();
        if ["RUN", "COPY", "ADD"].contains(&name.as_str()) {
            for end in here_documents(rest) {
                let _skipped = lines.by_ref().find(|(_, line)| line.trim() == end);
            }
        }
        found.push(Instruction { name, rest: rest.trim().to_owned(), line: number + 1 });
    }
    found
}

/// The words that end here-documents: `RUN <<EOF`, `COPY <<-"A" <<B /`. Inside a word, `<<` is
/// something else: `$((1<<3))`.
fn here_documents(rest: &str) -> impl Iterator<Item = &str> {
    rest.split_whitespace().filter_map(|word| {
        let word = word.trim_start_matches(|letter: char| letter.is_ascii_digit()).strip_prefix("<<")?;
        let end = word.strip_prefix('-').unwrap_or(word).trim_matches(['"', '\'']);
        let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        (!end.is_empty() && end.chars().all(letter)).then_some(end)
    })
}

fn stages(
    all: &[Instruction],
    subject: &ObjectRef,
    findings: &mut Findings,
) -> Result<Vec<Stage>, (Position, String)> {
    let (mut stages, mut arguments) = (Vec::<Stage>::new(), Vec::<(String, String)>::new());
    for one in all {
        let place = Position::line(one.line);
        if one.name == "FROM" {
            stages.push(from(&one.rest, one.line, &stages, &arguments));
            continue;
        }
        let Some(stage) = stages.last_mut() else {
            if one.name == "ARG" {
                arguments.extend(pairs(&one.rest));
                continue;
            }
            return Err((
                place,
                format!("{} comes before FROM; a Dockerfile begins with FROM IMAGE", one.name),
            ));
        };
        match one.name.as_str() {
            "ENTRYPOINT" => {
                let (words, shell_form) = stage.words(one, subject, findings);
                // Docker resets a CMD of the base image when an ENTRYPOINT is set.
                if stage.command.as_ref().is_some_and(|command| command.place.line < stage.line) {
                    stage.command = None;
                }
                stage.shell_form = shell_form;
                stage.entrypoint = Some(Spot::new(words, place));
            }
            "CMD" => stage.command = Some(Spot::new(stage.words(one, subject, findings).0, place)),
            "STOPSIGNAL" => {
                stage.stop_signal = (!one.rest.contains('$')).then(|| Spot::new(one.rest.clone(), place))
            }
            "SHELL" => stage.shell = serde_json::from_str(&one.rest).unwrap_or_default(),
            "ENV" => stage
                .env
                .extend(pairs(&one.rest).into_iter().map(|(name, value)| (name, Spot::new(value, place)))),
            "HEALTHCHECK" => stage.healthcheck = Some(Spot::new(one.rest.clone(), place)),
            _ => {}
        }
    }
    Ok(stages)
}

/// A new stage, with what it inherits from the stage that it is built on.
fn from(rest: &str, line: usize, stages: &[Stage], arguments: &[(String, String)]) -> Stage {
    let words: Vec<&str> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
    let written = words.first().copied().unwrap_or_default();
    let value =
        |name: &str| arguments.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    let image = interpolate(written, &value, &|name| Ok(format!("${name}")));
    let image = image.unwrap_or_else(|_| written.to_owned());
    let name = words.iter().position(|word| word.eq_ignore_ascii_case("as")).and_then(|at| words.get(at + 1));
    let name = name.copied().unwrap_or_default().to_owned();
    match stages.iter().rev().find(|stage| stage.name.eq_ignore_ascii_case(&image)) {
        Some(stage) => Stage { name, line, ..stage.clone() },
        None => Stage { name, base: image, line, ..Stage::default() },
    }
}

/// `ENV A=b C="d e"`, and the old form `ENV A b`.
fn pairs(rest: &str) -> Vec<(String, String)> {
    let words = shlex::split(rest).unwrap_or_default();
    let all: Vec<_> = words.iter().filter_map(|word| word.split_once('=')).collect();
    if all.is_empty() {
        return rest
            .split_once(' ')
            .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
            .into_iter()
            .collect();
    }
    all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Stage {
    /// The words of an ENTRYPOINT or CMD as the container gets them, and whether a shell runs them.
    fn words(&self, one: &Instruction, subject: &ObjectRef, findings: &mut Findings) -> (Vec<String>, bool) {
        if one.rest.starts_with('[') {
            match serde_json::from_str::<Vec<String>>(&one.rest) {
                Ok(words) => return (words, false),
                Err(_) => {
                    let message = format!("{} {} is not JSON", one.name, one.rest);
                    findings.add(Rule::ExecFormBroken, subject, Position::line(one.line), message);
                    // Without words here, the shell form is not reported as a second finding.
                    return (Vec::new(), false);
                }
            }
        }
        let usual = ["/bin/sh".to_owned(), "-c".to_owned()];
        let shell = if self.shell.is_empty() { &usual[..] } else { &self.shell };
        let words = shell.iter().cloned().chain([one.rest.clone()]).collect();
        (words, !one.rest.is_empty())
    }

    /// The lines of the instructions that apply to it.
    fn spots(&self) -> Vec<usize> {
        let words = [&self.entrypoint, &self.command].into_iter().flatten().map(|spot| spot.place.line);
        words.chain(self.stop_signal.iter().map(|spot| spot.place.line)).collect()
    }

    fn service(&self, subject: ObjectRef) -> Service {
        let entrypoint = self.entrypoint.as_ref().filter(|spot| !spot.value.is_empty());
        let mut all = entrypoint.map(|spot| spot.value.clone()).unwrap_or_default();
        if !self.shell_form {
            all.extend(self.command.iter().flat_map(|spot| spot.value.clone()));
        }
        let place = entrypoint.or(self.command.as_ref()).map_or(Position::line(self.line), |spot| spot.place);
        let mut service = Service {
            subject,
            place,
            // An image can run on any platform.
            platform: Platform::None,
            grace: None,
            grace_key: "--stop-timeout",
            hook: None,
            command: (!all.is_empty()).then(|| Spot::new(all, place)),
            behind_entrypoint: entrypoint.is_none() && self.base != "scratch",
            image: Some(self.base.clone()),
            env: self.env.clone(),
            hidden: Vec::new(),
            signals_all: false,
            more_env: false,
            stop_signal: self.stop_signal.clone(),
            usual_signal: None,
        };
        let own = service.program().is_some_and(|program| is_image_of(program, &self.base));
        service.usual_signal = (!own).then_some(Signal::TERM);
        service
    }
}

/// Whether the image is the program's own, which sets its STOPSIGNAL.
fn is_image_of(program: &Program, image: &str) -> bool {
    let image = image.rsplit('/').next().unwrap_or_default();
    let named = |name: &&str| image.starts_with(name) || image.starts_with("php") && name.starts_with("php");
    program.names.iter().any(named)
        || program_of_image(image).is_some_and(|name| program.names.contains(&name))
}

fn check_health(service: &Service, stage: &Stage, findings: &mut Findings) {
    let Some(spot) = stage.healthcheck.as_ref().filter(|_| service.has_adieu()) else { return };
    service.check_probe(&spot.value, spot.place, findings);
    let asks = ["--probe", "readyz", "/health/ready"].iter().any(|word| spot.value.contains(word));
    if !asks && !spot.value.eq_ignore_ascii_case("NONE") {
        findings
            .add(Rule::ReadinessNeverFails, &service.subject, spot.place, "the HEALTHCHECK asks the app, not adieu")
            .weigh(Severity::Note)
            .remedy("let it ask adieu: HEALTHCHECK CMD [\"/adieu\", \"--probe\", \"readyz\"], with ADIEU_HEALTH set");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_joined_and_here_documents_skipped() {
        let text = "FROM a\nRUN <<EOF\nCMD not\nEOF\nCMD [\"x\", \\\n  # why\n  \"y\"]\n";
        let found: Vec<_> =
            instructions(text).into_iter().map(|one| (one.name, one.rest, one.line)).collect();
        assert_eq!(found[2], ("CMD".to_owned(), "[\"x\",  \"y\"]".to_owned(), 5));
        assert_eq!(found.len(), 3);
    }

    #[test]
    fn here_documents_are_not_what_looks_like_them() {
        let text = "FROM a\nCOPY <<A <<-\"B\" /etc/\nCMD not\nA\nSTOPSIGNAL not\n\tB\nRUN x=$((1<<3)) cat <<< 3\nRUN 3<<E x\n\
                    CMD not\nE\nCMD x\n";
        let found: Vec<_> = instructions(text).into_iter().map(|one| one.name).collect();
        assert_eq!(found, ["FROM", "COPY", "RUN", "RUN", "CMD"]);
    }

    #[test]
    fn arguments_are_filled_into_the_image() {
        let text = "ARG NAME=nginx TAG=\"1.27\"\nARG FULL=$NAME\nFROM ${NONE:-$NAME}:$TAG-${OTHER}\n";
        let subject = ObjectRef { file: "Dockerfile".into(), object: "Dockerfile".into() };
        let stages = stages(&instructions(text), &subject, &mut Findings::default()).unwrap();
        assert_eq!(stages[0].base, "nginx:1.27-$OTHER");
    }

    #[test]
    fn a_stage_takes_over_what_it_is_built_on() {
        let text = "ARG V=1\nFROM debian:${V} AS base\nENTRYPOINT [\"/a\"]\nSTOPSIGNAL INT\nFROM base\nCMD [\"b\"]\n";
        let subject = ObjectRef { file: "Dockerfile".into(), object: "Dockerfile".into() };
        let stages = stages(&instructions(text), &subject, &mut Findings::default()).unwrap();
        let last = stages.last().unwrap();
        assert_eq!(last.base, "debian:1");
        assert_eq!(last.service(subject).command.unwrap().value, ["/a", "b"]);
        assert_eq!(last.stop_signal.as_ref().unwrap().value, "INT");
    }
}
