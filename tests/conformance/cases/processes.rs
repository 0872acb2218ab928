//! Whoever else runs below the init is accounted for.

use crate::harness::{self, Init, Launch, Running};

fn started(launch: Launch) -> Running {
    let mut run = launch.start();
    run.expect("ready");
    run
}

pub fn orphans(init: Init) {
    reaps(started(Launch::pid1(init)));
}

pub fn orphans_of_an_ordinary_process(init: Init) {
    let mut run = started(Launch::ordinary(init));
    run.say("orphan --name left --deaf");
    // Before anything is reaped: the orphan becomes the init's child at all.
    harness::until("the orphan is the init's", || harness::children(run.pid).len() == 2);
    let mut lines = [run.line(), run.line()];
    lines.sort();
    assert_eq!(lines[1], "left: ready");
    run.order("storm 500");
    harness::until("all other orphans are reaped", || harness::children(run.pid).len() == 2);
}

fn reaps(mut run: Running) {
    run.order("storm 500");
    harness::until("all orphans are reaped", || harness::children(run.pid).len() == 1);
    assert_eq!(run.ask("ping"), "pong");
}

pub fn a_storm_of_orphans(init: Init) {
    let orphans = if harness::full() { 200_000 } else { 20_000 };
    let mut run = started(Launch::pid1(init));
    run.say(&format!("storm {orphans}"));
    run.signal(libc::SIGUSR1);
    let mut lines = [run.line(), run.line()];
    lines.sort();
    assert_eq!(lines[0], format!("done storm {orphans}"));
    assert!(lines[1].starts_with("got USR1 1 "), "{lines:?}");
    run.say("exit 42");
    run.expect_exit(42);
}

pub fn ends_with_the_app(init: Init) {
    let mut run = started(Launch::pid1(init));
    run.say("exit 3");
    run.expect_exit(3);
}

pub fn leftovers_get_term(init: Init) {
    leaves(init, "");
}

pub fn leftovers_elsewhere_get_term(init: Init) {
    leaves(init, "--setsid ");
}

fn leaves(init: Init, session: &str) {
    let mut run = started(Launch::pid1(init));
    run.say(&format!("orphan --name left --deaf {session}--exit-on TERM"));
    let mut lines = [run.line(), run.line()];
    lines.sort();
    assert_eq!(lines[1], "left: ready");
    run.say("exit 5");
    assert!(run.line().starts_with("left: got TERM 1 "));
    run.expect_exit(5);
}

/// What it does on TERM takes it half a second.
pub fn leftovers_get_time(init: Init) {
    let left = r#"trap 'sleep 0.5; echo finished; exit' TERM; echo ready; while :; do sleep 0.01; done"#;
    let script = format!("({left}) & read line; exit 5");
    let mut run = Launch::pid1(init).command(["/bin/sh", "-c", &script]).start();
    run.expect("ready");
    run.say("go");
    run.expect("finished");
    run.expect_exit(5);
}

pub fn the_app_ends_with_a_killed_init(init: Init) {
    let run = started(Launch::ordinary(init));
    let app = run.app();
    run.signal(libc::SIGKILL);
    harness::until("the app is gone", || harness::stat(app, 0).is_none_or(|state| state == "Z"));
}
