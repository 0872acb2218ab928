//! Whether everything fits into the grace.

use std::time::Duration;

use adieu::lifecycle::{Schedule, Wait};
use adieu::moment::show_duration;
use adieu::settings::{Origin, Platform, Settings, values};

use crate::lint::finding::{Findings, Position};
use crate::lint::rules::{Rule, Severity};

use super::{PreStopHook, Service};

impl Service {
    pub(super) fn check_grace(&self, findings: &mut Findings) {
        let (grace, shown) = (self.whole_grace(), show_duration);
        let key = self.grace_key;
        if grace.is_zero() {
            findings.add(Rule::GraceZero, &self.subject, self.grace_place(), format!("{key} is 0"));
            return;
        }
        let place = self.hook.as_ref().map_or(self.place, |hook| hook.place);
        if self.hook.as_ref().is_some_and(|hook| hook.value == PreStopHook::Endless) {
            // The kubelet's minimumGracePeriodInSeconds.
            let message = format!(
                "the preStop hook never ends by itself: the app gets its stop signal only after the whole {key} of {}, \
                 2s before SIGKILL",
                shown(grace)
            );
            findings
                .add(Rule::GraceOverrun, &self.subject, place, message)
                .remedy("let the hook end: adieu --wait, or a sleep that leaves time for the app's own stop");
            return;
        }
        let hook = self.hook_sleep();
        if self.has_adieu() || hook.is_zero() {
            return;
        }
        let left = grace.saturating_sub(hook);
        if left.is_zero() {
            let message = format!("the preStop hook sleeps {}, but {key} is {}", shown(hook), shown(grace));
            findings
                .add(Rule::GraceOverrun, &self.subject, place, message)
                .remedy(format!("set {key} to {} or more", shown(hook + Duration::from_secs(30))));
        } else if left < Duration::from_secs(5) {
            let message = format!(
                "the preStop hook sleeps {} of {key} {}: {} are left for requests in flight and the app's own stop",
                shown(hook),
                shown(grace),
                shown(left)
            );
            findings
                .add(Rule::GraceOverrun, &self.subject, place, message)
                .weigh(Severity::Warning)
                .remedy(format!("set {key} to {} or more", shown(hook + Duration::from_secs(30))));
        }
    }

    pub(super) fn check_times(&self, settings: &Settings, findings: &mut Findings) {
        let (plan, shown) = (&settings.plan, show_duration);
        let (grace, hook) = (self.whole_grace(), self.hook_sleep());
        let available = grace.saturating_sub(hook);
        let less = if hook.is_zero() {
            String::new()
        } else {
            format!(", minus {} for the preStop hook", shown(hook))
        };
        let (explicit, place) = self.adieu_grace(settings);
        if self.platform == Platform::None {
            // The platform is not known, and so is its grace.
        } else if plan.grace > available {
            let message = format!(
                "adieu plans with a grace of {}{}, but the platform kills {} after the stop request{less}",
                shown(plan.grace),
                if explicit { "" } else { " (the default)" },
                shown(grace),
            );
            findings
                .add(Rule::GraceMismatch, &self.subject, place, message)
                .remedy(format!("set ADIEU_GRACE to {}", shown(available)));
        } else if plan.grace < available && self.hook_is_known() {
            let message = format!(
                "adieu plans with a grace of {}, but the platform waits {}: the rest is never used",
                shown(plan.grace),
                shown(available)
            );
            findings
                .add(Rule::GraceMismatch, &self.subject, place, message)
                .weigh(Severity::Note)
                .remedy(format!("set ADIEU_GRACE to {}", shown(available)));
        }
        self.check_pre_stop(plan.pre_stop, findings);
        self.check_schedule(settings, findings);
    }

    /// adieu's own sleep must not come after a hook that waits.
    fn check_pre_stop(&self, own: Duration, findings: &mut Findings) {
        let Some(hook) = self.hook.as_ref().filter(|_| !own.is_zero()) else { return };
        let before = match &hook.value {
            PreStopHook::Sleep(time) | PreStopHook::SleepFirst(time) => {
                format!("the preStop hook sleeps {}", show_duration(*time))
            }
            PreStopHook::Wait => "adieu --wait drains".to_owned(),
            PreStopHook::Endless | PreStopHook::Other => return,
        };
        let message = format!("{before}, and then adieu's own pre-stop sleep takes {}", show_duration(own));
        findings.add(Rule::PreStopTwice, &self.subject, hook.place, message);
    }

    /// Whether the file sets adieu's grace, and where.
    fn adieu_grace(&self, settings: &Settings) -> (bool, Position) {
        let origin = settings.shown.iter().find(|(name, ..)| *name == "grace").map(|(_, _, origin)| origin);
        let command = self.command.as_ref().map_or(self.place, |command| command.place);
        match origin {
            Some(Origin::Variable(name)) => {
                let found = self.env.iter().find(|(variable, _)| variable == name);
                (true, found.map_or(self.place, |(_, spot)| spot.place))
            }
            Some(Origin::Flag(_) | Origin::File { .. }) => (true, command),
            Some(Origin::Default | Origin::Detected | Origin::Platform(_) | Origin::Program(_)) | None => {
                (false, self.grace_place())
            }
        }
    }

    fn check_schedule(&self, settings: &Settings, findings: &mut Findings) {
        let (plan, shown) = (&settings.plan, show_duration);
        let kill_at = plan.grace.saturating_sub(plan.kill_margin);
        let waits = waits(&plan.schedule);
        let schedule = values::show_schedule(&plan.schedule);
        let place = self.adieu_place("ADIEU_STOP");
        if plan.pre_stop + waits >= kill_at && !waits.is_zero() {
            let message = format!(
                "{schedule} takes {} after a pre-stop sleep of {}, but adieu kills at {}",
                shown(waits),
                shown(plan.pre_stop),
                shown(kill_at)
            );
            findings.add(Rule::ScheduleOverrun, &self.subject, place, message);
            return;
        }
        let drain = plan.drain.unwrap_or_default();
        if plan.pre_stop + drain + waits + Duration::from_secs(1) > kill_at && !drain.is_zero() {
            let message = format!(
                "pre-stop sleep {}, drain timeout {} and schedule waits of {} leave no time before the kill at {}",
                shown(plan.pre_stop),
                shown(drain),
                shown(waits),
                shown(kill_at)
            );
            findings.add(Rule::DrainSqueeze, &self.subject, self.adieu_place("ADIEU_DRAIN_TIMEOUT"), message);
        }
    }
}

/// How long the waits of a schedule take together; a wait until before the kill always fits.
fn waits(schedule: &Schedule) -> Duration {
    let steps = match schedule {
        Schedule::Steps(steps) => steps.as_slice(),
        Schedule::AsAsked | Schedule::Silent => &[],
    };
    let last = steps.len().saturating_sub(1);
    let before_last = steps.iter().take(last);
    before_last
        .map(|step| match step.wait {
            Wait::For(time) => time,
            Wait::UntilBeforeKill(_) => Duration::ZERO,
        })
        .sum()
}
