//! Sockets as plain values, from `sock_diag` or from `proc_net`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// IPv4, or IPv6 with the IPv4 clients of dual-stack listeners.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6, and the IPv4 clients of dual-stack listeners.
    V6,
}

impl Family {
    /// Both.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];
}

/// Who has to do what next with a connection, by its state ([tcp(7)] and RFC 9293, section 3.3.2).
///
/// [tcp(7)]: https://man7.org/linux/man-pages/man7/tcp.7.html
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TcpState {
    /// Established, and still in its listener's queue: the app has not accepted it.
    Unaccepted,
    /// Established.
    Established,
    /// CLOSE_WAIT: the client has closed its side; it may still await its answer.
    HalfClosed,
    /// The app has closed it; the kernel delivers what is left. FIN_WAIT1, CLOSING, LAST_ACK.
    Closing,
}

/// What one look saw of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sample {
    /// Who has to do what next.
    pub state: TcpState,
    /// Bytes received that the app has not read.
    pub unread: u32,
    /// Bytes sent, or still to be sent, that the client has not acknowledged.
    pub unsent: u32,
    /// None where only the queues are known (/proc/net/tcp).
    pub info: Option<TcpInfo>,
}

/// What `struct tcp_info` (linux/tcp.h) remembers, as far as it is needed. The ages tick in
/// jiffies, 1 to 10 ms by the kernel's build, so that two events in one tick cannot be told apart.
/// Counters of segments wrap around.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TcpInfo {
    /// Since data was last sent; since the connection was made, if none was.
    pub sent_ago: Duration,
    /// Since data was last received; since the connection was made, if none was.
    pub received_ago: Duration,
    /// Since the client last acknowledged anything.
    pub acked_ago: Duration,
    /// Segments with data, sent and received.
    pub data_out: u32,
    /// The same, received.
    pub data_in: u32,
    /// Segments sent without data: acknowledgements of our own, the SYN-ACK.
    pub bare_out: u32,
    /// Segments received without data.
    pub bare_in: u32,
    /// Bytes of data received in order.
    pub bytes_in: u64,
    /// Bytes sent that the client has acknowledged.
    pub bytes_out: u64,
    /// The largest segment that may be sent, in bytes.
    pub mss: u32,
}

/// A connection's name, good for asking the kernel about it again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SocketId {
    /// Its address family.
    pub family: Family,
    /// Unique for the life of the machine. Read from /proc/net, which knows none, a hash of the two
    /// ends.
    pub cookie: u64,
    /// The app's end and the client's. An IPv4-mapped address is given as the socket has it.
    pub local: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
    /// The interface it is bound to; 0 for none.
    pub interface: u32,
}

/// A listening TCP socket.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    /// Its address family.
    pub family: Family,
    /// An IPv4-mapped address is given as IPv4.
    pub addr: IpAddr,
    /// Its port.
    pub port: u16,
    /// Its inode, as in /proc/PID/fd.
    pub inode: u32,
    /// Its owner.
    pub uid: u32,
    /// How many connections wait to be accepted.
    pub backlog: u32,
}

/// A connected TCP socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection {
    /// Its name for the kernel.
    pub id: SocketId,
    /// 0 while it is in its listener's queue, and after its process has closed it.
    pub inode: u32,
    /// Its owner.
    pub uid: u32,
    /// What was seen of it.
    pub sample: Sample,
}

/// A unix stream socket, listening or connected.
#[derive(Clone, Debug)]
pub struct UnixSocket {
    /// Its inode, as in /proc/PID/fd.
    pub inode: u32,
    /// Unique for the life of the machine.
    pub cookie: u64,
    /// The path or abstract name; a connection accepted by a server carries its listener's.
    pub name: Vec<u8>,
    /// None for a listener, and when the peer is gone.
    pub peer: Option<u32>,
    /// A listener's connections not yet accepted; bytes received and not read.
    pub unread: u32,
    /// Bytes the peer has not read; of no meaning for a listener.
    pub unsent: u32,
}

/// The uid where the kernel does not give one: (uid_t) -1, which no user has.
pub const NO_UID: u32 = u32::MAX;

/// By the numbers of include/net/tcp_states.h; None for states in which nothing is left to do. A
/// socket without an inode has no file: not yet accepted, or closed.
pub(super) fn state(number: u8, inode: u32) -> Option<TcpState> {
    use netlink_packet_sock_diag::constants as c;
    match (number, inode) {
        (c::TCP_ESTABLISHED | c::TCP_CLOSE_WAIT, 0) => Some(TcpState::Unaccepted),
        (c::TCP_ESTABLISHED, _) => Some(TcpState::Established),
        (c::TCP_CLOSE_WAIT, _) => Some(TcpState::HalfClosed),
        (c::TCP_FIN_WAIT1 | c::TCP_CLOSING | c::TCP_LAST_ACK, _) => Some(TcpState::Closing),
        _ => None,
    }
}

/// Bytes in the two queues, as (unread, unsent), from the kernel's numbers, which count a FIN as
/// one byte.
pub(super) fn queues(state: TcpState, unread: u32, unsent: u32) -> (u32, u32) {
    match state {
        // Unaccepted, it may be established or half closed; as it is in flight in any case, one
        // byte more or less does not matter.
        TcpState::Established | TcpState::Unaccepted => (unread, unsent),
        TcpState::HalfClosed => (unread.saturating_sub(1), unsent),
        // No process reads any more.
        TcpState::Closing => (0, unsent.saturating_sub(1)),
    }
}

/// Bytes of data received, from the kernel's number, which counts a FIN as one.
pub(super) fn bytes_in(number: u8, received: u64) -> u64 {
    use netlink_packet_sock_diag::constants as c;
    match number {
        c::TCP_CLOSE_WAIT | c::TCP_CLOSING | c::TCP_LAST_ACK => received.saturating_sub(1),
        _ => received,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_sock_diag::constants::*;

    #[test]
    fn a_fin_is_no_byte() {
        assert_eq!(queues(TcpState::HalfClosed, 1, 0), (0, 0));
        assert_eq!(queues(TcpState::HalfClosed, 6, 2), (5, 2));
        assert_eq!(queues(TcpState::Closing, 0, 1), (0, 0));
        assert_eq!(queues(TcpState::Closing, 0, 8), (0, 7));
        assert_eq!(queues(TcpState::Established, 1, 1), (1, 1));
        assert_eq!([TCP_ESTABLISHED, TCP_CLOSE_WAIT].map(|state| bytes_in(state, 81)), [81, 80]);
    }

    #[test]
    fn what_has_no_inode_was_never_accepted_or_is_closed() {
        assert_eq!(state(TCP_ESTABLISHED, 0), Some(TcpState::Unaccepted));
        assert_eq!(state(TCP_CLOSE_WAIT, 0), Some(TcpState::Unaccepted));
        assert_eq!(state(TCP_ESTABLISHED, 7), Some(TcpState::Established));
        assert_eq!(state(TCP_LAST_ACK, 0), Some(TcpState::Closing));
        assert_eq!(state(TCP_LISTEN, 7), None);
    }
}
