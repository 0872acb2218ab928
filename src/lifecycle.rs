//! What should happen, and nothing else.
//!
//! One pure state machine: it is told what happened and when, and answers with what to do. It reads no
//! clock, holds no descriptor and writes no log, so that every stop that can happen can be played through
//! in a test. Each wait is a phase with an absolute deadline; being asked too early or too often changes nothing.

use std::time::Duration;

use crate::moment::Moment;
use crate::process::Exit;
use crate::signal::{Arrival, Sender, Signal, SignalSet};

/// Where in its life the app is. The order is that of life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    Starting,
    Running,
    PreStop,
    Draining,
    Stopping,
    Killing,
    Sweeping,
    Leaving,
    Gone,
}

impl Phase {
    /// As in logs, metrics, hooks and the report.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::PreStop => "pre-stop",
            Phase::Draining => "draining",
            Phase::Stopping => "stopping",
            Phase::Killing => "killing",
            Phase::Sweeping => "sweeping",
            Phase::Leaving => "leaving",
            Phase::Gone => "gone",
        }
    }
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
    pub schedule: Schedule,
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
    /// Pass this signal on to the app.
    Forward(Arrival),
    /// Leave this signal alone, for the stop it asks for is under way.
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
    PreStop { hooks: bool },
    Draining,
    Stopping { step: usize, next: Option<Moment> },
    Killing,
    Sweeping { exit: Exit, until: Moment, killed: bool },
    Leaving { exit: Exit, until: Moment },
    Gone,
}

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
            State::Killing => Phase::Killing,
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
            State::Stopping { next, .. } => {
                Some(next.map_or(self.kill_at(), |next| next.min(self.kill_at())))
            }
            State::Killing => Some(self.leave_by()),
            State::Sweeping { until, .. } | State::Leaving { until, .. } => Some(until),
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
        (self.asked_at() + self.plan.pre_stop).min(self.kill_at())
    }

    fn drain_over(&self) -> Moment {
        (self.sleep_over() + self.plan.drain.unwrap_or_default()).min(self.kill_at())
    }

    fn kill_at(&self) -> Moment {
        self.leave_by() - self.plan.kill_margin
    }

    fn leave_by(&self) -> Moment {
        self.grace_over().unwrap_or(Moment::at(self.plan.grace))
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
            | State::Killing
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
        if asks && resize {
            return actions.push(Action::Ignore(arrival));
        }
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
            | State::Killing => actions.push(Action::Forward(arrival)),
            State::Sweeping { .. } | State::Leaving { .. } | State::Gone => {
                actions.push(Action::Ignore(arrival))
            }
        }
    }

    fn pre_stop(&mut self, arrival: Arrival, now: Moment, actions: &mut Actions) {
        self.stop = Some(Stop { at: now, by: arrival.signal });
        self.state = State::PreStop { hooks: self.plan.stop_hooks.is_some() };
        self.announce(false, actions);
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
        self.step(0, now, actions);
    }

    /// Sends one entry of the schedule and arms the next.
    fn step(&mut self, step: usize, now: Moment, actions: &mut Actions) {
        let (signal, wait) = match &self.plan.schedule {
            Schedule::Silent => (None, None),
            Schedule::AsAsked => (self.stop_asked_by(), None),
            Schedule::Steps(steps) => {
                let is_last = step + 1 >= steps.len();
                let step = steps.get(step);
                (step.map(|step| step.signal), step.filter(|_| !is_last).map(|step| step.wait))
            }
        };
        actions.extend(signal.map(Action::Stop));
        let next = wait.map(|wait| match wait {
            Wait::For(length) => now + length,
            Wait::UntilBeforeKill(length) => self.kill_at() - length.min(self.kill_at().since(now) / 2),
        });
        self.state = State::Stopping { step, next };
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
        let killed = match self.state {
            State::Starting
            | State::Running
            | State::PreStop { .. }
            | State::Draining
            | State::Stopping { .. } => false,
            State::Killing => true,
            State::Sweeping { .. } | State::Leaving { .. } | State::Gone => return,
        };
        let until = match (self.stop, killed) {
            (Some(_), false) => self.kill_at(),
            (Some(_), true) => self.leave_by(),
            (None, _) => now + self.plan.leftovers,
        };
        self.announce(false, actions);
        self.state = State::Sweeping { exit, until, killed };
        actions.push(Action::Enter(Phase::Sweeping, Why::AppEnded));
        actions.push(if killed { Action::KillLeftovers } else { Action::Sweep });
    }

    fn none_left(&mut self, now: Moment, actions: &mut Actions) {
        if let State::Sweeping { exit, .. } = self.state {
            self.leaving(exit, Why::NothingLeft, now, actions);
        }
    }

    /// The last hooks, in what is left of the time.
    fn leaving(&mut self, exit: Exit, why: Why, now: Moment, actions: &mut Actions) {
        let Some(hooks) = self.plan.exit_hooks else {
            return self.leave(exit, why, actions);
        };
        let until = match self.stop {
            Some(_) => (now + hooks).min(self.kill_at() + self.plan.kill_margin / 2),
            None => now + hooks,
        };
        self.state = State::Leaving { exit, until };
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
            State::Stopping { .. } if now >= self.kill_at() => {
                self.state = State::Killing;
                actions.push(Action::Enter(Phase::Killing, Why::TimeUp));
                actions.push(Action::Kill);
            }
            State::Stopping { step, .. } => self.step(step + 1, now, actions),
            State::Killing => self.leave(Exit::Killed(Signal::KILL), Why::Unkillable, actions),
            State::Sweeping { exit, killed: false, .. } => {
                let until = match self.stop {
                    Some(_) => self.leave_by(),
                    None => now + self.plan.kill_margin,
                };
                self.state = State::Sweeping { exit, until, killed: true };
                actions.push(Action::KillLeftovers);
            }
            State::Sweeping { exit, killed: true, .. } => self.leave(exit, Why::Unkillable, actions),
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
            Action::Forward(arrival) => Some(format!("forward {}", arrival.signal.number())),
            Action::Ignore(_) | Action::RunHooks(HookPoint::Start) => None,
            Action::RunHooks(stage) => Some(format!("hooks {stage:?}")),
            Action::CutHooks => None,
            Action::Stop(signal) => Some(format!("stop {}", signal.number())),
            Action::Kill => Some("kill".to_owned()),
            Action::Sweep => Some("sweep".to_owned()),
            Action::KillLeftovers => Some("kill leftovers".to_owned()),
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
                    stop_on: SignalSet::default().with(Signal::TERM),
                    stop_once: options.3,
                    awaits_ready: options.4,
                }
            },
        )
    }

    proptest! {
        /// Whatever happens, in whatever order: phases only go forward, a stop ends by the grace, a signal of the
        /// schedule comes before the kill, readiness never returns, and nothing is done after the end.
        #[test]
        fn any_life_ends_well(plan in any_plan(), script in prop::collection::vec((0u64..20_000, any_event()), 0..40)) {
            let mut life = Lifecycle::new(plan.clone());
            let mut now = Moment::START;
            let mut phase = Phase::Starting;
            let (mut stopped_at, mut left_at, mut signalled) = (None, None, false);
            let mut script = script.into_iter();
            let mut next = Some(Event::Started);
            while let Some(event) = next.take() {
                for action in life.on(event, now) {
                    prop_assert!(left_at.is_none() || matches!(action, Action::Ignore(_)), "{action:?} after the end");
                    match action {
                        Action::Enter(entered, _) => {
                            prop_assert!(entered >= phase, "{phase:?} -> {entered:?}");
                            phase = entered;
                            if entered == Phase::PreStop { stopped_at = Some(now); }
                        }
                        Action::Announce(ready) => prop_assert!(!ready || stopped_at.is_none()),
                        Action::Stop(_) => signalled = true,
                        Action::Kill => prop_assert!(signalled || plan.schedule == Schedule::Silent, "killed without having been asked"),
                        Action::Leave(_) => left_at = Some(now),
                        Action::Forward(_) | Action::Ignore(_) | Action::RunHooks(_) | Action::CutHooks
                        | Action::Sweep | Action::KillLeftovers => {}
                    }
                }
                prop_assert!(life.deadline().is_none_or(|due| due > now), "a deadline that has passed stays");
                if let Some((wait, event)) = script.next() {
                    let then = now + Duration::from_millis(wait);
                    match life.deadline().filter(|due| *due < then) {
                        Some(due) => { now = due; next = Some(Event::Tick); }
                        None => { now = then; next = Some(event); }
                    }
                } else if let Some(due) = life.deadline() {
                    now = due;
                    next = Some(Event::Tick);
                }
            }
            if let Some(stopped_at) = stopped_at {
                prop_assert!(left_at.is_some_and(|left| left <= stopped_at + plan.grace), "{left_at:?}");
            }
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
