//! The app finds what it would have found without an init.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::harness::{self, Init, Launch, Running};

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

fn started(launch: Launch) -> Running {
    let mut run = launch.start();
    run.expect("ready");
    run
}

/// Nothing is blocked and nothing ignored; not even PIPE, which Rust's runtime ignores.
pub fn a_clean_slate(init: Init) {
    let mut run = started(Launch::pid1(init));
    assert_eq!(run.ask("mask"), format!("blocked {:016x} ignored {:016x}", 0, 0));
}

pub fn mask_and_ignored_signals(init: Init) {
    let blocked = bit(libc::SIGUSR1) | bit(libc::SIGWINCH) | bit(50);
    let launch = Launch::pid1(init).blocking(blocked).ignoring(&[libc::SIGHUP, libc::SIGPIPE]);
    let ignored = bit(libc::SIGHUP) | bit(libc::SIGPIPE);
    assert_eq!(started(launch).ask("mask"), format!("blocked {blocked:016x} ignored {ignored:016x}"));
}

pub fn chld_ignored_by_the_parent(init: Init) {
    sees_the_end(Launch::ordinary(init).ignoring(&[libc::SIGCHLD]));
}

pub fn chld_blocked_by_the_parent(init: Init) {
    sees_the_end(Launch::ordinary(init).blocking(bit(libc::SIGCHLD)));
}

fn sees_the_end(launch: Launch) {
    let mut run = started(launch);
    run.say("exit 23");
    run.expect_exit(23);
}

pub fn arguments(init: Init) {
    let odd: [&[u8]; 8] =
        [b"", b"--", b"-e", b"two words", b"new\nline", b"\xff\xfe", b"\xc3(", "żółw".as_bytes()];
    let launch = odd.iter().fold(Launch::pid1(init), |launch, word| launch.arg(OsStr::from_bytes(word)));
    let mut run = started(launch);
    run.say("argv");
    run.expect(&format!("argv {}", harness::probe().as_os_str().as_bytes().escape_ascii()));
    for word in odd {
        run.expect(&format!("argv {}", word.escape_ascii()));
    }
    run.expect("argv end");
}

/// Nothing that begins with `ADIEU_`, which is what adieu itself listens to.
pub fn environment(init: Init) {
    let odd: [(&str, &[u8]); 3] = [("EMPTY", b""), ("BYTES", b"\xff\xfe="), ("LINE", b"a\nb")];
    let given = |launch: Launch, (name, value): &(&str, &[u8])| launch.env(name, OsStr::from_bytes(value));
    let mut run = started(odd.iter().fold(Launch::pid1(init).no_env(), given));
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
pub fn odd_environment(init: Init) {
    let entries = ["Z=1", "A=2", "Z=3", "no-equals-sign", "=nameless", "B="];
    let options = match init {
        Init::Given(given) => given.options.clone(),
        Init::Adieu | Init::Tini => vec!["--".to_string()],
    };
    let mut words = vec![init.path()];
    words.extend(options.iter().map(PathBuf::from));
    words.push(harness::probe());
    let argv: Vec<CString> = words.iter().map(|word| text(word.as_os_str())).collect();
    let envp: Vec<CString> = entries.iter().map(|entry| text(OsStr::new(entry))).collect();
    let lists = [Pointers::to(argv), Pointers::to(envp)];
    let mut run = started(Launch::pid1(init).before_exec(move || {
        // SAFETY: both lists end with a null and own their strings.
        unsafe { libc::execve(lists[0].first(), lists[0].list(), lists[1].list()) };
        Err(std::io::Error::last_os_error())
    }));
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

pub fn empty_environment(init: Init) {
    let mut run = started(Launch::pid1(init).no_env());
    run.say("env");
    run.expect("env end");
}

pub fn descriptors(init: Init) {
    let (reader, _writer) = nix::unistd::pipe().expect("a pipe");
    let mut run = started(Launch::pid1(init).before_exec(given(reader.as_raw_fd(), &[3, 7, 50])));
    run.expect_answer("fds", "fds [0, 1, 2, 3, 7, 50]");
}

/// Leaves exactly these descriptors above 2 open for the init, as copies of one.
pub fn given(fd: RawFd, numbers: &'static [RawFd]) -> impl FnMut() -> std::io::Result<()> + Send + Sync {
    move || {
        // SAFETY: raw calls on the child's own copies; those that std needs are marked to be closed
        // on exec.
        unsafe {
            let high = libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, 900);
            let all_closed_on_exec = 4; // CLOSE_RANGE_CLOEXEC
            libc::syscall(libc::SYS_close_range, 3, u32::MAX, all_closed_on_exec);
            for &number in numbers {
                // std's own pipe, which tells of a failed exec, may have the number: then it is
                // only told by silence.
                libc::dup2(high, number);
            }
        }
        Ok(())
    }
}

pub fn lets_go_of_descriptors(init: Init) {
    let (_reader, writer) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
    let mut run = started(Launch::pid1(init).before_exec(given(writer.as_raw_fd(), &[30])));
    let held = |pid: i32| std::fs::read_link(format!("/proc/{pid}/fd/30")).ok();
    assert!(held(run.app()).is_some(), "the app holds it");
    harness::until("the init lets go of it", || held(run.pid).is_none());
    assert_eq!(run.ask("ping"), "pong");
}

pub fn directory(init: Init) {
    started(in_usr_bin(Launch::pid1(init))).expect_answer("cwd", "cwd /usr/bin");
}

pub fn leaves_the_directory(init: Init) {
    let run = started(in_usr_bin(Launch::ordinary(init)));
    let directory = || std::fs::read_link(format!("/proc/{}/cwd", run.pid)).expect("it lives");
    harness::until("the init stands in the root directory", || directory() == Path::new("/"));
}

fn in_usr_bin(launch: Launch) -> Launch {
    launch.before_exec(|| {
        // SAFETY: a constant string.
        unsafe { libc::chdir(c"/usr/bin".as_ptr()) };
        Ok(())
    })
}

pub fn listen_pid(init: Init) {
    let mut run = started(Launch::pid1(init).env("LISTEN_FDS", "2").env("LISTEN_PID", "1"));
    let pids = run.ask("pids");
    let app = pids.split_whitespace().nth(1).expect("pid PID").to_string();
    run.say("env");
    assert_eq!(run.find("LISTEN_PID="), format!("env LISTEN_PID={app}"));
}

pub fn stdin_is_the_apps(init: Init) {
    let mut run = Launch::pid1(init).command(["/bin/cat"]).start();
    run.say("a line");
    run.expect("a line");
    run.close_stdin();
    run.expect_exit(0);
}

pub fn stdout_is_the_apps(init: Init) {
    let (end, out, _) = Launch::pid1(init).command(["/bin/sh", "-c", "echo one; echo two >&2; exit 4"]).run();
    assert_eq!((end, out), (harness::End::Exited(4), vec!["one".to_string()]));
}
