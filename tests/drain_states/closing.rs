//! States in which nothing may be closed, and those in which it is, with letting clients go at its
//! most eager: from the beginning of the drain, on ports that are named.

use super::corpus::{
    Outcome, States, Stop, UNTIL_TIMEOUT, beside, certificate, go_server, port_of, stays_beside_kept_ones,
    told, until_readable,
};
use super::harness::{Scratch, program};
use super::*;
use crate::require;

/// While all of these requests are in flight.
const PRE_STOP: Duration = Duration::from_secs(1);

fn close(port: u16) -> CloseSettings {
    let spread = Duration::from_millis(100);
    CloseSettings { on: true, ports: vec![port], only_these: false, spread }
}

/// As `--close-connections PORT` has it.
const NAMED: Stop =
    Stop { pre_stop: PRE_STOP, close: |port| CloseSettings { only_these: true, ..close(port) } };

/// As a readiness check by HTTP on this port has it: something else may be spoken there, too.
const CHECKED: Stop = Stop { pre_stop: PRE_STOP, close };

/// How long each may hold the stop.
const MAY: u64 = 10;

const IN_FLIGHT: States = &[
    ("get:/slow/4", "plain", MAY),
    ("get:/headers/4", "plain", MAY),
    ("get:/part/1.5", "plain", MAY),
    ("get:/part/4", "plain", MAY),
    ("get:/hints/4", "plain", MAY),
    ("kept-get:/slow/4", "plain", MAY),
    ("kept-get:/part/4", "plain", MAY),
    ("upload:8:2000:0.9:2", "plain", MAY),
    ("upload:1:5000000:0:4", "plain", MAY),
    ("pipelined:4", "plain", MAY),
    ("reads-slowly:4000000", "plain", MAY),
    ("get:/slow/4", "tls13", MAY),
    ("get:/part/4", "tls13", MAY),
];

/// Nobody has seen an answer pause on this port.
const EVENTS: States = &[
    ("get:/events/2/4", "plain", MAY),
    ("kept-get:/events/2/4", "plain", MAY),
    ("get:/events/2/4", "tls12", MAY),
    ("get:/events/2/4", "tls13", MAY),
];

/// Node answers `100 Continue` by itself, Go when the body is read.
const EXPECTS: States = &[("expects", "plain", MAY)];

const KEPT: States = &[
    ("kept-until-closed:1", "plain", MAY),
    ("kept-until-closed:3", "plain", MAY),
    ("kept-until-closed:50", "plain", MAY),
    ("kept-until-closed:20", "tls13", MAY),
    ("asks-until-closed", "plain", MAY),
    ("asks-until-closed", "tls13", MAY),
];

const WEBSOCKETS: States =
    &[("websocket:pinging", "plain", MAY), ("websocket:returning", "plain", UNTIL_TIMEOUT)];

const HTTP2: States = &[("h2-slow:4", "h2c", MAY), ("h2-upload:60000:4", "h2c", MAY)];

/// The last frames of the stream may share a tick.
const HTTP2_STREAMS: States = &[
    ("h2-multiplexed:6", "h2c", MAY),
    ("h2-get:/events/2/4", "h2c", MAY),
    ("h2-stream:8:0.9", "h2c", UNTIL_TIMEOUT),
];

/// Held until the drain timeout, since the client sent last.
const HTTP2_AT_REST: States = &[("h2-returning", "h2c", UNTIL_TIMEOUT)];

#[test]
fn python() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let server = ["python3", "-u", &beside("server.py"), &certificate(&scratch)];
    told("Python", &server, &[IN_FLIGHT, EXPECTS], NAMED);
    let kept = told("Python", &server, &[KEPT], NAMED);
    kept.iter().for_each(|state| assert_eq!(state.let_go, 1, "{}: {}", state.state, state.why));
}

#[test]
fn node() {
    require!(program("node"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let server = ["node", &beside("server.js"), &certificate(&scratch)];
    told("Node", &server, &[IN_FLIGHT], NAMED);
}

#[test]
fn events_before_any_pause_was_seen() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let server = ["python3", "-u", &beside("server.py"), &certificate(&scratch)];
    for alone in EVENTS.chunks(1) {
        told("Python", &server, &[alone], NAMED);
    }
}

/// A port that is named is said to speak HTTP/1 alone, so that these are on one that is checked.
#[test]
fn websockets() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let server = ["python3", "-u", &beside("server.py"), &certificate(&scratch)];
    told("Python", &server, &[WEBSOCKETS], CHECKED).iter().for_each(is_untouched);
}

#[test]
fn http2_of_node() {
    require!(program("node"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let server = ["node", &beside("server.js"), &certificate(&scratch)];
    told("Node", &server, &[HTTP2, HTTP2_STREAMS, HTTP2_AT_REST], CHECKED);
}

#[test]
fn http2_of_go() {
    http2_go(&[HTTP2, HTTP2_STREAMS, HTTP2_AT_REST]);
}

fn http2_go(states: &[States]) {
    require!(program("openssl"));
    let built = go_server();
    require!(built.as_ref().map(|_| ()).map_err(Clone::clone));
    let (scratch, server) = built.unwrap();
    told("Go", &[&server, &certificate(&scratch)], states, CHECKED);
}

/// TLS hides what is spoken.
#[test]
fn tls_on_a_port_that_is_not_named_is_left_alone() {
    require!(program("python3"));
    require!(program("openssl"));
    let scratch = Scratch::new();
    let server = ["python3", "-u", &beside("server.py"), &certificate(&scratch)];
    let asks: States = &[("asks-for:3", "tls13", MAY)];
    let stop = Stop { close: |port| CloseSettings { ports: vec![], ..close(port) }, ..CHECKED };
    told("Python", &server, &[asks], stop).iter().for_each(is_untouched);
}

/// Its commands and their answers alternate, as in HTTP/1, and are as long.
#[test]
fn a_session_of_another_protocol_is_left_alone_beside_http() {
    for needed in ["python3", "openssl", "redis-server"] {
        require!(program(needed));
    }
    let scratch = Scratch::new();
    // redis cannot be asked for the port it got; this one was free a moment ago.
    let redis = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let both = format!(
        "redis-server --bind 127.0.0.1 --port {redis} --save '' --dir {} >&2 & exec python3 -u {} {}",
        scratch.path("").display(),
        beside("server.py"),
        certificate(&scratch)
    );
    let mut server = Dialogue::start(Command::new("sh").args(["-c", &both]));
    let port = port_of(&mut server, "plain");
    harness::until("redis listens", || harness::try_connect(("127.0.0.1", redis)).is_ok());
    let mut session = connect(redis);
    stays_beside_kept_ones(&server, &[port, redis], |look| {
        let command = b"SET name a-value-of-a-usual-length-of-which-there-are-many\r\n";
        session.write_all(command).is_ok()
            && until_readable(&session, look)
            && harness::try_exactly(&mut session, 5).is_ok_and(|answer| answer == b"+OK\r\n")
    });
}

fn is_untouched(outcome: &Outcome) {
    assert_eq!(outcome.let_go, 0, "{}: {}, held {:?}", outcome.state, outcome.why, outcome.held);
}
