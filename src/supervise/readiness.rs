//! Readiness as the loop sees it: the checks, and the ready file.

use crate::lifecycle::Event;
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::ready::checks::Checks;
use crate::ready::file::ReadyFile;
use crate::settings::ReadySettings;
use crate::sys::poll::PollFds;

pub(super) struct Readiness {
    /// `None` when none are configured: the app is ready as soon as it runs.
    checks: Option<Checks>,
    file: Option<ReadyFile>,
}

impl Readiness {
    pub(super) fn new(settings: &ReadySettings) -> Readiness {
        let checks = (!settings.checks.is_empty()).then(|| Checks::new(&settings.checks));
        Readiness { checks, file: settings.file.clone().map(ReadyFile::new) }
    }

    pub(super) fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Some(checks) = &self.checks {
            checks.poll_fds(fds);
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        let file = self.file.as_ref().and_then(ReadyFile::deadline);
        checks.into_iter().chain(file).min()
    }

    /// Runs what is due; returns the result of the checks, if there are any.
    pub(super) fn serve(&mut self, now: Moment) -> Option<Event> {
        if let Some(file) = &mut self.file {
            file.serve(now);
        }
        let checks = self.checks.as_mut()?;
        checks.serve(now);
        Some(Event::Ready(checks.ready()))
    }

    /// The app has sent READY=1.
    pub(super) fn app_said_ready(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.app_said_ready();
        }
    }

    /// Ends the checks: from a stop on the app is not ready, whatever they find.
    pub(super) fn cease(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.cease();
        }
    }

    /// Why the checks do not pass.
    pub(super) fn reason(&self) -> Option<String> {
        self.checks.as_ref().and_then(Checks::reason)
    }

    /// Writes or removes the ready file.
    pub(super) fn announce(&mut self, ready: bool, now: Moment) {
        if let Some(file) = &mut self.file {
            file.announce(ready, now);
        }
    }

    /// Takes the end of a process; true when it was a check's.
    pub(super) fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.checks.as_mut().is_some_and(|checks| checks.reaped(pid, exit))
    }
}
