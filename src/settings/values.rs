//! How single values are written: durations, signals, schedules, targets. Every error says what
//! would be right.

use super::list::{self, Id, ValueKind};
use super::{HttpTarget, Target};
use crate::lifecycle::{Schedule, Step, Wait};
use crate::moment::show_duration;
use crate::signal::Signal;
use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The longest duration that any setting takes: a year.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// A duration: `5s`, `500ms`, `1m30s`, `1.5s`; a bare number is seconds.
///
/// # Errors
/// What would be right.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("'{text}' is no duration; write 5s, 500ms or 1m30s");
    let text = text.trim();
    if let Ok(seconds) = number(text) {
        return bounded(seconds).ok_or_else(wrong);
    }
    let (mut total, mut rest, mut last_unit) = (0.0, text, f64::INFINITY);
    while !rest.is_empty() {
        let (digits, behind) = leading(rest, |c| c.is_ascii_digit() || c == '.');
        let (name, behind) = leading(behind, |c| c.is_ascii_alphabetic());
        let unit = match name {
            "h" => 3600.0,
            "m" | "min" => 60.0,
            "s" | "sec" => 1.0,
            "ms" => 0.001,
            "us" => 0.000_001,
            _ => return Err(wrong()),
        };
        if unit >= last_unit {
            return Err(wrong());
        }
        total += number(digits).map_err(|()| wrong())? * unit;
        (rest, last_unit) = (behind, unit);
    }
    if last_unit.is_infinite() { Err(wrong()) } else { bounded(total).ok_or_else(wrong) }
}

/// The longest beginning of such characters, and the rest.
fn leading(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at_checked(text.find(|c| !belongs(c)).unwrap_or(text.len())).unwrap_or((text, ""))
}

/// Digits with at most one point, and no other notation of Rust's floats.
fn number(text: &str) -> Result<f64, ()> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if plain { text.parse().map_err(drop) } else { Err(()) }
}

fn bounded(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64((seconds * 1e6).round() / 1e6).ok().filter(|length| *length <= LONGEST)
}

/// A signal: `TERM`, `SIGTERM`, `15`, `RTMIN+3`.
pub fn signal(text: &str) -> Result<Signal, String> {
    text.parse().map_err(|_| format!("'{text}' is no signal; write TERM, SIGTERM, 15 or RTMIN+3"))
}

/// A signal that can be caught: not KILL and not STOP.
pub fn catchable(text: &str) -> Result<Signal, String> {
    match signal(text)? {
        signal if !signal.is_catchable() => {
            Err(format!("'{text}' cannot be caught by any process (signal(7)); write another"))
        }
        signal => Ok(signal),
    }
}

/// A signal that may be a stop request.
pub fn request(text: &str) -> Result<Signal, String> {
    match catchable(text)? {
        Signal::CHLD => Err(format!("'{text}' comes from adieu's own children and cannot be a stop request")),
        signal => Ok(signal),
    }
}

/// A stop schedule in start-stop-daemon's notation: signals, and times between them. `kill-1s` as a
/// time is 1 s before the kill. `none` sends nothing.
pub fn schedule(text: &str) -> Result<Schedule, String> {
    let wrong = |what: String| format!("schedule '{text}': {what}; write TERM or QUIT/20s/TERM");
    if text.trim() == "none" {
        return Ok(Schedule::Silent);
    }
    let mut steps: Vec<Step> = Vec::new();
    for (index, part) in text.split('/').map(str::trim).enumerate() {
        if index % 2 == 0 {
            let signal = signal(part.strip_prefix('-').unwrap_or(part))
                .map_err(|_| wrong(format!("'{part}' is no signal")))?;
            steps.push(Step { signal, wait: Wait::For(Duration::ZERO) });
        } else {
            let wait = wait(part).map_err(|_| wrong(format!("'{part}' is no duration")))?;
            steps.last_mut().ok_or_else(|| wrong("it begins with a wait".to_owned()))?.wait = wait;
        }
    }
    if text.split('/').count().is_multiple_of(2) {
        return Err(wrong(
            "it ends with a wait; after the last signal adieu waits until the kill".to_owned(),
        ));
    }
    Ok(Schedule::Steps(steps))
}

fn wait(text: &str) -> Result<Wait, String> {
    match text.strip_prefix("kill-") {
        Some(before) => duration(before).map(Wait::UntilBeforeKill),
        None => duration(text).map(Wait::For),
    }
}

/// A schedule in the notation of [`schedule`].
pub fn show_schedule(schedule: &Schedule) -> String {
    let steps = match schedule {
        Schedule::AsAsked => return "the signal of the stop request".to_owned(),
        Schedule::Silent => return "none".to_owned(),
        Schedule::Steps(steps) => steps,
    };
    let waited = |step: &Step| match step.wait {
        Wait::For(length) => format!("{}/{}/", step.signal, show_duration(length)),
        Wait::UntilBeforeKill(length) => format!("{}/kill-{}/", step.signal, show_duration(length)),
    };
    let Some((last, others)) = steps.split_last() else { return String::new() };
    format!("{}{}", others.iter().map(waited).collect::<String>(), last.signal)
}

/// `USR1:HUP`, numbers as well; `USR1:0` drops it.
pub fn rewrite(text: &str) -> Result<(Signal, Option<Signal>), String> {
    let wrong = || format!("'{text}' is no rewrite; write FROM:TO as in USR1:HUP, or USR1:0 to drop it");
    let (from, to) = text.split_once(':').ok_or_else(wrong)?;
    let from = catchable(from).map_err(|_| wrong())?;
    let to = if to.trim() == "0" { None } else { Some(signal(to).map_err(|_| wrong())?) };
    Ok((from, to))
}

/// An exit status, 0 to 255.
pub fn status(text: &str) -> Result<u8, String> {
    text.trim().parse().map_err(|_| format!("'{text}' is no exit status; write a number from 0 to 255"))
}

/// A port, 1 to 65535.
pub fn port(text: &str) -> Result<u16, String> {
    match text.trim().parse() {
        Ok(port) if port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(format!("'{text}' is no port; write a number from 1 to 65535")),
    }
}

/// `auto`, `off` or a port; `None` for `auto`, `Some(None)` for `off`.
pub fn close_connections(text: &str) -> Result<Option<Option<u16>>, String> {
    match text.trim() {
        "auto" => Ok(None),
        "off" => Ok(Some(None)),
        _ => match port(text) {
            Ok(port) => Ok(Some(Some(port))),
            Err(_) => Err(format!("'{text}' is neither auto, off nor a port from 1 to 65535")),
        },
    }
}

/// A switch: `true`, `yes`, `on`, `1` and their opposites.
pub fn switch(text: &str) -> Result<bool, String> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" | "" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

/// One of some words.
pub fn one_of<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text.trim()));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("'{text}' is not known; write {}", list_or(&all))
    })
}

/// One of the words that a setting's row allows.
pub fn word(id: Id, text: &str) -> Result<&'static str, String> {
    let choices = list::by_id(id).kind().map_or(Vec::new(), ValueKind::choices);
    let words: Vec<_> = choices.into_iter().map(|word| (word, word)).collect();
    one_of(text, &words)
}

/// `a, b or c`
pub fn list_or(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// An address to listen on: `0.0.0.0:8086`, `[::]:8086`, `:8086` (all addresses).
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let all = text.strip_prefix(':').map(|port| format!("0.0.0.0:{port}"));
    address(all.as_deref().unwrap_or(text))
        .ok_or_else(|| format!("'{text}' is no address to listen on; write 0.0.0.0:8086, [::]:8086 or :8086"))
}

/// IP addresses and localhost; adieu resolves no other names.
fn address(text: &str) -> Option<SocketAddr> {
    let address = match text.rsplit_once(':') {
        Some(("localhost", port)) => SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.parse().ok()?),
        Some(_) | None => text.parse().ok()?,
    };
    Some(address)
}

/// A readiness check, drain check or hook: `exec:CMD ARG...`, `http://...`, `post:http://...`,
/// `tcp://HOST:PORT`, `notify`.
///
/// # Errors
/// What would be right. curl takes https, and hosts other than IP addresses and localhost.
pub fn target(text: &str) -> Result<Target, String> {
    let text = text.trim();
    if text == "notify" {
        return Ok(Target::Notify);
    }
    if let Some(command) = text.strip_prefix("exec:") {
        let words =
            shlex::split(command).ok_or_else(|| format!("'{text}' has a quote that is not closed"))?;
        if words.is_empty() {
            return Err(format!("'{text}' names no command; write exec:CMD ARG"));
        }
        return Ok(Target::Exec(words.into_iter().map(OsString::from).collect()));
    }
    if let Some(place) = text.strip_prefix("tcp://") {
        return address(place)
            .map(Target::Tcp)
            .ok_or_else(|| format!("'{text}': write tcp://127.0.0.1:8080, with an IP address or localhost"));
    }
    let (method, url) = match text.strip_prefix("post:") {
        Some(url) => ("POST", url),
        None => ("GET", text),
    };
    if url.starts_with("http://") || url.starts_with("https://") {
        return http(method, url);
    }
    Err(format!(
        "'{text}' is not understood; write exec:CMD ARG, http://HOST:PORT/PATH, tcp://HOST:PORT or notify"
    ))
}

fn http(method: &'static str, url: &str) -> Result<Target, String> {
    let Some(rest) = url.strip_prefix("http://") else {
        return Ok(through_curl(method, url));
    };
    let (host, path) = leading(rest, |c| c != '/' && c != '?');
    let path = path.split('#').next().unwrap_or_default();
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let bad = |c: char| c.is_ascii_control() || c == ' ';
    if host.is_empty() || host.contains('@') || url.contains(bad) {
        return Err(format!("'{url}' is no URL; write http://127.0.0.1:8080/health"));
    }
    // A colon inside an IPv6 address does not begin a port.
    let has_port = host.rsplit_once(':').is_some_and(|(before, port)| {
        let address_is_whole = !before.contains(':') || before.ends_with(']');
        address_is_whole && !port.is_empty()
    });
    let with_port = if has_port { host.to_owned() } else { format!("{host}:80") };
    match address(&with_port) {
        Some(addr) => Ok(Target::Http(HttpTarget { method, addr, host: host.to_owned(), path })),
        None if with_port.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_err()) => {
            Err(format!("'{url}' has no valid port; write http://127.0.0.1:8080/health"))
        }
        None => Ok(through_curl(method, url)),
    }
}

/// curl does TLS and resolves names.
fn through_curl(method: &str, url: &str) -> Target {
    let words =
        ["curl", "--silent", "--show-error", "--fail", "--output", "/dev/null", "--request", method, url];
    Target::Exec(words.iter().map(OsString::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("7", 7000),
            ("1.5s", 1500),
            ("0", 0),
            ("1h", 3_600_000),
            ("0.25", 250),
            (" 2s ", 2000),
            ("2min1sec", 121_000),
            ("2000us", 2),
            ("8784h", 366 * 24 * 3_600_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "5x",
            "-1",
            "5 s",
            "1s2m",
            "1s1s",
            "inf",
            "nan",
            "1e3",
            "5ss",
            "..",
            "99999999999h",
            "8784h1s",
            "٣s",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_shown_as_they_are_written() {
        for text in ["0s", "500ms", "2.5s", "5s", "1m30s", "2m", "90m", "1m0.25s"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn schedules_follow_start_stop_daemon() {
        let shown = |text: &str| show_schedule(&schedule(text).unwrap());
        assert_eq!(shown("TSTP/15s/TERM/5/-INT"), "TSTP/15s/TERM/5s/INT");
        assert_eq!(shown("QUIT/kill-1/TERM"), "QUIT/kill-1s/TERM");
        assert_eq!(shown("none"), "none");
        for text in [
            "QUIT/kill-/TERM",
            "QUIT/kill/TERM",
            "none/5s/TERM",
            "",
            "TERM/",
            "TERM/5s",
            "5s/TERM",
            "TERM//INT",
            "TERM/5s/NOPE",
        ] {
            assert!(schedule(text).is_err(), "{text}");
        }
    }

    #[test]
    fn some_signals_cannot_be_caught_and_one_cannot_ask_for_a_stop() {
        for (text, can_be_caught, can_ask) in
            [("KILL", false, false), ("SIGSTOP", false, false), ("CHLD", true, false), ("15", true, true)]
        {
            assert_eq!((catchable(text).is_ok(), request(text).is_ok()), (can_be_caught, can_ask), "{text}");
        }
        assert_eq!(rewrite("USR1:HUP"), Ok((Signal::USR1, Some(Signal::HUP))));
        assert_eq!(rewrite("USR1: 0"), Ok((Signal::USR1, None)));
        assert!(rewrite("KILL:HUP").is_err() && rewrite("HUP:NOPE").is_err() && rewrite("HUP").is_err());
    }

    #[test]
    fn numbers_have_their_bounds() {
        assert_eq!([port("1"), port(" 65535 ")], [Ok(1), Ok(65535)]);
        assert_eq!([status("0"), status("255")], [Ok(0), Ok(255)]);
        for text in ["0", "65536", "-1", "", "http"] {
            assert!(port(text).is_err(), "{text}");
        }
        for text in ["256", "-1", ""] {
            assert!(status(text).is_err(), "{text}");
        }
    }

    #[test]
    fn targets_without_a_name_to_look_up_are_asked_by_adieu_itself() {
        let plain = |text: &str| match target(text).unwrap() {
            Target::Http(http) => {
                format!("{} {} {} {}", http.method, http.addr, http.host, http.path)
            }
            other => format!("{other:?}"),
        };
        assert_eq!(plain("http://127.0.0.1:8080/health"), "GET 127.0.0.1:8080 127.0.0.1:8080 /health");
        assert_eq!(plain("post:http://localhost/x?y=1"), "POST 127.0.0.1:80 localhost /x?y=1");
        assert_eq!(plain("http://[::1]:81?q"), "GET [::1]:81 [::1]:81 /?q");
        assert_eq!(plain("http://[::1]/"), "GET [::1]:80 [::1] /");
        assert_eq!(plain("tcp://localhost:5432"), "Tcp(127.0.0.1:5432)");
        assert!(plain("https://example.org/").contains("curl"));
        assert!(plain("http://service.internal:80/").contains("curl"));
        assert!(plain("http://localhost:/").contains("curl"), "an empty port is the usual one");
    }

    #[test]
    fn targets_that_make_no_sense_are_refused() {
        for text in [
            "",
            "exec:",
            "exec:'a",
            "tcp://nowhere",
            "tcp://host:80",
            "ftp://x",
            "http://",
            "http:// x/",
            "http://127.0.0.1:99999/",
            "http://127.0.0.1:8O8O/",
            "http://[::1]:http/",
            "http://service.internal:web/",
            "http://a@b/",
        ] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
