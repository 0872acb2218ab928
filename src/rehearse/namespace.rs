//! The helper process. The tool starts this binary a second time, which creates the namespaces and
//! starts the binary a third time inside them, as PID 1. That process mounts /proc and executes the
//! app or adieu. There is no plain fork, so no unsafe code is needed. Each of the three dies when
//! its parent dies, so nothing is left behind however the tool ends; and when PID 1 of a namespace
//! dies, the kernel kills all other processes in it, pid_namespaces(7).

use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::ptrace::{self, Event};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid};

use super::snapshot::Members;
use adieu::errno::describe;

/// The first argument of the helper, and of the process inside the namespaces.
pub(crate) const NAMESPACE: &str = "--as-namespace";
pub(crate) const PID_ONE: &str = "--as-pid-one";

/// What happens to the main process when it exits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AtExit {
    Free,
    /// It is held with its descriptors still open until a snapshot has been taken.
    Hold,
}

impl AtExit {
    pub(crate) fn word(self) -> &'static str {
        match self {
            AtExit::Free => "free",
            AtExit::Hold => "hold",
        }
    }
}

/// Runs the helper: creates the namespaces, starts the process inside and waits for its end.
///
/// # Errors
/// A system call that failed.
pub(crate) fn serve(args: &[OsString]) -> io::Result<()> {
    let [isolation, at_exit, rest @ ..] = args else {
        return Err(io::Error::other("the kind of isolation is missing"));
    };
    // A session without a terminal: Ctrl-C must reach only the tool, which then ends the sandbox,
    // and not the app, which adieu would put into the terminal's foreground.
    nix::unistd::setsid()?;
    let at_exit = if at_exit == AtExit::Hold.word() { AtExit::Hold } else { AtExit::Free };
    let namespaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS;
    match isolation.to_str() {
        Some("root") => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            unshare(namespaces)?;
            watch_main(&inside("root", rest).spawn()?, at_exit, None)
        }
        Some("user") => {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            let (uid, gid) = (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw());
            unshare(CloneFlags::CLONE_NEWUSER | namespaces)?;
            map_ids(0, 0, uid, gid)?;
            watch_main(&inside(&format!("{uid}:{gid}"), rest).spawn()?, at_exit, None)
        }
        _ => {
            // Without a namespace, processes may escape by setsid. As a subreaper we become their
            // parent, and we outlive the tool to end them.
            prctl::set_child_subreaper(true)?;
            let members = Members::below(Pid::this());
            watch_main(&inside("none", rest).spawn()?, at_exit, Some(members))
        }
    }
}

fn inside(ids: &str, rest: &[OsString]) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("adieu-rehearse").args([PID_ONE, ids]).args(rest).stdin(Stdio::null());
    command
}

/// Reports the pid of the main process and its end on stdout. A process to be held at its exit is
/// traced, ptrace(2): it is the only way to see its open connections and its children at the last
/// moment. Its signals then stop at the tracer, which passes them on. Without permission to trace,
/// that moment is not reported. When the tool is gone, the members to sweep are killed.
fn watch_main(child: &Child, at_exit: AtExit, to_sweep: Option<Members>) -> io::Result<()> {
    // When the tool is gone, a write must not kill us by SIGPIPE before we have swept. The flag
    // itself is never read.
    signal_hook::flag::register(signal_hook::consts::SIGPIPE, Arc::default())?;
    let tell = |line: &str| {
        let _unread = writeln!(io::stdout(), "{line}");
    };
    let main = Pid::from_raw(child.id() as i32);
    if at_exit == AtExit::Hold {
        let options = ptrace::Options::PTRACE_O_TRACEEXIT | ptrace::Options::PTRACE_O_EXITKILL;
        let _untraced = ptrace::seize(main, options);
    }
    let mut await_go = await_release(to_sweep.clone());
    tell(&format!("pid {main}"));
    let end = loop {
        match waitpid(main, None)? {
            WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXIT as i32 => {
                tell("leaving");
                await_go();
                resume(main, None)?;
            }
            WaitStatus::Stopped(_, signal) => resume(main, Some(signal))?,
            WaitStatus::Exited(_, status) => break format!("status {status}"),
            WaitStatus::Signaled(_, signal, _) => break format!("signal {}", signal as i32),
            // A group stop, for example by SIGTSTP. Nothing would continue the process, so we do.
            WaitStatus::PtraceEvent(..) => resume(main, None)?,
            WaitStatus::PtraceSyscall(_) | WaitStatus::Continued(_) | WaitStatus::StillAlive => {}
        }
    };
    // What the main process left is a descendant of ours as long as we live.
    if let Some(members) = to_sweep {
        members.kill_all();
    }
    tell(&end);
    Ok(())
}

/// Returns a function that waits until the tool writes to our stdin or is gone. Only with members
/// to sweep does a thread watch for the end of the tool: a process that has unshared its PID
/// namespace cannot start a thread, unshare(2).
fn await_release(to_sweep: Option<Members>) -> Box<dyn FnMut()> {
    let Some(members) = to_sweep else {
        return Box::new(|| {
            let _go = io::stdin().read_line(&mut String::new());
        });
    };
    let (teller, go) = mpsc::channel();
    std::thread::spawn(move || {
        for _line in io::stdin().lines().map_while(Result::ok) {
            // Nothing waits for it when the main process was killed meanwhile.
            let _gone = teller.send(());
        }
        drop(teller);
        members.kill_all();
    });
    Box::new(move || {
        let _go = go.recv();
    })
}

/// Lets a traced process continue. ESRCH: it was killed while it was held.
fn resume(main: Pid, signal: Option<Signal>) -> io::Result<()> {
    match ptrace::cont(main, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Runs the process inside: it prepares the new namespace as its PID 1 and executes the program.
///
/// # Errors
/// A mount, an id map or the program failed.
pub(crate) fn become_program(args: &[OsString]) -> io::Result<()> {
    let [ids, directory, user, argv0, program, rest @ ..] = args else {
        return Err(io::Error::other("no program to run"));
    };
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    let ids = ids.to_string_lossy().into_owned();
    if ids != "none" {
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        let plain = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("proc"), "/proc", Some("proc"), plain, None::<&str>)
            .map_err(|error| io::Error::other(format!("cannot mount /proc: {}", error.desc())))?;
    }
    if let Some((uid, gid)) = read_ids(&ids) {
        // Root in the first user namespace was needed only for the mount. In a second one the app
        // has the user's own ids.
        unshare(CloneFlags::CLONE_NEWUSER)?;
        map_ids(uid, gid, 0, 0)?;
    }
    if program.is_empty() {
        return Ok(());
    }
    if !directory.is_empty() {
        std::env::set_current_dir(directory)?;
    }
    if let Some((uid, gid)) = read_ids(&user.to_string_lossy()) {
        become_user(uid, gid)?;
    }
    let error = Command::new(program).arg0(argv0).args(rest).stdout(io::stderr()).exec();
    eprintln!("cannot run '{}': {}", program.display(), describe(&error));
    std::process::exit(if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
}

/// `UID:GID`
fn read_ids(text: &str) -> Option<(u32, u32)> {
    let (uid, gid) = text.split_once(':')?;
    Some((uid.parse().ok()?, gid.parse().ok()?))
}

/// Changes to the user of the manifest. If we are that user already, no permission is needed.
fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    if nix::unistd::getuid().as_raw() == uid && nix::unistd::getgid().as_raw() == gid {
        return Ok(());
    }
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    nix::unistd::setgroups(&[gid])?;
    nix::unistd::setgid(gid)?;
    nix::unistd::setuid(uid)?;
    // The kernel clears it when a process changes its user, prctl(2).
    Ok(prctl::set_pdeathsig(Signal::SIGKILL)?)
}

/// user_namespaces(7): an unprivileged process may write the group map only after it has denied
/// setgroups.
fn map_ids(uid: u32, gid: u32, outer_uid: u32, outer_gid: u32) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{uid} {outer_uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("{gid} {outer_gid} 1"))
}
