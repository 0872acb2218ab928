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
use super::look::{self, Line};
use super::plan::{Aim, Plan};
use super::progress::Progress;
use super::recording::{
    At, Connection, End, Ending, Fate, Ground, Limits, Outbound, Readiness, Recording, Request, Target, Told, Way,
};
use super::stage::{Script, Stage};
use super::story;
use super::watch::{self, Answers, Scenes, Watcher};

/// How often a wait looks whether the person has had enough.
const HEARING: Duration = Duration::from_millis(20);

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
struct Show {
    balancer: Arc<Balancer>,
    users: Vec<JoinHandle<Vec<Sent>>>,
    scenes: Watcher<Scenes>,
    readiness: Option<Watcher<Answers>>,
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

    let init = match plan.way {
        Way::Bare => None,
        Way::Adieu | Way::Init => Some(stage.main),
    };
    let question = match plan.way {
        Way::Adieu => Some(format!("http://{health}/readyz")),
        Way::Bare | Way::Init => plan.readiness.as_ref().map(|url| whole(url, &ports)),
    };
    let show = Show::begin(plan, &targets, &stage, init, question.clone());
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
        init_pid: init.is_some(),
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
    Script { program, argv0, args, env: plan.env.clone(), log: log.to_owned() }
}

/// A port that was free a moment ago; adieu's own address, so that the balancer can ask for readiness.
fn free_port() -> Result<u16, Trouble> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Trouble::Cannot(format!("cannot find a free port: {error}")))
}

/// Waits until the app listens and answers each address once, and notes how long each takes.
fn await_first_answer(
    plan: &Plan,
    house: &House,
    stage: &Stage,
    begun: Instant,
) -> Result<(Vec<u16>, Vec<Target>, Duration), Trouble> {
    let Some(aim) = &plan.load.aim else {
        // A worker gives no sign; it gets the warm-up to settle.
        return Ok((Vec::new(), Vec::new(), begun.elapsed()));
    };
    let until = begun + plan.limits.start;
    let ports = loop {
        hold(plan, house, stage, HEARING)?;
        let found = listening_ports(plan, stage, aim);
        if !found.is_empty() {
            break found;
        }
        if Instant::now() >= until {
            let wanted =
                aim.ports.first().map_or_else(|| "any port".to_owned(), |port| format!("port {port}"));
            return Err(Trouble::Cannot(format!(
                "'{}' did not listen on {wanted} within {} s (a worker without a port: --no-load); it last said: {}",
                plan.app,
                plan.limits.start.as_secs(),
                stage.last_words()
            )));
        }
    };
    let mut targets = Vec::new();
    let mut ready_after = None;
    for url in &aim.urls {
        let asked = begun.elapsed();
        targets.push(first_answer(plan, house, stage, whole(url, &ports), until)?);
        ready_after.get_or_insert(asked);
    }
    Ok((ports, targets, ready_after.unwrap_or_else(|| begun.elapsed())))
}

/// The ports that the app listens on, or those of the wanted ones that it does; all wanted ones must be there.
fn listening_ports(plan: &Plan, stage: &Stage, aim: &Aim) -> Vec<u16> {
    let init = match plan.way {
        Way::Bare => None,
        Way::Adieu | Way::Init => Some(stage.main),
    };
    let look = look::look(&stage.members, init);
    let mut found: Vec<u16> = look.listening.iter().map(SocketAddr::port).collect();
    found.sort_unstable();
    found.dedup();
    if aim.ports.is_empty() {
        return found;
    }
    if aim.ports.iter().all(|port| found.contains(port)) { aim.ports.clone() } else { Vec::new() }
}

/// Asks until there is an answer.
fn first_answer(
    plan: &Plan,
    house: &House,
    stage: &Stage,
    url: String,
    until: Instant,
) -> Result<Target, Trouble> {
    let agent = load::agent(Connection::New, plan.limits.start);
    loop {
        let from = Instant::now();
        let fate = load::ask(&agent, &url);
        match fate {
            Fate::Answered { .. } => {
                return Ok(Target { url, first_ms: from.elapsed().as_millis() as u64 });
            }
            Fate::Failed { .. } | Fate::Refused { .. } | Fate::CutOff { .. } | Fate::TimedOut
                if Instant::now() >= until =>
            {
                return Err(Trouble::Cannot(format!("{url} gave no good answer: {fate:?}")));
            }
            Fate::Failed { .. } | Fate::Refused { .. } | Fate::CutOff { .. } | Fate::TimedOut => {}
        }
        hold(plan, house, stage, HEARING)?;
    }
}

/// A path is one on the app's first port.
fn whole(url: &str, ports: &[u16]) -> String {
    if url.starts_with("http://") {
        return url.to_owned();
    }
    format!("http://127.0.0.1:{}{url}", ports.first().copied().unwrap_or(80))
}

fn ready_line(ports: &[u16], after: Duration) -> String {
    match ports {
        [] => "runs; it has no port, so there is no load".to_owned(),
        ports => {
            let ports: Vec<String> = ports.iter().map(|port| format!(":{port}")).collect();
            format!("answers on {} after {:.1} s, load begins", ports.join(" "), after.as_secs_f64())
        }
    }
}

/// Long enough that slow requests overlap: each of their clients is to be in the middle of one.
fn warm_up(plan: &Plan, targets: &[Target]) -> Duration {
    let slowest = targets.iter().map(|target| target.first_ms).max().unwrap_or_default();
    plan.load.warm_up.max(Duration::from_millis(slowest * 3 / 2).min(Duration::from_secs(15)))
}

/// Waits, and hears the person and the app's end.
fn hold(plan: &Plan, house: &House, stage: &Stage, time: Duration) -> Result<(), Trouble> {
    let until = Instant::now() + time;
    loop {
        if house.interrupted.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted);
        }
        let left = until.saturating_duration_since(Instant::now());
        if let Some(ending) = stage.ended_within(left.min(HEARING)) {
            return Err(Trouble::Cannot(format!(
                "'{}' ended by itself with {ending} before the stop was asked for; it last said: {}",
                plan.app,
                stage.last_words()
            )));
        }
        if left.is_zero() {
            return Ok(());
        }
    }
}

impl Show {
    fn begin(
        plan: &Plan,
        targets: &[Target],
        stage: &Stage,
        init: Option<nix::unistd::Pid>,
        question: Option<String>,
    ) -> Show {
        let balancer = Arc::new(Balancer::default());
        let patience = plan.limits.grace + Duration::from_secs(10);
        let users = load::clients(targets, plan.load.clients)
            .into_iter()
            .map(|client| load::start(client, Arc::clone(&balancer), patience))
            .collect();
        let scenes = watch::scenes(stage.members.clone(), stage.main, init);
        Show { balancer, users, scenes, readiness: question.map(watch::readiness) }
    }
}

/// How it closed.
struct Close {
    ended: Instant,
    ending: Ending,
    killed: Option<Instant>,
}

/// Plays the balancer and the platform until the app is gone and nothing more is sent.
fn finish(plan: &Plan, house: &House, stage: &Stage, show: &Show, asked: Instant) -> Result<Close, Trouble> {
    let label = plan.way.label();
    house.progress.say(&format!("{label}: asked to stop with SIG{}", short(plan.limits.stop_signal)));
    let removal = asked + plan.limits.removal;
    let kill = asked + plan.limits.grace;
    let signal = asked + plan.limits.hook;
    let (mut signalled, mut removed) = (false, false);
    let mut killed = None;
    let mut end = None;
    loop {
        if house.interrupted.load(Ordering::Relaxed) {
            return Err(Trouble::Interrupted);
        }
        let now = Instant::now();
        if !signalled && now >= signal {
            signalled = true;
            stage.signal(plan.limits.stop_signal);
        }
        if !removed && now >= removal {
            removed = true;
            show.balancer.remove();
        }
        if killed.is_none() && end.is_none() && now >= kill {
            stage.signal(Signal::SIGKILL);
            killed = Some(now);
        }
        if removed && let Some((ended, ending)) = end {
            return Ok(Close { ended, ending, killed });
        }
        let mut wait = HEARING.min(kill.saturating_duration_since(now).max(Duration::from_millis(1)));
        for (done, due) in [(removed, removal), (signalled, signal)] {
            if !done {
                wait = wait.min(due.saturating_duration_since(now));
            }
        }
        house.progress.clock(label, now.duration_since(asked), plan.limits.grace);
        match stage.ended_within(wait) {
            Some(ending) => end = Some((Instant::now(), ending)),
            // The channel has closed: nothing more will be said, and there is still the removal to wait for.
            None if end.is_some() => {
                let _removal = show.balancer.routes_after(wait);
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

/// What is known when all is over, on the clock of the machine.
struct Notes {
    asked: Instant,
    ready_after: Duration,
    close: Close,
    ports: Vec<u16>,
    targets: Vec<Target>,
    question: Option<String>,
    init_pid: bool,
    ground: Ground,
    told: Option<Told>,
}

impl Notes {
    fn at(&self, time: Instant) -> At {
        let after = time.saturating_duration_since(self.asked).as_millis() as i64;
        let before = self.asked.saturating_duration_since(time).as_millis() as i64;
        At(after - before)
    }

    fn write_up(self, plan: &Plan, show: Show) -> Result<Recording, Trouble> {
        let lost_thread = || Trouble::Cannot("a watcher or client of the rehearsal broke down".into());
        let mut requests = Vec::new();
        for user in show.users {
            let sent = user.join().map_err(|_| lost_thread())?;
            requests.extend(sent.into_iter().map(|sent| self.request(sent)));
        }
        let scenes = show.scenes.what_it_saw().ok_or_else(lost_thread)?;
        let answers = show.readiness.and_then(Watcher::what_it_saw).unwrap_or_default();
        let turned =
            answers.iter().find(|(at, ready)| *at >= self.asked && !ready).map(|(at, _)| self.at(*at));
        Ok(Recording {
            app: plan.app.clone(),
            way: plan.way,
            ground: self.ground.clone(),
            limits: Limits {
                platform: plan.limits.platform.name().to_owned(),
                grace_ms: plan.limits.grace.as_millis() as u64,
                hook_ms: plan.limits.hook.as_millis() as u64,
                removal_ms: plan.limits.removal.as_millis() as u64,
                stop_signal: short(plan.limits.stop_signal).to_owned(),
            },
            ready_after_ms: self.ready_after.as_millis() as u64,
            requests,
            readiness: Readiness { url: self.question.clone(), turned },
            told: self.told.clone(),
            closed: scenes.closed_after(self.asked, &self.ports).map(|at| self.at(at)),
            leftovers: self.leftovers(&scenes),
            outbound: self.outbound(plan, &scenes),
            last_look: self.at(scenes.last),
            held_at_exit: false,
            killed: self.close.killed.map(|at| self.at(at)),
            end: End { at: self.at(self.close.ended), ending: self.close.ending },
            ports: self.ports,
            targets: self.targets,
            misfits: plan.misfits.clone(),
        })
    }

    fn request(&self, sent: Sent) -> Request {
        Request {
            client: sent.client,
            connection: sent.connection,
            target: sent.target,
            from: self.at(sent.from),
            to: self.at(sent.to),
            fate: sent.fate,
        }
    }

    /// Names of what the last look saw besides the main process (bare) or besides the app (under an init).
    fn leftovers(&self, scenes: &Scenes) -> Vec<String> {
        let Some(first) =
            scenes.at(self.asked).and_then(|look| look.processes.iter().map(|seen| seen.pid).min())
        else {
            return Vec::new();
        };
        let Some(last) = scenes.last_look() else {
            return Vec::new();
        };
        let app_lives = last.processes.iter().any(|seen| seen.pid == first);
        if self.init_pid && app_lives {
            // The app was seen alive to the last: what it would have left behind was not seen.
            return Vec::new();
        }
        last.processes.iter().filter(|seen| seen.pid != first).map(|seen| seen.name.clone()).collect()
    }

    fn outbound(&self, plan: &Plan, scenes: &Scenes) -> Vec<Outbound> {
        let Some(look) = scenes.at(self.asked) else {
            return Vec::new();
        };
        let lines = look.outbound.iter().filter(|line| plan.databases.contains(&line.remote.port()));
        let note = |line: &Line| Outbound {
            local: line.local,
            remote: line.remote,
            closed: scenes.hung_up_after(self.asked, line).map(|at| self.at(at)),
        };
        lines.map(note).collect()
    }
}

/// The command as one would type it.
#[must_use]
pub fn typed(command: &[OsString]) -> String {
    let words: Vec<_> = command.iter().map(|word| shlex::bytes::try_quote(word.as_bytes())).collect();
    let quoted = words.into_iter().map(|word| word.map(|word| String::from_utf8_lossy(&word).into_owned()));
    quoted.map(|word| word.unwrap_or_else(|_| "?".to_owned())).collect::<Vec<_>>().join(" ")
}
