//! On which connections the app waits. A server with a thread for each connection blocks in a read
//! between two requests, and the kernel shows that ([proc_pid_syscall(5)]). Such a connection is
//! idle; one whose thread does something else is not, however long it has been silent. Servers with
//! an event loop do not show this, and have fewer threads than connections. A pass over all threads
//! takes many looks, as an app may have thousands.
//!
//! [proc_pid_syscall(5)]: https://man7.org/linux/man-pages/man5/proc_pid_syscall.5.html

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::time::Duration;

use crate::moment::Moment;
use crate::process::Pid;
use crate::sys;
use crate::sys::proc::{self, Thread};
use crate::sys::tcp::Connection;

/// How many threads are looked at in one look, at some 10 us each.
const PIECE: usize = 256;

/// How many numbers are tried in one look, at some 0.2 us each.
const NUMBERS: usize = 8192;

/// After how many looks that missed threads all numbers are tried, and after how many none any
/// more. Threads come and go while they are counted.
const TRY_ALL: u32 = 4;
const GIVE_UP: u32 = 8;

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
    threads: KnownThreads,
    /// The most connections so far.
    most: usize,
    /// Of this pass, those still to be looked at, and when it began; none while they are searched.
    left: Option<(Vec<Thread>, Moment)>,
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

/// The threads of the app's processes, found by trying numbers, each of them once.
#[derive(Debug, Default)]
struct KnownThreads {
    /// With their processes.
    known: HashMap<Thread, Pid>,
    processes: Vec<Pid>,
    /// The last number that was tried.
    tried: i32,
    /// Where to stop, for once.
    until: Option<i32>,
    /// How often some were missed.
    missed: u32,
}

impl Readers {
    /// Looks at some more threads, if it is time, and if there is one for each connection, of which
    /// there are so many now. `pids` finds the app's processes.
    pub(super) fn go_on(
        &mut self,
        now: Moment,
        connections: usize,
        pids: impl FnOnce() -> io::Result<Vec<Pid>>,
    ) {
        if self.hidden || now < self.next {
            return;
        }
        let Some((left, begun)) = &mut self.left else {
            // The next look tries again.
            let Ok(pids) = pids() else { return };
            let counts = pids.iter().filter_map(|pid| proc::thread_count(*pid).ok());
            self.most = self.most.max(connections);
            if counts.fold(0, usize::saturating_add) < self.most {
                self.next = now + APART;
                return;
            }
            match self.threads.search(pids) {
                Ok(true) => self.left = Some((self.threads.all(), now)),
                Ok(false) => self.hidden = self.threads.missed >= GIVE_UP,
                Err(error) => self.hidden = !sys::is_passing(&error),
            }
            return;
        };
        for _ in 0..PIECE {
            let Some(thread) = left.pop() else { break };
            match thread.reads() {
                Ok(Some(inode)) => {
                    self.seen.insert(inode, now);
                    self.found = true;
                }
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::PermissionDenied => self.hidden = true,
                Err(error) if sys::is_passing(&error) => {}
                Err(_) => self.threads.ended(thread),
            }
        }
        if left.is_empty() {
            let begun = *begun;
            self.passed = Some(begun);
            self.next = now + APART;
            self.left = None;
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

impl KnownThreads {
    /// Tries some more numbers. True when all threads of these processes are known, false when it
    /// is to be called again.
    ///
    /// Errors: no descriptor or memory left; a /proc that does not tell.
    fn search(&mut self, processes: Vec<Pid>) -> io::Result<bool> {
        let Some(first) = processes.iter().map(|pid| pid.number()).min() else { return Ok(false) };
        self.processes = processes;
        if self.tried == 0 && self.until.is_none() {
            self.tried = first.saturating_sub(1);
        }
        let until = self.until.map_or_else(proc::last_number, Ok)?;
        for _ in 0..NUMBERS {
            if self.tried >= until {
                self.until = None;
                return self.is_complete();
            }
            self.tried = self.tried.saturating_add(1);
            self.try_number();
        }
        Ok(false)
    }

    fn try_number(&mut self) {
        let Some(number) = Pid::new(self.tried).filter(|number| sys::exists(*number)) else { return };
        // One that has just ended, or hides.
        let Ok(process) = Thread(number).process() else { return };
        if self.processes.contains(&process) {
            self.known.insert(Thread(number), process);
        }
    }

    /// The kernel counts no more than we know. Numbers may have begun anew.
    fn is_complete(&mut self) -> io::Result<bool> {
        let mut known: HashMap<Pid, usize> = HashMap::new();
        for process in self.known.values() {
            let count = known.entry(*process).or_default();
            *count = count.saturating_add(1);
        }
        let known = |pid: &Pid| known.get(pid).copied().unwrap_or(0);
        if self.processes.iter().all(|pid| proc::thread_count(*pid).is_ok_and(|count| known(pid) >= count)) {
            self.missed = 0;
            return Ok(true);
        }
        self.missed = self.missed.saturating_add(1);
        if self.missed == TRY_ALL {
            self.known.clear();
            self.tried = 0;
            self.until = Some(proc::largest_number()?);
        }
        Ok(false)
    }

    fn all(&self) -> Vec<Thread> {
        self.known.keys().copied().collect()
    }

    fn ended(&mut self, thread: Thread) {
        self.known.remove(&thread);
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
        let mut other = Readers::default();
        for connections in [usize::MAX, 1, 1] {
            other.go_on(now, connections, || Ok(vec![own]));
            now = now + APART;
        }
        assert!(other.threads.known.is_empty(), "it has no thread for each connection");
        while readers.of_inode(inode, Moment::START) != Reading::Yes {
            readers.go_on(now, 1, || Ok(vec![own]));
            now = now + APART;
        }
        assert_eq!(readers.of_inode(inode, now + APART), Reading::Unknown, "data came since");
        assert_eq!(readers.of_inode(u32::MAX, Moment::START), Reading::Elsewhere);
        client.write_all(b"something").unwrap();
        assert_eq!(thread.join().unwrap(), 9);
        for _ in 0..2 {
            now = now + APART;
            readers.go_on(now, 1, || Ok(vec![own]));
        }
        assert_eq!(readers.of_inode(inode, Moment::START), Reading::Elsewhere);
    }

    #[test]
    fn threads_are_found_also_where_numbers_have_begun_anew() {
        let own = crate::sys::own_pid();
        let mut threads = KnownThreads::default();
        let search = |threads: &mut KnownThreads| {
            while !threads.search(vec![own]).unwrap() {
                assert!(threads.missed < GIVE_UP, "some are missed");
            }
            threads.all()
        };
        let (sender, end) = std::sync::mpsc::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            tell.send(nix::unistd::gettid().as_raw()).unwrap();
            end.recv().is_err()
        });
        let late = Thread(Pid::new(told.recv().unwrap()).unwrap());
        let found = search(&mut threads);
        assert!(found.contains(&Thread(own)) && found.contains(&late));
        let mut anew = KnownThreads { tried: i32::MAX, ..KnownThreads::default() };
        assert!(search(&mut anew).contains(&late));
        drop(sender);
        assert!(thread.join().unwrap());
        assert_eq!(late.reads().unwrap_err().kind(), ErrorKind::NotFound);
        threads.ended(late);
        assert!(!threads.all().contains(&late));
    }

    #[test]
    fn where_threads_hide_nothing_is_known_of_readers() {
        let mut readers = Readers::default();
        // The first process of the machine has threads, and none of them has such a number.
        readers.threads.tried = i32::MAX;
        readers.threads.missed = TRY_ALL;
        for _ in 0..GIVE_UP {
            readers.go_on(Moment::START + APART, 1, || Ok(vec![crate::sys::own_pid()]));
        }
        assert!(readers.hidden);
        assert_eq!(readers.of_inode(1, Moment::START), Reading::Unknown);
    }
}
