//! Surroundings that nobody would choose: hardly a descriptor, no /proc, a read-only root, a
//! stranger's uid, no process more, little memory. adieu does its work in them or says
//! in one line why it cannot.

mod harness;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use harness::{End, Init, Launch, Running, Scratch};
use nix::mount::{MsFlags, mount};
use nix::sys::resource::Resource;

const AT_ONCE: &str = "--pre-stop 0 --grace 50s";

/// Signals, orphans, a stop and a status: the whole work.
fn works(launch: Launch) {
    let mut run = launch.options(AT_ONCE).start();
    run.expect("ready");
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    run.queue(40, 7);
    assert!(run.expect_signal("40").contains(" value=7 "));
    run.order("storm 100");
    stops(&mut run);
}

fn stops(run: &mut Running) {
    run.term();
    run.expect_signal("TERM");
    run.expect_signal("CONT");
    run.say("exit 11");
    run.expect_exit(11);
}

#[test]
fn sixteen_descriptors_are_enough() {
    require!(harness::pid_namespaces());
    works(Launch::pid1(Init::Adieu).limit(Resource::RLIMIT_NOFILE, 16));
    works(Launch::ordinary(Init::Adieu).limit(Resource::RLIMIT_NOFILE, 16));
}

/// A dynamic linker needs a fourth, so the programs are static here.
#[test]
fn three_descriptors_are_enough() {
    require!(harness::pid_namespaces());
    let (adieu, probe) = harness::static_programs();
    let launch = || Launch::program(&adieu).option("--").command([&probe]).limit(Resource::RLIMIT_NOFILE, 3);
    for launch in [launch().in_namespace(), launch()] {
        let mut run = launch.start();
        // The probe itself has no descriptor left to read signals from, so it is a plain one.
        run.expect("ready");
        run.say("exit 11");
        run.expect_exit(11);
    }
    for launch in [launch().in_namespace(), launch()] {
        let mut run = launch.args("--legacy").start();
        run.expect("ready");
        run.order("storm 100");
        run.signal(libc::SIGUSR1);
        run.expect_exit(128 + libc::SIGUSR1);
    }
    for launch in [launch().in_namespace(), launch()] {
        let mut run = launch.args("--legacy").env("ADIEU_PRE_STOP", "0").start();
        run.expect("ready");
        run.term();
        run.expect_exit(128 + libc::SIGTERM);
    }
}

#[test]
fn no_proc_is_no_obstacle() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let hide = || Ok(mount(Some("none"), "/proc", Some("tmpfs"), MsFlags::empty(), None::<&str>)?);
    works(Launch::pid1(Init::Adieu).before_exec(hide));
    let mut run = Launch::pid1(Init::Adieu).before_exec(hide).options("--leftovers 100ms").start();
    run.expect("ready");
    run.say("orphan --name left --deaf --setsid");
    run.find("left: ready");
    run.say("exit 5");
    run.find("left: got TERM");
    run.expect_exit(5);
}

#[test]
fn a_read_only_root_is_no_obstacle() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    works(Launch::pid1(Init::Adieu).before_exec(|| {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        Ok(mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?)
    }));
}

/// Copies that any user may execute, wherever the build directory stands.
fn for_everyone(scratch: &Scratch) -> (PathBuf, PathBuf) {
    let copy = |from: &Path, name: &str| {
        let to = scratch.path(name);
        std::fs::copy(from, &to).expect("room for a copy");
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755)).expect("one's own file");
        to
    };
    (copy(&Init::Adieu.path(), "adieu"), copy(&harness::probe(), "probe"))
}

fn become_user(user: u32) -> impl FnMut() -> std::io::Result<()> + Send + Sync + 'static {
    move || {
        nix::unistd::setgroups(&[])?;
        nix::unistd::setgid(user.into())?;
        Ok(nix::unistd::setuid(user.into())?)
    }
}

#[test]
fn a_stranger_s_uid_is_enough() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let scratch = Scratch::new();
    let (adieu, probe) = for_everyone(&scratch);
    let launch = || Launch::program(&adieu).command([&probe]).before_exec(become_user(65_534));
    works(launch().in_namespace());
    works(launch());
}

#[test]
fn no_process_more_is_said_clearly() {
    require!(harness::root());
    let scratch = Scratch::new();
    let (adieu, probe) = for_everyone(&scratch);
    let launch = Launch::program(&adieu).command([&probe]);
    let (end, out, err) = launch.limit(Resource::RLIMIT_NPROC, 1).before_exec(become_user(54_321)).run();
    assert_eq!((end, out), (End::Exited(125), Vec::new()), "{err:?}");
    assert_eq!(err.len(), 1, "one line: {err:?}");
    assert!(err[0].starts_with("adieu: ") && err[0].contains("cannot start"), "{err:?}");
    assert!(err[0].contains("limit") || err[0].contains("ulimit"), "the remedy: {err:?}");
}

#[test]
fn a_small_address_space_is_enough() {
    require!(harness::pid_namespaces());
    works(Launch::pid1(Init::Adieu).limit(Resource::RLIMIT_AS, 16 << 20));
}

#[test]
fn an_empty_environment_is_enough() {
    require!(harness::pid_namespaces());
    works(Launch::pid1(Init::Adieu).no_env());
}

/// Stopped past the end of its grace, in whatever phase: the app is still asked before it is
/// killed, and its status comes out.
#[test]
fn a_stop_that_sleeps_past_its_end_in_any_phase_asks_the_app_first() {
    require!(harness::pid_namespaces());
    let phases = ["stop requested", "draining", "TERM"];
    std::thread::scope(|scope| {
        for phase in phases {
            for launch in [Launch::pid1(Init::Adieu), Launch::ordinary(Init::Adieu)] {
                scope.spawn(move || sleeps_past_its_end(launch, phase));
            }
        }
    });
}

fn sleeps_past_its_end(launch: Launch, phase: &str) {
    let options = "--pre-stop 300ms --grace 2s --kill-margin 100ms --drain-timeout 300ms \
         --drain-check exec:/bin/false --leftovers 100ms --log-level debug";
    let exits = if phase == "TERM" { "--deaf" } else { "--exit-on TERM" };
    let mut run = launch.options(options).args(exits).start();
    run.expect("ready");
    run.term();
    run.log(phase);
    run.signal(libc::SIGSTOP);
    let stopped = std::time::Instant::now();
    harness::until("the grace is over", || stopped.elapsed() > std::time::Duration::from_millis(2300));
    run.signal(libc::SIGCONT);
    run.find("got TERM 1 ");
    run.expect_exit(if phase == "TERM" { 128 + libc::SIGKILL } else { 0 });
}

#[test]
fn a_proc_that_hides_others_is_no_obstacle() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let scratch = Scratch::new();
    let (adieu, probe) = for_everyone(&scratch);
    let mut become_stranger = become_user(65_534);
    let hide = move || {
        mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), Some("hidepid=2"))?;
        become_stranger()
    };
    works(Launch::program(&adieu).command([&probe]).in_namespace().before_exec(hide));
}

/// The kernel's OOM killer takes the app: its status says so, and adieu, whose memory is small,
/// reports it.
#[test]
fn an_app_that_the_oom_killer_took_has_status_137() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let (mut run, _group) = match short_of_memory("", "echo ready; exec tail /dev/zero") {
        Ok(both) => both,
        Err(reason) => left_out!("{reason}"),
    };
    run.expect("ready");
    run.expect_exit(128 + libc::SIGKILL);
    run.log("KILL");
}

/// It takes a neighbour of the app: that is reaped, and the app goes on.
#[test]
fn a_neighbour_that_the_oom_killer_took_is_reaped() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let script = "(tail /dev/zero; echo taken) & trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done";
    let (mut run, _group) = match short_of_memory(AT_ONCE, script) {
        Ok(both) => both,
        Err(reason) => left_out!("{reason}"),
    };
    let mut lines = [run.line(), run.line()];
    lines.sort();
    assert_eq!(lines, ["ready", "taken"]);
    harness::until("the neighbour is reaped", || harness::zombies(run.pid).is_empty());
    run.term();
    run.expect_exit(9);
}

/// This script below adieu, both in a cgroup of little memory.
fn short_of_memory(options: &str, script: &str) -> Result<(Running, Memory), String> {
    let group = Memory::new(48 << 20)?;
    let launch = Launch::pid1(Init::Adieu).options(options).command(["/bin/sh", "-c", script]);
    Ok((launch.in_cgroup(group.procs()).start(), group))
}

/// A cgroup of the test's own with so much memory, of version 2 or of version 1.
struct Memory(PathBuf);

impl Memory {
    fn new(most: u64) -> Result<Self, String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("adieu-memory-{}-{count}", std::process::id());
        let places = [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")];
        for (place, file) in places {
            let folder = Path::new(place).join(&name);
            if std::fs::create_dir(&folder).is_ok() {
                // Dropped where it is an ordinary directory or a hierarchy of something else.
                let group = Self(folder);
                let limit = group.0.join(file);
                if limit.exists() && std::fs::write(limit, most.to_string()).is_ok() {
                    return Ok(group);
                }
            }
        }
        Err("no cgroup with a limit of memory may be made here".into())
    }

    fn procs(&self) -> CString {
        CString::new(self.0.join("cgroup.procs").as_os_str().as_bytes()).expect("no NUL")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while std::fs::remove_dir(&self.0).is_err() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

/// adieu whose system calls on `path` wait for minutes, or fail, as `inject` tells strace. strace
/// stands beside it (-D).
fn injected(inject: &str, path: Option<&Path>) -> Launch {
    let strace = Path::new("/usr/bin/strace");
    let of_path = path.into_iter().flat_map(|path| ["-P".into(), path.as_os_str().to_owned()]);
    let fixed = ["-D", "-f", "-q", "-o", "/dev/null", "-e"].map(Into::into);
    let words = fixed.into_iter().chain([format!("inject={inject}").into()]).chain(of_path);
    words.fold(Launch::program(strace), Launch::option).option(Init::Adieu.path())
}

/// A command on a file system that does not answer is stuck in execve(2).
#[test]
fn a_check_that_hangs_in_exec_holds_nobody_up() {
    require!(harness::program("strace"));
    let scratch = Scratch::new();
    let slow = scratch.file("slow", "#!/bin/sh\n");
    std::fs::set_permissions(&slow, PermissionsExt::from_mode(0o755)).expect("one's own file");
    // Whether the kernel can end it is another question: adieu waits for it no longer than for the
    // end of the grace.
    let mut run = injected("execve:delay_enter=600000000", Some(&slow))
        .options("--pre-stop 0 --grace 10s")
        .option("--ready")
        .option(format!("exec:{}", slow.display()))
        .option("--")
        .command([harness::probe()])
        .start();
    run.expect("ready");
    harness::until("the check hangs", || harness::children(run.pid).len() == 2);
    run.signal(libc::SIGUSR1);
    run.expect_signal("USR1");
    stops(&mut run);
}

/// One failure of kill(2) does not leave the app without a word until it is killed.
#[test]
fn a_stop_signal_that_could_not_be_sent_is_sent_again() {
    require!(harness::program("strace"));
    let mut run = injected("kill:error=EPERM:when=1", None)
        .options(AT_ONCE)
        .option("--")
        .command(["sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do read line; done"])
        .start();
    run.expect("ready");
    run.term();
    run.log("cannot send TERM to the app");
    run.expect_exit(7);
}

/// Kills the process that makes this call, as the filter of a systemd unit does by default.
fn killing(call: libc::c_long) -> impl FnMut() -> std::io::Result<()> + Send + Sync {
    filtering(call, libc::SECCOMP_RET_KILL_PROCESS)
}

/// A seccomp filter for one call.
fn filtering(call: libc::c_long, verdict: u32) -> impl FnMut() -> std::io::Result<()> + Send + Sync {
    const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    const IS: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;
    let step = |code, k, jt, jf| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0), // the number of the call
        step(IS, call as u32, 0, 1),
        step(RETURN, verdict, 0, 0),
        step(RETURN, libc::SECCOMP_RET_ALLOW, 0, 0),
    ];
    move || {
        let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
        // SAFETY: integers, and a program that lives through the call.
        let set = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
                | libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program)
        };
        if set == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }
}

/// Where the unit of a wrapped service has SystemCallFilter=@system-service, the first duplicate of
/// a socket would be adieu's end, in the middle of a stop.
#[test]
fn a_filter_that_kills_only_keeps_clients_from_being_let_go() {
    require!(harness::pid_namespaces());
    require!(harness::program("python3"));
    let port = harness::free_port();
    const SERVER: &str = "
import http.server, sys
class Http(http.server.SimpleHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Http)
print('ready', flush=True)
server.serve_forever()
";
    for call in [libc::SYS_pidfd_getfd, libc::SYS_pidfd_open] {
        let mut run = Launch::pid1(Init::Adieu)
            .before_exec(killing(call))
            .options(&format!("--pre-stop 1s --grace 50s --drain-timeout 2s --close-connections {port}"))
            .command(["python3", "-c", SERVER, &port.to_string()])
            .start();
        run.find("ready");
        let _client = harness::connect(("127.0.0.1", port));
        run.term();
        run.log("cannot let clients go: operation not permitted");
        run.expect_exit(128 + libc::SIGTERM);
    }
}

/// A profile that was made by watching an app knows no clock_gettime, which the vDSO answers.
#[test]
fn time_passes_where_a_filter_refuses_the_clock() {
    require!(harness::pid_namespaces());
    let refusing = filtering(libc::SYS_clock_gettime, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32);
    let mut run = Launch::pid1(Init::Adieu)
        .before_exec(refusing)
        .options("--pre-stop 1s --grace 4s")
        .args("--deaf")
        .start();
    run.expect("ready");
    run.term();
    run.expect_exit(128 + libc::SIGKILL);
    let summary = run.log("stopped by TERM");
    assert!(summary.contains("pre-stop 1s"), "{summary}");
}
