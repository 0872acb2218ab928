//! stub
use crate::lifecycle::{Phase, Signal};

/// As in logs, metrics and the report.
pub fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::PreStop => "pre-stop",
        Phase::Draining => "draining",
        Phase::Stopping => "stopping",
        Phase::Killing => "killing",
        Phase::Sweeping => "sweeping",
        Phase::Leaving => "leaving",
        Phase::Gone => "gone",
    }
}

/// Without SIG: `TERM`, `RTMIN+3`.
pub fn signal_name(signal: Signal) -> String {
    match nix::sys::signal::Signal::try_from(i32::from(signal.0)) {
        Ok(known) => known.as_str().trim_start_matches("SIG").to_owned(),
        Err(_) => format!("RTMIN+{}", i32::from(signal.0) - libc::SIGRTMIN()),
    }
}
