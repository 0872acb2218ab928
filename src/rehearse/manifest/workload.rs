//! One container or service of a manifest, whatever its dialect, and what must fit together in
//! each.

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::lint::Lint;
use crate::lint::yaml::Node;
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
    /// The readiness probe, if it asks by HTTP.
    pub readiness: Option<Probe>,
    pub lints: Vec<Lint>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub port: u16,
    pub path: String,
}

impl Workload {
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

/// Takes adieu and its options off the front of a command.
pub(super) fn unwrap_adieu(words: Vec<String>) -> (Option<Vec<String>>, Vec<OsString>) {
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
pub(super) fn adieu_in_image(env: &[(String, String)]) -> Option<Vec<String>> {
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
