//! Lines to stderr that never hold adieu up.
//!
//! Descriptor 2 is shared with the app and others, so it may not be switched to non-blocking. A pipe, FIFO or terminal is
//! opened once more, non-blocking, through /proc; a socket is sent to with MSG_DONTWAIT; where neither
//! works, adieu asks poll(2) before it writes. What cannot be written at once is dropped and counted.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

/// A write of at most this many bytes to a pipe is whole or does not happen (PIPE_BUF, pipe(7)).
pub const LONGEST_LINE: usize = 4096;

pub struct Stderr {
    /// Found when there is something to say, which in most lives is never.
    way: Option<Way>,
    /// Lines that nobody could be given since the last one that went out.
    unsaid: u64,
    lost: u64,
}

enum Way {
    /// Nothing to write to.
    Closed,
    /// A description of our own, non-blocking.
    Own(OwnedFd),
    Socket,
    /// Shared: ask first, then write. A regular file never blocks.
    Shared,
}

impl Stderr {
    pub fn open() -> Stderr {
        Stderr { way: None, unsaid: 0, lost: 0 }
    }

    /// Writes one line, its newline included, or drops it.
    pub fn write(&mut self, line: &[u8]) {
        let way = self.way.get_or_insert_with(Way::to_descriptor_2);
        if self.unsaid > 0 {
            let note = format!("adieu: {} lines lost: stderr was not being read\n", self.unsaid);
            if way.write(note.as_bytes()).is_ok() {
                self.unsaid = 0;
            }
        }
        let line = &line[..line.len().min(LONGEST_LINE)];
        if self.unsaid > 0 || way.write(line).is_err() {
            self.unsaid += 1;
            self.lost += 1;
        }
    }

    /// How many lines were dropped.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    pub fn descriptor(&self) -> Option<RawFd> {
        match &self.way {
            Some(Way::Own(own)) => Some(own.as_raw_fd()),
            Some(Way::Closed | Way::Socket | Way::Shared) | None => None,
        }
    }
}

impl Way {
    fn to_descriptor_2() -> Way {
        let Ok(stat) = fstat(two()) else {
            return Way::Closed;
        };
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFSOCK => Way::Socket,
            SFlag::S_IFIFO | SFlag::S_IFCHR => {
                let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
                open("/proc/self/fd/2", flags, Mode::empty()).map_or(Way::Shared, Way::Own)
            }
            _ => Way::Shared,
        }
    }

    fn write(&self, line: &[u8]) -> Result<(), Errno> {
        match self {
            Way::Closed => Err(Errno::EBADF),
            Way::Own(own) => nix::unistd::write(own, line).map(drop),
            Way::Socket => {
                send(two().as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL).map(drop)
            }
            Way::Shared => {
                let mut fds = [PollFd::new(two(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::ZERO)? {
                    0 => Err(Errno::EAGAIN),
                    _ => nix::unistd::write(two(), line).map(drop),
                }
            }
        }
    }
}

fn two() -> BorrowedFd<'static> {
    // SAFETY: adieu never closes 2 and nothing of its own ever stands there.
    unsafe { BorrowedFd::borrow_raw(2) }
}
