//! The plan of one rehearsal: the options and the manifest combined, with defaults for the rest.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::container::Image;
use super::http::Message;
use super::load::{Crowd, Manner};
use super::manifest::workload::{PreStart, Workload};
use super::options::Options;
use super::recording::{ManifestNote, Mode};
use super::url::{Address, Scheme, Url};
use super::user::{self, RunAs};
use adieu::settings::Platform;

/// Remote ports that count as databases: PostgreSQL, MySQL, SQL Server, Oracle, MongoDB, Redis,
/// Cassandra.
const DATABASES: [u16; 7] = [5432, 3306, 1433, 1521, 27017, 6379, 9042];

#[derive(Clone, Debug)]
pub(crate) struct RehearsalPlan {
    /// The name of the app in the result.
    pub(crate) app: String,
    pub(crate) command: Vec<OsString>,
    /// The image to run; the command, if any, replaces the image's own.
    pub(crate) image: Option<Image>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) mode: Mode,
    pub(crate) start_as: StartAs,
    /// The init to run the app under; `None` for the adieu inside this binary.
    pub(crate) init: Option<PathBuf>,
    /// The init's own options.
    pub(crate) init_options: Vec<OsString>,
    pub(crate) limits: PlannedLimits,
    pub(crate) load: Load,
    /// The app's own readiness address, which a balancer asks when there is no adieu.
    pub(crate) readiness: Option<Url>,
    /// Remote ports that count as databases.
    pub(crate) databases: Vec<u16>,
    /// The file for the app's output; `None` for a temporary one.
    pub(crate) log: Option<PathBuf>,
    /// Problems in the manifest, and what the rehearsal leaves out of it.
    pub(crate) notes: Vec<ManifestNote>,
    /// How long the app does not know of the stop, by the manifest: a preStop hook and adieu's own
    /// sleep.
    pub(crate) unaware: Option<Duration>,
}

/// The directory and user that the app starts with, and what runs before it, by its manifest.
#[derive(Clone, Default, Debug)]
pub(crate) struct StartAs {
    pub(crate) directory: Option<PathBuf>,
    pub(crate) user: Option<RunAs>,
    pub(crate) before: Vec<PreStart>,
}

#[derive(Clone, Debug)]
pub(crate) struct PlannedLimits {
    pub(crate) platform: Platform,
    /// From the stop request to SIGKILL.
    pub(crate) grace: Duration,
    /// From the stop request to the platform's signal: a preStop hook that sleeps.
    pub(crate) hook: Duration,
    /// From the stop request to the removal from the balancer.
    pub(crate) removal: Duration,
    pub(crate) stop_signal: Signal,
    /// From the start to the first answer.
    pub(crate) start: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// Where to send requests; `None` for a worker that listens on no port.
    pub(crate) endpoints: Option<Endpoints>,
    pub(crate) crowd: Crowd,
    pub(crate) manner: Manner,
    /// How long to send requests before the stop request.
    pub(crate) warm_up: Duration,
}

#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    /// The ports to wait for; empty for the ports that the app listens on.
    pub(crate) ports: Vec<u16>,
    /// Whole URLs, or paths on the first port.
    pub(crate) urls: Vec<Url>,
}

impl Endpoints {
    /// All of them are full URLs, so no port of the app has to be found.
    pub(crate) fn elsewhere(&self) -> bool {
        self.urls.iter().all(|url| matches!(url.address, Address::Unix(_)))
    }
}

/// What is rehearsed.
pub(crate) enum Subject {
    /// The built-in legacy app, with the command that starts it.
    BuiltIn(Vec<OsString>),
    Command(Vec<OsString>),
    Manifest(Box<Workload>),
    /// A container, and the command that it gets, if any.
    Image(Image, Vec<OsString>),
}

impl RehearsalPlan {
    pub(crate) fn new(options: &Options, subject: &Subject, mode: Mode, removal: Duration) -> RehearsalPlan {
        let (app, command, workload) = match subject {
            Subject::BuiltIn(command) => ("the built-in legacy app".to_owned(), command, None),
            Subject::Command(command) => (typed(command), command, None),
            Subject::Manifest(workload) => (
                format!("{} ({})", workload.name, typed(&workload.command)),
                &workload.command,
                Some(workload),
            ),
            Subject::Image(image, command) => (image.name.clone(), command, None),
        };
        let image = match subject {
            Subject::Image(image, _) => Some(image.clone()),
            Subject::BuiltIn(_) | Subject::Command(_) | Subject::Manifest(_) => None,
        };
        let from_manifest = workload.into_iter().flat_map(|workload| workload.env.iter());
        let env =
            from_manifest.chain(&options.env).map(|(name, value)| (name.into(), value.into())).collect();
        let databases = DATABASES.into_iter().chain(options.database.iter().copied()).collect();
        let own_probe =
            workload.and_then(|workload| workload.readiness.as_ref().filter(|_| workload.adieu.is_none()));
        let probe_url = own_probe.map(|probe| Url {
            scheme: Scheme::Http,
            address: Address::Tcp { host: "127.0.0.1".into(), port: probe.port },
            path: probe.path.clone(),
        });
        let limits = limits(options, subject, removal);
        RehearsalPlan {
            app,
            command: command.clone(),
            image,
            env,
            mode,
            start_as: workload.map(|workload| start_as(workload)).unwrap_or_default(),
            init: options.adieu.clone().or_else(|| options.init.clone()),
            init_options: init_options(options, subject, mode),
            load: load(options, subject, limits.platform, probe_url.as_ref()),
            limits,
            readiness: options.readiness.clone().or(probe_url),
            databases,
            log: options.log.clone(),
            notes: workload.map(|workload| workload.notes.clone()).unwrap_or_default(),
            unaware: workload
                .map(|workload| workload.hook + options.pre_stop.unwrap_or_else(|| workload.pre_stop())),
        }
    }
}

fn start_as(workload: &Workload) -> StartAs {
    StartAs {
        directory: workload.directory.clone(),
        // A user that this machine does not have was noted and dropped when the manifest was read.
        user: workload.user.as_deref().and_then(|user| user::find(user).ok()),
        before: workload.before.clone(),
    }
}

/// The manifest's options first: a later option overrides an earlier one.
fn init_options(options: &Options, subject: &Subject, mode: Mode) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut pre_stop = options.pre_stop;
    match (mode, subject) {
        (Mode::Bare | Mode::Init, _) | (Mode::Adieu, Subject::Command(_) | Subject::Image(..)) => {}
        // Keeps the demonstration, with its requests of 2 s, short.
        (Mode::Adieu, Subject::BuiltIn(_)) => pre_stop = pre_stop.or(Some(Duration::from_secs(3))),
        (Mode::Adieu, Subject::Manifest(workload)) => {
            all.extend(workload.adieu.iter().flatten().map(OsString::from))
        }
    }
    if let (Some(pre_stop), Mode::Adieu) = (pre_stop, mode) {
        all.push(format!("--pre-stop={}ms", pre_stop.as_millis()).into());
    }
    all.extend(options.option.iter().map(dashed));
    all
}

/// Adds the dashes that adieu expects: `pre-stop=2s` becomes `--pre-stop=2s`.
fn dashed(option: &OsString) -> OsString {
    let text = option.to_string_lossy();
    if text.starts_with('-') { option.clone() } else { format!("--{text}").into() }
}

fn limits(options: &Options, subject: &Subject, removal: Duration) -> PlannedLimits {
    let (platform, grace, hook, stop_signal) = match subject {
        Subject::BuiltIn(_) => (Platform::Docker, None, Duration::ZERO, Signal::SIGTERM),
        Subject::Image(..) => (Platform::Docker, None, Duration::ZERO, Signal::SIGTERM),
        Subject::Command(_) => (Platform::None, None, Duration::ZERO, Signal::SIGTERM),
        Subject::Manifest(workload) => {
            (workload.platform, Some(workload.grace), workload.hook, workload.stop_signal)
        }
    };
    let platform = options.platform.unwrap_or(platform);
    PlannedLimits {
        platform,
        grace: options.grace.or(grace).unwrap_or(platform.grace()),
        hook,
        removal,
        stop_signal: options.stop_signal.unwrap_or(stop_signal),
        start: options.start,
    }
}

fn path(path: &str) -> Url {
    Url { scheme: Scheme::Http, address: Address::AppPort, path: path.to_owned() }
}

fn usual_method(options: &Options) -> &'static str {
    if options.body.is_some() { "POST" } else { "GET" }
}

fn load(options: &Options, subject: &Subject, platform: Platform, probe_url: Option<&Url>) -> Load {
    let usual = match subject {
        Subject::BuiltIn(_) => vec![path("/fast"), path("/slow")],
        Subject::Command(_) | Subject::Manifest(_) | Subject::Image(..) => {
            vec![probe_url.cloned().unwrap_or_else(|| path("/"))]
        }
    };
    let urls = if options.url.is_empty() { usual } else { options.url.clone() };
    Load {
        endpoints: (!options.no_load).then(|| Endpoints { ports: options.port.clone(), urls }),
        crowd: Crowd {
            each: options.clients,
            // Behind a ClusterIP, an open connection stays on its pod.
            pinned: options.pinned.unwrap_or(u16::from(platform == Platform::Kubernetes)),
        },
        manner: Manner {
            message: Message {
                method: options.method.clone().unwrap_or_else(|| usual_method(options).into()),
                headers: options.header.clone(),
                body: options.body.clone().map(|body| body.0).unwrap_or_default(),
                upload: options.upload.unwrap_or_default(),
            },
            pause: Duration::from_secs_f64(1.0 / options.rate),
            patience: Duration::ZERO,
        },
        warm_up: options.warm_up,
    }
}

/// A signal's name without SIG.
pub(crate) fn short(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

/// The command, quoted for a shell.
pub(crate) fn typed(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| shlex::bytes::try_quote(word.as_bytes())).collect();
    let quoted = words.into_iter().map(|word| word.map(|word| String::from_utf8_lossy(&word).into_owned()));
    quoted.map(|word| word.unwrap_or_else(|_| "?".to_owned())).collect::<Vec<_>>().join(" ")
}
