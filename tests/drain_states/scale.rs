//! Very many connections.

use super::harness::{Dialogue, Init, Launch};
use super::*;

/// With `--nocapture` it also says what looking costs; the long selection goes up to ten thousand.
#[test]
fn every_connection_is_seen_however_many() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(200_000), hard).unwrap();
    let mut app = Puppet::new();
    let port = app.listen();
    let full = std::env::var_os("ADIEU_FULL").is_some();
    let counts: &[usize] = if full { &[10, 100, 1_000, 10_000] } else { &[10, 100, 1_000] };
    let mut connected = 0;
    for &count in counts {
        connected += count;
        let clients: Vec<_> = (0..count)
            .map(|_| {
                let client = connect(port);
                app.tell("accept 0");
                client
            })
            .collect();
        let mut watcher = Watcher::over(&app);
        let before = own_time();
        let first = watcher.look();
        let first_cost = own_time().checked_sub(before).unwrap();
        assert_eq!(first.connections, connected);
        watcher.until("quiet", |look| look.verdict == Verdict::Idle);
        let (begun, spent) = (Instant::now(), own_time());
        let mut looks = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            watcher.look();
            looks += 1;
        }
        let cost = own_time().checked_sub(spent).unwrap();
        let share = cost.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        println!(
            "{count} more, {} connections: first look {first_cost:?}, then {:?} a look, {looks} looks in 1 s, {share:.2} % of a core",
            first.connections,
            cost / looks
        );
        std::mem::forget(clients);
    }
}

pub fn own_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// The contract says 5 s after the last answer, 100 MB and 50 ms for a signal; bounds are wider here, for a
/// machine that has other things to do, and what was measured is said.
#[test]
fn ten_thousand_idle_clients_hold_up_neither_a_signal_nor_the_stop() {
    many(1, 10_000);
}

#[test]
fn fifty_thousand_idle_clients_hold_up_neither_a_signal_nor_the_stop() {
    crate::long!();
    many(4, 12_500);
}

fn many(workers: usize, each: usize) {
    crate::require!(harness::pid_namespaces());
    crate::require!(harness::program("python3"));
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if hard < each as u64 + 200 {
        return left_out(&format!("a process may have {hard} descriptors"));
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drain_states/many.py");
    let launch = Launch::pid1(Init::Adieu).options("--pre-stop 1s --grace 3m --drain-timeout 90s");
    let mut run = launch.command(["python3", "-u", script, "server", &workers.to_string()]).start();
    let ports = run.find("ports ");
    let ports: Vec<&str> = ports.split(' ').skip(1).collect();
    let mut clients: Vec<Dialogue> = vec![];
    for port in &ports {
        let mut client = Dialogue::start(Command::new("python3").args(["-u", script, "client"]));
        client.say(&format!("idle {port} {each}"));
        clients.push(client);
    }
    clients.iter_mut().for_each(|client| assert_eq!(client.line(), "ok"));
    // They have rested for a while, as those of a pool do.
    thread::sleep(Duration::from_secs(10));
    let init = parent(run.app());
    run.term();
    // Others of the same kind come and go, so that what is complete is known by its size.
    for words in ["brief {} 20", "busy {} 100 8"] {
        clients[0].say(&words.replace("{}", ports[0]));
        assert_eq!(clients[0].line(), "ok");
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..30 {
        let sent = monotonic();
        run.signal(libc::SIGUSR1);
        let line = run.find("usr1 ");
        let got = line.rsplit(' ').next().and_then(|at| at.parse().ok()).map(Duration::from_nanos);
        slowest = slowest.max(got.expect("a time").saturating_sub(sent));
        thread::sleep(Duration::from_millis(150));
    }
    let most = most_memory(init);
    assert_eq!(clients[0].line(), "answered");
    let answered = Instant::now();
    run.log("stopping: nothing is in flight");
    let held = answered.elapsed();
    let told = run.log("stopped by TERM");
    println!(
        "{} idle, 100 busy: told to stop {held:?} after the last answer, {most} kB, a signal took {slowest:?}",
        workers * each
    );
    assert!(!told.contains("still in flight"), "{told}");
    assert!(most < 100_000, "{most} kB");
    // A build for debugging looks at each connection for ten times as long, and so less often.
    let shipped = std::env::var_os("ADIEU_BIN").is_some();
    assert!(held < Duration::from_secs(if shipped { 8 } else { 60 }), "{held:?}");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
}

fn parent(pid: i32) -> i32 {
    status(pid, "PPid:")
}

fn most_memory(pid: i32) -> i32 {
    status(pid, "VmHWM:")
}

/// A number out of /proc/PID/status.
fn status(pid: i32, name: &str) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_ascii_whitespace().next().unwrap().parse().unwrap()
}

fn monotonic() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap().into()
}
