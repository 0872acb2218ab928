//! Which connections may be closed: those that are known to speak HTTP/1. A session of SQL or SMTP
//! looks answered between any two commands, and HTTP/2 and websockets between any two frames. That
//! a port speaks HTTP/1 is known from a request line that was seen unread, from a readiness check
//! over http, or because the user named it. It may speak something else as well: so a connection
//! must have shown a request line itself, or what looks like exchanges of HTTP/1. Pure.

use std::collections::{HashMap, HashSet};

/// As many bytes as are looked at.
pub(super) const ENOUGH: usize = 512;

/// What the first unread bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Speaks {
    Http1,
    /// A request of HTTP/1 that turns the connection into something else: a websocket, mostly.
    Upgrade,
    /// HTTP/2's preface.
    Http2,
    /// Anything else, the middle of a body too.
    Unknown,
}

/// HTTP/2's first bytes (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// Longer than any method that is registered.
const LONGEST_METHOD: usize = 20;

/// Reads the beginning of what is unread.
pub(super) fn speaks(bytes: &[u8]) -> Speaks {
    if bytes.starts_with(PREFACE) {
        return Speaks::Http2;
    }
    let mut lines = bytes.split(|byte| *byte == b'\n');
    if !lines.next().is_some_and(is_request_line) {
        return Speaks::Unknown;
    }
    let upgrade = lines.any(|line| {
        let name = line.get(.."upgrade:".len());
        name.is_some_and(|name| name.eq_ignore_ascii_case(b"upgrade:"))
    });
    if upgrade { Speaks::Upgrade } else { Speaks::Http1 }
}

/// `GET /path HTTP/1.1`, or as much of it as is there if it is long: method, blank, target.
fn is_request_line(line: &[u8]) -> bool {
    let mut words = line.splitn(3, |byte| *byte == b' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return false;
    };
    let is_method = (3..=LONGEST_METHOD).contains(&method.len())
        && method.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'-');
    let is_target = target.starts_with(b"/") || target.starts_with(b"http") || target == b"*";
    // The version may lie beyond what was looked at.
    let version = words.next();
    is_method && is_target && version.is_none_or(|version| version.starts_with(b"HTTP/1."))
}

/// What is known of the app's ports, and of some of its connections.
#[derive(Debug, Default)]
pub(super) struct Knowledge {
    /// Named by `--close-connections`, or by a readiness check over http.
    named: HashSet<u16>,
    only_named: bool,
    /// Request lines seen on a port.
    http1: HashMap<u16, u32>,
    /// Ports on which HTTP/2 was seen, too.
    http2: HashSet<u16>,
    /// Connections that showed a request line, and those that showed that they are something else.
    asked: HashSet<u64>,
    other: HashSet<u64>,
}

impl Knowledge {
    /// These ports speak HTTP/1, and perhaps no others are to be touched.
    pub(super) fn new(ports: &[u16], only_these: bool) -> Knowledge {
        Knowledge { named: ports.iter().copied().collect(), only_named: only_these, ..Knowledge::default() }
    }

    /// Takes in what was unread on a connection of this port.
    pub(super) fn saw(&mut self, cookie: u64, port: u16, speaks: Speaks) {
        match speaks {
            Speaks::Http1 => {
                self.asked.insert(cookie);
                let count = self.http1.entry(port).or_default();
                *count = count.saturating_add(1);
            }
            Speaks::Upgrade => {
                self.other.insert(cookie);
            }
            Speaks::Http2 => {
                self.other.insert(cookie);
                self.http2.insert(port);
            }
            Speaks::Unknown => {}
        }
    }

    /// Whether the protocol of this port is still to be found out.
    pub(super) fn is_open(&self, port: u16) -> bool {
        !self.only_named && !self.is_known(port)
    }

    fn is_known(&self, port: u16) -> bool {
        self.named.contains(&port) || self.http1.contains_key(&port)
    }

    /// Whether this very connection is known to speak HTTP/1, whatever its exchanges look like.
    pub(super) fn is_shown(&self, cookie: u64, port: u16) -> bool {
        self.asked.contains(&cookie) || self.only_named && self.named.contains(&port)
    }

    /// Whether this connection may be let go. Where HTTP/2 was seen on the port, it must have shown
    /// a request line itself.
    pub(super) fn allows(&self, cookie: u64, port: u16) -> bool {
        if self.other.contains(&cookie) || self.only_named && !self.named.contains(&port) {
            return false;
        }
        let mixed = self.http2.contains(&port);
        self.asked.contains(&cookie) || !mixed && self.is_known(port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_is_recognised() {
        for bytes in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"OPTIONS * HTTP/1.0\r\n\r\n",
            b"POST /a?b=c HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
            b"GET http://example.org/ HTTP/1.1\r\n\r\n",
            b"GET /a-target-that-is-longer-than-what-was-looked-at",
            b"M-SEARCH * HTTP/1.1\r\n\r\n",
        ] {
            assert_eq!(speaks(bytes), Speaks::Http1, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_is_something_else_is_not_taken_for_one() {
        for bytes in [
            &b""[..],
            b"GET",
            b"EHLO example.org\r\n",
            b"SELECT /x FROM y\r\n",
            b"get / HTTP/1.1\r\n",
            b"GET / SIP/2.0\r\n",
            b"OPTIONS sip:a@b SIP/2.0\r\n",
            b"OPTIONS rtsp://a/b RTSP/1.0\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            b"*1\r\n$4\r\nPING\r\n",
            b"the middle of a body",
        ] {
            assert_eq!(speaks(bytes), Speaks::Unknown, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn what_leaves_http1_is_told_apart() {
        assert_eq!(speaks(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Speaks::Http2);
        let websocket = b"GET /chat HTTP/1.1\r\nHost: x\r\nupgrade: websocket\r\n\r\n";
        assert_eq!(speaks(websocket), Speaks::Upgrade);
    }

    #[test]
    fn a_port_is_known_by_one_request_line_or_by_name() {
        let mut knowledge = Knowledge::default();
        assert!(!knowledge.allows(1, 80) && knowledge.is_open(80));
        knowledge.saw(1, 80, Speaks::Unknown);
        assert!(!knowledge.allows(1, 80));
        knowledge.saw(1, 80, Speaks::Http1);
        assert!(knowledge.allows(1, 80) && knowledge.allows(2, 80) && !knowledge.allows(3, 81));
        assert!(!knowledge.is_open(80));
        let mut named = Knowledge::new(&[81], false);
        named.saw(1, 80, Speaks::Http1);
        assert!(named.allows(3, 81) && named.allows(4, 80));
        let mut only = Knowledge::new(&[81], true);
        only.saw(1, 80, Speaks::Http1);
        assert!(only.is_shown(3, 81) && !named.is_shown(3, 81) && named.is_shown(1, 80));
        assert!(only.allows(3, 81) && !only.allows(1, 80) && !only.is_open(80));
    }

    #[test]
    fn where_something_else_was_seen_each_has_to_show_what_it_is() {
        let mut knowledge = Knowledge::default();
        knowledge.saw(1, 80, Speaks::Http1);
        knowledge.saw(2, 80, Speaks::Upgrade);
        assert!(!knowledge.allows(2, 80) && knowledge.allows(3, 80), "the one alone");
        knowledge.saw(4, 80, Speaks::Http2);
        assert!(knowledge.allows(1, 80) && !knowledge.allows(3, 80) && !knowledge.allows(4, 80));
    }
}
