//! Clients that ask without end, each on a thread of its own, and remember what became of every
//! request. Where there is no balancer they pick a server themselves, from a list that each of them
//! learns of in its own time.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::client::{Client, Fate};
use super::dice::Dice;

/// What a client asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Fast,
    /// Takes 1 s.
    Second,
    /// Takes 8 s, longer than the pre-stop sleep.
    Long,
    /// Fast requests on one connection, each as soon as the last is answered, for a second or two,
    /// and then a long one as soon; stays with its server until it hears that it leaves.
    BackToBack,
    /// Fast requests on one connection, each as soon as the last is answered, and nothing else.
    Relentless,
    /// Fast requests on one connection, with so many milliseconds between them, until the
    /// connection is closed.
    Pinned(u64),
}

impl Kind {
    fn pause(self, dice: &mut Dice) -> Duration {
        match self {
            Self::Fast => dice.between(50, 150),
            Self::Second => dice.between(0, 300),
            Self::Long => dice.between(0, 500),
            Self::BackToBack | Self::Relentless => Duration::ZERO,
            Self::Pinned(think) => Duration::from_millis(think),
        }
    }
}

pub const LONG: &str = "/slow?seconds=8";

/// Requests of all lengths in a mixture that two cores bear several times at once.
pub const MIXED: &[(Kind, usize)] = &[(Kind::Fast, 4), (Kind::Second, 5), (Kind::Long, 8)];

pub const BACK_TO_BACK: &[(Kind, usize)] = &[(Kind::BackToBack, 8)];

pub const PINNED: &[(Kind, usize)] = &[
    (Kind::Pinned(0), 2),
    (Kind::Pinned(5), 2),
    (Kind::Pinned(30), 2),
    (Kind::Pinned(100), 2),
    (Kind::Pinned(400), 2),
    (Kind::Second, 2),
];

pub const RELENTLESS: &[(Kind, usize)] = &[(Kind::Relentless, 4)];

/// Whom to ask.
#[derive(Clone)]
pub enum Target {
    /// A balancer, at this port.
    Balancer(u16),
    Servers(Arc<Servers>),
}

/// The servers that there are, as clients come to know them: a new one at once, one that leaves
/// each in its own time.
#[derive(Default)]
pub struct Servers(Mutex<Vec<(u16, Option<Instant>)>>);

impl Servers {
    pub fn join(&self, port: u16) {
        self.0.lock().expect("no client panics").push((port, None));
    }

    pub fn leave(&self, port: u16, now: Instant) {
        let mut servers = self.0.lock().expect("no client panics");
        servers.iter_mut().filter(|server| server.0 == port).for_each(|server| server.1 = Some(now));
    }

    /// Those that a client believes in, who hears of a removal after its delay.
    fn known(&self, delay: impl Fn(u16) -> Duration) -> Vec<u16> {
        let servers = self.0.lock().expect("no client panics");
        let known =
            servers.iter().filter(|(port, left)| left.is_none_or(|left| left.elapsed() < delay(*port)));
        known.map(|(port, _)| *port).collect()
    }
}

/// A request and its end.
pub struct Request {
    pub path: &'static str,
    /// Where the client or the balancer sent it, as far as is known.
    pub port: Option<u16>,
    pub begun: Instant,
    pub ended: Instant,
    pub fate: Fate,
}

/// A load that runs until it is told to end.
pub struct Load {
    clients: Vec<JoinHandle<Vec<Request>>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    pub fn start(target: &Target, mixture: &[(Kind, usize)], seed: u64) -> Self {
        let shared = Arc::new(Shared::default());
        let began = Instant::now();
        let kinds = mixture.iter().flat_map(|&(kind, count)| std::iter::repeat_n(kind, count));
        let clients = kinds.enumerate().map(|(number, kind)| {
            let client = Asker {
                kind,
                number: number as u64,
                seed,
                dice: Dice::new(seed, number as u64 + 1),
                target: target.clone(),
                clients: HashMap::new(),
                at: None,
                next_long: began + Duration::from_millis(900 * number as u64),
                shared: Arc::clone(&shared),
            };
            spawn(move || client.run())
        });
        let clients = clients.collect();
        Self { clients, shared }
    }

    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// No new requests from here on.
    pub fn end(&self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }

    /// Ends it, waits for the requests in flight, and gives all that there were.
    pub fn requests(self) -> Vec<Request> {
        self.end();
        self.clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
    }
}

/// One client.
struct Asker {
    kind: Kind,
    number: u64,
    seed: u64,
    dice: Dice,
    target: Target,
    clients: HashMap<u16, Client>,
    /// The server that it asked last.
    at: Option<u16>,
    /// When a client that asks back to back turns to a long request.
    next_long: Instant,
    shared: Arc<Shared>,
}

impl Asker {
    fn run(mut self) -> Vec<Request> {
        let mut requests = Vec::new();
        // Not all in step.
        sleep(self.kind.pause(&mut self.dice) * self.dice.below(8) as u32);
        while !self.shared.over.load(Ordering::Relaxed) {
            match self.port() {
                Some(port) => {
                    let request = self.ask(port);
                    let answered = usize::from(request.fate == Fate::Answered);
                    self.shared.answered.fetch_add(answered, Ordering::Relaxed);
                    // A server that is not there is no reason to ask it a thousand times a second.
                    let pause = if answered == 0 { self.dice.between(50, 150) } else { Duration::ZERO };
                    requests.push(request);
                    sleep(pause + self.kind.pause(&mut self.dice));
                }
                None => sleep(Duration::from_millis(10)),
            }
        }
        requests
    }

    fn ask(&mut self, port: u16) -> Request {
        let path = self.path();
        let begun = Instant::now();
        let (fate, server) = self.clients.entry(port).or_insert_with(|| Client::new(port)).get(path);
        let port = match self.target {
            Target::Balancer(_) => server.and_then(|server| server.parse().ok()),
            Target::Servers(_) => Some(port),
        };
        Request { path, port, begun, ended: Instant::now(), fate }
    }

    fn path(&mut self) -> &'static str {
        match self.kind {
            Kind::Fast | Kind::Relentless | Kind::Pinned(_) => "/fast",
            Kind::Second => "/slow?seconds=1",
            Kind::Long => LONG,
            Kind::BackToBack if Instant::now() < self.next_long => "/fast",
            Kind::BackToBack => {
                self.next_long = Instant::now() + Duration::from_secs(8) + self.dice.between(500, 2500);
                LONG
            }
        }
    }

    fn port(&mut self) -> Option<u16> {
        let servers = match &self.target {
            Target::Balancer(port) => return Some(*port),
            Target::Servers(servers) => servers,
        };
        // Whose connection is still there does not look for another server.
        if let (Kind::Pinned(_), Some(at)) = (self.kind, self.at)
            && self.clients.get(&at).is_some_and(Client::is_kept)
        {
            return Some(at);
        }
        let known = servers.known(|port| self.hears_after(port));
        if self.number.is_multiple_of(2) {
            // Every other client closes its connection to a server that it no longer uses; the rest
            // leave it open and idle.
            self.clients.retain(|port, _| known.contains(port));
        }
        if known.is_empty() {
            return None;
        }
        let sticks = matches!(self.kind, Kind::BackToBack | Kind::Relentless);
        let stays = self.at.filter(|at| sticks && known.contains(at));
        self.at = stays.or_else(|| Some(known[self.dice.below(known.len() as u64) as usize]));
        self.at
    }

    /// How long after its stop request this client hears that a server is going: 0.5 to 3 s. A
    /// pinned one need not hear of it: the node's rules send its next connection elsewhere.
    fn hears_after(&self, port: u16) -> Duration {
        if let Kind::Pinned(_) = self.kind {
            return Duration::from_millis(500);
        }
        Dice::new(self.seed, (self.number + 1) << 32 | u64::from(port)).between(500, 3000)
    }
}
