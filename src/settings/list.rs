//! The one list of settings: flags, variables, keys of the file, help and manual all come from here.

/// A setting's identity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Id {
    Grace,
    PreStop,
    DrainTimeout,
    KillMargin,
    Leftovers,
    Platform,
    Stop,
    StopOn,
    StopOnce,
    Profile,
    Rewrite,
    Group,
    SingleChild,
    ParentDeathSignal,
    OrphanSignal,
    SuccessExit,
    SuccessOnStop,
    ExitSignal,
    Health,
    Ready,
    ReadyFile,
    Drain,
    DrainPort,
    DrainOutbound,
    DrainCheck,
    DrainQuiet,
    DrainLongest,
    OnStart,
    OnStop,
    OnExit,
    HookTimeout,
    LogLevel,
    LogFormat,
    Report,
    WarnOnReap,
    Verbose,
    Subreaper,
    Config,
    Check,
    Probe,
    Help,
    License,
    Version,
}

/// What a setting takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Takes {
    /// Nothing: it is on when it is there. In a variable or the file: true or false.
    Nothing,
    /// One value; the last one counts.
    One(&'static str),
    /// One value each time, all count. `split` parts the values in a variable.
    Many { name: &'static str, split: Split },
}

/// How several values stand in one variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Split {
    Commas,
    Lines,
}

/// Where a setting is shown in help.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    Stop,
    Signals,
    Exit,
    Readiness,
    Drain,
    Hooks,
    Output,
    Other,
}

impl Section {
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

    pub fn title(self) -> &'static str {
        match self {
            Section::Stop => "The stop",
            Section::Signals => "Signals and processes",
            Section::Exit => "Exit status",
            Section::Readiness => "Readiness",
            Section::Drain => "Drain",
            Section::Hooks => "Hooks",
            Section::Output => "What it says",
            Section::Other => "Other",
        }
    }
}

pub struct Setting {
    pub id: Id,
    pub long: &'static str,
    pub short: Option<char>,
    pub takes: Takes,
    /// The key in the file, with its table; `None` where only a flag makes sense.
    pub key: Option<&'static str>,
    pub section: Section,
    pub help: &'static str,
}

impl Setting {
    /// The variable: `--pre-stop` is `ADIEU_PRE_STOP`. Settings without a key have none, but for the file's own place.
    pub fn variable(&self) -> Option<String> {
        let has_one = self.key.is_some() || self.id == Id::Config;
        has_one.then(|| format!("ADIEU_{}", self.long.to_ascii_uppercase().replace('-', "_")))
    }
}

pub fn by_id(id: Id) -> &'static Setting {
    // Held by a test: every id stands in the list.
    LIST.iter().find(|setting| setting.id == id).unwrap_or(&LIST[0])
}

const TIME: Takes = Takes::One("TIME");
const SIGNAL: Takes = Takes::One("SIG");
const TARGETS: Takes = Takes::Many { name: "TARGET", split: Split::Lines };
const PORTS: Takes = Takes::Many { name: "PORT", split: Split::Commas };

macro_rules! setting {
    ($id:ident, $long:literal, $short:expr, $takes:expr, $key:expr, $section:ident, $help:literal) => {
        Setting {
            id: Id::$id,
            long: $long,
            short: $short,
            takes: $takes,
            key: $key,
            section: Section::$section,
            help: $help,
        }
    };
}

#[rustfmt::skip]
pub static LIST: &[Setting] = &[
    setting!(Grace, "grace", None, TIME, Some("stop.grace"), Stop,
        "time from the stop request until the platform kills (default: by platform, else 30s)"),
    setting!(PreStop, "pre-stop", None, TIME, Some("stop.pre-stop"), Stop,
        "keep serving for so long while readiness already fails (default: 5s, at most a third of the grace)"),
    setting!(DrainTimeout, "drain-timeout", None, TIME, Some("drain.timeout"), Stop,
        "then wait at most so long for requests in flight (default: until two thirds of the grace)"),
    setting!(KillMargin, "kill-margin", None, TIME, Some("stop.kill-margin"), Stop,
        "kill so long before the grace ends (default: 1s, at most a tenth of the grace)"),
    setting!(Leftovers, "leftovers", None, TIME, Some("stop.leftovers"), Stop,
        "when the app ends by itself, give its other processes so long (default: 2s)"),
    setting!(Stop, "stop", None, Takes::One("SCHEDULE"), Some("stop.schedule"), Stop,
        "the signals that stop the app, with waits between them: TERM, QUIT/20s/TERM"),
    setting!(StopOn, "stop-on", None, Takes::Many { name: "SIG", split: Split::Commas }, Some("stop.on"), Stop,
        "the signals that ask for a stop (default: TERM, and what the platform or the program stops by)"),
    setting!(StopOnce, "stop-once", None, Takes::Nothing, Some("stop.once"), Stop,
        "forward no second stop request while stopping"),
    setting!(Profile, "profile", None, Takes::One("NAME"), Some("profile"), Stop,
        "stop the app as this known program is stopped; none: whatever its name (default: by COMMAND)"),
    setting!(Platform, "platform", None, Takes::One("NAME"), Some("platform"), Stop,
        "kubernetes, ecs, cloud-run, nomad, fly, heroku, systemd, docker or none (default: found out)"),

    setting!(Rewrite, "rewrite", Some('r'), Takes::Many { name: "FROM:TO", split: Split::Commas }, Some("signals.rewrite"), Signals,
        "forward signal FROM as TO; TO 0 drops it"),
    setting!(Group, "group", Some('g'), Takes::Nothing, Some("signals.group"), Signals,
        "signal the app's whole process group, not the app alone"),
    setting!(SingleChild, "single-child", Some('c'), Takes::Nothing, None, Signals,
        "signal the app alone; this is the default"),
    setting!(ParentDeathSignal, "parent-death-signal", Some('p'), SIGNAL, Some("signals.parent-death"), Signals,
        "have the kernel send adieu this signal when its parent dies"),
    setting!(OrphanSignal, "orphan-signal", None, SIGNAL, Some("signals.orphan"), Signals,
        "what the app gets when adieu itself is killed, or none (default: KILL)"),
    setting!(Subreaper, "subreaper", Some('s'), Takes::Nothing, None, Signals,
        "accepted for tini's sake; adieu is a subreaper whenever it is not PID 1"),

    setting!(SuccessExit, "success-exit", Some('e'), Takes::Many { name: "CODE", split: Split::Commas }, Some("exit.success"), Exit,
        "exit 0 instead of with this status of the app"),
    setting!(SuccessOnStop, "success-on-stop", None, Takes::Many { name: "CODE", split: Split::Commas }, Some("exit.success-on-stop"), Exit,
        "the same, but only after a stop request"),
    setting!(ExitSignal, "exit-signal", None, Takes::One("WHEN"), Some("exit.signal"), Exit,
        "die of the app's signal instead of exiting 128+n: always, never or auto (under systemd)"),

    setting!(Health, "health", None, Takes::One("ADDR:PORT"), Some("ready.health"), Readiness,
        "serve /readyz, /livez, /status and /metrics there"),
    setting!(Ready, "ready", None, TARGETS, Some("ready.check"), Readiness,
        "ready when this passes: http://HOST:PORT/PATH, tcp://HOST:PORT, exec:CMD ARG, notify"),
    setting!(ReadyFile, "ready-file", None, Takes::One("PATH"), Some("ready.file"), Readiness,
        "a file that exists exactly while ready"),
    setting!(Probe, "probe", None, Takes::One("readyz|livez"), None, Readiness,
        "ask the adieu that runs at the address of --health; exit 0 or 1"),

    setting!(Drain, "drain", None, Takes::One("auto|off"), Some("drain.mode"), Drain,
        "wait for requests in flight where they can be seen (default: auto)"),
    setting!(DrainPort, "drain-port", None, PORTS, Some("drain.port"), Drain,
        "watch connections to this port instead of to all that the app listens on"),
    setting!(DrainOutbound, "drain-outbound", None, PORTS, Some("drain.outbound"), Drain,
        "wait for answers to the app's queries to this remote port, too"),
    setting!(DrainCheck, "drain-check", None, Takes::One("TARGET"), Some("drain.check"), Drain,
        "idle when this exits 0 or answers 200: exec:CMD ARG, http://HOST:PORT/PATH"),
    setting!(DrainQuiet, "drain-quiet", None, TIME, Some("drain.quiet"), Drain,
        "data sent so recently keeps a connection in flight (default: 1s)"),
    setting!(DrainLongest, "drain-longest", None, TIME, Some("drain.longest"), Drain,
        "how long to believe that a connection without clear evidence is in flight (default: 10s)"),

    setting!(OnStart, "on-start", None, TARGETS, Some("hooks.on-start"), Hooks,
        "run when the app has started: exec:CMD ARG, http://URL (GET), post:http://URL"),
    setting!(OnStop, "on-stop", None, TARGETS, Some("hooks.on-stop"), Hooks,
        "run during the pre-stop sleep"),
    setting!(OnExit, "on-exit", None, TARGETS, Some("hooks.on-exit"), Hooks,
        "run when the app has ended"),
    setting!(HookTimeout, "hook-timeout", None, TIME, Some("hooks.timeout"), Hooks,
        "how long one hook may take (default: 10s, at most a third of the grace)"),

    setting!(LogLevel, "log-level", None, Takes::One("LEVEL"), Some("log.level"), Output,
        "off, error, warn, info, debug or trace (default: info; RUST_LOG works, too)"),
    setting!(LogFormat, "log-format", None, Takes::One("text|json"), Some("log.format"), Output,
        "how lines on stderr look (default: text)"),
    setting!(Verbose, "verbose", Some('v'), Takes::Nothing, None, Output,
        "say more; twice: still more"),
    setting!(WarnOnReap, "warn-on-reap", Some('w'), Takes::Nothing, Some("log.warn-on-reap"), Output,
        "warn whenever an orphan is reaped"),
    setting!(Report, "report", None, Takes::One("PATH"), Some("log.report"), Output,
        "at exit, write what happened as JSON to this file"),

    setting!(Config, "config", None, Takes::One("FILE"), None, Other,
        "the file with settings (default: /etc/adieu.toml, if it exists)"),
    setting!(Check, "check", None, Takes::Nothing, None, Other,
        "start nothing; show the settings and the timeline that a stop would follow"),
    setting!(Help, "help", Some('h'), Takes::Nothing, None, Other, "show this"),
    setting!(License, "license", Some('l'), Takes::Nothing, None, Other, "show the license"),
    setting!(Version, "version", Some('V'), Takes::Nothing, None, Other, "show the version"),
];

/// The page that `--help` shows.
pub fn help() -> String {
    let mut page = String::from(
        "adieu: a tiny init that makes the end of an app's life orderly\n\n\
         usage: adieu [OPTIONS] [--] COMMAND [ARG]...\n\
         \x20      adieu --check [OPTIONS] [--] COMMAND [ARG]...\n\
         \x20      adieu --probe readyz|livez\n",
    );
    for section in Section::ALL {
        page.push_str(&format!("\n{}:\n", section.title()));
        for setting in LIST.iter().filter(|setting| setting.section == section) {
            page.push_str(&format!("  {:<32} {}\n", usage(setting), setting.help));
        }
    }
    page.push_str(
        "\nEvery setting but those without a key can also stand in a variable (--pre-stop is ADIEU_PRE_STOP) or in the file.\n\
         Times: 5s, 500ms, 1m30s; a bare number is seconds.\n\
         Exit status: that of COMMAND; 128+n when signal n ended it; 125 adieu failed; 126 COMMAND cannot be executed; 127 it is not found.\n",
    );
    page
}

/// `-r, --rewrite FROM:TO`
pub fn usage(setting: &Setting) -> String {
    let short = setting.short.map_or("    ".to_owned(), |short| format!("-{short}, "));
    let value = match setting.takes {
        Takes::Nothing => String::new(),
        Takes::One(name) | Takes::Many { name, .. } => format!(" {name}"),
    };
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
            assert_eq!(by_id(setting.id).long, setting.long, "an id that stands twice");
        }
    }

    #[test]
    fn help_names_every_flag() {
        let page = help();
        for setting in LIST {
            assert!(page.contains(&format!("--{}", setting.long)), "--{}", setting.long);
        }
    }
}
