//! What was typed, and what was meant by it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Something outside the app that adieu can ask or tell: a readiness check, a drain check or a hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// `exec:CMD ARG...`, split as a shell splits words; good when it exits 0.
    Exec(Vec<OsString>),
    /// `http://HOST:PORT/PATH` (GET) or `post:http://...` (POST); good when it answers 2xx (a drain check: 200).
    Http(HttpTarget),
    /// `tcp://HOST:PORT`; good when it accepts a connection.
    Tcp(SocketAddr),
    /// `notify`: the app's own READY=1 over sd_notify. Readiness only.
    Notify,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpTarget {
    /// `GET` or `POST`.
    pub method: &'static str,
    pub addr: SocketAddr,
    /// What goes into the Host header, as typed: `127.0.0.1:8080`.
    pub host: String,
    /// Path and query, beginning with `/`.
    pub path: String,
}

/// How adieu finds out who is still busy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrainSettings {
    /// `--drain auto|off`.
    pub on: bool,
    /// `--drain-port`, repeatable: these listening ports instead of those found through /proc.
    pub ports: Vec<u16>,
    /// `--drain-outbound`, repeatable: wait for answers from these remote ports, too.
    pub outbound: Vec<u16>,
    /// `--drain-check`: idle when it says so.
    pub check: Option<Target>,
    /// `--drain-quiet`: data sent within this time keeps a connection in flight. Default 1 s.
    pub quiet: Duration,
    /// `--drain-longest`: how long a connection whose evidence is a tie counts as in flight. Default 10 s.
    pub longest: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HookSettings {
    pub on_start: Vec<Target>,
    pub on_stop: Vec<Target>,
    pub on_exit: Vec<Target>,
    /// `--hook-timeout`: how long one hook may take. Default 10 s, never more than a third of the grace.
    pub timeout: Duration,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ReadySettings {
    /// `--health ADDR:PORT`.
    pub health: Option<SocketAddr>,
    /// `--ready`, repeatable: all must pass.
    pub checks: Vec<Target>,
    /// `--ready-file`: exists exactly while ready.
    pub file: Option<PathBuf>,
}
