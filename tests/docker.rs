//! Docker for real: a daemon of the test's own (no network, its files in the test's folder), images
//! FROM scratch, and the commands that people type. Everything is bounded: a command by its limit,
//! a wait by the watchdog, the daemon by its end.

mod harness;

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use harness::{Companion, Launch, Running, Scratch};

/// For one command of Docker's.
const LIMIT: Duration = Duration::from_secs(90);
const DOCKER: &str = "/usr/bin/docker";
const CTRL_C: &str = "\x03";

fn docker_runs_here() -> Result<(), String> {
    harness::root()?;
    harness::program("dockerd")?;
    let there = Path::new(DOCKER).exists();
    if there { Ok(()) } else { Err(format!("no {DOCKER}")) }
}

/// A daemon of this file's own, shared by the tests that run at the same time; with the last of
/// them it ends.
struct Docker {
    scratch: Scratch,
    _daemon: Companion,
    /// What started the daemon ends after it: a companion dies with the thread that started it.
    _keeper: Sender<()>,
}

impl Docker {
    fn shared() -> Arc<Docker> {
        static SHARED: Mutex<Weak<Docker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let docker = Arc::new(Docker::start());
            *shared = Arc::downgrade(&docker);
            docker
        })
    }

    /// `docker-init` is adieu, as an administrator would install it.
    fn start() -> Docker {
        let scratch = Scratch::new();
        let (adieu, _) = harness::static_programs();
        std::os::unix::fs::symlink(adieu, scratch.path("docker-init")).expect("a new name");
        let path = |name: &str| scratch.path(name).display().to_string();
        let mut daemon = Command::new("dockerd");
        daemon.args(["--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs"]);
        for (flag, name) in [("--data-root", "data"), ("--exec-root", "exec"), ("--pidfile", "pid")] {
            daemon.arg(flag).arg(path(name));
        }
        daemon.args(["--host", &format!("unix://{}", path("socket")), "--init-path", &path("docker-init")]);
        daemon.stdin(Stdio::null()).stdout(Stdio::null());
        daemon.stderr(std::fs::File::create(scratch.path("log")).expect("a new file"));
        let (keeper, over) = channel();
        let (sender, started) = channel();
        std::thread::spawn(move || {
            let _ = sender.send(Companion::start(&mut daemon)); // the test waits for it below
            while over.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {}
        });
        let daemon = started.recv_timeout(LIMIT).expect("dockerd is there").asked_with(libc::SIGTERM);
        let docker = Docker { scratch, _daemon: daemon, _keeper: keeper };
        harness::until("the daemon answers", || {
            harness::output(docker.command().args(["version"]), LIMIT).status.success()
        });
        docker
    }

    /// Docker's own command, which knows no other daemon.
    fn command(&self) -> Command {
        let mut docker = Command::new(DOCKER);
        docker.env_clear().envs(self.environment());
        docker
    }

    fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("DOCKER_HOST", format!("unix://{}", self.scratch.path("socket").display())),
            ("DOCKER_CONFIG", self.scratch.path("config").display().to_string()),
            ("DOCKER_BUILDKIT", "0".to_owned()),
        ]
    }

    /// What the command prints, when it exits 0.
    fn run(&self, words: &[&str]) -> String {
        let output = harness::output(self.command().args(words), LIMIT);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {words:?}: {error}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn log(&self) -> String {
        let log = std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// An image of adieu and the app, with these lines at the end of its Dockerfile.
    fn build(&self, name: &str, lines: &str) {
        let (_, probe) = harness::static_programs();
        self.build_with(&std::fs::read(probe).expect("the app"), name, lines);
    }

    fn build_with(&self, app: &[u8], name: &str, lines: &str) {
        let folder = self.scratch.path(name);
        std::fs::create_dir(&folder).expect("a name of its own");
        std::fs::copy(harness::static_programs().0, folder.join("adieu")).expect("room for a copy");
        let file = folder.join("app");
        std::fs::write(&file, app).expect("room for a copy");
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("one's own file");
        std::fs::write(folder.join("Dockerfile"), format!("FROM scratch\nCOPY . /\n{lines}\n"))
            .expect("room");
        self.run(&["build", "--quiet", "--tag", name, &folder.display().to_string()]);
    }

    /// `docker run` on this test's pipes or terminal.
    fn launch(&self, words: &[&str]) -> Launch {
        let launch = Launch::program(Path::new(DOCKER)).no_env().options("run --network none");
        let launch =
            self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        words.iter().fold(launch, harness::launch::Launch::option)
    }

    fn logs(&self, container: &str) -> Running {
        let launch = Launch::program(Path::new(DOCKER)).no_env().options("logs -f").option(container);
        self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    fn inspect(&self, container: &str, what: &str) -> String {
        self.run(&["inspect", &format!("--format={{{{{what}}}}}"), container])
    }

    fn pid(&self, container: &str) -> i32 {
        self.inspect(container, ".State.Pid").parse().expect("a pid")
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // The shims of containers outlive the daemon, so nothing may run when it ends.
        let left = harness::output(self.command().args(["ps", "--quiet", "--all"]), LIMIT);
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        if !left.trim().is_empty() {
            harness::output(self.command().args(["rm", "--force"]).args(left.split_whitespace()), LIMIT);
        }
    }
}

const ADIEU: &str = "ENTRYPOINT [\"/adieu\", \"--\"]";

/// What a person tries first, with the defaults: the app serves on while balancers would notice,
/// then hears TERM.
#[test]
fn a_kill_by_term_is_a_clean_stop() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("killed", &format!("{ADIEU}\nCMD [\"/app\", \"serve\", \"8080\", \"1000\"]"));
    docker.run(&["run", "--detach", "--name", "killed", "--network", "none", "killed"]);
    let mut logs = docker.logs("killed");
    logs.expect("ready 8080");
    let request = harness::request_in_network_of(docker.pid("killed"), 8080);
    logs.expect("request");
    docker.run(&["kill", "--signal=SIGTERM", "killed"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("adieu"), "{answer}");
    // Docker closes the log with the container.
    logs.expect_exit(0);
    assert_eq!(docker.inspect("killed", ".State.ExitCode"), "143");
}

#[test]
fn docker_stop_gives_the_time_that_was_asked_for() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("stopped", &format!("{ADIEU}\nENV ADIEU_GRACE=40s ADIEU_PRE_STOP=500ms"));
    docker.run(&[
        "run",
        "--detach",
        "--name",
        "stopped",
        "--network",
        "none",
        "stopped",
        "/app",
        "serve",
        "8080",
        "12000",
    ]);
    let mut logs = docker.logs("stopped");
    logs.expect("ready 8080");
    let request = harness::request_in_network_of(docker.pid("stopped"), 8080);
    logs.expect("request");
    // The request takes longer than the ten seconds of `docker stop` alone.
    docker.run(&["stop", "-t", "40", "stopped"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(answer.ends_with("adieu"), "{answer}");
    assert_eq!(docker.inspect("stopped", ".State.ExitCode"), "143");
}

/// HEALTHCHECK in an image that has no curl, and nothing else but adieu and the app.
#[test]
fn the_health_check_asks_the_running_adieu() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    let health =
        "HEALTHCHECK --interval=1s --timeout=10s --retries=2 CMD [\"/adieu\", \"--probe\", \"readyz\"]";
    docker.build("health", &format!("{ADIEU}\nENV ADIEU_HEALTH=127.0.0.1:9090 ADIEU_PRE_STOP=0\n{health}"));
    for (port, expected) in [("8080", "healthy"), ("8081", "unhealthy")] {
        let ready = format!("ADIEU_READY=tcp://127.0.0.1:{port}");
        docker.run(&[
            "run",
            "--detach",
            "--name",
            expected,
            "--network",
            "none",
            "--env",
            &ready,
            "health",
            "/app",
            "serve",
            "8080",
            "10",
        ]);
        harness::until("Docker knows its health", || {
            docker.inspect(expected, ".State.Health.Status") == expected
        });
    }
}

#[test]
fn ctrl_c_in_an_interactive_run_reaches_the_app() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("typed", &format!("{ADIEU}\nENV ADIEU_PRE_STOP=0"));
    let mut run = docker.launch(&["--interactive", "--tty", "typed", "/app"]).on_terminal().start();
    run.find("ready");
    run.type_in(CTRL_C);
    run.find("got INT ");
    run.say("exit 7");
    run.expect_exit(7);
}

/// An engine whose `docker-init` is adieu: nobody has to change an image. The daemon asks its init
/// for the version and reads the answer as tini's.
#[test]
fn the_engines_own_init_can_be_adieu() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("own-init", "ENTRYPOINT [\"/app\"]");
    let version = docker.run(&["info", "--format", "{{.InitCommit.ID}}"]);
    assert_eq!(version, concat!("adieu-", env!("CARGO_PKG_VERSION")).replace(".", "-"), "{}", docker.log());
    let words = ["--interactive", "--init", "--name", "own-init", "--env", "ADIEU_PRE_STOP=0", "own-init"];
    let mut run = docker.launch(&words).start();
    run.expect("ready");
    let pids = run.ask("pids");
    assert!(pids.contains(" parent 1 "), "{pids}");
    let first =
        std::fs::read_to_string(format!("/proc/{}/cmdline", docker.pid("own-init"))).expect("it runs");
    assert_eq!(first, "/sbin/docker-init\0--\0/app\0");
    run.order("storm 100");
    docker.run(&["kill", "--signal=TERM", "own-init"]);
    run.expect_signal("TERM");
    run.expect_signal("CONT");
    run.say("exit 5");
    run.expect_exit(5);
}

/// An app that was built for another processor, in an image that has no shell.
#[test]
fn a_foreign_app_is_126_and_says_why() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    let mut foreign = std::fs::read(harness::static_programs().1).expect("the app");
    // e_machine, in elf(5): a number that no processor has.
    foreign.splice(18..20, [0xfe, 0xca]);
    docker.build_with(&foreign, "foreign", &format!("{ADIEU}\nCMD [\"/app\"]"));
    let ran = harness::output(docker.command().args(["run", "--network", "none", "foreign"]), LIMIT);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(126), "{said}");
    assert!(said.contains("exec format error") && said.contains("/app"), "{said}");
}
