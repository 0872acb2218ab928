//! One process as PID 1 of a new PID namespace. A helper process in between makes the namespace,
//! since a namespace is over when its first process ends and the process that made it could fork no
//! other.

use crate::app;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, execve, fork, pipe, read, write};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// What each init gets to see: nothing that this run's own environment could change.
const ENVIRONMENT: [&str; 1] = ["PATH=/usr/bin:/bin"];

/// One life of an init, in nanoseconds of the monotonic clock.
pub struct Life {
    /// Just before the fork.
    pub forked: u64,
    /// Just before TERM was sent; 0 where none was.
    pub asked: u64,
    /// What the app printed last.
    pub told: u64,
    /// Its end was seen.
    pub ended: u64,
}

/// Runs the words as PID 1 of a new namespace to their end. With `stop`, the app first says that it
/// is ready and is then asked to stop by TERM.
pub fn life(words: &[String], stop: bool) -> Result<Life, String> {
    let (from, to) = pipe().map_err(text)?;
    let words = c_strings(words)?;
    let helper = helper(|| {
        let Ok((out, stdout)) = pipe() else { return };
        let forked = app::now();
        let first = start(&words, Some(&stdout));
        drop(stdout); // so that a read ends when the app does
        let mut bytes = [0; 64];
        let mut asked = 0;
        if stop {
            let _ = read(&out, &mut bytes); // "ready"; what is missing shows as no time below
            // Let the init come to rest.
            std::thread::sleep(Duration::from_millis(2));
            asked = app::now();
            let _ = kill(first, Signal::SIGTERM);
        }
        let length = read(&out, &mut bytes).unwrap_or(0);
        let status = waitpid(first, None);
        let ended = app::now();
        let told = String::from_utf8_lossy(&bytes[..length]).trim().parse().unwrap_or(0u64);
        let fine = status == Ok(WaitStatus::Exited(first, 0));
        let life = [forked, asked, told, if fine { ended } else { 0 }].map(u64::to_le_bytes);
        let _ = write(&to, &life.concat()); // the reader sees what is missing
    })?;
    drop(to); // so that the read ends if the helper does
    let mut bytes = [0; 32];
    let length = read(&from, &mut bytes).map_err(text)?;
    waitpid(helper, None).map_err(text)?;
    let number =
        |at: usize| bytes.iter().skip(8 * at).take(8).rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let life = Life { forked: number(0), asked: number(1), told: number(2), ended: number(3) };
    if length < bytes.len() || life.ended == 0 { Err("an init failed".to_owned()) } else { Ok(life) }
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
