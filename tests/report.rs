//! What is told at the end: the report, the summary line, the message for Kubernetes.

mod harness;

use std::ffi::CString;
use std::io::{ErrorKind, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use harness::{Init, Launch, Scratch};
use serde_json::Value;

const AT_ONCE: &str = "--pre-stop 0 --grace 50s";

fn read(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).expect("a report");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("no JSON: {error}\n{text}"))
}

fn names(report: &Value, list: &str, key: &str) -> Vec<String> {
    let list = report[list].as_array().unwrap_or_else(|| panic!("no {list} in {report}"));
    list.iter().map(|entry| entry[key].as_str().unwrap_or_default().to_string()).collect()
}

#[test]
fn a_stop_is_told_in_one_line_and_in_full() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let path = scratch.path("report.json");
    let mut run = Launch::pid1(Init::Adieu)
        .options("--pre-stop 100ms --grace 50s --on-stop exec:false --report")
        .option(&path)
        .start();
    run.expect("ready");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    run.term();
    run.expect_signal("TERM");
    run.say("exit 3");
    run.expect_exit(3);
    let summary = run.log("stopped by TERM");
    assert!(summary.ends_with("exit 3"), "{summary}");
    let report = read(&path);
    assert_eq!(report["asked"]["signal"], "TERM");
    assert_eq!(report["status"], 3);
    assert_eq!(report["app"]["status"], 3);
    assert_eq!(report["killed"], false);
    assert_eq!(report["hooks"][0]["error"], "exit status 1");
    let phases = names(&report, "phases", "phase");
    for phase in ["running", "pre-stop", "stopping"] {
        assert!(phases.iter().any(|name| name == phase), "{phases:?}");
    }
    let pre_stop =
        report["phases"].as_array().unwrap().iter().find(|span| span["phase"] == "pre-stop").unwrap();
    let lasted = pre_stop["end_ms"].as_u64().unwrap() - pre_stop["begin_ms"].as_u64().unwrap();
    assert!(lasted >= 99, "{pre_stop}");
    let shown = adieu::moment::show_measured(std::time::Duration::from_millis(lasted));
    assert!(summary.contains(&format!("pre-stop {shown}")), "{summary}");
    let signals = names(&report, "signals", "signal");
    assert!(signals.starts_with(&["USR1".to_string(), "TERM".to_string()]), "{signals:?}");
    let entries = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(entries, 1, "nothing is left beside the report");
}

#[test]
fn a_kill_is_not_hidden() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let path = scratch.path("report.json");
    let mut run = Launch::pid1(Init::Adieu).options("--pre-stop 0 --grace 1s --report").option(&path).start();
    run.expect("ready");
    run.term();
    run.expect_exit(137);
    let summary = run.log("stopped by TERM");
    assert!(summary.contains("killed") && summary.contains("exit 137"), "{summary}");
    let report = read(&path);
    assert_eq!(report["killed"], true);
    assert_eq!(report["app"]["signal"], "KILL");
}

/// One that was started by a relative path, although adieu itself works in `/`.
#[test]
fn an_end_without_a_stop_is_reported_and_says_nothing_on_stderr() {
    let scratch = Scratch::new();
    let path = scratch.path("report.json");
    let folder = CString::new(path.parent().unwrap().as_os_str().as_bytes()).unwrap();
    let (end, _, err) = Launch::ordinary(Init::Adieu)
        .options("--report report.json")
        .command(["sh", "-c", "exit 4"])
        // SAFETY: the path is alive and ends with a NUL.
        .before_exec(move || match unsafe { libc::chdir(folder.as_ptr()) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
        .run();
    assert_eq!(end, harness::End::Exited(4));
    assert!(err.is_empty(), "silent in normal life: {err:?}");
    let report = read(&path);
    assert_eq!(report["asked"], Value::Null);
    assert_eq!(report["status"], 4);
    assert_eq!(report["command"][0], "sh");
}

#[test]
fn a_report_that_cannot_be_written_is_a_warning_and_no_failure() {
    let (end, _, err) = Launch::ordinary(Init::Adieu)
        .options("--report /no/such/folder/report.json")
        .command(["sh", "-c", "exit 4"])
        .run();
    assert_eq!(end, harness::End::Exited(4));
    assert_eq!(err.len(), 1, "{err:?}");
    assert!(err[0].contains("/no/such/folder/report.json"), "{err:?}");
}

#[test]
fn a_report_may_go_to_stderr() {
    let (end, _, err) =
        Launch::ordinary(Init::Adieu).options("--report /dev/stderr").command(["sh", "-c", "exit 4"]).run();
    assert_eq!(end, harness::End::Exited(4));
    let report: Value = serde_json::from_str(&err.join("\n")).expect("JSON");
    assert_eq!(report["status"], 4);
}

/// Kubernetes mounts a file of its own over /dev/termination-log; so does this.
fn in_kubernetes(file: &Path, options: &str) -> Launch {
    let file = CString::new(file.as_os_str().as_bytes()).unwrap();
    Launch::pid1(Init::Adieu).options(options).env("KUBERNETES_SERVICE_HOST", "10.0.0.1").before_exec(
        move || {
            use nix::mount::{MsFlags, mount};
            let none = None::<&std::ffi::CStr>;
            mount(Some(c"tmpfs"), c"/dev", Some(c"tmpfs"), MsFlags::empty(), none)?;
            // SAFETY: paths are alive and end with a NUL; the descriptor is closed by the exec.
            if unsafe { libc::open(c"/dev/termination-log".as_ptr(), libc::O_CREAT | libc::O_CLOEXEC, 0o644) }
                < 0
            {
                return Err(std::io::Error::last_os_error());
            }
            Ok(mount(Some(file.as_c_str()), c"/dev/termination-log", none, MsFlags::MS_BIND, none)?)
        },
    )
}

#[test]
fn kubernetes_is_told_in_its_own_place() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let file = scratch.file("termination-log", "");
    let mut run = in_kubernetes(&file, AT_ONCE).start();
    run.expect("ready");
    run.term();
    run.expect_signal("TERM");
    run.say("exit 3");
    run.expect_exit(3);
    let message = std::fs::read_to_string(&file).unwrap();
    assert!(message.starts_with("stopped by TERM") && message.ends_with("exit 3\n"), "{message}");
}

#[test]
fn what_the_app_told_kubernetes_stays() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    let file = scratch.file("termination-log", "");
    let mut run = in_kubernetes(&file, AT_ONCE)
        .command(["sh", "-c", "echo out of luck > /dev/termination-log; echo said; read line; exit 3"])
        .start();
    run.expect("said");
    run.say("go");
    run.expect_exit(3);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "out of luck\n");
}

/// Answers at once, or after so many seconds, in a connection that it keeps if it may.
const SERVER: &str = "
import http.server, sys, time
class Http(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        print('asked', self.path, flush=True)
        time.sleep(float(self.path[1:]))
        self.send_response(200)
        self.send_header('Content-Length', '2')
        self.end_headers()
        self.wfile.write(b'ok')
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Http)
print('ready', flush=True)
server.serve_forever()
";

fn ask(client: &mut TcpStream, seconds: &str, connection: &str) {
    let request = format!("GET /{seconds} HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n");
    client.write_all(request.as_bytes()).expect("it reads");
}

fn is_answered(client: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"ok") {
        answer.extend(harness::exactly(client, 1));
    }
}

/// Asks on and on until the connection is closed, and panics where that is not between two
/// requests.
fn keep_asking(mut client: TcpStream) {
    loop {
        ask(&mut client, "0", "keep-alive");
        is_answered(&mut client);
        client.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        match client.peek(&mut [0]) {
            Ok(0) => return,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            other => panic!("neither silent nor closed: {other:?}"),
        }
    }
}

/// One client is let go, one is cut off at the drain timeout, and one is answered meanwhile: the
/// report, the summary and the message for Kubernetes tell the same of them.
#[test]
fn what_became_of_connections_is_told_alike_everywhere() {
    require!(harness::pid_namespaces());
    require!(harness::program("python3"));
    let scratch = Scratch::new();
    let (path, file) = (scratch.path("report.json"), scratch.file("termination-log", ""));
    let port = harness::free_port();
    let mut run = in_kubernetes(&file, "--pre-stop 1s --grace 50s --drain-timeout 4s --report")
        .option(&path)
        // One client alone may never be seen to speak HTTP/1: its requests are read at once.
        .options(&format!("--close-connections {port}"))
        .command(["python3", "-c", SERVER, &port.to_string()])
        .start();
    run.find("ready");
    let connect = || harness::connect(("127.0.0.1", port));
    let (mut cut, mut answered) = (connect(), connect());
    ask(&mut cut, "600", "close");
    run.find("asked /600");
    ask(&mut answered, "1.5", "close");
    run.find("asked /1.5");
    let kept = connect();
    let kept = std::thread::spawn(move || keep_asking(kept));
    run.find("asked /0");
    run.term();
    kept.join().expect("it is let go between two requests");
    is_answered(&mut answered);
    // A reset is an end as well.
    assert_eq!(harness::stream::try_rest(&mut cut).unwrap_or_default(), "");
    run.expect_exit(128 + libc::SIGTERM);
    let summary = run.log("stopped by TERM");
    let report = read(&path);
    assert_eq!(report["connections"]["let_go"], 1, "{report}");
    assert!(report["connections"]["answered"].as_u64() >= Some(1), "{report}");
    assert_eq!(report["cut_off"]["at_stopping"], 1, "{report}");
    assert_eq!(report["cut_off"]["at_killing"], Value::Null, "{report}");
    assert!(summary.contains("1 client let go)"), "{summary}");
    assert!(summary.contains("; 1 request still in flight when the app was told to stop; "), "{summary}");
    assert!(!summary.contains("nothing cut off"), "{summary}");
    let message = std::fs::read_to_string(&file).expect("the message");
    assert!(summary.ends_with(message.trim_end()) && message.starts_with("stopped by TERM"), "{message}");
}
