//! When, and in which order: one loop that waits, collects what happened, asks the lifecycle, and
//! performs its actions.
//!
//! A turn takes signals first, then the app's end, then a bounded number of orphans, then what is
//! due, so that no flood of the one can delay the other. There is one wait, with one absolute
//! deadline; an idle adieu never wakes up.

mod app;
mod draining;
mod notices;
mod perform;
mod readiness;
mod services;
mod sockets;
pub(crate) mod wait;

use crate::lifecycle::{Event, Lifecycle, Phase};
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::report::{Report, Sight};
use crate::signal::{Arrival, Signal};

use crate::ready::pages::View;
use crate::settings::{Platform, Refusal, Settings};
use crate::sys::poll::PollFds;
use crate::sys::reap::{self, Reaped};
use crate::sys::signals::{Inherited, Signals};
use crate::sys::{self, Clock, describe, descriptors, files};
use app::App;
use log::{debug, error, info, warn};
use perform::LogLine;
use services::Services;
use sockets::Sockets;
use std::ffi::c_int;
use std::path::Path;
use std::time::Duration;

/// How many signals one turn takes at most.
const SIGNALS_A_TURN: usize = 1024;
/// How often the loop looks at descriptors where signalfd(2) is refused.
const SLICE: Duration = Duration::from_millis(20);
/// How long lines about a signal wait for the app to act on it.
const LINES_LATER: Duration = Duration::from_millis(1);
/// How many orphans one turn reaps at most.
const ORPHANS_A_TURN: usize = 128;
/// Where Kubernetes reads a container's termination message (default of terminationMessagePath).
const TERMINATION_LOG: &str = "/dev/termination-log";

struct Supervisor {
    clock: Clock,
    /// The time when this turn began.
    now: Moment,
    settings: Box<Settings>,
    lifecycle: Lifecycle,
    signals: Signals,
    app: App,
    services: Services,
    /// When the phase began.
    since: Moment,
    /// Orphans that ended and were reaped.
    reaped: u64,
    /// More zombies may be left, so that the next turn begins at once.
    more_to_reap: bool,
    /// Lines about a signal have waited for the app to act on it.
    lines_due: bool,
    report: Report,
    /// How to exit, once the lifecycle is over.
    leave: Option<Exit>,
}

/// Runs the app from its start to its end and returns the exit status.
///
/// # Errors
/// What fails before the app is started. A command that cannot be executed is no such error but
/// exit status 126 or 127.
pub(crate) fn run(settings: Box<Settings>, inherited: Inherited) -> Result<c_int, Refusal> {
    let clock = Clock::start();
    crate::log::start(&settings.log.filter, settings.log.json, clock);
    for warning in &settings.warnings {
        warn!("{warning}");
    }
    let sockets = Sockets::open(&settings)?;
    settle_in(&settings);
    let mut variables = sockets.variables();
    variables.extend(settings.app_variable());
    let app = match App::start(&settings, variables, inherited) {
        Ok(app) => app,
        Err(failure) => {
            error!("{}", failure.message);
            return Ok(failure.status);
        }
    };
    // While the app's exec is under way. Never dropped: the process ends with it.
    let supervisor = Box::leak(Supervisor::new(settings, sockets, app, clock));
    if let Err(failure) = supervisor.app.settle(&supervisor.settings) {
        error!("{}", failure.message);
        return Ok(failure.status);
    }
    if supervisor.app.has_begun() {
        supervisor.begin();
    }
    let exit = loop {
        if let Some(exit) = supervisor.leave {
            break exit;
        }
        supervisor.wait();
        // While lines are left for later, the app is to run first.
        if supervisor.lines_due || !crate::log::has_deferred() {
            supervisor.turn();
        }
    };
    Ok(supervisor.leave(exit))
}

/// Sets adieu's own process up.
fn settle_in(settings: &Settings) {
    if !sys::is_init()
        && let Err(error) = sys::become_subreaper()
    {
        warn!("cannot become a subreaper: {}; orphans of the app will not be reaped", describe(&error));
    }
    if let Some(signal) = settings.signals.parent_death
        && let Err(error) = sys::set_parent_death_signal(signal)
    {
        warn!("cannot set {} as parent death signal: {}", signal, describe(&error));
    }
}

impl Supervisor {
    // Not a part of run's frame, which stays on the stack.
    #[inline(never)]
    fn new(settings: Box<Settings>, sockets: Sockets, app: App, clock: Clock) -> Box<Supervisor> {
        let mut own = sockets.descriptors();
        own.extend(crate::log::descriptor().into_iter().chain(app.descriptors()));
        descriptors::close_inherited(&own);
        // So that the file system in which adieu was started can be unmounted.
        if let Err(error) = std::env::set_current_dir("/") {
            debug!("cannot change to '/': {}", describe(&error));
        }
        let report = Report::new(&settings.command, settings.platform.name());
        let services = Services::new(&settings, sockets, app.group());
        Box::new(Supervisor {
            clock,
            now: Moment::START,
            services,
            report,
            since: Moment::START,
            lifecycle: Lifecycle::new(settings.plan.clone()),
            settings,
            signals: Signals::new(),
            app,
            reaped: 0,
            more_to_reap: false,
            lines_due: false,
            leave: None,
        })
    }

    /// The app has become its command.
    fn begin(&mut self) {
        self.app.begun(&self.settings);
        // After an early stop request the line would be out of order.
        if self.lifecycle.phase() == Phase::Starting {
            notices::started(&self.settings);
        }
        self.tell(Event::Started);
    }

    /// Waits for what comes first, and reads the clock, once for the whole turn.
    fn wait(&mut self) {
        let until = if self.more_to_reap { Some(self.now) } else { self.deadline() };
        self.lines_due = crate::log::has_deferred();
        let lines = self.lines_due.then(|| self.now + LINES_LATER);
        let until = until.into_iter().chain(lines).min();
        let mut fds = PollFds::new();
        self.services.poll_fds(&mut fds);
        if let Some(exec) = self.app.exec_descriptor() {
            fds.readable(exec);
        }
        let arrival = if fds.is_empty() && self.signals.waits_alone() {
            self.signals.wait(until.map(|until| until.since(self.now)))
        } else if let Some(descriptor) = self.signals.descriptor() {
            fds.readable(descriptor);
            fds.wait(until, self.now);
            None
        } else {
            // No call waits for signals and descriptors at once, so the loop looks at descriptors
            // between short waits for signals.
            let slice = (!fds.is_empty()).then(|| self.now + SLICE);
            self.signals.wait(until.into_iter().chain(slice).min().map(|until| until.since(self.now)))
        };
        self.services.draining.hear();
        self.now = self.clock.now();
        if let Some(arrival) = arrival {
            self.take_signal(arrival);
        }
    }

    fn deadline(&self) -> Option<Moment> {
        [self.lifecycle.deadline(), self.app.deadline(), self.services.deadline()].into_iter().flatten().min()
    }

    /// Signals first; then ended processes, so that after a late wake-up none of them is killed or
    /// reported as unkillable; then what is due.
    fn turn(&mut self) {
        self.services.sockets.read_requests(self.now);
        self.take_signals();
        self.take_exec();
        self.take_app_news();
        self.take_orphans();
        self.app.offer_undelivered(self.now);
        self.tell(Event::Tick);
        self.serve_services();
        self.answer();
        if self.lines_due {
            crate::log::write_deferred();
        }
    }

    /// Asks the lifecycle and performs its actions. Signals are sent first, lines are written last;
    /// where the app was sent something, once it has had a moment for it.
    fn tell(&mut self, event: Event) {
        let mut lines = Vec::new();
        for action in self.lifecycle.on(event, self.now) {
            lines.extend(self.perform(action));
        }
        let sent = self.app.take_sent();
        let write = if sent.is_empty() { LogLine::write } else { LogLine::defer };
        for signal in sent {
            self.report.signalled(signal, self.now);
        }
        lines.into_iter().for_each(write);
    }

    fn take_signals(&mut self) {
        for _ in 0..SIGNALS_A_TURN {
            match self.signals.next() {
                Some(arrival) => self.take_signal(arrival),
                None => break,
            }
        }
    }

    /// An exec that took long is over. If it failed, the child exits with 126 or 127.
    fn take_exec(&mut self) {
        match self.app.take_exec(&self.settings) {
            Some(Ok(())) => self.begin(),
            Some(Err(failure)) => error!("{}", failure.message),
            None => {}
        }
    }

    fn take_app_news(&mut self) {
        let Some(pid) = self.app.pid() else {
            return;
        };
        match reap::app(pid) {
            Reaped::Ended(_, exit) => self.app_ended(exit),
            Reaped::Stopped(_, signal) => self.app.stopped_by(signal),
            Reaped::Nothing => {}
            Reaped::NoneLeft => {
                error!("the app's exit status is lost: the kernel has no child {pid}");
                self.app_ended(Exit::Status(125));
            }
        }
    }

    fn serve_services(&mut self) {
        let begun = self.app.has_begun();
        for event in self.services.serve(self.now) {
            // Checks that pass before the app runs have asked another process.
            if begun || !matches!(event, Event::Ready(_)) {
                self.tell(event);
            }
        }
        self.report.saw(self.services.draining.sight(), self.now);
        for finished in self.services.hooks.take_done() {
            self.report.hook(&finished);
        }
    }

    fn answer(&mut self) {
        if !self.services.sockets.has_endpoint() {
            return;
        }
        let reason = self.unready_because();
        let sight = self.services.draining.sight();
        let seen = if let Sight::Seen(seen) = sight { Some(seen) } else { None };
        let counts = seen.unwrap_or_default();
        let view = View {
            phase: self.lifecycle.phase(),
            since: self.since,
            ready: if self.lifecycle.is_ready() { Ok(()) } else { Err(&reason) },
            app: self.app.pid().map(Pid::number),
            app_alive: self.app.pid().is_some(),
            in_flight: seen.map(|seen| seen.in_flight),
            judged_idle: seen.map(|seen| seen.idle),
            not_seen: sight == Sight::Blind,
            answered: counts.answered,
            closed: counts.closed,
            let_go: counts.let_go,
            reaped: self.reaped,
            signals_forwarded: self.app.signals_sent(),
            settings: &self.settings.published,
        };
        self.services.sockets.answer(self.now, &view);
    }

    fn unready_because(&self) -> String {
        match self.lifecycle.phase() {
            Phase::Starting | Phase::Running => {
                self.services.readiness.reason().unwrap_or_else(|| "the app is starting".to_owned())
            }
            phase @ (Phase::PreStop | Phase::Draining | Phase::Stopping | Phase::Killing) => {
                format!("stopping ({})", phase.name())
            }
            Phase::Sweeping | Phase::Leaving | Phase::Gone => "the app has ended".to_owned(),
        }
    }

    fn app_ended(&mut self, exit: Exit) {
        // The exec may have failed since the last look.
        self.take_exec();
        self.app.ended(exit);
        self.report.app_ended(exit, self.now);
        if let Exit::Killed(signal) = exit
            && self.lifecycle.stop_asked_at().is_none()
        {
            notices::app_died(signal);
        }
        self.tell(Event::AppEnded(exit));
    }

    fn take_orphans(&mut self) {
        self.more_to_reap = false;
        for _ in 0..ORPHANS_A_TURN {
            match reap::any() {
                Reaped::Ended(pid, exit) => self.ended(pid, exit),
                Reaped::Stopped(..) | Reaped::Nothing => return,
                Reaped::NoneLeft => return self.tell(Event::NoneLeft),
            }
        }
        self.more_to_reap = true;
    }

    /// A child has ended: the app, a helper or an orphan.
    fn ended(&mut self, pid: Pid, exit: Exit) {
        if self.app.pid() == Some(pid) {
            return self.app_ended(exit);
        }
        if self.services.reaped(pid, exit) {
            return;
        }
        self.orphan_ended(pid, exit);
    }

    fn orphan_ended(&mut self, pid: Pid, exit: Exit) {
        self.reaped = self.reaped.saturating_add(1);
        if self.settings.log.warn_on_reap {
            warn!("reaped orphan {pid}, exit status {}", exit.code());
        } else {
            debug!("reaped orphan {pid}, exit status {}", exit.code());
        }
    }

    /// Writes the report, and returns the exit status. Does not return when adieu dies of the app's
    /// signal.
    fn leave(&mut self, exit: Exit) -> c_int {
        crate::log::write_deferred();
        let code = self.exit_code(exit);
        self.report.left(code, self.now);
        self.report.counted(self.reaped, crate::log::lines_lost());
        if self.lifecycle.stop_asked_at().is_some() {
            let line = self.report.summary_line();
            // What was not seen has no field.
            match (self.report.in_flight_at_stopping(), self.report.lost()) {
                (Some(count), Some(lost)) => {
                    info!(event = "stopped", status = code, in_flight = count, cut_off = lost; "{line}");
                }
                (Some(count), None) => info!(event = "stopped", status = code, in_flight = count; "{line}"),
                (None, Some(lost)) => info!(event = "stopped", status = code, cut_off = lost; "{line}"),
                (None, None) => info!(event = "stopped", status = code; "{line}"),
            }
        }
        self.report();
        if let Exit::Killed(signal) = exit
            && code == exit.code()
            && self.settings.exit.die_of_signal
        {
            sys::die_of(signal);
        }
        c_int::from(code)
    }

    /// The exit status, from the app's status and the settings.
    fn exit_code(&self, exit: Exit) -> u8 {
        let rules = &self.settings.exit;
        let code = exit.code();
        let stopped = self.lifecycle.stop_asked_at().is_some();
        let success = rules.success.contains(&code) || stopped && rules.success_on_stop.contains(&code);
        if success { 0 } else { code }
    }

    /// Writes the report, and in Kubernetes the termination message.
    fn report(&self) {
        if let Some(path) = &self.settings.report
            && let Err(error) = files::write_whole(path, &self.report.to_json())
        {
            warn!("cannot write report '{}': {}", path.display(), describe(&error));
        }
        if self.settings.platform == Platform::Kubernetes
            && let Err(error) =
                files::write_termination(Path::new(TERMINATION_LOG), || self.report.termination_message())
        {
            debug!("cannot write '{TERMINATION_LOG}': {}", describe(&error));
        }
    }

    fn take_signal(&mut self, arrival: Arrival) {
        if arrival.signal == Signal::CHLD {
            return;
        }
        debug!("got {} from {}", arrival.signal, arrival.from);
        // A second CONT might undo a Ctrl-Z that was typed just after the first.
        if arrival.signal == Signal::CONT && self.app.resumed() {
            return;
        }
        self.tell(Event::Signal(arrival));
    }
}
