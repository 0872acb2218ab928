//! Very many connections.

use super::*;

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
        let first_cost = own_time().checked_sub(before).unwrap();
        assert_eq!(first.connections, connected);
        watcher.until("quiet", |look| look.verdict == Verdict::Idle);
        let (begun, spent) = (Instant::now(), own_time());
        let mut looks = 0;
        while begun.elapsed() < Duration::from_secs(1) {
            watcher.look();
            looks += 1;
        }
        let cost = own_time().checked_sub(spent).unwrap();
        let share = cost.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        println!(
            "{count} more, {} connections: first look {first_cost:?}, then {:?} a look, {looks} looks in 1 s, {share:.2} % of a core",
            first.connections,
            cost / looks
        );
        std::mem::forget(clients);
    }
}

pub fn own_time() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}
