//! What adieu says, where, and that nobody who fails to listen can hold it up.

mod harness;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;

use harness::seccomp::Refused;
use harness::{End, Init, Launch, Running};
use nix::fcntl::{FcntlArg, OFlag, fcntl};

const TALKATIVE: &str = "--pre-stop 0 --grace 50s --log-level trace";

fn pipe() -> (OwnedFd, OwnedFd) {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe")
}

/// A pipe with no room left, which nobody reads.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = pipe();
    fcntl(&writer, FcntlArg::F_SETPIPE_SZ(4096)).expect("a pipe's size can be set");
    fill(&writer);
    (reader, writer)
}

fn fill(writer: &OwnedFd) {
    let own = File::from(writer.try_clone().expect("a descriptor"));
    fcntl(writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe");
    while (&own).write(&[b'.'; 512]).is_ok() {}
    while (&own).write(b".").is_ok() {}
    fcntl(writer, FcntlArg::F_SETFL(OFlag::empty())).expect("a pipe");
}

/// A whole life with everything that would be worth a line.
fn live(launch: Launch) -> Running {
    let mut run = launch.start();
    run.expect("ready");
    for round in 1..=200 {
        run.signal(libc::SIGUSR1);
        assert!(run.expect_signal("USR1").starts_with(&format!("{round} ")));
    }
    run.order("storm 50");
    run.term();
    run.expect_signal("TERM");
    run.expect_signal("CONT");
    run.say("exit 3");
    run.expect_exit(3);
    run
}

fn talkative() -> Launch {
    Launch::pid1(Init::Adieu).options(TALKATIVE)
}

#[test]
fn a_full_pipe_that_nobody_reads_holds_nothing_up() {
    require!(harness::pid_namespaces());
    let (_reader, writer) = full_pipe();
    live(talkative().stderr(writer));
}

#[test]
fn a_full_pipe_holds_nothing_up_where_the_kernel_knows_no_write_without_waiting() {
    require!(harness::pid_namespaces());
    for errno in [libc::EOPNOTSUPP, libc::ENOSYS] {
        let (_reader, writer) = full_pipe();
        let refused = [Refused::call(libc::SYS_pwritev2, errno)];
        live(talkative().refusing(&refused).stderr(writer));
        let mut run = Launch::pid1(Init::Adieu).options("--pre-stop 0").refusing(&refused).start();
        run.expect("ready");
        assert!(run.log("version ").contains("platform "), "the line comes all the same");
        run.say("exit 0");
        run.expect_exit(0);
    }
}

#[test]
fn a_reader_that_has_gone_is_no_reason_to_die() {
    require!(harness::pid_namespaces());
    let (reader, writer) = pipe();
    drop(reader);
    live(talkative().stderr(writer));
}

#[test]
fn a_closed_stderr_is_no_reason_to_die() {
    require!(harness::pid_namespaces());
    live(talkative().closing(&[2]));
}

#[test]
fn a_full_disk_is_no_reason_to_die() {
    require!(harness::pid_namespaces());
    let full = OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    live(talkative().stderr(full));
}

#[test]
fn a_socket_that_nobody_reads_holds_nothing_up() {
    require!(harness::pid_namespaces());
    let (_reader, writer) = std::os::unix::net::UnixStream::pair().expect("two sockets");
    let size = 1;
    nix::sys::socket::setsockopt(&writer, nix::sys::socket::sockopt::SndBuf, &size)
        .expect("a socket's size can be set");
    live(talkative().stderr(OwnedFd::from(writer)));
}

#[test]
fn a_terminal_that_nobody_reads_holds_nothing_up() {
    require!(harness::pid_namespaces());
    let pair = nix::pty::openpty(None, None).expect("a terminal");
    live(talkative().stderr(pair.slave));
}

/// The app shares the open file with adieu; a flag set on it would be set for both.
#[test]
fn stderr_is_not_made_non_blocking_behind_the_apps_back() {
    require!(harness::pid_namespaces());
    let (_reader, writer) = pipe();
    let own = writer.try_clone().expect("a descriptor");
    let mut run = talkative().stderr(writer).start();
    run.expect("ready");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    assert!(!flags(&own).contains(OFlag::O_NONBLOCK));
    run.say("exit 0");
    run.expect_exit(0);
    assert!(!flags(&own).contains(OFlag::O_NONBLOCK));
}

fn flags(fd: &OwnedFd) -> OFlag {
    OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL).expect("an open file"))
}

#[test]
fn lost_lines_are_counted() {
    require!(harness::pid_namespaces());
    let (reader, writer) = full_pipe();
    let mut run = talkative().stderr(writer).start();
    run.expect("ready");
    for _ in 0..50 {
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
    }
    let mut reader = File::from(reader);
    harness::exactly(&mut reader, 4096); // what filled the pipe
    run.term();
    run.expect_signal("TERM");
    run.expect_signal("CONT");
    run.say("exit 0");
    run.expect_exit(0);
    let text = harness::rest(&mut reader);
    let told = text.lines().find(|line| line.contains("lost") || line.contains("dropped"));
    let told = told.unwrap_or_else(|| panic!("no word of lost lines in:\n{text}"));
    assert!(told.contains(|c: char| c.is_ascii_digit()), "how many: {told}");
}

#[test]
fn every_line_is_json_when_asked_for() {
    require!(harness::pid_namespaces());
    let mut run = live(talkative().options("--log-format json"));
    let lines = run.errors();
    assert!(!lines.is_empty());
    for line in lines {
        let value: serde_json::Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(value.is_object() && value["level"].is_string() && value["message"].is_string(), "{line}");
    }
}

#[test]
fn a_life_without_a_stop_is_silent_but_for_one_line() {
    require!(harness::pid_namespaces());
    for launch in [Launch::pid1(Init::Adieu), Launch::ordinary(Init::Adieu)] {
        let mut run = launch.start();
        run.expect("ready");
        run.signal(libc::SIGCHLD);
        for (number, name) in [(libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1"), (40, "40")] {
            run.signal(number);
            run.expect_signal(name);
        }
        run.order("storm 100");
        run.say("exit 0");
        run.expect_exit(0);
        let lines = run.all_errors();
        let version = concat!("adieu: version ", env!("CARGO_PKG_VERSION"), ", platform ");
        assert!(lines.len() == 1 && lines[0].starts_with(version), "{lines:?}");
        for part in ["grace ", "--check", "-v"] {
            assert!(lines[0].contains(part), "no '{part}' in: {}", lines[0]);
        }
    }
}

/// As when the kernel kills it for lack of memory: 137 alone tells nobody that it was not adieu.
#[test]
fn an_app_that_dies_of_a_signal_is_worth_a_line() {
    require!(harness::pid_namespaces());
    let died = |script: &str, options: &str| {
        let launch = Launch::pid1(Init::Adieu).options(options).command(["/bin/sh", "-c", script]);
        let (end, _, err) = launch.run();
        (end, err)
    };
    for (name, number) in [("KILL", libc::SIGKILL), ("SEGV", libc::SIGSEGV), ("USR1", libc::SIGUSR1)] {
        let (end, err) = died(&format!("kill -{name} $$"), "");
        assert_eq!(end, End::Exited(128 + number));
        assert!(err.len() == 1 && err[0].starts_with("adieu: warning: "), "{err:?}");
        assert!(err[0].contains("without a stop request"), "{err:?}");
    }
    let (_, err) = died("kill -TERM $$", "--log-format json");
    let line = err.iter().find(|line| line.contains("app-died")).unwrap_or_else(|| panic!("{err:?}"));
    let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
    assert_eq!((&value["signal"], &value["status"]), (&"TERM".into(), &143.into()));
    // An exit status speaks for itself.
    assert_eq!(died("exit 3", ""), (End::Exited(3), Vec::new()));
}

#[test]
fn json_lines_have_the_fields_of_their_events() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu).options("--pre-stop 100ms --grace 50s --log-format json").start();
    run.expect("ready");
    run.term();
    run.expect_signal("TERM");
    run.say("exit 3");
    run.expect_exit(3);
    let lines = run.all_errors();
    let lines: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let event = |name: &str| {
        lines.iter().find(|line| line["event"] == name).unwrap_or_else(|| panic!("no {name}: {lines:?}"))
    };
    let started = event("started");
    assert_eq!(started["version"], env!("CARGO_PKG_VERSION"));
    assert!(started["seconds"].is_null() && started["grace"] == "50s", "{started}");
    let asked = event("stop-requested");
    assert_eq!((&asked["phase"], &asked["signal"]), (&"pre-stop".into(), &"TERM".into()));
    assert_eq!(event("phase")["phase"], "stopping");
    let stopped = event("stopped");
    assert_eq!((&stopped["status"], &stopped["phase"]), (&3.into(), &"gone".into()));
    assert!(stopped["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.1), "{stopped}");
    for line in &lines {
        let time = line["time"].as_str().unwrap_or_default();
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{line}");
    }
}

#[test]
fn json_lines_count_what_is_in_flight() {
    require!(harness::pid_namespaces());
    let options = "--pre-stop 100ms --drain-timeout 500ms --grace 50s --log-format json";
    let mut run = Launch::pid1(Init::Adieu).options(options).args("serve 0 60000").start();
    let port = run.find("ready ").rsplit_once(' ').expect("a port").1.parse().expect("a port");
    let _request = harness::request_in_network_of(run.pid, port);
    run.expect("request");
    run.term();
    run.expect_exit(143);
    let lines = run.all_errors();
    let event = |name: &str| -> serde_json::Value {
        let mut events = lines.iter().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        events.find(|line| line["event"] == name).unwrap_or_else(|| panic!("no {name}: {lines:?}"))
    };
    assert_eq!(event("draining")["in_flight"], 1, "{lines:?}");
    let stopped = event("stopped");
    assert_eq!(stopped["in_flight"], 1, "{stopped}");
    assert!(stopped["cut_off"].is_null(), "whether the app finishes it is not seen: {stopped}");
}

#[test]
fn nothing_is_said_on_stdout() {
    require!(harness::pid_namespaces());
    let mut run = live(talkative());
    let lines = run.rest();
    assert_eq!(lines, Vec::<String>::new());
}

#[test]
fn one_line_at_the_end_tells_the_whole_stop() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu).options("--pre-stop 200ms --grace 50s").start();
    run.expect("ready");
    run.term();
    run.expect_signal("TERM");
    run.say("exit 3");
    run.expect_exit(3);
    let lines = run.errors();
    assert!(lines.iter().all(|line| line.starts_with("adieu: ")), "{lines:?}");
    let last = lines.last().expect("a summary");
    for part in ["TERM", "3"] {
        assert!(last.contains(part), "no '{part}' in the last line: {last}");
    }
}

#[test]
fn levels_are_obeyed() {
    require!(harness::pid_namespaces());
    let said = |launch: Launch| {
        let mut run = launch.start();
        run.expect("ready");
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
        run.say("exit 0");
        run.expect_exit(0);
        run.errors().len()
    };
    let plain = || Launch::pid1(Init::Adieu);
    assert_eq!(said(plain().options("--log-level off")), 0);
    assert_eq!(said(plain()), 0, "but for the line at the start");
    assert!(said(plain().options("--log-level debug")) > 0);
    assert!(said(plain().options("-v")) > 0);
    assert!(said(plain().options("-vvv")) > 0);
    assert!(said(plain().env("RUST_LOG", "debug")) > 0);
    assert!(said(plain().env("ADIEU_LOG_LEVEL", "debug")) > 0);
    assert_eq!(said(plain().env("RUST_LOG", "debug").options("--log-level error")), 0);
}

/// Foreign text cannot forge lines.
#[test]
fn a_command_with_newlines_stays_in_its_line() {
    let (end, _, err) = Launch::ordinary(Init::Adieu).command(["no\nsuch\x1b[31m"]).run();
    assert_eq!((end, err.len()), (End::Exited(127), 1), "{err:?}");
    assert!(!err[0].contains('\x1b'), "{err:?}");
}
