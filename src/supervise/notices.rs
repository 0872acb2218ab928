//! Lines for whoever operates the container, about what is no phase of a stop.

use crate::moment::show_duration;
use crate::process::Exit;
use crate::settings::Settings;
use crate::signal::Signal;
use crate::sys::memory;
use log::{info, warn};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The one line before anything happens: what an operator needs to know who is there, and where to
/// look further.
pub(super) fn started(settings: &Settings) {
    let (platform, grace) = (settings.platform.name(), show_duration(settings.plan.grace));
    info!(
        event = "started", version = VERSION, platform = platform, grace = grace.as_str();
        "version {VERSION}, platform {platform}, grace {grace}; --check shows the stop, -v says more"
    );
}

/// The app died although nobody has asked for a stop. A person's Ctrl-C and hangup are no reason to
/// worry.
pub(super) fn app_died(signal: Signal) {
    let (name, status) = (signal.to_string(), Exit::Killed(signal).code());
    let name = name.as_str();
    match (signal, memory::oom_kills()) {
        (Signal::HUP | Signal::INT | Signal::TERM, _) => {
            info!(event = "app-died", signal = name, status = status; "the app died of {name}, without a stop request");
        }
        (Signal::KILL, Some(kills @ 1..)) => warn!(
            event = "app-died", signal = name, status = status, oom_kills = kills;
            "the app was killed, without a stop request; the kernel killed {kills} times here for lack of memory"
        ),
        _ => {
            warn!(event = "app-died", signal = name, status = status; "the app died of {name}, without a stop request");
        }
    }
}
