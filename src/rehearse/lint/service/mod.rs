//! One container or service, read from any kind of file, and what is known of it. The rules that
//! apply to every kind of file are below: what stands between platform and app, the times, the
//! signals, and the probes.

mod launch;
mod probe;
mod signals;
mod times;

use std::ffi::OsString;
use std::time::Duration;

use adieu::settings::{self, Platform, Program, Settings, Surroundings, Task};
use adieu::signal::Signal;

use super::command::{Invocation, behind_launchers, invocation, program_of_image, shell_line, started_by};
use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::Rule;

pub(crate) struct Service {
    pub(crate) subject: ObjectRef,
    /// The position of a finding when no better one is known.
    pub(crate) place: Position,
    pub(crate) platform: Platform,
    /// From the stop request to the platform's SIGKILL, when the file sets it.
    pub(crate) grace: Option<Spot<Duration>>,
    /// The key that sets it in this kind of file.
    pub(crate) grace_key: &'static str,
    /// The hook that the platform runs before it sends the stop signal.
    pub(crate) hook: Option<Spot<PreStopHook>>,
    /// The whole command line; `None` when the image sets it.
    pub(crate) command: Option<Spot<Vec<String>>>,
    /// The image's entry point comes before these words, and is not known.
    pub(crate) behind_entrypoint: bool,
    /// The image's name, when it is not built from here.
    pub(crate) image: Option<String>,
    pub(crate) env: Vec<(String, Spot<String>)>,
    /// Variables whose value is not in the file.
    pub(crate) hidden: Vec<String>,
    /// More variables come from other files or objects (envFrom, env_file, EnvironmentFile).
    pub(crate) more_env: bool,
    pub(crate) stop_signal: Option<Spot<String>>,
    /// The platform sends the stop signal to every process, not to the first alone.
    pub(crate) signals_all: bool,
    /// The signal when the file sets none; `None` when the image decides.
    pub(crate) usual_signal: Option<Signal>,
}

/// A hook that the platform runs before the stop signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PreStopHook {
    Sleep(Duration),
    /// A sleep, and then something else.
    SleepFirst(Duration),
    /// It never ends by itself: `sleep infinity`.
    Endless,
    /// `adieu --wait`
    Wait,
    Other,
}

impl Service {
    pub(crate) fn invocation(&self) -> Invocation {
        invocation(self.command.as_ref().map_or(&[], |command| &command.value))
    }

    /// The known program that the command starts, or the image without one.
    pub(crate) fn program(&self) -> Option<&'static Program> {
        let app = self.invocation().app;
        let mut words = shell_line(&app)
            .and_then(|(_, line)| started_by(line))
            .unwrap_or_else(|| behind_launchers(&app).to_vec());
        // The entry points of these images put their program in front of options.
        if self.behind_entrypoint && words.first().is_none_or(|first| first.starts_with('-')) {
            let program = self.image.as_deref().and_then(program_of_image);
            words = program.into_iter().map(str::to_owned).collect();
        }
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        settings::program_of(&words)
    }

    /// adieu is in the command, or one of its variables is set while the image's entry point is not
    /// known.
    pub(crate) fn has_adieu(&self) -> bool {
        let known = self.command.is_some() && !self.behind_entrypoint;
        let named = |name: &String| name.starts_with("ADIEU_");
        let variables = self.env.iter().map(|(name, _)| name).chain(&self.hidden);
        self.invocation().adieu.is_some() || !known && variables.into_iter().any(named)
    }

    /// How adieu would read its options and variables; `None` when some of them are not in the
    /// file.
    pub(crate) fn settings(&self) -> Option<Result<Box<Settings>, String>> {
        let invocation = self.invocation();
        let hidden = self.hidden.iter().any(|name| name.starts_with("ADIEU_"));
        let elsewhere = self.env.iter().any(|(name, _)| name == "ADIEU_CONFIG");
        if !self.has_adieu() || hidden || elsewhere || self.more_env {
            return None;
        }
        let mut arguments: Vec<OsString> = invocation.adieu.iter().flatten().map(OsString::from).collect();
        if arguments.iter().any(|word| word == "--config") {
            return None;
        }
        // Only --check collects where each setting comes from.
        arguments.insert(0, "--check".into());
        arguments.push("--".into());
        arguments.extend(invocation.app.iter().map(OsString::from));
        if invocation.app.is_empty() {
            arguments.push("app".into());
        }
        let mut env: Vec<(OsString, OsString)> = vec![("ADIEU_CONFIG".into(), "/dev/null".into())];
        if !self.env.iter().any(|(name, _)| name == "ADIEU_PLATFORM") {
            env.push(("ADIEU_PLATFORM".into(), self.platform.name().into()));
        }
        let own = self.env.iter().filter(|(name, _)| name.starts_with("ADIEU_"));
        env.extend(own.map(|(name, spot)| (name.into(), spot.value.clone().into())));
        let around = Surroundings {
            variable: &|_| None,
            exists: &|_| false,
            texts: &|_| Vec::new(),
            pid: std::process::id(),
        };
        match settings::task(arguments, env, &around) {
            Ok(Task::Run(settings) | Task::Check(settings)) => Some(Ok(settings)),
            Ok(Task::Probe { .. } | Task::Wait(_) | Task::Install(_) | Task::Show(_)) => None,
            Err(refusal) => Some(Err(refusal.0)),
        }
    }

    pub(crate) fn hook_sleep(&self) -> Duration {
        match self.hook.as_ref().map(|hook| &hook.value) {
            Some(PreStopHook::Sleep(time) | PreStopHook::SleepFirst(time)) => *time,
            Some(PreStopHook::Endless | PreStopHook::Wait | PreStopHook::Other) | None => Duration::ZERO,
        }
    }

    /// Whether it is known how long the hook takes.
    fn hook_is_known(&self) -> bool {
        !matches!(self.hook.as_ref().map(|hook| &hook.value), Some(PreStopHook::SleepFirst(_)))
    }

    /// The hook may stop the app itself.
    fn hook_may_stop(&self) -> bool {
        let hook = self.hook.as_ref().map(|hook| &hook.value);
        matches!(hook, Some(PreStopHook::SleepFirst(_) | PreStopHook::Other))
    }

    pub(crate) fn whole_grace(&self) -> Duration {
        self.grace.as_ref().map_or(self.platform.grace(), |spot| spot.value)
    }

    pub(crate) fn grace_place(&self) -> Position {
        self.grace.as_ref().map_or(self.place, |spot| spot.place)
    }

    /// Every rule that applies to all kinds of files.
    pub(crate) fn check(&self, findings: &mut Findings) {
        findings.services += 1;
        self.check_launch(findings);
        self.check_grace(findings);
        let settings = self.settings();
        match &settings {
            Some(Ok(settings)) => {
                self.check_times(settings, findings);
                self.check_request(settings, findings);
            }
            Some(Err(why)) => {
                let place = self.adieu_place(why);
                let (what, remedy) =
                    why.rsplit_once(';').unwrap_or((why.as_str(), Rule::SettingsRefused.remedy()));
                findings
                    .add(Rule::SettingsRefused, &self.subject, place, format!("adieu rejects: {what}"))
                    .remedy(remedy.trim());
            }
            None => {}
        }
        self.check_signal(findings);
    }

    /// The variable that adieu's error names, or the command.
    fn adieu_place(&self, why: &str) -> Position {
        let named = self.env.iter().find(|(name, _)| why.contains(name.as_str()));
        let command = self.command.as_ref().map_or(self.place, |command| command.place);
        named.map_or(command, |(_, spot)| spot.place)
    }
}
