//! Starts the real binary as it runs in the world: as PID 1 of a PID namespace of its own or as an
//! ordinary process, on pipes or on a real terminal, under an app that reports what reaches it. A
//! test blocks on the lines that it expects; one generous watchdog fails it with the whole
//! transcript when they do not come. Nothing sleeps to let things happen: that a signal does *not*
//! come is proved by a later one that arrives first.

#![allow(dead_code, unused_imports, unused_macros)] // each test file uses its own part

pub mod companion;
pub mod docker;
pub mod launch;
pub mod pipe;
pub mod running;
pub mod seccomp;
pub mod stream;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, Once, OnceLock};
use std::time::{Duration, Instant};

pub use companion::{Companion, Dialogue, output, output_given};
pub use launch::Launch;
pub use nix::sys::signal::Signal;
pub use pipe::Pipe;
pub use running::{End, Running};
pub use stream::{accept, connect, exactly, rest, try_connect, try_connect_unix, try_exactly};

/// How long a whole test may take before it has failed.
pub const WATCHDOG: Duration = Duration::from_secs(60);

/// The init under test. What adieu promises and tini does too is asked of both: if tini fails,
/// suspect the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Init {
    Adieu,
    Tini,
    /// Any other, as one types it.
    Given(&'static Given),
}

/// An init with its options: `tini -s --`.
#[derive(PartialEq, Eq, Debug)]
pub struct Given {
    pub program: PathBuf,
    /// With a `--` at the end where the init wants one.
    pub options: Vec<String>,
}

impl Init {
    pub fn path(self) -> PathBuf {
        match self {
            Self::Adieu => adieu(),
            Self::Tini => PathBuf::from("/usr/bin/tini"),
            Self::Given(given) => given.program.clone(),
        }
    }

    pub fn present(self) -> Result<(), String> {
        if self.path().exists() { Ok(()) } else { Err(format!("{} is not installed", self.path().display())) }
    }
}

/// What `ADIEU_BIN` names, such as the static binary that ships, or else cargo's own build.
fn adieu() -> PathBuf {
    std::env::var_os("ADIEU_BIN").map_or_else(built_by_cargo, PathBuf::from)
}

/// Where cargo has put it. It tells the tests of this package; those of others and examples stand
/// in a folder beside it.
fn built_by_cargo() -> PathBuf {
    option_env!("CARGO_BIN_EXE_adieu").map_or_else(
        || {
            let this = std::env::current_exe().expect("a program knows its path");
            let folder = this.parent().and_then(Path::parent).expect("below target");
            folder.join("adieu")
        },
        PathBuf::from,
    )
}

/// Says that a test did not run, where the runner counts it; in CI that is a failure. Returns from
/// the test.
#[macro_export]
macro_rules! left_out {
    ($($reason:tt)*) => {{
        $crate::harness::left_out(&format!($($reason)*));
        return;
    }};
}

/// Returns from a test that belongs to the long selection, unless that was asked for.
#[macro_export]
macro_rules! long {
    () => {
        if !$crate::harness::long_selection() {
            return;
        }
    };
}

/// Leaves the test out unless this `Result<(), String>` is `Ok`.
#[macro_export]
macro_rules! require {
    ($possible:expr) => {
        if let Err(reason) = $possible {
            $crate::left_out!("{reason}");
        }
    };
}

/// The cases, functions of an `Init`, as tests of adieu as PID 1 and of tini as PID 1.
#[macro_export]
macro_rules! also_under_tini {
    ($($case:ident),+ $(,)?) => { $(
        mod $case {
            use super::harness::{self, Init};

            #[test]
            fn adieu() {
                $crate::require!(harness::pid_namespaces());
                super::$case(Init::Adieu);
            }

            #[test]
            fn tini() {
                $crate::require!(harness::pid_namespaces());
                $crate::require!(Init::Tini.present());
                super::$case(Init::Tini);
            }
        }
    )+ };
}

pub fn left_out(reason: &str) {
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    note("ADIEU_LEFT_OUT", &format!("LEFT OUT: {test}: {reason}\n"));
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "left out, which CI does not allow: {reason}"
    );
}

/// Whether this machine lets the tests make a PID namespace (as root, or with a user namespace).
pub fn pid_namespaces() -> Result<(), String> {
    static ANSWER: OnceLock<Result<(), String>> = OnceLock::new();
    ANSWER
        .get_or_init(|| launch::try_namespace().map_err(|error| format!("no PID namespace here: {error}")))
        .clone()
}

pub fn root() -> Result<(), String> {
    if nix::unistd::geteuid().is_root() { Ok(()) } else { Err("needs root".into()) }
}

pub fn program(name: &str) -> Result<(), String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    if folders.iter().any(|folder| folder.join(name).is_file()) {
        Ok(())
    } else {
        Err(format!("{name} is not installed"))
    }
}

/// Whether Python has these modules, written as after `import`.
pub fn python_has(modules: &str) -> Result<(), String> {
    program("python3")?;
    let found = output(Command::new("python3").args(["-c", &format!("import {modules}")]), WATCHDOG);
    if found.status.success() { Ok(()) } else { Err(format!("python3 has no {modules}")) }
}

/// Whether long selections were asked for (`./tests/run.sh full`).
pub fn full() -> bool {
    std::env::var_os("ADIEU_FULL").is_some_and(|full| full == "1")
}

/// Whether the long selection was asked for; if not, tells the runner that this test has done
/// nothing, so that it does not count as passed.
pub fn long_selection() -> bool {
    if full() {
        return true;
    }
    let test = std::thread::current().name().unwrap_or("a test").to_string();
    note("ADIEU_LONG", &format!("{test}: part of the long selection (./tests/run.sh full)\n"));
    false
}

/// Appends a line to the file that this variable names, for tests/run.sh, and says it.
fn note(variable: &str, line: &str) {
    use std::io::Write;
    eprint!("{line}");
    if let Some(path) = std::env::var_os(variable) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
        written.unwrap_or_else(|error| panic!("{variable} must be writable: {error}"));
    }
}

pub fn probe() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| example("probe", "tests/harness/probe.rs")).clone()
}

/// An example's path. `cargo test --test NAME` builds no examples, so it is built here where it is
/// missing or old.
pub fn example(name: &str, source: &str) -> PathBuf {
    let path = built_by_cargo().with_file_name("examples").join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let changed = |path: &Path| path.metadata().and_then(|about| about.modified()).ok();
    if changed(&path).is_none_or(|built| Some(built) < changed(&source)) {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--example", name, "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
        builds(&mut build, name);
    }
    path
}

/// adieu and the probe without a libc to load, as a FROM scratch image has them: adieu from
/// `ADIEU_STATIC`, where the static build stands, or built here once.
pub fn static_programs() -> (PathBuf, PathBuf) {
    static BUILT: Once = Once::new();
    let given = std::env::var_os("ADIEU_STATIC")
        .map(|path| std::fs::canonicalize(path).expect("ADIEU_STATIC exists"));
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let target = repository().join("target/static");
    let folder = target.join(&triple).join("release");
    let build = |manifest: &str, package: &str, program: &str| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--release", "--package", package, "--bin", program]);
        build.args(["--target", &triple]);
        build.arg("--target-dir").arg(&target).arg("--manifest-path").arg(repository().join(manifest));
        build.env("RUSTFLAGS", "-C target-feature=+crt-static -C relocation-model=static");
        builds(&mut build, program);
    };
    BUILT.call_once(|| {
        build("tests/probe/Cargo.toml", "adieu-probe", "probe");
        if given.is_none() {
            build("Cargo.toml", "adieu", "adieu");
        }
    });
    (given.unwrap_or_else(|| folder.join("adieu")), folder.join("probe"))
}

/// A root of a Debian, named by its suite and what it is for, with these packages. Made once, below
/// target.
pub fn debian(suite: &str, purpose: &str, packages: &str) -> PathBuf {
    static MAKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = MAKING.lock();
    let folder = repository().join(format!("target/debian-{suite}{purpose}"));
    let (root, complete) = (folder.join("root"), folder.join("complete"));
    if !complete.exists() {
        let _ = std::fs::remove_dir_all(&folder); // absent the first time
        std::fs::create_dir_all(&folder).expect("a new folder");
        let mut make = Command::new("mmdebstrap");
        // The index of a suite that is not released is valid for a week, and a mirror may be late.
        make.args(["--variant=minbase", "--aptopt=Acquire::Check-Valid-Until \"false\""]);
        make.arg(format!("--include={packages}")).arg(suite);
        let made = output(make.arg(&root), BUILD);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(complete, "").expect("a new file");
    }
    root
}

/// The root of the repository, from a test of any package in it.
fn repository() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders.find(|folder| folder.join("tests/probe/Cargo.toml").exists()).expect("a whole checkout")
}

/// A build may have to wait for another one.
pub const BUILD: Duration = Duration::from_secs(900);

fn builds(command: &mut Command, what: &str) {
    let built = output(command, BUILD);
    assert!(built.status.success(), "cannot build {what}: {}", String::from_utf8_lossy(&built.stderr));
}

/// A directory that is gone when the test is.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("adieu-test-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a writable directory for temporary files");
        Self(path)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a writable directory for temporary files");
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what is left lies among the temporary files
    }
}

/// Polls until the condition holds, under the watchdog; for what no line announces.
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + WATCHDOG;
    while !condition() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The field of /proc/PID/stat after the name that stands there in brackets: 0 is the state, 1 the
/// parent.
pub fn stat(pid: i32, field: usize) -> Option<String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split_whitespace().nth(field).map(str::to_string)
}

/// A request to 127.0.0.1 from inside the network of a process, whose answer the thread gives.
pub fn request_in_network_of(pid: i32, port: u16) -> std::thread::JoinHandle<std::io::Result<String>> {
    use std::io::Write;
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("the process lives");
    std::thread::spawn(move || {
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let mut client = try_connect(("127.0.0.1", port))?;
        client.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")?;
        stream::try_rest(&mut client)
    })
}

pub fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

pub fn descendants(pid: i32) -> Vec<i32> {
    children(pid).into_iter().flat_map(|child| [vec![child], descendants(child)].concat()).collect()
}

/// The children that have ended and wait for someone to ask after them.
pub fn zombies(pid: i32) -> Vec<i32> {
    children(pid).into_iter().filter(|&child| stat(child, 0).as_deref() == Some("Z")).collect()
}

/// A free port, for a server that is told its own: below the range that the kernel gives to
/// clients, of which a rehearsal has many.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16 % 10_000;
    (0..10_000)
        .map(|_| 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000)
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port")
}
