//! Clients that never stop asking.

use super::*;

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
