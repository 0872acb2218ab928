//! Every life that can be, up to a useful depth: the lifecycle beside an environment that does
//! whatever an environment can do, explored breadth first by a model checker. Time jumps from
//! deadline to deadline, or far beyond one, as for somebody who is woken late.

use super::super::*;
use super::invariants::Seen;
use crate::signal::SignalSet;
use stateright::{Checker, Model, Property};

/// How many events a life has at the most, its start not counted.
const DEPTH: u8 = 12;
/// How much too late a late wake-up is.
const LATE: Duration = Duration::from_secs(100);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    life: Lifecycle,
    now: Moment,
    events: u8,
    app: App,
    seen: Seen,
    /// The first invariant that was broken.
    broken: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum App {
    Alive,
    Killed,
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Deadline,
    LateDeadline,
    Event(Event),
}

struct Lives(Plan);

fn arrival(signal: Signal) -> Event {
    Event::Signal(Arrival { signal, from: Sender::Outside, value: None })
}

impl World {
    fn begin(plan: &Plan) -> World {
        let life = Lifecycle::new(plan.clone());
        let (now, seen) = (Moment::START, Seen::default());
        let mut world = World { life, now, events: 0, app: App::Alive, seen, broken: None };
        world.take(Event::Started, plan);
        world
    }

    fn take(&mut self, event: Event, plan: &Plan) {
        if let Event::AppEnded(exit) = event {
            self.app = App::Gone;
            self.seen.app_ended(exit);
        }
        for action in self.life.on(event, self.now) {
            if action == Action::Kill {
                self.app = App::Killed;
            }
            if let Err(what) = self.seen.take(action, self.now, plan) {
                self.broken.get_or_insert(what);
            }
        }
        if self.life.deadline().is_some_and(|due| due <= self.now) {
            self.broken.get_or_insert("a deadline that has passed stays".to_owned());
        }
    }

    /// A repeated stop request moves no deadline, and hurry never lengthens.
    fn signal(&mut self, signal: Signal, plan: &Plan) {
        let (before, asked) = (self.life.deadline(), self.seen.stop_was_asked_for());
        self.take(arrival(signal), plan);
        let after = self.life.deadline();
        if asked && signal == Signal::TERM && before != after {
            self.broken.get_or_insert(format!("a second TERM moved {before:?} to {after:?}"));
        }
        let end = self.life.grace_over();
        if asked && signal == Signal::INT && after > before.max(end) {
            self.broken.get_or_insert(format!("hurry moved {before:?} to {after:?}"));
        }
    }
}

impl Model for Lives {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::begin(&self.0)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.events >= DEPTH || world.seen.has_left() {
            return;
        }
        if world.life.deadline().is_some() {
            steps.extend([Step::Deadline, Step::LateDeadline]);
        }
        let signals = [Signal::TERM, Signal::INT, Signal::USR1].map(arrival);
        steps.extend(signals.map(Step::Event));
        steps.extend([Event::Drained, Event::Pinned].map(Step::Event));
        steps.extend([Event::Ready(true), Event::Ready(false)].map(Step::Event));
        steps.extend([HookPoint::Stop, HookPoint::Exit].map(Event::HooksEnded).map(Step::Event));
        steps.push(Step::Event(match world.app {
            App::Alive => Event::AppEnded(Exit::Status(3)),
            App::Killed => Event::AppEnded(Exit::Killed(Signal::KILL)),
            App::Gone => Event::NoneLeft,
        }));
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut next = world.clone();
        next.events += 1;
        match step {
            Step::Deadline | Step::LateDeadline => {
                let late = if step == Step::LateDeadline { LATE } else { Duration::ZERO };
                next.now = world.life.deadline()? + late;
                if !late.is_zero() {
                    next.seen.woken_late(next.now);
                }
                next.take(Event::Tick, &self.0);
                // Since it was last seen awake, the app may have stood still as well.
                let killed = world.app == App::Alive && next.app == App::Killed;
                if !late.is_zero() && killed && !world.seen.had_time(world.now, &self.0) {
                    next.broken.get_or_insert("killed on waking, without time to act".to_owned());
                }
            }
            Step::Event(Event::Signal(arrival)) => next.signal(arrival.signal, &self.0),
            Step::Event(event) => next.take(event, &self.0),
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("every invariant holds", |_, world: &World| world.broken.is_none()),
            Property::always("a stop that is under way has a deadline", |_, world: &World| {
                !world.seen.stop_was_asked_for() || world.seen.has_left() || world.life.deadline().is_some()
            }),
            Property::always("a tick before the deadline changes nothing", |_, world: &World| {
                let mut life = world.life.clone();
                life.on(Event::Tick, world.now).is_empty() && life == world.life
            }),
            Property::sometimes("a stop ends with the app's own status", |_, world: &World| {
                world.seen.stop_was_asked_for() && world.seen.has_left() && world.app == App::Gone
            }),
        ]
    }
}

/// A short stop with all there can be in it.
fn full() -> Plan {
    let seconds = Duration::from_secs;
    Plan {
        grace: seconds(20),
        kill_margin: seconds(1),
        pre_stop: seconds(3),
        drain: Some(seconds(5)),
        leftovers: seconds(2),
        stop_hooks: Some(seconds(4)),
        exit_hooks: Some(seconds(4)),
        schedule: Schedule::AsAsked,
        rewrites: Rewrites::default(),
        stop_on: SignalSet::default().with(Signal::TERM),
        stop_once: false,
        awaits_ready: true,
    }
}

fn explore(plan: Plan) {
    let checker = Lives(plan).checker().spawn_bfs().join();
    if let Some(path) = checker.discovery("every invariant holds") {
        let (last, _) = path.clone().into_vec().pop().expect("a path has an end");
        panic!("{:?}: {path:?}", last.broken);
    }
    checker.assert_properties();
    assert!(checker.unique_state_count() > 1000, "only {} states", checker.unique_state_count());
}

#[test]
fn every_life_with_hooks_checks_and_a_drain() {
    explore(full());
}

#[test]
fn every_life_that_goes_straight_to_the_stop() {
    let none = Plan { drain: None, stop_hooks: None, exit_hooks: None, awaits_ready: false, ..full() };
    explore(Plan { pre_stop: Duration::ZERO, ..none });
}

#[test]
fn every_life_with_a_schedule_of_several_signals() {
    let wait = |seconds| Wait::For(Duration::from_secs(seconds));
    let before_kill = Wait::UntilBeforeKill(Duration::from_secs(1));
    let steps = [(Signal::QUIT, wait(4)), (Signal::TERM, before_kill), (Signal::INT, before_kill)];
    let steps = steps.map(|(signal, wait)| super::super::Step { signal, wait });
    explore(Plan { schedule: Schedule::Steps(steps.to_vec()), exit_hooks: None, ..full() });
}

#[test]
fn every_life_in_which_adieu_sends_no_signal() {
    explore(Plan { schedule: Schedule::Silent, stop_once: true, stop_hooks: None, ..full() });
}

/// A grace so short that none of the usual lengths fit.
#[test]
fn every_life_with_hardly_any_grace() {
    let millis = Duration::from_millis;
    explore(Plan { grace: millis(100), kill_margin: millis(10), pre_stop: millis(33), ..full() });
}
