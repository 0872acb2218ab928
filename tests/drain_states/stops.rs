//! Whole stops by the binary, where a state of the connections could end, blind or mislead the init
//! itself.

use std::path::Path;

use super::harness::{self, Init, Launch, Running, program};
use super::*;
use crate::require;

/// Listens on as many ports as it is told to, takes connections on the first and answers each
/// request after so many seconds, with its first half at once where it is told to.
const SERVER: &str = "
import resource, socket, sys, threading, time
count, delay = int(sys.argv[1]), float(sys.argv[2])
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
listeners = []
for n in range(count):
    s = socket.socket()
    s.bind(('127.0.0.1', 0))
    s.listen(16)
    listeners.append(s)
print('port', listeners[0].getsockname()[1], flush=True)
def serve(c):
    c.recv(1 << 16)
    print('asked', flush=True)
    half = len(sys.argv) > 3
    if half: c.sendall(b'ans')
    time.sleep(delay)
    c.sendall(b'wer' if half else b'answer')
while True:
    c, _ = listeners[0].accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
";

/// The server below adieu as PID 1, and a client whose request it has taken.
fn asked(launch: Launch, ports: usize, delay: &str) -> (Running, TcpStream) {
    asked_of(launch.command(["python3", "-c", SERVER, &ports.to_string(), delay]))
}

fn asked_of(launch: Launch) -> (Running, TcpStream) {
    let mut run = launch.start();
    let line = run.find("port ");
    let port = line.rsplit(' ').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut client = connect(port);
    client.write_all(b"question").unwrap();
    run.expect("asked");
    (run, client)
}

fn is_answered(client: &mut TcpStream) {
    assert_eq!(harness::rest(client), "answer");
}

/// A filter for so many ports does not fit into a netlink attribute.
#[test]
fn thousands_of_listening_ports_end_nothing_but_the_app() {
    require!(harness::pid_namespaces());
    require!(program("python3"));
    let launch = Launch::pid1(Init::Adieu).options("--pre-stop 0 --grace 10m");
    let (mut run, mut client) = asked(launch, 4_500, "1.5");
    run.term();
    run.log("1 request in flight");
    is_answered(&mut client);
    let told = run.log("stopped by TERM");
    assert!(told.contains("exit 143"), "{told}");
    run.expect_exit(128 + libc::SIGTERM);
}

#[test]
fn half_of_an_answer_is_none() {
    require!(harness::pid_namespaces());
    require!(program("python3"));
    let launch = Launch::pid1(Init::Adieu).options("--pre-stop 2s --grace 10m --drain-timeout 2s");
    let (mut run, mut client) = asked_of(launch.command(["python3", "-c", SERVER, "1", "600", "half"]));
    harness::exactly(&mut client, 3);
    run.term();
    let told = run.log("stopped by TERM");
    assert!(told.contains("1 request still in flight") && !told.contains("answered"), "{told}");
}

/// Of what it works on nobody knows.
#[test]
fn an_app_that_listens_nowhere_is_not_said_to_have_lost_nothing() {
    require!(harness::pid_namespaces());
    let mut run =
        Launch::pid1(Init::Adieu).options("--pre-stop 0 --grace 10m").args("--exit-on TERM").start();
    run.expect("ready");
    run.term();
    let told = run.log("stopped by TERM");
    assert!(told.contains("; no listening socket was seen; ") && !told.contains("cut off"), "{told}");
}

/// Says when it has asked, and what it was answered. That MPTCP is spoken, and not TCP in its
/// place, shows in MPTCP_INFO (linux/mptcp.h), which only MPTCP has.
const MPTCP_CLIENT: &str = "
import socket, sys
c = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)
c.connect(('127.0.0.1', int(sys.argv[1])))
c.sendall(b'question')
c.getsockopt(284, 1, 256)
print('asked', flush=True)
print(c.recv(100).decode(), flush=True)
";

fn mptcp() -> Result<(), String> {
    program("python3")?;
    let open = "import socket; socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262)";
    let opened = harness::output(Command::new("python3").args(["-c", open]), WATCHDOG);
    let error = || String::from_utf8_lossy(&opened.stderr).lines().last().unwrap_or_default().to_string();
    if opened.status.success() { Ok(()) } else { Err(format!("no MPTCP here: {}", error())) }
}

/// Its connection stands among TCP's with the listener's port, below a socket of its own kind.
#[test]
fn a_request_over_mptcp_is_waited_for() {
    require!(harness::pid_namespaces());
    require!(mptcp());
    let server = SERVER.replace("socket.socket()", "socket.socket(proto=262)");
    let launch = Launch::pid1(Init::Adieu).options("--pre-stop 0 --grace 10m");
    let mut run = launch.command(["python3", "-c", &server, "1", "1.5"]).start();
    let line = run.find("port ");
    let port = line.rsplit(' ').next().expect("a port");
    let mut client = Dialogue::start(Command::new("python3").args(["-c", MPTCP_CLIENT, port]));
    assert_eq!(client.line(), "asked");
    run.expect("asked");
    run.term();
    run.log("1 request in flight");
    assert_eq!(client.line(), "answer");
    run.expect_exit(128 + libc::SIGTERM);
}

/// The init below another program, which does not pass signals on.
fn below(program: &str, options: &str) -> Launch {
    init_in(Launch::program(Path::new(program)).options(options))
}

fn init_in(outer: Launch) -> Launch {
    let own = "--pre-stop 0 --grace 10m --drain-timeout 4s";
    outer.option(Init::Adieu.path()).options(own).option("--")
}

fn term_the_child(run: &Running) -> Pid {
    let is_init =
        |pid: &i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "adieu\n");
    let child = Pid::from_raw(harness::descendants(run.pid).into_iter().find(is_init).expect("the init"));
    nix::sys::signal::kill(child, nix::sys::signal::Signal::SIGTERM).expect("TERM to the init");
    child
}

/// What is in flight cannot be known, so that the drain lasts until its timeout.
fn blind_until_the_timeout(launch: Launch, reason: &str) {
    let (mut run, mut client) = asked(launch, 1, "2");
    term_the_child(&run);
    let told = run.log("cannot see connections");
    assert!(told.contains(reason), "{told}");
    is_answered(&mut client);
    run.log("stopping: the drain timeout is over");
    let told = run.log("stopped by TERM");
    assert!(!told.contains("nothing cut off"), "nobody saw that: {told}");
}

#[test]
fn a_proc_of_another_pid_namespace_is_blind_and_not_idle() {
    require!(harness::pid_namespaces());
    require!(program("python3"));
    let launch = below("/usr/bin/unshare", "--pid --fork --kill-child");
    blind_until_the_timeout(launch, "another PID namespace");
    // There, as in a young container, no process has the app's pid.
    let young = Launch::program(Path::new("/usr/bin/unshare"));
    let young = young.options("--pid --fork --kill-child --mount-proc sh -c");
    let young = young.option("/bin/true; /bin/true; unshare --pid --fork --kill-child \"$0\" \"$@\"; exit");
    let young = init_in(young);
    blind_until_the_timeout(young, "another PID namespace");
}

#[test]
fn descriptors_that_cannot_be_read_for_want_of_memory_are_blind_and_not_idle() {
    require!(program("python3"));
    require!(program("strace"));
    let launch = below(
        "/usr/bin/strace",
        "-o /dev/null -e trace=readlink,readlinkat -e inject=readlink,readlinkat:error=ENOMEM",
    );
    blind_until_the_timeout(launch, "memory");
}
