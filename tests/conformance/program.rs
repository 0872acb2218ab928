//! What an init does: the cases that adieu's own tests hold it to, asked of any init, side by side.
//!
//!     cargo run --release --example conformance -- --init 'tini -s --' --init 'dumb-init --'
//!
//! Each case runs in a process and, where that is possible, in a PID namespace of its own, so that
//! nothing is left of it whatever the init does. A case that cannot be seen on this machine says so
//! and is not counted.

mod cases;
#[path = "../harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cases::{CASES, Case};
use harness::{End, Given, Init, Launch};
use serde_json::{Value, json};

const HELP: &str = "\
conformance: what an init does, case by case and side by side

usage: conformance [--init 'COMMAND OPTIONS --']... [--case PART]... [--json | --markdown]

  --init WORDS     an init as one types it, with the -- that it wants before the app; repeatable
                   (default: adieu and whatever is installed of tini, dumb-init and catatonit)
  --case PART      only cases whose name contains this; repeatable
  --limit SECONDS  how long one case may take until it counts as no (default: 20)
  --jobs N         how many cases run at the same time (default: one for each processor)
  --json           the whole outcome as JSON, with the reason for each no
  --markdown       the table as Markdown
  --built          build nothing: use the adieu and the probe beside this program as they are
  --list           the cases and nothing else

Exits 1 when the first init fails a case, 2 on wrong usage.";

/// How the peers are started: as an ordinary process tini needs `-s` to be given any orphans.
const PEERS: [&str; 3] = ["tini -s --", "dumb-init --", "catatonit --"];

/// No wait of a stop's stands between the init and the case.
const ADIEU: &str = "--pre-stop 0 --grace 50s --";

/// The status by which a case says that it cannot be seen here.
const NOT_SEEN: i32 = 77;

struct Options {
    inits: Vec<String>,
    parts: Vec<String>,
    limit: Duration,
    jobs: usize,
    form: Form,
    built: bool,
    one: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Form {
    Text,
    Json,
    Markdown,
    List,
}

#[derive(Clone, PartialEq)]
enum Outcome {
    Yes,
    No(String),
    NotSeen(String),
}

/// An init as a column: what stands above it and how it is started.
struct Column {
    title: String,
    words: String,
}

fn main() {
    let options = options().unwrap_or_else(|error| wrong(&error));
    if let Some(name) = &options.one {
        run_here(name, &options.inits[0]);
    }
    if options.form == Form::List {
        for case in CASES {
            let tini = if case.tini { "tini, too" } else { "" };
            println!("{:<45} {tini:<10} {}", name(case), case.about);
        }
        return;
    }
    if !options.built {
        build();
    }
    let columns = columns(&options.inits);
    let wanted = |case: &&Case| {
        options.parts.is_empty() || options.parts.iter().any(|part| name(case).contains(part.as_str()))
    };
    let rows: Vec<&Case> = CASES.iter().filter(wanted).collect();
    let outcomes = run_all(&rows, &columns, &options);
    match options.form {
        Form::Json => println!("{:#}", as_json(&rows, &columns, &outcomes)),
        Form::Markdown => print!("{}", as_markdown(&rows, &columns, &outcomes)),
        Form::Text | Form::List => print!("{}", as_text(&rows, &columns, &outcomes)),
    }
    let failed = outcomes.iter().any(|row| matches!(row.first(), Some(Outcome::No(_))));
    exit(i32::from(failed));
}

fn options() -> Result<Options, lexopt::Error> {
    use lexopt::prelude::*;
    let mut options = Options {
        inits: Vec::new(),
        parts: Vec::new(),
        limit: Duration::from_secs(20),
        jobs: std::thread::available_parallelism().map_or(1, usize::from),
        form: Form::Text,
        built: false,
        one: None,
    };
    let mut parser = lexopt::Parser::from_env();
    while let Some(word) = parser.next()? {
        match word {
            Long("init") => options.inits.push(parser.value()?.string()?),
            Long("case") => options.parts.push(parser.value()?.string()?),
            Long("limit") => options.limit = Duration::from_secs(parser.value()?.parse()?),
            Long("jobs") => options.jobs = parser.value()?.parse::<usize>()?.max(1),
            Long("json") => options.form = Form::Json,
            Long("markdown") => options.form = Form::Markdown,
            Long("list") => options.form = Form::List,
            Long("built") => options.built = true,
            Long("one") => options.one = Some(parser.value()?.string()?), // for itself, in a child
            Short('h') | Long("help") => {
                println!("{HELP}");
                exit(0);
            }
            other => return Err(other.unexpected()),
        }
    }
    Ok(options)
}

fn wrong(error: &dyn std::fmt::Display) -> ! {
    eprintln!("conformance: {error}; see --help");
    exit(2)
}

/// As typed in a shell, without quotes; the program is looked up in the path.
fn init(words: &str) -> Result<Init, String> {
    let mut words = words.split_whitespace();
    let program = words.next().ok_or("an init needs a command")?;
    let program = found(program).ok_or_else(|| format!("{program} is not installed"))?;
    let options = words.map(str::to_string).collect();
    Ok(Init::Given(Box::leak(Box::new(Given { program, options }))))
}

fn found(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return std::fs::canonicalize(program).ok();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// cargo knows what is out of date, and says nothing when it is all there.
fn build() {
    let adieu = Init::Adieu.path();
    let release = adieu.parent().is_some_and(|folder| folder.ends_with("release"));
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--bin", "adieu", "--example", "probe", "--manifest-path"]);
    build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    build.args(release.then_some("--release"));
    let built = harness::output(&mut build, Duration::from_secs(900));
    if !built.status.success() {
        eprintln!("conformance: cannot build adieu: {}", String::from_utf8_lossy(&built.stderr));
        exit(2);
    }
}

fn columns(given: &[String]) -> Vec<Column> {
    if given.is_empty() {
        let peers = PEERS.iter().filter(|words| init(words).is_ok()).map(|words| (*words).to_string());
        let adieu = format!("{} {ADIEU}", Init::Adieu.path().display());
        return [adieu].into_iter().chain(peers).map(column).collect();
    }
    given.iter().cloned().map(column).collect()
}

fn column(words: String) -> Column {
    if let Err(error) = init(&words) {
        wrong(&error);
    }
    let mut title: Vec<&str> = words.split_whitespace().take_while(|word| *word != "--").collect();
    title[0] = title[0].rsplit('/').next().unwrap_or(title[0]);
    // The settings that adieu gets here do not tell it from another adieu.
    let title = if words.ends_with(ADIEU) { title[0].to_string() } else { title.join(" ") };
    Column { title, words }
}

fn name(case: &Case) -> String {
    format!("{}::{}", case.topic, case.name)
}

/// All cases of all inits, several at a time; row by row.
fn run_all(rows: &[&Case], columns: &[Column], options: &Options) -> Vec<Vec<Outcome>> {
    let able = harness::pid_namespaces();
    let next = AtomicUsize::new(0);
    let outcomes = Mutex::new(vec![vec![None; columns.len()]; rows.len()]);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let (row, column) = (number / columns.len(), number % columns.len());
                    let Some(case) = rows.get(row) else { return };
                    let outcome = match &able {
                        Err(reason) if case.as_pid_1 => Outcome::NotSeen(reason.clone()),
                        _ => run_apart(case, &columns[column], options.limit, able.is_ok()),
                    };
                    outcomes.lock().expect("nobody panics with it in hand")[row][column] = Some(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().expect("nobody panicked with it in hand");
    outcomes.into_iter().map(|row| row.into_iter().map(|cell| cell.expect("run")).collect()).collect()
}

/// In a child, which takes everything along that the case has started.
fn run_apart(case: &Case, column: &Column, limit: Duration, namespace: bool) -> Outcome {
    let this = std::env::current_exe().expect("a program knows its path");
    let launch = Launch::program(&this).command(["--one", &name(case), "--init", &column.words]);
    let mut run = if namespace { launch.in_namespace() } else { launch }.start();
    run.close_stdin();
    let Some(end) = run.end_within(limit) else {
        return Outcome::No(format!("not within {limit:?}"));
    };
    let said = run.rest().join("\n");
    match end {
        End::Exited(0) => Outcome::Yes,
        End::Exited(NOT_SEEN) => Outcome::NotSeen(said),
        _ => Outcome::No(said),
    }
}

/// Such a child: its status is the outcome, its stdout the reason.
fn run_here(name_of_case: &str, words: &str) -> ! {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let fixed = payload.downcast_ref::<&str>().copied();
        let message = payload.downcast_ref::<String>().map(String::as_str).or(fixed).unwrap_or("a panic");
        println!("{message}");
        exit(1);
    }));
    let case = CASES.iter().find(|case| name(case) == name_of_case);
    let case = case.unwrap_or_else(|| wrong(&format!("no case is called '{name_of_case}'")));
    (case.run)(init(words).unwrap_or_else(|error| wrong(&error)));
    exit(0);
}

/// For a case that this machine cannot show.
fn cannot_run(reason: &str) {
    println!("{reason}");
    exit(NOT_SEEN);
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No(_) => "no",
            Self::NotSeen(_) => "not seen",
        }
    }

    fn why(&self) -> Option<&str> {
        match self {
            Self::Yes => None,
            Self::No(why) | Self::NotSeen(why) => Some(why),
        }
    }
}

fn as_text(rows: &[&Case], columns: &[Column], outcomes: &[Vec<Outcome>]) -> String {
    let about = rows.iter().map(|case| case.about.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:about$}", "");
    columns.iter().for_each(|column| text += &format!("  {:>8}", column.title));
    for (case, row) in rows.iter().zip(outcomes) {
        text += &format!("\n{:about$}", case.about);
        for (outcome, column) in row.iter().zip(columns) {
            text += &format!("  {:>1$}", outcome.word(), column.title.len().max(8));
        }
    }
    text += &format!("\n{:about$}", "");
    for (at, column) in columns.iter().enumerate() {
        let yes = outcomes.iter().filter(|row| row[at] == Outcome::Yes).count();
        text += &format!("  {:>1$}", format!("{yes}/{}", rows.len()), column.title.len().max(8));
    }
    text + "\n\n" + &reasons(rows, columns, outcomes)
}

/// One line for each cell that is not a yes.
fn reasons(rows: &[&Case], columns: &[Column], outcomes: &[Vec<Outcome>]) -> String {
    let mut text = String::new();
    for (at, column) in columns.iter().enumerate() {
        for (case, row) in rows.iter().zip(outcomes) {
            if let Some(why) = row[at].why() {
                let why: Vec<&str> = why.lines().map(str::trim).take(3).collect();
                let cell = row[at].word();
                text += &format!("{}: {cell}: {}: {}\n", column.title, name(case), why.join("; "));
            }
        }
    }
    text
}

fn as_markdown(rows: &[&Case], columns: &[Column], outcomes: &[Vec<Outcome>]) -> String {
    let titles: Vec<&str> = columns.iter().map(|column| column.title.as_str()).collect();
    let mut text = format!("| | {} |\n|---|{}\n", titles.join(" | "), "---|".repeat(columns.len()));
    for (case, row) in rows.iter().zip(outcomes) {
        let words: Vec<&str> = row.iter().map(Outcome::word).collect();
        text += &format!("| {} | {} |\n", case.about, words.join(" | "));
    }
    text
}

fn as_json(rows: &[&Case], columns: &[Column], outcomes: &[Vec<Outcome>]) -> Value {
    let inits = columns.iter().map(|column| json!({ "name": column.title, "command": column.words }));
    let cases = rows.iter().zip(outcomes).map(|(case, row)| {
        let cell = |outcome: &Outcome| json!({ "outcome": outcome.word(), "why": outcome.why() });
        json!({
            "case": name(case),
            "about": case.about,
            "results": row.iter().map(cell).collect::<Vec<_>>(),
        })
    });
    json!({ "inits": inits.collect::<Vec<_>>(), "cases": cases.collect::<Vec<_>>() })
}
