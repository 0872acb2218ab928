//! adieu: a tiny init that makes the end of an app's life orderly.
//!
//! Everything flows one way. What happens outside becomes an event, a pure state machine decides,
//! and one loop acts:
//!
//! ```text
//!   flags, variables, file ──> settings ──> plan
//!                                            │
//!        ┌───────────── supervise ───────────┼────────────────────────────┐
//!        │                                   v                            │
//!  ──────┼─> signal ────────────┐       ┌──────────┐                      │
//!  ──────┼─> child's exit ──────┤       │lifecycle │      ┌─> signal, kill ┼──> app, leftovers
//!  ──────┼─> deadline passed ───┼─event─>   (pure) ├─action─> hooks, notify ┼──> others
//!  ──────┼─> check's answer ────┤       └──────────┘      ├─> log, report ──┼──> files, stderr
//!        │   verdict of drain ──┘                         └─> leave ────────┼──> exit status
//!        └───────────── one wait, one deadline ────────────────────────────┘
//! ```
//!
//! Five questions, and the module that answers each:
//!
//! - *Configured by whom?* [`settings`] turns flags, variables and a file into valid settings, or
//!   rejects them in one line.
//! - *When, and in which order?* [`supervise`] starts the app and runs the one loop: it waits for
//!   what comes first, collects what happened, asks the lifecycle, and performs its actions. No
//!   threads, no callbacks, one reading of the clock each turn.
//! - *What should happen?* [`lifecycle`] has neither clock nor kernel. It works on [`moment`],
//!   [`process`] and [`signal`], plain types that are pure too.
//! - *How is the kernel asked?* [`sys`] has every system call, every walk of /proc, and every
//!   `unsafe` but those of the entry below.
//! - *Who is still busy?* [`drain`] looks at the app's connections, weighs the evidence, and lets
//!   clients go.
//!
//! Around them: [`ask`] runs one command, or asks one port or URL; [`hooks`] and the checks in
//! [`ready`] use it. [`ready`] also serves the health endpoint, and [`notify`] talks to the service
//! manager. [`log`] writes lines and never waits for a reader; [`report`] records how the stop
//! went. [`errno`] names errors.
//!
//! The rehearsal, the second program, is a package of its own in `src/rehearse` that uses this
//! library.

// Private by default, so that the compiler finds what neither the binaries nor the tests use.
#![warn(unreachable_pub, missing_docs)]
// A panic aborts, and takes the container along where this is PID 1: whatever comes from outside is
// checked first.
#![cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::string_slice,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic
    )
)]

pub mod settings;
mod supervise;

pub mod errno;
pub mod lifecycle;
pub mod moment;
pub mod process;
pub mod signal;

pub mod sys;

pub mod drain;

pub mod ask;
mod hooks;
pub mod ready;

mod log;
mod notify;
pub mod report;

/// Readers of what comes from outside, for tests/fuzz alone: bytes in, no panic out.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::notify::read_any as notification;
    pub use crate::sys::fuzzing::{kernel_reply, stat, tcp_table};
}

use settings::{Refusal, Surroundings, Task};
use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The exit status of adieu's own failures: usage, settings, an address that it cannot bind.
const FAILED: c_int = 125;

/// How deep the settings of a known program lie below their folder: /etc/php/8.4/fpm/pool.d.
const FOLDERS_DEEP: usize = 4;

/// The init's main function, called by C's main: Rust's runtime would ignore SIGPIPE and open
/// closed descriptors, but the app must find both as they were. Returns the exit status.
///
/// # Safety
/// `argv` must be what C's main function was given.
pub unsafe fn entry(argc: c_int, argv: *const *const c_char) -> c_int {
    let inherited = sys::signals::hold();
    sys::descriptors::occupy_closed();
    // SAFETY: argc pointers to C strings stand at argv.
    let words = (0..argc.max(0) as usize).map(|n| unsafe { CStr::from_ptr(*argv.add(n)) });
    let mut words = words.map(|text| OsStr::from_bytes(text.to_bytes()).to_owned());
    let name = words.next().unwrap_or_default();
    let arguments: Vec<OsString> = words.collect();
    if arguments == ["--version"] && Path::new(&name).file_name() == Some(OsStr::new("docker-init")) {
        return show(&version_for_docker());
    }
    match start(arguments, inherited) {
        Ok(status) => status,
        Err(refusal) => {
            log::refusal(&refusal.0);
            FAILED
        }
    }
}

fn start(arguments: Vec<OsString>, inherited: sys::signals::Inherited) -> Result<c_int, Refusal> {
    let around = Surroundings {
        variable: &|name| std::env::var(name).ok(),
        exists: &|path| Path::new(path).exists(),
        texts: &|path| texts(Path::new(path), FOLDERS_DEEP),
        pid: std::process::id(),
    };
    match settings::task(arguments, std::env::vars_os(), &around)? {
        Task::Run(settings) => supervise::run(settings, inherited),
        Task::Show(text) => Ok(show(&text)),
        Task::Check(settings) => Ok(show(&settings::timeline(&settings))),
        Task::Wait(settings) => Ok(supervise::wait::run(&settings)),
        Task::Install(path) => install(&path),
        Task::Probe { address, what } => Ok(ready::probe::run(address, what)),
    }
}

// Kept out of start's frame, like the other tasks: that frame stays while the app runs.
#[inline(never)]
fn install(path: &Path) -> Result<c_int, Refusal> {
    sys::files::install_own_program(path).map(|()| 0).map_err(|error| {
        Refusal(format!("cannot install to '{}': {}", path.display(), sys::describe(&error)))
    })
}

/// The texts of a file, or of the files in a folder, at most `folders_deep` folders deep. Leaves
/// out files that are too long for settings.
fn texts(path: &Path, folders_deep: usize) -> Vec<String> {
    const LONGEST: u64 = 1 << 20;
    match path.metadata() {
        Ok(entry) if entry.is_file() && entry.len() <= LONGEST => {
            std::fs::read_to_string(path).into_iter().collect()
        }
        Ok(entry) if entry.is_dir() && folders_deep > 0 => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.flat_map(|entry| texts(&entry.path(), folders_deep.saturating_sub(1))).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// dockerd reads the version of its init: tini's name, or a commit without a dot, which
/// `docker info` shows.
fn version_for_docker() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("adieu {version} - git.adieu-{}\n", version.replace('.', "-"))
}

/// Prints a text that the user requested.
fn show(text: &str) -> c_int {
    // A reader that has gone does not need it.
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
