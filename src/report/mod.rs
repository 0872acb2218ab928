//! The report of a stop: who requested it, how long each phase took, what was in flight, what was
//! cut off, how it ended. It is collected during the stop, at a bounded cost, and comes out in
//! three forms: as JSON (`--report`), as one line in the log, and as the message that Kubernetes
//! shows for a terminated container.

use crate::hooks::{self, point_name};
use crate::lifecycle::{Phase, Why};
use crate::moment::{Moment, show_measured};
use crate::process::Exit;
use crate::signal::{Arrival, Sender, Signal};
use serde::{Serialize, Serializer};
use std::ffi::OsString;
use std::fmt::{Display, Write as _};
use std::time::Duration;

/// Changes of what is in flight that are kept; the last one is always kept.
const SAMPLES: usize = 256;
/// How many signals, and how many hooks, are kept.
const ENTRIES: usize = 256;
/// Kubernetes keeps this many bytes of a termination message.
const TERMINATION_LIMIT: usize = 4096;

/// What happened. Times are milliseconds since adieu's start; what is unknown is null.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Report {
    /// adieu's version.
    adieu: &'static str,
    command: Vec<String>,
    platform: String,
    /// The stop request; null when the app ended by itself.
    asked: Option<StopRequest>,
    phases: Vec<PhaseSpan>,
    /// Each change of what is in flight.
    in_flight: Vec<InFlightChange>,
    connections: ConnectionCounts,
    /// Signals sent to the app, forwarded ones as well.
    signals: Vec<Sent>,
    cut_off: CutOff,
    /// The app had to be killed.
    killed: bool,
    leftovers: Leftovers,
    hooks: Vec<Hook>,
    /// Orphans reaped.
    reaped: u64,
    /// Log lines that were dropped, since nobody read them in time.
    log_lines_lost: u64,
    app: Option<AppEnd>,
    /// adieu's own exit status, and when it left.
    status: Option<u8>,
    left_ms: Option<u64>,
    #[serde(skip)]
    now_in_flight: Option<usize>,
    /// Requests answered and connections closed when draining began.
    #[serde(skip)]
    before_draining: (u64, u64),
    /// The last look could see nothing.
    #[serde(skip)]
    blind: bool,
}

/// What was seen of clients' connections between the stop request and the stop signal.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct ConnectionCounts {
    /// Requests that were seen answered.
    answered: u64,
    /// Connections that closed with a request in flight; whether it was answered was not seen.
    closed: u64,
    /// Clients that were let go between two of their requests.
    let_go: u64,
    /// Connections that were open and judged idle when the stop signal was sent; null without a
    /// look, or if nothing could be seen.
    judged_idle: Option<usize>,
    /// The app was seen to listen on a TCP or unix socket, so that its clients could be seen.
    listened: bool,
    /// When the stop signal was sent, requests in flight could not be seen.
    not_seen: bool,
}

/// The drain's last look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sight {
    /// There was none.
    NoLook,
    /// Nothing can be seen.
    Blind,
    /// This was seen.
    Seen(Seen),
}

/// A look at all connections.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seen {
    /// Requests in flight.
    pub in_flight: usize,
    /// Open connections that are judged idle.
    pub idle: usize,
    /// Requests that were seen answered since the stop request.
    pub answered: u64,
    /// Connections that closed with a request in flight since the stop request.
    pub closed: u64,
    /// Clients that were let go between two of their requests.
    pub let_go: u64,
    /// The app listens on a socket that is watched.
    pub listens: bool,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct StopRequest {
    at_ms: u64,
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    signal: Signal,
    /// 0 for a process outside our PID namespace, null for the kernel.
    sender_pid: Option<i32>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct PhaseSpan {
    phase: &'static str,
    begin_ms: u64,
    end_ms: Option<u64>,
    /// Why it began.
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    why: Why,
    #[serde(skip)]
    which: Phase,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct InFlightChange {
    at_ms: u64,
    count: usize,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Sent {
    at_ms: u64,
    #[serde(serialize_with = "as_text")]
    #[cfg_attr(feature = "schema", schemars(with = "String"))]
    signal: Signal,
}

/// Requests in flight at the moments at which they may lose their answer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct CutOff {
    /// When the stop signal was sent: an app that shuts down well still finishes these.
    at_stopping: Option<usize>,
    /// When the app was killed: these are lost.
    at_killing: Option<usize>,
    /// When the app ended by itself before it was asked to: these are lost.
    at_own_end: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Leftovers {
    /// They got TERM.
    swept: bool,
    /// They had to be killed.
    killed: bool,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct Hook {
    stage: &'static str,
    hook: String,
    begin_ms: u64,
    end_ms: u64,
    /// Null when it succeeded.
    error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
struct AppEnd {
    at_ms: u64,
    /// As a shell counts: 128+n for a death by signal n.
    status: u8,
    signal: Option<String>,
}

/// Text is made of it when the report is written, and not while a signal waits to be sent.
fn as_text<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

fn ms(moment: Moment) -> u64 {
    u64::try_from(moment.since_start().as_millis()).unwrap_or(u64::MAX)
}

/// The JSON Schema of the report.
#[cfg(feature = "schema")]
#[must_use]
pub fn schema() -> serde_json::Value {
    let settings = schemars::generate::SchemaSettings::draft2020_12().for_serialize();
    settings.into_generator().into_root_schema_for::<Report>().to_value()
}

impl Report {
    /// Nothing has happened yet.
    pub fn new(command: &[OsString], platform: &str) -> Report {
        Report {
            adieu: env!("CARGO_PKG_VERSION"),
            command: command.iter().map(|word| word.to_string_lossy().into_owned()).collect(),
            platform: platform.to_owned(),
            asked: None,
            phases: Vec::new(),
            in_flight: Vec::new(),
            connections: ConnectionCounts::default(),
            signals: Vec::new(),
            cut_off: CutOff::default(),
            killed: false,
            leftovers: Leftovers::default(),
            hooks: Vec::new(),
            reaped: 0,
            log_lines_lost: 0,
            app: None,
            status: None,
            left_ms: None,
            now_in_flight: None,
            before_draining: (0, 0),
            blind: false,
        }
    }

    /// A stop was requested. The first request counts.
    pub fn asked(&mut self, arrival: Arrival, now: Moment) {
        let sender_pid = match arrival.from {
            Sender::Kernel => None,
            Sender::Outside => Some(0),
            Sender::Process(pid) => Some(pid.number()),
        };
        self.asked.get_or_insert_with(|| StopRequest { at_ms: ms(now), signal: arrival.signal, sender_pid });
    }

    /// A phase begins, and the one before it ends.
    pub fn enter(&mut self, phase: Phase, why: Why, now: Moment) {
        let at_ms = ms(now);
        if let Some(last) = self.phases.last_mut() {
            last.end_ms.get_or_insert(at_ms);
        }
        if phase == Phase::Draining {
            self.before_draining = (self.connections.answered, self.connections.closed);
        }
        if phase == Phase::Stopping {
            self.cut_off.at_stopping = self.now_in_flight.filter(|_| !self.blind);
            self.connections.not_seen = self.blind;
        }
        self.phases.push(PhaseSpan { phase: phase.name(), begin_ms: at_ms, end_ms: None, why, which: phase });
    }

    /// What the last look at the app's connections has shown.
    pub fn saw(&mut self, sight: Sight, now: Moment) {
        self.blind = sight == Sight::Blind;
        let Sight::Seen(seen) = sight else { return };
        if matches!(self.phase(), Some(Phase::PreStop | Phase::Draining)) {
            self.connections.answered = seen.answered;
            self.connections.closed = seen.closed;
            self.connections.let_go = seen.let_go;
            self.connections.judged_idle = Some(seen.idle);
            self.connections.listened |= seen.listens;
        }
        self.in_flight(seen.in_flight, now);
    }

    /// How many requests are in flight.
    pub fn in_flight(&mut self, count: usize, now: Moment) {
        if self.now_in_flight == Some(count) {
            return;
        }
        self.now_in_flight = Some(count);
        if self.in_flight.len() >= SAMPLES {
            self.in_flight.pop();
        }
        self.in_flight.push(InFlightChange { at_ms: ms(now), count });
    }

    /// A signal was sent to the app.
    pub fn signalled(&mut self, signal: Signal, now: Moment) {
        if self.signals.len() < ENTRIES {
            self.signals.push(Sent { at_ms: ms(now), signal });
        }
    }

    /// The app was killed.
    pub fn killed(&mut self) {
        if self.app.is_none() && !self.killed {
            self.killed = true;
            self.cut_off.at_killing = self.now_in_flight.filter(|_| !self.blind);
        }
    }

    /// Leftovers got TERM.
    pub fn swept(&mut self) {
        self.leftovers.swept = true;
    }

    /// Leftovers were killed.
    pub fn killed_leftovers(&mut self) {
        self.leftovers.killed = true;
    }

    /// A hook has ended.
    pub fn hook(&mut self, done: &hooks::Finished) {
        if self.hooks.len() < ENTRIES {
            self.hooks.push(Hook {
                stage: point_name(done.point),
                hook: done.hook.clone(),
                begin_ms: ms(done.began),
                end_ms: ms(done.ended),
                error: done.result.clone().err(),
            });
        }
    }

    /// The app has ended.
    pub fn app_ended(&mut self, exit: Exit, now: Moment) {
        if matches!(self.phase(), Some(Phase::PreStop | Phase::Draining)) {
            self.cut_off.at_own_end = self.now_in_flight.filter(|_| !self.blind);
        }
        let signal = match exit {
            Exit::Status(_) => None,
            Exit::Killed(signal) => Some(signal.to_string()),
        };
        self.app.get_or_insert(AppEnd { at_ms: ms(now), status: exit.code(), signal });
    }

    /// adieu leaves with this status.
    pub fn left(&mut self, status: u8, now: Moment) {
        self.status = Some(status);
        self.left_ms = Some(ms(now));
        if let Some(last) = self.phases.last_mut() {
            last.end_ms.get_or_insert(ms(now));
        }
    }

    /// Counters from elsewhere.
    pub fn counted(&mut self, reaped: u64, log_lines_lost: u64) {
        self.reaped = reaped;
        self.log_lines_lost = log_lines_lost;
    }

    fn phase(&self) -> Option<Phase> {
        self.phases.last().map(|span| span.which)
    }

    /// The report, with a line feed at its end.
    pub fn to_json(&self) -> String {
        // Strings and numbers always have a JSON form.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// The report in one line: which signal from whom, how long each phase took, what was cut off,
    /// the status.
    pub fn summary_line(&self) -> String {
        let mut line = self.opening();
        let phases = self.timed_phases();
        if self.asked.is_some() && !phases.is_empty() {
            line.push_str(": ");
            line.push_str(&phases.join(", "));
        }
        for part in [self.loss(), self.rest(), self.exit()].into_iter().flatten() {
            line.push_str("; ");
            line.push_str(&part);
        }
        line
    }

    fn opening(&self) -> String {
        let end = self.left_ms.unwrap_or(0);
        let Some(asked) = &self.asked else {
            return format!("the app ended by itself after {}", shown(end));
        };
        let by = match asked.sender_pid {
            None => " from the kernel".to_owned(),
            Some(0) => " from outside".to_owned(),
            Some(pid) => format!(" from pid {pid}"),
        };
        format!("stopped by {}{by} in {}", asked.signal, shown(end.saturating_sub(asked.at_ms)))
    }

    /// The phases of a stop that took their time.
    fn timed_phases(&self) -> Vec<String> {
        let mut said = Vec::new();
        for span in &self.phases {
            let took = span.end_ms.unwrap_or(span.begin_ms).saturating_sub(span.begin_ms);
            let worth_it = match span.which {
                Phase::Starting | Phase::Running | Phase::Gone => false,
                Phase::PreStop | Phase::Draining | Phase::Stopping => took >= 1,
                Phase::Killing | Phase::Sweeping | Phase::Leaving => took >= 50,
            };
            if worth_it {
                let mut words = format!("{} {}", span.phase, shown(took));
                if span.which == Phase::Draining {
                    words.push_str(&self.done_while_draining());
                }
                said.push(words);
            }
        }
        said
    }

    /// ` (4 requests answered, 1 closed in flight)`
    fn done_while_draining(&self) -> String {
        let (answered, closed) = self.before_draining;
        let answered = self.connections.answered.saturating_sub(answered);
        let closed = self.connections.closed.saturating_sub(closed);
        let let_go = self.connections.let_go;
        let clients = if let_go == 1 { "client" } else { "clients" };
        let parts = [
            (answered > 0 || closed > 0).then(|| format!("{} answered", requests(answered))),
            (closed > 0).then(|| format!("{closed} closed in flight")),
            (let_go > 0).then(|| format!("{let_go} {clients} let go")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
    }

    /// What was lost, as far as it was seen.
    fn loss(&self) -> Option<String> {
        if self.killed {
            return Some(match self.cut_off.at_killing {
                None => "killed, as time was up".to_owned(),
                Some(0) => "killed, as time was up, with nothing in flight".to_owned(),
                Some(count) => format!("killed, as time was up, with {} in flight", requests(count as u64)),
            });
        }
        match (self.cut_off.at_own_end, self.cut_off.at_stopping) {
            (Some(count @ 1..), _) => {
                Some(format!("{} cut off, as the app ended by itself", requests(count as u64)))
            }
            (_, Some(count @ 1..)) => {
                Some(format!("{} still in flight when the app was told to stop", requests(count as u64)))
            }
            (Some(0), _) | (_, Some(0)) => Some(self.nothing_in_flight()),
            (None, None) if self.connections.not_seen || self.blind => {
                Some("what was in flight was not seen".to_owned())
            }
            (None, None) => None,
        }
    }

    /// An idle connection is judged by its silence: only where none was open is it certain that
    /// nobody was cut off. Of an app that listens on no socket nobody knows what it works on.
    fn nothing_in_flight(&self) -> String {
        match self.connections.judged_idle.unwrap_or(0) {
            0 if !self.connections.listened => "no listening socket was seen".to_owned(),
            0 => "nothing cut off".to_owned(),
            1 => "nothing in flight, 1 connection judged idle".to_owned(),
            count => format!("nothing in flight, {count} connections judged idle"),
        }
    }

    /// Requests still in flight when the app was told to stop, if they could be seen.
    pub fn in_flight_at_stopping(&self) -> Option<usize> {
        self.cut_off.at_stopping
    }

    /// How many requests were lost for certain, as far as it was seen.
    pub fn lost(&self) -> Option<u64> {
        let of = |count: Option<usize>| count.and_then(|count| u64::try_from(count).ok());
        let none_is_none_lost = || of(self.cut_off.at_stopping).filter(|count| *count == 0);
        of(self.cut_off.at_killing).or_else(|| of(self.cut_off.at_own_end)).or_else(none_is_none_lost)
    }

    fn rest(&self) -> Option<String> {
        self.leftovers.killed.then(|| "leftovers killed".to_owned())
    }

    fn exit(&self) -> Option<String> {
        let status = self.status?;
        let mut words = format!("exit {status}");
        if let Some(app) = &self.app {
            // Writing to a String cannot fail.
            let _ = match &app.signal {
                Some(signal) => write!(words, " (the app died of {signal})"),
                None if app.status != status => write!(words, " (the app's was {})", app.status),
                None => Ok(()),
            };
        }
        Some(words)
    }

    /// At most 4096 bytes for `kubectl describe pod`: the summary and the hooks that
    /// failed.
    pub fn termination_message(&self) -> String {
        let mut message = self.summary_line();
        for hook in &self.hooks {
            if let Some(error) = &hook.error {
                // Writing to a String cannot fail.
                let _ = write!(message, "\n{} hook '{}' failed: {error}", hook.stage, hook.hook);
            }
        }
        let mut length = message.len().min(TERMINATION_LIMIT - 1);
        while !message.is_char_boundary(length) {
            length = length.saturating_sub(1);
        }
        message.truncate(length);
        message.push('\n');
        message
    }
}

fn shown(ms: u64) -> String {
    show_measured(Duration::from_millis(ms))
}

fn requests(count: u64) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} request{s}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::HookPoint;
    use crate::process::Pid;
    use std::time::Duration;

    fn at(ms: u64) -> Moment {
        Moment::at(Duration::from_millis(ms))
    }

    const TERM: Arrival =
        Arrival { signal: Signal::TERM, from: Sender::Process(Pid::new(12).unwrap()), value: None };

    fn stopped(in_flight: &[(u64, usize)], exit: Exit) -> Report {
        let mut story = Report::new(&["web".into(), "--port=80".into()], "kubernetes");
        let mut samples = in_flight.iter().copied().peekable();
        let mut seen = Seen { listens: true, ..Seen::default() };
        let mut look = |story: &mut Report, until: u64| {
            while let Some((ms, count)) = samples.next_if(|(ms, _)| *ms <= until) {
                seen.answered += seen.in_flight.saturating_sub(count) as u64;
                seen.in_flight = count;
                story.saw(Sight::Seen(seen), at(ms));
            }
        };
        story.enter(Phase::Starting, Why::Started, at(0));
        story.enter(Phase::Running, Why::Ready, at(10));
        story.asked(TERM, at(1000));
        story.enter(Phase::PreStop, Why::Asked(TERM), at(1000));
        look(&mut story, 6000);
        story.enter(Phase::Draining, Why::SleepOver, at(6000));
        look(&mut story, 7100);
        story.enter(Phase::Stopping, Why::Drained, at(7100));
        story.signalled(Signal::TERM, at(7100));
        story.app_ended(exit, at(7300));
        story.enter(Phase::Sweeping, Why::AppEnded, at(7300));
        story.enter(Phase::Gone, Why::NothingLeft, at(7301));
        story.left(exit.code(), at(7301));
        story
    }

    #[test]
    fn a_good_stop_in_one_line() {
        let story = stopped(&[(1000, 5), (6000, 3), (6500, 1), (6600, 2), (7050, 0)], Exit::Status(0));
        assert_eq!(
            story.summary_line(),
            "stopped by TERM from pid 12 in 6.3s: pre-stop 5s, draining 1.1s (4 requests answered), stopping 200ms; \
             nothing cut off; exit 0"
        );
    }

    #[test]
    fn what_was_cut_off_is_not_hidden() {
        let story = stopped(&[(1000, 1)], Exit::Killed(Signal::TERM));
        let line = story.summary_line();
        assert!(
            line.ends_with(
                "; 1 request still in flight when the app was told to stop; exit 143 (the app died of TERM)"
            ),
            "{line}"
        );
        let line = stopped(&[], Exit::Status(7)).summary_line();
        assert!(line.ends_with("stopping 200ms; exit 7"), "nothing seen, nothing claimed: {line}");

        let mut story = Report::new(&[], "none");
        story.asked(TERM, at(0));
        story.enter(Phase::PreStop, Why::Asked(TERM), at(0));
        story.in_flight(2, at(1));
        let mut own_end = story.clone();
        own_end.app_ended(Exit::Status(1), at(2));
        own_end.left(0, at(3));
        assert_eq!(
            own_end.summary_line(),
            "stopped by TERM from pid 12 in 3ms: pre-stop 3ms; 2 requests cut off, as the app ended by itself; \
             exit 0 (the app's was 1)"
        );
        story.enter(Phase::Killing, Why::TimeUp, at(60));
        story.killed();
        story.app_ended(Exit::Killed(Signal::KILL), at(70));
        story.killed_leftovers();
        story.left(137, at(80));
        let line = story.summary_line();
        assert!(
            line.ends_with(
                "; killed, as time was up, with 2 requests in flight; leftovers killed; exit 137 (the app died of KILL)"
            ),
            "{line}"
        );
    }

    /// A stop with these looks during the drain.
    fn drained(looks: &[Sight]) -> Report {
        let mut story = Report::new(&[], "none");
        story.asked(TERM, at(0));
        story.enter(Phase::PreStop, Why::Asked(TERM), at(0));
        story.enter(Phase::Draining, Why::SleepOver, at(1000));
        for (n, look) in looks.iter().enumerate() {
            story.saw(*look, at(1100 + n as u64));
        }
        story.enter(Phase::Stopping, Why::Drained, at(2000));
        // A look after the stop signal changes nothing.
        story.saw(Sight::Seen(Seen { idle: 7, answered: 99, ..Seen::default() }), at(2100));
        story.app_ended(Exit::Status(0), at(2200));
        story.left(0, at(2200));
        story
    }

    #[test]
    fn nothing_cut_off_is_said_only_where_that_is_known() {
        let idle = |idle| Sight::Seen(Seen { idle, listens: true, ..Seen::default() });
        let line = |looks: &[Sight]| drained(looks).summary_line();
        assert!(line(&[idle(0)]).contains("; nothing cut off; "));
        assert!(line(&[idle(3)]).contains("; nothing in flight, 3 connections judged idle; "));
        assert!(line(&[idle(0), Sight::Blind]).contains("; what was in flight was not seen; "));
        assert!(!line(&[Sight::NoLook]).contains("cut off"));
        let worker = line(&[Sight::Seen(Seen::default())]);
        assert!(worker.contains("; no listening socket was seen; "), "{worker}");
        assert!(!line(&[Sight::Blind, idle(1)]).contains("not seen"), "only the last look counts");
        let blind: serde_json::Value =
            serde_json::from_str(&drained(&[idle(0), Sight::Blind]).to_json()).unwrap();
        assert_eq!(blind["cut_off"]["at_stopping"], serde_json::Value::Null);
        assert_eq!(blind["connections"]["not_seen"], true);
        let seen: serde_json::Value = serde_json::from_str(&drained(&[idle(2)]).to_json()).unwrap();
        assert_eq!(seen["connections"]["judged_idle"], 2);
        assert_eq!(seen["cut_off"]["at_stopping"], 0);
    }

    #[test]
    fn answered_is_what_was_seen_answered() {
        let look = Sight::Seen(Seen { answered: 4, closed: 2, let_go: 3, ..Seen::default() });
        let line = drained(&[look]).summary_line();
        let told = "draining 1s (4 requests answered, 2 closed in flight, 3 clients let go)";
        assert!(line.contains(told), "{line}");
    }

    #[test]
    fn an_end_without_a_stop_is_said_so() {
        let mut story = Report::new(&[], "none");
        story.enter(Phase::Running, Why::Started, at(0));
        story.app_ended(Exit::Status(3), at(12_340));
        story.left(3, at(12_341));
        assert_eq!(story.summary_line(), "the app ended by itself after 12.3s; exit 3");
        assert_eq!(story.termination_message(), "the app ended by itself after 12.3s; exit 3\n");
    }

    #[test]
    fn the_report_is_json_with_its_keys_in_order() {
        let mut story = stopped(&[(1000, 1), (1200, 1), (1300, 0)], Exit::Status(0));
        story.hook(&hooks::Finished {
            point: HookPoint::Stop,
            hook: "exec:x".to_owned(),
            began: at(1000),
            ended: at(1100),
            result: Err("exit status 1".to_owned()),
        });
        story.counted(4, 1);
        let json = story.to_json();
        let keys = [
            "adieu",
            "command",
            "platform",
            "asked",
            "phases",
            "in_flight",
            "connections",
            "signals",
            "cut_off",
            "killed",
            "leftovers",
            "hooks",
            "reaped",
            "log_lines_lost",
            "app",
            "status",
            "left_ms",
        ];
        let places: Vec<_> =
            keys.iter().map(|key| json.find(&format!("\n  \"{key}\":")).expect(key)).collect();
        assert!(places.is_sorted());
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value.as_object().unwrap().len(), keys.len());
        assert_eq!(value["in_flight"].as_array().unwrap().len(), 2, "changes only");
        assert_eq!(value["asked"]["sender_pid"], 12);
        assert_eq!(value["phases"][2]["end_ms"], 6000);
        assert_eq!(value["hooks"][0]["error"], "exit status 1");
        assert_eq!(value["cut_off"]["at_stopping"], 0);
    }

    #[test]
    fn a_long_life_costs_a_bounded_heap() {
        let mut story = Report::new(&[], "none");
        for n in 0..10_000 {
            story.in_flight(n, at(n as u64));
            story.signalled(Signal::new(10).unwrap(), at(n as u64));
        }
        assert_eq!((story.in_flight.len(), story.signals.len()), (SAMPLES, ENTRIES));
        assert_eq!(story.in_flight.last().unwrap().count, 9999);
    }

    #[test]
    fn a_termination_message_keeps_the_limit_between_characters() {
        let mut story = Report::new(&[], "none");
        for _ in 0..200 {
            story.hook(&hooks::Finished {
                point: HookPoint::Exit,
                hook: "exec:später".to_owned(),
                began: at(0),
                ended: at(1),
                result: Err("über".to_owned()),
            });
        }
        let message = story.termination_message();
        assert!(message.len() <= 4096 && message.len() > 4090, "{}", message.len());
    }
}
