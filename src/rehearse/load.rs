//! The clients: some keep one connection alive for all their requests, some open a new one each time, and for slow addresses
//! enough of them, out of step, that requests are in flight at any moment. Each is a thread with a real HTTP client, which
//! notes when it asked and what became of it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::balancer::Balancer;
use super::recording::{Connection, Fate, Target};

/// Between an answer and the client's next request.
const PAUSE: Duration = Duration::from_millis(40);
/// After a loss: a user tries again, but not at once.
const BACK_OFF: Duration = Duration::from_millis(200);

/// One client's plan.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) number: u16,
    pub(crate) connection: Connection,
    pub(crate) target: u16,
    pub(crate) url: String,
    /// Before the first request, so that clients of a slow address are out of step.
    pub(crate) delay: Duration,
}

/// One request as its client saw it.
pub(crate) struct Sent {
    pub(crate) client: u16,
    pub(crate) connection: Connection,
    pub(crate) target: u16,
    pub(crate) from: Instant,
    pub(crate) to: Instant,
    pub(crate) fate: Fate,
}

/// `each` clients of either kind for every fast target, and two more of the new-connection kind for slow ones.
pub(crate) fn clients(targets: &[Target], each: u16) -> Vec<Client> {
    let mut clients: Vec<Client> = Vec::new();
    for (index, target) in targets.iter().enumerate() {
        for connection in [Connection::Kept, Connection::New] {
            let extra = if target.slow() && connection == Connection::New { 2 } else { 0 };
            let crowd = each + extra;
            for place in 0..crowd {
                clients.push(Client {
                    number: clients.len() as u16,
                    connection,
                    target: index as u16,
                    url: target.url.clone(),
                    delay: Duration::from_millis(
                        target.first_ms.max(40) * u64::from(place) / u64::from(crowd),
                    ),
                });
            }
        }
    }
    clients
}

/// Sets a client to work until the balancer sends nothing more; the thread gives back what it did.
pub(crate) fn start(client: Client, balancer: Arc<Balancer>, patience: Duration) -> JoinHandle<Vec<Sent>> {
    std::thread::spawn(move || {
        let agent = agent(client.connection, patience);
        let mut sent = Vec::new();
        let mut pause = client.delay;
        while balancer.routes_after(pause) {
            let from = Instant::now();
            let fate = ask(&agent, &client.url);
            let to = Instant::now();
            pause = if fate.lost() { BACK_OFF } else { PAUSE };
            sent.push(Sent {
                client: client.number,
                connection: client.connection,
                target: client.target,
                from,
                to,
                fate,
            });
        }
        sent
    })
}

/// An HTTP client that follows no proxy, no redirect, and takes every status for an answer.
pub(crate) fn agent(connection: Connection, patience: Duration) -> ureq::Agent {
    let kept = match connection {
        Connection::New => 0,
        Connection::Kept => 1,
    };
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(kept)
        .max_idle_connections_per_host(kept)
        .proxy(None)
        .timeout_global(Some(patience))
        .build()
        .into()
}

/// Asks once and reads the answer to its end: an answer that breaks off is none.
pub(crate) fn ask(agent: &ureq::Agent, url: &str) -> Fate {
    let answer = agent.get(url).call().and_then(|mut response| {
        response.body_mut().with_config().limit(u64::MAX).read_to_vec()?;
        Ok(response.status().as_u16())
    });
    match answer {
        Ok(status @ 500..) => Fate::TurnedAway { why: format!("answered {status}") },
        Ok(status) => Fate::Answered { status },
        Err(error) => fate_of(&error),
    }
}

/// The peer's errors are not ours to enumerate: whatever is neither a refusal nor a timeout ended a connection that stood.
fn fate_of(error: &ureq::Error) -> Fate {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Timeout(_) => Fate::CutOff { why: "no answer in time".into() },
        ureq::Error::ConnectionFailed | ureq::Error::HostNotFound => {
            Fate::TurnedAway { why: "connection refused".into() }
        }
        ureq::Error::Io(io) => match io.kind() {
            ErrorKind::ConnectionRefused => Fate::TurnedAway { why: "connection refused".into() },
            ErrorKind::TimedOut => Fate::CutOff { why: "no answer in time".into() },
            ErrorKind::ConnectionReset => Fate::CutOff { why: "connection reset".into() },
            ErrorKind::BrokenPipe => Fate::CutOff { why: "connection closed while asking".into() },
            ErrorKind::UnexpectedEof => Fate::CutOff { why: "connection closed without an answer".into() },
            _ => Fate::CutOff { why: io.to_string() },
        },
        other => Fate::CutOff { why: other.to_string() },
    }
}
