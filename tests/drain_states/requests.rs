//! One test for each state of a single request or connection, with a puppet as the server.

use super::*;

#[test]
fn a_slow_request_is_in_flight_until_it_is_answered() {
    let mut app = Puppet::new();
    let _client = app.asked();
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
    app.tell("serve 0 8");
    let mut clients: Vec<_> = (0..5).map(|_| connect(port)).collect();
    clients.iter_mut().for_each(|client| (0..7).for_each(|_| ask(client)));
    // The last answers come later than their requests by more than a tick of the kernel's clock;
    // in one tick nothing tells which was last, and that is another state than this.
    clients.iter_mut().for_each(|client| client.write_all(QUESTION).unwrap());
    thread::sleep(Duration::from_millis(50));
    app.tell("release 5");
    clients.iter_mut().for_each(|client| drop(harness::exactly(client, QUESTION.len())));
    let mut watcher = Watcher::with(&app, &patient, Via::SockDiag);
    watcher.becomes_idle();
    assert_eq!(watcher.look().connections, 5);
}

#[test]
fn a_request_answered_once_is_found_idle_by_a_drain_that_begins_late() {
    let mut app = Puppet::new();
    let port = app.listen();
    app.tell("serve 0 0");
    let mut client = connect(port);
    ask(&mut client);
    let mut watcher = Watcher::over(&app);
    watcher.becomes_idle();
    assert!(watcher.start.elapsed() >= settings().quiet, "it may have been the beginning of an answer");
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
    let mut client = app.asked();
    let sent: usize = app.tell("flood 0").parse().unwrap();
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("close 0");
    watcher.stays(1);
    assert_eq!(harness::rest(&mut client).len(), sent);
    drop(client);
    watcher.becomes_idle();
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
    harness::exactly(&mut leaked, 6);
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
fn a_unix_connection_is_in_flight_for_as_long_as_it_is_open() {
    let path = std::env::temp_dir().join(format!("adieu-drain-{}", std::process::id()));
    let path = path.to_str().unwrap();
    let mut app = Puppet::new();
    app.tell(&format!("unix {path}"));
    let mut client = harness::try_connect_unix(path).unwrap();
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("accept 0");
    client.write_all(b"question").unwrap();
    watcher.stays(1);
    app.tell("read 0");
    let look = watcher.look();
    assert_eq!((look.in_flight, look.unix), (1, 1));
    // However long the request takes.
    while watcher.start.elapsed() < settings().longest + Duration::from_secs(2) {
        watcher.stays(1);
    }
    // A connection that the app has with itself is nobody's request.
    app.tell(&format!("unix-connect {path}"));
    app.tell("accept 0");
    let look = Watcher::over(&app).look();
    assert_eq!(look.unix, 1, "the client's alone: {look:?}");
    drop(client);
    watcher.becomes_idle();
    std::fs::remove_file(path).unwrap();
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
}
