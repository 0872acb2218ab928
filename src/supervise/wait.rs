//! `adieu --wait`: a preStop hook beside any other PID 1. Sleeps the pre-stop sleep, drains, and
//! lets clients go, on all ports that the container's other processes listen on. It signals
//! nothing: the platform stops the app after the hook.

use super::draining::Draining;
use crate::lifecycle::Event;
use crate::moment::{Moment, show_measured};
use crate::settings::WaitSettings;
use crate::signal::Signal;
use crate::sys::poll::PollFds;
use crate::sys::reap::{self, Reaped};
use crate::sys::signals::Signals;
use crate::sys::{self, Clock};
use log::info;
use std::ffi::c_int;

/// Waits until nothing is in flight or the time is over. Returns the exit status, always 0: a hook
/// that fails only adds an event to its pod.
///
/// TERM or INT end it early. KILL may leave connections corked, whose answers then come up to
/// 200 ms late.
// Kept out of the frame of the task that runs the app.
#[inline(never)]
pub(crate) fn run(settings: &WaitSettings) -> c_int {
    let clock = Clock::start();
    crate::log::start(&settings.log.filter, settings.log.json, clock);
    let mut signals = Signals::new();
    // Everything in the container descends from its init, except what was started by exec, as we
    // were.
    let mut draining = Draining::new(&settings.drain, sys::INIT, &settings.own_ports);
    let (begin, end) = (Moment::START + settings.pre_stop, Moment::START + settings.until);
    let mut begun = false;
    draining.watch(Moment::START);
    let why = loop {
        let now = clock.now();
        if now >= begin && !begun {
            begun = true;
            draining.begin(now);
        }
        match draining.serve(now) {
            Some(Event::Pinned) => break "clients never stop sending requests",
            Some(_) => break "nothing is in flight",
            None => {}
        }
        if now >= end {
            break "the time is over";
        }
        if is_asked_to_end(&signals, &mut draining) {
            break "stopped by a signal";
        }
        let until = [Some(end), (!begun).then_some(begin), draining.deadline()].into_iter().flatten().min();
        let mut fds = PollFds::new();
        if let Some(descriptor) = signals.descriptor() {
            fds.readable(descriptor);
        }
        draining.poll_fds(&mut fds);
        fds.wait(until, now);
        draining.hear();
    };
    draining.end();
    info!("waited {}: {why}", show_measured(clock.now().since_start()));
    0
}

/// Takes signals, and reaps checks; true when TERM or INT has come.
fn is_asked_to_end(signals: &Signals, draining: &mut Draining) -> bool {
    while let Some(arrival) = signals.next() {
        if [Signal::TERM, Signal::INT].contains(&arrival.signal) {
            return true;
        }
    }
    while let Reaped::Ended(pid, exit) = reap::any() {
        draining.reaped(pid, exit);
    }
    false
}
