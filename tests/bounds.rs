//! No test waits without bound: what tests start ends with them, also where the runner ignores INT
//! and QUIT, as the background job of a script does.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Companion, Dialogue, Launch, WATCHDOG, output};

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
    let piped = stubborn.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut dialogue = Dialogue::with(Companion::start(piped).asked_with(libc::SIGQUIT));
    assert_eq!(dialogue.line(), "ready");
    let pid = dialogue.pid();
    let children = harness::children(pid);
    drop(dialogue);
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

/// Calls that may wait for ever, each with what has a limit instead. The harness alone uses them.
const ENDLESS: [(&str, &str); 15] = [
    (".spawn()", "Companion::start"),
    (".output()", "harness::output"),
    (".status()", "harness::output"),
    (".wait()", "Companion::end"),
    (".wait_with_output()", "harness::output_given"),
    (".stdout.take()", "Dialogue"),
    ("waitpid(", "Companion::end"),
    (".recv()", "recv_timeout"),
    (".accept()", "harness::accept"),
    (".incoming()", "harness::accept"),
    ("Stream::connect(", "harness::connect or harness::try_connect_unix"),
    ("read_exact(", "harness::exactly or Pipe"),
    ("read_line(", "Dialogue::line"),
    ("read_to_end(", "harness::rest or Pipe"),
    ("read_to_string(&mut", "harness::rest or Pipe"),
];

/// The text of a program in another language that stands in a test is none of it.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let foreign = |line: &&str| line.trim_end().ends_with("= \"") || line.trim_end().ends_with("r#\"");
    let mut inside = false;
    text.lines().enumerate().filter(move |(_, line)| {
        let was_inside = inside;
        inside = if inside { !["\";", "\"#;"].contains(line) } else { foreign(line) };
        !was_inside
    })
}

#[test]
fn no_test_waits_without_bound() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut files = Vec::new();
    collect(&root, &mut files);
    assert!(files.len() > 15, "the tests are found: {}", files.len());
    let mut found = Vec::new();
    for path in files {
        let name = path.strip_prefix(&root).expect("below tests").display().to_string();
        if ["harness/", "bench/", "fuzz/", "bounds.rs"].iter().any(|part| name.starts_with(part)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a source file is text");
        for (number, line) in code(&text) {
            let endless = ENDLESS.iter().find(|(call, _)| line.contains(call));
            found.extend(endless.map(|(call, better)| format!("{name}:{}: {call}: {better}", number + 1)));
        }
    }
    found.sort();
    assert_eq!(found, Vec::<String>::new());
}

/// So that the test above can fail, and reads no Python.
#[test]
fn a_call_is_found_in_code_and_not_in_a_script() {
    let text = "const SERVER: &str = \"\nc.accept()\n\";\nlistener.accept();\n";
    let lines: Vec<&str> = code(text).map(|(_, line)| line).collect();
    assert_eq!(lines, ["const SERVER: &str = \"", "listener.accept();"]);
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
