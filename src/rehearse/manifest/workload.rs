//! One container or service of a manifest, whatever its dialect, and what must fit together in
//! each.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lint::yaml::Node;
use crate::lint::{Lint, is_other_init};
use adieu::moment::show_duration;
use adieu::settings::{Platform, values};

/// One container or service of a manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    pub name: String,
    pub platform: Platform,
    /// Without adieu, if that stands in front of it; empty when the manifest leaves it to the
    /// image.
    pub command: Vec<OsString>,
    /// adieu's options in front of the command; `None` when it is not under adieu.
    pub adieu: Option<Vec<String>>,
    pub env: Vec<(String, String)>,
    pub grace: Duration,
    /// What the platform waits before it sends the stop signal: a preStop hook that sleeps.
    pub hook: Duration,
    pub stop_signal: Signal,
    /// Where it starts; the rehearsal's own folder when nothing is said.
    pub directory: Option<PathBuf>,
    /// As whom it runs: `USER` or `USER:GROUP`, by names or numbers.
    pub user: Option<String>,
    /// What runs before it, one after the other: a unit's ExecStartPre.
    pub before: Vec<PreStart>,
    /// The readiness probe, if it asks by HTTP.
    pub readiness: Option<Probe>,
    pub lints: Vec<Lint>,
}

/// A command that has to end before the app starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreStart {
    pub command: Vec<OsString>,
    /// Its failure does not keep the app from starting.
    pub may_fail: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub port: u16,
    pub path: String,
}

impl Workload {
    /// What has this command line, and of which nothing else is known yet: the platform's own
    /// defaults.
    pub(super) fn new(name: String, platform: Platform, words: Vec<String>) -> Workload {
        let (init, words) = unwrap_init(words);
        let (adieu, command) = unwrap_adieu(words);
        let left_out = |init: String| {
            let below = format!("to rehearse it below that one: --init {init}");
            Lint::new(format!("{init} in front of the command is left out"), below)
        };
        Workload {
            name,
            platform,
            command,
            adieu,
            env: Vec::new(),
            grace: platform.grace(),
            hook: Duration::ZERO,
            stop_signal: Signal::SIGTERM,
            directory: None,
            user: None,
            before: Vec::new(),
            readiness: None,
            lints: init.map(left_out).into_iter().collect(),
        }
    }

    /// Its variables, by which an adieu shows that is its image's entry point.
    pub(super) fn set_env(&mut self, env: Vec<(String, String)>) {
        self.adieu = self.adieu.take().or_else(|| adieu_in_image(&env));
        self.env = env;
    }

    /// A command under a shell that stays in between.
    pub(super) fn check_shell(&mut self) {
        let words: Vec<String> =
            self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let [shell, flag, launch, ..] = words.as_slice() else { return };
        let name = Path::new(shell).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_shell = ["sh", "bash", "ash", "dash", "zsh"].contains(&name.as_str());
        let hands_over = launch.trim_start().starts_with("exec ");
        if is_shell && flag.starts_with('-') && flag.ends_with('c') && !hands_over {
            self.lints.push(Lint::new(
                format!("the command goes through {name} -c, which passes no signal on to the app"),
                "name the program itself (exec form), or write: exec COMMAND",
            ));
        }
    }

    /// adieu's options that a manifest gives, wherever they stand: on the command line or in the
    /// environment.
    fn adieu_option(&self, name: &str) -> Option<String> {
        let flag = format!("--{name}");
        let words = self.adieu.as_deref().unwrap_or_default();
        let on_line = words.iter().enumerate().find_map(|(place, word)| match word.strip_prefix(&flag) {
            Some("") => words.get(place + 1).cloned(),
            Some(rest) => rest.strip_prefix('=').map(str::to_owned),
            None => None,
        });
        let variable = format!("ADIEU_{}", name.to_ascii_uppercase().replace('-', "_"));
        on_line
            .or_else(|| self.env.iter().find(|(name, _)| *name == variable).map(|(_, value)| value.clone()))
    }

    /// adieu's pre-stop sleep under this manifest: as given, or its default.
    #[must_use]
    pub fn pre_stop(&self) -> Duration {
        let given = self.adieu_option("pre-stop").and_then(|text| values::duration(&text).ok());
        let usual = if self.platform.routes_by_readiness() {
            Duration::from_secs(5).min(self.grace / 3)
        } else {
            Duration::ZERO
        };
        given.unwrap_or(usual)
    }

    /// What every dialect's times must satisfy.
    pub(super) fn check_times(&mut self) {
        let shown = show_duration;
        if !self.hook.is_zero() && self.adieu.is_some() {
            let together = self.hook + self.pre_stop();
            self.lints.push(Lint::new(
                format!("the preStop sleep of {} comes on top of adieu's own of {}", shown(self.hook), shown(self.pre_stop())),
                format!("drop the preStop hook (adieu serves on by itself), or give adieu --pre-stop 0; now it is {}", shown(together)),
            ));
        }
        let before = self.hook + self.pre_stop();
        if before >= self.grace {
            self.lints.push(Lint::new(
                format!(
                    "the grace of {} is over before the pre-stop sleeps of {} are",
                    shown(self.grace),
                    shown(before)
                ),
                "lengthen the grace: it must hold the sleeps, the longest request and the app's own end",
            ));
        }
        let stops_by = self.adieu_option("stop-on").unwrap_or_else(|| "TERM".to_owned());
        let known = stops_by
            .split(',')
            .filter_map(|name| name.parse::<adieu::signal::Signal>().ok())
            .any(|signal| signal.number() == self.stop_signal as i32);
        if self.adieu.is_some() && !known {
            let name = self.stop_signal.as_str().trim_start_matches("SIG");
            self.lints.push(Lint::new(
                format!("the platform stops with {name}, which adieu would forward and not take for a stop request"),
                format!("let the platform send TERM, or give adieu --stop-on TERM,{name}"),
            ));
        }
    }

    /// A readiness probe that asks the app cannot know of a stop that the app has not been told of.
    pub(super) fn check_probe(&mut self) {
        let Some(probe) = &self.readiness else { return };
        let health = self.adieu_option("health");
        let port = health.as_deref().and_then(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
        let lint = match (self.adieu.is_some(), port) {
            (false, _) => return,
            (true, None) => Lint::new(
                "adieu serves no readiness (--health is not set), so nothing fails when the stop comes",
                "give adieu --health 0.0.0.0:9000 and let the readiness probe ask its /readyz",
            ),
            (true, Some(port)) if port != probe.port => Lint::new(
                format!(
                    "the readiness probe asks the app (:{}{}), which knows nothing of the stop",
                    probe.port, probe.path
                ),
                format!("let it ask adieu: port {port}, path /readyz"),
            ),
            (true, Some(_)) if !["/readyz", "/health/ready"].contains(&probe.path.as_str()) => Lint::new(
                format!("the readiness probe asks {}, which tells of life and not of readiness", probe.path),
                "let it ask /readyz",
            ),
            (true, Some(_)) => return,
        };
        self.lints.push(lint);
    }
}

/// What only a rehearsal can tell: whether the longest request fits behind the sleeps.
#[must_use]
pub fn too_short(grace: Duration, before: Duration, slowest: Duration) -> Option<Lint> {
    let shown = show_duration;
    (before < grace && before + slowest > grace * 9 / 10).then(|| {
        Lint::new(
            format!(
                "sleeps of {} and a request of {} leave no room in the grace of {}",
                shown(before),
                shown(slowest),
                shown(grace)
            ),
            "lengthen the grace, or shorten the sleeps",
        )
    })
}

/// Takes another init and its options off the front of a command.
fn unwrap_init(words: Vec<String>) -> (Option<String>, Vec<String>) {
    /// Options of tini and dumb-init that have a value behind them.
    const WITH_VALUE: [&str; 4] = ["-p", "-e", "-r", "--rewrite"];
    let Some(init) = words.first().filter(|first| is_other_init(first)).cloned() else {
        return (None, words);
    };
    let mut rest = words.into_iter().skip(1).peekable();
    while let Some(option) = rest.next_if(|word| word.starts_with('-')) {
        match option.as_str() {
            "--" => break,
            option if WITH_VALUE.contains(&option) => drop(rest.next()),
            _ => {}
        }
    }
    (Some(init), rest.collect())
}

/// Takes adieu and its options off the front of a command.
fn unwrap_adieu(words: Vec<String>) -> (Option<Vec<String>>, Vec<OsString>) {
    let is_adieu =
        words.first().is_some_and(|first| Path::new(first).file_name().is_some_and(|name| name == "adieu"));
    if !is_adieu {
        return (None, words.into_iter().map(OsString::from).collect());
    }
    let rest = &words[1..];
    // Without `--`, adieu's own rule would need its own list of options: such a command is left to
    // start as it stands.
    let split = rest.iter().position(|word| word == "--").unwrap_or(0);
    let command =
        rest.iter().skip(if rest.get(split).is_some_and(|word| word == "--") { split + 1 } else { split });
    (Some(rest[..split].to_vec()), command.map(OsString::from).collect())
}

/// An image whose entry point is adieu shows in its manifest only by adieu's variables; it has no
/// options there.
fn adieu_in_image(env: &[(String, String)]) -> Option<Vec<String>> {
    env.iter().any(|(name, _)| name.starts_with("ADIEU_")).then(Vec::new)
}

pub(super) fn signal_named(text: &str) -> Result<Signal, String> {
    let number = values::signal(text)?;
    Signal::try_from(number.number()).map_err(|_| format!("no platform stops by '{text}'"))
}

/// Says which of these keys are there: the rehearsal does not honour them, and drops nothing in
/// silence.
pub(super) fn name_dropped(workload: &mut Workload, node: Node, keys: &[&str]) {
    for key in keys.iter().filter(|key| node.get(key).is_some()) {
        workload.lints.push(Lint::new(
            format!("{key} is not honoured by the rehearsal"),
            "rehearse where that holds already, and give variables with --env",
        ));
    }
}
