//! The proof on real parts that nobody is cut off: unmodified servers, each wrapped as PID 1 of a
//! namespace of its own, are replaced one after another under load, as a rolling deploy does, with
//! default settings. No request may fail. The same roll under tini loses requests, so that the
//! proof can fail. `ADIEU_FULL=1` takes every app in every way; `ADIEU_ROLL=uvicorn/own` takes
//! those whose name and way contain this.

#[path = "../harness/mod.rs"]
mod harness;

mod apps;
mod client;
mod dice;
mod haproxy;
mod load;
mod net;
mod outcome;
mod rolling;
mod services;
mod table;

use std::sync::Arc;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use client::{Client, Fate};
use harness::{End, Init};
use load::{BACK_TO_BACK, LONG, Load, MIXED, RELENTLESS, Servers, Target};
use outcome::Outcome;
use rolling::{Plan, Way};
use services::{Postgres, Redis};

/// Whether everything is at hand that a roll needs.
fn possible() -> Result<(), String> {
    Init::Tini.present()?;
    apps::possible(&["haproxy"])
}

/// All apps that serve; those with pools and queues have tests of their own.
const APPS: [&str; 13] = [
    "http-server",
    "flask",
    "waitress",
    "uvicorn",
    "gunicorn",
    "node",
    "express",
    "express-close",
    "go",
    "go-shutdown",
    "nginx",
    "nginx-proxy",
    "shell",
];

/// Each way twice; what dies at TERM and what drains by itself; one, two and many processes.
const SELECTION: [(&str, Way); 7] = [
    ("http-server", Way::Clients),
    ("shell", Way::Late),
    ("nginx-proxy", Way::Late),
    ("node", Way::Health),
    ("gunicorn", Way::Health),
    ("go-shutdown", Way::Clients),
    ("node", Way::Pinned),
];

#[test]
fn a_roll_loses_no_request() {
    require!(possible());
    let all = || APPS.iter().flat_map(|app| Way::ALL.map(|way| (*app, way)));
    let only = std::env::var("ADIEU_ROLL").ok();
    let chosen: Vec<(&str, Way)> = match &only {
        Some(part) => {
            all().filter(|(app, way)| format!("{app}/{}", way.name()).contains(part.as_str())).collect()
        }
        None if harness::full() => all().collect(),
        None => SELECTION.to_vec(),
    };
    table::show_and_judge(&chosen, dice::seed());
}

/// A request that follows the last answer at once looks like its echo in the kernel's clocks: both
/// fall into one tick. Nine servers are stopped while clients of their own ask back to back, and
/// turn to a request of 8 s just before they leave.
#[test]
fn back_to_back_clients_lose_nothing_in_nine_stops() {
    require!(possible());
    let seed = dice::seed();
    let mut outlasting = 0;
    for (app, outcome) in nine_stops(&[], seed) {
        outlasting += outcome.outlasting();
        let (requests, failed) = (outcome.requests.len(), outcome.failed().count());
        table::say(&format!("{app}: {requests} requests back to back in 3 stops, {failed} failed\n"));
        assert_eq!(failed, 0, "{app}, seed {seed}:\n{}", outcome.story());
    }
    table::say(&format!("{outlasting} of them outlasted the pre-stop sleep\n"));
    assert!(
        outlasting > 0,
        "no {LONG} was in flight after the pre-stop sleep, which proves nothing; seed {seed}"
    );
    if harness::full() {
        let failed: usize =
            nine_stops(&["--drain", "off"], seed).iter().map(|(_, roll)| roll.failed().count()).sum();
        table::say(&format!("with --drain off: {failed} failed\n"));
        assert!(failed > 0, "none failed without the drain either, which proves nothing; seed {seed}");
    }
}

fn nine_stops(options: &[&str], seed: u64) -> [(&'static str, Outcome); 3] {
    scope(|all| {
        let rolls = ["http-server", "node", "go"].map(|app| {
            let roll = move || {
                net::enter();
                let (way, init) = (Way::Clients, Init::Adieu);
                Plan { app, way, init, load: BACK_TO_BACK, options, env: &[], seed }.roll()
            };
            (app, all.spawn(roll))
        });
        rolls.map(|(app, roll)| (app, roll.join().expect("a roll that comes to its end")))
    })
}

/// Clients with connections of their own that nobody tells of the stop ask on and on, where they
/// cannot be let go. Waiting does not help them: adieu leaves before the drain timeout and says
/// why. What is in flight at that moment is all that may be lost: one request a connection.
#[test]
fn clients_that_never_leave_are_not_waited_for() {
    require!(possible());
    let seed = dice::seed();
    scope(|all| {
        for app in ["http-server", "node", "go"] {
            all.spawn(move || leave_relentless_clients(app, seed));
        }
    });
}

fn leave_relentless_clients(app: &str, seed: u64) {
    net::enter();
    let options = ["-v", "--platform", "kubernetes", "--close-connections", "off"].map(String::from);
    let mut server = apps::App::named(app).start(Init::Adieu, &options, 8001, &[]);
    rolling::wait_until_it_serves(&server);
    let servers = Arc::new(Servers::default());
    servers.join(server.port);
    let load = Load::start(&Target::Servers(servers), RELENTLESS, seed);
    harness::until("the load has begun", || load.answered() >= 50);
    let asked = Instant::now();
    server.running.term();
    harness::until("the server has ended", || server.running.has_ended());
    let took = asked.elapsed().as_secs_f64();
    let requests = load.requests();
    let cut =
        requests.iter().filter(|request| ![Fate::Answered, Fate::Refused].contains(&request.fate)).count();
    let count = requests.len();
    table::say(&format!(
        "{app}: {count} requests of clients that never leave, {cut} cut off, left after {took:.1} s\n"
    ));
    let said = server.said();
    assert!(said.contains("stopping: clients never stop sending requests"), "{app}, seed {seed}:\n{said}");
    assert!(cut <= 4, "{app}: {cut} requests were cut off on 4 connections, seed {seed}:\n{said}");
}

/// A balancer that hears of the stop late: it opens ten new connections a second to the server that
/// leaves. Between two requests nothing is in flight; adieu waits all the same, where the grace
/// leaves room for it, until no more of them come.
#[test]
fn a_slow_balancer_loses_nothing() {
    require!(possible());
    scope(|all| {
        for app in ["http-server", "node", "go"] {
            all.spawn(move || stop_behind_a_slow_balancer(app));
        }
    });
}

fn stop_behind_a_slow_balancer(app: &str) {
    const HEARS_AFTER: Duration = Duration::from_secs(12);
    const BETWEEN: Duration = Duration::from_millis(100);
    net::enter();
    let options = ["-v", "--platform", "kubernetes", "--grace", "60s"].map(String::from);
    let mut server = apps::App::named(app).start(Init::Adieu, &options, 8001, &[]);
    rolling::wait_until_it_serves(&server);
    let asked = Instant::now();
    server.running.term();
    let port = server.port;
    let fates: Vec<(Duration, Fate)> = scope(|all| {
        let times = (0..).map(|number| BETWEEN * number).take_while(|at| *at < HEARS_AFTER);
        let clients: Vec<_> = times
            .map(|at| {
                sleep((asked + at).saturating_duration_since(Instant::now()));
                let path = if at.as_millis() % 200 == 0 { "/slow?seconds=0.08" } else { "/fast" };
                (at, all.spawn(move || Client::new(port).get(path).0))
            })
            .collect();
        clients.into_iter().map(|(at, client)| (at, client.join().expect("no client panics"))).collect()
    });
    harness::until("the server has ended", || server.running.has_ended());
    let took = asked.elapsed();
    let failed: Vec<_> = fates.iter().filter(|(_, fate)| *fate != Fate::Answered).collect();
    table::say(&format!(
        "{app}: {} new connections behind a slow balancer, {} failed, left after {:.1} s\n",
        fates.len(),
        failed.len(),
        took.as_secs_f64()
    ));
    let said = server.said();
    assert!(failed.is_empty(), "{app}: {failed:?}\n{said}");
    assert!(took >= HEARS_AFTER.saturating_sub(BETWEEN), "{app} left early:\n{said}");
    assert_ne!(server.running.end(), End::Exited(137), "{app} was killed:\n{said}");
}

/// A worker is asked to stop in the midst of a job that takes longer than the pre-stop sleep, three
/// times.
#[test]
fn a_queue_worker_loses_no_job() {
    require!(possible());
    require!(harness::program("redis-server"));
    net::enter();
    let redis = Redis::start();
    // The tap is turned off at the stop request; then the stop waits until no job is under way.
    let pause = format!("exec:{}", redis.command("set jobs:paused 1"));
    let idle = format!("exec:sh -c 'test $({}) = 0'", redis.command("llen jobs:working"));
    let options =
        ["-v", "--platform", "kubernetes", "--on-stop", &pause, "--drain-check", &idle].map(String::from);
    redis.ask("rpush jobs 0.2 7 0.2 7 0.2 7 0.2 0.2");
    let mut said = String::new();
    for _ in 0..3 {
        redis.ask("del jobs:paused");
        said += &stop_amid_a_job(Init::Adieu, &options, &redis);
        assert_eq!(redis.ask("llen jobs:working"), "0", "a job was lost half-way:\n{said}");
    }
    redis.ask("del jobs:paused");
    let _last = apps::App::named("queue-worker").start(Init::Adieu, &options, 1, &redis.env());
    harness::until("all jobs are done", || {
        redis.ask("llen jobs") == "0" && redis.ask("llen jobs:working") == "0"
    });
    assert_eq!(redis.ask("get jobs:done"), "8", "a job was lost, or done twice:\n{said}");

    redis.ask("rpush jobs 7");
    stop_amid_a_job(Init::Tini, &[], &redis);
    assert_eq!(
        redis.ask("llen jobs:working"),
        "1",
        "under tini the job should be lost, else this proves nothing"
    );
}

fn stop_amid_a_job(init: Init, options: &[String], redis: &Redis) -> String {
    let mut worker = apps::App::named("queue-worker").start(init, options, 1, &redis.env());
    harness::until("a long job is under way", || redis.ask("lrange jobs:working 0 -1") == "7");
    worker.running.term();
    harness::until("the worker has ended", || worker.running.has_ended());
    worker.said()
}

/// A pool's connections are closed in order: PostgreSQL never finds one ended that it did not
/// expect to end.
#[test]
fn a_database_sees_no_unexpected_end() {
    require!(possible());
    require!(Postgres::possible());
    let seed = dice::seed();
    let [adieu, tini] = [Init::Adieu, Init::Tini].map(|init| {
        net::enter();
        let postgres = Postgres::start();
        let url = postgres.url();
        let env = [("DATABASE_URL", url.as_str())];
        let plan =
            Plan { app: "sqlalchemy", way: Way::Late, init, load: MIXED, options: &[], env: &env, seed };
        let mut outcome = plan.roll();
        let unexpected = postgres.unexpected_ends();
        let (requests, failed) = (outcome.requests.len(), outcome.failed().count());
        let ends = unexpected.len();
        table::say(&format!(
            "sqlalchemy, {init:?}: {requests} requests, {failed} failed, {ends} unexpected ends\n"
        ));
        outcome.survivors.clear();
        (outcome, unexpected)
    });
    assert_eq!(adieu.0.failed().count(), 0, "seed {seed}:\n{}", adieu.0.story());
    assert_eq!(adieu.1, [""; 0], "PostgreSQL's log tells of unexpected ends; seed {seed}");
    assert!(
        !tini.1.is_empty(),
        "PostgreSQL noticed nothing under tini either, so this proves nothing; seed {seed}"
    );
}
