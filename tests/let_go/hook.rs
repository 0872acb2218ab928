//! `adieu --wait` as a preStop hook: run by `podman exec` in a container whose PID 1 knows nothing
//! of adieu.

use std::io::Write;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::socket::{SockaddrStorage, getpeername};

use super::client::Fate;
use super::pinned::{Endpoints, Habit, Pinned};
use super::{apps, harness, net, say};
use harness::{Init, Launch, Running};

/// As in tests/container.rs.
const PODMAN: [&str; 2] = ["--runtime=runc", "--cgroup-manager=cgroupfs"];
const RUN: [&str; 5] =
    ["run", "--rm", "--network=host", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];

pub fn podman_runs_here() -> Result<(), String> {
    harness::program("podman")?;
    harness::program("runc")
}

/// podman takes its time, and the hook waits for clients.
const PATIENCE: Duration = Duration::from_secs(120);

fn podman(command: &[&str], words: &[&str]) -> Output {
    harness::output(Command::new("podman").args(PODMAN).args(command).args(words), PATIENCE)
}

/// An app in a container of this machine's own files, in the network of the calling thread.
struct Container {
    name: String,
    _run: Running,
}

impl Container {
    fn start(app: &str, port: u16, below: &[&str]) -> Container {
        let name = format!("adieu-hook-{}-{port}-{}", std::process::id(), below.len());
        let mut launch = Launch::program(Path::new("/usr/bin/podman")).env("HOME", "/root");
        launch = PODMAN.iter().chain(&RUN).fold(launch, super::harness::launch::Launch::option);
        for word in ["--name", &name, "--env", &format!("PORT={port}"), "--rootfs", "/:O"] {
            launch = launch.option(word);
        }
        let command = apps::App::named(app).words(port);
        let command = below.iter().map(ToString::to_string).chain(command);
        Container { name, _run: launch.command(command).start() }
    }

    fn exec(&self, words: &[&str]) -> Output {
        podman(&["exec", &self.name], words)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = podman(&["rm", "--force", "--time=0", &self.name], &[]);
    }
}

/// An app without an init, in a network of the calling thread's own.
fn app_as_pid_1() -> Running {
    net::enter();
    let words = apps::App::named("http-server").words(8001);
    let app = Launch::program(Path::new(&words[0])).in_namespace().option(&words[1]).env("PORT", "8001");
    let app = app.start();
    super::wait_until_it_answers(8001);
    app
}

/// adieu in the namespaces of this app, started by nsenter, which waits for it.
fn hook_beside(app: &Running, options: &str) -> Running {
    let enter = ["-t", &app.pid.to_string(), "--pid", "--mount", "--"].map(String::from);
    let enter = enter.iter().fold(Launch::program(Path::new("/usr/bin/nsenter")), Launch::option);
    enter.option(Init::Adieu.path()).options(options).start()
}

/// While an answer is awaited on a corked socket, the hook gets TERM.
pub fn end_in_mid_drain() {
    let app = app_as_pid_1();
    let mut client = harness::connect((Ipv4Addr::LOCALHOST, 8001));
    client
        .write_all(b"GET /slow?seconds=6 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it asks");
    let options = "--wait --pre-stop 0 --grace 40s --close-connections 8001 -v";
    let mut hook = hook_beside(&app, options);
    harness::until("the socket is corked", || corked(app.pid) == [true]);
    let asked_of = harness::children(hook.pid);
    let [adieu] = asked_of[..] else { panic!("nsenter waits for {asked_of:?}") };
    // SAFETY: touches no memory.
    unsafe { libc::kill(adieu, libc::SIGTERM) };
    hook.expect_exit(0);
    assert_eq!(corked(app.pid), [false], "{:?}", hook.all_errors());
    assert!(hook.all_errors().iter().any(|line| line.ends_with("stopped by a signal")));
    assert!(harness::rest(&mut client).ends_with("/slow\n"));
}

/// `--wait` of which this is the end, with a request in flight that takes longer.
pub fn end_by_time() {
    let app = app_as_pid_1();
    let mut client = harness::connect((Ipv4Addr::LOCALHOST, 8001));
    client.write_all(b"GET /slow?seconds=30 HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it asks");
    let options = "--wait --pre-stop 0 --grace 6s --reserve 2s -v";
    let asked = Instant::now();
    let mut hook = hook_beside(&app, options);
    hook.expect_exit(0);
    assert!(asked.elapsed() >= Duration::from_secs(4), "it ends when its time is over");
    let said = hook.all_errors();
    assert!(said.iter().any(|line| line.ends_with("the time is over")), "{said:#?}");
}

/// The drain of a PID 1 ends while an answer is awaited on a corked socket. Its app ignores TERM.
pub fn end_as_pid_1(options: &str, why: &str, end: impl FnOnce(&Running)) {
    net::enter();
    let launch = Launch::pid1(Init::Adieu).options("-v --pre-stop 0 --grace 50s --close-connections 8001");
    let command = apps::App::named("ignore-term").words(8001);
    let mut run = launch.options(options).command(command).env("PORT", "8001").start();
    super::wait_until_it_answers(8001);
    let mut client = harness::connect((Ipv4Addr::LOCALHOST, 8001));
    client
        .write_all(b"GET /slow?seconds=8 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it asks");
    run.term();
    let app = run.app();
    harness::until("the socket is corked", || corked(app) == [true]);
    end(&run);
    run.log(&format!("stopping: {why}"));
    assert_eq!(corked(app), [false], "the drain is over");
    assert!(harness::rest(&mut client).ends_with("/slow\n"));
    run.signal(libc::SIGQUIT);
}

/// Of each connection that this process has accepted, whether it is corked.
fn corked(pid: i32) -> Vec<bool> {
    let sockets = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors").flatten();
    let fds = sockets.filter_map(|fd| fd.file_name().to_str()?.parse().ok());
    fds.filter_map(|fd| is_corked(pid, fd)).collect()
}

/// None where it is no connection.
fn is_corked(pid: i32, fd: i32) -> Option<bool> {
    // SAFETY: numbers alone go in; what comes back is ours.
    let socket = unsafe {
        let process = OwnedFd::from_raw_fd(libc::syscall(libc::SYS_pidfd_open, pid, 0) as i32);
        let fd = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0);
        if fd < 0 {
            return None;
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    getpeername::<SockaddrStorage>(socket.as_raw_fd()).ok()?;
    let (mut value, mut size) = (0i32, size_of::<i32>() as u32);
    // SAFETY: the kernel writes at most `size` bytes, which is what `value` has.
    let got = unsafe {
        let value = (&raw mut value).cast();
        libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_CORK, value, &raw mut size)
    };
    (got == 0).then_some(value != 0)
}

/// Two stops, each the hook and then the end of the container; what is wrong, if anything.
pub fn stop_by_hook(app: &str, below: &[&str]) -> Option<String> {
    net::enter();
    let endpoints = Arc::new(Endpoints::default());
    let mut serving = Container::start(app, 8001, below);
    super::wait_until_it_answers(8001);
    endpoints.join(8001);
    let load = Pinned::start(&endpoints, &Habit::ALL);
    let adieu = Init::Adieu.path();
    let hook = [adieu.to_str().expect("a path"), "--wait", "--pre-stop", "3s", "--grace", "30s", "-v"];
    let (mut said, mut times) = (String::new(), vec![]);
    for port in [8002, 8003] {
        let next = Container::start(app, port, below);
        super::wait_until_it_answers(port);
        sleep(Duration::from_millis(300));
        let asked = Instant::now();
        endpoints.join(port);
        endpoints.leave(port - 1);
        let waited = serving.exec(&hook);
        times.push(asked.elapsed().saturating_sub(super::PRE_STOP));
        said += &String::from_utf8_lossy(&waited.stderr);
        assert!(waited.status.success(), "{app}: the hook exits with {}\n{said}", waited.status);
        // Here TERM would follow, which as PID 1 many apps do not hear; whatever comes now finds
        // nobody.
        drop(std::mem::replace(&mut serving, next));
    }
    let requests = load.end();
    let failed: Vec<String> = requests
        .iter()
        .filter(|request| request.fate != Fate::Answered)
        .map(|request| format!("{:?} {} at :{}", request.habit, request.fate, request.port))
        .collect();
    let closed = requests.iter().filter(|request| request.was_last).count();
    let shown: Vec<String> = times.iter().map(|took| format!("{:.2} s", took.as_secs_f64())).collect();
    let name = format!("{app}{}", if below.is_empty() { "" } else { " below tini" });
    say(&format!(
        "{name:<22} {:>8} {closed:>7} {:>6} {:>16}\n",
        requests.len(),
        failed.len(),
        shown.join(" ")
    ));
    let slow = times.iter().any(|took| *took > super::LET_GO_WITHIN + Habit::LONGEST);
    (slow || !failed.is_empty()).then(|| format!("=== {name}\n{}\n{said}", failed.join("\n")))
}
