//! Sockets from the kernel, over NETLINK_SOCK_DIAG ([sock_diag(7)]). It needs no capability and no
//! file system, works under a container's default seccomp profile, and the kernel answers while the
//! request is sent: nothing here ever waits. A dump walks the kernel's table of all namespaces, so
//! its cost grows with that table; the filter on ports saves the copying. One connection, asked for
//! by its exact name, costs microseconds whatever the table's size.
//!
//! [sock_diag(7)]: https://man7.org/linux/man-pages/man7/sock_diag.7.html

use std::io::{self, Error, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use netlink_packet_core::{DefaultNla, Emitable, NetlinkBuffer, NetlinkHeader, NlasIterator, Parseable};
use netlink_packet_sock_diag::constants::*;
use netlink_packet_sock_diag::inet::{self, ExtensionFlags, InetRequest, InetResponseHeader, StateFlags};
use netlink_packet_sock_diag::unix;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::processor_time;
use super::tcp::{self, Connection, Family, Listener, Sample, SocketId, TcpInfo, UnixSocket};

const HEADER: usize = 16;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_DUMP: u16 = 0x300;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const INET_DIAG_REQ_BYTECODE: u16 = 1;

/// The kernel fills at most this much at a time (netlink_dump in net/netlink/af_netlink.c).
const BUFFER: usize = 32 * 1024;

/// Established, or closed with something still to be delivered.
const CONNECTED: u32 =
    1 << TCP_ESTABLISHED | 1 << TCP_CLOSE_WAIT | 1 << TCP_FIN_WAIT1 | 1 << TCP_CLOSING | 1 << TCP_LAST_ACK;

/// Which ports a dump is about; no port means all.
#[derive(Clone, Copy, Debug)]
pub enum Ports<'a> {
    /// Ports of our own end.
    Local(&'a [u16]),
    /// Ports of the other end.
    Remote(&'a [u16]),
}

/// A NETLINK_SOCK_DIAG socket; one descriptor, close-on-exec.
pub struct SockDiag {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
}

impl SockDiag {
    /// Errors: EMFILE and ENFILE without descriptors; EPERM, EACCES, EPROTONOSUPPORT, EAFNOSUPPORT
    /// where the kernel has or allows no sock_diag.
    pub fn open() -> io::Result<SockDiag> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket =
            socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
        Ok(SockDiag { socket, buffer: vec![0; BUFFER], sequence: 0 })
    }

    /// All listening TCP sockets of the network namespace.
    pub fn listeners(&mut self) -> io::Result<Vec<Listener>> {
        let mut found = vec![];
        for family in Family::BOTH {
            let request = inet_request(family, 1 << TCP_LISTEN, any_socket(family), ExtensionFlags::empty());
            self.dump(&emit(&request), &[], |payload| {
                if let Ok(header) = InetResponseHeader::parse(payload) {
                    found.push(listener(family, &header));
                }
            })?;
        }
        Ok(found)
    }

    /// All connections of one family on those ports.
    pub fn connections(
        &mut self,
        family: Family,
        ports: Ports,
        each: impl FnMut(Connection),
    ) -> io::Result<()> {
        self.begin_connections(family, ports)?;
        self.take_connections(family, Duration::MAX, each).map(|_| ())
    }

    /// Asks for all connections of one family on those ports, which are then to be taken to the
    /// end.
    pub fn begin_connections(&mut self, family: Family, ports: Ports) -> io::Result<()> {
        let mut id = any_socket(family);
        let mut filter = vec![];
        match ports {
            Ports::Local([port]) => id.source_port = *port,
            Ports::Remote([port]) => id.destination_port = *port,
            Ports::Local(ports) => filter = program(INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE, ports),
            Ports::Remote(ports) => filter = program(INET_DIAG_BC_D_GE, INET_DIAG_BC_D_LE, ports),
        }
        let request = inet_request(family, CONNECTED, id, ExtensionFlags::INFO);
        self.ask_for(&emit(&request), &filter, NLM_F_DUMP)
    }

    /// Takes those that were asked for, for so much processor time and a little more. True when
    /// there are no more.
    pub fn take_connections(
        &mut self,
        family: Family,
        piece: Duration,
        mut each: impl FnMut(Connection),
    ) -> io::Result<bool> {
        self.take(NLM_F_DUMP, piece, |payload| each_connection(family, payload, &mut each))
    }

    /// One connection, by the name that an earlier look gave; None when it is gone.
    pub fn ask(&mut self, id: &SocketId) -> io::Result<Option<Connection>> {
        let request = inet_request(id.family, CONNECTED, netlink_id(id), ExtensionFlags::INFO);
        let mut found = None;
        let asked = self.exchange(&emit(&request), &[], 0, |payload| {
            each_connection(id.family, payload, &mut |connection| found = Some(connection));
        });
        match asked {
            Ok(()) => Ok(found),
            // Not there any more (ESTALE: another has its name).
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Unix stream sockets that listen, or those that are connected.
    pub fn unix(&mut self, listening: bool) -> io::Result<Vec<UnixSocket>> {
        let request = unix::UnixRequest {
            state_flags: if listening { unix::StateFlags::LISTEN } else { unix::StateFlags::ESTABLISHED },
            inode: 0,
            show_flags: unix::ShowFlags::NAME | unix::ShowFlags::PEER | unix::ShowFlags::RQLEN,
            cookie: [0; 8],
        };
        let mut found = vec![];
        self.dump(&emit(&request), &[], |payload| {
            if let Ok(response) = unix::UnixResponse::parse(payload) {
                found.push(unix_socket(&response));
            }
        })?;
        Ok(found)
    }

    fn dump(&mut self, request: &[u8], filter: &[u8], each: impl FnMut(&[u8])) -> io::Result<()> {
        self.exchange(request, filter, NLM_F_DUMP, each)
    }

    /// Sends a request and hands each answer's payload to `each`.
    fn exchange(
        &mut self,
        request: &[u8],
        filter: &[u8],
        flags: u16,
        each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.ask_for(request, filter, flags)?;
        self.take(flags, Duration::MAX, each).map(|_| ())
    }

    fn ask_for(&mut self, request: &[u8], filter: &[u8], flags: u16) -> io::Result<()> {
        self.sequence = self.sequence.wrapping_add(1);
        let message = message(request, filter, flags, self.sequence);
        send(self.socket.as_raw_fd(), &message, MsgFlags::empty())?;
        Ok(())
    }

    /// The kernel has the next part ready whenever the last was taken, so that EAGAIN is an error
    /// and not a reason to wait. True when there is no more.
    fn take(&mut self, flags: u16, piece: Duration, mut each: impl FnMut(&[u8])) -> io::Result<bool> {
        let begun = (piece < Duration::MAX).then(processor_time);
        loop {
            let length = match recv(self.socket.as_raw_fd(), &mut self.buffer, MsgFlags::MSG_DONTWAIT) {
                Err(nix::Error::EINTR) => continue,
                other => other?,
            };
            match read_datagram(self.buffer.get(..length).unwrap_or_default(), self.sequence, &mut each)? {
                NetlinkReply::More if flags & NLM_F_DUMP != 0 => {}
                NetlinkReply::More | NetlinkReply::Done => return Ok(true),
                // Left over from an exchange that an error ended.
                NetlinkReply::Stale => {}
            }
            if begun.is_some_and(|begun| processor_time().saturating_sub(begun) >= piece) {
                return Ok(false);
            }
        }
    }
}

enum NetlinkReply {
    More,
    Done,
    Stale,
}

fn read_datagram(mut rest: &[u8], sequence: u32, each: &mut impl FnMut(&[u8])) -> io::Result<NetlinkReply> {
    let mut result = NetlinkReply::Stale;
    while rest.len() >= HEADER {
        let message = NetlinkBuffer::new_checked(rest)
            .map_err(|error| Error::new(ErrorKind::InvalidData, error.to_string()))?;
        let length = message.length() as usize;
        if message.sequence_number() == sequence {
            result = NetlinkReply::More;
            match message.message_type() {
                // The error of a failed dump. Read as an empty dump it would look idle.
                NLMSG_DONE => return outcome(message.payload()),
                NLMSG_ERROR => return outcome(message.payload()),
                SOCK_DIAG_BY_FAMILY => each(message.payload()),
                _ => {}
            }
        }
        // Messages are padded to four bytes; the last need not be.
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(result)
}

/// Any bytes as the kernel's reply to any of our requests.
#[cfg(fuzzing)]
pub fn read_any(reply: &[u8]) {
    // The sequence number of a reply that is ours stands in its ninth byte and after.
    let sequence = reply.get(8..12).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let _ = read_datagram(reply, sequence, &mut |payload| {
        for family in Family::BOTH {
            each_connection(family, payload, &mut |_| {});
            let _ = InetResponseHeader::parse(payload).map(|header| listener(family, &header));
        }
        let _ = unix::UnixResponse::parse(payload).map(|response| unix_socket(&response));
    });
}

/// `struct nlmsgerr` begins with a negative errno, and so does the end of a dump; 0 is success.
fn outcome(payload: &[u8]) -> io::Result<NetlinkReply> {
    let code = payload.first_chunk().map(|code| i32::from_ne_bytes(*code));
    match code {
        Some(0) => Ok(NetlinkReply::Done),
        Some(code) if code < 0 => Err(Error::from_raw_os_error(code.checked_neg().unwrap_or(libc::EPROTO))),
        Some(_) | None => Err(Error::from_raw_os_error(libc::EPROTO)),
    }
}

fn message(request: &[u8], filter: &[u8], flags: u16, sequence_number: u32) -> Vec<u8> {
    let mut attribute = vec![];
    if !filter.is_empty() {
        attribute = emit(&DefaultNla::new(INET_DIAG_REQ_BYTECODE, filter.to_vec()));
    }
    let mut header = NetlinkHeader::default();
    let length = HEADER.saturating_add(request.len()).saturating_add(attribute.len());
    header.length = u32::try_from(length).unwrap_or(u32::MAX);
    header.message_type = SOCK_DIAG_BY_FAMILY;
    header.flags = NLM_F_REQUEST | flags;
    header.sequence_number = sequence_number;
    [emit(&header), request.to_vec(), attribute].concat()
}

fn emit(request: &impl Emitable) -> Vec<u8> {
    let mut bytes = vec![0; request.buffer_len()];
    request.emit(&mut bytes);
    bytes
}

fn family_number(family: Family) -> u8 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

fn any_socket(family: Family) -> inet::SocketId {
    match family {
        Family::V4 => inet::SocketId::new_v4(),
        Family::V6 => inet::SocketId::new_v6(),
    }
}

fn netlink_id(id: &SocketId) -> inet::SocketId {
    inet::SocketId {
        source_port: id.local.port(),
        destination_port: id.remote.port(),
        source_address: id.local.ip(),
        destination_address: id.remote.ip(),
        interface_id: id.interface,
        cookie: id.cookie.to_ne_bytes(),
    }
}

fn socket_id(family: Family, id: &inet::SocketId) -> SocketId {
    SocketId {
        family,
        cookie: u64::from_ne_bytes(id.cookie),
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: SocketAddr::new(id.destination_address, id.destination_port),
        interface: id.interface_id,
    }
}

fn inet_request(
    family: Family,
    states: u32,
    socket_id: inet::SocketId,
    extensions: ExtensionFlags,
) -> InetRequest {
    let states = StateFlags::from_bits_truncate(states);
    InetRequest { family: family_number(family), protocol: IPPROTO_TCP, extensions, states, socket_id }
}

const INET_DIAG_BC_JMP: u8 = 1;
const INET_DIAG_BC_S_GE: u8 = 2;
const INET_DIAG_BC_S_LE: u8 = 3;
const INET_DIAG_BC_D_GE: u8 = 4;
const INET_DIAG_BC_D_LE: u8 = 5;

/// The kernel checks a program in steps that grow with the square of its length; beyond this many
/// ranges everything is dumped, and the caller filters.
const RANGES: usize = 64;

/// A filter program for the kernel (linux/inet_diag.h): is the port one of these? Each operation is
/// `code, yes, no` with byte offsets of where to go next; ending exactly at the end accepts, four
/// bytes beyond it rejects. Nothing means all: for no ports, and for so many that a program would
/// not pay.
fn program(at_least: u8, at_most: u8, ports: &[u16]) -> Vec<u8> {
    const RANGE: u16 = 20;
    let ranges = ranges(ports);
    if ranges.len() > RANGES {
        return vec![];
    }
    let mut bytes = vec![];
    let mut op = |code: u8, yes: u8, no: u16| {
        bytes.extend([code, yes]);
        bytes.extend(no.to_ne_bytes());
    };
    // Down to 0: how many bytes of program lie behind each range.
    let behind = (0..ranges.len() as u16).rev().map(|left| left.saturating_mul(RANGE));
    for ((low, high), behind) in ranges.into_iter().zip(behind) {
        op(at_least, 8, RANGE);
        op(0, 0, low);
        op(at_most, 8, 12);
        op(0, 0, high);
        if behind > 0 {
            op(INET_DIAG_BC_JMP, 4, behind);
        }
    }
    bytes
}

/// The ports as ranges, both ends included.
fn ranges(ports: &[u16]) -> Vec<(u16, u16)> {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    let mut ranges: Vec<(u16, u16)> = vec![];
    for port in ports {
        match ranges.last_mut() {
            Some((_, high)) if port <= high.saturating_add(1) => *high = port,
            _ => ranges.push((port, port)),
        }
    }
    ranges
}

fn listener(family: Family, header: &InetResponseHeader) -> Listener {
    let id = &header.socket_id;
    let addr = id.source_address.to_canonical();
    Listener {
        family,
        addr,
        port: id.source_port,
        inode: header.inode,
        uid: header.uid,
        backlog: header.recv_queue,
    }
}

fn each_connection(family: Family, payload: &[u8], each: &mut impl FnMut(Connection)) {
    let Ok(header) = InetResponseHeader::parse(payload) else {
        return;
    };
    let Some(state) = tcp::state(header.state, header.inode) else {
        return;
    };
    let info = NlasIterator::new(payload.get(INET_RESPONSE..).unwrap_or_default())
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == INET_DIAG_INFO)
        .and_then(|attribute| tcp_info(attribute.value()))
        .map(|info| TcpInfo { bytes_in: tcp::bytes_in(header.state, info.bytes_in), ..info });
    let (unread, unsent) = tcp::queues(state, header.recv_queue, header.send_queue);
    let sample = Sample { state, unread, unsent, info };
    let id = socket_id(family, &header.socket_id);
    each(Connection { id, inode: header.inode, uid: header.uid, sample });
}

/// `struct inet_diag_msg`: 4 bytes of family and state, 48 of `inet_diag_sockid`, 20 of queues,
/// owner and inode.
const INET_RESPONSE: usize = 72;

/// Reads `struct tcp_info` (linux/tcp.h) at its fixed offsets; None from kernels before 4.6, whose
/// structure ends earlier.
fn tcp_info(info: &[u8]) -> Option<TcpInfo> {
    let word = |offset: usize| info.get(offset..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes));
    let long = |offset: usize| info.get(offset..)?.first_chunk().map(|bytes| u64::from_ne_bytes(*bytes));
    let ago = |offset| word(offset).map(|ms| Duration::from_millis(ms.into()));
    let (segs_out, segs_in) = (word(136)?, word(140)?);
    let (data_in, data_out) = (word(152)?, word(156)?);
    Some(TcpInfo {
        sent_ago: ago(44)?,
        received_ago: ago(52)?,
        acked_ago: ago(56)?,
        data_in,
        data_out,
        bare_out: segs_out.wrapping_sub(data_out),
        bare_in: segs_in.wrapping_sub(data_in),
        bytes_in: long(128)?,
        bytes_out: long(120)?,
        mss: word(16)?,
    })
}

fn unix_socket(response: &unix::UnixResponse) -> UnixSocket {
    let header = &response.header;
    let mut socket = UnixSocket {
        inode: header.inode,
        cookie: u64::from_ne_bytes(header.cookie),
        name: vec![],
        peer: response.peer().filter(|inode| *inode != 0),
        unread: 0,
        unsent: 0,
    };
    for attribute in &response.nlas {
        match attribute {
            unix::nlas::Nla::Name(name) => socket.name = name_bytes(name),
            unix::nlas::Nla::ReceiveQueueLength(unread, unsent) => {
                (socket.unread, socket.unsent) = (*unread, *unsent);
            }
            _ => {}
        }
    }
    socket
}

fn name_bytes(name: &unix::nlas::UnixDiagName) -> Vec<u8> {
    match name {
        unix::nlas::UnixDiagName::Pathname(path) => path.as_bytes().to_vec(),
        unix::nlas::UnixDiagName::Abstract(rest) => [&[0][..], rest].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Runs a program as inet_diag_bc_run does.
    fn accepts(program: &[u8], port: u16) -> bool {
        let mut left = program.len() as i32;
        let mut at = 0;
        while left > 0 {
            let (code, yes) = (program[at], program[at + 1]);
            let word = |at: usize| u16::from_ne_bytes([program[at + 2], program[at + 3]]);
            let holds = match code {
                INET_DIAG_BC_JMP => false,
                INET_DIAG_BC_S_GE => port >= word(at + 4),
                INET_DIAG_BC_S_LE => port <= word(at + 4),
                other => panic!("unknown operation {other}"),
            };
            let step = if holds { yes.into() } else { word(at) };
            at += usize::from(step);
            left -= i32::from(step);
        }
        left == 0
    }

    #[test]
    fn neighbours_make_one_range_and_very_many_ports_no_program() {
        assert_eq!(ranges(&[81, 80, 90, 65535, 82, 80]), [(80, 82), (90, 90), (65535, 65535)]);
        let scattered: Vec<u16> = (0..4000).map(|n| n * 3 + 1).collect();
        assert!(program(INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE, &scattered).is_empty());
        let neighbours: Vec<u16> = (1000..9000).collect();
        assert_eq!(program(INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE, &neighbours).len(), 16);
    }

    /// One message with this payload, as an answer to request 1.
    fn answer(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut header = NetlinkHeader::default();
        header.length = (HEADER + payload.len()) as u32;
        header.message_type = kind;
        header.sequence_number = 1;
        [emit(&header), payload.to_vec()].concat()
    }

    #[test]
    fn a_dump_that_failed_is_not_an_empty_one() {
        let read = |kind, code: i32| read_datagram(&answer(kind, &code.to_ne_bytes()), 1, &mut |_| ());
        assert!(matches!(read(NLMSG_DONE, 0), Ok(NetlinkReply::Done)));
        assert!(matches!(read(NLMSG_ERROR, 0), Ok(NetlinkReply::Done)));
        for kind in [NLMSG_DONE, NLMSG_ERROR] {
            let errno = |code| read(kind, code).err().and_then(|error| error.raw_os_error());
            assert_eq!(errno(-libc::ENOMEM), Some(libc::ENOMEM));
            assert_eq!(errno(i32::MIN), Some(libc::EPROTO));
            assert_eq!(errno(5), Some(libc::EPROTO));
            assert!(read_datagram(&answer(kind, &[0; 3]), 1, &mut |_| ()).is_err(), "torn");
        }
    }

    proptest! {
        #[test]
        fn a_program_accepts_its_ports_and_no_other(ports in prop::collection::vec(1u16..200, 1..20), other in 1u16..200) {
            let program = program(INET_DIAG_BC_S_GE, INET_DIAG_BC_S_LE, &ports);
            prop_assert!(ports.iter().all(|port| accepts(&program, *port)));
            prop_assert_eq!(accepts(&program, other), ports.contains(&other));
        }

        #[test]
        fn no_answer_upsets_the_reader(mut bytes in prop::collection::vec(any::<u8>(), 0..400), kind in 2u16..21, whole in any::<bool>()) {
            // Mostly a plausible header, so that what is behind it is read.
            if whole && bytes.len() >= HEADER {
                let length = bytes.len() as u32;
                bytes[..4].copy_from_slice(&length.to_ne_bytes());
                bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
                bytes[8..12].copy_from_slice(&1u32.to_ne_bytes());
            }
            let mut seen = 0;
            let _either = read_datagram(&bytes, 1, &mut |payload| {
                each_connection(Family::V4, payload, &mut |_| seen += 1);
                let _unix = unix::UnixResponse::parse(payload);
                let _info = tcp_info(payload);
            });
            prop_assert!(seen <= bytes.len() / INET_RESPONSE);
        }
    }
}
