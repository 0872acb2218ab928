//! What the lifecycle decided, done.

use super::{KILL_AGAIN, Supervisor};
use crate::hooks::News;
use crate::lifecycle::{Action, Moment, Phase, Sender, Signal, Why};
use crate::say;
use crate::settings::values::show_duration;
use crate::sys::{leftovers, reap, signals};
use log::{debug, error, info};

impl Supervisor {
    pub(super) fn perform(&mut self, action: Action, now: Moment) {
        match action {
            Action::Enter(phase, why) => self.enter(phase, why, now),
            Action::Announce(ready) => self.outside.announce(ready, now),
            Action::Forward(arrival) => {
                if let Some(signal) = self.settings.signals.rewritten(arrival.signal) {
                    self.app.forward(arrival, signal);
                }
            }
            Action::Ignore(arrival) => {
                debug!("{} changes nothing now", signals::name(arrival.signal))
            }
            Action::RunHooks(stage) => self.outside.run_hooks(stage, now, self.news()),
            Action::CutHooks => self.outside.cut_hooks(now),
            Action::Stop(signal) => {
                let as_asked = self.settings.plan.schedule.is_empty();
                let rewritten = self.settings.signals.rewritten(signal).filter(|_| as_asked);
                self.app.stop(rewritten.unwrap_or(signal));
            }
            // Looking for leftovers walks all of /proc when adieu is not PID 1; most apps leave none.
            Action::Sweep | Action::KillLeftovers if reap::none_left() => {}
            Action::Kill | Action::KillLeftovers => {
                if action == Action::Kill {
                    self.note_kill(now);
                } else {
                    self.story.killed_leftovers();
                }
                leftovers::kill();
                self.kill_again_at = Some(now + KILL_AGAIN);
            }
            Action::Sweep => {
                self.story.swept();
                leftovers::signal(&[Signal::TERM, signals::CONT]);
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
        if let Some(count) = self.outside.look_once_more(now) {
            self.story.in_flight(count, now);
        }
        self.story.killed();
    }

    fn news(&self) -> News {
        News {
            phase: self.lifecycle.phase(),
            app: self.app.pid(),
            exit: self.app.exit(),
            stop_signal: self.lifecycle.stop_asked_by(),
        }
    }

    fn enter(&mut self, phase: Phase, why: Why, now: Moment) {
        self.since = now;
        if let Why::Asked(arrival) = why {
            self.story.asked(arrival, now);
        }
        self.story.enter(phase, &reason(why), now);
        let rest = self.lifecycle.grace_over().map(|over| over.saturating_sub(now));
        self.outside.enter(phase, rest, now);
        if let (Phase::PreStop, Why::Asked(arrival)) = (phase, why) {
            say::stop_asked(now);
            info!(
                "stop asked for by {} from {}: not ready from now on, serving on for {}",
                signals::name(arrival.signal),
                sender(arrival.from),
                show_duration(self.settings.plan.pre_stop)
            );
            return;
        }
        match phase {
            Phase::Stopping => info!("stopping: {}", reason(why)),
            Phase::Killing => info!("killing: the grace is nearly over"),
            Phase::Gone if why == Why::Unkillable => {
                error!("leaving although processes are left that the kernel cannot end")
            }
            _ => debug!("{phase:?}: {}", reason(why)),
        }
    }
}

pub(super) fn sender(from: Sender) -> String {
    match from {
        Sender::Kernel => "the kernel".to_owned(),
        Sender::Process(0) => "outside".to_owned(),
        Sender::Process(pid) => format!("pid {pid}"),
    }
}

fn reason(why: Why) -> String {
    match why {
        Why::Started => "started".to_owned(),
        Why::Ready => "the checks pass".to_owned(),
        Why::Asked(arrival) => format!("asked for by {}", signals::name(arrival.signal)),
        Why::SleepOver => "the pre-stop sleep is over".to_owned(),
        Why::Drained => "nothing is in flight".to_owned(),
        Why::DrainTimeout => "the drain timeout is over".to_owned(),
        Why::Pinned => "clients never stop asking".to_owned(),
        Why::Hurry(signal) => format!("hurried by {}", signals::name(signal)),
        Why::AppEnded => "the app has ended".to_owned(),
        Why::TimeUp => "time is up".to_owned(),
        Why::NothingLeft => "nothing is left".to_owned(),
        Why::HooksEnded => "the hooks have ended".to_owned(),
        Why::Unkillable => "some processes cannot be killed".to_owned(),
    }
}
