//! The progress of a rehearsal: a line for each step and, on a terminal, a clock during the stop.
//! It goes to stderr, because stdout is for the result.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

pub(crate) struct Progress {
    output: ProgressOutput,
    begun: Instant,
    last_tick: Mutex<Option<u64>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ProgressOutput {
    Silent,
    Lines,
    Terminal,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Progress {
        let output = match (quiet, stderr().is_terminal()) {
            (true, _) => ProgressOutput::Silent,
            (false, true) => ProgressOutput::Terminal,
            (false, false) => ProgressOutput::Lines,
        };
        Progress { output, begun: Instant::now(), last_tick: Mutex::new(None) }
    }

    /// Prints one step.
    pub(crate) fn say(&self, what: &str) {
        let erase = match self.output {
            ProgressOutput::Silent => return,
            ProgressOutput::Lines => "",
            ProgressOutput::Terminal => "\r\x1b[K",
        };
        // If nobody reads stderr any more, the result on stdout still counts.
        let _unread = writeln!(stderr(), "{erase}{:5.1} s  {what}", self.begun.elapsed().as_secs_f64());
    }

    /// Redraws the clock of the stop in place, ten times a second.
    pub(crate) fn clock(&self, label: &str, since: Duration, grace: Duration) {
        if self.output != ProgressOutput::Terminal {
            return;
        }
        let tick = since.as_millis() as u64 / 100;
        let Ok(mut last) = self.last_tick.lock() else {
            return;
        };
        if *last == Some(tick) {
            return;
        }
        *last = Some(tick);
        let width = 30;
        let done = (since.as_millis() * width / grace.as_millis().max(1)).min(width) as usize;
        let bar = format!("{}{}", "=".repeat(done), " ".repeat(width as usize - done));
        let _unread = write!(
            stderr(),
            "\r\x1b[K{:5.1} s  {label}: stopping [{bar}] {:.1} of {} s",
            self.begun.elapsed().as_secs_f64(),
            since.as_secs_f64(),
            grace.as_secs()
        );
        let _unflushed = stderr().flush();
    }
}
