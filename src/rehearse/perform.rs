//! One rehearsal, from the start of the app to the recording: start, wait until it answers, load, ask for the stop, play the
//! platform, and gather what everybody saw. Nothing is judged here.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::adieu_report;
use super::live::LiveRun;
use super::namespace::AtExit;
use super::observations::Observations;
use super::plan::Plan;
use super::ready::{FirstAnswers, await_first_answer, ready_line, warm_up, whole};
use super::recording::{Mode, Recording};
use super::sandbox::{Launch, Sandbox};
use super::session::{Failure, Session};
use super::shutdown::shut_down;
use super::url::{Place, Scheme, Url};

/// Runs it.
///
/// # Errors
/// When the app does not start, does not answer, or the user interrupts.
pub(crate) fn perform(plan: &Plan, session: &Session) -> Result<Recording, Failure> {
    let health = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let report = session.folder.join("report.json");
    let log = plan.log.clone().unwrap_or_else(|| session.folder.join("app.log"));
    let launch = launch(plan, &log, health, &report);
    let begun = Instant::now();
    session.progress.say(&format!("{}: starting {}", plan.mode.label(), plan.app));
    let sandbox = Sandbox::start(&session.isolation, &launch)
        .map_err(|why| session.check().err().unwrap_or(Failure::Cannot(why)))?;
    session.check()?;
    let FirstAnswers { ports, targets, after: ready_after } =
        await_first_answer(plan, session, &sandbox, begun)?;
    session.progress.say(&format!("{}: {}", plan.mode.label(), ready_line(&ports, ready_after)));

    let question = match plan.mode {
        Mode::Adieu => Some(Url {
            scheme: Scheme::Http,
            place: Place::Tcp { host: health.ip().to_string(), port: health.port() },
            path: "/readyz".into(),
        }),
        Mode::Bare | Mode::Init => plan.readiness.as_ref().map(|url| whole(url, &ports)),
    };
    let live = LiveRun::begin(plan, &targets, &sandbox, question.clone());
    session.wait(plan, &sandbox, warm_up(plan, &targets))?;
    let asked = Instant::now();
    let shutdown = shut_down(plan, session, &sandbox, &live, asked)?;
    session.progress.say(&format!(
        "{}: ended after {:.1} s",
        plan.mode.label(),
        shutdown.ended.duration_since(asked).as_secs_f64()
    ));

    let observations = Observations {
        asked,
        ready_after,
        shutdown,
        ports,
        targets: targets.into_iter().map(|(_, target)| target).collect(),
        question: question.map(|url| url.to_string()),
        mode: plan.mode,
        isolation: session.isolation.clone(),
        adieu_report: adieu_report::read(&report, plan.limits.hook.as_millis() as u64),
    };
    observations.write_up(plan, session, live)
}

/// What to start: the app itself, or an init with the app behind it.
fn launch(plan: &Plan, log: &Path, health: SocketAddr, report: &Path) -> Launch {
    let own = PathBuf::from("/proc/self/exe");
    let (program, argv0, args) = match plan.mode {
        Mode::Bare => (PathBuf::from(&plan.command[0]), plan.command[0].clone(), plan.command[1..].to_vec()),
        Mode::Adieu => {
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
        Mode::Init => {
            let init = plan.init.clone().unwrap_or(own);
            let mut args = plan.init_options.clone();
            args.push("--".into());
            args.extend(plan.command.iter().cloned());
            let argv0 = init.clone().into();
            (init, argv0, args)
        }
    };
    // Under an init, the app is the init's own child, whom nobody else may trace.
    let at_exit = if plan.mode == Mode::Bare { AtExit::Hold } else { AtExit::Free };
    Launch { program, argv0, args, env: plan.env.clone(), log: log.to_owned(), at_exit }
}

/// A port that was free a moment ago; adieu's own address, so that the balancer can ask for readiness.
fn free_port() -> Result<u16, Failure> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(|error| Failure::Cannot(format!("cannot find a free port: {error}")))
}
