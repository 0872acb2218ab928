//! One process as PID 1 of a new PID namespace. A helper process in between makes the namespace, since a namespace is
//! over when its first process ends and the process that made it could fork no other.

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execve, fork, pipe, read, write};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

/// What each init gets to see: nothing that this run's own environment could change.
const ENVIRONMENT: [&str; 1] = ["PATH=/usr/bin:/bin"];

/// Runs the words as PID 1 of a new namespace to their end: the time from just before the fork to the end's being seen.
pub fn timed(words: &[String]) -> Result<Duration, String> {
    let (from, to) = pipe().map_err(text)?;
    let words = c_strings(words)?;
    let helper = helper(|| {
        let before = Instant::now();
        let first = start(&words, None);
        let status = waitpid(first, None);
        let took = before.elapsed().as_nanos() as u64;
        let fine = status == Ok(WaitStatus::Exited(first, 0));
        let _ = write(&to, &(if fine { took } else { 0 }).to_ne_bytes()); // the reader sees what is missing
    })?;
    drop(to); // so that the read ends if the helper does
    let mut bytes = [0; 8];
    let length = read(&from, &mut bytes).map_err(text)?;
    waitpid(helper, None).map_err(text)?;
    match u64::from_ne_bytes(bytes) {
        0 => Err("an init failed".to_owned()),
        _ if length < bytes.len() => Err("an init failed".to_owned()),
        nanoseconds => Ok(Duration::from_nanos(nanoseconds)),
    }
}

/// An init that stays until this is dropped.
pub struct Staying {
    helper: Pid,
    /// The init's pid as seen from here.
    pub pid: Pid,
}

impl Staying {
    /// Starts the words as PID 1, stdout at the pipe's end.
    pub fn start(words: &[String], stdout: OwnedFd) -> Result<Staying, String> {
        let (from, to) = pipe().map_err(text)?;
        let words = c_strings(words)?;
        let helper = helper(|| {
            let first = start(&words, Some(&stdout));
            let _ = write(&to, &first.as_raw().to_ne_bytes()); // the reader sees what is missing
            let _ = waitpid(first, None);
        })?;
        drop(to); // so that the read ends if the helper does
        let mut bytes = [0; 4];
        if read(&from, &mut bytes).map_err(text)? < bytes.len() {
            return Err("cannot make a PID namespace".to_owned());
        }
        Ok(Staying { helper, pid: Pid::from_raw(i32::from_ne_bytes(bytes)) })
    }
}

impl Drop for Staying {
    fn drop(&mut self) {
        // The namespace ends with its PID 1; the helper waits for that.
        let _ = kill(self.pid, Signal::SIGKILL);
        let _ = waitpid(self.helper, None);
    }
}

/// Forks a process that makes a PID namespace for its children and does this work.
fn helper(work: impl FnOnce()) -> Result<Pid, String> {
    // SAFETY: this program has one thread, so the child may go on as it likes.
    match unsafe { fork() }.map_err(text)? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            if unshare(CloneFlags::CLONE_NEWPID).is_ok() {
                work();
            }
            std::process::exit(0);
        }
    }
}

fn start(words: &[CString], stdout: Option<&OwnedFd>) -> Pid {
    let environment = ENVIRONMENT.map(|entry| CString::new(entry).expect("no zero in it"));
    // SAFETY: this program has one thread, so the child may go on as it likes.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => child,
        Ok(ForkResult::Child) => {
            if let Some(stdout) = stdout {
                let _ = nix::unistd::dup2_stdout(stdout);
            }
            let _ = execve(&words[0], words, &environment);
            std::process::exit(127);
        }
        Err(_) => std::process::exit(1),
    }
}

fn c_strings(words: &[String]) -> Result<Vec<CString>, String> {
    words.iter().map(|word| CString::new(word.as_str()).map_err(|error| error.to_string())).collect()
}

pub fn text(error: nix::Error) -> String {
    error.to_string()
}
