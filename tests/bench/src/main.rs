//! Measures adieu beside the inits that people use today, each as PID 1 of a PID namespace of its
//! own, where it lives in a container. What is timed is interleaved, one turn of each init after
//! the other, so that a busy machine is busy for all of them; medians are printed, in one table.
//!
//!     cargo run --release --manifest-path tests/bench/Cargo.toml -- \
//!         [--rounds N] [--storm] [--beside BINARY]...
//!
//! `--beside` takes another build of adieu, say of the commit before yours.
//!
//! Needs root, and the peers where their packages put them; one that is not installed is left out,
//! aloud.

mod app;
mod measure;
mod pid1;

use measure::Init;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// How often each init is started, and each signal sent, unless `--rounds` says otherwise.
const ROUNDS: usize = 300;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(done) = app::run(&arguments) {
        return done;
    }
    match bench(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adieu-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn bench(arguments: &[String]) -> Result<(), String> {
    if !nix::unistd::geteuid().is_root() {
        return Err("a PID namespace for each init needs root".to_owned());
    }
    let storm = arguments.iter().any(|word| word == "--storm");
    let rounds = arguments.iter().skip_while(|word| *word != "--rounds").nth(1);
    let rounds = rounds.map_or(Ok(ROUNDS), |word| word.parse().map_err(|_| "--rounds takes a number"))?;
    let beside = arguments.windows(2).filter(|pair| pair[0] == "--beside").map(|pair| Path::new(&pair[1]));
    let inits = inits(beside)?;
    one_processor()?;
    let mut columns = measure::lives(&inits, rounds)?;
    columns.extend([
        ("signal", measure::signals(&inits, rounds)?),
        ("orphan", measure::each(&inits, measure::orphans)?),
        ("dirty KiB", measure::each(&inits, measure::memory)?),
        ("faults", measure::each(&inits, measure::faults)?),
        ("wake-ups", measure::each(&inits, measure::wakeups)?),
        ("bytes", measure::each(&inits, measure::size)?),
    ]);
    if storm {
        columns.push(("TERM in a storm, ms", measure::each(&inits, measure::storm)?));
    }
    show(&inits, &columns);
    println!("\nTimes in us, medians of {rounds} rounds; in brackets the median of the ratios to");
    println!("tini-static in the same round.");
    Ok(())
}

/// Everything on one processor, the last, where what is measured does not depend on where the
/// kernel puts it.
fn one_processor() -> Result<(), String> {
    let this = nix::unistd::Pid::from_raw(0);
    let allowed = nix::sched::sched_getaffinity(this).map_err(pid1::text)?;
    let last = (0..nix::sched::CpuSet::count()).rev().find(|cpu| allowed.is_set(*cpu) == Ok(true));
    let mut one = nix::sched::CpuSet::new();
    one.set(last.unwrap_or(0)).map_err(pid1::text)?;
    nix::sched::sched_setaffinity(this, &one).map_err(pid1::text)
}

/// adieu as it ships, and its peers. Copies on one disk, written back, so that all are read from
/// the same place and no page of a file counts as dirty.
fn inits<'a>(beside: impl Iterator<Item = &'a Path>) -> Result<Vec<Init>, String> {
    let place = std::env::temp_dir().join(format!("adieu-bench-{}", std::process::id()));
    std::fs::create_dir_all(&place).map_err(|error| format!("cannot make {}: {error}", place.display()))?;
    let mut inits = vec![copy("adieu", &adieu()?, &place)?];
    for (number, path) in beside.enumerate() {
        inits.push(copy(&format!("adieu, build {}", number + 2), path, &place)?);
    }
    let peers = [
        ("tini-static", "/usr/bin/tini-static"),
        ("tini", "/usr/bin/tini"),
        ("catatonit", "/usr/bin/catatonit"),
        ("dumb-init", "/usr/bin/dumb-init"),
    ];
    for (name, path) in peers {
        match Path::new(path).exists() {
            true => inits.push(copy(name, Path::new(path), &place)?),
            false => eprintln!("LEFT OUT: {name}: {path} is not installed"),
        }
    }
    nix::unistd::sync();
    Ok(inits)
}

fn adieu() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("STATIC_BINARY") {
        return Ok(PathBuf::from(path));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let built = Command::new("sh")
        .arg(root.join("packaging/build-static.sh"))
        .env_remove("CARGO_TARGET_DIR")
        .output();
    let built = built.map_err(|error| format!("cannot build adieu: {error}"))?;
    if !built.status.success() {
        return Err(format!("cannot build adieu: {}", String::from_utf8_lossy(&built.stderr)));
    }
    Ok(root.join(String::from_utf8_lossy(&built.stdout).trim()))
}

fn copy(name: &str, from: &Path, place: &Path) -> Result<Init, String> {
    let path = place.join(name);
    std::fs::copy(from, &path).map_err(|error| format!("cannot copy {}: {error}", from.display()))?;
    Ok(Init { name: name.to_owned(), path })
}

fn show(inits: &[Init], columns: &[(&str, Vec<String>)]) {
    let heads: Vec<&str> = columns.iter().map(|(head, _)| *head).collect();
    println!("| init | {} |", heads.join(" | "));
    println!("|---|{}", "--:|".repeat(columns.len()));
    for (row, init) in inits.iter().enumerate() {
        let cells: Vec<&str> = columns.iter().map(|(_, cells)| cells[row].as_str()).collect();
        println!("| {} | {} |", init.name, cells.join(" | "));
    }
    if let Some(place) = inits.first().and_then(|init| init.path.parent()) {
        let _ = std::fs::remove_dir_all(place); // what is left lies among the temporary files
    }
}
