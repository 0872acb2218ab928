//! A process under watch: its lines in order, its end, and the transcript that is shown when it
//! does not do as expected.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::WATCHDOG;

/// How a process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Exited(i32),
    Signalled(i32),
}

impl From<ExitStatus> for End {
    fn from(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(code),
            (None, signal) => Self::Signalled(signal.expect("it exited or was killed")),
        }
    }
}

/// Text as it comes in, and how much of it the test has taken.
struct Stream {
    pieces: Receiver<Vec<u8>>,
    text: Vec<u8>,
    taken: usize,
    open: bool,
}

/// The thread that reads stdout or the terminal, until that ends or `stop` is dropped.
struct Reader {
    thread: std::thread::JoinHandle<()>,
    stop: OwnedFd,
}

pub struct Running {
    /// The init's pid as this process sees it.
    pub pid: i32,
    pub started: Instant,
    /// The watchdog barks so long after this.
    awake: Instant,
    name: String,
    out: Stream,
    err: Stream,
    input: Option<File>,
    reader: Option<Reader>,
    _errors: Option<Reader>,
    ended: Receiver<End>,
    end: Option<End>,
    transcript: Arc<Mutex<String>>,
}

impl Running {
    /// `status` is where the parent that stayed behind tells PID 1's number and end; `master` the
    /// terminal, if any.
    pub(super) fn watch(
        name: String,
        mut child: Child,
        status: Option<OwnedFd>,
        master: Option<OwnedFd>,
    ) -> Self {
        let transcript = Arc::new(Mutex::new(String::new()));
        let started = Instant::now();
        let mut input = child.stdin.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let mut output = child.stdout.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        if let Some(master) = master {
            input = Some(File::from(master.try_clone().expect("a descriptor")));
            output = output.or(Some(File::from(master)));
        }
        let errors = child.stderr.take().map(|pipe| File::from(OwnedFd::from(pipe)));
        let (out, reader) = Stream::read(output, "out", &transcript, started);
        let (err, errors) = Stream::read(errors, "err", &transcript, started);
        let (sender, ended) = channel();
        let mut status = status.map(File::from);
        let pid = status.as_mut().map_or(Some(child.id() as i32), number).expect("PID 1's number");
        std::thread::spawn(move || wait_for(&mut child, status, &sender));
        Self {
            pid,
            started,
            awake: started,
            name,
            out,
            err,
            input,
            reader,
            _errors: errors,
            ended,
            end: None,
            transcript,
        }
    }

    /// Begins the watchdog's time anew, for a test that is long on purpose, and forgets what was
    /// said before.
    pub fn postpone(&mut self) {
        self.awake = Instant::now();
        self.transcript.lock().expect("no reader panics").clear();
        self.out.forget();
        self.err.forget();
    }

    // Talking to the app

    pub fn say(&mut self, command: &str) {
        self.note("in", command);
        let input = self.input.as_mut().expect("stdin is a pipe or a terminal");
        input.write_all(format!("{command}\n").as_bytes()).expect("the app reads its stdin");
    }

    /// Bytes as they are, such as a control character on a terminal.
    pub fn type_in(&mut self, keys: &str) {
        self.note("in", &format!("{keys:?}"));
        self.input.as_mut().expect("a terminal").write_all(keys.as_bytes()).expect("a terminal takes keys");
    }

    /// A question that the probe answers with one line.
    pub fn ask(&mut self, question: &str) -> String {
        self.say(question);
        self.line()
    }

    pub fn expect_answer(&mut self, question: &str, answer: &str) {
        self.say(question);
        self.expect(answer);
    }

    /// Asks the probe to do something and waits until it has.
    pub fn order(&mut self, command: &str) {
        self.say(command);
        self.expect(&format!("done {command}"));
    }

    pub fn close_stdin(&mut self) {
        self.input = None;
    }

    /// Lets go of the terminal, or of the app's stdin and stdout, as a window that is closed does.
    pub fn hang_up(&mut self) {
        self.note("in", "hang up");
        self.input = None;
        if let Some(Reader { thread, stop }) = self.reader.take() {
            drop(stop);
            thread.join().expect("the reader does not panic");
        }
    }

    /// Tells the terminal that its window has another size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.note("in", &format!("resize {columns}x{rows}"));
        let size = libc::winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the descriptor is a terminal's and the struct lives through the call.
        let done = unsafe { libc::ioctl(self.input().as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
        assert_eq!(done, 0, "cannot resize: {}", std::io::Error::last_os_error());
    }

    pub fn input(&self) -> &File {
        self.input.as_ref().expect("stdin is a pipe or a terminal")
    }

    // Hearing

    /// The next line on stdout.
    pub fn line(&mut self) -> String {
        self.next_line("a line").unwrap_or_else(|| self.fail("stdout ended where a line was expected"))
    }

    /// The next line on stdout, if another one comes.
    pub fn line_if_any(&mut self) -> Option<String> {
        self.next_line("a line or the end")
    }

    /// The next line must be exactly this.
    pub fn expect(&mut self, wanted: &str) {
        let line = self.line();
        if line != wanted {
            self.fail(&format!("expected '{wanted}', got '{line}'"));
        }
    }

    /// The next line must tell of this signal, as in `got TERM`; gives what it says after the name.
    pub fn expect_signal(&mut self, name: &str) -> String {
        let line = self.line();
        match line.strip_prefix(&format!("got {name} ")) {
            Some(rest) => rest.to_string(),
            None => self.fail(&format!("expected signal {name}, got '{line}'")),
        }
    }

    /// Skips lines up to the first that contains this.
    pub fn find(&mut self, part: &str) -> String {
        loop {
            match self.next_line(part) {
                Some(line) if line.contains(part) => return line,
                Some(_) => {}
                None => self.fail(&format!("stdout ended without '{part}'")),
            }
        }
    }

    /// Waits until the output holds this text, lines or not, and takes everything up to its end.
    pub fn see(&mut self, part: &str) -> String {
        let deadline = self.deadline();
        loop {
            let fresh = String::from_utf8_lossy(&self.out.text[self.out.taken..]).into_owned();
            if let Some(at) = fresh.find(part) {
                self.out.taken += at + part.len();
                return fresh[..at].to_string();
            }
            if let Err(why) = self.out.more(deadline) {
                self.fail(&format!("{why} without '{part}'"));
            }
        }
    }

    /// What stdout still holds, up to its end.
    pub fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.next_line("the end of stdout")).collect()
    }

    /// Skips log lines up to the first that contains this.
    pub fn log(&mut self, part: &str) -> String {
        let deadline = self.deadline();
        loop {
            match self.err.line(deadline) {
                Ok(Some(line)) if line.contains(part) => return line,
                Ok(Some(_)) => {}
                Ok(None) => self.fail(&format!("stderr ended without '{part}'")),
                Err(why) => self.fail(&format!("{why} on stderr without '{part}'")),
            }
        }
    }

    /// Everything that was said on stderr and not taken, up to its end, but for adieu's one line at
    /// its start: it says who is there, not that something happened.
    pub fn errors(&mut self) -> Vec<String> {
        let mut lines = self.all_errors();
        lines.retain(|line| !line.starts_with("adieu: version "));
        lines
    }

    pub fn all_errors(&mut self) -> Vec<String> {
        let deadline = self.deadline();
        let mut lines = Vec::new();
        loop {
            match self.err.line(deadline) {
                Ok(Some(line)) => lines.push(line),
                Ok(None) => return lines,
                Err(why) => self.fail(&format!("{why}: stderr does not end")),
            }
        }
    }

    // Signals and the end

    pub fn signal(&self, signal: i32) {
        self.note("kill", &signal.to_string());
        // SAFETY: kill touches no memory; nix has no name for real-time signals.
        let sent = unsafe { libc::kill(self.pid, signal) };
        assert_eq!(sent, 0, "cannot signal {}: {}", self.pid, std::io::Error::last_os_error());
    }

    pub fn term(&self) {
        self.signal(libc::SIGTERM);
    }

    pub fn queue(&self, signal: i32, value: i32) {
        self.note("sigqueue", &format!("{signal} {value}"));
        let value = libc::sigval { sival_ptr: value as usize as *mut libc::c_void };
        // SAFETY: the value is an integer that nobody follows.
        while unsafe { libc::sigqueue(self.pid, signal, value) } != 0 {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "cannot queue: {error}");
            if Instant::now() > self.deadline() {
                self.fail("the signal queue stays full");
            }
            std::thread::yield_now();
        }
    }

    /// The app's pid as this process sees it: the init's first child.
    pub fn app(&self) -> i32 {
        let mut first = None;
        super::until("the init has a child", || {
            first = super::children(self.pid).first().copied();
            first.is_some()
        });
        first.expect("until has seen it")
    }

    /// How it ended, as its parent sees it.
    pub fn end(&mut self) -> End {
        if self.end.is_none() {
            let left = self.deadline().saturating_duration_since(Instant::now());
            match self.ended.recv_timeout(left) {
                Ok(end) => self.end = Some(end),
                Err(_) => self.fail("it does not end"),
            }
            self.note("end", &format!("{:?}", self.end));
        }
        self.end.expect("set above")
    }

    /// How it ended, if it does within this time.
    pub fn end_within(&mut self, limit: Duration) -> Option<End> {
        if self.end.is_none() {
            self.end = self.ended.recv_timeout(limit).ok();
        }
        self.end
    }

    pub fn expect_end(&mut self, wanted: End) {
        let end = self.end();
        if end != wanted {
            self.fail(&format!("expected {wanted:?}, got {end:?}"));
        }
    }

    pub fn expect_exit(&mut self, status: i32) {
        self.expect_end(End::Exited(status));
    }

    pub fn has_ended(&mut self) -> bool {
        if self.end.is_none() {
            self.end = self.ended.try_recv().ok();
        }
        self.end.is_some()
    }

    /// Fails the test with all that was said and heard.
    pub fn fail(&self, why: &str) -> ! {
        // The readers may be a moment behind what made the test fail.
        std::thread::sleep(Duration::from_millis(50));
        let transcript = self.transcript.lock().expect("no reader panics").clone();
        panic!("{why}\n--- transcript of {} (pid {}) ---\n{transcript}---", self.name, self.pid)
    }

    fn next_line(&mut self, wanted: &str) -> Option<String> {
        let deadline = self.deadline();
        match self.out.line(deadline) {
            Ok(line) => line,
            Err(why) => self.fail(&format!("{why}, waiting for {wanted}")),
        }
    }

    fn deadline(&self) -> Instant {
        self.awake + WATCHDOG
    }

    fn note(&self, kind: &str, text: &str) {
        note(&self.transcript, self.started, kind, text);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended() {
            // With PID 1 goes its namespace. An ordinary process may leave others behind when it is
            // killed: a shell its jobs, tini its app, and adieu its orphans.
            for pid in [self.pid].into_iter().chain(super::descendants(self.pid)) {
                // SAFETY: touches no memory.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
    }
}

impl Stream {
    fn read(
        file: Option<File>,
        kind: &'static str,
        transcript: &Arc<Mutex<String>>,
        started: Instant,
    ) -> (Self, Option<Reader>) {
        let (sender, pieces) = channel();
        let stream = Self { pieces, text: Vec::new(), taken: 0, open: true };
        let Some(mut file) = file else {
            return (stream, None);
        };
        let transcript = Arc::clone(transcript);
        let (stopped, stop) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).expect("a pipe");
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            // A terminal whose last holder is gone reads as EIO: an end like any other.
            while readable(&file, &stopped)
                && let Ok(got @ 1..) = file.read(&mut buffer)
            {
                note(&transcript, started, kind, &String::from_utf8_lossy(&buffer[..got]));
                if sender.send(buffer[..got].to_vec()).is_err() {
                    return;
                }
            }
        });
        (stream, Some(Reader { thread, stop }))
    }

    /// Drops what was taken.
    fn forget(&mut self) {
        self.text.drain(..self.taken);
        self.taken = 0;
    }

    /// The next line without its end; `None` at the end of the stream.
    fn line(&mut self, deadline: Instant) -> Result<Option<String>, &'static str> {
        loop {
            let fresh = &self.text[self.taken..];
            let end = fresh.iter().position(|&byte| byte == b'\n');
            if let Some(end) = end.or((!self.open && !fresh.is_empty()).then_some(fresh.len())) {
                let line = String::from_utf8_lossy(&fresh[..end]).trim_end_matches('\r').to_string();
                self.taken = (self.taken + end + 1).min(self.text.len());
                return Ok(Some(line));
            }
            if !self.open {
                return Ok(None);
            }
            match self.more(deadline) {
                Ok(()) | Err("the output ended") => {}
                Err(why) => return Err(why),
            }
        }
    }

    fn more(&mut self, deadline: Instant) -> Result<(), &'static str> {
        match self.pieces.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(piece) => {
                self.text.extend_from_slice(&piece);
                Ok(())
            }
            Err(RecvTimeoutError::Timeout) => Err("the watchdog barked"),
            Err(RecvTimeoutError::Disconnected) => {
                self.open = false;
                Err("the output ended")
            }
        }
    }
}

/// Waits for the end, from the parent that stayed behind or from the kernel, and tells it once.
fn wait_for(child: &mut Child, status: Option<File>, sender: &Sender<End>) {
    let told = status.map(|mut status| number(&mut status));
    let own = child.wait().expect("a child can be waited for");
    let end = match told {
        None => End::from(own),
        Some(Some(raw)) => End::from(ExitStatus::from_raw(raw)),
        Some(None) => End::from(own), // the parent that stayed behind was killed
    };
    let _ = sender.send(end); // nobody may be waiting any more
}

/// Blocks until there is something to read; false when reading is over.
fn readable(file: &File, stopped: &OwnedFd) -> bool {
    let mut waits =
        [PollFd::new(file.as_fd(), PollFlags::POLLIN), PollFd::new(stopped.as_fd(), PollFlags::POLLIN)];
    poll(&mut waits, PollTimeout::NONE).is_ok() && !waits[1].any().unwrap_or(true)
}

fn number(file: &mut File) -> Option<i32> {
    let mut bytes = [0; 4];
    file.read_exact(&mut bytes).ok().map(|()| i32::from_ne_bytes(bytes))
}

fn note(transcript: &Mutex<String>, started: Instant, kind: &str, text: &str) {
    let at = started.elapsed().as_secs_f64();
    let mut transcript = transcript.lock().expect("nobody panics with it in hand");
    for line in text.lines() {
        transcript.push_str(&format!("{at:8.3} {kind:>4} | {line}\n"));
    }
}
