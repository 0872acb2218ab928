//! One test for each state that a client's connection can be in when the stop comes: does the drain
//! wait for it, end promptly, or end in bounded time? The server is a real process that does
//! exactly what it is told (`drain_states/puppet.py`), the client is this process, and the
//! connections are the kernel's own.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use adieu::drain::{Drain, Look, Verdict, Via};
use adieu::moment::Moment;
use adieu::settings::{CloseSettings, DrainSettings};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

#[path = "../harness/mod.rs"]
mod harness;

#[path = "../roll/apps.rs"]
#[allow(dead_code)] // only where the apps' libraries are
mod apps;
mod closing;
mod corpus;
mod http;
mod pinned;
mod places;
mod requests;
mod scale;
mod sight;
mod stops;

use harness::{Companion, Dialogue, left_out};

/// Longer than anything here takes on a machine that has other things to do.
const WATCHDOG: Duration = Duration::from_secs(120);

/// A request that nothing answers is in flight at each of so many looks.
const LOOKS: usize = 12;

fn process(pid: Pid) -> adieu::process::Pid {
    adieu::process::Pid::new(pid.as_raw()).expect("a process")
}

struct Puppet(Dialogue);

impl Puppet {
    fn new() -> Puppet {
        Puppet::under(&[])
    }

    /// Started through another command, such as `unshare --net`.
    fn under(prefix: &[&str]) -> Puppet {
        let mut argv = prefix.to_vec();
        // Not its path: a user without privileges may not read the folder of these sources.
        argv.extend(["python3", "-u", "-c", include_str!("puppet.py")]);
        let mut puppet = Puppet(Dialogue::start(Command::new(argv[0]).args(&argv[1..])));
        assert_eq!(puppet.0.line(), "ready");
        puppet
    }

    fn tell(&mut self, command: &str) -> String {
        self.0.say(command);
        self.0.line()
    }

    fn port(&mut self, command: &str) -> u16 {
        self.tell(command).parse().unwrap_or_else(|_| panic!("'{command}' gave no port"))
    }

    /// A listener on IPv4.
    fn listen(&mut self) -> u16 {
        self.port("listen4")
    }

    /// A connection whose request the app has read and not answered yet.
    fn asked(&mut self) -> TcpStream {
        let port = self.listen();
        self.asked_at(port)
    }

    /// The same on its first listener, as its first connection.
    fn asked_at(&mut self, port: u16) -> TcpStream {
        let mut client = connect(port);
        client.write_all(b"question").unwrap();
        self.tell("accept 0");
        self.tell("read 0");
        client
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.0.pid())
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
        close: CloseSettings::default(),
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
    let stream = harness::connect((Ipv4Addr::LOCALHOST, port));
    stream.set_nodelay(true).unwrap();
    stream
}

const QUESTION: &[u8] = b"a question of a usual length, longer than HTTP/2 frames\n";

/// Asks once and waits for the answer of a puppet that serves.
fn ask(client: &mut TcpStream) {
    client.write_all(QUESTION).unwrap();
    harness::exactly(client, QUESTION.len());
}
