//! What users want done around the app's life: `--on-start`, `--on-stop`, `--on-exit`. The hooks of one stage run one
//! after the other in the order in which they were given, as systemd runs several `ExecStop=`, each with a time limit of
//! its own; one that fails is logged and the next one runs all the same, since a stop does not get better by halting
//! halfway. Stages do not wait for each other: a start hook that still runs when a stop is asked for goes on beside the
//! stop hooks. A command's whole process group ends with it, so a hook that hangs or forks leaves no trace.

use std::collections::VecDeque;
use std::time::Duration;

use nix::poll::PollFd;
use nix::unistd::Pid;

use crate::calls::{Call, name_of};
use crate::lifecycle::{Exit, Moment, Phase, Signal, Stage};
use crate::settings::Target;
use crate::sys::signals;

/// As in the option's name.
pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Start => "on-start",
        Stage::Stop => "on-stop",
        Stage::Exit => "on-exit",
    }
}

/// What hooks are told about the app, in their environment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct News {
    pub phase: Phase,
    pub app: Option<Pid>,
    /// How the app ended, once it has.
    pub exit: Option<Exit>,
    /// The signal that asked for the stop, once one has.
    pub stop_signal: Option<Signal>,
}

impl News {
    /// `ADIEU_PHASE`, `ADIEU_APP_PID`, `ADIEU_EXIT_STATUS` (as a shell counts: 128+n for a signal), `ADIEU_STOP_SIGNAL`
    /// (a name without SIG). What is not known yet is not set.
    pub fn environment(self) -> Vec<(String, String)> {
        let exit = self.exit.map(Exit::code);
        [
            ("ADIEU_PHASE", Some(self.phase.name().to_owned())),
            ("ADIEU_APP_PID", self.app.map(|pid| pid.to_string())),
            ("ADIEU_EXIT_STATUS", exit.map(|status| status.to_string())),
            ("ADIEU_STOP_SIGNAL", self.stop_signal.map(signals::name)),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
    }
}

/// How one hook went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    pub stage: Stage,
    pub hook: String,
    pub began: Moment,
    pub ended: Moment,
    pub result: Result<(), String>,
}

/// All hooks that run or wait for their turn.
#[derive(Debug)]
pub struct Hooks {
    limit: Duration,
    runs: Vec<Run>,
    done: Vec<Done>,
}

#[derive(Debug)]
struct Run {
    stage: Stage,
    waiting: VecDeque<Target>,
    env: Vec<(String, String)>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    name: String,
    began: Moment,
    call: Call,
}

impl Hooks {
    /// `limit` is what one hook may take.
    pub fn new(limit: Duration) -> Hooks {
        Hooks { limit, runs: Vec::new(), done: Vec::new() }
    }

    /// Starts the hooks of a stage.
    pub fn run(&mut self, stage: Stage, targets: &[Target], now: Moment, news: News) {
        let waiting = targets.iter().cloned().collect();
        self.runs.push(Run { stage, waiting, env: news.environment(), current: None });
        self.serve(now);
    }

    pub fn poll_fds<'a>(&'a self, fds: &mut Vec<PollFd<'a>>) {
        for current in self.runs.iter().filter_map(|run| run.current.as_ref()) {
            current.call.poll_fds(fds);
        }
    }

    /// A hook whose end has been handed over and not been served wants to be woken at once.
    pub fn deadline(&self) -> Option<Moment> {
        let calls = self.runs.iter().filter_map(|run| run.current.as_ref());
        calls.map(|current| current.call.deadline().unwrap_or(Moment::ZERO)).min()
    }

    pub fn serve(&mut self, now: Moment) {
        for run in &mut self.runs {
            run.advance(now, self.limit, &mut self.done);
        }
        self.runs.retain(|run| run.current.is_some());
    }

    /// Takes the end of a process; true when it was a hook's. The next turn starts the next hook.
    pub fn reaped(&mut self, pid: Pid, exit: Exit) -> bool {
        let mut calls = self.runs.iter_mut().filter_map(|run| run.current.as_mut());
        calls.any(|current| current.call.reaped(pid, exit))
    }

    /// Nothing of this stage runs or waits any more; so it is for a stage that never ran.
    pub fn done(&self, stage: Stage) -> bool {
        !self.runs.iter().any(|run| run.stage == stage)
    }

    /// Ends at once what runs and drops what waits: time is up.
    pub fn cut(&mut self, now: Moment) {
        for run in &mut self.runs {
            for target in run.waiting.drain(..) {
                log::warn!("{} hook '{}' was not run: no time left", stage_name(run.stage), name_of(&target));
            }
            if let Some(current) = &mut run.current {
                current.call.cut("cut off: no time left".to_owned());
            }
        }
        self.serve(now);
    }

    /// How those that ended since the last asking went, in the order of their ends.
    pub fn take_done(&mut self) -> Vec<Done> {
        std::mem::take(&mut self.done)
    }
}

impl Run {
    fn advance(&mut self, now: Moment, limit: Duration, done: &mut Vec<Done>) {
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
            let call = Call::start(&target, now, limit, &self.env);
            self.current = Some(Current { name: name_of(&target), began: now, call });
        }
    }

    fn finished(&mut self, now: Moment, result: Result<(), String>) -> Done {
        let (hook, began) = self.current.take().map_or_else(|| (String::new(), now), |c| (c.name, c.began));
        match &result {
            Ok(()) => log::debug!("{} hook '{hook}' succeeded", stage_name(self.stage)),
            Err(reason) => log::warn!("{} hook '{hook}' failed: {reason}", stage_name(self.stage)),
        }
        Done { stage: self.stage, hook, began, ended: now, result }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use nix::poll::{PollTimeout, poll};
    use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};

    use super::*;
    use crate::settings::HttpTarget;

    const NEWS: News = News { phase: Phase::PreStop, app: None, exit: None, stop_signal: Some(Signal(15)) };
    const LIMIT: Duration = Duration::from_secs(20);

    fn sh(script: &str) -> Target {
        Target::Exec(["/bin/sh", "-c", script].map(OsString::from).to_vec())
    }

    fn finish(hooks: &mut Hooks, stage: Stage) -> Vec<Done> {
        let begin = Instant::now();
        while !hooks.done(stage) {
            assert!(begin.elapsed() < Duration::from_secs(60), "{hooks:?}");
            let mut fds = Vec::new();
            hooks.poll_fds(&mut fds);
            poll(&mut fds, PollTimeout::from(10u8)).unwrap();
            drop(fds);
            let pids: Vec<Pid> =
                hooks.runs.iter().filter_map(|run| run.current.as_ref()?.call.pid()).collect();
            for pid in pids {
                if let WaitStatus::Exited(_, status) = waitpid(pid, Some(WaitPidFlag::WNOHANG)).unwrap() {
                    assert!(hooks.reaped(pid, Exit::Status(status as u8)));
                    assert_eq!(hooks.deadline(), Some(Moment::ZERO));
                }
            }
            hooks.serve(begin.elapsed());
        }
        hooks.take_done()
    }

    #[test]
    fn hooks_run_in_order_and_go_on_after_a_failure() {
        let file = std::env::temp_dir().join(format!("adieu-hooks-{}", std::process::id()));
        let name = file.display();
        let mut hooks = Hooks::new(LIMIT);
        let targets = [
            sh(&format!("sleep 0.1; echo $ADIEU_PHASE $ADIEU_STOP_SIGNAL $ADIEU_APP_PID. > {name}; exit 4")),
            Target::Exec(vec!["/no/such/hook".into()]),
            sh(&format!("echo second >> {name}")),
        ];
        hooks.run(Stage::Stop, &targets, Duration::ZERO, NEWS);
        assert!(!hooks.done(Stage::Stop) && hooks.done(Stage::Start));
        let results: Vec<_> = finish(&mut hooks, Stage::Stop).into_iter().map(|done| done.result).collect();
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
        let mut hooks = Hooks::new(LIMIT);
        let target = HttpTarget { method: "POST", addr, host: addr.to_string(), path: "/leaving".into() };
        hooks.run(Stage::Exit, &[Target::Http(target)], Duration::ZERO, NEWS);
        assert_eq!(finish(&mut hooks, Stage::Exit)[0].result, Ok(()));
        assert_eq!(server.join().unwrap(), "POST /leaving HTTP/1.1");
    }

    #[test]
    fn a_hook_that_hangs_ends_at_its_limit_and_the_next_one_runs() {
        let mut hooks = Hooks::new(Duration::from_secs(3));
        hooks.run(Stage::Start, &[sh("sleep 1000"), sh("sleep 1000"), sh("true")], Duration::ZERO, NEWS);
        assert_eq!(hooks.deadline(), Some(Duration::from_secs(3)));
        let first = hooks.runs[0].current.as_ref().unwrap().call.pid().unwrap();
        hooks.serve(Duration::from_secs(3));
        let second = hooks.runs[0].current.as_ref().unwrap().call.pid().unwrap();
        assert_eq!(hooks.deadline(), Some(Duration::from_secs(6)));
        hooks.cut(Duration::from_secs(4));
        assert!(hooks.done(Stage::Start));
        let reasons: Vec<_> = hooks.take_done().into_iter().map(|done| done.result.unwrap_err()).collect();
        assert_eq!(reasons, ["no answer within 3s", "cut off: no time left"]);
        for pid in [first, second] {
            assert!(matches!(waitpid(pid, None).unwrap(), WaitStatus::Signaled(..)));
        }
    }

    #[test]
    fn the_environment_tells_what_is_known() {
        let pid = Some(Pid::from_raw(7));
        let news =
            News { phase: Phase::Leaving, app: pid, exit: Some(Exit::Killed(Signal(9))), stop_signal: None };
        let expected = [("ADIEU_PHASE", "leaving"), ("ADIEU_APP_PID", "7"), ("ADIEU_EXIT_STATUS", "137")];
        assert_eq!(news.environment(), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }
}
