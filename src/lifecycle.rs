//! What should happen, and nothing else.
//!
//! One pure state machine: it is told what happened and when, and answers with what to do. It reads no
//! clock, holds no descriptor and writes no log, so that every stop that can happen can be played through
//! in a test. Each wait is a phase with an absolute deadline; being asked too early or too often changes nothing.

use std::time::Duration;

use crate::moment::Moment;
use crate::process::Exit;
use crate::signal::{Arrival, Sender, Signal, SignalSet};

/// Makes [`Phase`] out of one row for each phase: a sentence, its name, and whether a stop is under way.
macro_rules! phases {
    ($($(#[$sentence:meta])+ $phase:ident = $name:literal, stopping: $stopping:literal;)+) => {
        /// Where in its life the app is. The order is that of life.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Phase {
            $($(#[$sentence])+ $phase,)+
        }

        impl Phase {
            /// All phases, in the order of life.
            pub const ALL: &[Phase] = &[$(Phase::$phase),+];

            /// As in logs, metrics, hooks and the report.
            pub fn name(self) -> &'static str {
                match self { $(Phase::$phase => $name,)+ }
            }

            /// Whether the app is on its way out: asked to stop, or ended by itself.
            pub fn is_stopping(self) -> bool {
                match self { $(Phase::$phase => $stopping,)+ }
            }
        }
    };
}

phases! {
    /// The app's process exists; readiness checks, if there are any, do not pass yet.
    Starting = "starting", stopping: false;
    /// The app serves. Signals are forwarded.
    Running = "running", stopping: false;
    /// A stop was asked for. The app serves on, unaware, while load balancers stop routing to it.
    PreStop = "pre-stop", stopping: true;
    /// The app serves on until nothing is in flight.
    Draining = "draining", stopping: true;
    /// The stop schedule runs.
    Stopping = "stopping", stopping: true;
    /// The grace is nearly over: everything gets SIGKILL.
    Killing = "killing", stopping: true;
    /// The app is gone; what it left behind is asked to end, and killed in the end.
    Sweeping = "sweeping", stopping: true;
    /// Nothing is left but the hooks that run at the exit.
    Leaving = "leaving", stopping: true;
    /// adieu exits.
    Gone = "gone", stopping: true;
}

/// When in the app's life a set of hooks runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HookPoint {
    Start,
    Stop,
    Exit,
}

/// The signals that stop the app.
#[derive(Clone, PartialEq, Eq, Debug)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    pub signal: Signal,
    pub wait: Wait,
}

/// How long one entry of the stop schedule lasts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
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
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// From the stop request until the platform kills.
    pub grace: Duration,
    /// How long before the end of the grace adieu kills.
    pub kill_margin: Duration,
    pub pre_stop: Duration,
    /// How long draining may last after the pre-stop sleep; `None` when there is nothing to wait for.
    pub drain: Option<Duration>,
    /// What leftovers get when no stop was asked for.
    pub leftovers: Duration,
    /// How long all hooks of one stage may take together, `None` where there are none.
    pub stop_hooks: Option<Duration>,
    pub exit_hooks: Option<Duration>,
    /// How the app is stopped.
    pub schedule: Schedule,
    /// What signals are forwarded as.
    pub rewrites: Rewrites,
    pub stop_on: SignalSet,
    /// A second stop request is not forwarded while stopping.
    pub stop_once: bool,
    /// Readiness checks exist, so starting lasts until they pass.
    pub awaits_ready: bool,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The app's process exists.
    Started,
    /// The readiness checks pass, or no longer do.
    Ready(bool),
    Signal(Arrival),
    /// Nothing is in flight any more.
    Drained,
    /// Waiting longer cannot help: clients never stop asking.
    Pinned,
    /// All hooks of this stage have ended or run out of time.
    HooksEnded(HookPoint),
    AppEnded(Exit),
    /// No process is left below us (ECHILD).
    NoneLeft,
    /// Time has passed.
    Tick,
}

/// Why a phase was entered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    Started,
    Ready,
    Asked(Arrival),
    SleepOver,
    Drained,
    DrainTimeout,
    Pinned,
    Hurry(Signal),
    AppEnded,
    TimeUp,
    NothingLeft,
    HooksEnded,
    /// SIGKILL was sent and the process is still there: an uninterruptible sleep in the kernel.
    Unkillable,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A new phase has begun; the actions that belong to it follow.
    Enter(Phase, Why),
    /// Tell the world that the app is ready, or that it no longer is.
    Announce(bool),
    /// A stop was asked for: from here on the grace counts.
    AcceptStop(Arrival),
    /// Pass this signal on to the app, as the second one.
    Forward(Arrival, Signal),
    /// Leave this signal alone: it is rewritten to nothing, or what it asks for is under way.
    Ignore(Arrival),
    RunHooks(HookPoint),
    CutHooks,
    /// Send this signal of the stop schedule to the app, then CONT.
    Stop(Signal),
    /// SIGKILL to the app and to all leftovers.
    Kill,
    /// TERM, then CONT, to all leftovers.
    Sweep,
    /// SIGKILL to all leftovers.
    KillLeftovers,
    /// SIGKILL once more to everything that is left: to what was forked during the time before.
    KillAgain,
    /// Exit as the app did.
    Leave(Exit),
}

/// A stop that was asked for.
#[derive(Clone, Copy, Debug)]
struct Stop {
    at: Moment,
    by: Signal,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Starting,
    Running,
    PreStop {
        hooks: bool,
    },
    Draining,
    Stopping {
        began: Moment,
        step: usize,
        next: Option<Moment>,
    },
    Killing(Kill),
    /// `began`: when the leftovers were asked to end.
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
#[derive(Clone, Copy, Debug)]
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

/// How often everything that is left is killed again: to reach those that were forked during the time before.
const KILL_AGAIN: Duration = Duration::from_millis(50);
/// Between the first stop signal and SIGKILL, and between SIGKILL and leaving, lies at least this long, or what the plan
/// itself has room for. It matters for whoever is woken late (stopped, frozen, starved): overdue deadlines are not all
/// acted on at once.
const MIN_GAP: Duration = Duration::from_millis(200);

/// The life of one app.
#[derive(Debug)]
pub struct Lifecycle {
    plan: Plan,
    state: State,
    stop: Option<Stop>,
    ready: bool,
    checks_pass: bool,
}

type Actions = Vec<Action>;

impl Lifecycle {
    pub fn new(plan: Plan) -> Lifecycle {
        Lifecycle { plan, state: State::Starting, stop: None, ready: false, checks_pass: false }
    }

    /// Takes in one event and says what to do. Deadlines that have passed by `now` are acted on, too,
    /// after the event: an app that ended is not killed because its news came late.
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

    /// When the lifecycle wants to be asked next, if nothing happens before.
    pub fn deadline(&self) -> Option<Moment> {
        match self.state {
            State::Starting | State::Running | State::Gone => None,
            State::PreStop { hooks: false } => Some(self.sleep_over()),
            State::PreStop { hooks: true } => Some(self.drain_over().max(self.sleep_over())),
            State::Draining => Some(self.drain_over()),
            State::Stopping { began, next, .. } => {
                let kill_due = self.kill_due(began);
                Some(next.map_or(kill_due, |next| next.min(kill_due)))
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

    /// When the stop was asked for.
    pub fn stop_asked_at(&self) -> Option<Moment> {
        self.stop.map(|stop| stop.at)
    }

    /// The signal that asked for it.
    pub fn stop_asked_by(&self) -> Option<Signal> {
        self.stop.map(|stop| stop.by)
    }

    /// When the platform kills, once a stop was asked for.
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
        MIN_GAP.min(self.plan.grace / 4)
    }

    /// When an app that got its first stop signal at `signalled` is killed: on time, unless the signal came late.
    fn kill_due(&self, signalled: Moment) -> Moment {
        self.kill_at().max(signalled + self.stop_gap())
    }

    /// When what was killed is left alone: what survives that long, the kernel cannot end.
    fn leave_due(&self, kill: Kill) -> Moment {
        match self.stop {
            Some(_) => self.leave_by().max(kill.began + MIN_GAP.min(self.plan.kill_margin)),
            None => kill.began + self.plan.kill_margin.max(MIN_GAP),
        }
    }

    /// When leftovers that were asked to end at `began` are killed.
    fn sweep_over(&self, began: Moment) -> Moment {
        match self.stop {
            Some(_) => self.kill_at().max(began + self.stop_gap().min(self.plan.kill_margin / 2)),
            None => began + self.plan.leftovers,
        }
    }

    /// When hooks that were started at `began`, the last of all, run out of time.
    fn exit_hooks_over(&self, began: Moment) -> Moment {
        let over = began + self.plan.exit_hooks.unwrap_or_default();
        match self.stop {
            Some(_) => over.min(self.kill_at() + self.plan.kill_margin / 2),
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
                self.stopping(Why::Hurry(arrival.signal), now, actions)
            }
            State::Stopping { .. } if asks && self.asks_once() => actions.push(Action::Ignore(arrival)),
            State::Starting
            | State::Running
            | State::PreStop { .. }
            | State::Draining
            | State::Stopping { .. }
            | State::Killing(_) => actions.push(Action::Forward(arrival, forwarded)),
            // The app has ended by itself; what it left behind has the grace, and no longer.
            State::Sweeping { .. } | State::Leaving { .. } if asks && self.stop.is_none() => {
                self.accept_stop(arrival, now, actions)
            }
            State::Sweeping { .. } | State::Leaving { .. } | State::Gone => {
                actions.push(Action::Ignore(arrival))
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

    /// Whether the app must not hear a second stop request.
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
        self.state = State::Stopping { began: now, step: 0, next: None };
        match &self.plan.schedule {
            Schedule::Silent => {}
            Schedule::AsAsked => {
                let asked_by = self.stop.map_or(Signal::TERM, |stop| stop.by);
                // A signal that is rewritten to nothing asks for nothing.
                actions.push(Action::Stop(self.plan.rewrites.apply(asked_by).unwrap_or(asked_by)));
            }
            Schedule::Steps(_) => self.step(now, 0, now, actions),
        }
    }

    /// Sends one entry of the schedule and arms the next.
    fn step(&mut self, began: Moment, step: usize, now: Moment, actions: &mut Actions) {
        let Schedule::Steps(steps) = &self.plan.schedule else { return };
        let Some(entry) = steps.get(step) else { return };
        let next = steps.get(step + 1).map(|_| match entry.wait {
            Wait::For(length) => now + length,
            Wait::UntilBeforeKill(length) => self.kill_at() - length.min(self.kill_at().since(now) / 2),
        });
        actions.push(Action::Stop(entry.signal));
        self.state = State::Stopping { began, step, next };
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
            State::Stopping { began, .. } if now >= self.kill_due(began) => {
                self.state = State::Killing(Kill::at(now));
                actions.push(Action::Enter(Phase::Killing, Why::TimeUp));
                actions.push(Action::Kill);
            }
            State::Stopping { began, step, .. } => self.step(began, step + 1, now, actions),
            State::Killing(kill) if now >= self.leave_due(kill) => {
                self.leave(Exit::Killed(Signal::KILL), Why::Unkillable, actions)
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
                self.leave(exit, Why::Unkillable, actions)
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn length(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn seconds(seconds: f64) -> Moment {
        Moment::at(length(seconds))
    }

    /// What a Kubernetes pod gets by default.
    fn usual() -> Plan {
        Plan {
            grace: length(30.0),
            kill_margin: length(1.0),
            pre_stop: length(5.0),
            drain: Some(length(15.0)),
            leftovers: length(2.0),
            stop_hooks: None,
            exit_hooks: None,
            schedule: Schedule::AsAsked,
            rewrites: Rewrites::default(),
            stop_on: SignalSet::default().with(Signal::TERM),
            stop_once: false,
            awaits_ready: false,
        }
    }

    fn by(signal: Signal) -> Event {
        Event::Signal(Arrival { signal, from: Sender::Outside, value: None })
    }

    fn by_terminal(signal: Signal) -> Event {
        Event::Signal(Arrival { signal, from: Sender::Kernel, value: None })
    }

    /// Plays events at their times and returns what was done and when, in short words.
    fn play(plan: Plan, script: &[(f64, Event)]) -> Vec<String> {
        let mut life = Lifecycle::new(plan);
        let mut said = Vec::new();
        let mut note = |at: Moment, actions: Vec<Action>| {
            said.extend(
                actions
                    .into_iter()
                    .filter_map(word)
                    .map(|word| format!("{:.1} {word}", at.since_start().as_secs_f64())),
            );
        };
        note(Moment::START, life.on(Event::Started, Moment::START));
        for (at, event) in script {
            // Virtual time jumps from deadline to deadline.
            while let Some(due) = life.deadline().filter(|due| *due < seconds(*at)) {
                note(due, life.on(Event::Tick, due));
            }
            note(seconds(*at), life.on(*event, seconds(*at)));
        }
        while let Some(due) = life.deadline() {
            note(due, life.on(Event::Tick, due));
        }
        said
    }

    fn word(action: Action) -> Option<String> {
        match action {
            Action::Enter(Phase::Starting | Phase::Running, _) => None,
            Action::Enter(phase, _) => Some(format!("{phase:?}")),
            Action::Announce(ready) => Some(if ready { "ready" } else { "not ready" }.to_owned()),
            Action::Forward(_, signal) => Some(format!("forward {}", signal.number())),
            Action::Ignore(_) | Action::RunHooks(HookPoint::Start) => None,
            Action::RunHooks(stage) => Some(format!("hooks {stage:?}")),
            Action::CutHooks => None,
            Action::Stop(signal) => Some(format!("stop {}", signal.number())),
            Action::Kill => Some("kill".to_owned()),
            Action::Sweep => Some("sweep".to_owned()),
            Action::KillLeftovers => Some("kill leftovers".to_owned()),
            Action::AcceptStop(_) | Action::KillAgain => None,
            Action::Leave(exit) => Some(format!("leave {}", exit.code())),
        }
    }

    const GONE: Event = Event::AppEnded(Exit::Status(0));

    #[test]
    fn a_stop_sleeps_drains_stops_sweeps_and_leaves() {
        let said = play(
            usual(),
            &[(1.0, by(Signal::TERM)), (8.5, Event::Drained), (9.0, GONE), (9.5, Event::NoneLeft)],
        );
        assert_eq!(
            said,
            [
                "0.0 ready",
                "1.0 not ready",
                "1.0 PreStop",
                "1.0 hooks Stop",
                "6.0 Draining",
                "8.5 Stopping",
                "8.5 stop 15",
                "9.0 Sweeping",
                "9.0 sweep",
                "9.5 Gone",
                "9.5 leave 0"
            ]
        );
    }

    #[test]
    fn an_app_that_ignores_everything_is_killed_before_the_grace_ends() {
        let killed = Event::AppEnded(Exit::Killed(Signal::KILL));
        let said = play(usual(), &[(0.0, by(Signal::TERM)), (29.1, killed), (29.2, Event::NoneLeft)]);
        assert_eq!(
            said[4..],
            [
                "5.0 Draining",
                "20.0 Stopping",
                "20.0 stop 15",
                "29.0 Killing",
                "29.0 kill",
                "29.1 Sweeping",
                "29.1 kill leftovers",
                "29.2 Gone",
                "29.2 leave 137"
            ]
        );
    }

    #[test]
    fn an_app_that_the_kernel_cannot_end_is_left_at_the_grace() {
        let said = play(usual(), &[(0.0, by(Signal::TERM))]);
        assert_eq!(said[said.len() - 2..], ["30.0 Gone", "30.0 leave 137"]);
    }

    #[test]
    fn a_schedule_is_followed_step_by_step_and_never_past_the_kill() {
        let step =
            |signal, wait| Step { signal: Signal::new(signal).unwrap(), wait: Wait::For(length(wait)) };
        let schedule = Schedule::Steps(vec![step(20, 15.0), step(15, 15.0), step(2, 0.0)]);
        let plan = Plan { schedule, drain: None, ..usual() };
        let said = play(plan, &[(0.0, by(Signal::TERM))]);
        assert_eq!(said[4..8], ["5.0 Stopping", "5.0 stop 20", "20.0 stop 15", "29.0 Killing"]);
    }

    #[test]
    fn a_step_can_end_shortly_before_the_kill() {
        let step = |signal, wait| Step { signal, wait };
        let before_kill = Wait::UntilBeforeKill(length(1.0));
        let schedule =
            Schedule::Steps(vec![step(Signal::QUIT, before_kill), step(Signal::TERM, before_kill)]);
        let plan = Plan { schedule, drain: None, ..usual() };
        let said = play(plan.clone(), &[(0.0, by(Signal::TERM))]);
        assert_eq!(said[5..8], ["5.0 stop 3", "28.0 stop 15", "29.0 Killing"]);
        // Where the kill is near, the first signal has half of the time.
        let plan = Plan { pre_stop: length(28.0), ..plan };
        let said = play(plan, &[(0.0, by(Signal::TERM))]);
        assert_eq!(said[5..8], ["28.0 stop 3", "28.5 stop 15", "29.0 Killing"]);
    }

    #[test]
    fn an_app_that_the_platform_signals_hears_nothing_from_us() {
        let plan = Plan { schedule: Schedule::Silent, drain: None, ..usual() };
        let said = play(plan, &[(0.0, by(Signal::TERM)), (6.0, by(Signal::TERM))]);
        assert_eq!(said[4..], ["5.0 Stopping", "29.0 Killing", "29.0 kill", "30.0 Gone", "30.0 leave 137"]);
    }

    #[test]
    fn int_and_quit_hurry_a_stop_and_are_passed_on_otherwise() {
        for signal in [Signal::INT, Signal::QUIT] {
            let number = signal.number();
            let said = play(
                usual(),
                &[
                    (0.5, by(signal)),
                    (1.0, by(Signal::TERM)),
                    (2.0, by(signal)),
                    (3.0, by(signal)),
                    (4.0, GONE),
                ],
            );
            assert_eq!(said[1], format!("0.5 forward {number}"));
            assert_eq!(
                said[5..8],
                ["2.0 Stopping".to_owned(), "2.0 stop 15".to_owned(), format!("3.0 forward {number}")]
            );
        }
    }

    #[test]
    fn a_second_request_waits_with_the_first_and_is_passed_on_while_stopping() {
        let script = [
            (0.0, by(Signal::TERM)),
            (3.0, by(Signal::TERM)),
            (6.0, by(Signal::TERM)),
            (7.0, Event::Drained),
            (8.0, by(Signal::TERM)),
            (9.0, GONE),
        ];
        let said = play(usual(), &script);
        assert_eq!(said[4..8], ["5.0 Draining", "7.0 Stopping", "7.0 stop 15", "8.0 forward 15"]);
        let said = play(Plan { stop_once: true, ..usual() }, &script);
        assert_eq!(said[4..8], ["5.0 Draining", "7.0 Stopping", "7.0 stop 15", "9.0 Sweeping"]);
    }

    #[test]
    fn leftovers_get_the_rest_of_the_grace_after_a_stop_and_two_seconds_otherwise() {
        let said = play(Plan { drain: None, ..usual() }, &[(0.0, by(Signal::TERM)), (5.5, GONE)]);
        assert_eq!(
            said[6..],
            ["5.5 Sweeping", "5.5 sweep", "29.0 kill leftovers", "30.0 Gone", "30.0 leave 0"]
        );
        let said = play(usual(), &[(7.0, GONE)]);
        assert_eq!(
            said[1..],
            ["7.0 not ready", "7.0 Sweeping", "7.0 sweep", "9.0 kill leftovers", "10.0 Gone", "10.0 leave 0"]
        );
    }

    #[test]
    fn an_app_that_ends_by_itself_ends_any_phase() {
        for at in [0.5, 2.0, 7.0, 21.0] {
            let said =
                play(usual(), &[(1.0, by(Signal::TERM)), (at + 1.0, GONE), (at + 1.0, Event::NoneLeft)]);
            assert_eq!(said.last().unwrap(), &format!("{:.1} leave 0", at + 1.0), "{said:?}");
        }
    }

    #[test]
    fn hooks_lengthen_the_sleep_but_not_beyond_the_drain() {
        let plan = Plan { stop_hooks: Some(length(60.0)), ..usual() };
        let said = play(
            plan.clone(),
            &[
                (0.0, by(Signal::TERM)),
                (7.0, Event::HooksEnded(HookPoint::Stop)),
                (7.5, Event::Drained),
                (8.0, GONE),
            ],
        );
        assert_eq!(said[4..6], ["7.0 Draining", "7.5 Stopping"]);
        let said = play(plan, &[(0.0, by(Signal::TERM))]);
        assert_eq!(said[4..7], ["20.0 Draining", "20.0 Stopping", "20.0 stop 15"]);
    }

    #[test]
    fn the_last_hooks_run_when_nothing_is_left_and_end_before_the_grace() {
        let plan = Plan { exit_hooks: Some(length(10.0)), drain: None, ..usual() };
        let said = play(
            plan.clone(),
            &[
                (0.0, by(Signal::TERM)),
                (6.0, GONE),
                (6.0, Event::NoneLeft),
                (7.0, Event::HooksEnded(HookPoint::Exit)),
            ],
        );
        assert_eq!(said[8..], ["6.0 Leaving", "6.0 hooks Exit", "7.0 Gone", "7.0 leave 0"]);
        let said = play(plan, &[(0.0, by(Signal::TERM)), (28.0, GONE), (28.0, Event::NoneLeft)]);
        assert_eq!(said.last().unwrap(), "29.5 leave 0");
    }

    #[test]
    fn readiness_follows_the_checks_until_the_stop() {
        let plan = Plan { awaits_ready: true, ..usual() };
        let said = play(
            plan,
            &[
                (1.0, Event::Ready(true)),
                (2.0, Event::Ready(false)),
                (3.0, Event::Ready(true)),
                (4.0, by(Signal::TERM)),
                (4.5, Event::Ready(true)),
                (5.0, GONE),
            ],
        );
        assert_eq!(said[..5], ["1.0 ready", "2.0 not ready", "3.0 ready", "4.0 not ready", "4.0 PreStop"]);
        assert!(!said[5..].iter().any(|word| word.ends_with(" ready")));
    }

    #[test]
    fn a_window_resize_neither_stops_an_app_that_winch_stops_nor_reaches_it() {
        let plan = Plan { stop_on: usual().stop_on.with(Signal::WINCH), ..usual() };
        let said = play(plan.clone(), &[(1.0, by_terminal(Signal::WINCH)), (2.0, GONE)]);
        assert!(!said.iter().any(|word| word.contains("28") || word.contains("PreStop")), "{said:?}");
        let said = play(plan, &[(1.0, by(Signal::WINCH)), (2.0, GONE)]);
        assert!(said.contains(&"1.0 PreStop".to_owned()), "{said:?}");
    }

    #[test]
    fn news_of_the_end_that_come_late_are_better_than_a_kill() {
        let mut life = Lifecycle::new(usual());
        life.on(Event::Started, seconds(0.0));
        life.on(by(Signal::TERM), seconds(0.0));
        // Frozen for a minute: the app's end and the kill's time are found at once.
        let actions = life.on(GONE, seconds(60.0));
        assert!(!actions.contains(&Action::Kill), "{actions:?}");
    }

    #[test]
    fn rewritten_signals_are_forwarded_as_told_and_dropped_ones_ask_for_nothing() {
        let rules =
            vec![(Signal::USR1, Some(Signal::HUP)), (Signal::USR2, None), (Signal::TERM, Some(Signal::QUIT))];
        let plan = Plan { rewrites: Rewrites::new(rules), ..usual() };
        let said = play(
            plan,
            &[
                (1.0, by(Signal::USR1)),
                (2.0, by(Signal::USR2)),
                (3.0, by(Signal::TERM)),
                (9.0, Event::Drained),
            ],
        );
        assert_eq!(said[1], "1.0 forward 1");
        assert!(said.contains(&"9.0 stop 3".to_owned()), "{said:?}");
        let dropped = Plan { rewrites: Rewrites::new(vec![(Signal::TERM, None)]), ..usual() };
        assert_eq!(play(dropped, &[(1.0, by(Signal::TERM)), (2.0, Event::Tick)]), ["0.0 ready"]);
    }

    #[test]
    fn a_stop_request_while_sweeping_starts_the_grace() {
        // The app ended by itself at 1; its leftovers would have 60 s.
        let plan = Plan { leftovers: length(60.0), grace: length(10.0), ..usual() };
        let said = play(plan.clone(), &[(1.0, GONE), (5.0, by(Signal::TERM)), (6.0, by(Signal::TERM))]);
        assert_eq!(said[said.len() - 3..], ["14.0 kill leftovers", "15.0 Gone", "15.0 leave 0"]);
        // And it lengthens a short time to the grace.
        let said = play(Plan { leftovers: length(5.0), ..plan }, &[(1.0, GONE), (5.0, by(Signal::TERM))]);
        assert_eq!(said[said.len() - 3..], ["14.0 kill leftovers", "15.0 Gone", "15.0 leave 0"]);
    }

    #[test]
    fn a_stop_request_while_the_last_hooks_run_bounds_them_by_the_grace() {
        let plan = Plan { exit_hooks: Some(length(60.0)), grace: length(10.0), ..usual() };
        let said = play(plan, &[(1.0, GONE), (1.0, Event::NoneLeft), (5.0, by(Signal::TERM))]);
        assert_eq!(said.last().unwrap(), "14.5 leave 0");
    }

    #[test]
    fn hooks_at_the_exit_are_not_killed_with_the_leftovers() {
        let plan = Plan { exit_hooks: Some(length(10.0)), ..usual() };
        let mut life = Lifecycle::new(plan);
        life.on(Event::Started, seconds(0.0));
        life.on(GONE, seconds(1.0));
        assert!(life.on(Event::Tick, seconds(3.0)).contains(&Action::KillLeftovers));
        assert_eq!(life.on(Event::Tick, seconds(3.05)), [Action::KillAgain]);
        life.on(Event::NoneLeft, seconds(3.06));
        assert_eq!(life.phase(), Phase::Leaving);
        assert_eq!(life.on(Event::Tick, seconds(4.0)), [], "nobody is killed any more");
        assert_eq!(life.deadline(), Some(seconds(13.06)));
    }

    #[test]
    fn everything_is_killed_again_until_it_is_gone() {
        let mut life = Lifecycle::new(usual());
        life.on(Event::Started, seconds(0.0));
        life.on(by(Signal::TERM), seconds(0.0));
        for at in [5.0, 20.0, 29.0] {
            life.on(Event::Tick, seconds(at));
        }
        assert_eq!(life.deadline(), Some(seconds(29.05)));
        assert_eq!(life.on(Event::Tick, seconds(29.05)), [Action::KillAgain]);
        assert_eq!(life.deadline(), Some(seconds(29.1)));
    }

    /// When the first stop signal, KILL and the leave come, for somebody who sleeps until `wakes` and then never again.
    fn woken_late(script: &[(f64, Event)], wakes: f64) -> Vec<String> {
        let mut life = Lifecycle::new(usual());
        life.on(Event::Started, seconds(0.0));
        for (at, event) in script {
            life.on(*event, seconds(*at));
        }
        let mut now = seconds(wakes);
        let mut said = Vec::new();
        loop {
            let words = life.on(Event::Tick, now).into_iter().filter_map(word);
            said.extend(words.map(|word| format!("{:.1} {word}", now.since_start().as_secs_f64())));
            match life.deadline() {
                Some(due) => now = due.max(now),
                None => return said,
            }
        }
    }

    #[test]
    fn woken_late_the_app_is_asked_before_it_is_killed_and_reaped_before_adieu_leaves() {
        let said = woken_late(&[(0.0, by(Signal::TERM))], 100.0);
        assert_eq!(
            said,
            [
                "100.0 Draining",
                "100.0 Stopping",
                "100.0 stop 15",
                "100.2 Killing",
                "100.2 kill",
                "100.4 Gone",
                "100.4 leave 137"
            ]
        );
        let said = woken_late(&[(0.0, by(Signal::TERM)), (6.0, GONE)], 100.0);
        assert_eq!(said, ["100.0 kill leftovers", "100.2 Gone", "100.2 leave 0"]);
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let signal = (1i32..=64, any::<bool>()).prop_map(|(signal, kernel)| {
            let from = if kernel { Sender::Kernel } else { Sender::Outside };
            Event::Signal(Arrival { signal: Signal::new(signal).unwrap(), from, value: None })
        });
        prop_oneof![
            3 => Just(by(Signal::TERM)),
            3 => signal,
            1 => any::<bool>().prop_map(Event::Ready),
            1 => Just(Event::Drained),
            1 => Just(Event::Pinned),
            1 => prop_oneof![Just(HookPoint::Start), Just(HookPoint::Stop), Just(HookPoint::Exit)].prop_map(Event::HooksEnded),
            1 => prop_oneof![(0u8..=255).prop_map(Exit::Status), (1i32..=64).prop_map(|s| Exit::Killed(Signal::new(s).unwrap()))]
                .prop_map(Event::AppEnded),
            1 => Just(Event::NoneLeft),
            4 => Just(Event::Tick),
        ]
    }

    fn any_schedule(steps: Vec<(i32, u64)>, before_kill: bool) -> Schedule {
        let wait = |millis| match before_kill {
            true => Wait::UntilBeforeKill(Duration::from_millis(millis)),
            false => Wait::For(Duration::from_millis(millis)),
        };
        let step = |(signal, millis)| Step { signal: Signal::new(signal).unwrap(), wait: wait(millis) };
        match steps.len() {
            0 => Schedule::AsAsked,
            1 if steps[0].0 == 1 => Schedule::Silent,
            _ => Schedule::Steps(steps.into_iter().map(step).collect()),
        }
    }

    fn any_plan() -> impl Strategy<Value = Plan> {
        let times = (1u64..60_000, 0u64..60_000, 0u64..90_000, 0u64..5_000, 0u64..5_000);
        let options = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
        let schedule = prop::collection::vec((1i32..=64, 0u64..20_000), 0..4);
        (times, options, schedule).prop_map(
            |((grace, pre_stop, drain, leftovers, hooks), options, schedule)| {
                let millis = Duration::from_millis;
                Plan {
                    grace: millis(grace),
                    kill_margin: millis(grace / 10),
                    pre_stop: millis(pre_stop),
                    drain: options.0.then_some(millis(drain)),
                    leftovers: millis(leftovers),
                    stop_hooks: options.1.then_some(millis(hooks)),
                    exit_hooks: options.2.then_some(millis(hooks)),
                    schedule: any_schedule(schedule, options.3),
                    rewrites: Rewrites::default(),
                    stop_on: SignalSet::default().with(Signal::TERM),
                    stop_once: options.3,
                    awaits_ready: options.4,
                }
            },
        )
    }

    /// What a life has shown so far, held against the invariants.
    #[derive(Default)]
    struct Seen {
        phase: Option<Phase>,
        stopped_at: Option<Moment>,
        signalled_at: Option<Moment>,
        killed_at: Option<Moment>,
        left: Option<(Moment, Exit)>,
        app_gone: bool,
        exit: Option<Exit>,
        woken_late_at: Option<Moment>,
    }

    impl Seen {
        fn take(&mut self, action: Action, now: Moment, plan: &Plan) -> Result<(), TestCaseError> {
            prop_assert!(
                self.left.is_none() || matches!(action, Action::Ignore(_)),
                "{action:?} after the end"
            );
            let to_the_app = matches!(action, Action::Forward(..) | Action::Stop(_) | Action::Kill);
            prop_assert!(!(to_the_app && self.app_gone), "{action:?} to an app that is gone");
            match action {
                Action::Enter(entered, _) => {
                    prop_assert!(
                        self.phase.is_none_or(|phase| entered >= phase),
                        "{:?} -> {entered:?}",
                        self.phase
                    );
                    self.phase = Some(entered);
                    self.app_gone |= entered >= Phase::Sweeping;
                    if entered == Phase::Stopping {
                        self.signalled_at = Some(now);
                    }
                }
                Action::AcceptStop(_) => {
                    prop_assert_eq!(self.stopped_at, None, "a stop is asked for once");
                    self.stopped_at = Some(now);
                }
                Action::Announce(ready) => prop_assert!(!ready || self.stopped_at.is_none()),
                Action::Kill => {
                    let gap = MIN_GAP.min(plan.grace / 4);
                    prop_assert!(self.signalled_at.is_some_and(|at| now.since(at) >= gap), "killed unasked");
                    self.killed_at.get_or_insert(now);
                }
                Action::KillLeftovers => {
                    self.killed_at.get_or_insert(now);
                }
                Action::Leave(exit) => self.left = Some((now, exit)),
                Action::Stop(_)
                | Action::Forward(..)
                | Action::KillAgain
                | Action::Ignore(_)
                | Action::RunHooks(_)
                | Action::CutHooks
                | Action::Sweep => {}
            }
            Ok(())
        }

        fn at_the_end(&self, plan: &Plan) -> Result<(), TestCaseError> {
            let Some(stopped_at) = self.stopped_at else { return Ok(()) };
            prop_assert!(self.left.is_some(), "a stop ends");
            let Some((left_at, exit)) = self.left else { return Ok(()) };
            let late = self.woken_late_at.map_or(Moment::START, |at| at + MIN_GAP * 2);
            prop_assert!(left_at <= late.max(stopped_at + plan.grace), "{left_at:?} is past the grace");
            prop_assert_eq!(exit, self.exit.unwrap_or(Exit::Killed(Signal::KILL)));
            Ok(())
        }
    }

    proptest! {
        /// Whatever happens, in whatever order, and however late adieu is woken: phases only go forward; a stop ends by the
        /// grace, or shortly after a late wake-up; a stop signal comes well before KILL, and KILL well before the leave;
        /// nothing is sent to an app that is gone; readiness never returns; nothing is done after the end.
        #[test]
        fn any_life_ends_well(
            plan in any_plan(), script in prop::collection::vec((0u64..20_000, any_event()), 0..40),
            sleeps in prop::collection::vec(prop_oneof![4 => Just(0u64), 1 => 1u64..100_000], 60),
        ) {
            let mut life = Lifecycle::new(plan.clone());
            let mut now = Moment::START;
            let mut seen = Seen::default();
            let mut script = script.into_iter();
            let mut sleeps = sleeps.into_iter();
            let mut next = Some(Event::Started);
            while let Some(event) = next.take() {
                for action in life.on(event, now) {
                    seen.take(action, now, &plan)?;
                }
                if let (Event::AppEnded(exit), None) = (event, seen.left) {
                    seen.exit.get_or_insert(exit);
                }
                prop_assert!(life.deadline().is_none_or(|due| due > now), "a deadline that has passed stays");
                let late = Duration::from_millis(sleeps.next().unwrap_or(0));
                if let Some((wait, event)) = script.next() {
                    let then = now + Duration::from_millis(wait);
                    match life.deadline().filter(|due| *due < then) {
                        Some(due) => { now = due + late; next = Some(Event::Tick); }
                        None => { now = then; next = Some(event); }
                    }
                    if !late.is_zero() { seen.woken_late_at = Some(now); }
                } else if let Some(due) = life.deadline() {
                    now = due;
                    next = Some(Event::Tick);
                }
            }
            seen.at_the_end(&plan)?;
        }

        /// Being asked too early changes nothing.
        #[test]
        fn a_tick_before_the_deadline_does_nothing(plan in any_plan(), events in prop::collection::vec(any_event(), 0..20)) {
            let mut life = Lifecycle::new(plan);
            life.on(Event::Started, Moment::START);
            for (n, event) in events.into_iter().enumerate() {
                let now = Duration::from_millis(n as u64 * 700);
                life.on(event, Moment::at(now));
                let due = life.deadline();
                prop_assert_eq!(life.on(Event::Tick, Moment::at(now)), []);
                prop_assert_eq!(life.deadline(), due);
            }
        }
    }
}
