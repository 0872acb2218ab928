//! The rehearsal: it shows whether an app shuts down well, before production does.
//!
//! Everything flows one way:
//!
//! - `options` and [`manifest`] become a `plan`.
//! - `perform` carries it out. It starts the app in a `sandbox`, which takes the place of the
//!   container, waits until the app is `ready`, puts `load` on it through the `balancer` while
//!   `watch` observes it, and plays the platform's `shutdown`.
//! - The result is a [`recording`], plain data. [`judge`] makes a [`verdict`] of it, and [`show`]
//!   shows both.
//!
//! No two files import each other; a test of the init checks that.

mod adieu_report;
mod balancer;
pub mod baseline;
mod before;
mod container;
mod http;
pub mod judge;
mod legacy;
mod link;
pub mod lint;
mod live;
mod load;
pub mod manifest;
mod namespace;
mod observations;
mod options;
mod perform;
mod plan;
mod progress;
mod ready;
pub mod recording;
mod sandbox;
mod session;
pub mod show;
mod shutdown;
mod snapshot;
mod tls;
mod url;
mod user;
pub mod verdict;
mod watch;
mod websocket;

use std::ffi::OsString;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Parser;
use nix::sys::signal::Signal;

use adieu::errno::describe;
use adieu::settings::Platform;
use baseline::Baseline;
use container::Image;
use lint::rules::{Rule, Severity};
use options::Options;
use plan::{RehearsalPlan, Subject};
use progress::Progress;
use recording::{Isolation, ManifestNote, Mode, Recording};
use session::{Interrupted, RehearsalError, Session};
use show::run::Run;

/// With this argument, this binary is the built-in app.
const LEGACY: &str = "--as-legacy-app";
/// The last line after the result of the built-in app.
const INVITATION: &str =
    "\nNow your app: adieu-rehearse --compare --url / --url /something-slow -- COMMAND\n";
/// The exit status when it could not be rehearsed, as for adieu's own failures.
const FAILED: i32 = 125;

/// Runs the tool with these arguments, without its name, and returns its exit status.
#[must_use]
pub fn main(args: &[OsString]) -> i32 {
    let hidden = args.first().and_then(|word| word.to_str());
    match hidden {
        Some(namespace::NAMESPACE) => exit_status("sandbox", namespace::serve(&args[1..])),
        Some(namespace::PID_ONE) => exit_status("sandbox", namespace::become_program(&args[1..])),
        Some(LEGACY) => exit_status("legacy app", legacy::serve()),
        _ => front(args),
    }
}

fn exit_status(who: &str, done: io::Result<()>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("adieu-rehearse: {who}: {}", describe(&error));
            FAILED
        }
    }
}

fn front(args: &[OsString]) -> i32 {
    let name = std::iter::once(OsString::from("adieu-rehearse"));
    let options = match Options::try_parse_from(name.chain(args.iter().cloned())) {
        Ok(options) => options,
        Err(error) => {
            // Help goes to stdout and is not an error; the reader may be gone.
            let _unread = error.print();
            return if error.use_stderr() { FAILED } else { 0 };
        }
    };
    match carry_out(&options) {
        Ok(true) => 0,
        Ok(false) => 1,
        Err(RehearsalError::Interrupted) => {
            eprintln!("\nadieu-rehearse: interrupted; nothing was left running");
            130
        }
        Err(RehearsalError::Cannot(why)) => {
            if let Some(path) = &options.junit {
                let app = named(&options);
                // If this fails, the reason is still on stderr, below.
                let _unwritten = save(path, &show::junit::trouble(&app, &why));
            }
            eprintln!("adieu-rehearse: {why}");
            FAILED
        }
    }
}

/// The app, as the options name it.
fn named(options: &Options) -> String {
    match (&options.manifest, &options.image) {
        (Some(path), _) => path.display().to_string(),
        (None, Some(image)) => image.clone(),
        (None, None) if options.command.is_empty() => "the built-in legacy app".to_owned(),
        (None, None) => plan::typed(&options.command),
    }
}

fn carry_out(options: &Options) -> Result<bool, RehearsalError> {
    if let Some(rule) = &options.explain {
        let page =
            if rule == "all" { Ok(lint::pages::book()) } else { Rule::named(rule).map(lint::pages::page) };
        print(&page.map_err(RehearsalError::Cannot)?);
        return Ok(true);
    }
    if options.lint.is_empty() { rehearse(options) } else { judge_files(options) }
}

/// Checks files without running anything; true when no finding has the severity of --fail-on.
fn judge_files(options: &Options) -> Result<bool, RehearsalError> {
    let sources = options.lint.iter().map(|name| read_source(name)).collect::<Result<Vec<_>, _>>()?;
    let judgement = lint::judge(&sources, &options.allow).map_err(RehearsalError::Cannot)?;
    print(&lint::show::show(options.format, &judgement));
    let counts = |severity: Severity| options.fail_on.0.is_some_and(|least| severity >= least);
    Ok(!judgement.findings.iter().any(|finding| counts(finding.severity)))
}

fn read_source(name: &str) -> Result<lint::SourceFile, RehearsalError> {
    let text = if name == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(name) };
    let text =
        text.map_err(|error| RehearsalError::Cannot(format!("cannot read '{name}': {}", describe(&error))))?;
    let name = if name == "-" { "stdin" } else { name };
    Ok(lint::SourceFile { name: name.to_owned(), text })
}

/// Does and shows all runs; true when the last one, which decides, is good.
fn rehearse(options: &Options) -> Result<bool, RehearsalError> {
    let interrupted = Interrupted::new(AtomicBool::new(false));
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        signal_hook::flag::register(signal as i32, Arc::clone(&interrupted)).map_err(|error| {
            RehearsalError::Cannot(format!("cannot catch {signal}: {}", describe(&error)))
        })?;
    }
    let baseline = options.baseline.as_deref().map(read_baseline).transpose()?;
    let subject = subject(options)?;
    // No other user may read or replace its files; dropping it removes it.
    let folder = tempfile::Builder::new()
        .prefix("adieu-rehearse-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .tempdir()
        .map_err(|error| {
            RehearsalError::Cannot(format!("cannot make a temporary folder: {}", describe(&error)))
        })?;
    let progress = Progress::new(options.quiet);
    let isolation = sandbox::find_isolation();
    if let Isolation::Ordinary { why } = &isolation {
        progress.say(&format!(
            "no namespaces are permitted here ({why}): the app runs as an ordinary process, not as PID 1"
        ));
    }
    let session = Session {
        progress: &progress,
        interrupted: &interrupted,
        folder: folder.path().to_owned(),
        isolation,
    };
    let mut runs: Vec<Run> = Vec::new();
    let removals: Vec<Duration> = (0..options.repeat).map(|_| choose(&options.removal)).collect();
    for mode in modes(options) {
        let mut worst: Option<Run> = None;
        for (number, removal) in removals.iter().enumerate() {
            let plan = RehearsalPlan::new(options, &subject, mode, *removal);
            if options.repeat > 1 {
                progress.say(&format!("{}: rehearsal {} of {}", mode.label(), number + 1, options.repeat));
            }
            let mut recording = perform::perform(&plan, &session)?;
            recording.lints.extend(room_for_slowest(&plan, &recording));
            let verdict = judge::judge(&recording);
            let run = Run { recording, verdict };
            let (tally, label) = (run.verdict.tally, run.recording.mode.label());
            if tally.sent > 0 {
                progress.say(&format!("{label}: {} of {} requests lost", tally.lost(), tally.sent));
            }
            if worst.as_ref().is_none_or(|worst| badness(&run) > badness(worst)) {
                worst = Some(run);
            }
        }
        runs.extend(worst);
    }
    let good = runs.last().is_some_and(|run| run.verdict.good());
    session.check()?;
    publish(options, &runs, good)?;
    let (Some((path, baseline)), Some(last)) = (baseline, runs.last()) else { return Ok(good) };
    let compared = baseline.compare(last);
    let comparison =
        compared.map_err(|why| RehearsalError::Cannot(format!("'{}': {why}", path.display())))?;
    eprint!("{}", comparison.text());
    Ok(comparison.worse.is_empty())
}

/// Read before any run, because a rehearsal takes long and its result would be wasted.
fn read_baseline(path: &Path) -> Result<(&Path, Baseline), RehearsalError> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        RehearsalError::Cannot(format!("cannot read '{}': {}", path.display(), describe(&error)))
    })?;
    let baseline = Baseline::read(&text);
    baseline
        .map(|baseline| (path, baseline))
        .map_err(|why| RehearsalError::Cannot(format!("'{}': {why}", path.display())))
}

/// A note if the longest request does not fit into the grace after the sleeps of the manifest.
fn room_for_slowest(plan: &RehearsalPlan, recording: &Recording) -> Option<ManifestNote> {
    let slowest = recording.targets.iter().map(|target| target.first_ms).max()?;
    manifest::workload::too_short(plan.limits.grace, plan.unaware?, Duration::from_millis(slowest))
}

fn badness(run: &Run) -> (usize, usize) {
    (run.verdict.tally.lost(), run.verdict.failures().count())
}

/// The modes to rehearse; the last one decides.
fn modes(options: &Options) -> Vec<Mode> {
    let wrapped = if options.init.is_some() { Mode::Init } else { Mode::Adieu };
    let built_in = options.command.is_empty() && options.manifest.is_none();
    if options.image.is_some() {
        // The real mode is known once the container runs.
        return vec![Mode::Bare];
    }
    match (options.bare, options.compare || built_in) {
        (true, _) => vec![Mode::Bare],
        (false, true) => vec![Mode::Bare, wrapped],
        (false, false) => vec![wrapped],
    }
}

/// What the options name; a command on the command line overrides the manifest's.
fn subject(options: &Options) -> Result<Subject, RehearsalError> {
    if let Some(name) = &options.image {
        let engine = container::find_engine(options.engine.as_deref()).map_err(RehearsalError::Cannot)?;
        let image = Image { name: name.clone(), engine, run_options: options.run_option.clone() };
        return Ok(Subject::Image(image, options.command.clone()));
    }
    let Some(path) = &options.manifest else {
        return Ok(match options.command.as_slice() {
            [] => Subject::BuiltIn(legacy_command()?),
            command => Subject::Command(command.to_vec()),
        });
    };
    let mut workload =
        manifest::read(path, options.container.as_deref(), &options.env).map_err(RehearsalError::Cannot)?;
    if !options.command.is_empty() {
        workload.command.clone_from(&options.command);
    }
    if workload.command.is_empty() && workload.platform == Platform::Systemd {
        let why = format!(
            "the variables in the ExecStart of '{}' have no value: give them with --env NAME=VALUE, or the command after --",
            path.display()
        );
        return Err(RehearsalError::Cannot(why));
    }
    if workload.command.is_empty() {
        let why = format!(
            "'{}' leaves the command of '{}' to its image: give the command after --",
            path.display(),
            workload.name
        );
        return Err(RehearsalError::Cannot(why));
    }
    Ok(Subject::Manifest(Box::new(workload)))
}

fn legacy_command() -> Result<Vec<OsString>, RehearsalError> {
    let own = std::env::current_exe().map_err(|error| {
        RehearsalError::Cannot(format!("cannot find the path of this program: {}", describe(&error)))
    })?;
    Ok(vec![own.into(), LEGACY.into()])
}

/// A random time in the range, so that not every rehearsal has the same delay.
fn choose(range: &RangeInclusive<Duration>) -> Duration {
    let spread = range.end().saturating_sub(*range.start()).as_millis() as u64;
    let chance = std::hash::RandomState::new().build_hasher().finish();
    *range.start() + Duration::from_millis(chance % (spread + 1))
}

fn publish(options: &Options, runs: &[Run], good: bool) -> Result<(), RehearsalError> {
    if options.json {
        print(&show::json::json(runs, good));
    } else {
        print(&show::text::text(runs));
        if options.command.is_empty() && options.manifest.is_none() && options.image.is_none() {
            print(INVITATION);
        }
    }
    if let Some(path) = &options.report {
        save(path, &show::json::json(runs, good))?;
    }
    if let Some(path) = &options.html {
        save(path, &show::html::html(runs))?;
    }
    if let Some(path) = &options.svg {
        save(path, &show::svg::svg(runs))?;
    }
    if let Some(path) = &options.junit {
        save(path, &show::junit::junit(runs))?;
    }
    Ok(())
}

/// Prints to stdout, with colours only on a terminal. The reader may be gone.
fn print(text: &str) {
    use std::io::Write;
    let mut stdout = anstream::stdout();
    let _unread = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

fn save(path: &Path, text: &str) -> Result<(), RehearsalError> {
    std::fs::write(path, text).map_err(|error| {
        RehearsalError::Cannot(format!("cannot write '{}': {}", path.display(), describe(&error)))
    })
}
