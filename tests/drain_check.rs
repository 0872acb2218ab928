//! `--drain-check`: an app that says by itself when it is idle, such as a queue worker, is stopped
//! then and not before.

mod harness;

use harness::{Init, Launch, Running, Scratch, until};

fn adieu(options: &str, check: &str) -> Running {
    let launch = Launch::pid1(Init::Adieu).options(options).option("--drain-check").option(check);
    let mut run = launch.start();
    run.expect("ready");
    run
}

#[test]
fn the_app_is_stopped_when_it_says_that_it_is_idle() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let (idle, asked) = (scratch.path("idle"), scratch.path("asked"));
    let check = format!("exec:sh -c 'echo >> {}; test -e {}'", asked.display(), idle.display());
    let mut run = adieu("--pre-stop 0 --grace 10m", &check);
    let times = || std::fs::read_to_string(&asked).unwrap_or_default().len();
    assert_eq!(times(), 0, "nobody asks before the stop");
    run.term();
    until("it was asked twice", || times() >= 2);
    run.expect_answer("ping", "pong");
    std::fs::write(&idle, "").expect("a scratch file");
    let before = times();
    run.expect_signal("TERM");
    assert!(times() > before, "idle must hold at two looks in a row");
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn an_app_that_is_never_idle_is_stopped_at_the_drain_timeout() {
    require!(harness::pid_namespaces());
    for check in ["exec:false", "exec:sleep 1000", "http://127.0.0.1:1/idle", "exec:/no/such/check"] {
        let mut run = adieu("--pre-stop 0 --grace 50s --drain-timeout 700ms", check);
        run.term();
        let stopping = run.log("stopping: ");
        assert!(stopping.contains("timeout"), "{check}: {stopping}");
        run.expect_signal("TERM");
        until("the check is gone", || harness::children(run.pid).len() == 1);
        run.say("exit 0");
        run.expect_exit(0);
    }
}

#[test]
fn a_person_in_a_hurry_does_not_wait_for_it() {
    require!(harness::pid_namespaces());
    let mut run = adieu("--pre-stop 0 --grace 10m", "exec:false");
    run.term();
    run.log("draining");
    run.signal(libc::SIGINT);
    run.expect_signal("TERM");
    run.say("exit 0");
    run.expect_exit(0);
}

/// Takes its time for every answer, so that a look finds each question open.
const SLOW_TO_SAY: &str = "
import http.server, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.7)
        self.send_response(200)
        self.end_headers()
    def log_message(self, *words):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)
print('ready', flush=True)
server.serve_forever()
";

#[test]
fn the_question_itself_is_no_request_in_flight() {
    require!(harness::pid_namespaces());
    require!(harness::program("python3"));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let mut run = Launch::pid1(Init::Adieu)
        .options("--pre-stop 0 --grace 10m")
        .option("--drain-check")
        .option(format!("http://127.0.0.1:{port}/idle"))
        .command(["python3", "-c", SLOW_TO_SAY, &port.to_string()])
        .start();
    run.expect("ready");
    run.term();
    let told = run.log("stopped by TERM");
    assert!(!told.contains("answered"), "no client ever asked: {told}");
    run.expect_exit(128 + libc::SIGTERM);
}
