//! Is the app ready, and later: is it still busy? Checks find out, again and again. Each check runs
//! again one second after its last start, or when its answer came if that took longer. It has a
//! limit of its own, and its last answer stands until the next one. Before it has passed for the
//! first time it runs more often at first, so that an app that starts in 200 ms does not wait a
//! whole second for its traffic. Readiness follows the checks while the app runs, as in Kubernetes
//! and HAProxy: an app that stops answering is no longer ready, one that answers again is. Without
//! checks nothing here ever wakes the loop.

use std::net::SocketAddr;
use std::time::Duration;

use crate::ask::{Answer, Ask, name_of};
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::settings::Target;
use crate::sys::poll::PollFds;

/// From one start of a check to the next.
const EVERY: Duration = Duration::from_secs(1);
/// The same at first; it doubles until the check passes or the usual time is reached.
const AT_FIRST: Duration = Duration::from_millis(50);
/// How long a readiness check may take.
const LIMIT: Duration = Duration::from_secs(1);

/// A drain check runs more often, since a stop may wait for its answer ...
const DRAIN_EVERY: Duration = Duration::from_millis(500);
/// ... and may take longer: a broker's command line client is slow to start.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// Between an answer and the next start, so that an HTTP check, which is a connection to the app
/// too, is not always seen among those that drain.
const DRAIN_REST: Duration = Duration::from_millis(300);
/// Idle must hold at two looks in a row.
const DRAIN_IDLE_LOOKS: u32 = 2;

/// A check that runs again and again.
#[derive(Debug)]
struct Repeated {
    target: Target,
    every: Duration,
    /// At first less than `every`.
    pause: Duration,
    limit: Duration,
    ask: Option<Ask>,
    /// Whether the caller has got the answer of `ask`.
    told: bool,
    asked: Option<Moment>,
    /// The least time after an answer, and when that came.
    rest: Duration,
    answered: Moment,
}

impl Repeated {
    fn new(target: &Target, every: Duration, limit: Duration) -> Repeated {
        Repeated {
            target: target.clone(),
            every,
            pause: every,
            limit,
            ask: None,
            told: true,
            asked: None,
            rest: Duration::ZERO,
            answered: Moment::START,
        }
    }

    fn impatient(self) -> Repeated {
        Repeated { pause: AT_FIRST, ..self }
    }

    /// The answer, in the turn in which it comes.
    fn serve(&mut self, now: Moment) -> Option<Result<Answer, String>> {
        if let Some(ask) = &mut self.ask {
            ask.serve(now);
        }
        if self.told && !self.lingers() && now >= self.next() {
            if self.asked.replace(now).is_some() {
                self.pause = self.pause.saturating_mul(2).min(self.every);
            }
            self.ask = Some(Ask::start(&self.target, now, self.limit, &[]));
            self.told = false;
        }
        let answer = self.untold()?;
        self.told = true;
        self.answered = now;
        if answer.as_ref().is_ok_and(|answer| answer.good().is_ok()) {
            self.pause = self.every;
        }
        Some(answer)
    }

    /// The last command was cut off and is still alive: one more each second would fill the process
    /// table.
    fn lingers(&self) -> bool {
        self.ask.as_ref().is_some_and(Ask::lingers)
    }

    fn next(&self) -> Moment {
        let due = self.asked.map_or(Moment::START, |asked| asked + self.pause);
        due.max(self.answered + self.rest)
    }

    fn untold(&self) -> Option<Result<Answer, String>> {
        if self.told { None } else { self.ask.as_ref()?.answer() }
    }

    fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if let Some(ask) = &self.ask {
            ask.poll_fds(fds);
        }
    }

    fn deadline(&self) -> Option<Moment> {
        let ask = self.ask.as_ref().and_then(Ask::deadline);
        if self.lingers() && self.told {
            None
        } else if self.told {
            Some(ask.map_or(self.next(), |ask| ask.min(self.next())))
        } else if self.untold().is_some() {
            Some(Moment::START)
        } else {
            ask
        }
    }

    fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.ask.as_mut().is_some_and(|ask| ask.reaped(pid, exit))
    }

    fn cut(&mut self) {
        if let Some(ask) = &mut self.ask {
            ask.cut("no longer asked".to_owned());
        }
    }
}

/// The readiness checks of one app: `--ready`, repeatable.
#[derive(Debug)]
pub struct Checks {
    checks: Vec<Check>,
    ceased: bool,
}

#[derive(Debug)]
struct Check {
    name: String,
    /// `None` for `notify`: the app reports by itself.
    asked: Option<Repeated>,
    last: Result<(), String>,
    passed_before: bool,
}

impl Check {
    fn new(target: &Target) -> Check {
        let (asked, last) = match target {
            Target::Notify => (None, "the app has not said READY=1"),
            Target::Exec(_) | Target::Http(_) | Target::Tcp(_) => {
                (Some(Repeated::new(target, EVERY, LIMIT).impatient()), "no answer yet")
            }
        };
        Check { name: name_of(target), asked, last: Err(last.to_owned()), passed_before: false }
    }

    /// Keeps the result; logs a change after the app has been ready once.
    fn note(&mut self, result: Result<(), String>) {
        match (&self.last, &result) {
            (Ok(()), Err(reason)) => log::warn!("readiness check '{}' fails: {reason}", self.name),
            (Err(_), Ok(())) if self.passed_before => {
                log::info!("readiness check '{}' passes again", self.name);
            }
            (Err(_), Ok(())) => log::debug!("readiness check '{}' passes", self.name),
            (Ok(()), Ok(())) | (Err(_), Err(_)) => {}
        }
        self.passed_before |= result.is_ok();
        self.last = result;
    }
}

impl Checks {
    /// The first turn starts all of them.
    pub fn new(targets: &[Target]) -> Checks {
        Checks { checks: targets.iter().map(Check::new).collect(), ceased: false }
    }

    /// The descriptors that answers depend on.
    pub fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        for asked in self.asked() {
            asked.poll_fds(fds);
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Moment> {
        self.asked().filter_map(Repeated::deadline).min()
    }

    /// Asks what is due, and takes in answers.
    pub fn serve(&mut self, now: Moment) {
        if self.ceased {
            return;
        }
        for check in &mut self.checks {
            if let Some(answer) = check.asked.as_mut().and_then(|asked| asked.serve(now)) {
                check.note(answer.and_then(Answer::good));
            }
        }
    }

    /// Takes the end of a process; true when it was a check's.
    pub fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.checks.iter_mut().filter_map(|check| check.asked.as_mut()).any(|asked| asked.reaped(pid, exit))
    }

    /// The app has sent READY=1, for which `notify` waits.
    pub fn app_said_ready(&mut self) {
        for check in self.checks.iter_mut().filter(|check| check.asked.is_none()) {
            check.note(Ok(()));
        }
    }

    /// All pass; true if there are none.
    pub fn ready(&self) -> bool {
        self.checks.iter().all(|check| check.last.is_ok())
    }

    /// Why the app is not ready, in one line.
    pub fn reason(&self) -> Option<String> {
        let reasons: Vec<String> = self
            .checks
            .iter()
            .filter_map(|check| {
                let reason = check.last.as_ref().err()?;
                Some(format!("{}: {reason}", check.name))
            })
            .collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// Ends all checks: a stop has begun, and readiness is false whatever they find.
    pub fn cease(&mut self) {
        self.ceased = true;
        for asked in self.checks.iter_mut().filter_map(|check| check.asked.as_mut()) {
            asked.cut();
        }
    }

    fn asked(&self) -> impl Iterator<Item = &Repeated> {
        self.checks.iter().filter(|_| !self.ceased).filter_map(|check| check.asked.as_ref())
    }
}

/// `--drain-check`: asks the app during the drain whether it is busy.
#[derive(Debug)]
pub struct DrainCheck {
    name: String,
    asked: Repeated,
    on: bool,
    idle_looks: u32,
    last: Result<(), String>,
}

impl DrainCheck {
    /// Asks nothing before [`DrainCheck::begin`].
    pub fn new(target: &Target) -> DrainCheck {
        DrainCheck {
            name: name_of(target),
            asked: Repeated { rest: DRAIN_REST, ..Repeated::new(target, DRAIN_EVERY, DRAIN_LIMIT) },
            on: false,
            idle_looks: 0,
            last: Err("no answer yet".to_owned()),
        }
    }

    /// Draining begins; once begun, this changes nothing.
    pub fn begin(&mut self) {
        self.on = true;
    }

    /// Draining is over.
    pub fn end(&mut self) {
        self.on = false;
        self.asked.cut();
    }

    /// The descriptors that answers depend on.
    pub fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        if self.on {
            self.asked.poll_fds(fds);
        }
    }

    /// When something is due.
    pub fn deadline(&self) -> Option<Moment> {
        if self.on { self.asked.deadline() } else { None }
    }

    /// Asks what is due, and takes in answers.
    pub fn serve(&mut self, now: Moment) {
        if !self.on {
            return;
        }
        if let Some(answer) = self.asked.serve(now) {
            let result = answer.and_then(Answer::idle);
            self.idle_looks = if result.is_ok() { self.idle_looks.saturating_add(1) } else { 0 };
            self.last = result;
        }
    }

    /// Takes the end of a process; true when it was this check's.
    pub fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        self.asked.reaped(pid, exit)
    }

    /// Our own end of the connection of the check: no client's.
    pub fn asks_from(&self) -> Option<SocketAddr> {
        self.asked.ask.as_ref().and_then(Ask::asks_from)
    }

    /// The last two answers were idle. No answer counts as busy; the drain timeout bounds that.
    pub fn idle(&self) -> bool {
        self.idle_looks >= DRAIN_IDLE_LOOKS
    }

    /// Why the app counts as busy, in one line.
    pub fn reason(&self) -> Option<String> {
        match &self.last {
            Err(reason) => Some(format!("{}: {reason}", self.name)),
            Ok(()) if !self.idle() => Some(format!("{}: idle at one look", self.name)),
            Ok(()) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};

    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;
    use crate::settings::HttpTarget;

    fn seconds(seconds: u64) -> Moment {
        Moment::at(Duration::from_secs(seconds))
    }

    /// Answers one request with the status.
    fn answer(listener: &TcpListener, status: &'static str) -> std::thread::JoinHandle<()> {
        let listener = listener.try_clone().unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 16]).unwrap();
            write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\n\r\n").unwrap();
        })
    }

    fn http(addr: SocketAddr) -> Target {
        Target::Http(HttpTarget { method: "GET", addr, host: addr.to_string(), path: "/".to_owned() })
    }

    /// Waits for the next thing to happen to the checks and serves them at `now`.
    fn turn(checks: &mut Checks, now: Moment) {
        let mut fds = PollFds::new();
        checks.poll_fds(&mut fds);
        fds.wait(Some(Moment::at(Duration::from_millis(20))), Moment::START);
        drop(fds);
        checks.serve(now);
    }

    #[test]
    fn without_checks_the_app_is_ready_and_nobody_is_woken() {
        let mut checks = Checks::new(&[]);
        checks.serve(seconds(0));
        assert!(checks.ready());
        assert_eq!(checks.reason(), None);
        assert_eq!(checks.deadline(), None);
    }

    #[test]
    fn readiness_follows_the_answers_second_by_second() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut checks = Checks::new(&[http(listener.local_addr().unwrap())]);
        assert!(!checks.ready());
        for (at, status, ready) in [(0, "503", false), (1, "200", true), (2, "500", false), (3, "204", true)]
        {
            checks.serve(seconds(at));
            let server = answer(&listener, status);
            while !checks.checks[0].asked.as_ref().unwrap().told {
                turn(&mut checks, seconds(at));
            }
            server.join().unwrap();
            assert_eq!(checks.ready(), ready, "{status}");
            assert_eq!(checks.reason().is_none(), ready);
            if !ready {
                assert!(checks.reason().unwrap().ends_with(&format!("/: answered {status}")));
            }
        }
    }

    /// One whose process does not end, though it was killed, is not followed by another one.
    #[test]
    fn a_command_that_cannot_be_ended_is_the_only_one() {
        let sleep = Target::Exec(["sleep", "100"].map(Into::into).to_vec());
        let mut asked = Repeated::new(&sleep, EVERY, LIMIT);
        asked.serve(seconds(0));
        let pid = asked.ask.as_ref().unwrap().pid().unwrap();
        assert_eq!(asked.serve(seconds(1)), Some(Err("no answer within 1s".to_owned())));
        assert_eq!((asked.serve(seconds(9)), asked.deadline()), (None, None));
        assert!(asked.ask.as_ref().unwrap().lingers());
        waitpid(nix::unistd::Pid::from_raw(pid.number()), None).unwrap();
        assert!(asked.reaped(pid, Exit::Killed(crate::signal::Signal::KILL)));
        assert!(asked.deadline() <= Some(seconds(9)));
        asked.serve(seconds(9));
        let next = asked.ask.as_ref().unwrap().pid().unwrap();
        assert_ne!(next, pid);
        asked.cut();
        waitpid(nix::unistd::Pid::from_raw(next.number()), None).unwrap();
    }

    #[test]
    fn a_slow_check_is_asked_one_at_a_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut checks = Checks::new(&[http(listener.local_addr().unwrap())]);
        checks.serve(seconds(0));
        checks.serve(Moment::at(Duration::from_millis(999)));
        assert_eq!(checks.deadline(), Some(seconds(1)));
        checks.serve(seconds(1));
        assert!(checks.reason().unwrap().ends_with("no answer within 1s"));
        assert!(checks.deadline().unwrap() <= seconds(1), "its turn has come again");
        checks.serve(seconds(1));
        assert_eq!(checks.deadline(), Some(seconds(2)), "the limit");
    }

    #[test]
    fn a_check_that_fails_at_first_is_asked_sooner_and_then_less_often() {
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut checks = Checks::new(&[Target::Tcp(nobody)]);
        let mut asked = vec![Duration::ZERO];
        while asked.len() < 8 {
            let now = *asked.last().unwrap();
            checks.serve(Moment::at(now));
            while !checks.checks[0].asked.as_ref().unwrap().told {
                turn(&mut checks, Moment::at(now));
            }
            asked.push(checks.deadline().unwrap().since_start());
        }
        let asked: Vec<_> = asked.iter().map(Duration::as_millis).collect();
        assert_eq!(asked, [0, 50, 150, 350, 750, 1550, 2550, 3550]);
    }

    #[test]
    fn notify_is_told_and_all_must_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut checks = Checks::new(&[Target::Notify, Target::Tcp(listener.local_addr().unwrap())]);
        while checks.reason().unwrap().contains("tcp") {
            turn(&mut checks, seconds(0));
        }
        assert_eq!(checks.reason().unwrap(), "notify: the app has not said READY=1");
        checks.app_said_ready();
        assert!(checks.ready());
        checks.cease();
        assert_eq!(checks.deadline(), None);
    }

    #[test]
    fn a_drain_check_must_say_idle_twice_in_a_row() {
        let dir = std::env::temp_dir().join(format!("adieu-drain-check-{}", std::process::id()));
        let target = Target::Exec(vec!["/bin/test".into(), "-e".into(), dir.clone().into()]);
        let mut drain = DrainCheck::new(&target);
        drain.serve(seconds(0));
        assert_eq!(drain.deadline(), None, "not begun");
        drain.begin();
        let mut look = |at: Moment| {
            drain.serve(at);
            let pid = drain.asked.ask.as_ref().unwrap().pid().unwrap();
            let WaitStatus::Exited(_, status) =
                waitpid(nix::unistd::Pid::from_raw(pid.number()), None).unwrap()
            else {
                panic!()
            };
            assert!(drain.reaped(pid, Exit::Status(status as u8)));
            drain.serve(at);
            (drain.idle(), drain.reason())
        };
        let (idle, reason) = look(seconds(1));
        assert!(!idle && reason.unwrap().ends_with("exit status 1"));
        std::fs::write(&dir, "").unwrap();
        assert!(!look(seconds(2)).0);
        assert_eq!(look(seconds(3)), (true, None));
        std::fs::remove_file(&dir).unwrap();
        assert!(!look(seconds(4)).0);
    }
}
