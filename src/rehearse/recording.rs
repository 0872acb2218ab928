//! What was seen in one rehearsal, as plain data. The judge and the pictures only read it, so a
//! recording that was saved as JSON can be judged and drawn again. Their tests do that.

use std::fmt;
use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A point in time: milliseconds since the stop request, negative before it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(transparent)]
pub struct At(pub i64);

impl At {
    /// A duration, to be shown like a point in time.
    pub(crate) fn after(length: std::time::Duration) -> At {
        At(length.as_millis() as i64)
    }
}

impl fmt::Display for At {
    /// Tenths of a second, or milliseconds below 100 ms, where tenths would be too coarse.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            -99..=99 => write!(f, "{} ms", self.0),
            ms => write!(f, "{} s", (ms as f64 / 100.0).round() / 10.0),
        }
    }
}

/// One rehearsal from the start of the app to its end.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Recording {
    /// The command as it was typed.
    pub app: String,
    pub mode: Mode,
    pub isolation: Isolation,
    pub limits: Limits,
    /// The ports that the app listened on.
    pub ports: Vec<u16>,
    pub targets: Vec<LoadTarget>,
    /// From the start of the app to the first answer.
    pub ready_after_ms: u64,
    /// Every request, ordered by client and then by time.
    pub requests: Vec<Request>,
    /// When pinned clients found their connection closed between two requests, and moved on to
    /// another instance.
    #[serde(default)]
    pub moved_on: Vec<At>,
    pub readiness: ReadinessSeen,
    /// What adieu's own report has about the stop; nothing without adieu.
    pub adieu_report: Option<AdieuReport>,
    /// When the app was first seen without a listener, if that was before its end.
    pub closed: Option<At>,
    /// Processes besides the main one in the last snapshot before the end.
    pub leftovers: Vec<String>,
    pub databases: Vec<DatabaseConnection>,
    /// The time of the last snapshot of processes and sockets before the end: what happened later
    /// was not seen.
    pub last_look: At,
    /// The last snapshot was taken while the main process was held at its exit, so nothing can have
    /// happened later.
    pub held_at_exit: bool,
    /// When the platform sent SIGKILL, if it had to.
    pub killed: Option<At>,
    pub end: End,
    /// Problems in the manifest, and what the rehearsal leaves out of it.
    pub lints: Vec<ManifestNote>,
}

/// What the app runs under.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// No init: the app itself is PID 1, as in a container without one.
    Bare,
    /// adieu is PID 1 and the app its child.
    Adieu,
    /// Another init is PID 1, for contrast.
    Init,
}

impl Mode {
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Mode::Bare => "bare",
            Mode::Adieu => "under adieu",
            Mode::Init => "other init",
        }
    }
}

/// What the app ran on.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Isolation {
    /// Its own PID namespace, created as root.
    PidNamespace,
    /// A PID namespace inside a user namespace, created without root.
    UserNamespace,
    /// No namespace was permitted: an ordinary process, never PID 1.
    Ordinary { why: String },
    /// A container, run by this engine.
    Container { engine: String },
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The platform whose time limits were played.
    pub platform: String,
    /// From the stop request to the platform's SIGKILL.
    pub grace_ms: u64,
    /// From the stop request to the platform's stop signal: a preStop hook that sleeps.
    pub hook_ms: u64,
    /// From the stop request to the time when the balancer stops sending requests.
    pub removal_ms: u64,
    /// The name of the platform's stop signal: `TERM`.
    pub stop_signal: String,
}

/// A problem in the manifest, or something that the rehearsal leaves out, and what to do about it.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct ManifestNote {
    pub what: String,
    pub advice: String,
}

impl ManifestNote {
    pub(crate) fn new(what: impl Into<String>, advice: impl Into<String>) -> ManifestNote {
        ManifestNote { what: what.into(), advice: advice.into() }
    }
}

/// An address that got requests.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct LoadTarget {
    pub url: String,
    /// How long its first answer took.
    pub first_ms: u64,
    #[serde(default)]
    pub kind: AnswerKind,
    /// The TLS versions that it speaks; the clients are spread over them.
    #[serde(default)]
    pub tls: Vec<String>,
}

/// What kind of answer an address gives.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "kebab-case")]
pub enum AnswerKind {
    /// One that ends by itself.
    #[default]
    Request,
    /// Server-sent events: the server ends them.
    Events,
    Websocket,
}

impl ConnectionUse {
    /// The kinds in the order of the pictures.
    pub const ALL: [ConnectionUse; 4] =
        [ConnectionUse::Kept, ConnectionUse::Pinned, ConnectionUse::New, ConnectionUse::Stream];

    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            ConnectionUse::New => "new",
            ConnectionUse::Kept => "kept",
            ConnectionUse::Pinned => "pin",
            ConnectionUse::Stream => "open",
        }
    }
}

impl LoadTarget {
    /// Its requests are likely to be in flight at the stop, and long enough for a person to notice.
    #[must_use]
    pub fn slow(&self) -> bool {
        self.first_ms >= 250
    }
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Request {
    /// The client that sent it; clients are numbered from 0.
    pub client: u16,
    pub connection: ConnectionUse,
    /// The index of its target in the recording's `targets`.
    pub target: u16,
    pub from: At,
    pub to: At,
    pub fate: Fate,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionUse {
    /// A new connection for every request.
    New,
    /// One keep-alive connection for many requests, until the balancer removes the app.
    Kept,
    /// One keep-alive connection for many requests, until the app closes it, even after the
    /// balancer has removed the app.
    Pinned,
    /// One connection for one stream of server-sent events or one websocket.
    Stream,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Fate {
    Answered {
        status: u16,
    },
    /// The connection was refused, or the server answered 5xx.
    TurnedAway {
        why: String,
    },
    /// The connection ended without a whole answer, or no answer came in time.
    CutOff {
        why: String,
    },
}

impl Fate {
    #[must_use]
    pub fn lost(&self) -> bool {
        match self {
            Fate::Answered { .. } => false,
            Fate::TurnedAway { .. } | Fate::CutOff { .. } => true,
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fate::Answered { status } => write!(f, "answered {status}"),
            Fate::TurnedAway { why } | Fate::CutOff { why } => f.write_str(why),
        }
    }
}

/// What a balancer could see of readiness before the app was gone.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct ReadinessSeen {
    /// The readiness address; `None` without adieu and without `--readiness`.
    pub url: Option<String>,
    /// The time of the first answer after the stop that was not 2xx; no answer does not count.
    pub turned: Option<At>,
}

/// What adieu's report has about the stop, in milliseconds since the stop request.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct AdieuReport {
    pub phases: Vec<RecordedPhase>,
    /// How the app itself ended; adieu's own exit status may differ.
    pub app_end: Option<RecordedExit>,
    /// When adieu killed the app, if it had to.
    pub killed: Option<At>,
    /// Whether the app left processes that adieu had to stop.
    pub swept: bool,
    /// Whether adieu had to kill such processes.
    pub killed_leftovers: bool,
    /// Whether adieu began to stop the app; if not, the app ended by itself.
    pub signalled: bool,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct RecordedPhase {
    /// adieu's name of the phase: `pre-stop`, `draining`.
    pub phase: String,
    pub from: At,
    pub to: At,
    /// The requests in flight at its end, if the report has them.
    pub in_flight: Option<u64>,
}

/// A connection of the app to a database that was open at the stop request.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct DatabaseConnection {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// It belonged to the app's first process, whose end is seen most exactly.
    pub main: bool,
    pub end: ConnectionEnd<At>,
}

/// What became of a connection.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum ConnectionEnd<T> {
    /// It was closed while its process was running.
    Closed(T),
    /// It and its process ended between the same two snapshots.
    WithOwner,
    /// It was open in the last snapshot.
    Open,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
pub struct End {
    pub at: At,
    pub exit: RecordedExit,
}

#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum RecordedExit {
    Status(u8),
    Signal(u8),
}

impl fmt::Display for RecordedExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordedExit::Status(status) => write!(f, "status {status}"),
            RecordedExit::Signal(9) => f.write_str("SIGKILL"),
            RecordedExit::Signal(number) => write!(f, "signal {number}"),
        }
    }
}

impl Recording {
    /// adieu's phases during the stop.
    #[must_use]
    pub fn phases(&self) -> &[RecordedPhase] {
        self.adieu_report.as_ref().map_or(&[], |report| &report.phases)
    }

    pub fn lost(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.fate.lost())
    }

    /// Requests that were in flight at the stop request.
    pub fn in_flight(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.from < At(0) && request.to >= At(0))
    }

    #[must_use]
    pub fn tally(&self) -> Tally {
        Tally::of(&self.requests)
    }
}

impl Tally {
    /// Counts these requests.
    #[must_use]
    pub fn of<'a>(requests: impl IntoIterator<Item = &'a Request>) -> Tally {
        let mut tally = Tally::default();
        for request in requests {
            tally.sent += 1;
            match request.fate {
                Fate::Answered { .. } => tally.answered += 1,
                Fate::TurnedAway { .. } => tally.turned_away += 1,
                Fate::CutOff { .. } => tally.cut_off += 1,
            }
        }
        tally
    }
}

/// What became of the requests. The table, the checklist and the JSON use these numbers and these
/// words.
#[derive(JsonSchema, Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub sent: usize,
    pub answered: usize,
    pub cut_off: usize,
    pub turned_away: usize,
}

impl Tally {
    #[must_use]
    pub fn lost(&self) -> usize {
        self.cut_off + self.turned_away
    }
}
