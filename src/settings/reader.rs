//! From typed values to settings: each value is the one of the highest origin that has any. It is
//! read, checked, and compared with the others.

use super::list::{self, Id, Setting, Takes, Usually, ValueKind};
use super::typed::{self, Entry, Typed};
use super::{
    CloseSettings, DrainSettings, ExitSettings, HookSettings, LogSettings, Origin, Platform, Program,
    ReadySettings, Refusal, Settings, Shown, SignalSettings, Surroundings, Target, Task, WaitSettings,
    programs, values,
};
use crate::lifecycle::{Plan, Rewrites, Schedule, Wait};
use crate::moment::{half, part, show_duration};
use crate::signal::{Signal, SignalSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A value and where it comes from.
struct Sourced<T> {
    value: T,
    origin: Origin,
}

/// Turns what was typed into settings, group by group.
pub(super) struct Reader<'a> {
    typed: &'a Typed,
    /// For `--check` and the health endpoint: values that are neither what was typed nor the row's
    /// default.
    shown: Vec<(Id, String, Origin)>,
    /// Whether anybody looks at them; the time to start counts.
    shows: bool,
}

/// Attempts to close connections begin spread over this time at most.
const LONGEST_SPREAD: Duration = Duration::from_secs(2);

impl<'a> Reader<'a> {
    pub(super) fn new(typed: &'a Typed) -> Reader<'a> {
        Reader { typed, shown: Vec::new(), shows: typed.has(Id::Check) || typed.has(Id::Health) }
    }

    pub(super) fn settings(mut self, around: &Surroundings) -> Result<Settings, Refusal> {
        if self.typed.command.is_empty() {
            return Err(Refusal("no COMMAND given; write adieu [OPTIONS] [--] COMMAND [ARG]...".to_owned()));
        }
        let named = self.value(Id::Platform, Platform::named)?;
        // Only systemd has to be found as well where it is named.
        let found = match &named {
            Some(named) if named.value != Platform::Systemd => named.value,
            Some(_) | None => Platform::detect(around),
        };
        let platform = self.or(Id::Platform, named, found, Origin::Detected, |p| p.name().to_owned());
        let program = self.program()?;
        let known = program.as_ref().map(|program| program.value);
        let mut drain = self.drain()?;
        let times = self.times(platform, &drain)?;
        drain.close.spread = part(times.drain.value, 3).min(LONGEST_SPREAD);
        let hooks = self.hooks(times.grace.value)?;
        let plan = self.plan(platform, program, &times, &hooks, &drain)?;
        let (signals, ready, log) = (self.signals()?, self.ready()?, self.log(around)?);
        let exit = self.exit(platform == Platform::Systemd && found == Platform::Systemd)?;
        let report = self.path(Id::Report)?;
        let is_target = |setting: &Setting| matches!(setting.kind(), Some(ValueKind::Target));
        let shown = if self.typed.has(Id::Check) { self.shown_of(|_| true) } else { Vec::new() };
        let published =
            if ready.health.is_some() { self.shown_of(|setting| !is_target(setting)) } else { Vec::new() };
        Ok(Settings {
            command: self.typed.command.clone(),
            platform,
            signals,
            exit,
            ready,
            log,
            report,
            app_variable: known.and_then(|known| known.variable).filter(|(name, _)| !is_set(around, name)),
            warnings: known.and_then(|known| self.lacks(known, around)).into_iter().collect(),
            plan,
            drain,
            hooks,
            shown,
            published,
        })
    }

    pub(super) fn install(&self) -> Result<Task, Refusal> {
        match self.path(Id::Install)? {
            Some(path) => Ok(Task::Install(path)),
            None => Err(Refusal("--install needs a path".to_owned())),
        }
    }

    /// `--wait` uses the grace less the reserve: pre-stop sleep, then drain.
    pub(super) fn wait(mut self, around: &Surroundings) -> Result<WaitSettings, Refusal> {
        if !self.typed.command.is_empty() {
            return Err(Refusal("--wait runs beside the app and takes no COMMAND".to_owned()));
        }
        let named = self.value(Id::Platform, Platform::named)?;
        let platform = named.map_or_else(|| Platform::detect(around), |platform| platform.value);
        let grace = self.time(Id::Grace, platform.grace(), Origin::Default)?;
        let usual = Duration::from_secs(5).min(part(grace.value, 3));
        let reserve = self.time(Id::Reserve, usual, Origin::Default)?;
        let until = grace.value.saturating_sub(reserve.value);
        if until.is_zero() {
            return Err(clash(Id::Reserve, &reserve, Id::Grace, &grace, "no time would be left to wait"));
        }
        let usual = Duration::from_secs(5).min(part(until, 3));
        let usual = if platform.routes_by_readiness() { usual } else { Duration::ZERO };
        let pre_stop = self.time(Id::PreStop, usual, Origin::Default)?;
        if pre_stop.value >= until {
            let why = format!("the hook has to end after {}", show_duration(until));
            return Err(clash(Id::PreStop, &pre_stop, Id::Grace, &grace, &why));
        }
        let drain_for = self.time(Id::DrainTimeout, until.saturating_sub(pre_stop.value), Origin::Default)?;
        let drain_for = drain_for.value.min(until.saturating_sub(pre_stop.value));
        let mut drain = self.drain()?;
        drain.close.spread = part(drain_for, 3).min(LONGEST_SPREAD);
        let own_ports = self.ready()?.health.iter().map(SocketAddr::port).collect();
        let until = pre_stop.value.saturating_add(drain_for);
        Ok(WaitSettings { pre_stop: pre_stop.value, until, drain, own_ports, log: self.log(around)? })
    }

    /// The wanted ones of the settings with a key in the file, with value and origin.
    fn shown_of(&self, is_wanted: impl Fn(&Setting) -> bool) -> Vec<Shown> {
        let wanted = list::LIST.iter().filter(|setting| setting.key.is_some() && is_wanted(setting));
        wanted.map(|setting| self.show(setting)).collect()
    }

    fn show(&self, setting: &Setting) -> Shown {
        let noted = self.shown.iter().find(|(id, ..)| *id == setting.id);
        if let Some((_, value, origin)) = noted {
            return (setting.long, value.clone(), origin.clone());
        }
        let typed = self.typed.all(setting.id);
        let words = || typed.iter().map(|entry| entry.value.to_string_lossy()).collect::<Vec<_>>();
        match (typed.last(), setting.takes, setting.default) {
            (Some(entry), Takes::Many(..), _) => (setting.long, words().join(", "), entry.origin.clone()),
            (Some(entry), Takes::One(_), _) => {
                (setting.long, entry.value.to_string_lossy().into_owned(), entry.origin.clone())
            }
            (Some(entry), Takes::Nothing, _) => {
                let on = entry.value.to_str().and_then(|text| values::switch(text).ok());
                (setting.long, on.unwrap_or_default().to_string(), entry.origin.clone())
            }
            (None, Takes::Nothing, _) => (setting.long, false.to_string(), Origin::Default),
            (None, _, Usually::Is(text) | Usually::Depends(text)) => {
                (setting.long, text.to_owned(), Origin::Default)
            }
            (None, _, Usually::Unset) => (setting.long, "-".to_owned(), Origin::Default),
        }
    }

    /// What a known program's files and arguments lack for a clean stop.
    fn lacks(&self, program: &Program, around: &Surroundings) -> Option<String> {
        let need = program.needs.as_ref()?;
        let in_arguments = self.typed.command.iter().any(|word| word.to_string_lossy().contains(need.word));
        let sets = |text: &String| text.lines().any(|line| line.trim_start().starts_with(need.word));
        let in_files = || need.places.iter().any(|place| (around.texts)(place).iter().any(sets));
        (!in_arguments && !in_files()).then(|| need.otherwise.to_owned())
    }

    pub(super) fn probe(&self) -> Result<Task, Refusal> {
        let what = self.value(Id::Probe, |text| values::word(Id::Probe, text))?;
        let address = self.value(Id::Health, values::listen_address)?;
        match (what, address) {
            (Some(what), Some(address)) => Ok(Task::Probe { address: address.value, what: what.value }),
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
                Err(format!("'{name}' is no known program; write {}", values::list_or(&programs::choices())))
            }
        })?;
        Ok(match named {
            Some(named) => named.value.map(|value| Sourced { value, origin: named.origin }),
            None => programs::of_command(&self.typed.command)
                .map(|value| Sourced { value, origin: Origin::Program(value.name()) }),
        })
    }

    fn plan(
        &mut self,
        platform: Platform,
        program: Option<Sourced<&'static Program>>,
        times: &Times,
        hooks: &HookSettings,
        drain: &DrainSettings,
    ) -> Result<Plan, Refusal> {
        let program = program.as_ref();
        let once = self.stop_once(program)?;
        // Hooks of one point run one after the other, each with its own limit.
        let together = |targets: &[Target]| {
            (!targets.is_empty()).then(|| hooks.timeout.saturating_mul(targets.len() as u32))
        };
        Ok(Plan {
            grace: times.grace.value,
            kill_margin: times.kill_margin.value,
            pre_stop: times.pre_stop.value,
            drain: (drain.on || drain.check.is_some()).then_some(times.drain.value),
            leftovers: times.leftovers,
            stop_hooks: together(&hooks.on_stop),
            exit_hooks: together(&hooks.on_exit),
            schedule: self.schedule(platform, program, times)?,
            rewrites: Rewrites::new(self.list(Id::Rewrite, values::rewrite)?),
            stop_on: self.stop_on(platform, program)?,
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
            self.time(Id::KillMargin, Duration::from_secs(1).min(part(grace.value, 10)), Origin::Default)?;
        let (usual, from) = if platform.routes_by_readiness() {
            (Duration::from_secs(5).min(part(grace.value, 3)), Origin::Default)
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
                "adieu would kill before it stops the app",
            ));
        }
        if pre_stop.value >= kill_at {
            let why = format!(
                "adieu kills after {}, {} before the grace ends, so the app would have no time to stop",
                show_duration(kill_at),
                show_duration(kill_margin.value)
            );
            return Err(clash(Id::PreStop, &pre_stop, Id::Grace, &grace, &why));
        }
        let rest = kill_at.saturating_sub(pre_stop.value);
        let two_thirds = part(grace.value.saturating_mul(2), 3);
        let usual = two_thirds.saturating_sub(pre_stop.value).max(half(rest));
        let drain_for = self.time(Id::DrainTimeout, usual, Origin::Default)?;
        if drain_for.origin.is_explicit() && drain_for.value >= rest && drain.on {
            let why = format!(
                "adieu kills {} after the end of the pre-stop sleep of {}",
                show_duration(rest),
                show_duration(pre_stop.value)
            );
            return Err(clash(Id::DrainTimeout, &drain_for, Id::Grace, &grace, &why));
        }
        let leftovers = self.fixed_time(Id::Leftovers)?;
        Ok(Times { grace, kill_margin, pre_stop, drain: drain_for, leftovers })
    }

    fn schedule(
        &mut self,
        platform: Platform,
        program: Option<&Sourced<&'static Program>>,
        times: &Times,
    ) -> Result<Schedule, Refusal> {
        let typed = self.value(Id::Stop, values::schedule)?;
        if let Some(typed) = &typed {
            let waits = least_waits(&typed.value);
            let kill_at = times.grace.value.saturating_sub(times.kill_margin.value);
            let time = kill_at.saturating_sub(times.pre_stop.value);
            if waits >= time && times.grace.origin.is_explicit() {
                let why =
                    format!("only {} are left between the pre-stop sleep and the kill", show_duration(time));
                let schedule = Sourced { value: waits, origin: typed.origin.clone() };
                return Err(clash(Id::Stop, &schedule, Id::Grace, &times.grace, &why));
            }
        }
        // A test holds that the tables' schedules can be read.
        let read = |text: Option<&str>| values::schedule(text?).ok();
        let by_platform = read(platform.schedule()).map(|steps| (steps, Origin::Platform(platform.name())));
        let by_program =
            program.and_then(|program| Some((read(program.value.schedule)?, program.origin.clone())));
        // A program of `--profile` beats the platform, a recognized one does not.
        let usual = match by_program {
            Some((steps, origin)) if origin.is_explicit() => Some((steps, origin)),
            guessed => by_platform.or(guessed),
        };
        let (usual, origin) = usual.unwrap_or((Schedule::AsAsked, Origin::Default));
        Ok(self.or(Id::Stop, typed, usual, origin, values::show_schedule))
    }

    fn stop_on(
        &mut self,
        platform: Platform,
        program: Option<&Sourced<&'static Program>>,
    ) -> Result<SignalSet, Refusal> {
        let typed = self.list(Id::StopOn, values::request)?;
        let value = typed.into_iter().fold(SignalSet::default(), SignalSet::with);
        let given = self.typed.one(Id::StopOn).map(|entry| Sourced { value, origin: entry.origin.clone() });
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
        let show =
            |set: &SignalSet| set.iter().map(|signal| signal.to_string()).collect::<Vec<_>>().join(", ");
        Ok(self.or(Id::StopOn, given, usual, origin, show))
    }

    fn stop_once(&mut self, program: Option<&Sourced<&'static Program>>) -> Result<bool, Refusal> {
        let typed = self.value(Id::StopOnce, values::switch)?;
        let by_program = program.filter(|program| program.value.stop_once);
        let origin = by_program.map_or(Origin::Default, |program| program.origin.clone());
        Ok(self.or(Id::StopOnce, typed, by_program.is_some(), origin, bool::to_string))
    }

    fn signals(&self) -> Result<SignalSettings, Refusal> {
        let orphan = self.value(Id::OrphanSignal, |text| match text {
            "none" => Ok(None),
            name => values::signal(name).map(Some),
        })?;
        let single = self.switched(Id::SingleChild)?;
        Ok(SignalSettings {
            group: self.switched(Id::Group)? && !single,
            parent_death: self.value(Id::ParentDeathSignal, values::signal)?.map(|signal| signal.value),
            orphan: orphan.map_or(Some(Signal::KILL), |orphan| orphan.value),
        })
    }

    /// `main_process`: systemd itself started adieu, and takes 128+n for a failure.
    fn exit(&self, main_process: bool) -> Result<ExitSettings, Refusal> {
        let die_of_signal = match self.word(Id::ExitSignal)? {
            "always" => true,
            "never" => false,
            _ => main_process,
        };
        Ok(ExitSettings {
            success: self.list(Id::SuccessExit, values::status)?,
            success_on_stop: self.list(Id::SuccessOnStop, values::status)?,
            die_of_signal,
        })
    }

    fn ready(&mut self) -> Result<ReadySettings, Refusal> {
        let health = self.value(Id::Health, values::listen_address)?;
        if let Some(health) = &health {
            self.shown.push((Id::Health, health.value.to_string(), health.origin.clone()));
        }
        Ok(ReadySettings {
            health: health.map(|health| health.value),
            checks: self.list(Id::Ready, values::target)?,
            file: self.path(Id::ReadyFile)?,
        })
    }

    fn drain(&mut self) -> Result<DrainSettings, Refusal> {
        let check = self.value(Id::DrainCheck, |text| match values::target(text)? {
            Target::Tcp(_) | Target::Notify => Err(format!(
                "'{text}' cannot tell whether the app is idle; write exec:CMD ARG or http://HOST:PORT/PATH"
            )),
            target @ (Target::Exec(_) | Target::Http(_)) => Ok(target),
        })?;
        Ok(DrainSettings {
            on: self.word(Id::Drain)? != "off",
            ports: self.list(Id::DrainPort, values::port)?,
            outbound: self.list(Id::DrainOutbound, values::port)?,
            check: check.map(|check| check.value),
            quiet: self.fixed_time(Id::DrainQuiet)?,
            longest: self.fixed_time(Id::DrainLongest)?,
            close: self.close_connections()?,
        })
    }

    /// A readiness check over http shows that its port speaks HTTP/1.
    fn close_connections(&self) -> Result<CloseSettings, Refusal> {
        let words = self.list(Id::CloseConnections, values::close_connections)?;
        let named: Vec<u16> = words.iter().filter_map(|word| word.flatten()).collect();
        let alone = words.len() == 1 || named.len() == words.len();
        if let Some(entry) = self.typed.one(Id::CloseConnections).filter(|_| !alone) {
            return Err(refuse(entry, "auto and off stand alone; write auto, off or ports"));
        }
        let checks = self.list(Id::Ready, values::target)?;
        let checked = checks.into_iter().filter_map(|check| match check {
            Target::Http(http) => Some(http.addr.port()),
            Target::Exec(_) | Target::Tcp(_) | Target::Notify => None,
        });
        let only_these = !named.is_empty();
        Ok(CloseSettings {
            on: !words.contains(&Some(None)),
            ports: if only_these { named } else { checked.collect() },
            only_these,
            spread: LONGEST_SPREAD,
        })
    }

    fn hooks(&mut self, grace: Duration) -> Result<HookSettings, Refusal> {
        let hook = |text: &str| match values::target(text)? {
            Target::Tcp(_) | Target::Notify => {
                Err(format!("'{text}' is no hook; write exec:CMD ARG, http://URL or post:http://URL"))
            }
            target @ (Target::Exec(_) | Target::Http(_)) => Ok(target),
        };
        let usual = Duration::from_secs(10).min(part(grace, 3));
        Ok(HookSettings {
            on_start: self.list(Id::OnStart, hook)?,
            on_stop: self.list(Id::OnStop, hook)?,
            on_exit: self.list(Id::OnExit, hook)?,
            timeout: self.time(Id::HookTimeout, usual, Origin::Default)?.value,
        })
    }

    fn log(&mut self, around: &Surroundings) -> Result<LogSettings, Refusal> {
        let flag = || Origin::Flag(list::by_id(Id::Verbose).long);
        let spoken = match self.typed.all(Id::Verbose).len() {
            0 => None,
            1 => Some(Sourced { value: "debug".to_owned(), origin: flag() }),
            _ => Some(Sourced { value: "trace".to_owned(), origin: flag() }),
        };
        let level = self.value(Id::LogLevel, |text| values::word(Id::LogLevel, text).map(str::to_owned))?;
        let rust_log = (around.variable)("RUST_LOG").filter(|filter| !filter.is_empty());
        let rust_log =
            rust_log.map(|value| Sourced { value, origin: Origin::Variable("RUST_LOG".to_owned()) });
        let chosen = spoken.or(level).or(rust_log);
        Ok(LogSettings {
            filter: self.or(Id::LogLevel, chosen, "info".to_owned(), Origin::Default, String::clone),
            json: self.word(Id::LogFormat)? == "json",
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

    /// A path, made absolute while adieu's working directory is still the one it was started in.
    fn path(&self, id: Id) -> Result<Option<PathBuf>, Refusal> {
        let Some(entry) = self.typed.one(id) else {
            return Ok(None);
        };
        if entry.value.is_empty() {
            return Err(refuse(entry, "the path is empty"));
        }
        let path = PathBuf::from(&entry.value);
        Ok(Some(std::path::absolute(&path).unwrap_or(path)))
    }

    /// One of the row's words: what was typed, or the default.
    fn word(&self, id: Id) -> Result<&'static str, Refusal> {
        let typed = self.value(id, |text| values::word(id, text))?;
        Ok(typed.map_or(list::by_id(id).usual(), |typed| typed.value))
    }

    /// A time whose default is in its row.
    fn fixed_time(&self, id: Id) -> Result<Duration, Refusal> {
        let typed = self.value(id, values::duration)?;
        // A test holds that the defaults in the rows can be read.
        let usual = || values::duration(list::by_id(id).usual()).unwrap_or_default();
        Ok(typed.map_or_else(usual, |typed| typed.value))
    }

    fn switched(&self, id: Id) -> Result<bool, Refusal> {
        Ok(self.value(id, values::switch)?.is_some_and(|on| on.value))
    }

    /// A time, shown with its origin.
    fn time(&mut self, id: Id, usual: Duration, from: Origin) -> Result<Sourced<Duration>, Refusal> {
        let typed = self.value(id, values::duration)?;
        let time = typed.unwrap_or(Sourced { value: usual, origin: from });
        if self.shows {
            self.shown.push((id, show_duration(time.value), time.origin.clone()));
        }
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
        if self.shows {
            self.shown.push((id, show(&chosen.value), chosen.origin));
        }
        chosen.value
    }
}

/// How long a schedule takes at least until its last signal.
fn least_waits(schedule: &Schedule) -> Duration {
    let steps = match schedule {
        Schedule::AsAsked | Schedule::Silent => return Duration::ZERO,
        Schedule::Steps(steps) => steps,
    };
    let waits = steps.iter().map(|step| match step.wait {
        Wait::For(length) => length,
        Wait::UntilBeforeKill(_) => Duration::ZERO,
    });
    waits.fold(Duration::ZERO, Duration::saturating_add)
}

fn is_set(around: &Surroundings, name: &str) -> bool {
    (around.variable)(name).is_some()
}

struct Times {
    grace: Sourced<Duration>,
    kill_margin: Sourced<Duration>,
    pre_stop: Sourced<Duration>,
    drain: Sourced<Duration>,
    leftovers: Duration,
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
        format!("{} {} ({})", list::by_id(id).long, show_duration(time.value), time.origin)
    };
    Refusal(format!(
        "{} does not fit into {}: {why}; shorten the first or lengthen the second",
        named(one, first),
        named(other, second)
    ))
}
