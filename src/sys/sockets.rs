//! Sockets that std does not open as adieu needs them: TCP connections that never wait, and datagram sockets for
//! sd_notify(3), which carry descriptors and the sender's credentials.

use super::own_pid;
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
/// The longest message of sd_notify(3); systemd takes 4096 bytes, too.
pub const MESSAGE_LIMIT: usize = 4096;

/// Begins to connect and does not wait: the stream is writable once the connection is made or refused.
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

/// One message, as it was received.
#[derive(Debug)]
pub struct Datagram {
    /// Its bytes, at most [`MESSAGE_LIMIT`] of them.
    pub bytes: Vec<u8>,
    /// The descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
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
    /// Whether the sender is below us. One that has exited meanwhile (systemd-notify does) must at least be of our user.
    pub fn is_ours(self) -> bool {
        self.pid.is_some_and(|pid| is_descendant(pid).unwrap_or(self.uid == geteuid().as_raw()))
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

    /// A socket to receive at, and its address for NOTIFY_SOCKET. The kernel picks a free name in the abstract namespace
    /// (unix(7), autobind), so that no directory is needed and nothing is left behind.
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

    /// Sends a message with descriptors, or says why not; EAGAIN and ENOBUFS when the receiver's queue is full.
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

    /// The next message; `None` when there is none now.
    ///
    /// # Errors
    /// What recvmsg(2) says, EAGAIN excepted.
    pub fn receive(&self) -> io::Result<Option<Datagram>> {
        let mut bytes = vec![0; MESSAGE_LIMIT];
        let mut control = nix::cmsg_space!(UnixCredentials, [RawFd; DESCRIPTORS_LIMIT]);
        let mut pieces = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let message = recvmsg::<UnixAddr>(self.0.as_raw_fd(), &mut pieces, Some(&mut control), flags);
        let message = match message {
            Err(Errno::EAGAIN) => return Ok(None),
            other => other?,
        };
        let length = message.bytes;
        let truncated = message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC);
        let (mut sender, mut descriptors) = (None, Vec::new());
        for part in message.cmsgs().into_iter().flatten() {
            match part {
                ControlMessageOwned::ScmCredentials(found) => {
                    sender = Some(Credentials { pid: Pid::new(found.pid()), uid: found.uid() });
                }
                // SAFETY: the kernel has just made these for us, and nobody else knows them.
                ControlMessageOwned::ScmRights(passed) => descriptors
                    .extend(passed.into_iter().map(|descriptor| unsafe { OwnedFd::from_raw_fd(descriptor) })),
                _ => {}
            }
        }
        bytes.truncate(length);
        Ok(Some(Datagram { bytes, descriptors, truncated, sender }))
    }
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
    while pid != own {
        if pid.number() == 1 {
            return Some(false);
        }
        match parent(pid)? {
            0 => return Some(false),
            number => pid = Pid::new(number)?,
        }
    }
    Some(true)
}

/// The fourth field of /proc/PID/stat (proc_pid_stat(5)); the second, the name, may hold anything and ends at the last
/// parenthesis.
fn parent(pid: Pid) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat);
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_are_listened_to() {
        assert_eq!(is_descendant(own_pid()), Some(true));
        assert_eq!(is_descendant(Pid::new(1).unwrap()), Some(false));
        assert_eq!(is_descendant(Pid::new(i32::MAX).unwrap()), None);
        assert_eq!(parent(own_pid()), Some(nix::unistd::Pid::parent().as_raw()));
    }

    #[test]
    fn descriptors_travel_with_their_message() {
        let (socket, address) = DatagramSocket::bind().unwrap();
        let to = DatagramAddress::parse(address.as_ref()).unwrap();
        let (reader, writer) = nix::unistd::pipe().unwrap();
        DatagramSocket::open().unwrap().send(&to, b"FDSTORE=1", &[writer]).unwrap();
        let received = socket.receive().unwrap().unwrap();
        assert_eq!((received.bytes.as_slice(), received.descriptors.len()), (&b"FDSTORE=1"[..], 1));
        assert!(received.sender.unwrap().is_ours());
        drop(received);
        assert_eq!(nix::unistd::read(&reader, &mut [0; 1]), Ok(0), "no copy of the writer is left");
        assert!(socket.receive().unwrap().is_none());
        assert!(DatagramAddress::parse("vsock:2:1234".as_ref()).is_err());
    }
}
