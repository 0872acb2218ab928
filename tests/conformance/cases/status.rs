//! The init's exit status is the app's.

use std::path::Path;

use crate::harness::{End, Init, Launch, Scratch};

pub fn the_apps_status(init: Init) {
    for status in [0, 1, 2, 42, 125, 126, 127, 128, 143, 255] {
        let mut run = Launch::pid1(init).start();
        run.expect("ready");
        run.say(&format!("exit {status}"));
        run.expect_exit(status);
    }
}

pub fn the_apps_signal(init: Init) {
    for (name, number) in [("HUP", 1), ("KILL", 9), ("USR1", 10), ("PIPE", 13), ("TERM", 15), ("64", 64)] {
        let mut run = Launch::pid1(init).start();
        run.expect("ready");
        run.say(&format!("die {name}"));
        run.expect_exit(128 + number);
    }
}

pub fn an_app_that_ends_by_term(init: Init) {
    let mut run = Launch::pid1(init).start();
    run.expect("ready");
    run.order("default TERM");
    run.term();
    run.expect_exit(128 + libc::SIGTERM);
}

pub fn not_found_is_127(init: Init) {
    for name in ["/nowhere/at-all", "no-such-command-anywhere"] {
        cannot_start(init, Path::new(name), 127);
    }
}

pub fn not_executable_is_126(init: Init) {
    let scratch = Scratch::new();
    let plain = scratch.file("plain", "no program");
    for path in [plain.as_path(), Path::new("/usr/bin/")] {
        cannot_start(init, path, 126);
    }
}

fn cannot_start(init: Init, command: &Path, status: i32) {
    let (end, out, err) = Launch::pid1(init).command([command]).run();
    assert_eq!((end, out), (End::Exited(status), Vec::new()), "{err:?}");
    let name = command.display().to_string();
    assert!(err.iter().any(|line| line.contains(&name)), "'{name}' is not named in {err:?}");
    if init == Init::Adieu {
        assert_eq!(err.len(), 1, "one line: {err:?}");
        assert!(err[0].starts_with("adieu: ") && err[0].contains("cannot "), "{err:?}");
    }
}
