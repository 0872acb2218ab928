//! Writes what must name every setting, platform and known program: the manual page, the shells'
//! completions, the page of settings, and the JSON Schemas. All come from the tables in
//! `src/settings`, and a test holds that what is checked in is what would be written now.
//!
//!     cargo run -p adieu --features schema --example generate

use adieu::moment::show_duration;
use adieu::settings::list::{LIST, Section, Setting, Takes, Usually, ValueKind};
use adieu::settings::{PROGRAMS, Platform, Program};
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[allow(dead_code)] // the test that includes this file has no main
fn main() -> std::io::Result<()> {
    for (path, text) in files() {
        println!("{}", path.display());
        std::fs::write(root().join(path), text)?;
    }
    Ok(())
}

/// Each generated file, its path from the root of the project, with what belongs in it.
pub fn files() -> Vec<(PathBuf, String)> {
    #[cfg_attr(not(feature = "schema"), allow(unused_mut))]
    let mut files = vec![
        ("packaging/man/adieu.1", manual()),
        ("packaging/completions/adieu.bash", bash()),
        ("packaging/completions/_adieu", zsh()),
        ("packaging/completions/adieu.fish", fish()),
        ("packaging/docs/settings.md", settings_page()),
        ("packaging/schema/settings.json", settings_schema()),
    ];
    #[cfg(feature = "schema")]
    files.push(("packaging/schema/report.json", pretty(&adieu::report::schema())));
    files.into_iter().map(|(path, text)| (PathBuf::from(path), text)).collect()
}

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn manual() -> String {
    let page = include_str!("man/adieu.1.in");
    page.replace("@VERSION@", env!("CARGO_PKG_VERSION"))
        .replace("@OPTIONS@\n", &options())
        .replace("@PLATFORMS@\n", &platforms_in_manual())
        .replace("@PROGRAMS@\n", &programs_in_manual())
}

/// The OPTIONS of the manual page: what `--help` says, with each setting's variable and key.
fn options() -> String {
    let mut page = String::new();
    for section in Section::ALL {
        let _ = writeln!(page, ".SS {}", section.title());
        for setting in settings(section) {
            let short = setting.short.map_or(String::new(), |short| format!("\\fB\\-{short}\\fR, "));
            let value = value(setting).map_or(String::new(), |name| format!(" \\fI{}\\fR", roff(name)));
            let _ = writeln!(page, ".TP\n{short}\\fB\\-\\-{}\\fR{value}", roff(setting.long));
            let _ = writeln!(page, "{}", roff(&setting.text()));
            let names = [setting.variable(), setting.key.map(str::to_owned), setting.tini.map(str::to_owned)];
            let also: Vec<String> =
                names.into_iter().flatten().map(|name| format!("\\fB{}\\fR", roff(&name))).collect();
            if !also.is_empty() {
                let _ = writeln!(page, ".br\nAlso {}.", also.join(", "));
            }
        }
    }
    page
}

fn platforms_in_manual() -> String {
    let mut page = String::new();
    for platform in Platform::ALL {
        let signs = platform.signs().join(", ");
        let signs = if signs.is_empty() { "nothing of the above".to_owned() } else { roff(&signs) };
        let grace = show_duration(platform.grace());
        let _ = writeln!(page, ".TP\n.B {}\n{grace}; detected by {signs}.", roff(platform.name()));
    }
    page
}

fn programs_in_manual() -> String {
    let mut page = String::new();
    for program in PROGRAMS {
        let (names, how) = (program.names.join(", "), stopped_by(program));
        let _ = writeln!(page, ".TP\n.B {}\n{}: {}.", roff(&names), roff(&how), roff(program.effect));
    }
    page
}

fn stopped_by(program: &Program) -> String {
    match (program.schedule, program.stop_once) {
        (Some(schedule), _) => schedule.to_owned(),
        (None, true) => "the signal of the stop request, once".to_owned(),
        (None, false) => "the signal of the stop request".to_owned(),
    }
}

fn settings_page() -> String {
    include_str!("docs/settings.md.in")
        .replace("@SETTINGS@\n", &table())
        .replace("@PLATFORMS@\n", &platforms())
        .replace("@PROGRAMS@\n", &programs())
}

fn platforms() -> String {
    let mut table = String::from("| platform | grace | detected by | what to know |\n|---|---|---|---|\n");
    for platform in Platform::ALL {
        let signs: Vec<String> = platform.signs().iter().map(|sign| format!("`{sign}`")).collect();
        let (name, grace) = (platform.name(), show_duration(platform.grace()));
        let _ = writeln!(table, "| {name} | {grace} | {} | {} |", signs.join(", "), platform.note());
    }
    table
}

fn programs() -> String {
    let mut table = String::from("| program | stopped by | what that does |\n|---|---|---|\n");
    for program in PROGRAMS {
        let (names, how) = (program.names.join(", "), stopped_by(program));
        let _ = writeln!(table, "| {names} | {how} | {} |", program.effect);
    }
    table
}

fn table() -> String {
    let mut table = String::new();
    for section in Section::ALL {
        let _ = write!(table, "## {}\n\n{}\n", section.title(), table_of(section));
    }
    table
}

fn table_of(section: Section) -> String {
    let mut table = String::from("| flag | variable | key in the file | what it does |\n|---|---|---|---|\n");
    for setting in settings(section) {
        let short = setting.short.map_or(String::new(), |short| format!("`-{short}` "));
        let value = value(setting).map_or(String::new(), |name| format!(" {name}").replace('|', "\\|"));
        let code = |text: Option<String>| text.map_or(String::new(), |text| format!("`{text}`"));
        let variables = [setting.variable(), setting.tini.map(str::to_owned)].into_iter().flatten();
        let variable = variables.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let key = code(setting.key.map(str::to_owned));
        let help = setting.text().replace('|', "\\|");
        let _ = writeln!(table, "| {short}`--{}{value}` | {variable} | {key} | {help} |", setting.long);
    }
    table
}

fn bash() -> String {
    let flags: Vec<String> = LIST.iter().flat_map(spellings).collect();
    let mut page = format!(
        "# bash completion for adieu; written by cargo run --example generate\n\n\
         _adieu() {{\n    \
             local current=${{COMP_WORDS[COMP_CWORD]}} index=1 word\n    \
             local flags='{}'\n    \
             COMPREPLY=()\n    \
             while ((index < COMP_CWORD)); do\n        \
                 word=${{COMP_WORDS[index]}}\n        \
                 case $word in\n            \
                     --) ((index++)); break ;;\n            \
                     {}) ((index += 2)) ;;\n            \
                     -*) ((index++)) ;;\n            \
                     *) break ;;\n        \
                 esac\n    \
             done\n    \
             if ((index < COMP_CWORD)) || [[ ${{COMP_WORDS[COMP_CWORD-1]}} == -- ]]; then\n        \
                 if declare -F _command_offset >/dev/null; then _command_offset \"$index\"; fi\n        \
                 return\n    \
             fi\n    \
             case ${{COMP_WORDS[COMP_CWORD-1]}} in\n",
        flags.join(" "),
        spelt(|setting| value(setting).is_some())
    );
    for setting in LIST.iter().filter(|setting| !words(setting).is_empty()) {
        let _ = writeln!(
            page,
            "        --{}) mapfile -t COMPREPLY < <(compgen -W '{}' -- \"$current\"); return ;;",
            setting.long,
            words(setting).join(" ")
        );
    }
    let _ = write!(
        page,
        "        {}) mapfile -t COMPREPLY < <(compgen -f -- \"$current\"); return ;;\n        \
             {}) return ;;\n    \
         esac\n    \
         case $current in\n        \
             -*) mapfile -t COMPREPLY < <(compgen -W \"$flags\" -- \"$current\") ;;\n        \
             *) mapfile -t COMPREPLY < <(compgen -c -- \"$current\") ;;\n    \
         esac\n}}\ncomplete -o filenames -F _adieu adieu\n",
        spelt(takes_path),
        spelt(|setting| value(setting).is_some() && !takes_path(setting) && words(setting).is_empty()),
    );
    page
}

fn zsh() -> String {
    let mut page = String::from(
        "#compdef adieu\n# written by cargo run --example generate\n\n_arguments -s -S -A '-*' \\\n",
    );
    for setting in LIST {
        let help =
            setting.text().replace('\'', "'\\''").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:");
        let action = match (value(setting), words(setting)) {
            (None, _) => String::new(),
            (Some(name), words) if !words.is_empty() => {
                format!(":{}:({})", name.replace(':', "\\:"), words.join(" "))
            }
            (Some(name), _) if takes_path(setting) => format!(":{name}:_files"),
            (Some(name), _) => format!(":{}: ", name.replace(':', "\\:")),
        };
        for spelling in spellings(setting) {
            let joins = match (action.is_empty(), spelling.starts_with("--")) {
                (true, _) => "",
                (false, true) => "=",
                (false, false) => "+",
            };
            let _ = writeln!(page, "    '*{spelling}{joins}[{help}]{action}' \\");
        }
    }
    page.push_str("    '(-)1:command: _command_names -e' \\\n    '*::arguments: _normal'\n");
    page
}

fn fish() -> String {
    let skipped = spelt(|setting| value(setting).is_some()).replace(" | ", " ");
    let mut page = format!(
        "# fish completion for adieu; written by cargo run --example generate\n\n\
         complete -c adieu -x -a '(__fish_complete_subcommand -- {skipped})'\n"
    );
    for setting in LIST {
        let short = setting.short.map_or(String::new(), |short| format!(" -s {short}"));
        let takes = match (value(setting), words(setting)) {
            (None, _) => String::new(),
            (Some(_), words) if !words.is_empty() => format!(" -x -a '{}'", words.join(" ")),
            (Some(_), _) if takes_path(setting) => " -r -F".to_owned(),
            (Some(_), _) => " -x".to_owned(),
        };
        let help = setting.text().replace('\\', "\\\\").replace('\'', "\\'");
        let _ = writeln!(page, "complete -c adieu{short} -l {}{takes} -d '{help}'", setting.long);
    }
    page
}

/// The JSON Schema of the settings file. Keys with a dot are tables.
fn settings_schema() -> String {
    let mut properties = Map::new();
    for setting in LIST {
        let Some(key) = setting.key else { continue };
        match key.split_once('.') {
            None => {
                properties.insert(key.to_owned(), schema(setting));
            }
            Some((table, key)) => {
                let empty = json!({"type": "object", "additionalProperties": false, "properties": {}});
                let table = properties.entry(table).or_insert(empty);
                table["properties"][key] = schema(setting);
            }
        }
    }
    let whole = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The settings file of adieu",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    });
    pretty(&whole)
}

fn schema(setting: &Setting) -> Value {
    let one = setting.kind().map_or(json!({"type": "boolean"}), value_schema);
    let mut schema = match setting.takes {
        Takes::Nothing | Takes::One(_) => one,
        Takes::Many(..) => json!({"anyOf": [one, {"type": "array", "items": one}]}),
    };
    schema["description"] = setting.text().into();
    if let Usually::Is(default) = setting.default {
        schema["default"] = default.into();
    }
    schema
}

fn value_schema(kind: ValueKind) -> Value {
    const TIME: &str = r"^([0-9.]+|([0-9.]+h)?([0-9.]+(m|min))?([0-9.]+(s|sec))?([0-9.]+ms)?([0-9.]+us)?)$";
    match kind {
        ValueKind::Time => {
            json!({"type": ["string", "number"], "minLength": 1, "minimum": 0, "pattern": TIME})
        }
        ValueKind::Port => {
            json!({"type": ["integer", "string"], "minimum": 1, "maximum": 65535, "pattern": "^[0-9]+$"})
        }
        ValueKind::Status => {
            json!({"type": ["integer", "string"], "minimum": 0, "maximum": 255, "pattern": "^[0-9]+$"})
        }
        ValueKind::Signal => {
            json!({"type": ["string", "integer"], "minLength": 1, "minimum": 1, "maximum": 64})
        }
        ValueKind::Path | ValueKind::Target | ValueKind::Other(_) => {
            json!({"type": "string", "minLength": 1})
        }
        ValueKind::Word(_, choices) => json!({"enum": choices()}),
    }
}

fn pretty(schema: &Value) -> String {
    serde_json::to_string_pretty(schema).expect("JSON has a text") + "\n"
}

fn settings(section: Section) -> impl Iterator<Item = &'static Setting> {
    LIST.iter().filter(move |setting| setting.section == section)
}

/// `--rewrite`, `-r`
fn spellings(setting: &Setting) -> Vec<String> {
    let short = setting.short.map(|short| format!("-{short}"));
    [format!("--{}", setting.long)].into_iter().chain(short).collect()
}

/// The spellings of some settings as a pattern of the shell's.
fn spelt(which: impl Fn(&Setting) -> bool) -> String {
    let spellings: Vec<String> = LIST.iter().filter(|setting| which(setting)).flat_map(spellings).collect();
    spellings.join(" | ")
}

fn value(setting: &Setting) -> Option<&'static str> {
    setting.kind().map(ValueKind::name)
}

fn takes_path(setting: &Setting) -> bool {
    matches!(setting.kind(), Some(ValueKind::Path))
}

/// What can be completed where only some words are allowed.
fn words(setting: &Setting) -> Vec<&'static str> {
    setting.kind().map_or(Vec::new(), ValueKind::choices)
}

fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}
