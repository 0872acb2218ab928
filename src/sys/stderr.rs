//! Lines to stderr that never hold adieu up.
//!
//! Descriptor 2 is shared with the app and others, so it may not be switched to non-blocking. A
//! pipe or FIFO is written to with RWF_NOWAIT (since Linux 6.4). Where the kernel does not take
//! that, and for a terminal, descriptor 2 is opened once more, non-blocking, through /proc. A
//! socket is sent to with MSG_DONTWAIT. Where none of these works, adieu asks poll(2) before it
//! writes. What cannot be written at once is dropped and counted.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, send};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// A write of at most this many bytes to a pipe is whole or does not happen (PIPE_BUF, pipe(7)).
pub const LONGEST_LINE: usize = 4096;

/// Where lines go.
pub struct Stderr {
    /// Found when there is a line to write.
    destination: Option<Destination>,
    /// Lines dropped since the last one that was written.
    dropped: u64,
    lost: u64,
}

enum Destination {
    /// Nothing to write to.
    Closed,
    /// Shared, and written to with RWF_NOWAIT.
    NoWait,
    /// A description of our own, non-blocking. It lives as long as the process.
    Own(&'static OwnedFd),
    Socket,
    /// Shared: ask first, then write.
    Shared,
    /// A regular file, which never blocks.
    File,
}

impl Stderr {
    /// Nothing is opened before there is a line to write.
    pub fn open() -> Stderr {
        Stderr { destination: None, dropped: 0, lost: 0 }
    }

    /// Writes one line, its newline included, or drops it.
    pub fn write(&mut self, line: &[u8]) {
        let destination = self.destination.get_or_insert_with(Destination::of_descriptor_2);
        if self.dropped > 0 {
            let note = format!("adieu: {} lines lost: stderr was not being read\n", self.dropped);
            if destination.write(note.as_bytes()).is_ok() {
                self.dropped = 0;
            }
        }
        let line = line.get(..LONGEST_LINE).unwrap_or(line);
        if self.dropped > 0 || destination.write(line).is_err() {
            self.dropped = self.dropped.saturating_add(1);
            self.lost = self.lost.saturating_add(1);
        }
    }

    /// How many lines were dropped.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The descriptor of adieu's own that lines go to, once there is one.
    pub fn descriptor(&self) -> Option<BorrowedFd<'static>> {
        match &self.destination {
            Some(Destination::Own(own)) => {
                let own: &'static OwnedFd = own;
                Some(own.as_fd())
            }
            Some(
                Destination::Closed
                | Destination::NoWait
                | Destination::Socket
                | Destination::Shared
                | Destination::File,
            )
            | None => None,
        }
    }
}

impl Destination {
    fn of_descriptor_2() -> Destination {
        let Ok(stat) = fstat(descriptor_2()) else {
            return Destination::Closed;
        };
        match SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT {
            SFlag::S_IFSOCK => Destination::Socket,
            SFlag::S_IFIFO | SFlag::S_IFCHR => Destination::NoWait,
            SFlag::S_IFREG => Destination::File,
            _ => Destination::Shared,
        }
    }

    fn reopened() -> Destination {
        let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        open("/proc/self/fd/2", flags, Mode::empty())
            .map_or(Destination::Shared, |own| Destination::Own(Box::leak(Box::new(own))))
    }

    fn write(&mut self, line: &[u8]) -> Result<(), Errno> {
        match self {
            Destination::Closed => Err(Errno::EBADF),
            Destination::NoWait => match write_no_wait(line) {
                // Not known to the kernel, to this kind of file, or to a seccomp profile.
                Err(Errno::EOPNOTSUPP | Errno::EINVAL | Errno::ENOSYS | Errno::EPERM) => {
                    *self = Destination::reopened();
                    self.write(line)
                }
                written => written,
            },
            Destination::Own(own) => nix::unistd::write(own, line).map(drop),
            Destination::Socket => {
                send(descriptor_2().as_raw_fd(), line, MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL)
                    .map(drop)
            }
            Destination::File => nix::unistd::write(descriptor_2(), line).map(drop),
            Destination::Shared => {
                let mut fds = [PollFd::new(descriptor_2(), PollFlags::POLLOUT)];
                match poll(&mut fds, PollTimeout::ZERO)? {
                    0 => Err(Errno::EAGAIN),
                    _ => nix::unistd::write(descriptor_2(), line).map(drop),
                }
            }
        }
    }
}

/// pwritev2(2), which musl 1.2.3 lacks. The offset -1 stands for where the file is.
fn write_no_wait(line: &[u8]) -> Result<(), Errno> {
    let slices = [IoSlice::new(line)];
    let (offset, flags) = (libc::c_long::from(-1_i8), libc::c_long::from(libc::RWF_NOWAIT));
    // SAFETY: one slice, which lives during the call and has the memory layout of an iovec.
    let written = unsafe { libc::syscall(libc::SYS_pwritev2, 2, slices.as_ptr(), 1, offset, offset, flags) };
    Errno::result(written).map(drop)
}

fn descriptor_2() -> BorrowedFd<'static> {
    // SAFETY: adieu never closes 2 and nothing of its own ever stands there.
    unsafe { BorrowedFd::borrow_raw(2) }
}
