//! What must hold in every life, in one place: for random lives and for the model checker.

use super::super::*;

/// What a life has shown so far, held against the invariants.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub(super) struct Seen {
    phase: Option<Phase>,
    stopped_at: Option<Moment>,
    signalled_at: Option<Moment>,
    left: Option<(Moment, Exit)>,
    app_gone: bool,
    /// How the app ended, when it was seen before adieu left.
    exit: Option<Exit>,
    woken_late_at: Option<Moment>,
}

macro_rules! hold {
    ($condition:expr, $($what:tt)+) => {
        if !$condition {
            return Err(format!($($what)+));
        }
    };
}

impl Seen {
    pub(super) fn woken_late(&mut self, at: Moment) {
        self.woken_late_at = Some(at);
    }

    /// Whether the app had time to act on its first stop signal by then.
    pub(super) fn had_time(&self, by: Moment, plan: &Plan) -> bool {
        let gap = MIN_GAP.min(plan.grace / 4);
        self.signalled_at.is_some_and(|at| by.since(at) >= gap)
    }

    pub(super) fn stop_was_asked_for(&self) -> bool {
        self.stopped_at.is_some()
    }

    pub(super) fn has_left(&self) -> bool {
        self.left.is_some()
    }

    pub(super) fn app_ended(&mut self, exit: Exit) {
        if self.left.is_none() {
            self.exit.get_or_insert(exit);
        }
    }

    /// Takes in what the lifecycle has decided.
    ///
    /// # Errors
    /// The invariant that it breaks.
    pub(super) fn take(&mut self, action: Action, now: Moment, plan: &Plan) -> Result<(), String> {
        hold!(self.left.is_none() || matches!(action, Action::Ignore(_)), "{action:?} after the end");
        let to_the_app = matches!(action, Action::Forward(..) | Action::Stop(_) | Action::Kill);
        hold!(!(to_the_app && self.app_gone), "{action:?} to an app that is gone");
        match action {
            Action::Enter(entered, _) => {
                hold!(self.phase.is_none_or(|before| entered >= before), "{:?} -> {entered:?}", self.phase);
                self.phase = Some(entered);
                self.app_gone |= entered >= Phase::Sweeping;
                if entered == Phase::Stopping {
                    self.signalled_at = Some(now);
                }
            }
            Action::AcceptStop(_) => {
                hold!(self.stopped_at.is_none(), "a second stop");
                self.stopped_at = Some(now);
            }
            Action::Announce(ready) => {
                hold!(!ready || self.stopped_at.is_none(), "ready after a stop request");
            }
            Action::Kill => {
                hold!(self.had_time(now, plan), "killed without time to act");
            }
            Action::Leave(exit) => self.left = Some((now, exit)),
            Action::Stop(_)
            | Action::Forward(..)
            | Action::KillLeftovers
            | Action::KillAgain
            | Action::Ignore(_)
            | Action::RunHooks(_)
            | Action::CutHooks
            | Action::Sweep => {}
        }
        self.left_well(plan)
    }

    /// A stop ends by the grace, or shortly after a late wake-up, and with the app's own status.
    fn left_well(&self, plan: &Plan) -> Result<(), String> {
        let (Some(stopped_at), Some((left_at, exit))) = (self.stopped_at, self.left) else {
            return Ok(());
        };
        let late = self.woken_late_at.map_or(Moment::START, |at| at + MIN_GAP * 2);
        hold!(left_at <= late.max(stopped_at + plan.grace), "left at {left_at:?}, past the grace");
        let expected = self.exit.unwrap_or(Exit::Killed(Signal::KILL));
        hold!(exit == expected, "left with {exit:?}, not with {expected:?}");
        Ok(())
    }
}
