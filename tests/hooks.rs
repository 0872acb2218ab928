//! What is run around the app's life, and that a hook of whatever kind neither holds up a stop nor
//! leaves a trace.

mod harness;

use std::io::{Read, Write};
use std::net::TcpListener;

use harness::{Init, Launch, Scratch, until};

const AT_ONCE: &str = "--pre-stop 0 --grace 50s";

fn shell(script: &str) -> String {
    format!("exec:sh -c '{script}'")
}

#[test]
fn each_stage_runs_in_its_time_and_knows_what_is_known() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let path = scratch.path("lines");
    let tell = |stage: &str| {
        shell(&format!(
            "echo {stage} $ADIEU_PHASE pid=$ADIEU_APP_PID exit=$ADIEU_EXIT_STATUS stop=$ADIEU_STOP_SIGNAL >> {}",
            path.display()
        ))
    };
    let mut run = Launch::pid1(Init::Adieu)
        .options(AT_ONCE)
        .option("--on-start")
        .option(tell("first"))
        .option("--on-start")
        .option(tell("second"))
        .option("--on-stop")
        .option(tell("third"))
        .option("--on-exit")
        .option(tell("fourth"))
        .start();
    run.expect("ready");
    let pid = run.ask("pids").split_whitespace().nth(1).expect("a pid").to_string();
    let lines = || std::fs::read_to_string(&path).unwrap_or_default();
    until("both start hooks have run", || lines().lines().count() == 2);
    run.term();
    run.expect_signal("TERM");
    assert_eq!(lines().lines().count(), 3, "the stop hook comes before the app is stopped");
    run.say("exit 7");
    run.expect_exit(7);
    let lines = lines();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(
        lines[0].starts_with("first ") && lines[0].ends_with(&format!(" pid={pid} exit= stop=")),
        "{lines:?}"
    );
    assert!(lines[1].starts_with("second "), "{lines:?}");
    assert_eq!(lines[2], format!("third pre-stop pid={pid} exit= stop=TERM"));
    assert!(lines[3].starts_with("fourth ") && lines[3].ends_with(" exit=7 stop=TERM"), "{lines:?}");
}

#[test]
fn a_hook_that_hangs_is_killed_at_its_limit_with_all_that_it_started() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu)
        .options(AT_ONCE)
        .options("--hook-timeout 300ms")
        .option("--on-stop")
        .option(shell("sleep 1000 & sleep 1000"))
        .start();
    run.expect("ready");
    run.term();
    let line = run.log("on-stop hook");
    assert!(line.contains("no answer within 300ms"), "{line}");
    run.expect_signal("TERM");
    until("the app is the only child", || harness::children(run.pid).len() == 1);
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn a_hook_that_fails_is_told_of_and_the_next_one_runs() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let file = scratch.path("ran");
    let mut run = Launch::pid1(Init::Adieu)
        .options(AT_ONCE)
        .options("--on-stop exec:/no/such/hook --on-stop exec:false --on-stop http://127.0.0.1:1/")
        .option("--on-stop")
        .option(format!("exec:touch {}", file.display()))
        .start();
    run.expect("ready");
    run.term();
    for reason in ["no such file or directory", "exit status 1", "connection refused"] {
        let line = run.log("on-stop hook");
        assert!(line.contains(reason), "{line}");
    }
    run.expect_signal("TERM");
    assert!(file.exists());
    run.say("exit 0");
    run.expect_exit(0);
}

/// The fork of a hook that has ended well.
#[test]
fn what_a_hook_leaves_behind_ends_with_it() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let file = scratch.path("forked");
    let script = format!("sleep 1000 & touch {}", file.display());
    let mut run =
        Launch::pid1(Init::Adieu).options(AT_ONCE).option("--on-start").option(shell(&script)).start();
    run.expect("ready");
    until("the hook has run", || file.exists());
    until("the app is the only child", || harness::children(run.pid).len() == 1);
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn a_hook_may_call_a_url() {
    require!(harness::pid_namespaces());
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut run = Launch::pid1(Init::Adieu)
        .options(AT_ONCE)
        .option("--on-stop")
        .option(format!("post:http://{address}/leaving?node=a"))
        .start();
    run.expect("ready");
    run.term();
    let mut stream = harness::accept(&listener);
    let mut request = [0; 1000];
    let got = stream.read(&mut request).expect("a request");
    let request = String::from_utf8_lossy(&request[..got]).into_owned();
    assert!(request.starts_with("POST /leaving?node=a HTTP/1.1\r\n"), "{request}");
    // The app has heard nothing yet: the answer is what the stop waits for.
    run.expect_answer("ping", "pong");
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").expect("adieu reads");
    run.expect_signal("TERM");
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn an_exit_hook_runs_when_the_app_ends_by_itself_and_cannot_change_the_status() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let path = scratch.path("status");
    let script = format!("echo $ADIEU_EXIT_STATUS$ADIEU_STOP_SIGNAL > {}; exit 9", path.display());
    let mut run = Launch::pid1(Init::Adieu).option("--on-exit").option(shell(&script)).start();
    run.expect("ready");
    run.say("die USR1");
    run.expect_exit(128 + libc::SIGUSR1);
    assert_eq!(std::fs::read_to_string(&path).expect("the hook has run"), "138\n");
}

#[test]
fn an_exit_hook_that_hangs_ends_at_its_limit() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu)
        .options("--hook-timeout 300ms --on-exit")
        .option(shell("trap \"\" TERM; sleep 1000"))
        .start();
    run.expect("ready");
    run.say("exit 6");
    run.log("on-exit hook");
    run.expect_exit(6);
}

/// It is swept like everything else that the app leaves behind.
#[test]
fn a_start_hook_that_still_runs_does_not_outlive_the_app() {
    require!(harness::pid_namespaces());
    let mut run = Launch::pid1(Init::Adieu)
        .options("--hook-timeout 10m --grace 1h --on-start")
        .option("exec:sleep 1000")
        .start();
    run.expect("ready");
    until("the hook runs", || harness::children(run.pid).len() == 2);
    run.say("exit 6");
    run.expect_exit(6);
}
