//! Who is still busy: watches the app's connections from the stop request on, and decides when
//! nothing is in flight. The modules are in the order of the flow: [`listeners`] finds where
//! clients connect, and [`owners`] which process holds a socket; [`sample`] takes a look, and
//! [`readers`] finds the connections on which the app waits; [`connections`] remembers each
//! connection, and
//! [`evidence`] judges it by its [`history`] and its listener's [`rhythm`]; [`verdict`] combines
//! several looks, and [`pace`] sets when the next one is due; [`let_go`] closes clients'
//! connections. [`Drain`] puts them together. It has no thread and never waits: the loop calls it
//! at its deadline. [`crate::sys`] asks the kernel.

mod listeners;
mod owners;

mod readers;
mod sample;

mod connections;
mod evidence;
mod history;
mod rhythm;

mod let_go;
mod pinned;
mod verdict;

mod pace;

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use self::connections::JudgedConnection;
use self::evidence::{Evidence, Patience};
use self::let_go::{Candidate, LetGo};
use self::listeners::Listeners;
use self::pace::{Due, Pace};
use self::sample::{Sampled, Sampler};
use self::verdict::{LookSummary, Looks};
use crate::moment::Moment;
use crate::process::Pid;
use crate::settings::DrainSettings;
use crate::sys;
use crate::sys::tcp::TcpState;

pub use self::sample::Via;
pub use self::verdict::Verdict;

/// The cost of asking for one connection by its name, until it has been measured.
const ASK_ONE: Duration = Duration::from_micros(10);

/// A connection must be idle at two looks. `--drain-longest` includes both, so the evidence gets
/// this much less.
const TWO_LOOKS: Duration = Duration::from_millis(300);

/// How much processor time one turn may take for a look, about: signals are taken between them.
const PIECE: Duration = Duration::from_millis(10);

/// How often [`LetGo`] gets what the listeners have shown.
const LEARN_AGAIN: Duration = Duration::from_millis(500);

/// Who was busy at a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    /// What this look and those before it lead to.
    pub verdict: Verdict,
    /// Clients' requests in flight: over TCP and unix sockets, accepted or not.
    pub in_flight: usize,
    /// Those of them that would be cut off if the app ended now; the others have just been answered
    /// or just connected.
    pub urgent: usize,
    /// Those over TCP, by the app's port; ports without any are left out.
    pub by_port: Vec<(u16, usize)>,
    /// Those over unix sockets.
    pub unix: usize,
    /// Queries of the app to the ports of `--drain-outbound`, not yet answered; not counted in
    /// `in_flight`.
    pub outbound: usize,
    /// All TCP connections to the app, busy or idle.
    pub connections: usize,
    /// Requests that were seen answered since the stop request.
    pub answered: u64,
    /// Connections that closed with a request in flight since the stop request, those that were let
    /// go not counted.
    pub closed: u64,
    /// Clients that were let go between two of their requests.
    pub let_go: u64,
    /// The app listens on a socket that is watched.
    pub listens: bool,
    /// False when the look was only at connections that were busy before, or is not over, so that
    /// new requests on others are not counted yet.
    pub complete: bool,
}

impl Look {
    fn nothing(verdict: Verdict) -> Look {
        Look {
            verdict,
            in_flight: 0,
            urgent: 0,
            by_port: vec![],
            unix: 0,
            outbound: 0,
            connections: 0,
            answered: 0,
            closed: 0,
            let_go: 0,
            listens: false,
            complete: true,
        }
    }

    fn new(verdict: Verdict, seen: &Sampled) -> Look {
        let by_port: Vec<(u16, usize)> =
            seen.tally.in_flight.iter().map(|(port, count)| (*port, *count)).collect();
        let in_flight = by_port.iter().map(|(_, count)| count).sum::<usize>().saturating_add(seen.unix);
        Look {
            verdict,
            in_flight,
            urgent: seen.tally.traffic.urgent.saturating_add(seen.unix),
            by_port,
            unix: seen.unix,
            outbound: seen.outbound,
            connections: seen.tally.connections,
            answered: 0,
            closed: 0,
            let_go: 0,
            listens: seen.listens,
            complete: true,
        }
    }
}

/// `3 requests in flight on :8080, 1 on :8081, 2 queries unanswered`
impl fmt::Display for Look {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ports = self.by_port.iter().map(|(port, count)| (*count, format!(":{port}")));
        let unix = (self.unix > 0).then(|| (self.unix, "unix sockets".to_owned()));
        let mut parts: Vec<String> = vec![];
        for (count, place) in ports.chain(unix) {
            parts.push(match parts.len() {
                0 => format!("{count} request{} in flight on {place}", plural(count)),
                _ => format!("{count} on {place}"),
            });
        }
        match self.outbound {
            0 if parts.is_empty() => parts.push("nothing in flight".to_owned()),
            0 => {}
            1 => parts.push("1 query unanswered".to_owned()),
            n => parts.push(format!("{n} queries unanswered")),
        }
        f.write_str(&parts.join(", "))
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Period {
    Off,
    /// From the stop request on.
    Watching,
    /// From the end of the pre-stop sleep on.
    Draining,
    /// The app is being stopped. The last look still tells what is cut off.
    Over,
}

impl Period {
    fn looks(self) -> bool {
        match self {
            Period::Watching | Period::Draining => true,
            Period::Off | Period::Over => false,
        }
    }
}

/// The watch over who is in flight.
pub struct Drain {
    app: Pid,
    period: Period,
    sampler: Sampler,
    /// Of the look that is under way.
    cost: Duration,
    pace: Pace,
    looks: Looks,
    let_go: LetGo,
    /// By port, the longest pause inside an answer that was seen before the drain.
    pauses: HashMap<u16, Duration>,
    /// When [`LetGo`] last got what the listeners have shown.
    learnt: Option<Moment>,
    /// The reason why nothing can be seen, once logged.
    said: Option<String>,
    last: Look,
    answered: u64,
    closed: u64,
}

impl Drain {
    /// `own_ports` are adieu's own and are never counted. Opens nothing yet. Where `settings` say
    /// that there is no drain, none is to be made.
    pub fn new(settings: &DrainSettings, app: Pid, own_ports: &[u16]) -> Drain {
        Drain::via(settings, app, own_ports, Via::SockDiag)
    }

    /// As `new`, with the way to look: for tests of the one that most kernels do not need.
    #[doc(hidden)]
    pub fn via(settings: &DrainSettings, app: Pid, own_ports: &[u16], via: Via) -> Drain {
        let longest = settings.longest.saturating_sub(TWO_LOOKS);
        let patience = Patience { quiet: settings.quiet, longest };
        let listeners = Listeners::new(app, own_ports, &settings.ports);
        Drain {
            app,
            period: Period::Off,
            sampler: Sampler::new(app, listeners, patience, &settings.outbound, via),
            cost: Duration::ZERO,
            pace: Pace::default(),
            looks: Looks::default(),
            let_go: LetGo::new(&settings.close),
            pauses: HashMap::new(),
            learnt: None,
            said: None,
            last: Look::nothing(Verdict::Busy),
            answered: 0,
            closed: 0,
        }
    }

    /// The stop request: looks begin, so that connections are known when the pre-stop sleep ends.
    pub fn watch(&mut self, now: Moment) {
        if !self.period.looks() {
            self.period = Period::Watching;
            self.looks = Looks::default();
            (self.answered, self.closed) = (0, 0);
            self.sampler.forget();
            self.pace.hurry(now);
        }
    }

    /// The pre-stop sleep is over: verdicts count from here. A look is due at once.
    pub fn begin(&mut self, now: Moment) {
        if self.period != Period::Draining {
            self.watch(now);
            self.period = Period::Draining;
            self.looks.begin();
            self.let_go.begin(now);
            self.pace.hurry(now);
        }
    }

    /// When the next look is due; None while nothing is watched.
    pub fn deadline(&self) -> Option<Moment> {
        let look = self.period.looks().then(|| self.pace.deadline())?;
        let others = self.let_go.deadline().into_iter().chain(self.sampler.deadline());
        Some(others.fold(look, Moment::min))
    }

    /// Readable when letting clients go has work before the deadline.
    pub fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.let_go.descriptor()
    }

    /// Sees what clients have just sent, if letting them go depends on it. To be called before
    /// anything else when [`Drain::descriptor`] may be readable: the app reads it away.
    pub fn hear(&mut self) {
        self.let_go.hear();
    }

    /// Takes a look if one is due; otherwise returns the last one.
    pub fn look(&mut self, now: Moment) -> Look {
        if self.period.looks() {
            match self.pace.due(now) {
                Some(Due::Full) => self.look_at_all(now, PIECE),
                Some(Due::Busy) => self.ask_busy(now),
                None => self.sampler.step(now),
            }
            self.let_go.step(now);
            for shut in self.let_go.take_shut() {
                self.sampler.was_shut(&shut);
            }
        }
        self.last.let_go = self.let_go.let_go();
        self.last.clone()
    }

    /// How many requests are in flight now; None when nothing can be seen. Looks keep to their
    /// share of the processor however often this is called, so the answer may be as old as the last
    /// look.
    pub fn count_now(&mut self, now: Moment) -> Option<usize> {
        self.look_on_demand(now).map(|look| look.in_flight)
    }

    /// How many of them would be cut off if the app ended now: all but those that count only by
    /// caution, since they have just been answered or just connected. As old as
    /// [`Drain::count_now`].
    pub fn cut_now(&mut self, now: Moment) -> Option<usize> {
        self.look_on_demand(now).map(|look| look.urgent)
    }

    fn look_on_demand(&mut self, now: Moment) -> Option<&Look> {
        if self.pace.due(now) == Some(Due::Full) {
            if self.period == Period::Off {
                // What an earlier call has seen is too old.
                self.sampler.forget();
            }
            self.look_at_all(now, Duration::MAX);
            if !self.period.looks() {
                self.sampler.close();
            }
        }
        (self.last.verdict != Verdict::Blind).then_some(&self.last)
    }

    /// A connection from this address is a check of adieu's: it is not counted.
    pub fn leave_out(&mut self, caller: SocketAddr) {
        self.sampler.leave_out(caller);
    }

    /// Ends the watch and closes its descriptor. [`Drain::cut_now`] still works.
    pub fn close(&mut self) {
        if self.period.looks() {
            self.period = Period::Over;
        }
        // Before the sockets are uncorked, which needs a descriptor.
        self.sampler.close();
        self.let_go.finish();
    }

    /// A look that takes long goes on in the next turn.
    fn look_at_all(&mut self, now: Moment, piece: Duration) {
        let before = sys::processor_time();
        let seen = self.sampler.look(now, piece).map(Option::<&Sampled>::cloned);
        let seen = match seen {
            Ok(None) => {
                self.cost = self.cost.saturating_add(sys::processor_time().saturating_sub(before));
                (self.last.complete, self.last.verdict) = (false, Verdict::Busy);
                return;
            }
            Ok(Some(seen)) => Ok(seen),
            Err(error) => Err(error),
        };
        if seen.is_ok() && self.period.looks() {
            self.offer(now);
        }
        let cost = std::mem::take(&mut self.cost);
        let cost = cost.saturating_add(sys::processor_time().saturating_sub(before));
        let ask_busy = self.sampler.few_busy().map(|few| ASK_ONE.saturating_mul(few));
        self.pace.looked(now, cost, ask_busy);
        self.last = match seen {
            Ok(seen) => self.judge(now, &seen),
            Err(error) => self.blind(&error),
        };
    }

    /// Gives [`LetGo`] what was seen.
    fn offer(&mut self, now: Moment) {
        let connections = self.sampler.connections();
        // Once clients are being let go, corks make answers pause too.
        if self.period == Period::Watching {
            self.pauses = connections.pauses();
        } else if self.learnt.is_none_or(|learnt| now.since(learnt) >= LEARN_AGAIN) {
            self.learnt = Some(now);
            self.let_go.learn(connections.rhythms().clone());
        }
        let pauses = &self.pauses;
        let candidates: Vec<Candidate> =
            connections.iter().filter_map(|known| candidate(known, pauses)).collect();
        let app = self.app;
        self.let_go.looked(now, &candidates, || owners::pids(app));
    }

    fn judge(&mut self, now: Moment, seen: &Sampled) -> Look {
        let mut look = self.count(seen);
        let idle = look.in_flight == 0 && look.outbound == 0 && !seen.incomplete;
        // A client that has just been answered is let go first, or it would send again.
        let idle = idle && self.let_go.owed() == 0;
        let sight = LookSummary { idle, traffic: seen.tally.traffic, unix: look.unix };
        look.verdict = self.looks.take(now, self.period == Period::Draining, sight);
        if look.verdict == Verdict::Pinned && self.let_go.owed() > 0 {
            look.verdict = Verdict::Busy;
        }
        look
    }

    fn count(&mut self, seen: &Sampled) -> Look {
        self.answered = self.answered.saturating_add(seen.tally.answered.into());
        self.closed = self.closed.saturating_add(seen.tally.closed.into());
        Look { answered: self.answered, closed: self.closed, ..Look::new(Verdict::Busy, seen) }
    }

    fn blind(&mut self, error: &io::Error) -> Look {
        let reason = error.to_string();
        if self.said.as_ref() != Some(&reason) {
            log::info!("drain: cannot see connections: {reason}");
            self.said = Some(reason);
        }
        Look::nothing(self.looks.blind())
    }

    fn ask_busy(&mut self, now: Moment) {
        let before = sys::processor_time();
        let seen = self.sampler.ask_busy(now).cloned();
        self.pace.asked(now, sys::processor_time().saturating_sub(before));
        // Only a full look can find that nothing is in flight, since a request may have come on a
        // connection that was idle.
        self.last = match seen {
            Ok(seen) => {
                let look = Look { complete: false, ..self.count(&seen) };
                if look.in_flight == 0 && look.outbound == 0 {
                    self.looks.none_busy();
                }
                look
            }
            Err(error) => self.blind(&error),
        };
    }
}

/// A connection that may be closed: one that the app has open, with `tcp_info`.
fn candidate(known: &JudgedConnection, pauses: &HashMap<u16, Duration>) -> Option<Candidate> {
    let connection = &known.connection;
    let info = connection.sample.info.filter(|_| connection.sample.state == TcpState::Established)?;
    Some(Candidate {
        cookie: connection.id.cookie,
        inode: connection.inode,
        port: connection.id.local.port(),
        idle: !known.evidence.in_flight(),
        awaited: known.evidence == Evidence::Unanswered,
        last_data: known.last_data(&info),
        exchanges: known.speaks_like_http(),
        silent: info.sent_ago.min(info.received_ago),
        pause: pauses.get(&connection.id.local.port()).copied().unwrap_or_default(),
    })
}
