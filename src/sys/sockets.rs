//! Sockets that std does not open as adieu needs them: TCP connections that never wait, and
//! datagram sockets for sd_notify(3), which carry descriptors and the sender's credentials.

use super::{descriptors, is_init, own_pid, proc};
use crate::process::Pid;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage,
    UnixAddr, UnixCredentials, bind, connect, getsockname, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use nix::unistd::geteuid;
use std::ffi::OsStr;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;

/// The kernel passes at most this many descriptors with one message (SCM_MAX_FD, unix(7)).
const DESCRIPTORS_LIMIT: usize = 253;
/// CMSG_SPACE of the sender's credentials in words: a header of two on 64 bits, and three numbers.
const CREDENTIALS_ROOM: usize =
    (size_of::<libc::cmsghdr>() + size_of::<libc::ucred>()).div_ceil(size_of::<u64>());
/// How far up a sender's parents are followed.
const GENERATIONS: usize = 64;
/// The longest message of sd_notify(3); systemd takes 4096 bytes, too.
pub const MESSAGE_LIMIT: usize = 4096;

/// Begins to connect and does not wait: the stream is writable once the connection is made or
/// refused.
///
/// # Errors
/// What socket(2) and connect(2) say, EINPROGRESS excepted.
pub fn begin_to_connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(address)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(TcpStream::from(socket)),
        Err(errno) => Err(errno.into()),
    }
}

/// A datagram socket of the unix domain that never waits.
#[derive(Debug)]
pub struct DatagramSocket(OwnedFd);

/// Where messages can be sent: a path, or a name in the abstract namespace.
#[derive(Debug)]
pub struct DatagramAddress(UnixAddr);

impl DatagramAddress {
    /// An address as NOTIFY_SOCKET has it: a path, or a name after `@`.
    ///
    /// # Errors
    /// EAFNOSUPPORT for anything else (vsock), ENAMETOOLONG.
    pub fn parse(text: &OsStr) -> io::Result<DatagramAddress> {
        let address = match text.as_bytes() {
            path @ [b'/', ..] => UnixAddr::new(path),
            [b'@', name @ ..] => UnixAddr::new_abstract(name),
            _ => Err(Errno::EAFNOSUPPORT),
        };
        Ok(DatagramAddress(address?))
    }
}

/// One message, as it waits to be taken.
#[derive(Debug)]
pub struct Datagram {
    /// Its bytes, at most [`MESSAGE_LIMIT`] of them.
    pub bytes: Vec<u8>,
    /// Descriptors come with it.
    pub carries_descriptors: bool,
    /// Some of it did not fit.
    pub truncated: bool,
    /// Who sent it, vouched for by the kernel (SCM_CREDENTIALS, unix(7)).
    pub sender: Option<Credentials>,
}

/// The sender of a message.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    /// `None`: it lives in a PID namespace that we cannot see.
    pid: Option<Pid>,
    uid: u32,
}

impl Credentials {
    /// Whether the sender is below us. One that has exited meanwhile (systemd-notify does) must at
    /// least be of our user.
    pub fn is_ours(self) -> bool {
        // Whom the init of a PID namespace can see lives in it, and is below it.
        let ours = |pid| is_init() || is_descendant(pid).unwrap_or(self.uid == geteuid().as_raw());
        self.pid.is_some_and(ours)
    }
}

impl DatagramSocket {
    /// A socket to send from.
    ///
    /// # Errors
    /// What socket(2) says.
    pub fn open() -> io::Result<DatagramSocket> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        Ok(DatagramSocket(socket(AddressFamily::Unix, SockType::Datagram, flags, None)?))
    }

    /// A socket to receive at, and its address for NOTIFY_SOCKET. The kernel picks a free name in
    /// the abstract namespace (unix(7), autobind), so that no directory is needed and nothing is
    /// left behind.
    ///
    /// # Errors
    /// What socket(2), setsockopt(2) and bind(2) say.
    pub fn bind() -> io::Result<(DatagramSocket, String)> {
        let socket = DatagramSocket::open()?;
        setsockopt(&socket.0, sockopt::PassCred, &true)?;
        bind(socket.0.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let own: UnixAddr = getsockname(socket.0.as_raw_fd())?;
        let name = own.as_abstract().ok_or(Errno::EADDRNOTAVAIL)?;
        let address = format!("@{}", String::from_utf8_lossy(name));
        Ok((socket, address))
    }

    /// Sends a message with descriptors, or says why not; EAGAIN and ENOBUFS when the receiver's
    /// queue is full.
    ///
    /// # Errors
    /// What sendmsg(2) says.
    pub fn send(&self, to: &DatagramAddress, message: &[u8], descriptors: &[OwnedFd]) -> io::Result<()> {
        let numbers: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
        let rights = [ControlMessage::ScmRights(&numbers)];
        let control = if numbers.is_empty() { &[][..] } else { &rights };
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let pieces = [IoSlice::new(message)];
        sendmsg(self.0.as_raw_fd(), &pieces, control, flags, Some(&to.0))?;
        Ok(())
    }

    /// Looks at the next message and leaves it in the queue; `None` when there is none now. Takes
    /// no descriptors of it: a sender could fill our table, or make us wait in close(2)
    /// ([`super::aside`]).
    ///
    /// # Errors
    /// What recvmsg(2) says, EAGAIN excepted.
    pub fn peek(&self) -> io::Result<Option<Datagram>> {
        let mut bytes = vec![0; MESSAGE_LIMIT];
        // Exactly the credentials fit: where the kernel has more to say, and that is descriptors,
        // it sets MSG_CTRUNC.
        let mut control = [0u64; CREDENTIALS_ROOM];
        let mut piece = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        // SAFETY: plain data, for which all-zero is valid.
        let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
        header.msg_iov = &raw mut piece;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control) as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_PEEK;
        // SAFETY: the header and all that it points to live through the call. nix gives out no
        // control message at all where some did not fit.
        let length = unsafe { libc::recvmsg(self.0.as_raw_fd(), &raw mut header, flags) };
        let length = match Errno::result(length) {
            Err(Errno::EAGAIN) => return Ok(None),
            other => usize::try_from(other?).unwrap_or(0),
        };
        bytes.truncate(length);
        Ok(Some(Datagram {
            bytes,
            carries_descriptors: header.msg_flags & libc::MSG_CTRUNC != 0,
            truncated: header.msg_flags & libc::MSG_TRUNC != 0,
            sender: credentials(&header),
        }))
    }

    /// Takes the next message, without descriptors, off the queue.
    ///
    /// # Errors
    /// What recvmsg(2) says.
    pub fn drop_text(&self) -> io::Result<()> {
        nix::sys::socket::recv(self.0.as_raw_fd(), &mut [], MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }

    /// Drops the next message with its descriptors, in a process of its own.
    ///
    /// # Errors
    /// What clone(2) says.
    pub fn drop_descriptors(&self) -> io::Result<Pid> {
        super::aside::drop_message(self.0.as_fd())
    }

    /// Takes the next message off the queue and returns its descriptors, which only
    /// [`super::aside::close`] may close. `None`, and takes nothing, when one message may bring
    /// more than there is room for.
    ///
    /// # Errors
    /// What recvmsg(2) says.
    pub fn take_descriptors(&self) -> io::Result<Option<Vec<OwnedFd>>> {
        if descriptors::free(DESCRIPTORS_LIMIT) < DESCRIPTORS_LIMIT {
            return Ok(None);
        }
        let mut byte = [0];
        let mut pieces = [IoSliceMut::new(&mut byte)];
        let mut control = nix::cmsg_space!(UnixCredentials, [RawFd; DESCRIPTORS_LIMIT]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut pieces, Some(&mut control), flags)?;
        let mut descriptors = Vec::new();
        for part in message.cmsgs()? {
            if let ControlMessageOwned::ScmRights(passed) = part {
                // SAFETY: the kernel has just made these for us, and nobody else knows them.
                descriptors.extend(passed.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
            }
        }
        Ok(Some(descriptors))
    }
}

fn credentials(header: &libc::msghdr) -> Option<Credentials> {
    // SAFETY: the kernel has filled the header and its buffer in.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return None;
    }
    // SAFETY: that kind of message is followed by a ucred, perhaps unaligned.
    let found: libc::ucred = unsafe { libc::CMSG_DATA(first).cast::<libc::ucred>().read_unaligned() };
    Some(Credentials { pid: Pid::new(found.pid), uid: found.uid })
}

impl AsFd for DatagramSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// `None` when that cannot be known: it is gone, or there is no /proc.
fn is_descendant(pid: Pid) -> Option<bool> {
    let own = own_pid();
    let mut pid = pid;
    for _ in 0..GENERATIONS {
        if pid == own {
            return Some(true);
        }
        match proc::stat(pid).ok()?.parent {
            Some(parent) if pid.number() != 1 => pid = parent,
            Some(_) | None => return Some(false),
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_are_listened_to() {
        assert_eq!(is_descendant(own_pid()), Some(true));
        assert_eq!(is_descendant(Pid::new(1).unwrap()), Some(false));
        assert_eq!(is_descendant(Pid::new(i32::MAX).unwrap()), None);
    }

    #[test]
    fn a_message_is_seen_before_it_is_taken_and_its_descriptors_only_when_they_are_asked_for() {
        let (socket, address) = DatagramSocket::bind().unwrap();
        let to = DatagramAddress::parse(address.as_ref()).unwrap();
        let sender = DatagramSocket::open().unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        sender.send(&to, b"FDSTORE=1", std::slice::from_ref(&writer)).unwrap();
        sender.send(&to, b"FDSTORE=1", std::slice::from_ref(&writer)).unwrap();
        sender.send(&to, b"READY=1", &[]).unwrap();
        drop(writer);
        let seen = |text: &[u8]| {
            let seen = socket.peek().unwrap().unwrap();
            assert!(seen.bytes == text && seen.sender.unwrap().is_ours() && !seen.truncated);
            seen.carries_descriptors
        };
        assert!(seen(b"FDSTORE=1") && seen(b"FDSTORE=1"));
        let taken = socket.take_descriptors().unwrap().unwrap();
        assert_eq!(taken.len(), 1);
        let closed = super::super::aside::close(taken).unwrap();
        assert!(seen(b"FDSTORE=1"));
        let dropped = socket.drop_descriptors().unwrap();
        for pid in [closed, dropped] {
            nix::sys::wait::waitpid(nix::unistd::Pid::from_raw(pid.number()), None).unwrap();
        }
        assert!(!seen(b"READY=1"));
        socket.drop_text().unwrap();
        assert!(socket.peek().unwrap().is_none());
        assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0), "no copy of the writer is left");
        assert!(DatagramAddress::parse("vsock:2:1234".as_ref()).is_err());
    }
}
