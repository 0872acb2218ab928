//! One container or service, read from any kind of file: the rules about its times, its signals and
//! its processes.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use adieu::lifecycle::{Schedule, Wait};
use adieu::moment::show_duration;
use adieu::settings::{self, Origin, Platform, Program, Settings, Surroundings, Task, values};
use adieu::signal::Signal;

use super::finding::{Findings, ObjectRef, Position, Spot};
use super::rules::{Rule, Severity};

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
    /// The signal when the file sets none; `None` when the image decides.
    pub(crate) usual_signal: Option<Signal>,
}

/// A hook that the platform runs before the stop signal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum PreStopHook {
    Sleep(Duration),
    /// A sleep, and then something else.
    SleepFirst(Duration),
    /// `adieu --wait`
    Wait,
    Other,
}

/// How the command reaches the app.
pub(crate) struct Invocation {
    /// adieu's own options; `None` without adieu.
    pub(crate) adieu: Option<Vec<String>>,
    /// Another init, which comes first.
    pub(crate) init: Option<String>,
    /// The app and its arguments.
    pub(crate) app: Vec<String>,
}

/// Whether adieu is in front of the command, and what the command is then.
pub(crate) fn invocation(words: &[String]) -> Invocation {
    let mut invocation = Invocation { adieu: None, init: None, app: words.to_vec() };
    if let Some(first) = words.first().filter(|first| is_other_init(first)) {
        // An init's options may have values, so only what follows the dashes is certain.
        let dashes = words.iter().position(|word| word == "--");
        let rest = dashes.map_or(1, |dashes| dashes + 1);
        invocation.init = Some(base_name(first));
        invocation.app = words.get(rest..).unwrap_or_default().to_vec();
    }
    if invocation.app.first().is_some_and(|first| base_name(first) == "adieu") {
        let rest = invocation.app.split_off(1);
        let dashes = rest.iter().position(|word| word == "--");
        invocation.adieu = Some(rest[..dashes.unwrap_or(rest.len())].to_vec());
        invocation.app = dashes.map(|dashes| rest[dashes + 1..].to_vec()).unwrap_or_default();
    }
    invocation
}

/// Whether this is an init that is not adieu.
pub(crate) fn is_other_init(word: &str) -> bool {
    ["tini", "tini-static", "docker-init", "dumb-init", "catatonit"].contains(&base_name(word).as_str())
}

pub(crate) fn base_name(word: &str) -> String {
    Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The program that an image of this name runs, when it is given no command.
pub(crate) fn program_of_image(image: &str) -> Option<&'static str> {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let (name, tag) = last.split_once(':').unwrap_or((last, ""));
    match name {
        "php" | "wordpress" if tag.contains("fpm") => Some("php-fpm"),
        "php" if tag.contains("apache") => Some("apache2"),
        "nginx-unprivileged" => Some("nginx"),
        "postgis" => Some("postgres"),
        _ => ["nginx", "openresty", "httpd", "haproxy", "postgres"].into_iter().find(|known| *known == name),
    }
}

impl Service {
    pub(crate) fn invocation(&self) -> Invocation {
        invocation(self.command.as_ref().map_or(&[], |command| &command.value))
    }

    /// The known program that the command starts, or the image without one.
    pub(crate) fn program(&self) -> Option<&'static Program> {
        let app = self.invocation().app;
        let mut words = shell_line(&app).and_then(|(_, line)| started_by(line)).unwrap_or(app);
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
            Some(PreStopHook::Wait | PreStopHook::Other) | None => Duration::ZERO,
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
                let _ = findings
                    .add(Rule::SettingsRefused, &self.subject, place, format!("adieu rejects: {why}"))
                    .remedy(
                        why.rsplit_once(';').map_or(Rule::SettingsRefused.remedy(), |(_, hint)| hint.trim()),
                    );
            }
            None => {}
        }
        self.check_signal(findings);
    }

    /// A check of the platform runs this command in the container.
    pub(crate) fn check_probe(&self, command: &str, place: Position, findings: &mut Findings) {
        let mut words = command.split([' ', '"', ',', '\'']);
        if !words.any(|word| base_name(word) == "adieu") || !command.contains("--probe") {
            return;
        }
        let Some(Ok(settings)) = self.settings() else { return };
        let known = command.contains("--health") || self.env.iter().any(|(name, _)| name == "ADIEU_HEALTH");
        let message = match (settings.ready.health, known) {
            (Some(_), true) => return,
            (Some(_), false) => {
                "adieu --probe does not know adieu's health address, which only --health sets"
            }
            (None, _) => "adieu --probe asks adieu, which has no health address (ADIEU_HEALTH)",
        };
        let finding = findings.add(Rule::ProbeUnanswered, &self.subject, place, message);
        // An image may get the address where it is run.
        if self.platform == Platform::None {
            finding.weigh(Severity::Warning);
        }
    }

    /// The variable that adieu's error names, or the command.
    fn adieu_place(&self, why: &str) -> Position {
        let named = self.env.iter().find(|(name, _)| why.contains(name.as_str()));
        let command = self.command.as_ref().map_or(self.place, |command| command.place);
        named.map_or(command, |(_, spot)| spot.place)
    }

    fn check_launch(&self, findings: &mut Findings) {
        let Some(command) = &self.command else { return };
        let invocation = self.invocation();
        if let (Some(init), Some(_)) = (&invocation.init, &invocation.adieu) {
            findings.add(
                Rule::InitTwice,
                &self.subject,
                command.place,
                format!("{init} runs in front of adieu"),
            );
        }
        if self.has_adieu() {
            return;
        }
        let mut app = invocation.app.as_slice();
        while app.first().is_some_and(|word| base_name(word) == "docker-entrypoint.sh") {
            app = &app[1..];
        }
        let line = shell_line(app);
        // dumb-init signals the whole process group, and so the app behind its shell too.
        let to_shell_alone = invocation.init.as_deref() != Some("dumb-init");
        if let Some((shell, line)) = line.as_ref().filter(|_| to_shell_alone)
            && !hands_over(line)
        {
            let message = format!("{shell} runs the command and forwards no signals: {}", short(line));
            let finding = findings.add(Rule::ShellPidOne, &self.subject, command.place, message);
            if let Some(words) = simple(line) {
                finding.remedy(format!("start the program without a shell: {}", as_json(&words)));
            } else {
                finding.remedy(
                    "end the script with: exec PROGRAM ARGUMENTS; or run it under adieu: adieu -- sh -c ...",
                );
            }
        }
        let words = line.and_then(|(_, line)| started_by(line)).unwrap_or_else(|| app.to_vec());
        let name = words.first().map(|word| base_name(word)).unwrap_or_default();
        if ["npm", "yarn", "pnpm", "npx", "pnpx"].contains(&name.as_str()) {
            let message = format!("{} runs the app", words.join(" "));
            findings.add(Rule::NpmPidOne, &self.subject, command.place, message);
        }
    }

    fn check_grace(&self, findings: &mut Findings) {
        let (grace, shown) = (self.whole_grace(), show_duration);
        let key = self.grace_key;
        if grace.is_zero() {
            findings.add(Rule::GraceZero, &self.subject, self.grace_place(), format!("{key} is 0"));
            return;
        }
        let hook = self.hook_sleep();
        if self.has_adieu() || hook.is_zero() {
            return;
        }
        let place = self.hook.as_ref().map_or(self.place, |hook| hook.place);
        let left = grace.saturating_sub(hook);
        if left.is_zero() {
            let message = format!("the preStop hook sleeps {}, but {key} is {}", shown(hook), shown(grace));
            findings
                .add(Rule::GraceOverrun, &self.subject, place, message)
                .remedy(format!("set {key} to {} or more", shown(hook + Duration::from_secs(30))));
        } else if left < Duration::from_secs(5) {
            let message = format!(
                "the preStop hook sleeps {} of {key} {}: {} are left for requests in flight and the app's own stop",
                shown(hook),
                shown(grace),
                shown(left)
            );
            findings
                .add(Rule::GraceOverrun, &self.subject, place, message)
                .weigh(Severity::Warning)
                .remedy(format!("set {key} to {} or more", shown(hook + Duration::from_secs(30))));
        }
    }

    fn check_times(&self, settings: &Settings, findings: &mut Findings) {
        let (plan, shown) = (&settings.plan, show_duration);
        let (grace, hook) = (self.whole_grace(), self.hook_sleep());
        let available = grace.saturating_sub(hook);
        let less = if hook.is_zero() {
            String::new()
        } else {
            format!(", minus {} for the preStop hook", shown(hook))
        };
        let (explicit, place) = self.adieu_grace(settings);
        if self.platform == Platform::None {
            // The platform is not known, and so is its grace.
        } else if plan.grace > available {
            let message = format!(
                "adieu plans with a grace of {}{}, but the platform kills {} after the stop request{less}",
                shown(plan.grace),
                if explicit { "" } else { " (the default)" },
                shown(grace),
            );
            findings
                .add(Rule::GraceMismatch, &self.subject, place, message)
                .remedy(format!("set ADIEU_GRACE to {}", shown(available)));
        } else if plan.grace < available && self.hook_is_known() {
            let message = format!(
                "adieu plans with a grace of {}, but the platform waits {}: the rest is never used",
                shown(plan.grace),
                shown(available)
            );
            findings
                .add(Rule::GraceMismatch, &self.subject, place, message)
                .weigh(Severity::Note)
                .remedy(format!("set ADIEU_GRACE to {}", shown(available)));
        }
        if let Some(hook) = self.hook.as_ref().filter(|hook| hook.value != PreStopHook::Other) {
            let own = shown(plan.pre_stop);
            let message = match &hook.value {
                PreStopHook::Sleep(time) | PreStopHook::SleepFirst(time) => {
                    format!(
                        "the preStop hook sleeps {}, and then adieu's own pre-stop sleep takes {own}",
                        shown(*time)
                    )
                }
                PreStopHook::Wait | PreStopHook::Other => {
                    format!("adieu --wait drains, and then adieu's own pre-stop sleep takes {own}")
                }
            };
            if !plan.pre_stop.is_zero() {
                findings.add(Rule::PreStopTwice, &self.subject, hook.place, message);
            }
        }
        self.check_schedule(settings, findings);
    }

    /// Whether the file sets adieu's grace, and where.
    fn adieu_grace(&self, settings: &Settings) -> (bool, Position) {
        let origin = settings.shown.iter().find(|(name, ..)| *name == "grace").map(|(_, _, origin)| origin);
        let command = self.command.as_ref().map_or(self.place, |command| command.place);
        match origin {
            Some(Origin::Variable(name)) => {
                let found = self.env.iter().find(|(variable, _)| variable == name);
                (true, found.map_or(self.place, |(_, spot)| spot.place))
            }
            Some(Origin::Flag(_) | Origin::File { .. }) => (true, command),
            Some(Origin::Default | Origin::Detected | Origin::Platform(_) | Origin::Program(_)) | None => {
                (false, self.grace_place())
            }
        }
    }

    fn check_schedule(&self, settings: &Settings, findings: &mut Findings) {
        let (plan, shown) = (&settings.plan, show_duration);
        let kill_at = plan.grace.saturating_sub(plan.kill_margin);
        let waits = waits(&plan.schedule);
        let schedule = values::show_schedule(&plan.schedule);
        let place = self.adieu_place("ADIEU_STOP");
        if plan.pre_stop + waits >= kill_at && !waits.is_zero() {
            let message = format!(
                "{schedule} takes {} after a pre-stop sleep of {}, but adieu kills at {}",
                shown(waits),
                shown(plan.pre_stop),
                shown(kill_at)
            );
            findings.add(Rule::ScheduleOverrun, &self.subject, place, message);
            return;
        }
        let drain = plan.drain.unwrap_or_default();
        if plan.pre_stop + drain + waits + Duration::from_secs(1) > kill_at && !drain.is_zero() {
            let message = format!(
                "pre-stop sleep {}, drain timeout {} and schedule waits of {} leave no time before the kill at {}",
                shown(plan.pre_stop),
                shown(drain),
                shown(waits),
                shown(kill_at)
            );
            findings.add(Rule::DrainSqueeze, &self.subject, self.adieu_place("ADIEU_DRAIN_TIMEOUT"), message);
        }
    }

    /// The platform's stop signal, where it is set, and whether the file sets it.
    fn asked_by(&self) -> Option<(Signal, Position, bool)> {
        match &self.stop_signal {
            Some(spot) => spot.value.parse().ok().map(|signal| (signal, spot.place, true)),
            None => {
                let place = self.command.as_ref().map_or(self.place, |command| command.place);
                self.usual_signal.map(|signal| (signal, place, false))
            }
        }
    }

    fn check_request(&self, settings: &Settings, findings: &mut Findings) {
        let Some((signal, place, _)) = self.asked_by() else { return };
        if !signal.is_catchable() || settings.plan.stop_on.contains(signal) {
            return;
        }
        let list: Vec<String> =
            settings.plan.stop_on.iter().chain([signal]).map(|signal| signal.to_string()).collect();
        let message = format!("the platform stops with {signal}, which is no stop request for adieu");
        findings
            .add(Rule::StopSignalNoRequest, &self.subject, place, message)
            .remedy(format!("let the platform send TERM, or set ADIEU_STOP_ON={}", list.join(",")));
    }

    fn check_signal(&self, findings: &mut Findings) {
        if let Some(spot) = &self.stop_signal
            && let Err(why) = values::signal(&spot.value)
        {
            findings
                .add(Rule::StopSignalWrong, &self.subject, spot.place, why)
                .weigh(Severity::Error)
                .remedy("write a signal's name, such as SIGTERM");
            return;
        }
        let Some((signal, place, written)) = self.asked_by() else { return };
        if !signal.is_catchable() {
            let message = format!("the stop signal is {signal}");
            findings.add(Rule::StopSignalKill, &self.subject, place, message);
            return;
        }
        if self.has_adieu() || self.hook_may_stop() {
            return;
        }
        let Some(program) = self.program() else { return };
        let Some(right) = program.asks.and_then(|name| name.parse::<Signal>().ok()) else { return };
        if signal == right || program.schedule.is_none() {
            return;
        }
        let how = if written { "here" } else { "by default" };
        let message = format!("{} gets {signal} {how}, but stops gracefully on {right}", program.name());
        findings
            .add(Rule::StopSignalWrong, &self.subject, place, message)
            .remedy(format!("set the stop signal to SIG{right}, or run it under adieu, which sends it"));
    }
}

/// How long the waits of a schedule take together; a wait until before the kill always fits.
fn waits(schedule: &Schedule) -> Duration {
    let steps = match schedule {
        Schedule::Steps(steps) => steps.as_slice(),
        Schedule::AsAsked | Schedule::Silent => &[],
    };
    let last = steps.len().saturating_sub(1);
    let before_last = steps.iter().take(last);
    before_last
        .map(|step| match step.wait {
            Wait::For(time) => time,
            Wait::UntilBeforeKill(_) => Duration::ZERO,
        })
        .sum()
}

/// The shell and its line, in `sh -c LINE`.
fn shell_line(words: &[String]) -> Option<(String, &str)> {
    let [shell, flag, line, ..] = words else { return None };
    let name = base_name(shell);
    let is_shell = ["sh", "bash", "ash", "dash", "zsh", "ksh"].contains(&name.as_str());
    (is_shell && flag.starts_with('-') && flag.ends_with('c')).then_some((name, line.as_str()))
}

/// The last command of the line replaces the shell.
fn hands_over(line: &str) -> bool {
    handed_over(line).is_some()
}

/// What `exec` in front of the last command starts.
fn handed_over(line: &str) -> Option<&str> {
    let ends = ['\n', ';', '&', '|', ' '];
    let line = line.trim().trim_end_matches(ends);
    let mut quote = None;
    let mut last = 0;
    for (place, letter) in line.char_indices() {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if ['"', '\''].contains(&letter) => quote = Some(letter),
            None if ends.contains(&letter) && letter != ' ' => last = place + 1,
            None => {}
        }
    }
    line[last..].trim_start().strip_prefix("exec ")
}

/// The words of the program that the line starts in the shell's place, or alone.
fn started_by(line: &str) -> Option<Vec<String>> {
    handed_over(line).and_then(shlex::split).or_else(|| simple(line))
}

/// The words of a line that needs no shell.
fn simple(line: &str) -> Option<Vec<String>> {
    // Between single quotes no character is special; between double quotes only $ and ` are.
    let outside: String = line.split('\'').step_by(2).collect();
    let bare: String = outside.split('"').step_by(2).collect();
    let needs_shell =
        outside.contains(['$', '`']) || bare.contains(['|', ';', '&', '<', '>', '(', '*', '?', '\n', '~']);
    let words = shlex::split(line)?;
    let assigns = words.first().is_some_and(|word| word.contains('='));
    (!needs_shell && !assigns && !words.is_empty()).then_some(words)
}

fn as_json(words: &[String]) -> String {
    serde_json::to_string(words).unwrap_or_default().replace("\",\"", "\", \"")
}

fn short(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let cut: String = line.chars().take(60).collect();
    if cut.len() < text.trim().len() { format!("{cut}...") } else { cut }
}
