//! A unit's file: its assignments (systemd.syntax(7)) and its command lines (systemd.service(5)).
//! The lint and the rehearsal both read it here.

use super::expand::{self, Unfilled};
use super::finding::{Position, Spot};

/// One assignment.
struct Assignment {
    section: String,
    key: String,
    value: String,
    line: usize,
}

/// A file's assignments, in order.
pub(crate) struct Unit {
    entries: Vec<Assignment>,
}

/// Empty, it takes all capabilities away (systemd.exec(5)).
const MEANS_NONE: &str = "CapabilityBoundingSet";

impl Unit {
    /// systemd.syntax(7): a backslash at the end of a line continues it on the next; an empty value
    /// removes earlier ones.
    pub(crate) fn parse(text: &str) -> Result<Unit, (Position, String)> {
        let (mut entries, mut section) = (Vec::<Assignment>::new(), String::new());
        let mut lines = text.lines().enumerate();
        while let Some((number, line)) = lines.next() {
            let mut line = line.trim().to_owned();
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            while line.ends_with('\\') {
                line.pop();
                let Some((_, more)) = lines.next() else { break };
                if !more.trim_start().starts_with(['#', ';']) {
                    line.push(' ');
                    line.push_str(more.trim());
                } else {
                    line.push('\\');
                }
            }
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                name.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                let (key, value) = (key.trim().to_owned(), value.trim().to_owned());
                if value.is_empty() {
                    entries.retain(|entry| (&entry.section, &entry.key) != (&section, &key));
                }
                if !value.is_empty() || key == MEANS_NONE {
                    entries.push(Assignment { section: section.clone(), key, value, line: number + 1 });
                }
            } else {
                let why = format!("'{line}' is not an assignment; write Name=value");
                return Err((Position::line(number + 1), why));
            }
        }
        Ok(Unit { entries })
    }

    pub(crate) fn has(&self, section: &str) -> bool {
        self.entries.iter().any(|entry| entry.section == section)
    }

    pub(crate) fn all(&self, section: &str, key: &str) -> Vec<Spot<String>> {
        let wanted = self.entries.iter().filter(|entry| entry.section == section && entry.key == key);
        wanted.map(|entry| Spot::new(entry.value.clone(), Position::line(entry.line))).collect()
    }

    pub(crate) fn last(&self, section: &str, key: &str) -> Option<Spot<String>> {
        self.all(section, key).pop()
    }

    /// All of one section: names and values.
    pub(crate) fn settings(&self, section: &str) -> Vec<(String, String)> {
        let own = self.entries.iter().filter(|entry| entry.section == section);
        own.map(|entry| (entry.key.clone(), entry.value.clone())).collect()
    }

    pub(crate) fn place(&self, section: &str) -> Position {
        let first = self.entries.iter().find(|entry| entry.section == section);
        Position::line(first.map_or(1, |entry| entry.line))
    }
}

/// The prefixes of a command line, which say how systemd starts it.
const PREFIXES: [char; 6] = ['@', '-', ':', '+', '!', '|'];

/// A command line, systemd.service(5), "Command lines".
pub(crate) struct ExecLine {
    /// The program and its arguments.
    pub(crate) words: Vec<String>,
    /// The name that the program is given for its own, after `@`.
    pub(crate) own_name: Option<String>,
    /// A failure does not count: `-`.
    pub(crate) may_fail: bool,
}

impl ExecLine {
    /// Its words with variables filled in, unless a colon in front says no.
    ///
    /// # Errors
    /// A quote is not closed.
    pub(crate) fn parse(
        line: &str,
        value: &dyn Fn(&str) -> Option<String>,
        unfilled: &mut Unfilled,
    ) -> Result<ExecLine, String> {
        let command = line.trim_start_matches(PREFIXES);
        let prefixes = &line[..line.len() - command.len()];
        let mut words =
            shlex::split(command).ok_or_else(|| format!("a quote is not closed in '{command}'; close it"))?;
        let named = prefixes.contains('@') && words.len() > 1;
        let own_name = named.then(|| words.remove(1));
        if !prefixes.contains(':') {
            words = expand::variables(words, value, unfilled);
        }
        Ok(ExecLine { words, own_name, may_fail: prefixes.contains('-') })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_on_and_empty_values_take_back() {
        let text = "[Service]\r\nExecStart=a \\\r\n  # a comment\r\n  b\nKillMode=none\nKillMode=\n\
                    CapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=\n";
        let unit = Unit::parse(text).unwrap();
        let start = unit.last("Service", "ExecStart").unwrap();
        assert_eq!((start.value.as_str(), start.place.line), ("a  b", 2));
        assert!(unit.last("Service", "KillMode").is_none());
        let none = [("ExecStart", "a  b"), ("CapabilityBoundingSet", "")];
        assert_eq!(unit.settings("Service"), none.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let (place, why) = Unit::parse("[Service]\nnonsense\n").err().unwrap();
        assert_eq!((place.line, why.contains("Name=value")), (2, true));
    }

    #[test]
    fn prefixes_say_how_a_line_is_started() {
        let parse =
            |line: &str| ExecLine::parse(line, &|name| Some(name.to_lowercase()), &mut Unfilled::default());
        let line = parse("-@/usr/sbin/app app: $A \"${B} c\"").unwrap();
        assert_eq!(line.words, ["/usr/sbin/app", "a", "b c"]);
        assert_eq!((line.own_name.as_deref(), line.may_fail), (Some("app:"), true));
        assert_eq!(parse("+:/app $A").unwrap().words, ["/app", "$A"]);
        assert!(parse("/app 'x").is_err());
    }
}
