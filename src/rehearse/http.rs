//! An HTTP/1.1 client, as far as a rehearsal needs one: a request, interim answers, and an answer
//! that is read to its end, because one that breaks off is lost. It is written here because HTTP
//! libraries retry and hide a difference that matters here: a connection that was closed between
//! two requests, or during one.

use std::time::{Duration, Instant};

use super::link::{Link, broken};
use super::recording::Fate;
use super::url::Url;

/// What every request sends besides its URL.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) method: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// How long the client takes to send the body.
    pub(crate) upload: Duration,
}

/// The head of an answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Head {
    pub(crate) status: u16,
    /// It is a stream of server-sent events, which has no end of its own.
    pub(crate) events: bool,
    /// Another request may follow on the connection.
    pub(crate) keeps: bool,
    framing: Framing,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Framing {
    Empty,
    Length(u64),
    Chunked,
    ToEnd,
}

impl Default for Message {
    fn default() -> Message {
        Message { method: "GET".into(), headers: Vec::new(), body: Vec::new(), upload: Duration::ZERO }
    }
}

impl Message {
    fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name))
    }

    /// The head of the request.
    fn head(&self, url: &Url) -> String {
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, url.path);
        if !self.has("host") {
            head.push_str(&format!("Host: {}\r\n", url.host()));
        }
        if !self.has("user-agent") {
            head.push_str("User-Agent: adieu-rehearse\r\n");
        }
        if !self.body.is_empty() && !self.has("content-length") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head + "\r\n"
    }
}

/// Sends a request and reads the head of its answer.
///
/// # Errors
/// The fate of the request when no head of an answer came.
pub(crate) fn begin(link: &mut Link, url: &Url, message: &Message, deadline: Instant) -> Result<Head, Fate> {
    let mut unsent = link.send(message.head(url).as_bytes(), deadline).err();
    // With Expect, the client waits for status 100 before the body; any other status is final.
    if unsent.is_none() && message.has("expect") {
        let head = read_head(link, &message.method, deadline)?;
        if head.status != 100 {
            return Ok(head);
        }
    }
    if unsent.is_none() {
        unsent = send_body(link, message, deadline).err();
    }
    loop {
        match (read_head(link, &message.method, deadline), &unsent) {
            // 101 is final: another protocol follows.
            (Ok(head), _) if (100..200).contains(&head.status) && head.status != 101 => {}
            (Ok(head), _) => return Ok(head),
            (Err(_), Some(error)) => return Err(broken(error)),
            (Err(fate), None) => return Err(fate),
        }
    }
}

/// Sends the body in twenty parts, spread over the upload time.
fn send_body(link: &mut Link, message: &Message, deadline: Instant) -> std::io::Result<()> {
    if message.body.is_empty() {
        return Ok(());
    }
    let begun = Instant::now();
    let parts = message.body.chunks(message.body.len().div_ceil(20));
    for (sent, part) in (0_u32..).zip(parts) {
        let due = begun + message.upload * sent / 20;
        while let Some(pause) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(pause);
        }
        link.send(part, deadline)?;
    }
    Ok(())
}

fn read_head(link: &mut Link, method: &str, deadline: Instant) -> Result<Head, Fate> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 100];
        let mut answer = httparse::Response::new(&mut headers);
        match answer.parse(&link.received) {
            Ok(httparse::Status::Complete(length)) => {
                let head = understand(&answer, method);
                link.received.drain(..length);
                return Ok(head);
            }
            Ok(httparse::Status::Partial) => {}
            Err(error) => return Err(Fate::CutOff { why: format!("not an HTTP answer: {error}") }),
        }
        if link.receive(deadline).map_err(|error| broken(&error))? == 0 {
            let why = match link.received.len() {
                0 => "connection closed without an answer",
                _ => "connection closed in the middle of an answer",
            };
            return Err(Fate::CutOff { why: why.into() });
        }
    }
}

/// RFC 9112, 6.3: the length of the body of an answer.
fn understand(answer: &httparse::Response, method: &str) -> Head {
    let value = |name: &str| {
        let header = answer.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.map(|header| String::from_utf8_lossy(header.value).trim().to_ascii_lowercase())
    };
    let status = answer.code.unwrap_or_default();
    let framing = if method == "HEAD" || matches!(status, 100..200 | 204 | 304) {
        Framing::Empty
    } else if value("transfer-encoding").is_some_and(|coding| coding.ends_with("chunked")) {
        Framing::Chunked
    } else {
        let length = value("content-length").and_then(|length| length.parse().ok());
        length.map_or(Framing::ToEnd, Framing::Length)
    };
    let connection = value("connection").unwrap_or_default();
    let keeps = match answer.version {
        Some(1) => !connection.contains("close"),
        _ => connection.contains("keep-alive"),
    };
    let events = value("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"));
    Head { status, events, keeps: keeps && framing != Framing::ToEnd, framing }
}

/// Reads the answer to its end.
///
/// # Errors
/// The fate of the request when the answer breaks off.
pub(crate) fn finish(link: &mut Link, head: &Head, deadline: Instant) -> Result<(), Fate> {
    match head.framing {
        Framing::Empty => Ok(()),
        Framing::Length(length) => skip(link, length, deadline),
        Framing::ToEnd => {
            link.received.clear();
            while link.receive(deadline).map_err(|error| broken(&error))? > 0 {
                link.received.clear();
            }
            Ok(())
        }
        Framing::Chunked => skip_chunks(link, deadline),
    }
}

fn more(link: &mut Link, deadline: Instant) -> Result<(), Fate> {
    match link.receive(deadline).map_err(|error| broken(&error))? {
        0 => Err(Fate::CutOff { why: "connection closed in the middle of an answer".into() }),
        _ => Ok(()),
    }
}

fn skip(link: &mut Link, mut length: u64, deadline: Instant) -> Result<(), Fate> {
    loop {
        let here = length.min(link.received.len() as u64);
        link.received.drain(..here as usize);
        length -= here;
        if length == 0 {
            return Ok(());
        }
        more(link, deadline)?;
    }
}

fn skip_chunks(link: &mut Link, deadline: Instant) -> Result<(), Fate> {
    loop {
        match httparse::parse_chunk_size(&link.received) {
            Ok(httparse::Status::Complete((line, size))) => {
                link.received.drain(..line);
                if size == 0 {
                    return skip_trailers(link, deadline);
                }
                skip(link, size + 2, deadline)?;
            }
            Ok(httparse::Status::Partial) => more(link, deadline)?,
            Err(_) => return Err(Fate::CutOff { why: "invalid chunk in the answer".into() }),
        }
    }
}

/// Trailer fields end with an empty line, like a head.
fn skip_trailers(link: &mut Link, deadline: Instant) -> Result<(), Fate> {
    loop {
        let end = link.received.windows(2).position(|pair| pair == b"\r\n");
        match end {
            Some(end) => {
                link.received.drain(..end + 2);
                if end == 0 {
                    return Ok(());
                }
            }
            None => more(link, deadline)?,
        }
    }
}
