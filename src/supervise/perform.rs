//! What the lifecycle decided, done.

use super::{KILL_AGAIN, Supervisor};
use crate::hooks::HookEnvironment;
use crate::lifecycle::{Action, Phase, Schedule, Why};
use crate::moment::Moment;
use crate::settings::values::show_duration;
use crate::signal::Signal;
use crate::sys::{leftovers, reap};
use log::{debug, error, info};

impl Supervisor {
    pub(super) fn perform(&mut self, action: Action, now: Moment) {
        match action {
            Action::Enter(phase, why) => self.enter(phase, why, now),
            Action::Announce(ready) => self.services.announce(ready, now),
            Action::Forward(arrival) => {
                if let Some(signal) = self.settings.signals.rewritten(arrival.signal) {
                    self.app.forward(arrival, signal);
                }
            }
            Action::Ignore(arrival) => {
                debug!("{} changes nothing now", arrival.signal)
            }
            Action::RunHooks(point) => self.services.run_hooks(point, now, self.hook_environment()),
            Action::CutHooks => self.services.cut_hooks(now),
            Action::Stop(signal) => {
                let as_asked = self.settings.plan.schedule == Schedule::AsAsked;
                let rewritten = self.settings.signals.rewritten(signal).filter(|_| as_asked);
                self.app.stop(rewritten.unwrap_or(signal));
            }
            // Looking for leftovers walks all of /proc when adieu is not PID 1; most apps leave none.
            Action::Sweep | Action::KillLeftovers if reap::none_left() => {}
            Action::Kill | Action::KillLeftovers => {
                if action == Action::Kill {
                    self.note_kill(now);
                } else {
                    self.report.killed_leftovers();
                }
                leftovers::kill();
                self.kill_again_at = Some(now + KILL_AGAIN);
            }
            Action::Sweep => {
                self.report.swept();
                leftovers::signal(&[Signal::TERM, Signal::CONT]);
            }
            Action::Leave(exit) => {
                if !reap::none_left() {
                    leftovers::kill();
                }
                self.leave = Some(exit);
            }
        }
    }

    fn note_kill(&mut self, now: Moment) {
        if let Some(count) = self.services.look_once_more(now) {
            self.report.in_flight(count, now);
        }
        self.report.killed();
    }

    fn hook_environment(&self) -> HookEnvironment {
        HookEnvironment {
            phase: self.lifecycle.phase(),
            app: self.app.pid(),
            exit: self.app.exit(),
            stop_signal: self.lifecycle.stop_asked_by(),
        }
    }

    fn enter(&mut self, phase: Phase, why: Why, now: Moment) {
        self.since = now;
        if let Why::Asked(arrival) = why {
            self.report.asked(arrival, now);
        }
        crate::log::phase(phase.name());
        self.report.enter(phase, &reason(why), now);
        let rest = self.lifecycle.grace_over().map(|over| over.since(now));
        self.services.enter(phase, rest, now);
        if let (Phase::PreStop, Why::Asked(arrival)) = (phase, why) {
            crate::log::stop_asked(now);
            info!(
                event = "stop-requested", signal = arrival.signal.to_string().as_str();
                "stop asked for by {} from {}: not ready from now on, serving on for {}",
                arrival.signal,
                arrival.from,
                show_duration(self.settings.plan.pre_stop)
            );
            return;
        }
        match phase {
            Phase::Stopping => info!(event = "phase"; "stopping: {}", reason(why)),
            Phase::Killing => info!(event = "phase"; "killing: the grace is nearly over"),
            Phase::Gone if why == Why::Unkillable => {
                error!(event = "phase"; "leaving although processes are left that the kernel cannot end")
            }
            Phase::Starting
            | Phase::Running
            | Phase::PreStop
            | Phase::Draining
            | Phase::Sweeping
            | Phase::Leaving
            | Phase::Gone => debug!(event = "phase"; "{}: {}", phase.name(), reason(why)),
        }
    }
}

fn reason(why: Why) -> String {
    match why {
        Why::Started => "started".to_owned(),
        Why::Ready => "the checks pass".to_owned(),
        Why::Asked(arrival) => format!("asked for by {}", arrival.signal),
        Why::SleepOver => "the pre-stop sleep is over".to_owned(),
        Why::Drained => "nothing is in flight".to_owned(),
        Why::DrainTimeout => "the drain timeout is over".to_owned(),
        Why::Pinned => "clients never stop asking".to_owned(),
        Why::Hurry(signal) => format!("hurried by {}", signal),
        Why::AppEnded => "the app has ended".to_owned(),
        Why::TimeUp => "time is up".to_owned(),
        Why::NothingLeft => "nothing is left".to_owned(),
        Why::HooksEnded => "the hooks have ended".to_owned(),
        Why::Unkillable => "some processes cannot be killed".to_owned(),
    }
}
