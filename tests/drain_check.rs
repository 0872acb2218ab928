//! `--drain-check`: an app that says by itself when it is idle, such as a queue worker, is stopped then and not before.

mod harness;

use harness::{Init, Launch, Running, Scratch, until};

fn adieu(options: &str, check: &str) -> Running {
    let launch = Launch::pid1(Init::Adieu).options(options).option("--drain-check").option(check);
    let mut run = launch.start();
    run.expect("ready");
    run
}

#[test]
fn the_app_is_stopped_when_it_says_that_it_is_idle() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let (idle, asked) = (scratch.path("idle"), scratch.path("asked"));
    let check = format!("exec:sh -c 'echo >> {}; test -e {}'", asked.display(), idle.display());
    let mut run = adieu("--pre-stop 0 --grace 10m", &check);
    let times = || std::fs::read_to_string(&asked).unwrap_or_default().len();
    assert_eq!(times(), 0, "nobody asks before the stop");
    run.term();
    until("it was asked twice", || times() >= 2);
    run.expect_answer("ping", "pong");
    std::fs::write(&idle, "").expect("a scratch file");
    let before = times();
    run.expect_signal("TERM");
    assert!(times() >= before + 1, "idle must hold at two looks in a row");
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn an_app_that_is_never_idle_is_stopped_at_the_drain_timeout() {
    require!(harness::pid_namespaces());
    for check in ["exec:false", "exec:sleep 1000", "http://127.0.0.1:1/idle", "exec:/no/such/check"] {
        let mut run = adieu("--pre-stop 0 --grace 50s --drain-timeout 700ms", check);
        run.term();
        let stopping = run.log("stopping: ");
        assert!(stopping.contains("timeout"), "{check}: {stopping}");
        run.expect_signal("TERM");
        until("the check is gone", || harness::children(run.pid).len() == 1);
        run.say("exit 0");
        run.expect_exit(0);
    }
}

#[test]
fn a_person_in_a_hurry_does_not_wait_for_it() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 10m", "exec:false");
    run.term();
    run.log("draining");
    run.signal(libc::SIGINT);
    run.expect_signal("TERM");
    run.say("exit 0");
    run.expect_exit(0);
}
