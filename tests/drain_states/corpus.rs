//! The corpus: clients in every state that matters, through real servers, each watched by a drain
//! of its own from its own stop request on. What the drain must be right in is asserted; how long
//! it held the stop longer than needed is printed as a table (`cargo test --test drain_states
//! corpus -- --nocapture`). All states run at the same time, as nearly all of it is waiting.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use super::harness::{self, Scratch, program};
use super::*;
use crate::{long, require};

const PRE_STOP: Duration = Duration::from_secs(5);

/// The states of one server, each with what it speaks and how many seconds its connection may hold
/// the stop once nothing is owed.
type States = &'static [(&'static str, &'static str, u64)];

/// Held until the drain timeout: nothing tells it from a request.
const UNTIL_TIMEOUT: u64 = u64::MAX;

const PYTHON: States = &[
    ("get:/fast", "plain", 2),
    ("get:/slow/4", "plain", 10),
    ("get:/slow/12", "plain", 10),
    ("get:/headers/0.5", "plain", 10),
    ("get:/headers/4", "plain", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/part/1.5", "plain", 10),
    ("get:/part/8", "plain", 10),
    ("get:/events/2/4", "plain", 10),
    ("get:/hints/8", "plain", 10),
    ("kept:1", "plain", 2),
    ("kept:3", "plain", 2),
    ("kept:50", "plain", 2),
    ("kept-busy-before", "plain", 2),
    ("kept-get:/slow/12", "plain", 10),
    ("kept-get:/headers/4", "plain", 10),
    ("kept-get:/headers/8", "plain", 10),
    ("silent", "plain", 2),
    ("upload:8:2000:0.9:5", "plain", 10),
    ("upload:1:5000000:0:7", "plain", 10),
    ("expects", "plain", 10),
    ("pipelined:6", "plain", 10),
    ("half-closed", "plain", 10),
    ("leaked", "plain", 10),
    ("health", "plain", 2),
    ("websocket:server", "plain", 10),
    ("websocket:client", "plain", UNTIL_TIMEOUT),
    ("websocket:pinging", "plain", 10),
    ("get:/slow/8", "tls13", 10),
    ("get:/slow/8", "no-tickets", 10),
    ("get:/slow/8", "tls12", 10),
    ("get:/headers/8", "tls13", 10),
    ("kept:20", "tls13", 2),
    ("kept:20", "tls12", 2),
];

const PYTHON_LONG: States = &[
    ("get:/slow/40", "plain", 10),
    ("get:/slow/40", "tls13", 10),
    ("get:/slow/40", "no-tickets", 10),
    ("get:/slow/40", "tls12", 10),
    ("kept-get:/slow/40", "plain", 10),
    ("kept-get:/slow/40", "tls13", 10),
    ("get:/headers/1.5", "plain", 10),
    ("get:/part/0.5", "plain", 10),
    ("get:/part/4", "plain", 10),
    ("get:/events/0.5/10", "plain", 10),
    ("get:/events/4/4", "plain", 10),
    ("get:/events/8/3", "plain", 10),
    ("kept-get:/part/4", "plain", 10),
    ("kept-get:/headers/4", "tls13", 10),
    ("kept:1", "tls13", 2),
    ("kept:1", "tls12", 2),
];

const NODE: States = &[
    ("get:/slow/8", "tls13", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/events/2/4", "tls12", 10),
    ("get:/hints/8", "plain", 10),
    ("kept:1", "plain", 6),
    ("kept:50", "plain", 2),
    ("pipelined:6", "plain", 10),
    ("h2-slow:12", "h2c", 10),
    ("h2-multiplexed:9", "h2c", 10),
    ("h2-idle", "h2c", UNTIL_TIMEOUT),
    ("h2-pinging", "h2c", 10),
];

const NODE_LONG: States = &[
    ("get:/slow/40", "tls13", 10),
    ("get:/slow/40", "tls12", 10),
    ("get:/slow/40", "plain", 10),
    ("kept-get:/slow/40", "plain", 10),
    ("upload:8:2000:0.9:5", "plain", 10),
    ("kept-busy-before", "tls13", 2),
];

const JAVA: States = &[
    ("kept:1", "plain", 6),
    ("get:/slow/40", "plain", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/part/4", "plain", 10),
    ("get:/events/2/4", "plain", 10),
    ("kept:50", "plain", 2),
    ("kept-get:/slow/12", "plain", 10),
    ("kept-busy-before", "plain", 2),
    ("upload:8:2000:0.9:5", "plain", 10),
];

/// When a client has said what.
#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

impl Said {
    fn wait(&self, who: &(String, u16), word: &str) -> Instant {
        let begun = Instant::now();
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(at) = find(&lines, who, word) {
                return at;
            }
            assert!(begun.elapsed() < WATCHDOG, "{who:?} never said {word}: {:?}", lines.get(who));
            lines = self.more.wait_timeout(lines, Duration::from_secs(1)).unwrap().0;
        }
    }

    fn at(&self, who: &(String, u16), word: &str) -> Option<Instant> {
        find(&self.lines.lock().unwrap(), who, word)
    }
}

type Lines = HashMap<(String, u16), Vec<(String, Instant)>>;

fn find(lines: &Lines, who: &(String, u16), word: &str) -> Option<Instant> {
    lines.get(who)?.iter().find(|(said, _)| said.starts_with(word)).map(|(_, at)| *at)
}

fn beside(name: &str) -> String {
    format!("{}/tests/drain_states/{name}", env!("CARGO_MANIFEST_DIR"))
}

struct Outcome {
    state: String,
    lost: bool,
    /// What the client said.
    why: String,
    /// Longer than needed: since the pre-stop sleep was over and nothing was owed. None: longer
    /// than was watched.
    held: Option<Duration>,
    may: u64,
}

/// How long a connection that nothing ends is watched once nothing is owed.
const ENOUGH: Duration = Duration::from_secs(18);

fn watch(server: Pid, who: &(String, u16), speaks: &str, may: u64, said: &Said) -> Outcome {
    said.wait(who, "ready");
    let settings = DrainSettings {
        ports: vec![who.1],
        quiet: Duration::from_secs(1),
        longest: Duration::from_secs(10),
        ..settings()
    };
    let mut drain = Drain::new(&settings, process(server), &[]);
    let start = Instant::now();
    let now = || Moment::at(start.elapsed());
    drain.watch(now());
    let mut draining = false;
    let verdict = loop {
        let due = drain.deadline().expect("it is watched");
        thread::sleep(due.since(now()));
        if !draining && start.elapsed() >= PRE_STOP {
            draining = true;
            drain.begin(now());
        }
        let look = drain.look(now());
        if look.verdict != Verdict::Busy {
            break Some(look.verdict);
        }
        let owed_until = said.at(who, "done").map(|done| done.max(start + PRE_STOP));
        if owed_until.is_some_and(|until| until.elapsed() > ENOUGH) || said.at(who, "lost").is_some() {
            break None;
        }
        assert!(start.elapsed() < 2 * WATCHDOG, "{who:?} does not end");
    };
    let done = said.at(who, "done");
    let lost = said.at(who, "lost").is_some() || done.is_none() && verdict.is_some();
    let held = done.filter(|_| verdict.is_some()).map(|done| done.max(start + PRE_STOP).elapsed());
    let why = format!("{verdict:?}, {:?}", said.lines.lock().unwrap().get(who));
    Outcome { state: format!("{} {speaks}", who.0), lost, why, held, may }
}

/// Runs the states of one server and prints the table.
fn corpus(
    name: &str,
    argv: &[&str],
    states: impl Iterator<Item = &'static (&'static str, &'static str, u64)>,
) {
    let mut server = Dialogue::start(Command::new(argv[0]).args(&argv[1..]));
    let mut client = Dialogue::start(Command::new("python3").args(["-u", &beside("client.py")]));
    let said = Arc::new(Said::default());
    thread::spawn({
        let (said, lines) = (said.clone(), client.all_lines());
        move || {
            for line in lines {
                let mut words = line.split(' ');
                let (Some(word), Some(state), Some(port)) = (words.next(), words.next(), words.next()) else {
                    continue;
                };
                let who = (state.to_owned(), port.parse().unwrap_or(0));
                let word = format!("{word} {}", words.next().unwrap_or_default());
                said.lines.lock().unwrap().entry(who).or_default().push((word, Instant::now()));
                said.more.notify_all();
            }
        }
    });
    let pid = Pid::from_raw(server.pid());
    let mut watches = vec![];
    for &(state, speaks, may) in states {
        server.say(speaks);
        let port: u16 =
            server.line().trim().parse().unwrap_or_else(|_| panic!("{name} gave no port for {state}"));
        let tls = if speaks == "h2c" { "plain" } else { speaks };
        client.say(&format!("{state} {port} {tls}"));
        let (who, said) = ((state.to_owned(), port), said.clone());
        watches.push(thread::spawn(move || watch(pid, &who, speaks, may, &said)));
    }
    let outcomes: Vec<Outcome> = watches.into_iter().map(|watch| watch.join().unwrap()).collect();
    let table = table(name, &outcomes);
    println!("{table}");
    for outcome in &outcomes {
        assert!(!outcome.lost, "{} was cut off: {}\n{table}", outcome.state, outcome.why);
        // A look, two of them, and a machine that has other things to do.
        let most = Duration::from_secs(outcome.may.saturating_add(8));
        let in_time = outcome.held.map_or(outcome.may == UNTIL_TIMEOUT, |held| held < most);
        assert!(in_time, "{} held the stop for {:?}\n{table}", outcome.state, outcome.held);
    }
}

fn table(name: &str, outcomes: &[Outcome]) -> String {
    let mut table = format!("| {name} | lost | held longer than needed |\n|---|---|--:|\n");
    for outcome in outcomes {
        let lost = if outcome.lost { "LOST" } else { "no" };
        let held = outcome
            .held
            .map_or("until the timeout".to_owned(), |held| format!("{:.1} s", held.as_secs_f64()));
        writeln!(table, "| {} | {lost} | {held} |", outcome.state).unwrap();
    }
    table
}

fn certificate(scratch: &Scratch) -> String {
    let (key, pem) = (scratch.path("key"), scratch.path("pem"));
    let (key, pem) = (key.display().to_string(), pem.display().to_string());
    let words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout";
    let made =
        harness::output(Command::new("openssl").args(words.split(' ')).args([&key, "-out", &pem]), WATCHDOG);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let both = std::fs::read_to_string(&key).unwrap() + &std::fs::read_to_string(&pem).unwrap();
    std::fs::write(&pem, both).unwrap();
    pem
}

#[test]
fn python() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    let more = if harness::full() { PYTHON_LONG } else { &[] };
    corpus("Python", &["python3", "-u", &beside("server.py"), &pem], PYTHON.iter().chain(more));
}

#[test]
fn node() {
    require!(program("node"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    let more = if harness::full() { NODE_LONG } else { &[] };
    corpus("Node", &["node", &beside("server.js"), &pem], NODE.iter().chain(more));
}

#[test]
fn java() {
    long!();
    require!(program("java"));
    corpus("Java", &["java", &beside("Server.java")], JAVA.iter());
}

/// Opened before the stop, so that nobody has seen what they speak, beside HTTP/1 on one port.
#[test]
fn a_websocket_that_rests_is_not_let_go_with_the_kept_connections_beside_it() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    let mut server = Dialogue::start(Command::new("python3").args(["-u", &beside("server.py"), &pem]));
    server.say("plain");
    let port: u16 = server.line().trim().parse().unwrap();
    let mut websocket = connect(port);
    let upgrade = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    websocket.write_all(upgrade.as_bytes()).unwrap();
    until_blank_line(&mut websocket);
    let kept = connect(port);
    let close = CloseSettings { on: true, spread: Duration::from_millis(100), ..CloseSettings::default() };
    let settings = DrainSettings { ports: vec![port], longest: Duration::from_secs(30), close, ..settings() };
    let server_pid = Pid::from_raw(server.pid());
    let mut drain = Drain::new(&settings, process(server_pid), &[]);
    let start = Instant::now();
    let now = || Moment::at(start.elapsed());
    drain.watch(now());
    let (mut next, mut open) = (Instant::now(), true);
    let mut draining = false;
    while open {
        assert!(start.elapsed() < WATCHDOG, "the kept connection is never let go");
        if !draining && start.elapsed() > Duration::from_secs(2) {
            draining = true;
            drain.begin(now());
        }
        drain.look(now());
        if next <= Instant::now() {
            // A ping on the one, a request on the other.
            websocket.write_all(b"\x89\x84\0\0\0\0ping").unwrap();
            harness::exactly(&mut websocket, 6);
            let thread = thread::spawn({
                let mut kept = kept.try_clone().unwrap();
                move || {
                    let asked =
                        kept.write_all(b"GET /fast HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n");
                    asked.is_ok() && until_blank_line(&mut kept) && harness::try_exactly(&mut kept, 2).is_ok()
                }
            });
            while !thread.is_finished() {
                drain.look(now());
                thread::sleep(Duration::from_millis(2));
            }
            open = thread.join().unwrap();
            next = Instant::now() + Duration::from_millis(200);
        }
        thread::sleep(Duration::from_millis(2));
    }
    assert!(draining, "closed before its time");
    assert_eq!(drain.look(now()).let_go, 1);
    // At rest for longer than any kept connection is left alone.
    let rested = Instant::now();
    while rested.elapsed() < Duration::from_secs(6) {
        drain.look(now());
        thread::sleep(Duration::from_millis(2));
    }
    websocket.write_all(b"\x89\x84\0\0\0\0ping").unwrap();
    assert!(harness::try_exactly(&mut websocket, 6).is_ok(), "the websocket is still open");
    assert_eq!(drain.look(now()).let_go, 1);
}

/// False when the connection ended before.
fn until_blank_line(stream: &mut TcpStream) -> bool {
    let mut text = vec![];
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        text.extend(byte);
    }
    true
}
