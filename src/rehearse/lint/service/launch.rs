//! What is between the platform and the app.

use crate::lint::command::{base_name, behind_launchers, hands_over, shell_line, simple, started_by};
use crate::lint::finding::Findings;
use crate::lint::rules::Rule;

use super::Service;

impl Service {
    pub(super) fn check_launch(&self, findings: &mut Findings) {
        let Some(command) = &self.command else { return };
        let invocation = self.invocation();
        if let (Some(init), Some(_)) = (&invocation.init, &invocation.adieu) {
            findings.add(
                Rule::InitTwice,
                &self.subject,
                command.place,
                format!("{init} runs in front of adieu"),
            );
        }
        if self.has_adieu() || self.signals_all {
            return;
        }
        let mut app = invocation.app.as_slice();
        while app.first().is_some_and(|word| base_name(word) == "docker-entrypoint.sh") {
            app = &app[1..];
        }
        let line = shell_line(app);
        // dumb-init signals the whole process group, and so the app behind its shell too.
        let to_shell_alone = invocation.init.as_deref() != Some("dumb-init");
        if let Some((shell, line)) = line.as_ref().filter(|_| to_shell_alone)
            && !hands_over(line)
        {
            let message = format!("{shell} runs the command and forwards no signals: {}", short(line));
            let finding = findings.add(Rule::ShellPidOne, &self.subject, command.place, message);
            if let Some(words) = simple(line) {
                finding.remedy(format!("start the program without a shell: {}", as_json(&words)));
            } else {
                finding.remedy(
                    "end the script with: exec PROGRAM ARGUMENTS; or run it under adieu: adieu -- sh -c ...",
                );
            }
        }
        let words =
            line.and_then(|(_, line)| started_by(line)).unwrap_or_else(|| behind_launchers(app).to_vec());
        let name = words.first().map(|word| base_name(word)).unwrap_or_default();
        if ["npm", "yarn", "pnpm", "npx", "pnpx"].contains(&name.as_str()) {
            let message = format!("{} runs the app", words.join(" "));
            findings.add(Rule::NpmPidOne, &self.subject, command.place, message);
        }
    }
}

fn as_json(words: &[String]) -> String {
    serde_json::to_string(words).unwrap_or_default().replace("\",\"", "\", \"")
}

fn short(text: &str) -> String {
    let line = text.trim().lines().next().unwrap_or_default();
    let cut: String = line.chars().take(60).collect();
    if cut.len() < text.trim().len() { format!("{cut}...") } else { cut }
}
