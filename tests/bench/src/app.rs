//! What runs below the init: this same program by another word.

use nix::sys::signal::{SigSet, Signal};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::{ForkResult, fork};
use std::io::Write;
use std::process::ExitCode;

/// Prints when each signal came, in nanoseconds of the monotonic clock.
pub const CLOCK: &str = "app-clock";
/// The same, with so many processes beside it that fork orphans without pause.
pub const STORM: &str = "app-storm";
pub const FORKERS: usize = 40;

/// Runs an app, if the arguments name one.
pub fn run(arguments: &[String]) -> Option<ExitCode> {
    let word = arguments.first()?;
    if word != CLOCK && word != STORM {
        return None;
    }
    let signals = SigSet::from_iter([Signal::SIGUSR1, Signal::SIGTERM]);
    if signals.thread_block().is_err() {
        return Some(ExitCode::FAILURE);
    }
    if word == STORM {
        (0..FORKERS).for_each(|_| fork_orphans());
    }
    println!("ready");
    while signals.wait().is_ok() {
        println!("{}", now());
        let _ = std::io::stdout().flush(); // a reader that has gone ends the measuring anyway
    }
    Some(ExitCode::SUCCESS)
}

/// A process that forks another and ends, which does the same, and so on: each of them is an orphan for PID 1 to reap.
fn fork_orphans() {
    // SAFETY: this program has one thread, so the child may go on as it likes.
    if let Ok(ForkResult::Child) = unsafe { fork() } {
        loop {
            // SAFETY: as above.
            if let Ok(ForkResult::Parent { .. }) = unsafe { fork() } {
                std::process::exit(0);
            }
        }
    }
}

/// Nanoseconds of the monotonic clock, which all processes share.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map(std::time::Duration::from);
    time.map_or(0, |time| time.as_nanos() as u64)
}
