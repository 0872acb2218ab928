//! On a real terminal: who is in the foreground, and what its keys do.

use std::path::Path;

use crate::harness::{self, Init, Launch, Running};

const CTRL_C: &str = "\x03";
const CTRL_Z: &str = "\x1a";
const CTRL_BACKSLASH: &str = "\x1c";
const PROMPT: &str = "prompt> ";

/// As in a container with a terminal: the init leads the session.
fn container(init: Init, args: &str) -> Running {
    let mut run = Launch::pid1(init).on_terminal().args(args).start();
    run.expect("ready");
    run
}

pub fn foreground(init: Init) {
    let mut run = container(init, "");
    run.expect_answer("terminal", "foreground true size 80x24");
    let pids = run.ask("pids");
    let words: Vec<&str> = pids.split_whitespace().collect();
    assert_eq!(words[1], words[5], "a process group of its own: {pids}");
}

pub fn one_ctrl_c(init: Init) {
    let mut run = container(init, "");
    for round in 1..=3 {
        run.type_in(CTRL_C);
        assert!(run.expect_signal("INT").starts_with(&format!("{round} ")));
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1"); // a second INT would have come before it
    }
    run.type_in(CTRL_BACKSLASH);
    run.expect_signal("QUIT");
}

pub fn resize(init: Init) {
    let mut run = container(init, "");
    run.resize(132, 43);
    run.expect_signal("WINCH");
    run.expect_answer("terminal", "foreground true size 132x43");
}

pub fn hangup(init: Init) {
    let mut run = container(init, "--legacy");
    run.hang_up();
    run.expect_exit(128 + libc::SIGHUP);
}

/// Below an interactive bash, as people use one.
pub fn ctrl_z_and_fg(init: Init) {
    if let Err(reason) = harness::program("bash") {
        return crate::cannot_run(&reason);
    }
    let options = match init {
        Init::Given(given) => given.options.join(" "),
        Init::Adieu | Init::Tini => "--".to_string(),
    };
    let mut run = Launch::program(Path::new("/bin/bash"))
        .command(["--norc", "--noprofile", "-i"])
        .env("PS1", PROMPT)
        .env("TERM", "dumb")
        .env("HISTFILE", "/dev/null")
        .env("INIT", init.path())
        .env("PROBE", harness::probe())
        .on_terminal()
        .start();
    run.see(PROMPT);
    run.type_in(&format!("$INIT {options} $PROBE\n"));
    run.see("ready");
    run.type_in("default TSTP\n");
    run.see("done default TSTP");
    for _ in 0..2 {
        run.type_in(CTRL_Z);
        run.see("Stopped");
        run.see(PROMPT);
        run.type_in("echo shell has the terminal $((40 + 2))\n");
        run.see("terminal 42");
        run.type_in("fg\n");
        run.see("$PROBE"); // the shell says what it resumes
        run.type_in("ping\n");
        run.see("pong");
        run.type_in("terminal\n");
        run.see("foreground true");
    }
}
