//! What all rehearsals of one call share, and the one way in which they wait: an interrupt ends
//! every wait.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::plan::RehearsalPlan;
use super::progress::Progress;
use super::recording::Isolation;
use super::sandbox::{Sandbox, SandboxEvent};

/// How often a wait looks whether the user has had enough.
pub(crate) const POLL: Duration = Duration::from_millis(20);

/// Why there is no recording.
#[derive(Debug)]
pub(crate) enum RehearsalError {
    /// The user pressed Ctrl-C.
    Interrupted,
    /// It could not be rehearsed, and this is why.
    Cannot(String),
}

/// Set by a signal's arrival.
pub(crate) type Interrupted = Arc<AtomicBool>;

/// What all rehearsals of one call share.
pub(crate) struct Session<'a> {
    pub(crate) progress: &'a Progress,
    pub(crate) interrupted: &'a Interrupted,
    /// A folder for the app's log and adieu's report.
    pub(crate) folder: PathBuf,
    /// What is permitted here.
    pub(crate) isolation: Isolation,
}

impl Session<'_> {
    /// # Errors
    /// When the user has asked us to end.
    pub(crate) fn check(&self) -> Result<(), RehearsalError> {
        if self.interrupted.load(Ordering::Relaxed) { Err(RehearsalError::Interrupted) } else { Ok(()) }
    }

    /// Waits for a thread's result.
    ///
    /// # Errors
    /// When the user interrupts, or the thread has broken down.
    pub(crate) fn join<T>(&self, thread: JoinHandle<T>) -> Result<T, RehearsalError> {
        while !thread.is_finished() {
            self.check()?;
            std::thread::park_timeout(POLL);
        }
        thread
            .join()
            .map_err(|_| RehearsalError::Cannot("a watcher or client of the rehearsal broke down".into()))
    }

    /// Waits so long, and notices an interrupt and the app's end.
    ///
    /// # Errors
    /// When one of both comes.
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
                        "'{}' ended by itself with {exit} before the stop was asked for; it last said: {}",
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
