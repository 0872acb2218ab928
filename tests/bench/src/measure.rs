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
    pub name: String,
    pub path: PathBuf,
}

impl Init {
    /// What makes it forward TERM at once, as the others do.
    fn at_once(&self) -> &'static [&'static str] {
        if self.name.starts_with("adieu") { &["--pre-stop", "0", "--drain", "off"] } else { &[] }
    }

    fn words(&self, more: &[&str], command: &[&str]) -> Vec<String> {
        let path = self.path.display().to_string();
        let words = [path.as_str()].into_iter().chain(more.iter().copied());
        words.chain(["--"]).chain(command.iter().copied()).map(str::to_owned).collect()
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

/// What is timed in each round, in microseconds.
#[derive(Default)]
struct Round {
    /// From before the fork of an init that runs an app which ends at once until the end has been
    /// seen, less what the same app takes without an init in the same round.
    start: Vec<f64>,
    /// From the app's end until its init's has been seen.
    exit: Vec<f64>,
    /// From TERM until the app has it.
    term: Vec<f64>,
    /// From TERM until the init's end has been seen.
    stop: Vec<f64>,
}

/// Columns of what is timed: the median, and in brackets the median of the ratios to tini-static's
/// of the same round, by which a busy machine is busy for both.
pub fn lives(inits: &[Init], rounds: usize) -> Result<Vec<(&'static str, Vec<String>)>, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?.display().to_string();
    let since = |later: u64, earlier: u64| later.saturating_sub(earlier) as f64 / 1e3;
    let mut all: Vec<Round> = inits.iter().map(|_| Round::default()).collect();
    for round in 0..rounds {
        let bare = pid1::life(&[own.clone(), app::END.to_owned()], false)?;
        let bare = since(bare.ended, bare.forked);
        // Who comes before changes what is in the processor's caches.
        for which in shuffled(inits.len(), round) {
            let (init, times) = (&inits[which], &mut all[which]);
            let short = pid1::life(&init.words(&[], &[&own, app::END]), false)?;
            times.start.push(since(short.ended, short.forked) - bare);
            times.exit.push(since(short.ended, short.told));
            let stopped = pid1::life(&init.words(init.at_once(), &[&own, app::STOP]), true)?;
            times.term.push(since(stopped.told, stopped.asked));
            times.stop.push(since(stopped.ended, stopped.asked));
        }
    }
    let base = inits.iter().position(|init| init.name == "tini-static");
    let column = |name, pick: fn(&Round) -> &Vec<f64>| {
        let cells = all.iter().map(|times| {
            let ratio = base.map(|base| {
                let pairs = pick(times).iter().zip(pick(&all[base]));
                median(pairs.map(|(ours, theirs)| ours / theirs).collect())
            });
            let time = median(pick(times).clone());
            ratio.map_or(format!("{time:.0}"), |ratio| format!("{time:.0} ({ratio:.2})"))
        });
        (name, cells.collect())
    };
    Ok(vec![
        ("start", column("", |times| &times.start).1),
        ("exit", column("", |times| &times.exit).1),
        ("TERM", column("", |times| &times.term).1),
        ("stop", column("", |times| &times.stop).1),
    ])
}

/// The numbers below `count` in an order of this round's own: each has each of the others before it
/// about equally often.
fn shuffled(count: usize, round: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    let key = |which: &usize| {
        // Mixed as in splitmix64, which makes neighbours unlike each other.
        let mixed = ((round * count + which) as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    };
    order.sort_by_key(key);
    order
}

/// Microseconds of processor time for each orphan that it reaps.
pub fn orphans(init: &Init) -> Result<String, String> {
    let (staying, lines) = init.with_app(&[], app::ORPHANS)?;
    at_rest(&staying)?;
    let before = processor_time(&staying)?;
    kill(staying.pid, Signal::SIGUSR1).map_err(text)?;
    lines.time(WATCHDOG)?.ok_or("the orphans never came")?;
    at_rest(&staying)?;
    let spent = processor_time(&staying)?.saturating_sub(before);
    Ok(format!("{:.1}", spent as f64 / 1e3 / app::LEFT as f64))
}

/// Nanoseconds on the processor, from /proc/PID/schedstat.
fn processor_time(staying: &Staying) -> Result<u64, String> {
    field(staying, "schedstat", "")
}

/// Page faults of the init's own from its start until it rests.
pub fn faults(init: &Init) -> Result<String, String> {
    let (staying, _lines) = init.with_app(&[], app::CLOCK)?;
    at_rest(&staying)?;
    let page =
        std::fs::read_to_string(format!("/proc/{}/stat", staying.pid)).map_err(|error| error.to_string())?;
    // The seventh after the name in brackets: proc(5), minflt.
    let number = page.rsplit_once(") ").and_then(|(_, rest)| rest.split(' ').nth(7));
    number.map(str::to_owned).ok_or_else(|| "no minflt".to_owned())
}

/// Microseconds from kill(2) on the init until the app has the signal, the next one sent when the
/// last one was there.
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
    let microseconds = |times: &Vec<Duration>| times.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    Ok(times.iter().map(|times| format!("{:.0}", median(microseconds(times)))).collect())
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
    let (staying, lines) = init.with_app(init.at_once(), app::STORM)?;
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

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_unstable_by(f64::total_cmp);
    numbers.get(numbers.len() / 2).copied().unwrap_or(f64::NAN)
}
