//! On a real terminal: who is in the foreground, what Ctrl-C and Ctrl-Z do, and that a shell's job
//! control works.

mod harness;

use std::path::Path;

use harness::{Init, Launch, Running, Scratch};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";

/// As in a container with a terminal: adieu leads the session.
fn container(init: Init, args: &str) -> Running {
    let launch = Launch::pid1(init).on_terminal().args(args);
    let mut run =
        if init == Init::Adieu { launch.options("--pre-stop 0 --grace 50s") } else { launch }.start();
    run.expect("ready");
    run
}

#[test]
fn pid_1_with_nobody_to_resume_it_survives_ctrl_z() {
    require!(harness::pid_namespaces());
    let mut run = container(Init::Adieu, "");
    run.order("default TSTP");
    run.type_in(CTRL_Z);
    run.say("ping");
    run.find("pong"); // though nobody could have typed fg
    run.term();
    run.find("got TERM 1 ");
    run.say("exit 4");
    run.expect_exit(4);
}

const PROMPT: &str = "prompt> ";

/// An interactive shell with job control, as people use one.
fn shell() -> Running {
    let mut run = Launch::program(Path::new("/bin/bash"))
        .command(["--norc", "--noprofile", "-i"])
        .env("PS1", PROMPT)
        .env("TERM", "dumb")
        .env("HISTFILE", "/dev/null")
        .env("ADIEU", Init::Adieu.path())
        .env("PROBE", harness::probe())
        .on_terminal()
        .start();
    run.see(PROMPT);
    run
}

fn type_line(run: &mut Running, line: &str) {
    run.type_in(&format!("{line}\n"));
}

/// adieu's pid, below the shell.
fn adieu_below(run: &Running) -> i32 {
    let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let mut found = None;
    harness::until("adieu runs below the shell", || {
        found = harness::children(run.pid).into_iter().find(|&pid| name(pid).trim() == "adieu");
        found.is_some()
    });
    found.expect("until has seen it")
}

fn signal(pid: i32, signal: i32) {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[test]
fn a_shell_job_gets_one_int_for_one_ctrl_c() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU -- $PROBE --first terminal");
    run.see("ready");
    run.see("foreground true");
    let adieu = adieu_below(&run);
    run.type_in(CTRL_C);
    run.see("got INT 1 ");
    signal(adieu, libc::SIGUSR1);
    let between = run.see("got USR1 1 ");
    assert!(!between.contains("got INT"), "{between}");
    type_line(&mut run, "exit 5");
    run.see(PROMPT);
    type_line(&mut run, "echo status=$?");
    run.see("status=5");
}

#[test]
fn ctrl_z_suspends_and_fg_resumes() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU -- $PROBE");
    run.see("ready");
    type_line(&mut run, "default TSTP");
    run.see("done default TSTP");
    for _ in 0..2 {
        let adieu = adieu_below(&run);
        run.type_in(CTRL_Z);
        run.see("Stopped");
        run.see(PROMPT);
        assert_eq!(harness::stat(adieu, 0).as_deref(), Some("T"), "adieu is suspended too");
        type_line(&mut run, "echo shell has the terminal $((40 + 2))");
        run.see("terminal 42");
        type_line(&mut run, "fg");
        run.see("$PROBE"); // the shell says what it resumes
        type_line(&mut run, "ping");
        run.see("pong");
        type_line(&mut run, "terminal");
        run.see("foreground true");
    }
    run.type_in(CTRL_C);
    run.see("got INT 1 ");
    type_line(&mut run, "exit 6");
    run.see(PROMPT);
    type_line(&mut run, "echo status=$?");
    run.see("status=6");
}

#[test]
fn bg_resumes_without_the_terminal() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU -- $PROBE --deaf --first 'default TSTP'");
    run.see("done default TSTP");
    let adieu = adieu_below(&run);
    run.type_in(CTRL_Z);
    run.see("Stopped");
    run.see(PROMPT);
    type_line(&mut run, "bg");
    signal(adieu, libc::SIGUSR1);
    run.see("got USR1 1 ");
    type_line(&mut run, "echo shell has the terminal $((40 + 2))");
    run.see("terminal 42");
    signal(adieu, libc::SIGKILL);
}

#[test]
fn a_start_in_the_background_steals_no_terminal() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU -- $PROBE --deaf --first terminal &");
    run.see("foreground false");
    type_line(&mut run, "echo shell has the terminal $((40 + 2))");
    run.see("terminal 42");
    let adieu = adieu_below(&run);
    type_line(&mut run, "fg");
    harness::until("the shell has handed over the terminal", || shell_is_behind(&run));
    run.type_in(CTRL_C);
    run.see("got INT 1 ");
    signal(adieu, libc::SIGUSR1);
    let between = run.see("got USR1 1 ");
    assert!(!between.contains("got INT"), "{between}");
    signal(adieu, libc::SIGKILL);
}

/// A shell does not tell a job that is running when it brings it to the front.
#[test]
fn a_start_in_the_background_can_read_in_the_foreground() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU -- $PROBE --hear-after USR2 --first 'default TTIN' &");
    run.see("done default TTIN");
    let adieu = adieu_below(&run);
    type_line(&mut run, "fg");
    harness::until("the shell has handed over the terminal", || shell_is_behind(&run));
    signal(adieu, libc::SIGUSR2);
    type_line(&mut run, "ping");
    run.see("pong");
    type_line(&mut run, "exit 0");
    run.see(PROMPT);
}

/// Whether another process group than the shell's is in the foreground of its terminal.
fn shell_is_behind(run: &Running) -> bool {
    let [group, foreground] = [2, 5].map(|field| harness::stat(run.pid, field).expect("the shell lives"));
    group != foreground
}

#[test]
fn a_stdin_that_is_no_terminal_does_not_matter() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU -- $PROBE --deaf --first terminal < /dev/null");
    run.see("foreground true");
    let adieu = adieu_below(&run);
    run.type_in(CTRL_C);
    run.see("got INT 1 ");
    signal(adieu, libc::SIGUSR1);
    let between = run.see("got USR1 1 ");
    assert!(!between.contains("got INT"), "{between}");
    signal(adieu, libc::SIGKILL);
}

/// A shell without job control goes on in the process group that adieu was in, so adieu hands the
/// terminal back.
#[test]
fn the_terminal_is_given_back_at_the_end() {
    let script = "$ADIEU -- $PROBE; echo status=$?; read line; echo heard $line";
    let mut run = Launch::program(Path::new("/bin/sh"))
        .command(["-c", script])
        .env("ADIEU", Init::Adieu.path())
        .env("PROBE", harness::probe())
        .on_terminal()
        .start();
    run.expect("ready");
    run.expect_answer("terminal", "foreground true size 80x24");
    run.say("exit 3");
    run.expect("status=3");
    run.say("you");
    run.expect("heard you");
    run.expect_exit(0);
}

#[test]
fn a_hangup_of_the_shells_terminal_ends_the_job() {
    require!(harness::program("bash"));
    let mut run = shell();
    type_line(&mut run, "$ADIEU --pre-stop 0 -- $PROBE --legacy");
    run.see("ready");
    let adieu = adieu_below(&run);
    run.hang_up();
    harness::until("adieu is gone", || harness::stat(adieu, 0).is_none_or(|state| state == "Z"));
}

/// Apache stops gracefully by WINCH, which a terminal also sends when its window changes.
#[test]
fn a_resize_does_not_stop_an_app_that_winch_would_stop() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    std::os::unix::fs::symlink(harness::probe(), scratch.path("httpd")).expect("a new name");
    let mut run = Launch::pid1(Init::Adieu)
        .options("--pre-stop 0 --grace 50s")
        .command([scratch.path("httpd")])
        .on_terminal()
        .start();
    run.expect("ready");
    run.resize(132, 43);
    run.signal(40); // comes after every WINCH that waits, by its number
    run.expect_signal("40");
    run.type_in(CTRL_C);
    run.expect_signal("INT");
    run.signal(40);
    run.expect_signal("40");
    run.signal(libc::SIGWINCH); // from a process it asks for a stop
    let (mut winch, mut cont) = (false, false);
    while !(winch && cont) {
        let line = run.line();
        winch |= line.starts_with("got WINCH 1 ");
        cont |= line.starts_with("got CONT 1 ");
    }
}

#[test]
fn job_control_signals_from_a_process_are_the_apps() {
    require!(harness::pid_namespaces());
    let mut run = container(Init::Adieu, "");
    for (number, name) in [(libc::SIGTSTP, "TSTP"), (libc::SIGTTIN, "TTIN"), (libc::SIGTTOU, "TTOU")] {
        run.signal(number);
        run.expect_signal(name);
    }
    assert_eq!(run.ask("ping"), "pong");
}
