//! Lives played through with literal times, and properties over random ones.

mod answers;
mod invariants;
mod model;

use super::*;
use crate::signal::SignalSet;
use invariants::Seen;
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
    let said =
        play(usual(), &[(1.0, by(Signal::TERM)), (8.5, Event::Drained), (9.0, GONE), (9.5, Event::NoneLeft)]);
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
    let step = |signal, wait| Step { signal: Signal::new(signal).unwrap(), wait: Wait::For(length(wait)) };
    let schedule = Schedule::Steps(vec![step(20, 15.0), step(15, 15.0), step(2, 0.0)]);
    let plan = Plan { schedule, drain: None, ..usual() };
    let said = play(plan, &[(0.0, by(Signal::TERM))]);
    assert_eq!(said[4..8], ["5.0 Stopping", "5.0 stop 20", "20.0 stop 15", "29.0 Killing"]);
}

#[test]
fn a_step_can_end_shortly_before_the_kill() {
    let step = |signal, wait| Step { signal, wait };
    let before_kill = Wait::UntilBeforeKill(length(1.0));
    let schedule = Schedule::Steps(vec![step(Signal::QUIT, before_kill), step(Signal::TERM, before_kill)]);
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
            &[(0.5, by(signal)), (1.0, by(Signal::TERM)), (2.0, by(signal)), (3.0, by(signal)), (4.0, GONE)],
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
    assert_eq!(said[6..], ["5.5 Sweeping", "5.5 sweep", "29.0 kill leftovers", "30.0 Gone", "30.0 leave 0"]);
    let said = play(usual(), &[(7.0, GONE)]);
    assert_eq!(
        said[1..],
        ["7.0 not ready", "7.0 Sweeping", "7.0 sweep", "9.0 kill leftovers", "10.0 Gone", "10.0 leave 0"]
    );
}

#[test]
fn an_app_that_ends_by_itself_ends_any_phase() {
    for at in [0.5, 2.0, 7.0, 21.0] {
        let said = play(usual(), &[(1.0, by(Signal::TERM)), (at + 1.0, GONE), (at + 1.0, Event::NoneLeft)]);
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
        &[(1.0, by(Signal::USR1)), (2.0, by(Signal::USR2)), (3.0, by(Signal::TERM)), (9.0, Event::Drained)],
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
    for at in [5.0, 20.0, 20.2, 29.0] {
        life.on(Event::Tick, seconds(at));
    }
    assert_eq!(life.deadline(), Some(seconds(29.05)));
    assert_eq!(life.on(Event::Tick, seconds(29.05)), [Action::KillAgain]);
    assert_eq!(life.deadline(), Some(seconds(29.1)));
}

/// When the first stop signal, KILL and the leave come, for somebody who sleeps until `wakes` and
/// then never again.
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

/// A stop whose only signal is sent at `signalled`, with the kill due at 29.
fn signalled_at(signalled: f64) -> Lifecycle {
    let mut life = Lifecycle::new(Plan { pre_stop: length(signalled), drain: None, ..usual() });
    life.on(Event::Started, seconds(0.0));
    life.on(by(Signal::TERM), seconds(0.0));
    let actions = life.on(Event::Tick, seconds(signalled));
    assert_eq!(
        actions,
        [Action::Enter(Phase::Stopping, Why::SleepOver), Action::Stop(Signal::TERM)],
        "at {signalled}"
    );
    life
}

const KILLS: [Action; 2] = [Action::Enter(Phase::Killing, Why::TimeUp), Action::Kill];

#[test]
fn an_app_that_stood_still_since_its_stop_signal_has_time_to_act_once() {
    let mut life = signalled_at(5.0);
    assert_eq!(life.deadline(), Some(seconds(5.2)));
    assert_eq!(life.on(Event::Tick, seconds(60.0)), [], "app and adieu were frozen");
    let mut again = life.clone();
    assert_eq!(life.deadline(), Some(seconds(60.2)));
    assert_eq!(life.on(Event::Tick, seconds(60.2)), KILLS);
    assert_eq!(again.on(Event::Tick, seconds(90.0)), KILLS, "frozen once more");
}

#[test]
fn an_app_that_had_its_time_is_killed_as_soon_as_adieu_wakes() {
    let mut life = signalled_at(5.0);
    assert_eq!(life.on(Event::Tick, seconds(5.2)), []);
    assert_eq!(life.deadline(), Some(seconds(29.0)));
    assert_eq!(life.on(Event::Tick, seconds(60.0)), KILLS);
}

#[test]
fn a_busy_machine_is_no_freeze() {
    assert_eq!(signalled_at(28.8).on(Event::Tick, seconds(29.0)), KILLS);
    assert_eq!(signalled_at(28.8).on(Event::Tick, seconds(29.1)), KILLS);
    let mut life = signalled_at(28.8);
    assert_eq!(life.on(Event::Tick, seconds(29.101)), []);
    assert_eq!(life.deadline(), Some(seconds(29.301)));
}

/// A stop whose QUIT is sent at 5, and TERM so much later.
fn quit_then_term(wait: f64) -> Lifecycle {
    let steps = [Signal::QUIT, Signal::TERM].map(|signal| Step { signal, wait: Wait::For(length(wait)) });
    let plan =
        Plan { pre_stop: length(5.0), drain: None, schedule: Schedule::Steps(steps.to_vec()), ..usual() };
    let mut life = Lifecycle::new(plan);
    life.on(Event::Started, seconds(0.0));
    life.on(by(Signal::TERM), seconds(0.0));
    life.on(Event::Tick, seconds(5.0));
    life
}

#[test]
fn a_quick_second_signal_is_no_sign_that_the_app_had_its_time() {
    let mut life = quit_then_term(0.05);
    assert_eq!(life.on(Event::Tick, seconds(5.05)), [Action::Stop(Signal::TERM)]);
    assert_eq!(life.on(Event::Tick, seconds(60.0)), [], "app and adieu were frozen");
    assert_eq!(life.on(Event::Tick, seconds(60.2)), KILLS);
}

#[test]
fn a_frozen_schedule_goes_on_before_the_kill() {
    let mut life = quit_then_term(4.0);
    assert_eq!(life.on(Event::Tick, seconds(60.0)), [Action::Stop(Signal::TERM)]);
    assert_eq!(life.on(Event::Tick, seconds(60.2)), KILLS);
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
    (times, options, schedule).prop_map(|((grace, pre_stop, drain, leftovers, hooks), options, schedule)| {
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
    })
}

proptest! {
    /// Whatever happens, in whatever order, and however late adieu is woken: phases only go
    /// forward; a stop ends by the grace, or shortly after a late wake-up; a stop signal comes well
    /// before KILL, and KILL well before the leave; nothing is sent to an app that is gone;
    /// readiness never returns; nothing is done after the end.
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
            if let Event::AppEnded(exit) = event {
                seen.app_ended(exit);
            }
            for action in life.on(event, now) {
                seen.take(action, now, &plan).map_err(TestCaseError::fail)?;
            }

            prop_assert!(life.deadline().is_none_or(|due| due > now), "a deadline that has passed stays");
            let late = Duration::from_millis(sleeps.next().unwrap_or(0));
            if let Some((wait, event)) = script.next() {
                let then = now + Duration::from_millis(wait);
                match life.deadline().filter(|due| *due < then) {
                    Some(due) => { now = due + late; next = Some(Event::Tick); }
                    None => { now = then; next = Some(event); }
                }
                if !late.is_zero() { seen.woken_late(now); }
            } else if let Some(due) = life.deadline() {
                now = due;
                next = Some(Event::Tick);
            }
        }
        prop_assert!(seen.has_left() || !seen.stop_was_asked_for(), "a stop ends");
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
