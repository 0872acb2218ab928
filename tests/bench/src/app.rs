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
/// Prints the time and exits at once.
pub const END: &str = "app-end";
/// Prints the time at which TERM came, and exits.
pub const STOP: &str = "app-stop";
/// Leaves this many orphans, one after the other, when a signal comes.
pub const ORPHANS: &str = "app-orphans";
pub const LEFT: u64 = 2000;

/// Runs an app, if the arguments name one.
pub fn run(arguments: &[String]) -> Option<ExitCode> {
    let word = arguments.first()?;
    match word.as_str() {
        CLOCK | STORM | STOP | ORPHANS => {}
        END => {
            println!("{}", now());
            return Some(ExitCode::SUCCESS);
        }
        _ => return None,
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
        if word == ORPHANS {
            (0..LEFT).for_each(|_| leave_orphan());
        }
        println!("{}", now());
        let _ = std::io::stdout().flush(); // a reader that has gone ends the measuring anyway
        if word == STOP {
            break;
        }
    }
    Some(ExitCode::SUCCESS)
}

/// A child that forks and ends at once; its own child is an orphan then.
fn leave_orphan() {
    // SAFETY: this program has one thread, so the child may go on as it likes.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => {
            let _ = nix::sys::wait::waitpid(child, None);
        }
        Ok(ForkResult::Child) => {
            // SAFETY: as above; both end here, without the buffers of stdout.
            let _ = unsafe { fork() };
            // SAFETY: ends the process at once.
            unsafe { nix::libc::_exit(0) }
        }
        Err(_) => {}
    }
}

/// A process that forks another and ends, which does the same, and so on: each of them is an orphan
/// for PID 1 to reap.
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
