//! What should happen, and nothing else.
//!
//! One pure state machine: it takes an event and the time, and returns what to do. It reads no
//! clock, holds no descriptor and writes no log, so that tests can play through every stop that can
//! happen. Each wait is a phase with an absolute deadline; a spurious call changes nothing.

mod phase;
mod plan;
#[cfg(test)]
mod tests;

pub use phase::Phase;
pub use plan::{HookPoint, Plan, Rewrites, Schedule, Step, Wait};

use std::fmt;
use std::time::Duration;

use crate::moment::{Moment, half};
use crate::process::Exit;
use crate::signal::{Arrival, Sender, Signal};

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The app's process exists.
    Started,
    /// The readiness checks pass, or no longer pass.
    Ready(bool),
    /// A signal has come.
    Signal(Arrival),
    /// Nothing is in flight any more.
    Drained,
    /// Waiting longer cannot help: clients never stop sending requests.
    Pinned,
    /// All hooks of this point have ended or run out of time.
    HooksEnded(HookPoint),
    /// The app has ended, and has been reaped.
    AppEnded(Exit),
    /// No process is left below us (ECHILD).
    NoneLeft,
    /// Time has passed.
    Tick,
}

/// Why a phase was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// The app's process exists.
    Started,
    /// The readiness checks pass.
    Ready,
    /// This signal requested a stop.
    Asked(Arrival),
    /// The pre-stop sleep is over.
    SleepOver,
    /// Nothing is in flight.
    Drained,
    /// Something may be in flight, but the drain timeout is over.
    DrainTimeout,
    /// Clients never stop sending requests.
    Pinned,
    /// A person sent this signal to end the wait.
    Hurry(Signal),
    /// The app has ended.
    AppEnded,
    /// The time for the phase before is over.
    TimeUp,
    /// No process is left.
    NothingLeft,
    /// The hooks have ended.
    HooksEnded,
    /// SIGKILL was sent and the process is still there: an uninterruptible sleep in the kernel.
    Unkillable,
}

/// As in logs and the report.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Why::Started => "started",
            Why::Ready => "the checks pass",
            Why::Asked(arrival) => return write!(f, "requested by {}", arrival.signal),
            Why::SleepOver => "the pre-stop sleep is over",
            Why::Drained => "nothing is in flight",
            Why::DrainTimeout => "the drain timeout is over",
            Why::Pinned => "clients never stop sending requests",
            Why::Hurry(signal) => return write!(f, "hurried by {signal}"),
            Why::AppEnded => "the app has ended",
            Why::TimeUp => "the time is over",
            Why::NothingLeft => "nothing is left",
            Why::HooksEnded => "the hooks have ended",
            Why::Unkillable => "some processes do not die of SIGKILL",
        })
    }
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A new phase has begun; the actions that belong to it follow.
    Enter(Phase, Why),
    /// Announce that the app is ready, or that it no longer is.
    Announce(bool),
    /// A stop was requested: from here on the grace counts.
    AcceptStop(Arrival),
    /// Forward this signal to the app, as the second one.
    Forward(Arrival, Signal),
    /// Do nothing with this signal: it is rewritten to nothing, or the stop is under way.
    Ignore(Arrival),
    /// Start the hooks of this point.
    RunHooks(HookPoint),
    /// End all hooks: their time is up.
    CutHooks,
    /// Send this signal of the stop schedule to the app, then CONT.
    Stop(Signal),
    /// SIGKILL to the app and to all leftovers.
    Kill,
    /// TERM, then CONT, to all leftovers.
    Sweep,
    /// SIGKILL to all leftovers.
    KillLeftovers,
    /// SIGKILL once more to everything that is left, to reach what was forked since the last one.
    KillAgain,
    /// Exit as the app did.
    Leave(Exit),
}

/// A stop that was requested.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Stop {
    at: Moment,
    by: Signal,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Starting,
    Running,
    PreStop {
        hooks: bool,
    },
    Draining,
    Stopping {
        /// When the app could begin to act: when it got its first stop signal, or when we woke
        /// after having stood still since, and the app most likely with us.
        began: Moment,
        /// Whether it had the least time to act, as far as we were awake.
        had_time: bool,
        step: usize,
        next: Option<Moment>,
    },
    Killing(Kill),
    /// `began`: when the leftovers got TERM.
    Sweeping {
        exit: Exit,
        began: Moment,
        kill: Option<Kill>,
    },
    Leaving {
        exit: Exit,
        began: Moment,
    },
    Gone,
}

/// A SIGKILL to everything that is left.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Kill {
    /// When it was first sent.
    began: Moment,
    /// When it is sent again.
    again: Moment,
}

impl Kill {
    fn at(now: Moment) -> Kill {
        Kill { began: now, again: now + KILL_AGAIN }
    }
}

/// How often everything that is left gets SIGKILL again, to reach what was forked since.
const KILL_AGAIN: Duration = Duration::from_millis(50);
/// The least time between the first stop signal and SIGKILL, and between SIGKILL and leaving, if
/// the plan has room for it. It matters when adieu wakes up late (suspended, frozen, starved): it
/// must not act on all overdue deadlines at once. When this time after the first stop signal is
/// over, the lifecycle checks once if it was woken late: then the app may have been frozen too, and
/// its time begins anew.
const MIN_GAP: Duration = Duration::from_millis(200);

/// The life of one app.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Lifecycle {
    plan: Plan,
    state: State,
    stop: Option<Stop>,
    ready: bool,
    checks_pass: bool,
}

type Actions = Vec<Action>;

impl Lifecycle {
    /// A life that has not begun.
    pub fn new(plan: Plan) -> Lifecycle {
        Lifecycle { plan, state: State::Starting, stop: None, ready: false, checks_pass: false }
    }

    /// Takes one event and returns what to do. Acts on deadlines that have passed by `now` too, but
    /// after the event: an app that has ended is not killed because its end was seen late.
    pub fn on(&mut self, event: Event, now: Moment) -> Vec<Action> {
        let mut actions = Actions::new();
        match event {
            Event::Started => self.started(&mut actions),
            Event::Ready(pass) => self.checked(pass, &mut actions),
            Event::Signal(arrival) => self.signal(arrival, now, &mut actions),
            Event::Drained => self.drained(Why::Drained, now, &mut actions),
            Event::Pinned => self.drained(Why::Pinned, now, &mut actions),
            Event::HooksEnded(stage) => self.hooks_ended(stage, &mut actions),
            Event::AppEnded(exit) => self.app_ended(exit, now, &mut actions),
            Event::NoneLeft => self.none_left(now, &mut actions),
            Event::Tick => {}
        }
        while self.deadline().is_some_and(|at| at <= now) {
            self.pass_deadline(now, &mut actions);
        }
        actions
    }

    /// Where in its life the app is.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Starting => Phase::Starting,
            State::Running => Phase::Running,
            State::PreStop { .. } => Phase::PreStop,
            State::Draining => Phase::Draining,
            State::Stopping { .. } => Phase::Stopping,
            State::Killing(_) => Phase::Killing,
            State::Sweeping { .. } => Phase::Sweeping,
            State::Leaving { .. } => Phase::Leaving,
            State::Gone => Phase::Gone,
        }
    }

    /// When the lifecycle needs its next tick, if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Starting | State::Running | State::Gone => None,
            State::PreStop { hooks: false } => Some(self.sleep_over()),
            State::PreStop { hooks: true } => Some(self.drain_over().max(self.sleep_over())),
            State::Draining => Some(self.drain_over()),
            State::Stopping { began, had_time, next, .. } => {
                let has_time = (!had_time).then(|| began + self.stop_gap());
                Some([next, has_time].into_iter().flatten().fold(self.kill_due(began), Moment::min))
            }
            State::Killing(kill) => Some(kill.again.min(self.leave_due(kill))),
            State::Sweeping { began, kill: None, .. } => Some(self.sweep_over(began)),
            State::Sweeping { kill: Some(kill), .. } => Some(kill.again.min(self.leave_due(kill))),
            State::Leaving { began, .. } => Some(self.exit_hooks_over(began)),
        }
    }

    /// Whether load balancers should send requests.
    pub fn is_ready(&self) -> bool {
        self.ready
    }

    /// When the stop was requested.
    pub fn stop_asked_at(&self) -> Option<Moment> {
        self.stop.map(|stop| stop.at)
    }

    /// The signal that requested it.
    pub fn stop_asked_by(&self) -> Option<Signal> {
        self.stop.map(|stop| stop.by)
    }

    /// When the platform kills, once a stop was requested.
    pub fn grace_over(&self) -> Option<Moment> {
        self.stop.map(|stop| stop.at + self.plan.grace)
    }

    // The absolute moments of the stop under way.

    fn asked_at(&self) -> Moment {
        self.stop.map_or(Moment::START, |stop| stop.at)
    }

    fn sleep_over(&self) -> Moment {
        (self.asked_at() + self.plan.pre_stop).min(self.stop_signal_by())
    }

    fn drain_over(&self) -> Moment {
        (self.sleep_over() + self.plan.drain.unwrap_or_default()).min(self.stop_signal_by())
    }

    /// When the first stop signal is sent at the latest, so that the app has time to act on it.
    fn stop_signal_by(&self) -> Moment {
        self.kill_at() - self.stop_gap()
    }

    fn kill_at(&self) -> Moment {
        self.leave_by() - self.plan.kill_margin
    }

    fn leave_by(&self) -> Moment {
        self.grace_over().unwrap_or(Moment::at(self.plan.grace))
    }

    fn stop_gap(&self) -> Duration {
        MIN_GAP.min(half(half(self.plan.grace)))
    }

    /// When an app that could begin to act at `began` is killed: on time, unless that was late.
    fn kill_due(&self, began: Moment) -> Moment {
        self.kill_at().max(began + self.stop_gap())
    }

    /// When an app could begin to act, asked when its least time after `began` is over: only now,
    /// where that is noticed late, since the app may have stood still with us.
    fn began_by(&self, began: Moment, now: Moment) -> Moment {
        let gap = self.stop_gap();
        if now.since(began + gap) > half(gap) { now } else { began }
    }

    /// When adieu stops waiting for killed processes: what survives that long, the kernel cannot
    /// end.
    fn leave_due(&self, kill: Kill) -> Moment {
        match self.stop {
            Some(_) => self.leave_by().max(kill.began + MIN_GAP.min(self.plan.kill_margin)),
            None => kill.began + self.plan.kill_margin.max(MIN_GAP),
        }
    }

    /// When leftovers that got TERM at `began` are killed.
    fn sweep_over(&self, began: Moment) -> Moment {
        match self.stop {
            Some(_) => self.kill_at().max(began + self.stop_gap().min(half(self.plan.kill_margin))),
            None => began + self.plan.leftovers,
        }
    }

    /// When hooks that were started at `began`, the last of all, run out of time.
    fn exit_hooks_over(&self, began: Moment) -> Moment {
        let over = began + self.plan.exit_hooks.unwrap_or_default();
        match self.stop {
            Some(_) => over.min(self.kill_at() + half(self.plan.kill_margin)),
            None => over,
        }
    }

    // Events, in the order of life.

    fn started(&mut self, actions: &mut Actions) {
        if !matches!(self.state, State::Starting) {
            return;
        }
        actions.push(Action::Enter(Phase::Starting, Why::Started));
        actions.push(Action::RunHooks(HookPoint::Start));
        if !self.plan.awaits_ready {
            self.checks_pass = true;
            self.run(Why::Started, actions);
        }
    }

    fn checked(&mut self, pass: bool, actions: &mut Actions) {
        self.checks_pass = pass;
        match self.state {
            State::Starting if pass => self.run(Why::Ready, actions),
            State::Running => self.announce(pass, actions),
            State::Starting
            | State::PreStop { .. }
            | State::Draining
            | State::Stopping { .. }
            | State::Killing(_)
            | State::Sweeping { .. }
            | State::Leaving { .. }
            | State::Gone => {}
        }
    }

    fn run(&mut self, why: Why, actions: &mut Actions) {
        self.state = State::Running;
        actions.push(Action::Enter(Phase::Running, why));
        self.announce(true, actions);
    }

    fn announce(&mut self, ready: bool, actions: &mut Actions) {
        if self.ready != ready {
            self.ready = ready;
            actions.push(Action::Announce(ready));
        }
    }

    fn signal(&mut self, arrival: Arrival, now: Moment, actions: &mut Actions) {
        let resize = arrival.signal == Signal::WINCH && arrival.from == Sender::Kernel;
        let asks = self.plan.stop_on.contains(arrival.signal);
        let Some(forwarded) = self.plan.rewrites.apply(arrival.signal).filter(|_| !(asks && resize)) else {
            return actions.push(Action::Ignore(arrival));
        };
        let hurries = matches!(arrival.signal, Signal::INT | Signal::QUIT);
        match self.state {
            State::Starting | State::Running if asks => self.pre_stop(arrival, now, actions),
            State::PreStop { .. } | State::Draining if asks => actions.push(Action::Ignore(arrival)),
            State::PreStop { .. } | State::Draining if hurries => {
                self.stopping(Why::Hurry(arrival.signal), now, actions);
            }
            State::Stopping { .. } if asks && self.asks_once() => actions.push(Action::Ignore(arrival)),
            State::Starting
            | State::Running
            | State::PreStop { .. }
            | State::Draining
            | State::Stopping { .. }
            | State::Killing(_) => actions.push(Action::Forward(arrival, forwarded)),
            // The app has ended by itself; its leftovers have the grace, and no longer.
            State::Sweeping { .. } | State::Leaving { .. } if asks && self.stop.is_none() => {
                self.accept_stop(arrival, now, actions);
            }
            State::Sweeping { .. } | State::Leaving { .. } | State::Gone => {
                actions.push(Action::Ignore(arrival));
            }
        }
    }

    fn accept_stop(&mut self, arrival: Arrival, now: Moment, actions: &mut Actions) {
        self.stop = Some(Stop { at: now, by: arrival.signal });
        actions.push(Action::AcceptStop(arrival));
    }

    fn pre_stop(&mut self, arrival: Arrival, now: Moment, actions: &mut Actions) {
        self.state = State::PreStop { hooks: self.plan.stop_hooks.is_some() };
        self.announce(false, actions);
        self.accept_stop(arrival, now, actions);
        actions.push(Action::Enter(Phase::PreStop, Why::Asked(arrival)));
        actions.push(Action::RunHooks(HookPoint::Stop));
    }

    /// Whether the app must not get a second stop signal.
    fn asks_once(&self) -> bool {
        self.plan.stop_once || self.plan.schedule == Schedule::Silent
    }

    fn draining(&mut self, now: Moment, actions: &mut Actions) {
        if self.plan.drain.is_none() {
            return self.stopping(Why::SleepOver, now, actions);
        }
        self.state = State::Draining;
        actions.push(Action::Enter(Phase::Draining, Why::SleepOver));
    }

    fn drained(&mut self, why: Why, now: Moment, actions: &mut Actions) {
        if matches!(self.state, State::Draining) {
            self.stopping(why, now, actions);
        }
    }

    fn stopping(&mut self, why: Why, now: Moment, actions: &mut Actions) {
        actions.push(Action::Enter(Phase::Stopping, why));
        self.state = State::Stopping { began: now, had_time: false, step: 0, next: None };
        match &self.plan.schedule {
            Schedule::Silent => {}
            Schedule::AsAsked => {
                let asked_by = self.stop.map_or(Signal::TERM, |stop| stop.by);
                // A signal that is rewritten to nothing asks for nothing.
                actions.push(Action::Stop(self.plan.rewrites.apply(asked_by).unwrap_or(asked_by)));
            }
            Schedule::Steps(_) => self.step(0, now, actions),
        }
    }

    /// Sends one entry of the schedule and arms the next.
    fn step(&mut self, number: usize, now: Moment, actions: &mut Actions) {
        let Schedule::Steps(steps) = &self.plan.schedule else { return };
        let Some(entry) = steps.get(number) else { return };
        let then = steps.get(number.saturating_add(1)).map(|_| match entry.wait {
            Wait::For(length) => now + length,
            Wait::UntilBeforeKill(length) => self.kill_at() - length.min(half(self.kill_at().since(now))),
        });
        actions.push(Action::Stop(entry.signal));
        if let State::Stopping { step, next, .. } = &mut self.state {
            (*step, *next) = (number, then);
        }
    }

    fn hooks_ended(&mut self, stage: HookPoint, actions: &mut Actions) {
        match (stage, &mut self.state) {
            (HookPoint::Stop, State::PreStop { hooks }) => *hooks = false,
            (HookPoint::Exit, State::Leaving { exit, .. }) => {
                let exit = *exit;
                self.leave(exit, Why::HooksEnded, actions);
            }
            (HookPoint::Start | HookPoint::Stop | HookPoint::Exit, _) => {}
        }
    }

    fn app_ended(&mut self, exit: Exit, now: Moment, actions: &mut Actions) {
        let kill = match self.state {
            State::Starting
            | State::Running
            | State::PreStop { .. }
            | State::Draining
            | State::Stopping { .. } => None,
            State::Killing(kill) => Some(kill),
            State::Sweeping { .. } | State::Leaving { .. } | State::Gone => return,
        };
        self.announce(false, actions);
        self.state = State::Sweeping { exit, began: now, kill };
        actions.push(Action::Enter(Phase::Sweeping, Why::AppEnded));
        actions.push(if kill.is_some() { Action::KillLeftovers } else { Action::Sweep });
    }

    fn none_left(&mut self, now: Moment, actions: &mut Actions) {
        if let State::Sweeping { exit, .. } = self.state {
            self.leaving(exit, Why::NothingLeft, now, actions);
        }
    }

    /// The last hooks, in what is left of the time.
    fn leaving(&mut self, exit: Exit, why: Why, now: Moment, actions: &mut Actions) {
        if self.plan.exit_hooks.is_none() {
            return self.leave(exit, why, actions);
        }
        self.state = State::Leaving { exit, began: now };
        actions.push(Action::Enter(Phase::Leaving, why));
        actions.push(Action::RunHooks(HookPoint::Exit));
    }

    fn leave(&mut self, exit: Exit, why: Why, actions: &mut Actions) {
        self.state = State::Gone;
        actions.push(Action::CutHooks);
        actions.push(Action::Enter(Phase::Gone, why));
        actions.push(Action::Leave(exit));
    }

    /// One deadline has passed.
    fn pass_deadline(&mut self, now: Moment, actions: &mut Actions) {
        match self.state {
            State::Starting | State::Running | State::Gone => {}
            State::PreStop { hooks: false } => self.draining(now, actions),
            State::PreStop { hooks: true } => {
                actions.push(Action::CutHooks);
                self.state = State::PreStop { hooks: false };
            }
            State::Draining => self.stopping(Why::DrainTimeout, now, actions),
            State::Stopping { began, had_time: false, step, next } if now >= began + self.stop_gap() => {
                let began = self.began_by(began, now);
                self.state = State::Stopping { began, had_time: true, step, next };
            }
            State::Stopping { began, .. } if now >= self.kill_due(began) => {
                self.state = State::Killing(Kill::at(now));
                actions.push(Action::Enter(Phase::Killing, Why::TimeUp));
                actions.push(Action::Kill);
            }
            State::Stopping { step, .. } => self.step(step.saturating_add(1), now, actions),
            State::Killing(kill) if now >= self.leave_due(kill) => {
                self.leave(Exit::Killed(Signal::KILL), Why::Unkillable, actions);
            }
            State::Killing(kill) => {
                self.state = State::Killing(Kill { again: now + KILL_AGAIN, ..kill });
                actions.push(Action::KillAgain);
            }
            State::Sweeping { exit, began, kill: None } => {
                self.state = State::Sweeping { exit, began, kill: Some(Kill::at(now)) };
                actions.push(Action::KillLeftovers);
            }
            State::Sweeping { exit, kill: Some(kill), .. } if now >= self.leave_due(kill) => {
                self.leave(exit, Why::Unkillable, actions);
            }
            State::Sweeping { exit, began, kill: Some(kill) } => {
                let kill = Some(Kill { again: now + KILL_AGAIN, ..kill });
                self.state = State::Sweeping { exit, began, kill };
                actions.push(Action::KillAgain);
            }
            State::Leaving { exit, .. } => self.leave(exit, Why::TimeUp, actions),
        }
    }
}
