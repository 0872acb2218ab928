//! Acts on the decisions: finds the sockets, looks at them, corks and shuts them, each through a
//! duplicate that is closed at once.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{BorrowedFd, RawFd};
use std::time::Duration;

use super::connection::{Act, AttemptEnd, LastData};
use super::protocol::{self, Knowledge};
use super::schedule::{CloseSchedule, Offer};
use crate::drain::rhythm::Rhythm;
use crate::moment::Moment;
use crate::process::Pid;
use crate::settings::CloseSettings;
use crate::sys::duplicate::{Arrivals, Duplicate, Failure, Process};
use crate::sys::proc::Walk;

/// How many connections are watched for a request line at a time, for how long, and how long then
/// none is watched: a duplicate delays the end of its connection.
const WATCHED: usize = 8;
const WATCH_FOR: Duration = Duration::from_secs(1);
const WATCH_AGAIN: Duration = Duration::from_secs(1);

/// How many descriptors are looked at in one turn of the loop, and when to go on: some two
/// milliseconds in ten.
const WALK_PIECE: usize = 512;
const WALK_AGAIN: Duration = Duration::from_millis(10);

/// The least time between two walks: one costs time for every descriptor of the app.
const WALKS_APART: Duration = Duration::from_millis(100);

/// How many attempts begin in one turn.
const BEGIN_AT_A_TIME: usize = 128;

/// How long to try nothing after descriptors have run out.
const WANT_PASSES: Duration = Duration::from_millis(50);

/// A connection that the app has open, from a look at all connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::drain) struct Candidate {
    pub cookie: u64,
    pub inode: u32,
    /// The listener's.
    pub port: u16,
    /// Judged idle.
    pub idle: bool,
    /// The client has sent a request that is not answered.
    pub awaited: bool,
    pub last_data: LastData,
    /// Requests and answers have alternated in sight, as large as in HTTP/1.
    pub exchanges: bool,
    /// Since data last came or went.
    pub silent: Duration,
    /// The longest pause that was seen inside an answer of its listener.
    pub pause: Duration,
}

/// Lets clients go, where settings and kernel allow it.
#[derive(Debug)]
pub(in crate::drain) struct LetGo {
    on: bool,
    spread: Duration,
    knowledge: Knowledge,
    /// From the end of the pre-stop sleep on.
    schedule: Option<CloseSchedule>,
    sockets: DuplicateSockets,
    arrivals: Option<Arrivals>,
    /// When watching for request lines ends, or may begin again.
    arrivals_until: Moment,
    ports: HashMap<u64, u16>,
    not_before: Moment,
    /// Shut since they were last asked for.
    shut: Vec<ShutConnection>,
    /// How many were let go, once the drain is over.
    let_go: u64,
}

/// A connection that was shut behind an answer, or at rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::drain) struct ShutConnection {
    pub cookie: u64,
    /// All bytes that its client had sent by then.
    pub received: u64,
}

/// Where the sockets are.
#[derive(Debug, Default)]
struct DuplicateSockets {
    places: HashMap<u64, (Pid, RawFd)>,
    processes: HashMap<Pid, Process>,
    /// The cookies of those that linger.
    left_alone: HashSet<u64>,
    /// The cookies of those that are still to be found, by inode.
    wanted: HashMap<u32, u64>,
    walk: Option<Walk>,
    walk_at: Moment,
    /// A process does not show its descriptors.
    hidden: Option<Failure>,
}

impl LetGo {
    pub(in crate::drain) fn new(settings: &CloseSettings) -> LetGo {
        LetGo {
            on: settings.on,
            spread: settings.spread,
            knowledge: Knowledge::new(&settings.ports, settings.only_these),
            schedule: None,
            sockets: DuplicateSockets::default(),
            arrivals: None,
            arrivals_until: Moment::START,
            ports: HashMap::new(),
            not_before: Moment::START,
            shut: vec![],
            let_go: 0,
        }
    }

    /// The pre-stop sleep is over.
    pub(in crate::drain) fn begin(&mut self, now: Moment) {
        if self.on {
            self.schedule = Some(CloseSchedule::new(now, self.spread, RandomState::new().hash_one(0)));
        }
    }

    /// What listeners have shown so far, by port.
    pub(in crate::drain) fn learn(&mut self, rhythms: HashMap<u16, Rhythm>) {
        if let Some(schedule) = &mut self.schedule {
            schedule.learn(rhythms);
        }
    }

    /// A look at all connections was taken. `pids` finds the app's processes.
    pub(in crate::drain) fn looked(
        &mut self,
        now: Moment,
        candidates: &[Candidate],
        pids: impl FnOnce() -> io::Result<Vec<Pid>>,
    ) {
        if !self.on {
            return;
        }
        self.ports = candidates.iter().map(|candidate| (candidate.cookie, candidate.port)).collect();
        self.sockets.look_for(now, candidates, pids);
        self.watch_arrivals(now, candidates);
        if let Some(schedule) = &mut self.schedule {
            schedule.begin_look(candidates.len());
            for candidate in candidates {
                let Candidate { cookie, port, idle, awaited, last_data, exchanges, silent, pause, .. } =
                    *candidate;
                let found = self.sockets.places.contains_key(&cookie);
                let shown = exchanges || self.knowledge.is_shown(cookie, port);
                if found && self.knowledge.allows(cookie, port) && shown {
                    schedule.offer(now, Offer { cookie, port, idle, awaited, last_data, silent, pause });
                }
            }
            schedule.end_look();
        }
    }

    /// Readable when a request may have come on a connection that is watched for it.
    pub(in crate::drain) fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.arrivals.as_ref().map(Arrivals::descriptor)
    }

    pub(in crate::drain) fn deadline(&self) -> Option<Moment> {
        let schedule = self.schedule.as_ref().and_then(CloseSchedule::deadline);
        let arrivals = self.arrivals.is_some().then_some(self.arrivals_until);
        let walk = self.sockets.walk.is_some().then_some(self.sockets.walk_at);
        let first = [schedule, arrivals, walk].into_iter().flatten().min()?;
        Some(first.max(self.not_before))
    }

    /// Does what is due.
    pub(in crate::drain) fn step(&mut self, now: Moment) {
        if !self.on || now < self.not_before {
            return;
        }
        self.hear();
        self.end_watch(now);
        let done = self.go_on(now);
        let walked = self.sockets.walk_on(now);
        match done.and(walked) {
            Ok(()) | Err(Failure::Gone | Failure::Lingers) => {}
            Err(Failure::Passing(_)) => self.not_before = now + WANT_PASSES,
            Err(refused @ Failure::Refused(_)) => self.give_up(&refused),
        }
    }

    /// How many connections will be let go soon, so that the drain waits for them.
    pub(in crate::drain) fn owed(&self) -> usize {
        self.schedule.as_ref().map_or(0, CloseSchedule::owed)
    }

    /// How many clients were let go so far.
    pub(in crate::drain) fn let_go(&self) -> u64 {
        self.schedule.as_ref().map_or(self.let_go, |schedule| schedule.count().let_go.into())
    }

    /// The connections that were shut since the last call.
    pub(in crate::drain) fn take_shut(&mut self) -> Vec<ShutConnection> {
        std::mem::take(&mut self.shut)
    }

    /// The drain is over. No socket is left corked.
    pub(in crate::drain) fn finish(&mut self) {
        self.on = false;
        self.arrivals = None;
        if let Some(mut schedule) = self.schedule.take() {
            let count = schedule.count();
            for cookie in schedule.finish() {
                // It fails where the socket is gone, and the cork with it, and where the whole
                // system has no descriptor left.
                let _ = self.sockets.duplicate(cookie).and_then(|socket| socket.uncork());
            }
            self.let_go = count.let_go.into();
            match count.let_go {
                0 => {}
                1 => log::info!("let 1 client go"),
                n => log::info!("let {n} clients go"),
            }
        }
        self.sockets = DuplicateSockets::default();
    }

    fn give_up(&mut self, refused: &Failure) {
        log::info!(
            "cannot let clients go: {refused} (the seccomp profile must allow pidfd_getfd, and another user's app needs SYS_PTRACE)"
        );
        self.finish();
    }

    /// Takes in request lines of watched connections. The app reads them as soon as it runs, so
    /// that this is best done before anything else.
    pub(in crate::drain) fn hear(&mut self) {
        let Some(arrivals) = &mut self.arrivals else { return };
        let (knowledge, ports) = (&mut self.knowledge, &self.ports);
        let mut heard = vec![];
        arrivals.take(|cookie, socket| {
            let Some(port) = ports.get(&cookie) else { return };
            let mut buffer = [0; protocol::ENOUGH];
            if let Ok(bytes @ [_, ..]) = socket.peek(&mut buffer) {
                knowledge.saw(cookie, *port, protocol::speaks(bytes));
            }
            if !knowledge.is_open(*port) {
                heard.push(cookie);
            }
        });
        heard.into_iter().for_each(|cookie| arrivals.forget(cookie));
    }

    fn end_watch(&mut self, now: Moment) {
        let is_over = |arrivals: &Arrivals| arrivals.is_empty() || now >= self.arrivals_until;
        if self.arrivals.as_ref().is_some_and(is_over) {
            self.arrivals = None;
            self.arrivals_until = now + WATCH_AGAIN;
        }
    }

    /// Watches connections that sent last, on ports whose protocol is unknown.
    fn watch_arrivals(&mut self, now: Moment, candidates: &[Candidate]) {
        if self.arrivals.is_some() || now < self.arrivals_until || now < self.not_before {
            return;
        }
        let unknown = |candidate: &&Candidate| {
            self.knowledge.is_open(candidate.port) && self.sockets.places.contains_key(&candidate.cookie)
        };
        let mut latest: Vec<&Candidate> = candidates.iter().filter(unknown).collect();
        if latest.is_empty() {
            return;
        }
        latest.sort_by_key(|candidate| candidate.silent);
        latest.truncate(WATCHED);
        match self.sockets.watch(&latest) {
            Ok(arrivals) => {
                self.arrivals = Some(arrivals);
                self.arrivals_until = now + WATCH_FOR;
            }
            Err(Failure::Gone | Failure::Lingers | Failure::Passing(_)) => {}
            Err(refused @ Failure::Refused(_)) => self.give_up(&refused),
        }
    }

    fn go_on(&mut self, now: Moment) -> Result<(), Failure> {
        let Some(schedule) = &mut self.schedule else {
            return Ok(());
        };
        for cookie in schedule.due(now) {
            let socket = self.sockets.duplicate(cookie);
            let looked = socket.and_then(|socket| look(schedule, now, cookie, &socket));
            self.shut.extend(settle(schedule, now, cookie, looked)?);
        }
        for _ in 0..BEGIN_AT_A_TIME {
            let Some(cookie) = schedule.next_to_begin(now) else {
                break;
            };
            let begun = self.sockets.duplicate(cookie).and_then(|socket| {
                if schedule.begin(now, cookie) {
                    socket.cork()?;
                }
                look(schedule, now, cookie, &socket)
            });
            self.shut.extend(settle(schedule, now, cookie, begun)?);
        }
        Ok(())
    }
}

/// What a look at a socket has led to.
type Looked = (Option<ShutConnection>, Option<AttemptEnd>);

fn look(
    schedule: &mut CloseSchedule,
    now: Moment,
    cookie: u64,
    socket: &Duplicate,
) -> Result<Looked, Failure> {
    let tail = socket.look()?;
    let (act, end) = schedule.look(now, cookie, &tail);
    perform(socket, act)?;
    let shuts = matches!(act, Act::ShutRead | Act::ShutBoth);
    Ok((shuts.then_some(ShutConnection { cookie, received: tail.received }), end))
}

fn settle(
    schedule: &mut CloseSchedule,
    now: Moment,
    cookie: u64,
    done: Result<Looked, Failure>,
) -> Result<Option<ShutConnection>, Failure> {
    let (shut, end) = match done {
        Err(Failure::Gone | Failure::Lingers) => (None, schedule.gone(now, cookie)),
        done => done?,
    };
    if let Some(end) = end {
        log::debug!("drain: connection {cookie}: {end}");
    }
    Ok(shut)
}

fn perform(socket: &Duplicate, act: Act) -> Result<(), Failure> {
    match act {
        Act::Nothing => Ok(()),
        Act::Uncork => socket.uncork(),
        Act::Flush => socket.uncork().and_then(|()| socket.cork()),
        Act::ShutRead => socket.shut_read(),
        Act::ShutWrite => socket.shut_write(),
        Act::ShutBoth => socket.shut(),
    }
}

impl DuplicateSockets {
    fn duplicate(&mut self, cookie: u64) -> Result<Duplicate, Failure> {
        let (pid, fd) = *self.places.get(&cookie).ok_or(Failure::Gone)?;
        let process = match self.processes.entry(pid) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => entry.insert(Process::open(pid)?),
        };
        let socket = process.duplicate(fd, cookie);
        match socket {
            // Closed, or moved to another descriptor, or the process has ended and another may get
            // its pid.
            Err(Failure::Gone) => {
                self.places.remove(&cookie);
                self.processes.remove(&pid);
            }
            Err(Failure::Lingers) => {
                self.places.remove(&cookie);
                self.left_alone.insert(cookie);
            }
            Ok(_) | Err(Failure::Refused(_) | Failure::Passing(_)) => {}
        }
        socket
    }

    fn watch(&mut self, candidates: &[&Candidate]) -> Result<Arrivals, Failure> {
        let mut arrivals = Arrivals::new()?;
        for candidate in candidates {
            match self.duplicate(candidate.cookie).and_then(|socket| arrivals.watch(candidate.cookie, socket))
            {
                Ok(()) | Err(Failure::Gone | Failure::Lingers) => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(arrivals)
    }

    /// Forgets those that are gone, and begins to walk where there are new ones.
    fn look_for(
        &mut self,
        now: Moment,
        candidates: &[Candidate],
        pids: impl FnOnce() -> io::Result<Vec<Pid>>,
    ) {
        if self.walk.is_some() {
            return;
        }
        let mut places = std::mem::take(&mut self.places);
        let left_alone = std::mem::take(&mut self.left_alone);
        self.wanted.clear();
        for candidate in candidates {
            match places.remove(&candidate.cookie) {
                Some(place) => {
                    self.places.insert(candidate.cookie, place);
                }
                None if left_alone.contains(&candidate.cookie) => {
                    self.left_alone.insert(candidate.cookie);
                }
                None => {
                    self.wanted.insert(candidate.inode, candidate.cookie);
                }
            }
        }
        if self.wanted.is_empty() || now < self.walk_at {
            return;
        }
        // The next look tries again.
        if let Ok(pids) = pids() {
            self.walk = Some(Walk::over(pids));
            self.walk_at = now;
        }
    }

    fn walk_on(&mut self, now: Moment) -> Result<(), Failure> {
        let Some(walk) = &mut self.walk else {
            return Ok(());
        };
        if now < self.walk_at {
            return Ok(());
        }
        let (wanted, places) = (&mut self.wanted, &mut self.places);
        let more = walk.go_on(WALK_PIECE, |pid, fd, inode| {
            if let Some(cookie) = wanted.remove(&inode) {
                places.insert(cookie, (pid, fd));
            }
        });
        self.walk_at = now + WALK_AGAIN;
        match more {
            Ok(true) if !wanted.is_empty() => Ok(()),
            Ok(_) => {
                self.walk = None;
                self.walk_at = now + WALKS_APART;
                let hidden = self.hidden.take().filter(|_| self.places.is_empty());
                hidden.map_or(Ok(()), Err)
            }
            Err(error) => {
                let failure = error.raw_os_error().map_or(Failure::Gone, Failure::of_number);
                self.hidden = Some(failure);
                Ok(())
            }
        }
    }
}
