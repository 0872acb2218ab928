//! The app finds what it would have found without adieu: signal mask, ignored signals, arguments, environment,
//! descriptors and directory. And adieu lets go of what is not its own.

mod harness;

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use harness::{Init, Launch, Running, Scratch};

also_under_tini!(
    the_app_starts_with_a_clean_slate,
    the_app_gets_the_mask_and_the_ignored_signals,
    arguments_arrive_byte_for_byte,
    the_environment_arrives_byte_for_byte,
    odd_environments_arrive_as_they_are,
    an_empty_environment_stays_empty,
    the_app_gets_exactly_the_descriptors,
    the_app_starts_where_it_was_told,
);

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// Nothing is blocked and nothing ignored; not even PIPE, which Rust's runtime ignores in adieu itself.
fn the_app_starts_with_a_clean_slate(init: Init) {
    let mut run = Launch::pid1(init).start();
    run.expect("ready");
    assert_eq!(run.ask("mask"), format!("blocked {:016x} ignored {:016x}", 0, 0));
}

fn the_app_gets_the_mask_and_the_ignored_signals(init: Init) {
    let blocked = bit(libc::SIGUSR1) | bit(libc::SIGWINCH) | bit(50);
    let mut run = Launch::pid1(init).blocking(blocked).ignoring(&[libc::SIGHUP, libc::SIGPIPE]).start();
    run.expect("ready");
    let ignored = bit(libc::SIGHUP) | bit(libc::SIGPIPE);
    assert_eq!(run.ask("mask"), format!("blocked {blocked:016x} ignored {ignored:016x}"));
}

/// tini hangs when its parent ignores or blocks CHLD.
#[test]
fn every_mask_and_every_ignored_signal_arrives() {
    require!(harness::pid_namespaces());
    const IGNORED: [i32; 6] =
        [libc::SIGCHLD, libc::SIGHUP, libc::SIGPIPE, libc::SIGTERM, libc::SIGTTOU, libc::SIGTSTP];
    let blocked = !(bit(libc::SIGKILL) | bit(libc::SIGSTOP));
    let ignored: u64 = IGNORED.iter().map(|&signal| bit(signal)).sum();
    for launch in [Launch::pid1(Init::Adieu), Launch::ordinary(Init::Adieu)] {
        let launch = launch.options("--pre-stop 0 --grace 30s").blocking(blocked).ignoring(&IGNORED);
        let mut run = launch.start();
        run.expect("ready");
        assert_eq!(run.ask("mask"), format!("blocked {blocked:016x} ignored {ignored:016x}"));
        run.signal(libc::SIGHUP);
        run.expect_signal("HUP");
        run.term();
        run.expect_signal("TERM");
        run.expect_signal("CONT");
        run.say("exit 4");
        run.expect_exit(4);
    }
}

#[test]
fn a_parent_that_ignores_or_blocks_chld_does_not_break_reaping() {
    for ignored in [false, true] {
        let launch = Launch::ordinary(Init::Adieu);
        let launch =
            if ignored { launch.ignoring(&[libc::SIGCHLD]) } else { launch.blocking(bit(libc::SIGCHLD)) };
        let mut run = launch.start();
        run.expect("ready");
        run.order("storm 100");
        harness::until("all orphans are reaped", || harness::children(run.pid).len() == 1);
        run.say("exit 23");
        run.expect_exit(23);
    }
}

fn arguments_arrive_byte_for_byte(init: Init) {
    let odd: [&[u8]; 8] =
        [b"", b"--", b"-e", b"two words", b"new\nline", b"\xff\xfe", b"\xc3(", "żółw".as_bytes()];
    let mut launch = Launch::pid1(init);
    for word in odd {
        launch = launch.arg(OsStr::from_bytes(word));
    }
    let mut run = launch.start();
    run.expect("ready");
    run.say("argv");
    run.expect(&format!("argv {}", harness::probe().as_os_str().as_bytes().escape_ascii()));
    for word in odd {
        run.expect(&format!("argv {}", word.escape_ascii()));
    }
    run.expect("argv end");
}

fn the_environment_arrives_byte_for_byte(init: Init) {
    let odd: [(&str, &[u8]); 4] =
        [("EMPTY", b""), ("BYTES", b"\xff\xfe="), ("LINE", b"a\nb"), ("ADIEU_TEST", b"1")];
    let odd = if init == Init::Adieu { &odd[..3] } else { &odd[..] };
    let mut launch = Launch::pid1(init).no_env();
    for (name, value) in odd {
        launch = launch.env(name, OsStr::from_bytes(value));
    }
    let mut run = launch.start();
    run.expect("ready");
    run.say("env");
    let mut expected: Vec<String> =
        odd.iter().map(|(name, value)| format!("env {name}={}", value.escape_ascii())).collect();
    expected.sort();
    let mut lines: Vec<String> = odd.iter().map(|_| run.line()).collect();
    lines.sort();
    assert_eq!(lines, expected);
    run.expect("env end");
}

/// Twice the same name, no `=`, nothing before it: in order and untouched.
fn odd_environments_arrive_as_they_are(init: Init) {
    let entries = ["Z=1", "A=2", "Z=3", "no-equals-sign", "=nameless", "B="];
    let words = [init.path(), PathBuf::from("--"), harness::probe()];
    let argv: Vec<CString> = words.iter().map(|word| text(word.as_os_str())).collect();
    let envp: Vec<CString> = entries.iter().map(|entry| text(OsStr::new(entry))).collect();
    let lists = [Pointers::to(argv), Pointers::to(envp)];
    let mut run = Launch::pid1(init)
        .before_exec(move || {
            // SAFETY: both lists end with a null and own their strings.
            unsafe { libc::execve(lists[0].first(), lists[0].list(), lists[1].list()) };
            Err(std::io::Error::last_os_error())
        })
        .start();
    run.expect("ready");
    run.say("env");
    for entry in entries {
        run.expect(&format!("env {entry}"));
    }
    run.expect("env end");
}

/// A list as execve takes it, made before the fork.
struct Pointers {
    _strings: Vec<CString>,
    list: Vec<*const libc::c_char>,
}

// SAFETY: the pointers lead to the strings that the list owns and that nobody changes.
unsafe impl Send for Pointers {}
// SAFETY: as above.
unsafe impl Sync for Pointers {}

impl Pointers {
    fn to(strings: Vec<CString>) -> Self {
        let ends = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Self { _strings: strings, list: ends }
    }

    fn first(&self) -> *const libc::c_char {
        self.list[0]
    }

    fn list(&self) -> *const *const libc::c_char {
        self.list.as_ptr()
    }
}

fn text(words: &OsStr) -> CString {
    CString::new(words.as_bytes()).expect("no NUL")
}

fn an_empty_environment_stays_empty(init: Init) {
    let mut run = Launch::pid1(init).no_env().start();
    run.expect("ready");
    run.say("env");
    run.expect("env end");
}

fn the_app_gets_exactly_the_descriptors(init: Init) {
    let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
    let launch = Launch::pid1(init).before_exec(given(reader.as_raw_fd(), &[3, 7, 50]));
    let mut run = launch.start();
    run.expect("ready");
    run.expect_answer("fds", "fds [0, 1, 2, 3, 7, 50]");
}

/// Leaves exactly these descriptors above 2 open for the init, as copies of one.
fn given(fd: RawFd, numbers: &'static [RawFd]) -> impl FnMut() -> std::io::Result<()> + Send + Sync {
    move || {
        // SAFETY: raw calls on the child's own copies; those that std needs are marked to be closed on exec.
        unsafe {
            let high = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 900);
            let all_closed_on_exec = 4; // CLOSE_RANGE_CLOEXEC
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, all_closed_on_exec);
            for &number in numbers {
                // std's own pipe, which tells of a failed exec, may have the number: then it is only told by silence.
                libc::dup2(high, number);
            }
        }
        Ok(())
    }
}

#[test]
fn adieu_lets_go_of_what_it_inherited() {
    require!(harness::pid_namespaces());
    let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    let launch = Launch::pid1(Init::Adieu).before_exec(given(writer.as_raw_fd(), &[30, 70]));
    let mut run = launch.start();
    drop(writer);
    run.expect("ready");
    run.expect_answer("fds", "fds [0, 1, 2, 30, 70]");
    run.order("close 30");
    run.order("close 70");
    // The app has let go of both; if adieu had not, this would never end.
    assert_eq!(read_to_end(reader), "");
    run.say("close 1");
    assert_eq!(run.rest(), Vec::<String>::new(), "adieu holds no stdout either");
    run.say("exit 8");
    run.expect_exit(8);
}

#[test]
fn adieu_holds_neither_stdin_nor_the_directory() {
    let scratch = Scratch::new();
    let inside = text(scratch.path("").as_os_str());
    let mut run = Launch::ordinary(Init::Adieu)
        .before_exec(move || {
            // SAFETY: the string is alive.
            if unsafe { libc::chdir(inside.as_ptr()) } == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        })
        .start();
    run.expect("ready");
    let directory = || std::fs::read_link(format!("/proc/{}/cwd", run.pid)).expect("it lives");
    harness::until("adieu stands in the root directory", || directory() == Path::new("/"));
    let held = |pid: i32, fd: i32| std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok();
    let stdin = held(run.app(), 0).expect("the app has a stdin");
    let holds_stdin = || (0..64).any(|fd| held(run.pid, fd).as_ref() == Some(&stdin));
    harness::until("adieu lets go of stdin", || !holds_stdin());
}

fn the_app_starts_where_it_was_told(init: Init) {
    let mut run = Launch::pid1(init)
        .before_exec(|| {
            // SAFETY: a constant string.
            unsafe { libc::chdir(c"/usr/bin".as_ptr()) };
            Ok(())
        })
        .start();
    run.expect("ready");
    run.expect_answer("cwd", "cwd /usr/bin");
}

/// All combinations of closed standard descriptors; the app reports on descriptor 9.
#[test]
fn any_of_the_standard_descriptors_may_be_closed() {
    require!(harness::pid_namespaces());
    const CLOSED: [&[RawFd]; 8] = [&[], &[0], &[1], &[2], &[0, 1], &[0, 2], &[1, 2], &[0, 1, 2]];
    for closed in CLOSED {
        let (reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
        let mut run = Launch::pid1(Init::Adieu)
            .options("--pre-stop 0 --grace 30s --log-level trace")
            .args("--deaf --out 9 --first fds --exit-on USR2")
            .before_exec(given(writer.as_raw_fd(), &[9]))
            .closing(closed)
            .start();
        drop(writer);
        let mut report = Report(File::from(reader));
        let fds: Vec<RawFd> = [0, 1, 2, 9].into_iter().filter(|fd| !closed.contains(fd)).collect();
        report.expect("ready");
        report.expect(&format!("fds {fds:?}"));
        run.signal(libc::SIGUSR1);
        report.expect("got USR1");
        run.term();
        report.expect("got TERM");
        report.expect("got CONT");
        run.signal(libc::SIGUSR2);
        run.expect_exit(0);
    }
}

/// Lines from a pipe of the test's own. The watchdog is the test process's: PID 1 ends with it.
struct Report(File);

impl Report {
    fn expect(&mut self, wanted: &str) {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.0.read(&mut byte).expect("a pipe") == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        let line = String::from_utf8_lossy(&line);
        assert!(line.starts_with(wanted), "expected '{wanted}', got '{line}'");
    }
}

fn read_to_end(fd: OwnedFd) -> String {
    let mut text = String::new();
    File::from(fd).read_to_string(&mut text).expect("a pipe");
    text
}

/// The socket activation protocol names the process that the sockets are for.
#[test]
fn listen_pid_names_the_app_where_it_named_adieu() {
    let script = |value: &str| {
        let adieu = Init::Adieu.path();
        let probe = harness::probe();
        let run = format!("LISTEN_FDS=1 LISTEN_PID={value} exec {} -- {}", adieu.display(), probe.display());
        Launch::program("/bin/sh".as_ref()).command(["-c".to_string(), run]).start()
    };
    let mut run = script("$$");
    run.expect("ready");
    let app = run.app();
    assert_eq!(variable(&mut run, "LISTEN_PID"), app.to_string());
    assert_eq!(variable(&mut run, "LISTEN_FDS"), "1");
    let mut run = script("4194305");
    run.expect("ready");
    assert_eq!(variable(&mut run, "LISTEN_PID"), "4194305", "sockets for another process are none of ours");
}

#[test]
fn listen_pid_names_the_app_of_pid_1() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu).env("LISTEN_FDS", "2").env("LISTEN_PID", "1").start();
    run.expect("ready");
    let pids = run.ask("pids");
    let app = pids.split_whitespace().nth(1).expect("pid PID").to_string();
    assert_eq!(variable(&mut run, "LISTEN_PID"), app);
}

fn variable(run: &mut Running, name: &str) -> String {
    run.say("env");
    let mut value = None;
    loop {
        let line = run.line();
        if line == "env end" {
            return value.unwrap_or_else(|| panic!("no {name}"));
        }
        value = value.or(line.strip_prefix(&format!("env {name}=")).map(str::to_string));
    }
}

#[test]
fn nohup_protects_the_app() {
    require!(harness::program("nohup"));
    let adieu = [OsString::from(Init::Adieu.path()), "--".into(), harness::probe().into()];
    let mut run = Launch::program("/usr/bin/nohup".as_ref()).command(adieu).start();
    run.expect("ready");
    let hup = bit(libc::SIGHUP);
    assert_eq!(run.ask("mask"), format!("blocked {:016x} ignored {hup:016x}", 0));
}
