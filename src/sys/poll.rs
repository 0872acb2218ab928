//! The one wait of the loop.

use crate::moment::Moment;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;
use std::os::fd::BorrowedFd;

/// The descriptors to wait for, and for what.
#[derive(Default)]
pub struct PollFds<'a>(Vec<PollFd<'a>>);

impl<'a> PollFds<'a> {
    /// None yet.
    pub fn new() -> PollFds<'a> {
        PollFds::default()
    }

    /// Wake when there is something to read, or a connection to accept.
    pub fn readable(&mut self, descriptor: BorrowedFd<'a>) {
        self.0.push(PollFd::new(descriptor, PollFlags::POLLIN));
    }

    /// Wake when something can be written, or a connection has been made or refused.
    pub fn writable(&mut self, descriptor: BorrowedFd<'a>) {
        self.0.push(PollFd::new(descriptor, PollFlags::POLLOUT));
    }

    /// Waits until a descriptor is ready or the moment `until` has come ([ppoll(2)]); without
    /// either, for ever.
    ///
    /// [ppoll(2)]: https://man7.org/linux/man-pages/man2/poll.2.html
    pub fn wait(&mut self, until: Option<Moment>, now: Moment) {
        let timeout = until.map(|until| TimeSpec::from_duration(until.since(now)));
        // EINTR cannot happen with every signal blocked, ENOMEM passes; both end in one more turn
        // of the loop.
        let _ = ppoll(&mut self.0, timeout, None);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
