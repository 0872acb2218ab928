//! The controlling terminal, if there is one, and its foreground process group.
//!
//! The app gets a process group of its own and, when adieu held it, the foreground: then the
//! terminal's keys reach the app directly, once. For job control adieu stands between the shell,
//! which sees only adieu, and the app.

use super::{own_pid, signals};
use crate::process::Pid;
use crate::signal::Signal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::sys::signal::{SigHandler, Signal as NixSignal};
use nix::sys::stat::Mode;
use nix::unistd::{Pid as NixPid, getpgrp, tcgetpgrp, tcsetpgrp};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

/// A terminal that is open.
pub struct Terminal {
    tty: OwnedFd,
}

impl Terminal {
    /// The controlling terminal: /dev/tty, which works whatever stdin is; where the file is
    /// missing, the first of stdin, stdout, stderr that is one.
    pub fn controlling() -> Option<Terminal> {
        let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let tty = match open("/dev/tty", flags, Mode::empty()) {
            Ok(tty) => Some(tty),
            Err(Errno::ENXIO) => None,
            Err(_) => (0..3).find_map(terminal_at),
        }?;
        tcgetpgrp(&tty).is_ok().then_some(Terminal { tty })
    }

    /// Whether the terminal's keys come to adieu's own process group.
    pub fn is_ours(&self) -> bool {
        tcgetpgrp(&self.tty) == Ok(getpgrp())
    }

    /// Hands the foreground to `group`. SIGTTOU is blocked, so this works from the background, too.
    ///
    /// # Errors
    /// As tcsetpgrp(3) says; EPERM where `group` is not in our session.
    pub fn hand_to(&self, group: Pid) -> io::Result<()> {
        Ok(tcsetpgrp(&self.tty, NixPid::from_raw(group.number()))?)
    }

    /// Takes the foreground back from `group`, if it holds it.
    pub fn take_back_from(&self, group: Pid) {
        if tcgetpgrp(&self.tty) == Ok(NixPid::from_raw(group.number())) {
            // A terminal that has hung up has no foreground to take.
            let _ = tcsetpgrp(&self.tty, getpgrp());
        }
    }

    /// The descriptor that stands for it.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.tty.as_fd()
    }
}

fn terminal_at(fd: i32) -> Option<OwnedFd> {
    // SAFETY: the number is only asked about; a closed one is answered by EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    tcgetpgrp(fd).ok()?;
    let copy = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(3)).ok()?;
    // SAFETY: the descriptor is new and nobody else's.
    Some(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Suspends adieu as its shell expects of a job, and returns when it is resumed. False when no
/// shell could resume it: the kernel discards the signal for an orphaned process group and for PID
/// 1 ([signal(7)], [credentials(7)]).
///
/// [signal(7)]: https://man7.org/linux/man-pages/man7/signal.7.html
/// [credentials(7)]: https://man7.org/linux/man-pages/man7/credentials.7.html
pub fn suspend_self() -> bool {
    // SAFETY: SIG_DFL runs no handler of ours.
    let before = unsafe { nix::sys::signal::signal(NixSignal::SIGTSTP, SigHandler::SigDfl) };
    // Cannot fail: the receiver is ourselves.
    let _ = signals::send(own_pid(), Signal::TSTP);
    let mask = signals::set_mask(signals::Mask(!(1 << (libc::SIGTSTP - 1))));
    // Suspended here, if at all, until SIGCONT.
    signals::set_mask(mask);
    if let Ok(before) = before {
        // SAFETY: what was there before is SIG_DFL or SIG_IGN, as adieu installs no handlers.
        let _ = unsafe { nix::sys::signal::signal(NixSignal::SIGTSTP, before) };
    }
    signals::is_pending(Signal::CONT)
}
