//! One rehearsal's plan: what the options and the manifest come down to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use super::recording::{Ground, Way};

#[derive(Clone, Debug)]
pub struct Plan {
    /// How the app is called in what is shown.
    pub app: String,
    pub command: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    pub way: Way,
    pub ground: Ground,
    /// The init to run the app under; this binary itself when nothing is given.
    pub init: Option<PathBuf>,
    /// adieu's own options, as they are given to it.
    pub init_options: Vec<OsString>,
    pub limits: Limits,
    pub load: Load,
    /// The app's own readiness address, for a balancer that has no adieu to ask.
    pub readiness: Option<String>,
    /// Remote ports that are taken for databases.
    pub databases: Vec<u16>,
    /// Where the app's output goes.
    pub log: PathBuf,
}

#[derive(Clone, Debug)]
pub struct Limits {
    pub platform: String,
    /// From the stop request to SIGKILL.
    pub grace: Duration,
    /// From the stop request to the removal from the balancer.
    pub removal: Duration,
    pub stop_signal: nix::sys::signal::Signal,
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
