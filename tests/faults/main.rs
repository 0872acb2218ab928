//! Every system call that the init makes in its life fails, one at a time, with each error that it
//! can fail with: at the start, in its endpoint, checks, hooks, messages, looks at connections,
//! report and stop. Whatever fails, the app's status comes out, TERM is served, nothing hangs and
//! nobody is left; or, before the app has begun, one line says why not.

mod errnos;
#[path = "../harness/mod.rs"]
mod harness;

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use errnos::{ROWS, Row};
use harness::seccomp::{Actor, Call};
use harness::{End, Init, Launch, Running, Scratch};

/// A life in which everything happens, and soon.
const LIFE: &str = "--pre-stop 30ms --grace 5s --kill-margin 300ms --drain-timeout 300ms --leftovers 300ms \
     --ready exec:/bin/true --on-start exec:/bin/true --on-stop exec:/bin/true --on-exit exec:/bin/true";

/// What shall fail: this call of this actor's, this time, with this error.
#[derive(Clone, Copy, Debug)]
struct Fault {
    actor: Actor,
    row: &'static Row,
    nth: u32,
    errno: i32,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let Self { actor, row, nth, errno } = self;
        let error = std::io::Error::from_raw_os_error(*errno);
        write!(f, "{actor:?}'s {} no {nth}: {error}", row.name)
    }
}

/// How often the init and its children make each call.
type Counts = BTreeMap<(Actor, i64), u32>;

#[derive(Clone, Copy, PartialEq, Debug)]
enum As {
    Pid1,
    Ordinary,
}

/// One life with at most one fault; what calls were made in it.
fn life(who: As, fault: Option<Fault>) -> Counts {
    let scratch = Scratch::new();
    let manager = manager();
    let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
    let launch = match who {
        As::Pid1 => Launch::pid1(Init::Adieu),
        As::Ordinary => Launch::ordinary(Init::Adieu),
    };
    let counts = Arc::new(Mutex::new(Counts::new()));
    let (launch, supervisor) = launch
        .options(LIFE)
        .options(&format!("--health {address}"))
        .option("--ready-file")
        .option(scratch.path("ready"))
        .option("--report")
        .option(scratch.path("report"))
        .option("--")
        .command([harness::probe()])
        .args("serve 0 20")
        .env("NOTIFY_SOCKET", &manager.1)
        .judged(judge(fault, Arc::clone(&counts)));
    let mut run = launch.start();
    let told = follow(&mut run, address, &STOPPED);
    if let Err(why) = told {
        run.fail(&why);
    }
    supervisor.finish();
    Arc::into_inner(counts).expect("the judge is gone").into_inner().expect("nobody panicked with it in hand")
}

/// Counts from the moment on when adieu holds its signals, its first act: what comes before is the
/// loader's.
fn judge(
    fault: Option<Fault>,
    counts: Arc<Mutex<Counts>>,
) -> impl FnMut(&Call) -> Option<i32> + Send + 'static {
    let mut begun = false;
    move |call| {
        begun |= call.number == libc::SYS_rt_sigprocmask;
        if !begun {
            return None;
        }
        let mut counts = counts.lock().expect("nobody panics with it in hand");
        let nth = counts.entry((call.actor, call.number)).or_default();
        *nth += 1;
        let hit = |fault: &Fault| (fault.actor, fault.row.call, fault.nth) == (call.actor, call.number, *nth);
        fault.filter(hit).filter(|fault| can_be(fault, call)).map(|fault| fault.errno)
    }
}

/// What is read from /proc has nothing to write back when it is closed.
fn can_be(fault: &Fault, call: &Call) -> bool {
    let written_back = (fault.row.call, fault.errno) == (libc::SYS_close, libc::EIO);
    let file = || std::fs::read_link(format!("/proc/{}/fd/{}", call.pid, call.arguments[0]));
    !written_back || file().is_ok_and(|file| !file.starts_with("/proc"))
}

fn manager() -> (UnixDatagram, String) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("adieu-faults-{}-{count}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    (UnixDatagram::bind_addr(&address).expect("a free name"), format!("@{name}"))
}

/// The app ends by the TERM of its stop, which is sent again where just that one is refused.
const STOPPED: [i32; 1] = [143];

/// From the start to the end. The error says what was not as it must be.
fn follow(run: &mut Running, health: std::net::SocketAddr, statuses: &[i32]) -> Result<(), String> {
    let Some(line) = run.line_if_any() else {
        return refused(run);
    };
    let port: u16 = line.strip_prefix("ready ").and_then(|port| port.parse().ok()).ok_or(line)?;
    // Whether the endpoint still answers is not asked here: only that asking does no harm.
    let _ = ask(health, "/readyz");
    let reached = || ask(([127, 0, 0, 1], port).into(), "/").is_ok_and(|answer| answer.ends_with("adieu"));
    // The way to the app is none of adieu's; lives beside this one may be in it.
    if !(0..3).any(|_| reached()) {
        return Err("the app was not reached".to_string());
    }
    harness::until("no zombie is left", || harness::zombies(run.pid).is_empty());
    let app = harness::children(run.pid).first().copied();
    run.term();
    match run.end() {
        End::Exited(status) if statuses.contains(&status) => {}
        other => return Err(format!("ended with {other:?} instead of the app's {statuses:?}")),
    }
    if app.is_some_and(|app| harness::stat(app, 0).is_some_and(|state| state != "Z")) {
        return Err("the app is still there".to_string());
    }
    unhurt(run)
}

/// Nothing has begun: then it says so, in one line and by its status. Without memory for its very
/// first allocation, which the musl build makes by mmap, Rust's library says it, and aborts.
fn refused(run: &mut Running) -> Result<(), String> {
    let end = run.end();
    let errors = run.errors();
    let said = errors.iter().any(|line| line.starts_with("adieu: "));
    match end {
        End::Exited(125..=127) if said => Ok(()),
        End::Signalled(_) if errors.iter().any(|line| line.contains("memory allocation of")) => Ok(()),
        other => Err(format!("nothing began, with {other:?} and {errors:?}")),
    }
}

fn unhurt(run: &mut Running) -> Result<(), String> {
    let errors = run.errors();
    let panic = errors.iter().find(|line| line.contains("panicked"));
    panic.map_or(Ok(()), |line| Err(line.clone()))
}

fn ask(address: std::net::SocketAddr, path: &str) -> Result<String, String> {
    let talk = || {
        let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        // In one piece: the app reads once, and closes over what it has not read.
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes())?;
        harness::stream::try_rest(&mut stream)
    };
    talk().map_err(|error| format!("{address}{path}: {error}"))
}

/// Which faults to try: in CI the first and the last time of each call, in full each time, with
/// every error.
fn faults(counts: &Counts) -> Vec<Fault> {
    let row = |number: i64| ROWS.iter().find(|row| row.call == number);
    let unknown: Vec<i64> = counts.keys().map(|key| key.1).filter(|&number| row(number).is_none()).collect();
    assert!(unknown.is_empty(), "tests/faults/errnos.rs has no row for the calls {unknown:?}");
    let mut faults = Vec::new();
    for (&(actor, number), &count) in counts {
        let row = row(number).expect("checked above");
        let times: Vec<u32> = match (harness::full(), count) {
            (true, _) => (1..=count.min(40)).collect(),
            (false, 1) => vec![1],
            (false, _) => vec![1, count],
        };
        let errnos = if harness::full() { row.errnos } else { &row.errnos[..row.errnos.len().min(1)] };
        for nth in times {
            faults.extend(errnos.iter().map(|&errno| Fault { actor, row, nth, errno }));
        }
    }
    faults
}

/// How many lives at the same time: they mostly wait.
const LIVES: usize = 6;

fn every_fault(who: As) {
    let counts = life(who, None);
    let mut faults = faults(&counts);
    // For whoever looks into one of them: ADIEU_FAULT='recvfrom no 7'.
    if let Ok(part) = std::env::var("ADIEU_FAULT") {
        faults.retain(|fault| fault.to_string().contains(&part));
        faults = faults.repeat(20);
    }
    assert!(faults.len() >= 20, "a life of so few calls that it cannot be one: {counts:?}");
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..LIVES {
            scope.spawn(|| {
                while let Some(fault) = faults.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let lived = catch_unwind(AssertUnwindSafe(|| life(who, Some(*fault))));
                    if let Err(panic) = lived {
                        let why = panic.downcast_ref::<String>().cloned().unwrap_or_default();
                        failed.lock().expect("unhurt").push(format!("{fault}: {why}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("unhurt");
    println!("{} faults in {} kinds of calls", faults.len(), counts.len());
    assert!(failed.is_empty(), "{} of {}:\n{}", failed.len(), faults.len(), failed.join("\n\n"));
}

#[test]
fn no_fault_of_a_call_stops_pid_1() {
    require!(harness::pid_namespaces());
    every_fault(As::Pid1);
}

#[test]
fn no_fault_of_a_call_stops_an_ordinary_process() {
    every_fault(As::Ordinary);
}
