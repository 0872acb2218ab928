//! A client that tells exactly what became of a request. It speaks as much HTTP/1.1 as the servers
//! here do (lengths, chunks, keep-alive) and never tries again: a library that retries would hide
//! what these tests look for.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A request that has no answer by now has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection that was idle for longer is not used again. Every server here keeps one for at
/// least 2 s, so that no request races with the end of a keep-alive time, which happens on any day
/// and has nothing to do with a stop.
const FRESH: Duration = Duration::from_secs(1);

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fate {
    Answered,
    /// The connection was not accepted.
    Refused,
    /// The connection ended before a byte of the answer.
    CutOff,
    /// The connection ended within the answer.
    Truncated,
    /// An answer, but not 200.
    Status(u16),
    /// No whole answer within the patience.
    TimedOut,
    /// What came is not HTTP.
    Garbled,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Answered => f.write_str("answered"),
            Self::Refused => f.write_str("refused"),
            Self::CutOff => f.write_str("cut off"),
            Self::Truncated => f.write_str("truncated"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Garbled => f.write_str("garbled"),
        }
    }
}

/// A client of one address, with a connection that it keeps between requests.
pub struct Client {
    address: SocketAddr,
    kept: Option<(TcpStream, Instant)>,
}

impl Client {
    pub fn new(port: u16) -> Self {
        Self::of((Ipv4Addr::LOCALHOST, port).into())
    }

    pub fn of(address: SocketAddr) -> Self {
        Self { address, kept: None }
    }

    /// Asks once; what became of it, and what the balancer said about who answered.
    pub fn get(&mut self, path: &str) -> (Fate, Option<String>) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: roll\r\n\r\n"))
    }

    /// Whether the next request would go over the connection of the last.
    pub fn is_kept(&self) -> bool {
        self.kept.as_ref().is_some_and(|(stream, since)| since.elapsed() < FRESH && is_open(stream))
    }

    /// As `get`, with these bytes as the request.
    pub fn ask(&mut self, request: &str) -> (Fate, Option<String>) {
        let kept = self.kept.take().filter(|(stream, since)| since.elapsed() < FRESH && is_open(stream));
        let stream = match kept {
            Some((stream, _)) => stream,
            None => match TcpStream::connect_timeout(&self.address, PATIENCE) {
                Ok(stream) => stream,
                Err(_) => return (Fate::Refused, None),
            },
        };
        match ask(&stream, request) {
            Err(fate) => (fate, None),
            Ok(answer) => {
                if answer.keep {
                    self.kept = Some((stream, Instant::now()));
                }
                let fate = if answer.status == 200 { Fate::Answered } else { Fate::Status(answer.status) };
                (fate, answer.server)
            }
        }
    }
}

/// Whether the server has not closed it. What a server says unasked (408 of a few) counts as
/// closed.
fn is_open(stream: &TcpStream) -> bool {
    let peek = || {
        stream.set_nonblocking(true)?;
        let got = stream.peek(&mut [0]);
        stream.set_nonblocking(false)?;
        got
    };
    peek().is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

struct Answer {
    status: u16,
    keep: bool,
    server: Option<String>,
}

fn ask(mut stream: &TcpStream, request: &str) -> Result<Answer, Fate> {
    let deadline = Instant::now() + PATIENCE;
    let _ = stream.set_nodelay(true); // a matter of milliseconds only
    stream.write_all(request.as_bytes()).map_err(|_| Fate::CutOff)?;
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        stream.set_read_timeout(Some(left)).map_err(|_| Fate::CutOff)?;
        let broken = |text: &[u8]| Err(if text.is_empty() { Fate::CutOff } else { Fate::Truncated });
        let got = match stream.read(&mut piece) {
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Err(Fate::TimedOut),
            Err(_) => return broken(&text), // a reset
        };
        text.extend_from_slice(&piece[..got]);
        match parse(&text, got == 0)? {
            Some(answer) => return Ok(answer),
            None if got == 0 => return broken(&text),
            None => {}
        }
    }
}

/// The answer, if it is there as a whole.
fn parse(text: &[u8], ended: bool) -> Result<Option<Answer>, Fate> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let body = match response.parse(text) {
        Ok(httparse::Status::Complete(length)) => &text[length..],
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Fate::Garbled),
    };
    let header = |name: &str| {
        let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        found.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    let whole = if header("transfer-encoding").is_some_and(|coding| coding == "chunked") {
        last_chunk(body)?
    } else if let Some(length) = header("content-length") {
        body.len() >= length.parse().map_err(|_| Fate::Garbled)?
    } else {
        ended
    };
    let says_close = header("connection").is_some_and(|connection| connection == "close");
    let status = response.code.ok_or(Fate::Garbled)?;
    let keep = !ended && !says_close && response.version == Some(1);
    Ok(whole.then(|| Answer { status, keep, server: header("x-server") }))
}

/// Whether the chunks go up to the last, empty one.
fn last_chunk(mut body: &[u8]) -> Result<bool, Fate> {
    loop {
        match httparse::parse_chunk_size(body) {
            Err(_) => return Err(Fate::Garbled),
            Ok(httparse::Status::Partial) => return Ok(false),
            Ok(httparse::Status::Complete((start, 0))) => return Ok(body.len() >= start + 2),
            Ok(httparse::Status::Complete((start, size))) => {
                let Some(rest) = body.get(start + size as usize + 2..) else {
                    return Ok(false);
                };
                body = rest;
            }
        }
    }
}

mod tests {
    use std::io::Write;
    use std::net::TcpListener;

    use super::{Client, Fate};

    /// What becomes of a request when the server says this and closes the connection.
    fn fate_of(said: &'static str) -> Fate {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("a port").port();
        let server = std::thread::spawn(move || {
            let mut client = crate::harness::accept(&listener);
            assert!(std::io::Read::read(&mut client, &mut [0; 4096]).expect("a request") > 0);
            client.write_all(said.as_bytes()).expect("the client listens");
        });
        let (fate, _) = Client::new(port).get("/");
        server.join().expect("the server does not panic");
        fate
    }

    #[test]
    fn whole_answers_of_every_kind_count_as_answered() {
        for said in [
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\n\r\nabc",
        ] {
            assert_eq!(fate_of(said), Fate::Answered, "{said:?}");
        }
    }

    #[test]
    fn an_answer_that_lacks_its_end_is_truncated() {
        for said in [
            "HTTP/1.1 200",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        ] {
            assert_eq!(fate_of(said), Fate::Truncated, "{said:?}");
        }
    }

    #[test]
    fn a_failure_is_told_by_its_kind() {
        assert_eq!(fate_of(""), Fate::CutOff);
        assert_eq!(fate_of("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), Fate::Status(503));
        assert_eq!(fate_of("SSH-2.0-x\r\n"), Fate::Garbled);
        let unused =
            TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
        assert_eq!(Client::new(unused.port()).get("/").0, Fate::Refused);
    }
}
