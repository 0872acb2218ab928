//! What a roll has shown: every request's fate, every stop's time, and the story of both for
//! whoever has to find out why.

use std::time::{Duration, Instant};

use super::apps::Started;
use super::client::Fate;
use super::load::Request;
use crate::harness::End;

/// adieu's default.
pub const PRE_STOP: Duration = Duration::from_secs(5);

/// A server's stop, seen from outside.
pub struct Stop {
    pub port: u16,
    pub asked: Instant,
    pub took: Duration,
    pub end: End,
    /// When its endpoint was taken away, if the roll did that.
    pub removed: Option<Duration>,
    /// What the init said, and the app last.
    pub said: String,
}

impl Stop {
    /// Seconds from the stop request to this moment.
    fn at(&self, then: Instant) -> f64 {
        let after = then.saturating_duration_since(self.asked).as_secs_f64();
        after - self.asked.saturating_duration_since(then).as_secs_f64()
    }
}

pub struct Outcome {
    pub requests: Vec<Request>,
    pub stops: Vec<Stop>,
    /// The replacements; killed when this is dropped.
    pub survivors: Vec<Started>,
}

impl Outcome {
    pub fn failed(&self) -> impl Iterator<Item = &Request> {
        self.requests.iter().filter(|request| request.fate != Fate::Answered)
    }

    /// The requests that a server answered, well or not, after it was asked to stop.
    fn after<'a>(&'a self, stop: &'a Stop) -> impl Iterator<Item = &'a Request> {
        self.requests.iter().filter(|request| request.port == Some(stop.port) && request.ended > stop.asked)
    }

    /// How many requests were in flight at a server after its pre-stop sleep.
    pub fn outlasting(&self) -> usize {
        let outlasting =
            |stop| self.after(stop).filter(|request| request.ended > stop.asked + PRE_STOP).count();
        self.stops.iter().map(outlasting).sum()
    }

    /// How long each stop lasted after the last answer of that server, or after the pre-stop sleep.
    pub fn beyond_need(&self) -> Vec<Duration> {
        let beyond = |stop: &Stop| {
            let last = self.after(stop).map(|request| request.ended).max().unwrap_or(stop.asked);
            stop.took.saturating_sub(last.saturating_duration_since(stop.asked).max(PRE_STOP))
        };
        self.stops.iter().map(beyond).collect()
    }

    /// Everything that helps to find out why requests failed: those that did, and each stop with
    /// all that was said.
    pub fn story(&self) -> String {
        let failed = self.failed().map(|request| self.story_of_request(request));
        failed.chain(self.stops.iter().map(|stop| self.story_of_stop(stop))).collect()
    }

    fn story_of_request(&self, request: &Request) -> String {
        let Request { path, port, begun, ended, fate } = request;
        let port = port.map_or("an unknown port".to_string(), |port| format!(":{port}"));
        let when = match self.stops.iter().rfind(|stop| stop.asked <= *ended) {
            Some(stop) => format!(
                "{:.3} s to {:.3} s after the stop of :{}",
                stop.at(*begun),
                stop.at(*ended),
                stop.port
            ),
            None => "before any stop".to_string(),
        };
        format!("{fate}: {path} at {port}, {when}\n")
    }

    fn story_of_stop(&self, stop: &Stop) -> String {
        let Stop { port, end, said, .. } = stop;
        let removed =
            stop.removed.map_or(String::new(), |at| format!(", removed after {:.3} s", at.as_secs_f64()));
        let last = match self.after(stop).max_by_key(|request| request.ended) {
            Some(last) => {
                format!("{}, from {:.3} s to {:.3} s", last.path, stop.at(last.begun), stop.at(last.ended))
            }
            None => "none".to_string(),
        };
        let took = stop.took.as_secs_f64();
        format!("--- :{port} took {took:.3} s, {end:?}{removed}; last answer since: {last}\n{said}\n")
    }
}
