//! How COMMAND becomes a process, the same with either libc: found as a shell finds it, and run by
//! one where the kernel knows no interpreter for it.

mod harness;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::{End, Init, Launch, Scratch};

fn executable(scratch: &Scratch, name: &str, content: &[u8]) -> PathBuf {
    let path = scratch.path(name);
    std::fs::write(&path, content).expect("a writable directory for temporary files");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    path
}

fn run(folder: &Path, words: &[&str]) -> (End, Vec<String>, Vec<String>) {
    let path = format!("/nowhere:{}:/usr/bin:/bin", folder.display());
    Launch::ordinary(Init::Adieu).env("PATH", path).command(words).run()
}

#[test]
fn a_script_without_an_interpreter_line_runs_in_a_shell() {
    let scratch = Scratch::new();
    let script = executable(&scratch, "without-a-line", b"echo \"$0 $*\"\nexit 7\n");
    let script = script.display().to_string();
    for command in [script.as_str(), "without-a-line"] {
        let (end, out, err) = run(&scratch.path(""), &[command, "one", "two words"]);
        assert_eq!(end, End::Exited(7), "{err:?}");
        assert_eq!(out.concat().replace("//", "/"), format!("{script} one two words").replace("//", "/"));
    }
}

#[test]
fn a_program_for_another_processor_is_126_and_named() {
    let scratch = Scratch::new();
    let mut foreign = std::fs::read(harness::probe()).expect("the probe");
    // e_machine, in elf(5): a number that no processor has.
    foreign.splice(18..20, [0xfe, 0xca]);
    let path = executable(&scratch, "foreign", &foreign).display().to_string();
    for command in [path.as_str(), "foreign"] {
        let (end, out, err) = run(&scratch.path(""), &[command]);
        assert_eq!((end, out), (End::Exited(126), Vec::new()), "{err:?}");
        assert!(
            err.len() == 1 && err[0].contains("exec format error") && err[0].contains(command),
            "{err:?}"
        );
    }
}

/// systemd 259 names the process that its sockets are for twice; an app behind adieu is another
/// process.
#[test]
fn the_pidfd_of_socket_activation_is_taken_away_with_the_pid() {
    let (adieu, probe) = (Init::Adieu.path(), harness::probe());
    let passed_on = |pid: &str| {
        let run = format!(
            "LISTEN_FDS=0 LISTEN_PIDFDID=4711 LISTEN_PID={pid} exec {} -- {}",
            adieu.display(),
            probe.display()
        );
        let mut run = Launch::program(Path::new("/bin/sh")).command(["-c", &run]).start();
        run.expect("ready");
        run.say("env");
        run.say("exit 0");
        let lines = run.rest();
        assert!(lines.iter().any(|line| line == "env LISTEN_FDS=0"), "{lines:?}");
        lines.iter().any(|line| line.starts_with("env LISTEN_PIDFDID"))
    };
    assert!(!passed_on("$$"));
    assert!(passed_on("4194305"), "sockets for another process are none of ours");
}
