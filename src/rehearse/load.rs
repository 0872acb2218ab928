//! The clients. Some keep one connection for all their requests, some open a new one each time.
//! Pinned clients keep their connection even after the balancer has removed the app, until the app
//! closes it, as clients of a ClusterIP do. Streams of server-sent events and websockets last until
//! the app ends them. Slow addresses get more clients, out of step, so that requests are in flight
//! at any moment. Each client is a thread that records when it sent each request and what became
//! of it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ClientConfig;

use super::balancer::Balancer;
use super::http::{self, Message};
use super::link::Link;
use super::recording::{AnswerKind, ConnectionUse, Fate, LoadTarget};
use super::tls::{self, Version};
use super::url::Url;
use super::websocket;

/// The pause after a lost request: a user tries again, but not at once.
const BACK_OFF: Duration = Duration::from_millis(200);
/// The longest delay of a client's first request: the load before the stop is not much longer.
const MOST_DELAY: Duration = Duration::from_secs(10);
/// A stream may last as long as the rehearsal.
const STREAM: Duration = Duration::from_secs(24 * 3600);

/// One client's plan.
#[derive(Clone)]
pub(crate) struct ClientPlan {
    pub(crate) number: u16,
    pub(crate) connection: ConnectionUse,
    pub(crate) target: u16,
    pub(crate) url: Url,
    pub(crate) tls: Option<Version>,
    /// The delay of the first request, which puts clients of a slow address out of step.
    pub(crate) delay: Duration,
}

/// How every client behaves.
#[derive(Clone, Debug)]
pub(crate) struct Manner {
    pub(crate) message: Message,
    /// The pause between an answer and the client's next request.
    pub(crate) pause: Duration,
    /// How long a client waits for an answer.
    pub(crate) patience: Duration,
}

/// One request as its client saw it.
pub(crate) struct SentRequest {
    pub(crate) client: u16,
    pub(crate) connection: ConnectionUse,
    pub(crate) target: u16,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) fate: Fate,
}

/// What one client did.
#[derive(Default)]
pub(crate) struct Log {
    pub(crate) sent: Vec<SentRequest>,
    /// When it found its connection closed between two requests, after the removal: from then on it
    /// would use another instance.
    pub(crate) moved_on: Option<Instant>,
}

/// How many clients of each kind there are for an address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    /// For each kind: new and kept connections, or streams.
    pub(crate) each: u16,
    pub(crate) pinned: u16,
}

/// The clients for all targets. Slow targets get two more clients with new connections.
pub(crate) fn clients(targets: &[(Url, LoadTarget)], crowd: Crowd) -> Vec<ClientPlan> {
    let mut clients: Vec<ClientPlan> = Vec::new();
    for (index, (url, target)) in targets.iter().enumerate() {
        let slow = if target.slow() { 2 } else { 0 };
        let kinds = match target.kind {
            AnswerKind::Request => vec![
                (ConnectionUse::Kept, crowd.each),
                (ConnectionUse::Pinned, crowd.pinned),
                (ConnectionUse::New, crowd.each + slow),
            ],
            AnswerKind::Events | AnswerKind::Websocket => vec![(ConnectionUse::Stream, crowd.each)],
        };
        for (connection, crowd) in kinds {
            for nth in 0..crowd {
                let step = Duration::from_millis(target.first_ms.max(40)).min(MOST_DELAY);
                let versions = target.tls.len().max(1);
                clients.push(ClientPlan {
                    number: clients.len() as u16,
                    connection,
                    target: index as u16,
                    url: url.clone(),
                    tls: target.tls.get(usize::from(nth) % versions).and_then(|name| Version::named(name)),
                    delay: step * u32::from(nth) / u32::from(crowd),
                });
            }
        }
    }
    clients
}

/// Runs a client until nothing routes its requests to the app any more.
pub(crate) fn start(client: ClientPlan, balancer: Arc<Balancer>, manner: Manner) -> JoinHandle<Log> {
    std::thread::spawn(move || Worker { client, balancer, manner, link: None, log: Log::default() }.work())
}

struct Worker {
    client: ClientPlan,
    balancer: Arc<Balancer>,
    manner: Manner,
    /// The open connection for the next request.
    link: Option<Link>,
    log: Log,
}

impl Worker {
    fn work(mut self) -> Log {
        let Ok(tls) = self.client.tls.map(tls::client).transpose() else { return self.log };
        let mut pause = self.client.delay;
        while self.may_ask(pause) {
            let from = Instant::now();
            let fate = self.ask(tls.as_ref()).unwrap_or_else(|fate| fate);
            let to = Instant::now();
            if fate.lost() {
                self.link = None;
            }
            pause = if fate.lost() { BACK_OFF } else { self.manner.pause };
            self.log.sent.push(SentRequest {
                client: self.client.number,
                connection: self.client.connection,
                target: self.client.target,
                from,
                to,
                fate,
            });
        }
        self.log
    }

    /// Pauses, and returns whether the client can send a request: through the balancer, or on a
    /// pinned connection that is still open.
    fn may_ask(&mut self, pause: Duration) -> bool {
        let until = Instant::now() + pause;
        let routed = self.balancer.routes_after(pause);
        if self.client.connection != ConnectionUse::Pinned {
            return routed;
        }
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            std::thread::park_timeout(left);
        }
        let held = self.link.is_some();
        if self.link.as_mut().is_some_and(Link::closed) {
            self.link = None;
        }
        if routed || self.link.is_some() {
            return true;
        }
        let last_lost = self.log.sent.last().is_some_and(|sent| sent.fate.lost());
        if held || !last_lost {
            self.log.moved_on = Some(Instant::now());
        }
        false
    }

    fn ask(&mut self, tls: Option<&Arc<ClientConfig>>) -> Result<Fate, Fate> {
        let deadline = Instant::now() + self.manner.patience;
        let (url, message) = (&self.client.url, &self.manner.message);
        if self.link.as_mut().is_some_and(Link::closed) {
            self.link = None;
        }
        let mut link = match self.link.take() {
            Some(link) => link,
            None => Link::open(url, tls, deadline)?,
        };
        if url.scheme.websocket() {
            websocket::open(&mut link, url, message, deadline)?;
            return websocket::hold(&mut link).map(|()| Fate::Answered { status: 101 });
        }
        let head = http::begin(&mut link, url, message, deadline)?;
        let deadline = if head.events { deadline + STREAM } else { deadline };
        http::finish(&mut link, &head, deadline)?;
        let keeps = matches!(self.client.connection, ConnectionUse::Kept | ConnectionUse::Pinned);
        if keeps && head.keeps {
            self.link = Some(link);
        }
        Ok(fate_of(head.status))
    }
}

fn fate_of(status: u16) -> Fate {
    match status {
        500.. => Fate::TurnedAway { why: format!("answered {status}") },
        _ => Fate::Answered { status },
    }
}

/// Sends one request on a new connection and reads the whole answer, or only the head of a stream.
pub(crate) fn probe(url: &Url, message: &Message, patience: Duration) -> Result<LoadTarget, Fate> {
    let mut versions: Vec<Version> = Vec::new();
    let mut last = Fate::TurnedAway { why: "the server speaks no TLS version that the client knows".into() };
    if url.scheme.secure() {
        for version in Version::BOTH {
            let shaken = tls::client(version)
                .map_err(|error| Fate::CutOff { why: error.to_string() })
                .and_then(|tls| Link::open(url, Some(&tls), Instant::now() + patience));
            match shaken {
                Ok(_link) => versions.push(version),
                Err(fate) => last = fate,
            }
        }
        if versions.is_empty() {
            return Err(last);
        }
    }
    let begun = Instant::now();
    let deadline = begun + patience;
    let tls = versions.first().and_then(|version| tls::client(*version).ok());
    let mut link = Link::open(url, tls.as_ref(), deadline)?;
    let kind = if url.scheme.websocket() {
        websocket::open(&mut link, url, message, deadline)?;
        websocket::close(&mut link);
        AnswerKind::Websocket
    } else {
        let head = http::begin(&mut link, url, message, deadline)?;
        if !head.events {
            http::finish(&mut link, &head, deadline)?;
        }
        match fate_of(head.status) {
            Fate::Answered { .. } if head.events => AnswerKind::Events,
            Fate::Answered { .. } => AnswerKind::Request,
            fate @ (Fate::TurnedAway { .. } | Fate::CutOff { .. }) => return Err(fate),
        }
    };
    Ok(LoadTarget {
        url: url.to_string(),
        first_ms: begun.elapsed().as_millis() as u64,
        kind,
        tls: versions.iter().map(|version| version.name().to_owned()).collect(),
    })
}

/// The status of one answer, for a readiness check.
///
/// # Errors
/// The reason why there is no answer.
pub(crate) fn status(url: &Url, patience: Duration) -> Result<u16, Fate> {
    let deadline = Instant::now() + patience;
    let tls = url.scheme.secure().then(|| tls::client(Version::Tls13).ok()).flatten();
    let mut link = Link::open(url, tls.as_ref(), deadline)?;
    Ok(http::begin(&mut link, url, &Message::default(), deadline)?.status)
}
