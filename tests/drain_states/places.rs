//! Where clients connect to, and to whom.

use super::*;

#[test]
fn ipv6_and_dual_stack_clients_are_seen() {
    let mut app = Puppet::new();
    let six = app.port("listen6");
    let dual = app.port("dual");
    let mut clients = [
        harness::connect((Ipv6Addr::LOCALHOST, six)),
        harness::connect((Ipv6Addr::LOCALHOST, dual)),
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
    let _client = app.asked_at(port);
    let mut watcher = Watcher::over(&app);
    watcher.stays(1);
    app.tell("send 0 answer");
    watcher.becomes_idle();
}

#[test]
fn an_app_that_has_closed_its_listener_is_still_drained() {
    let mut app = Puppet::new();
    let _client = app.asked();
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
fn a_question_to_another_service_is_waited_for_when_asked_to() {
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = service.local_addr().unwrap().port();
    let mut app = Puppet::new();
    app.tell(&format!("connect {port}"));
    let mut answering = harness::accept(&service);
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
