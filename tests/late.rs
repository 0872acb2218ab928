//! What comes late: a stop request when the app has ended already, hooks after a kill, an app whose
//! exec hangs, and adieu itself, woken when all of its deadlines are over.

mod harness;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use harness::seccomp::{Actor, Supervisor};
use harness::{End, Init, Launch, Running, Scratch, WATCHDOG};

/// The app leaves a process behind that ignores TERM, and exits.
const LEAVES_A_DEAF_PROCESS: &str = "trap '' TERM; sleep 1000 & echo left; exit 3";

fn leaving_a_deaf_process(options: &str) -> Launch {
    Launch::pid1(Init::Adieu).options(options).command(["sh", "-c", LEAVES_A_DEAF_PROCESS])
}

#[test]
fn hooks_at_the_exit_run_to_their_end_although_leftovers_had_to_be_killed() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let done = scratch.path("done");
    let hook = format!("exec:sh -c 'sleep 0.5; echo \"$ADIEU_EXIT_STATUS\" > {}'", done.display());
    let mut run = leaving_a_deaf_process("--leftovers 100ms").option("--on-exit").option(hook).start();
    run.expect_exit(3);
    assert_eq!(std::fs::read_to_string(&done).expect("the hook has run to its end"), "3\n");
}

/// Without a bound the leftovers would have ten minutes, longer than the watchdog waits.
#[test]
fn a_stop_request_bounds_the_sweep_by_the_grace() {
    require!(harness::pid_namespaces());
    let mut run = leaving_a_deaf_process("-v --leftovers 10m --pre-stop 0 --grace 2s").start();
    run.expect("left");
    run.log("sweeping");
    let asked = Instant::now();
    run.term();
    run.log("after the app had ended");
    run.expect_exit(3);
    assert!(asked.elapsed() >= Duration::from_millis(1500), "the leftovers had their time");
}

/// adieu sleeps from the stop request until the grace is over. The app is asked all the same, and
/// has time to act.
#[test]
fn woken_after_the_grace_adieu_still_asks_before_it_kills() {
    require!(harness::pid_namespaces());
    for round in 0..3 {
        let mut run = Launch::pid1(Init::Adieu).options("--pre-stop 1s --grace 2s --drain off").start();
        run.expect("ready");
        run.term();
        run.log("stop requested");
        run.signal(libc::SIGSTOP);
        std::thread::sleep(Duration::from_millis(2500));
        run.signal(libc::SIGCONT);
        run.find("got TERM ");
        // Killed after 200 ms, unless it is quick; a deaf app would be reaped, too.
        run.say("exit 4");
        let end = run.end();
        assert!([End::Exited(4), End::Exited(137)].contains(&end), "round {round}: {end:?}");
        let errors = run.errors();
        assert!(!errors.iter().any(|line| line.contains("cannot end")), "{errors:?}");
    }
}

/// An app whose exec hangs, as it does on a file system that does not answer, until it is let go.
struct Held {
    run: Running,
    health: SocketAddr,
    let_go: mpsc::Sender<Option<i32>>,
    supervisor: Supervisor,
}

fn held(launch: Launch) -> Held {
    let health = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let (let_go, gate) = mpsc::channel();
    let (launch, supervisor) =
        launch.options(&format!("--pre-stop 0 --grace 50s --health {health}")).judged_execs(move |call| {
            // A test that is over lets go, too.
            if call.actor != Actor::Child {
                return None;
            }
            gate.recv_timeout(WATCHDOG).unwrap_or_default()
        });
    Held { run: launch.start(), health, let_go, supervisor }
}

impl Held {
    fn ask(&self, path: &str) -> String {
        let mut stream = harness::connect(self.health);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it reads");
        harness::rest(&mut stream)
    }

    /// The endpoint is served, and a second child would be a second app.
    fn is_served(&self) {
        harness::until("the endpoint listens", || harness::try_connect(self.health).is_ok());
        let answer = self.ask("/readyz");
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("starting"), "{answer}");
        assert!(self.ask("/livez").starts_with("HTTP/1.1 200 "));
        assert_eq!(harness::children(self.run.pid).len(), 1);
    }
}

fn both_ways() -> [Launch; 2] {
    [Launch::pid1(Init::Adieu), Launch::ordinary(Init::Adieu)]
}

#[test]
fn a_stop_is_served_while_the_exec_of_the_app_hangs() {
    require!(harness::pid_namespaces());
    for launch in both_ways() {
        let mut held = held(launch);
        held.is_served();
        held.run.term();
        held.run.expect_exit(128 + libc::SIGTERM);
        held.run.log("stopped by TERM");
        drop(held.let_go);
        held.supervisor.finish();
    }
}

#[test]
fn an_app_whose_exec_took_long_is_an_app_like_any_other() {
    require!(harness::pid_namespaces());
    for launch in both_ways() {
        let scratch = Scratch::new();
        let hook = format!("exec:touch {}", scratch.path("begun").display());
        let mut held = held(launch.option("--on-start").option(hook));
        held.is_served();
        assert!(!scratch.path("begun").exists(), "nothing has begun");
        held.let_go.send(None).expect("it is held");
        // The hook's exec is held as well.
        drop(held.let_go);
        held.run.expect("ready");
        held.run.log("version");
        harness::until("the hook has run", || scratch.path("begun").exists());
        held.run.term();
        held.run.expect_signal("TERM");
        held.run.say("exit 11");
        held.run.expect_exit(11);
        held.supervisor.finish();
    }
}

#[test]
fn a_late_failure_of_exec_is_said_and_has_its_status() {
    require!(harness::pid_namespaces());
    for (errno, status) in [(libc::EACCES, 126), (libc::EIO, 126), (libc::ENOENT, 127)] {
        for launch in both_ways() {
            let mut held = held(launch);
            held.is_served();
            held.let_go.send(Some(errno)).expect("it is held");
            held.run.log("cannot execute");
            held.run.expect_exit(status);
            drop(held.let_go);
            held.supervisor.finish();
        }
    }
}
