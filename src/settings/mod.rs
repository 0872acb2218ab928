//! What was typed, and what it means.
//!
//! [`typed`] collects values with their origins; this module turns them into [`Settings`] that are
//! valid and fit together, or refuses with one line: what is wrong, where, and what would be right.
//! A flag beats a variable, that beats the file, that the platform or the program, and these the
//! default.

pub mod list;
mod platform;
mod programs;
mod reader;
mod timeline;
pub mod typed;
pub mod values;

#[cfg(test)]
mod tests;

pub use platform::{Platform, Surroundings};
pub use programs::{PROGRAMS, Program, of_command as program_of};
pub use timeline::timeline;

use crate::lifecycle::Plan;
use crate::signal::Signal;
use list::Id;
use reader::Reader;
use std::ffi::{CString, OsString};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use typed::Typed;

/// Why adieu does not start: one line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal(pub String);

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a value comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Not set.
    Default,
    /// Detected from the environment.
    Detected,
    /// The default of this platform.
    Platform(&'static str),
    /// The default of this known program.
    Program(&'static str),
    /// A line of the settings file.
    File {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// This environment variable.
    Variable(String),
    /// This flag, without its dashes.
    Flag(&'static str),
}

impl Origin {
    /// Whether a person wrote it, so that it is kept as given.
    fn is_explicit(&self) -> bool {
        match self {
            Origin::File { .. } | Origin::Variable(_) | Origin::Flag(_) => true,
            Origin::Default | Origin::Detected | Origin::Platform(_) | Origin::Program(_) => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Detected => f.write_str("detected"),
            Origin::Platform(name) => write!(f, "platform {name}"),
            Origin::Program(name) => write!(f, "program {name}"),
            Origin::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Flag(long) => write!(f, "flag --{long}"),
        }
    }
}

/// What the command line requests.
pub enum Task {
    /// Run the app.
    Run(Box<Settings>),
    /// Show what would happen.
    Check(Box<Settings>),
    /// Wait as a preStop hook.
    Wait(Box<WaitSettings>),
    /// Copy adieu to this path.
    Install(PathBuf),
    /// Ask a running adieu.
    Probe {
        /// Of its health endpoint.
        address: SocketAddr,
        /// `readyz`, `livez` or `status`.
        what: &'static str,
    },
    /// Print this text and exit 0.
    Show(String),
}

/// Valid settings.
pub struct Settings {
    /// The app, and its arguments.
    pub command: Vec<OsString>,
    /// Whose defaults are used.
    pub platform: Platform,
    /// The settings of the lifecycle.
    pub plan: Plan,
    /// How signals reach the app.
    pub signals: SignalSettings,
    /// How adieu exits.
    pub exit: ExitSettings,
    /// What ready means, and how others learn it.
    pub ready: ReadySettings,
    /// How requests in flight are seen.
    pub drain: DrainSettings,
    /// What is run at which point of the stop.
    pub hooks: HookSettings,
    /// What adieu logs.
    pub log: LogSettings,
    /// A variable that a known program needs for a clean stop, if it is not set.
    pub app_variable: Option<(&'static str, &'static str)>,
    /// Warnings for the operator, one line each.
    pub warnings: Vec<String>,
    /// `--report`
    pub report: Option<PathBuf>,
    /// Every setting, as `--check` shows it; empty without.
    pub shown: Vec<Shown>,
    /// The same without commands and URLs, which may hold secrets: for the health endpoint, if
    /// there is one.
    pub published: Vec<Shown>,
}

impl Settings {
    /// A variable that a known program needs: `NAME=VALUE`.
    pub fn app_variable(&self) -> Option<CString> {
        let (name, value) = self.app_variable?;
        CString::new(format!("{name}={value}")).ok()
    }
}

/// A setting's name, value and origin.
pub type Shown = (&'static str, String, Origin);

/// How signals reach the app, and adieu.
pub struct SignalSettings {
    /// `--group`: the app's whole process group.
    pub group: bool,
    /// `--parent-death-signal`: what adieu gets when its parent dies.
    pub parent_death: Option<Signal>,
    /// `--orphan-signal`: what the app gets when adieu is killed.
    pub orphan: Option<Signal>,
}

/// How the exit status follows from that of the app.
pub struct ExitSettings {
    /// `--success-exit`: these become 0.
    pub success: Vec<u8>,
    /// `--success-on-stop`: these become 0 after a stop request.
    pub success_on_stop: Vec<u8>,
    /// Die of the signal that the app died of.
    pub die_of_signal: bool,
}

/// What adieu logs, and how.
pub struct LogSettings {
    /// In the notation of RUST_LOG.
    pub filter: String,
    /// `--log-format json`.
    pub json: bool,
    /// `--warn-on-reap`.
    pub warn_on_reap: bool,
}

/// What a readiness check, a drain check or a hook runs or calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// `exec:CMD ARG...`, split as a shell splits words; good when it exits 0.
    Exec(Vec<OsString>),
    /// `http://HOST:PORT/PATH` (GET) or `post:http://...` (POST); good when it answers 2xx (a drain
    /// check: 200).
    Http(HttpTarget),
    /// `tcp://HOST:PORT`; good when it accepts a connection.
    Tcp(SocketAddr),
    /// `notify`: the app's own READY=1 over sd_notify. Readiness only.
    Notify,
}

/// A request by HTTP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpTarget {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Where to connect.
    pub addr: SocketAddr,
    /// The Host header, as typed: `127.0.0.1:8080`.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// How adieu finds out what is in flight.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainSettings {
    /// `--drain auto|off`.
    pub on: bool,
    /// `--drain-port`, repeatable: these listening ports instead of those found in /proc.
    pub ports: Vec<u16>,
    /// `--drain-outbound`, repeatable: wait for answers from these remote ports too.
    pub outbound: Vec<u16>,
    /// `--drain-check`: the app is idle when it passes.
    pub check: Option<Target>,
    /// `--drain-quiet`: data sent within this time keeps a connection in flight. Default 1 s.
    pub quiet: Duration,
    /// `--drain-longest`: how long a connection without clear evidence counts as in flight. Default
    /// 10 s.
    pub longest: Duration,
    /// `--close-connections`
    pub close: CloseSettings,
}

/// What `--wait` does.
pub struct WaitSettings {
    /// How long to sleep.
    pub pre_stop: Duration,
    /// When to end, since the start.
    pub until: Duration,
    /// How adieu waits for requests in flight.
    pub drain: DrainSettings,
    /// The port of `--health`, on which another adieu may serve here.
    pub own_ports: Vec<u16>,
    /// What adieu logs.
    pub log: LogSettings,
}

/// How clients with keep-alive connections are let go.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct CloseSettings {
    /// Off with `--close-connections off`.
    pub on: bool,
    /// These ports speak HTTP/1; on others it has to be seen.
    pub ports: Vec<u16>,
    /// No other ports.
    pub only_these: bool,
    /// Attempts begin spread over this time: a third of the drain, at most 2 s.
    pub spread: Duration,
}

/// What is run at which point of the stop.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookSettings {
    /// `--on-start`: when the app has started.
    pub on_start: Vec<Target>,
    /// `--on-stop`: during the pre-stop sleep.
    pub on_stop: Vec<Target>,
    /// `--on-exit`: when the app has ended.
    pub on_exit: Vec<Target>,
    /// `--hook-timeout`: how long one hook may take. Default 10 s, never more than a third of the
    /// grace.
    pub timeout: Duration,
}

/// What ready means, and how others learn it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadySettings {
    /// `--health ADDR:PORT`.
    pub health: Option<SocketAddr>,
    /// `--ready`, repeatable: all must pass.
    pub checks: Vec<Target>,
    /// `--ready-file`: exists exactly while ready.
    pub file: Option<PathBuf>,
}

/// Reads the task from the arguments (without the program's own name), the environment and the
/// file.
///
/// # Errors
/// One line for the first error; the exit status is then 125.
// Its frame is large, and would lie on the stack for as long as adieu runs.
#[inline(never)]
pub fn task(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    around: &Surroundings,
) -> Result<Task, Refusal> {
    let typed = Typed::collect(arguments, environment)?;
    if typed.has(Id::Help) {
        return Ok(Task::Show(list::help()));
    }
    if typed.has(Id::License) {
        return Ok(Task::Show(include_str!("../../LICENSE").to_owned()));
    }
    if typed.has(Id::Version) {
        return Ok(Task::Show(format!("adieu {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let reader = Reader::new(&typed);
    if typed.has(Id::Probe) {
        return reader.probe();
    }
    if typed.has(Id::Install) {
        return reader.install();
    }
    if typed.has(Id::Wait) {
        return Ok(Task::Wait(Box::new(reader.wait(around)?)));
    }
    let settings = Box::new(reader.settings(around)?);
    Ok(if typed.has(Id::Check) { Task::Check(settings) } else { Task::Run(settings) })
}
