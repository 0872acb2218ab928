//! The pages of the health endpoint, rendered from a view of the whole. Pure: the same view and
//! time give the same text.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use crate::lifecycle::Phase;
use crate::moment::Moment;
use crate::settings::Origin;

/// The state of adieu and its app at one moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Where in its life the app is.
    pub phase: Phase,
    /// When the phase began.
    pub since: Moment,
    /// Whether traffic should come, or why it should not, in one line.
    pub ready: Result<(), &'a str>,
    /// The app's pid, while it lives.
    pub app: Option<i32>,
    /// Whether the app has not ended.
    pub app_alive: bool,
    /// Requests in flight at the last look; `None` without one.
    pub in_flight: Option<usize>,
    /// Connections judged idle at the last look; `None` without one.
    pub judged_idle: Option<usize>,
    /// The last look could see nothing.
    pub not_seen: bool,
    /// Requests seen answered since the stop request.
    pub answered: u64,
    /// Connections that closed with a request in flight since the stop request.
    pub closed: u64,
    /// Clients let go between two of their requests.
    pub let_go: u64,
    /// Orphans reaped since the start.
    pub reaped: u64,
    /// Signals sent to the app since the start.
    pub signals_forwarded: u64,
    /// The settings' values, and where each came from.
    pub settings: &'a [(&'static str, String, Origin)],
}

/// The pages, and the answers to bad requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// `/readyz`
    Ready,
    /// `/livez`
    Alive,
    /// `/status`
    Status,
    /// `/metrics`
    Metrics,
    /// There is no such page.
    NotFound,
    /// Neither GET nor HEAD.
    NotAllowed,
    /// No HTTP request.
    Bad,
    /// A request that is too long.
    TooLarge,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// The format's version: <https://prometheus.io/docs/instrumenting/exposition_formats/>.
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Page {
    /// The page at a path.
    pub fn at(path: &str) -> Page {
        match path {
            "/readyz" | "/health/ready" => Page::Ready,
            "/livez" | "/health/live" => Page::Alive,
            "/status" => Page::Status,
            "/metrics" => Page::Metrics,
            _ => Page::NotFound,
        }
    }

    /// Status line without the version, content type, body.
    pub fn render(self, now: Moment, view: &View) -> (&'static str, &'static str, String) {
        const OK: &str = "200 OK";
        const UNAVAILABLE: &str = "503 Service Unavailable";
        let line = |status, words: &str| (status, TEXT, format!("{words}\n"));
        match self {
            Page::Ready => match view.ready {
                Ok(()) => line(OK, "ready"),
                Err(reason) => line(UNAVAILABLE, &format!("not ready: {reason}")),
            },
            Page::Alive if view.app_alive => line(OK, "alive"),
            Page::Alive => line(UNAVAILABLE, "the app has ended"),
            Page::Status => (OK, JSON, status(now, view)),
            Page::Metrics => (OK, METRICS, metrics(now, view)),
            Page::NotFound => {
                line("404 Not Found", "not found; there are /readyz, /livez, /status and /metrics")
            }
            Page::NotAllowed => line("405 Method Not Allowed", "GET or HEAD"),
            Page::Bad => line("400 Bad Request", "this is no HTTP request"),
            Page::TooLarge => line("431 Request Header Fields Too Large", "at most 4 KiB"),
        }
    }
}

/// `/status`, in the order of its keys. Times are seconds.
#[derive(Serialize)]
struct Status<'a> {
    phase: &'static str,
    /// How long the phase has lasted, and adieu has been running.
    since_seconds: f64,
    uptime_seconds: f64,
    ready: bool,
    reason: Option<&'a str>,
    app_pid: Option<i32>,
    app_alive: bool,
    in_flight: Option<usize>,
    judged_idle: Option<usize>,
    not_seen: bool,
    answered: u64,
    closed: u64,
    let_go: u64,
    reaped: u64,
    signals_forwarded: u64,
    version: &'static str,
    settings: ShownSettings<'a>,
}

struct ShownSettings<'a>(&'a [(&'static str, String, Origin)]);

#[derive(Serialize)]
struct ShownSetting<'a> {
    value: &'a str,
    origin: String,
}

impl Serialize for ShownSettings<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value, origin) in self.0 {
            map.serialize_entry(name, &ShownSetting { value, origin: origin.to_string() })?;
        }
        map.end()
    }
}

fn status(now: Moment, view: &View) -> String {
    let status = Status {
        phase: view.phase.name(),
        since_seconds: seconds(now.since(view.since)),
        uptime_seconds: seconds(now.since_start()),
        ready: view.ready.is_ok(),
        reason: view.ready.err(),
        app_pid: view.app,
        app_alive: view.app_alive,
        in_flight: view.in_flight,
        judged_idle: view.judged_idle,
        not_seen: view.not_seen,
        answered: view.answered,
        closed: view.closed,
        let_go: view.let_go,
        reaped: view.reaped,
        signals_forwarded: view.signals_forwarded,
        version: env!("CARGO_PKG_VERSION"),
        settings: ShownSettings(view.settings),
    };
    // Strings and numbers always have a JSON form.
    let mut json = serde_json::to_string(&status).unwrap_or_default();
    json.push('\n');
    json
}

/// Rounded to milliseconds.
fn seconds(time: Duration) -> f64 {
    time.as_millis() as f64 / 1000.0
}

fn metrics(now: Moment, view: &View) -> String {
    let mut text = String::new();
    let mut put = |name: &str, kind: &str, help: &str, value: f64| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
    };
    put("adieu_ready", "gauge", "Whether /readyz says 200.", f64::from(u8::from(view.ready.is_ok())));
    put("adieu_app_alive", "gauge", "Whether the app runs.", f64::from(u8::from(view.app_alive)));
    put("adieu_uptime_seconds", "gauge", "How long adieu has been running.", seconds(now.since_start()));
    let since = seconds(now.since(view.since));
    put("adieu_phase_seconds", "gauge", "How long the phase has lasted.", since);
    if let Some(in_flight) = view.in_flight {
        put("adieu_in_flight", "gauge", "Requests in flight at the last look.", in_flight as f64);
    }
    if let Some(idle) = view.judged_idle {
        put("adieu_judged_idle", "gauge", "Connections judged idle at the last look.", idle as f64);
    }
    let not_seen = f64::from(u8::from(view.not_seen));
    put("adieu_not_seen", "gauge", "Whether the last look could see no connections.", not_seen);
    let answered = view.answered as f64;
    put("adieu_answered_total", "counter", "Requests seen answered since the stop request.", answered);
    let closed = view.closed as f64;
    put(
        "adieu_closed_in_flight_total",
        "counter",
        "Connections that closed with a request in flight.",
        closed,
    );
    let let_go = view.let_go as f64;
    put("adieu_let_go_total", "counter", "Clients let go between two of their requests.", let_go);
    put("adieu_reaped_total", "counter", "Orphans reaped.", view.reaped as f64);
    let forwarded = view.signals_forwarded as f64;
    put("adieu_signals_forwarded_total", "counter", "Signals forwarded to the app.", forwarded);
    text.push_str("# HELP adieu_phase Where in its life the app is.\n# TYPE adieu_phase gauge\n");
    for &phase in Phase::ALL {
        let here = u8::from(phase == view.phase);
        let _ = writeln!(text, "adieu_phase{{phase=\"{}\"}} {here}", phase.name());
    }
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(
        text,
        "# HELP adieu_info What runs here.\n# TYPE adieu_info gauge\nadieu_info{{version=\"{version}\"}} 1"
    );
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn view<'a>(settings: &'a [(&'static str, String, Origin)]) -> View<'a> {
        View {
            phase: Phase::PreStop,
            since: Moment::at(Duration::from_millis(1500)),
            ready: Err("stopping \"now\""),
            app: Some(7),
            app_alive: true,
            in_flight: Some(3),
            judged_idle: Some(6),
            not_seen: false,
            answered: 8,
            closed: 1,
            let_go: 5,
            reaped: 12,
            signals_forwarded: 2,
            settings,
        }
    }

    #[test]
    fn the_status_is_json_in_a_fixed_order() {
        let settings =
            [("stop.grace", "30s".to_owned(), Origin::Default), ("x", "20s".to_owned(), Origin::Flag("x"))];
        let (status, kind, body) =
            Page::Status.render(Moment::at(Duration::from_millis(4000)), &view(&settings));
        assert_eq!((status, kind), ("200 OK", "application/json"));
        assert_eq!(
            body,
            "{\"phase\":\"pre-stop\",\"since_seconds\":2.5,\"uptime_seconds\":4.0,\"ready\":false,\
             \"reason\":\"stopping \\\"now\\\"\",\"app_pid\":7,\"app_alive\":true,\"in_flight\":3,\"judged_idle\":6,\"not_seen\":false,\
             \"answered\":8,\"closed\":1,\"let_go\":5,\"reaped\":12,\"signals_forwarded\":2,\"version\":\"0.1.0\",\
             \"settings\":{\"stop.grace\":{\"value\":\"30s\",\"origin\":\"default\"},\
             \"x\":{\"value\":\"20s\",\"origin\":\"flag --x\"}}}\n"
        );
    }

    #[test]
    fn metrics_tell_one_phase_and_each_name_once() {
        let (_, _, body) = Page::Metrics.render(Moment::at(Duration::from_secs(4)), &view(&[]));
        assert!(body.contains("\nadieu_in_flight 3\n"), "{body}");
        for line in ["judged_idle 6", "not_seen 0", "let_go_total 5", "closed_in_flight_total 1"] {
            assert!(body.contains(&format!("\nadieu_{line}\n")), "{body}");
        }
        assert!(body.contains("\nadieu_phase{phase=\"pre-stop\"} 1\n"), "{body}");
        let phases = body.lines().filter(|line| line.starts_with("adieu_phase{") && line.ends_with(" 1"));
        assert_eq!(phases.count(), 1);
        for name in body.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            assert_eq!(body.matches(&format!("# TYPE {name}")).count(), 1);
        }
    }
}
