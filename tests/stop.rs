//! A stop, from the request to the end: what the app notices of it, in which order, and not before
//! when.

mod harness;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use harness::{End, Init, Launch, Running, Scratch};

/// Longer than any test may take, so that what ends such a wait can only be what the test did.
const FOR_EVER: &str = "--pre-stop 10m --grace 30m";
const AT_ONCE: &str = "--pre-stop 0 --grace 50s";

/// TERM is sent the moment that adieu can hold it, which is long before the app has begun.
#[test]
fn a_stop_in_the_first_millisecond_counts() {
    require!(harness::pid_namespaces());
    for _ in 0..20 {
        let mut run = Launch::pid1(Init::Adieu).options(AT_ONCE).args("--legacy --deaf").start();
        harness::until("adieu holds TERM", || run.has_ended() || holds_term(run.pid));
        run.term();
        run.expect_exit(128 + libc::SIGTERM);
    }
}

/// By its mask, or as one that waits for signals, which the kernel shows as if none were blocked.
fn holds_term(pid: i32) -> bool {
    let call = std::fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    if call.split(' ').next() == Some(&libc::SYS_rt_sigtimedwait.to_string()) {
        return true;
    }
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap_or("0").trim();
    u64::from_str_radix(blocked, 16).unwrap_or(0) & 1 << (libc::SIGTERM - 1) != 0
}

/// Where both share a processor, the app runs only when adieu sleeps: that comes first, and the
/// lines about it come later, in their order.
#[test]
fn adieu_sleeps_between_a_signal_and_the_lines_about_it() {
    require!(harness::program("strace"));
    let scratch = Scratch::new();
    let calls = scratch.path("calls");
    let mut run = Launch::program(Path::new("/usr/bin/strace"))
        .options("-D -q -s 300 -e trace=kill,rt_sigtimedwait,ppoll,write,pwritev2 -o")
        .option(&calls)
        .option(Init::Adieu.path())
        .options("--pre-stop 0 --grace 50s --drain off --")
        .command([harness::probe()])
        .start();
    run.expect("ready");
    run.term();
    run.expect_signal("TERM");
    run.log("stopping: the pre-stop sleep is over");
    run.say("exit 3");
    run.expect_exit(3);
    let written = || std::fs::read_to_string(&calls).unwrap_or_default();
    harness::until("strace has written the last line", || written().contains("stopped by TERM"));
    let calls = written();
    let all: Vec<&str> = calls.lines().collect();
    let place = |after: usize, part: &str| {
        let found = all.iter().skip(after).position(|call| call.contains(part));
        after + found.unwrap_or_else(|| panic!("no {part} behind line {after} of\n{calls}"))
    };
    let sent = place(0, "SIGCONT)");
    let slept = all.iter().skip(sent + 1).position(|call| !call.starts_with("kill("));
    let slept = sent + 1 + slept.expect("more calls");
    assert!(all[slept].starts_with("rt_sigtimedwait") || all[slept].starts_with("ppoll"), "{calls}");
    let requested = place(slept, "stop requested by TERM");
    place(requested, "stopping: the pre-stop sleep is over");
}

fn adieu(options: &str) -> Running {
    let mut run = Launch::pid1(Init::Adieu).options(options).start();
    run.expect("ready");
    run
}

/// The signal, and the CONT that comes with it so that an app that stands still can act. Which of
/// the two the probe reads first is the kernel's choice: the lower number, if both are there.
fn expect_stop(run: &mut Running, name: &str) {
    let mut both = [run.line(), run.line()];
    both.sort_by_key(|line| line.starts_with("got CONT "));
    let [signal, cont] = &both;
    if !signal.starts_with(&format!("got {name} ")) || !cont.starts_with("got CONT ") {
        run.fail(&format!("expected {name} and CONT, got {both:?}"));
    }
}

/// CONT and TSTP take back each other in the kernel, so CONT goes first and may not be seen.
fn expect_tstp(run: &mut Running) {
    run.find("got TSTP 1 ");
}

#[test]
fn the_app_is_stopped_by_what_asked_for_the_stop() {
    require!(harness::pid_namespaces());
    let mut run = adieu(AT_ONCE);
    run.term();
    expect_stop(&mut run, "TERM");
    run.say("exit 3");
    run.expect_exit(3);
}

#[test]
fn an_ordinary_process_stops_its_app() {
    let mut run = Launch::ordinary(Init::Adieu).options(AT_ONCE).start();
    run.expect("ready");
    run.term();
    expect_stop(&mut run, "TERM");
    run.say("exit 3");
    run.expect_exit(3);
}

#[test]
fn the_app_serves_on_until_the_pre_stop_sleep_is_over() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 1s --grace 50s");
    let asked = Instant::now();
    run.term();
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    assert_eq!(run.ask("ping"), "pong");
    run.expect_signal("TERM");
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
}

#[test]
fn an_app_that_ends_by_itself_ends_the_pre_stop_sleep() {
    require!(harness::pid_namespaces());
    let mut run = adieu(FOR_EVER);
    run.term();
    run.say("exit 5");
    run.expect_exit(5);
}

#[test]
fn a_second_request_during_the_pre_stop_sleep_changes_nothing() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 1s --grace 50s");
    let asked = Instant::now();
    run.term();
    for _ in 0..3 {
        run.term();
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
    }
    expect_stop(&mut run, "TERM");
    assert!(asked.elapsed() >= Duration::from_secs(1), "{:?}", asked.elapsed());
    run.signal(libc::SIGUSR2);
    run.expect_signal("USR2");
}

#[test]
fn a_second_request_while_the_app_stops_is_forwarded() {
    require!(harness::pid_namespaces());
    let mut run = adieu(AT_ONCE);
    run.term();
    expect_stop(&mut run, "TERM");
    run.term();
    assert!(run.expect_signal("TERM").starts_with("2 "));
}

#[test]
fn a_second_request_is_forwarded_as_it_came() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 50s --stop QUIT");
    run.term();
    expect_stop(&mut run, "QUIT");
    run.term();
    assert!(run.expect_signal("TERM").starts_with("1 "));
}

#[test]
fn a_second_request_is_dropped_with_stop_once() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 50s --stop-once");
    run.term();
    expect_stop(&mut run, "TERM");
    run.term();
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
}

#[test]
fn int_and_quit_hurry_the_pre_stop_sleep_and_are_forwarded_after_it() {
    require!(harness::pid_namespaces());
    for (signal, name) in [(libc::SIGINT, "INT"), (libc::SIGQUIT, "QUIT")] {
        let mut run = adieu(FOR_EVER);
        run.term();
        run.log("stop requested"); // the kernel would hand over INT before TERM
        run.signal(signal);
        expect_stop(&mut run, "TERM");
        run.signal(signal);
        assert!(run.expect_signal(name).starts_with("1 "), "the first one hurried and was not forwarded");
    }
}

#[test]
fn int_and_quit_are_forwarded_while_nothing_is_asked_for() {
    require!(harness::pid_namespaces());
    let mut run = adieu(FOR_EVER);
    for (signal, name) in [(libc::SIGINT, "INT"), (libc::SIGQUIT, "QUIT"), (libc::SIGHUP, "HUP")] {
        run.signal(signal);
        run.expect_signal(name);
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
    }
}

#[test]
fn a_schedule_escalates_and_waits_between() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 50s --stop QUIT/400ms/SIGTERM/600ms/2");
    let asked = Instant::now();
    run.term();
    expect_stop(&mut run, "QUIT");
    expect_stop(&mut run, "TERM");
    assert!(asked.elapsed() >= Duration::from_millis(400), "{:?}", asked.elapsed());
    expect_stop(&mut run, "INT");
    assert!(asked.elapsed() >= Duration::from_millis(1000), "{:?}", asked.elapsed());
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
}

#[test]
fn a_schedule_may_name_a_real_time_signal() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 50s --stop RTMIN+3/200ms/TERM");
    run.term();
    expect_stop(&mut run, "37");
    expect_stop(&mut run, "TERM");
}

#[test]
fn an_app_that_does_not_end_is_killed_at_grace_minus_margin() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 300ms --grace 2s --kill-margin 500ms");
    let asked = Instant::now();
    run.term();
    expect_stop(&mut run, "TERM");
    run.expect_exit(128 + libc::SIGKILL);
    assert!(asked.elapsed() >= Duration::from_millis(1500), "{:?}", asked.elapsed());
}

#[test]
fn a_second_request_moves_no_deadline() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 2s --kill-margin 500ms");
    run.term();
    expect_stop(&mut run, "TERM");
    // If it moved the deadline, this would go on for ever.
    while !run.has_ended() {
        // SAFETY: touches no memory; that it has just ended is what is waited for.
        unsafe { libc::kill(run.pid, libc::SIGTERM) };
        std::thread::sleep(Duration::from_millis(50));
        assert!(run.started.elapsed() < harness::WATCHDOG, "the deadline moved");
    }
    run.expect_exit(128 + libc::SIGKILL);
}

#[test]
fn an_app_that_stands_still_is_woken_and_stopped() {
    require!(harness::pid_namespaces());
    let mut run = adieu(AT_ONCE);
    let app = run.app();
    run.say("stop-self");
    harness::until("the app stands still", || harness::stat(app, 0).as_deref() == Some("T"));
    run.term();
    run.expect("done stop-self");
    expect_stop(&mut run, "TERM");
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn other_signals_can_ask_for_the_stop() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 50s --stop-on INT");
    run.term();
    run.expect_signal("TERM");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1"); // and no CONT: TERM was no request
    run.signal(libc::SIGINT);
    expect_stop(&mut run, "INT");
}

/// The known programs, by the name of the file that is started.
const KNOWN: [(&str, &str, i32); 9] = [
    ("nginx", "QUIT", libc::SIGQUIT),
    ("httpd", "WINCH", libc::SIGWINCH),
    ("apache2", "WINCH", libc::SIGWINCH),
    ("php-fpm", "QUIT", libc::SIGQUIT),
    ("postgres", "INT", libc::SIGINT),
    ("unicorn", "QUIT", libc::SIGQUIT),
    ("haproxy", "USR1", libc::SIGUSR1),
    ("sidekiq", "TSTP", libc::SIGTSTP),
    ("uwsgi", "INT", libc::SIGINT),
];

#[test]
fn known_programs_are_stopped_by_the_signal_they_understand() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    for (name, signal, number) in KNOWN {
        symlink(harness::probe(), scratch.path(name)).expect("a new name");
        let launch = || Launch::pid1(Init::Adieu).options(AT_ONCE).command([scratch.path(name)]);
        for request in [libc::SIGTERM, number] {
            let mut run = launch().start();
            run.expect("ready");
            run.signal(request);
            if signal == "TSTP" {
                expect_tstp(&mut run);
            } else {
                expect_stop(&mut run, signal);
            }
        }
        let mut run = launch().options("--profile none").start();
        run.expect("ready");
        run.term();
        expect_stop(&mut run, "TERM");
    }
}

#[test]
fn sidekiq_gets_term_after_tstp() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 9s --profile sidekiq");
    run.term();
    expect_tstp(&mut run);
    expect_stop(&mut run, "TERM");
}

#[test]
fn a_profile_can_be_forced_and_a_schedule_goes_above_it() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 50s --profile nginx");
    run.term();
    expect_stop(&mut run, "QUIT");
    let mut run = adieu("--pre-stop 0 --grace 50s --profile nginx --stop USR2");
    run.term();
    expect_stop(&mut run, "USR2");
}

/// Heroku signals every process itself: a signal of ours would be the second one.
#[test]
fn on_heroku_the_app_hears_nothing_from_adieu() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --drain off --grace 50s --platform heroku");
    run.term();
    run.term();
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1"); // and no TERM before it
    let scratch = Scratch::new();
    symlink(harness::probe(), scratch.path("nginx")).expect("a new name");
    let launch = Launch::pid1(Init::Adieu).options("--pre-stop 0 --drain off --grace 50s --platform heroku");
    let mut run = launch.command([scratch.path("nginx")]).start();
    run.expect("ready");
    run.term();
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1"); // and no QUIT
    // What a person says goes above it.
    let mut run = adieu("--pre-stop 0 --grace 50s --platform heroku --stop QUIT");
    run.term();
    expect_stop(&mut run, "QUIT");
}

/// A server that waits for its clients, who stay: TERM ends it before the kill has to.
#[test]
fn nginx_gets_term_shortly_before_the_kill() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --drain off --grace 4s --kill-margin 1s --profile nginx");
    let asked = Instant::now();
    run.term();
    expect_stop(&mut run, "QUIT");
    expect_stop(&mut run, "TERM");
    assert!(asked.elapsed() >= Duration::from_secs(2), "TERM came after {:?}", asked.elapsed());
}

#[test]
fn nomad_and_fly_stop_with_int() {
    require!(harness::pid_namespaces());
    for platform in ["nomad", "fly"] {
        let mut run = adieu(&format!("--pre-stop 0 --grace 50s --platform {platform}"));
        run.signal(libc::SIGINT);
        expect_stop(&mut run, "INT");
        let mut run = adieu(&format!("--pre-stop 0 --grace 50s --platform {platform}"));
        run.term();
        expect_stop(&mut run, "TERM");
    }
}

#[test]
fn an_app_behind_a_shell_gets_its_full_time() {
    require!(harness::pid_namespaces());
    let script = format!("{}; true", harness::probe().display());
    let mut run = Launch::pid1(Init::Adieu).options(AT_ONCE).command(["/bin/sh", "-c", &script]).start();
    run.expect("ready");
    run.term();
    // The shell is gone now; the app behind it still answers.
    expect_stop(&mut run, "TERM");
    assert_eq!(run.ask("ping"), "pong");
    run.say("exit 0");
    run.expect_exit(128 + libc::SIGTERM);
}

#[test]
fn parent_death_asks_by_the_signal_given() {
    for init in [Init::Adieu, Init::Tini] {
        require!(init.present());
        // The parent, to the kernel, is the thread that started it.
        let start = move || {
            let mut run = Launch::ordinary(init).options("-p SIGUSR1").start();
            run.expect("ready");
            run
        };
        let mut run = std::thread::spawn(start).join().expect("it starts");
        run.expect_signal("USR1");
    }
}

#[test]
fn the_end_is_the_apps_even_when_it_comes_with_the_request() {
    require!(harness::pid_namespaces());
    for _ in 0..20 {
        let mut run = adieu(FOR_EVER);
        run.say("exit 6");
        // SAFETY: touches no memory; whether the app or this comes first is what varies.
        unsafe { libc::kill(run.pid, libc::SIGTERM) };
        run.expect_end(End::Exited(6));
    }
}
