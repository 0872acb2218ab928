//! The one list of settings. Flags, variables, keys of the file, help, manual page, completions,
//! the table of all settings and the file's JSON Schema all come from here: a new setting is one
//! row, one field of [`Settings`](super::Settings) and one use of it in the reader.

use super::{Platform, programs};
use Takes::{Many, Nothing, One};
use Usually::{Depends, Is, Unset};
use ValueKind::{Other, Path, Port, Signal, Status, Target, Time, Word};

/// One setting.
pub struct Setting {
    /// Its identity.
    pub id: Id,
    /// The flag, without its dashes.
    pub long: &'static str,
    /// The short flag.
    pub short: Option<char>,
    /// Its values.
    pub takes: Takes,
    /// The key in the file, with its table; `None` where only a flag makes sense.
    pub key: Option<&'static str>,
    /// The variable by which tini knows the same setting.
    pub tini: Option<&'static str>,
    /// Where help shows it.
    pub section: Section,
    /// Its value where it is not set.
    pub default: Usually,
    /// What it does, in one short sentence, without choices and default.
    pub help: &'static str,
}

/// How many values a setting takes, and of which kind.
#[derive(Clone, Copy)]
pub enum Takes {
    /// None: it is on when it is given. In a variable or the file: true or false.
    Nothing,
    /// One value; the last one counts.
    One(ValueKind),
    /// One value each time, and all count. [`Split`] separates them in a variable.
    Many(ValueKind, Split),
}

/// What one value is.
#[derive(Clone, Copy)]
pub enum ValueKind {
    /// `5s`; see [`values::duration`](super::values::duration).
    Time,
    /// `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
    Signal,
    /// 1 to 65535.
    Port,
    /// An exit status, 0 to 255.
    Status,
    /// The path of a file.
    Path,
    /// A command to run or an address to ask: `exec:CMD ARG`, `http://...`.
    Target,
    /// One of these words, under this name in help.
    Word(&'static str, fn() -> Vec<&'static str>),
    /// Text of its own notation, under this name in help.
    Other(&'static str),
}

/// What separates several values in one variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    /// `TERM,INT`.
    Commas,
    /// One on each line, as targets may hold commas.
    Lines,
}

/// The value of a setting that nobody has set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Usually {
    /// Off, or nothing.
    Unset,
    /// This value, as one would type it.
    Is(&'static str),
    /// It depends on other things; described in words.
    Depends(&'static str),
}

/// Where a setting is shown in help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// Time limits and the stop schedule.
    Stop,
    /// Forwarding.
    Signals,
    /// The exit status.
    Exit,
    /// The endpoint and the checks.
    Readiness,
    /// Requests in flight.
    Drain,
    /// What runs at which point.
    Hooks,
    /// Log and report.
    Output,
    /// Everything else.
    Other,
}

impl Section {
    /// In the order of help.
    pub const ALL: [Section; 8] = [
        Section::Stop,
        Section::Signals,
        Section::Exit,
        Section::Readiness,
        Section::Drain,
        Section::Hooks,
        Section::Output,
        Section::Other,
    ];

    /// The heading.
    pub fn title(self) -> &'static str {
        match self {
            Section::Stop => "The stop",
            Section::Signals => "Signals and processes",
            Section::Exit => "Exit status",
            Section::Readiness => "Readiness",
            Section::Drain => "Drain",
            Section::Hooks => "Hooks",
            Section::Output => "Log and report",
            Section::Other => "Other",
        }
    }
}

impl ValueKind {
    /// As help writes a value: `TIME`, `auto|off`.
    pub fn name(self) -> &'static str {
        match self {
            Time => "TIME",
            Signal => "SIG",
            Port => "PORT",
            Status => "CODE",
            Path => "PATH",
            Target => "TARGET",
            Word(name, _) | Other(name) => name,
        }
    }

    /// The words that are allowed; empty for values of other kinds.
    pub fn choices(self) -> Vec<&'static str> {
        match self {
            Word(_, choices) => choices(),
            Time | Signal | Port | Status | Path | Target | Other(_) => Vec::new(),
        }
    }
}

impl Setting {
    /// The variable: `--pre-stop` is `ADIEU_PRE_STOP`. Settings without a key have none, except
    /// `--config`.
    pub fn variable(&self) -> Option<String> {
        let has_one = self.key.is_some() || self.id == Id::Config;
        has_one.then(|| format!("ADIEU_{}", self.long.to_ascii_uppercase().replace('-', "_")))
    }

    /// The kind of its values, if it takes any.
    pub fn kind(&self) -> Option<ValueKind> {
        match self.takes {
            Nothing => None,
            One(kind) | Many(kind, _) => Some(kind),
        }
    }

    /// Its default, if that is always the same; else empty.
    pub fn usual(&self) -> &'static str {
        match self.default {
            Is(text) => text,
            Unset | Depends(_) => "",
        }
    }

    /// What it does, with its choices and its default.
    pub fn text(&self) -> String {
        // The known programs are too many for a line; the manual page lists them.
        const FEW: usize = 10;
        let choices = self.kind().map(|kind| (kind.name(), kind.choices()));
        let choices = match choices {
            Some((name, choices)) if (1..=FEW).contains(&choices.len()) && !name.contains('|') => {
                format!(": {}", super::values::list_or(&choices))
            }
            Some(_) | None => String::new(),
        };
        let default = match self.default {
            Unset => String::new(),
            Is(text) | Depends(text) => format!(" (default: {text})"),
        };
        format!("{}{choices}{default}", self.help)
    }
}

/// A setting's row.
pub fn by_id(id: Id) -> &'static Setting {
    // Rows and ids come from one list, in one order; a test holds that.
    ROWS.get(id as usize).unwrap_or(&ROWS[0])
}

/// What most rows of a section have in common.
const fn of(section: Section) -> Setting {
    Setting {
        id: Id::Help,
        long: "",
        short: None,
        takes: Nothing,
        key: None,
        tini: None,
        section,
        default: Unset,
        help: "",
    }
}

/// Makes the ids and the list from the rows.
macro_rules! settings {
    ($($id:ident: $row:expr,)*) => {
        /// A setting's identity.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Id { $(#[doc = concat!("The setting `", stringify!($id), "`.")] $id),* }

        /// Every setting, in the order of help.
        pub static LIST: &[Setting] = &ROWS;

        static ROWS: [Setting; [$(Id::$id),*].len()] = [$(Setting { id: Id::$id, ..$row }),*];
    };
}

#[rustfmt::skip]
settings! {
    Grace: Setting { long: "grace", takes: One(Time), key: Some("stop.grace"),
        help: "time from the stop request until the platform kills",
        default: Depends("by platform, else 30s"), ..of(Section::Stop) },
    PreStop: Setting { long: "pre-stop", takes: One(Time), key: Some("stop.pre-stop"),
        help: "how long to keep serving after readiness fails",
        default: Depends("5s, at most a third of the grace"), ..of(Section::Stop) },
    DrainTimeout: Setting { long: "drain-timeout", takes: One(Time), key: Some("drain.timeout"),
        help: "how long to wait for requests in flight after the pre-stop sleep",
        default: Depends("until two thirds of the grace"), ..of(Section::Stop) },
    KillMargin: Setting { long: "kill-margin", takes: One(Time), key: Some("stop.kill-margin"),
        help: "how long before the end of the grace to kill",
        default: Depends("1s, at most a tenth of the grace"), ..of(Section::Stop) },
    Leftovers: Setting { long: "leftovers", takes: One(Time), key: Some("stop.leftovers"),
        help: "how long other processes may take to end when the app ends by itself",
        default: Is("2s"), ..of(Section::Stop) },
    Stop: Setting { long: "stop", takes: One(Other("SCHEDULE")), key: Some("stop.schedule"),
        help: "the signals that stop the app, with waits between them: TERM, QUIT/20s/TERM, QUIT/kill-1s/TERM (1s before the kill), none",
        default: Depends("by platform and program, else the signal of the stop request"), ..of(Section::Stop) },
    StopOn: Setting { long: "stop-on", takes: Many(Signal, Split::Commas), key: Some("stop.on"),
        help: "the signals that ask for a stop",
        default: Depends("TERM, and the stop signal of the platform or the program"), ..of(Section::Stop) },
    StopOnce: Setting { long: "stop-once", key: Some("stop.once"),
        help: "do not forward a second stop request while stopping", ..of(Section::Stop) },
    Wait: Setting { long: "wait",
        help: "as a preStop hook beside any init: sleep, drain, let clients go, and exit 0", ..of(Section::Stop) },
    Reserve: Setting { long: "reserve", takes: One(Time), key: Some("stop.reserve"),
        help: "how much of the grace --wait leaves for the app's own end",
        default: Depends("5s, at most a third of the grace"), ..of(Section::Stop) },
    Profile: Setting { long: "profile", takes: One(Word("NAME", programs::choices)), key: Some("profile"),
        help: "stop the app as this known program; none: as an unknown one",
        default: Depends("by COMMAND"), ..of(Section::Stop) },
    Platform: Setting { long: "platform", takes: One(Word("NAME", Platform::names)), key: Some("platform"),
        help: "the platform whose defaults to use",
        default: Depends("detected"), ..of(Section::Stop) },

    Rewrite: Setting { long: "rewrite", short: Some('r'), takes: Many(Other("FROM:TO"), Split::Commas),
        key: Some("signals.rewrite"),
        help: "forward signal FROM as TO; 0 as TO drops it", ..of(Section::Signals) },
    Group: Setting { long: "group", short: Some('g'), key: Some("signals.group"),
        tini: Some("TINI_KILL_PROCESS_GROUP"),
        help: "signal the app's whole process group", ..of(Section::Signals) },
    SingleChild: Setting { long: "single-child", short: Some('c'),
        help: "signal only the app, which is the default; for users of dumb-init", ..of(Section::Signals) },
    ParentDeathSignal: Setting { long: "parent-death-signal", short: Some('p'), takes: One(Signal),
        key: Some("signals.parent-death"),
        help: "the signal that adieu gets when its parent dies", ..of(Section::Signals) },
    OrphanSignal: Setting { long: "orphan-signal", takes: One(Signal), key: Some("signals.orphan"),
        help: "the signal that the app gets when adieu itself is killed, or none",
        default: Is("KILL"), ..of(Section::Signals) },
    Subreaper: Setting { long: "subreaper", short: Some('s'), tini: Some("TINI_SUBREAPER"),
        help: "does nothing, as adieu always reaps orphans; for users of tini", ..of(Section::Signals) },

    SuccessExit: Setting { long: "success-exit", short: Some('e'), takes: Many(Status, Split::Commas),
        key: Some("exit.success"),
        help: "exit 0 when the app exits with this status", ..of(Section::Exit) },
    SuccessOnStop: Setting { long: "success-on-stop", takes: Many(Status, Split::Commas),
        key: Some("exit.success-on-stop"),
        help: "the same, but only after a stop request", ..of(Section::Exit) },
    ExitSignal: Setting { long: "exit-signal", takes: One(Word("always|never|auto", || vec!["always", "never", "auto"])),
        key: Some("exit.signal"),
        help: "die of the signal that ended the app instead of exiting with 128+n; auto does so under systemd",
        default: Is("auto"), ..of(Section::Exit) },

    Health: Setting { long: "health", takes: One(Other("ADDR:PORT")), key: Some("ready.health"),
        help: "serve /readyz, /livez, /status and /metrics at this address", ..of(Section::Readiness) },
    Ready: Setting { long: "ready", takes: Many(Target, Split::Lines), key: Some("ready.check"),
        help: "ready when this passes: http://HOST:PORT/PATH, tcp://HOST:PORT, exec:CMD ARG, notify",
        ..of(Section::Readiness) },
    ReadyFile: Setting { long: "ready-file", takes: One(Path), key: Some("ready.file"),
        help: "a file that exists while the app is ready", ..of(Section::Readiness) },
    Probe: Setting { long: "probe", takes: One(Word("readyz|livez|status", || vec!["readyz", "livez", "status"])),
        help: "ask the adieu that runs at the address of --health; exit 0 or 1", ..of(Section::Readiness) },

    Drain: Setting { long: "drain", takes: One(Word("auto|off", || vec!["auto", "off"])), key: Some("drain.mode"),
        help: "wait for requests in flight",
        default: Is("auto"), ..of(Section::Drain) },
    DrainPort: Setting { long: "drain-port", takes: Many(Port, Split::Commas), key: Some("drain.port"),
        help: "watch connections to this port only, not to every port that the app listens on", ..of(Section::Drain) },
    DrainOutbound: Setting { long: "drain-outbound", takes: Many(Port, Split::Commas), key: Some("drain.outbound"),
        help: "wait also for answers from this remote port, such as 5432", ..of(Section::Drain) },
    DrainCheck: Setting { long: "drain-check", takes: One(Target), key: Some("drain.check"),
        help: "the app is idle when this exits 0 or answers 200: exec:CMD ARG, http://HOST:PORT/PATH",
        ..of(Section::Drain) },
    CloseConnections: Setting { long: "close-connections", takes: Many(Other("auto|off|PORT"), Split::Commas),
        key: Some("drain.close-connections"),
        help: "close keep-alive HTTP/1 connections between two requests; name ports where HTTP/1 cannot be seen (TLS)",
        default: Is("auto"), ..of(Section::Drain) },
    DrainQuiet: Setting { long: "drain-quiet", takes: One(Time), key: Some("drain.quiet"),
        help: "how long a connection counts as in flight after data was sent on it",
        default: Is("1s"), ..of(Section::Drain) },
    DrainLongest: Setting { long: "drain-longest", takes: One(Time), key: Some("drain.longest"),
        help: "how long a connection without clear evidence counts as in flight",
        default: Is("10s"), ..of(Section::Drain) },

    OnStart: Setting { long: "on-start", takes: Many(Target, Split::Lines), key: Some("hooks.on-start"),
        help: "run this when the app has started: exec:CMD ARG, http://URL (GET), post:http://URL",
        ..of(Section::Hooks) },
    OnStop: Setting { long: "on-stop", takes: Many(Target, Split::Lines), key: Some("hooks.on-stop"),
        help: "run this during the pre-stop sleep", ..of(Section::Hooks) },
    OnExit: Setting { long: "on-exit", takes: Many(Target, Split::Lines), key: Some("hooks.on-exit"),
        help: "run this when the app has ended", ..of(Section::Hooks) },
    HookTimeout: Setting { long: "hook-timeout", takes: One(Time), key: Some("hooks.timeout"),
        help: "how long one hook may take",
        default: Depends("10s, at most a third of the grace"), ..of(Section::Hooks) },

    LogLevel: Setting { long: "log-level", key: Some("log.level"), tini: Some("TINI_VERBOSITY"),
        takes: One(Word("LEVEL", || vec!["off", "error", "warn", "info", "debug", "trace"])),
        help: "how much to log",
        default: Depends("RUST_LOG, else info"), ..of(Section::Output) },
    LogFormat: Setting { long: "log-format", takes: One(Word("text|json", || vec!["text", "json"])), key: Some("log.format"),
        help: "how to write lines to stderr",
        default: Is("text"), ..of(Section::Output) },
    Verbose: Setting { long: "verbose", short: Some('v'),
        help: "log more: debug; twice: trace", ..of(Section::Output) },
    WarnOnReap: Setting { long: "warn-on-reap", short: Some('w'), key: Some("log.warn-on-reap"),
        help: "warn when an orphan is reaped", ..of(Section::Output) },
    Report: Setting { long: "report", takes: One(Path), key: Some("log.report"),
        help: "write a JSON report of the app's life to this file at exit", ..of(Section::Output) },

    Install: Setting { long: "install", takes: One(Path),
        help: "copy adieu to this path, for an init container", ..of(Section::Other) },
    Config: Setting { long: "config", takes: One(Path),
        help: "read settings from this file",
        default: Depends("/etc/adieu.toml, if it exists"), ..of(Section::Other) },
    Check: Setting { long: "check",
        help: "start nothing; show all settings and the timeline of a stop", ..of(Section::Other) },
    Help: Setting { long: "help", short: Some('h'), help: "show this page", ..of(Section::Other) },
    License: Setting { long: "license", short: Some('l'), help: "show the license", ..of(Section::Other) },
    Version: Setting { long: "version", short: Some('V'), help: "show the version", ..of(Section::Other) },
}

/// The page that `--help` shows.
pub fn help() -> String {
    let mut page = String::from(
        "adieu: a tiny init that makes the end of an app's life orderly\n\n\
         usage: adieu [OPTIONS] [--] COMMAND [ARG]...\n\
         \x20      adieu --check [OPTIONS] [--] COMMAND [ARG]...\n\
         \x20      adieu --probe readyz|livez|status\n\
         \x20      adieu --wait [OPTIONS]\n\
         \x20      adieu --install PATH\n",
    );
    for section in Section::ALL {
        page.push_str(&format!("\n{}:\n", section.title()));
        for setting in LIST.iter().filter(|setting| setting.section == section) {
            page.push_str(&format!("  {:<32} {}\n", usage(setting), setting.text()));
        }
    }
    page.push_str(
        "\nEach setting is also a variable (--pre-stop is ADIEU_PRE_STOP) and a key of the settings file (stop.pre-stop).\n\
         Times: 5s, 500ms, 1m30s; a bare number is seconds.\n\
         Exit status: that of COMMAND; 128+n if signal n ended it; 125 if adieu failed; 126 if COMMAND cannot be\n\
         executed; 127 if it is not found.\n",
    );
    page
}

/// `-r, --rewrite FROM:TO`
pub fn usage(setting: &Setting) -> String {
    let short = setting.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let value = setting.kind().map_or(String::new(), |kind| format!(" {}", kind.name()));
    format!("{short}--{}{value}", setting.long)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_stands_once() {
        let mut seen = HashSet::new();
        for setting in LIST {
            assert!(seen.insert(format!("--{}", setting.long)), "--{}", setting.long);
            assert!(
                setting.short.is_none_or(|short| seen.insert(format!("-{short}"))),
                "{:?}",
                setting.short
            );
            assert!(setting.key.is_none_or(|key| seen.insert(key.to_owned())), "{:?}", setting.key);
            assert_eq!(by_id(setting.id).long, setting.long, "an id that is another row's");
        }
    }

    #[test]
    fn help_names_every_flag() {
        let page = help();
        for setting in LIST {
            assert!(page.contains(&format!("--{}", setting.long)), "--{}", setting.long);
        }
    }

    #[test]
    fn help_shows_choices_and_defaults() {
        assert_eq!(by_id(Id::Leftovers).text().matches("(default: 2s)").count(), 1);
        assert!(by_id(Id::Platform).text().contains(": systemd, kubernetes, ecs, "));
        assert!(by_id(Id::LogLevel).text().contains("how much to log: off, error"));
        // The name of its value shows the choices already, and the programs are too many.
        assert_eq!(by_id(Id::LogFormat).text(), "how to write lines to stderr (default: text)");
        assert!(by_id(Id::Profile).text().ends_with("none: as an unknown one (default: by COMMAND)"));
        assert_eq!(by_id(Id::Check).text(), by_id(Id::Check).help);
    }

    #[test]
    fn help_shows_each_setting_in_its_section() {
        let page = help();
        for (section, first) in [
            ("The stop", "    --grace TIME "),
            ("Signals and processes", "-r, --rewrite FROM:TO "),
            ("Exit status", "-e, --success-exit CODE "),
            ("Readiness", "    --health ADDR:PORT "),
            ("Drain", "    --drain auto|off "),
            ("Hooks", "    --on-start TARGET "),
            ("Log and report", "    --log-level LEVEL "),
            ("Other", "    --install PATH "),
        ] {
            assert!(page.contains(&format!("\n{section}:\n  {first}")), "{section}: {page}");
        }
        for usage in ["    --stop-on SIG ", "    --drain-port PORT ", "-p, --parent-death-signal SIG "] {
            assert!(page.contains(usage), "{usage}");
        }
        for setting in LIST {
            assert_eq!(page.matches(&format!("  {} ", usage(setting))).count(), 1, "--{}", setting.long);
        }
    }

    #[test]
    fn a_setting_of_one_run_has_no_variable() {
        let variable = |id| by_id(id).variable();
        assert_eq!(variable(Id::PreStop).as_deref(), Some("ADIEU_PRE_STOP"));
        assert_eq!(variable(Id::Config).as_deref(), Some("ADIEU_CONFIG"));
        assert_eq!(
            LIST.iter().filter(|setting| setting.key.is_none() && setting.variable().is_some()).count(),
            1
        );
    }

    /// A default is read as a value that someone typed would be.
    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for setting in LIST {
            let (Some(kind), Is(default)) = (setting.kind(), setting.default) else { continue };
            let reads = match kind {
                Time => super::super::values::duration(default).is_ok(),
                Signal => super::super::values::signal(default).is_ok(),
                Word(..) => kind.choices().contains(&default),
                // One of the words that its name shows.
                Other(name) => name.split('|').any(|word| word == default),
                Port | Status | Path | Target => false,
            };
            assert!(reads, "--{} cannot have the default {default}", setting.long);
        }
    }
}
