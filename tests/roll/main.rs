//! The proof on real parts that nobody is cut off: unmodified servers, each wrapped as PID 1 of a namespace of its own, are
//! replaced one after another under load, as a rolling deploy does, with default settings. No request may fail. The same roll
//! under tini loses requests, so that the proof can fail. `ADIEU_FULL=1` takes every app in every way.

#[path = "../harness/mod.rs"]
mod harness;

mod apps;
mod client;
mod dice;
mod haproxy;
mod load;
mod net;
mod rolling;
mod table;

use harness::Init;
use rolling::Way;

/// Whether everything is at hand that a roll needs.
fn possible() -> Result<(), String> {
    harness::root()?;
    harness::pid_namespaces()?;
    ["ip", "haproxy", "nginx", "node"].into_iter().try_for_each(harness::program)?;
    Init::Tini.present()?;
    apps::toolbox().map(|_| ())
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
const SELECTION: [(&str, Way); 6] = [
    ("http-server", Way::Clients),
    ("shell", Way::Late),
    ("nginx-proxy", Way::Late),
    ("node", Way::Health),
    ("gunicorn", Way::Health),
    ("go-shutdown", Way::Clients),
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
