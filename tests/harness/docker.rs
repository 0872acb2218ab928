//! Docker for real: a daemon of the test's own, without a network of its own and with its files in
//! the test's folder, and docker's commands on it. Everything is bounded: a command by its limit, the
//! daemon by its end.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::{Companion, Launch, Running, Scratch};

/// For one command of Docker's.
pub const LIMIT: Duration = Duration::from_secs(90);
const DOCKER: &str = "/usr/bin/docker";

pub fn docker_runs_here() -> Result<(), String> {
    super::root()?;
    super::program("dockerd")?;
    let there = Path::new(DOCKER).exists();
    if there { Ok(()) } else { Err(format!("no {DOCKER}")) }
}

/// A daemon of this test program's own, shared by the tests that run at the same time; with the last of
/// them it ends.
pub struct Docker {
    scratch: Scratch,
    _daemon: Companion,
    /// What started the daemon ends after it: a companion dies with the thread that started it.
    _keeper: Sender<()>,
}

impl Docker {
    pub fn shared() -> Arc<Docker> {
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
        let (adieu, _) = super::static_programs();
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
        super::until("the daemon answers", || {
            super::output(docker.command().args(["version"]), LIMIT).status.success()
        });
        docker
    }

    /// Docker's own command, which knows no other daemon.
    pub fn command(&self) -> Command {
        let mut docker = Command::new(DOCKER);
        docker.env_clear().envs(self.environment());
        docker
    }

    /// containerd's own command, on the containerd that the daemon has started.
    pub fn containerd(&self) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(self.scratch.path("exec/containerd/containerd.sock"));
        ctr
    }

    pub fn environment(&self) -> [(&'static str, String); 4] {
        [
            ("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
            ("DOCKER_HOST", format!("unix://{}", self.scratch.path("socket").display())),
            ("DOCKER_CONFIG", self.scratch.path("config").display().to_string()),
            ("DOCKER_BUILDKIT", "0".to_owned()),
        ]
    }

    /// What the command prints, when it exits 0.
    pub fn run(&self, words: &[&str]) -> String {
        let output = super::output(self.command().args(words), LIMIT);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {words:?}: {error}\n{}", self.log());
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.scratch.path("log")).unwrap_or_default();
        log.lines().rev().take(20).collect::<Vec<_>>().join("\n")
    }

    /// An image of adieu and the app, with these lines at the end of its Dockerfile.
    pub fn build(&self, name: &str, lines: &str) {
        let (_, probe) = super::static_programs();
        self.build_with(&std::fs::read(probe).expect("the app"), name, lines);
    }

    pub fn build_with(&self, app: &[u8], name: &str, lines: &str) {
        let folder = self.scratch.path(name);
        std::fs::create_dir(&folder).expect("a name of its own");
        std::fs::copy(super::static_programs().0, folder.join("adieu")).expect("room for a copy");
        let file = folder.join("app");
        std::fs::write(&file, app).expect("room for a copy");
        std::fs::set_permissions(&file, Permissions::from_mode(0o755)).expect("one's own file");
        std::fs::write(folder.join("Dockerfile"), format!("FROM scratch\nCOPY . /\n{lines}\n"))
            .expect("room");
        self.run(&["build", "--quiet", "--tag", name, &folder.display().to_string()]);
    }

    /// `docker run` on this test's pipes or terminal.
    pub fn launch(&self, words: &[&str]) -> Launch {
        let launch = Launch::program(Path::new(DOCKER)).no_env().options("run --network none");
        let launch =
            self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value));
        words.iter().fold(launch, super::launch::Launch::option)
    }

    pub fn logs(&self, container: &str) -> Running {
        let launch = Launch::program(Path::new(DOCKER)).no_env().options("logs -f").option(container);
        self.environment().into_iter().fold(launch, |launch, (name, value)| launch.env(name, value)).start()
    }

    pub fn inspect(&self, container: &str, what: &str) -> String {
        self.run(&["inspect", &format!("--format={{{{{what}}}}}"), container])
    }

    pub fn pid(&self, container: &str) -> i32 {
        self.inspect(container, ".State.Pid").parse().expect("a pid")
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // The shims of containers outlive the daemon, so nothing may run when it ends.
        let left = super::output(self.command().args(["ps", "--quiet", "--all"]), LIMIT);
        let left = String::from_utf8_lossy(&left.stdout).into_owned();
        if !left.trim().is_empty() {
            super::output(self.command().args(["rm", "--force"]).args(left.split_whitespace()), LIMIT);
        }
    }
}
