//! Requests right behind answers, plain and over HTTP, through real servers.

use super::*;
use crate::require;

/// The hard case: the held request follows an answer so closely that both share a tick of the
/// kernel's clock. Without any time of grace for what was just sent, the order must come from the
/// rule alone.
#[test]
fn a_request_back_to_back_with_an_answer_is_never_taken_for_idle() {
    const CLIENTS: u32 = 12;
    let mut app = Puppet::new();
    let port = app.listen();
    app.tell("serve 0 7");
    let none = DrainSettings { quiet: Duration::ZERO, longest: Duration::from_secs(30), ..settings() };
    for round in 0..4 {
        let mut watcher = Watcher::with(&app, &none, Via::SockDiag);
        let asked = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|n| {
                let (mut client, asked) = (connect(port), asked.clone());
                thread::spawn(move || {
                    for _ in 0..6 {
                        ask(&mut client);
                        thread::sleep(Duration::from_millis(u64::from(n / 2)));
                    }
                    // This answer is held back.
                    client.write_all(QUESTION).unwrap();
                    asked.fetch_add(1, Ordering::SeqCst);
                    harness::exactly(&mut client, QUESTION.len());
                    client
                })
            })
            .collect();
        watcher.until("all held", |_| asked.load(Ordering::SeqCst) == CLIENTS as usize);
        watcher.stays(CLIENTS as usize);
        // Nor by a drain that begins only now and knows nothing of what was before.
        Watcher::with(&app, &none, Via::SockDiag).stays(CLIENTS as usize);
        app.tell(&format!("release {CLIENTS}"));
        let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        if round % 2 == 0 {
            watcher.becomes_idle();
        }
        drop(clients);
    }
}

/// The same through real HTTP servers; nginx answers faster than the kernel's clock ticks.
#[test]
fn http_requests_back_to_back_are_never_taken_for_idle() {
    let mut app = Puppet::new();
    let port = app.port("http");
    let pid = app.pid();
    http_back_to_back(&mut app, pid, port);
}

#[test]
fn http_requests_back_to_back_through_nginx_are_never_taken_for_idle() {
    require!(harness::program("nginx"));
    let mut upstream = Puppet::new();
    let behind = upstream.port("http");
    // nginx cannot be asked for the port it got; this one was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let scratch = harness::Scratch::new();
    let dir = scratch.path("").display().to_string();
    let config = format!(
        "daemon off; pid {dir}/pid; error_log {dir}/error; worker_processes 2; events {{}}
        http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
        uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
        server {{ listen 127.0.0.1:{port};
        location /hold {{ proxy_pass http://127.0.0.1:{behind}; }} location / {{ return 200 ok; }} }} }}"
    );
    let config = scratch.file("conf", &config).display().to_string();
    let nginx =
        Companion::start(Command::new("nginx").args(["-c", &config, "-p", &dir]).stdin(Stdio::null()));
    let address = (Ipv4Addr::LOCALHOST, port);
    harness::until("nginx listens", || harness::try_connect(address).is_ok());
    http_back_to_back(&mut upstream, Pid::from_raw(nginx.pid()), port);
}

/// `holder` lets go of the requests that the app, directly or through it, has been made to hold.
fn http_back_to_back(holder: &mut Puppet, app: Pid, port: u16) {
    const CLIENTS: usize = 12;
    let none = DrainSettings { quiet: Duration::ZERO, longest: Duration::from_secs(10), ..settings() };
    for _ in 0..3 {
        let mut watcher = Watcher::new(Drain::new(&none, process(app), &[]));
        let asked = Arc::new(AtomicUsize::new(0));
        let clients: Vec<_> = (0..CLIENTS as u64)
            .map(|n| {
                let (mut client, asked) = (connect(port), asked.clone());
                thread::spawn(move || {
                    for _ in 0..5 {
                        get(&mut client, "/");
                        answered(&mut client);
                        thread::sleep(Duration::from_millis(n / 3));
                    }
                    get(&mut client, "/hold");
                    asked.fetch_add(1, Ordering::SeqCst);
                    answered(&mut client);
                    client
                })
            })
            .collect();
        watcher.until("all held", |_| asked.load(Ordering::SeqCst) == CLIENTS);
        watcher.stays(CLIENTS);
        Watcher::new(Drain::new(&none, process(app), &[])).stays(CLIENTS);
        holder.tell(&format!("release {CLIENTS}"));
        let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
        watcher.becomes_idle();
        drop(clients);
    }
}

pub fn get(client: &mut TcpStream, path: &str) {
    let question = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(question.as_bytes()).unwrap();
}

pub fn answered(client: &mut TcpStream) {
    let mut answer = vec![];
    let mut part = [0; 1024];
    // Every answer here ends with its two bytes.
    while !answer.ends_with(b"\r\n\r\nok") {
        let length = client.read(&mut part).unwrap();
        assert!(length > 0, "cut off after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&part[..length]);
    }
}
