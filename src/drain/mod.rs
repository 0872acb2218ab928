//! Who is still busy: watches the app's connections from the stop request on, and says when nothing is in flight. [`watch`] takes
//! a look, [`rule`] judges each connection by it, [`book`] remembers what was seen before, [`pace`] says when to look again, and
//! [`pinned`] when waiting cannot help; the [`Drain`] here puts them together into a verdict. It has no thread and never waits: the
//! loop calls it when its deadline has come.

mod book;
pub mod kernel;
mod owners;
mod pace;
mod pinned;
mod procnet;
mod rule;
mod scope;
mod unix;
mod watch;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use self::pace::{Due, Pace};
use self::pinned::Pinned;
use self::rule::Limits;
use self::scope::Scope;
use self::watch::{Seen, Watch};
use crate::lifecycle::Moment;
use crate::settings::DrainSettings;

/// What asking for one connection by its name costs, until it has been measured.
const ASK_ONE: Duration = Duration::from_micros(10);

/// What a look led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Something is in flight, or it is too early to say.
    Busy,
    /// Nothing was in flight at two looks in a row, the last of them since draining began.
    Idle,
    /// Requests keep coming at an undiminished rate and few are in flight just now: leave, waiting cannot help.
    Pinned,
    /// Nothing can be seen; the reason was logged.
    Blind,
}

/// Who was busy at a look.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    pub verdict: Verdict,
    /// Clients' requests, as far as connections tell: over TCP and unix sockets, accepted or not.
    pub in_flight: usize,
    /// Those among them that would be cut off if the app ended now; the others have just been answered or just been connected.
    pub urgent: usize,
    /// Those over TCP, by the app's port; ports without any are left out.
    pub by_port: Vec<(u16, usize)>,
    /// Those over unix sockets.
    pub unix: usize,
    /// Questions of the app to the ports of `--drain-outbound`, not yet answered; not counted in `in_flight`.
    pub outbound: usize,
    /// All TCP connections to the app, busy or idle.
    pub connections: usize,
    /// False when only those found busy before were asked again, so that what came on others since is not counted yet.
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
            complete: true,
        }
    }

    fn new(verdict: Verdict, seen: &Seen) -> Look {
        let by_port: Vec<(u16, usize)> =
            seen.tally.in_flight.iter().map(|(port, count)| (*port, *count)).collect();
        let in_flight = by_port.iter().map(|(_, count)| count).sum::<usize>() + seen.unix;
        Look {
            verdict,
            in_flight,
            urgent: seen.tally.traffic.urgent + seen.unix,
            by_port,
            unix: seen.unix,
            outbound: seen.outbound,
            connections: seen.tally.connections,
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

/// How sockets are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// By sock_diag, and by /proc/PID/net where there is none.
    Best,
    /// By /proc/PID/net alone.
    Tables,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Off,
    /// From the stop request on.
    Watching,
    /// From the end of the pre-stop sleep on.
    Draining,
    /// The app is being stopped. What was seen until then still tells what is cut off.
    Over,
}

impl Stage {
    fn looks(self) -> bool {
        match self {
            Stage::Watching | Stage::Draining => true,
            Stage::Off | Stage::Over => false,
        }
    }
}

/// The watch over who is in flight.
pub struct Drain {
    on: bool,
    stage: Stage,
    watch: Watch,
    pace: Pace,
    pinned: Pinned,
    /// How many looks in a row have seen nothing in flight.
    idle_looks: u32,
    /// The reason why nothing can be seen, once said.
    said: Option<String>,
    last: Look,
}

impl Drain {
    /// `own_ports` are adieu's own and never counted. Nothing is opened or asked yet.
    pub fn new(settings: &DrainSettings, app: Pid, own_ports: &[u16]) -> Drain {
        Drain::with_way(settings, app, own_ports, Way::Best)
    }

    /// As `new`, but told how to look: for tests of the way that a common kernel does not need.
    #[doc(hidden)]
    pub fn with_way(settings: &DrainSettings, app: Pid, own_ports: &[u16], way: Way) -> Drain {
        let limits = Limits { quiet: settings.quiet, longest: settings.longest };
        let scope = Scope::new(app, own_ports, &settings.ports);
        Drain {
            on: settings.on,
            stage: Stage::Off,
            watch: Watch::new(app, scope, limits, &settings.outbound, way),
            pace: Pace::default(),
            pinned: Pinned::default(),
            idle_looks: 0,
            said: None,
            last: Look::nothing(Verdict::Busy),
        }
    }

    /// The stop request: looks begin, so that at the end of the pre-stop sleep it is known what happened before.
    pub fn watch(&mut self, now: Moment) {
        if !self.stage.looks() && self.on {
            self.stage = Stage::Watching;
            self.idle_looks = 0;
            self.watch.forget();
            self.pace.hurry(now);
        }
    }

    /// The pre-stop sleep is over: verdicts count from here. A look is due at once.
    pub fn begin(&mut self, now: Moment) {
        if self.on && self.stage != Stage::Draining {
            self.watch(now);
            self.stage = Stage::Draining;
            self.pinned = Pinned::default();
            self.pace.hurry(now);
        }
    }

    /// When the next look is due; None while nothing is watched.
    pub fn deadline(&self) -> Option<Moment> {
        self.stage.looks().then(|| self.pace.deadline())
    }

    /// Takes a look if one is due; otherwise says again what the last one led to.
    pub fn look(&mut self, now: Moment) -> Look {
        if !self.on {
            return Look::nothing(Verdict::Idle);
        }
        if self.stage.looks() {
            match self.pace.due(now) {
                Some(Due::Full) => self.look_at_all(now),
                Some(Due::Busy) => self.ask_busy(now),
                None => {}
            }
        }
        self.last.clone()
    }

    /// How many requests are in flight now; None when nothing can be seen. However often it is asked, looks keep to their share
    /// of the processor, so that the answer may be as old as the last look.
    pub fn count_now(&mut self, now: Moment) -> Option<usize> {
        self.look_on_demand(now).map(|look| look.in_flight)
    }

    /// How many of them would be cut off if the app ended now: all but those that count by caution alone, having just been answered
    /// or just been connected. As old as that of [`Drain::count_now`].
    pub fn cut_now(&mut self, now: Moment) -> Option<usize> {
        self.look_on_demand(now).map(|look| look.urgent)
    }

    fn look_on_demand(&mut self, now: Moment) -> Option<&Look> {
        if !self.on {
            return None;
        }
        if self.pace.due(now) == Some(Due::Full) {
            if self.stage == Stage::Off {
                // What was seen at an earlier question is too old to go by.
                self.watch.forget();
            }
            self.look_at_all(now);
            if !self.stage.looks() {
                self.watch.shut();
            }
        }
        (self.last.verdict != Verdict::Blind).then_some(&self.last)
    }

    /// A connection from this address is adieu's own question, not a client's: it is not counted.
    pub fn leave_out(&mut self, caller: SocketAddr) {
        self.watch.leave_out(caller);
    }

    /// Ends the watch and closes its descriptor. What has been seen stays known for [`Drain::cut_now`].
    pub fn close(&mut self) {
        if self.stage.looks() {
            self.stage = Stage::Over;
        }
        self.watch.shut();
    }

    fn look_at_all(&mut self, now: Moment) {
        let before = processor_time();
        let seen = self.watch.look(now).cloned();
        let cost = processor_time().saturating_sub(before);
        let ask_busy = self.watch.few_busy().map(|few| ASK_ONE * few);
        self.pace.looked(now, cost, ask_busy);
        self.last = match seen {
            Ok(seen) => self.judge(now, &seen),
            Err(error) => self.blind(&error),
        };
    }

    fn judge(&mut self, now: Moment, seen: &Seen) -> Look {
        let mut look = Look::new(Verdict::Busy, seen);
        let idle = look.in_flight == 0 && look.outbound == 0;
        self.idle_looks = if idle { self.idle_looks.saturating_add(1) } else { 0 };
        if self.stage == Stage::Draining {
            let pinned = self.pinned.look(now, seen.tally.traffic) && look.unix == 0;
            if self.idle_looks >= 2 {
                look.verdict = Verdict::Idle;
            } else if pinned && !idle {
                look.verdict = Verdict::Pinned;
            }
        }
        look
    }

    fn blind(&mut self, error: &io::Error) -> Look {
        let reason = error.to_string();
        if self.said.as_ref() != Some(&reason) {
            log::info!("drain: cannot see connections: {reason}");
            self.said = Some(reason);
        }
        self.idle_looks = 0;
        Look::nothing(Verdict::Blind)
    }

    fn ask_busy(&mut self, now: Moment) {
        let before = processor_time();
        let seen = self.watch.ask_busy(now).cloned();
        self.pace.asked(now, processor_time().saturating_sub(before));
        // Only a full look can tell that nothing is in flight, as a request may have come on a connection that was idle.
        self.last = match seen {
            Ok(seen) => Look { complete: false, ..Look::new(Verdict::Busy, &seen) },
            Err(error) => self.blind(&error),
        };
    }
}

/// It is no fault of what was asked for, but of this moment: descriptors or memory have run out.
fn is_passing(error: &io::Error) -> bool {
    const PASSING: [i32; 6] =
        [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EAGAIN, libc::EINTR];
    error.raw_os_error().is_some_and(|errno| PASSING.contains(&errno))
}

/// What this thread has spent, in the kernel too; it does not run on while others have the processor.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}
