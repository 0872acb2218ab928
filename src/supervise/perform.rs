//! Performs the actions of the lifecycle.

use super::Supervisor;
use crate::hooks::HookEnvironment;
use crate::lifecycle::{Action, Phase, Why};
use crate::moment::show_duration;
use crate::signal::{Arrival, Signal};
use crate::sys::leftovers;
use crate::sys::reap::{self, Reaped};
use log::Level;
use std::fmt;
use std::time::Duration;

/// How many zombies are reaped, at most, before adieu reports processes that do not die.
const LAST_ORPHANS: usize = 4096;

/// A line for stderr, made and written after all actions are done, so that no signal waits for it.
pub(super) struct LogLine {
    level: Level,
    event: &'static str,
    /// The phase that the line belongs to.
    phase: Phase,
    signal: Option<Signal>,
    text: Text,
}

/// What a line says.
enum Text {
    Ignored(Signal),
    /// A stop request, and how long the app goes on serving.
    Requested(Arrival, Duration),
    /// The same, when the app was gone.
    RequestedLate(Arrival),
    Entered(Phase, Why),
    Killing,
    Survivors,
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Text::Ignored(signal) => write!(f, "ignored {signal}"),
            Text::Requested(Arrival { signal, from, .. }, pre_stop) => write!(
                f,
                "stop requested by {signal} from {from}: no longer ready, the app goes on serving for {}",
                show_duration(*pre_stop)
            ),
            Text::RequestedLate(Arrival { signal, from, .. }) => {
                write!(f, "stop requested by {signal} from {from}, after the app had ended")
            }
            Text::Entered(phase, why) => write!(f, "{}: {why}", phase.name()),
            Text::Killing => f.write_str("killing: the grace is nearly over"),
            Text::Survivors => f.write_str("exiting although some processes do not die of SIGKILL"),
        }
    }
}

impl LogLine {
    /// Leaves it until the app has had a moment to act on the signal that was just sent: where both
    /// share a processor, Linux lets the app run only when we sleep.
    pub(super) fn defer(self) {
        crate::log::defer(move || self.write());
    }

    pub(super) fn write(self) {
        crate::log::phase(self.phase.name());
        let LogLine { level, event, text, .. } = self;
        match self.signal {
            Some(signal) => log::log!(level, event = event, signal:% = signal; "{text}"),
            None => log::log!(level, event = event; "{text}"),
        }
    }
}

impl Supervisor {
    /// Performs an action, and returns the line to write about it.
    pub(super) fn perform(&mut self, action: Action) -> Option<LogLine> {
        match action {
            Action::Enter(phase, why) => return Some(self.enter(phase, why)),
            Action::Announce(ready) => self.services.announce(ready, self.now),
            Action::AcceptStop(arrival) => return self.accept_stop(arrival),
            Action::Forward(arrival, signal) => {
                self.app.forward(arrival, signal, self.now);
                self.services.sockets.forwarded(arrival.signal, self.now);
            }
            Action::Ignore(arrival) => {
                let text = Text::Ignored(arrival.signal);
                let (phase, signal) = (self.lifecycle.phase(), Some(arrival.signal));
                return Some(LogLine { level: Level::Debug, event: "signal-ignored", phase, signal, text });
            }
            Action::RunHooks(point) => {
                let environment = self.hook_environment();
                self.services.hooks.run(point, self.now, environment);
            }
            Action::CutHooks => self.services.hooks.cut(self.now),
            Action::Stop(signal) => self.app.stop(signal, self.now),
            // Most apps leave no process behind, and as an ordinary process adieu would have to
            // search /proc for them.
            Action::Sweep | Action::KillLeftovers | Action::KillAgain if reap::none_left() => {}
            Action::Kill => {
                self.note_kill();
                leftovers::kill();
            }
            Action::KillLeftovers => {
                self.report.killed_leftovers();
                leftovers::kill();
            }
            Action::KillAgain => leftovers::kill(),
            Action::Sweep => {
                self.report.swept();
                leftovers::signal(&[Signal::TERM, Signal::CONT]);
            }
            Action::Leave(exit) => {
                self.leave = Some(exit);
                if !reap::none_left() {
                    leftovers::kill();
                }
            }
        }
        None
    }

    fn note_kill(&mut self) {
        if let Some(count) = self.services.draining.cut_now(self.now) {
            self.report.in_flight(count, self.now);
        }
        self.report.killed();
    }

    fn accept_stop(&mut self, arrival: Arrival) -> Option<LogLine> {
        self.report.asked(arrival, self.now);
        crate::log::stop_asked(self.now);
        let (phase, text) = match self.app.pid() {
            Some(_) => (Phase::PreStop, Text::Requested(arrival, self.settings.plan.pre_stop)),
            None => (self.lifecycle.phase(), Text::RequestedLate(arrival)),
        };
        let signal = Some(arrival.signal);
        Some(LogLine { level: Level::Info, event: "stop-requested", phase, signal, text })
    }

    fn hook_environment(&self) -> HookEnvironment {
        HookEnvironment {
            phase: self.lifecycle.phase(),
            app: self.app.pid(),
            exit: self.app.exit(),
            stop_signal: self.lifecycle.stop_asked_by(),
        }
    }

    /// Whether a process is left that is no zombie. Reaps the zombies first, some thousands at
    /// most.
    fn somebody_lives(&mut self) -> bool {
        for _ in 0..LAST_ORPHANS {
            match reap::any() {
                Reaped::Ended(pid, exit) => self.orphan_ended(pid, exit),
                Reaped::Stopped(..) | Reaped::Nothing => return true,
                Reaped::NoneLeft => return false,
            }
        }
        !reap::none_left()
    }

    fn enter(&mut self, phase: Phase, why: Why) -> LogLine {
        self.since = self.now;
        self.report.enter(phase, why, self.now);
        let rest = self.lifecycle.grace_over().map(|over| over.since(self.now));
        self.services.enter(phase, rest, self.now);
        let (level, text) = match phase {
            Phase::Stopping => (Level::Info, Text::Entered(phase, why)),
            Phase::Killing => (Level::Info, Text::Killing),
            Phase::Gone if why == Why::Unkillable && self.somebody_lives() => (Level::Error, Text::Survivors),
            Phase::Starting
            | Phase::Running
            | Phase::PreStop
            | Phase::Draining
            | Phase::Sweeping
            | Phase::Leaving
            | Phase::Gone => (Level::Debug, Text::Entered(phase, why)),
        };
        LogLine { level, event: "phase", phase, signal: None, text }
    }
}
