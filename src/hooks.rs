//! The hooks: `--on-start`, `--on-stop`, `--on-exit`. The hooks of one point run one after the
//! other in the order in which they were given, as systemd runs several `ExecStop=`, each with a
//! time limit of its own. One that fails is logged and the next one still runs, since halting
//! halfway would not help a stop. Points do not wait for each other: a start hook that still runs
//! at a stop request goes on beside the stop hooks. When a command ends, its whole process group is
//! killed, so a hook that hangs or forks leaves nothing behind.

use std::collections::VecDeque;
use std::time::Duration;

use crate::ask::{Ask, name_of};
use crate::lifecycle::{Event, HookPoint, Phase};
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::settings::{HookSettings, Target};
use crate::signal::Signal;
use crate::sys::poll::PollFds;

/// As in the option's name.
pub(crate) fn point_name(point: HookPoint) -> &'static str {
    match point {
        HookPoint::Start => "on-start",
        HookPoint::Stop => "on-stop",
        HookPoint::Exit => "on-exit",
    }
}

/// What hooks find about the app in their environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct HookEnvironment {
    pub phase: Phase,
    pub app: Option<Pid>,
    /// How the app ended, once it has.
    pub exit: Option<Exit>,
    /// The signal that requested the stop, once one has.
    pub stop_signal: Option<Signal>,
}

impl HookEnvironment {
    /// `ADIEU_PHASE`, `ADIEU_APP_PID`, `ADIEU_EXIT_STATUS` (as a shell counts: 128+n for a signal),
    /// `ADIEU_STOP_SIGNAL` (a name without SIG). What is not known yet is not set.
    pub(crate) fn environment(self) -> Vec<(String, String)> {
        let exit = self.exit.map(Exit::code);
        [
            ("ADIEU_PHASE", Some(self.phase.name().to_owned())),
            ("ADIEU_APP_PID", self.app.map(|pid| pid.to_string())),
            ("ADIEU_EXIT_STATUS", exit.map(|status| status.to_string())),
            ("ADIEU_STOP_SIGNAL", self.stop_signal.map(|signal| signal.to_string())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// How one hook went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finished {
    pub point: HookPoint,
    pub hook: String,
    pub began: Moment,
    pub ended: Moment,
    pub result: Result<(), String>,
}

/// All hooks that run or wait for their turn.
#[derive(Debug)]
pub(crate) struct Hooks {
    settings: HookSettings,
    runs: Vec<HookRun>,
    done: Vec<Finished>,
}

#[derive(Debug)]
struct HookRun {
    point: HookPoint,
    waiting: VecDeque<Target>,
    env: Vec<(String, String)>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    name: String,
    began: Moment,
    call: Ask,
}

impl Hooks {
    /// Nothing runs yet.
    pub(crate) fn new(settings: &HookSettings) -> Hooks {
        Hooks { settings: settings.clone(), runs: Vec::new(), done: Vec::new() }
    }

    fn targets(&self, point: HookPoint) -> &[Target] {
        match point {
            HookPoint::Start => &self.settings.on_start,
            HookPoint::Stop => &self.settings.on_stop,
            HookPoint::Exit => &self.settings.on_exit,
        }
    }

    /// Starts the hooks of this point, if there are any.
    pub(crate) fn run(&mut self, point: HookPoint, now: Moment, environment: HookEnvironment) {
        let waiting: VecDeque<Target> = self.targets(point).iter().cloned().collect();
        if !waiting.is_empty() {
            self.runs.push(HookRun { point, waiting, env: environment.environment(), current: None });
            self.serve(now);
        }
    }

    pub(crate) fn poll_fds<'a>(&'a self, fds: &mut PollFds<'a>) {
        for current in self.runs.iter().filter_map(|run| run.current.as_ref()) {
            current.call.poll_fds(fds);
        }
    }

    /// At once if the end of a hook is still to be served.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        let calls = self.runs.iter().filter_map(|run| run.current.as_ref());
        calls.map(|current| current.call.deadline().unwrap_or(Moment::START)).min()
    }

    /// Starts and ends what is due; returns the points whose hooks have all ended.
    pub(crate) fn serve(&mut self, now: Moment) -> Vec<Event> {
        for run in &mut self.runs {
            run.advance(now, self.settings.timeout, &mut self.done);
        }
        self.runs.retain(|run| run.current.is_some());
        let waited_for = [HookPoint::Stop, HookPoint::Exit];
        let ended =
            waited_for.into_iter().filter(|point| !self.targets(*point).is_empty() && self.done(*point));
        ended.map(Event::HooksEnded).collect()
    }

    /// Takes the end of a process; true when it was a hook's. The next turn starts the next hook.
    pub(crate) fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        let mut calls = self.runs.iter_mut().filter_map(|run| run.current.as_mut());
        calls.any(|current| current.call.reaped(pid, exit))
    }

    /// No hook of this point runs or waits; true for a point that never ran.
    pub(crate) fn done(&self, point: HookPoint) -> bool {
        !self.runs.iter().any(|run| run.point == point)
    }

    /// Ends what runs and drops what waits: the time is over.
    pub(crate) fn cut(&mut self, now: Moment) {
        for run in &mut self.runs {
            for target in run.waiting.drain(..) {
                log::warn!("{} hook '{}' was not run: no time left", point_name(run.point), name_of(&target));
            }
            if let Some(current) = &mut run.current {
                current.call.cut("cut off: no time left".to_owned());
            }
        }
        self.serve(now);
    }

    /// The hooks that have ended since the last call, in the order of their ends.
    pub(crate) fn take_done(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.done)
    }
}

impl HookRun {
    fn advance(&mut self, now: Moment, limit: Duration, done: &mut Vec<Finished>) {
        loop {
            if let Some(current) = &mut self.current {
                current.call.serve(now);
                let Some(result) = current.call.result() else {
                    return;
                };
                done.push(self.finished(now, result));
            }
            let Some(target) = self.waiting.pop_front() else {
                return;
            };
            let call = Ask::start(&target, now, limit, &self.env);
            self.current = Some(Current { name: name_of(&target), began: now, call });
        }
    }

    fn finished(&mut self, now: Moment, result: Result<(), String>) -> Finished {
        let (hook, began) = self.current.take().map_or_else(|| (String::new(), now), |c| (c.name, c.began));
        match &result {
            Ok(()) => log::debug!("{} hook '{hook}' succeeded", point_name(self.point)),
            Err(reason) => log::warn!("{} hook '{hook}' failed: {reason}", point_name(self.point)),
        }
        Finished { point: self.point, hook, began, ended: now, result }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    use super::*;
    use crate::settings::HttpTarget;

    const ENVIRONMENT: HookEnvironment = HookEnvironment {
        phase: Phase::PreStop,
        app: None,
        exit: None,
        stop_signal: Some(Signal::new(15).unwrap()),
    };
    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Target {
        Target::Exec(["/bin/sh", "-c", script].map(OsString::from).to_vec())
    }

    fn finish(hooks: &mut Hooks, point: HookPoint) -> Vec<Finished> {
        let begin = Instant::now();
        while !hooks.done(point) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{hooks:?}");
            let mut fds = PollFds::new();
            hooks.poll_fds(&mut fds);
            fds.wait(Some(Moment::at(Duration::from_millis(10))), Moment::START);
            drop(fds);
            let pids: Vec<Pid> =
                hooks.runs.iter().filter_map(|run| run.current.as_ref()?.call.pid()).collect();
            for pid in pids {
                if let WaitStatus::Exited(_, status) =
                    waitpid(nix::unistd::Pid::from_raw(pid.number()), Some(WaitPidFlag::WNOHANG)).unwrap()
                {
                    assert!(hooks.reaped(pid, Exit::Status(status as u8)));
                    assert_eq!(hooks.deadline(), Some(Moment::START));
                }
            }
            hooks.serve(Moment::at(begin.elapsed()));
        }
        hooks.take_done()
    }

    #[test]
    fn hooks_run_in_order_and_go_on_after_a_failure() {
        let file = std::env::temp_dir().join(format!("adieu-hooks-{}", std::process::id()));
        let name = file.display();
        let targets = [
            sh(&format!("sleep 0.1; echo $ADIEU_PHASE $ADIEU_STOP_SIGNAL $ADIEU_APP_PID. > {name}; exit 4")),
            Target::Exec(vec!["/no/such/hook".into()]),
            sh(&format!("echo second >> {name}")),
        ];
        let mut hooks = Hooks::new(&HookSettings {
            on_stop: targets.to_vec(),
            timeout: LIMIT,
            ..HookSettings::default()
        });
        hooks.run(HookPoint::Stop, Moment::START, ENVIRONMENT);
        assert!(!hooks.done(HookPoint::Stop) && hooks.done(HookPoint::Start));
        let results: Vec<_> =
            finish(&mut hooks, HookPoint::Stop).into_iter().map(|done| done.result).collect();
        let missing = "cannot start: no such file or directory".to_owned();
        assert_eq!(results, [Err("exit status 4".to_owned()), Err(missing), Ok(())]);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "pre-stop TERM .\nsecond\n");
        std::fs::remove_file(&file).unwrap();
        assert_eq!(hooks.deadline(), None);
    }

    #[test]
    fn a_hook_may_post() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut start = [0; 22];
            stream.read_exact(&mut start).unwrap();
            stream.write_all(b"HTTP/1.1 202 Accepted\r\n\r\n").unwrap();
            String::from_utf8(start.to_vec()).unwrap()
        });
        let target = HttpTarget { method: "POST", addr, host: addr.to_string(), path: "/leaving".into() };
        let mut hooks = Hooks::new(&HookSettings {
            on_exit: vec![Target::Http(target)],
            timeout: LIMIT,
            ..HookSettings::default()
        });
        hooks.run(HookPoint::Exit, Moment::START, ENVIRONMENT);
        assert_eq!(finish(&mut hooks, HookPoint::Exit)[0].result, Ok(()));
        assert_eq!(server.join().unwrap(), "POST /leaving HTTP/1.1");
    }

    #[test]
    fn a_hook_that_hangs_ends_at_its_limit_and_the_next_one_runs() {
        let on_start = vec![sh("sleep 1000"), sh("sleep 1000"), sh("true")];
        let timeout = Duration::from_secs(3);
        let mut hooks = Hooks::new(&HookSettings { on_start, timeout, ..HookSettings::default() });
        hooks.run(HookPoint::Start, Moment::START, ENVIRONMENT);
        assert_eq!(hooks.deadline(), Some(Moment::at(Duration::from_secs(3))));
        let first = hooks.runs[0].current.as_ref().unwrap().call.pid().unwrap();
        hooks.serve(Moment::at(Duration::from_secs(3)));
        let second = hooks.runs[0].current.as_ref().unwrap().call.pid().unwrap();
        assert_eq!(hooks.deadline(), Some(Moment::at(Duration::from_secs(6))));
        hooks.cut(Moment::at(Duration::from_secs(4)));
        assert!(hooks.done(HookPoint::Start));
        let reasons: Vec<_> = hooks.take_done().into_iter().map(|done| done.result.unwrap_err()).collect();
        assert_eq!(reasons, ["no answer within 3s", "cut off: no time left"]);
        for pid in [first, second] {
            assert!(matches!(
                waitpid(nix::unistd::Pid::from_raw(pid.number()), None).unwrap(),
                WaitStatus::Signaled(..)
            ));
        }
    }

    #[test]
    fn the_environment_tells_what_is_known() {
        let pid = Pid::new(7);
        let environment = HookEnvironment {
            phase: Phase::Leaving,
            app: pid,
            exit: Some(Exit::Killed(Signal::KILL)),
            stop_signal: None,
        };
        let expected = [("ADIEU_PHASE", "leaving"), ("ADIEU_APP_PID", "7"), ("ADIEU_EXIT_STATUS", "137")];
        assert_eq!(
            environment.environment(),
            expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
    }
}
