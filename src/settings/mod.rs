//! What was typed, and what was meant by it.
//!
//! [`typed`] collects words with their origins; this module turns them into [`Settings`] that are valid and fit
//! together, or refuses with one line that says what is wrong, where it stands and what would be right.
//! Flag beats variable beats file beats platform beats default.

pub mod list;
mod platform;
mod programs;
mod timeline;
pub mod typed;
pub mod values;

pub use platform::{Platform, Surroundings};
pub use programs::Program;
pub use timeline::timeline;

use crate::lifecycle::{Plan, Signal, SignalSet, Step};
use list::Id;
use std::ffi::OsString;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use typed::{Entry, Typed};

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
    Default,
    Platform(&'static str),
    /// A known program's.
    Program(&'static str),
    File {
        path: PathBuf,
        line: usize,
    },
    Variable(String),
    Flag(&'static str),
}

impl Origin {
    /// Whether a person wrote it, so that it is kept as given.
    fn is_explicit(&self) -> bool {
        match self {
            Origin::File { .. } | Origin::Variable(_) | Origin::Flag(_) => true,
            Origin::Default | Origin::Platform(_) | Origin::Program(_) => false,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::Platform(name) => write!(f, "platform {name}"),
            Origin::Program(name) => write!(f, "program {name}"),
            Origin::File { path, line } => write!(f, "file {}:{line}", path.display()),
            Origin::Variable(name) => write!(f, "variable {name}"),
            Origin::Flag(long) => write!(f, "flag --{long}"),
        }
    }
}

/// What adieu was asked to do.
pub enum Request {
    Run(Box<Settings>),
    /// Show what would happen.
    Check(Box<Settings>),
    /// Ask a running adieu.
    Probe {
        address: SocketAddr,
        what: &'static str,
    },
    /// Print this text, which was asked for, and exit 0.
    Show(String),
}

/// Everything valid.
pub struct Settings {
    pub command: Vec<OsString>,
    pub platform: Platform,
    pub plan: Plan,
    pub signals: SignalSettings,
    pub exit: ExitSettings,
    pub ready: ReadySettings,
    pub drain: DrainSettings,
    pub hooks: HookSettings,
    pub log: LogSettings,
    /// `--report`
    pub report: Option<PathBuf>,
    /// Every setting that matters for a stop, as shown by `--check` and `/status`: name, value, origin.
    pub shown: Vec<(&'static str, String, Origin)>,
}

pub struct SignalSettings {
    /// From, and to what; `None` drops it.
    pub rewrites: Vec<(Signal, Option<Signal>)>,
    pub group: bool,
    pub parent_death: Option<Signal>,
    pub orphan: Option<Signal>,
}

impl SignalSettings {
    /// What a signal is forwarded as.
    pub fn rewritten(&self, signal: Signal) -> Option<Signal> {
        let rule = self.rewrites.iter().rev().find(|(from, _)| *from == signal);
        rule.map_or(Some(signal), |(_, to)| *to)
    }
}

pub struct ExitSettings {
    pub success: Vec<u8>,
    pub success_on_stop: Vec<u8>,
    /// Die of the signal that the app died of.
    pub die_of_signal: bool,
}

pub struct LogSettings {
    /// In the notation of RUST_LOG.
    pub filter: String,
    pub json: bool,
    pub warn_on_reap: bool,
}

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

/// Reads what was asked from the arguments (the program's own name left out), the environment and the file.
///
/// # Errors
/// One line for the first thing that is wrong; the exit status is then 125.
pub fn request(
    arguments: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    around: &Surroundings,
) -> Result<Request, Refusal> {
    let typed = Typed::collect(arguments, environment)?;
    if typed.has(Id::Help) {
        return Ok(Request::Show(list::help()));
    }
    if typed.has(Id::License) {
        return Ok(Request::Show(include_str!("../../LICENSE").to_owned()));
    }
    if typed.has(Id::Version) {
        return Ok(Request::Show(format!("adieu {}\n", env!("CARGO_PKG_VERSION"))));
    }
    let reader = Reader { typed: &typed, shown: Vec::new() };
    if typed.has(Id::Probe) {
        return reader.probe();
    }
    let settings = Box::new(reader.settings(around)?);
    Ok(if typed.has(Id::Check) { Request::Check(settings) } else { Request::Run(settings) })
}

/// A value and where it comes from.
struct Sourced<T> {
    value: T,
    origin: Origin,
}

/// Turns what was typed into what was meant, one group of settings after the other.
struct Reader<'a> {
    typed: &'a Typed,
    shown: Vec<(&'static str, String, Origin)>,
}

impl Reader<'_> {
    fn settings(mut self, around: &Surroundings) -> Result<Settings, Refusal> {
        if self.typed.command.is_empty() {
            return Err(Refusal("no COMMAND given; write adieu [OPTIONS] [--] COMMAND [ARG]...".to_owned()));
        }
        let found = Platform::detect(around);
        let platform = self.value(Id::Platform, |text| values::one_of(text, &Platform::NAMES))?;
        let platform = self.or(Id::Platform, platform, found, Origin::Default, |p| p.name().to_owned());
        let program = self.program()?;
        let hooks_typed = self.hooks()?;
        let drain = self.drain()?;
        let plan = self.plan(platform, program, &hooks_typed, &drain)?;
        let hooks = HookSettings { timeout: self.hook_timeout(plan.grace)?, ..hooks_typed };
        let plan = with_hooks(plan, &hooks);
        Ok(Settings {
            command: self.typed.command.clone(),
            platform,
            signals: self.signals()?,
            exit: self.exit(platform, around)?,
            ready: self.ready()?,
            log: self.log()?,
            report: self.typed.one(Id::Report).map(|entry| PathBuf::from(&entry.value)),
            plan,
            drain,
            hooks,
            shown: self.shown,
        })
    }

    fn probe(&self) -> Result<Request, Refusal> {
        let what = self.value(Id::Probe, |text| {
            values::one_of(text, &[("readyz", "readyz"), ("livez", "livez"), ("status", "status")])
        })?;
        let address = self.value(Id::Health, values::listen_address)?;
        match (what, address) {
            (Some(what), Some(address)) => Ok(Request::Probe { address: address.value, what: what.value }),
            _ => Err(Refusal(
                "--probe needs the address of the adieu to ask: set --health, ADIEU_HEALTH or ready.health"
                    .to_owned(),
            )),
        }
    }

    fn program(&self) -> Result<Option<Sourced<&'static Program>>, Refusal> {
        let named = self.value(Id::Profile, |name| match programs::by_name(name) {
            Some(program) => Ok(Some(program)),
            None if name == "none" => Ok(None),
            None => {
                Err(format!("'{name}' is no known program; write {} or none", programs::names().join(", ")))
            }
        })?;
        Ok(match named {
            Some(named) => named.value.map(|value| Sourced { value, origin: named.origin }),
            None => programs::of_command(&self.typed.command)
                .map(|value| Sourced { value, origin: Origin::Program(value.name) }),
        })
    }

    fn plan(
        &mut self,
        platform: Platform,
        program: Option<Sourced<&'static Program>>,
        hooks: &HookSettings,
        drain: &DrainSettings,
    ) -> Result<Plan, Refusal> {
        let times = self.times(platform, drain)?;
        let program = program.as_ref();
        let schedule = self.schedule(program, &times)?;
        let stop_on = self.stop_on(platform, program)?;
        let once = self.switched(Id::StopOnce)? || program.is_some_and(|program| program.value.stop_once);
        Ok(Plan {
            grace: times.grace.value,
            kill_margin: times.kill_margin.value,
            pre_stop: times.pre_stop.value,
            drain: (drain.on || drain.check.is_some()).then_some(times.drain.value),
            leftovers: times.leftovers.value,
            stop_hooks: (!hooks.on_stop.is_empty()).then_some(Duration::ZERO),
            exit_hooks: (!hooks.on_exit.is_empty()).then_some(Duration::ZERO),
            schedule,
            stop_on,
            stop_once: once,
            awaits_ready: self.typed.has(Id::Ready),
        })
    }

    fn times(&mut self, platform: Platform, drain: &DrainSettings) -> Result<Times, Refusal> {
        let by_platform = match platform {
            Platform::None => Origin::Default,
            other => Origin::Platform(other.name()),
        };
        let grace = self.time(Id::Grace, platform.grace(), by_platform.clone())?;
        if grace.value.is_zero() {
            return Err(Refusal(format!(
                "{} is 0; a stop needs time, 30s is usual",
                typed::written_as(Id::Grace, &grace.origin)
            )));
        }
        let kill_margin =
            self.time(Id::KillMargin, Duration::from_secs(1).min(grace.value / 10), Origin::Default)?;
        let (usual, from) = if platform.routes_by_readiness() {
            (Duration::from_secs(5).min(grace.value / 3), Origin::Default)
        } else {
            (Duration::ZERO, by_platform)
        };
        let pre_stop = self.time(Id::PreStop, usual, from)?;
        let kill_at = grace.value.saturating_sub(kill_margin.value);
        if kill_margin.value >= grace.value {
            return Err(clash(
                Id::KillMargin,
                &kill_margin,
                Id::Grace,
                &grace,
                "the kill would come before the stop",
            ));
        }
        if pre_stop.value >= kill_at {
            let why = format!(
                "adieu kills after {}, {} before the grace ends, and nothing would be left for the app to stop in",
                values::show_duration(kill_at),
                values::show_duration(kill_margin.value)
            );
            return Err(clash(Id::PreStop, &pre_stop, Id::Grace, &grace, &why));
        }
        let rest = kill_at - pre_stop.value;
        let usual = (grace.value * 2 / 3).saturating_sub(pre_stop.value).max(rest / 2);
        let drain_for = self.time(Id::DrainTimeout, usual, Origin::Default)?;
        if drain_for.origin.is_explicit() && drain_for.value >= rest && drain.on {
            let why = format!(
                "after a pre-stop sleep of {} adieu kills {} later",
                values::show_duration(pre_stop.value),
                values::show_duration(rest)
            );
            return Err(clash(Id::DrainTimeout, &drain_for, Id::Grace, &grace, &why));
        }
        let leftovers = self.time(Id::Leftovers, Duration::from_secs(2), Origin::Default)?;
        Ok(Times { grace, kill_margin, pre_stop, drain: drain_for, leftovers })
    }

    fn schedule(
        &mut self,
        program: Option<&Sourced<&'static Program>>,
        times: &Times,
    ) -> Result<Vec<Step>, Refusal> {
        let typed = self.value(Id::Stop, values::schedule)?;
        if let Some(typed) = &typed {
            let waits: Duration = typed.value.iter().map(|step| step.wait).sum();
            let time = times.grace.value - times.kill_margin.value - times.pre_stop.value;
            if waits >= time && times.grace.origin.is_explicit() {
                let why = format!(
                    "only {} are left between the pre-stop sleep and the kill",
                    values::show_duration(time)
                );
                let schedule = Sourced { value: waits, origin: typed.origin.clone() };
                return Err(clash(Id::Stop, &schedule, Id::Grace, &times.grace, &why));
            }
        }
        let by_program = program.and_then(|program| {
            let steps = values::schedule(program.value.schedule?).ok()?;
            Some((steps, program.origin.clone()))
        });
        let show = |steps: &Vec<Step>| match steps.is_empty() {
            true => "the signal that asks".to_owned(),
            false => values::show_schedule(steps),
        };
        let (usual, origin) = by_program.unwrap_or((Vec::new(), Origin::Default));
        Ok(self.or(Id::Stop, typed, usual, origin, show))
    }

    fn stop_on(
        &mut self,
        platform: Platform,
        program: Option<&Sourced<&'static Program>>,
    ) -> Result<SignalSet, Refusal> {
        let typed = self.typed.all(Id::StopOn);
        let texts: Vec<String> =
            typed.iter().map(|entry| entry.value.to_string_lossy().into_owned()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let given = match typed.first() {
            Some(entry) => {
                let value = values::stop_on(&texts).map_err(|error| refuse(entry, &error))?;
                Some(Sourced { value, origin: entry.origin.clone() })
            }
            None => None,
        };
        let mut usual = SignalSet::default().with(Signal::TERM);
        let mut origin = Origin::Default;
        if let Some(signal) = platform.also_stops_on() {
            (usual, origin) = (usual.with(signal), Origin::Platform(platform.name()));
        }
        if let Some(program) = program {
            let signal = program.value.asks.and_then(|name| values::catchable(name).ok());
            if let Some(signal) = signal {
                (usual, origin) = (usual.with(signal), program.origin.clone());
            }
        }
        let show = |set: &SignalSet| set.iter().map(crate::sys::signals::name).collect::<Vec<_>>().join(", ");
        Ok(self.or(Id::StopOn, given, usual, origin, show))
    }

    fn signals(&self) -> Result<SignalSettings, Refusal> {
        let orphan = self.value(Id::OrphanSignal, |text| match text {
            "none" => Ok(None),
            name => values::signal(name).map(Some),
        })?;
        let single = self.switched(Id::SingleChild)?;
        Ok(SignalSettings {
            rewrites: self.list(Id::Rewrite, values::rewrite)?,
            group: self.switched(Id::Group)? && !single,
            parent_death: self.value(Id::ParentDeathSignal, values::signal)?.map(|signal| signal.value),
            orphan: orphan.map_or(Some(Signal::KILL), |orphan| orphan.value),
        })
    }

    fn exit(&self, platform: Platform, around: &Surroundings) -> Result<ExitSettings, Refusal> {
        let words = [("always", Some(true)), ("never", Some(false)), ("auto", None)];
        let said =
            self.value(Id::ExitSignal, |text| values::one_of(text, &words))?.and_then(|said| said.value);
        let main_process = Platform::detect(around) == Platform::Systemd && platform == Platform::Systemd;
        Ok(ExitSettings {
            success: self.list(Id::SuccessExit, values::status)?,
            success_on_stop: self.list(Id::SuccessOnStop, values::status)?,
            die_of_signal: said.unwrap_or(main_process),
        })
    }

    fn ready(&mut self) -> Result<ReadySettings, Refusal> {
        let health = self.value(Id::Health, values::listen_address)?;
        if let Some(health) = &health {
            self.shown.push(("health", health.value.to_string(), health.origin.clone()));
        }
        Ok(ReadySettings {
            health: health.map(|health| health.value),
            checks: self.list(Id::Ready, values::target)?,
            file: self.typed.one(Id::ReadyFile).map(|entry| PathBuf::from(&entry.value)),
        })
    }

    fn drain(&mut self) -> Result<DrainSettings, Refusal> {
        let mode = self.value(Id::Drain, |text| values::one_of(text, &[("auto", true), ("off", false)]))?;
        let on =
            self.or(Id::Drain, mode, true, Origin::Default, |on| if *on { "auto" } else { "off" }.to_owned());
        let check = self.value(Id::DrainCheck, |text| match values::target(text)? {
            Target::Tcp(_) | Target::Notify => Err(format!(
                "'{text}' cannot tell whether the app is idle; write exec:CMD ARG or http://HOST:PORT/PATH"
            )),
            target @ (Target::Exec(_) | Target::Http(_)) => Ok(target),
        })?;
        Ok(DrainSettings {
            on,
            ports: self.list(Id::DrainPort, values::port)?,
            outbound: self.list(Id::DrainOutbound, values::port)?,
            check: check.map(|check| check.value),
            quiet: self
                .value(Id::DrainQuiet, values::duration)?
                .map_or(Duration::from_secs(1), |quiet| quiet.value),
            longest: self
                .value(Id::DrainLongest, values::duration)?
                .map_or(Duration::from_secs(10), |longest| longest.value),
        })
    }

    fn hooks(&self) -> Result<HookSettings, Refusal> {
        let hook = |text: &str| match values::target(text)? {
            Target::Tcp(_) | Target::Notify => {
                Err(format!("'{text}' is no hook; write exec:CMD ARG, http://URL or post:http://URL"))
            }
            target @ (Target::Exec(_) | Target::Http(_)) => Ok(target),
        };
        Ok(HookSettings {
            on_start: self.list(Id::OnStart, hook)?,
            on_stop: self.list(Id::OnStop, hook)?,
            on_exit: self.list(Id::OnExit, hook)?,
            timeout: Duration::ZERO,
        })
    }

    fn hook_timeout(&self, grace: Duration) -> Result<Duration, Refusal> {
        let typed = self.value(Id::HookTimeout, values::duration)?;
        Ok(typed.map_or(Duration::from_secs(10).min(grace / 3), |typed| typed.value))
    }

    fn log(&self) -> Result<LogSettings, Refusal> {
        let levels = ["off", "error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        let level = self.value(Id::LogLevel, |text| values::one_of(text, &levels))?;
        let json =
            self.value(Id::LogFormat, |text| values::one_of(text, &[("text", false), ("json", true)]))?;
        let spoken = match self.typed.all(Id::Verbose).len() {
            0 => None,
            1 => Some("debug"),
            _ => Some("trace"),
        };
        let from_rust_log = std::env::var("RUST_LOG").ok().filter(|filter| !filter.is_empty());
        let explicit = spoken.or(level.map(|level| level.value)).map(str::to_owned);
        Ok(LogSettings {
            filter: explicit.or(from_rust_log).unwrap_or_else(|| "info".to_owned()),
            json: json.is_some_and(|json| json.value),
            warn_on_reap: self.switched(Id::WarnOnReap)?,
        })
    }

    // How single values are read.

    fn value<T>(
        &self,
        id: Id,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Sourced<T>>, Refusal> {
        let Some(entry) = self.typed.one(id) else {
            return Ok(None);
        };
        let value = read_entry(entry, &read)?;
        Ok(Some(Sourced { value, origin: entry.origin.clone() }))
    }

    fn list<T>(&self, id: Id, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, Refusal> {
        self.typed.all(id).into_iter().map(|entry| read_entry(entry, &read)).collect()
    }

    fn switched(&self, id: Id) -> Result<bool, Refusal> {
        Ok(self.value(id, values::switch)?.is_some_and(|on| on.value))
    }

    /// A time, shown with its origin.
    fn time(&mut self, id: Id, usual: Duration, from: Origin) -> Result<Sourced<Duration>, Refusal> {
        let typed = self.value(id, values::duration)?;
        let time = typed.unwrap_or(Sourced { value: usual, origin: from });
        self.shown.push((list::by_id(id).long, values::show_duration(time.value), time.origin.clone()));
        Ok(time)
    }

    /// What was typed, or else the usual value; shown with its origin.
    fn or<T>(
        &mut self,
        id: Id,
        typed: Option<Sourced<T>>,
        usual: T,
        from: Origin,
        show: impl Fn(&T) -> String,
    ) -> T {
        let chosen = typed.unwrap_or(Sourced { value: usual, origin: from });
        self.shown.push((list::by_id(id).long, show(&chosen.value), chosen.origin));
        chosen.value
    }
}

struct Times {
    grace: Sourced<Duration>,
    kill_margin: Sourced<Duration>,
    pre_stop: Sourced<Duration>,
    drain: Sourced<Duration>,
    leftovers: Sourced<Duration>,
}

/// Hooks of a stage run one after the other, each with its own limit.
fn with_hooks(plan: Plan, hooks: &HookSettings) -> Plan {
    let together =
        |targets: &Vec<Target>| (!targets.is_empty()).then(|| hooks.timeout * targets.len() as u32);
    Plan { stop_hooks: together(&hooks.on_stop), exit_hooks: together(&hooks.on_exit), ..plan }
}

fn read_entry<T>(entry: &Entry, read: impl Fn(&str) -> Result<T, String>) -> Result<T, Refusal> {
    let text = entry.value.to_str().ok_or_else(|| refuse(entry, "the value is not UTF-8"))?;
    read(text).map_err(|error| refuse(entry, &error))
}

fn refuse(entry: &Entry, error: &str) -> Refusal {
    Refusal(format!("{}: {error}", typed::written_as(entry.id, &entry.origin)))
}

fn clash(one: Id, first: &Sourced<Duration>, other: Id, second: &Sourced<Duration>, why: &str) -> Refusal {
    let named = |id: Id, time: &Sourced<Duration>| {
        format!("{} {} ({})", list::by_id(id).long, values::show_duration(time.value), time.origin)
    };
    Refusal(format!(
        "{} does not fit into {}: {why}; shorten the first or lengthen the second",
        named(one, first),
        named(other, second)
    ))
}
