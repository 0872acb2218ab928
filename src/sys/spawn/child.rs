//! The child between clone(2) and exec: async-signal-safe calls alone, nothing allocated.
//!
//! The app's child borrows our memory (CLONE_VM), so that no page table is copied, while we go on.
//! It has a stack of its own, changes nothing but its [`Child`], and leaves libc's errno, which it
//! would share, alone ([`raw`]).

use super::environment::{ListenPid, SHELL};
use super::raw;
use crate::process::Pid;
use crate::signal::Signal;
use crate::sys::signals::{self, Mask};
use nix::errno::Errno;
use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI32, Ordering};

/// Stack for the child's few calls, in pieces of 16 bytes.
const PIECES: usize = 1024;
/// Where a helper's child has the pipe for its errno.
const REPORT_AT: RawFd = 3;

/// Everything that the child needs, prepared before clone.
pub(super) struct Child {
    /// Where the command may be, in the order of the search.
    pub candidates: Vec<CString>,
    pub argv: Vec<*const c_char>,
    /// The same behind a shell, for a script without `#!`.
    pub shell_argv: Vec<*const c_char>,
    pub envp: Vec<*const c_char>,
    /// What argv and envp point to.
    pub _strings: [Vec<CString>; 2],
    /// Part of envp, where the child is to name itself.
    pub listen_pid: Option<Box<ListenPid>>,
    pub mask: Mask,
    pub ignore_child: bool,
    pub death_signal: Option<Signal>,
    pub foreground: Option<RawFd>,
    /// Only a helper's: what becomes its stdin, while its stdout goes to 2.
    pub empty: Option<RawFd>,
    /// Where its errno goes when exec failed; closed by exec.
    pub report: Option<RawFd>,
    pub parent: Pid,
    /// The same errno, for a parent that shares the memory and has no pipe.
    pub exec_errno: AtomicI32,
}

/// Starts `child`. Where it shares our memory, `child` and the stack must live until it has called
/// exec or ended.
pub(super) fn clone(child: *mut Child, stack: &Stack, flags: c_int) -> Result<Pid, Errno> {
    // SAFETY: the child runs on a stack of its own; what it reads lives as long as the caller says.
    // std and nix offer no such clone.
    let pid = unsafe { libc::clone(run, stack.top(), flags | libc::SIGCHLD, child.cast()) };
    // The kernel numbers processes from 1.
    Pid::new(Errno::result(pid)?).ok_or(Errno::ENOSYS)
}

extern "C" fn run(child: *mut c_void) -> c_int {
    // SAFETY: the pointer that was given to clone(): the child's alone until exec, or a copy.
    let child = unsafe { &mut *child.cast::<Child>() };
    let errno = child.become_command();
    child.exec_errno.store(errno as i32, Ordering::Relaxed);
    if let Some(report) = child.report {
        let report = if child.empty.is_some() { REPORT_AT } else { report };
        raw::write(report, &(errno as c_int).to_ne_bytes());
    }
    let status = if errno == Errno::ENOENT { 127 } else { 126 };
    // SAFETY: ends the child at once; no destructor and no atexit handler of the parent may run
    // here.
    unsafe { libc::_exit(status) }
}

impl Child {
    /// Returns only when exec failed.
    fn become_command(&mut self) -> Errno {
        raw::lead_a_group();
        if let Some(terminal) = self.foreground {
            raw::take_foreground(terminal); // SIGTTOU is blocked here
        }
        if let Some(signal) = self.death_signal {
            raw::die_with_parent(signal.number());
            // SAFETY: takes nothing and cannot fail.
            if self.parent.number() != 1 && unsafe { libc::getppid() } != self.parent.number() {
                raw::signal_self(signal.number());
            }
        }
        if let (Some(empty), Some(report)) = (self.empty, self.report) {
            keep_for_helper(empty, report);
        }
        if let Some(listen_pid) = &mut self.listen_pid {
            listen_pid.write(std::process::id());
        }
        if self.ignore_child {
            signals::set_disposition(libc::SIGCHLD, libc::SIG_IGN);
        }
        signals::set_mask(self.mask);
        self.execute()
    }

    /// Looks for the command as execvpe(3) of glibc does: a file that may not run is remembered
    /// while the search goes on, and a script without `#!` runs in a shell.
    fn execute(&mut self) -> Errno {
        let mut refused = None;
        for candidate in &self.candidates {
            // SAFETY: the arrays were made for this, and outlive the call.
            match unsafe { raw::execute(candidate, &self.argv, &self.envp) } {
                Errno::ENOEXEC if is_elf(candidate) => return Errno::ENOEXEC,
                Errno::ENOEXEC => {
                    execute_by_shell(candidate, &mut self.shell_argv, &self.envp);
                    // In an image without a shell, the shell's absence would mislead.
                    return Errno::ENOEXEC;
                }
                Errno::EACCES => refused = Some(Errno::EACCES),
                Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG => {}
                Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {} // a network's folder
                errno => return errno,
            }
        }
        refused.unwrap_or(Errno::ENOENT)
    }
}

/// In a copy of our memory and of our descriptors. While exec waits for a file system nothing of
/// adieu's may be held open: a client's connection, a socket of the app.
fn keep_for_helper(empty: RawFd, report: RawFd) {
    // SAFETY: integers. What is at 3 already stays as it is (EINVAL).
    unsafe {
        libc::dup2(empty, 0);
        libc::dup2(2, 1);
        libc::dup3(report, REPORT_AT, libc::O_CLOEXEC);
        libc::syscall(libc::SYS_close_range, REPORT_AT + 1, c_int::MAX, 0);
    }
}

fn execute_by_shell(script: &CStr, argv: &mut [*const c_char], envp: &[*const c_char]) {
    if let Some(place) = argv.get_mut(1) {
        *place = script.as_ptr();
    }
    // SAFETY: the arrays were made for this, and outlive the call.
    let _ = unsafe { raw::execute(SHELL, argv, envp) };
}

/// Whether this is a program for another kind of processor, of which a shell would only say "syntax
/// error".
fn is_elf(path: &CStr) -> bool {
    const MAGIC: [u8; 4] = *b"\x7fELF";
    let mut start = [0u8; MAGIC.len()];
    raw::reads_start(path, &mut start) && start == MAGIC
}

/// Memory for the child's stack, on the heap: a mapping of its own takes time to make and to undo.
/// A test holds that the child needs a quarter of it at most.
#[derive(Debug)]
pub(in crate::sys) struct Stack(Vec<UnsafeCell<Piece>>);

/// A stack begins at a multiple of 16.
#[derive(Debug)]
#[repr(align(16))]
pub(in crate::sys) struct Piece {
    _bytes: [u8; 16],
}

impl Stack {
    pub(in crate::sys) fn new() -> Result<Stack, Errno> {
        let mut memory = Vec::new();
        memory.try_reserve_exact(PIECES).map_err(|_| Errno::ENOMEM)?;
        Ok(Stack(memory))
    }

    /// Stacks grow downwards on every architecture that Rust knows.
    pub(in crate::sys) fn top(&self) -> *mut c_void {
        self.0.as_ptr().wrapping_add(self.0.capacity()).cast_mut().cast()
    }

    /// Its bytes, lowest first.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> &[std::sync::atomic::AtomicU8] {
        let length = self.0.capacity() * size_of::<Piece>();
        // SAFETY: that many bytes were allocated; each is written before it is read.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().cast(), length) }
    }
}
