//! Any bytes from a client of the health endpoint, over a real connection: an HTTP answer or none,
//! and the next client is served.
#![no_main]

use adieu::lifecycle::Phase;
use adieu::moment::Moment;
use adieu::ready::endpoint::Health;
use adieu::ready::pages::View;
use libfuzzer_sys::fuzz_target;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

/// How often the endpoint is asked to go on before a client counts as not served.
const TURNS: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let mut health = Health::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
    answer(&mut health, bytes);
    let last = answer(&mut health, b"GET /readyz HTTP/1.0\r\n\r\n");
    assert!(last.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&last));
});

/// All that a client gets that sends these bytes and has no more to say.
fn answer(health: &mut Health, bytes: &[u8]) -> Vec<u8> {
    let mut client = TcpStream::connect(health.address().expect("an address")).expect("a connection");
    // Far fewer bytes than the kernel holds, so nothing waits for the endpoint.
    client.write_all(&bytes[..bytes.len().min(16 * 1024)]).expect("room in the socket");
    client.shutdown(Shutdown::Write).expect("a connection");
    client.set_nonblocking(true).expect("a socket");
    let mut answer = Vec::new();
    for _ in 0..TURNS {
        health.read_requests(Moment::START);
        health.serve(Moment::START, &view());
        match client.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Ok(_) | Err(_) => break,
        }
    }
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 "), "{}", String::from_utf8_lossy(&answer));
    answer
}

fn view() -> View<'static> {
    View {
        phase: Phase::Running,
        since: Moment::START,
        ready: Ok(()),
        app: Some(2),
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
    }
}
