//! The settings of the lifecycle.

use std::time::Duration;

use crate::signal::{Signal, SignalSet};

/// The points in the app's life at which hooks run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HookPoint {
    /// When the app has been started.
    Start,
    /// When a stop has been requested.
    Stop,
    /// When the app and its leftovers are gone.
    Exit,
}

/// The signals that stop the app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Schedule {
    /// The signal of the stop request.
    AsAsked,
    /// These, one after the other.
    Steps(Vec<Step>),
    /// None: the platform signals the app itself, and the app must not get a second signal.
    Silent,
}

/// One entry of the stop schedule: a signal, and how long to wait before the next entry.
/// The wait of the last entry is not used: it lasts until the kill.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Step {
    /// What is sent.
    pub signal: Signal,
    /// How long until the next entry.
    pub wait: Wait,
}

/// How long one entry of the stop schedule lasts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Wait {
    /// This long.
    For(Duration),
    /// Until this long before the kill, or until half of the time until the kill is over, whichever
    /// is later.
    UntilBeforeKill(Duration),
}

impl Schedule {
    /// Whether one of its steps sends this signal.
    pub fn sends(&self, signal: Signal) -> bool {
        self.steps().iter().any(|step| step.signal == signal)
    }

    fn steps(&self) -> &[Step] {
        match self {
            Schedule::Steps(steps) => steps,
            Schedule::AsAsked | Schedule::Silent => &[],
        }
    }
}

/// Which signals are forwarded as others: `--rewrite`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rewrites(Vec<(Signal, Option<Signal>)>);

impl Rewrites {
    /// Rules from one signal to another; `None` drops it. Of two rules for a signal the later
    /// counts.
    pub fn new(rules: Vec<(Signal, Option<Signal>)>) -> Rewrites {
        Rewrites(rules)
    }

    /// The signal to forward instead; `None`: forward nothing.
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        let rule = self.0.iter().rev().find(|(from, _)| *from == signal);
        rule.map_or(Some(signal), |(_, to)| *to)
    }
}

/// The settings of the lifecycle. All times are lengths.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// From the stop request until the platform kills.
    pub grace: Duration,
    /// How long before the end of the grace adieu kills.
    pub kill_margin: Duration,
    /// How long the app serves on after the stop request, before the drain.
    pub pre_stop: Duration,
    /// How long draining may last after the pre-stop sleep; `None` without a drain.
    pub drain: Option<Duration>,
    /// How long leftovers get without a stop request.
    pub leftovers: Duration,
    /// How long all hooks of `--on-stop` may take together; `None` if there are none.
    pub stop_hooks: Option<Duration>,
    /// The same for `--on-exit`.
    pub exit_hooks: Option<Duration>,
    /// How the app is stopped.
    pub schedule: Schedule,
    /// Which signals are forwarded as others.
    pub rewrites: Rewrites,
    /// The signals that are stop requests.
    pub stop_on: SignalSet,
    /// A second stop request is not forwarded while stopping.
    pub stop_once: bool,
    /// Readiness checks exist, so starting lasts until they pass.
    pub awaits_ready: bool,
}
