//! Where the kernel answers no sock_diag (gVisor, a strict seccomp profile, an app in a network
//! namespace of its own), /proc/PID/net/tcp and tcp6 ([proc_pid_net(5)]) still list its sockets
//! with their queues. They have no clocks, so every established connection counts as in flight, and
//! the drain lasts until clients hang up.
//!
//! [proc_pid_net(5)]: https://man7.org/linux/man-pages/man5/proc_pid_net.5.html

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::process::Pid;
use netlink_packet_sock_diag::constants::TCP_LISTEN;

use super::proc;
use super::tcp::{self, Connection, Family, Listener, Sample, SocketId};

/// One line of the table.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Row {
    local: SocketAddr,
    remote: SocketAddr,
    state: u8,
    unsent: u32,
    unread: u32,
    uid: u32,
    inode: u32,
}

/// The TCP sockets of the network namespace in which `app` lives. Errors: EMFILE; ENOENT without a
/// /proc.
pub fn read(app: Pid) -> io::Result<(Vec<Listener>, Vec<Connection>)> {
    let (mut listeners, mut connections) = (vec![], vec![]);
    for family in Family::BOTH {
        let table = match (family, fs::read_to_string(path(app, family))) {
            // A kernel without IPv6.
            (Family::V6, Err(error)) if error.kind() == io::ErrorKind::NotFound => continue,
            // No process has our app's pid there.
            (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(if proc::is_of_another_namespace()? { proc::another_namespace() } else { error });
            }
            (_, table) => table?,
        };
        for row in table.lines().skip(1).filter_map(parse) {
            if row.state == TCP_LISTEN {
                listeners.push(listener(family, &row));
            } else {
                connections.extend(connection(family, &row));
            }
        }
    }
    Ok((listeners, connections))
}

fn path(app: Pid, family: Family) -> String {
    match family {
        Family::V4 => format!("/proc/{app}/net/tcp"),
        Family::V6 => format!("/proc/{app}/net/tcp6"),
    }
}

fn listener(family: Family, row: &Row) -> Listener {
    let (addr, port) = (row.local.ip(), row.local.port());
    // A listener's receive queue is its accept queue.
    Listener { family, addr, port, inode: row.inode, uid: row.uid, backlog: row.unread }
}

fn connection(family: Family, row: &Row) -> Option<Connection> {
    let state = tcp::state(row.state, row.inode)?;
    let (unread, unsent) = tcp::queues(state, row.unread, row.unsent);
    let mut hasher = DefaultHasher::new();
    (row.local, row.remote).hash(&mut hasher);
    let sample = Sample { state, unread, unsent, info: None };
    let id = SocketId { family, cookie: hasher.finish(), local: row.local, remote: row.remote, interface: 0 };
    Some(Connection { id, inode: row.inode, uid: row.uid, sample })
}

/// `sl local:port remote:port state unsent:unread timer:when retransmits uid timeout inode ...`,
/// all but uid and inode in hex.
fn parse(line: &str) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = address(fields.next()?)?;
    let remote = address(fields.next()?)?;
    let state = u8::from_str_radix(fields.next()?, 16).ok()?;
    let (unsent, unread) = fields.next()?.split_once(':')?;
    let mut fields = fields.skip(2);
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let hex = |digits| u32::from_str_radix(digits, 16).ok();
    Some(Row { local, remote, state, unsent: hex(unsent)?, unread: hex(unread)?, uid, inode })
}

/// Any text as a table of /proc/PID/net.
#[cfg(fuzzing)]
pub fn read_any(table: &str) {
    for row in table.lines().filter_map(parse) {
        for family in Family::BOTH {
            let _ = (listener(family, &row), connection(family, &row));
        }
    }
}

/// `0100007F:1F90`: words of the address as the machine keeps numbers, the port as one reads it.
fn address(text: &str) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |n: usize| {
        Some(u32::from_str_radix(words.get(n.checked_mul(8)?..)?.get(..8)?, 16).ok()?.to_ne_bytes())
    };
    let addr: IpAddr = match words.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            let bytes: [u8; 16] = bytes.try_into().ok()?;
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(addr.to_canonical(), port))
}

#[cfg(test)]
mod tests {
    use super::super::tcp::TcpState;
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_ipv4_is_read() {
        let line = "  12: 0100007F:1F90 0200007F:C350 01 00000005:00000007 00:00000000 00000000  1000        0 98765 1 0000 100 0 0 10 0";
        let row = parse(line).unwrap();
        assert_eq!(row.local, ([127, 0, 0, 1], 8080).into());
        assert_eq!(row.remote, ([127, 0, 0, 2], 50000).into());
        assert_eq!((row.state, row.unsent, row.unread, row.uid, row.inode), (1, 5, 7, 1000, 98765));
        assert_eq!(connection(Family::V4, &row).unwrap().sample.state, TcpState::Established);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_dual_stack_client_is_read_as_ipv4() {
        let addr = address("0000000000000000FFFF00000100007F:0050").unwrap();
        assert_eq!(addr, ([127, 0, 0, 1], 80).into());
        let addr = address("00000000000000000000000001000000:0050").unwrap();
        assert_eq!(addr.ip(), IpAddr::from(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn a_torn_line_is_nothing() {
        for line in
            ["", "  sl  local_address", "1: 0100007F:1F90 02", "1: zz:1F90 0200007F:C350 01 0:0 0 0 0 0 0"]
        {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
