//! One test for each state that a client's connection can be in when the stop comes: does the drain wait for it, end promptly, or
//! end in bounded time? The server is a real process that does exactly what it is told (`drain_states/puppet.py`), the client is
//! this process, and the connections are the kernel's own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use adieu::drain::{Drain, Look, Verdict, Via};
use adieu::moment::Moment;
use adieu::settings::DrainSettings;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

mod harness;

use harness::left_out;

/// Longer than anything here takes on a machine that has other things to do.
const WATCHDOG: Duration = Duration::from_secs(120);

/// A request that nothing answers is in flight at each of so many looks.
const LOOKS: usize = 12;

fn process(pid: nix::unistd::Pid) -> adieu::process::Pid {
    adieu::process::Pid::new(pid.as_raw()).expect("a process")
}

struct Puppet {
    child: Child,
    stdin: ChildStdin,
    lines: mpsc::Receiver<String>,
}

impl Puppet {
    fn new() -> Puppet {
        Puppet::under(&[])
    }

    /// Started through another command, such as `unshare --net`.
    fn under(prefix: &[&str]) -> Puppet {
        let mut argv = prefix.to_vec();
        argv.extend(["python3", "-u", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/drain_states/puppet.py")]);
        let mut command = Command::new(argv[0]);
        command.args(&argv[1..]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("cannot start python3");
        let stdin = child.stdin.take().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let mut puppet = Puppet { child, stdin, lines };
        assert_eq!(puppet.line(), "ready");
        puppet
    }

    fn line(&mut self) -> String {
        self.lines.recv_timeout(WATCHDOG).expect("the puppet says nothing")
    }

    fn begin(&mut self, command: &str) {
        writeln!(self.stdin, "{command}").unwrap();
    }

    fn tell(&mut self, command: &str) -> String {
        self.begin(command);
        self.line()
    }

    fn port(&mut self, command: &str) -> u16 {
        self.tell(command).parse().unwrap_or_else(|_| panic!("'{command}' gave no port"))
    }

    /// A listener on IPv4.
    fn listen(&mut self) -> u16 {
        self.port("listen4")
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }
}

impl Drop for Puppet {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn settings() -> DrainSettings {
    DrainSettings {
        on: true,
        ports: vec![],
        outbound: vec![],
        check: None,
        quiet: Duration::from_millis(300),
        longest: Duration::from_secs(3),
    }
}

/// Adieu's side: a drain and the loop that calls it when it is due.
struct Watcher {
    drain: Drain,
    start: Instant,
}

impl Watcher {
    /// Over this app; draining has begun.
    fn over(puppet: &Puppet) -> Watcher {
        Watcher::with(puppet, &settings(), Via::SockDiag)
    }

    fn with(puppet: &Puppet, settings: &DrainSettings, via: Via) -> Watcher {
        Watcher::new(Drain::via(settings, process(puppet.pid()), &[], via))
    }

    fn new(mut drain: Drain) -> Watcher {
        drain.begin(Moment::at(Duration::ZERO));
        Watcher { drain, start: Instant::now() }
    }

    /// The next look at all connections.
    fn look(&mut self) -> Look {
        loop {
            let due = self.drain.deadline().expect("nothing is watched");
            thread::sleep(due.since(Moment::at(self.start.elapsed())));
            let look = self.drain.look(Moment::at(self.start.elapsed()));
            if look.complete {
                return look;
            }
            assert_eq!(look.verdict, Verdict::Busy, "an incomplete look is no ground for a verdict");
        }
    }

    #[track_caller]
    fn stays(&mut self, in_flight: usize) {
        self.stays_for(LOOKS, in_flight);
    }

    #[track_caller]
    fn stays_for(&mut self, looks: usize, in_flight: usize) {
        for _ in 0..looks {
            let look = self.look();
            assert_eq!((look.in_flight, look.verdict), (in_flight, Verdict::Busy), "{look:?}");
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, wanted: impl Fn(&Look) -> bool) -> Look {
        loop {
            let look = self.look();
            if wanted(&look) {
                return look;
            }
            assert!(self.start.elapsed() < WATCHDOG, "never {what}: {look:?}");
        }
    }

    #[track_caller]
    fn becomes_idle(&mut self) {
        let look = self.until("idle", |look| look.verdict != Verdict::Busy);
        assert_eq!((look.verdict, look.in_flight), (Verdict::Idle, 0));
    }
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    stream.set_read_timeout(Some(WATCHDOG)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

const QUESTION: &[u8] = b"question\n";

/// Asks once and waits for the answer of a puppet that serves.
fn ask(client: &mut TcpStream) {
    client.write_all(QUESTION).unwrap();
    client.read_exact(&mut [0; QUESTION.len()]).unwrap();
}

#[test]
fn a_slow_request_is_in_flight_until_it_is_answered() {
    let mut app = Puppet::new();
    let mut client = connect(app.listen());
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    app.tell("read 0");
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn a_keep_alive_connection_between_requests_is_idle() {
    // Far longer than the test may take: it is found idle by evidence, not by age.
    let patient = DrainSettings { longest: 2 * WATCHDOG, ..settings() };
    let mut app = Puppet::new();
    let port = app.listen();
    app.tell("serve 0 0");
    let mut clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    clients.iter_mut().for_each(|client| (0..3).for_each(|_| ask(client)));
    let mut watcher = Watcher::with(&app, &patient, Via::SockDiag);
    watcher.becomes_idle();
    assert_eq!(watcher.look().connections, 5);
}

#[test]
fn a_request_answered_once_is_found_idle_by_a_drain_that_begins_late() {
    // Far longer than the test may take: it is found idle by evidence, not by age.
    let patient = DrainSettings { longest: 2 * WATCHDOG, ..settings() };
    let mut app = Puppet::new();
    let port = app.listen();
    app.tell("serve 0 0");
    let mut client = connect(port);
    ask(&mut client);
    Watcher::with(&app, &patient, Via::SockDiag).becomes_idle();
}

/// The hard case: the held request follows an answer so closely that both share a tick of the kernel's clock. Without any time of
/// grace for what was just sent, the order must come from the rule alone.
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
                    client.read_exact(&mut [0; QUESTION.len()]).unwrap();
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
    if !permitted(&["nginx", "-v"]) {
        return left_out("nginx is not installed");
    }
    let mut upstream = Puppet::new();
    let behind = upstream.port("http");
    // nginx cannot be asked for the port it got; this one was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let dir = std::env::temp_dir().join(format!("adieu-drain-nginx-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let config = format!(
        "daemon off; pid {dir}/pid; error_log {dir}/error; worker_processes 2; events {{}}
        http {{ access_log off; client_body_temp_path {dir}/a; proxy_temp_path {dir}/b; fastcgi_temp_path {dir}/c;
        uwsgi_temp_path {dir}/d; scgi_temp_path {dir}/e;
        server {{ listen 127.0.0.1:{port};
        location /hold {{ proxy_pass http://127.0.0.1:{behind}; }} location / {{ return 200 ok; }} }} }}"
    );
    std::fs::write(format!("{dir}/conf"), config).unwrap();
    let mut nginx = Command::new("nginx").args(["-c", &format!("{dir}/conf"), "-p", dir]).spawn().unwrap();
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        assert!(begun.elapsed() < WATCHDOG, "nginx does not listen");
        thread::sleep(Duration::from_millis(10));
    }
    let pid = Pid::from_raw(nginx.id() as i32);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        http_back_to_back(&mut upstream, pid, port)
    }));
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    nginx.wait().unwrap();
    std::fs::remove_dir_all(dir).unwrap();
    result.unwrap();
}

/// `holder` lets go of the requests that the app, directly or through it, has been made to hold.
fn http_back_to_back(holder: &mut Puppet, app: Pid, port: u16) {
    const CLIENTS: usize = 12;
    let none = DrainSettings { quiet: Duration::ZERO, longest: 2 * WATCHDOG, ..settings() };
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

fn get(client: &mut TcpStream, path: &str) {
    let question = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(question.as_bytes()).unwrap();
}

fn answered(client: &mut TcpStream) {
    let mut answer = vec![];
    let mut part = [0; 1024];
    // Every answer here ends with its two bytes.
    while !answer.ends_with(b"\r\n\r\nok") {
        let length = client.read(&mut part).unwrap();
        assert!(length > 0, "cut off after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&part[..length]);
    }
}

#[test]
fn a_connection_that_never_asks_holds_nothing_up() {
    let mut app = Puppet::new();
    let _client = connect(app.listen());
    app.tell("accept 0");
    Watcher::over(&app).becomes_idle();
}

#[test]
fn bytes_that_the_app_has_not_read_are_in_flight() {
    let mut app = Puppet::new();
    let mut client = connect(app.listen());
    app.tell("accept 0");
    client.write_all(b"question").unwrap();
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("read 0");
    watcher.stays(1);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn connections_that_the_app_has_not_accepted_are_in_flight() {
    let mut app = Puppet::new();
    let port = app.listen();
    let mut asking = connect(port);
    let silent = connect(port);
    asking.write_all(b"question").unwrap();
    let mut watcher = Watcher::over(&app);
    watcher.stays(2);
    for command in ["accept 0", "accept 0", "read 0", "send 0 answer"] {
        app.tell(command);
    }
    watcher.becomes_idle();
    drop(silent);
}

#[test]
fn a_stream_that_pauses_is_in_flight_until_it_is_quiet() {
    let mut app = Puppet::new();
    let mut client = connect(app.listen());
    client.write_all(b"question").unwrap();
    for command in ["accept 0", "read 0", "send 0 headers"] {
        app.tell(command);
    }
    let slow = DrainSettings { quiet: Duration::from_secs(60), ..settings() };
    let mut watcher = Watcher::with(&app, &slow, Via::SockDiag);
    watcher.stays(1);
    app.tell("send 0 body");
    watcher.stays(1);
    Watcher::over(&app).becomes_idle();
}

#[test]
fn an_answer_that_the_client_is_still_reading_is_in_flight_even_when_the_app_has_closed() {
    let mut app = Puppet::new();
    let mut client = connect(app.listen());
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    app.tell("read 0");
    let sent: usize = app.tell("flood 0").parse().unwrap();
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("close 0");
    watcher.stays(1);
    let mut all = vec![];
    client.read_to_end(&mut all).unwrap();
    assert_eq!(all.len(), sent);
    drop(client);
    watcher.becomes_idle();
}

#[test]
fn ipv6_and_dual_stack_clients_are_seen() {
    let mut app = Puppet::new();
    let six = app.port("listen6");
    let dual = app.port("dual");
    let mut clients = [
        TcpStream::connect((Ipv6Addr::LOCALHOST, six)).unwrap(),
        TcpStream::connect((Ipv6Addr::LOCALHOST, dual)).unwrap(),
        connect(dual),
    ];
    for (client, listener) in clients.iter_mut().zip([0, 1, 1]) {
        client.write_all(b"question").unwrap();
        app.tell(&format!("accept {listener}"));
    }
    (0..3).for_each(|n| drop(app.tell(&format!("read {n}"))));
    let mut watcher = Watcher::over(&app);
    watcher.stays(3);
    let mut ports = vec![(six, 1), (dual, 2)];
    ports.sort();
    assert_eq!(watcher.look().by_port, ports);
    (0..3).for_each(|n| drop(app.tell(&format!("send {n} answer"))));
    watcher.becomes_idle();
}

#[test]
fn workers_that_share_a_port_are_seen_both() {
    let mut app = Puppet::new();
    let port = app.port("reuse 0");
    app.tell("hand-over");
    assert_eq!(app.port(&format!("reuse {port}")), port);
    let clients: Vec<_> = (0..16).map(|_| connect(port)).collect();
    let mut watcher = Watcher::over(&app);
    watcher.until("all in the two queues", |look| look.in_flight == 16);
    drop(clients);
}

#[test]
fn a_listener_that_only_a_descendant_holds_is_found() {
    let mut app = Puppet::new();
    let port = app.listen();
    app.tell("hand-over");
    app.tell("share");
    let mut client = connect(port);
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    app.tell("read 0");
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn an_app_that_has_closed_its_listener_is_still_drained() {
    let mut app = Puppet::new();
    let mut client = connect(app.listen());
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    app.tell("read 0");
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("unlisten 0");
    watcher.stays(1);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn a_listener_opened_during_the_drain_is_found() {
    let mut app = Puppet::new();
    let mut watcher = Watcher::over(&app);
    watcher.becomes_idle();
    let _client = connect(app.listen());
    watcher.until("in flight", |look| look.in_flight == 1);
}

#[test]
fn a_leaked_socket_holds_nothing_up_and_a_half_closed_client_gets_its_answer() {
    let mut app = Puppet::new();
    let port = app.listen();
    let mut leaked = connect(port);
    leaked.write_all(b"question").unwrap();
    for command in ["accept 0", "read 0", "send 0 answer"] {
        app.tell(command);
    }
    let mut answer = [0; 6];
    leaked.read_exact(&mut answer).unwrap();
    // The app never notices, and keeps it in CLOSE_WAIT.
    drop(leaked);
    let mut half = connect(port);
    half.write_all(b"question").unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    app.tell("accept 0");
    app.tell("read 1");
    let mut watcher = Watcher::over(&app);
    watcher.until("quiet", |look| look.in_flight == 1);
    watcher.stays(1);
    app.tell("send 1 answer");
    watcher.becomes_idle();
    assert_eq!(watcher.look().connections, 2);
}

#[test]
fn connections_of_other_processes_are_none_of_our_business() {
    let mut app = Puppet::new();
    app.listen();
    let mut stranger = Puppet::new();
    let mut client = connect(stranger.listen());
    client.write_all(b"question").unwrap();
    stranger.tell("accept 0");
    Watcher::over(&app).becomes_idle();
    assert_eq!(Watcher::over(&stranger).look().in_flight, 1);
}

#[test]
fn told_ports_are_watched_whoever_listens_there() {
    let app = Puppet::new();
    let mut stranger = Puppet::new();
    let (watched, other) = (stranger.listen(), stranger.listen());
    let _clients = [connect(watched), connect(other)];
    for ports in [vec![watched], vec![watched, 1], vec![1, 2, watched]] {
        let mut watcher = Watcher::with(&app, &DrainSettings { ports, ..settings() }, Via::SockDiag);
        watcher.stays(1);
        assert_eq!(watcher.look().by_port, [(watched, 1)]);
    }
}

#[test]
fn a_unix_connection_is_in_flight_for_as_long_as_a_request_may_take() {
    let path = std::env::temp_dir().join(format!("adieu-drain-{}", std::process::id()));
    let path = path.to_str().unwrap();
    let mut app = Puppet::new();
    app.tell(&format!("unix {path}"));
    let mut client = UnixStream::connect(path).unwrap();
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("accept 0");
    client.write_all(b"question").unwrap();
    watcher.stays(1);
    app.tell("read 0");
    let look = watcher.look();
    assert_eq!((look.in_flight, look.unix), (1, 1));
    watcher.becomes_idle();
    // A connection that the app has with itself is nobody's request.
    app.tell(&format!("unix-connect {path}"));
    app.tell("accept 0");
    let look = Watcher::over(&app).look();
    assert_eq!(look.unix, 1, "the client's alone: {look:?}");
    drop(client);
    std::fs::remove_file(path).unwrap();
}

#[test]
fn a_question_to_another_service_is_waited_for_when_asked_to() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let mut app = Puppet::new();
    app.tell(&format!("connect {port}"));
    let (mut answering, _) = service.accept().unwrap();
    // A pool of this process, to the same service: not the app's.
    let mut strangers = connect(port);
    strangers.write_all(b"question").unwrap();
    app.tell("send 0 question");
    let outbound = DrainSettings { outbound: vec![port], ..settings() };
    let mut watcher = Watcher::with(&app, &outbound, Via::SockDiag);
    for _ in 0..LOOKS {
        let look = watcher.look();
        assert_eq!((look.in_flight, look.outbound, look.verdict), (0, 1, Verdict::Busy));
    }
    assert_eq!(watcher.look().to_string(), "1 query unanswered");
    answering.write_all(b"answer").unwrap();
    watcher.becomes_idle();
    Watcher::over(&app).becomes_idle();
}

#[test]
fn clients_that_never_stop_asking_are_left_when_waiting_cannot_help() {
    let mut app = Puppet::new();
    let port = app.listen();
    app.tell("serve 0 0");
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (mut client, stop) = (connect(port), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    ask(&mut client);
                    thread::sleep(Duration::from_millis(5));
                }
            })
        })
        .collect();
    let mut watcher = Watcher::over(&app);
    let look = watcher.until("pinned", |look| look.verdict != Verdict::Busy);
    assert_eq!(look.verdict, Verdict::Pinned);
    assert!(watcher.start.elapsed() >= Duration::from_secs(3));
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    watcher.until("idle", |look| look.verdict == Verdict::Idle);
}

#[test]
fn a_slow_request_is_not_given_up_for_clients_that_never_stop_asking() {
    let mut app = Puppet::new();
    let (fast, slow) = (app.listen(), app.listen());
    app.tell("serve 0 0");
    let mut held = connect(slow);
    held.write_all(b"question").unwrap();
    app.tell("accept 1");
    app.tell("read 0");
    let stop = Arc::new(AtomicBool::new(false));
    let asking = thread::spawn({
        let (mut client, stop) = (connect(fast), stop.clone());
        move || {
            while !stop.load(Ordering::Relaxed) {
                ask(&mut client);
            }
        }
    });
    let mut watcher = Watcher::over(&app);
    while watcher.start.elapsed() < Duration::from_secs(6) {
        assert_eq!(watcher.look().verdict, Verdict::Busy);
    }
    app.tell("send 0 answer");
    let look = watcher.until("pinned", |look| look.verdict != Verdict::Busy);
    assert_eq!(look.verdict, Verdict::Pinned);
    stop.store(true, Ordering::Relaxed);
    asking.join().unwrap();
}

#[test]
fn looks_before_the_drain_begins_are_no_verdict() {
    let mut app = Puppet::new();
    app.listen();
    let mut drain = Drain::new(&settings(), process(app.pid()), &[]);
    assert_eq!(drain.deadline(), None);
    drain.watch(Moment::at(Duration::ZERO));
    let mut watcher = Watcher { drain, start: Instant::now() };
    (0..5).for_each(|_| assert_eq!(watcher.look().verdict, Verdict::Busy));
    watcher.drain.begin(Moment::at(watcher.start.elapsed()));
    assert_eq!(watcher.look().verdict, Verdict::Idle, "two looks in a row, one of them now");
    watcher.drain.close();
    assert_eq!(watcher.drain.deadline(), None);
}

#[test]
fn the_count_can_be_had_at_any_time() {
    let mut app = Puppet::new();
    let _client = connect(app.listen());
    let mut drain = Drain::new(&settings(), process(app.pid()), &[]);
    assert_eq!(drain.count_now(Moment::at(Duration::from_secs(5))), Some(1));
    drain.begin(Moment::at(Duration::from_secs(9)));
    drain.look(Moment::at(Duration::from_secs(9)));
    drain.close();
    assert_eq!(drain.deadline(), None);
    assert_eq!(drain.cut_now(Moment::at(Duration::from_secs(20))), Some(1));
    let mut off = Drain::new(&DrainSettings { on: false, ..settings() }, process(app.pid()), &[]);
    off.begin(Moment::at(Duration::ZERO));
    assert_eq!((off.deadline(), off.count_now(Moment::at(Duration::ZERO))), (None, None));
    assert_eq!(off.look(Moment::at(Duration::ZERO)).verdict, Verdict::Idle);
}

#[test]
fn without_sock_diag_open_connections_count() {
    let mut app = Puppet::new();
    let port = app.listen();
    let mut client = connect(port);
    let mut watcher = Watcher::with(&app, &settings(), Via::ProcNet);
    watcher.stays_for(3, 1);
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    watcher.stays_for(3, 1);
    app.tell("read 0");
    app.tell("send 0 answer");
    watcher.stays_for(3, 1);
    assert_eq!(watcher.look().by_port, [(port, 1)]);
    drop(client);
    watcher.becomes_idle();
}

#[test]
fn an_app_in_a_network_namespace_of_its_own_is_seen_through_proc() {
    if !permitted(&["unshare", "--net", "true"]) {
        return left_out("no network namespace may be made");
    }
    let mut app = Puppet::under(&["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    let port = app.listen();
    app.tell(&format!("connect {port}"));
    app.tell("accept 0");
    let mut watcher = Watcher::over(&app);
    watcher.stays_for(3, 1);
    app.tell("close 0");
    app.tell("close 1");
    watcher.becomes_idle();
}

/// Root without SYS_PTRACE, as in a container by default, may not read the descriptors of another user's process.
#[test]
fn an_app_of_another_user_is_known_by_its_user() {
    alone("an_app_of_another_user_is_known_by_its_user", &["--bounding-set=-sys_ptrace"], || {
        let mut app = Puppet::new();
        app.tell("user 65534");
        let port = app.listen();
        hidden_app(app, port);
    });
}

#[test]
fn an_app_that_changed_its_user_after_binding_is_known_by_the_namespace() {
    alone(
        "an_app_that_changed_its_user_after_binding_is_known_by_the_namespace",
        &["--bounding-set=-sys_ptrace"],
        || {
            let mut app = Puppet::new();
            let port = app.listen();
            app.tell("user 65534");
            hidden_app(app, port);
        },
    );
}

/// Also: adieu's own listener in the same namespace never counts.
fn hidden_app(mut app: Puppet, port: u16) {
    let denied = std::fs::read_link(format!("/proc/{}/fd/0", app.pid()));
    assert!(denied.is_err(), "the descriptors can be read after all");
    let health = TcpListener::bind("127.0.0.1:0").unwrap();
    let own = health.local_addr().unwrap().port();
    let _prober = connect(own);
    let mut client = connect(port);
    client.write_all(b"question").unwrap();
    app.tell("accept 0");
    app.tell("read 0");
    let mut watcher = Watcher::new(Drain::new(&settings(), process(app.pid()), &[own]));
    watcher.stays(1);
    assert_eq!(watcher.look().by_port, [(port, 1)]);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn the_watch_works_without_any_privilege() {
    let nobody =
        ["--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
    alone("the_watch_works_without_any_privilege", &nobody, || {
        let mut app = Puppet::new();
        let mut client = connect(app.listen());
        client.write_all(b"question").unwrap();
        app.tell("accept 0");
        app.tell("read 0");
        let mut watcher = Watcher::over(&app);
        watcher.stays(1);
        app.tell("send 0 answer");
        watcher.becomes_idle();
    });
}

#[test]
fn without_a_descriptor_nothing_is_seen_until_there_is_one() {
    alone("without_a_descriptor_nothing_is_seen_until_there_is_one", &[], || {
        let mut app = Puppet::new();
        let _client = connect(app.listen());
        let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
        let before = open();
        let mut watcher = Watcher::over(&app);
        assert_eq!(open(), before, "nothing is opened before the first look");
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, 0, hard).unwrap();
        assert_eq!(watcher.look().verdict, Verdict::Blind);
        assert_eq!(watcher.drain.count_now(Moment::at(watcher.start.elapsed())), None);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        // One for the question to the kernel, but none to find out in /proc whose the listener is.
        let free = std::fs::File::open("/dev/null").unwrap();
        let limit = std::os::fd::AsRawFd::as_raw_fd(&free) as u64 + 1;
        drop(free);
        setrlimit(Resource::RLIMIT_NOFILE, limit, hard).unwrap();
        assert_eq!(watcher.look().verdict, Verdict::Blind);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        watcher.stays(1);
        assert_eq!(open(), before + 1);
        watcher.drain.close();
        assert_eq!(open(), before);
    });
}

/// With `--nocapture` it also says what looking costs; the long selection goes up to ten thousand.
#[test]
fn every_connection_is_seen_however_many() {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(200_000), hard).unwrap();
    let mut app = Puppet::new();
    let port = app.listen();
    let full = std::env::var_os("ADIEU_FULL").is_some();
    let counts: &[usize] = if full { &[10, 100, 1_000, 10_000] } else { &[10, 100, 1_000] };
    let mut connected = 0;
    for &count in counts {
        connected += count;
        let clients: Vec<_> = (0..count)
            .map(|_| {
                let client = connect(port);
                app.tell("accept 0");
                client
            })
            .collect();
        let mut watcher = Watcher::over(&app);
        let before = own_time();
        let first = watcher.look();
        let first_cost = own_time() - before;
        assert_eq!(first.connections, connected);
        watcher.until("quiet", |look| look.verdict == Verdict::Idle);
        let (begun, spent) = (Instant::now(), own_time());
        let mut looks = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            watcher.look();
            looks += 1;
        }
        let cost = own_time() - spent;
        let share = cost.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        println!(
            "{count} more, {} connections: first look {first_cost:?}, then {:?} a look, {looks} looks in 1 s, {share:.2} % of a core",
            first.connections,
            cost / looks
        );
        std::mem::forget(clients);
    }
}

fn own_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

/// Runs a test again in a process and a network namespace of its own, with the privileges that setpriv leaves it.
fn alone(name: &str, setpriv: &[&str], test: impl FnOnce()) {
    if std::env::var_os("ADIEU_TEST_ALONE").is_some() {
        return test();
    }
    let mut prefix =
        vec!["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh", "setpriv"];
    prefix.extend(setpriv);
    if !permitted(&[&prefix[..], &["true"]].concat()) {
        return left_out("unshare --net or setpriv is not permitted");
    }
    let me = std::env::current_exe().unwrap();
    let output = Command::new(prefix[0])
        .args(&prefix[1..])
        .arg(me)
        .args([name, "--exact", "--nocapture"])
        .env("ADIEU_TEST_ALONE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{:?}\n{said}", output.status.signal());
}

fn permitted(argv: &[&str]) -> bool {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
