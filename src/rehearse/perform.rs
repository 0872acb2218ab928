//! One rehearsal, from the start of the app to the recording: start the app, wait until it answers,
//! put load on it, send the stop request, play the platform, and collect what all threads saw.
//! Nothing is judged here.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::sys::signal::Signal;

use super::adieu_report;
use super::before;
use super::container::{Container, Image};
use super::live::LiveRun;
use super::namespace::AtExit;
use super::observations::Observations;
use super::plan::RehearsalPlan;
use super::ready::{FirstAnswers, await_first_answer, ready_line, warm_up, whole};
use super::recording::{At, Isolation, Mode, Recording};
use super::sandbox::{Launch, Sandbox, last_line};
use super::session::{RehearsalError, Session};
use super::shutdown::shut_down;
use super::url::{Address, Scheme, Url};
use adieu::errno::describe;

/// Runs one rehearsal.
///
/// # Errors
/// The app does not start or does not answer, or the user interrupts.
pub(crate) fn perform(plan: &RehearsalPlan, session: &Session) -> Result<Recording, RehearsalError> {
    let log = plan.log.clone().unwrap_or_else(|| session.folder.join("app.log"));
    let begun = Instant::now();
    if let Some(image) = &plan.image {
        session.progress.say(&format!("{}: starting a container of {}", engine_name(image), plan.app));
        let (sandbox, plan) = start_container(plan, image, session, &log)?;
        let isolation = Isolation::Container { engine: engine_name(image) };
        return rehearse(&plan, session, sandbox, RunSetup { begun, isolation, health: None, report: None });
    }
    session.progress.say(&format!("{}: starting {}", plan.mode.label(), plan.app));
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let report = session.folder.join("report.json");
    let launch = launch(plan, &log, health, &report);
    if let Some(user) = plan.start_as.user {
        // adieu writes its report as that user.
        let owned = std::os::unix::fs::chown(&session.folder, Some(user.uid), Some(user.gid));
        owned.map_err(|error| {
            RehearsalError::Cannot(format!(
                "cannot change the owner of the temporary folder: {}",
                describe(&error)
            ))
        })?;
    }
    before::run(&launch, session, plan.limits.start)?;
    let sandbox = Sandbox::start(&session.isolation, &launch)
        .map_err(|why| session.check().err().unwrap_or(RehearsalError::Cannot(why)))?;
    session.check()?;
    let isolation = session.isolation.clone();
    let health = (plan.mode == Mode::Adieu).then(|| readyz(health.ip().to_string(), health.port()));
    rehearse(plan, session, sandbox, RunSetup { begun, isolation, health, report: Some(report) })
}

/// adieu's readiness URL at this address.
fn readyz(host: String, port: u16) -> Url {
    Url { scheme: Scheme::Http, address: Address::Tcp { host, port }, path: "/readyz".into() }
}

/// What differs between our own sandbox and a container.
struct RunSetup {
    begun: Instant,
    isolation: Isolation,
    /// The readiness URL of our own adieu.
    health: Option<Url>,
    /// The report of our own adieu.
    report: Option<PathBuf>,
}

fn rehearse(
    plan: &RehearsalPlan,
    session: &Session,
    sandbox: Sandbox,
    setup: RunSetup,
) -> Result<Recording, RehearsalError> {
    let FirstAnswers { ports, targets, after: ready_after } =
        await_first_answer(plan, session, &sandbox, setup.begun)?;
    session.progress.say(&format!("{}: {}", plan.mode.label(), ready_line(&ports, ready_after)));

    let own = || plan.readiness.as_ref().map(|url| whole(url, &ports));
    let question = setup.health.clone().or_else(own);
    let live = LiveRun::begin(plan, &targets, &sandbox, question.clone());
    session.wait(plan, &sandbox, warm_up(plan, &targets))?;
    let asked = Instant::now();
    let shutdown = shut_down(plan, session, &sandbox, &live, asked)?;
    session.progress.say(&format!(
        "{}: ended after {}",
        plan.mode.label(),
        At::after(shutdown.ended.duration_since(asked))
    ));

    let hook = plan.limits.hook.as_millis() as u64;
    let observations = Observations {
        asked,
        ready_after,
        shutdown,
        ports,
        targets: targets.into_iter().map(|(_, target)| target).collect(),
        question: question.map(|url| url.to_string()),
        mode: plan.mode,
        isolation: setup.isolation,
        adieu_report: setup.report.and_then(|report| adieu_report::read(&report, hook)),
    };
    observations.write_up(plan, session, live)
}

/// Starts the container and waits until it is healthy. The plan comes back with what only the
/// container knows, such as its stop signal.
fn start_container(
    plan: &RehearsalPlan,
    image: &Image,
    session: &Session,
    log: &Path,
) -> Result<(Sandbox, RehearsalPlan), RehearsalError> {
    let until = Instant::now() + plan.limits.start;
    let goes_on = || session.check().is_ok() && Instant::now() < until;
    let cannot = |why: String| match session.check() {
        Ok(()) => {
            let said = last_line(log);
            RehearsalError::Cannot(format!("'{}': {why}; its last output: {said}", image.name))
        }
        Err(interrupted) => interrupted,
    };
    let started = Container::start(image, &plan.command, &plan.env, plan.limits.grace, log, &goes_on);
    let mut container = started.map_err(cannot)?;
    container.await_health(plan.limits.start, &goes_on).map_err(cannot)?;
    session.check()?;
    let whole_urls = plan
        .load
        .endpoints
        .as_ref()
        .is_none_or(|endpoints| endpoints.urls.iter().all(|url| url.address != Address::AppPort));
    match container.enter_network() {
        Ok(()) => {}
        // All URLs are reachable from outside; sockets inside the container are not seen then.
        Err(_) if whole_urls => {}
        Err(why) => return Err(RehearsalError::Cannot(why)),
    }
    let mut plan = plan.clone();
    plan.mode = container.mode();
    if let Some(signal) = container.stop_signal().and_then(|signal| Signal::try_from(signal.number()).ok()) {
        plan.limits.stop_signal = signal;
    }
    if plan.mode == Mode::Adieu {
        plan.readiness =
            plan.readiness.or_else(|| container.health_port().map(|port| readyz("127.0.0.1".into(), port)));
    }
    Ok((Sandbox::around(container, log), plan))
}

fn engine_name(image: &Image) -> String {
    let program = image.engine.first().map(Path::new).and_then(Path::file_name).unwrap_or_default();
    program.to_string_lossy().into_owned()
}

/// What to start: the app itself, or an init that starts the app.
fn launch(plan: &RehearsalPlan, log: &Path, health: SocketAddr, report: &Path) -> Launch {
    let own = PathBuf::from("/proc/self/exe");
    let (program, argv0, args) = match plan.mode {
        Mode::Bare => (PathBuf::from(&plan.command[0]), plan.command[0].clone(), plan.command[1..].to_vec()),
        Mode::Adieu => {
            // Ours come last and so override the user's: the watchers depend on them.
            let mut args = plan.init_options.clone();
            args.extend(["--health".into(), health.to_string().into()]);
            args.extend(["--platform".into(), plan.limits.platform.name().into()]);
            args.extend(["--grace".into(), format!("{}ms", plan.limits.grace.as_millis()).into()]);
            args.extend(["--report".into(), report.into()]);
            args.push("--".into());
            args.extend(plan.command.iter().cloned());
            (plan.init.clone().unwrap_or(own), "adieu".into(), args)
        }
        Mode::Init => {
            let init = plan.init.clone().unwrap_or(own);
            let mut args = plan.init_options.clone();
            args.push("--".into());
            args.extend(plan.command.iter().cloned());
            let argv0 = init.clone().into();
            (init, argv0, args)
        }
    };
    // Under an init the app is the init's child, so the helper cannot trace it.
    let at_exit = if plan.mode == Mode::Bare { AtExit::Hold } else { AtExit::Free };
    Launch {
        program,
        argv0,
        args,
        env: plan.env.clone(),
        log: log.to_owned(),
        at_exit,
        start_as: plan.start_as.clone(),
    }
}

/// A free port for adieu's health address, where the balancer asks for readiness. Another program
/// may still take it first.
fn free_port() -> Result<u16, RehearsalError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| RehearsalError::Cannot(format!("cannot find a free port: {}", describe(&error))))
}
