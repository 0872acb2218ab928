//! A websocket client, RFC 6455: it pings, answers pings, and waits for the server's close. A
//! server that ends the connection without a close frame has cut its client off.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use super::http::{self, Message};
use super::link::{Link, broken};
use super::recording::Fate;
use super::url::Url;

const BETWEEN_PINGS: Duration = Duration::from_millis(500);
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Opens a websocket.
///
/// # Errors
/// The fate of the request when the server opens none.
pub(crate) fn open(link: &mut Link, url: &Url, message: &Message, deadline: Instant) -> Result<(), Fate> {
    let mut upgrade = Message { headers: message.headers.clone(), ..Message::default() };
    for (name, value) in [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        // Any sixteen bytes. The key proves that the server speaks websocket; for a rehearsal,
        // status 101 is proof enough.
        ("Sec-WebSocket-Key", "YWRpZXUtcmVoZWFyc2UhIQ=="),
    ] {
        upgrade.headers.push((name.to_owned(), value.to_owned()));
    }
    match http::begin(link, url, &upgrade, deadline)?.status {
        101 => Ok(()),
        status @ 500.. => Err(Fate::TurnedAway { why: format!("answered {status}") }),
        status => Err(Fate::CutOff { why: format!("no websocket: answered {status}") }),
    }
}

/// Holds it until the server closes it.
///
/// # Errors
/// The connection ends without a close frame.
pub(crate) fn hold(link: &mut Link) -> Result<(), Fate> {
    let mut next_ping = Instant::now() + BETWEEN_PINGS;
    loop {
        while let Some(opcode) = take_frame(&mut link.received) {
            match opcode {
                CLOSE => {
                    // The websocket is closed even if the server does not read our answer.
                    let _gone = send(link, CLOSE);
                    return Ok(());
                }
                PING => send(link, PONG)?,
                _ => {}
            }
        }
        match link.receive(next_ping) {
            Ok(0) => return Err(Fate::CutOff { why: "websocket ended without a close frame".into() }),
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                send(link, PING)?;
                next_ping = Instant::now() + BETWEEN_PINGS;
            }
            Err(error) => return Err(broken(&error)),
        }
    }
}

/// Sends a close frame.
pub(crate) fn close(link: &mut Link) {
    // A server that is gone does not need it.
    let _gone = send(link, CLOSE);
}

/// An empty frame. Frames of a client are masked, RFC 6455, 5.3.
fn send(link: &mut Link, opcode: u8) -> Result<(), Fate> {
    let frame = [0x80 | opcode, 0x80, 1, 2, 3, 4];
    link.send(&frame, Instant::now() + BETWEEN_PINGS).map_err(|error| broken(&error))
}

/// Removes one whole frame from the front and returns its opcode.
fn take_frame(received: &mut Vec<u8>) -> Option<u8> {
    let [first, second, rest @ ..] = received.as_slice() else { return None };
    let opcode = first & 0x0f;
    let (length, head) = match second & 0x7f {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 10),
        short => (u64::from(short), 2),
    };
    let end = usize::try_from(length).ok()?.checked_add(head)?;
    if received.len() < end {
        return None;
    }
    received.drain(..end);
    Some(opcode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_whole_or_not_at_all() {
        let mut bytes = vec![0x81, 2, b'h', b'i', 0x82, 126, 1, 0];
        assert_eq!(take_frame(&mut bytes), Some(1));
        assert_eq!(take_frame(&mut bytes), None, "256 bytes are announced");
        bytes.extend([0; 256]);
        bytes.extend([0x88, 0]);
        assert_eq!(take_frame(&mut bytes), Some(2));
        assert_eq!(take_frame(&mut bytes), Some(CLOSE));
        assert_eq!(take_frame(&mut bytes), None);
    }
}
