//! In real containers, run by podman with runc: an image FROM scratch that holds nothing but adieu
//! and an app, and adieu as what `podman run --init` puts in front of an app that knows nothing of
//! it.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::{End, Launch, Running, Scratch};

/// crun, and the limits that podman sets by itself, are refused on some test machines.
const PODMAN: [&str; 2] = ["--runtime=runc", "--cgroup-manager=cgroupfs"];
const RUN: [&str; 5] =
    ["run", "--rm", "--network=none", "--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000"];

fn podman_runs_here() -> Result<(), String> {
    harness::root()?;
    harness::program("podman")?;
    harness::program("runc")
}

/// podman takes its time for each thing that it is asked, and `stop` waits for the app.
const PATIENCE: Duration = Duration::from_secs(120);

fn try_podman(words: &[&str]) -> Output {
    harness::output(Command::new("podman").args(PODMAN).args(words), PATIENCE)
}

fn podman(words: &[&str]) -> Output {
    let output = try_podman(words);
    assert!(output.status.success(), "podman {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// A container, which is gone when the test is.
struct Container {
    name: String,
    run: Running,
}

impl Container {
    /// `options` are podman's, `command` is the image or root and what runs in it.
    fn start(options: &[&str], command: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("adieu-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut launch = Launch::program(Path::new("/usr/bin/podman")).env("HOME", "/root");
        for word in PODMAN.iter().chain(&RUN) {
            launch = launch.option(word);
        }
        let launch = launch.option("--interactive").option("--name").option(&name);
        let launch = options.iter().fold(launch, harness::launch::Launch::option);
        Self { name, run: launch.command(command).start() }
    }

    fn podman(&self, words: &[&str]) -> Output {
        let words: Vec<&str> = words.iter().copied().chain([self.name.as_str()]).collect();
        podman(&words)
    }

    /// PID 1's number outside.
    fn pid(&self) -> i32 {
        let output = self.podman(&["inspect", "--format={{.State.Pid}}"]);
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("a pid")
    }

    /// A request from inside its network, whose answer the thread gives.
    fn request(&self, port: u16) -> JoinHandle<std::io::Result<String>> {
        harness::request_in_network_of(self.pid(), port)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if !self.run.has_ended() {
            let _gone_already = try_podman(&["rm", "--force", "--time=0", &self.name]);
        }
    }
}

/// An image of these files alone.
struct Image {
    name: String,
    _files: Scratch,
}

impl Image {
    fn build(files: &[(&Path, &str)], entrypoint: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("localhost/adieu-test:{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let scratch = Scratch::new();
        let mut text = String::from("FROM scratch\n");
        for (from, to) in files {
            std::fs::copy(from, scratch.path(to)).expect("room for a copy");
            text.push_str(&format!("COPY {to} /{to}\n"));
        }
        text.push_str(&format!("ENTRYPOINT {entrypoint}\n"));
        let file = scratch.file("Containerfile", &text);
        let (file, folder) = (file.display().to_string(), scratch.path("").display().to_string());
        podman(&["build", "--quiet", "--tag", &name, "--file", &file, &folder]);
        Self { name, _files: scratch }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _at_worst_megabytes_stay = try_podman(&["rmi", "--force", &self.name]);
    }
}

fn with_adieu() -> Image {
    let (adieu, probe) = harness::static_programs();
    Image::build(&[(&adieu, "adieu"), (&probe, "app")], r#"["/adieu", "--"]"#)
}

/// What adieu is for: a server that dies at once on TERM, with a request of one second that came
/// just before.
#[test]
fn a_stop_finishes_a_request_that_came_just_before() {
    require!(podman_runs_here());
    let image = with_adieu();
    let mut server = Container::start(&[], &[&image.name, "/app", "serve", "8080", "1000"]);
    server.run.expect("ready 8080");
    let request = server.request(8080);
    server.run.expect("request");
    server.podman(&["stop", "--time=30"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("adieu"), "{answer}");
    server.run.expect_exit(128 + libc::SIGTERM);
}

/// The same under tini loses the request, so the test above can fail.
#[test]
fn without_adieu_the_request_is_lost() {
    require!(podman_runs_here());
    let tini = PathBuf::from("/usr/bin/tini-static");
    require!(if tini.exists() { Ok(()) } else { Err("tini-static is not installed") });
    let (_, probe) = harness::static_programs();
    let image = Image::build(&[(&tini, "tini"), (&probe, "app")], r#"["/tini", "--"]"#);
    let mut server = Container::start(&[], &[&image.name, "/app", "serve", "8080", "1000"]);
    server.run.expect("ready 8080");
    let request = server.request(8080);
    server.run.expect("request");
    server.podman(&["stop", "--time=30"]);
    let answer = request.join().expect("no panic");
    assert!(answer.as_ref().map_or(true, String::is_empty), "{answer:?}");
    server.run.expect_exit(128 + libc::SIGTERM);
}

#[test]
fn the_container_ends_with_the_apps_status() {
    require!(podman_runs_here());
    let image = with_adieu();
    let mut app = Container::start(&["--env=ADIEU_PRE_STOP=0"], &[&image.name, "/app"]);
    app.run.expect("ready");
    app.podman(&["kill", "--signal=USR1"]);
    app.run.expect_signal("USR1");
    app.podman(&["kill", "--signal=TERM"]);
    app.run.expect_signal("TERM");
    app.run.expect_signal("CONT");
    app.run.say("exit 42");
    app.run.expect_exit(42);
}

/// No capability, no writable file, a stranger's uid, the default seccomp filter.
#[test]
fn a_locked_container_is_no_obstacle() {
    require!(podman_runs_here());
    let image = with_adieu();
    let locked = ["--read-only", "--user=65534:65534", "--cap-drop=all", "--security-opt=no-new-privileges"];
    let mut server = Container::start(&locked, &[&image.name, "/app", "serve", "8080", "1000"]);
    server.run.expect("ready 8080");
    let request = server.request(8080);
    server.run.expect("request");
    server.podman(&["stop", "--time=30"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(answer.ends_with("adieu"), "{answer}");
    server.run.expect_end(End::Exited(128 + libc::SIGTERM));
}

/// `podman run --init` mounts adieu over an image that does not hold it and starts `init --
/// COMMAND`.
#[test]
fn podmans_own_init_can_be_adieu() {
    require!(podman_runs_here());
    let (adieu, probe) = harness::static_programs();
    let image = Image::build(&[(&probe, "app")], r#"["/app"]"#);
    let path = format!("--init-path={}", adieu.display());
    let mut app = Container::start(&["--init", &path, "--env=ADIEU_PRE_STOP=0"], &[&image.name]);
    app.run.expect("ready");
    let pids = app.run.ask("pids");
    assert!(pids.contains(" parent 1 "), "{pids}");
    assert!(
        std::fs::read_to_string(format!("/proc/{}/cmdline", app.pid()))
            .expect("it runs")
            .contains("init\0--\0/app")
    );
    app.run.order("storm 100");
    app.podman(&["kill", "--signal=TERM"]);
    app.run.expect_signal("TERM");
    app.run.expect_signal("CONT");
    app.run.say("exit 7");
    app.run.expect_exit(7);
}
