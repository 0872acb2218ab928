//! What comes late: a stop request when the app has ended already, hooks after a kill, and adieu
//! itself, woken when all of its deadlines are over.

mod harness;

use std::time::{Duration, Instant};

use harness::{End, Init, Launch, Scratch};

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
        run.log("stop asked for");
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
