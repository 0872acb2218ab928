//! On which connections the app waits. A server with a thread for each connection blocks in a read
//! between two requests, and the kernel shows that ([proc_pid_syscall(5)]). Such a connection is
//! idle; one whose thread does something else is not, however long it has been silent. Servers with
//! an event loop do not show this. A pass over all threads takes many looks, as an app may have
//! thousands.
//!
//! [proc_pid_syscall(5)]: https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use crate::moment::Moment;
use crate::process::Pid;
use crate::sys::proc::{self, Thread};
use crate::sys::tcp::Connection;

/// How many threads are looked at in one look, at some 10 us each.
const PIECE: usize = 256;

/// From the end of a pass to the next.
const APART: Duration = Duration::from_millis(500);

/// The longest tick of the kernel's clock: events closer together have no order.
const TICK: Duration = Duration::from_millis(10);

/// Whether a thread of the app blocks in a read on a connection.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Reading {
    /// Not looked at since data last came or went.
    #[default]
    Unknown,
    /// One does.
    Yes,
    /// None did, when all were looked at, and none ever did on any connection of the app's.
    No,
    /// None did on this one, while others were read from.
    Elsewhere,
}

#[derive(Debug, Default)]
pub(super) struct Readers {
    /// When this pass began, and the threads still to be looked at.
    left: Vec<Thread>,
    begun: Moment,
    next: Moment,
    /// When the last complete pass began.
    passed: Option<Moment>,
    /// By inode of the socket, when its reader was last seen.
    seen: HashMap<u32, Moment>,
    /// A reader was seen at some time.
    found: bool,
    /// The kernel does not show it.
    hidden: bool,
}

impl Readers {
    /// Looks at some more threads, if it is time. `pids` finds the app's processes.
    pub(super) fn go_on(&mut self, now: Moment, pids: impl FnOnce() -> io::Result<Vec<Pid>>) {
        if self.hidden || now < self.next {
            return;
        }
        if self.left.is_empty() {
            // The next look tries again.
            let Ok(pids) = pids() else { return };
            self.left = pids.into_iter().filter_map(|pid| proc::threads_of(pid).ok()).flatten().collect();
            self.begun = now;
        }
        for _ in 0..PIECE {
            let Some(thread) = self.left.pop() else { break };
            match thread.reads() {
                Ok(Some(inode)) => {
                    self.seen.insert(inode, now);
                    self.found = true;
                }
                Ok(None) => {}
                Err(error) => self.hidden = error.kind() == io::ErrorKind::PermissionDenied,
            }
        }
        if self.left.is_empty() {
            self.passed = Some(self.begun);
            self.next = now + APART;
            let begun = self.begun;
            self.seen.retain(|_, seen| *seen >= begun);
        }
    }

    /// What is known of this connection.
    pub(super) fn of(&self, now: Moment, connection: &Connection) -> Reading {
        let moved = connection.sample.info.map(|info| now - info.sent_ago.min(info.received_ago));
        moved.map_or(Reading::Unknown, |moved| self.of_inode(connection.inode, moved))
    }

    /// Of the one with this inode, on which data last came or went then.
    fn of_inode(&self, inode: u32, moved: Moment) -> Reading {
        let after = |then: Moment| then.since(moved) > TICK;
        match self.seen.get(&inode) {
            Some(seen) if after(*seen) => Reading::Yes,
            _ if self.passed.is_some_and(after) && self.found => Reading::Elsewhere,
            _ if self.passed.is_some_and(after) => Reading::No,
            _ => Reading::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_thread_that_waits_for_its_client_is_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (idle, _other) = (server.try_clone().unwrap(), listener);
        let path = format!("/proc/self/fd/{}", idle.as_raw_fd());
        let inode = u32::try_from(std::fs::metadata(path).unwrap().ino()).unwrap();
        let thread = std::thread::spawn(move || server.read(&mut [0; 9]).unwrap());
        let mut readers = Readers::default();
        let (own, mut now) = (crate::sys::own_pid(), Moment::START + APART);
        assert_eq!(readers.of_inode(inode, Moment::START), Reading::Unknown);
        while readers.of_inode(inode, Moment::START) != Reading::Yes {
            readers.go_on(now, || Ok(vec![own]));
            now = now + APART;
        }
        assert_eq!(readers.of_inode(inode, now + APART), Reading::Unknown, "data came since");
        assert_eq!(readers.of_inode(u32::MAX, Moment::START), Reading::Elsewhere);
        client.write_all(b"something").unwrap();
        assert_eq!(thread.join().unwrap(), 9);
        for _ in 0..2 {
            now = now + APART;
            readers.go_on(now, || Ok(vec![own]));
        }
        assert_eq!(readers.of_inode(inode, Moment::START), Reading::Elsewhere);
    }
}
