//! A container, run by docker or podman. The image's own entry point, STOPSIGNAL and HEALTHCHECK
//! apply, and the engine itself stops and kills; the tool only watches. The container's network may
//! be unreachable from outside, so the tool's threads enter it, while the engine's programs stay
//! outside.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use serde_json::Value;

use super::recording::{Mode, RecordedExit};
use adieu::errno::describe;

/// The pause between two checks for the container's end.
const LOOK: Duration = Duration::from_millis(5);
/// The pause between two calls of the engine, which is slow.
const QUESTION: Duration = Duration::from_millis(100);

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    /// The engine's program and its own options.
    pub(crate) engine: Vec<OsString>,
    /// Options for its `run`.
    pub(crate) run_options: Vec<OsString>,
}

/// A running container. Dropping it removes it.
pub(crate) struct Container {
    engine: Vec<OsString>,
    name: String,
    /// The host's network, to return to; `None` when the container's was not entered.
    outside: Option<File>,
    stop: Sender<Duration>,
    stopper: Option<JoinHandle<()>>,
    ended: Receiver<(Instant, RecordedExit)>,
    /// The engine's `inspect` of it.
    about: Value,
    pub(crate) pid: i32,
}

/// The engine of --engine, or the first that answers.
///
/// # Errors
/// There is none.
pub(crate) fn find_engine(named: Option<&str>) -> Result<Vec<OsString>, String> {
    if let Some(named) = named {
        let words = shlex::split(named).filter(|words| !words.is_empty());
        let words = words.ok_or_else(|| format!("'{named}' is not a command; write --engine docker"))?;
        return Ok(words.into_iter().map(OsString::from).collect());
    }
    for engine in ["docker", "podman"] {
        let answers = Command::new(engine).args(["ps", "--quiet"]).stdin(Stdio::null()).output();
        if answers.is_ok_and(|output| output.status.success()) {
            return Ok(vec![engine.into()]);
        }
    }
    Err("neither docker nor podman answers; name an engine: --engine 'podman --runtime runc'".to_owned())
}

fn ask(engine: &[OsString], words: &[&OsStr]) -> Result<Output, String> {
    let (program, options) = engine.split_first().ok_or("there is no engine")?;
    let output = Command::new(program).args(options).args(words).stdin(Stdio::null()).output();
    output.map_err(|error| format!("cannot run '{}': {}", program.to_string_lossy(), describe(&error)))
}

impl Container {
    /// Starts the container and waits until it runs, as long as `goes_on` is true.
    ///
    /// # Errors
    /// The engine's message, or that it took too long.
    pub(crate) fn start(
        image: &Image,
        words: &[OsString],
        env: &[(OsString, OsString)],
        grace: Duration,
        log: &Path,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Container, String> {
        let name = format!("adieu-rehearse-{}-{}", std::process::id(), unique());
        let output = File::create(log)
            .map_err(|error| format!("cannot write '{}': {}", log.display(), describe(&error)))?;
        let errors = output
            .try_clone()
            .map_err(|error| format!("cannot write '{}': {}", log.display(), describe(&error)))?;
        let (program, options) = image.engine.split_first().ok_or("there is no engine")?;
        let mut command = Command::new(program);
        command.args(options).args(["run", "--name", &name, "--stop-timeout"]);
        command.arg(whole_seconds(grace).to_string()).args(&image.run_options);
        for (name, value) in env {
            let mut pair = name.clone();
            pair.push("=");
            pair.push(value);
            command.arg("--env").arg(pair);
        }
        command.arg(&image.name).args(words).stdin(Stdio::null()).stdout(output).stderr(errors);
        // Ctrl-C must reach only the tool, which then removes the container.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot run '{}': {}", program.to_string_lossy(), describe(&error)))?;
        let about = match await_pid(&image.engine, &name, &mut child, goes_on) {
            Ok(about) => about,
            Err(why) => {
                let _removed = ask(&image.engine, &["rm".as_ref(), "--force".as_ref(), name.as_ref()]);
                let _reaped = child.wait();
                return Err(why);
            }
        };
        let pid = about["State"]["Pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default();
        let (stop, asked) = mpsc::channel();
        let (sender, ended) = mpsc::channel();
        std::thread::spawn(move || {
            let _nobody_listens = sender.send(await_end(pid, child));
        });
        let stopper = stopper(image.engine.clone(), name.clone(), asked);
        let engine = image.engine.clone();
        Ok(Container { engine, name, outside: None, stop, stopper: Some(stopper), ended, about, pid })
    }

    /// Moves this thread, and the threads that it starts from now on, into the container's network.
    ///
    /// # Errors
    /// It is not permitted.
    pub(crate) fn enter_network(&mut self) -> Result<(), String> {
        let denied = |error: &std::io::Error| {
            format!(
                "cannot enter the container's network ({}): run as root, or publish a port and give the full URL: \
                 --run-option=--publish=8080:8080 --url http://127.0.0.1:8080/",
                describe(error)
            )
        };
        let outside = File::open("/proc/thread-self/ns/net").map_err(|error| denied(&error))?;
        let inside = File::open(format!("/proc/{}/ns/net", self.pid)).map_err(|error| denied(&error))?;
        setns(&inside, CloneFlags::CLONE_NEWNET).map_err(|errno| denied(&errno.into()))?;
        self.outside = Some(outside);
        Ok(())
    }

    /// Waits until the image's HEALTHCHECK passes, if it has one, as long as `goes_on` is true;
    /// `within` is that time, for the message.
    ///
    /// # Errors
    /// It does not pass in time.
    pub(crate) fn await_health(&self, within: Duration, goes_on: &dyn Fn() -> bool) -> Result<(), String> {
        let check = &self.about["Config"]["Healthcheck"]["Test"];
        if check.as_array().is_none_or(Vec::is_empty) || check[0] == "NONE" {
            return Ok(());
        }
        while goes_on() {
            // podman runs health checks by systemd timers, which may not exist; this runs one at
            // once.
            let by_hand = ask(&self.engine, &["healthcheck".as_ref(), "run".as_ref(), self.name.as_ref()]);
            if by_hand.is_ok_and(|output| output.status.success()) {
                return Ok(());
            }
            let about = inspect(&self.engine, &self.name).unwrap_or_default();
            if about["State"]["Health"]["Status"] == "healthy" {
                return Ok(());
            }
            std::thread::park_timeout(QUESTION);
        }
        Err(format!("the image's HEALTHCHECK did not pass within {} s: {check}", within.as_secs()))
    }

    /// Lets the engine stop the container, and kill it when the grace is over.
    pub(crate) fn stop(&self, grace: Duration) {
        // The receiving thread is gone only after an earlier stop.
        let _asked = self.stop.send(grace);
    }

    /// Waits for its end for this time: when and how it ended.
    pub(crate) fn ended_within(&self, time: Duration) -> Option<(Instant, RecordedExit)> {
        self.ended.recv_timeout(time).ok()
    }

    /// The stop signal that the engine sends.
    pub(crate) fn stop_signal(&self) -> Option<adieu::signal::Signal> {
        let told = &self.about["Config"]["StopSignal"];
        let text =
            told.as_str().map(str::to_owned).or_else(|| told.as_u64().map(|number| number.to_string()));
        text.and_then(|text| text.parse().ok())
    }

    /// What the app runs under, by its first process.
    pub(crate) fn mode(&self) -> Mode {
        let command = std::fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let first = command.split(|byte| *byte == 0).next().unwrap_or_default();
        let first = String::from_utf8_lossy(first);
        match first.rsplit('/').next().unwrap_or_default() {
            "adieu" => Mode::Adieu,
            "tini" | "tini-static" | "docker-init" | "dumb-init" | "catatonit" | "init" => Mode::Init,
            _ => Mode::Bare,
        }
    }

    /// The health port of an adieu inside, if a variable sets it.
    pub(crate) fn health_port(&self) -> Option<u16> {
        let env = self.about["Config"]["Env"].as_array()?;
        let address =
            env.iter().filter_map(Value::as_str).find_map(|pair| pair.strip_prefix("ADIEU_HEALTH="))?;
        address.rsplit_once(':')?.1.parse().ok()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        if let Some(outside) = self.outside.take() {
            // The next rehearsal, and the engine below, need the host's network again.
            let _returned = setns(&outside, CloneFlags::CLONE_NEWNET);
        }
        let _removed = ask(&self.engine, &["kill".as_ref(), self.name.as_ref()]);
        let _removed = ask(&self.engine, &["rm".as_ref(), "--force".as_ref(), self.name.as_ref()]);
        let (closed, _) = mpsc::channel();
        self.stop = closed;
        if let Some(stopper) = self.stopper.take() {
            let _ended = stopper.join();
        }
    }
}

/// A thread that calls the engine. It starts before the tool enters the container's network, so
/// it stays in the host's.
fn stopper(engine: Vec<OsString>, name: String, asked: Receiver<Duration>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let Ok(grace) = asked.recv() else { return };
        let seconds = whole_seconds(grace).to_string();
        // It fails when the container has ended by itself.
        let _ended = ask(&engine, &["stop".as_ref(), "--time".as_ref(), seconds.as_ref(), name.as_ref()]);
    })
}

/// Engines take whole seconds.
pub(crate) fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000) as u64
}

fn unique() -> u32 {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn inspect(engine: &[OsString], name: &str) -> Option<Value> {
    let output = ask(engine, &["inspect".as_ref(), "--type=container".as_ref(), name.as_ref()]).ok()?;
    let page: Value = serde_json::from_slice(&output.stdout).ok()?;
    page.get(0).cloned()
}

/// Waits until the engine knows the container's first process.
fn await_pid(
    engine: &[OsString],
    name: &str,
    child: &mut Child,
    goes_on: &dyn Fn() -> bool,
) -> Result<Value, String> {
    while goes_on() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("the container ended with {status} before the rehearsal could inspect it"));
        }
        let about =
            inspect(engine, name).filter(|about| about["State"]["Pid"].as_i64().is_some_and(|pid| pid > 0));
        if let Some(about) = about {
            return Ok(about);
        }
        std::thread::park_timeout(QUESTION);
    }
    Err("the container did not start in time".to_owned())
}

/// Waits for the end of the container's first process, and then for its status from the engine.
fn await_end(pid: i32, mut child: Child) -> (Instant, RecordedExit) {
    let ended = loop {
        let lives = procfs::process::Process::new(pid)
            .and_then(|process| process.stat())
            .is_ok_and(|stat| !matches!(stat.state, 'Z' | 'X'));
        if !lives || child.try_wait().is_ok_and(|status| status.is_some()) {
            break Instant::now();
        }
        std::thread::park_timeout(LOOK);
    };
    let code = child.wait().ok().and_then(|status| status.code());
    (ended, RecordedExit::Status(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)))
}
