//! Readiness as the loop sees it: the checks that find out, and the file that tells.

use crate::lifecycle::Event;
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::ready::checks::Checks;
use crate::settings::ReadySettings;
use crate::sys::describe;
use crate::sys::poll::PollFds;
use log::warn;
use std::io::ErrorKind;
use std::path::PathBuf;

pub struct Readiness {
    /// `None` when none are configured: the app is ready as soon as it runs.
    checks: Option<Checks>,
    /// It exists exactly while ready.
    file: Option<PathBuf>,
}

impl Readiness {
    pub fn new(settings: &ReadySettings) -> Readiness {
        // Of an earlier life that was cut short: nothing is ready yet.
        if let Some(path) = &settings.file {
            let _ = std::fs::remove_file(path);
        }
        let checks = (!settings.checks.is_empty()).then(|| Checks::new(&settings.checks));
        Readiness { checks, file: settings.file.clone() }
    }

    pub fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Some(checks) = &self.checks {
            checks.poll_fds(fds);
        }
    }

    pub fn deadline(&self) -> Option<Moment> {
        self.checks.as_ref().and_then(Checks::deadline)
    }

    /// What the checks say, if there are any.
    pub fn serve(&mut self, now: Moment) -> Option<Event> {
        let checks = self.checks.as_mut()?;
        checks.serve(now);
        Some(Event::Ready(checks.ready()))
    }

    /// The app itself has said READY=1.
    pub fn app_said_ready(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.app_said_ready();
        }
    }

    /// Asks no more: the app is not ready any more, whatever checks say.
    pub fn cease(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.cease();
        }
    }

    /// Why the checks do not pass.
    pub fn reason(&self) -> Option<String> {
        self.checks.as_ref().and_then(Checks::reason)
    }

    /// Writes or removes the ready file.
    pub fn announce(&mut self, ready: bool) {
        let Some(path) = &self.file else {
            return;
        };
        let done = if ready { std::fs::write(path, b"") } else { std::fs::remove_file(path) };
        match done {
            Err(error) if ready || error.kind() != ErrorKind::NotFound => {
                let what = if ready { "write" } else { "remove" };
                warn!("cannot {what} ready file '{}': {}", path.display(), describe(&error));
            }
            Ok(()) | Err(_) => {}
        }
    }

    /// Takes the end of a process; true when it was a check's.
    pub fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.checks.as_mut().is_some_and(|checks| checks.reaped(pid, exit))
    }
}
