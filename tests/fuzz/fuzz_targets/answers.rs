//! Any bytes as the answer of an HTTP server to a check: an outcome, and soon, whether the server
//! closes or goes on.
#![no_main]

use adieu::ask::Ask;
use adieu::moment::Moment;
use adieu::settings::values;
use libfuzzer_sys::fuzz_target;
use std::io::Write;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::time::Duration;

static SERVER: LazyLock<TcpListener> =
    LazyLock::new(|| TcpListener::bind("127.0.0.1:0").expect("a free port"));

/// How often a question is asked to go on before it counts as never answered.
const TURNS: usize = 10_000;

fuzz_target!(|bytes: &[u8]| {
    let address = SERVER.local_addr().expect("an address");
    let target = values::target(&format!("http://{address}/")).expect("a target");
    let mut ask = Ask::start(&target, Moment::START, Duration::from_secs(1), &[]);
    let (mut server, _) = SERVER.accept().expect("the question's connection");
    // Far fewer bytes than the kernel holds. The other side may have hung up on nonsense.
    let _ = server.write_all(&bytes[..bytes.len().min(16 * 1024)]);
    drop(server);
    let answered = (0..TURNS).any(|_| {
        ask.serve(Moment::START);
        ask.is_over()
    });
    assert!(answered, "closed, and the question is still open");
    assert!(ask.answer().is_some());
});
