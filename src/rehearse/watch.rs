//! The watchers: threads that look on while the rehearsal runs, and note what changed and when.
//! They know nothing of the stop request; what they saw is put on its time scale afterwards.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::load;
use super::recording::ConnectionEnd;
use super::snapshot::{Observer, Snapshot, Socket};
use super::url::Url;

/// Between two looks at /proc; a look itself takes a few milliseconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Between two questions for readiness, as often as an impatient balancer asks.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

/// How long a balancer waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that watches until it is asked for what it saw.
pub(crate) struct Watcher<T> {
    thread: JoinHandle<T>,
    until: Sender<()>,
}

impl<T: Send + 'static> Watcher<T> {
    fn start(watch: impl FnOnce(Receiver<()>) -> T + Send + 'static) -> Watcher<T> {
        let (until, ended) = channel();
        Watcher { thread: std::thread::spawn(move || watch(ended)), until }
    }

    /// Ends the watching; the thread gives back what it saw.
    pub(crate) fn end(self) -> JoinHandle<T> {
        drop(self.until);
        self.thread
    }
}

/// True as long as nobody has asked; takes so long.
fn goes_on(ended: &Receiver<()>, pause: Duration) -> bool {
    matches!(ended.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// What became of the app's processes and sockets.
pub(crate) struct AppHistory {
    /// The looks that differed from the one before them.
    pub(crate) changes: Vec<(Instant, Snapshot)>,
    /// The last look at which the main process was alive.
    pub(crate) last: Instant,
}

impl AppHistory {
    /// Adds a look that was taken later than all others.
    pub(crate) fn extend(&mut self, held: Option<(Instant, Snapshot)>) {
        let Some((at, snapshot)) = held else { return };
        // What was seen later was seen of a process that was being held.
        self.changes.retain(|(before, _)| *before < at);
        self.changes.push((at, snapshot));
        self.last = at;
    }

    /// The last look before the end.
    pub(crate) fn last_look(&self) -> Option<&Snapshot> {
        self.changes.iter().rfind(|(at, _)| *at <= self.last).map(|(_, snapshot)| snapshot)
    }

    /// The look that was in force at this time.
    pub(crate) fn at(&self, time: Instant) -> Option<&Snapshot> {
        self.changes.iter().rfind(|(at, _)| *at <= time).map(|(_, snapshot)| snapshot)
    }

    /// When, after this time and before the end, the app was first seen not to listen on any of
    /// these ports.
    pub(crate) fn closed_after(&self, time: Instant, ports: &[u16]) -> Option<Instant> {
        let open = |snapshot: &Snapshot| snapshot.listening.iter().any(|port| ports.contains(port));
        if ports.is_empty() {
            return None;
        }
        self.changes
            .iter()
            .find(|(at, snapshot)| *at > time && *at <= self.last && !open(snapshot))
            .map(|(at, _)| *at)
    }

    /// What became of this connection after this time, as far as it was seen.
    pub(crate) fn end_of(&self, line: &Socket, time: Instant) -> ConnectionEnd<Instant> {
        let gone = |snapshot: &Snapshot| !snapshot.databases.contains(line);
        match self.changes.iter().find(|(at, snapshot)| *at > time && *at <= self.last && gone(snapshot)) {
            None => ConnectionEnd::Open,
            Some((at, snapshot)) if snapshot.processes.iter().any(|seen| seen.pid == line.owner) => {
                ConnectionEnd::Closed(*at)
            }
            Some(_) => ConnectionEnd::WithOwner,
        }
    }
}

/// Watches processes and sockets.
pub(crate) fn history(mut observer: Observer, main: Pid) -> Watcher<AppHistory> {
    Watcher::start(move |ended| {
        let mut history = AppHistory { changes: Vec::new(), last: Instant::now() };
        loop {
            let at = Instant::now();
            let seen = observer.snapshot();
            // Looked at afterwards: if it is alive now, it was so during the whole look.
            if alive(main) {
                history.last = at;
                if history.changes.last().is_none_or(|(_, before)| *before != seen) {
                    history.changes.push((at, seen));
                }
            }
            if !goes_on(&ended, BETWEEN_LOOKS) {
                return history;
            }
        }
    })
}

/// Neither gone nor a zombie nor on its way out (PF_EXITING, from the kernel's sched.h, in the
/// flags of proc_pid_stat(5)).
fn alive(main: Pid) -> bool {
    const PF_EXITING: u32 = 0x4;
    procfs::process::Process::new(main.as_raw())
        .and_then(|process| process.stat())
        .is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X') && stat.flags & PF_EXITING == 0)
}

/// What a readiness address said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadinessAnswer {
    Ready,
    NotReady,
    /// Nobody answered.
    Silence,
}

/// The answers that differed from the one before.
pub(crate) type Answers = Vec<(Instant, ReadinessAnswer)>;

/// Asks a readiness address again and again, on a new connection each time.
pub(crate) fn readiness(url: Url) -> Watcher<Answers> {
    Watcher::start(move |ended| {
        let mut answers = Answers::new();
        while goes_on(&ended, BETWEEN_QUESTIONS) {
            let answer = match load::status(&url, PATIENCE) {
                Ok(200..=299) => ReadinessAnswer::Ready,
                Ok(_) => ReadinessAnswer::NotReady,
                Err(_) => ReadinessAnswer::Silence,
            };
            if answers.last().is_none_or(|(_, before)| *before != answer) {
                answers.push((Instant::now(), answer));
            }
        }
        answers
    })
}
