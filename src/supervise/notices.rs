//! Log lines for the operator that belong to no phase of a stop.

use crate::moment::show_duration;
use crate::process::Exit;
use crate::settings::Settings;
use crate::signal::Signal;
use crate::sys::memory;
use log::{info, warn};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The one line at the start: what runs, and where to find more.
pub(super) fn started(settings: &Settings) {
    let (platform, grace) = (settings.platform.name(), show_duration(settings.plan.grace));
    info!(
        event = "started", version = VERSION, platform = platform, grace = grace.as_str();
        "version {VERSION}, platform {platform}, grace {grace}; --check shows the stop, -v logs more"
    );
}

/// The app died of a signal without a stop request. A person's Ctrl-C or hangup needs no warning.
pub(super) fn app_died(signal: Signal) {
    let (name, status) = (signal.to_string(), Exit::Killed(signal).code());
    let name = name.as_str();
    match (signal, memory::oom_kills()) {
        (Signal::HUP | Signal::INT | Signal::TERM, _) => {
            info!(event = "app-died", signal = name, status = status; "the app died of {name} without a stop request");
        }
        (Signal::KILL, Some(kills @ 1..)) => warn!(
            event = "app-died", signal = name, status = status, oom_kills = kills;
            "the app was killed without a stop request; the kernel killed {kills} times in this control group for lack of memory"
        ),
        _ => {
            warn!(event = "app-died", signal = name, status = status; "the app died of {name} without a stop request");
        }
    }
}
