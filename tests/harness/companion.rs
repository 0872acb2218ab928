//! Other programs that a test needs: servers, tools, whole rehearsals. Whatever they do and
//! whatever the runner ignores, they end: a companion by KILL when the test is over, a command at
//! its limit, with all that it has started.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::WATCHDOG;
use super::launch::{default_action, raw_mask};

/// How long a server that was asked to end may take before it is killed.
const FAREWELL: Duration = Duration::from_secs(5);

/// A program beside the test, in a process group of its own. Dropped, it is killed with its group
/// and reaped.
pub struct Companion {
    child: Child,
    ask_with: Option<i32>,
    /// Whether it was reaped, so that its number may be another group's by now.
    ended: bool,
}

impl Companion {
    pub fn start(command: &mut Command) -> Self {
        let child = alone(command).spawn();
        let child = child.unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, ask_with: None, ended: false }
    }

    /// Ends it by this signal first, for a server that would leave something behind. KILL follows
    /// in any case.
    pub fn asked_with(mut self, signal: i32) -> Self {
        self.ask_with = Some(signal);
        self
    }

    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: touches no memory.
        let sent = unsafe { libc::kill(self.pid(), signal) };
        assert!(sent == 0 && !self.ended, "process {} cannot be signalled", self.pid());
    }

    /// Its end, which comes within this time or fails the test.
    pub fn end(&mut self, limit: Duration) -> ExitStatus {
        let ended = ends(&mut self.child, limit);
        self.ended = ended.is_some();
        ended.unwrap_or_else(|| panic!("process {} has not ended within {limit:?}", self.pid()))
    }
}

impl Drop for Companion {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(signal) = self.ask_with {
            // SAFETY: touches no memory; the child is not reaped yet, so the pid is its own.
            unsafe { libc::kill(self.pid(), signal) };
            let _ = ends(&mut self.child, FAREWELL); // killed below if it has not
        }
        kill_group(self.pid());
        let _ = ends(&mut self.child, FAREWELL); // what the kernel cannot end is no reason to hang
    }
}

/// A companion that is told lines and says lines, each of which comes under the watchdog.
pub struct Dialogue {
    companion: Companion,
    stdin: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
}

impl Dialogue {
    pub fn start(command: &mut Command) -> Self {
        Self::with(Companion::start(command.stdin(Stdio::piped()).stdout(Stdio::piped())))
    }

    /// With one whose stdin and stdout are pipes.
    pub fn with(mut companion: Companion) -> Self {
        let stdin = companion.child.stdin.take().expect("stdin is a pipe");
        let stdout = BufReader::new(companion.child.stdout.take().expect("stdout is a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { companion, stdin, lines, heard: Vec::new() }
    }

    pub fn pid(&self) -> i32 {
        self.companion.pid()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.stdin, "{line}").expect("it reads its stdin");
    }

    pub fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(WATCHDOG);
        let line = line.unwrap_or_else(|why| {
            panic!("no line of process {} ({why}), after: {:#?}", self.pid(), self.heard)
        });
        self.heard.push(line.clone());
        line
    }

    /// All lines to come, for a thread of the test's own; the end is the process's.
    pub fn all_lines(&mut self) -> Receiver<String> {
        std::mem::replace(&mut self.lines, channel().1)
    }
}

/// Runs a command to its end and gives what it said, as [`Command::output`] does, but within this
/// time: then it is killed with its group, and the test fails with what it had said.
pub fn output(command: &mut Command, limit: Duration) -> Output {
    output_given(command, b"", limit)
}

/// The same for a command that reads this on its stdin.
pub fn output_given(command: &mut Command, input: &[u8], limit: Duration) -> Output {
    let told = format!("{command:?}");
    let stdin = if input.is_empty() { Stdio::null() } else { Stdio::piped() };
    let child = alone(command).stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("cannot start {told}: {error}"));
    let deadline = Instant::now() + limit;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // Beside, since it may say much before it reads all; one that does not care to read ends.
        std::thread::spawn(move || stdin.write_all(&input));
    }
    let (out, err) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let status = ends(&mut child, limit);
    if status.is_none() {
        kill_group(child.id() as i32);
        let _ = ends(&mut child, FAREWELL); // killed; the panic below says the rest
    }
    // Somebody of its group may hold the pipes open.
    let (stdout, stderr) = (out.finish(deadline + FAREWELL), err.finish(deadline + FAREWELL));
    let Some(status) = status else {
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        panic!(
            "{told} has not ended within {limit:?}\n--- stdout ---\n{}\n--- stderr ---\n{}\n---",
            said(&stdout),
            said(&stderr)
        );
    };
    Output { status, stdout, stderr }
}

/// As nobody has touched its signals, in a group of its own, gone when the test's thread is.
fn alone(command: &mut Command) -> &mut Command {
    let arrange = || {
        // SAFETY: prctl with an integer.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
        // A script's background job ignores INT and QUIT, nohup HUP; what a test starts shall not.
        (1..=64).for_each(default_action);
        raw_mask(0);
        Ok(())
    };
    // SAFETY: the closure makes system calls alone and allocates nothing.
    unsafe { command.process_group(0).pre_exec(arrange) }
}

fn kill_group(pid: i32) {
    // SAFETY: touches no memory; that the group is gone already is as good.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
}

/// Polls, since no call of the standard library waits for a child with a limit.
fn ends(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("a child of this process") {
            return Some(status);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What a pipe gives, collected beside.
struct Collected {
    pieces: Receiver<Vec<u8>>,
    _reader: Option<JoinHandle<()>>,
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> Collected {
    let (sender, pieces) = channel();
    let reader = pipe.map(|mut pipe| {
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(got @ 1..) = pipe.read(&mut buffer)
                && sender.send(buffer[..got].to_vec()).is_ok()
            {}
        })
    });
    Collected { pieces, _reader: reader }
}

impl Collected {
    fn finish(self, deadline: Instant) -> Vec<u8> {
        let mut all = Vec::new();
        loop {
            match self.pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(piece) => all.extend(piece),
                Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => return all,
            }
        }
    }
}
