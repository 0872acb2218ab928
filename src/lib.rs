//! adieu: a tiny init that makes the end of an app's life orderly.
//!
//! Everything flows one way, and the modules below stand in the order of the flow.
//!
//! [`settings`] turns flags, variables and a file into what was meant, or refuses in one line. [`supervise`] then starts the
//! app and turns in one loop. It waits for whatever comes first; it collects what happened: signals, ends of processes,
//! the answers of others, time. It asks [`lifecycle`], a pure state machine that knows neither clock nor kernel, what
//! should happen, and does it. That is all: there are no threads, no callbacks, and one deadline.
//!
//! How the kernel is asked stands in [`sys`]: every system call and every unsafe block. Who is still busy is found out by
//! [`drain`]. What asks others is in [`calls`], from which [`checks`] and [`hooks`] are made; what others ask is
//! answered by [`health`], with the pages of [`status`], and told to service managers by [`notify`]. [`say`] writes lines to stderr that
//! never wait for a reader, [`report`] remembers the story of a stop, and [`probe`] asks another adieu.
//!
//! The rehearsal, the second program, is a package of its own in `src/rehearse` that uses this library.

pub mod settings;
pub mod supervise;

pub mod lifecycle;
pub mod moment;
pub mod process;
pub mod signal;

pub mod sys;

pub mod drain;

pub mod ask;
pub mod hooks;
pub mod ready;

pub mod log;
pub mod notify;
pub mod report;

/// Readers of what comes from outside, for tests/fuzz alone: bytes in, no panic out.
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing {
    pub use crate::notify::read_any as notification;
    pub use crate::sys::fuzzing::{kernel_reply, stat, tcp_table};
}

use settings::{Refusal, Request, Surroundings};
use std::ffi::{CStr, OsStr, OsString, c_char, c_int};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// adieu's own failures: usage, settings, a port that it cannot bind.
const FAILED: c_int = 125;

/// How deep settings of a known program stand below their folder: /etc/php/8.4/fpm/pool.d.
const FOLDERS_DEEP: usize = 4;

/// The init's main function, called by C's: Rust's runtime would ignore SIGPIPE and open closed descriptors, and the app
/// is to find both as they were. Returns the exit status.
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
    match settings::request(arguments, std::env::vars_os(), &around)? {
        Request::Show(text) => Ok(show(&text)),
        Request::Check(settings) => Ok(show(&settings::timeline(&settings))),
        Request::Probe { address, what } => Ok(ready::probe::run(address, what)),
        Request::Run(settings) => Ok(supervise::run(*settings, inherited)?),
    }
}

/// The texts of a file or of the files in a folder, so many folders deep, as far as they are of a settings file's size.
fn texts(path: &Path, folders_deep: usize) -> Vec<String> {
    const LONGEST: u64 = 1 << 20;
    match path.metadata() {
        Ok(entry) if entry.is_file() && entry.len() <= LONGEST => {
            std::fs::read_to_string(path).into_iter().collect()
        }
        Ok(entry) if entry.is_dir() && folders_deep > 0 => {
            let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
            entries.flat_map(|entry| texts(&entry.path(), folders_deep - 1)).collect()
        }
        Ok(_) | Err(_) => Vec::new(),
    }
}

/// Prints what was asked for. The reader may have gone, which is its own business.
/// dockerd reads its init's version: tini's name, or a commit that holds no point. `docker info` shows the latter.
fn version_for_docker() -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("adieu {version} - git.adieu-{}\n", version.replace('.', "-"))
}

fn show(text: &str) -> c_int {
    let _ = std::io::stdout().write_all(text.as_bytes());
    0
}
