//! The health endpoint: is the app ready, is it alive, what is going on. It runs in the one loop
//! and may cost it little, whatever its clients do: at most 32 connections, 4 KiB a request, 2 s to
//! send one and to take the answer, and a bounded number of answers a turn, so that a signal never
//! waits behind clients. When all places are taken, new clients wait in the kernel's queue, and the
//! others' time is shorter.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use crate::moment::Moment;
use crate::ready::pages::{Page, View};
use crate::sys::poll::PollFds;
use crate::sys::{describe, descriptors};

/// Connections at a time; and at most this part of the descriptors that adieu may have, since the
/// drain, hooks and checks need some too.
const PLACES: usize = 32;
const SHARE: u64 = 4;
/// Bytes of one request, without its body, which no page needs.
const REQUEST_LIMIT: usize = 4 * 1024;
/// For one request to arrive and its answer to be taken; also how long a keep-alive connection may
/// be idle.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same while all places are taken: a client that waits for a place is more likely to be a
/// kubelet than one that has not sent its request for this long.
const PRESSED: Duration = Duration::from_millis(200);
/// Answers, and new connections, in one turn of the loop.
const ANSWERS_A_TURN: usize = 64;
const ARRIVALS_A_TURN: usize = 64;
/// Writes, and reads of what is thrown away, of one client in one turn.
const CALLS_A_TURN: usize = 4;
/// How long to wait after accept failed for lack of descriptors or memory: the connection stays in
/// the queue and the listener readable, so trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The endpoint: a listener and its clients.
#[derive(Debug)]
pub struct Health {
    listener: TcpListener,
    places: usize,
    clients: Vec<Client>,
    /// Until then no client is accepted.
    paused: Option<Moment>,
    /// The turn ended with requests left to answer.
    unfinished: bool,
    /// The client that is served first in the next turn, so that none takes all answers of every
    /// turn.
    first: usize,
    answered: u64,
}

impl Health {
    /// Listens. std sets SO_REUSEADDR, so that a restart does not wait for old connections to be
    /// forgotten, and close-on-exec.
    ///
    /// # Errors
    /// What the kernel says, such as that the address is in use.
    pub fn bind(addr: SocketAddr) -> io::Result<Health> {
        let listener = TcpListener::bind(addr)?;
        listener.set_nonblocking(true)?;
        let places = places(descriptors::limit().unwrap_or(u64::MAX));
        let clients = Vec::new();
        Ok(Health { listener, places, clients, paused: None, unfinished: false, first: 0, answered: 0 })
    }

    /// Where it listens, with the port that the kernel chose for port 0.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The listener, to keep when all other descriptors are closed.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// The listener, while there is room, and the clients.
    pub fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if self.paused.is_none() && self.clients.len() < self.places {
            fds.readable(self.listener.as_fd());
        }
        for client in &self.clients {
            client.poll_fds(fds);
        }
    }

    /// When a client's time is over.
    pub fn deadline(&self) -> Option<Moment> {
        if self.unfinished {
            return Some(Moment::START);
        }
        let patience = self.patience();
        self.clients.iter().map(|client| client.since + patience).chain(self.paused).min()
    }

    fn patience(&self) -> Duration {
        if self.clients.len() < self.places { PATIENCE } else { PRESSED }
    }

    /// Takes what has come: connections and requests. To be followed by [`Health::serve`] in the
    /// same turn. A loop that looks at its signals in between never gives an answer that is older
    /// than a signal sent before the request.
    pub fn read_requests(&mut self, now: Moment) {
        self.paused = self.paused.filter(|until| now < *until);
        self.accept(now);
        self.clients.iter_mut().for_each(Client::read_requests);
    }

    /// Answers what was received, and closes clients whose time is over.
    pub fn serve(&mut self, now: Moment, view: &View) {
        let mut budget = ANSWERS_A_TURN;
        self.serve_clients(now, view, &mut budget);
        self.unfinished = budget == 0;
    }

    fn serve_clients(&mut self, now: Moment, view: &View, budget: &mut usize) {
        let count = self.clients.len();
        for turn in 0..count {
            let at = self.first.wrapping_add(turn).checked_rem(count).unwrap_or(0);
            let Some(client) = self.clients.get_mut(at) else { continue };
            let before = *budget;
            client.serve(now, view, budget);
            self.answered = self.answered.saturating_add(before.saturating_sub(*budget) as u64);
        }
        self.first = self.first.wrapping_add(1);
        let patience = self.patience();
        self.clients.retain(|client| client.state != ClientState::Gone && now < client.since + patience);
    }

    fn accept(&mut self, now: Moment) {
        for _ in 0..ARRIVALS_A_TURN {
            if self.paused.is_some() || self.clients.len() >= self.places {
                break;
            }
            match self.listener.accept() {
                Ok((stream, _)) => self.clients.extend(Client::new(stream, now)),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    // The client has gone before accept(2).
                    ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
                    _ => {
                        log::debug!("cannot accept a health connection: {}", describe(&error));
                        self.paused = Some(now + ACCEPT_PAUSE);
                    }
                },
            }
        }
    }
}

fn places(descriptors: u64) -> usize {
    // At most PLACES, so it fits.
    (descriptors / SHARE).clamp(1, PLACES as u64) as usize
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClientState {
    /// Requests come and are answered.
    Asking,
    /// The last answer is on its way.
    Closing,
    /// The last answer is sent, and what still comes is read and dropped: closing with unread data
    /// would make the kernel send a reset, which destroys the answer before the client has read it
    /// (RFC 9112, 9.6).
    Lingering,
    Gone,
}

#[derive(Debug)]
struct Client {
    stream: TcpStream,
    state: ClientState,
    received: Vec<u8>,
    /// The client has closed its side.
    ended: bool,
    unsent: Vec<u8>,
    /// When it came, or was last answered.
    since: Moment,
}

impl Client {
    fn new(stream: TcpStream, now: Moment) -> Option<Client> {
        stream.set_nonblocking(true).ok()?;
        Some(Client {
            stream,
            state: ClientState::Asking,
            received: Vec::new(),
            ended: false,
            unsent: Vec::new(),
            since: now,
        })
    }

    fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if self.unsent.is_empty() {
            fds.readable(self.stream.as_fd());
        } else {
            fds.writable(self.stream.as_fd());
        }
    }

    fn serve(&mut self, now: Moment, view: &View, budget: &mut usize) {
        if self.flush() && self.state == ClientState::Asking {
            self.answer(now, view, budget);
            let waiting = !self.unsent.is_empty() || *budget == 0;
            if self.ended && self.state == ClientState::Asking && !waiting {
                self.state = ClientState::Gone;
            }
        }
        if self.state == ClientState::Closing && self.unsent.is_empty() {
            // Tells the client that nothing more comes; if that fails, reading will fail too.
            let _ = self.stream.shutdown(Shutdown::Write);
            self.state = ClientState::Lingering;
        }
        if self.state == ClientState::Lingering {
            self.linger();
        }
    }

    /// Reads what is there, within the limit. Stops while an answer is not taken, so that what
    /// adieu keeps for a client stays bounded.
    fn read_requests(&mut self) {
        let mut piece = [0; REQUEST_LIMIT];
        let room = REQUEST_LIMIT.saturating_sub(self.received.len());
        if room == 0 || self.state != ClientState::Asking || !self.unsent.is_empty() {
            return;
        }
        match self.stream.read(piece.get_mut(..room).unwrap_or_default()) {
            Ok(0) => self.ended = true,
            Ok(read) => self.received.extend(piece.iter().take(read)),
            Err(error) if later(&error) => {}
            Err(_) => self.state = ClientState::Gone,
        }
    }

    fn answer(&mut self, now: Moment, view: &View, budget: &mut usize) {
        while *budget > 0 && self.state == ClientState::Asking {
            if self.unsent.len() >= REQUEST_LIMIT && !self.flush() {
                return;
            }
            let Some(asked) = next_request(&mut self.received) else {
                break;
            };
            *budget = budget.saturating_sub(1);
            self.respond(&asked, now, view);
        }
        self.flush();
    }

    fn respond(&mut self, asked: &HttpRequest, now: Moment, view: &View) {
        let (status, kind, body) = asked.page.render(now, view);
        let allow = if asked.page == Page::NotAllowed { "Allow: GET, HEAD\r\n" } else { "" };
        let keep = match asked.keep {
            Keep::Yes => "",
            Keep::Said => "Connection: keep-alive\r\n",
            Keep::No => "Connection: close\r\n",
        };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nCache-Control: no-store\r\n{allow}{keep}\r\n",
            body.len()
        );
        self.unsent.extend(head.as_bytes());
        if !asked.head_only {
            self.unsent.extend(body.as_bytes());
        }
        self.since = now;
        if asked.keep == Keep::No {
            self.state = ClientState::Closing;
            self.received.clear();
        }
    }

    /// True when everything has been sent. A client that takes it in small pieces is served on in
    /// the next turn.
    fn flush(&mut self) -> bool {
        for _ in 0..CALLS_A_TURN {
            if self.unsent.is_empty() {
                break;
            }
            match self.stream.write(&self.unsent) {
                Ok(written) => drop(self.unsent.drain(..written)),
                Err(error) if later(&error) => return false,
                Err(_) => {
                    self.state = ClientState::Gone;
                    return false;
                }
            }
        }
        self.unsent.is_empty()
    }

    /// Drops what still comes, a bounded part each turn, until the client closes or its time is
    /// over.
    fn linger(&mut self) {
        let mut waste = [0; REQUEST_LIMIT];
        for _ in 0..CALLS_A_TURN {
            match self.stream.read(&mut waste) {
                Ok(read) if read > 0 => {}
                Err(error) if later(&error) => return,
                Ok(_) | Err(_) => {
                    self.state = ClientState::Gone;
                    return;
                }
            }
        }
    }
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// What the endpoint needs of one request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct HttpRequest {
    page: Page,
    head_only: bool,
    keep: Keep,
}

/// Whether the connection stays open: yes; yes, with a header for HTTP/1.0; no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Keep {
    Yes,
    Said,
    No,
}

impl HttpRequest {
    fn wrong(page: Page) -> HttpRequest {
        HttpRequest { page, head_only: false, keep: Keep::No }
    }
}

/// Takes the first request off what was received; `None` while it is incomplete.
fn next_request(received: &mut Vec<u8>) -> Option<HttpRequest> {
    if received.is_empty() {
        return None;
    }
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(received) {
        Ok(httparse::Status::Complete(length)) => {
            let asked = understand(&request);
            received.drain(..length);
            Some(asked)
        }
        Ok(httparse::Status::Partial) if received.len() < REQUEST_LIMIT => None,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            Some(HttpRequest::wrong(Page::TooLarge))
        }
        Err(_) => Some(HttpRequest::wrong(Page::Bad)),
    }
}

fn understand(request: &httparse::Request) -> HttpRequest {
    let method = request.method.unwrap_or_default();
    let head_only = method == "HEAD";
    let mut page = Page::at(path_of(request.path.unwrap_or_default()));
    if page != Page::NotFound && !head_only && method != "GET" {
        page = Page::NotAllowed;
    }
    let header = |name: &str| {
        let mut found = request.headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
        found.next().map(|header| String::from_utf8_lossy(header.value).to_ascii_lowercase())
    };
    let connection = header("connection").unwrap_or_default();
    let says = |word: &str| connection.split(',').any(|token| token.trim() == word);
    // A body is not looked at, so where it ends and the next request begins is unknown: close after
    // the answer.
    let body = header("content-length").is_some_and(|length| length.trim() != "0");
    let keep = if body || header("transfer-encoding").is_some() || says("close") {
        Keep::No
    } else if request.version == Some(1) {
        Keep::Yes
    } else if says("keep-alive") {
        Keep::Said
    } else {
        Keep::No
    };
    HttpRequest { page, head_only, keep }
}

/// Without the query, and without what an absolute target puts before it (RFC 9112, 3.2.2).
fn path_of(target: &str) -> &str {
    let target = match target.split_once("://") {
        Some((_, rest)) if !target.starts_with('/') => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        _ => target,
    };
    target.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::thread::{self, JoinHandle};
    use std::time::Instant;

    use proptest::prelude::*;

    use super::*;
    use crate::lifecycle::Phase;

    const READY: View = View {
        phase: Phase::Running,
        since: Moment::at(Duration::ZERO),
        ready: Ok(()),
        app: Some(7),
        app_alive: true,
        in_flight: None,
        judged_idle: None,
        not_seen: false,
        closed: 0,
        answered: 0,
        let_go: 0,
        reaped: 0,
        signals_forwarded: 0,
        settings: &[],
    };
    const STOPPING: View = View { phase: Phase::PreStop, ready: Err("stop requested"), ..READY };

    fn local() -> Health {
        Health::bind("127.0.0.1:0".parse().unwrap()).unwrap()
    }

    /// One turn of a loop that has nothing else to do.
    fn turn(health: &mut Health, now: Moment, view: &View) {
        let mut fds = PollFds::new();
        health.poll_fds(&mut fds);
        let spare = if health.deadline() == Some(Moment::START) { 0 } else { 10 };
        fds.wait(Some(Moment::at(Duration::from_millis(spare))), Moment::START);
        drop(fds);
        health.read_requests(now);
        health.serve(now, view);
    }

    /// Serves until the client is through, in real time.
    fn serve_until<T>(health: &mut Health, view: &View, client: JoinHandle<T>) -> T {
        let begin = Instant::now();
        while !client.is_finished() {
            assert!(begin.elapsed() < Duration::from_secs(120), "the client hangs: {health:?}");
            turn(health, Moment::at(begin.elapsed()), view);
        }
        client.join().unwrap()
    }

    /// Sends all of it, closes its side when told so, reads until the server closes.
    fn talk(health: &mut Health, view: &View, words: &[u8]) -> String {
        let addr = health.address().unwrap();
        let words = words.to_vec();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&words).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        serve_until(health, view, client)
    }

    fn get(health: &mut Health, view: &View, path: &str) -> String {
        talk(health, view, format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").as_bytes())
    }

    fn status_of(answer: &str) -> &str {
        answer.get(9..12).unwrap_or(answer)
    }

    #[test]
    fn each_path_has_its_answer() {
        let mut health = local();
        for (path, running, stopping) in [
            ("/readyz", "200", "503"),
            ("/health/ready", "200", "503"),
            ("/readyz?verbose", "200", "503"),
            ("http://adieu:1/readyz", "200", "503"),
            ("/livez", "200", "200"),
            ("/health/live", "200", "200"),
            ("/status", "200", "200"),
            ("/metrics", "200", "200"),
            ("/", "404", "404"),
            ("/readyz/", "404", "404"),
        ] {
            assert_eq!(status_of(&get(&mut health, &READY, path)), running, "{path}");
            assert_eq!(status_of(&get(&mut health, &STOPPING, path)), stopping, "{path}");
        }
        let answer = get(&mut health, &STOPPING, "/readyz");
        assert!(answer.ends_with("\r\n\r\nnot ready: stop requested\n"), "{answer}");
        assert!(answer.contains("Content-Length: 26\r\n"), "{answer}");
        let dead = View { app_alive: false, ..STOPPING };
        assert_eq!(status_of(&get(&mut health, &dead, "/livez")), "503");
    }

    #[test]
    fn what_is_wrong_is_said() {
        let mut health = local();
        let answer = talk(&mut health, &READY, b"POST /readyz HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc");
        assert_eq!(status_of(&answer), "405");
        assert!(answer.contains("Allow: GET, HEAD\r\n"), "{answer}");
        assert_eq!(
            status_of(&talk(&mut health, &READY, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")),
            "400"
        );
        assert_eq!(status_of(&talk(&mut health, &READY, b"GET /readyz HTTP/2.5\r\n\r\n")), "400");
        let mut long = b"GET /readyz HTTP/1.1\r\nCookie: ".to_vec();
        long.extend([b'x'; 100_000]);
        assert_eq!(status_of(&talk(&mut health, &READY, &long)), "431");
        let many = "A: b\r\n".repeat(40);
        let many = format!("GET /readyz HTTP/1.1\r\n{many}\r\n");
        assert_eq!(status_of(&talk(&mut health, &READY, many.as_bytes())), "431");
    }

    #[test]
    fn head_tells_the_length_and_no_more() {
        let answer = talk(&mut local(), &READY, b"HEAD /readyz HTTP/1.0\r\n\r\n");
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
        assert!(answer.contains("Content-Length: 6\r\n"), "{answer}");
    }

    #[test]
    fn a_client_that_closes_its_side_early_gets_its_answer() {
        let mut health = local();
        let addr = health.address().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(b"GET /livez HTTP/1.1\r\n\r\n").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(status_of(&serve_until(&mut health, &READY, client)), "200");
    }

    /// Its end is read to the last byte, a bounded part of it each turn: closing earlier would
    /// reset the connection.
    #[test]
    fn who_sends_a_long_body_hears_the_answer_all_the_same() {
        let mut words = b"POST /readyz HTTP/1.1\r\nContent-Length: 3000000\r\n\r\n".to_vec();
        words.resize(words.len() + 3_000_000, b'x');
        let mut health = local();
        let addr = health.address().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.write_all(&words).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        });
        assert_eq!(status_of(&serve_until(&mut health, &READY, client)), "405");
    }

    #[test]
    fn requests_in_a_row_are_answered_in_order_on_one_connection() {
        let mut words = b"GET /readyz HTTP/1.1\r\n\r\n".repeat(1000);
        words.extend(b"GET /nothing HTTP/1.1\r\nConnection: close\r\n\r\n");
        let answer = talk(&mut local(), &READY, &words);
        assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 1000);
        assert_eq!(answer.matches("HTTP/1.1 404").count(), 1);
        assert!(answer.ends_with("/metrics\n"));
    }

    #[test]
    fn a_turn_answers_a_bounded_number_and_asks_for_the_next_one_at_once() {
        let mut health = local();
        let mut stream = TcpStream::connect(health.address().unwrap()).unwrap();
        stream.write_all(&b"GET /livez HTTP/1.1\r\n\r\n".repeat(150)).unwrap();
        while health.answered == 0 {
            turn(&mut health, Moment::at(Duration::ZERO), &READY);
        }
        assert_eq!(health.answered, 64);
        assert_eq!(health.deadline(), Some(Moment::START));
        health.serve(Moment::at(Duration::ZERO), &READY);
        health.serve(Moment::at(Duration::ZERO), &READY);
        health.serve(Moment::at(Duration::ZERO), &READY);
        assert_eq!(health.answered, 150);
        assert_eq!(health.deadline(), Some(Moment::at(PATIENCE)));
    }

    #[test]
    fn ten_thousand_requests_on_one_kept_connection() {
        let mut health = local();
        let addr = health.address().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            stream.set_nodelay(true).unwrap();
            let mut answer = [0; 4096];
            for _ in 0..10_000 {
                stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
                let read = stream.read(&mut answer).unwrap();
                assert!(answer[..read].ends_with(b"\r\n\r\nready\n"));
            }
        });
        let begin = Instant::now();
        serve_until(&mut health, &READY, client);
        println!("10,000 requests in {:?}", begin.elapsed());
        assert_eq!(health.answered, 10_000);
    }

    #[test]
    fn a_client_that_reads_nothing_is_given_up_and_costs_a_bounded_heap() {
        let mut health = local();
        let addr = health.address().unwrap();
        let client = thread::spawn(move || {
            let mut stream = TcpStream::connect(addr).unwrap();
            // Ends with an error once adieu has closed.
            while stream.write_all(&b"GET /metrics HTTP/1.1\r\n\r\n".repeat(100)).is_ok() {}
        });
        let begin = Instant::now();
        while !client.is_finished() {
            assert!(begin.elapsed() < Duration::from_secs(120));
            turn(&mut health, Moment::at(begin.elapsed()), &READY);
            let kept: usize = health.clients.iter().map(|c| c.unsent.len() + c.received.len()).sum();
            assert!(kept < 4 * REQUEST_LIMIT, "{kept}");
        }
        client.join().unwrap();
    }

    #[test]
    fn slow_clients_lose_their_places_sooner_when_others_may_wait() {
        let mut health = local();
        let addr = health.address().unwrap();
        let mut slow: Vec<TcpStream> = (1..PLACES).map(|_| TcpStream::connect(addr).unwrap()).collect();
        while health.clients.len() < PLACES - 1 {
            turn(&mut health, Moment::at(Duration::ZERO), &READY);
        }
        assert_eq!(health.deadline(), Some(Moment::at(PATIENCE)));
        for at in [500, 1000, 1500, 1999] {
            for stream in &mut slow {
                stream.write_all(b"G").unwrap();
            }
            turn(&mut health, Moment::at(Duration::from_millis(at)), &READY);
            assert_eq!(health.clients.len(), PLACES - 1);
        }
        assert_eq!(health.deadline(), Some(Moment::at(PATIENCE)), "bytes that make no request win no time");
        slow.push(TcpStream::connect(addr).unwrap());
        let mut probe = TcpStream::connect(addr).unwrap();
        probe.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").unwrap();
        while health.clients.len() < PLACES {
            turn(&mut health, Moment::at(Duration::from_millis(100)), &READY);
        }
        let mut fds = PollFds::new();
        health.poll_fds(&mut fds);
        assert_eq!(fds.len(), PLACES, "full: the listener is left alone");
        drop(fds);
        assert_eq!(health.deadline(), Some(Moment::at(PRESSED)));
        while health.answered == 0 {
            turn(&mut health, Moment::at(PRESSED), &READY);
        }
        let mut answer = [0; 12];
        probe.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }

    #[test]
    fn a_port_scan_and_a_thousand_hostile_connections_leave_the_endpoint_in_order() {
        let mut health = local();
        let addr = health.address().unwrap();
        let client = thread::spawn(move || {
            for n in 0..1000 {
                let mut stream = TcpStream::connect(addr).unwrap();
                // Whatever becomes of the words: adieu may have closed already.
                let _ = match n % 5 {
                    0 => Ok(()),
                    1 => stream.write_all(b"GET /readyz HTTP/1.1\r\nX: "),
                    2 => stream.write_all(&[0xff; 9000]),
                    3 => stream.write_all(b"\r\n\r\n\r\n"),
                    _ => stream.write_all(b"GET /status HTTP/1.1\r\n\r\n"),
                };
            }
        });
        serve_until(&mut health, &READY, client);
        assert_eq!(status_of(&get(&mut health, &READY, "/readyz")), "200");
        assert!(health.clients.len() <= PLACES);
    }

    #[test]
    fn a_failing_accept_is_tried_again_later_and_not_at_once() {
        let mut health = local();
        health.paused = Some(Moment::at(Duration::from_secs(3)));
        let mut fds = PollFds::new();
        health.poll_fds(&mut fds);
        assert_eq!(fds.len(), 0);
        drop(fds);
        assert_eq!(health.deadline(), Some(Moment::at(Duration::from_secs(3))));
        health.read_requests(Moment::at(Duration::from_secs(3)));
        health.serve(Moment::at(Duration::from_secs(3)), &READY);
        assert_eq!(health.deadline(), None, "nothing to do, nobody to wake");
    }

    #[test]
    fn few_descriptors_are_not_all_for_clients() {
        assert_eq!([0, 3, 16, 100, 1024, u64::MAX].map(places), [1, 1, 4, 25, 32, 32]);
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let health = local();
        let addr = health.address().unwrap();
        assert_eq!(Health::bind(addr).unwrap_err().kind(), ErrorKind::AddrInUse);
    }

    #[test]
    fn ipv6_works_where_there_is_some() {
        match Health::bind("[::1]:0".parse().unwrap()) {
            Ok(mut health) => assert_eq!(status_of(&get(&mut health, &READY, "/livez")), "200"),
            Err(error) => {
                println!("LEFT OUT: no IPv6 here: {error}");
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"));
            }
        }
    }

    proptest! {
        /// However the bytes come, the first request is found whole or refused, and nothing panics
        /// or waits for ever.
        #[test]
        fn any_bytes_are_digested(bytes in prop::collection::vec(any::<u8>(), 0..REQUEST_LIMIT)) {
            let mut received = bytes;
            let mut left = received.len();
            while let Some(asked) = next_request(&mut received) {
                if asked.keep == Keep::No {
                    return Ok(());
                }
                prop_assert!(received.len() < left);
                left = received.len();
            }
            prop_assert!(received.len() < REQUEST_LIMIT);
        }

        /// Nearly right requests, in pieces, mean the same as whole.
        #[test]
        fn pieces_mean_what_the_whole_means(
            method in "(GET|HEAD|POST|[A-Z]{1,9})",
            path in "/(readyz|livez|status|[a-z?=&/%]{0,30})",
            header in "(|Connection: (close|keep-alive|Upgrade)\r\n|Content-Length: [0-9]{1,3}\r\n|X-[A-Za-z]{1,9}: [ -~]{0,40}\r\n)",
            version in "HTTP/1[.][01]",
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = format!("{method} {path} {version}\r\n{header}\r\n").into_bytes();
            let expected = next_request(&mut whole.clone());
            prop_assert!(expected.is_some());
            let (first, rest) = whole.split_at(cut.index(whole.len()));
            let mut received = first.to_vec();
            prop_assert_eq!(next_request(&mut received), None);
            received.extend(rest);
            prop_assert_eq!(next_request(&mut received), expected);
            prop_assert!(received.is_empty());
        }
    }
}
