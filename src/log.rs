//! The log: one line for each event, on stderr, as text or JSON.
//!
//! Times count from the stop request, since operators read the log to understand a stop; lines
//! before it have none. A JSON line also has the phase and the fields of its event (`info!(event =
//! "stopped", status = 0; "...")`). Writing never waits: lines that nobody reads are dropped and
//! counted (see [`crate::sys::stderr`]).

use crate::moment::Moment;
use crate::sys::Clock;
use crate::sys::stderr::{LONGEST_LINE, Stderr};
use env_filter::Filter;
use log::kv::{self, Key, VisitSource};
use log::{Level, Log, Metadata, Record};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::fmt::{self, Write as _};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Room for most lines.
const USUAL_LINE: usize = 256;

static LOGGER: OnceLock<Logger> = OnceLock::new();

struct Logger {
    filter: Filter,
    json: bool,
    clock: Clock,
    state: Mutex<Output>,
}

struct Output {
    stderr: Stderr,
    stop_asked_at: Option<Moment>,
    phase: &'static str,
    /// What is to be written before the next line.
    deferred: Vec<Box<dyn FnOnce() + Send>>,
}

/// A line of JSON, in the order of its keys.
struct JsonLine<'a> {
    time: SystemTime,
    level: Level,
    phase: &'static str,
    since_stop: Option<Duration>,
    message: &'a str,
    fields: Fields,
}

/// The fields of a line's event.
#[derive(Default)]
struct Fields(Vec<(String, Value)>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: kv::Value<'kvs>) -> Result<(), kv::Error> {
        let text = || Value::from(value.to_string());
        let value = value.to_bool().map(Value::from).or_else(|| value.to_i64().map(Value::from));
        self.0.push((key.as_str().to_owned(), value.unwrap_or_else(text)));
        Ok(())
    }
}

impl Serialize for JsonLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("time", &rfc3339(self.time))?;
        map.serialize_entry("level", &self.level.as_str().to_ascii_lowercase())?;
        map.serialize_entry("phase", self.phase)?;
        if let Some(since_stop) = self.since_stop {
            let seconds = (since_stop.as_secs_f64() * 1000.0).round() / 1000.0;
            map.serialize_entry("seconds", &seconds)?;
        }
        for (name, value) in &self.fields.0 {
            map.serialize_entry(name, value)?;
        }
        map.serialize_entry("message", self.message)?;
        map.end()
    }
}

/// Starts the logger. `filter` is in RUST_LOG's notation; parts that cannot be read are left out.
pub(crate) fn start(filter: &str, json: bool, clock: Clock) {
    let mut builder = env_filter::Builder::new();
    // A filter for the app's own modules (RUST_LOG=my_app=debug) changes nothing here.
    builder.filter_level(log::LevelFilter::Info);
    // RUST_LOG is for the app too, and may be in a richer notation: what cannot be read changes
    // nothing.
    let _ = builder.try_parse(filter);
    let filter = builder.build();
    let level = filter.filter();
    let state = Mutex::new(Output {
        stderr: Stderr::open(),
        stop_asked_at: None,
        phase: "starting",
        deferred: vec![],
    });
    let logger = LOGGER.get_or_init(|| Logger { filter, json, clock, state });
    // A second start within one process would find the first one's logger; adieu starts it once.
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// From here on lines carry the time since the stop request.
pub(crate) fn stop_asked(at: Moment) {
    if let Some(logger) = LOGGER.get() {
        logger.state().stop_asked_at = Some(at);
    }
}

/// From here on lines of JSON carry the name of this phase.
pub(crate) fn phase(phase: &'static str) {
    if let Some(logger) = LOGGER.get() {
        logger.write_deferred();
        logger.state().phase = phase;
    }
}

/// Leaves a line for later, so that something else comes first: it is written before the next line,
/// or by [`write_deferred`].
pub(crate) fn defer(write: impl FnOnce() + Send + 'static) {
    match LOGGER.get() {
        Some(logger) => logger.state().deferred.push(Box::new(write)),
        None => write(),
    }
}

/// Whether a line was left for later.
pub(crate) fn has_deferred() -> bool {
    LOGGER.get().is_some_and(|logger| !logger.state().deferred.is_empty())
}

/// Writes what was left for later.
pub(crate) fn write_deferred() {
    if let Some(logger) = LOGGER.get() {
        logger.write_deferred();
    }
}

/// How many lines were dropped because nobody read them.
pub(crate) fn lines_lost() -> u64 {
    LOGGER.get().map_or(0, |logger| logger.state().stderr.lost())
}

/// The descriptor that lines go to, when it is one of adieu's own.
pub(crate) fn descriptor() -> Option<BorrowedFd<'static>> {
    LOGGER.get().and_then(|logger| logger.state().stderr.descriptor())
}

/// Logs why adieu does not start, before [`start`].
pub(crate) fn refusal(why: &str) {
    Stderr::open().write(one_line(format!("adieu: {why}")).as_bytes());
}

impl Logger {
    fn state(&self) -> MutexGuard<'_, Output> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_deferred(&self) {
        let deferred = std::mem::take(&mut self.state().deferred);
        // Each comes back to this logger, which must not be locked then.
        deferred.into_iter().for_each(|write| write());
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
        self.write_deferred();
        let mut state = self.state();
        let since_stop = state.stop_asked_at.map(|at| self.clock.now().since(at));
        let line = match self.json {
            true => {
                let message = record.args().to_string();
                let mut fields = Fields::default();
                // Collecting into a list cannot fail.
                let _ = record.key_values().visit(&mut fields);
                let (time, level) = (SystemTime::now(), record.level());
                JsonLine { time, level, phase: state.phase, since_stop, message: &message, fields }.json()
            }
            false => text(record.level(), since_stop, record.args()),
        };
        state.stderr.write(one_line(line).as_bytes());
    }

    fn flush(&self) {}
}

fn text(level: Level, since_stop: Option<Duration>, message: &fmt::Arguments) -> String {
    let mut line = String::with_capacity(USUAL_LINE);
    line.push_str("adieu: ");
    // Writing to a String cannot fail.
    if let Some(at) = since_stop {
        let tenths = at.as_millis().saturating_add(50) as u64 / 100;
        let _ = write!(line, "{}.{}s  ", tenths / 10, tenths % 10);
    }
    if level == Level::Warn {
        line.push_str("warning: ");
    }
    let _ = line.write_fmt(*message);
    line
}

impl JsonLine<'_> {
    fn json(&self) -> String {
        // Numbers and strings can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A time as [RFC 3339] has it, in UTC with milliseconds: `2026-11-24T18:00:00.123Z`. The clock may
/// be set to anything: what is before 1970 is 1970.
///
/// [RFC 3339]: https://www.rfc-editor.org/rfc/rfc3339
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// Year, month and day in the Gregorian calendar, from days since 1970: whole eras of 400 years
/// first, each beginning on 1 March, so that the leap day is the last one of a year.
#[allow(clippy::arithmetic_side_effects, reason = "below 2^48 days nothing overflows")]
fn date(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    // 1 March of the year 0 is 719,468 days before 1970.
    let days = days.saturating_add(719_468);
    let (era, day) = (days / ERA, days % ERA);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + next_year, month, day)
}

/// One line with its newline: control characters of foreign text made harmless, and never longer
/// than a pipe takes whole.
fn one_line(mut line: String) -> String {
    // Those beyond ASCII all begin with C2 in UTF-8.
    if line.bytes().any(|byte| byte.is_ascii_control() || byte == 0xC2) {
        line = line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    }
    let mut end = line.len().min(LONGEST_LINE - 1);
    while !line.is_char_boundary(end) {
        end = end.saturating_sub(1);
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
        let line = one_line(format!("a\nb\x1b[31m\u{85}{}", "ü".repeat(5000)));
        assert!(line.len() <= LONGEST_LINE);
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.starts_with("a b [31m ü"), "{line}");
    }

    #[test]
    fn json_lines_can_be_read_back() {
        let fields = Fields(vec![("event".to_owned(), "stopped".into()), ("cut_off".to_owned(), 3.into())]);
        let (time, since_stop) = (UNIX_EPOCH, Some(Duration::from_millis(1500)));
        let message = "a \"quoted\" word";
        let line = JsonLine { time, level: Level::Info, phase: "pre-stop", since_stop, message, fields };
        let expected =
            r#"{"time":"1970-01-01T00:00:00.000Z","level":"info","phase":"pre-stop","seconds":1.5,"#;
        let expected =
            expected.to_owned() + r#""event":"stopped","cut_off":3,"message":"a \"quoted\" word"}"#;
        assert_eq!(line.json(), expected);
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (951_868_799, "2000-02-29T23:59:59.000Z"),
            (951_868_800, "2000-03-01T00:00:00.000Z"),
            (1_795_543_445, "2026-11-24T18:04:05.000Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000Z"),
            (4_107_542_400, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)), "1970-01-01T00:00:00.000Z");
    }
}
