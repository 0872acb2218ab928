//! The wait until the app is ready: it listens, it has answered every address once, and it has been
//! under load for a while.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream};
use std::time::{Duration, Instant};

use super::live::observer;
use super::load;
use super::plan::{Endpoints, RehearsalPlan};
use super::recording::{At, LoadTarget};
use super::sandbox::Sandbox;
use super::session::{POLL, RehearsalError, Session};
use super::snapshot::Observer;
use super::url::{Address, Url};

/// The result of the first answers at all addresses.
pub(crate) struct FirstAnswers {
    /// The ports that it listens on.
    pub(crate) ports: Vec<u16>,
    pub(crate) targets: Vec<(Url, LoadTarget)>,
    /// From the start to the first answer.
    pub(crate) after: Duration,
}

/// The least time that a first answer may take, even with a short --start: some requests take a
/// minute.
const FIRST_ANSWER: Duration = Duration::from_secs(120);

/// Waits until the app listens and has answered each address once, and measures each answer.
///
/// # Errors
/// The app takes too long or ends, or the user interrupts.
pub(crate) fn await_first_answer(
    plan: &RehearsalPlan,
    session: &Session,
    sandbox: &Sandbox,
    begun: Instant,
) -> Result<FirstAnswers, RehearsalError> {
    let Some(endpoints) = &plan.load.endpoints else {
        // A worker does not show when it is ready; it has the warm-up to start.
        return Ok(FirstAnswers { ports: Vec::new(), targets: Vec::new(), after: begun.elapsed() });
    };
    let until = begun + plan.limits.start;
    let mut observer = observer(plan, sandbox);
    let ports = loop {
        if endpoints.ports.is_empty() && endpoints.elsewhere() {
            break Vec::new();
        }
        session.wait(plan, sandbox, POLL)?;
        let found = listening_ports(&mut observer, endpoints);
        if !found.is_empty() {
            break found;
        }
        if Instant::now() >= until {
            let found = listens_on(&observer.snapshot().listening);
            let wanted =
                endpoints.ports.first().map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
            return Err(RehearsalError::Cannot(format!(
                "'{}' did not listen on {wanted} within {} s: {found} (a worker without a port: --no-load); its last output: {}",
                plan.app,
                plan.limits.start.as_secs(),
                sandbox.last_words()
            )));
        }
    };
    let mut targets = Vec::new();
    let mut ready_after = None;
    for url in &endpoints.urls {
        let asked = begun.elapsed();
        let url = whole(url, &ports);
        let target = first_answer(plan, session, sandbox, &url, until)?;
        targets.push((url, target));
        ready_after.get_or_insert(asked);
    }
    let after = ready_after.unwrap_or_else(|| begun.elapsed());
    Ok(FirstAnswers { ports, targets, after })
}

/// The ports that the app listens on, or the wanted ones once it listens on all of them.
fn listening_ports(observer: &mut Observer, endpoints: &Endpoints) -> Vec<u16> {
    let found = observer.snapshot().listening;
    if endpoints.ports.is_empty() {
        return found;
    }
    if endpoints.ports.iter().all(|port| found.contains(port)) { endpoints.ports.clone() } else { Vec::new() }
}

fn listens_on(ports: &[u16]) -> String {
    let ports: Vec<String> = ports.iter().map(|port| format!(":{port}")).collect();
    if ports.is_empty() {
        return "it listens on no port".to_owned();
    }
    format!("it listens on {}", ports.join(" "))
}

/// Tries until there is an answer. Each try has a long timeout, for slow requests; it runs in its
/// own thread, so that an interrupt and the app's end are still noticed.
fn first_answer(
    plan: &RehearsalPlan,
    session: &Session,
    sandbox: &Sandbox,
    url: &Url,
    until: Instant,
) -> Result<LoadTarget, RehearsalError> {
    loop {
        let (asked, message, patience) =
            (url.clone(), plan.load.manner.message.clone(), plan.limits.start.max(FIRST_ANSWER));
        let probe = std::thread::spawn(move || load::probe(&asked, &message, patience));
        while !probe.is_finished() {
            session.wait(plan, sandbox, POLL)?;
        }
        match session.join(probe)? {
            Ok(target) => return Ok(target),
            Err(fate) if Instant::now() >= until => {
                let found = listens_on(&observer(plan, sandbox).snapshot().listening);
                return Err(RehearsalError::Cannot(format!(
                    "{url} gave no usable answer: {fate}; {found}; name another with --port or --url"
                )));
            }
            Err(_) => {}
        }
        session.wait(plan, sandbox, POLL)?;
    }
}

/// Makes a full URL of a path: on the app's first port, at the loopback address that answers.
pub(crate) fn whole(url: &Url, ports: &[u16]) -> Url {
    let port = ports.first().copied().unwrap_or(80);
    let reaches = |address: IpAddr| TcpStream::connect((address, port)).is_ok();
    let only_v6 = url.address == Address::AppPort
        && !reaches(Ipv4Addr::LOCALHOST.into())
        && reaches(Ipv6Addr::LOCALHOST.into());
    url.on(if only_v6 { "::1" } else { "127.0.0.1" }, port)
}

/// The progress message.
pub(crate) fn ready_line(ports: &[u16], after: Duration) -> String {
    match ports {
        [] => format!("runs after {}", At::after(after)),
        ports => {
            let ports: Vec<String> = ports.iter().map(|port| format!(":{port}")).collect();
            format!("answers on {} after {}, load begins", ports.join(" "), At::after(after))
        }
    }
}

/// How long to send requests before the stop: long enough that each client of a slow address has a
/// request in flight.
pub(crate) fn warm_up(plan: &RehearsalPlan, targets: &[(Url, LoadTarget)]) -> Duration {
    let slowest = targets.iter().map(|(_, target)| target.first_ms).max().unwrap_or_default();
    plan.load.warm_up.max(Duration::from_millis(slowest * 3 / 2).min(Duration::from_secs(15)))
}
