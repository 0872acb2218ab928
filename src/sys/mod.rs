//! Every system call, and every unsafe block but those of the programs' entry.
//!
//! The rest of the crate gets adieu's own types: signals, ends of processes, connections. ESRCH and
//! ECHILD are answers here, not errors.
//!
//! # What could sleep in the kernel, and what bounds it
//!
//! A signal waits until the current turn ends, so nothing in a turn may sleep for long.
//!
//! | call | could wait for | is bounded by |
//! |---|---|---|
//! | ppoll, sigtimedwait | anything | the one deadline; it is where the loop is meant to sleep |
//! | clone of the app | - | nobody waits for its exec but a tenth of a second ([`spawn::app`]); without a descriptor left for a pipe, until it is over |
//! | clone of a helper | - | a copy of our memory: nobody waits for its exec ([`spawn::helper`]) |
//! | execve of the app | a file system that does not answer | happens in the child, which takes the stop's signals as the app would |
//! | execve of a helper | the same | happens in the child; a check's limit gives it up, and no second one is started beside it |
//! | open of /dev/null, pipe2, socket, bind, listen, signalfd, pidfd_open | - | memory alone |
//! | connect, accept, read, write, send, recv, shutdown of sockets | the peer | O_NONBLOCK or MSG_DONTWAIT; a number of calls a turn |
//! | close of our own sockets | the peer, with SO_LINGER | never set on ours |
//! | close of descriptors that others passed, and of duplicates of the app's that linger | the peer, a file server | a process of its own ([`aside`]) |
//! | sock_diag and other netlink | - | the kernel answers while it is asked; the dump's size is bounded by its reader |
//! | reads of /proc | a lock of the process that is looked at | the kernel's own short sections; /proc/PID/cmdline and environ, which can wait for that process's memory, are not read |
//! | kill, sigqueue, waitpid with WNOHANG, getpid, prctl | - | - |
//! | waitpid of an app with threads | the threads, while they clear away their names below /proc/PID/task | they have ended; we never look those names up ([`proc::Thread`]), and on a busy machine an agent that does can hold us up |
//! | waitpid after a failed exec of the app, and of a child that tries a filtered call | the child's end | it has called _exit, or does after calls that do not sleep |
//! | write to stderr | its reader | RWF_NOWAIT, O_NONBLOCK, MSG_DONTWAIT or poll first; dropped and counted ([`stderr`]) |
//! | open, write, rename, unlink of the ready file and the report | the file system that the operator named | nothing; pipes and devices are opened with O_NONBLOCK, and what the app puts there is never followed ([`files`]) |
//! | tcsetpgrp, tcgetpgrp | - | SIGTTOU is blocked |
//! | exit | the memory and descriptors of ours | a socket of a process that exits does not linger |

pub mod aside;
pub mod descriptors;
pub mod duplicate;
pub mod files;
pub mod leftovers;
pub mod memory;
pub mod poll;
pub mod proc;
pub mod proc_net;
pub mod reap;
pub mod signals;
pub mod sock_diag;
pub mod sockets;
pub mod spawn;
pub mod stderr;
pub mod tcp;
pub mod terminal;

/// What the kernel says, by its bytes.
#[cfg(fuzzing)]
pub mod fuzzing {
    pub use super::proc::read_any as stat;
    pub use super::proc_net::read_any as tcp_table;
    pub use super::sock_diag::read_any as kernel_reply;
}

use crate::moment::Moment;
use crate::process::Pid;
use crate::signal::Signal;
use nix::errno::Errno;
use std::io;
use std::time::Duration;

/// The monotonic clock, counted from adieu's start.
#[derive(Clone, Copy)]
pub struct Clock {
    start: Duration,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Clock {
        Clock { start: monotonic_time() }
    }

    /// The time now.
    pub fn now(self) -> Moment {
        Moment::at(monotonic_time().saturating_sub(self.start))
    }
}

/// The kernel's monotonic clock itself, which other processes read too.
pub(crate) fn monotonic_time() -> Duration {
    clock(libc::CLOCK_MONOTONIC)
}

/// The processor time of this thread, in the kernel too.
pub fn processor_time() -> Duration {
    clock(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Reads a clock ([clock_gettime(2)]). By the system call itself: the vDSO's has to be looked up
/// and mapped in first, which takes longer than the few calls of most lives. It takes over where a
/// seccomp profile knows no such call.
///
/// [clock_gettime(2)]: https://man7.org/linux/man-pages/man2/clock_gettime.2.html
fn clock(id: libc::clockid_t) -> Duration {
    // SAFETY: plain data, for which all-zero is valid.
    let mut time: libc::timespec = unsafe { std::mem::zeroed() };
    // The call writes such a struct where a long has 64 bits. SAFETY: it lives through the call.
    #[cfg(target_pointer_width = "64")]
    let refused = unsafe { libc::syscall(libc::SYS_clock_gettime, id, &raw mut time) } != 0;
    #[cfg(not(target_pointer_width = "64"))]
    let refused = true;
    if refused {
        // SAFETY: as above.
        unsafe { libc::clock_gettime(id, &raw mut time) };
    }
    // A clock that every kernel has cannot fail; both numbers are above 0.
    Duration::new(time.tv_sec.unsigned_abs() as u64, time.tv_nsec.unsigned_abs() as u32)
}

/// adieu's own pid.
pub fn own_pid() -> Pid {
    let own = nix::unistd::Pid::this().as_raw();
    // The kernel numbers processes from 1, so the fallback never applies.
    Pid::new(own).unwrap_or(INIT)
}

/// The init of a PID namespace.
pub(crate) const INIT: Pid = Pid::new(1).expect("1 is above 0");

/// Whether adieu is the init of its PID namespace, to which the kernel hands every orphan.
pub fn is_init() -> bool {
    own_pid() == INIT
}

pub use crate::errno::describe;

/// Makes adieu the parent of orphaned descendants ([PR_SET_CHILD_SUBREAPER]).
///
/// [PR_SET_CHILD_SUBREAPER]: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: a prctl with plain integers. nix would retry nothing and add nothing, but for a
    // feature flag more.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) })
        .map(drop)
        .map_err(io::Error::from)
}

/// Whether orphaned descendants go to adieu. An error means that the kernel lacks this (gVisor).
pub fn is_subreaper() -> bool {
    nix::sys::prctl::get_child_subreaper().unwrap_or(false)
}

/// Whether there is such a process, a zombie too.
pub fn exists(pid: Pid) -> bool {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.number()), None) != Err(Errno::ESRCH)
}

/// Asks the kernel to send us `signal` when our parent dies ([PR_SET_PDEATHSIG]).
///
/// [PR_SET_PDEATHSIG]: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
pub fn set_parent_death_signal(signal: Signal) -> io::Result<()> {
    // SAFETY: as above, integers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, signal.number() as libc::c_ulong, 0, 0, 0) })
        .map(drop)
        .map_err(io::Error::from)
}

/// Dies of `signal` as the app did, so that a supervisor sees the same. Returns when that is
/// impossible: as PID 1, and for real-time signals, which signal-hook does not know. No core file
/// is left behind.
pub fn die_of(signal: Signal) {
    use nix::sys::resource::{Resource, setrlimit};
    // A failure leaves a core file of ours, which harms nobody.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    signals::release(signal);
    let number = signal.number();
    if signal == Signal::KILL {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    } else if (1..32).contains(&number) && !is_init() {
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
}

/// Whether a retry may succeed: descriptors or memory have run out.
pub fn is_passing(error: &io::Error) -> bool {
    const PASSING: [i32; 6] =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN, libc::EINTR];
    error.raw_os_error().is_some_and(|errno| PASSING.contains(&errno))
}
