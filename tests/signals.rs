//! What is sent to adieu reaches the app: every signal that can be caught, with its number, count,
//! order and value.

mod harness;

use std::path::Path;

use harness::{Init, Launch, Running, Scratch};

also_under_tini!(forwards_to_the_group_when_told_to);

fn forwards_to_the_group_when_told_to(init: Init) {
    let mut run = Launch::pid1(init).options("-g").start();
    with_a_child(&mut run);
    run.signal(libc::SIGUSR1);
    let mut both = [run.line(), run.line()];
    both.sort();
    assert!(both[0].starts_with("child: got USR1 1"), "{both:?}");
    assert!(both[1].starts_with("got USR1 1"), "{both:?}");
}

/// A child of the app's, in its process group; gives its pid.
fn with_a_child(run: &mut Running) -> String {
    run.expect("ready");
    run.say("spawn --name child --deaf --first pids");
    let mut lines = [run.line(), run.line(), run.line()];
    lines.sort();
    assert_eq!(lines[1], "child: ready");
    lines[0].split_whitespace().nth(2).expect("child: pid PID").to_string()
}

#[test]
fn a_queue_of_real_time_signals_keeps_count_order_and_values() {
    require!(harness::pid_namespaces());
    keeps_a_queue(Launch::pid1(Init::Adieu), 10_000);
}

#[test]
fn an_ordinary_process_keeps_a_queue_of_real_time_signals() {
    keeps_a_queue(Launch::ordinary(Init::Adieu), 1_000);
}

fn keeps_a_queue(launch: Launch, length: i32) {
    let mut run = launch.start();
    run.expect("ready");
    for value in 0..length {
        run.queue(40, value - 5);
    }
    for value in 0..length {
        let rest = run.expect_signal("40");
        let wanted = format!("{} code=-1 value={} ", value + 1, value - 5);
        assert!(rest.starts_with(&wanted), "wanted {wanted}, got {rest}");
    }
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
}

#[test]
fn several_real_time_signals_at_once_all_arrive() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu).start();
    run.expect("ready");
    let app = run.app();
    // The app stands still, so that adieu forwards them all before it reads one.
    pause(app);
    for signal in (34..=64).rev() {
        for value in [1, 2, 3] {
            run.queue(signal, value);
        }
    }
    run.queue(34, 4);
    harness::until("adieu has passed them all on", || settled(run.pid));
    resume(app);
    run.expect_signal("CONT");
    for signal in 34..=64 {
        for value in 1..=if signal == 34 { 4 } else { 3 } {
            let rest = run.expect_signal(&signal.to_string());
            assert!(rest.starts_with(&format!("{value} code=-1 value={value} ")), "{signal}: {rest}");
        }
    }
}

/// adieu keeps as many as the kernel would, the oldest, and says that it drops the rest.
#[test]
fn a_flood_of_real_time_signals_for_an_app_that_stands_still_is_bounded() {
    require!(harness::root());
    // The kernel counts what waits for all processes of a user: the app's limit is the lower one, so
    // that adieu can still be sent signals when the app's queue is full.
    let limit = nix::sys::resource::Resource::RLIMIT_SIGPENDING;
    let probe = harness::probe();
    let app = ["prlimit".as_ref(), "--sigpending=10".as_ref(), probe.as_os_str()];
    let mut run = Launch::ordinary(Init::Adieu).limit(limit, 1000).command(app).start();
    run.expect("ready");
    let app = run.app();
    pause(app);
    for value in 0..3000 {
        run.queue(40, value);
    }
    run.log("further ones are dropped");
    resume(app);
    run.expect_signal("CONT");
    for value in 0..50 {
        let rest = run.expect_signal("40");
        assert!(rest.contains(&format!(" value={value} ")), "{value}: {rest}");
    }
    run.log("signals for the app were dropped");
    run.say("exit 5");
    run.expect_exit(5);
}

#[test]
fn a_flood_of_ordinary_signals_upsets_nothing() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu).start();
    run.expect("ready");
    for at in 0..10_000 {
        run.signal([libc::SIGUSR1, libc::SIGCHLD, libc::SIGHUP, libc::SIGWINCH][at % 4]);
    }
    run.signal(libc::SIGUSR2);
    run.find("got USR2 1 ");
    run.say("exit 5");
    run.expect_exit(5);
}

#[test]
fn a_rewrite_changes_or_drops_a_signal() {
    require!(harness::pid_namespaces());
    for options in ["--rewrite USR1:HUP --rewrite USR2:0", "-r 10:1 -r 12:0", "-r SIGUSR1:SIGHUP -r usr2:0"] {
        let mut run = Launch::pid1(Init::Adieu).options(options).start();
        run.expect("ready");
        run.signal(libc::SIGUSR1);
        run.expect_signal("HUP");
        run.signal(libc::SIGUSR2);
        run.signal(libc::SIGALRM);
        run.expect_signal("ALRM");
    }
}

#[test]
fn an_app_that_may_not_be_signalled_is_no_reason_to_end() {
    require!(harness::root());
    let scratch = Scratch::new();
    let probe = scratch.path("probe");
    copy_with_mode(&harness::probe(), &probe, 0o4755);
    let adieu = scratch.path("adieu");
    copy_with_mode(&Init::Adieu.path(), &adieu, 0o755);
    let mut run = Launch::program(&adieu)
        .option("--")
        .command([&probe])
        .before_exec(|| {
            nix::unistd::setgroups(&[])?;
            nix::unistd::setgid(54_320.into())?;
            Ok(nix::unistd::setuid(54_320.into())?)
        })
        .start();
    run.expect("ready");
    run.order("setuid 0");
    run.signal(libc::SIGUSR1);
    let line = run.log("USR1");
    assert!(line.contains("ot permitted") || line.contains("EPERM"), "{line}");
    assert_eq!(run.ask("ping"), "pong");
    run.say("exit 7");
    run.expect_exit(7);
}

#[test]
fn the_sender_is_told_at_debug() {
    let mut run = Launch::ordinary(Init::Adieu).options("--log-level debug").start();
    run.expect("ready");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    let line = run.log("USR1");
    assert!(line.contains(&std::process::id().to_string()), "no sender in: {line}");
}

#[test]
fn a_signal_to_a_group_that_is_gone_reaches_the_app() {
    // The app leaves the group that adieu made for it, which is then no more.
    let mut run = Launch::ordinary(Init::Adieu).options("-g").start();
    run.expect("ready");
    run.order("join-parents-group");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
}

fn copy_with_mode(from: &Path, to: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::copy(from, to).expect("room for a copy");
    std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode)).expect("one's own file");
}

fn pause(pid: i32) {
    send(pid, libc::SIGSTOP);
    harness::until("the app stands still", || harness::stat(pid, 0).as_deref() == Some("T"));
}

fn resume(pid: i32) {
    send(pid, libc::SIGCONT);
}

fn send(pid: i32, signal: i32) {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

/// Whether it has read every signal sent to it and sleeps.
fn settled(pid: i32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let pending =
        status.lines().find_map(|line| line.strip_prefix("ShdPnd:")).expect("a field of every kernel");
    pending.trim().trim_start_matches('0').is_empty() && harness::stat(pid, 0).as_deref() == Some("S")
}
