//! Many stops at random moments, and a long time of signals and orphans. `./tests/run.sh full`
//! makes 2,000 stops; `ADIEU_SOAK=3600 cargo test --test soak` lets the second one run for an hour.

mod harness;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{End, Init, Launch, Running};

/// What a busy machine may add to a time that adieu keeps: this is about seconds too late, not
/// about milliseconds.
const BUSY: Duration = Duration::from_secs(3);
/// Woken late, adieu leaves the app and the kernel at least this much in each of two places.
const LATE: Duration = Duration::from_millis(400);
/// How many stops at the same time: they mostly wait.
const TOGETHER: usize = 8;

/// The same numbers in each run: a failure can be tried again (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % most
    }

    fn millis(&mut self, from: u64, below: u64) -> Duration {
        Duration::from_millis(from + self.below(below - from))
    }
}

/// What the app does about its stop.
#[derive(Clone, Copy, Debug)]
enum App {
    Obeys,
    KnowsNothing,
    Ignores,
    /// By itself, around the time of the request.
    Exits(i32),
}

impl App {
    fn roll(dice: &mut Dice) -> Self {
        match dice.below(4) {
            0 => Self::Obeys,
            1 => Self::KnowsNothing,
            2 => Self::Ignores,
            _ => Self::Exits(dice.below(120) as i32),
        }
    }

    fn args(self) -> &'static str {
        match self {
            Self::Obeys => "--exit-on TERM",
            Self::KnowsNothing => "--legacy",
            Self::Ignores | Self::Exits(_) => "",
        }
    }

    fn exit_status(self) -> i32 {
        match self {
            Self::Obeys => 0,
            Self::KnowsNothing => 128 + libc::SIGTERM,
            Self::Ignores => 128 + libc::SIGKILL,
            Self::Exits(status) => status,
        }
    }
}

/// One stop; its number is all its chance.
fn stop(number: u64) {
    let mut dice = Dice(number);
    let (app, grace) = (App::roll(&mut dice), dice.millis(600, 1600));
    let (pre_stop, margin) = (dice.millis(0, 200), dice.millis(50, 200));
    let launch = if dice.below(2) == 0 { Launch::pid1(Init::Adieu) } else { Launch::ordinary(Init::Adieu) };
    let mut run = launch
        .options(&format!(
            "--grace {}ms --pre-stop {}ms --kill-margin {}ms",
            grace.as_millis(),
            pre_stop.as_millis(),
            margin.as_millis()
        ))
        .args(app.args())
        .start();
    run.expect("ready");
    let exits_first = dice.below(2) == 0;
    wait(dice.millis(0, 40));
    if let (App::Exits(status), true) = (app, exits_first) {
        run.say(&format!("exit {status}"));
    }
    let asked = Instant::now();
    // SAFETY: touches no memory. An app that has ended by itself may have taken adieu along.
    unsafe { libc::kill(run.pid, libc::SIGTERM) };
    if let (App::Exits(status), false) = (app, exits_first) {
        run.say(&format!("exit {status}"));
    }
    let late = if number.is_multiple_of(20) { sleep_through(&run, &mut dice) } else { Default::default() };
    let end = run.end();
    let took = asked.elapsed();
    let told =
        format!("stop {number} of {app:?} with {grace:?}, {pre_stop:?} and {margin:?}, late by {late:?}");
    // Whoever is killed before it could be asked was not stopped but cut off: woken late, it still
    // is asked.
    assert_eq!(end, End::Exited(app.exit_status()), "{told}");
    let allowed = if late.is_zero() { grace } else { grace.max(late) + LATE };
    assert!(took <= allowed + BUSY, "{told}: it took {took:?}");
}

/// Adieu stands still for a while in the middle of its stop, and perhaps past its end.
fn sleep_through(run: &Running, dice: &mut Dice) -> Duration {
    wait(dice.millis(0, 500));
    let length = dice.millis(100, 2000);
    // SAFETY: touches no memory; that adieu has ended in the meantime is one of the cases.
    unsafe { libc::kill(run.pid, libc::SIGSTOP) };
    wait(length);
    // SAFETY: as above.
    unsafe { libc::kill(run.pid, libc::SIGCONT) };
    length
}

/// Chance, not a wait for something to happen.
fn wait(length: Duration) {
    std::thread::sleep(length);
}

#[test]
fn no_stop_ends_past_its_grace_or_with_a_wrong_status() {
    require!(harness::pid_namespaces());
    let stops = if harness::full() { 2000 } else { 60 };
    let next = AtomicU64::new(1);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..TOGETHER {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > stops {
                        return;
                    }
                    if let Err(panic) = std::panic::catch_unwind(|| stop(number)) {
                        let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                        failed.lock().expect("unhurt").push(why);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("unhurt");
    assert!(failed.is_empty(), "{} of {stops}:\n{}", failed.len(), failed.join("\n\n"));
}

/// For how long: an hour on demand, a minute in full, else a few seconds.
fn length() -> Duration {
    let given = std::env::var("ADIEU_SOAK").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(if harness::full() { 60 } else { 6 }))
}

/// What adieu holds: KiB that are its own, and descriptors.
fn held(pid: i32) -> (u64, usize) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("one's own child");
    let line = text.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).expect("a field");
    let dirty = line.trim().trim_end_matches("kB").trim().parse().expect("a number");
    (dirty, std::fs::read_dir(format!("/proc/{pid}/fd")).expect("one's own child").count())
}

/// What an allocator may round up to in any length of time.
const SLACK: u64 = 256;

#[test]
fn signals_orphans_and_clients_leave_nothing_behind() {
    let length = length();
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let options = format!("--health {address} --ready exec:/bin/true --pre-stop 0");
    let mut rounds = 0;
    // The harness keeps all that is said, so that no run is longer than its watchdog.
    let begun = Instant::now();
    let mut run = Launch::ordinary(Init::Adieu).options(&options).args("--name quiet").start();
    run.find("ready");
    let (mut first, mut most) = ((0, 0), 0);
    while begun.elapsed() < length {
        run.postpone();
        round(&mut run, address);
        rounds += 1;
        let (dirty, descriptors) = held(run.pid);
        // The first rounds fill what is filled once.
        if rounds <= 20 {
            first = (first.0.max(dirty), first.1.max(descriptors));
        }
        most = most.max(dirty);
    }
    assert!(rounds > 20, "only {rounds} rounds in {length:?}");
    println!("{rounds} rounds: at most {first:?} KiB and descriptors in the first 20, then {most} KiB");
    assert!(most <= first.0 + SLACK, "memory grew from {} to {most} KiB in {rounds} rounds", first.0);
    // A check and a client have some of their own for a moment; what leaked never goes.
    harness::until("adieu holds no more descriptors than in the first 20 rounds", || {
        held(run.pid).1 <= first.1
    });
}

fn round(run: &mut Running, address: SocketAddr) {
    run.say("storm 50");
    run.find("done storm 50");
    for value in 0..20 {
        run.queue(40, value);
        run.signal(libc::SIGUSR1);
    }
    for _ in 0..20 {
        run.find("got 40 ");
    }
    run.say("ping");
    run.find("pong");
    let mut client = harness::connect(address);
    client.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").expect("it reads");
    let answer = harness::rest(&mut client);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    harness::until("all orphans are reaped", || harness::children(run.pid).len() <= 2);
}
