//! The app's process: its start, the signals that it gets, and its place at the terminal.

use crate::lifecycle::Plan;
use crate::moment::Moment;
use crate::process::{Exit, Pid};
use crate::settings::Settings;
use crate::signal::{Arrival, Signal};
use crate::sys::signals::{self, Inherited};
use crate::sys::spawn::{self, AppStart, Exec, SpawnError};
use crate::sys::terminal::{self, Terminal};
use crate::sys::{describe, is_init};
use log::{debug, warn};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::ffi::{CString, OsString, c_int};
use std::io::{self, ErrorKind};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

/// When to retry signals for an app whose queue was full.
const OFFER_AGAIN: Duration = Duration::from_millis(5);
/// When to retry a signal of the stop schedule that could not be sent.
const PAY_AGAIN: Duration = Duration::from_millis(100);
/// At most this many signals wait for an app that does not take them, also where the kernel would
/// queue more: 400 KiB.
const MOST_UNDELIVERED: usize = 16 * 1024;

/// Why the app was not started, and the status to exit with.
pub(super) struct StartFailure {
    pub message: String,
    pub status: c_int,
}

pub(super) struct App {
    /// None once it has been reaped: another process may get its number.
    pid: Option<Pid>,
    /// Its exec, until this is over.
    exec: Option<Exec>,
    exit: Option<Exit>,
    group: Pid,
    whole_group: bool,
    terminal: Option<Terminal>,
    /// Suspended from the terminal, together with its group.
    suspended: bool,
    /// Signals that found the app's queue full, in their order.
    undelivered: VecDeque<(Signal, Option<usize>)>,
    /// How many of them are kept at most, once asked; the oldest stay.
    most_undelivered: Option<usize>,
    /// How many were dropped.
    dropped: u64,
    offer_at: Option<Moment>,
    /// Signals of the stop schedule that could not be sent.
    owed: Vec<Signal>,
    pay_at: Option<Moment>,
    signals_sent: u64,
    /// Those sent since the last [`App::take_sent`].
    sent: Vec<Signal>,
}

impl App {
    pub(super) fn start(
        settings: &Settings,
        variables: Vec<CString>,
        inherited: Inherited,
    ) -> Result<App, StartFailure> {
        let argv =
            c_strings(&settings.command).ok_or_else(|| refused(125, "COMMAND contains a zero byte"))?;
        let terminal = Terminal::controlling();
        let hand_over = terminal.as_ref().filter(|tty| tty.is_ours() && !resizes_stop(&settings.plan));
        let started = spawn::app(AppStart {
            argv,
            variables,
            mask: inherited.mask,
            ignored_child: inherited.ignored_child,
            orphan_signal: settings.signals.orphan.filter(|_| !is_init()),
            foreground: hand_over.map(Terminal::descriptor),
        })
        .map_err(|error| explain(&settings.command, error))?;
        Ok(App {
            pid: Some(started.pid),
            exec: started.exec,
            exit: None,
            group: started.pid,
            whole_group: settings.signals.group,
            terminal,
            suspended: false,
            undelivered: VecDeque::new(),
            most_undelivered: None,
            dropped: 0,
            owed: Vec::new(),
            pay_at: None,
            offer_at: None,
            signals_sent: 0,
            sent: Vec::new(),
        })
    }

    /// Its pid, while it has not been reaped.
    pub(super) fn pid(&self) -> Option<Pid> {
        self.pid
    }

    /// The descriptors that adieu keeps open for it.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let terminal = self.terminal.as_ref().map(Terminal::descriptor);
        terminal.into_iter().chain(self.exec_descriptor()).collect()
    }

    /// Readable when its exec is over; `None` once adieu knows.
    pub(super) fn exec_descriptor(&self) -> Option<BorrowedFd<'_>> {
        self.exec.as_ref().map(Exec::descriptor)
    }

    /// Whether its exec is known to be over.
    pub(super) fn has_begun(&self) -> bool {
        self.exec.is_none()
    }

    /// Waits a moment for its exec, if that is not over.
    pub(super) fn settle(&mut self, settings: &Settings) -> Result<(), StartFailure> {
        let outcome = self.exec.as_mut().zip(self.pid).and_then(|(exec, pid)| exec.settle(pid));
        let Some(outcome) = outcome else { return Ok(()) };
        self.exec = None;
        outcome.map_err(|error| explain(&settings.command, SpawnError::Exec(error)))
    }

    /// It has become its command.
    pub(super) fn begun(&self, settings: &Settings) {
        if let Some(pid) = self.pid {
            debug!("started '{}' as pid {pid}", name(&settings.command));
        }
    }

    /// How its exec went, once.
    pub(super) fn take_exec(&mut self, settings: &Settings) -> Option<Result<(), StartFailure>> {
        let outcome = self.exec.as_mut()?.outcome()?;
        self.exec = None;
        Some(outcome.map_err(|error| explain(&settings.command, SpawnError::Exec(error))))
    }

    /// How it ended, once it has been reaped.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit
    }

    /// The number that it and its process group had from the start.
    pub(super) fn group(&self) -> Pid {
        self.group
    }

    pub(super) fn ended(&mut self, exit: Exit) {
        self.pid = None;
        self.exit = Some(exit);
        self.undelivered.clear();
        self.owed.clear();
        self.say_dropped();
        if let Some(terminal) = &self.terminal {
            terminal.take_back_from(self.group);
        }
    }

    /// Forwards a signal. Real-time signals are queued with their value, so that the kernel merges
    /// none.
    pub(super) fn forward(&mut self, arrival: Arrival, signal: Signal, now: Moment) {
        let value = arrival.value.or(signal.is_realtime().then_some(0));
        if !self.undelivered.is_empty() && value.is_some() {
            return self.keep(signal, value);
        }
        match self.deliver(signal, value) {
            Err(error) if value.is_some() && is_full(&error) => {
                self.keep(signal, value);
                self.offer_at = Some(now + OFFER_AGAIN);
            }
            delivered => complain(signal, delivered),
        }
    }

    /// Keeps a signal for which the app's queue has no room, at most as many as the kernel would
    /// queue (RLIMIT_SIGPENDING).
    fn keep(&mut self, signal: Signal, value: Option<usize>) {
        let most = *self.most_undelivered.get_or_insert_with(most_undelivered);
        if self.undelivered.len() < most {
            return self.undelivered.push_back((signal, value));
        }
        if self.dropped == 0 {
            warn!(
                "the app does not take its signals: {} are queued, further ones are dropped",
                self.undelivered.len()
            );
        }
        self.dropped = self.dropped.saturating_add(1);
    }

    /// Sends a signal of the stop schedule, and CONT, so that a suspended app can act on it. CONT
    /// discards every pending TSTP, TTIN and TTOU ([signal(7)]), so with those it goes first.
    ///
    /// [signal(7)]: https://man7.org/linux/man-pages/man7/signal.7.html
    pub(super) fn stop(&mut self, signal: Signal, now: Moment) {
        let pair = if signal.is_job_control_stop() { [Signal::CONT, signal] } else { [signal, Signal::CONT] };
        self.owed = pair.to_vec();
        if let Some((unsent, error)) = self.pay(now) {
            complain(unsent, Err(error));
        }
        if self.suspended {
            self.continue_group();
        }
    }

    /// Sends what is owed, in order; what cannot be sent now stays owed. EPERM can pass too: the
    /// app may have changed its user for a while.
    fn pay(&mut self, now: Moment) -> Option<(Signal, io::Error)> {
        while let Some(signal) = self.owed.first().copied() {
            if let Err(error) = self.deliver(signal, None) {
                self.pay_at = Some(now + PAY_AGAIN);
                return Some((signal, error));
            }
            self.owed.remove(0);
        }
        None
    }

    /// How many signals adieu has sent it, its own and forwarded ones.
    pub(super) fn signals_sent(&self) -> u64 {
        self.signals_sent
    }

    /// The signals sent since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<Signal> {
        std::mem::take(&mut self.sent)
    }

    /// When to retry signals that could not be sent.
    pub(super) fn deadline(&self) -> Option<Moment> {
        let offer_at = self.offer_at.filter(|_| !self.undelivered.is_empty());
        let pay_at = self.pay_at.filter(|_| !self.owed.is_empty());
        offer_at.into_iter().chain(pay_at).min()
    }

    /// Retries signals that found the app's queue full, and what is owed.
    pub(super) fn offer_undelivered(&mut self, now: Moment) {
        if self.pay_at.is_some_and(|at| now >= at) {
            // The error was logged when the signal was due.
            let _ = self.pay(now);
        }
        if self.offer_at.is_none_or(|at| now < at) {
            return;
        }
        while let Some((signal, value)) = self.undelivered.front().copied() {
            let delivered = self.deliver(signal, value);
            if delivered.as_ref().is_err_and(is_full) {
                self.offer_at = Some(now + OFFER_AGAIN);
                return;
            }
            complain(signal, delivered);
            self.undelivered.pop_front();
        }
        self.say_dropped();
    }

    fn say_dropped(&mut self) {
        match std::mem::take(&mut self.dropped) {
            0 => {}
            dropped => warn!("{dropped} signals for the app were dropped"),
        }
    }

    fn deliver(&mut self, signal: Signal, value: Option<usize>) -> io::Result<()> {
        let Some(pid) = self.pid else {
            return Ok(());
        };
        self.send(pid, signal, value)?;
        self.signals_sent = self.signals_sent.saturating_add(1);
        self.sent.push(signal);
        debug!("sent {signal} to the app");
        Ok(())
    }

    fn send(&self, pid: Pid, signal: Signal, value: Option<usize>) -> io::Result<()> {
        match value {
            _ if self.whole_group => match signals::send_group(self.group, signal) {
                // The app has left its group, or the group does not exist yet.
                Err(error) if signals::is_gone(&error) => signals::send(pid, signal),
                sent => sent,
            },
            Some(value) => signals::queue(pid, signal, value),
            None => signals::send(pid, signal),
        }
    }

    // Job control: the shell sees only adieu, and the terminal's keys reach only the app.

    /// The app was suspended. If the terminal did it, adieu suspends itself, as its shell expects.
    pub(super) fn stopped_by(&mut self, signal: Signal) {
        let by_terminal = signal.is_job_control_stop();
        let Some(terminal) = self.terminal.as_ref().filter(|_| by_terminal) else {
            return;
        };
        if signal != Signal::TSTP && terminal.is_ours() {
            // A shell that brings a running job to the foreground sends no CONT, so this is the
            // first sign that adieu has the foreground.
            self.suspended = true;
            self.resumed();
            return;
        }
        terminal.take_back_from(self.group);
        self.suspended = true;
        if !terminal::suspend_self() {
            debug!("no shell could resume the app after {signal}: resuming it");
            self.resumed();
        }
    }

    /// CONT has come: the shell has put adieu into the foreground or the background, and the app
    /// must follow. True when the app was suspended and was sent CONT.
    pub(super) fn resumed(&mut self) -> bool {
        let Some(terminal) = &self.terminal else {
            return false;
        };
        if self.pid.is_some()
            && terminal.is_ours()
            && let Err(error) = terminal.hand_to(self.group)
        {
            debug!("cannot hand the terminal to the app: {}", describe(&error));
        }
        let was_suspended = self.suspended;
        if was_suspended {
            self.continue_group();
        }
        was_suspended
    }

    fn continue_group(&mut self) {
        self.suspended = false;
        // ESRCH: the app has left its group; it gets CONT by itself.
        let _ = signals::send_group(self.group, Signal::CONT);
    }
}

fn most_undelivered() -> usize {
    signals::queue_limit().map_or(MOST_UNDELIVERED, |limit| limit.min(MOST_UNDELIVERED))
}

fn is_full(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

fn complain(signal: Signal, delivered: io::Result<()>) {
    if let Err(error) = delivered {
        warn!("cannot send {signal} to the app: {}", describe(&error));
    }
}

/// Whether WINCH stops this app: then it does not get the foreground, where a resize of the
/// terminal would send it WINCH.
fn resizes_stop(plan: &Plan) -> bool {
    plan.stop_on.contains(Signal::WINCH) || plan.schedule.sends(Signal::WINCH)
}

fn c_strings(words: &[OsString]) -> Option<Vec<CString>> {
    words.iter().map(|word| CString::new(word.as_bytes()).ok()).collect()
}

fn name(command: &[OsString]) -> Cow<'_, str> {
    command.first().map_or(Cow::Borrowed(""), |name| name.to_string_lossy())
}

fn refused(status: c_int, message: &str) -> StartFailure {
    StartFailure { message: message.to_owned(), status }
}

fn explain(command: &[OsString], error: SpawnError) -> StartFailure {
    let command = name(command);
    match error {
        SpawnError::Fork(error) if error.kind() == ErrorKind::WouldBlock => refused(
            125,
            &format!("cannot start '{command}': too many processes; raise the limit (ulimit -u, pids.max)"),
        ),
        SpawnError::Fork(error) => refused(125, &format!("cannot start '{command}': {}", describe(&error))),
        SpawnError::Exec(error) if error.kind() == ErrorKind::NotFound => refused(
            127,
            &format!(
                "cannot execute '{command}': not found: there is no such file, or a script's interpreter is missing"
            ),
        ),
        SpawnError::Exec(error) => refused(126, &format!("cannot execute '{command}': {}", describe(&error))),
    }
}
