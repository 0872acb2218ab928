//! From what clients, watchers and platform saw, each on the clock of the machine, to the recording, on the time scale of the stop.

use std::time::{Duration, Instant};

use super::load::Sent;
use super::look::Line;
use super::perform::{Close, Show, Trouble, short};
use super::plan::Plan;
use super::recording::{
    At, End, Ground, Limits, LineEnd, Outbound, Readiness, Recording, Request, Target, Told, Way,
};
use super::watch::{Answer, Scenes, Watcher};

/// A process held at its exit is gone soon after it is let go; otherwise only its first thread had ended.
const BRINK: Duration = Duration::from_millis(500);

/// What is known when all is over, on the clock of the machine.
pub struct Notes {
    pub asked: Instant,
    pub ready_after: Duration,
    pub close: Close,
    pub ports: Vec<u16>,
    pub targets: Vec<Target>,
    pub question: Option<String>,
    pub way: Way,
    pub ground: Ground,
    pub told: Option<Told>,
}

impl Notes {
    fn at(&self, time: Instant) -> At {
        let after = time.saturating_duration_since(self.asked).as_millis() as i64;
        let before = self.asked.saturating_duration_since(time).as_millis() as i64;
        At(after - before)
    }

    /// Puts together what everybody saw.
    ///
    /// # Errors
    /// When a thread has broken down.
    pub fn write_up(mut self, plan: &Plan, show: Show) -> Result<Recording, Trouble> {
        let lost_thread = || Trouble::Cannot("a watcher or client of the rehearsal broke down".into());
        let mut requests = Vec::new();
        for user in show.users {
            let sent = user.join().map_err(|_| lost_thread())?;
            requests.extend(sent.into_iter().map(|sent| self.request(sent)));
        }
        let mut scenes = show.scenes.what_it_saw().ok_or_else(lost_thread)?;
        let held = self.close.frame.take().filter(|(at, _)| self.close.ended.duration_since(*at) < BRINK);
        let held_at_exit = held.is_some();
        scenes.extend(held);
        let answers = show.readiness.and_then(Watcher::what_it_saw).unwrap_or_default();
        let said_so = |(at, answer): &&(Instant, Answer)| *at >= self.asked && *answer == Answer::NotReady;
        let turned = answers.iter().find(said_so).map(|(at, _)| self.at(*at));
        Ok(Recording {
            app: plan.app.clone(),
            way: plan.way,
            ground: self.ground.clone(),
            limits: Limits {
                platform: plan.limits.platform.name().to_owned(),
                grace_ms: plan.limits.grace.as_millis() as u64,
                hook_ms: plan.limits.hook.as_millis() as u64,
                removal_ms: plan.limits.removal.as_millis() as u64,
                stop_signal: short(plan.limits.stop_signal).to_owned(),
            },
            ready_after_ms: self.ready_after.as_millis() as u64,
            requests,
            readiness: Readiness { url: self.question.clone(), turned },
            told: self.told.clone(),
            closed: scenes.closed_after(self.asked, &self.ports).map(|at| self.at(at)),
            leftovers: self.leftovers(&scenes),
            outbound: self.outbound(&scenes),
            last_look: self.at(scenes.last),
            held_at_exit,
            killed: self.close.killed.map(|at| self.at(at)),
            end: End { at: self.at(self.close.ended), ending: self.close.ending },
            ports: self.ports,
            targets: self.targets,
            misfits: plan.misfits.clone(),
        })
    }

    fn request(&self, sent: Sent) -> Request {
        Request {
            client: sent.client,
            connection: sent.connection,
            target: sent.target,
            from: self.at(sent.from),
            to: self.at(sent.to),
            fate: sent.fate,
        }
    }

    /// Names of what the last look saw besides the main process (bare) or besides the app (under an init).
    fn leftovers(&self, scenes: &Scenes) -> Vec<String> {
        let Some(first) =
            scenes.at(self.asked).and_then(|look| look.processes.iter().map(|seen| seen.pid).min())
        else {
            return Vec::new();
        };
        let Some(last) = scenes.last_look() else {
            return Vec::new();
        };
        let app_lives = last.processes.iter().any(|seen| seen.pid == first);
        if self.way != Way::Bare && app_lives {
            // The app was seen alive to the last: what it would have left behind was not seen.
            return Vec::new();
        }
        last.processes.iter().filter(|seen| seen.pid != first).map(|seen| seen.name.clone()).collect()
    }

    fn outbound(&self, scenes: &Scenes) -> Vec<Outbound> {
        let Some(look) = scenes.at(self.asked) else {
            return Vec::new();
        };
        let first = look.processes.iter().map(|seen| seen.pid).min();
        let note = |line: &Line| Outbound {
            local: line.local,
            remote: line.remote,
            main: Some(line.owner) == first,
            end: match scenes.end_of(line, self.asked) {
                LineEnd::Closed(at) => LineEnd::Closed(self.at(at)),
                LineEnd::WithOwner => LineEnd::WithOwner,
                LineEnd::Open => LineEnd::Open,
            },
        };
        look.outbound.iter().map(note).collect()
    }
}
