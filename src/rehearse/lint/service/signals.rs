//! Whether the platform's stop signal is the right one.

use adieu::settings::{Settings, values};
use adieu::signal::Signal;

use crate::lint::finding::{Findings, Position};
use crate::lint::rules::{Rule, Severity};

use super::Service;

impl Service {
    /// The platform's stop signal, where it is set, and whether the file sets it.
    fn asked_by(&self) -> Option<(Signal, Position, bool)> {
        match &self.stop_signal {
            Some(spot) => spot.value.parse().ok().map(|signal| (signal, spot.place, true)),
            None => {
                let place = self.command.as_ref().map_or(self.place, |command| command.place);
                self.usual_signal.map(|signal| (signal, place, false))
            }
        }
    }

    pub(super) fn check_request(&self, settings: &Settings, findings: &mut Findings) {
        let Some((signal, place, _)) = self.asked_by() else { return };
        if !signal.is_catchable() || settings.plan.stop_on.contains(signal) {
            return;
        }
        let list: Vec<String> =
            settings.plan.stop_on.iter().chain([signal]).map(|signal| signal.to_string()).collect();
        let message = format!("the platform stops with {signal}, which is no stop request for adieu");
        findings
            .add(Rule::StopSignalNoRequest, &self.subject, place, message)
            .remedy(format!("let the platform send TERM, or set ADIEU_STOP_ON={}", list.join(",")));
    }

    pub(super) fn check_signal(&self, findings: &mut Findings) {
        if let Some(spot) = &self.stop_signal
            && let Err(why) = values::signal(&spot.value)
        {
            findings
                .add(Rule::StopSignalWrong, &self.subject, spot.place, why)
                .weigh(Severity::Error)
                .remedy("write a signal's name, such as SIGTERM");
            return;
        }
        let Some((signal, place, written)) = self.asked_by() else { return };
        if !signal.is_catchable() {
            let message = format!("the stop signal is {signal}");
            findings.add(Rule::StopSignalKill, &self.subject, place, message);
            return;
        }
        if self.has_adieu() || self.hook_may_stop() {
            return;
        }
        let Some(program) = self.program() else { return };
        let Some(right) = program.asks.and_then(|name| name.parse::<Signal>().ok()) else { return };
        if signal == right || program.schedule.is_none() {
            return;
        }
        let how = if written { "here" } else { "by default" };
        let message = format!("{} gets {signal} {how}, but stops gracefully on {right}", program.name());
        findings
            .add(Rule::StopSignalWrong, &self.subject, place, message)
            .remedy(format!("set the stop signal to SIG{right}, or run it under adieu, which sends it"));
    }
}
