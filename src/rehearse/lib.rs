//! The rehearsal: does my app shut down well? The question is answered before production asks it.
//!
//! [`options`] and [`manifest`] say what to rehearse; together they make a [`plan`]. [`perform`] carries it out: on a [`stage`]
//! that stands in for the container, raised by a [`stagehand`], it starts the app, puts [`load`] on it, plays the [`balancer`] and the platform, and lets
//! [`watch`] look on. What comes out is a [`recording`], plain data; [`judge`] makes the checklist of it, a [`verdict`], and
//! [`show`] shows both.

pub mod balancer;
pub mod judge;
pub mod legacy;
pub mod load;
pub mod look;
pub mod manifest;
pub mod notes;
pub mod options;
pub mod perform;
pub mod plan;
pub mod progress;
pub mod ready;
pub mod recording;
pub mod show;
pub mod stage;
pub mod stagehand;
pub mod story;
pub mod verdict;
pub mod watch;

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::Signal;

use manifest::Misfit;
use options::Options;
use perform::{House, Interrupted, Trouble};
use plan::{Plan, Subject};
use progress::Progress;
use recording::{Ground, Recording, Way};
use show::Run;

/// The argument by which this binary is the built-in app.
const LEGACY: &str = "--as-legacy-app";
/// What the show of the built-in app ends with.
const INVITATION: &str =
    "\nNow your own: adieu-rehearse --compare --url / --url /something-slow -- COMMAND\n";
/// It could not be rehearsed: as adieu's own failures.
const FAILED: i32 = 125;

/// The tool, from its arguments (without its name) to its exit status.
#[must_use]
pub fn main(args: &[OsString]) -> i32 {
    let hidden = args.first().and_then(|word| word.to_str());
    match hidden {
        Some(stagehand::STAGEHAND) => told("stage", stagehand::serve(&args[1..])),
        Some(stagehand::INSIDE) => told("stage", stagehand::become_program(&args[1..])),
        Some(LEGACY) => told("legacy app", legacy::serve()),
        _ => front(args),
    }
}

fn told(who: &str, done: io::Result<()>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("adieu-rehearse: {who}: {error}");
            FAILED
        }
    }
}

fn front(args: &[OsString]) -> i32 {
    let name = std::iter::once(OsString::from("adieu-rehearse"));
    let options = match Options::try_parse_from(name.chain(args.iter().cloned())) {
        Ok(options) => options,
        Err(error) => {
            // Help goes to stdout and is no failure; the reader may have gone.
            let _unread = error.print();
            return if error.use_stderr() { FAILED } else { 0 };
        }
    };
    match rehearse(&options) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(Trouble::Interrupted) => {
            eprintln!("\nadieu-rehearse: interrupted; nothing was left running");
            130
        }
        Err(Trouble::Cannot(why)) => {
            eprintln!("adieu-rehearse: {why}");
            FAILED
        }
    }
}

/// Every run that was asked for, shown; whether all was well.
fn rehearse(options: &Options) -> Result<bool, Trouble> {
    let interrupted = Interrupted::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::flag::register(signal as i32, Arc::clone(&interrupted))
            .map_err(|error| Trouble::Cannot(format!("cannot listen to {signal}: {error}")))?;
    }
    let subject = subject(options)?;
    let folder = Folder::new()?;
    let progress = Progress::new(options.quiet);
    let ground = stage::find_ground();
    if let Ground::Ordinary { why } = &ground {
        progress.say(&format!(
            "no namespaces are permitted here ({why}): the app will be an ordinary process, not PID 1"
        ));
    }
    let house = House { progress: &progress, interrupted: &interrupted, folder: folder.0.clone(), ground };
    let mut runs: Vec<Run> = Vec::new();
    let removals: Vec<Duration> = (0..options.repeat).map(|_| choose(&options.removal)).collect();
    for way in ways(options) {
        let mut worst: Option<Run> = None;
        for (number, removal) in removals.iter().enumerate() {
            let plan = Plan::new(options, &subject, way, *removal);
            if options.repeat > 1 {
                progress.say(&format!("{}: rehearsal {} of {}", way.label(), number + 1, options.repeat));
            }
            let mut recording = perform::perform(&plan, &house)?;
            recording.misfits.extend(room_for_slowest(&plan, &recording));
            let verdict = judge::judge(&recording);
            let run = Run { recording, verdict };
            let (tally, label) = (run.verdict.tally, way.label());
            progress.say(&format!("{label}: {} of {} requests lost", tally.lost(), tally.sent));
            if worst.as_ref().is_none_or(|worst| badness(&run) > badness(worst)) {
                worst = Some(run);
            }
        }
        runs.extend(worst);
    }
    let good = runs.last().is_some_and(|run| run.verdict.good());
    publish(options, &runs, good)?;
    Ok(good)
}

/// Whether the longest request fits behind the sleeps that the manifest asks for.
fn room_for_slowest(plan: &Plan, recording: &Recording) -> Option<Misfit> {
    let slowest = recording.targets.iter().map(|target| target.first_ms).max()?;
    manifest::too_short(plan.limits.grace, plan.unaware?, Duration::from_millis(slowest))
}

fn badness(run: &Run) -> (usize, usize) {
    (run.verdict.tally.lost(), run.verdict.failures().count())
}

/// The last one decides.
fn ways(options: &Options) -> Vec<Way> {
    let wrapped = if options.init.is_some() { Way::Init } else { Way::Adieu };
    let built_in = options.command.is_empty() && options.manifest.is_none();
    match (options.bare, options.compare || built_in) {
        (true, _) => vec![Way::Bare],
        (false, true) => vec![Way::Bare, wrapped],
        (false, false) => vec![wrapped],
    }
}

/// What the options name; the command line's command wins over the manifest's.
fn subject(options: &Options) -> Result<Subject, Trouble> {
    let Some(path) = &options.manifest else {
        return Ok(match options.command.as_slice() {
            [] => Subject::BuiltIn(legacy_command()?),
            command => Subject::Command(command.to_vec()),
        });
    };
    let mut brief = manifest::read(path, options.container.as_deref()).map_err(Trouble::Cannot)?;
    if !options.command.is_empty() {
        brief.command.clone_from(&options.command);
    }
    if brief.command.is_empty() {
        let why = format!(
            "'{}' leaves the command of '{}' to its image: give it after --",
            path.display(),
            brief.name
        );
        return Err(Trouble::Cannot(why));
    }
    Ok(Subject::Manifest(Box::new(brief)))
}

fn legacy_command() -> Result<Vec<OsString>, Trouble> {
    let own = std::env::current_exe()
        .map_err(|error| Trouble::Cannot(format!("cannot find this program itself: {error}")))?;
    Ok(vec![own.into(), LEGACY.into()])
}

/// Somewhere in the range: what must hold for every delay should not be tried with one alone.
fn choose(range: &RangeInclusive<Duration>) -> Duration {
    let spread = range.end().saturating_sub(*range.start()).as_millis() as u64;
    let chance = std::hash::RandomState::new().build_hasher().finish();
    *range.start() + Duration::from_millis(chance % (spread + 1))
}

fn publish(options: &Options, runs: &[Run], good: bool) -> Result<(), Trouble> {
    if options.json {
        print(&show::json::json(runs, good));
    } else {
        print(&show::text::text(runs));
        if options.command.is_empty() && options.manifest.is_none() {
            print(INVITATION);
        }
    }
    if let Some(path) = &options.svg {
        save(path, &show::svg::svg(runs))?;
    }
    if let Some(path) = &options.junit {
        save(path, &show::junit::junit(runs))?;
    }
    Ok(())
}

/// To stdout, without colours unless it is a terminal. The reader may have gone.
fn print(text: &str) {
    use std::io::Write;
    let mut stdout = anstream::stdout();
    let _unread = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn save(path: &Path, text: &str) -> Result<(), Trouble> {
    std::fs::write(path, text)
        .map_err(|error| Trouble::Cannot(format!("cannot write '{}': {error}", path.display())))
}

/// A temporary folder that goes with us.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, Trouble> {
        let path = std::env::temp_dir().join(format!("adieu-rehearse-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Trouble::Cannot(format!("cannot make '{}': {error}", path.display())))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // It is the system's temporary folder: what cannot be removed goes some day.
        let _kept = std::fs::remove_dir_all(&self.0);
    }
}
