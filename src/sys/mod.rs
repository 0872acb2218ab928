//! Every system call and every unsafe block stands behind this door.
//!
//! What comes out are adieu's own words: signals, ends of processes, lines written. ESRCH and ECHILD are
//! answers here, not errors.

pub mod descriptors;
pub mod duplicate;
pub mod leftovers;
pub mod proc;
pub mod proc_net;
pub mod reap;
pub mod signals;
pub mod sock_diag;
pub mod spawn;
pub mod stderr;
pub mod tcp;
pub mod terminal;

use crate::lifecycle::{Moment, Signal};
use nix::errno::Errno;
use nix::poll::PollFd;
use nix::sys::time::TimeSpec;
pub use nix::unistd::Pid;
use std::io;
use std::time::{Duration, Instant};

/// The monotonic clock, counted from adieu's start.
#[derive(Clone, Copy)]
pub struct Clock(Instant);

impl Clock {
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    pub fn now(self) -> Moment {
        self.0.elapsed()
    }
}

/// Waits until one of `fds` is ready or the moment `until` has come ([ppoll(2)]); without either, for ever.
///
/// [ppoll(2)]: https://man7.org/linux/man-pages/man2/poll.2.html
pub fn wait(fds: &mut [PollFd], until: Option<Moment>, now: Moment) {
    let timeout = until.map(|until| TimeSpec::from_duration(until.saturating_sub(now)));
    // EINTR cannot happen with every signal blocked, ENOMEM passes; both end in one more turn of the loop.
    let _ = nix::poll::ppoll(fds, timeout, None);
}

/// Whether adieu is the init of its PID namespace, to which the kernel hands every orphan.
pub fn is_init() -> bool {
    Pid::this().as_raw() == 1
}

/// Makes adieu the one to whom orphaned descendants go ([PR_SET_CHILD_SUBREAPER]).
///
/// [PR_SET_CHILD_SUBREAPER]: https://man7.org/linux/man-pages/man2/PR_SET_CHILD_SUBREAPER.2const.html
pub fn become_subreaper() -> Result<(), Errno> {
    // SAFETY: a prctl with plain integers; nix offers it only together with features that are not needed here.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }).map(drop)
}

/// Whether orphaned descendants go to adieu. An error means a kernel without such a thing (gVisor).
pub fn is_subreaper() -> bool {
    nix::sys::prctl::get_child_subreaper().unwrap_or(false)
}

/// Whether there is such a process, a zombie too.
pub fn exists(pid: Pid) -> bool {
    nix::sys::signal::kill(pid, None) != Err(Errno::ESRCH)
}

/// Asks the kernel to send us `signal` when our parent dies ([PR_SET_PDEATHSIG]).
///
/// [PR_SET_PDEATHSIG]: https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html
pub fn set_parent_death_signal(signal: Signal) -> Result<(), Errno> {
    // SAFETY: as above, integers only.
    Errno::result(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::c_ulong::from(signal.0), 0, 0, 0) })
        .map(drop)
}

/// Dies of `signal` as the app did, so that a supervisor sees the same. Returns when that is impossible: as PID 1,
/// and for real-time signals, which signal-hook does not know. No core file is left behind.
pub fn die_of(signal: Signal) {
    use nix::sys::resource::{Resource, setrlimit};
    // A failure leaves a core file of ours, which harms nobody.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    signals::release(signal);
    let number = i32::from(signal.0);
    if signal == Signal::KILL {
        let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    } else if (1..32).contains(&number) && !is_init() {
        let _ = signal_hook::low_level::emulate_default_handler(number);
    }
}

/// Whether this is no fault of what was asked for, but of this moment: descriptors or memory have run out.
pub fn is_passing(error: &io::Error) -> bool {
    const PASSING: [i32; 6] =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN, libc::EINTR];
    error.raw_os_error().is_some_and(|errno| PASSING.contains(&errno))
}

/// What this thread has spent, in the kernel too; it does not run on while others have the processor.
pub fn processor_time() -> Duration {
    use nix::time::{ClockId, clock_gettime};
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
