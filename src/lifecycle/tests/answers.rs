//! What the lifecycle answers when it is asked, and small steps that no whole life shows.

use super::*;

#[test]
fn it_says_whether_it_is_ready_and_who_asked_for_the_stop_and_when() {
    let mut life = Lifecycle::new(usual());
    assert_eq!((life.is_ready(), life.stop_asked_at(), life.stop_asked_by()), (false, None, None));
    life.on(Event::Started, Moment::START);
    assert_eq!((life.is_ready(), life.stop_asked_at(), life.stop_asked_by()), (true, None, None));
    life.on(by(Signal::TERM), seconds(7.0));
    let asked = (life.is_ready(), life.stop_asked_at(), life.stop_asked_by());
    assert_eq!(asked, (false, Some(seconds(7.0)), Some(Signal::TERM)));
    assert_eq!(life.grace_over(), Some(seconds(37.0)));
}

#[test]
fn checks_that_do_not_pass_start_nothing() {
    let mut life = Lifecycle::new(Plan { awaits_ready: true, ..usual() });
    life.on(Event::Started, Moment::START);
    assert!(life.on(Event::Ready(false), seconds(1.0)).is_empty());
    assert_eq!((life.phase(), life.is_ready()), (Phase::Starting, false));
    life.on(Event::Ready(true), seconds(2.0));
    assert_eq!((life.phase(), life.is_ready()), (Phase::Running, true));
}

#[test]
fn only_int_and_quit_hurry() {
    for (signal, phase) in
        [(Signal::USR1, Phase::PreStop), (Signal::INT, Phase::Stopping), (Signal::QUIT, Phase::Stopping)]
    {
        let mut life = Lifecycle::new(usual());
        life.on(Event::Started, Moment::START);
        life.on(by(Signal::TERM), Moment::START);
        let actions = life.on(by(signal), seconds(1.0));
        assert_eq!(life.phase(), phase, "{signal}");
        let forwards =
            actions.iter().any(|action| matches!(action, Action::Forward(_, sent) if *sent == signal));
        assert_eq!(forwards, phase == Phase::PreStop, "{signal}: {actions:?}");
    }
}

#[test]
fn what_is_left_is_killed_again_after_a_while_and_not_at_once() {
    let mut life = Lifecycle::new(usual());
    life.on(Event::Started, Moment::START);
    life.on(by(Signal::TERM), Moment::START);
    while life.phase() != Phase::Killing {
        let due = life.deadline().expect("a stop has deadlines");
        let actions = life.on(Event::Tick, due);
        assert!(!actions.contains(&Action::KillAgain), "{actions:?}");
    }
    assert_eq!(life.deadline(), Some(seconds(29.05)));
    assert_eq!(life.on(Event::Tick, seconds(29.05)), [Action::KillAgain]);
    assert_eq!(life.deadline(), Some(seconds(29.1)));
}

#[test]
fn leftovers_of_an_app_whose_end_was_heard_of_late_have_a_moment_all_the_same() {
    for (kill_margin, moment) in [(1.0, 0.2), (0.1, 0.05)] {
        let mut life = Lifecycle::new(Plan { kill_margin: length(kill_margin), ..usual() });
        life.on(Event::Started, Moment::START);
        life.on(by(Signal::TERM), Moment::START);
        let actions = life.on(GONE, seconds(31.0));
        assert!(!actions.contains(&Action::KillLeftovers), "{actions:?}");
        assert_eq!(life.deadline(), Some(seconds(31.0) + length(moment)));
    }
}
