//! The drain as the loop sees it: the looks at connections, the user's own check, and the one event
//! that both lead to.

use crate::drain::{Drain, Look, Verdict};
use crate::lifecycle::Event;
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::ready::checks::DrainCheck;
use crate::report::{Seen, Sight};
use crate::settings::DrainSettings;
use crate::sys::poll::PollFds;
use log::info;

pub(super) struct Draining {
    settings: DrainSettings,
    app: Pid,
    own_ports: Vec<u16>,
    /// Made when there is something to look at, since it is large; never where the drain is off.
    drain: Option<Box<Drain>>,
    check: Option<DrainCheck>,
    /// The pre-stop sleep is over, and the app has not got its stop signal.
    active: bool,
    /// The last line that was written.
    logged: Option<String>,
    last_look: Option<Look>,
}

impl Draining {
    /// `own_ports` are adieu's own and are never counted.
    pub(super) fn new(settings: &DrainSettings, app: Pid, own_ports: &[u16]) -> Draining {
        Draining {
            settings: settings.clone(),
            app,
            own_ports: own_ports.to_vec(),
            drain: None,
            check: settings.check.as_ref().map(DrainCheck::new),
            active: false,
            logged: None,
            last_look: None,
        }
    }

    fn drain(&mut self) -> Option<&mut Drain> {
        if !self.settings.on {
            return None;
        }
        let made = || Box::new(Drain::new(&self.settings, self.app, &self.own_ports));
        Some(self.drain.get_or_insert_with(made))
    }

    pub(super) fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Some(arrivals) = self.drain.as_ref().and_then(|drain| drain.descriptor()) {
            fds.readable(arrivals);
        }
        if let Some(check) = &self.check {
            check.poll_fds(fds);
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        let check = self.check.as_ref().and_then(DrainCheck::deadline);
        let look = self.drain.as_ref().and_then(|drain| drain.deadline());
        [check, look].into_iter().flatten().min()
    }

    /// A stop was requested: looks begin, so that connections are known when the pre-stop sleep
    /// ends.
    pub(super) fn watch(&mut self, now: Moment) {
        if let Some(drain) = self.drain() {
            drain.watch(now);
        }
    }

    /// The pre-stop sleep is over: from here on the wait can end.
    pub(super) fn begin(&mut self, now: Moment) {
        self.active = true;
        if let Some(drain) = self.drain() {
            drain.begin(now);
        }
        if let Some(check) = &mut self.check {
            check.begin();
        }
    }

    /// The app is being stopped, or has ended.
    pub(super) fn end(&mut self) {
        self.active = false;
        if let Some(drain) = &mut self.drain {
            drain.close();
        }
        if let Some(check) = &mut self.check {
            check.end();
        }
    }

    /// The loop has been woken, perhaps by what a client has sent.
    pub(super) fn hear(&mut self) {
        if let Some(drain) = &mut self.drain {
            drain.hear();
        }
    }

    /// Takes a look if one is due; returns an event when the wait is over.
    pub(super) fn serve(&mut self, now: Moment) -> Option<Event> {
        if let Some(check) = &mut self.check {
            check.serve(now);
            let caller = check.asks_from();
            if let Some((caller, drain)) = caller.zip(self.drain()) {
                drain.leave_out(caller);
            }
        }
        let check_idle = self.check.as_ref().is_none_or(DrainCheck::idle);
        let verdict = self.look(now).unwrap_or(Verdict::Idle);
        verdict.event(check_idle).filter(|_| self.active)
    }

    fn look(&mut self, now: Moment) -> Option<Verdict> {
        let drain = self.drain.as_mut().filter(|drain| drain.deadline().is_some())?;
        let look = drain.look(now);
        let verdict = look.verdict;
        if self.active {
            self.log(&look);
        }
        self.last_look = Some(look);
        Some(verdict)
    }

    /// One line whenever the number in flight has changed.
    fn log(&mut self, look: &Look) {
        if look.verdict == Verdict::Blind {
            return;
        }
        let waiting = self.check.as_ref().and_then(DrainCheck::reason);
        let seen = waiting.map_or_else(|| look.to_string(), |reason| format!("{look}; {reason}"));
        if self.logged.as_ref() != Some(&seen) {
            info!(event = "draining", in_flight = look.in_flight; "draining: {seen}");
            self.logged = Some(seen);
        }
    }

    /// The last look, for the report and the pages.
    pub(super) fn sight(&self) -> Sight {
        match &self.last_look {
            None => Sight::NoLook,
            Some(look) if look.verdict == Verdict::Blind => Sight::Blind,
            Some(look) => Sight::Seen(Seen {
                in_flight: look.in_flight,
                idle: look.connections.saturating_sub(look.in_flight.saturating_sub(look.unix)),
                answered: look.answered,
                closed: look.closed,
                let_go: look.let_go,
                listens: look.listens,
            }),
        }
    }

    /// How many requests a kill cuts off now, by a fresh look if it is due.
    pub(super) fn cut_now(&mut self, now: Moment) -> Option<usize> {
        self.drain()?.cut_now(now)
    }

    /// Takes the end of a process; true when it was the check's.
    pub(super) fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.check.as_mut().is_some_and(|check| check.reaped(pid, exit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::CloseSettings;
    use std::time::Duration;

    #[test]
    fn a_drain_that_is_off_looks_at_nothing_and_holds_nobody_up() {
        let settings = DrainSettings {
            on: false,
            ports: vec![],
            outbound: vec![],
            check: None,
            quiet: Duration::from_secs(1),
            longest: Duration::from_secs(10),
            close: CloseSettings::default(),
        };
        let mut off = Draining::new(&settings, crate::sys::own_pid(), &[]);
        off.watch(Moment::START);
        assert_eq!(off.serve(Moment::START), None);
        off.begin(Moment::START);
        assert_eq!((off.deadline(), off.cut_now(Moment::START)), (None, None));
        assert_eq!(off.serve(Moment::START), Verdict::Idle.event(true));
        assert_eq!(off.sight(), Sight::NoLook);
    }
}
