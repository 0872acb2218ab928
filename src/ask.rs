//! One call to the outside: a command, an HTTP server, a port. It is started, served when a
//! descriptor of it is ready or its deadline has come, and keeps its answer until it is read. It
//! never blocks, resolves no names, and never waits for a child by itself: the one reaper hands
//! over the end of a command.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::moment::Moment;
use crate::moment::show_duration;
use crate::process::{Exit, Pid};
use crate::settings::{HttpTarget, Target};
use crate::signal::Signal;
use crate::sys::poll::PollFds;
use crate::sys::sockets::begin_to_connect;
use crate::sys::spawn::{Helper, helper};
use crate::sys::{describe, is_passing};

/// How much of an HTTP answer is read, with interim answers; the rest is cut off, but the status
/// still counts.
const ANSWER_LIMIT: usize = 8 * 1024;
/// Bytes that are read at once.
const PIECE: usize = 2048;
/// Reads and writes of one exchange in one turn of the loop.
const STEPS_A_TURN: usize = 8;
/// How long to wait before a retry when resources have run out.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// What was received. The caller judges it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The port took a connection.
    Accepted,
    /// The HTTP server answered with this status.
    Status(u16),
    /// The command ended like this.
    Ended(Exit),
}

impl Answer {
    /// What makes a readiness check pass and a hook succeed: a connection, a 2xx, an exit status of
    /// 0.
    pub fn good(self) -> Result<(), String> {
        match self {
            Answer::Accepted | Answer::Status(200..=299) | Answer::Ended(Exit::Status(0)) => Ok(()),
            Answer::Status(status) => Err(format!("answered {status}")),
            Answer::Ended(Exit::Status(status)) => Err(format!("exit status {status}")),
            Answer::Ended(Exit::Killed(signal)) => Err(format!("died of {signal}")),
        }
    }

    /// Whether a drain check finds the app idle. Stricter than [`Answer::good`]: 202 and 204 may
    /// mean something else.
    pub fn idle(self) -> Result<(), String> {
        match self {
            Answer::Status(status) if status != 200 => Err(format!("answered {status}")),
            Answer::Status(_) | Answer::Accepted | Answer::Ended(_) => self.good(),
        }
    }
}

/// One call, running or answered.
#[derive(Debug)]
pub struct Ask {
    limit: Duration,
    deadline: Moment,
    work: Work,
    answer: Option<Result<Answer, String>>,
}

#[derive(Debug)]
enum Work {
    /// Descriptors, processes or memory have run out for the moment; `again` is when to retry.
    Deferred {
        target: Target,
        env: Vec<(String, String)>,
        again: Moment,
        why: String,
    },
    Exchanging(HttpExchange),
    Running(Helper),
    /// Killed, and not reaped yet. The kernel cannot end a command that waits for a file system
    /// that does not answer.
    Killed(Pid),
    Over,
}

/// A connection, from the first SYN to the last byte.
#[derive(Debug)]
struct HttpExchange {
    stream: TcpStream,
    progress: AskState,
    /// What is still to be sent; `None` for a plain TCP check.
    request: Option<Vec<u8>>,
    /// What is not parsed yet.
    received: Vec<u8>,
    /// Bytes received so far, those of interim answers included.
    taken: usize,
    /// The status, as soon as it is known.
    status: Option<u16>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum AskState {
    Connecting,
    Sending,
    /// Until the other side closes, even when the status is known: closing earlier would make a
    /// correct server log a broken pipe once a second.
    Receiving,
}

impl Ask {
    /// Starts the call. `limit` bounds all of it from `now` on; `env` is added to the environment
    /// of a command. A failure at the start is an answer too. [`Target::Notify`] cannot be called,
    /// since the app reports by itself.
    pub fn start(target: &Target, now: Moment, limit: Duration, env: &[(String, String)]) -> Ask {
        let mut ask = Ask { limit, deadline: now + limit, work: Work::Over, answer: None };
        ask.begin(target, now, env);
        ask
    }

    fn begin(&mut self, target: &Target, now: Moment, env: &[(String, String)]) {
        let (verb, begun) = match target {
            Target::Exec(argv) => ("start", helper(argv, env).map(Work::Running)),
            Target::Http(http) => ("connect", connect_to(http.addr, Some(request(http)))),
            Target::Tcp(addr) => ("connect", connect_to(*addr, None)),
            Target::Notify => return self.finish(Err("the app speaks by itself".to_owned())),
        };
        match begun {
            Ok(work) => self.work = work,
            Err(error) => {
                let why = format!("cannot {verb}: {}", describe(&error));
                if is_passing(&error) {
                    let (target, env, again) = (target.clone(), env.to_vec(), now + TRY_AGAIN);
                    self.work = Work::Deferred { target, env, again, why };
                } else {
                    self.finish(Err(why));
                }
            }
        }
    }

    /// The answer, once there is one; `Err` in one line if none came.
    pub fn answer(&self) -> Option<Result<Answer, String>> {
        self.answer.clone()
    }

    /// The answer judged as a readiness check and a hook judge it ([`Answer::good`]).
    pub fn result(&self) -> Option<Result<(), String>> {
        Some(self.answer()?.and_then(Answer::good))
    }

    /// Nothing is left to wait for, not even the close by the other side.
    pub fn is_over(&self) -> bool {
        matches!(self.work, Work::Over | Work::Killed(_))
    }

    /// The command was cut off and has not ended yet.
    pub fn lingers(&self) -> bool {
        matches!(self.work, Work::Killed(_))
    }

    /// The descriptor that the answer depends on, while there is one.
    pub fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Work::Exchanging(exchange) = &self.work {
            match exchange.progress {
                AskState::Connecting | AskState::Sending => fds.writable(exchange.stream.as_fd()),
                AskState::Receiving => fds.readable(exchange.stream.as_fd()),
            }
        }
    }

    /// The command, while it runs.
    pub fn pid(&self) -> Option<Pid> {
        match self.work {
            Work::Running(ref helper) => Some(helper.pid()),
            Work::Deferred { .. } | Work::Exchanging(_) | Work::Killed(_) | Work::Over => None,
        }
    }

    /// Our own end of the connection, while there is one.
    pub fn asks_from(&self) -> Option<SocketAddr> {
        match &self.work {
            Work::Exchanging(exchange) => exchange.stream.local_addr().ok(),
            Work::Deferred { .. } | Work::Running(_) | Work::Killed(_) | Work::Over => None,
        }
    }

    /// When it is given up; `None` once nothing is left to wait for.
    pub fn deadline(&self) -> Option<Moment> {
        match self.work {
            Work::Deferred { again, .. } => Some(again.min(self.deadline)),
            Work::Exchanging(_) | Work::Running(_) => Some(self.deadline),
            Work::Killed(_) | Work::Over => None,
        }
    }

    /// Does what it can without waiting, and gives up at the deadline.
    pub fn serve(&mut self, now: Moment) {
        self.try_again(now);
        self.advance();
        if !self.is_over() && now >= self.deadline {
            let reason = match &self.work {
                Work::Deferred { why, .. } => why.clone(),
                _ => format!("no answer within {}", show_duration(self.limit)),
            };
            self.cut(reason);
        }
    }

    fn try_again(&mut self, now: Moment) {
        if let Work::Deferred { target, env, again, .. } = &self.work
            && now >= *again
        {
            let (target, env) = (target.clone(), env.clone());
            self.begin(&target, now, &env);
        }
    }

    /// Takes the end of a process; true when it was this call's command. Kills what is left of its
    /// process group, so that a check that forks once a second does not pile up processes. (The
    /// kernel reuses no number of a group that has members; without members the answer is ESRCH.)
    pub fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        match &self.work {
            Work::Running(helper) if helper.pid() == pid => {
                let answer = match helper.exec_error() {
                    Some(error) => Err(format!("cannot start: {}", describe(&error))),
                    None => Ok(Answer::Ended(exit)),
                };
                self.finish(answer);
            }
            Work::Killed(killed) if *killed == pid => self.work = Work::Over,
            _ => return false,
        }
        kill_group(pid);
        true
    }

    /// Ends the call at once: kills a command with its group (the reaper then finds a child that no
    /// one claims), and closes a connection. Keeps an answer that has come already.
    pub fn cut(&mut self, reason: String) {
        let running = self.pid();
        if self.is_over() {
            return;
        }
        self.finish(Err(reason));
        if let Some(pid) = running {
            kill_group(pid);
            self.work = Work::Killed(pid);
        }
    }

    fn finish(&mut self, answer: Result<Answer, String>) {
        self.answer.get_or_insert(answer);
        self.work = Work::Over;
    }

    /// Does what it can without waiting.
    fn advance(&mut self) {
        let Work::Exchanging(exchange) = &mut self.work else {
            return;
        };
        let over = exchange.advance();
        if let Some(status) = exchange.status {
            self.answer.get_or_insert(Ok(Answer::Status(status)));
        }
        if let Some(answer) = over {
            self.finish(answer);
        }
    }
}

impl HttpExchange {
    /// The end of the exchange, once it is over. If more is left to do, the ready socket wakes the
    /// loop at once.
    fn advance(&mut self) -> Option<Result<Answer, String>> {
        for _ in 0..STEPS_A_TURN {
            let end = match self.progress {
                AskState::Connecting => self.connect(),
                AskState::Sending => self.send(),
                AskState::Receiving => self.receive(),
            };
            match end {
                Advance::Wait => return None,
                Advance::Next(progress) => self.progress = progress,
                Advance::End(answer) => return Some(answer),
            }
        }
        None
    }

    /// A connection in the making has no peer yet and no error either (connect(2), EINPROGRESS).
    fn connect(&mut self) -> Advance {
        match self.stream.take_error() {
            Ok(None) => match self.stream.peer_addr() {
                // A socket may connect to itself if the port is in the range of ephemeral ports
                // (RFC 9293, 3.5, simultaneous open): nothing listens there.
                Ok(peer) if self.stream.local_addr().is_ok_and(|own| own == peer) => {
                    Advance::End(Err("cannot connect: connection refused".to_owned()))
                }
                Ok(_) if self.request.is_none() => Advance::End(Ok(Answer::Accepted)),
                Ok(_) => Advance::Next(AskState::Sending),
                Err(_) => Advance::Wait,
            },
            Ok(Some(error)) | Err(error) => Advance::failed("cannot connect", &error),
        }
    }

    fn send(&mut self) -> Advance {
        let Some(request) = self.request.as_mut().filter(|request| !request.is_empty()) else {
            return Advance::Next(AskState::Receiving);
        };
        match self.stream.write(request) {
            Ok(sent) => {
                request.drain(..sent);
                Advance::Next(AskState::Sending)
            }
            Err(error) if later(&error) => Advance::Wait,
            Err(error) => Advance::failed("cannot send the request", &error),
        }
    }

    fn receive(&mut self) -> Advance {
        let mut piece = [0; PIECE];
        match self.stream.read(&mut piece) {
            Ok(0) => Advance::End(self.verdict().ok_or_else(|| "closed without an answer".to_owned())),
            Ok(read) => {
                self.taken = self.taken.saturating_add(read);
                // What comes after the status is read only so that the other side can finish.
                if self.status.is_none() {
                    self.received.extend(piece.iter().take(read));
                }
                if self.status.is_none()
                    && let Err(error) = self.read_status()
                {
                    return Advance::End(Err(format!("no HTTP answer: {error}")));
                }
                if self.taken >= ANSWER_LIMIT {
                    return Advance::End(
                        self.verdict().ok_or_else(|| "the headers of the answer do not end".to_owned()),
                    );
                }
                Advance::Next(AskState::Receiving)
            }
            Err(error) if later(&error) => Advance::Wait,
            Err(error) => match self.verdict() {
                Some(answer) => Advance::End(Ok(answer)),
                None => Advance::failed("cannot read the answer", &error),
            },
        }
    }

    fn verdict(&self) -> Option<Answer> {
        self.status.map(Answer::Status)
    }

    /// Looks for the status of the final answer; skips interim ones (1xx, RFC 9110, 15.2).
    fn read_status(&mut self) -> Result<(), httparse::Error> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; 64];
            let mut head = httparse::Response::new(&mut headers);
            match head.parse(&self.received)? {
                httparse::Status::Partial => return Ok(()),
                httparse::Status::Complete(length) => match head.code {
                    Some(100..=199) => drop(self.received.drain(..length)),
                    code => {
                        self.status = code;
                        return Ok(());
                    }
                },
            }
        }
    }
}

enum Advance {
    Wait,
    Next(AskState),
    End(Result<Answer, String>),
}

impl Advance {
    fn failed(what: &str, error: &io::Error) -> Advance {
        Advance::End(Err(format!("{what}: {}", describe(error))))
    }
}

fn connect_to(addr: SocketAddr, request: Option<Vec<u8>>) -> io::Result<Work> {
    let stream = begin_to_connect(addr)?;
    let progress = AskState::Connecting;
    Ok(Work::Exchanging(HttpExchange {
        stream,
        progress,
        request,
        received: Vec::new(),
        taken: 0,
        status: None,
    }))
}

fn request(http: &HttpTarget) -> Vec<u8> {
    let length = if http.method == "POST" { "Content-Length: 0\r\n" } else { "" };
    format!(
        "{} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: adieu/{}\r\nAccept: */*\r\n{length}Connection: close\r\n\r\n",
        http.method,
        http.path,
        http.host,
        env!("CARGO_PKG_VERSION"),
    )
    .into_bytes()
}

fn later(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A short name for logs and reasons, as it was typed.
pub fn name_of(target: &Target) -> String {
    match target {
        Target::Exec(argv) => {
            let words: Vec<_> = argv.iter().map(|word| word.to_string_lossy()).collect();
            format!("exec:{}", words.join(" "))
        }
        Target::Http(http) => {
            let verb = if http.method == "POST" { "post:" } else { "" };
            format!("{verb}http://{}{}", http.host, http.path)
        }
        Target::Tcp(addr) => format!("tcp://{addr}"),
        Target::Notify => "notify".to_owned(),
    }
}

fn kill_group(pid: Pid) {
    // ESRCH is the answer that nobody is left there; EPERM (a set-uid command) cannot be helped.
    let _ = crate::sys::signals::send_group(pid, Signal::KILL);
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::net::TcpListener;
    use std::time::Instant;

    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    /// Serves the call as the one loop does, reaper included, until it is over.
    fn finish(mut call: Ask) -> Result<Answer, String> {
        let begin = Instant::now();
        while !call.is_over() {
            let mut fds = PollFds::new();
            call.poll_fds(&mut fds);
            fds.wait(Some(Moment::at(Duration::from_millis(10))), Moment::START);
            drop(fds);
            if let Some(pid) = call.pid() {
                reap(&mut call, pid);
            }
            call.serve(Moment::at(begin.elapsed()));
        }
        call.answer().unwrap()
    }

    fn reap(call: &mut Ask, pid: Pid) {
        let exit =
            match waitpid(nix::unistd::Pid::from_raw(pid.number()), Some(WaitPidFlag::WNOHANG)).unwrap() {
                WaitStatus::Exited(_, status) => Exit::Status(status as u8),
                WaitStatus::Signaled(_, signal, _) => Exit::Killed(Signal::new(signal as i32).unwrap()),
                _ => return,
            };
        assert!(!call.reaped(Pid::new(1).unwrap(), exit), "not its process");
        assert!(call.reaped(pid, exit));
    }

    fn ask(target: &Target) -> Result<Answer, String> {
        finish(Ask::start(target, Moment::at(Duration::ZERO), LIMIT, &[]))
    }

    fn http(addr: SocketAddr) -> Target {
        Target::Http(HttpTarget { method: "GET", addr, host: addr.to_string(), path: "/ok?a=b".to_owned() })
    }

    fn sh(script: &str) -> Target {
        Target::Exec(["/bin/sh", "-c", script].map(OsString::from).to_vec())
    }

    /// A server for one connection: reads the head of the request, answers with the pieces as they
    /// stand, gives the request back.
    fn server(pieces: &'static [&'static [u8]]) -> (SocketAddr, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            for piece in pieces {
                stream.write_all(piece).unwrap();
            }
            String::from_utf8(request).unwrap()
        });
        (addr, thread)
    }

    #[test]
    fn an_http_answer_is_its_status() {
        let (addr, thread) = server(&[b"HTTP/1.1 20", b"4 No Content\r\n", b"\r\n"]);
        assert_eq!(ask(&http(addr)), Ok(Answer::Status(204)));
        let request = thread.join().unwrap();
        assert!(request.starts_with("GET /ok?a=b HTTP/1.1\r\nHost: 127.0.0.1:"), "{request}");
        assert!(request.contains("Connection: close\r\n"), "{request}");
    }

    #[test]
    fn interim_answers_are_passed_over() {
        let (addr, thread) = server(&[b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 503 No\r\n\r\n"]);
        assert_eq!(ask(&http(addr)), Ok(Answer::Status(503)));
        thread.join().unwrap();
    }

    /// One that sends them without end, and faster than they are read.
    #[test]
    fn interim_answers_without_end_take_a_bounded_part_of_a_turn_and_of_memory() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Ends with an error once the asker has gone.
            while stream.write_all(&b"HTTP/1.1 102 Processing\r\n\r\n".repeat(1000)).is_ok() {}
        });
        let mut call = Ask::start(&http(addr), Moment::START, LIMIT, &[]);
        let mut before = 0;
        while !call.is_over() {
            let mut fds = PollFds::new();
            call.poll_fds(&mut fds);
            fds.wait(Some(Moment::at(LIMIT)), Moment::START);
            drop(fds);
            call.serve(Moment::START);
            if let Work::Exchanging(exchange) = &call.work {
                assert!(exchange.taken - before <= STEPS_A_TURN * PIECE);
                before = exchange.taken;
            }
        }
        assert_eq!(call.answer(), Some(Err("the headers of the answer do not end".to_owned())));
        thread.join().unwrap();
    }

    #[test]
    fn what_this_moment_does_not_allow_is_tried_again_until_the_limit() {
        let deferred = |target: Target| Ask {
            limit: LIMIT,
            deadline: Moment::at(LIMIT),
            work: Work::Deferred { target, env: Vec::new(), again: Moment::START, why: "no room".to_owned() },
            answer: None,
        };
        assert_eq!(finish(deferred(sh("exit 0"))), Ok(Answer::Ended(Exit::Status(0))));
        let mut call = deferred(Target::Tcp("127.0.0.1:1".parse().unwrap()));
        assert_eq!(call.deadline(), Some(Moment::START));
        call.cut("no time".to_owned());
        assert_eq!(call.answer(), Some(Err("no time".to_owned())));
    }

    #[test]
    fn what_is_no_http_is_said_so() {
        let (addr, thread) = server(&[b"220 mail.example ESMTP\r\n"]);
        assert!(ask(&http(addr)).unwrap_err().starts_with("no HTTP answer"));
        thread.join().unwrap();
        let (addr, thread) = server(&[]);
        assert_eq!(ask(&http(addr)), Err("closed without an answer".to_owned()));
        thread.join().unwrap();
    }

    #[test]
    fn a_silent_server_is_given_up_at_the_limit() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let target = http(listener.local_addr().unwrap());
        let mut call = Ask::start(&target, Moment::at(Duration::from_secs(5)), Duration::from_secs(1), &[]);
        call.serve(Moment::at(Duration::from_millis(5999)));
        assert_eq!(call.result(), None);
        assert_eq!(call.deadline(), Some(Moment::at(Duration::from_secs(6))));
        call.serve(Moment::at(Duration::from_secs(6)));
        assert_eq!(call.result(), Some(Err("no answer within 1s".to_owned())));
        assert_eq!(call.deadline(), None);
        call.serve(Moment::at(Duration::from_secs(7)));
    }

    #[test]
    fn a_status_counts_although_the_server_never_closes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut call =
            Ask::start(&http(listener.local_addr().unwrap()), Moment::at(Duration::ZERO), LIMIT, &[]);
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        while call.result().is_none() {
            call.serve(Moment::at(Duration::from_secs(1)));
        }
        assert!(!call.is_over(), "it lets the server finish");
        call.serve(Moment::at(LIMIT));
        assert_eq!(call.result(), Some(Ok(())));
        assert!(call.is_over());
    }

    #[test]
    fn an_answer_without_end_is_read_no_further_than_8_kib() {
        const PIECES: &[&[u8]] = &[b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 10_000]];
        let (addr, thread) = server(PIECES);
        assert_eq!(ask(&http(addr)), Ok(Answer::Status(200)));
        thread.join().unwrap();
    }

    #[test]
    fn a_port_answers_by_accepting() {
        let listener = TcpListener::bind("[::1]:0").or_else(|_| TcpListener::bind("127.0.0.1:0")).unwrap();
        let addr = listener.local_addr().unwrap();
        assert_eq!(ask(&Target::Tcp(addr)), Ok(Answer::Accepted));
        // The port of a client listens to nobody, and while the client has it, nobody else can.
        let client = TcpStream::connect(addr).unwrap();
        let deaf = client.local_addr().unwrap();
        assert_eq!(ask(&Target::Tcp(deaf)), Err("cannot connect: connection refused".to_owned()));
        assert_eq!(ask(&http(deaf)), Err("cannot connect: connection refused".to_owned()));
    }

    #[test]
    fn a_command_answers_by_its_exit() {
        assert_eq!(ask(&sh("exit 0")).unwrap().good(), Ok(()));
        assert_eq!(ask(&sh("exit 3")).unwrap().good(), Err("exit status 3".to_owned()));
        assert_eq!(ask(&sh("kill -9 $$")), Ok(Answer::Ended(Exit::Killed(Signal::KILL))));
    }

    #[test]
    fn a_command_sees_what_was_added_to_its_environment() {
        let env = [("ADIEU_PHASE".to_owned(), "pre-stop".to_owned())];
        let call =
            Ask::start(&sh("test \"$ADIEU_PHASE\" = pre-stop"), Moment::at(Duration::ZERO), LIMIT, &env);
        assert_eq!(finish(call), Ok(Answer::Ended(Exit::Status(0))));
    }

    #[test]
    fn a_command_that_hangs_is_killed_with_all_its_children() {
        let mut call = Ask::start(&sh("sleep 1000 & sleep 1000"), Moment::at(Duration::ZERO), LIMIT, &[]);
        let pid = call.pid().unwrap();
        call.serve(Moment::at(LIMIT));
        assert_eq!(call.result(), Some(Err("no answer within 20s".to_owned())));
        assert!(matches!(
            waitpid(nix::unistd::Pid::from_raw(pid.number()), None).unwrap(),
            WaitStatus::Signaled(..)
        ));
        assert!(call.lingers());
        assert!(call.reaped(pid, Exit::Killed(Signal::KILL)), "given up, but not forgotten");
        assert!(!call.lingers() && call.result().is_some_and(|result| result.is_err()));
    }

    #[test]
    fn a_command_that_is_not_there_is_an_answer() {
        let target = Target::Exec(vec!["/no/such/thing".into()]);
        assert_eq!(ask(&target), Err("cannot start: no such file or directory".to_owned()));
    }

    proptest! {
        /// Whatever a server says, in whatever pieces, the call ends with one answer and keeps
        /// within its bounds.
        #[test]
        fn any_answer_is_digested(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..4), http in any::<bool>()) {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let call = Ask::start(&super::tests::http(listener.local_addr().unwrap()), Moment::at(Duration::ZERO), LIMIT, &[]);
            let (mut stream, _) = listener.accept().unwrap();
            if http {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
            }
            for piece in &pieces {
                let _ = stream.write_all(piece);
            }
            drop(stream);
            if let Err(reason) = finish(call) {
                prop_assert!(!reason.contains('\n'));
            }
        }
    }
}
