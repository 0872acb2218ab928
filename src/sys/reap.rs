//! The one place that calls waitpid.
//!
//! As PID 1, or as a subreaper, adieu inherits every orphan. The loop gets each reaped pid, and
//! knows if it was the app, a hook, a check or an orphan.

use crate::process::{Exit, Pid};
use crate::signal::Signal;
use nix::errno::Errno;
use nix::sys::wait::WaitPidFlag;

/// What the kernel knows of our children.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reaped {
    /// This child has ended, and is reaped.
    Ended(Pid, Exit),
    /// Stopped by job control.
    Stopped(Pid, Signal),
    /// Children live, and nothing is new.
    Nothing,
    /// There is no child left (ECHILD).
    NoneLeft,
}

/// The state of the app alone, at a cost that does not grow with the number of zombies.
pub fn app(pid: Pid) -> Reaped {
    wait(pid.number(), WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED)
}

/// The next child that has ended.
pub fn any() -> Reaped {
    wait(-1, WaitPidFlag::WNOHANG)
}

/// Whether no child is left, neither living nor waiting to be reaped; reaps nothing.
pub fn none_left() -> bool {
    ended(libc::P_ALL, 0) == Err(Errno::ECHILD)
}

/// Whether this child waits to be reaped; reaps nothing.
pub fn has_ended(pid: Pid) -> bool {
    ended(libc::P_PID, pid.number() as libc::id_t) == Ok(true)
}

fn ended(which: libc::idtype_t, id: libc::id_t) -> Result<bool, Errno> {
    let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: siginfo_t is plain data, for which all-zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the info lives through the call. nix's waitid fails on a child that died of a
    // real-time signal.
    Errno::result(unsafe { libc::waitid(which, id, &raw mut info, flags) })?;
    // SAFETY: what waitid fills in for a child that has ended, and leaves zero otherwise.
    Ok(unsafe { info.si_pid() } != 0)
}

/// Reaps a child whose exec failed; it has already ended.
pub(super) fn forget(pid: Pid) {
    end_of(pid);
}

/// Reaps a child that has ended, or ends at once.
pub(super) fn end_of(pid: Pid) -> Option<Exit> {
    match wait(pid.number(), WaitPidFlag::empty()) {
        Reaped::Ended(_, exit) => Some(exit),
        Reaped::Stopped(..) | Reaped::Nothing | Reaped::NoneLeft => None,
    }
}

fn wait(pid: i32, flags: WaitPidFlag) -> Reaped {
    let mut status = 0;
    // SAFETY: the status word lives through the call. nix's waitpid fails with EINVAL, the status
    // lost, when a child died of a real-time signal.
    match Errno::result(unsafe { libc::waitpid(pid, &raw mut status, flags.bits()) }) {
        Ok(pid) => reaped(pid, status).unwrap_or(Reaped::Nothing),
        Err(Errno::ECHILD) => Reaped::NoneLeft,
        Err(_) => Reaped::Nothing,
    }
}

/// `None` when no child has news: waitpid(2) then returns 0.
fn reaped(pid: i32, status: i32) -> Option<Reaped> {
    let pid = Pid::new(pid)?;
    Some(if libc::WIFEXITED(status) {
        // Eight bits are all that exit(3) passes on.
        Reaped::Ended(pid, Exit::Status(libc::WEXITSTATUS(status) as u8))
    } else if libc::WIFSIGNALED(status) {
        Reaped::Ended(pid, Exit::Killed(Signal::new(libc::WTERMSIG(status))?))
    } else {
        Reaped::Stopped(pid, Signal::new(libc::WSTOPSIG(status))?)
    })
}
