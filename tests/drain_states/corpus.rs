//! The corpus: clients in every state that matters, through real servers, each watched by a drain
//! of its own from its own stop request on. What the drain must be right in is asserted; how long
//! it held the stop longer than needed is printed as a table (`cargo test --test drain_states
//! corpus -- --nocapture`). All states run at the same time, as nearly all of it is waiting.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::{Condvar, Mutex};

use nix::poll::{PollFd, PollFlags, poll};

use super::harness::{self, Scratch, program};
use super::*;
use crate::{apps, require};

/// How a stop goes.
#[derive(Clone, Copy)]
pub struct Stop {
    pub pre_stop: Duration,
    /// What may be closed on the port of a state.
    pub close: fn(u16) -> CloseSettings,
}

/// Waits alone.
const WAITS: Stop = Stop { pre_stop: Duration::from_secs(5), close: |_| CloseSettings::default() };

/// The states of one server, each with what it speaks and how many seconds its connection may hold
/// the stop once nothing is owed.
pub type States = &'static [(&'static str, &'static str, u64)];

/// Held until the drain timeout: nothing tells it from a request.
pub const UNTIL_TIMEOUT: u64 = u64::MAX;

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
    ("second:/slow/14", "plain", 10),
    ("kept-get:/slow/12", "plain", 10),
    ("kept-get:/headers/4", "plain", 10),
    ("kept-get:/headers/8", "plain", 10),
    ("silent", "plain", 2),
    ("backlog:3", "single", 10),
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
    ("get:/slow/8", "no-tickets", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/events/2/4", "tls12", 10),
    ("get:/hints/8", "plain", 10),
    ("kept:1", "plain", 6),
    ("kept:50", "plain", 2),
    ("kept-fast:50", "plain", UNTIL_TIMEOUT),
    ("second:/slow/14", "plain", 10),
    ("pipelined:6", "plain", 10),
    ("h2-slow:12", "h2c", 10),
    ("h2-multiplexed:9", "h2c", 10),
    ("h2-idle", "h2c", UNTIL_TIMEOUT),
    ("h2-pinging", "h2c", UNTIL_TIMEOUT),
];

const NODE_LONG: States = &[
    ("get:/slow/40", "tls13", 10),
    ("get:/slow/40", "no-tickets", 10),
    ("get:/slow/40", "tls12", 10),
    ("get:/slow/40", "plain", 10),
    ("get:/headers/8", "no-tickets", 10),
    ("kept:20", "no-tickets", 2),
    ("kept-get:/slow/40", "plain", 10),
    ("kept-get:/slow/12", "no-tickets", 10),
    ("upload:8:2000:0.9:5", "plain", 10),
    ("kept-busy-before", "tls13", 2),
];

const GO: States = &[
    ("get:/slow/12", "plain", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/slow/8", "tls13", 10),
    ("get:/slow/8", "no-tickets", 10),
    ("kept:20", "plain", 2),
    // Go's keep-alive probes begin after 15 s.
    ("second:/slow/20", "plain", 10),
    ("h2-slow-pinging:14", "h2c", 10),
    ("h2-multiplexed:9", "h2c", 10),
    ("h2-upload:60000:5", "h2c", 10),
    ("h2-get:/events/2/4", "h2c", 10),
    ("h2-stream:8:0.9", "h2c", 10),
];

const GO_LONG: States = &[
    ("get:/slow/40", "plain", 10),
    ("get:/slow/40", "tls13", 10),
    ("get:/slow/40", "tls12", 10),
    ("get:/slow/40", "no-tickets", 10),
    ("get:/part/4", "plain", 10),
    ("get:/events/2/4", "tls13", 10),
    ("get:/hints/8", "plain", 10),
    ("kept:1", "plain", 6),
    ("kept:20", "tls13", 2),
    ("kept-get:/slow/12", "plain", 10),
    ("kept-busy-before", "plain", 2),
    ("upload:8:2000:0.9:5", "plain", 10),
    ("expects", "plain", 10),
    ("pipelined:6", "plain", 10),
    ("half-closed", "plain", 10),
    ("h2-slow:40", "h2c", 10),
    ("h2-get:/headers/8", "h2c", 10),
    ("h2-stream:5:4", "h2c", 10),
    ("h2-pinging", "h2c", UNTIL_TIMEOUT),
];

/// In front of a slow server of Python's, but for `/fast`, which nginx itself answers.
const NGINX: States = &[
    ("get:/slow/12", "plain", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/slow/8", "tls13", 10),
    ("get:/slow/8", "tickets-off", 10),
    ("get:/slow/8", "no-tickets", 10),
    ("get:/slow/8", "tls12", 10),
    ("kept:20", "plain", 2),
    ("upload:8:2000:0.9:5", "plain", 10),
    ("h2-slow:12", "h2c", 10),
];

const NGINX_LONG: States = &[
    ("get:/slow/40", "plain", 10),
    ("get:/slow/40", "tls13", 10),
    ("get:/slow/40", "tls12", 10),
    ("get:/slow/40", "tickets-off", 10),
    ("get:/slow/40", "no-tickets", 10),
    ("get:/headers/8", "no-tickets", 10),
    ("get:/part/4", "plain", 10),
    ("get:/events/2/4", "tls13", 10),
    ("kept:1", "plain", 6),
    ("kept:20", "tls13", 2),
    ("kept:20", "no-tickets", 2),
    ("kept-get:/slow/12", "plain", 10),
    ("kept-busy-before", "plain", 2),
    ("expects", "plain", 10),
    ("pipelined:6", "plain", 10),
    ("h2-slow-pinging:14", "h2c", 10),
    ("h2-multiplexed:9", "h2c", 10),
    ("h2-get:/events/2/4", "h2c", 10),
];

const JAVA: States = &[
    ("get:/slow/12", "plain", 10),
    ("get:/headers/8", "plain", 10),
    ("get:/slow/8", "tls13", 10),
    ("get:/slow/8", "no-tickets", 10),
    ("get:/slow/8", "tls12", 10),
    ("get:/headers/8", "tls13", 10),
    ("kept:1", "plain", 6),
    ("kept:20", "tls13", 2),
    ("kept-get:/slow/12", "tls13", 10),
];

const JAVA_LONG: States = &[
    ("get:/slow/40", "plain", 10),
    ("get:/slow/40", "tls13", 10),
    ("get:/slow/40", "no-tickets", 10),
    ("get:/slow/40", "tls12", 10),
    ("get:/headers/4", "tls13", 10),
    ("get:/headers/8", "no-tickets", 10),
    ("get:/headers/8", "tls12", 10),
    ("get:/part/4", "plain", 10),
    ("get:/part/4", "tls13", 10),
    ("get:/part/8", "tls13", 10),
    ("get:/part/8", "tls12", 10),
    ("get:/events/2/4", "plain", 10),
    ("get:/events/2/4", "tls13", 10),
    ("kept:50", "plain", 2),
    // It may all be a handshake, with the request still at work: for a minute.
    ("kept:1", "tls13", UNTIL_TIMEOUT),
    ("kept:1", "no-tickets", UNTIL_TIMEOUT),
    ("kept:1", "tls12", UNTIL_TIMEOUT),
    ("kept:20", "no-tickets", 2),
    ("kept:20", "tls12", 2),
    ("second:/slow/14", "tls13", 10),
    ("kept-get:/slow/12", "plain", 10),
    ("kept-get:/slow/12", "no-tickets", 10),
    ("kept-get:/slow/12", "tls12", 10),
    ("kept-get:/headers/8", "tls13", 10),
    ("kept-busy-before", "plain", 2),
    ("kept-busy-before", "tls13", 2),
    ("upload:8:2000:0.9:5", "plain", 10),
    ("upload:8:2000:0.9:5", "tls13", 10),
];

/// By a library as services use it, with pings and windows of its own.
const GRPC: States = &[
    ("unary:8", "h2c", 10),
    ("stream:8:0.5", "h2c", 10),
    ("stream:5:1.5", "h2c", 10),
    ("stream:3:4", "h2c", 10),
    ("both-ways:6:0.9", "h2c", UNTIL_TIMEOUT),
    ("beside:12", "h2c", 10),
    ("idle:5", "h2c", UNTIL_TIMEOUT),
];

const GRPC_LONG: States = &[
    ("unary:4", "h2c", 10),
    ("unary:40", "h2c", 10),
    ("stream:20:0.5:2000", "h2c", 10),
    ("stream:5:1:40000", "h2c", 10),
    ("stream:3:8", "h2c", 10),
    ("both-ways:4:4", "h2c", UNTIL_TIMEOUT),
    ("idle:50", "h2c", UNTIL_TIMEOUT),
];

/// When a client has said what.
#[derive(Default)]
struct Said {
    lines: Mutex<Lines>,
    more: Condvar,
}

impl Said {
    /// Or until it is lost.
    fn wait(&self, who: &(String, u16), word: &str) -> Instant {
        let begun = Instant::now();
        let mut lines = self.lines.lock().unwrap();
        loop {
            if let Some(at) = find(&lines, who, word).or_else(|| find(&lines, who, "lost")) {
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

pub fn beside(name: &str) -> String {
    format!("{}/tests/drain_states/{name}", env!("CARGO_MANIFEST_DIR"))
}

pub struct Outcome {
    pub state: String,
    lost: bool,
    /// What the client said.
    pub why: String,
    /// Longer than needed: since the pre-stop sleep was over and nothing was owed. None: longer
    /// than was watched.
    pub held: Option<Duration>,
    may: u64,
    pub let_go: u64,
}

/// What the client of a state says when the stop is over.
fn said_at_last(state: &str) -> Option<&'static str> {
    let words = [("returning", "works"), ("until-closed", "closed")];
    words.into_iter().find(|(part, _)| state.contains(part)).map(|(_, word)| word)
}

/// How long a connection that nothing ends is watched once nothing is owed.
const ENOUGH: Duration = Duration::from_secs(18);

fn watch(server: Pid, who: &(String, u16), (speaks, may): (&str, u64), stop: Stop, said: &Said) -> Outcome {
    said.wait(who, "ready");
    let settings = DrainSettings {
        ports: vec![who.1],
        quiet: Duration::from_secs(1),
        longest: Duration::from_secs(10),
        close: (stop.close)(who.1),
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
        if !draining && start.elapsed() >= stop.pre_stop {
            draining = true;
            drain.begin(now());
        }
        let look = drain.look(now());
        if look.verdict != Verdict::Busy {
            break Some(look.verdict);
        }
        let owed_until = said.at(who, "done").map(|done| done.max(start + stop.pre_stop));
        if owed_until.is_some_and(|until| until.elapsed() > ENOUGH) || said.at(who, "lost").is_some() {
            break None;
        }
        assert!(start.elapsed() < 2 * WATCHDOG, "{who:?} does not end");
    };
    drain.close();
    let let_go = drain.look(now()).let_go;
    let done = said.at(who, "done");
    let held = done.filter(|_| verdict.is_some()).map(|done| done.max(start + stop.pre_stop).elapsed());
    if let Some(word) = said_at_last(&who.0) {
        said.wait(who, word);
    }
    let lost = said.at(who, "lost").is_some() || done.is_none() && verdict.is_some();
    let why = format!("{verdict:?}, {:?}", said.lines.lock().unwrap().get(who));
    Outcome { state: format!("{} {speaks}", who.0), lost, why, held, may, let_go }
}

/// A server that opens a port for each line, and says which.
pub fn told(name: &str, argv: &[&str], states: &[States], stop: Stop) -> Vec<Outcome> {
    let mut server = Dialogue::start(Command::new(argv[0]).args(&argv[1..]));
    let pid = Pid::from_raw(server.pid());
    corpus(name, pid, states, stop, |speaks| port_of(&mut server, speaks))
}

pub fn port_of(server: &mut Dialogue, speaks: &str) -> u16 {
    server.say(speaks);
    server.line().trim().parse().unwrap_or_else(|_| panic!("no port for {speaks}"))
}

/// Plays the states of one server and prints the table. `port` gives each its own.
fn corpus(
    name: &str,
    pid: Pid,
    states: &[States],
    stop: Stop,
    port: impl FnMut(&str) -> u16,
) -> Vec<Outcome> {
    played(name, pid, &["python3", "-u", &beside("client.py")], states, stop, port)
}

/// The same with clients of another program.
fn played(
    name: &str,
    pid: Pid,
    client: &[&str],
    states: &[States],
    stop: Stop,
    mut port: impl FnMut(&str) -> u16,
) -> Vec<Outcome> {
    let mut client = Dialogue::start(Command::new(client[0]).args(&client[1..]));
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
    let mut watches = vec![];
    for &(state, speaks, may) in states.iter().copied().flatten() {
        let port = port(speaks);
        let tls = if matches!(speaks, "h2c" | "single") { "plain" } else { speaks };
        client.say(&format!("{state} {port} {tls}"));
        let (who, said) = ((state.to_owned(), port), said.clone());
        watches.push(thread::spawn(move || watch(pid, &who, (speaks, may), stop, &said)));
    }
    let outcomes: Vec<Outcome> = watches.into_iter().map(|watch| watch.join().unwrap()).collect();
    let table = table(name, &outcomes);
    println!("{table}");
    for outcome in &outcomes {
        assert!(!outcome.lost, "{} was cut off: {}\n{table}", outcome.state, outcome.why);
        // A look, two of them, and a machine that has other things to do.
        let most = Duration::from_secs(outcome.may.saturating_add(8));
        let in_time = outcome.held.map_or(outcome.may == UNTIL_TIMEOUT, |held| held < most);
        assert!(in_time, "{} held the stop for {:?}: {}\n{table}", outcome.state, outcome.held, outcome.why);
    }
    outcomes
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

pub fn certificate(scratch: &Scratch) -> String {
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

/// Of the kind that Java reads.
fn key_store(scratch: &Scratch) -> String {
    let (pem, keys) = (certificate(scratch), scratch.path("p12").display().to_string());
    let words = ["pkcs12", "-export", "-passout", "pass:password", "-in", &pem, "-out", &keys];
    let made = harness::output(Command::new("openssl").args(words), WATCHDOG);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    keys
}

/// The rows of a run, those of the long selection where it was asked for.
fn chosen(always: States, long: States) -> Vec<States> {
    if harness::full() { vec![always, long] } else { vec![always] }
}

#[test]
fn python() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    told("Python", &["python3", "-u", &beside("server.py"), &pem], &chosen(PYTHON, PYTHON_LONG), WAITS);
}

#[test]
fn node() {
    require!(program("node"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    told("Node", &["node", &beside("server.js"), &pem], &chosen(NODE, NODE_LONG), WAITS);
}

#[test]
fn go() {
    require!(program("openssl"));
    let built = go_server();
    require!(built.as_ref().map(|_| ()).map_err(Clone::clone));
    let (scratch, server) = built.unwrap();
    told("Go", &[&server, &certificate(&scratch)], &chosen(GO, GO_LONG), WAITS);
}

pub fn go_server() -> Result<(Scratch, String), String> {
    let toolbox = apps::toolbox()?;
    let scratch = Scratch::new();
    let server = scratch.path("server").display().to_string();
    let mut go = Command::new(toolbox.join("venv/bin/go"));
    go.args(["build", "-o", &server, &beside("server.go")]).env("GO111MODULE", "off").env("CGO_ENABLED", "0");
    go.env("GOCACHE", toolbox.join(".gocache")).env("GOPATH", toolbox.join(".gopath"));
    let built = harness::output(&mut go, WATCHDOG);
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Ok((scratch, server))
}

#[test]
fn grpc() {
    let toolbox = apps::toolbox();
    require!(toolbox.as_ref().map(|_| ()).map_err(Clone::clone));
    let python = toolbox.unwrap().join("venv/bin/python").display().to_string();
    let mut server = Dialogue::start(Command::new(&python).args(["-u", &beside("grpc_server.py")]));
    let (pid, client) = (Pid::from_raw(server.pid()), [&python, "-u", &beside("grpc_client.py")]);
    let states = chosen(GRPC, GRPC_LONG);
    played("gRPC", pid, &client, &states, WAITS, |speaks| port_of(&mut server, speaks));
}

#[test]
fn nginx() {
    for needed in ["nginx", "python3", "openssl"] {
        require!(program(needed));
    }
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    let mut behind = Dialogue::start(Command::new("python3").args(["-u", &beside("server.py"), &pem]));
    behind.say("plain");
    let upstream: u16 = behind.line().trim().parse().unwrap();
    let states = chosen(NGINX, NGINX_LONG);
    // nginx cannot be asked for the ports it got; these were free a moment ago.
    let free: Vec<TcpListener> =
        states.concat().iter().map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let ports: Vec<u16> = free.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(free);
    let servers: String = states
        .concat()
        .iter()
        .zip(&ports)
        .map(|((_, speaks, _), port)| {
            let listen = match *speaks {
                "plain" => "",
                "h2c" => " http2",
                _ => " ssl",
            };
            let tls = match *speaks {
                "tls12" => "ssl_protocols TLSv1.2;",
                // Which leaves tickets that are the name of a session.
                "tickets-off" => "ssl_protocols TLSv1.3; ssl_session_tickets off;",
                "no-tickets" => "ssl_protocols TLSv1.3; ssl_conf_command NumTickets 0;",
                _ => "",
            };
            format!(
                "server {{ listen 127.0.0.1:{port}{listen}; {tls} location = /fast {{ return 200 ok; }}
                location / {{ proxy_pass http://127.0.0.1:{upstream}; }} }}\n"
            )
        })
        .collect();
    let dir = scratch.path("").display().to_string();
    let config = format!(
        "daemon off; pid {dir}/pid; error_log {dir}/error; worker_processes 2; events {{}}
        http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
        uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e; ssl_certificate {pem}; ssl_certificate_key {pem};
        keepalive_timeout 600s; proxy_http_version 1.1; proxy_buffering off;\n{servers} }}"
    );
    let config = scratch.file("conf", &config).display().to_string();
    let nginx =
        Companion::start(Command::new("nginx").args(["-c", &config, "-p", &dir]).stdin(Stdio::null()));
    let last = (Ipv4Addr::LOCALHOST, *ports.last().unwrap());
    harness::until("nginx listens", || harness::try_connect(last).is_ok());
    let mut ports = ports.into_iter();
    corpus("nginx", Pid::from_raw(nginx.pid()), &states, WAITS, |_| ports.next().unwrap());
}

#[test]
fn java() {
    require!(program("java"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let keys = key_store(&scratch);
    told("Java", &["java", &beside("Server.java"), &keys], &chosen(JAVA, JAVA_LONG), WAITS);
}

/// On a socket without clocks: a request is waited for, also one that is longer than most, and its
/// connection until it is closed.
#[test]
fn a_request_over_a_unix_socket_is_waited_for() {
    require!(program("node"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let pem = certificate(&scratch);
    let path = scratch.path("socket").display().to_string();
    let mut server = Dialogue::start(Command::new("node").args([&beside("server.js"), &pem]));
    server.say(&path);
    assert_eq!(server.line(), "path");
    let mut client = harness::try_connect_unix(&path).unwrap();
    client.write_all(b"GET /slow/8 HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let longest = Duration::from_secs(4);
    let drain =
        Drain::new(&DrainSettings { longest, ..settings() }, process(Pid::from_raw(server.pid())), &[]);
    let mut watcher = Watcher::new(drain);
    let answered = thread::spawn(move || (until_blank_line(&mut client), client));
    while !answered.is_finished() {
        let look = watcher.look();
        assert!(answered.is_finished() || look.verdict == Verdict::Busy && look.unix >= 1, "{look:?}");
    }
    let (whole, client) = answered.join().unwrap();
    assert!(whole, "cut off");
    drop(client);
    watcher.becomes_idle();
}

const AT_REST: Duration = Duration::from_secs(6);

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
    stays_beside_kept_ones(&server, &[port], |look| {
        websocket.write_all(b"\x89\x84\0\0\0\0ping").is_ok()
            && until_readable(&websocket, look)
            && harness::try_exactly(&mut websocket, 6).is_ok()
    });
}

#[test]
fn http2_that_rests_is_not_let_go_with_the_kept_connections_beside_it() {
    require!(program("openssl"));
    let built = go_server();
    require!(built.as_ref().map(|_| ()).map_err(Clone::clone));
    let (scratch, program) = built.unwrap();
    let mut server = Dialogue::start(Command::new(program).arg(certificate(&scratch)));
    server.say("h2c");
    let port: u16 = server.line().trim().parse().unwrap();
    let mut client = connect(port);
    client.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    assert!(http2_get(&mut client, 1) && http2_get(&mut client, 3));
    // Nothing more comes, so that it looks like a connection of HTTP/1 at rest.
    stays_beside_kept_ones(&server, &[port], |_| true);
    assert!(http2_get(&mut client, 5), "it was closed");
}

/// False when the connection ended before the answer.
fn http2_get(client: &mut TcpStream, stream: u32) -> bool {
    // HEADERS with END_STREAM and END_HEADERS: GET, http, `/`, and the authority, which the first
    // request puts into the table.
    let block: &[u8] = if stream == 1 { b"\x82\x86\x84\x41\x09localhost" } else { b"\x82\x86\x84\xbe" };
    let mut frame = vec![0, 0, block.len() as u8, 1, 5];
    frame.extend(stream.to_be_bytes());
    frame.extend(block);
    if client.write_all(&frame).is_err() {
        return false;
    }
    loop {
        let Ok(head) = harness::try_exactly(client, 9) else { return false };
        let length = usize::from(head[1]) << 8 | usize::from(head[2]);
        if harness::try_exactly(client, length).is_err() {
            return false;
        }
        // DATA or HEADERS that end our stream.
        if head[3] <= 1 && head[4] & 1 == 1 && head[5..] == stream.to_be_bytes() {
            return true;
        }
    }
}

/// A kept connection of HTTP/1 on the first port is let go; the one on which `works` does something
/// small is not, neither while it works nor when it rests. It is given a look to take while it
/// waits.
pub fn stays_beside_kept_ones(
    server: &Dialogue,
    ports: &[u16],
    mut works: impl FnMut(&mut dyn FnMut()) -> bool,
) {
    let kept = connect(ports[0]);
    let close = CloseSettings { on: true, spread: Duration::from_millis(100), ..CloseSettings::default() };
    let settings =
        DrainSettings { ports: ports.to_vec(), longest: Duration::from_secs(30), close, ..settings() };
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
            let mut look = || {
                drain.look(now());
                wait(&drain);
            };
            assert!(works(&mut look), "it was closed");
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
                wait(&drain);
            }
            open = thread.join().unwrap();
            next = Instant::now() + Duration::from_millis(200);
        }
        wait(&drain);
    }
    assert!(draining, "closed before its time");
    assert_eq!(drain.look(now()).let_go, 1);
    // At rest for longer than any kept connection is left alone.
    let rested = Instant::now();
    while rested.elapsed() < AT_REST {
        drain.look(now());
        thread::sleep(Duration::from_millis(2));
    }
    assert!(works(&mut || {}), "it is still open");
    assert_eq!(drain.look(now()).let_go, 1);
}

/// Looks until there is something to read, or the end.
pub fn until_readable(stream: &TcpStream, look: &mut dyn FnMut()) -> bool {
    loop {
        let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, 0u16).unwrap() > 0 {
            return true;
        }
        look();
    }
}

/// As PID 1 does it: as soon as a request comes in, so that it is seen before the app reads it.
pub fn wait(drain: &Drain) {
    let mut fds: Vec<PollFd> =
        drain.descriptor().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).into_iter().collect();
    poll(&mut fds, 2u16).unwrap();
}

/// False when the connection ended before.
fn until_blank_line(stream: &mut impl Read) -> bool {
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
