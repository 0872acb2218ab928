//! What the lifecycle has to know beforehand.

use std::time::Duration;

use crate::signal::{Signal, SignalSet};

/// When in the app's life a set of hooks runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HookPoint {
    /// When the app has been started.
    Start,
    /// When a stop has been asked for.
    Stop,
    /// When the app and all it left behind are gone.
    Exit,
}

/// The signals that stop the app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Schedule {
    /// The signal that asked for the stop.
    AsAsked,
    /// These, one after the other.
    Steps(Vec<Step>),
    /// None: the platform signals the app itself, and a second signal would be one too many.
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
    /// Until so long before the kill, or until half of the time up to it is over, if that is later.
    UntilBeforeKill(Duration),
}

impl Schedule {
    /// Whether it sends this signal of its own accord.
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

/// What signals are forwarded as: `--rewrite`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Rewrites(Vec<(Signal, Option<Signal>)>);

impl Rewrites {
    /// From, and to what; `None` drops it. Of two rules for one signal the later counts.
    pub fn new(rules: Vec<(Signal, Option<Signal>)>) -> Rewrites {
        Rewrites(rules)
    }

    /// What a signal is forwarded as; `None`: not at all.
    pub fn apply(&self, signal: Signal) -> Option<Signal> {
        let rule = self.0.iter().rev().find(|(from, _)| *from == signal);
        rule.map_or(Some(signal), |(_, to)| *to)
    }
}

/// Everything the lifecycle has to know beforehand. All times are lengths.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Plan {
    /// From the stop request until the platform kills.
    pub grace: Duration,
    /// How long before the end of the grace adieu kills.
    pub kill_margin: Duration,
    /// How long the app serves on after the stop request, before the drain.
    pub pre_stop: Duration,
    /// How long draining may last after the pre-stop sleep; `None` when there is nothing to wait
    /// for.
    pub drain: Option<Duration>,
    /// What leftovers get when no stop was asked for.
    pub leftovers: Duration,
    /// How long all hooks of one stage may take together, `None` where there are none.
    pub stop_hooks: Option<Duration>,
    /// The same for the hooks at the exit.
    pub exit_hooks: Option<Duration>,
    /// How the app is stopped.
    pub schedule: Schedule,
    /// What signals are forwarded as.
    pub rewrites: Rewrites,
    /// The signals that ask for a stop.
    pub stop_on: SignalSet,
    /// A second stop request is not forwarded while stopping.
    pub stop_once: bool,
    /// Readiness checks exist, so starting lasts until they pass.
    pub awaits_ready: bool,
}
