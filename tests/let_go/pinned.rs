//! Clients that keep to their connection, each on a thread of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use super::client::{Client, Fate};

/// What a client asks for, and how long it thinks after an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Habit {
    request: &'static str,
    think: Duration,
    clients: usize,
    ahead: bool,
}

const fn habit(request: &'static str, think: u64, clients: usize) -> Habit {
    Habit { request, think: Duration::from_millis(think), clients, ahead: false }
}

macro_rules! get {
    ($path:literal) => {
        concat!("GET ", $path, " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: pinned\r\n\r\n")
    };
}

const POST: &str = "POST /fast HTTP/1.1\r\nHost: localhost\r\nUser-Agent: pinned\r\n\
    Content-Type: text/plain\r\nContent-Length: 12\r\n\r\nan old story";

impl Habit {
    /// The longest request.
    pub const LONGEST: Duration = Duration::from_secs(3);

    pub const FAST: &[Habit] = Self::ALL.split_at(7).0;

    pub const MANY: [Habit; 3] =
        [habit(get!("/fast"), 400, 600), habit(get!("/fast"), 900, 300), habit(POST, 300, 100)];

    /// Writes half of its next request before it has the answer to the last. What it has only begun
    /// may be dropped, since the next server gets the whole of it.
    const fn ahead(self) -> Habit {
        Habit { ahead: true, ..self }
    }

    pub const ALL: [Habit; 14] = [
        habit(get!("/fast"), 0, 3),
        habit(get!("/fast"), 5, 2),
        habit(get!("/fast"), 30, 2),
        habit(get!("/fast"), 100, 2),
        habit(get!("/fast"), 400, 2),
        habit(POST, 0, 2),
        habit(POST, 50, 1),
        habit(get!("/slow?seconds=0.05"), 0, 2),
        habit(get!("/slow?seconds=0.05"), 30, 1),
        habit(get!("/slow?seconds=0.05"), 0, 1).ahead(),
        habit(get!("/slow?seconds=0.05"), 30, 1).ahead(),
        habit(get!("/slow?seconds=1"), 100, 1),
        habit(get!("/slow?seconds=2"), 0, 1),
        habit(get!("/slow?seconds=3"), 0, 1),
    ];
}

impl Habit {
    /// How many have these habits, each with one connection at a time.
    pub fn clients(habits: &[Habit]) -> usize {
        habits.iter().map(|habit| habit.clients).sum()
    }

    /// What to write next, on a connection that was used before or on a new one.
    fn text(&self, is_kept: bool) -> String {
        let (first, second) = self.request.split_at(self.request.len() / 2);
        match (self.ahead, is_kept) {
            (false, _) => self.request.to_owned(),
            (true, false) => [self.request, first].concat(),
            (true, true) => [second, first].concat(),
        }
    }
}

/// Where new connections go, as long as there is one: to the latest.
pub struct Endpoints {
    host: IpAddr,
    ports: Mutex<Vec<u16>>,
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::of(Ipv4Addr::LOCALHOST.into())
    }
}

impl Endpoints {
    pub fn of(host: IpAddr) -> Self {
        Self { host, ports: Mutex::default() }
    }

    pub fn join(&self, port: u16) {
        self.ports.lock().expect("no client panics").push(port);
    }

    pub fn leave(&self, port: u16) {
        self.ports.lock().expect("no client panics").retain(|other| *other != port);
    }

    pub fn one(&self) -> SocketAddr {
        let ports = self.ports.lock().expect("no client panics");
        (self.host, *ports.last().expect("there is always one")).into()
    }
}

pub struct Request {
    pub habit: (&'static str, Duration),
    pub port: u16,
    pub begun: Instant,
    pub ended: Instant,
    pub fate: Fate,
    /// The connection was closed after it, or with it.
    pub was_last: bool,
}

/// The load.
pub struct Pinned {
    over: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<Request>>>,
}

impl Pinned {
    pub fn start(endpoints: &Arc<Endpoints>, habits: &[Habit]) -> Pinned {
        let over = Arc::new(AtomicBool::new(false));
        let all = habits.iter().flat_map(|habit| std::iter::repeat_n(*habit, habit.clients));
        let clients = all.map(|habit| {
            let (over, endpoints) = (Arc::clone(&over), Arc::clone(endpoints));
            spawn(move || ask_on(habit, &endpoints, &over))
        });
        let clients = clients.collect();
        Pinned { over, clients }
    }

    pub fn end(self) -> Vec<Request> {
        self.over.store(true, Ordering::Relaxed);
        self.clients.into_iter().flat_map(|client| client.join().expect("no client panics")).collect()
    }
}

fn ask_on(habit: Habit, endpoints: &Endpoints, over: &AtomicBool) -> Vec<Request> {
    let mut requests: Vec<Request> = vec![];
    let mut address = endpoints.one();
    let mut client = Client::of(address);
    while !over.load(Ordering::Relaxed) {
        let is_kept = client.is_kept();
        if !is_kept {
            requests.iter_mut().next_back().into_iter().for_each(|last| last.was_last = true);
            address = endpoints.one();
            client = Client::of(address);
        }
        let begun = Instant::now();
        let (fate, _) = client.ask(&habit.text(is_kept));
        let name = habit.request.split(" HTTP").next().unwrap_or("");
        let (habit_of, port, ended) = ((name, habit.think), address.port(), Instant::now());
        requests.push(Request { habit: habit_of, port, begun, ended, fate, was_last: false });
        sleep(habit.think);
    }
    requests
}
