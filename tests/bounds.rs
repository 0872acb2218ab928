//! No test waits without bound: what tests start ends with them, also where the runner ignores INT
//! and QUIT, as the background job of a script does.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Companion, Launch, WATCHDOG, output};

fn shell(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]);
    command
}

fn lives(pid: i32) -> bool {
    harness::stat(pid, 0).is_some_and(|state| state != "Z")
}

#[test]
fn a_companion_that_ignores_everything_ends_with_the_test() {
    let mut stubborn = shell("trap '' HUP INT QUIT TERM; echo ready; while :; do sleep 600; done");
    let mut companion = Companion::start(stubborn.stdout(Stdio::piped())).asked_with(libc::SIGQUIT);
    let mut ready = [0; 6];
    let out = companion.child().stdout.as_mut().expect("piped");
    std::io::Read::read_exact(out, &mut ready).expect("it says that it is ready");
    let children = harness::children(companion.pid());
    let pid = companion.pid();
    drop(companion);
    assert!(!lives(pid));
    for child in children {
        harness::until("its children are gone, too", || !lives(child));
    }
}

#[test]
fn a_command_without_end_is_ended_and_what_it_said_is_shown() {
    let endless = || output(&mut shell("echo heard; echo seen >&2; sleep 600"), Duration::from_secs(1));
    let panic = std::panic::catch_unwind(endless).expect_err("it has no end");
    let text = panic.downcast_ref::<String>().expect("a message");
    for part in ["has not ended within 1s", "heard", "seen"] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

/// Which of INT and QUIT a process ignores.
const IGNORED: &str = "grep SigIgn: /proc/self/status";

/// Run by the test below in a process that ignores INT and QUIT.
#[test]
fn what_a_test_starts_ignores_nothing() {
    let ignores = |text: &str| {
        let (_, mask) = text.split_once("SigIgn:").expect("a field of every kernel");
        u64::from_str_radix(mask.trim(), 16).expect("a mask")
    };
    let said = output(&mut shell(IGNORED), WATCHDOG).stdout;
    assert_eq!(ignores(&String::from_utf8_lossy(&said)), 0, "as a companion");
    let (_, out, _) = Launch::program(Path::new("/bin/sh")).command(["-c", IGNORED]).run();
    assert_eq!(ignores(&out.concat()), 0, "under watch");
}

#[test]
fn nor_does_it_where_the_runner_ignores_int_and_quit() {
    let this = std::env::current_exe().expect("this test");
    let script =
        format!("trap '' INT QUIT; exec '{}' --exact what_a_test_starts_ignores_nothing", this.display());
    let inner = output(&mut shell(&script), WATCHDOG);
    assert!(inner.status.success(), "{}", String::from_utf8_lossy(&inner.stdout));
    assert!(String::from_utf8_lossy(&inner.stdout).contains("1 passed"));
}

/// Where a test starts something by itself, nobody ends it. These do it still, and this list only
/// gets shorter.
const STILL: [&str; 16] = [
    "container.rs",
    "drain_states/http.rs",
    "drain_states/main.rs",
    "drain_states/sight.rs",
    "let_go/hook.rs",
    "let_go/main.rs",
    "packaging.rs",
    "rehearse/apps.rs",
    "rehearse/image.rs",
    "rehearse/lint.rs",
    "rehearse/results.rs",
    "rehearse/tool.rs",
    "roll/apps.rs",
    "roll/net.rs",
    "roll/services.rs",
    "systemd.rs",
];

#[test]
fn tests_start_programs_by_the_harness_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 15, "the tests are found: {}", files.len());
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("below tests").display().to_string();
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        let judged = ["harness/", "bench/", "fuzz/", "bounds.rs"].iter().all(|part| !name.starts_with(part));
        let starts = text.contains("Command::new")
            && [".spawn()", ".output()", ".status()"].iter().any(|call| text.contains(call));
        if judged && starts && !STILL.contains(&name.as_str()) {
            found.push(name);
        }
    }
    found.sort();
    assert_eq!(found, Vec::<String>::new(), "harness::output and harness::Companion have a limit");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("tests can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
