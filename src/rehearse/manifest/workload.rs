//! One container or service, read from any kind of manifest.

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
    /// Its name in findings of the lint: `Deployment my-app, container web`.
    pub(super) object: String,
    pub platform: Platform,
    /// The command without an adieu in front of it; empty when only the image knows it.
    pub command: Vec<OsString>,
    /// adieu's options in front of the command; `None` when it is not under adieu.
    pub adieu: Option<Vec<String>>,
    pub env: Vec<(String, String)>,
    pub grace: Duration,
    /// How long the platform waits before the stop signal: a preStop hook that sleeps.
    pub hook: Duration,
    pub stop_signal: Signal,
    /// The working directory; `None` for the rehearsal's own.
    pub directory: Option<PathBuf>,
    /// The user that it runs as: `USER` or `USER:GROUP`, by names or numbers.
    pub user: Option<String>,
    /// What runs before it, one after the other: a unit's ExecStartPre.
    pub before: Vec<PreStart>,
    /// The readiness probe, if it uses HTTP.
    pub readiness: Option<Probe>,
    /// Problems, and what the rehearsal leaves out.
    pub notes: Vec<ManifestNote>,
    /// The reason why it cannot be rehearsed, though others of its manifest can.
    pub(super) refusal: Option<String>,
}

/// A command that has to end before the app starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PreStart {
    pub command: Vec<OsString>,
    /// The app starts even if it fails.
    pub may_fail: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub port: u16,
    pub path: String,
}

impl Workload {
    /// A workload with this command line and the platform's defaults.
    pub(super) fn new(name: String, platform: Platform, words: Vec<String>) -> Workload {
        let (init, words) = unwrap_init(words);
        let (adieu, command) = unwrap_adieu(words);
        let left_out = |init: String| {
            let below = format!("to rehearse with it: --init {init}");
            ManifestNote::new(format!("{init} in front of the command is not rehearsed"), below)
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
            refusal: None,
        }
    }

    /// Sets its variables. An ADIEU_ variable shows that adieu is the image's entry point.
    pub(super) fn set_env(&mut self, env: Vec<(String, String)>) {
        self.adieu = self.adieu.take().or_else(|| adieu_in_image(&env));
        self.env = env;
    }

    /// The value of an option of adieu, from the command line or the environment.
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

    /// adieu's pre-stop sleep: the manifest's, or the default.
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

    /// Adds the findings of the lint for this workload. Notes about its whole object, such as a
    /// missing PodDisruptionBudget, do not matter for the stop of one app.
    pub(super) fn note_findings(&mut self, findings: &[Finding]) {
        let of_whole = |finding: &Finding| {
            let rest = self.object.strip_prefix(finding.object.as_str());
            rest.is_some_and(|rest| rest.starts_with(", container ")) && finding.severity > Severity::Note
        };
        let own = findings.iter().filter(|finding| finding.object == self.object || of_whole(finding));
        self.notes.extend(own.map(|finding| ManifestNote::new(&finding.message, &finding.remedy)));
    }
}

/// A note if the longest request does not fit into the grace after the sleeps. Only a rehearsal
/// knows how long requests take.
#[must_use]
pub fn too_short(grace: Duration, before: Duration, slowest: Duration) -> Option<ManifestNote> {
    let shown = show_duration;
    (before < grace && before + slowest > grace * 9 / 10).then(|| {
        ManifestNote::new(
            format!(
                "sleeps of {} and a request of {} do not fit into the grace of {}",
                shown(before),
                shown(slowest),
                shown(grace)
            ),
            "make the grace longer or the sleeps shorter",
        )
    })
}

/// Removes another init and its options from the front of a command.
fn unwrap_init(words: Vec<String>) -> (Option<String>, Vec<String>) {
    /// Options of tini and dumb-init that take a value.
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

/// Removes adieu and its options from the front of a command.
fn unwrap_adieu(words: Vec<String>) -> (Option<Vec<String>>, Vec<OsString>) {
    let is_adieu =
        words.first().is_some_and(|first| Path::new(first).file_name().is_some_and(|name| name == "adieu"));
    if !is_adieu {
        return (None, words.into_iter().map(OsString::from).collect());
    }
    let rest = &words[1..];
    // Without `--`, the end of the options is known only with adieu's list of options, so such a
    // command stays as it is.
    let split = rest.iter().position(|word| word == "--").unwrap_or(0);
    let command =
        rest.iter().skip(if rest.get(split).is_some_and(|word| word == "--") { split + 1 } else { split });
    (Some(rest[..split].to_vec()), command.map(OsString::from).collect())
}

/// When adieu is the image's entry point, the manifest shows only adieu's variables, and no
/// options.
pub(super) fn adieu_in_image(env: &[(String, String)]) -> Option<Vec<String>> {
    env.iter().any(|(name, _)| name.starts_with("ADIEU_")).then(Vec::new)
}

pub(super) fn signal_named(text: &str) -> Result<Signal, String> {
    let number = values::signal(text)?;
    Signal::try_from(number.number()).map_err(|_| format!("no platform sends '{text}' as a stop signal"))
}

/// Adds a note for each of these keys that is set, because the rehearsal leaves them out.
pub(super) fn name_dropped(workload: &mut Workload, node: Node, keys: &[&str]) {
    for key in keys.iter().filter(|key| node.get(key).is_some()) {
        workload.notes.push(ManifestNote::new(
            format!("{key} is not rehearsed"),
            "rehearse where its effect is already in place; give variables with --env",
        ));
    }
}

/// Adds one note with all that this part of a manifest sets and the rehearsal leaves out: every key
/// that is not among the known ones and whose value is not the usual one. A key that nobody has
/// thought of is named, too.
pub(super) fn name_rest(
    workload: &mut Workload,
    of: &str,
    set: &[(String, Option<String>)],
    known: &[&[&str]],
    usual: &[(&str, &str)],
) {
    let mut named: Vec<&str> = Vec::new();
    for (key, value) in set {
        let is_known = known.iter().any(|keys| keys.contains(&key.as_str()));
        let is_usual = usual.iter().any(|(name, usual)| name == key && value.as_deref() == Some(*usual));
        if !is_known && !is_usual && !named.contains(&key.as_str()) {
            named.push(key);
        }
    }
    if !named.is_empty() {
        workload.notes.push(ManifestNote::new(
            format!("not rehearsed of {of}: {}", named.join(", ")),
            "rehearse where they have their effect, or in a container with such options: --image, --run-option",
        ));
    }
}
