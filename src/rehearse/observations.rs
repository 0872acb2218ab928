//! Makes the recording from what clients, watchers and the platform saw: their times are of the
//! monotonic clock, those of the recording count from the stop request.

use std::time::{Duration, Instant};

use super::live::LiveRun;
use super::load::SentRequest;
use super::plan::{RehearsalPlan, short};
use super::recording::{
    AdieuReport, At, ConnectionEnd, DatabaseConnection, End, Isolation, Limits, LoadTarget, Mode,
    ReadinessSeen, Recording, Request,
};
use super::session::{RehearsalError, Session};
use super::shutdown::Shutdown;
use super::snapshot::Socket;
use super::watch::{AppHistory, ReadinessAnswer};

/// A process that was held at its exit ends soon after its release. If it does not, only its first
/// thread had ended, and the snapshot is not the last one.
const EXIT_TAKES: Duration = Duration::from_millis(500);

/// What is known after the stop; its times are of the monotonic clock.
pub(crate) struct Observations {
    pub(crate) asked: Instant,
    pub(crate) ready_after: Duration,
    pub(crate) shutdown: Shutdown,
    pub(crate) ports: Vec<u16>,
    pub(crate) targets: Vec<LoadTarget>,
    pub(crate) question: Option<String>,
    pub(crate) mode: Mode,
    pub(crate) isolation: Isolation,
    pub(crate) adieu_report: Option<AdieuReport>,
}

impl Observations {
    /// Rounded down both before and after the stop, so that no duration across it becomes shorter.
    fn at(&self, time: Instant) -> At {
        let after = time.saturating_duration_since(self.asked).as_millis() as i64;
        let before = self.asked.saturating_duration_since(time).as_nanos().div_ceil(1_000_000) as i64;
        At(after - before)
    }

    /// Makes the recording.
    ///
    /// # Errors
    /// The user interrupts, or a thread has panicked.
    pub(crate) fn write_up(
        mut self,
        plan: &RehearsalPlan,
        session: &Session,
        live: LiveRun,
    ) -> Result<Recording, RehearsalError> {
        let (mut requests, mut moved_on) = (Vec::new(), Vec::new());
        for client in live.clients {
            let log = session.join(client)?;
            requests.extend(log.sent.into_iter().map(|sent| self.request(sent)));
            moved_on.extend(log.moved_on.map(|at| self.at(at)));
        }
        let mut history = session.join(live.history.end())?;
        let held = self
            .shutdown
            .at_exit
            .take()
            .filter(|(at, _)| self.shutdown.ended.duration_since(*at) < EXIT_TAKES);
        let held_at_exit = held.is_some();
        history.extend(held);
        let answers = match live.readiness {
            Some(readiness) => session.join(readiness.end())?,
            None => Vec::new(),
        };
        let said_so = |(at, answer): &&(Instant, ReadinessAnswer)| {
            *at >= self.asked && *answer == ReadinessAnswer::NotReady
        };
        let turned = answers.iter().find(said_so).map(|(at, _)| self.at(*at));
        Ok(Recording {
            app: plan.app.clone(),
            mode: plan.mode,
            isolation: self.isolation.clone(),
            limits: Limits {
                platform: plan.limits.platform.name().to_owned(),
                grace_ms: plan.limits.grace.as_millis() as u64,
                hook_ms: plan.limits.hook.as_millis() as u64,
                removal_ms: plan.limits.removal.as_millis() as u64,
                stop_signal: short(plan.limits.stop_signal).to_owned(),
            },
            ready_after_ms: self.ready_after.as_millis() as u64,
            requests,
            moved_on,
            readiness: ReadinessSeen { url: self.question.clone(), turned },
            adieu_report: self.adieu_report.clone(),
            closed: history.closed_after(self.asked, &self.ports).map(|at| self.at(at)),
            leftovers: self.leftovers(&history),
            databases: self.databases(&history),
            last_look: self.at(history.last),
            held_at_exit,
            killed: self.shutdown.killed.map(|at| self.at(at)),
            end: End { at: self.at(self.shutdown.ended), exit: self.shutdown.exit },
            ports: self.ports,
            targets: self.targets,
            lints: plan.notes.clone(),
        })
    }

    fn request(&self, sent: SentRequest) -> Request {
        Request {
            client: sent.client,
            connection: sent.connection,
            target: sent.target,
            from: self.at(sent.from),
            to: self.at(sent.to),
            fate: sent.fate,
        }
    }

    /// The names of the processes in the last snapshot, without the app's first process.
    fn leftovers(&self, history: &AppHistory) -> Vec<String> {
        let Some(first) =
            history.at(self.asked).and_then(|snapshot| snapshot.processes.iter().map(|seen| seen.pid).min())
        else {
            return Vec::new();
        };
        let Some(last) = history.last_look() else {
            return Vec::new();
        };
        let app_lives = last.processes.iter().any(|seen| seen.pid == first);
        if self.mode != Mode::Bare && app_lives {
            // The app was still alive in the last snapshot: what it left behind was not seen.
            return Vec::new();
        }
        last.processes.iter().filter(|seen| seen.pid != first).map(|seen| seen.name.clone()).collect()
    }

    fn databases(&self, history: &AppHistory) -> Vec<DatabaseConnection> {
        let Some(snapshot) = history.at(self.asked) else {
            return Vec::new();
        };
        let first = snapshot.processes.iter().map(|seen| seen.pid).min();
        let note = |line: &Socket| DatabaseConnection {
            local: line.local,
            remote: line.remote,
            main: Some(line.owner) == first,
            end: match history.end_of(line, self.asked) {
                ConnectionEnd::Closed(at) => ConnectionEnd::Closed(self.at(at)),
                ConnectionEnd::WithOwner => ConnectionEnd::WithOwner,
                ConnectionEnd::Open => ConnectionEnd::Open,
            },
        };
        snapshot.databases.iter().map(note).collect()
    }
}
