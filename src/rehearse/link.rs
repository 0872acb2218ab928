//! One connection to the app, over TCP, TLS or a unix socket. Every read and write has a deadline,
//! and the connection can tell whether the other side has closed it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::recording::Fate;
use super::url::{Address, Url};
use adieu::errno::describe;

/// The most bytes of one read.
const PART: usize = 16 * 1024;

enum Transport {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

pub(crate) struct Link {
    transport: Transport,
    /// The bytes that were received and not yet used.
    pub(crate) received: Vec<u8>,
}

fn cut_off(why: &str) -> Fate {
    Fate::CutOff { why: why.to_owned() }
}

/// The fate of a request when its established connection has this error.
pub(crate) fn broken(error: &io::Error) -> Fate {
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => cut_off("no answer in time"),
        ErrorKind::ConnectionReset => cut_off("connection reset"),
        ErrorKind::BrokenPipe => cut_off("connection closed while sending"),
        ErrorKind::UnexpectedEof => cut_off("connection closed in the middle of an answer"),
        _ => Fate::CutOff { why: error.to_string() },
    }
}

impl Link {
    /// Connects, with the TLS handshake if there is one.
    ///
    /// # Errors
    /// The fate of the request that would have been sent: turned away when nothing listens.
    pub(crate) fn open(url: &Url, tls: Option<&Arc<ClientConfig>>, deadline: Instant) -> Result<Link, Fate> {
        let refused = |error: io::Error| match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => cut_off("no answer in time"),
            ErrorKind::ConnectionReset => cut_off("connection reset"),
            ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
                Fate::TurnedAway { why: "connection refused".into() }
            }
            _ => Fate::TurnedAway { why: format!("cannot connect: {}", describe(&error)) },
        };
        let transport = match &url.address {
            Address::Unix(path) => Transport::Unix(UnixStream::connect(path).map_err(refused)?),
            Address::Tcp { host, port } => Transport::Tcp(connect(host, *port, deadline).map_err(refused)?),
            Address::AppPort => return Err(cut_off("the app's port is not known")),
        };
        let mut link = Link { transport, received: Vec::new() };
        if let Some(tls) = tls {
            link = link.secure(url, tls, deadline)?;
        }
        Ok(link)
    }

    fn secure(self, url: &Url, tls: &Arc<ClientConfig>, deadline: Instant) -> Result<Link, Fate> {
        let Transport::Tcp(stream) = self.transport else { return Ok(self) };
        let host = match &url.address {
            Address::Tcp { host, .. } => host.clone(),
            Address::AppPort | Address::Unix(_) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(host).map_err(|error| Fate::CutOff { why: error.to_string() })?;
        let session = ClientConnection::new(Arc::clone(tls), name)
            .map_err(|error| Fate::CutOff { why: error.to_string() })?;
        let mut stream = StreamOwned::new(session, stream);
        set_timeout(&stream.sock, deadline).map_err(|error| broken(&error))?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock).map_err(|error| match error.kind() {
                ErrorKind::UnexpectedEof => cut_off("connection closed in the TLS handshake"),
                _ => broken(&error),
            })?;
        }
        Ok(Link { transport: Transport::Tls(Box::new(stream)), received: Vec::new() })
    }

    fn fd(&self) -> RawFd {
        match &self.transport {
            Transport::Tcp(stream) => stream.as_raw_fd(),
            Transport::Unix(stream) => stream.as_raw_fd(),
            Transport::Tls(stream) => stream.sock.as_raw_fd(),
        }
    }

    /// Whether the other side has closed it. A careful client checks this before it sends the next
    /// request.
    pub(crate) fn closed(&mut self) -> bool {
        if let Transport::Tls(stream) = &mut self.transport {
            return tls_closed(stream).unwrap_or(true);
        }
        match recv(self.fd(), &mut [0], MsgFlags::MSG_PEEK | MsgFlags::MSG_DONTWAIT) {
            Ok(0) => true,
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => false,
            Err(_) => true,
        }
    }

    /// Sends all bytes.
    ///
    /// # Errors
    /// The other side does not take them by the deadline, or the connection breaks.
    pub(crate) fn send(&mut self, bytes: &[u8], deadline: Instant) -> io::Result<()> {
        match &mut self.transport {
            Transport::Tcp(stream) => {
                set_timeout(stream, deadline)?;
                stream.write_all(bytes)
            }
            Transport::Unix(stream) => {
                stream.set_write_timeout(Some(left(deadline)))?;
                stream.write_all(bytes)
            }
            Transport::Tls(stream) => {
                set_timeout(&stream.sock, deadline)?;
                stream.write_all(bytes).and_then(|()| stream.flush())
            }
        }
    }

    /// Appends the next bytes to `received` and returns their number; 0 at the end.
    ///
    /// # Errors
    /// No byte comes by the deadline, or the connection breaks.
    pub(crate) fn receive(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut part = [0; PART];
        let count = match &mut self.transport {
            Transport::Tcp(stream) => {
                set_timeout(stream, deadline)?;
                retry(|| stream.read(&mut part))?
            }
            Transport::Unix(stream) => {
                stream.set_read_timeout(Some(left(deadline)))?;
                retry(|| stream.read(&mut part))?
            }
            Transport::Tls(stream) => {
                set_timeout(&stream.sock, deadline)?;
                retry(|| stream.read(&mut part))?
            }
        };
        self.received.extend_from_slice(&part[..count]);
        Ok(count)
    }
}

/// A signal for the tool may interrupt any thread.
fn retry(mut read: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match read() {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// Never zero, because std rejects a timeout of zero.
fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

fn set_timeout(stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    stream.set_read_timeout(Some(left(deadline)))?;
    stream.set_write_timeout(Some(left(deadline)))
}

fn connect(host: &str, port: u16, deadline: Instant) -> io::Result<TcpStream> {
    let mut last = io::Error::from(ErrorKind::NotFound);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// A close_notify or the end of the stream is a close; session tickets, which may also have come,
/// are not.
fn tls_closed(stream: &mut StreamOwned<ClientConnection, TcpStream>) -> io::Result<bool> {
    stream.sock.set_nonblocking(true)?;
    let closed = loop {
        match stream.conn.read_tls(&mut stream.sock) {
            Ok(0) => break true,
            Ok(_) => match stream.conn.process_new_packets() {
                Ok(state) if state.peer_has_closed() => break true,
                Ok(_) => {}
                Err(_) => break true,
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => break true,
        }
    };
    stream.sock.set_nonblocking(false)?;
    Ok(closed)
}
