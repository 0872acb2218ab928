//! Everybody below adieu is accounted for: orphans are reaped, leftovers are swept, and adieu
//! neither stays behind them nor leaves them behind.

mod harness;

use std::time::{Duration, Instant};

use harness::{Init, Launch, Running};

#[test]
fn the_end_comes_at_once_when_nothing_is_left() {
    for launch in both() {
        let mut run = launch.options("--leftovers 10m --grace 30m").start();
        run.expect("ready");
        run.say("exit 3");
        run.expect_exit(3);
    }
}

#[test]
fn the_end_of_a_stop_comes_at_once_when_nothing_is_left() {
    for launch in both() {
        let mut run = launch.options("--pre-stop 0 --grace 30m --leftovers 10m").start();
        run.expect("ready");
        run.term();
        run.expect_signal("TERM");
        run.say("exit 3");
        run.expect_exit(3);
    }
}

/// As PID 1 where that is possible, and as an ordinary process.
fn both() -> Vec<Launch> {
    let mut launches = vec![Launch::ordinary(Init::Adieu)];
    match harness::pid_namespaces() {
        Ok(()) => launches.push(Launch::pid1(Init::Adieu)),
        Err(reason) => harness::left_out(&reason),
    }
    launches
}

/// The app with one orphan of its own called `left`.
fn with_orphan(launch: Launch, options: &str) -> Running {
    let mut run = launch.start();
    run.expect("ready");
    run.say(&format!("orphan --name left --deaf {options}"));
    let mut lines = [run.line(), run.line()];
    lines.sort();
    assert_eq!(lines[1], "left: ready");
    run
}

#[test]
fn an_ordinary_process_becomes_the_reaper_by_itself() {
    let mut run = Launch::ordinary(Init::Adieu).start();
    run.expect("ready");
    run.order("storm 500");
    harness::until("all orphans are reaped", || harness::children(run.pid).len() == 1);
    run.say("orphan --name left --deaf");
    harness::until("the orphan is adieu's", || harness::children(run.pid).len() == 2);
}

#[test]
fn the_app_may_end_in_the_middle_of_a_storm() {
    for launch in both() {
        let mut run = launch.start();
        run.expect("ready");
        run.order("background-storm 20000");
        run.say("exit 42");
        run.expect_exit(42);
    }
}

#[test]
fn processes_that_fork_without_pause_delay_neither_stop_nor_end() {
    for launch in both() {
        let mut run = launch.options("--pre-stop 0 --grace 50s").start();
        run.expect("ready");
        run.order("fork-storm 40");
        for round in 1..=5 {
            run.signal(libc::SIGUSR1);
            assert!(run.expect_signal("USR1").starts_with(&format!("{round} ")));
        }
        run.term();
        run.expect_signal("TERM");
        run.expect_signal("CONT");
        run.say("exit 42");
        run.expect_exit(42);
    }
}

#[test]
fn an_app_that_ends_by_itself_ends_processes_that_fork_without_pause() {
    for launch in both() {
        let mut run = launch.start();
        run.expect("ready");
        run.order("fork-storm 40");
        run.say("exit 42");
        run.expect_exit(42);
    }
}

#[test]
fn leftovers_are_asked_woken_and_given_time_before_they_are_killed() {
    for (launch, options) in
        both().into_iter().zip(["", "--setsid"]).chain(both().into_iter().zip(["--setsid", ""]))
    {
        let mut run = with_orphan(launch.options("--leftovers 1s"), options);
        let ended = Instant::now();
        run.say("exit 5");
        let line = run.line();
        assert!(line.starts_with("left: got TERM 1 "), "{line}");
        let line = run.line();
        assert!(line.starts_with("left: got CONT 1 "), "{line}");
        run.expect_exit(5);
        assert!(ended.elapsed() >= Duration::from_secs(1), "killed after {:?}", ended.elapsed());
        assert_eq!(run.rest(), Vec::<String>::new(), "nobody is left to write to stdout");
    }
}

#[test]
fn a_leftover_that_ends_when_asked_holds_nobody_up() {
    for launch in both() {
        let mut run = with_orphan(launch.options("--leftovers 10m --grace 30m"), "--exit-on TERM");
        run.say("exit 5");
        let line = run.line();
        assert!(line.starts_with("left: got TERM 1 "), "{line}");
        run.expect_exit(5);
    }
}

#[test]
fn leftovers_that_stand_still_are_woken() {
    for launch in both() {
        let mut run = launch.options("--leftovers 10m --grace 30m").start();
        run.expect("ready");
        run.say("orphan --name left --deaf --exit-on TERM --first stop-self");
        let mut lines = [run.line(), run.line()];
        lines.sort();
        assert_eq!(lines[1], "left: ready");
        let stands = |&pid: &i32| harness::stat(pid, 0).as_deref() == Some("T");
        harness::until("the leftover stands still", || harness::children(run.pid).iter().any(stands));
        run.say("exit 5");
        run.expect("left: done stop-self");
        run.expect_exit(5);
    }
}

#[test]
fn after_a_stop_leftovers_have_the_rest_of_the_grace() {
    for launch in both() {
        let options = "--pre-stop 0 --grace 3s --kill-margin 500ms --leftovers 10ms";
        let mut run = with_orphan(launch.options(options), "");
        let asked = Instant::now();
        run.term();
        run.expect_signal("TERM");
        run.expect_signal("CONT");
        run.say("exit 0");
        run.find("left: got TERM 1 ");
        run.expect_exit(0);
        assert!(asked.elapsed() >= Duration::from_millis(2500), "killed after {:?}", asked.elapsed());
    }
}

/// A descriptor that someone else holds open is no reason to stay.
#[test]
fn a_stdout_held_by_others_does_not_hold_adieu() {
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    for launch in both() {
        let held = writer.try_clone().expect("a descriptor");
        let (end, _, _) = launch.stdout(held).command(["/bin/sh", "-c", "exit 9"]).run();
        assert_eq!(end, harness::End::Exited(9));
    }
    drop(reader);
}

#[test]
fn without_adieu_the_app_does_not_run_on() {
    let mut run = Launch::ordinary(Init::Adieu).start();
    run.expect("ready");
    run.signal(libc::SIGKILL);
    assert_eq!(run.rest(), Vec::<String>::new(), "the app is gone");
}

#[test]
fn the_orphans_signal_can_be_chosen() {
    let mut run = Launch::ordinary(Init::Adieu).options("--orphan-signal HUP").start();
    run.expect("ready");
    run.signal(libc::SIGKILL);
    run.expect_signal("HUP");
    run.say("exit 0");
    run.rest();
    let mut run = Launch::ordinary(Init::Adieu).options("--orphan-signal none").start();
    run.expect("ready");
    run.signal(libc::SIGKILL);
    run.end();
    assert_eq!(run.ask("ping"), "pong");
    run.say("exit 0");
    run.rest();
}

/// As PID 1 the kernel itself ends all others.
#[test]
fn without_pid_1_nothing_runs_on() {
    require!(harness::pid_namespaces());
    let mut run = with_orphan(Launch::pid1(Init::Adieu), "--setsid");
    run.signal(libc::SIGKILL);
    run.expect_end(harness::End::Signalled(libc::SIGKILL));
    assert_eq!(run.rest(), Vec::<String>::new());
}

/// An ordinary adieu has a parent and neighbours whom it must never touch.
#[test]
fn an_ordinary_process_sweeps_only_its_own() {
    let mut neighbour = Launch::program(&harness::probe()).start();
    neighbour.expect("ready");
    let mut run = with_orphan(Launch::ordinary(Init::Adieu).options("--leftovers 100ms"), "");
    run.say("exit 0");
    run.expect_exit(0);
    assert_eq!(neighbour.ask("ping"), "pong");
}

#[test]
fn the_reaper_warns_when_told_to() {
    let mut run = Launch::ordinary(Init::Adieu).options("-w").start();
    run.expect("ready");
    run.order("storm 1");
    run.log("reaped");
}
