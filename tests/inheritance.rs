//! The app finds what it would have found without adieu: signal mask, ignored signals, arguments,
//! environment, descriptors and directory. And adieu lets go of what is not its own.

mod harness;

use std::ffi::{CString, OsString};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use harness::{Init, Launch, Pipe, Running, Scratch};

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
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

/// Leaves exactly these descriptors above 2 open for the init, as copies of one.
fn given(fd: RawFd, numbers: &'static [RawFd]) -> impl FnMut() -> std::io::Result<()> + Send + Sync {
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
    assert_eq!(Pipe::new(reader).rest(), "");
    run.say("close 1");
    assert_eq!(run.rest(), Vec::<String>::new(), "adieu holds no stdout either");
    run.say("exit 8");
    run.expect_exit(8);
}

#[test]
fn adieu_holds_neither_stdin_nor_the_directory() {
    let scratch = Scratch::new();
    let inside = CString::new(scratch.path("").as_os_str().as_bytes()).expect("no NUL");
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
        let mut report = Pipe::new(reader);
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
