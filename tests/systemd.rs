//! As the main process of a service, under a real systemd that is booted in a container of its own:
//! this machine's /usr below an empty root in memory, so nothing has to be fetched or installed.

mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use harness::{Launch, Running, Scratch, WATCHDOG};

fn systemd_boots_here() -> Result<(), String> {
    harness::root()?;
    harness::program("systemd-nspawn")?;
    harness::program("nsenter")?;
    let present = |path: &str| if Path::new(path).exists() { Ok(()) } else { Err(format!("no {path}")) };
    present("/usr/lib/systemd/systemd")?;
    let merged = Path::new("/bin").is_symlink();
    if merged { Ok(()) } else { Err("systemd-nspawn needs all programs below /usr".into()) }
}

/// A booted systemd with our units in it.
struct Machine {
    nspawn: Running,
    pid: i32,
    _units: Scratch,
    _alone: MutexGuard<'static, ()>,
}

/// All machines have the control groups of their units in one tree, and each removes what is empty:
/// two that have a unit of one name disturb each other.
static BOOTED: Mutex<()> = Mutex::new(());

impl Machine {
    /// With this machine's own systemd.
    fn boot(units: &[(&str, &str)]) -> Self {
        Self::boot_from(Path::new("/"), units)
    }

    /// With the systemd below this root. A unit's path may be given instead of its name.
    fn boot_from(root: &Path, units: &[(&str, &str)]) -> Self {
        let alone = BOOTED.lock().unwrap_or_else(PoisonError::into_inner);
        let (adieu, probe) = harness::static_programs();
        let scratch = Scratch::new();
        let mut launch = Launch::program(Path::new("/usr/bin/systemd-nspawn"))
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .option(format!("--directory={}", root.display()))
            .options("--volatile=yes --boot --console=pipe --register=no --keep-unit")
            .options("--private-network --quiet")
            .option(format!(
                "--machine=adieu-{}",
                scratch.path("").file_name().expect("a name").to_string_lossy()
            ))
            .option(format!("--bind-ro={}:/adieu", adieu.display()))
            .option(format!("--bind-ro={}:/probe", probe.display()));
        for (name, text) in units {
            let target = Path::new("/etc/systemd/system").join(name);
            let name = target.file_name().expect("a file's name").to_string_lossy();
            let file = scratch.file(&name, text);
            launch = launch.option(format!("--bind-ro={}:{}", file.display(), target.display()));
        }
        let mut nspawn = launch.option("--").arg("--unit=basic.target").start();
        let mut pid = None;
        harness::until("systemd runs in the container", || {
            if nspawn.has_ended() {
                nspawn.fail("it does not boot");
            }
            let name = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            pid = harness::children(nspawn.pid).into_iter().find(|&child| name(child) == "systemd\n");
            pid.is_some()
        });
        let machine = Self { nspawn, pid: pid.expect("until has seen it"), _units: scratch, _alone: alone };
        harness::until("systemd answers", || {
            machine.try_run(&["systemctl", "is-active", "basic.target"]).status.success()
        });
        machine
    }

    fn try_run(&self, words: &[&str]) -> Output {
        let pid = self.pid.to_string();
        let mut enter = Command::new("nsenter");
        harness::output(enter.args(["-t", &pid, "-a", "--"]).args(words), WATCHDOG)
    }

    fn run(&self, words: &[&str]) -> String {
        let output = self.try_run(words);
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_string();
        assert!(output.status.success(), "{words:?}: {}\n{}", told(&output.stderr), self.journal());
        told(&output.stdout)
    }

    fn journal(&self) -> String {
        String::from_utf8_lossy(&self.try_run(&["journalctl", "--no-pager", "-n", "50"]).stdout).into_owned()
    }

    fn property(&self, unit: &str, name: &str) -> String {
        self.run(&["systemctl", "show", "--value", "--property", name, unit])
    }

    fn file(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.pid))
    }

    /// What the unit's `ExecStopPost` has written down of its end.
    fn result(&self) -> String {
        let read = std::fs::read_to_string(self.file("/run/result"));
        read.unwrap_or_else(|error| panic!("{error}\n{}", self.journal())).trim().to_string()
    }

    fn request(&self, port: u16) -> std::thread::JoinHandle<std::io::Result<String>> {
        harness::request_in_network_of(self.pid, port)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // A PID namespace ends with its first process; nspawn then ends by itself and puts
        // everything away. SAFETY: touches no memory.
        unsafe { libc::kill(self.pid, libc::SIGKILL) };
        if !std::thread::panicking() {
            self.nspawn.end();
        }
    }
}

/// Its systemd knows Type=notify-reload and its podman knows Quadlets, which those of Debian 12 do
/// not.
fn debian_13() -> PathBuf {
    harness::debian("trixie", "", "systemd-sysv,podman,python3-minimal")
}

/// Not released yet. Its systemd has LISTEN_PIDFDID, and wants the reload's signal to be blocked or
/// caught where the unit is of Type=notify-reload.
fn debian_14() -> PathBuf {
    harness::debian("forky", "", "systemd-sysv,python3-systemd")
}

/// A service of adieu's, with its options and its app.
fn service(options: &str, app: &str) -> String {
    format!(
        "[Service]\nType=notify\nNotifyAccess=main\nKillMode=mixed\nTimeoutStopSec=30\nExecStart=/adieu {options} -- {app}\n\
         StandardOutput=file:/run/out\n\
         ExecStopPost=/bin/sh -c 'echo $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS >/run/result'\n"
    )
}

#[test]
fn a_unit_is_active_when_ready_and_stops_without_losing_a_request() {
    require!(systemd_boots_here());
    let ready = "--ready 'exec:/usr/bin/test -e /run/go'";
    let unit = service(ready, "/probe serve 8080 1000");
    let machine = Machine::boot(&[("app.service", &unit)]);
    machine.run(&["systemctl", "start", "--no-block", "app"]);
    let out = machine.file("/run/out");
    let says = |text: &str| std::fs::read_to_string(&out).is_ok_and(|lines| lines.contains(text));
    harness::until("the app runs", || says("ready 8080"));
    assert_eq!(machine.property("app", "ActiveState"), "activating", "not ready yet");
    machine.run(&["touch", "/run/go"]);
    harness::until("the unit is active", || machine.property("app", "ActiveState") == "active");

    let request = machine.request(8080);
    harness::until("the request has come", || says("request"));
    machine.run(&["systemctl", "stop", "app"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("adieu"),
        "{answer}\n{}",
        machine.journal()
    );
    // adieu died of the signal that ended the app; an exit status of 143 would have been a failure.
    assert_eq!(machine.result(), "success killed TERM");
    assert_eq!(machine.property("app", "ActiveState"), "inactive");
    assert!(!machine.try_run(&["systemctl", "is-failed", "app"]).status.success());
}

/// packaging/systemd/wrap.conf, in front of a service that knows nothing of adieu.
#[test]
fn a_dropped_in_adieu_wraps_a_service() {
    require!(systemd_boots_here());
    let unit = "[Service]\nType=simple\nKillSignal=SIGINT\nExecStart=/probe --legacy\n";
    let shipped = include_str!("../packaging/systemd/wrap.conf");
    let wrap = shipped.replace("/usr/bin/adieu -- /usr/bin/my-app", "/adieu -- /probe --legacy");
    assert_ne!(shipped, wrap);
    let drop_in = "/etc/systemd/system/app.service.d/adieu.conf";
    let machine = Machine::boot(&[("app.service", unit), (drop_in, &wrap)]);
    machine.run(&["systemctl", "start", "app"]);
    assert_eq!(machine.property("app", "Type"), "notify");
    machine.run(&["systemctl", "stop", "app"]);
    assert_eq!(machine.property("app", "Result"), "success", "{}", machine.journal());
    let journal = machine.journal();
    assert!(journal.contains("  stopped by TERM from pid 1 in "), "{journal}");
}

/// Why adieu dies of the signal: systemd takes the status for a failure. So the test above can
/// fail.
#[test]
fn a_status_of_143_is_a_failure_to_systemd() {
    require!(systemd_boots_here());
    let unit = service("--exit-signal never", "/probe --legacy --deaf");
    let machine = Machine::boot(&[("app.service", &unit)]);
    machine.run(&["systemctl", "start", "app"]);
    machine.run(&["systemctl", "stop", "app"]);
    assert_eq!(machine.result(), "exit-code exited 143");
    assert!(machine.try_run(&["systemctl", "is-failed", "app"]).status.success());
}

/// With PrivatePIDs=, since systemd 257, adieu is PID 1 and the kernel lets it die of no signal of
/// its own. It says which signal it was by the status, which an option makes a success.
#[test]
fn a_unit_with_pids_of_its_own_needs_an_option_to_stop_cleanly() {
    long!();
    require!(systemd_boots_here());
    require!(harness::program("mmdebstrap"));
    let unit = |options| service(options, "/probe --legacy") + "PrivatePIDs=yes\n";
    let (plain, told) = (unit(""), unit("--success-on-stop 143"));
    let machine = Machine::boot_from(&debian_13(), &[("plain.service", &plain), ("told.service", &told)]);
    for (name, result) in [("plain", "exit-code exited 143"), ("told", "success exited 0")] {
        machine.run(&["systemctl", "start", name]);
        machine.run(&["systemctl", "stop", name]);
        assert_eq!(machine.result(), result, "{}", machine.journal());
    }
}

#[test]
fn sockets_of_systemd_reach_the_app() {
    require!(systemd_boots_here());
    let unit = service("", "/probe --deaf --exit-on TERM --first pids --first fds --first env");
    let socket = "[Socket]\nListenStream=127.0.0.1:9000\nService=app.service\n";
    let machine = Machine::boot(&[("app.service", &unit), ("app.socket", socket)]);
    machine.run(&["systemctl", "start", "app.socket"]);
    machine.run(&["systemctl", "start", "app"]);
    let out = machine.file("/run/out");
    let text = || std::fs::read_to_string(&out).unwrap_or_default();
    harness::until("the app has told all", || text().contains("env end"));
    let text = text();
    let app = text.lines().find_map(|line| line.strip_prefix("pid ")).expect("its pid").split(' ').next();
    let listen = text.lines().find_map(|line| line.strip_prefix("env LISTEN_PID="));
    assert_eq!(listen, app, "{text}");
    assert!(text.contains("env LISTEN_FDS=1\n") && text.contains("fds [0, 1, 2, 3]\n"), "{text}");
    machine.run(&["systemctl", "stop", "app.socket", "app"]);
}

/// Only from Linux 6.9 on does a pidfd have an inode of its own, which systemd can name.
fn pidfds_have_inodes() -> Result<(), String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").expect("/proc");
    let mut numbers =
        release.split(|byte: char| !byte.is_ascii_digit()).map_while(|number| number.parse().ok());
    let version: (u32, u32) = (numbers.next().expect("a version"), numbers.next().unwrap_or(0));
    if version >= (6, 9) { Ok(()) } else { Err(format!("Linux {} has no pidfs", release.trim())) }
}

/// systemd 259 and later says by LISTEN_PIDFDID, too, which process the sockets are for, and
/// libsystemd gives them to no other. So the variable may not reach the app as it reaches adieu.
#[test]
fn socket_activation_by_pidfd_reaches_the_app() {
    long!();
    require!(systemd_boots_here());
    require!(harness::program("mmdebstrap"));
    require!(pidfds_have_inodes());
    let unit = service("", "/usr/bin/python3 /etc/systemd/system/activated.py");
    let socket = "[Socket]\nListenStream=127.0.0.1:9000\n";
    let units = [("app.service", unit.as_str()), ("app.socket", socket), ("activated.py", ACTIVATED)];
    let machine = Machine::boot_from(&debian_14(), &units);
    machine.run(&["systemctl", "start", "app.socket"]);
    // The request starts the app.
    let answer = machine.request(9000).join().expect("no panic").expect("an answer");
    assert_eq!(answer, "adieu has it: True, descriptors [3], by adieu's pidfd []", "{}", machine.journal());
    machine.run(&["systemctl", "stop", "app.socket", "app"]);
}

/// Tells a client on its socket what libsystemd gives it: with the variables that adieu leaves, and
/// with adieu's own LISTEN_PIDFDID added.
const ACTIVATED: &str = "
import os, signal, socket
from systemd.daemon import listen_fds
with open('/proc/%d/environ' % os.getppid()) as environ:
    adieus = dict(entry.split('=', 1) for entry in environ.read().split('\\0') if entry)
given = listen_fds(unset_environment=False)
os.environ['LISTEN_PIDFDID'] = adieus.get('LISTEN_PIDFDID', '')
by_adieus = listen_fds()
client, _ = socket.socket(fileno=3).accept()
client.recv(4096)
has = 'LISTEN_PIDFDID' in adieus
client.sendall(f\"adieu has it: {has}, descriptors {given}, by adieu's pidfd {by_adieus}\".encode())
client.close()
signal.pause()
";

/// What Type=notify-reload waits for. Older managers than 253 do not know that type, but take the
/// same messages for a reload that the service began by itself.
#[test]
fn systemd_sees_the_reload_of_an_app_that_does_not_announce_it() {
    require!(systemd_boots_here());
    let unit = service("", "/probe --deaf --exit-on TERM");
    let machine = Machine::boot(&[("app.service", &unit)]);
    machine.run(&["systemd-analyze", "log-level", "debug"]);
    machine.run(&["systemctl", "start", "app"]);
    machine.run(&["systemctl", "kill", "--signal=HUP", "--kill-who=main", "app"]);
    let journal = || machine.run(&["journalctl", "--no-pager", "--unit=app"]);
    harness::until("it reloads and then runs on", || {
        let journal = journal();
        let after = journal.split_once("Changed running -> reload").map(|(_, after)| after);
        after.is_some_and(|after| after.contains(" -> running"))
    });
    machine.run(&["systemctl", "stop", "app"]);
    assert_eq!(machine.result(), "success exited 0");
}

/// `systemctl reload` waits for RELOADING=1 with the time and then for READY=1. adieu says both for
/// this app; without them the reload would last until TimeoutStartSec and then fail.
#[test]
fn a_reload_of_type_notify_reload_ends_for_an_app_that_does_not_speak() {
    long!();
    require!(systemd_boots_here());
    require!(harness::program("mmdebstrap"));
    let unit = service("", "/probe --deaf --exit-on TERM").replace("Type=notify", "Type=notify-reload");
    for root in [debian_13(), debian_14()] {
        let machine = Machine::boot_from(&root, &[("app.service", &unit)]);
        machine.run(&["systemctl", "start", "app"]);
        for reloads in 1..=2 {
            machine.run(&["systemctl", "reload", "app"]);
            assert_eq!(machine.property("app", "ActiveState"), "active");
            let got = || std::fs::read_to_string(machine.file("/run/out")).unwrap_or_default();
            harness::until("the app got HUP", || got().matches("got HUP ").count() == reloads);
        }
        machine.run(&["systemctl", "stop", "app"]);
        assert_eq!(machine.result(), "success exited 0");
    }
}

/// The app's own announcement is the only one: the reload ends when the app has reloaded, which it
/// does late. The watchdog and the store for descriptors work here as on older managers.
#[test]
fn a_reload_of_type_notify_reload_lasts_as_long_as_that_of_an_app_that_speaks() {
    long!();
    require!(systemd_boots_here());
    require!(harness::program("mmdebstrap"));
    let unit = service("--ready notify", "/usr/bin/python3 /etc/systemd/system/speaker.py")
        .replace("Type=notify", "Type=notify-reload\nWatchdogSec=10\nFileDescriptorStoreMax=2")
        + "StateDirectory=app\nEnvironment=SLOW_RELOAD=2\n";
    for root in [debian_13(), debian_14()] {
        let machine = Machine::boot_from(&root, &[("app.service", &unit), ("speaker.py", SPEAKER)]);
        machine.run(&["systemctl", "start", "app"]);
        let told = || std::fs::read_to_string(machine.file("/var/lib/app/told")).unwrap_or_default();
        assert_eq!(told(), "descriptors 0\n");
        assert_eq!(machine.property("app", "NFileDescriptorStore"), "1", "{}", machine.journal());

        machine.run(&["systemctl", "reload", "app"]);
        assert_eq!(told(), "descriptors 0\nreloaded\n", "systemctl returned before the end of the reload");
        assert_eq!(machine.property("app", "ActiveState"), "active");

        machine.run(&["systemctl", "restart", "app"]);
        assert!(told().ends_with("descriptors 1\n"), "the new app gets what the old one stored: {}", told());
        assert_ne!(machine.property("app", "WatchdogTimestampMonotonic"), "0");
        machine.run(&["systemctl", "stop", "app"]);
        assert_eq!(machine.result(), "success exited 0");
    }
}

/// What podman's generator makes of the Quadlet that ships, read from the manager that ran it.
#[test]
fn podman_makes_a_unit_from_the_quadlet() {
    long!();
    require!(systemd_boots_here());
    require!(harness::program("mmdebstrap"));
    let quadlet = include_str!("../packaging/systemd/adieu-example.container");
    let path = "/etc/containers/systemd/app.container";
    let machine = Machine::boot_from(&debian_13(), &[(path, quadlet)]);
    let unit = machine.run(&["systemctl", "cat", "app.service"]);
    let run = unit.lines().find(|line| line.starts_with("ExecStart=")).expect("a command");
    let image = " localhost/my-app:1.0 /usr/bin/python3 -m http.server 8080";
    assert!(run.ends_with(image), "{unit}");
    // adieu's own messages reach systemd, and podman gives it the time that adieu counts with.
    for option in ["--sdnotify=container", "--stop-timeout=30", "--env ADIEU_GRACE=30", "--health-cmd"] {
        assert!(run.contains(option), "no {option} in: {run}");
    }
    assert!(!run.contains("--init "), "podman's init would stand in front of adieu: {run}");
    let properties = ["Type", "NotifyAccess", "TimeoutStopUSec", "KillMode"];
    let properties = properties.map(|name| machine.property("app.service", name));
    assert_eq!(properties, ["notify", "all", "35s", "mixed"]);
}

/// The unit that ships: its settings from a file, its sandbox around adieu and the app. The drain
/// reads the app's connections by netlink and a request in flight is finished, so nothing that
/// adieu needs was taken away.
#[test]
fn the_template_unit_runs_reloads_restarts_and_keeps_descriptors() {
    require!(systemd_boots_here());
    require!(harness::program("python3"));
    // The machine has no network that could come online.
    let shipped = include_str!("../packaging/systemd/adieu@.service")
        .replace("/usr/bin/adieu", "/adieu")
        .replace("After=network-online.target\nWants=network-online.target\n", "");
    let machine = Machine::boot(&[("adieu@.service", &shipped), ("speaker.py", SPEAKER)]);
    let settings = machine.file("/etc/adieu");
    std::fs::create_dir_all(&settings).expect("the machine's /etc");
    let conf =
        "COMMAND=/usr/bin/python3 /etc/systemd/system/speaker.py\nADIEU_READY=notify\nADIEU_PRE_STOP=100ms\n";
    std::fs::write(settings.join("speaker.conf"), conf).expect("the machine's /etc");
    let unit = "adieu@speaker";
    // Type=notify: active when the app has said READY=1 through adieu.
    machine.run(&["systemctl", "start", unit]);
    assert_eq!(machine.property(unit, "ActiveState"), "active");
    let told =
        || std::fs::read_to_string(machine.file("/var/lib/private/adieu/speaker/told")).unwrap_or_default();
    assert_eq!(told(), "descriptors 0\n");
    assert_eq!(machine.property(unit, "NFileDescriptorStore"), "1", "{}", machine.journal());

    machine.run(&["systemctl", "reload", unit]);
    harness::until("the app has reloaded", || told() == "descriptors 0\nreloaded\n");

    // It dies, is started again, and finds in the store what it left there.
    let adieu = machine.property(unit, "MainPID");
    let children = machine.run(&["cat", &format!("/proc/{adieu}/task/{adieu}/children")]);
    machine.run(&["kill", "-KILL", children.split_whitespace().next().expect("an app")]);
    harness::until("it is started again", || machine.property(unit, "NRestarts") == "1");
    harness::until("the app has its descriptor", || told().ends_with("descriptors 1\n"));

    // Since adieu's last ping; 0 where there was none.
    assert_ne!(machine.property(unit, "WatchdogTimestampMonotonic"), "0");
    machine.run(&["systemctl", "stop", unit]);
    assert_eq!(machine.property(unit, "Result"), "success", "{}", machine.journal());
    let journal = machine.journal();
    let blind = ["cannot look", "cannot read", "Operation not permitted"];
    assert!(!blind.iter().any(|word| journal.contains(word)), "the sandbox is in the way:\n{journal}");
}

/// Says over sd_notify that it is ready, stores a descriptor once, tells of a reload, and obeys
/// TERM.
const SPEAKER: &str = "
import array, os, signal, socket, time
name = os.environ['NOTIFY_SOCKET']
to = '\\0' + name[1:] if name[0] == '@' else name
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
def say(text, rights=[]):
    s.sendmsg([text.encode()], rights, 0, to)
def tell(text):
    with open(os.environ['STATE_DIRECTORY'] + '/told', 'a') as told:
        print(text, file=told)
def reload(number, frame):
    say('RELOADING=1\\nMONOTONIC_USEC=%d' % (time.monotonic_ns() // 1000))
    time.sleep(float(os.environ.get('SLOW_RELOAD', 0)))
    tell('reloaded')
    say('READY=1')
signal.signal(signal.SIGHUP, reload)
signal.signal(signal.SIGTERM, lambda number, frame: os._exit(0))
given = int(os.environ.get('LISTEN_FDS', 0)) if os.environ.get('LISTEN_PID') == str(os.getpid()) else 0
if not given:
    kept = os.memfd_create('kept')
    say('FDSTORE=1\\nFDNAME=kept', [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array('i', [kept]))])
tell('descriptors %d' % given)
say('READY=1')
while True:
    signal.pause()
";
