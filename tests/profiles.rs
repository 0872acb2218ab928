//! Under seccomp profiles that refuse what adieu would like to use: it does without, and says what
//! it cannot do.

mod harness;

use std::io::Write;
use std::net::{SocketAddr, TcpListener};

use harness::seccomp::{Actor, Call};
use harness::{Init, Launch};

const AT_ONCE: &str = "--pre-stop 0 --grace 50s --drain-timeout 1s";

/// What a profile refuses to the init, and to its children up to their exec; the app itself keeps
/// all calls.
type Profile = fn(&Call) -> bool;

fn is(call: &Call, numbers: &[i64]) -> bool {
    numbers.contains(&call.number)
}

const PROFILES: [(&str, Profile); 10] = [
    ("netlink", |call| is(call, &[libc::SYS_socket]) && call.arguments[0] == libc::AF_NETLINK as u64),
    ("signalfd", |call| is(call, &[libc::SYS_signalfd4])),
    ("sigtimedwait", |call| is(call, &[libc::SYS_rt_sigtimedwait])),
    ("pidfd", |call| is(call, &[libc::SYS_pidfd_open, libc::SYS_pidfd_getfd, libc::SYS_pidfd_send_signal])),
    ("prctl", |call| is(call, &[libc::SYS_prctl])),
    ("clone3", |call| is(call, &[libc::SYS_clone3])),
    ("close_range", |call| is(call, &[libc::SYS_close_range])),
    ("epoll", |call| is(call, &[libc::SYS_epoll_create1, libc::SYS_epoll_pwait2])),
    ("terminals and groups", |call| {
        let terminals = 0x5400..0x5421; // TCGETS to the one before FIONBIO
        is(call, &[libc::SYS_setpgid])
            || is(call, &[libc::SYS_ioctl]) && terminals.contains(&call.arguments[1])
    }),
    ("newer file calls", |call| is(call, &[libc::SYS_statx, libc::SYS_openat2, libc::SYS_faccessat2])),
];

/// As Docker's profile refuses, and as a kernel without the call does.
const ERRNOS: [i32; 2] = [libc::EPERM, libc::ENOSYS];

#[test]
fn signals_orphans_a_stop_and_a_status_need_none_of_them() {
    require!(harness::pid_namespaces());
    std::thread::scope(|scope| {
        for (name, refused) in PROFILES {
            // The name is what a failure shows.
            let named = std::thread::Builder::new().name(format!("without {name}"));
            let spawned = named.spawn_scoped(scope, move || {
                for errno in ERRNOS {
                    // Only a subreaper, which takes prctl to become, is given orphans where it is
                    // not PID 1.
                    works(Launch::pid1(Init::Adieu), refused, errno, true);
                    works(Launch::ordinary(Init::Adieu), refused, errno, name != "prctl");
                }
            });
            spawned.expect("a thread");
        }
    });
}

fn works(launch: Launch, refused: Profile, errno: i32, orphans: bool) {
    let address = free_address();
    let (launch, supervisor) = launch
        .options(AT_ONCE)
        .options(&format!("--health {address}"))
        .judged(move |call| refused(call).then_some(errno));
    let mut run = launch.start();
    run.expect("ready");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    for _ in 0..3 {
        run.signal(40);
        run.expect_signal("40");
    }
    if orphans {
        run.order("storm 100");
        harness::until("all orphans are reaped", || harness::children(run.pid).len() == 1);
    }
    assert!(
        get(address, "/readyz").starts_with("HTTP/1.1 200 "),
        "the endpoint answers, and that it is ready"
    );
    run.term();
    run.find("got TERM 1 ");
    assert!(get(address, "/readyz").starts_with("HTTP/1.1 503 "), "and that it is no longer ready");
    run.say("exit 11");
    run.expect_exit(11);
    supervisor.finish();
}

/// Without sock_diag an open connection is all that is seen: it is waited for, and whether its
/// request was cut off is not claimed to be known.
#[test]
fn without_netlink_an_open_request_is_waited_for() {
    require!(harness::pid_namespaces());
    let (_, refused) = PROFILES[0];
    for errno in ERRNOS {
        for (takes, drain, answer) in [("1500", "30s", "adieu"), ("60000", "1s", "")] {
            let (launch, supervisor) = Launch::pid1(Init::Adieu)
                .options("--pre-stop 0 --grace 50s --drain-timeout")
                .options(drain)
                .args("serve 0")
                .arg(takes)
                .judged(move |call| refused(call).then_some(errno));
            let mut run = launch.start();
            let line = run.find("ready ");
            let port: u16 = line["ready ".len()..].parse().expect("a port");
            let mut client = harness::connect(("127.0.0.1", port));
            client.write_all(b"question").expect("it reads");
            run.expect("request");
            run.term();
            // A reset is an end as well.
            let got = harness::stream::try_rest(&mut client).unwrap_or_default();
            assert!(got.ends_with(answer) && got.is_empty() == answer.is_empty(), "{got}");
            let told = run.log("stopped by TERM");
            assert!(!answer.is_empty() || !told.contains("nothing cut off"), "nobody saw that: {told}");
            assert!(told.contains("draining "), "{told}");
            run.expect_exit(128 + libc::SIGTERM);
            supervisor.finish();
        }
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port")
}

fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = harness::connect(address);
    write!(stream, "GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it reads");
    harness::rest(&mut stream)
}

/// A profile that refuses everything that reading takes but the barest: said in one line, or the
/// app runs.
#[test]
fn a_profile_that_leaves_nothing_is_refused_or_survived() {
    require!(harness::pid_namespaces());
    let (launch, supervisor) = Launch::pid1(Init::Adieu).options(AT_ONCE).judged(|call| {
        let own = call.actor == Actor::Init;
        // One of the two calls that take signals is left.
        let mut refused = PROFILES.iter().filter(|(name, _)| *name != "sigtimedwait");
        (own && refused.any(|(_, refused)| refused(call))).then_some(libc::EPERM)
    });
    let mut run = launch.start();
    run.expect("ready");
    run.order("default TERM");
    run.term();
    run.expect_exit(128 + libc::SIGTERM);
    supervisor.finish();
}
