//! adieu: a tiny init that makes the end of an app's life orderly.
//!
//! What happens flows one way. [`settings`] turns flags, variables and a file into what was meant. [`supervise`] starts
//! the app and then turns in one loop: it waits, collects what happened (signals, ends of processes, answers, time),
//! asks [`lifecycle`], a pure state machine, what should happen, and does it. How the kernel is asked stands in
//! [`sys`], and who is still busy in [`drain`]. [`say`] tells people about it.

pub mod calls;
pub mod checks;
pub mod drain;
pub mod health;
pub mod hooks;
pub mod lifecycle;
pub mod notify;
pub mod probe;
#[cfg(feature = "rehearse")]
pub mod rehearse;
pub mod report;
pub mod say;
pub mod settings;
pub mod status;
pub mod supervise;
pub mod sys;

use settings::{Refusal, Request, Surroundings};
use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;

/// adieu's own failures: usage, settings, a port that it cannot bind.
const FAILED: c_int = 125;

/// The init's main function, called by C's: Rust's runtime would ignore SIGPIPE and open closed descriptors, and the app
/// is to find both as they were. Returns the exit status.
///
/// # Safety
/// `argv` must be what C's main function was given.
pub unsafe fn entry(argc: c_int, argv: *const *const c_char) -> c_int {
    let inherited = sys::signals::hold();
    sys::descriptors::occupy_closed();
    // SAFETY: argc pointers to C strings stand at argv.
    let arguments = (1..argc.max(1) as usize).map(|n| unsafe { CStr::from_ptr(*argv.add(n)) });
    let arguments: Vec<OsString> =
        arguments.map(|text| OsStr::from_bytes(text.to_bytes()).to_owned()).collect();
    match start(arguments, inherited) {
        Ok(status) => status,
        Err(refusal) => {
            say::refusal(&refusal.0);
            FAILED
        }
    }
}

fn start(arguments: Vec<OsString>, inherited: sys::signals::Inherited) -> Result<c_int, Refusal> {
    let around = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        exists: &|path| std::path::Path::new(path).exists(),
        pid: std::process::id(),
    };
    match settings::request(arguments, std::env::vars_os(), &around)? {
        Request::Show(text) => Ok(show(&text)),
        Request::Check(settings) => Ok(show(&settings::timeline(&settings))),
        Request::Probe { address, what } => Ok(probe::run(address, what)),
        Request::Run(settings) => Ok(supervise::run(*settings, inherited)?),
    }
}

/// Prints what was asked for. The reader may have gone, which is its own business.
fn show(text: &str) -> c_int {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
