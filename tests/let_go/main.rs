//! Clients with kept connections straight to the app, as behind a Kubernetes ClusterIP: nobody
//! tells them of a stop, and they stay until their connection is closed; the next one then goes to
//! another instance. Unmodified servers are stopped and replaced under such clients. None may fail,
//! and the stop may not wait for them. `ADIEU_FULL=1` takes every app; `ADIEU_LET_GO=node` takes
//! those whose name contains this.

#[path = "../harness/mod.rs"]
mod harness;

#[path = "../roll/apps.rs"]
mod apps;
#[path = "../roll/client.rs"]
mod client;
#[path = "../roll/net.rs"]
mod net;

mod hook;
mod pinned;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use client::{Client, Fate};
use harness::seccomp::Refused;
use harness::{Init, Launch, WATCHDOG};
use pinned::{Endpoints, Habit, Pinned};

/// Given to adieu, so that a stop does not take longer than its test needs. Within it, every client
/// asks again, which shows that it speaks HTTP/1.
const PRE_STOP: Duration = Duration::from_secs(3);

/// A stop that takes longer than this hangs: it is longer than the grace.
const HANGS: Duration = Duration::from_secs(60);

/// How long a stop may take after the pre-stop sleep and the longest request. DESIGN says 3 s; the
/// rest is for a busy machine.
const LET_GO_WITHIN: Duration = Duration::from_secs(8);

/// All that keep connections, and serve.
const APPS: [&str; 15] = [
    "http-server",
    "waitress",
    "uvicorn",
    "gunicorn",
    "node",
    "express",
    "express-close",
    "go",
    "go-shutdown",
    "nginx",
    "nginx-nopush",
    "haproxy",
    "java",
    "gunicorn-ipv6",
    "uvicorn-ipv6",
];

/// Its answers cannot be held back, so it is soon told to stop with its clients, and closes their
/// connections itself: some ask at that moment, each of which may lose that one request.
const UNCORKS: &str = "nginx-nopush";

/// Those that answer nothing slowly.
const FAST_ALONE: [&str; 2] = ["nginx-nopush", "haproxy"];

/// Two loads at a time are enough: more of them measure how long a busy machine makes apps pause.
static LOADS: Mutex<()> = Mutex::new(());

const SELECTION: [&str; 4] = ["http-server", "node", "go", "gunicorn-ipv6"];

fn host(app: &str) -> IpAddr {
    if app.ends_with("-ipv6") { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

fn possible() -> Result<(), String> {
    apps::possible(&["java"])
}

#[test]
fn pinned_clients_lose_nothing_and_hold_no_stop() {
    require!(possible());
    let _alone = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let only = std::env::var("ADIEU_LET_GO").ok();
    let chosen: Vec<&str> = match &only {
        Some(part) => APPS.into_iter().filter(|app| app.contains(part.as_str())).collect(),
        None if harness::full() => APPS.to_vec(),
        None => SELECTION.to_vec(),
    };
    say(&format!(
        "\n{:<14} {:>8} {:>7} {:>6} {:>24}\n",
        "app", "requests", "closed", "failed", "stops after pre-stop"
    ));
    let faults: Vec<String> = chosen
        .chunks(2)
        .flat_map(|pair| {
            scope(|all| {
                let rows: Vec<_> = pair.iter().map(|app| all.spawn(|| stop_thrice(app))).collect();
                rows.into_iter().filter_map(|row| row.join().expect("a load that ends")).collect::<Vec<_>>()
            })
        })
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Past the test runner, which shows what a test prints only when it fails.
fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).expect("stderr is writable");
}

/// Stops three instances one after the other, each with another one beside it; what is wrong, if
/// anything.
fn stop_thrice(app: &str) -> Option<String> {
    // What nginx sends at a limited rate pauses for a second inside each answer. A client that asks
    // for nothing else, without pause, is let go late or never; ADIEU_PAUSING=1 tries it.
    let pausing = std::env::var_os("ADIEU_PAUSING").is_some();
    let fast = app == "nginx" && !pausing || FAST_ALONE.contains(&app);
    stop_under(app, if fast { Habit::FAST } else { &Habit::ALL })
}

fn stop_under(app: &str, habits: &[Habit]) -> Option<String> {
    net::enter();
    let start = |port: u16| {
        let options = ["-v", "--pre-stop", "3s", "--grace", "30s"].map(String::from);
        let server = apps::App::named(app).start(Init::Adieu, &options, port, &[]);
        wait_until_it_serves(app, &server);
        server
    };
    let endpoints = Arc::new(Endpoints::of(host(app)));
    let mut serving = start(8001);
    endpoints.join(8001);
    let load = Pinned::start(&endpoints, habits);
    let mut stops = vec![];
    for port in 8002..8005 {
        let next = start(port);
        sleep(Duration::from_millis(500));
        let asked = Instant::now();
        serving.running.term();
        endpoints.join(port);
        endpoints.leave(serving.port);
        while !serving.running.has_ended() {
            assert!(asked.elapsed() < HANGS, "{app}: the stop hangs:\n{}", serving.said());
            sleep(Duration::from_millis(5));
        }
        let took = asked.elapsed().saturating_sub(PRE_STOP);
        let said = std::mem::replace(&mut serving, next);
        let expected =
            if app == UNCORKS { "stopping: clients never stop sending" } else { " clients let go), " };
        assert!(said.said().contains(expected), "{app}: no '{expected}':\n{}", said.said());
        stops.push((took, said.port, asked, said.said()));
    }
    let requests = load.end();
    let failed: Vec<_> = requests.iter().filter(|request| request.fate != Fate::Answered).collect();
    let closed = requests.iter().filter(|request| request.was_last).count();
    let times: Vec<String> = stops.iter().map(|(took, ..)| format!("{:.2} s", took.as_secs_f64())).collect();
    say(&format!(
        "{app:<14} {:>8} {closed:>7} {:>6} {:>24}\n",
        requests.len(),
        failed.len(),
        times.join(" ")
    ));
    let story = || {
        let when = |at: Instant, asked: Instant| {
            at.saturating_duration_since(asked).as_secs_f64()
                - asked.saturating_duration_since(at).as_secs_f64()
        };
        let tell = |request: &&pinned::Request| {
            let stop = stops.iter().find(|(_, port, ..)| *port == request.port);
            let (from, to) = stop.map_or((0.0, 0.0), |(_, _, asked, _)| {
                (when(request.begun, *asked), when(request.ended, *asked))
            });
            format!("{:?} {} at :{}: {from:.3} to {to:.3} s", request.habit, request.fate, request.port)
        };
        let failed: Vec<String> = failed.iter().map(tell).collect();
        let said: Vec<&str> = stops.iter().map(|(.., said)| said.as_str()).collect();
        format!("=== {app}\n{}\n{}", failed.join("\n"), said.join("\n---\n"))
    };
    if std::env::var_os("ADIEU_STORY").is_some() {
        say(&story());
    }
    // A machine may stand still for once.
    let slow = stops.iter().filter(|(took, ..)| *took > LET_GO_WITHIN + Habit::LONGEST).count() > 1;
    let spared = |port| if app == UNCORKS && port < serving.port { Habit::clients(habits) } else { 0 };
    let lost = |port| failed.iter().filter(|request| request.port == port).count();
    let too_many = (8001..=serving.port).any(|port| lost(port) > spared(port));
    (slow || too_many).then(story)
}

/// As many as a busy service behind a ClusterIP has.
#[test]
fn a_thousand_pinned_clients_lose_nothing_and_hold_no_stop() {
    long!();
    require!(possible());
    let _alone = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit");
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(20_000), hard).expect("up to the hard limit");
    let fault = std::thread::spawn(|| stop_under("go", &Habit::MANY)).join().expect("a load that ends");
    assert_eq!(fault, None, "{}", fault.as_deref().unwrap_or_default());
}

/// As under Docker's default profile: it is said once, and the stop goes on.
#[test]
fn where_a_socket_cannot_be_duplicated_that_is_said_and_the_stop_goes_on() {
    require!(possible());
    net::enter();
    let launch = Launch::pid1(Init::Adieu).options("--pre-stop 1s --grace 30s");
    let launch = launch.refusing(&[Refused::call(libc::SYS_pidfd_getfd, libc::EPERM)]);
    let launch = launch.command(apps::App::named("http-server").words(8001)).env("PORT", "8001");
    let mut running = launch.start();
    wait_until_it_answers(8001);
    let mut kept = Client::new(8001);
    assert_eq!(kept.get("/fast").0, Fate::Answered);
    running.term();
    // A client that goes on asking is what there would be to let go.
    for _ in 0..30 {
        assert_eq!(kept.get("/fast").0, Fate::Answered);
        sleep(Duration::from_millis(50));
    }
    assert!(running.log("cannot let clients go: ").contains("pidfd_getfd"));
    drop(kept);
    running.end();
    let said = running.all_errors();
    let refusals = said.iter().filter(|line| line.contains("cannot let clients go: ")).count();
    assert_eq!(refusals, 0, "once is enough: {said:#?}");
    assert!(said.iter().all(|line| !line.contains("let go, ")), "{said:#?}");
}

/// An answer that is held back just then leaves at once.
#[test]
fn a_hook_that_is_told_to_end_leaves_no_socket_corked() {
    require!(possible());
    require!(harness::program("nsenter"));
    hook::end_in_mid_drain();
}

#[test]
fn a_hook_whose_time_is_over_ends_well_and_says_so() {
    require!(possible());
    require!(harness::program("nsenter"));
    hook::end_by_time();
}

#[test]
fn a_person_in_a_hurry_leaves_no_socket_corked() {
    require!(possible());
    hook::end_as_pid_1("--drain-timeout 40s", "hurried by INT", |run| run.signal(libc::SIGINT));
}

#[test]
fn a_drain_that_ends_by_its_timeout_leaves_no_socket_corked() {
    require!(possible());
    hook::end_as_pid_1("--drain-timeout 2s", "the drain timeout is over", |_| {});
}

/// PID 1 is the app itself, or an init that knows nothing of a drain; the hook alone lets clients
/// go.
#[test]
fn a_hook_beside_any_init_lets_clients_go() {
    require!(possible());
    require!(hook::podman_runs_here());
    require!(Init::Tini.present());
    let _alone = LOADS.lock().unwrap_or_else(PoisonError::into_inner);
    let tini = Init::Tini.path();
    let below_tini = [tini.to_str().expect("a path"), "--"];
    let mut chosen: Vec<(&str, &[&str])> = vec![("http-server", &[]), ("node", &below_tini)];
    if harness::full() {
        chosen.extend([("go", &below_tini[..0]), ("uvicorn", &below_tini[..])]);
    }
    let faults: Vec<String> =
        chosen.into_iter().filter_map(|(app, below)| hook::stop_by_hook(app, below)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn run(program: &Path, words: &[&str]) -> Output {
    harness::output(Command::new(program).env_clear().args(words), WATCHDOG)
}

/// An init container hands adieu to an image that one cannot rebuild.
#[test]
fn adieu_installs_itself() {
    let folder = harness::Scratch::new();
    let adieu = Init::Adieu.path();
    for _again in 0..2 {
        let folder = folder.path("").display().to_string();
        assert!(run(&adieu, &["--install", &folder]).status.success());
    }
    assert!(run(&folder.path("adieu"), &["--version"]).stdout.starts_with(b"adieu "));
    let refused = run(&adieu, &["--install", "/proc/nowhere"]);
    assert_eq!(refused.status.code(), Some(125));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("cannot install to '/proc/nowhere': "), "{said}");
}

fn wait_until_it_answers(port: u16) {
    let deadline = Instant::now() + HANGS;
    while Client::new(port).get("/fast").0 != Fate::Answered {
        assert!(Instant::now() < deadline, ":{port} does not begin to serve");
        sleep(Duration::from_millis(20));
    }
}

fn wait_until_it_serves(app: &str, server: &apps::Started) {
    let deadline = Instant::now() + HANGS;
    while Client::of((host(app), server.port).into()).get("/fast").0 != Fate::Answered {
        assert!(Instant::now() < deadline, ":{} does not begin to serve:\n{}", server.port, server.said());
        sleep(Duration::from_millis(20));
    }
}
