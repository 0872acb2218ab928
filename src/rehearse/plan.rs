//! One rehearsal's plan: what the options and the manifest come down to, with what they leave out filled in.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::manifest::{Brief, Misfit};
use super::options::Options;
use super::perform;
use super::recording::Way;
use adieu::settings::Platform;

/// Remote ports that are taken for databases: PostgreSQL, MySQL, SQL Server, Oracle, MongoDB, Redis, Cassandra.
const DATABASES: [u16; 7] = [5432, 3306, 1433, 1521, 27017, 6379, 9042];

#[derive(Clone, Debug)]
pub struct Plan {
    /// How the app is called in what is shown.
    pub app: String,
    pub command: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub way: Way,
    /// The init to run the app under; this binary itself when nothing is given.
    pub init: Option<PathBuf>,
    /// The init's own options, as they are given to it.
    pub init_options: Vec<OsString>,
    pub limits: Limits,
    pub load: Load,
    /// The app's own readiness address, for a balancer that has no adieu to ask.
    pub readiness: Option<String>,
    /// Remote ports that are taken for databases.
    pub databases: Vec<u16>,
    /// Where the app's output goes; a temporary file when nothing is given.
    pub log: Option<PathBuf>,
    /// What the manifest says that does not fit.
    pub misfits: Vec<Misfit>,
    /// How long the app goes on unaware, by the manifest: a preStop hook and adieu's own sleep.
    pub unaware: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub platform: Platform,
    /// From the stop request to SIGKILL.
    pub grace: Duration,
    /// From the stop request to the platform's signal: a hook of its own that sleeps.
    pub hook: Duration,
    /// From the stop request to the removal from the balancer.
    pub removal: Duration,
    pub stop_signal: Signal,
    /// From the start to the first answer.
    pub start: Duration,
}

#[derive(Clone, Debug)]
pub struct Load {
    /// Where to send requests; `None` for a worker that listens nowhere.
    pub aim: Option<Aim>,
    /// Clients of either kind for each address.
    pub clients: u16,
    /// How long there is load before the stop request.
    pub warm_up: Duration,
}

#[derive(Clone, Debug)]
pub struct Aim {
    /// The ports to wait for; empty to find them.
    pub ports: Vec<u16>,
    /// Whole URLs, or paths on the first port.
    pub urls: Vec<String>,
}

/// What is rehearsed.
pub enum Subject {
    /// The built-in legacy app, by the command that starts it.
    BuiltIn(Vec<OsString>),
    Command(Vec<OsString>),
    Manifest(Box<Brief>),
}

impl Plan {
    #[must_use]
    pub fn new(options: &Options, subject: &Subject, way: Way, removal: Duration) -> Plan {
        let (app, command, brief) = match subject {
            Subject::BuiltIn(command) => ("the built-in legacy app".to_owned(), command, None),
            Subject::Command(command) => (perform::typed(command), command, None),
            Subject::Manifest(brief) => {
                (format!("{} ({})", brief.name, perform::typed(&brief.command)), &brief.command, Some(brief))
            }
        };
        let from_manifest = brief.into_iter().flat_map(|brief| brief.env.iter());
        let env =
            from_manifest.chain(&options.env).map(|(name, value)| (name.into(), value.into())).collect();
        let databases = DATABASES.into_iter().chain(options.database.iter().copied()).collect();
        let own_probe = brief.and_then(|brief| brief.readiness.as_ref().filter(|_| brief.adieu.is_none()));
        let probe_url = own_probe.map(|probe| format!("http://127.0.0.1:{}{}", probe.port, probe.path));
        Plan {
            app,
            command: command.clone(),
            env,
            way,
            init: options.adieu.clone().or_else(|| options.init.clone()),
            init_options: init_options(options, subject, way),
            limits: limits(options, subject, removal),
            load: load(options, subject, probe_url.as_deref()),
            readiness: options.readiness.clone().or(probe_url),
            databases,
            log: options.log.clone(),
            misfits: brief.map(|brief| brief.misfits.clone()).unwrap_or_default(),
            unaware: brief.map(|brief| brief.hook + options.pre_stop.unwrap_or_else(|| brief.pre_stop())),
        }
    }
}

/// The manifest's first, so that those typed here win.
fn init_options(options: &Options, subject: &Subject, way: Way) -> Vec<OsString> {
    let mut all: Vec<OsString> = Vec::new();
    let mut pre_stop = options.pre_stop;
    match (way, subject) {
        (Way::Bare | Way::Init, _) | (Way::Adieu, Subject::Command(_)) => {}
        // So that the whole show, with requests of 2 s, is over soon.
        (Way::Adieu, Subject::BuiltIn(_)) => pre_stop = pre_stop.or(Some(Duration::from_secs(3))),
        (Way::Adieu, Subject::Manifest(brief)) => {
            all.extend(brief.adieu.iter().flatten().map(OsString::from))
        }
    }
    if let (Some(pre_stop), Way::Adieu) = (pre_stop, way) {
        all.push(format!("--pre-stop={}ms", pre_stop.as_millis()).into());
    }
    all.extend(options.option.iter().map(dashed));
    all
}

/// `pre-stop=2s` as adieu wants it: `--pre-stop=2s`.
fn dashed(option: &OsString) -> OsString {
    let text = option.to_string_lossy();
    if text.starts_with('-') { option.clone() } else { format!("--{text}").into() }
}

fn limits(options: &Options, subject: &Subject, removal: Duration) -> Limits {
    let (platform, grace, hook, stop_signal) = match subject {
        Subject::BuiltIn(_) => (Platform::Docker, None, Duration::ZERO, Signal::SIGTERM),
        Subject::Command(_) => (Platform::None, None, Duration::ZERO, Signal::SIGTERM),
        Subject::Manifest(brief) => (brief.platform, Some(brief.grace), brief.hook, brief.stop_signal),
    };
    let platform = options.platform.unwrap_or(platform);
    Limits {
        platform,
        grace: options.grace.or(grace).unwrap_or(platform.grace()),
        hook,
        removal,
        stop_signal: options.stop_signal.unwrap_or(stop_signal),
        start: options.start,
    }
}

fn load(options: &Options, subject: &Subject, probe_url: Option<&str>) -> Load {
    let usual = match subject {
        Subject::BuiltIn(_) => vec!["/fast".to_owned(), "/slow".to_owned()],
        Subject::Command(_) | Subject::Manifest(_) => vec![probe_url.unwrap_or("/").to_owned()],
    };
    let urls = if options.url.is_empty() { usual } else { options.url.clone() };
    Load {
        aim: (!options.no_load).then(|| Aim { ports: options.port.clone(), urls }),
        clients: options.clients,
        warm_up: options.warm_up,
    }
}
