//! The stage: what stands in for the container. This binary starts itself again as a stagehand, which makes the namespaces and
//! starts itself a third time inside them as PID 1, mounts a /proc of its own there and becomes the app (or adieu). Nothing is
//! forked by hand, so that no unsafe code is needed. Each of the three dies when the one above it dies, so that nothing is left
//! behind however the tool itself ends; and a namespace takes all its processes with it, pid_namespaces(7).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::ptrace::{self, Event};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::look::{self, Members};
use super::recording::{Ending, Ground};

/// The first argument by which this binary knows that it is a stagehand, and the one for the process inside.
pub const STAGEHAND: &str = "--as-stagehand";
pub const INSIDE: &str = "--as-inside";

/// What to start, and as whom.
pub struct Script {
    pub program: PathBuf,
    pub argv0: OsString,
    pub args: Vec<OsString>,
    pub env: Vec<(OsString, OsString)>,
    /// Where the app's stdout and stderr go.
    pub log: PathBuf,
    pub at_exit: AtExit,
}

/// What happens to the program when it exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtExit {
    Free,
    /// It is held at the brink until it has been looked at.
    Hold,
}

impl AtExit {
    fn word(self) -> &'static str {
        match self {
            AtExit::Free => "free",
            AtExit::Hold => "hold",
        }
    }
}

/// What the stagehand tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum News {
    /// The main process is about to end, and is held until it is let go: its descriptors are open still, its children live.
    Leaving,
    Ended(Ending),
}

/// A running rehearsal's processes. Dropping it ends every one of them.
pub struct Stage {
    hand: Child,
    /// The process that the platform signals: the app itself, or adieu.
    pub main: Pid,
    pub members: Members,
    log: PathBuf,
    news: mpsc::Receiver<News>,
}

/// What the tool can run on here: tried out, since what is permitted depends on the kernel's settings and on seccomp.
#[must_use]
pub fn find_ground() -> Ground {
    let mut why = String::new();
    for ground in [Ground::PidNamespace, Ground::UserNamespace] {
        match try_out(&ground) {
            Ok(()) => return ground,
            Err(reason) => why = reason,
        }
    }
    Ground::Ordinary { why }
}

/// Raises a stage on which nothing is played.
fn try_out(ground: &Ground) -> Result<(), String> {
    let output = stagehand(ground, AtExit::Free, OsStr::new("adieu-rehearse"), Path::new(""))
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    let ended = String::from_utf8_lossy(&output.stdout).lines().any(|line| line == "status 0");
    if ended {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or("no namespaces").to_owned())
}

fn stagehand(ground: &Ground, at_exit: AtExit, argv0: &OsStr, program: &Path) -> Command {
    let word = match ground {
        Ground::PidNamespace => "root",
        Ground::UserNamespace => "user",
        Ground::Ordinary { .. } => "none",
    };
    let mut command = Command::new("/proc/self/exe");
    command.arg0("adieu-rehearse").args([STAGEHAND, word, at_exit.word()]).arg(argv0).arg(program);
    // Its stdin ends when the tool does.
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    // A terminal's Ctrl-C is for the tool, which then takes the stage down in order.
    command.process_group(0);
    command
}

impl Stage {
    /// Starts the script on this ground.
    ///
    /// # Errors
    /// What the stagehand said when it could not start the program.
    pub fn raise(ground: &Ground, script: &Script) -> Result<Stage, String> {
        let log = File::create(&script.log)
            .map_err(|error| format!("cannot write '{}': {error}", script.log.display()))?;
        let mut command = stagehand(ground, script.at_exit, &script.argv0, &script.program);
        command.args(&script.args).envs(script.env.iter().cloned()).stderr(log);
        let mut hand = command.spawn().map_err(|error| format!("cannot start the stage: {error}"))?;
        let Some(stdout) = hand.stdout.take() else {
            return Err("the stage has no voice".into());
        };
        let (teller, news) = mpsc::channel();
        let mut lines = BufReader::new(stdout).lines();
        let Some(main) =
            lines.next().and_then(Result::ok).and_then(|line| line.strip_prefix("pid ")?.parse().ok())
        else {
            let _reaped = hand.wait();
            return Err(format!("cannot start the stage: {}", last_line(&script.log)));
        };
        std::thread::spawn(move || {
            for news in lines.map_while(Result::ok).filter_map(|line| read_news(&line)) {
                // Nobody listens once the rehearsal has been given up.
                let _given_up = teller.send(news);
            }
        });
        let main = Pid::from_raw(main);
        let members = match ground {
            Ground::PidNamespace | Ground::UserNamespace => Members::of_namespace(main),
            Ground::Ordinary { .. } => Members::below(Pid::from_raw(hand.id() as i32)),
        };
        Ok(Stage { hand, main, members, log: script.log.clone(), news })
    }

    /// Sends a signal as the platform would: to the main process alone.
    pub fn signal(&self, signal: Signal) {
        // ESRCH: it is already gone, and the news will say so.
        let _gone = kill(self.main, signal);
    }

    /// The last thing that the app said, for error messages.
    #[must_use]
    pub fn last_words(&self) -> String {
        last_line(&self.log)
    }

    /// Waits so long for news.
    #[must_use]
    pub fn news_within(&self, time: Duration) -> Option<News> {
        self.news.recv_timeout(time).ok()
    }

    /// Lets a process that is held at its exit go.
    pub fn let_go(&mut self) {
        if let Some(stdin) = &mut self.hand.stdin {
            // A stagehand that is gone holds nobody.
            let _gone = stdin.write_all(b"go\n");
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        sweep(&self.members);
        // The stagehand leaves by itself when the main process is gone; only then nothing is left.
        let _reaped = self.hand.wait();
    }
}

/// Kills every member. One may fork while we look: again, until a look finds nobody. Nobody outruns it for long.
fn sweep(members: &Members) {
    for _ in 0..100 {
        let left = look::processes(members);
        if left.is_empty() {
            break;
        }
        for seen in left {
            let _gone = kill(Pid::from_raw(seen.pid), Signal::SIGKILL);
        }
    }
}

fn read_news(line: &str) -> Option<News> {
    if line == "leaving" {
        return Some(News::Leaving);
    }
    let (kind, number) = line.split_once(' ')?;
    let number = number.parse().ok()?;
    match kind {
        "status" => Some(News::Ended(Ending::Status(number))),
        "signal" => Some(News::Ended(Ending::Signal(number))),
        _ => None,
    }
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing").to_owned()
}

/// The stagehand's life: namespaces, the process inside, its end.
///
/// # Errors
/// Whatever the kernel refused.
pub fn stagehand_main(args: &[OsString]) -> io::Result<()> {
    let [ground, at_exit, rest @ ..] = args else {
        return Err(io::Error::other("a stagehand needs a ground"));
    };
    let at_exit = if at_exit == AtExit::Hold.word() { AtExit::Hold } else { AtExit::Free };
    let namespaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    match ground.to_str() {
        Some("root") => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            unshare(namespaces)?;
            tell_life(&inside("root", rest).spawn()?, at_exit, None)
        }
        Some("user") => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
            unshare(CloneFlags::CLONE_NEWUSER | namespaces)?;
            map_ids(0, 0, uid, gid)?;
            tell_life(&inside(&format!("{uid}:{gid}"), rest).spawn()?, at_exit, None)
        }
        _ => {
            // The escapees of setsid come to us instead of to the machine's own init; without a namespace that takes them with
            // it, we must outlive the tool to end them.
            prctl::set_child_subreaper(true)?;
            let members = Members::below(Pid::this());
            tell_life(&inside("none", rest).spawn()?, at_exit, Some(members))
        }
    }
}

fn inside(ids: &str, rest: &[OsString]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("adieu-rehearse").args([INSIDE, ids]).args(rest).stdin(Stdio::null());
    command
}

/// Says on stdout who lives and how it ended. Who is to be held at its exit is traced for that, ptrace(2): only so are its open
/// connections and its children to be seen at the last moment. Signals pass through our hands on their way and are passed on;
/// without permission to trace, the life is told without that moment. When the tool is gone, so are those to be swept.
fn tell_life(child: &Child, at_exit: AtExit, to_sweep: Option<Members>) -> io::Result<()> {
    let mut stdout = io::stdout();
    let main = Pid::from_raw(child.id() as i32);
    if at_exit == AtExit::Hold {
        let options = ptrace::Options::PTRACE_O_TRACEEXIT | ptrace::Options::PTRACE_O_EXITKILL;
        let _untraced = ptrace::seize(main, options);
    }
    let mut await_go = hear(to_sweep.clone());
    writeln!(stdout, "pid {main}")?;
    let end = loop {
        match waitpid(main, None)? {
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXIT as i32 => {
                writeln!(stdout, "leaving")?;
                await_go();
                resume(main, None)?;
            }
            WaitStatus::Stopped(_, signal) => resume(main, Some(signal))?,
            WaitStatus::Exited(_, status) => break format!("status {status}"),
            WaitStatus::Signaled(_, signal, _) => break format!("signal {}", signal as i32),
            // A stop of the whole group: the platform stops nobody, so there is nothing to keep up.
            WaitStatus::PtraceEvent(..) => resume(main, None)?,
            WaitStatus::PtraceSyscall(_) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    };
    // What the main process left is still below us, as long as we live: a tool that is gone has closed stdout, which may end us.
    if let Some(members) = to_sweep {
        sweep(&members);
    }
    writeln!(stdout, "{end}")
}

/// How to wait until the tool says go, or says no more. Only where there is somebody to sweep a thread of its own hears the tool
/// end; a process that has unshared its PID namespace may not even start one, unshare(2).
fn hear(to_sweep: Option<Members>) -> Box<dyn FnMut()> {
    let Some(members) = to_sweep else {
        return Box::new(|| {
            let _go = io::stdin().read_line(&mut String::new());
        });
    };
    let (teller, go) = mpsc::channel();
    std::thread::spawn(move || {
        for _line in io::stdin().lines().map_while(Result::ok) {
            // Nobody waits for it when the main process was killed meanwhile.
            let _gone = teller.send(());
        }
        sweep(&members);
    });
    Box::new(move || {
        let _go = go.recv();
    })
}

/// ESRCH: it was killed while it was held.
fn resume(main: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::cont(main, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The process inside: PID 1 of the new namespace on its way to becoming the program.
///
/// # Errors
/// What could not be mounted, mapped or executed.
pub fn inside_main(args: &[OsString]) -> io::Result<()> {
    let [ids, argv0, program, rest @ ..] = args else {
        return Err(io::Error::other("nothing to become"));
    };
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let ids = ids.to_string_lossy().into_owned();
    if ids != "none" {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>)
            .map_err(|error| io::Error::other(format!("cannot mount /proc: {error}")))?;
    }
    if let Some((uid, gid)) =
        ids.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)))
    {
        // Root of the first user namespace was needed for the mount alone: the app is to be who its user is.
        unshare(CloneFlags::CLONE_NEWUSER)?;
        map_ids(uid, gid, 0, 0)?;
    }
    if program.is_empty() {
        return Ok(());
    }
    let error = Command::new(program).arg0(argv0).args(rest).stdout(io::stderr()).exec();
    eprintln!("cannot run '{}': {error}", program.display());
    std::process::exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// user_namespaces(7): without setgroups denied, an unprivileged process may not write the group map.
fn map_ids(uid: u32, gid: u32, outer_uid: u32, outer_gid: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1"))
}
