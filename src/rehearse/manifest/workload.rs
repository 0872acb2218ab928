//! One container or service of a manifest, whatever its dialect.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::MANIFEST;
use crate::lint::finding::Finding;
use crate::lint::is_other_init;
use crate::lint::rules::Severity;
use crate::lint::yaml::Node;
use crate::recording::ManifestNote;
use adieu::moment::show_duration;
use adieu::settings::{Platform, values};

/// One container or service of a manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct Workload {
    pub name: String,
    /// As findings of the lint name it: `Deployment my-app, container web`.
    pub(super) object: String,
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
    /// What does not fit, and what the rehearsal leaves out.
    pub notes: Vec<ManifestNote>,
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
            ManifestNote::new(format!("{init} in front of the command is left out"), below)
        };
        Workload {
            name,
            object: MANIFEST.to_owned(),
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
            notes: init.map(left_out).into_iter().collect(),
        }
    }

    /// Its variables, by which an adieu shows that is its image's entry point.
    pub(super) fn set_env(&mut self, env: Vec<(String, String)>) {
        self.adieu = self.adieu.take().or_else(|| adieu_in_image(&env));
        self.env = env;
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

    /// Adds what the rules of the lint say of this workload. What is only worth knowing of the
    /// whole object, such as a missing PodDisruptionBudget, is no matter of one app's stop.
    pub(super) fn note_findings(&mut self, findings: &[Finding]) {
        let of_whole = |finding: &Finding| {
            let rest = self.object.strip_prefix(finding.object.as_str());
            rest.is_some_and(|rest| rest.starts_with(", container ")) && finding.severity > Severity::Note
        };
        let own = findings.iter().filter(|finding| finding.object == self.object || of_whole(finding));
        self.notes.extend(own.map(|finding| ManifestNote::new(&finding.message, &finding.remedy)));
    }
}

/// What only a rehearsal can tell: whether the longest request fits behind the sleeps.
#[must_use]
pub fn too_short(grace: Duration, before: Duration, slowest: Duration) -> Option<ManifestNote> {
    let shown = show_duration;
    (before < grace && before + slowest > grace * 9 / 10).then(|| {
        ManifestNote::new(
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

/// Says which of these keys are there, since the rehearsal leaves them out.
pub(super) fn name_dropped(workload: &mut Workload, node: Node, keys: &[&str]) {
    for key in keys.iter().filter(|key| node.get(key).is_some()) {
        workload.notes.push(ManifestNote::new(
            format!("{key} is left out"),
            "rehearse where that holds already, and give variables with --env",
        ));
    }
}
