//! Clients that keep to their connection, each on a thread of its own.

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
}

const fn habit(request: &'static str, think: u64, clients: usize) -> Habit {
    Habit { request, think: Duration::from_millis(think), clients }
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

    pub const ALL: [Habit; 12] = [
        habit(get!("/fast"), 0, 3),
        habit(get!("/fast"), 5, 2),
        habit(get!("/fast"), 30, 2),
        habit(get!("/fast"), 100, 2),
        habit(get!("/fast"), 400, 2),
        habit(POST, 0, 2),
        habit(POST, 50, 1),
        habit(get!("/slow?seconds=0.05"), 0, 2),
        habit(get!("/slow?seconds=0.05"), 30, 1),
        habit(get!("/slow?seconds=1"), 100, 1),
        habit(get!("/slow?seconds=2"), 0, 1),
        habit(get!("/slow?seconds=3"), 0, 1),
    ];
}

/// Where new connections go, as long as there is one: to the latest.
#[derive(Default)]
pub struct Endpoints(Mutex<Vec<u16>>);

impl Endpoints {
    pub fn join(&self, port: u16) {
        self.0.lock().expect("no client panics").push(port);
    }

    pub fn leave(&self, port: u16) {
        self.0.lock().expect("no client panics").retain(|other| *other != port);
    }

    fn one(&self) -> u16 {
        *self.0.lock().expect("no client panics").last().expect("there is always one")
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
    let mut port = endpoints.one();
    let mut client = Client::new(port);
    while !over.load(Ordering::Relaxed) {
        if !client.is_kept() {
            requests.iter_mut().next_back().into_iter().for_each(|last| last.was_last = true);
            port = endpoints.one();
            client = Client::new(port);
        }
        let begun = Instant::now();
        let (fate, _) = client.ask(habit.request);
        let name = habit.request.split(" HTTP").next().unwrap_or("");
        let (habit_of, ended) = ((name, habit.think), Instant::now());
        requests.push(Request { habit: habit_of, port, begun, ended, fate, was_last: false });
        sleep(habit.think);
    }
    requests
}
