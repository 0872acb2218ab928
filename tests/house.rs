//! The plan of the house, held: which file may know which, where unsafe code may stand, and what
//! may not be there at all.

use std::path::{Path, PathBuf};

/// A source file by its path below src/, its tests left out.
fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 30, "the sources are found: {}", files.len());
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a source file is text");
            let name = path.strip_prefix(&root).expect("below src").display().to_string();
            (name, text.split("#[cfg(test)]").next().unwrap_or_default().to_owned())
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("src can be read") {
        let path = entry.expect("an entry").path();
        if path.ends_with("tests") {
            continue;
        } else if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The crate's modules that a file names, in `use` lines and in paths.
fn rooms_named(text: &str) -> Vec<&str> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    let named = code.flat_map(|line| line.split("crate::").skip(1));
    named.map(|rest| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("")).collect()
}

#[test]
fn imports_run_one_way() {
    let may_know = |file: &str| -> Option<&[&str]> {
        let room = file.split(['/', '.']).next().unwrap_or("");
        match room {
            "moment" => Some(&[]),
            "process" => Some(&["signal"]),
            "signal" => Some(&["process"]),
            "lifecycle" => Some(&["moment", "process", "signal"]),
            "sys" => Some(&["errno", "moment", "process", "signal", "sys"]),
            "errno" => Some(&[]),
            "settings" => Some(&["errno", "lifecycle", "moment", "signal", "settings"]),
            "drain" => Some(&["lifecycle", "moment", "process", "settings", "sys", "drain"]),
            "ask" => Some(&["moment", "process", "signal", "settings", "sys"]),
            "hooks" => Some(&["lifecycle", "moment", "process", "signal", "settings", "sys", "ask"]),
            "ready" => Some(&["lifecycle", "moment", "process", "signal", "settings", "sys", "ask", "ready"]),
            "notify" => Some(&["lifecycle", "moment", "process", "signal", "sys"]),
            "log" => Some(&["moment", "sys"]),
            "report" => Some(&["lifecycle", "moment", "process", "signal", "hooks"]),
            _ => None,
        }
    };
    for (file, text) in sources() {
        let Some(allowed) = may_know(&file) else { continue };
        for room in rooms_named(&text) {
            assert!(allowed.contains(&room), "{file} may not know {room}, only {allowed:?}");
        }
    }
}

/// The rooms that decide, and that know the standard library alone.
const PURE: [&str; 7] = [
    "errno.rs",
    "lifecycle/mod.rs",
    "lifecycle/phase.rs",
    "lifecycle/plan.rs",
    "moment.rs",
    "process.rs",
    "signal.rs",
];

#[test]
fn what_decides_knows_the_standard_library_alone() {
    for (file, text) in sources().into_iter().filter(|(file, _)| PURE.contains(&file.as_str())) {
        for line in text.lines().filter(|line| line.trim_start().starts_with("use ")) {
            let pure =
                PURE.iter().any(|room| line.starts_with(&format!("use crate::{}", &room[..room.len() - 3])));
            assert!(line.starts_with("use std::") || pure, "{file}: {line}");
        }
        for word in ["Instant", "SystemTime", "libc::", "nix::", "log::", "println", "fd"] {
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            let mut words = code.flat_map(|line| line.split(|c: char| !c.is_alphanumeric() && c != ':'));
            assert!(!words.any(|found| found == word), "{file} reads no clock, no descriptor and no log");
        }
    }
}

/// A path of one of the crates that speak to the kernel: `nix::`, and not `unix::`.
fn names_kernel(line: &str) -> bool {
    let mut words = line.split(|c: char| !c.is_alphanumeric() && !"_:".contains(c));
    words.any(|word| ["nix::", "libc::", "netlink_"].iter().any(|kernel| word.starts_with(kernel)))
}

#[test]
fn only_sys_speaks_to_the_kernel() {
    for (file, text) in sources().into_iter().filter(|(file, _)| !file.starts_with("rehearse/")) {
        if file.starts_with("sys/") {
            continue;
        }
        let mut code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let found = code.find(|line| names_kernel(line));
        assert_eq!(found, None, "{file} asks the kernel through sys");
    }
}

/// Besides the door to the kernel, only the program's entry needs unsafe: what libc's main is given
/// are raw pointers.
#[test]
fn unsafe_code_stands_behind_one_door_and_says_why() {
    let entries = ["lib.rs", "bin/adieu.rs", "rehearse/main.rs"];
    for (file, text) in sources() {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or("");
            if !code.contains("unsafe {") {
                continue;
            }
            assert!(
                file.starts_with("sys/") || entries.contains(&file.as_str()),
                "{file}:{}: {line}",
                number + 1
            );
            let above = &lines[number.saturating_sub(6)..number];
            assert!(above.iter().any(|line| line.contains("SAFETY:")), "{file}:{}: {line}", number + 1);
        }
    }
}

#[test]
fn nothing_sleeps_and_the_init_has_no_threads() {
    for (file, text) in sources() {
        assert!(!text.contains("thread::sleep"), "{file} waits by a deadline instead");
        let starts_threads = text.contains("thread::spawn") || text.contains("thread::scope");
        assert!(!starts_threads || file.starts_with("rehearse/"), "{file} is part of the init");
    }
}

/// What is looked up below /proc/PID/task holds up whoever reaps the process.
#[test]
fn the_threads_of_a_process_are_not_listed() {
    for (file, text) in sources() {
        let listed = code_of(&text).filter(|line| line.contains("/task")).find(|line| {
            let own = ["/proc/{pid}/task/{pid}/children", "/proc/{0}/task/{0}/children"];
            !own.iter().any(|path| line.contains(path))
        });
        assert_eq!(listed, None, "{file}");
    }
}

/// The lines that are no comments.
fn code_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim_start().starts_with("//"))
}

/// The modules of the rehearsal that a file of its imports: `use super::plan::Plan` in `ready.rs`
/// is `plan`.
fn imports_of(file: &str, text: &str) -> Vec<String> {
    let folder = file.rsplit_once('/').map(|(folder, _)| folder);
    let uses = text.lines().filter_map(|line| line.trim().strip_prefix("use "));
    let below = |rest: &str| rest.split([':', ';']).next().unwrap_or("").to_owned();
    uses.filter_map(|path| match (path.strip_prefix("super::"), path.strip_prefix("crate::"), folder) {
        (Some(rest), _, Some(folder)) => Some(format!("{folder}/{}", below(rest))),
        (Some(rest), _, None) | (None, Some(rest), _) => Some(below(rest)),
        (None, None, _) => None,
    })
    .collect()
}

#[test]
fn no_two_files_of_the_rehearsal_import_each_other() {
    let files: Vec<(String, Vec<String>)> = sources()
        .into_iter()
        .filter_map(|(file, text)| {
            let name = file.strip_prefix("rehearse/")?.strip_suffix(".rs")?.to_owned();
            let imports = imports_of(&name, &text);
            Some((name.trim_end_matches("/mod").to_owned(), imports))
        })
        .collect();
    assert!(files.iter().map(|(_, imports)| imports.len()).sum::<usize>() > 50, "imports are found");
    let imports = |name: &str| -> Vec<String> {
        files.iter().find(|(file, _)| file == name).map(|(_, imports)| imports.clone()).unwrap_or_default()
    };
    for (file, direct) in &files {
        let (mut seen, mut next) = (Vec::new(), direct.clone());
        while let Some(name) = next.pop() {
            assert_ne!(&name, file, "{file} imports itself by way of {seen:?}");
            if !seen.contains(&name) {
                next.extend(imports(&name));
                seen.push(name);
            }
        }
    }
}

#[test]
fn no_comment_is_wider_than_a_reader_likes() {
    for (file, text) in sources() {
        let mut comments = text.lines().filter(|line| line.trim_start().starts_with("//"));
        // An address and a row of a table cannot be broken.
        let can_be_broken = |line: &&str| !line.contains("http") && !line.contains("! |");
        let wide = comments.find(|line| line.chars().count() > 100 && can_be_broken(line));
        assert_eq!(wide, None, "{file}");
    }
}

/// The types that a file defines, those within its functions included; an implementation's
/// associated types (`type Err`) are indented, and name nothing.
fn types_of(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let (indented, code) = (line.starts_with(' '), line.trim_start());
        let public = code.strip_prefix("pub(crate) ").or(code.strip_prefix("pub(super) "));
        let code = public.or(code.strip_prefix("pub ")).unwrap_or(code);
        let (word, rest) = code.split_once(' ')?;
        let defines = ["struct", "enum", "trait", "union"].contains(&word) || word == "type" && !indented;
        defines.then(|| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or(""))
    })
}

#[test]
fn a_reader_who_greps_for_a_type_finds_one() {
    let files = sources();
    let mut types: Vec<(&str, &str)> =
        files.iter().flat_map(|(file, text)| types_of(text).map(|name| (name, file.as_str()))).collect();
    assert!(types.len() > 200, "types are found: {}", types.len());
    types.sort_unstable();
    let twice: Vec<_> = types.windows(2).filter(|pair| pair[0].0 == pair[1].0).collect();
    assert!(twice.is_empty(), "one name, one type, over both packages: {twice:#?}");
}

/// Somebody sets the machine's clock, and no deadline moves: times of day are for lines alone.
#[test]
fn no_decision_reads_the_time_of_day() {
    let words = ["SystemTime", "UNIX_EPOCH", "CLOCK_REALTIME", "gettimeofday"];
    let init = sources().into_iter().filter(|(file, _)| !file.starts_with("rehearse/"));
    let readers: Vec<String> =
        init.filter(|(_, text)| words.iter().any(|word| text.contains(word))).map(|(file, _)| file).collect();
    assert_eq!(readers, ["log.rs"]);
}
