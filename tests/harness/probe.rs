//! An app for the tests: it prints `ready`, then one line for each signal that reaches it, and does
//! as it is told on stdin. It starts without Rust's runtime, which would ignore SIGPIPE and fill
//! closed descriptors before anybody could look, and it reads signals by signalfd with raw system
//! calls, since glibc hides 32 and 33 from its callers. So what it reports is exactly what it
//! inherited and exactly what was sent.
//!
//! `probe [--name NAME] [--setsid] [--deaf] [--legacy] [--exit-on SIGNAL]... [--out FD] [--first
//! COMMAND] [ANYTHING]...`: deaf to stdin (`--hear-after SIGNAL`: until then), legacy without an
//! eye on signals. `probe serve PORT MS` is an HTTP server as people write them: it answers after
//! that time and knows nothing of signals.

#![no_main]

use std::ffi::{CStr, CString};
use std::io::{Read, Write};
use std::os::fd::RawFd;

use libc::{c_char, c_int, c_long};

unsafe extern "C" {
    static environ: *const *const c_char;
}

/// 1 to 31, in order; 32 to 64 are written as numbers.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The kernel's own struct, for the raw call.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct KernelAction {
    handler: usize,
    flags: u64,
    restorer: usize,
    mask: u64,
}

/// What was there before the probe changed anything.
struct Found {
    argv: Vec<Vec<u8>>,
    env: Vec<Vec<u8>>,
    blocked: u64,
    ignored: u64,
    fds: Vec<RawFd>,
}

/// # Safety
/// For the C runtime alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let found = Found {
        // SAFETY: the C runtime hands over argc and argv; nothing has touched them.
        argv: unsafe { strings(argv, Some(argc as usize)) },
        // SAFETY: nothing has changed the environment yet.
        env: unsafe { strings(environ, None) },
        blocked: raw_mask(libc::SIG_BLOCK, 0),
        ignored: ignored(),
        // SAFETY: F_GETFD touches no memory.
        fds: (0..1024).filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } >= 0).collect(),
    };
    let words: Vec<String> =
        found.argv.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    match words.get(1).map(String::as_str) {
        Some("serve") => serve(words[2].parse().expect("a port"), words[3].parse().expect("milliseconds")),
        _ => Probe::new(found, &words).live(),
    }
}

struct Probe {
    found: Found,
    name: String,
    deaf: bool,
    hear_after: Option<u8>,
    legacy: bool,
    exit_on: Vec<u8>,
    out: RawFd,
    first: Vec<String>,
    counts: [u32; 65],
    typed: Vec<u8>,
}

impl Probe {
    fn new(found: Found, words: &[String]) -> Self {
        let mut probe = Self {
            found,
            name: String::new(),
            deaf: false,
            hear_after: None,
            legacy: false,
            exit_on: Vec::new(),
            out: 1,
            first: Vec::new(),
            counts: [0; 65],
            typed: Vec::new(),
        };
        let mut rest = words.iter().skip(1);
        while let Some(word) = rest.next() {
            let mut value = || rest.next().unwrap_or_else(|| panic!("{word} needs a value"));
            match word.as_str() {
                "--name" => probe.name = format!("{}: ", value()),
                "--deaf" => probe.deaf = true,
                "--hear-after" => (probe.deaf, probe.hear_after) = (true, Some(number(value()))),
                "--legacy" => probe.legacy = true,
                "--exit-on" => probe.exit_on.push(number(value())),
                "--out" => probe.out = value().parse().expect("a descriptor"),
                "--first" => probe.first.push(value().clone()),
                // SAFETY: setsid takes nothing.
                "--setsid" => assert!(unsafe { libc::setsid() } > 0, "cannot setsid"),
                _ => break,
            }
        }
        probe
    }

    fn live(mut self) -> ! {
        let watched: u64 = if self.legacy { 0 } else { !0 };
        raw_mask(libc::SIG_SETMASK, if self.legacy { self.found.blocked } else { watched });
        // SAFETY: the mask is 8 bytes, as the kernel expects.
        let signals =
            unsafe { libc::syscall(libc::SYS_signalfd4, -1, &raw const watched, 8, libc::SOCK_CLOEXEC) };
        let mut waits = [poll_for(signals as RawFd), poll_for(if self.deaf { -1 } else { 0 })];
        self.say("ready");
        std::mem::take(&mut self.first).iter().for_each(|command| self.obey(command));
        loop {
            // SAFETY: the array outlives the call.
            unsafe { libc::poll(waits.as_mut_ptr(), 2, -1) };
            if waits[0].revents != 0 {
                let signal = self.signal(signals as RawFd);
                if signal.is_some() && signal == self.hear_after {
                    waits[1].fd = 0;
                }
            } else if waits[1].revents != 0 && !self.commands() {
                waits[1].fd = -1;
            }
        }
    }

    /// `got TERM 1 code=0 value=0 pid=7`: the name, how often so far, and what the kernel says of
    /// the sender.
    fn signal(&mut self, fd: RawFd) -> Option<u8> {
        // SAFETY: all zeroes is a valid signalfd_siginfo.
        let mut info: libc::signalfd_siginfo = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one whole struct.
        let got = unsafe { libc::read(fd, (&raw mut info).cast(), size_of_val(&info)) };
        assert_eq!(got as usize, size_of_val(&info), "a whole siginfo");
        let signal = info.ssi_signo as u8;
        if i32::from(signal) == libc::SIGCHLD && info.ssi_code > 0 {
            return None; // of a child of the probe's own
        }
        self.counts[usize::from(signal)] += 1;
        let count = self.counts[usize::from(signal)];
        let (code, value, pid) = (info.ssi_code, info.ssi_int, info.ssi_pid);
        self.say(&format!("got {} {count} code={code} value={value} pid={pid}", name(signal)));
        if self.exit_on.contains(&signal) {
            exit(0);
        }
        Some(signal)
    }

    /// False at the end of stdin.
    fn commands(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // SAFETY: the buffer is as long as is said.
        let got = unsafe { libc::read(0, bytes.as_mut_ptr().cast(), bytes.len()) };
        if got <= 0 {
            return false;
        }
        self.typed.extend_from_slice(&bytes[..got as usize]);
        while let Some(end) = self.typed.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.typed.drain(..=end).collect();
            self.obey(String::from_utf8_lossy(&line).trim());
        }
        true
    }

    fn obey(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let word = |at: usize| *words.get(at).unwrap_or_else(|| panic!("'{line}' needs more words"));
        match words.first().copied().unwrap_or_default() {
            "exit" => exit(word(1).parse().expect("a status")),
            "die" => die(number(word(1))),
            "default" => behave(number(word(1)), libc::SIG_DFL),
            "ignore" => behave(number(word(1)), libc::SIG_IGN),
            "stop-self" => send(own_pid(), libc::SIGSTOP),
            "kill" => send(word(1).parse().expect("a pid"), i32::from(number(word(2)))),
            "orphan" => self.start(&words[1..], true),
            "spawn" => self.start(&words[1..], false),
            "storm" => storm(word(1).parse().expect("a number")),
            "background-storm" => in_child(false, || storm(word(1).parse().expect("a number"))),
            "fork-storm" => fork_storm(word(1).parse().expect("a number")),
            "setuid" => set_user(word(1).parse().expect("a user's number")),
            "join-parents-group" => join_parents_group(),
            "close" => close(word(1).parse().expect("a descriptor")),
            _ => return self.tell(line),
        }
        self.say(&format!("done {line}"));
    }

    /// The questions.
    fn tell(&self, line: &str) {
        match line {
            "mask" => {
                self.say(&format!("blocked {:016x} ignored {:016x}", self.found.blocked, self.found.ignored));
            }
            "pids" => self.pids(),
            "terminal" => self.terminal(),
            "fds" => self.say(&format!("fds {:?}", self.found.fds)),
            "argv" => self.list("argv", &self.found.argv),
            "env" => self.list("env", &self.found.env),
            "cwd" => self.say(&format!("cwd {}", std::env::current_dir().expect("a directory").display())),
            "ping" => self.say("pong"),
            _ => self.say(&format!("what is '{line}'?")),
        }
    }

    fn pids(&self) {
        // SAFETY: these take and touch nothing.
        let (pid, parent, group, session) =
            unsafe { (libc::getpid(), libc::getppid(), libc::getpgrp(), libc::getsid(0)) };
        self.say(&format!("pid {pid} parent {parent} group {group} session {session}"));
    }

    fn terminal(&self) {
        // SAFETY: these take a descriptor and touch no memory but the struct given.
        let (front, size) = unsafe {
            let tty = libc::open(c"/dev/tty".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC);
            let mut size: libc::winsize = std::mem::zeroed();
            libc::ioctl(tty, libc::TIOCGWINSZ, &raw mut size);
            let front = libc::tcgetpgrp(tty);
            libc::close(tty);
            (front, size)
        };
        // SAFETY: takes nothing.
        let own = unsafe { libc::getpgrp() };
        self.say(&format!("foreground {} size {}x{}", front == own, size.ws_col, size.ws_row));
    }

    fn list(&self, what: &str, items: &[Vec<u8>]) {
        for item in items {
            self.say(&format!("{what} {}", item.escape_ascii()));
        }
        self.say(&format!("{what} end"));
    }

    /// Another probe: as a child, or as an orphan that the init has to take.
    fn start(&self, words: &[&str], orphan: bool) {
        let path = CString::new(self.found.argv[0].clone()).expect("argv holds no NUL");
        let words: Vec<CString> = words.iter().map(|word| CString::new(*word).expect("no NUL")).collect();
        let mut argv: Vec<*const c_char> = vec![path.as_ptr()];
        argv.extend(words.iter().map(|word| word.as_ptr()));
        argv.push(std::ptr::null());
        in_child(orphan, || {
            if !orphan || fork() == 0 {
                raw_mask(libc::SIG_SETMASK, self.found.blocked);
                // SAFETY: argv ends with a null and its strings are alive.
                unsafe { libc::execv(path.as_ptr(), argv.as_ptr()) };
            }
        });
    }

    fn say(&self, text: &str) {
        let line = format!("{}{text}\n", self.name);
        // One write, so that lines of several probes do not mix; a closed stdout is nobody's fault.
        // SAFETY: the buffer is as long as is said.
        unsafe { libc::write(self.out, line.as_ptr().cast(), line.len()) };
    }
}

/// So many orphans that are dead already, fifty from each parent.
fn storm(orphans: u32) {
    for _ in 0..orphans.div_ceil(50) {
        in_child(true, || {
            for _ in 0..50 {
                if fork() == 0 {
                    break;
                }
            }
        });
    }
}

/// So many processes, each of which makes orphans as fast as it can, until a signal ends it.
fn fork_storm(processes: u32) {
    for _ in 0..processes {
        in_child(false, || {
            raw_mask(libc::SIG_SETMASK, 0);
            // Behind everybody else: when whoever reaps gets too few turns, the machine is soon
            // without a free pid, and other tests that run beside cannot fork. SAFETY: touches no
            // memory.
            unsafe { libc::nice(19) };
            loop {
                in_child(true, || {
                    fork();
                });
                while crowded() {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        });
    }
}

/// Whether the machine, all its namespaces, has more processes than a quarter of the 32,768 that it
/// has numbers for at least: loadavg of proc(5) counts those that nobody has reaped, too.
fn crowded() -> bool {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let all = load.split_once('/').and_then(|(_, rest)| rest.split(' ').next()?.parse::<u32>().ok());
    all.is_some_and(|all| all > 8192)
}

/// Runs `life` in a child that then exits; `wait` until it has.
fn in_child(wait: bool, life: impl FnOnce()) {
    let child = fork();
    if child == 0 {
        life();
        exit(0);
    }
    if wait && child > 0 {
        // SAFETY: a null status is allowed.
        unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
    }
}

/// A server that was never told about signals: no handler, default actions, one thread for each
/// connection, which is kept while the client asks for that.
fn serve(port: u16, milliseconds: u64) -> ! {
    let listener = std::net::TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    println!("ready {}", listener.local_addr().expect("an address").port());
    loop {
        let Ok((mut client, _)) = listener.accept() else {
            continue;
        };
        std::thread::spawn(move || {
            let mut request = [0; 4096];
            while let Ok(got @ 1..) = client.read(&mut request) {
                println!("request");
                std::thread::sleep(std::time::Duration::from_millis(milliseconds));
                let keep = request[..got].windows(10).any(|part| part == b"keep-alive");
                let after = if keep { "keep-alive" } else { "close" };
                let answer =
                    format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: {after}\r\n\r\nadieu");
                // A client that has gone away is its own business.
                if client.write_all(answer.as_bytes()).is_err() || !keep {
                    break;
                }
            }
        });
    }
}

fn fork() -> c_int {
    // SAFETY: the probe has one thread, so the child may do anything.
    unsafe { libc::fork() }
}

fn exit(status: c_int) -> ! {
    // SAFETY: ends the process; nothing is buffered.
    unsafe { libc::_exit(status) }
}

fn die(signal: u8) {
    behave(signal, libc::SIG_DFL);
    send(own_pid(), i32::from(signal));
}

/// Takes a signal off the watch and gives it this disposition.
fn behave(signal: u8, handler: usize) {
    let action = KernelAction { handler, ..KernelAction::default() };
    // SAFETY: the struct is the kernel's own; KILL and STOP are refused, which is their nature.
    unsafe { sigaction(signal, &raw const action, std::ptr::null_mut()) };
    raw_mask(libc::SIG_UNBLOCK, 1 << (signal - 1));
}

fn send(pid: c_int, signal: c_int) {
    // SAFETY: touches no memory.
    unsafe { libc::kill(pid, signal) };
}

fn own_pid() -> c_int {
    // SAFETY: takes and touches nothing.
    unsafe { libc::getpid() }
}

fn set_user(user: u32) {
    // SAFETY: touches no memory.
    assert_eq!(unsafe { libc::setuid(user) }, 0, "cannot become user {user}");
}

fn join_parents_group() {
    // SAFETY: these touch no memory.
    let done = unsafe { libc::setpgid(0, libc::getpgid(libc::getppid())) };
    assert_eq!(done, 0, "cannot join the parent's process group");
}

fn close(fd: RawFd) {
    // SAFETY: the probe keeps no owner of its standard descriptors.
    unsafe { libc::close(fd) };
}

fn poll_for(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

fn ignored() -> u64 {
    (1..=64_u8).fold(0, |set, signal| {
        let mut action = KernelAction::default();
        // SAFETY: the kernel writes one struct of its own layout.
        unsafe { sigaction(signal, std::ptr::null(), &raw mut action) };
        if action.handler == libc::SIG_IGN { set | 1 << (signal - 1) } else { set }
    })
}

/// # Safety
/// As rt_sigaction(2): the pointers are null or good.
unsafe fn sigaction(signal: u8, new: *const KernelAction, old: *mut KernelAction) -> c_long {
    // SAFETY: the caller's promise.
    unsafe { libc::syscall(libc::SYS_rt_sigaction, c_long::from(signal), new, old, 8) }
}

/// Changes the mask as rt_sigprocmask(2) does, with 32 and 33, and gives back what it was.
fn raw_mask(how: c_int, set: u64) -> u64 {
    let mut old: u64 = 0;
    // SAFETY: both sets are 8 bytes, as the kernel expects.
    unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, &raw const set, &raw mut old, 8) };
    old
}

/// # Safety
/// `list` holds `length` strings, or strings up to a null.
unsafe fn strings(list: *const *const c_char, length: Option<usize>) -> Vec<Vec<u8>> {
    (0..length.unwrap_or(usize::MAX))
        // SAFETY: the caller's promise.
        .map(|at| unsafe { *list.add(at) })
        .take_while(|item| !item.is_null())
        // SAFETY: the caller's promise.
        .map(|item| unsafe { CStr::from_ptr(item) }.to_bytes().to_vec())
        .collect()
}

fn number(text: &str) -> u8 {
    let named = NAMES.iter().position(|name| *name == text).map(|at| at as u8 + 1);
    named.unwrap_or_else(|| text.parse().expect("a signal's name or number"))
}

fn name(signal: u8) -> String {
    NAMES.get(usize::from(signal) - 1).map_or_else(|| signal.to_string(), |name| (*name).to_string())
}
