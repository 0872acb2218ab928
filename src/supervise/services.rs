//! What the loop serves beside the app: readiness, hooks, the drain, and the sockets. Nothing here
//! waits. Each part names the descriptors that it waits for and its next deadline; what it finds
//! comes out as events for the lifecycle.

use super::draining::Draining;
use super::readiness::Readiness;
use super::sockets::Sockets;
use crate::hooks::Hooks;
use crate::lifecycle::{Event, Phase};
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::settings::Settings;
use crate::sys::poll::PollFds;
use std::time::Duration;

pub(super) struct Services {
    pub sockets: Sockets,
    pub readiness: Readiness,
    pub hooks: Hooks,
    pub draining: Draining,
}

impl Services {
    pub(super) fn new(settings: &Settings, sockets: Sockets, app: Pid) -> Services {
        let own_ports: Vec<u16> = sockets.health_port().into_iter().collect();
        Services {
            sockets,
            readiness: Readiness::new(&settings.ready),
            hooks: Hooks::new(&settings.hooks),
            draining: Draining::new(&settings.drain, app, &own_ports),
        }
    }

    pub(super) fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        self.sockets.poll_fds(fds);
        self.readiness.poll_fds(fds);
        self.hooks.poll_fds(fds);
        self.draining.poll_fds(fds);
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let parts = [
            self.sockets.deadline(),
            self.readiness.deadline(),
            self.hooks.deadline(),
            self.draining.deadline(),
        ];
        parts.into_iter().flatten().min()
    }

    /// Does what can be done now, and returns what happened.
    pub(super) fn serve(&mut self, now: Moment) -> Vec<Event> {
        if self.sockets.serve_notifications(now) {
            self.readiness.app_said_ready();
        }
        let ready = self.readiness.serve(now);
        let hooks = self.hooks.serve(now);
        let drained = self.draining.serve(now);
        ready.into_iter().chain(hooks).chain(drained).collect()
    }

    /// Takes the end of a process; true when it belonged to one of these.
    pub(super) fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.hooks.reaped(pid, exit)
            || self.readiness.reaped(pid, exit)
            || self.draining.reaped(pid, exit)
            || self.sockets.reaped(pid)
    }

    /// A new phase has begun; `rest` is what is left of the grace, once a stop was requested.
    pub(super) fn enter(&mut self, phase: Phase, rest: Option<Duration>, now: Moment) {
        self.sockets.enter(phase, rest, now);
        if phase.is_stopping() {
            self.readiness.cease();
        }
        match phase {
            Phase::Starting | Phase::Running | Phase::Leaving | Phase::Gone => {}
            Phase::PreStop => self.draining.watch(now),
            Phase::Draining => self.draining.begin(now),
            Phase::Stopping | Phase::Killing | Phase::Sweeping => self.draining.end(),
        }
    }

    /// Announces that the app is ready, or that it no longer is.
    pub(super) fn announce(&mut self, ready: bool, now: Moment) {
        if ready {
            self.sockets.announce_ready(now);
        }
        self.readiness.announce(ready, now);
    }
}
