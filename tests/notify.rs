//! sd_notify(3) between a service manager, adieu and the app: who hears what, and when.

mod harness;

use std::io::IoSliceMut;
use std::os::fd::{AsRawFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::atomic::{AtomicU32, Ordering};

use harness::{Init, Launch, Running, Scratch, WATCHDOG, until};

const FOR_EVER: &str = "--pre-stop 10m --grace 30m";

/// A service manager: the socket, and its name for NOTIFY_SOCKET. An abstract name is reached from
/// every PID and mount namespace.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("adieu-manager-{}-{count}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a short name");
        let socket = UnixDatagram::bind_addr(&address).expect("a free name");
        socket.set_read_timeout(Some(WATCHDOG)).expect("a time limit");
        Self { socket, name: format!("@{name}") }
    }

    fn hear(&self) -> String {
        let mut bytes = [0; 4096];
        let got = self.socket.recv(&mut bytes).expect("a message within the watchdog's time");
        String::from_utf8_lossy(&bytes[..got]).into_owned()
    }

    /// Everything up to the first message that holds this line.
    fn hear_until(&self, wanted: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            let message = self.hear();
            let found = message.lines().any(|line| line == wanted);
            heard.extend(message.lines().map(str::to_string));
            if found {
                return heard;
            }
        }
    }
}

/// An app that sends what it is told on stdin, line by line (`|` for a line's end), to its
/// NOTIFY_SOCKET.
const SPEAKER: &str = "
import array, os, socket, struct, sys
name = os.environ['NOTIFY_SOCKET']
to = '\\0' + name[1:] if name[0] == '@' else name
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
print('ready', name, flush=True)
for line in sys.stdin:
    line = line.rstrip('\\n').encode()
    if line == b'fd':
        r, w = os.pipe()
        os.write(w, b'kept')
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [r]))
        s.sendmsg([b'FDSTORE=1\\nFDNAME=pipe'], [rights], 0, to)
    elif line == b'linger':
        l = socket.socket()
        l.bind(('127.0.0.1', 0))
        l.listen()
        c = socket.create_connection(l.getsockname())
        c.setblocking(False)
        try:
            while True:
                c.send(b'x' * 65536)
        except BlockingIOError:
            pass
        c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 600))
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [c.fileno()]))
        s.sendmsg([b'FDSTORE=1'], [rights], 0, to)
        c.close()
    elif line == b'many':
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [0] * 253))
        s.sendmsg([b'FDSTORE=1'], [rights], 0, to)
    elif line == b'exit':
        sys.exit(0)
    else:
        s.sendto(line.replace(b'|', b'\\n'), to)
    print('done', flush=True)
";

fn speaker(launch: Launch) -> Running {
    launch.command(["python3", "-c", SPEAKER]).start()
}

fn python() -> Result<(), String> {
    harness::pid_namespaces().and_then(|()| harness::program("python3"))
}

fn tell(run: &mut Running, message: &str) {
    run.say(message);
    run.expect("done");
}

#[test]
fn the_manager_hears_ready_stopping_and_each_phase() {
    require!(harness::pid_namespaces());
    let manager = Manager::new();
    let mut run = Launch::pid1(Init::Adieu).options(FOR_EVER).env("NOTIFY_SOCKET", &manager.name).start();
    run.expect("ready");
    manager.hear_until("READY=1");
    run.term();
    let heard = manager.hear_until("STOPPING=1");
    let more = heard.iter().find_map(|line| line.strip_prefix("EXTEND_TIMEOUT_USEC="));
    let more: u64 = more.expect("more time is asked for").parse().expect("microseconds");
    assert!(more >= 9 * 60 * 1_000_000, "for as long as the phase may last: {more}");
    run.say("exit 0");
    run.expect_exit(0);
}

/// Type=notify-reload: systemd waits for both, and takes only a time that is not before its signal.
#[test]
fn a_reload_is_announced_for_an_app_that_knows_no_manager() {
    require!(harness::pid_namespaces());
    let manager = Manager::new();
    let mut run = Launch::pid1(Init::Adieu).env("NOTIFY_SOCKET", &manager.name).start();
    run.expect("ready");
    manager.hear_until("READY=1");
    let clock = nix::time::ClockId::CLOCK_MONOTONIC;
    let asked = std::time::Duration::from(clock.now().expect("a clock")).as_micros();
    run.signal(libc::SIGHUP);
    run.expect_signal("HUP");
    let heard = manager.hear_until("READY=1");
    let announced = heard.iter().position(|line| line == "RELOADING=1").expect("it is announced");
    let began = heard[announced + 1].strip_prefix("MONOTONIC_USEC=").expect("with its time");
    assert!(began.parse::<u128>().expect("a number") >= asked, "{heard:?}, asked at {asked}");
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn without_a_manager_or_with_a_dead_one_nothing_is_different() {
    require!(harness::pid_namespaces());
    for address in ["/no/such/socket", "@adieu-nobody", "vsock:2:1234", "", "@"] {
        let mut run = Launch::pid1(Init::Adieu)
            .options("--pre-stop 0 --grace 50s")
            .env("NOTIFY_SOCKET", address)
            .start();
        run.expect("ready");
        run.term();
        run.expect_signal("TERM");
        run.say("exit 0");
        run.expect_exit(0);
    }
}

/// Rather than never be ready, without a word.
#[test]
fn an_app_that_cannot_be_heard_is_not_waited_for() {
    let manager = Manager::new();
    // The way to the manager takes the only descriptor that is left.
    let launch = || {
        Launch::ordinary(Init::Adieu)
            .env("NOTIFY_SOCKET", &manager.name)
            .limit(nix::sys::resource::Resource::RLIMIT_NOFILE, 4)
            .command(["true"])
    };
    let (end, _, err) = launch().options("--ready notify").run();
    assert_eq!(end, harness::End::Exited(125), "{err:?}");
    assert!(err.iter().any(|line| line.contains("--ready notify")), "{err:?}");
}

/// Closing a socket that lingers waits until its peer has read everything; here for ten minutes.
#[test]
fn a_descriptor_whose_closing_waits_holds_nobody_up() {
    require!(python());
    // Without a manager, and with one that cannot take it.
    for manager in ["", "@adieu-nobody"] {
        let mut run = speaker(
            Launch::pid1(Init::Adieu)
                .options("--pre-stop 0 --grace 50s --drain off --ready notify")
                .env("NOTIFY_SOCKET", manager),
        );
        run.find("ready");
        // The app's own copy goes first.
        run.signal(libc::SIGSTOP);
        tell(&mut run, "linger");
        run.signal(libc::SIGCONT);
        run.term();
        run.expect_end(harness::End::Exited(128 + libc::SIGTERM));
    }
}

/// More than there is room for, again and again: nothing is left of them, and what comes after is
/// heard.
#[test]
fn a_flood_of_descriptors_leaves_none_behind() {
    require!(python());
    let scratch = Scratch::new();
    let ready = scratch.path("ready");
    for manager in ["", "@adieu-nobody"] {
        let mut run = speaker(
            Launch::pid1(Init::Adieu)
                .options("--pre-stop 0 --grace 50s --ready notify --ready-file")
                .option(&ready)
                .env("NOTIFY_SOCKET", manager)
                .limit(nix::sys::resource::Resource::RLIMIT_NOFILE, 64),
        );
        run.find("ready");
        for _ in 0..5 {
            tell(&mut run, "many");
        }
        tell(&mut run, "READY=1");
        until("it is ready", || ready.exists());
        let open = || std::fs::read_dir(format!("/proc/{}/fd", run.pid)).map_or(0, Iterator::count);
        until("no descriptor is left", || open() < 16);
        run.say("exit");
        run.expect_exit(0);
    }
}

#[test]
fn the_app_talks_to_adieu_and_its_ready_counts() {
    require!(python());
    let (manager, scratch) = (Manager::new(), Scratch::new());
    let ready = scratch.path("ready");
    let mut run = speaker(
        Launch::pid1(Init::Adieu)
            .options(FOR_EVER)
            .options("--ready notify --ready-file")
            .option(&ready)
            .env("NOTIFY_SOCKET", &manager.name),
    );
    assert_ne!(run.line(), format!("ready {}", manager.name), "the app has a socket of adieu's own");
    tell(&mut run, "MAINPID=4711|STATUS=warming up");
    let heard = manager.hear_until("STATUS=warming up");
    assert!(!heard.iter().any(|line| line.starts_with("MAINPID") || line == "READY=1"), "{heard:?}");
    assert!(!ready.exists());
    tell(&mut run, "READY=1");
    manager.hear_until("READY=1");
    until("the file is there", || ready.exists());
    run.say("exit");
    run.expect_exit(0);
}

/// Everywhere: there is no manager in a container.
#[test]
fn ready_counts_where_nobody_else_listens() {
    require!(python());
    let scratch = Scratch::new();
    let ready = scratch.path("ready");
    let launch = Launch::pid1(Init::Adieu).options("--ready notify --ready-file").option(&ready);
    let mut run = speaker(launch);
    run.find("ready @");
    assert!(!ready.exists());
    tell(&mut run, "READY=1");
    until("the file is there", || ready.exists());
    run.say("exit");
    run.expect_exit(0);
}

#[test]
fn a_strangers_ready_does_not_count() {
    require!(python());
    let (manager, scratch) = (Manager::new(), Scratch::new());
    let ready = scratch.path("ready");
    let mut run = speaker(
        Launch::pid1(Init::Adieu)
            .options("--ready notify --ready-file")
            .option(&ready)
            .env("NOTIFY_SOCKET", &manager.name),
    );
    let name = run.find("ready @").split_once('@').expect("a name").1.to_string();
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let stranger = UnixDatagram::unbound().expect("a socket");
    stranger.send_to_addr(b"READY=1\nSTATUS=I am the app", &address).expect("adieu listens");
    tell(&mut run, "STATUS=me");
    let heard = manager.hear_until("STATUS=me");
    assert!(!heard.iter().any(|line| line.contains("I am the app")), "{heard:?}");
    assert!(!ready.exists());
}

#[test]
fn descriptors_for_the_store_are_passed_on() {
    require!(python());
    let manager = Manager::new();
    let mut run = speaker(Launch::pid1(Init::Adieu).env("NOTIFY_SOCKET", &manager.name));
    run.find("ready @");
    manager.hear_until("READY=1");
    run.say("fd");
    let passed = loop {
        let mut bytes = [0; 4096];
        let mut control = nix::cmsg_space!([RawFd; 4]);
        let mut words = [IoSliceMut::new(&mut bytes)];
        let message = nix::sys::socket::recvmsg::<nix::sys::socket::UnixAddr>(
            manager.socket.as_raw_fd(),
            &mut words,
            Some(&mut control),
            nix::sys::socket::MsgFlags::empty(),
        )
        .expect("a message within the watchdog's time");
        let rights = message.cmsgs().expect("whole control data").find_map(|part| match part {
            nix::sys::socket::ControlMessageOwned::ScmRights(passed) => Some(passed),
            _ => None,
        });
        if let Some(passed) = rights {
            break passed;
        }
    };
    assert_eq!(passed.len(), 1);
    let mut kept = [0; 8];
    // SAFETY: the descriptor has just been received and belongs to nobody else.
    let got = unsafe { libc::read(passed[0], kept.as_mut_ptr().cast(), kept.len()) };
    assert_eq!(&kept[..got as usize], b"kept");
}

#[test]
fn the_watchdog_is_fed_for_an_app_that_does_not_know_it() {
    require!(harness::pid_namespaces());
    let manager = Manager::new();
    let mut run = Launch::pid1(Init::Adieu)
        .env("NOTIFY_SOCKET", &manager.name)
        .env("WATCHDOG_USEC", "200000")
        .env("WATCHDOG_PID", "1")
        .start();
    run.expect("ready");
    // An app that does know one finds it meant for itself.
    run.say("env");
    let env = run.see("env end\n");
    assert!(env.contains("WATCHDOG_USEC=200000") && !env.contains("WATCHDOG_PID"), "{env}");
    for _ in 0..3 {
        manager.hear_until("WATCHDOG=1");
    }
    run.say("exit 0");
    run.expect_exit(0);
}

#[test]
fn another_process_watchdog_is_none_of_ours() {
    require!(harness::pid_namespaces());
    let manager = Manager::new();
    let mut run = Launch::pid1(Init::Adieu)
        .options("--pre-stop 500ms --grace 50s")
        .env("NOTIFY_SOCKET", &manager.name)
        .env("WATCHDOG_USEC", "2000")
        .env("WATCHDOG_PID", "4711")
        .start();
    run.expect("ready");
    run.say("env");
    assert!(run.see("env end\n").contains("WATCHDOG_PID=4711"));
    let mut heard = manager.hear_until("READY=1");
    run.term();
    run.expect_signal("TERM");
    run.say("exit 0");
    run.expect_exit(0);
    manager.socket.set_nonblocking(true).expect("a socket");
    let mut bytes = [0; 4096];
    while let Ok(got) = manager.socket.recv(&mut bytes) {
        heard.push(String::from_utf8_lossy(&bytes[..got]).into_owned());
    }
    assert!(!heard.iter().any(|message| message.contains("WATCHDOG")), "{heard:?}");
}
