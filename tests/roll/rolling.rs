//! A rolling deploy as Kubernetes does it: start a replacement, wait until it serves, ask the old
//! server to stop, and take its endpoint away some time after that; one server after another, under
//! load.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::apps::{App, Started};
use super::client::{Client, Fate};
use super::dice::Dice;
use super::haproxy::{Check, HaProxy};
use super::load::{Kind, Load, PINNED, Servers, Target};
use super::outcome::{Outcome, Stop};
use crate::harness::Init;

/// How requests find a server, and how they stop finding it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// HAProxy is told at its admin socket, 0.5 to 3 s after the stop request.
    Late,
    /// HAProxy asks adieu's health port.
    Health,
    /// No balancer: each client hears of it in its own time, 0.5 to 3 s after the stop request.
    Clients,
    /// A Kubernetes ClusterIP: new connections go elsewhere within half a second; who has one keeps
    /// it until it is closed.
    Pinned,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Late, Self::Health, Self::Clients, Self::Pinned];

    pub fn name(self) -> &'static str {
        match self {
            Self::Late => "removed late",
            Self::Health => "health check",
            Self::Clients => "own clients",
            Self::Pinned => "pinned",
        }
    }

    /// Clients connect to the servers themselves.
    fn is_direct(self) -> bool {
        matches!(self, Self::Clients | Self::Pinned)
    }

    fn check(self, init: Init) -> Check {
        match (self, init) {
            (Self::Late | Self::Clients | Self::Pinned, _) => Check::Off,
            (Self::Health, Init::Adieu) => Check::Http("/readyz", HEALTH),
            // Nobody but the app itself can be asked.
            (Self::Health, Init::Tini | Init::Given(_)) => Check::Http("/fast", 0),
        }
    }
}

/// The ports within a roll's own network: HAProxy, the servers from here on, what they pass
/// requests on to.
const FRONT: u16 = 8000;
const FIRST: u16 = 8001;
const BEHIND: u16 = 9999;
/// adieu's health port is the server's plus this.
const HEALTH: u16 = 1000;

/// How many servers there are, and how many are replaced.
const SERVERS: u16 = 3;

/// A stop that takes longer than this hangs: it is twice the grace.
const HANGS: Duration = Duration::from_secs(60);

/// By then every client has heard of a removal, however late.
const ALL_HAVE_HEARD: Duration = Duration::from_millis(3100);

/// What to roll, and how.
#[derive(Clone, Copy)]
pub struct Plan<'a> {
    pub app: &'a str,
    pub way: Way,
    pub init: Init,
    pub load: &'a [(Kind, usize)],
    /// Of adieu, besides the platform.
    pub options: &'a [&'a str],
    /// Variables that the app needs.
    pub env: &'a [(&'a str, &'a str)],
    pub seed: u64,
}

impl Plan<'_> {
    /// Replaces all servers once. The calling thread must have a network of its own.
    pub fn roll(&self) -> Outcome {
        Roll::start(self).run()
    }
}

struct Roll<'a> {
    plan: &'a Plan<'a>,
    app: App,
    dice: Dice,
    proxy: Option<HaProxy>,
    endpoints: Arc<Servers>,
    servers: Vec<Started>,
    _behind: Option<Started>,
}

impl<'a> Roll<'a> {
    fn start(plan: &'a Plan<'a>) -> Self {
        let slots = FIRST..FIRST + 2 * SERVERS;
        let proxy = (!plan.way.is_direct()).then(|| HaProxy::start(FRONT, slots, plan.way.check(plan.init)));
        let behind = (plan.app == "nginx-proxy")
            .then(|| App::named("http-server").start(Init::Tini, &[], BEHIND, &[]));
        behind.iter().for_each(wait_until_it_serves);
        let mut roll = Self {
            plan,
            app: App::named(plan.app),
            dice: Dice::new(plan.seed, 0),
            proxy,
            endpoints: Arc::default(),
            servers: Vec::new(),
            _behind: behind,
        };
        (FIRST..FIRST + SERVERS).for_each(|port| roll.add(port));
        roll.servers.iter().for_each(|server| roll.admit(server));
        roll
    }

    fn run(mut self) -> Outcome {
        let target = match &self.proxy {
            Some(proxy) => Target::Balancer(proxy.port),
            None => Target::Servers(Arc::clone(&self.endpoints)),
        };
        let load = match self.plan.way {
            Way::Late | Way::Health | Way::Clients => self.plan.load,
            Way::Pinned => PINNED,
        };
        let load = Load::start(&target, load, self.plan.seed);
        patiently("the load has begun", || load.answered() >= 50);
        let mut stops = Vec::new();
        for number in 0..SERVERS {
            self.add(FIRST + SERVERS + number);
            self.admit(self.servers.last().expect("just added"));
            let last = number + 1 == SERVERS;
            stops.push(self.stop_oldest(last.then_some(&load)));
        }
        Outcome { requests: load.requests(), stops, survivors: self.servers }
    }

    fn add(&mut self, port: u16) {
        let mut options = Vec::new();
        if self.plan.init == Init::Adieu {
            options.extend(["-v", "--platform", "kubernetes"].map(String::from));
            options.extend(self.plan.options.iter().map(ToString::to_string));
            if self.plan.way == Way::Health {
                options.extend(["--health".to_string(), format!("127.0.0.1:{}", port + HEALTH)]);
            }
        }
        self.servers.push(self.app.start(self.plan.init, &options, port, self.plan.env));
    }

    fn admit(&self, server: &Started) {
        wait_until_it_serves(server);
        match &self.proxy {
            Some(proxy) => {
                proxy.join(server.port);
                patiently("haproxy uses a new server", || proxy.uses(server.port));
            }
            None => self.endpoints.join(server.port),
        }
    }

    /// Returns when it is gone and everyone knows. New requests end with the last removal.
    fn stop_oldest(&mut self, last_under: Option<&Load>) -> Stop {
        let mut server = self.servers.remove(0);
        let port = server.port;
        let delay = self.dice.between(500, 3000);
        let asked = Instant::now();
        server.running.term();
        if self.plan.way.is_direct() {
            self.endpoints.leave(port, asked);
        }
        let (mut took, mut removed) = (None, None);
        while took.is_none() || asked.elapsed() < ALL_HAVE_HEARD {
            if server.running.has_ended() {
                took.get_or_insert(asked.elapsed());
            }
            if self.plan.way == Way::Late && removed.is_none() && asked.elapsed() >= delay {
                self.proxy.as_ref().expect("this way has one").remove(port);
                removed = Some(asked.elapsed());
            }
            if let Some(load) = last_under.filter(|_| asked.elapsed() >= ALL_HAVE_HEARD) {
                load.end();
            }
            assert!(asked.elapsed() < HANGS, "the stop of :{port} hangs:\n{}", server.said());
            sleep(Duration::from_millis(5));
        }
        let took = took.expect("the loop has seen it");
        Stop { port, asked, took, end: server.running.end(), removed, said: server.said() }
    }
}

pub fn wait_until_it_serves(server: &Started) {
    let deadline = Instant::now() + HANGS;
    while Client::new(server.port).get("/fast").0 != Fate::Answered {
        assert!(Instant::now() < deadline, ":{} does not begin to serve:\n{}", server.port, server.said());
        sleep(Duration::from_millis(20));
    }
}

fn patiently(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + HANGS;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(20));
    }
}
