//! Starting processes: the app, and the helpers that hooks and checks run.
//!
//! adieu waits for no exec for long, since on a file system that does not answer it can hang. The
//! app's child borrows our memory until exec (CLONE_VM, as posix_spawn(3) does), so that no page
//! table is copied, but does not block us (no CLONE_VFORK); a helper's child has a copy. The result
//! of exec comes through a pipe: an errno if it failed, an end of file once exec has closed the
//! child's end. All signals stay blocked until the child's own mask is set, last of all.

mod child;
mod environment;
mod raw;

use super::signals::Mask;
use crate::process::Pid;
use crate::signal::Signal;
use child::Child;
pub(super) use child::Stack;
use environment::{Environment, ListenPid, candidates, pointers, shell_arguments};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, poll};
use nix::unistd::Pid as NixPid;
use std::ffi::{CString, OsString, c_int};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicI32, Ordering};

/// How long, in milliseconds, adieu blocks for the app's exec. The loop waits for one that takes
/// longer.
const PATIENCE: u8 = 100;

/// Why a process could not be started.
#[derive(Debug)]
pub enum SpawnError {
    /// There is no new process: clone(2) or memory for it failed.
    Fork(io::Error),
    /// The command cannot be executed.
    Exec(io::Error),
}

/// The app as it is to be started.
pub struct AppStart<'a> {
    /// The command and its arguments.
    pub argv: Vec<CString>,
    /// Variables that replace or join the inherited ones: `NAME=value`. A `NAME` alone takes one
    /// away.
    pub variables: Vec<CString>,
    /// The signals that it finds blocked.
    pub mask: Mask,
    /// Whether it finds SIGCHLD ignored.
    pub ignored_child: bool,
    /// What the app gets when adieu dies first.
    pub orphan_signal: Option<Signal>,
    /// The terminal whose foreground the app is to take over.
    pub foreground: Option<BorrowedFd<'a>>,
}

/// An app's process.
#[derive(Debug)]
pub struct Started {
    /// Its pid.
    pub pid: Pid,
    /// Its exec; `None` where the clone has waited for it.
    pub exec: Option<Exec>,
}

/// An exec that takes its time.
#[derive(Debug)]
pub struct Exec {
    report: OwnedFd,
    /// Given back only when the child has closed its end, which exec and exit do after they have
    /// let go of our memory.
    lent: ManuallyDrop<Lent>,
    over: bool,
}

/// What the app's child uses of our memory.
#[derive(Debug)]
struct Lent {
    child: NonNull<Child>,
    stack: Stack,
}

/// Starts the app in a process group of its own, with its inherited descriptors, mask and
/// dispositions. Does not wait for its exec, so that there is time for other things meanwhile.
///
/// # Errors
/// What clone(2) says; where no descriptor is left, what execve(2) says.
pub fn app(start: AppStart) -> Result<Started, SpawnError> {
    let fork = |errno: Errno| SpawnError::Fork(errno.into());
    // Where no descriptor is left we are held up until exec, and its errno is left in memory.
    let pipe = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).ok();
    let mut child = app_child(start);
    child.report = pipe.as_ref().map(|(_, childs)| childs.as_raw_fd());
    let lent = Lent::new(child).map_err(fork)?;
    let pid = lent.clone(pipe.is_some()).map_err(fork)?;
    let Some((report, childs)) = pipe else {
        return match lent.exec_errno() {
            0 => Ok(Started { pid, exec: None }),
            errno => Err(exec_failed(pid, io::Error::from_raw_os_error(errno))),
        };
    };
    drop(childs);
    Ok(Started { pid, exec: Some(Exec { report, lent: ManuallyDrop::new(lent), over: false }) })
}

fn app_child(start: AppStart) -> Child {
    let environment = Environment::with(&start.variables);
    let passed_on = std::env::var_os("LISTEN_PID").and_then(|pid| pid.into_string().ok());
    let for_us = passed_on.is_some_and(|pid| pid.trim() == super::own_pid().to_string());
    let listen_pid = for_us.then(|| Box::new(ListenPid::new()));
    Child {
        candidates: candidates(start.argv.first()),
        argv: pointers(&start.argv),
        shell_argv: shell_arguments(&start.argv),
        envp: environment.pointers(listen_pid.as_ref().map(|text| text.as_ptr())),
        _strings: [start.argv, start.variables],
        listen_pid,
        mask: start.mask,
        ignore_child: start.ignored_child,
        death_signal: start.orphan_signal,
        foreground: start.foreground.map(|terminal| terminal.as_raw_fd()),
        empty: None,
        report: None,
        parent: super::own_pid(),
        exec_errno: AtomicI32::new(0),
    }
}

impl Lent {
    fn new(child: Child) -> Result<Lent, Errno> {
        let stack = Stack::new()?;
        Ok(Lent { child: NonNull::from(Box::leak(Box::new(child))), stack })
    }

    /// Sends the child on its way: beside us where it can tell how exec went, else held up by it.
    fn clone(&self, tells: bool) -> Result<Pid, Errno> {
        let held_up = libc::CLONE_VM | libc::CLONE_VFORK;
        if !tells || !raw::LEAVES_ERRNO_ALONE {
            return child::clone(self.child.as_ptr(), &self.stack, held_up);
        }
        match child::clone(self.child.as_ptr(), &self.stack, libc::CLONE_VM) {
            // An emulator of user programs (qemu) knows but forks and threads.
            Err(Errno::EINVAL) => child::clone(self.child.as_ptr(), &self.stack, held_up),
            cloned => cloned,
        }
    }

    /// To be asked once the child is gone, or past exec.
    fn exec_errno(&self) -> i32 {
        // SAFETY: it lives as long as this, and an atomic number may be written meanwhile.
        unsafe { &(*self.child.as_ptr()).exec_errno }.load(Ordering::Relaxed)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // SAFETY: it was a box, in new(), and the child uses it no more.
        drop(unsafe { Box::from_raw(self.child.as_ptr()) });
    }
}

impl Exec {
    /// How it went, if it is over within a tenth of a second. A child that could not become the
    /// app is reaped.
    pub fn settle(&mut self, pid: Pid) -> Option<io::Result<()>> {
        // An error ends in the loop, which asks again.
        let _ = poll(&mut [PollFd::new(self.report.as_fd(), PollFlags::POLLIN)], PATIENCE);
        let outcome = self.outcome();
        if let Some(Err(_)) = outcome {
            super::reap::forget(pid);
        }
        outcome
    }

    /// How it went, once that is known. Of a child that was killed before, that it went well.
    pub fn outcome(&mut self) -> Option<io::Result<()>> {
        match reported(&self.report) {
            Ok(None) => {
                self.over = true;
                Some(Ok(()))
            }
            Ok(Some(error)) => Some(Err(error)),
            Err(_nothing_yet) => None,
        }
    }

    /// What becomes readable when it is over.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.report.as_fd()
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        if self.over {
            // SAFETY: dropped here, once, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.lent) };
        }
    }
}

/// Reaps a child whose exec failed, and which is about to end.
fn exec_failed(pid: Pid, error: io::Error) -> SpawnError {
    super::reap::forget(pid);
    SpawnError::Exec(error)
}

/// What a child has said of its exec: an error, or nothing where its end is closed. Err: neither
/// so far.
fn reported(report: &OwnedFd) -> nix::Result<Option<io::Error>> {
    let mut errno = [0; size_of::<c_int>()];
    let read = nix::unistd::read(report, &mut errno)?;
    Ok((read == errno.len()).then(|| io::Error::from_raw_os_error(c_int::from_ne_bytes(errno))))
}

/// A helper that was started. Whether it could become its command shows at its end.
#[derive(Debug)]
pub struct Helper {
    pid: Pid,
    /// Where the child's errno comes when exec failed.
    failure: OwnedFd,
}

impl Helper {
    /// Its pid, which is its process group's number as well.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Why the command could not be executed; to be asked once the helper has ended.
    pub fn exec_error(&self) -> Option<io::Error> {
        // Nothing comes where exec has closed the other end, or where the child was killed before.
        reported(&self.failure).ok().flatten()
    }
}

/// Starts a helper: stdin empty, stdout and stderr to descriptor 2, no signal blocked, a process
/// group of its own, so that it can be killed with all that it forked. `variables` are added to
/// adieu's environment. Does not wait for exec.
///
/// # Errors
/// What open(2), pipe(2) and clone(2) say.
pub fn helper(argv: &[OsString], variables: &[(String, String)]) -> io::Result<Helper> {
    let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::other);
    let argv = argv.iter().map(|arg| c_string(arg.as_bytes().to_vec())).collect::<Result<Vec<_>, _>>()?;
    let variables = variables
        .iter()
        .map(|(name, value)| c_string(OsString::from(format!("{name}={value}")).into_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let empty = above_stdio(std::fs::File::open("/dev/null")?.into())?;
    let (failure, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let report = above_stdio(report)?;
    let mut child = Child {
        candidates: candidates(argv.first()),
        argv: pointers(&argv),
        shell_argv: shell_arguments(&argv),
        envp: Environment::with(&variables).pointers(None),
        _strings: [argv, variables],
        listen_pid: None,
        mask: Mask(0),
        ignore_child: false,
        death_signal: Some(Signal::KILL),
        foreground: None,
        empty: Some(empty.as_raw_fd()),
        report: Some(report.as_raw_fd()),
        parent: super::own_pid(),
        exec_errno: AtomicI32::new(0),
    };
    let pid = child::clone(&raw mut child, &Stack::new()?, 0)?;
    // The child does the same. Whichever comes first, it can be killed as a group from now on. An
    // error means that it is past exec or has ended.
    let _ = nix::unistd::setpgid(NixPid::from_raw(pid.number()), NixPid::from_raw(pid.number()));
    Ok(Helper { pid, failure })
}

/// adieu's own descriptors may be 0 and 1, where the child needs its own.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let copy = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::os::unix::fs::PermissionsExt;

    /// The deepest way: a search, then a script without `#!`, with all that may be asked for.
    #[test]
    fn the_child_needs_little_of_its_stack() {
        const UNTOUCHED: u8 = 0xA5;
        let script = std::env::temp_dir().join(format!("adieu-script-{}", std::process::id()));
        std::fs::write(&script, "exit 3\n").unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        let command = CString::new(script.as_os_str().as_bytes()).unwrap();
        let mut child = app_child(AppStart {
            argv: vec![command],
            variables: Vec::new(),
            mask: Mask(0),
            ignored_child: true,
            orphan_signal: Some(Signal::KILL),
            foreground: None,
        });
        child.listen_pid = Some(Box::new(ListenPid::new()));
        child.candidates.insert(0, c"/nowhere/at-all".to_owned());
        let lent = Lent::new(child).unwrap();
        let bytes = lent.stack.bytes();
        bytes.iter().for_each(|byte| byte.store(UNTOUCHED, Ordering::Relaxed));
        let pid = lent.clone(false).unwrap();
        let left = bytes.iter().take_while(|byte| byte.load(Ordering::Relaxed) == UNTOUCHED).count();
        super::super::reap::forget(pid);
        std::fs::remove_file(&script).unwrap();
        assert_eq!(lent.exec_errno(), 0);
        println!("{} bytes of {}", bytes.len() - left, bytes.len());
        assert!(left < bytes.len() && left >= bytes.len() / 4 * 3, "{left} of {}", bytes.len());
    }

    #[test]
    fn a_command_that_is_not_there_is_told_apart_from_one_that_may_not_run() {
        let start = |command: &CStr| {
            app(AppStart {
                argv: vec![command.to_owned()],
                variables: Vec::new(),
                mask: Mask(0),
                ignored_child: false,
                orphan_signal: None,
                foreground: None,
            })
        };
        let failure = |command| {
            let Started { pid, exec } = start(command).expect("a child");
            match exec.and_then(|mut exec| exec.settle(pid)) {
                Some(Err(error)) => error.kind(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(failure(c"/nowhere/at-all"), io::ErrorKind::NotFound);
        assert_eq!(failure(c"/etc/passwd"), io::ErrorKind::PermissionDenied);
    }
}
