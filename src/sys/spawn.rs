//! Starting processes: the app, and the helpers that hooks and checks run.
//!
//! The app's child borrows our memory until it has called execve (CLONE_VM and CLONE_VFORK, as
//! posix_spawn(3) does), so no page table is copied, and no pipe is needed to learn why exec
//! failed: the child leaves its errno where we can read it. That holds us up until then, as a
//! program that calls exec itself would be: on a file system that does not answer the start hangs,
//! and there is no app yet to look after. A helper is started while there is one, so its child has
//! a copy of our memory, nobody waits for its exec, and its errno comes through a pipe that is read
//! at its end. All signals stay blocked until the child's own mask is set, last of all.

use super::signals::{self, Mask};
use crate::process::Pid;
use crate::signal::Signal;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::Pid as NixPid;
use std::ffi::{CStr, CString, OsString, c_char, c_int, c_void};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Stack for the child's few calls.
const CHILD_STACK: usize = 64 * 1024;
/// Where a command is looked for when there is no PATH: the places that both libcs' own searches
/// agree on.
const NO_PATH: &[u8] = b"/bin:/usr/bin";
/// What runs a script without `#!`.
const SHELL: &CStr = c"/bin/sh";
/// Where a helper's child has the pipe for its errno.
const REPORT_AT: RawFd = 3;
const LISTEN_PID: &[u8] = b"LISTEN_PID=";
/// Names the process that LISTEN_FDS is meant for by its pidfd's inode, since systemd 259. It is
/// taken away where LISTEN_PID is rewritten, which is then asked alone.
const LISTEN_PIDFDID: &[u8] = b"LISTEN_PIDFDID=";
/// Room for LISTEN_PID= and any pid.
const LISTEN_PID_ROOM: usize = 32;

/// Why a process could not be started.
#[derive(Debug)]
pub enum SpawnError {
    /// There is no new process: clone(2) or memory for it failed.
    Fork(io::Error),
    /// The command cannot be executed.
    Exec(io::Error),
}

/// The app as it is to be started.
pub struct AppStart<'a> {
    /// The command and its arguments.
    pub argv: &'a [CString],
    /// Variables that replace or join the inherited ones: `NAME=value`. A `NAME` alone takes one
    /// away.
    pub variables: &'a [CString],
    /// The signals that it finds blocked.
    pub mask: Mask,
    /// Whether it finds SIGCHLD ignored.
    pub ignored_child: bool,
    /// What the app gets when adieu dies first.
    pub orphan_signal: Option<Signal>,
    /// The terminal whose foreground the app is to take over.
    pub foreground: Option<BorrowedFd<'a>>,
}

/// Starts the app in a process group of its own, with its inherited descriptors, mask and
/// dispositions.
pub fn app(start: &AppStart) -> Result<Pid, SpawnError> {
    let mut listen_pid = [0u8; LISTEN_PID_ROOM];
    let environment = Environment::with(start.variables);
    let passed_on = std::env::var_os("LISTEN_PID").and_then(|pid| pid.into_string().ok());
    let for_us = passed_on.is_some_and(|pid| pid.trim() == super::own_pid().to_string());
    let candidates = candidates(start.argv.first());
    let mut child = Child {
        candidates: &candidates,
        argv: pointers(start.argv),
        shell_argv: shell_arguments(start.argv),
        envp: environment.pointers(for_us.then(|| listen_pid.as_ptr().cast())),
        mask: start.mask,
        ignore_child: start.ignored_child,
        death_signal: start.orphan_signal,
        foreground: start.foreground.map(|terminal| terminal.as_raw_fd()),
        helper: None,
        listen_pid: for_us.then_some(&mut listen_pid),
        parent: super::own_pid(),
        exec_errno: 0,
    };
    child.become_app()
}

/// A helper that was started. Whether it could become its command shows at its end.
#[derive(Debug)]
pub struct Helper {
    pid: Pid,
    /// Where the child's errno comes when exec failed.
    failure: OwnedFd,
}

impl Helper {
    /// Its pid, which is its process group's number as well.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Why the command could not be executed; to be asked once the helper has ended.
    pub fn exec_error(&self) -> Option<io::Error> {
        let mut errno = [0; size_of::<c_int>()];
        // Nothing comes where exec has closed the other end, or where the child was killed before.
        let read = nix::unistd::read(&self.failure, &mut errno).ok()?;
        (read == errno.len()).then(|| io::Error::from_raw_os_error(c_int::from_ne_bytes(errno)))
    }
}

/// Starts a helper: stdin empty, stdout and stderr to descriptor 2, no signal blocked, a process
/// group of its own, so that it can be killed with all that it forked. `variables` are added to
/// adieu's environment. Does not wait for exec.
///
/// # Errors
/// What open(2), pipe(2) and clone(2) say.
pub fn helper(argv: &[OsString], variables: &[(String, String)]) -> io::Result<Helper> {
    let c_string = |bytes: Vec<u8>| CString::new(bytes).map_err(io::Error::other);
    let argv = argv.iter().map(|arg| c_string(arg.as_bytes().to_vec())).collect::<Result<Vec<_>, _>>()?;
    let variables = variables
        .iter()
        .map(|(name, value)| c_string(OsString::from(format!("{name}={value}")).into_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    let empty = above_stdio(std::fs::File::open("/dev/null")?.into())?;
    let (failure, report) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let report = above_stdio(report)?;
    let environment = Environment::with(&variables);
    let candidates = candidates(argv.first());
    let mut child = Child {
        candidates: &candidates,
        argv: pointers(&argv),
        shell_argv: shell_arguments(&argv),
        envp: environment.pointers(None),
        mask: Mask(0),
        ignore_child: false,
        death_signal: Some(Signal::KILL),
        foreground: None,
        helper: Some(HelperEnds { empty: empty.as_raw_fd(), report: report.as_raw_fd() }),
        listen_pid: None,
        parent: super::own_pid(),
        exec_errno: 0,
    };
    Ok(Helper { pid: child.become_helper()?, failure })
}

/// adieu's own descriptors may stand at 0 and 1, where the child needs its own.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let copy = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// The inherited environment byte for byte, entries without `=` included, with some variables
/// replaced.
struct Environment<'a> {
    variables: &'a [CString],
}

unsafe extern "C" {
    static environ: *const *const c_char;
}

impl<'a> Environment<'a> {
    fn with(variables: &'a [CString]) -> Environment<'a> {
        Environment { variables }
    }

    fn pointers(&self, listen_pid: Option<*const c_char>) -> Vec<*const c_char> {
        let mut pointers = Vec::new();
        for entry in inherited() {
            // SAFETY: an entry of environ is a C string that nothing in adieu changes or frees.
            let bytes = unsafe { CStr::from_ptr(entry) }.to_bytes();
            match listen_pid {
                Some(ours) if bytes.starts_with(LISTEN_PID) => pointers.push(ours),
                Some(_) if bytes.starts_with(LISTEN_PIDFDID) => {}
                Some(_) | None if self.replaces(bytes) => {}
                Some(_) | None => pointers.push(entry),
            }
        }
        let given = self.variables.iter().filter(|variable| variable.to_bytes().contains(&b'='));
        pointers.extend(given.map(|variable| variable.as_ptr()));
        pointers.push(std::ptr::null());
        pointers
    }

    fn replaces(&self, entry: &[u8]) -> bool {
        let name = |bytes: &[u8]| bytes.iter().position(|b| *b == b'=').unwrap_or(bytes.len());
        self.variables.iter().any(|variable| {
            let variable = variable.to_bytes();
            entry.contains(&b'=') && entry[..name(entry)] == variable[..name(variable)]
        })
    }
}

fn inherited() -> impl Iterator<Item = *const c_char> {
    // SAFETY: environ is set by libc before main and never changed by adieu; null when the
    // environment was cleared.
    let mut at = unsafe { environ };
    std::iter::from_fn(move || {
        if at.is_null() {
            return None;
        }
        // SAFETY: the array ends with a null pointer, at which the iteration ends.
        let entry = unsafe { *at };
        // SAFETY: as above; one past a non-null entry is still inside of the array.
        at = unsafe { at.add(1) };
        (!entry.is_null()).then_some(entry)
    })
}

fn pointers(strings: &[CString]) -> Vec<*const c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// Everywhere that a shell would look for the command, in order: the command itself when it has a
/// slash. Made here and not by execvpe(3) in the child, since musl's knows no script without `#!`
/// and glibc's puts argv on the stack.
fn candidates(command: Option<&CString>) -> Vec<CString> {
    let Some(command) = command.filter(|command| !command.is_empty()) else { return Vec::new() };
    if command.to_bytes().contains(&b'/') {
        return vec![command.clone()];
    }
    let path = std::env::var_os("PATH");
    let path = path.as_ref().map_or(NO_PATH, |path| path.as_bytes());
    let in_folder = |folder: &[u8]| {
        // An empty entry is the working directory.
        let separator: &[u8] = if folder.is_empty() { b"" } else { b"/" };
        CString::new([folder, separator, command.to_bytes()].concat()).ok()
    };
    path.split(|byte| *byte == b':').filter_map(in_folder).collect()
}

/// `/bin/sh SCRIPT ARGUMENT...`; where SCRIPT stands, the child puts the file that it has found.
fn shell_arguments(argv: &[CString]) -> Vec<*const c_char> {
    let script = argv.first().map_or(SHELL.as_ptr(), |command| command.as_ptr());
    let arguments = argv.iter().skip(1).map(|argument| argument.as_ptr());
    [SHELL.as_ptr(), script].into_iter().chain(arguments).chain([std::ptr::null()]).collect()
}

/// All that the child needs, made ready beforehand, as it may not allocate.
struct Child<'a> {
    candidates: &'a [CString],
    argv: Vec<*const c_char>,
    shell_argv: Vec<*const c_char>,
    envp: Vec<*const c_char>,
    mask: Mask,
    ignore_child: bool,
    death_signal: Option<Signal>,
    foreground: Option<RawFd>,
    helper: Option<HelperEnds>,
    listen_pid: Option<&'a mut [u8; LISTEN_PID_ROOM]>,
    parent: Pid,
    exec_errno: i32,
}

/// What only a helper's child has: what becomes its stdin, while its stdout goes to 2, and where to
/// its errno goes.
struct HelperEnds {
    empty: RawFd,
    report: RawFd,
}

impl Child<'_> {
    /// Waits until the child has called exec, and knows how that went.
    fn become_app(&mut self) -> Result<Pid, SpawnError> {
        let pid = self.clone_with(libc::CLONE_VM | libc::CLONE_VFORK).map_err(SpawnError::Fork)?;
        // The child wrote it through the pointer that was given to clone.
        match read_volatile(&self.exec_errno) {
            0 => Ok(pid),
            errno => {
                super::reap::forget(pid);
                Err(SpawnError::Exec(io::Error::from_raw_os_error(errno)))
            }
        }
    }

    /// Waits for nothing.
    fn become_helper(&mut self) -> io::Result<Pid> {
        let pid = self.clone_with(0)?;
        // The child does the same: whoever comes first, it can be killed as a group from now on. An
        // error means that it is past exec or has ended.
        let _ = nix::unistd::setpgid(NixPid::from_raw(pid.number()), NixPid::from_raw(pid.number()));
        Ok(pid)
    }

    fn clone_with(&mut self, flags: c_int) -> io::Result<Pid> {
        let stack = Stack::new()?;
        // SAFETY: either the child has a copy of our memory, or CLONE_VFORK suspends us until it
        // has called exec or exited, so that `self` and the stack outlive its use of them; it runs
        // on a stack of its own. std and nix offer no vfork.
        let pid = unsafe {
            libc::clone(run_child, stack.top(), flags | libc::SIGCHLD, std::ptr::from_mut(self).cast())
        };
        Pid::new(Errno::result(pid)?).ok_or_else(|| io::ErrorKind::Other.into())
    }

    /// In the child, async-signal-safe calls only. Returns only when exec failed.
    fn become_command(&mut self) {
        // SAFETY: plain integers in every call of this block; a failure of setpgid or of tcsetpgrp
        // (gVisor) leaves the child where it is, which is no reason to not start it. SIGTTOU is
        // blocked here.
        unsafe {
            libc::setpgid(0, 0);
            if let Some(terminal) = self.foreground {
                libc::tcsetpgrp(terminal, libc::getpid());
            }
            if let Some(signal) = self.death_signal {
                libc::prctl(libc::PR_SET_PDEATHSIG, signal.number() as libc::c_ulong, 0, 0, 0);
                if self.parent.number() != 1 && libc::getppid() != self.parent.number() {
                    // Not raise(3): musl's trusts a thread id that it keeps, and that is still the
                    // parent's.
                    libc::kill(libc::getpid(), signal.number());
                }
            }
            if let Some(ends) = &self.helper {
                libc::dup2(ends.empty, 0);
                libc::dup2(2, 1);
                // While exec waits for a file system nothing of adieu's may be held open: a
                // client's connection, a socket of the app. What is at 3 already stays as it is
                // (EINVAL).
                libc::dup3(ends.report, REPORT_AT, libc::O_CLOEXEC);
                libc::syscall(libc::SYS_close_range, REPORT_AT + 1, c_int::MAX, 0);
            }
        }
        if let Some(room) = self.listen_pid.as_deref_mut() {
            // SAFETY: getpid has no preconditions and is async-signal-safe.
            write_listen_pid(room, unsafe { libc::getpid() });
        }
        if self.ignore_child {
            signals::set_disposition(libc::SIGCHLD, libc::SIG_IGN);
        }
        signals::set_mask(self.mask);
        self.exec_errno = self.execute() as i32;
        if self.helper.is_some() {
            let errno = &raw const self.exec_errno;
            // SAFETY: four bytes that live through the call. Nobody is there to be told that a
            // pipe's first write failed.
            unsafe { libc::write(REPORT_AT, errno.cast(), size_of::<i32>()) };
        }
    }

    /// Looks for the command as execvpe(3) of glibc does: a file that may not run is remembered
    /// while the search goes on, and a script without `#!` runs in a shell.
    fn execute(&mut self) -> Errno {
        let mut refused = None;
        for candidate in self.candidates {
            // SAFETY: the path is a C string, both arrays end with null and hold C strings, which
            // all outlive us.
            unsafe { libc::execve(candidate.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
            match Errno::last() {
                Errno::ENOEXEC if is_elf(candidate) => return Errno::ENOEXEC,
                Errno::ENOEXEC => return self.execute_by_shell(candidate),
                Errno::EACCES => refused = Some(Errno::EACCES),
                Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => {}
                Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {} // a network's folder
                errno => return errno,
            }
        }
        refused.unwrap_or(Errno::ENOENT)
    }

    fn execute_by_shell(&mut self, script: &CStr) -> Errno {
        if let Some(place) = self.shell_argv.get_mut(1) {
            *place = script.as_ptr();
        }
        // SAFETY: as in execute().
        unsafe { libc::execve(SHELL.as_ptr(), self.shell_argv.as_ptr(), self.envp.as_ptr()) };
        // In an image without a shell, the shell's absence would mislead.
        Errno::ENOEXEC
    }
}

/// Whether this is a program for another kind of processor, of which a shell would only say "syntax
/// error".
fn is_elf(path: &CStr) -> bool {
    const MAGIC: [u8; 4] = *b"\x7fELF";
    let mut magic = [0u8; MAGIC.len()];
    // SAFETY: a C string and plain flags; the descriptor is closed below.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    // SAFETY: reads no more than there is room for; an error of open makes one of read.
    let length = unsafe { libc::read(file, magic.as_mut_ptr().cast(), magic.len()) };
    // SAFETY: closes what was opened here and is used nowhere else, or nothing.
    unsafe { libc::close(file) };
    length == magic.len() as isize && magic == MAGIC
}

/// Reads what another process wrote into our memory.
fn read_volatile(errno: &i32) -> i32 {
    // SAFETY: a valid, aligned reference; volatile, since the compiler cannot know that the child
    // wrote there.
    unsafe { std::ptr::read_volatile(errno) }
}

extern "C" fn run_child(child: *mut c_void) -> c_int {
    // SAFETY: the pointer that clone_with() gave to clone; what it points to lives until exec, or
    // is our own copy.
    let child = unsafe { &mut *child.cast::<Child>() };
    child.become_command();
    // An emulator of user programs (qemu) gives the child a copy of our memory: there the status
    // tells.
    let status = if child.exec_errno == Errno::ENOENT as i32 { 127 } else { 126 };
    // SAFETY: ends the child at once; no destructor and no atexit handler of the parent may run
    // here.
    unsafe { libc::_exit(status) }
}

/// Writes `LISTEN_PID=<pid>` with its final zero, without allocating.
fn write_listen_pid(room: &mut [u8; LISTEN_PID_ROOM], pid: i32) {
    let mut digits = [0u8; 12];
    let mut at = digits.len();
    let mut rest = pid.unsigned_abs();
    while rest > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let digits = &digits[at..];
    room[..LISTEN_PID.len()].copy_from_slice(LISTEN_PID);
    room[LISTEN_PID.len()..][..digits.len()].copy_from_slice(digits);
    room[LISTEN_PID.len() + digits.len()] = 0;
}

/// Memory for the child's stack, given back to the kernel when the child has gone its way.
pub(super) struct Stack {
    base: *mut c_void,
}

impl Stack {
    pub(super) fn new() -> Result<Stack, Errno> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK | libc::MAP_NORESERVE;
        // SAFETY: a new anonymous mapping; it touches nothing that exists.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), CHILD_STACK, protection, flags, -1, 0) };
        if base == libc::MAP_FAILED { Err(Errno::last()) } else { Ok(Stack { base }) }
    }

    /// Stacks grow downwards on every architecture that Rust knows.
    pub(super) fn top(&self) -> *mut c_void {
        // SAFETY: one past the end of the mapping, which is a multiple of 16.
        unsafe { self.base.byte_add(CHILD_STACK) }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: the mapping made in new(); nobody runs on it any more.
        unsafe { libc::munmap(self.base, CHILD_STACK) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_pid_is_written_as_systemd_reads_it() {
        for (pid, text) in [(7, c"LISTEN_PID=7"), (4_194_304, c"LISTEN_PID=4194304")] {
            let mut room = [b'x'; LISTEN_PID_ROOM];
            write_listen_pid(&mut room, pid);
            assert_eq!(CStr::from_bytes_until_nul(&room).unwrap(), text);
        }
    }

    #[test]
    fn a_command_is_looked_for_as_a_shell_would() {
        assert_eq!(candidates(Some(&c"./app".to_owned())), [c"./app".to_owned()]);
        assert!(candidates(Some(&c"".to_owned())).is_empty() && candidates(None).is_empty());
        let path = std::env::var("PATH").unwrap_or_else(|_| "/bin:/usr/bin".to_owned());
        let found = candidates(Some(&c"app".to_owned()));
        assert_eq!(found.len(), path.split(':').count());
        assert!(found.iter().all(|candidate| candidate.to_bytes().ends_with(b"app")), "{found:?}");
    }

    #[test]
    fn a_command_that_is_not_there_is_told_apart_from_one_that_may_not_run() {
        let start = |command: &CStr| {
            app(&AppStart {
                argv: &[command.to_owned()],
                variables: &[],
                mask: Mask(0),
                ignored_child: false,
                orphan_signal: None,
                foreground: None,
            })
        };
        let failure = |command| match start(command) {
            Err(SpawnError::Exec(error)) => error.kind(),
            other => panic!("{other:?}"),
        };
        assert_eq!(failure(c"/nowhere/at-all"), io::ErrorKind::NotFound);
        assert_eq!(failure(c"/etc/passwd"), io::ErrorKind::PermissionDenied);
    }
}
