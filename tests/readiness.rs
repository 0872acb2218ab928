//! Whether traffic should come, as it is told outside: over HTTP, by a file, to `adieu --probe`.

mod harness;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use harness::{Init, Launch, Running, Scratch, until};

/// Longer than any test may take.
const FOR_EVER: &str = "--pre-stop 10m --grace 30m";

/// An address that nobody else uses: all of 127.0.0.0/8 is the loopback's.
fn address() -> SocketAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let count = COUNT.fetch_add(1, Ordering::Relaxed) as u8;
    SocketAddr::from(([127, high | 1, low, count + 1], 8080))
}

/// adieu with an endpoint, once it answers.
fn serving(launch: Launch) -> (Running, SocketAddr) {
    let address = address();
    let run = launch.option("--health").option(address.to_string()).start();
    until("the endpoint answers", || harness::try_connect(address).is_ok());
    (run, address)
}

/// Status and body.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = harness::connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("adieu reads");
    let answer = harness::rest(&mut stream);
    let (head, body) = answer.split_once("\r\n\r\n").expect("a whole answer");
    (head[9..12].parse().expect("a status"), body.to_string())
}

fn is_ready(address: SocketAddr) -> bool {
    get(address, "/readyz").0 == 200
}

#[test]
fn readiness_fails_with_the_stop_request_while_the_app_goes_on() {
    require!(harness::pid_namespaces());
    let launch = Launch::pid1(Init::Adieu).options(FOR_EVER).option("--on-exit").option("exec:true a-secret");
    let (mut run, address) = serving(launch);
    run.expect("ready");
    until("it is ready", || is_ready(address));
    assert_eq!(get(address, "/livez"), (200, "alive\n".to_string()));
    run.term();
    // The request was sent after the signal, so it may not be answered as if there were none.
    let (status, reason) = get(address, "/readyz");
    assert_eq!(status, 503, "{reason}");
    assert_eq!(get(address, "/livez").0, 200);
    let (_, status) = get(address, "/status");
    assert!(!status.contains("a-secret"), "commands and URLs are nobody else's: {status}");
    let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
    assert_eq!(status["phase"], "pre-stop");
    assert_eq!(status["ready"], false);
    assert_eq!(status["settings"]["pre-stop"]["value"], "10m", "{status}");
    run.expect_answer("ping", "pong");
    run.say("exit 3");
    run.expect_exit(3);
}

/// The endpoint's connection is there already, so nothing but the order in adieu's own loop
/// decides.
#[test]
fn no_answer_is_older_than_a_signal_sent_before_its_request() {
    require!(harness::pid_namespaces());
    for _ in 0..20 {
        let (mut run, address) = serving(Launch::pid1(Init::Adieu).options(FOR_EVER));
        run.expect("ready");
        until("it is ready", || is_ready(address));
        let mut stream = harness::connect(address);
        let mut ask = || {
            stream.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").expect("adieu reads");
            let mut answer = [0; 1000];
            let got = stream.read(&mut answer).expect("adieu answers");
            String::from_utf8_lossy(&answer[9..got.min(12)]).into_owned()
        };
        assert_eq!(ask(), "200");
        run.term();
        assert_eq!(ask(), "503");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let address = address();
    let _taken = TcpListener::bind(address).expect("a free address");
    let launch = Launch::ordinary(Init::Adieu).option("--health").option(address.to_string());
    let (end, out, err) = launch.run();
    assert_eq!(end, harness::End::Exited(125));
    assert!(out.is_empty(), "the app was not started: {out:?}");
    assert_eq!(err.len(), 1, "{err:?}");
    assert!(err[0].contains(&address.to_string()) && err[0].contains("in use"), "{err:?}");
}

#[test]
fn starting_lasts_until_all_checks_pass_and_readiness_follows_them() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let (app, ready, file) = (address(), scratch.path("ready"), scratch.path("there"));
    let launch = Launch::pid1(Init::Adieu)
        .options(FOR_EVER)
        .option("--ready")
        .option(format!("tcp://{app}"))
        .option("--ready")
        .option(format!("exec:test -e {}", file.display()))
        .option("--ready-file")
        .option(&ready);
    let (mut run, address) = serving(launch);
    run.expect("ready");
    until("both checks have failed", || {
        let (status, reason) = get(address, "/readyz");
        assert_eq!(status, 503);
        reason.contains("connection refused") && reason.contains("exit status 1")
    });
    assert!(get(address, "/status").1.contains("\"phase\":\"starting\""));
    let listener = TcpListener::bind(app).expect("a free address");
    std::fs::write(&file, "").expect("a scratch file");
    until("it is ready", || is_ready(address));
    assert!(ready.exists());
    assert!(get(address, "/status").1.contains("\"phase\":\"running\""));
    drop(listener);
    until("it is no longer ready", || !is_ready(address));
    assert!(!ready.exists());
    assert!(get(address, "/status").1.contains("\"phase\":\"running\""));
    let _listener = TcpListener::bind(app).expect("a free address");
    until("it is ready again", || is_ready(address));
    assert!(ready.exists());
    run.term();
    until("the file is gone", || !ready.exists());
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn a_check_that_hangs_delays_nothing_and_leaves_nothing() {
    require!(harness::pid_namespaces());
    let silent = TcpListener::bind(address()).expect("a free address");
    let launch = Launch::pid1(Init::Adieu)
        .options("--pre-stop 0 --grace 50s")
        .option("--ready")
        .option(format!("http://{}/", silent.local_addr().expect("an address")))
        .option("--ready")
        .option("exec:sh -c 'sleep 1000 & sleep 1000'");
    let (mut run, address) = serving(launch);
    run.expect("ready");
    until("both have been given up", || {
        get(address, "/readyz").1.matches("no answer within 1s").count() == 2
    });
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    run.term();
    run.expect_signal("TERM");
    until("the checks are gone", || harness::children(run.pid).len() == 1);
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn an_app_that_ends_while_starting_ends_everything() {
    require!(harness::pid_namespaces());
    let launch = Launch::pid1(Init::Adieu).option("--ready").option(format!("tcp://{}", address()));
    let (mut run, _) = serving(launch);
    run.expect("ready");
    run.say("exit 4");
    run.expect_exit(4);
}

/// `adieu --probe`, with the address from a variable as an image would set it.
fn probe(address: SocketAddr, what: &str) -> (harness::End, Vec<String>, Vec<String>) {
    Launch::program(&Init::Adieu.path())
        .option("--probe")
        .option(what)
        .env("ADIEU_HEALTH", format!("0.0.0.0:{}", address.port()))
        .run()
}

#[test]
fn a_probe_says_yes_no_and_why() {
    require!(harness::pid_namespaces());
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let launch = Launch::pid1(Init::Adieu).options(FOR_EVER).env("ADIEU_HEALTH", free.to_string());
    let mut run = launch.start();
    run.expect("ready");
    until("it is ready", || harness::try_connect(free).is_ok() && is_ready(free));
    let (end, out, _) = probe(free, "readyz");
    assert_eq!((end, out.len()), (harness::End::Exited(0), 0));
    run.term();
    until("it is not ready", || !is_ready(free));
    let (end, _, err) = probe(free, "readyz");
    assert_eq!(end, harness::End::Exited(1));
    assert!(err.len() == 1 && err[0].contains("not ready"), "{err:?}");
    assert_eq!(probe(free, "livez").0, harness::End::Exited(0));
    run.say("exit 0");
    run.expect_exit(0);
    let (end, _, err) = probe(free, "livez");
    assert_eq!(end, harness::End::Exited(1));
    assert!(err.len() == 1 && err[0].contains("connection refused"), "{err:?}");
}

/// Clients without end: as fast as they can on kept connections, slow ones, and those who only
/// knock.
struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
    /// How often each of them came.
    counts: Arc<[AtomicU32; 3]>,
}

impl Crowd {
    fn gather(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new([const { AtomicU32::new(0) }; 3]);
        let behave: [fn(SocketAddr, &AtomicBool, &AtomicU32); 3] = [hurry, dawdle, knock];
        let threads = (0..3).map(|which| {
            let (stop, counts) = (stop.clone(), counts.clone());
            std::thread::spawn(move || behave[which](address, &stop, &counts[which]))
        });
        Self { threads: threads.collect(), stop, counts }
    }

    fn is_there(&self) -> bool {
        self.counts.iter().all(|count| count.load(Ordering::Relaxed) >= 50)
    }

    fn leave(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().expect("a client does not panic"));
    }
}

fn hurry(address: SocketAddr, stop: &AtomicBool, count: &AtomicU32) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = harness::try_connect(address) else { continue };
        let mut answer = [0; 4096];
        while !stop.load(Ordering::Relaxed)
            && stream.write_all(b"GET /readyz HTTP/1.1\r\n\r\n").is_ok()
            && stream.read(&mut answer).is_ok_and(|got| got > 0)
        {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Sends half a request and waits.
fn dawdle(address: SocketAddr, stop: &AtomicBool, count: &AtomicU32) {
    let mut slow = std::collections::VecDeque::new();
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut stream) = harness::try_connect(address) else { continue };
        // It may have been given up already.
        let _ = stream.write_all(b"GET /read");
        slow.push_back(stream);
        slow.truncate(200);
        count.fetch_add(1, Ordering::Relaxed);
    }
}

fn knock(address: SocketAddr, stop: &AtomicBool, count: &AtomicU32) {
    while !stop.load(Ordering::Relaxed) {
        count.fetch_add(u32::from(harness::try_connect(address).is_ok()), Ordering::Relaxed);
    }
}

#[test]
fn a_crowd_at_the_endpoint_holds_up_no_signal_and_no_orphan() {
    require!(harness::pid_namespaces());
    let (mut run, address) = serving(Launch::pid1(Init::Adieu).options("--pre-stop 0 --grace 50s"));
    run.expect("ready");
    let crowd = Crowd::gather(address);
    until("the crowd is there", || crowd.is_there());
    for value in 0..200 {
        run.queue(40, value);
        let got = run.expect_signal("40");
        assert!(got.contains(&format!("value={value} ")), "{got}");
    }
    run.order("storm 500");
    until("all orphans are reaped", || harness::zombies(run.pid).is_empty());
    run.term();
    run.expect_signal("TERM");
    run.say("exit 5");
    run.expect_exit(5);
    crowd.leave();
}

/// Clients may not take the descriptors that a check and the drain need.
#[test]
fn silent_clients_leave_descriptors_for_everything_else() {
    require!(harness::pid_namespaces());
    let launch = Launch::pid1(Init::Adieu)
        .options("--pre-stop 0 --grace 50s --ready exec:true")
        .limit(nix::sys::resource::Resource::RLIMIT_NOFILE, 14);
    let (mut run, address) = serving(launch);
    run.expect("ready");
    let _silent: Vec<_> = (0..40).map(|_| harness::connect(address)).collect();
    until("the check passes", || is_ready(address));
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    run.term();
    run.expect_signal("TERM");
    run.say("exit 0");
    run.expect_exit(0);
    let errors = run.errors();
    assert!(!errors.iter().any(|line| line.contains("oo many open files")), "{errors:?}");
}

#[test]
fn numbers_for_prometheus() {
    require!(harness::pid_namespaces());
    let (mut run, address) = serving(Launch::pid1(Init::Adieu).options(FOR_EVER));
    run.expect("ready");
    run.signal(libc::SIGUSR2);
    run.expect_signal("USR2");
    run.order("storm 100");
    until("the orphans are counted", || {
        let (_, metrics) = get(address, "/metrics");
        let value = |name: &str| -> f64 {
            let line = metrics.lines().find(|line| line.starts_with(&format!("{name} ")));
            line.expect(name).rsplit_once(' ').expect("a value").1.parse().expect("a number")
        };
        assert_eq!(value("adieu_app_alive"), 1.0);
        assert_eq!(value("adieu_signals_forwarded_total"), 1.0);
        value("adieu_reaped_total") >= 100.0
    });
}

#[test]
fn a_ready_file_of_an_earlier_life_is_gone_until_the_app_is_ready() {
    let scratch = Scratch::new();
    let ready = scratch.file("ready", "");
    let mut run = Launch::ordinary(Init::Adieu)
        .option("--ready")
        .option(format!("tcp://{}", address()))
        .option("--ready-file")
        .option(&ready)
        .start();
    run.expect("ready");
    until("the old file is gone", || !ready.exists());
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn a_ready_file_goes_with_the_app() {
    let scratch = Scratch::new();
    let ready = scratch.path("ready");
    let mut run = Launch::ordinary(Init::Adieu).option("--ready-file").option(&ready).start();
    run.expect("ready");
    until("the file is there", || ready.exists());
    run.say("exit 0");
    run.expect_exit(0);
    assert!(!ready.exists());
}

/// Whatever the app has put where the file belongs makes way: nobody waits for a pipe's reader, and
/// no file behind a link is emptied.
#[test]
fn a_ready_file_takes_the_place_of_a_pipe_or_a_link() {
    let scratch = Scratch::new();
    let (ready, precious) = (scratch.path("ready"), scratch.file("precious", "content"));
    let replaced = || std::fs::symlink_metadata(&ready).is_ok_and(|found| found.is_file());
    let gate = scratch.path("gate");
    for plant in ["mkfifo", "ln -s"] {
        let target = if plant == "mkfifo" { Path::new("") } else { &precious };
        let script = format!(
            "{plant} {} {}; echo planted; read line; : >{}; read line; exit 3",
            target.display(),
            ready.display(),
            gate.display()
        );
        let mut run = Launch::ordinary(Init::Adieu)
            .option("--ready")
            .option(format!("exec:test -e {}", gate.display()))
            .option("--ready-file")
            .option(&ready)
            .command(["sh", "-c", &script])
            .start();
        run.expect("planted");
        run.say("go");
        until("a file stands there", replaced);
        run.say("go");
        run.expect_exit(3);
        assert!(!ready.exists());
        assert_eq!(std::fs::read_to_string(&precious).expect("it is still there"), "content");
        std::fs::remove_file(&gate).expect("the app made it");
    }
}

/// For the file systems that a container really has: nothing may be written.
#[test]
fn a_ready_file_that_cannot_be_written_stops_nobody() {
    let path = Path::new("/proc/adieu-ready");
    let mut run = Launch::ordinary(Init::Adieu)
        .options("--pre-stop 0 --grace 50s")
        .option("--ready-file")
        .option(path)
        .start();
    run.expect("ready");
    run.log("/proc/adieu-ready");
    run.say("exit 0");
    run.expect_exit(0);
}
