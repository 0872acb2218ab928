//! What all rehearsals of one call share, and how they wait: an interrupt ends every wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::plan::RehearsalPlan;
use super::progress::Progress;
use super::recording::Isolation;
use super::sandbox::{Sandbox, SandboxEvent};

/// How often a wait checks for an interrupt.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Why there is no recording.
#[derive(Debug)]
pub(crate) enum RehearsalError {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The reason why it could not be rehearsed.
    Cannot(String),
}

/// Set by the signal handler.
pub(crate) type Interrupted = Arc<AtomicBool>;

/// Shared by all rehearsals of one call.
pub(crate) struct Session<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) interrupted: &'a Interrupted,
    /// A folder for the app's log and adieu's report.
    pub(crate) folder: PathBuf,
    /// The strongest isolation that is permitted here.
    pub(crate) isolation: Isolation,
}

impl Session<'_> {
    /// # Errors
    /// The user has interrupted.
    pub(crate) fn check(&self) -> Result<(), RehearsalError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(RehearsalError::Interrupted) } else { Ok(()) }
    }

    /// Waits for a thread's result.
    ///
    /// # Errors
    /// The user interrupts, or the thread has panicked.
    pub(crate) fn join<T>(&self, thread: JoinHandle<T>) -> Result<T, RehearsalError> {
        while !thread.is_finished() {
            self.check()?;
            std::thread::park_timeout(POLL);
        }
        thread.join().map_err(|_| RehearsalError::Cannot("a thread of the rehearsal panicked".into()))
    }

    /// Waits for this time.
    ///
    /// # Errors
    /// The user interrupts, or the app ends.
    pub(crate) fn wait(
        &self,
        plan: &RehearsalPlan,
        sandbox: &Sandbox,
        time: Duration,
    ) -> Result<(), RehearsalError> {
        let until = Instant::now() + time;
        loop {
            self.check()?;
            let left = until.saturating_duration_since(Instant::now());
            match sandbox.event_within(left.min(POLL)) {
                Some(SandboxEvent::Exiting) => sandbox.release(),
                Some(SandboxEvent::Ended(exit)) => {
                    return Err(RehearsalError::Cannot(format!(
                        "'{}' ended by itself with {exit} before the stop request; its last output: {}",
                        plan.app,
                        sandbox.last_words()
                    )));
                }
                None => {}
            }
            if left.is_zero() {
                return Ok(());
            }
        }
    }
}
