//! Connections of the test's own, none of which waits for ever: for the other side to accept, to
//! ask, to read or to say the next thing.

use std::io::{Error, ErrorKind, Read, Result};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::WATCHDOG;

/// A connection whose reads and writes fail after the watchdog's time.
pub fn connect(address: impl ToSocketAddrs) -> TcpStream {
    try_connect(address).expect("somebody listens")
}

pub fn try_connect(address: impl ToSocketAddrs) -> Result<TcpStream> {
    let address = address.to_socket_addrs()?.next().ok_or(ErrorKind::AddrNotAvailable)?;
    bounded(TcpStream::connect_timeout(&address, WATCHDOG)?)
}

pub fn try_connect_unix(path: impl AsRef<Path>) -> Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(WATCHDOG))?;
    stream.set_write_timeout(Some(WATCHDOG))?;
    Ok(stream)
}

/// The next client, who comes under the watchdog.
pub fn accept(listener: &TcpListener) -> TcpStream {
    let mut waits = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    let limit = PollTimeout::try_from(WATCHDOG).expect("a minute");
    let ready = poll(&mut waits, limit).expect("a listener");
    assert!(ready > 0, "the watchdog barked, waiting for a client");
    listener.accept().and_then(|(stream, _)| bounded(stream)).expect("a client")
}

fn bounded(stream: TcpStream) -> Result<TcpStream> {
    stream.set_read_timeout(Some(WATCHDOG))?;
    stream.set_write_timeout(Some(WATCHDOG))?;
    Ok(stream)
}

/// All that still comes, as text, up to the end, which comes under the watchdog.
pub fn rest(stream: &mut (impl Read + AsFd)) -> String {
    try_rest(stream).expect("an answer and its end")
}

pub fn try_rest(stream: &mut (impl Read + AsFd)) -> Result<String> {
    Ok(String::from_utf8_lossy(&up_to(stream, usize::MAX)?).into_owned())
}

/// The next so many bytes, all of which come under the watchdog.
pub fn exactly(stream: &mut (impl Read + AsFd), count: usize) -> Vec<u8> {
    try_exactly(stream, count).expect("an answer")
}

pub fn try_exactly(stream: &mut (impl Read + AsFd), count: usize) -> Result<Vec<u8>> {
    let all = up_to(stream, count)?;
    if all.len() < count {
        let text = String::from_utf8_lossy(&all).into_owned();
        return Err(Error::new(ErrorKind::UnexpectedEof, format!("it ended after '{text}'")));
    }
    Ok(all)
}

fn up_to(stream: &mut (impl Read + AsFd), count: usize) -> Result<Vec<u8>> {
    let deadline = Instant::now() + WATCHDOG;
    let (mut all, mut piece) = (Vec::new(), [0; 65_536]);
    while all.len() < count {
        let left = deadline.saturating_duration_since(Instant::now());
        let mut waits = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        if poll(&mut waits, PollTimeout::try_from(left).expect("a minute"))? == 0 {
            let so_far = String::from_utf8_lossy(&all).into_owned();
            return Err(Error::other(format!("the watchdog barked after '{so_far}'")));
        }
        let most = piece.len().min(count - all.len());
        match stream.read(&mut piece[..most])? {
            0 => break,
            got => all.extend(&piece[..got]),
        }
    }
    Ok(all)
}
