//! Everything around the app that is asked, told or watched, served from the one loop: checks, hooks, and the drain.
//! Nothing here waits. Each part says which descriptors it is interested in and when it wants to be called; what
//! it found comes out as events for the lifecycle.

use super::sockets::Sockets;
use crate::drain::{Drain, Look, Verdict};
use crate::hooks::{Finished, HookEnvironment, Hooks};
use crate::lifecycle::{Event, HookPoint, Phase};
use crate::moment::Moment;
use crate::notify::Outbound;
use crate::process::{Exit, Pid};
use crate::ready::checks::{Checks, DrainCheck};
use crate::ready::endpoint::Health;
use crate::ready::pages::View;
use crate::settings::{HookSettings, Settings};
use crate::sys::poll::PollFds;
use log::{info, warn};
use std::path::PathBuf;
use std::time::Duration;

pub struct Services {
    sockets: Sockets,
    checks: Option<Checks>,
    hooks: Hooks,
    hook_settings: HookSettings,
    drain: Drain,
    drain_check: Option<DrainCheck>,
    ready_file: Option<PathBuf>,
    draining: bool,
    /// What the last look saw, as far as it was said.
    said: Option<String>,
    last_look: Option<Look>,
}

impl Services {
    pub fn new(settings: &Settings, sockets: Sockets, app: Pid) -> Services {
        let health = sockets.health.as_ref().and_then(|health| health.address().ok());
        // Of an earlier life that was cut short: nothing is ready yet.
        if let Some(path) = &settings.ready.file {
            let _ = std::fs::remove_file(path);
        }
        let own_ports: Vec<u16> = health.map(|health| health.port()).into_iter().collect();
        Services {
            sockets,
            checks: (!settings.ready.checks.is_empty()).then(|| Checks::new(&settings.ready.checks)),
            hooks: Hooks::new(settings.hooks.timeout),
            hook_settings: settings.hooks.clone(),
            drain: Drain::new(&settings.drain, app, &own_ports),
            drain_check: settings.drain.check.as_ref().map(DrainCheck::new),
            ready_file: settings.ready.file.clone(),
            draining: false,
            said: None,
            last_look: None,
        }
    }

    pub fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Some(health) = &self.sockets.health {
            health.poll_fds(fds);
        }
        if let Some(app) = &self.sockets.app {
            app.poll_fds(fds);
        }
        self.hooks.poll_fds(fds);
        if let Some(checks) = &self.checks {
            checks.poll_fds(fds);
        }
        if let Some(check) = &self.drain_check {
            check.poll_fds(fds);
        }
    }

    pub fn deadline(&self) -> Option<Moment> {
        let checks = self.checks.as_ref().and_then(Checks::deadline);
        let drain_check = self.drain_check.as_ref().and_then(DrainCheck::deadline);
        let health = self.sockets.health.as_ref().and_then(Health::deadline);
        let manager = self.sockets.manager.as_ref().and_then(Outbound::deadline);
        let drain = self.drain.deadline();
        [self.hooks.deadline(), checks, drain_check, drain, health, manager].into_iter().flatten().min()
    }

    /// Does whatever can be done now and says what happened.
    pub fn serve(&mut self, now: Moment) -> Vec<Event> {
        let mut events = Vec::new();
        self.serve_notifications(now);
        if let Some(checks) = &mut self.checks {
            checks.serve(now);
            events.push(Event::Ready(checks.ready()));
        }
        self.hooks.serve(now);
        for point in [HookPoint::Stop, HookPoint::Exit] {
            if !self.targets(point).is_empty() && self.hooks.done(point) {
                events.push(Event::HooksEnded(point));
            }
        }
        events.extend(self.look(now));
        events
    }

    fn serve_notifications(&mut self, now: Moment) {
        let manager = &mut self.sockets.manager;
        if let Some(app) = &mut self.sockets.app
            && app.serve(manager.as_mut())
            && let Some(checks) = &mut self.checks
        {
            checks.app_said_ready();
        }
        if let Some(manager) = manager {
            manager.serve(now);
        }
    }

    /// Takes the requests that have come to the health endpoint, before the signals are looked at: whoever asks after he
    /// has asked for a stop must not hear that all is well.
    pub fn hear(&mut self, now: Moment) {
        if let Some(health) = &mut self.sockets.health {
            health.read_requests(now);
        }
    }

    /// Answers whoever asks at the health endpoint, last of all, so that the answers are those of this very turn.
    pub fn answer(&mut self, now: Moment, view: &View) {
        if let Some(health) = &mut self.sockets.health {
            health.serve(now, view);
        }
    }

    pub fn is_asked(&self) -> bool {
        self.sockets.health.is_some()
    }

    /// Why the checks do not pass.
    pub fn unready_because(&self) -> Option<String> {
        self.checks.as_ref().and_then(Checks::reason)
    }

    fn targets(&self, point: HookPoint) -> &[crate::settings::Target] {
        match point {
            HookPoint::Start => &self.hook_settings.on_start,
            HookPoint::Stop => &self.hook_settings.on_stop,
            HookPoint::Exit => &self.hook_settings.on_exit,
        }
    }

    /// Takes the end of a process; true when it belonged to a hook or a check.
    pub fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.hooks.reaped(pid, exit)
            || self.checks.as_mut().is_some_and(|checks| checks.reaped(pid, exit))
            || self.drain_check.as_mut().is_some_and(|check| check.reaped(pid, exit))
    }

    /// A new phase has begun; `rest` is what is left of the grace, once a stop was asked for.
    pub fn enter(&mut self, phase: Phase, rest: Option<Duration>, now: Moment) {
        if let Some(manager) = &mut self.sockets.manager {
            manager.enter(phase, rest, now);
        }
        match phase {
            Phase::Starting | Phase::Running | Phase::Leaving | Phase::Gone => {}
            Phase::PreStop => {
                self.cease_checks();
                self.drain.watch(now);
            }
            Phase::Draining => {
                self.draining = true;
                self.drain.begin(now);
                if let Some(check) = &mut self.drain_check {
                    check.begin();
                }
            }
            Phase::Stopping | Phase::Killing | Phase::Sweeping => {
                self.cease_checks();
                self.end_drain();
            }
        }
    }

    fn cease_checks(&mut self) {
        if let Some(checks) = &mut self.checks {
            checks.cease();
        }
    }

    fn end_drain(&mut self) {
        self.draining = false;
        self.drain.close();
        if let Some(check) = &mut self.drain_check {
            check.end();
        }
    }

    pub fn run_hooks(&mut self, point: HookPoint, now: Moment, environment: HookEnvironment) {
        let targets = self.targets(point).to_vec();
        if !targets.is_empty() {
            self.hooks.run(point, &targets, now, environment);
        }
    }

    pub fn cut_hooks(&mut self, now: Moment) {
        self.hooks.cut(now);
    }

    /// How those hooks went that have ended since this was asked last.
    pub fn hooks_done(&mut self) -> Vec<Finished> {
        self.hooks.take_done()
    }

    /// A fresh look, for the moment in which the app is killed.
    pub fn look_once_more(&mut self, now: Moment) -> Option<usize> {
        self.drain.cut_now(now)
    }

    /// What the last look saw in flight; nothing when nobody looked or nothing could be seen.
    pub fn in_flight(&self) -> Option<usize> {
        self.last_look.as_ref().filter(|look| look.verdict != Verdict::Blind).map(|look| look.in_flight)
    }

    fn look(&mut self, now: Moment) -> Option<Event> {
        if let Some(check) = &mut self.drain_check {
            check.serve(now);
            if let Some(caller) = check.asks_from() {
                self.drain.leave_out(caller);
            }
        }
        let check_idle = self.drain_check.as_ref().is_none_or(DrainCheck::idle);
        let verdict = self.drain.deadline().map_or(Verdict::Idle, |_| self.look_at_connections(now));
        verdict.event(check_idle).filter(|_| self.draining)
    }

    fn look_at_connections(&mut self, now: Moment) -> Verdict {
        let look = self.drain.look(now);
        let verdict = look.verdict;
        if self.draining {
            self.say(&look);
        }
        self.last_look = Some(look);
        verdict
    }

    /// One line whenever the number in flight has changed.
    fn say(&mut self, look: &Look) {
        if look.verdict == Verdict::Blind {
            return;
        }
        let waiting = self.drain_check.as_ref().and_then(DrainCheck::reason);
        let seen = waiting.map_or_else(|| look.to_string(), |reason| format!("{look}; {reason}"));
        if self.said.as_ref() != Some(&seen) {
            info!("draining: {seen}");
            self.said = Some(seen);
        }
    }

    /// Keeps the ready file: it exists exactly while ready.
    pub fn announce(&mut self, ready: bool, now: Moment) {
        if let Some(manager) = self.sockets.manager.as_mut().filter(|_| ready) {
            manager.ready(now);
        }
        let Some(path) = &self.ready_file else {
            return;
        };
        let done = if ready { std::fs::write(path, b"") } else { std::fs::remove_file(path) };
        match done {
            Err(error) if ready || error.kind() != std::io::ErrorKind::NotFound => {
                warn!(
                    "cannot {} ready file '{}': {error}",
                    if ready { "write" } else { "remove" },
                    path.display()
                );
            }
            Ok(()) | Err(_) => {}
        }
    }
}
