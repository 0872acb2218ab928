//! Whether a probe by adieu gets an answer.

use adieu::settings::Platform;

use crate::lint::command::base_name;
use crate::lint::finding::{Findings, Position};
use crate::lint::rules::{Rule, Severity};

use super::Service;

impl Service {
    /// A check of the platform runs this command in the container.
    pub(crate) fn check_probe(&self, command: &str, place: Position, findings: &mut Findings) {
        let mut words = command.split([' ', '"', ',', '\'']);
        if !words.any(|word| base_name(word) == "adieu") || !command.contains("--probe") {
            return;
        }
        let Some(Ok(settings)) = self.settings() else { return };
        let known = command.contains("--health") || self.env.iter().any(|(name, _)| name == "ADIEU_HEALTH");
        let message = match (settings.ready.health, known) {
            (Some(_), true) => return,
            (Some(_), false) => {
                "adieu --probe does not know adieu's health address, which only --health sets"
            }
            (None, _) => "adieu --probe asks adieu, which has no health address (ADIEU_HEALTH)",
        };
        let finding = findings.add(Rule::ProbeUnanswered, &self.subject, place, message);
        // An image may get the address where it is run.
        if self.platform == Platform::None {
            finding.weigh(Severity::Warning);
        }
    }
}
