//! The readers of adieu get what nobody would write, a minute each (tests/fuzz). What breaks one is
//! a defect: overflow checks are on.

mod harness;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

const TARGETS: [&str; 8] =
    ["arguments", "file", "values", "endpoint", "answers", "netlink", "proc", "notify"];

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fuzz"))
}

/// Against a target that is written and never run.
#[test]
fn every_target_has_seeds_and_is_run() {
    let names = |folder: &Path| {
        let entries = std::fs::read_dir(folder).expect("a folder");
        let name = |entry: std::fs::DirEntry| entry.path().file_stem()?.to_str().map(str::to_string);
        let mut names: Vec<String> = entries.filter_map(|entry| name(entry.ok()?)).collect();
        names.sort();
        names
    };
    let mut wanted = TARGETS.map(str::to_string).to_vec();
    wanted.sort();
    assert_eq!(names(&folder().join("fuzz_targets")), wanted);
    assert_eq!(names(&folder().join("seeds")), wanted);
    let script = std::fs::read_to_string(folder().join("run.sh")).expect("the script");
    assert!(script.contains(&format!("set -- {}\n", TARGETS.join(" "))), "run.sh runs all of them");
}

#[test]
fn nothing_that_anyone_writes_breaks_a_reader() {
    long!();
    require!(harness::program("c++"));
    let mut command = Command::new("sh");
    let output = harness::output(command.arg(folder().join("run.sh")).arg("60"), Duration::from_secs(1800));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for target in TARGETS {
        assert!(said.contains(&format!("{target}: ")), "{target} was not run: {said}");
    }
}
