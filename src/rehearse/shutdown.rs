//! The stop, as a platform does it: the signal, the removal from the balancer, and SIGKILL when the
//! grace is over.

use std::time::{Duration, Instant};

use super::live::{LiveRun, observer};
use super::plan::{RehearsalPlan, short};
use super::recording::RecordedExit;
use super::sandbox::{Sandbox, SandboxEvent};
use super::session::{POLL, RehearsalError, Session};
use super::snapshot::Snapshot;

/// How the app ended.
pub(crate) struct Shutdown {
    pub(crate) ended: Instant,
    pub(crate) exit: RecordedExit,
    pub(crate) killed: Option<Instant>,
    /// A snapshot of the app while it was held at its exit.
    pub(crate) at_exit: Option<(Instant, Snapshot)>,
}

/// What the platform still has to do, with its deadlines.
struct Deadlines {
    signal: Option<Instant>,
    removal: Option<Instant>,
    kill: Option<Instant>,
}

impl Deadlines {
    /// The time until the next deadline or the next check for an interrupt.
    fn pause(&self, now: Instant) -> Duration {
        let due = [self.signal, self.removal, self.kill].into_iter().flatten();
        due.map(|time| time.saturating_duration_since(now)).chain([POLL]).min().unwrap_or(POLL)
    }
}

/// Whether the deadline has passed; if so, it is cleared.
fn due(time: &mut Option<Instant>, now: Instant) -> bool {
    time.take_if(|time| *time <= now).is_some()
}

/// Plays the balancer and the platform until the app is gone and the balancer sends nothing more.
///
/// # Errors
/// The user interrupts.
pub(crate) fn shut_down(
    plan: &RehearsalPlan,
    session: &Session,
    sandbox: &Sandbox,
    live: &LiveRun,
    asked: Instant,
) -> Result<Shutdown, RehearsalError> {
    let (label, limits) = (plan.mode.label(), &plan.limits);
    session.progress.say(&format!("{label}: asked to stop with SIG{}", short(limits.stop_signal)));
    let mut deadlines = Deadlines {
        signal: Some(asked + limits.hook),
        removal: Some(asked + limits.removal),
        kill: Some(asked + limits.grace + sandbox.kills_itself().unwrap_or_default()),
    };
    let mut observer = observer(plan, sandbox);
    let (mut killed, mut at_exit, mut end) = (None, None, None);
    loop {
        session.check()?;
        let now = Instant::now();
        if due(&mut deadlines.signal, now) {
            sandbox.ask_to_stop(limits.stop_signal, limits.grace);
        }
        if due(&mut deadlines.removal, now) {
            live.balancer.remove();
        }
        if due(&mut deadlines.kill, now) {
            sandbox.kill();
            killed = Some(now);
        }
        session.progress.clock(label, now.duration_since(asked), limits.grace);
        match (end, deadlines.removal) {
            (Some((ended, exit)), None) => return Ok(Shutdown { ended, exit, killed, at_exit }),
            (Some(_), Some(_)) => {
                let _removal = live.balancer.routes_after(deadlines.pause(now));
                continue;
            }
            (None, _) => {}
        }
        match sandbox.event_within(deadlines.pause(now)) {
            Some(SandboxEvent::Exiting) => {
                at_exit = Some((Instant::now(), observer.snapshot()));
                sandbox.release();
            }
            Some(SandboxEvent::Ended(exit)) => {
                let at = sandbox.ended().unwrap_or_else(Instant::now);
                let by_engine = sandbox.kills_itself().is_some() && exit == RecordedExit::Status(137);
                killed = killed.or((by_engine && at >= asked + limits.grace).then_some(at));
                end = Some((at, exit));
                deadlines.kill = None;
            }
            None => {}
        }
    }
}
