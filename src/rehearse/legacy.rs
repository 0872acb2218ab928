//! The built-in app: an HTTP server like many legacy ones. It serves fast and slow requests with
//! keep-alive, and on SIGTERM it exits at once, with requests in flight. It has a handler for that,
//! because a PID 1 without one would not even get the signal, pid_namespaces(7).

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use signal_hook::consts::SIGTERM;

/// How long `/slow` takes.
const SLOW: Duration = Duration::from_secs(2);

/// Serves on a free port until a signal ends it.
pub(crate) fn serve() -> io::Result<()> {
    let always = Arc::new(AtomicBool::new(true));
    signal_hook::flag::register_conditional_shutdown(SIGTERM, 143, always)?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    for stream in listener.incoming() {
        let stream = stream?;
        // A client that disconnects is no error of the server.
        std::thread::spawn(move || drop(converse(&stream)));
    }
    Ok(())
}

/// Answers one connection's requests, one after another.
fn converse(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(path) = read_request(&mut reader)? {
        if path == "/slow" {
            work_for(SLOW);
        }
        let body = format!("{path}\n");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        let mut writer = stream;
        writer.write_all(answer.as_bytes())?;
    }
    Ok(())
}

/// The path of the next request; `None` when the client has closed the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut header = String::new();
    while reader.read_line(&mut header)? > 2 {
        header.clear();
    }
    Ok(first.split(' ').nth(1).map(str::to_owned))
}

/// Blocks like a thread that waits for a slow database.
fn work_for(time: Duration) {
    let (_database, answer) = mpsc::channel::<()>();
    let _no_answer = answer.recv_timeout(time);
}
