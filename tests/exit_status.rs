//! adieu's exit status is the app's, unless adieu itself failed or was told otherwise.

mod harness;

use std::path::Path;

use harness::{End, Init, Launch, Running, Scratch};

also_under_tini!(a_status_can_count_as_success);

fn a_status_can_count_as_success(init: Init) {
    for (status, seen) in [(143, 0), (7, 0), (8, 8)] {
        let mut run = Launch::pid1(init).options("-e 143 -e 7").start();
        run.expect("ready");
        run.say(&format!("exit {status}"));
        run.expect_exit(seen);
    }
}

/// A missing command in the path must not hide one that is there later, and the reverse.
#[test]
fn the_path_is_searched_as_a_shell_does() {
    let scratch = Scratch::new();
    scratch.file("true", "not executable");
    let path = format!("/nowhere:{}:/usr/bin:/bin", scratch.path("").display());
    let (end, _, err) = Launch::ordinary(Init::Adieu).env("PATH", path).command(["true"]).run();
    assert_eq!(end, End::Exited(0), "{err:?}");
    let path = scratch.path("").into_os_string();
    let (end, _, err) = Launch::ordinary(Init::Adieu).env("PATH", path).command(["true"]).run();
    assert_eq!(end, End::Exited(126), "{err:?}");
}

#[test]
fn usage_and_settings_errors_are_125() {
    let wrong = ["--no-such-option", "--grace", "--grace never", "--stop NOSUCH", "--platform moon"];
    for options in wrong.iter().chain(&["", "--", "--grace 5s", "--grace 5s --"]) {
        let (end, out, err) = Launch::program(&Init::Adieu.path()).options(options).run();
        assert_eq!((end, out), (End::Exited(125), Vec::new()), "{options}: {err:?}");
        assert_eq!(err.len(), 1, "{options}: {err:?}");
        assert!(err[0].starts_with("adieu: "), "{options}: {err:?}");
    }
}

#[test]
fn success_on_stop_counts_only_after_a_stop() {
    require!(harness::pid_namespaces());
    let start = || {
        let options = "--pre-stop 0 --grace 30s --success-on-stop 143";
        let mut run = Launch::pid1(Init::Adieu).options(options).start();
        run.expect("ready");
        run
    };
    let mut stopped = start();
    stopped.order("default TERM");
    stopped.term();
    stopped.expect_exit(0);
    let mut failed = start();
    failed.say("die TERM");
    failed.expect_exit(143);
    let mut other = start();
    other.term();
    other.expect_signal("TERM");
    other.say("exit 3");
    other.expect_exit(3);
}

/// As the main process of a service: started with its own pid in `SYSTEMD_EXEC_PID`.
fn under_systemd(options: &str) -> Running {
    let (adieu, probe) = (Init::Adieu.path(), harness::probe());
    let script = format!("SYSTEMD_EXEC_PID=$$ exec {} {options} -- {}", adieu.display(), probe.display());
    let mut run = Launch::program(Path::new("/bin/sh")).command(["-c".to_string(), script]).start();
    run.expect("ready");
    run
}

#[test]
fn under_systemd_adieu_dies_of_the_apps_signal() {
    for (name, number) in [("TERM", 15), ("KILL", 9), ("HUP", 1), ("SEGV", 11), ("USR1", 10), ("PIPE", 13)] {
        let mut run = under_systemd("");
        run.say(&format!("die {name}"));
        run.expect_end(End::Signalled(number));
    }
    let mut run = under_systemd("");
    run.say("exit 143");
    run.expect_exit(143);
}

#[test]
fn under_systemd_a_stop_ends_by_the_signal_too() {
    let mut run = under_systemd("--pre-stop 0 --grace 30s");
    run.order("default TERM");
    run.term();
    run.expect_end(End::Signalled(libc::SIGTERM));
}

#[test]
fn dying_of_the_apps_signal_can_be_chosen() {
    let mut run = under_systemd("--exit-signal never");
    run.say("die TERM");
    run.expect_exit(143);
    for (option, wanted) in
        [("always", End::Signalled(libc::SIGTERM)), ("never", End::Exited(143)), ("auto", End::Exited(143))]
    {
        let mut run = Launch::ordinary(Init::Adieu).options("--exit-signal").option(option).start();
        run.expect("ready");
        run.say("die TERM");
        run.expect_end(wanted);
    }
}

#[test]
fn a_service_of_someone_else_is_not_ours() {
    let mut run = Launch::ordinary(Init::Adieu).env("SYSTEMD_EXEC_PID", "4194305").start();
    run.expect("ready");
    run.say("die TERM");
    run.expect_exit(143);
}

/// The kernel lets no signal of its own kill PID 1.
#[test]
fn pid_1_exits_where_it_cannot_die() {
    require!(harness::pid_namespaces());
    for name in ["TERM", "KILL", "SEGV"] {
        let mut run = Launch::pid1(Init::Adieu).options("--exit-signal always").start();
        run.expect("ready");
        run.say(&format!("die {name}"));
        let number =
            [("TERM", 15), ("KILL", 9), ("SEGV", 11)].iter().find(|(n, _)| *n == name).expect("listed").1;
        run.expect_exit(128 + number);
    }
}
