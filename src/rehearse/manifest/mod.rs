//! What a manifest says about an app's start and stop, whoever's manifest it is: a Kubernetes object, a compose file, a systemd
//! unit. Reading one also finds what does not fit together, before anything is run. Each dialect has its file; here stands what
//! they have in common.

mod compose;
mod kubernetes;
mod systemd;

use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::Signal;
use saphyr::Yaml;
use serde::Serialize;

use adieu::settings::{Platform, values};

/// One container or service of a manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct Brief {
    pub name: String,
    pub platform: Platform,
    /// Without adieu, if that stands in front of it; empty when the manifest leaves it to the image.
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
    pub misfits: Vec<Misfit>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Probe {
    pub port: u16,
    pub path: String,
}

/// Something in a manifest that does not fit, and what to do about it.
#[derive(Serialize, serde::Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Misfit {
    pub what: String,
    pub advice: String,
}

impl Misfit {
    fn new(what: impl Into<String>, advice: impl Into<String>) -> Misfit {
        Misfit { what: what.into(), advice: advice.into() }
    }
}

/// Reads a manifest and takes the named container or service out of it, or the first that names a command, or the first.
///
/// # Errors
/// What it is not, or whom it does not name.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Brief, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read '{}': {error}", path.display()))?;
    let briefs = parse(&text, &|name| std::env::var(name).ok())
        .map_err(|error| format!("'{}': {error}", path.display()))?;
    choose(briefs, wanted).map_err(|error| format!("'{}': {error}", path.display()))
}

/// All that a manifest starts. `variable` looks up what a compose file takes from its surroundings.
///
/// # Errors
/// Why it is no manifest.
pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Brief>, String> {
    if text.lines().any(|line| line.trim() == "[Service]") {
        return Ok(vec![systemd::read(text)?]);
    }
    let documents = <Yaml as saphyr::LoadableYamlNode>::load_from_str(text)
        .map_err(|error| format!("no YAML: {error}"))?;
    let mut briefs = Vec::new();
    for document in &documents {
        let node = Node(document);
        if node.get("services").is_some() {
            briefs.extend(compose::read(node, variable)?);
        } else if node.get("kind").is_some() {
            briefs.extend(kubernetes::read(node)?);
        }
    }
    if briefs.is_empty() {
        return Err("neither a Kubernetes workload, nor a compose file, nor a systemd service".into());
    }
    Ok(briefs)
}

fn choose(mut briefs: Vec<Brief>, wanted: Option<&str>) -> Result<Brief, String> {
    let place = match wanted {
        Some(name) => briefs.iter().position(|brief| brief.name == name).ok_or_else(|| {
            let names: Vec<&str> = briefs.iter().map(|brief| brief.name.as_str()).collect();
            format!("names no '{name}'; there is {}", values::list_or(&names))
        })?,
        None => briefs.iter().position(|brief| !brief.command.is_empty()).unwrap_or(0),
    };
    Ok(briefs.swap_remove(place))
}

/// Takes adieu and its options off the front of a command.
fn unwrap_adieu(words: Vec<String>) -> (Option<Vec<String>>, Vec<OsString>) {
    let is_adieu =
        words.first().is_some_and(|first| Path::new(first).file_name().is_some_and(|name| name == "adieu"));
    if !is_adieu {
        return (None, words.into_iter().map(OsString::from).collect());
    }
    let rest = &words[1..];
    // Without `--`, adieu's own rule would need its own list of options: such a command is left to start as it stands.
    let split = rest.iter().position(|word| word == "--").unwrap_or(0);
    let command =
        rest.iter().skip(if rest.get(split).is_some_and(|word| word == "--") { split + 1 } else { split });
    (Some(rest[..split].to_vec()), command.map(OsString::from).collect())
}

/// An image whose entry point is adieu shows in its manifest only by adieu's variables; it has no options there.
fn adieu_in_image(env: &[(String, String)]) -> Option<Vec<String>> {
    env.iter().any(|(name, _)| name.starts_with("ADIEU_")).then(Vec::new)
}

impl Brief {
    /// A command under a shell that stays in between.
    fn check_shell(&mut self) {
        let words: Vec<String> =
            self.command.iter().map(|word| word.to_string_lossy().into_owned()).collect();
        let [shell, flag, script, ..] = words.as_slice() else { return };
        let name = Path::new(shell).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let is_shell = ["sh", "bash", "ash", "dash", "zsh"].contains(&name.as_str());
        let hands_over = script.trim_start().starts_with("exec ");
        if is_shell && flag.starts_with('-') && flag.ends_with('c') && !hands_over {
            self.misfits.push(Misfit::new(
                format!("the command goes through {name} -c, which passes no signal on to the app"),
                "name the program itself (exec form), or write: exec COMMAND",
            ));
        }
    }

    /// adieu's options that a manifest gives, wherever they stand: on the command line or in the environment.
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
    fn check_times(&mut self) {
        let shown = values::show_duration;
        if !self.hook.is_zero() && self.adieu.is_some() {
            let together = self.hook + self.pre_stop();
            self.misfits.push(Misfit::new(
                format!("the preStop sleep of {} comes on top of adieu's own of {}", shown(self.hook), shown(self.pre_stop())),
                format!("drop the preStop hook (adieu serves on by itself), or give adieu --pre-stop 0; now it is {}", shown(together)),
            ));
        }
        let before = self.hook + self.pre_stop();
        if before >= self.grace {
            self.misfits.push(Misfit::new(
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
            self.misfits.push(Misfit::new(
                format!("the platform stops with {name}, which adieu would forward and not take for a stop request"),
                format!("let the platform send TERM, or give adieu --stop-on TERM,{name}"),
            ));
        }
    }

    /// A readiness probe that asks the app cannot know of a stop that the app has not been told of.
    fn check_probe(&mut self) {
        let Some(probe) = &self.readiness else { return };
        let health = self.adieu_option("health");
        let port = health.as_deref().and_then(|address| address.rsplit_once(':')?.1.parse::<u16>().ok());
        let misfit = match (self.adieu.is_some(), port) {
            (false, _) => return,
            (true, None) => Misfit::new(
                "adieu serves no readiness (--health is not set), so nothing fails when the stop comes",
                "give adieu --health 0.0.0.0:9000 and let the readiness probe ask its /readyz",
            ),
            (true, Some(port)) if port != probe.port => Misfit::new(
                format!(
                    "the readiness probe asks the app (:{}{}), which knows nothing of the stop",
                    probe.port, probe.path
                ),
                format!("let it ask adieu: port {port}, path /readyz"),
            ),
            (true, Some(_)) if !["/readyz", "/health/ready"].contains(&probe.path.as_str()) => Misfit::new(
                format!("the readiness probe asks {}, which tells of life and not of readiness", probe.path),
                "let it ask /readyz",
            ),
            (true, Some(_)) => return,
        };
        self.misfits.push(misfit);
    }
}

/// What only a rehearsal can tell: whether the longest request fits behind the sleeps.
#[must_use]
pub fn too_short(grace: Duration, before: Duration, slowest: Duration) -> Option<Misfit> {
    let shown = values::show_duration;
    (before < grace && before + slowest > grace * 9 / 10).then(|| {
        Misfit::new(
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

/// A YAML node, as manifests need it: merge keys are followed, and scalars of any type have a text.
#[derive(Clone, Copy)]
struct Node<'a>(&'a Yaml<'a>);

impl<'a> Node<'a> {
    fn get(self, key: &str) -> Option<Node<'a>> {
        if let Some(found) = self.0.as_mapping_get(key) {
            return Some(Node(found));
        }
        let merged = Node(self.0.as_mapping_get("<<")?);
        merged.get(key).or_else(|| merged.items().into_iter().find_map(|item| item.get(key)))
    }

    /// A path of keys: `spec.template.spec`.
    fn at(self, path: &str) -> Option<Node<'a>> {
        path.split('.').try_fold(self, Node::get)
    }

    fn items(self) -> Vec<Node<'a>> {
        self.0.as_sequence().map(|items| items.iter().map(Node).collect()).unwrap_or_default()
    }

    fn entries(self) -> Vec<(String, Node<'a>)> {
        let Some(mapping) = self.0.as_mapping() else { return Vec::new() };
        mapping.iter().filter_map(|(key, value)| Some((Node(key).text()?, Node(value)))).collect()
    }

    fn text(self) -> Option<String> {
        let scalar = self.0;
        scalar
            .as_str()
            .map(str::to_owned)
            .or_else(|| scalar.as_integer().map(|number| number.to_string()))
            .or_else(|| scalar.as_bool().map(|on| on.to_string()))
            .or_else(|| scalar.as_floating_point().map(|number| number.to_string()))
    }

    fn number(self) -> Option<u64> {
        self.0.as_integer().and_then(|number| u64::try_from(number).ok())
    }

    fn texts(self) -> Vec<String> {
        self.items().into_iter().filter_map(Node::text).collect()
    }
}

fn signal_named(text: &str) -> Result<Signal, String> {
    let number = values::signal(text)?;
    Signal::try_from(number.number()).map_err(|_| format!("no platform stops by '{text}'"))
}
