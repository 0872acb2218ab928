//! What adieu says: one line an event, on stderr, as text or JSON.
//!
//! Times count from the stop request, since that is the story one wants to read; before it a line has none. Writing
//! never waits: what nobody reads is dropped and counted (see [`crate::sys::stderr`]).

use crate::moment::Moment;
use crate::sys::Clock;
use crate::sys::stderr::{LONGEST_LINE, Stderr};
use env_filter::Filter;
use log::{Level, Log, Metadata, Record};
use serde::Serialize;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    filter: Filter,
    json: bool,
    clock: Clock,
    state: Mutex<State>,
}

struct State {
    stderr: Stderr,
    stop_asked_at: Option<Moment>,
}

#[derive(Serialize)]
struct Line<'a> {
    /// Seconds since 1970.
    ts: f64,
    level: &'a str,
    /// Seconds since the stop request.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_stop: Option<f64>,
    msg: &'a str,
}

/// Makes the log macros speak. `filter` is in RUST_LOG's notation; what cannot be read in it is left out.
pub fn start(filter: &str, json: bool, clock: Clock) {
    let mut builder = env_filter::Builder::new();
    // What speaks of the app's own modules alone (RUST_LOG=my_app=debug) leaves adieu as it is.
    builder.filter_level(log::LevelFilter::Info);
    // RUST_LOG is the app's, too, and may be in a richer notation than ours: what cannot be read changes nothing.
    let _ = builder.try_parse(filter);
    let filter = builder.build();
    let level = filter.filter();
    let state = Mutex::new(State { stderr: Stderr::open(), stop_asked_at: None });
    let logger = LOGGER.get_or_init(|| Logger { filter, json, clock, state });
    // A second start within one process would find the first one's logger; adieu starts it once.
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// From here on lines carry the time since the stop was asked for.
pub fn stop_asked(at: Moment) {
    if let Some(logger) = LOGGER.get() {
        logger.state().stop_asked_at = Some(at);
    }
}

/// How many lines were dropped because nobody read them.
pub fn lines_lost() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.state().stderr.lost())
}

/// The descriptor that lines go to, when it is one of adieu's own.
pub fn descriptor() -> Option<BorrowedFd<'static>> {
    LOGGER.get().and_then(|logger| logger.state().stderr.descriptor())
}

/// Says why adieu does not start; for the time before [`start`].
pub fn refusal(why: &str) {
    Stderr::open().write(one_line(&format!("adieu: {why}")).as_bytes());
}

impl Logger {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record) {
        if !self.filter.matches(record) {
            return;
        }
        let now = self.clock.now();
        let mut state = self.state();
        let since_stop = state.stop_asked_at.map(|at| now.since(at));
        let message = record.args().to_string();
        let line = match self.json {
            true => json(record.level(), since_stop, &message),
            false => text(record.level(), since_stop, &message),
        };
        state.stderr.write(one_line(&line).as_bytes());
    }

    fn flush(&self) {}
}

fn text(level: Level, since_stop: Option<Duration>, message: &str) -> String {
    let time = since_stop.map_or_else(String::new, |at| format!("{:.1}s  ", at.as_secs_f64()));
    let weight = match level {
        Level::Warn => "warning: ",
        Level::Error | Level::Info | Level::Debug | Level::Trace => "",
    };
    format!("adieu: {time}{weight}{message}")
}

fn json(level: Level, since_stop: Option<Duration>, message: &str) -> String {
    let ts = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let rounded = |seconds: f64| (seconds * 1000.0).round() / 1000.0;
    let since_stop = since_stop.map(|at| rounded(at.as_secs_f64()));
    let level = level.as_str().to_ascii_lowercase();
    let line = Line { ts: rounded(ts), level: &level, since_stop, msg: message };
    // A struct of numbers and strings can always be written.
    serde_json::to_string(&line).unwrap_or_default()
}

/// One line with its newline: control characters of foreign text made harmless, and never longer than a pipe takes whole.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = line.len().min(LONGEST_LINE - 1);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line.truncate(end);
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_however_long_and_strange_its_text() {
        let line = one_line(&format!("a\nb\x1b[31m{}", "ü".repeat(5000)));
        assert!(line.len() <= LONGEST_LINE);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(!line.contains('\x1b'));
    }

    #[test]
    fn json_lines_can_be_read_back() {
        let line = json(Level::Info, Some(Duration::from_millis(1500)), "a \"quoted\" word");
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["msg"], "a \"quoted\" word");
        assert_eq!(value["since_stop"], 1.5);
        assert_eq!(value["level"], "info");
    }
}
