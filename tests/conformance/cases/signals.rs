//! What is sent to the init reaches the app.

use crate::harness::{Init, Launch, Running};

const FAULTS: [(i32, &str); 7] = [
    (libc::SIGILL, "ILL"),
    (libc::SIGTRAP, "TRAP"),
    (libc::SIGABRT, "ABRT"),
    (libc::SIGBUS, "BUS"),
    (libc::SIGFPE, "FPE"),
    (libc::SIGSEGV, "SEGV"),
    (libc::SIGSYS, "SYS"),
];

const JOB_CONTROL: [(i32, &str); 3] =
    [(libc::SIGTSTP, "TSTP"), (libc::SIGTTIN, "TTIN"), (libc::SIGTTOU, "TTOU")];

const ORDINARY: [(i32, &str); 18] = [
    (libc::SIGHUP, "HUP"),
    (libc::SIGINT, "INT"),
    (libc::SIGQUIT, "QUIT"),
    (libc::SIGUSR1, "USR1"),
    (libc::SIGUSR2, "USR2"),
    (libc::SIGPIPE, "PIPE"),
    (libc::SIGALRM, "ALRM"),
    (libc::SIGSTKFLT, "STKFLT"),
    (libc::SIGCONT, "CONT"),
    (libc::SIGURG, "URG"),
    (libc::SIGXCPU, "XCPU"),
    (libc::SIGXFSZ, "XFSZ"),
    (libc::SIGVTALRM, "VTALRM"),
    (libc::SIGPROF, "PROF"),
    (libc::SIGWINCH, "WINCH"),
    (libc::SIGIO, "IO"),
    (libc::SIGPWR, "PWR"),
    (libc::SIGTERM, "TERM"), // asks for a stop, so it comes last
];

/// How many real-time signals come at once.
const QUEUE: i32 = 200;

fn started(launch: Launch) -> Running {
    let mut run = launch.start();
    run.expect("ready");
    run
}

/// Each once, and not twice.
fn forwards(run: &mut Running, signals: &[(i32, &str)]) {
    for (signal, name) in signals {
        run.signal(*signal);
        let rest = run.expect_signal(name);
        assert!(rest.starts_with("1 "), "once, not twice: {name} {rest}");
    }
}

fn forwards_numbers(run: &mut Running, signals: impl Iterator<Item = i32>) {
    for signal in signals {
        forwards(run, &[(signal, &signal.to_string())]);
    }
}

pub fn ordinary_signals(init: Init) {
    forwards(&mut started(Launch::pid1(init)), &ORDINARY);
}

pub fn as_an_ordinary_process(init: Init) {
    forwards(&mut started(Launch::ordinary(init)), &ORDINARY);
}

pub fn signals_of_faults(init: Init) {
    forwards(&mut started(Launch::pid1(init)), &FAULTS);
}

pub fn job_control_signals(init: Init) {
    let mut run = started(Launch::pid1(init));
    forwards(&mut run, &JOB_CONTROL);
    assert_eq!(run.ask("ping"), "pong", "and nobody stands still");
}

pub fn real_time_signals(init: Init) {
    forwards_numbers(&mut started(Launch::pid1(init)), 34..=64);
}

pub fn signals_32_and_33(init: Init) {
    forwards_numbers(&mut started(Launch::pid1(init)), 32..=33);
}

pub fn a_queue_keeps_its_count(init: Init) {
    let mut run = started(Launch::pid1(init));
    (0..QUEUE).for_each(|value| run.queue(40, value));
    for count in 1..=QUEUE {
        assert!(run.expect_signal("40").starts_with(&format!("{count} ")));
    }
    forwards(&mut run, &[(libc::SIGUSR1, "USR1")]);
}

pub fn a_queue_keeps_values_and_order(init: Init) {
    let mut run = started(Launch::pid1(init));
    (0..QUEUE).for_each(|value| run.queue(40, value - 5));
    for value in 0..QUEUE {
        let rest = run.expect_signal("40");
        let wanted = format!("{} code=-1 value={} ", value + 1, value - 5);
        assert!(rest.starts_with(&wanted), "wanted {wanted}, got {rest}");
    }
}

pub fn stray_chlds(init: Init) {
    let mut run = started(Launch::pid1(init));
    for _ in 0..300 {
        run.signal(libc::SIGCHLD);
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
    }
    run.say("exit 9");
    run.expect_exit(9);
}

pub fn the_app_alone(init: Init) {
    let mut run = started(Launch::pid1(init));
    run.say("spawn --name child --deaf --first pids");
    let mut lines = [run.line(), run.line(), run.line()];
    lines.sort();
    assert_eq!(lines[1], "child: ready");
    let child = lines[0].split_whitespace().nth(2).expect("child: pid PID").to_string();
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    // Had the child got it too, it would have said so before it says this.
    run.say(&format!("kill {child} USR2"));
    let line = std::iter::from_fn(|| Some(run.line())).find(|line| line.starts_with("child: "));
    assert!(line.is_some_and(|line| line.starts_with("child: got USR2 1 ")));
}

/// TERM has been sent before the init's program even begins; the kernel keeps it, since it is
/// blocked.
pub fn before_the_first_instruction(init: Init) {
    let launch = Launch::pid1(init).blocking(1 << (libc::SIGTERM - 1)).before_exec(|| {
        // SAFETY: touches no memory.
        unsafe { libc::kill(libc::getpid(), libc::SIGTERM) };
        Ok(())
    });
    started(launch).expect_signal("TERM");
}

pub fn while_others_fork(init: Init) {
    let mut run = started(Launch::pid1(init));
    run.order("fork-storm 40");
    for round in 1..=5 {
        run.signal(libc::SIGUSR1);
        assert!(run.expect_signal("USR1").starts_with(&format!("{round} ")));
    }
    run.term();
    run.expect_signal("TERM");
}
