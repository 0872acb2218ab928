//! The judge: from a recording to the checklist. It is pure: the same recording always gives the
//! same checklist. Each lost request counts against one point only, the one that caused it. So a
//! single flaw shows as a single failure with the advice that fixes it. A point that could only
//! repeat another's failure counts as not seen.

use std::collections::BTreeMap;

use adieu::signal::Signal;

use super::recording::{
    At, ConnectionEnd, ConnectionUse, DatabaseConnection, Fate, Mode, RecordedExit, Recording, Request, Tally,
};
use super::verdict::{Outcome, Point, PointResult, RunVerdict};

#[must_use]
pub fn judge(recording: &Recording) -> RunVerdict {
    let evidence = Case::new(recording);
    let findings = Point::ALL.into_iter().map(|point| evidence.find(point)).collect();
    RunVerdict { tally: recording.tally(), findings }
}

/// The recording, and what several points need to know about it.
struct Case<'a> {
    seen: &'a Recording,
    /// The time of the SIGKILL that ended the app, from the platform or from adieu.
    forced: Option<At>,
    /// It reacted to the stop signal before any SIGKILL.
    reacted: bool,
    blame: BTreeMap<Point, Vec<&'a Request>>,
}

fn pass(seen: impl Into<String>) -> (Outcome, String, String) {
    (Outcome::Pass, seen.into(), String::new())
}

fn fail(seen: impl Into<String>, advice: impl Into<String>) -> (Outcome, String, String) {
    (Outcome::Fail, seen.into(), advice.into())
}

fn not_seen(seen: impl Into<String>) -> (Outcome, String, String) {
    (Outcome::NotSeen, seen.into(), String::new())
}

impl<'a> Case<'a> {
    fn new(seen: &'a Recording) -> Case<'a> {
        let forced = forced(seen);
        let reacted = match forced {
            None => true,
            Some(kill) => seen.closed.is_some_and(|closed| closed.0 < kill.0 - 20),
        };
        let mut evidence = Case { seen, forced, reacted, blame: BTreeMap::new() };
        for request in seen.lost() {
            let point = evidence.cause(request);
            evidence.blame.entry(point).or_default().push(request);
        }
        evidence
    }

    /// The point that a lost request counts against.
    fn cause(&self, request: &Request) -> Point {
        let after_stop = request.from >= At(0);
        match &request.fate {
            Fate::TurnedAway { .. } if after_stop => Point::FailsReadinessFirst,
            Fate::Answered { .. } | Fate::TurnedAway { .. } => Point::FinishesRequests,
            Fate::CutOff { .. } => {
                let by_kill = self.forced.is_some_and(|kill| request.to.0 >= kill.0 - 20);
                match (by_kill, self.reacted) {
                    (true, false) => Point::HandlesStopSignal,
                    (_, _) if after_stop && request.connection == ConnectionUse::Pinned => {
                        Point::LetsConnectionsGo
                    }
                    (true, true) => Point::DrainFitsGrace,
                    (false, _) if self.drain_gave_up().is_some() => Point::DrainFitsGrace,
                    // It waited in the accept queue. The kernel resets what is in the queue when
                    // the listener closes.
                    (false, _) if after_stop && self.listener_closed_under(request) => {
                        Point::FailsReadinessFirst
                    }
                    (false, _) if after_stop && request.connection == ConnectionUse::New => {
                        Point::StopsAccepting
                    }
                    (false, _) => Point::FinishesRequests,
                }
            }
        }
    }

    /// A new connection that ended when the app closed its listener and went on running. Snapshots
    /// are some milliseconds apart, hence the tolerance.
    fn listener_closed_under(&self, request: &Request) -> bool {
        let when = |closed: At| (closed.0 - 50..=closed.0 + 5).contains(&request.to.0);
        request.connection == ConnectionUse::New && self.seen.closed.is_some_and(when)
    }

    /// When adieu's drain ended with requests still in flight, and how many.
    fn drain_gave_up(&self) -> Option<(At, u64)> {
        let draining = self.seen.phases().iter().find(|span| span.phase == "draining")?;
        draining.in_flight.filter(|in_flight| *in_flight > 0).map(|in_flight| (draining.to, in_flight))
    }

    fn lost(&self, point: Point) -> &[&'a Request] {
        self.blame.get(&point).map_or(&[], Vec::as_slice)
    }

    fn find(&self, point: Point) -> PointResult {
        let (outcome, seen, advice) = match point {
            Point::HandlesStopSignal => self.handles_stop_signal(),
            Point::FailsReadinessFirst => self.fails_readiness_first(),
            Point::StopsAccepting => self.stops_accepting(),
            Point::FinishesRequests => self.finishes_requests(),
            Point::LetsConnectionsGo => self.lets_connections_go(),
            Point::DrainFitsGrace => self.drain_fits_grace(),
            Point::ClosesDatabases => self.closes_databases(),
            Point::LeavesNoProcess => self.leaves_no_process(),
            Point::ExitsInTime => self.exits_in_time(),
        };
        PointResult { point, outcome, seen, advice }
    }

    fn stop_signal(&self) -> String {
        format!("SIG{}", self.seen.limits.stop_signal)
    }

    /// The app ended before its stop signal came: how it handles that was not seen.
    fn ended_by_itself(&self) -> bool {
        match self.seen.mode {
            Mode::Bare => self.seen.end.at < At(self.seen.limits.hook_ms as i64),
            Mode::Adieu => self.seen.adieu_report.as_ref().is_some_and(|report| !report.signalled),
            Mode::Init => false,
        }
    }

    /// adieu did not take the platform's signal as a stop request: its report has no phase of a
    /// stop.
    fn forwarded(&self) -> bool {
        self.seen.adieu_report.as_ref().is_some_and(|report| report.phases.is_empty() && !report.signalled)
    }

    fn stop_on_advice(&self) -> String {
        let signal = self.seen.limits.stop_signal.trim_start_matches("SIG");
        format!(
            "{signal} is no stop request for adieu, so it is forwarded at once: give adieu --stop-on {signal}"
        )
    }

    /// From the platform's signal to the end.
    fn after_signal(&self) -> At {
        At(self.seen.end.at.0 - self.seen.limits.hook_ms as i64)
    }

    fn handles_stop_signal(&self) -> (Outcome, String, String) {
        let signal = self.stop_signal();
        let Some(kill) = self.forced.filter(|_| !self.reacted) else {
            return match self.forced {
                Some(_) => pass(format!("began to stop on {signal}")),
                None if self.ended_by_itself() => not_seen(format!(
                    "ended by itself {} after the stop request, before {signal} came",
                    self.seen.end.at
                )),
                None => pass(format!("ended {} after {signal}", self.after_signal())),
            };
        };
        let lost = match self.lost(Point::HandlesStopSignal) {
            [] => String::new(),
            lost => format!("; {}", counted(lost)),
        };
        let advice = match self.seen.mode {
            Mode::Bare => {
                "as PID 1, an app without a handler never gets the signal: run it under adieu, or handle it"
            }
            Mode::Adieu | Mode::Init => {
                "it ignores the signal: handle it, or let adieu send one that it handles (--stop INT)"
            }
        };
        fail(format!("did not react to {signal}; SIGKILL ended it at {kill}{lost}"), advice)
    }

    fn fails_readiness_first(&self) -> (Outcome, String, String) {
        let turned_away = self.lost(Point::FailsReadinessFirst);
        if let Some(first) = turned_away.first() {
            let from = turned_away.iter().map(|request| request.from).min().unwrap_or(first.from);
            let removal = At(self.seen.limits.removal_ms as i64);
            let advice = match self.seen.mode {
                Mode::Bare | Mode::Init => {
                    "keep serving until balancers know: adieu's pre-stop sleep, with the readiness probe on adieu's --health port"
                }
                Mode::Adieu if self.forwarded() => &self.stop_on_advice(),
                Mode::Adieu => "make adieu's pre-stop sleep longer than the time that the balancer needs",
            };
            return fail(
                format!(
                    "{} from {from} on; the balancer sent until {removal}: {}",
                    counted(turned_away),
                    reasons(turned_away)
                ),
                advice,
            );
        }
        let Some(url) = &self.seen.readiness.url else {
            return not_seen("no readiness address is known (--readiness URL); no request was turned away");
        };
        let gone = self.seen.closed.unwrap_or(self.seen.end.at);
        match self.seen.readiness.turned {
            Some(turned) => pass(format!("not ready {turned} after the stop, kept serving until {gone}")),
            None => fail(
                format!("{url} did not fail before the app was gone"),
                "fail readiness at the stop request, and keep serving for some seconds",
            ),
        }
    }

    fn stops_accepting(&self) -> (Outcome, String, String) {
        if self.seen.targets.is_empty() {
            return not_seen("there was no load");
        }
        let dropped = self.lost(Point::StopsAccepting);
        if !dropped.is_empty() {
            return fail(
                format!(
                    "{} on connections that it accepted after the stop: {}",
                    counted(dropped),
                    reasons(dropped)
                ),
                "close the listener first, answer the accepted connections, then exit",
            );
        }
        let accepted = |request: &&Request| {
            request.connection == ConnectionUse::New && request.from >= At(0) && !request.fate.lost()
        };
        let served = self.seen.requests.iter().filter(accepted).count();
        match self.seen.closed {
            Some(closed) => {
                pass(format!("listened until {closed}; served {served} new connections after the stop"))
            }
            None => pass(format!(
                "listened until it ended; served {served} new connections after the stop, dropped none"
            )),
        }
    }

    fn finishes_requests(&self) -> (Outcome, String, String) {
        let lost = self.lost(Point::FinishesRequests);
        let in_flight = self.seen.in_flight().count();
        if !lost.is_empty() {
            let what = match lost.iter().filter(|request| request.to < At(0)).count() {
                0 => format!(
                    "ended {} after {}: {} in flight",
                    self.seen.end.at,
                    self.stop_signal(),
                    counted(lost)
                ),
                early => format!("{}, {early} of them before the stop request", counted(lost)),
            };
            let advice = match self.seen.mode {
                Mode::Bare | Mode::Init => {
                    "run it under adieu, or finish requests in a handler of the signal"
                }
                Mode::Adieu if self.forwarded() => &self.stop_on_advice(),
                Mode::Adieu => {
                    "let adieu wait for them: is --drain on, and --pre-stop longer than the balancer's delay?"
                }
            };
            return fail(format!("{what}: {}", reasons(lost)), advice);
        }
        if self.seen.targets.is_empty() {
            return not_seen("there was no load");
        }
        if in_flight == 0 {
            return not_seen("no request was in flight at the stop: give a slow address (--url /slow)");
        }
        let last = self.seen.in_flight().map(|request| request.to).max().unwrap_or(At(0));
        pass(format!("all {in_flight} in flight at the stop were answered, the last at {last}"))
    }

    fn lets_connections_go(&self) -> (Outcome, String, String) {
        let cut = self.lost(Point::LetsConnectionsGo);
        if !cut.is_empty() {
            let advice = match self.seen.mode {
                Mode::Bare | Mode::Init => {
                    "close keep-alive connections between two requests (Connection: close in answers after the stop), or run it under adieu"
                }
                Mode::Adieu => {
                    "let adieu close them: it may need CAP_SYS_PTRACE; its log shows what was not permitted"
                }
            };
            return fail(
                format!(
                    "{} on connections that clients kept after the removal: {}",
                    counted(cut),
                    reasons(cut)
                ),
                advice,
            );
        }
        match self.seen.moved_on.iter().max() {
            Some(last) => {
                let clients = self.seen.moved_on.len();
                pass(format!(
                    "closed {clients} keep-alive connections between two requests, the last at {last}"
                ))
            }
            None => not_seen("no client kept its connection after the removal (--pinned 2)"),
        }
    }

    fn drain_fits_grace(&self) -> (Outcome, String, String) {
        let grace = At(self.seen.limits.grace_ms as i64);
        let cut = self.lost(Point::DrainFitsGrace);
        let advice = "make the grace longer, or the longest requests or the pre-stop sleep shorter";
        if let Some((at, in_flight)) = self.drain_gave_up().filter(|_| !cut.is_empty()) {
            return fail(
                format!(
                    "draining ended at {at} with {} still in flight; {}",
                    requests(in_flight as usize),
                    counted(cut)
                ),
                advice,
            );
        }
        if !cut.is_empty() {
            return fail(format!("{} when the grace of {grace} ended", counted(cut)), advice);
        }
        if self.seen.targets.is_empty() {
            return not_seen("there was no load");
        }
        if !self.lost(Point::FinishesRequests).is_empty() {
            return not_seen("it did not drain");
        }
        let done = self.seen.requests.iter().map(|request| request.to).max().unwrap_or(At(0));
        pass(format!("the last request ended at {done} of {grace}"))
    }

    fn closes_databases(&self) -> (Outcome, String, String) {
        let lines = &self.seen.databases;
        let all = lines.len();
        let unclosed = lines.iter().filter(|line| !matches!(line.end, ConnectionEnd::Closed(_))).count();
        if all == 0 {
            return not_seen("no connection to a database was open at the stop");
        }
        if unclosed == 0 {
            return pass(format!("closed {all} before it ended"));
        }
        if self.forced.is_some() {
            return not_seen("it was killed before it could close them");
        }
        let died = |exit: RecordedExit| matches!(exit, RecordedExit::Signal(_));
        let of_signal = match self.seen.mode {
            Mode::Bare => died(self.seen.end.exit),
            Mode::Adieu | Mode::Init => {
                self.seen.adieu_report.as_ref().and_then(|report| report.app_end).is_some_and(died)
            }
        };
        // A process that a signal kills closes nothing itself. When a process was held at its exit,
        // the last snapshot was taken then, so nothing can have closed later.
        let left_open = |line: &&DatabaseConnection| match line.end {
            ConnectionEnd::Closed(_) => false,
            ConnectionEnd::WithOwner => line.main && of_signal,
            ConnectionEnd::Open => self.seen.held_at_exit || (line.main && of_signal),
        };
        let open = lines.iter().filter(left_open).count();
        if open > 0 {
            return fail(
                format!("ended with {open} of {all} still open"),
                "close the pool in a handler of the stop signal: to the server, the rest are clients that crashed",
            );
        }
        let gap = self.seen.end.at.0 - self.seen.last_look.0;
        not_seen(format!(
            "{unclosed} of {all} were open in the last snapshot, {} before the end",
            At(gap.max(0))
        ))
    }

    fn leaves_no_process(&self) -> (Outcome, String, String) {
        let names = match self.seen.leftovers.as_slice() {
            [] => "processes".to_owned(),
            names => names.join(", "),
        };
        if self.forced.is_some() {
            return not_seen("it was killed before it could end its processes");
        }
        let advice = "end the children before exiting, and let none of them ignore the signal";
        match &self.seen.adieu_report {
            Some(report) if report.killed_leftovers => {
                return fail(format!("left {names}, which ignored SIGTERM and had to be killed"), advice);
            }
            Some(report) if report.swept => {
                return pass(format!("left {names}, which adieu stopped with SIGTERM"));
            }
            Some(_) | None if self.seen.leftovers.is_empty() => return pass("none was left"),
            Some(_) | None => {}
        }
        if self.seen.held_at_exit {
            return fail(
                format!("ended while these were running: {names}"),
                "end the children before exiting, or let adieu stop them",
            );
        }
        let gap = self.seen.end.at.0 - self.seen.last_look.0;
        not_seen(format!("still running in the last snapshot, {gap} ms before the end: {names}"))
    }

    fn exits_in_time(&self) -> (Outcome, String, String) {
        let end = self.seen.end;
        let grace = At(self.seen.limits.grace_ms as i64);
        if let Some(kill) = self.forced {
            let unfinished = [Point::DrainFitsGrace, Point::LetsConnectionsGo];
            return match (self.reacted, unfinished.map(|point| self.lost(point).len()).iter().sum::<usize>())
            {
                (false, _) => not_seen("it never began to stop"),
                (true, 0) => fail(
                    format!("began to stop, then hung until SIGKILL at {kill}"),
                    "find what it waits for: a thread that is no daemon, a pool, a child",
                ),
                (true, _) => not_seen("it was killed while finishing requests"),
            };
        }
        let signal = self.seen.limits.stop_signal.parse::<Signal>().ok().map(|signal| signal.number() as u8);
        let clean = match end.exit {
            RecordedExit::Status(0) => true,
            RecordedExit::Status(status) => signal.is_some_and(|signal| status == 128 + signal),
            RecordedExit::Signal(number) => signal == Some(number),
        };
        if clean && self.ended_by_itself() {
            return not_seen(format!("it ended by itself, with {}", end.exit));
        }
        if clean {
            return pass(format!("{} at {} of {grace}", end.exit, end.at));
        }
        fail(
            format!("{} at {}, which counts as a failure", end.exit, end.at),
            "exit 0 after an orderly stop; if the status is intended, use adieu's --success-on-stop",
        )
    }
}

/// When a SIGKILL ended it: the platform's, or adieu's, which comes shortly before.
fn forced(seen: &Recording) -> Option<At> {
    seen.killed.or_else(|| match seen.mode {
        Mode::Bare => None,
        Mode::Adieu => seen.adieu_report.as_ref().and_then(|report| report.killed),
        Mode::Init => (seen.end.exit == RecordedExit::Status(137)).then_some(seen.end.at),
    })
}

fn requests(number: usize) -> String {
    if number == 1 { "1 request".to_owned() } else { format!("{number} requests") }
}

/// Lost requests in the words of the table: `84 requests turned away, 2 cut off`.
fn counted(lost: &[&Request]) -> String {
    let tally = Tally::of(lost.iter().copied());
    match (tally.turned_away, tally.cut_off) {
        (0, cut_off) => format!("{} cut off", requests(cut_off)),
        (turned_away, 0) => format!("{} turned away", requests(turned_away)),
        (turned_away, cut_off) => format!("{} turned away, {cut_off} cut off", requests(turned_away)),
    }
}

/// Why these were lost, the most frequent first: `connection reset (3)`.
fn reasons(lost: &[&Request]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for request in lost {
        *counts.entry(request.fate.to_string()).or_default() += 1;
    }
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().map(|(why, count)| format!("{why} ({count})")).collect::<Vec<_>>().join(", ")
}
