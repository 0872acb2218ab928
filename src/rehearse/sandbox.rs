//! The sandbox, which takes the place of the container. A helper process creates it (namespace.rs);
//! this is the tool's end of the pipe to the helper. Dropping the sandbox ends every process in it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::container::Container;
use super::namespace::{AtExit, NAMESPACE};
use super::plan::StartAs;
use super::recording::{Isolation, RecordedExit};
use super::snapshot::Members;
use adieu::errno::describe;

/// What to start, and how.
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub argv0: OsString,
    pub(crate) args: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// Where the app's stdout and stderr go.
    pub(crate) log: PathBuf,
    pub(crate) at_exit: AtExit,
    pub(crate) start_as: StartAs,
}

impl Launch {
    /// The arguments that tell the process inside its directory and its `UID:GID`; each may be
    /// empty.
    fn place(&self) -> [OsString; 2] {
        let directory = self.start_as.directory.clone().unwrap_or_default();
        let user = self.start_as.user.map(|user| format!("{}:{}", user.uid, user.gid));
        [directory.into(), user.unwrap_or_default().into()]
    }
}

/// What the helper process reports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum SandboxEvent {
    /// The main process is exiting and is held until it is released: its descriptors are still
    /// open, its children still run.
    Exiting,
    Ended(RecordedExit),
}

/// What runs the app.
enum Keeper {
    /// The process that created the namespaces, and its events.
    Helper { process: Child, news: mpsc::Receiver<SandboxEvent> },
    /// A container, and when it ended.
    Engine { container: Container, ended: OnceLock<Instant> },
}

/// The processes of a running rehearsal. Dropping it ends all of them.
pub(crate) struct Sandbox {
    keeper: Keeper,
    /// The process that the platform signals: the app itself, or adieu.
    pub(crate) main: Pid,
    pub(crate) members: Members,
    log: PathBuf,
}

/// Finds the strongest isolation that is permitted here, by trial: it depends on the kernel's
/// settings and on seccomp.
pub(crate) fn find_isolation() -> Isolation {
    let mut why = String::new();
    for isolation in [Isolation::PidNamespace, Isolation::UserNamespace] {
        match try_out(&isolation) {
            Ok(()) => return isolation,
            Err(reason) => why = reason,
        }
    }
    Isolation::Ordinary { why }
}

/// Creates a sandbox without a program in it.
fn try_out(isolation: &Isolation) -> Result<(), String> {
    let output =
        namespace(isolation, AtExit::Free, OsStr::new("adieu-rehearse"), Path::new(""), &Default::default())
            .stderr(Stdio::piped())
            .output()
            .map_err(|error| error.to_string())?;
    let ended = String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "status 0");
    if ended {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no namespaces").to_owned())
}

fn namespace(
    isolation: &Isolation,
    at_exit: AtExit,
    argv0: &OsStr,
    program: &Path,
    place: &[OsString; 2],
) -> Command {
    let word = match isolation {
        Isolation::PidNamespace => "root",
        Isolation::UserNamespace => "user",
        Isolation::Ordinary { .. } | Isolation::Container { .. } => "none",
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("adieu-rehearse")
        .args([NAMESPACE, word, at_exit.word()])
        .args(place)
        .arg(argv0)
        .arg(program);
    // Its stdin ends when the tool ends.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command
}

impl Sandbox {
    /// Starts the program in a sandbox of this kind.
    ///
    /// # Errors
    /// The message of the helper when it cannot start the program.
    pub(crate) fn start(isolation: &Isolation, launch: &Launch) -> Result<Sandbox, String> {
        let log = File::create(&launch.log)
            .map_err(|error| format!("cannot write '{}': {}", launch.log.display(), describe(&error)))?;
        let mut command =
            namespace(isolation, launch.at_exit, &launch.argv0, &launch.program, &launch.place());
        command.args(&launch.args).envs(launch.env.iter().cloned()).stderr(log);
        let mut helper =
            command.spawn().map_err(|error| format!("cannot start the sandbox: {}", describe(&error)))?;
        let Some(stdout) = helper.stdout.take() else {
            return Err("the sandbox has no output".into());
        };
        let (sender, news) = mpsc::channel();
        let mut lines = BufReader::new(stdout).lines();
        let Some(main) =
            lines.next().and_then(Result::ok).and_then(|line| line.strip_prefix("pid ")?.parse().ok())
        else {
            let _reaped = helper.wait();
            return Err(format!("cannot start the sandbox: {}", last_line(&launch.log)));
        };
        std::thread::spawn(move || {
            for news in lines.map_while(Result::ok).filter_map(|line| read_event(&line)) {
                // Nothing receives it when the rehearsal has been interrupted.
                let _given_up = sender.send(news);
            }
        });
        let main = Pid::from_raw(main);
        let members = match isolation {
            Isolation::PidNamespace | Isolation::UserNamespace => Members::of_namespace(main),
            Isolation::Ordinary { .. } | Isolation::Container { .. } => {
                Members::below(Pid::from_raw(helper.id() as i32))
            }
        };
        Ok(Sandbox {
            keeper: Keeper::Helper { process: helper, news },
            main,
            members,
            log: launch.log.clone(),
        })
    }

    /// A sandbox around a running container.
    pub(crate) fn around(container: Container, log: &Path) -> Sandbox {
        let main = Pid::from_raw(container.pid);
        let members = Members::of_namespace(main);
        Sandbox {
            keeper: Keeper::Engine { container, ended: OnceLock::new() },
            main,
            members,
            log: log.to_owned(),
        }
    }

    /// Sends the stop signal as the platform does, to the main process only.
    pub(crate) fn ask_to_stop(&self, signal: Signal, grace: Duration) {
        match &self.keeper {
            // ESRCH: it is already gone, and an event will follow.
            Keeper::Helper { .. } => drop(kill(self.main, signal)),
            Keeper::Engine { container, .. } => container.stop(grace),
        }
    }

    /// Kills the main process, as the platform does when the grace is over. An engine does that by
    /// itself, a little later.
    pub(crate) fn kill(&self) {
        let _gone = kill(self.main, Signal::SIGKILL);
    }

    /// How long after the grace to wait for an engine's own SIGKILL before we send one.
    pub(crate) fn kills_itself(&self) -> Option<Duration> {
        match &self.keeper {
            Keeper::Helper { .. } => None,
            Keeper::Engine { .. } => Some(Duration::from_secs(5)),
        }
    }

    /// When the main process ended, if that was seen before the event came.
    pub(crate) fn ended(&self) -> Option<Instant> {
        match &self.keeper {
            Keeper::Helper { .. } => None,
            Keeper::Engine { ended, .. } => ended.get().copied(),
        }
    }

    /// The last line of output, for error messages.
    pub(crate) fn last_words(&self) -> String {
        last_line(&self.log)
    }

    /// Waits for an event for this time.
    pub(crate) fn event_within(&self, time: Duration) -> Option<SandboxEvent> {
        match &self.keeper {
            Keeper::Helper { news, .. } => news.recv_timeout(time).ok(),
            Keeper::Engine { container, ended } => container.ended_within(time).map(|(at, exit)| {
                let _first = ended.set(at);
                SandboxEvent::Ended(exit)
            }),
        }
    }

    /// Releases the main process that is held at its exit.
    pub(crate) fn release(&self) {
        let Keeper::Helper { process, .. } = &self.keeper else { return };
        if let Some(mut stdin) = process.stdin.as_ref() {
            // A helper that is gone holds no process.
            let _gone = stdin.write_all(b"go\n");
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.members.kill_all();
        if let Keeper::Helper { process, .. } = &mut self.keeper {
            // The helper ends when the main process is gone; only then nothing is left.
            let _reaped = process.wait();
        }
    }
}

fn read_event(line: &str) -> Option<SandboxEvent> {
    if line == "leaving" {
        return Some(SandboxEvent::Exiting);
    }
    let (kind, number) = line.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "status" => Some(SandboxEvent::Ended(RecordedExit::Status(number))),
        "signal" => Some(SandboxEvent::Ended(RecordedExit::Signal(number))),
        _ => None,
    }
}

/// The last line that is not empty, and is not adieu's at its start, which tells nothing of the
/// app.
pub(crate) fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let tells = |line: &&str| !line.trim().is_empty() && !line.starts_with("adieu: version ");
    text.lines().rfind(tells).unwrap_or("none").to_owned()
}
