//! `adieu --wait`: a preStop hook beside any other PID 1. Sleeps the pre-stop sleep, drains, and
//! lets clients go, for whatever the container's other processes listen on. Nothing is signalled:
//! that the stop follows is up to whoever runs the hook.

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

/// Waits until nothing is in flight, or time is up. Returns the exit status, which is 0: a hook
/// that fails changes nothing but the events of its pod.
///
/// Ended early by TERM or INT; killed by KILL, it may leave connections corked, whose answers then
/// come up to 200 ms late.
pub(crate) fn run(settings: &WaitSettings) -> c_int {
    let clock = Clock::start();
    crate::log::start(&settings.log.filter, settings.log.json, clock);
    let signals = Signals::open();
    // Everything in the container descends from its init, but for what was started beside it, as we
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
            Some(Event::Pinned) => break "clients never stop asking",
            Some(_) => break "nothing is in flight",
            None => {}
        }
        if now >= end {
            break "time is up";
        }
        if is_asked_to_end(&signals, &mut draining) {
            break "asked to end";
        }
        let until = [Some(end), (!begun).then_some(begin), draining.deadline()].into_iter().flatten().min();
        let mut fds = PollFds::new();
        if let Some(descriptor) = signals.descriptor() {
            fds.readable(descriptor);
        }
        draining.poll_fds(&mut fds);
        fds.wait(until, now);
    };
    draining.end();
    info!("waited {}: {why}", show_measured(clock.now().since_start()));
    0
}

/// Takes signals, and the end of a check's process.
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
