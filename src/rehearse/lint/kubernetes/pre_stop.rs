//! What a preStop hook does: whether it sleeps, and whether it ends.

use std::time::Duration;

use adieu::settings::values;

use crate::lint::command::{base_name, commands};
use crate::lint::service::PreStopHook;
use crate::lint::yaml::Node;

/// The `sleep` action, `sleep N` with or without a shell, what never ends, and adieu's own
/// `--wait`.
pub(crate) fn hook(node: Node) -> PreStopHook {
    if let Some(seconds) = node.number_at("sleep.seconds") {
        return PreStopHook::Sleep(Duration::from_secs(seconds));
    }
    let words = node.at("exec.command").map(Node::texts).unwrap_or_default();
    let script = match words.as_slice() {
        [shell, flag, line] if shell.ends_with("sh") && flag.ends_with('c') => Some(line),
        _ => None,
    };
    let whole = words.join(" ");
    if script.map_or_else(|| waits_forever(&whole), |line| is_endless(line)) {
        return PreStopHook::Endless;
    }
    let (line, rest) = script.map_or_else(|| (whole, false), |line| first_command(line));
    let parts: Vec<&str> = line.split_whitespace().collect();
    match parts.as_slice() {
        [sleep, time] if base_name(sleep) == "sleep" => match values::duration(time) {
            Ok(time) if rest => PreStopHook::SleepFirst(time),
            Ok(time) => PreStopHook::Sleep(time),
            Err(_) => PreStopHook::Other,
        },
        [adieu, rest @ ..] if base_name(adieu) == "adieu" && rest.contains(&"--wait") => PreStopHook::Wait,
        _ => PreStopHook::Other,
    }
}

/// The first command of a shell's line, and whether more follows. The shell does not wait for a
/// command before a single `&`, so that one is not taken apart.
fn first_command(line: &str) -> (String, bool) {
    let ends = [";", "&&", "||", "\n"].iter().filter_map(|end| line.find(end));
    match ends.min().map(|end| line.split_at(end)) {
        Some((first, rest)) => {
            let more = !rest.trim_start_matches([';', '\n', ' ']).is_empty();
            (first.trim().to_owned(), more)
        }
        None => (line.to_owned(), false),
    }
}

/// The line waits forever, after sleeps at most. Any other command may stop the app, and the hook
/// ends with its container.
fn is_endless(line: &str) -> bool {
    let line = line.replace("&&", ";");
    // What follows `||` runs only if a command fails.
    let line = line.split("||").next().unwrap_or_default();
    // Beside what runs in the background, anything may happen.
    if line.contains(['&', '|']) {
        return false;
    }
    let commands = commands(line);
    let before = commands.iter().take_while(|command| is_idle(command) && !waits_forever(command)).count();
    let Some((first, rest)) = commands[before..].split_first() else { return false };
    let first = first.strip_prefix("exec ").unwrap_or(first);
    if !is_loop(first) {
        return waits_forever(first);
    }
    let without_do = |command: &String| command.strip_prefix("do").unwrap_or(command).trim().to_owned();
    let end = rest.iter().position(|command| command == "done");
    end.is_some_and(|end| rest[..end].iter().all(|command| is_idle(&without_do(command))))
}

/// The beginning of a loop that ends only by a command in it.
fn is_loop(command: &str) -> bool {
    let holds = |condition: &str| [":", "true", "[ 1 ]"].contains(&condition) || sleeps(condition);
    command.strip_prefix("while ").map(str::trim).is_some_and(holds) || command == "until false"
}

/// It takes time at most.
fn is_idle(command: &str) -> bool {
    let says = command.starts_with("echo ") && !command.contains(['$', '`']);
    ["", ":", "true"].contains(&command) || says || sleeps(command)
}

fn sleeps(command: &str) -> bool {
    command.split_whitespace().next().is_some_and(|word| base_name(word) == "sleep")
}

/// `sleep infinity`, as GNU's and busybox's sleep take it, or `tail -f FILE`.
fn waits_forever(command: &str) -> bool {
    let mut words = command.split_whitespace();
    match words.next().map(base_name).as_deref() {
        Some("sleep") => words.any(|time| ["inf", "infinity"].contains(&time.to_lowercase().as_str())),
        // With --pid, it ends together with that process.
        Some("tail") => {
            let options: Vec<&str> = words.filter(|word| word.starts_with('-')).collect();
            let follows = |option: &str| {
                option.starts_with("--follow") || !option.starts_with("--") && option.contains(['f', 'F'])
            };
            options.iter().any(|option| follows(option))
                && !options.iter().any(|option| option.starts_with("--pid"))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_line_that_does_nothing_else_is_endless() {
        for line in [
            "sleep infinity",
            "exec /bin/sleep INF; echo never",
            "sleep 5 && echo now; sleep inf || true",
            "tail -f /dev/null",
            "tail -n0 -F /var/log/app.log",
            "tail --follow /dev/null",
            "while true; do sleep 1; done",
            "while :\ndo\n  echo waits\n  sleep 1\ndone\n/app stop",
            "while sleep 1; do :; done",
            "until false; do sleep 1; done",
        ] {
            assert!(is_endless(line), "{line}");
        }
        for line in [
            "sleep 5",
            "/app stop; sleep infinity",
            "sleep infinity & /app stop",
            "timeout 20 sleep infinity",
            "tail --pid=1 -f /dev/null",
            "tail -n 5 /tmp/f",
            "echo $(/app stop); sleep inf",
            "while true; do /app stop; sleep 1; done",
            "while true; do sleep 1 || break; done",
            "while true; do if [ -e /tmp/done ]; then break; fi; sleep 1; done",
            "while pgrep app; do sleep 1; done",
            "",
        ] {
            assert!(!is_endless(line), "{line}");
        }
    }
}
