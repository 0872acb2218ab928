//! The sockets through which others reach adieu: the health endpoint, the service manager's socket, and the app's. They
//! are opened before the app is started, since a port that is taken must be found out while nothing has happened yet.

use crate::moment::Moment;
use crate::notify::{Inbound, Outbound};
use crate::ready::endpoint::Health;
use crate::settings::{Refusal, Settings, Target};
use crate::sys::describe;
use log::warn;
use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::time::Duration;

pub struct Sockets {
    pub health: Option<Health>,
    /// The service manager, if it gave us a socket.
    pub manager: Option<Outbound>,
    /// Where an app that speaks sd_notify speaks to.
    pub app: Option<Inbound>,
}

impl Sockets {
    /// # Errors
    /// A health address that cannot be listened on.
    pub fn open(settings: &Settings) -> Result<Sockets, Refusal> {
        let health = settings.ready.health.map(|address| {
            Health::bind(address).map_err(|error| {
                Refusal(format!("cannot listen on health address '{address}': {}", describe(&error)))
            })
        });
        let manager = manager();
        let wanted = manager.is_some() || settings.ready.checks.contains(&Target::Notify);
        let app = if wanted { or_warn(Inbound::open()) } else { None };
        Ok(Sockets { health: health.transpose()?, manager, app })
    }

    /// What the app is told of them in its environment. A watchdog that is meant for adieu is the app's as well, if it
    /// knows how to feed one: without WATCHDOG_PID it is meant for whoever reads it.
    pub fn variables(&self) -> Vec<CString> {
        let notify = self.app.as_ref().map(|app| format!("NOTIFY_SOCKET={}", app.address()));
        let watchdog = notify.is_some() && watchdog().is_some();
        let watchdog = watchdog.then(|| "WATCHDOG_PID".to_owned());
        notify.into_iter().chain(watchdog).filter_map(|variable| CString::new(variable).ok()).collect()
    }

    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let health = self.health.as_ref().map(Health::descriptor);
        let manager = self.manager.as_ref().map(Outbound::descriptor);
        let app = self.app.as_ref().map(Inbound::descriptor);
        [health, manager, app].into_iter().flatten().collect()
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

/// WATCHDOG_USEC, when it is meant for us ([sd_watchdog_enabled(3)]).
///
/// [sd_watchdog_enabled(3)]: https://man7.org/linux/man-pages/man3/sd_watchdog_enabled.3.html
fn watchdog() -> Option<Duration> {
    let of = |name| std::env::var(name).ok();
    let for_us = of("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let interval: u64 = of("WATCHDOG_USEC")?.parse().ok()?;
    (for_us && interval > 0).then_some(Duration::from_micros(interval))
}

/// The app runs without notifications rather than not at all.
fn or_warn<T>(opened: Result<T, String>) -> Option<T> {
    opened.map_err(|error| warn!("{error}")).ok()
}
