//! The watchers: threads that look on while the rehearsal runs, and note what changed and when. They know nothing of the stop
//! request; what they saw is put on its time scale afterwards.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::load;
use super::look::{Eye, Line, Look};
use super::recording::{Connection, Fate, LineEnd};

/// Between two looks at /proc; a look itself takes a few milliseconds.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
/// Between two questions for readiness, as often as an impatient balancer asks.
const BETWEEN_QUESTIONS: Duration = Duration::from_millis(20);

/// A thread that watches until it is asked for what it saw.
pub struct Watcher<T> {
    thread: JoinHandle<T>,
    until: Sender<()>,
}

impl<T: Send + 'static> Watcher<T> {
    fn start(watch: impl FnOnce(Receiver<()>) -> T + Send + 'static) -> Watcher<T> {
        let (until, told) = channel();
        Watcher { thread: std::thread::spawn(move || watch(told)), until }
    }

    /// Ends the watching.
    #[must_use]
    pub fn what_it_saw(self) -> Option<T> {
        drop(self.until);
        self.thread.join().ok()
    }
}

/// True as long as nobody has asked; takes so long.
fn go_on(told: &Receiver<()>, pause: Duration) -> bool {
    matches!(told.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// What became of the app's processes and sockets.
pub struct Scenes {
    /// The looks that differed from the one before them.
    pub changes: Vec<(Instant, Look)>,
    /// The last look at which the main process was alive.
    pub last: Instant,
}

impl Scenes {
    /// Adds a look that was taken later than all others.
    pub fn extend(&mut self, held: Option<(Instant, Look)>) {
        let Some((at, look)) = held else { return };
        // What was seen later was seen of a process that was being held.
        self.changes.retain(|(before, _)| *before < at);
        self.changes.push((at, look));
        self.last = at;
    }

    /// The last look before the end.
    #[must_use]
    pub fn last_look(&self) -> Option<&Look> {
        self.changes.iter().rfind(|(at, _)| *at <= self.last).map(|(_, look)| look)
    }

    /// The look that was in force at this time.
    #[must_use]
    pub fn at(&self, time: Instant) -> Option<&Look> {
        self.changes.iter().rfind(|(at, _)| *at <= time).map(|(_, look)| look)
    }

    /// When, after this time and before the end, the app was first seen not to listen on any of these ports.
    #[must_use]
    pub fn closed_after(&self, time: Instant, ports: &[u16]) -> Option<Instant> {
        let open = |look: &Look| look.listening.iter().any(|port| ports.contains(port));
        self.changes
            .iter()
            .find(|(at, look)| *at > time && *at <= self.last && !open(look))
            .map(|(at, _)| *at)
    }

    /// What became of this connection after this time, as far as it was seen.
    #[must_use]
    pub fn end_of(&self, line: &Line, time: Instant) -> LineEnd<Instant> {
        let gone = |look: &Look| !look.outbound.contains(line);
        match self.changes.iter().find(|(at, look)| *at > time && *at <= self.last && gone(look)) {
            None => LineEnd::Open,
            Some((at, look)) if look.processes.iter().any(|seen| seen.pid == line.owner) => {
                LineEnd::Closed(*at)
            }
            Some(_) => LineEnd::WithOwner,
        }
    }
}

/// Watches processes and sockets.
#[must_use]
pub fn scenes(mut eye: Eye, main: Pid) -> Watcher<Scenes> {
    Watcher::start(move |told| {
        let mut scenes = Scenes { changes: Vec::new(), last: Instant::now() };
        loop {
            let at = Instant::now();
            let seen = eye.look();
            // Looked at afterwards: if it is alive now, it was so during the whole look.
            if alive(main) {
                scenes.last = at;
                if scenes.changes.last().is_none_or(|(_, before)| *before != seen) {
                    scenes.changes.push((at, seen));
                }
            }
            if !go_on(&told, BETWEEN_LOOKS) {
                return scenes;
            }
        }
    })
}

/// Neither gone nor a zombie nor on its way out (PF_EXITING, from the kernel's sched.h, in the flags of proc_pid_stat(5)).
fn alive(main: Pid) -> bool {
    const PF_EXITING: u32 = 0x4;
    procfs::process::Process::new(main.as_raw())
        .and_then(|process| process.stat())
        .is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X') && stat.flags & PF_EXITING == 0)
}

/// What a readiness address said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    Ready,
    NotReady,
    /// Nobody answered.
    Silence,
}

/// The answers that differed from the one before.
pub type Answers = Vec<(Instant, Answer)>;

/// Asks a readiness address again and again, on a new connection each time.
#[must_use]
pub fn readiness(url: String) -> Watcher<Answers> {
    Watcher::start(move |told| {
        let agent = load::agent(Connection::New, Duration::from_secs(2));
        let mut answers = Answers::new();
        while go_on(&told, BETWEEN_QUESTIONS) {
            let answer = match load::ask(&agent, &url) {
                Fate::Answered { status: 200..=299 } => Answer::Ready,
                Fate::Answered { .. } | Fate::Failed { .. } => Answer::NotReady,
                Fate::Refused { .. } | Fate::CutOff { .. } | Fate::TimedOut => Answer::Silence,
            };
            if answers.last().is_none_or(|(_, before)| *before != answer) {
                answers.push((Instant::now(), answer));
            }
        }
        answers
    })
}
