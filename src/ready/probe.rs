//! `adieu --probe readyz`: asks a running adieu, for images that have no curl. It is a process of
//! its own for one request, so it may block, within a limit.

use crate::sys::describe;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// For the whole request: what users of Docker and Kubernetes set as a timeout is longer, or ends
/// us anyway.
const LIMIT: Duration = Duration::from_secs(2);
/// No page of adieu's is longer.
const ANSWER_LIMIT: u64 = 64 * 1024;

/// What a running adieu said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeAnswer {
    /// It answered 200.
    pub good: bool,
    /// The body.
    pub words: String,
}

/// Asks the adieu at `address`, one that listens everywhere over the loopback, for a page:
/// `readyz`, `livez`, `status`.
///
/// # Errors
/// One line: nothing listens there, or gives no answer within 2 s.
#[allow(clippy::arithmetic_side_effects, reason = "no clock is within seconds of its end")]
pub fn ask(address: SocketAddr, what: &str) -> Result<ProbeAnswer, String> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let until = Instant::now() + LIMIT;
    let answer = talk(address, what, until).map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no answer from '{address}' within 2s")
        }
        _ => format!("cannot ask '{address}': {}", describe(&error)),
    })?;
    understand(&answer).ok_or_else(|| format!("what listens on '{address}' is not adieu"))
}

/// Asks and prints: the page where a person asked for `status`, else one line of reason to stderr.
/// Returns the exit status: 0 for yes, 1 for no and for no answer.
// Kept out of the frame of the task that runs the app.
#[inline(never)]
pub fn run(address: SocketAddr, what: &str) -> i32 {
    match ask(address, what) {
        Ok(said) if what == "status" => {
            // A reader that has gone does not need it.
            let _ = io::stdout().write_all(said.words.as_bytes());
            i32::from(!said.good)
        }
        Ok(said) => {
            let _ = writeln!(io::stderr(), "adieu: {}", said.words.trim_end());
            i32::from(!said.good)
        }
        Err(reason) => {
            let _ = writeln!(io::stderr(), "adieu: {reason}");
            1
        }
    }
}

fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(_) | IpAddr::V6(_) => ip,
    }
}

fn talk(address: SocketAddr, what: &str, until: Instant) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_write_timeout(Some(left(until)?))?;
    let host = address;
    // In one piece: who answers the first piece and hangs up is no adieu, but has answered.
    let request = format!("GET /{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 4096];
    while (answer.len() as u64) < ANSWER_LIMIT {
        stream.set_read_timeout(Some(left(until)?))?;
        match stream.read(&mut piece)? {
            0 => break,
            read => answer.extend(piece.iter().take(read)),
        }
    }
    Ok(answer)
}

/// A time limit of zero would mean none (setsockopt with SO_RCVTIMEO, socket(7)).
fn left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

fn understand(answer: &[u8]) -> Option<ProbeAnswer> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut head = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(length) = head.parse(answer).ok()? else { return None };
    let words = String::from_utf8_lossy(answer.get(length..)?).into_owned();
    Some(ProbeAnswer { good: head.code? == 200, words })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Answers one client, whatever it asks.
    fn server(bind: &str, answer: &'static str) -> (SocketAddr, thread::JoinHandle<String>) {
        let listener = TcpListener::bind(bind).unwrap();
        let address = listener.local_addr().unwrap();
        let thread = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1000];
            let read = stream.read(&mut request).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8(request[..read].to_vec()).unwrap()
        });
        (address, thread)
    }

    #[test]
    fn yes_and_no_come_with_their_reason() {
        let (address, thread) = server("0.0.0.0:0", "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nready\n");
        assert_eq!(ask(address, "readyz"), Ok(ProbeAnswer { good: true, words: "ready\n".to_owned() }));
        assert!(thread.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
        let (address, thread) = server("127.0.0.1:0", "HTTP/1.1 503 No\r\n\r\nnot ready: stopping\n");
        assert_eq!(run(address, "readyz"), 1);
        thread.join().unwrap();
    }

    #[test]
    fn nobody_and_somebody_else_are_told_apart() {
        let (address, thread) = server("127.0.0.1:0", "+PONG\r\n");
        assert_eq!(ask(address, "livez"), Err(format!("what listens on '{address}' is not adieu")));
        thread.join().unwrap();
        assert_eq!(ask(address, "livez"), Err(format!("cannot ask '{address}': connection refused")));
    }

    #[test]
    fn a_silent_server_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(ask(address, "livez"), Err(format!("no answer from '{address}' within 2s")));
    }

    #[test]
    fn everywhere_is_asked_over_the_loopback() {
        assert_eq!(reachable("::".parse().unwrap()), Ipv6Addr::LOCALHOST);
        assert_eq!(reachable("10.1.2.3".parse().unwrap()), Ipv4Addr::new(10, 1, 2, 3));
    }
}
