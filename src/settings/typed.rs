//! What was typed: flags, variables and the file, word for word, each with its origin. Here only
//! the names are checked.

use super::list::{Id, LIST, Setting, Split, Takes, by_id};
use super::{Origin, Refusal};
use crate::errno::describe;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The file that is read when no other is named, if it exists.
const DEFAULT_FILE: &str = "/etc/adieu.toml";
/// Set by adieu for its hooks, which may run an adieu of their own.
const HOOK_VARIABLES: [&str; 4] = ["ADIEU_PHASE", "ADIEU_APP_PID", "ADIEU_EXIT_STATUS", "ADIEU_STOP_SIGNAL"];

/// A value as it was typed.
pub struct Entry {
    /// Its setting.
    pub id: Id,
    /// Word for word.
    pub value: OsString,
    /// Where it was found.
    pub origin: Origin,
}

/// Everything that was typed, in layers of falling precedence: flags, variables, file.
pub struct Typed {
    layers: [Vec<Entry>; 3],
    /// The words after the options.
    pub command: Vec<OsString>,
}

impl Typed {
    /// Collects from the arguments (without the program's own name), the environment and the file.
    ///
    /// # Errors
    /// An unknown name, a missing or superfluous value, a file that cannot be read.
    pub fn collect(
        arguments: impl IntoIterator<Item = OsString>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Typed, Refusal> {
        let (flags, command) = flags(arguments)?;
        let mut typed = Typed { layers: [flags, Vec::new(), Vec::new()], command };
        if !typed.wants_no_settings() {
            typed.layers[1] = variables(environment)?;
            typed.layers[2] = file(typed.one(Id::Config), Path::new(DEFAULT_FILE))?;
        }
        Ok(typed)
    }

    /// The value that counts: the last one of the highest layer that has any.
    pub fn one(&self, id: Id) -> Option<&Entry> {
        self.layers.iter().find_map(|layer| layer.iter().rfind(|entry| entry.id == id))
    }

    /// All values of the highest layer that has any.
    pub fn all(&self, id: Id) -> Vec<&Entry> {
        let of = |layer: &'_ Vec<Entry>| layer.iter().any(|entry| entry.id == id);
        let layer = self.layers.iter().find(|layer| of(layer));
        layer.into_iter().flatten().filter(|entry| entry.id == id).collect()
    }

    /// Whether it is set.
    pub fn has(&self, id: Id) -> bool {
        self.one(id).is_some()
    }

    /// Help never fails, whatever is in the variables and the file.
    fn wants_no_settings(&self) -> bool {
        self.has(Id::Help) || self.has(Id::License) || self.has(Id::Version)
    }
}

fn flags(arguments: impl IntoIterator<Item = OsString>) -> Result<(Vec<Entry>, Vec<OsString>), Refusal> {
    let mut parser = lexopt::Parser::from_args(arguments);
    let mut entries = Vec::new();
    while let Some(argument) = parser.next().map_err(refuse_flag)? {
        let setting = match argument {
            lexopt::Arg::Value(command) => {
                let rest = parser.raw_args().map_err(refuse_flag)?;
                return Ok((entries, std::iter::once(command).chain(rest).collect()));
            }
            lexopt::Arg::Short(short) => LIST.iter().find(|setting| setting.short == Some(short)),
            lexopt::Arg::Long(long) => LIST.iter().find(|setting| setting.long == long),
        };
        let Some(setting) = setting else {
            return Err(unknown_flag(&argument));
        };
        let origin = Origin::Flag(setting.long);
        let Some(kind) = setting.kind() else {
            entries.push(Entry { id: setting.id, value: "true".into(), origin });
            continue;
        };
        let lacks_value = || Refusal(format!("--{0} needs a value: --{0} {1}", setting.long, kind.name()));
        let value = parser.value().map_err(|_| lacks_value())?;
        let values = split(setting, &value);
        if values.is_empty() {
            return Err(lacks_value());
        }
        let entry = |value| Entry { id: setting.id, value, origin: origin.clone() };
        entries.extend(values.into_iter().map(entry));
    }
    Ok((entries, Vec::new()))
}

fn refuse_flag(error: lexopt::Error) -> Refusal {
    match error {
        lexopt::Error::UnexpectedValue { option, .. } => Refusal(format!("{option} takes no value")),
        other => Refusal(format!("{other}; see adieu --help")),
    }
}

fn unknown_flag(argument: &lexopt::Arg) -> Refusal {
    match argument {
        lexopt::Arg::Long(long) => {
            let meant = nearest(long, LIST.iter().map(|setting| setting.long));
            let hint =
                meant.map_or("see adieu --help".to_owned(), |meant| format!("did you mean --{meant}?"));
            Refusal(format!("unknown option --{long}; {hint}"))
        }
        lexopt::Arg::Short(short) => Refusal(format!("unknown option -{short}; see adieu --help")),
        lexopt::Arg::Value(value) => Refusal(format!("unexpected '{}'", value.to_string_lossy())),
    }
}

fn variables(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Vec<Entry>, Refusal> {
    let (mut of_tini, mut entries) = (Vec::new(), Vec::new());
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("TINI_")
            && let Some(setting) = LIST.iter().find(|setting| setting.tini == Some(name))
        {
            of_tini.push(from_tini(setting, name, &value));
        }
        if !name.starts_with("ADIEU_") {
            continue;
        }
        let known = LIST.iter().find(|setting| setting.variable().as_deref() == Some(name));
        match known {
            Some(_) if value.is_empty() || from_kubernetes(name, &value) => {}
            Some(setting) => entries.extend(of_variable(setting, name, &value)?),
            None if HOOK_VARIABLES.contains(&name) || from_kubernetes(name, &value) => {}
            None => {
                let all: Vec<String> = LIST.iter().filter_map(Setting::variable).collect();
                let hint = nearest(name, all.iter().map(String::as_str))
                    .map_or("see adieu --help".to_owned(), |meant| format!("did you mean {meant}?"));
                return Err(Refusal(format!("unknown variable {name}; {hint}")));
            }
        }
    }
    // The last one counts, so adieu's own variables beat tini's.
    of_tini.extend(entries);
    Ok(of_tini)
}

/// tini's switches are on if their variable exists at all, and it reads its verbosity by atoi(3).
fn from_tini(setting: &Setting, name: &str, value: &OsStr) -> Entry {
    const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];
    let verbosity = value.to_str().and_then(|text| text.trim().parse::<usize>().ok()).unwrap_or(0);
    let value = match setting.takes {
        Takes::Nothing => "true",
        Takes::One(_) | Takes::Many(..) => LEVELS.get(verbosity).copied().unwrap_or("trace"),
    };
    Entry { id: setting.id, value: value.into(), origin: Origin::Variable(name.to_owned()) }
}

/// The kubelet sets `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_PORT=tcp://...` and others in every
/// container for each service X of the namespace. A service named adieu must not keep pods from
/// starting.
fn from_kubernetes(name: &str, value: &OsStr) -> bool {
    let is_address = value.to_str().is_some_and(|value| value.contains("://"));
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_") && (name.contains("_TCP") || name.contains("_UDP"))
        || name.ends_with("_PORT") && is_address
}

/// The values in one variable.
fn of_variable(setting: &Setting, name: &str, value: &OsStr) -> Result<Vec<Entry>, Refusal> {
    let values = split(setting, value);
    if values.is_empty() {
        return Err(Refusal(format!("{name} holds no value: '{}'", value.to_string_lossy())));
    }
    let entry = |value| Entry { id: setting.id, value, origin: Origin::Variable(name.to_owned()) };
    Ok(values.into_iter().map(entry).collect())
}

/// The values in one variable or flag; none if it has only separators.
fn split(setting: &Setting, value: &OsStr) -> Vec<OsString> {
    let separator = match setting.takes {
        Takes::Many(_, Split::Commas) => ',',
        Takes::Many(_, Split::Lines) => '\n',
        Takes::One(_) | Takes::Nothing if value.is_empty() => return Vec::new(),
        Takes::One(_) | Takes::Nothing => return vec![value.to_owned()],
    };
    match value.to_str() {
        Some(text) => {
            let parts = text.split(separator).map(str::trim);
            parts.filter(|part| !part.is_empty()).map(OsString::from).collect()
        }
        // Refused where it is read.
        None => vec![value.to_owned()],
    }
}

fn file(named: Option<&Entry>, usual: &Path) -> Result<Vec<Entry>, Refusal> {
    let (path, must_exist) = match named {
        Some(entry) => (PathBuf::from(&entry.value), true),
        None => (usual.to_owned(), false),
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => File { path: &path, text: &text }.entries(),
        Err(error) if !must_exist && error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        // EMFILE comes before the kernel looks for the file.
        Err(_) if !must_exist && !path.exists() => Ok(Vec::new()),
        Err(error) => {
            Err(Refusal(format!("cannot read settings file '{}': {}", path.display(), describe(&error))))
        }
    }
}

struct File<'a> {
    path: &'a Path,
    text: &'a str,
}

impl File<'_> {
    fn entries(&self) -> Result<Vec<Entry>, Refusal> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.refuse(at, error.message())
        })?;
        let mut entries = Vec::new();
        self.walk("", table.get_ref(), &mut entries)?;
        Ok(entries)
    }

    fn walk(&self, above: &str, table: &DeTable, entries: &mut Vec<Entry>) -> Result<(), Refusal> {
        for (name, value) in table {
            let key = if above.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{above}.{}", name.get_ref())
            };
            let setting = LIST.iter().find(|setting| setting.key == Some(&key));
            match (value.get_ref(), setting) {
                (DeValue::Table(inner), None) => self.walk(&key, inner, entries)?,
                (value_at, Some(setting)) => self.values(setting, value_at, value.span().start, entries)?,
                (_, None) => {
                    let hint = nearest(&key, LIST.iter().filter_map(|setting| setting.key))
                        .map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
                    return Err(self.refuse(name.span().start, &format!("unknown key {key}{hint}")));
                }
            }
        }
        Ok(())
    }

    fn values(
        &self,
        setting: &Setting,
        value: &DeValue,
        at: usize,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Refusal> {
        if let (DeValue::Array(items), Takes::Many(..)) = (value, setting.takes) {
            return items
                .iter()
                .try_for_each(|item| self.values(setting, item.get_ref(), item.span().start, entries));
        }
        let text = match value {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(switch) => switch.to_string(),
            DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => {
                let key = setting.key.unwrap_or(setting.long);
                return Err(self.refuse(at, &format!("{key} cannot be {}", with_article(value.type_str()))));
            }
        };
        let origin = Origin::File { path: self.path.to_owned(), line: self.line(at) };
        entries.push(Entry { id: setting.id, value: text.into(), origin });
        Ok(())
    }

    fn refuse(&self, at: usize, message: &str) -> Refusal {
        let message = message.lines().collect::<Vec<_>>().join("; ");
        Refusal(format!("{}:{}: {message}", self.path.display(), self.line(at)))
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.bytes().take(at);
        before.filter(|byte| *byte == b'\n').count().saturating_add(1)
    }
}

fn with_article(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

/// The name closest to what was typed, if any is close.
pub fn nearest<'a>(typed: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let close = |name: &&str| strsim::jaro_winkler(typed, name);
    names
        .map(|name| (close(&name), name))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

/// The setting's name as its origin spells it: `--grace`, `ADIEU_GRACE`, `stop.grace`.
pub fn written_as(id: Id, origin: &Origin) -> String {
    let setting = by_id(id);
    match origin {
        Origin::Variable(name) => name.clone(),
        Origin::File { path, line } => {
            format!("{}:{line}: {}", path.display(), setting.key.unwrap_or(setting.long))
        }
        Origin::Flag(_) | Origin::Default | Origin::Detected | Origin::Platform(_) | Origin::Program(_) => {
            format!("--{}", setting.long)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_variables(given: &[(&str, &str)]) -> Result<Vec<Entry>, Refusal> {
        variables(given.iter().map(|(name, value)| (name.into(), value.into())))
    }

    /// The kubelet's variables of a service called adieu, and the hooks' own.
    #[test]
    fn variables_that_others_set_are_no_settings() {
        for (name, value) in [
            ("ADIEU_SERVICE_HOST", "10.0.0.1"),
            ("ADIEU_SERVICE_PORT", "80"),
            ("ADIEU_SERVICE_PORT_HTTP", "80"),
            ("ADIEU_PORT", "tcp://10.0.0.1:80"),
            ("ADIEU_DRAIN_PORT", "tcp://10.0.0.1:80"),
            ("ADIEU_PORT_80_TCP", "tcp://10.0.0.1:80"),
            ("ADIEU_PORT_80_TCP_PROTO", "tcp"),
            ("ADIEU_PORT_53_UDP_PORT", "53"),
            ("ADIEU_PHASE", "draining"),
            ("ADIEU_APP_PID", "7"),
            ("ADIEU_EXIT_STATUS", "0"),
            ("ADIEU_STOP_SIGNAL", "TERM"),
            ("ADIEU_GRACE", ""),
            ("ADIEUX", "x"),
        ] {
            assert_eq!(in_variables(&[(name, value)]).unwrap().len(), 0, "{name}");
        }
        // These look alike, and are typos.
        for (name, value) in [
            ("ADIEU_PORT", "80"),
            ("ADIEU_HOST", "tcp://10.0.0.1:80"),
            ("ADIEU_PORT_80", "80"),
            ("ADIEU_80_TCP", "80"),
            ("ADIEU_80_UDP", "80"),
            ("ADIEU_PHASES", "x"),
        ] {
            let line = in_variables(&[(name, value)]).err().expect(name).0;
            assert!(line.starts_with(&format!("unknown variable {name}; ")), "{line}");
        }
        assert_eq!(in_variables(&[("ADIEU_DRAIN_PORT", "80,81")]).unwrap().len(), 2);
    }

    #[test]
    fn the_nearest_name_is_the_one_that_was_meant() {
        let names = ["grace", "group", "drain", "drain-port"];
        let near = |typed: &str| nearest(typed, names.into_iter());
        assert_eq!(near("grce"), Some("grace"));
        assert_eq!(near("drain-prot"), Some("drain-port"));
        assert_eq!(near("drian"), Some("drain"));
        assert_eq!(near("xyz"), None);
        assert_eq!(unknown(&["--grce"]), "unknown option --grce; did you mean --grace?");
        assert_eq!(unknown(&["--xyz"]), "unknown option --xyz; see adieu --help");
    }

    fn unknown(words: &[&str]) -> String {
        flags(words.iter().map(OsString::from)).err().expect("refused").0
    }

    fn in_file(text: &str) -> Result<Vec<String>, String> {
        let file = File { path: Path::new("a.toml"), text };
        let shown = |entry: &Entry| {
            format!("{} = {}", written_as(entry.id, &entry.origin), entry.value.to_string_lossy())
        };
        file.entries().map(|entries| entries.iter().map(shown).collect()).map_err(|refusal| refusal.0)
    }

    #[test]
    fn a_file_has_tables_or_dotted_keys_and_each_value_its_line() {
        let text = "platform = \"none\"\nstop.grace = 40\n[signals]\ngroup = true\nrewrite = [\"USR1:HUP\",\n                     \"USR2:0\"]\n[drain]\nquiet = 1.5\n";
        let values = [
            "a.toml:1: platform = none",
            "a.toml:2: stop.grace = 40",
            "a.toml:4: signals.group = true",
            "a.toml:5: signals.rewrite = USR1:HUP",
            "a.toml:6: signals.rewrite = USR2:0",
            "a.toml:8: drain.quiet = 1.5",
        ];
        let mut found = in_file(text).unwrap();
        found.sort();
        assert_eq!(found, values);
    }

    #[test]
    fn what_is_wrong_in_a_file_has_its_line() {
        for (text, line) in [
            ("\n[stop]\ngrce = 3\n", "a.toml:3: unknown key stop.grce; did you mean stop.grace?"),
            ("xyz = 3\n", "a.toml:1: unknown key xyz"),
            ("[stop]\ngrace = [1]\n", "a.toml:2: stop.grace cannot be an array"),
            ("[stop]\ngrace = { a = 1 }\n", "a.toml:2: stop.grace cannot be a table"),
            ("[stop]\n\ngrace = 2026-01-01\n", "a.toml:3: stop.grace cannot be a datetime"),
        ] {
            assert_eq!(in_file(text), Err(line.to_owned()), "{text}");
        }
        let broken = in_file("[stop]\ngrace = \n").unwrap_err();
        assert!(broken.starts_with("a.toml:2: "), "{broken}");
    }

    #[test]
    fn a_file_that_is_not_named_need_not_exist() {
        let named = |path: &str| {
            let entry = Entry { id: Id::Config, value: path.into(), origin: Origin::Flag("config") };
            file(Some(&entry), Path::new("/")).map(|entries| entries.len())
        };
        let usual = |path: &str| file(None, Path::new(path)).map(|entries| entries.len());
        // The second cannot be looked for, as when no descriptor is left.
        for path in ["/nowhere/adieu.toml", "/dev/null/adieu.toml"] {
            assert_eq!(usual(path), Ok(0), "{path}");
            let line = named(path).unwrap_err().0;
            assert!(line.starts_with(&format!("cannot read settings file '{path}': no")), "{line}");
        }
        // What is there and cannot be read is refused.
        for refused in [usual("/"), named("/")] {
            assert_eq!(refused.unwrap_err().0, "cannot read settings file '/': is a directory");
        }
        let own = concat!(env!("CARGO_MANIFEST_DIR"), "/clippy.toml");
        for refused in [usual(own), named(own)] {
            let line = refused.unwrap_err().0;
            assert!(line.contains("clippy.toml:2: unknown key arithmetic-side-effects-allowed"), "{line}");
        }
    }
}
