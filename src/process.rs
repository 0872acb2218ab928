//! Processes as the kernel names them: by a number while they live, by an exit once they have
//! ended. Pure.

use std::fmt;

use crate::signal::Signal;

/// A process by its number in our PID namespace. Never 0 and never negative, which kill(2) takes
/// for groups.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Pid(i32);

impl Pid {
    /// A process by its number; `None` for 0 and below.
    pub const fn new(number: i32) -> Option<Pid> {
        if number > 0 { Some(Pid(number)) } else { None }
    }

    /// Its number.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a process ended, as [waitpid(2)] tells it.
///
/// [waitpid(2)]: https://man7.org/linux/man-pages/man2/waitpid.2.html
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Exit {
    /// It called exit with this status.
    Status(u8),
    /// It died of this signal.
    Killed(Signal),
}

impl Exit {
    /// The status a shell would show: n, or 128+n for a death by signal n.
    pub fn code(self) -> u8 {
        match self {
            Exit::Status(status) => status,
            // At most 128 + 64.
            Exit::Killed(signal) => (signal.number() as u8).saturating_add(128),
        }
    }
}
