//! What is measured, and how.

use crate::app;
use crate::pid1::{self, Staying, text};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{pipe, read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Long enough for five turns of a heartbeat of one second.
const IDLE: Duration = Duration::from_secs(5);
/// After so long without its TERM an app in a storm counts as not reached.
const PATIENCE: Duration = Duration::from_secs(10);
const WATCHDOG: Duration = Duration::from_secs(60);

pub struct Init {
    pub name: &'static str,
    pub path: PathBuf,
    pub options: &'static [&'static str],
}

impl Init {
    fn words(&self, more: &[&str], command: &[&str]) -> Vec<String> {
        let path = self.path.display().to_string();
        let words = [path.as_str()].into_iter().chain(more.iter().copied());
        words.chain(self.options.iter().copied()).chain(command.iter().copied()).map(str::to_owned).collect()
    }

    /// An app of ours under this init, when it has said that it is ready.
    fn with_app(&self, more: &[&str], word: &str) -> Result<(Staying, Lines), String> {
        let own = std::env::current_exe().map_err(|error| error.to_string())?.display().to_string();
        let (from, to) = pipe().map_err(text)?;
        let staying = Staying::start(&self.words(more, &[&own, word]), to)?;
        let lines = Lines { from };
        match lines.next(WATCHDOG)? {
            Some(_) => Ok((staying, lines)),
            None => Err(format!("{}: its app never got ready", self.name)),
        }
    }
}

/// What an app prints, one line at a time, as it waits for a signal after each.
struct Lines {
    from: OwnedFd,
}

impl Lines {
    /// The next line, or nothing when none came in time.
    fn next(&self, patience: Duration) -> Result<Option<String>, String> {
        let timeout = PollTimeout::try_from(patience).map_err(|error| error.to_string())?;
        if poll(&mut [PollFd::new(self.from.as_fd(), PollFlags::POLLIN)], timeout).map_err(text)? == 0 {
            return Ok(None);
        }
        let mut bytes = [0; 64];
        let length = read(&self.from, &mut bytes).map_err(text)?;
        match length {
            0 => Err("the app ended".to_owned()),
            _ => Ok(Some(String::from_utf8_lossy(&bytes[..length]).trim().to_owned())),
        }
    }

    /// The time that the next line holds.
    fn time(&self, patience: Duration) -> Result<Option<u64>, String> {
        let line = self.next(patience)?;
        line.map(|line| line.parse().map_err(|_| format!("the app said '{line}'"))).transpose()
    }
}

pub fn each(
    inits: &[Init],
    measure: impl Fn(&Init) -> Result<String, String>,
) -> Result<Vec<String>, String> {
    inits.iter().map(|init| measure(init).map_err(|error| format!("{}: {error}", init.name))).collect()
}

/// Microseconds from before the fork of an init that runs /bin/true until its end has been seen; last, the same for
/// /bin/true without an init.
pub fn starts(inits: &[Init], rounds: usize) -> Result<Vec<String>, String> {
    const APP: &str = "/bin/true";
    let with_init = inits.iter().map(|init| init.words(&[], &[APP]));
    let all: Vec<_> = with_init.chain([vec![APP.to_owned()]]).collect();
    let mut times = vec![Vec::new(); all.len()];
    for round in 0..rounds {
        // Each has each of the others before it equally often.
        for turn in 0..all.len() {
            let which = (round + turn) % all.len();
            times[which].push(pid1::timed(&all[which])?);
        }
    }
    Ok(times.iter_mut().map(|times| median(times)).collect())
}

/// Microseconds from kill(2) on the init until the app has the signal, the next one sent when the last one was there.
pub fn signals(inits: &[Init], rounds: usize) -> Result<Vec<String>, String> {
    let running: Result<Vec<_>, String> = inits.iter().map(|init| init.with_app(&[], app::CLOCK)).collect();
    let running = running?;
    let mut times = vec![Vec::new(); inits.len()];
    for _ in 0..rounds {
        for ((staying, lines), times) in running.iter().zip(&mut times) {
            let sent = app::now();
            kill(staying.pid, Signal::SIGUSR1).map_err(text)?;
            let came = lines.time(WATCHDOG)?.ok_or("a signal never arrived")?;
            times.push(Duration::from_nanos(came.saturating_sub(sent)));
        }
    }
    Ok(times.iter_mut().map(|times| median(times)).collect())
}

/// KiB of private dirty memory, with the app started and the init at rest.
pub fn memory(init: &Init) -> Result<String, String> {
    let (staying, _lines) = init.with_app(&[], app::CLOCK)?;
    at_rest(&staying)?;
    field(&staying, "smaps_rollup", "Private_Dirty:").map(|kib| kib.to_string())
}

/// How often the init got the processor while nothing happened.
pub fn wakeups(init: &Init) -> Result<String, String> {
    let (staying, _lines) = init.with_app(&[], app::CLOCK)?;
    at_rest(&staying)?;
    let before = switches(&staying)?;
    std::thread::sleep(IDLE); // this span is what is measured
    Ok((switches(&staying)? - before).to_string())
}

pub fn size(init: &Init) -> Result<String, String> {
    let about = init.path.metadata().map_err(|error| error.to_string())?;
    Ok(about.len().to_string())
}

/// Milliseconds until TERM reaches an app beside which 40 processes fork orphans without pause.
pub fn storm(init: &Init) -> Result<String, String> {
    let at_once: &[&str] = if init.name == "adieu" { &["--pre-stop", "0", "--drain", "off"] } else { &[] };
    let (staying, lines) = init.with_app(at_once, app::STORM)?;
    std::thread::sleep(Duration::from_secs(1)); // let the storm rise
    let sent = app::now();
    kill(staying.pid, Signal::SIGTERM).map_err(text)?;
    Ok(match lines.time(PATIENCE)? {
        Some(came) => format!("{:.1}", came.saturating_sub(sent) as f64 / 1e6),
        None => format!("over {}", PATIENCE.as_millis()),
    })
}

/// Waits until the init sleeps and has not woken for a while.
fn at_rest(staying: &Staying) -> Result<(), String> {
    let deadline = Instant::now() + WATCHDOG;
    let mut before = switches(staying)?;
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = switches(staying)?;
        if now - before <= 1 {
            return Ok(());
        }
        before = now;
        if Instant::now() > deadline {
            return Err("never at rest".to_owned());
        }
    }
}

fn switches(staying: &Staying) -> Result<u64, String> {
    let voluntary = field(staying, "status", "voluntary_ctxt_switches:")?;
    Ok(voluntary + field(staying, "status", "nonvoluntary_ctxt_switches:")?)
}

/// The number after a name at the beginning of a line of /proc/PID/FILE.
fn field(staying: &Staying, file: &str, name: &str) -> Result<u64, String> {
    let path = format!("/proc/{}/{file}", staying.pid);
    let page = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next()).and_then(|word| word.parse().ok());
    number.ok_or_else(|| format!("{path} has no {name}"))
}

fn median(times: &mut [Duration]) -> String {
    times.sort_unstable();
    times.get(times.len() / 2).map_or("-".to_owned(), |time| time.as_micros().to_string())
}
