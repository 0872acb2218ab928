//! The watchers: threads that record what changes in the app, and when. They do not know of the
//! stop request; `observations` converts their times.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::load;
use super::recording::ConnectionEnd;
use super::snapshot::{Observer, Snapshot, Socket};
use super::url::Url;

/// The pause between two snapshots of /proc; a snapshot itself takes a few milliseconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// The pause between two readiness checks, short as with an impatient balancer.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

/// How long a balancer waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// A thread that watches until its result is wanted.
pub(crate) struct Watcher<T> {
    thread: JoinHandle<T>,
    until: Sender<()>,
}

impl<T: Send + 'static> Watcher<T> {
    fn start(watch: impl FnOnce(Receiver<()>) -> T + Send + 'static) -> Watcher<T> {
        let (until, ended) = channel();
        Watcher { thread: std::thread::spawn(move || watch(ended)), until }
    }

    /// Ends the watching; the thread returns what it saw.
    pub(crate) fn end(self) -> JoinHandle<T> {
        drop(self.until);
        self.thread
    }
}

/// Waits for this pause; false when the watching is to end.
fn goes_on(ended: &Receiver<()>, pause: Duration) -> bool {
    matches!(ended.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// What became of the app's processes and sockets.
pub(crate) struct AppHistory {
    /// The snapshots that differ from the one before.
    pub(crate) changes: Vec<(Instant, Snapshot)>,
    /// The time of the last snapshot with the main process alive.
    pub(crate) last: Instant,
}

impl AppHistory {
    /// Adds the snapshot that was taken while the main process was held at its exit.
    pub(crate) fn extend(&mut self, held: Option<(Instant, Snapshot)>) {
        let Some((at, snapshot)) = held else { return };
        // Later snapshots are of the held process and show nothing new.
        self.changes.retain(|(before, _)| *before < at);
        self.changes.push((at, snapshot));
        self.last = at;
    }

    /// The last snapshot before the end.
    pub(crate) fn last_look(&self) -> Option<&Snapshot> {
        self.changes.iter().rfind(|(at, _)| *at <= self.last).map(|(_, snapshot)| snapshot)
    }

    /// The latest snapshot at this time.
    pub(crate) fn at(&self, time: Instant) -> Option<&Snapshot> {
        self.changes.iter().rfind(|(at, _)| *at <= time).map(|(_, snapshot)| snapshot)
    }

    /// When the app was first seen to listen on none of these ports, after this time and before the
    /// end.
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
            // Checked afterwards: if it is alive now, it was alive during the whole snapshot.
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

/// Neither gone nor a zombie nor exiting (PF_EXITING of the kernel's sched.h, in the flags of
/// proc_pid_stat(5)).
fn alive(main: Pid) -> bool {
    const PF_EXITING: u32 = 0x4;
    procfs::process::Process::new(main.as_raw())
        .and_then(|process| process.stat())
        .is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X') && stat.flags & PF_EXITING == 0)
}

/// The answer of a readiness address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ReadinessAnswer {
    Ready,
    NotReady,
    /// There was no answer.
    Silence,
}

/// The answers that differ from the one before.
pub(crate) type Answers = Vec<(Instant, ReadinessAnswer)>;

/// Checks a readiness address repeatedly, each time on a new connection.
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
