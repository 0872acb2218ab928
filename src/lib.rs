//! adieu: a tiny init that makes the end of an app's life orderly.
//!
//! Everything flows one way. What happens outside becomes an event, a pure state machine decides,
//! one loop does:
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
//! Five questions, and the room that answers each:
//!
//! - *Configured by whom?* [`settings`] turns flags, variables and a file into what was meant, or
//!   refuses in one line.
//! - *When, and in which order?* [`supervise`] starts the app and turns in one loop: it waits for
//!   whatever comes first, collects what happened, asks the lifecycle, and performs. No threads, no
//!   callbacks, one clock reading a turn.
//! - *What should happen?* [`lifecycle`] knows neither clock nor kernel. It works on [`moment`],
//!   [`process`] and [`signal`], plain types that are pure like itself.
//! - *How is the kernel asked?* [`sys`] has every system call, every `unsafe`, every walk of /proc.
//! - *Who is still busy?* [`drain`] looks at the app's connections, weighs the evidence, and lets
//!   clients go.
//!
//! Around them: [`ask`] puts one question to a command, a port or a URL; [`hooks`] and the checks
//! in [`ready`] are made of it. [`ready`] also answers whoever asks adieu, and [`notify`] speaks
//! with service managers. [`log`] writes lines that never wait for a reader; [`report`] remembers
//! how the stop went.
//!
//! The rehearsal, the second program, is a package of its own in `src/rehearse` that uses this
//! library.

// Private by default: what neither the binaries nor the tests use is then found as dead.
#![warn(unreachable_pub, missing_docs)]

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

/// adieu's own failures: usage, settings, a port that it cannot bind.
const FAILED: c_int = 125;

/// How deep settings of a known program stand below their folder: /etc/php/8.4/fpm/pool.d.
const FOLDERS_DEEP: usize = 4;

/// The init's main function, called by C's: Rust's runtime would ignore SIGPIPE and open closed
/// descriptors, and the app is to find both as they were. Returns the exit status.
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
        Task::Show(text) => Ok(show(&text)),
        Task::Check(settings) => Ok(show(&settings::timeline(&settings))),
        Task::Wait(settings) => Ok(supervise::wait::run(&settings)),
        Task::Install(path) => match sys::files::install_own_program(&path) {
            Ok(()) => Ok(0),
            Err(error) => {
                let reason = sys::describe(&error);
                Err(Refusal(format!("cannot install to '{}': {reason}", path.display())))
            }
        },
        Task::Probe { address, what } => Ok(ready::probe::run(address, what)),
        Task::Run(settings) => Ok(supervise::run(*settings, inherited)?),
    }
}

/// The texts of a file or of the files in a folder, so many folders deep, as far as they are of a
/// settings file's size.
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

/// Prints what was asked for. The reader may have gone, which is its own business. dockerd reads
/// its init's version: tini's name, or a commit that holds no point. `docker info` shows the
/// latter.
fn version_for_docker() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("adieu {version} - git.adieu-{}\n", version.replace('.', "-"))
}

fn show(text: &str) -> c_int {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
