//! One rehearsal, from raising the stage to the recording: start, wait until it answers, load, ask for the stop, play the
//! platform, and gather what everybody saw. Nothing is judged here.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::balancer::Balancer;
use super::load::{self, Sent};
use super::look::{Eye, Look};
use super::notes::Notes;
use super::plan::Plan;
use super::progress::Progress;
use super::ready::{await_first_answer, ready_line, warm_up, whole};
use super::recording::{Ending, Ground, Recording, Target, Way};
use super::stage::{AtExit, News, Script, Stage};
use super::story;
use super::watch::{self, Answers, Scenes, Watcher};

/// How often a wait looks whether the person has had enough.
pub const HEARING: Duration = Duration::from_millis(20);

/// Why there is no recording.
#[derive(Debug)]
pub enum Trouble {
    /// The person pressed Ctrl-C.
    Interrupted,
    /// It could not be rehearsed, and this is why.
    Cannot(String),
}

/// Set by a signal's arrival.
pub type Interrupted = Arc<AtomicBool>;

/// What surrounds one rehearsal.
pub struct House<'a> {
    pub progress: &'a Progress,
    pub interrupted: &'a Interrupted,
    /// A folder for the app's log and adieu's report.
    pub folder: PathBuf,
    /// What can be had here.
    pub ground: Ground,
}

/// Everything that runs between the start and the end of the load.
pub struct Show {
    pub balancer: Arc<Balancer>,
    pub users: Vec<JoinHandle<Vec<Sent>>>,
    pub scenes: Watcher<Scenes>,
    pub readiness: Option<Watcher<Answers>>,
}

/// Runs it.
///
/// # Errors
/// When the app does not start, does not answer, or the person interrupts.
pub fn perform(plan: &Plan, house: &House) -> Result<Recording, Trouble> {
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let report = house.folder.join("report.json");
    let log = plan.log.clone().unwrap_or_else(|| house.folder.join("app.log"));
    let script = script(plan, &log, health, &report);
    let begun = Instant::now();
    house.progress.say(&format!("{}: starting {}", plan.way.label(), plan.app));
    let stage = Stage::raise(&house.ground, &script).map_err(Trouble::Cannot)?;
    let (ports, targets, ready_after) = await_first_answer(plan, house, &stage, begun)?;
    house.progress.say(&format!("{}: {}", plan.way.label(), ready_line(&ports, ready_after)));

    let question = match plan.way {
        Way::Adieu => Some(format!("http://{health}/readyz")),
        Way::Bare | Way::Init => plan.readiness.as_ref().map(|url| whole(url, &ports)),
    };
    let show = Show::begin(plan, &targets, &stage, question.clone());
    hold(plan, house, &stage, warm_up(plan, &targets))?;
    let asked = Instant::now();
    let close = finish(plan, house, &stage, &show, asked)?;
    house.progress.say(&format!(
        "{}: ended after {:.1} s",
        plan.way.label(),
        close.ended.duration_since(asked).as_secs_f64()
    ));

    let notes = Notes {
        asked,
        ready_after,
        close,
        ports,
        targets,
        question,
        way: plan.way,
        ground: house.ground.clone(),
        told: story::read(&report, plan.limits.hook.as_millis() as u64),
    };
    notes.write_up(plan, show)
}

/// What to start: the app itself, or an init with the app behind it.
fn script(plan: &Plan, log: &Path, health: SocketAddr, report: &Path) -> Script {
    let own = PathBuf::from("/proc/self/exe");
    let (program, argv0, args) = match plan.way {
        Way::Bare => (PathBuf::from(&plan.command[0]), plan.command[0].clone(), plan.command[1..].to_vec()),
        Way::Adieu => {
            // Ours come last and so win: without them there would be nothing to watch.
            let mut args = plan.init_options.clone();
            args.extend(["--health".into(), health.to_string().into()]);
            args.extend(["--platform".into(), plan.limits.platform.name().into()]);
            args.extend(["--grace".into(), format!("{}ms", plan.limits.grace.as_millis()).into()]);
            args.extend(["--report".into(), report.into()]);
            args.push("--".into());
            args.extend(plan.command.iter().cloned());
            (plan.init.clone().unwrap_or(own), "adieu".into(), args)
        }
        Way::Init => {
            let init = plan.init.clone().unwrap_or(own);
            let mut args = plan.init_options.clone();
            args.push("--".into());
            args.extend(plan.command.iter().cloned());
            let argv0 = init.clone().into();
            (init, argv0, args)
        }
    };
    // Under an init, the app is the init's own child, whom nobody else may trace.
    let at_exit = if plan.way == Way::Bare { AtExit::Hold } else { AtExit::Free };
    Script { program, argv0, args, env: plan.env.clone(), log: log.to_owned(), at_exit }
}

/// A port that was free a moment ago; adieu's own address, so that the balancer can ask for readiness.
fn free_port() -> Result<u16, Trouble> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Trouble::Cannot(format!("cannot find a free port: {error}")))
}

/// Waits, and hears the person and the app's end.
///
/// # Errors
/// When one of both speaks up.
pub fn hold(plan: &Plan, house: &House, stage: &Stage, time: Duration) -> Result<(), Trouble> {
    let until = Instant::now() + time;
    loop {
        if house.interrupted.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted);
        }
        let left = until.saturating_duration_since(Instant::now());
        match stage.news_within(left.min(HEARING)) {
            Some(News::Leaving) => stage.let_go(),
            Some(News::Ended(ending)) => {
                return Err(Trouble::Cannot(format!(
                    "'{}' ended by itself with {ending} before the stop was asked for; it last said: {}",
                    plan.app,
                    stage.last_words()
                )));
            }
            None => {}
        }
        if left.is_zero() {
            return Ok(());
        }
    }
}

impl Show {
    fn begin(plan: &Plan, targets: &[Target], stage: &Stage, question: Option<String>) -> Show {
        let balancer = Arc::new(Balancer::default());
        let patience = plan.limits.grace + Duration::from_secs(10);
        let users = load::clients(targets, plan.load.clients)
            .into_iter()
            .map(|client| load::start(client, Arc::clone(&balancer), patience))
            .collect();
        let scenes = watch::scenes(eye(plan, stage), stage.main);
        Show { balancer, users, scenes, readiness: question.map(watch::readiness) }
    }
}

/// What looks at this stage's app: at everything but the init.
#[must_use]
pub fn eye(plan: &Plan, stage: &Stage) -> Eye {
    let init = match plan.way {
        Way::Bare => None,
        Way::Adieu | Way::Init => Some(stage.main),
    };
    Eye::new(stage.members.clone(), init, &plan.databases)
}

/// How it closed.
pub struct Close {
    pub ended: Instant,
    pub ending: Ending,
    pub killed: Option<Instant>,
    /// A look at the app while it was held at its exit.
    pub frame: Option<(Instant, Look)>,
}

/// What is still to come of a stop, each with its time.
struct Agenda {
    signal: Option<Instant>,
    removal: Option<Instant>,
    kill: Option<Instant>,
}

impl Agenda {
    /// How long until the next of them, or until the person is to be heard.
    fn pause(&self, now: Instant) -> Duration {
        let due = [self.signal, self.removal, self.kill].into_iter().flatten();
        due.map(|time| time.saturating_duration_since(now)).chain([HEARING]).min().unwrap_or(HEARING)
    }
}

/// Whether its time has come; then it is off the agenda.
fn due(time: &mut Option<Instant>, now: Instant) -> bool {
    time.take_if(|time| *time <= now).is_some()
}

/// Plays the balancer and the platform until the app is gone and nothing more is sent.
fn finish(plan: &Plan, house: &House, stage: &Stage, show: &Show, asked: Instant) -> Result<Close, Trouble> {
    let (label, limits) = (plan.way.label(), &plan.limits);
    house.progress.say(&format!("{label}: asked to stop with SIG{}", short(limits.stop_signal)));
    let mut agenda = Agenda {
        signal: Some(asked + limits.hook),
        removal: Some(asked + limits.removal),
        kill: Some(asked + limits.grace),
    };
    let mut eye = eye(plan, stage);
    let (mut killed, mut frame, mut end) = (None, None, None);
    loop {
        if house.interrupted.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted);
        }
        let now = Instant::now();
        if due(&mut agenda.signal, now) {
            stage.signal(limits.stop_signal);
        }
        if due(&mut agenda.removal, now) {
            show.balancer.remove();
        }
        if due(&mut agenda.kill, now) {
            stage.signal(Signal::SIGKILL);
            killed = Some(now);
        }
        house.progress.clock(label, now.duration_since(asked), limits.grace);
        match (end, agenda.removal) {
            (Some((ended, ending)), None) => return Ok(Close { ended, ending, killed, frame }),
            (Some(_), Some(_)) => {
                let _removal = show.balancer.routes_after(agenda.pause(now));
                continue;
            }
            (None, _) => {}
        }
        match stage.news_within(agenda.pause(now)) {
            Some(News::Leaving) => {
                frame = Some((Instant::now(), eye.look()));
                stage.let_go();
            }
            Some(News::Ended(ending)) => {
                end = Some((Instant::now(), ending));
                agenda.kill = None;
            }
            None => {}
        }
    }
}

/// A signal's name without SIG.
#[must_use]
pub fn short(signal: Signal) -> &'static str {
    signal.as_str().trim_start_matches("SIG")
}

/// The command as one would type it.
#[must_use]
pub fn typed(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| shlex::bytes::try_quote(word.as_bytes())).collect();
    let quoted = words.into_iter().map(|word| word.map(|word| String::from_utf8_lossy(&word).into_owned()));
    quoted.map(|word| word.unwrap_or_else(|_| "?".to_owned())).collect::<Vec<_>>().join(" ")
}
