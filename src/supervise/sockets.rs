//! The sockets to the outside: the health endpoint, the service manager's socket, and the one for
//! the app's notifications. They are opened before the app is started, so that adieu fails early
//! when a port is taken.

use crate::lifecycle::Phase;
use crate::moment::Moment;
use crate::notify::{Inbound, Outbound};
use crate::process::Pid;
use crate::ready::endpoint::Health;
use crate::ready::pages::View;
use crate::settings::{Refusal, Settings, Target};
use crate::signal::Signal;
use crate::sys::poll::PollFds;
use crate::sys::{self, describe};
use log::warn;
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub(super) struct Sockets {
    health: Option<Health>,
    /// The service manager, if it gave us a socket.
    manager: Option<Outbound>,
    /// Where the app sends its notifications.
    app: Option<Inbound>,
}

impl Sockets {
    /// # Errors
    /// A health address that cannot be bound; no socket for the app's notifications when
    /// `--ready notify` needs them.
    pub(super) fn open(settings: &Settings) -> Result<Sockets, Refusal> {
        let health = settings.ready.health.map(|address| {
            Health::bind(address).map_err(|error| {
                Refusal(format!("cannot listen on health address '{address}': {}", describe(&error)))
            })
        });
        let manager = manager();
        let app = if settings.ready.checks.contains(&Target::Notify) {
            let without =
                |error| Refusal(format!("cannot wait for the app's READY=1 ('--ready notify'): {error}"));
            Some(Inbound::open().map_err(without)?)
        } else {
            manager.as_ref().and_then(|_| or_warn(Inbound::open()))
        };
        Ok(Sockets { health: health.transpose()?, manager, app })
    }

    /// The variables for the app. It may feed adieu's watchdog itself: without WATCHDOG_PID every
    /// process that reads WATCHDOG_USEC may.
    pub(super) fn variables(&self) -> Vec<CString> {
        let notify = self.app.as_ref().map(|app| format!("NOTIFY_SOCKET={}", app.address()));
        let watchdog = notify.is_some() && watchdog().is_some();
        let watchdog = watchdog.then(|| "WATCHDOG_PID".to_owned());
        notify.into_iter().chain(watchdog).filter_map(|variable| CString::new(variable).ok()).collect()
    }

    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let health = self.health.as_ref().map(Health::descriptor);
        let manager = self.manager.as_ref().map(Outbound::descriptor);
        let app = self.app.as_ref().map(Inbound::descriptor);
        [health, manager, app].into_iter().flatten().collect()
    }

    /// The port of the health endpoint.
    pub(super) fn health_port(&self) -> Option<u16> {
        let address = self.health.as_ref()?.address().ok()?;
        Some(address.port())
    }

    pub(super) fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Some(health) = &self.health {
            health.poll_fds(fds);
        }
        if let Some(app) = &self.app {
            app.poll_fds(fds);
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let health = self.health.as_ref().and_then(Health::deadline);
        let manager = self.manager.as_ref().and_then(Outbound::deadline);
        let app = self.app.as_ref().and_then(Inbound::deadline);
        [health, manager, app].into_iter().flatten().min()
    }

    /// Takes the end of a process; true when it was a helper of the app's socket.
    pub(super) fn reaped(&mut self, pid: Pid) -> bool {
        self.app.as_mut().is_some_and(|app| app.reaped(pid))
    }

    /// Forwards the app's messages to the service manager; true when it has sent READY=1.
    pub(super) fn serve_notifications(&mut self, now: Moment) -> bool {
        let said_ready = self.app.as_mut().is_some_and(|app| app.serve(self.manager.as_mut(), now));
        if let Some(manager) = &mut self.manager {
            manager.serve(now);
        }
        said_ready
    }

    /// Tells the service manager that a phase begins.
    pub(super) fn enter(&mut self, phase: Phase, rest: Option<Duration>, now: Moment) {
        if let Some(manager) = &mut self.manager {
            manager.enter(phase, rest, now);
        }
    }

    /// Tells the service manager that the app is ready.
    pub(super) fn announce_ready(&mut self, now: Moment) {
        if let Some(manager) = &mut self.manager {
            manager.ready(now);
        }
    }

    /// The app has got this signal. HUP is the reload of systemd (ReloadSignal= by default) and of
    /// daemons in general.
    pub(super) fn forwarded(&mut self, signal: Signal, now: Moment) {
        if let Some(manager) = self.manager.as_mut().filter(|_| signal == Signal::HUP) {
            manager.reload(sys::monotonic_time(), now);
        }
    }

    /// Whether there is a health endpoint.
    pub(super) fn has_endpoint(&self) -> bool {
        self.health.is_some()
    }

    /// Takes the requests that have come to the endpoint, before the signals are read: a probe that
    /// comes after the stop signal must not be answered ready.
    pub(super) fn read_requests(&mut self, now: Moment) {
        if let Some(health) = &mut self.health {
            health.read_requests(now);
        }
    }

    /// Answers at the endpoint, last in the turn, so that answers show the state of this turn.
    pub(super) fn answer(&mut self, now: Moment, view: &View) {
        if let Some(health) = &mut self.health {
            health.serve(now, view);
        }
    }
}

fn manager() -> Option<Outbound> {
    let address = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty())?;
    let mut manager = or_warn(Outbound::open(&address))?;
    if let Some(interval) = watchdog() {
        manager.ping_every(interval, Moment::START);
    }
    Some(manager)
}

/// WATCHDOG_USEC, if it is for our pid ([sd_watchdog_enabled(3)]).
///
/// [sd_watchdog_enabled(3)]: https://man7.org/linux/man-pages/man3/sd_watchdog_enabled.3.html
fn watchdog() -> Option<Duration> {
    let of = |name| std::env::var(name).ok();
    let for_us = of("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let interval: u64 = of("WATCHDOG_USEC")?.parse().ok()?;
    (for_us && interval > 0).then_some(Duration::from_micros(interval))
}

/// Without this socket the app still runs, but without notifications.
fn or_warn<T>(opened: Result<T, String>) -> Option<T> {
    opened.map_err(|error| warn!("{error}")).ok()
}
