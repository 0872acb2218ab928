//! Signals in and out.
//!
//! All 64 are blocked before anything else is done and then taken by sigtimedwait(2), or read from
//! a signalfd where descriptors are waited for too, so that the kernel keeps queue, order, value
//! and sender for us. glibc's own sigprocmask leaves out 32 and 33, which its threads use; adieu
//! has no threads and forwards those two as well, so the mask goes to the kernel as the 64-bit word
//! that it is.

use crate::process::Pid;
use crate::signal::{Arrival, Sender, Signal};
use nix::errno::Errno;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// The size of the kernel's signal set in bytes, on every architecture that Rust knows but mips.
const KERNEL_SET: usize = 8;
static ALL: u64 = !0;

/// A signal mask as the kernel keeps it: bit n-1 stands for signal n.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mask(pub u64);

/// The signal state that adieu was started with; the app gets it back.
#[derive(Clone, Copy, Debug)]
pub struct Inherited {
    /// The blocked signals.
    pub mask: Mask,
    /// SIGCHLD was ignored: then waitpid(2) would find no child, so adieu resets it for itself.
    pub ignored_child: bool,
}

/// Blocks every signal. From here on none is lost and none kills.
pub fn hold() -> Inherited {
    let mask = set_mask(Mask(ALL));
    Inherited { mask, ignored_child: reset_child() }
}

/// Sets the mask of the calling thread and returns the one before ([sigprocmask(2)]);
/// async-signal-safe.
///
/// [sigprocmask(2)]: https://man7.org/linux/man-pages/man2/sigprocmask.2.html
pub fn set_mask(mask: Mask) -> Mask {
    let mut before = 0u64;
    // SAFETY: both pointers are to 64-bit words that live through the call, as the size says;
    // libc's wrapper would leave out signals 32 and 33.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask.0,
            &raw mut before,
            KERNEL_SET,
        )
    };
    Mask(before)
}

/// Lets one signal through again.
pub(super) fn release(signal: Signal) {
    set_mask(Mask(ALL & !signal.bit()));
}

/// Whether a signal has arrived that nobody has read yet ([sigpending(2)]).
///
/// [sigpending(2)]: https://man7.org/linux/man-pages/man2/sigpending.2.html
pub(super) fn is_pending(signal: Signal) -> bool {
    let mut pending = 0u64;
    // SAFETY: a pointer to a 64-bit word that lives through the call.
    unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, KERNEL_SET) };
    pending & signal.bit() != 0
}

fn reset_child() -> bool {
    set_disposition(libc::SIGCHLD, libc::SIG_DFL) == libc::SIG_IGN
}

/// Sets what a signal does when it is not blocked, SIG_DFL or SIG_IGN, and returns what it did;
/// async-signal-safe.
pub(super) fn set_disposition(signal: i32, to: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: no handler is installed, only the two constants; nix's version takes a Rust function
    // pointer type and cannot be called between fork and exec without care.
    unsafe { libc::signal(signal, to) }
}

/// Where signals are taken from.
#[derive(Default)]
pub struct Signals {
    /// A signalfd, which the loop can wait for beside others. Opened when there are some: to wait
    /// for signals alone takes one call, and no descriptor.
    descriptor: Option<SignalFd>,
    /// sigtimedwait(2) is refused (seccomp).
    alone_refused: bool,
}

impl Signals {
    /// Nothing is opened yet.
    pub fn new() -> Signals {
        Signals::default()
    }

    /// Whether [`Signals::wait`] can wait for signals alone.
    pub fn waits_alone(&self) -> bool {
        !self.alone_refused
    }

    fn open() -> Option<SignalFd> {
        let mut all = SigSet::empty().as_ref().to_owned();
        // SAFETY: sigset_t is plain data at least 64 bits long, and all-ones is a valid set.
        // sigfillset(3) of glibc leaves out signals 32 and 33.
        unsafe { std::ptr::from_mut(&mut all).cast::<u64>().write(ALL) };
        // SAFETY: every bit pattern is a set of signals.
        let all = unsafe { SigSet::from_sigset_t_unchecked(all) };
        SignalFd::with_flags(&all, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC).ok()
    }

    /// What becomes readable when a signal is there; `None` where there is no signalfd
    /// (RLIMIT_NOFILE, seccomp): the loop then waits in slices.
    pub fn descriptor(&mut self) -> Option<BorrowedFd<'_>> {
        if self.descriptor.is_none() {
            self.descriptor = Signals::open();
        }
        self.descriptor.as_ref().map(SignalFd::as_fd)
    }

    /// The next pending signal, without waiting. Leaves out what adieu's own writes cause (SIGPIPE,
    /// SIGXFSZ).
    pub fn next(&self) -> Option<Arrival> {
        loop {
            let (arrival, own) = match &self.descriptor {
                Some(descriptor) => from_descriptor(descriptor)?,
                None => wait_for_signal(Some(Duration::ZERO)).ok()??,
            };
            if !own {
                return Some(arrival);
            }
        }
    }

    /// Waits without a descriptor, at most for `length`; returns the signal, if one came.
    pub fn wait(&mut self, length: Option<Duration>) -> Option<Arrival> {
        let taken = wait_for_signal(length);
        self.alone_refused = taken.is_err();
        taken.ok()?.filter(|(_, own)| !own).map(|(arrival, _)| arrival)
    }
}

fn from_descriptor(descriptor: &SignalFd) -> Option<(Arrival, bool)> {
    let info = descriptor.read_signal().ok().flatten()?;
    arrival(info.ssi_signo as i32, info.ssi_code, info.ssi_pid as i32, info.ssi_ptr as usize)
}

/// Nothing when the time was over, or on a passing failure; another one is an error.
fn wait_for_signal(length: Option<Duration>) -> Result<Option<(Arrival, bool)>, Errno> {
    let timeout = length.map(TimeSpec::from_duration);
    let timeout = timeout.as_ref().map_or(std::ptr::null(), |timeout| std::ptr::from_ref(timeout.as_ref()));
    // SAFETY: siginfo_t is plain data, for which all-zero is valid.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set, the info and the timeout live through the call; the wrapper would leave out
    // 32 and 33.
    let number = unsafe {
        libc::syscall(libc::SYS_rt_sigtimedwait, &raw const ALL, &raw mut info, timeout, KERNEL_SET)
    };
    match Errno::result(number) {
        Ok(_) => {}
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(errno) => return Err(errno),
    }
    // SAFETY: the kernel has filled in the fields of a signal sent by a process; for others they
    // hold nothing that is used.
    let (pid, value) = unsafe { (info.si_pid(), info.si_value().sival_ptr as usize) };
    Ok(arrival(number as i32, info.si_code, pid, value))
}

/// A signal from the kernel's siginfo, and whether adieu itself caused it.
fn arrival(number: i32, code: i32, pid: i32, value: usize) -> Option<(Arrival, bool)> {
    let signal = Signal::new(number)?;
    let from = if code > 0 { Sender::Kernel } else { Pid::new(pid).map_or(Sender::Outside, Sender::Process) };
    // Anything else from our own pid came from the program that had it before us, by exec.
    let by_writing = [Signal::PIPE, Signal::XFSZ].contains(&signal);
    let own = by_writing && from == Sender::Process(super::own_pid());
    let value = (code == libc::SI_QUEUE).then_some(value);
    Some((Arrival { signal, from, value }, own))
}

/// Sends `signal` to one process ([kill(2)]). A process that is gone is no error; EPERM and EAGAIN
/// are.
///
/// [kill(2)]: https://man7.org/linux/man-pages/man2/kill.2.html
pub fn send(pid: Pid, signal: Signal) -> io::Result<()> {
    answered(kill(pid.number(), signal))
}

/// Sends `signal` to a process group; ESRCH is reported, since a group may not exist yet.
pub fn send_group(group: Pid, signal: Signal) -> io::Result<()> {
    kill(group.number().wrapping_neg(), signal)
}

/// Sends `signal` to every process but ourselves, as the init of a PID namespace may.
pub(super) fn send_everyone(signal: Signal) {
    debug_assert!(super::is_init());
    // ESRCH: nobody is left. EPERM: a process of another user whom we may not signal; the kernel
    // ends it with us.
    let _ = kill(-1, signal);
}

fn kill(pid: i32, signal: Signal) -> io::Result<()> {
    // SAFETY: two integers. nix's kill does not know real-time signals.
    Errno::result(unsafe { libc::kill(pid, signal.number()) }).map(drop).map_err(io::Error::from)
}

/// Queues `signal` with its value ([sigqueue(3)]), so that real-time signals keep number, count,
/// order and value. EAGAIN when the receiver's queue is full (RLIMIT_SIGPENDING).
///
/// [sigqueue(3)]: https://man7.org/linux/man-pages/man3/sigqueue.3.html
pub fn queue(pid: Pid, signal: Signal, value: usize) -> io::Result<()> {
    let value = libc::sigval { sival_ptr: value as *mut libc::c_void };
    // SAFETY: the value is passed by value and never dereferenced. nix has no sigqueue for
    // real-time signals.
    let queued = Errno::result(unsafe { libc::sigqueue(pid.number(), signal.number(), value) });
    answered(queued.map(drop).map_err(io::Error::from))
}

/// How many signals the kernel queues for one user (RLIMIT_SIGPENDING); `None` where it does not
/// say.
pub fn queue_limit() -> Option<usize> {
    // SAFETY: plain data, for which all-zero is valid.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the struct lives through the call. nix does not know this limit.
    Errno::result(unsafe { libc::getrlimit(libc::RLIMIT_SIGPENDING, &raw mut limit) }).ok()?;
    usize::try_from(limit.rlim_cur).ok()
}

/// ESRCH: there is no such process, or no such group.
pub fn is_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::ESRCH)
}

fn answered(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if is_gone(&error) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pure table of names holds what libc and signal-hook say for this machine.
    #[test]
    fn names_and_numbers_are_this_kernels() {
        for signal in (1..32).filter_map(Signal::new) {
            if let Some(name) = signal_hook::low_level::signal_name(signal.number()) {
                assert_eq!(format!("SIG{signal}"), name);
            }
        }
        assert_eq!(Signal::PWR.number(), libc::SIGPWR);
        assert_eq!(Signal::STKFLT.number(), libc::SIGSTKFLT);
        assert_eq!("RTMIN".parse(), Ok(Signal::new(libc::SIGRTMIN()).unwrap()));
    }
}
