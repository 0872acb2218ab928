//! Unix sockets have queues but no clocks. Bytes in a queue are in flight. A connection with empty
//! queues may wait for an answer or for nothing, so it counts as in flight until nothing has moved
//! on it for `--drain-longest`. Pure.

use std::collections::HashMap;
use std::time::Duration;

use crate::moment::Moment;
use crate::sys::tcp::UnixSocket;

#[derive(Debug)]
pub(super) struct UnixConnections {
    longest: Duration,
    entries: HashMap<u64, UnixConnection>,
    look: u64,
}

#[derive(Debug)]
struct UnixConnection {
    /// When it was first seen, or last seen with something in a queue.
    moved: Moment,
    look: u64,
}

impl UnixConnections {
    pub(super) fn new(longest: Duration) -> UnixConnections {
        UnixConnections { longest, entries: HashMap::new(), look: 0 }
    }

    pub(super) fn begin_look(&mut self) {
        self.look = self.look.wrapping_add(1);
    }

    /// Enters one connection; true if it is in flight.
    pub(super) fn enter(&mut self, now: Moment, socket: &UnixSocket) -> bool {
        let entry = self.entries.entry(socket.cookie).or_insert(UnixConnection { moved: now, look: 0 });
        entry.look = self.look;
        // Without a peer no client can get the answer.
        if socket.unread > 0 || socket.unsent > 0 && socket.peer.is_some() {
            entry.moved = now;
            return true;
        }
        socket.peer.is_some() && now.since(entry.moved) < self.longest
    }

    pub(super) fn remove_unseen(&mut self) {
        let look = self.look;
        self.entries.retain(|_, entry| entry.look == look);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUIET: UnixSocket =
        UnixSocket { inode: 5, cookie: 9, name: vec![], peer: Some(6), unread: 0, unsent: 0 };

    fn at(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    #[test]
    fn a_quiet_connection_is_idle_after_the_longest_request() {
        let mut connections = UnixConnections::new(at(10).since_start());
        assert!(connections.enter(at(1), &QUIET));
        assert!(connections.enter(at(10), &QUIET));
        assert!(!connections.enter(at(11), &QUIET));
        assert!(connections.enter(at(12), &UnixSocket { unread: 4, ..QUIET }));
        assert!(connections.enter(at(21), &QUIET), "something moved at 12");
        assert!(!connections.enter(at(22), &QUIET));
    }

    #[test]
    fn without_a_peer_only_unread_bytes_count() {
        let mut connections = UnixConnections::new(at(10).since_start());
        assert!(!connections.enter(at(1), &UnixSocket { peer: None, ..QUIET }));
        assert!(connections.enter(at(1), &UnixSocket { peer: None, unread: 1, ..QUIET }));
    }

    #[test]
    fn the_gone_are_forgotten() {
        let mut connections = UnixConnections::new(at(10).since_start());
        connections.begin_look();
        connections.enter(at(1), &QUIET);
        connections.begin_look();
        connections.remove_unseen();
        assert!(connections.entries.is_empty());
    }
}
