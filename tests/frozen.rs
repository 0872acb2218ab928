//! Time that passes while adieu stands still: a frozen cgroup, as of a paused container, or SIGSTOP of
//! everything, in every phase. What comes meanwhile is done afterwards, in order, with the right
//! status.

mod harness;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::{Init, Launch, Running};

const AT_ONCE: &str = "--pre-stop 0 --grace 50s";

/// Everything happens, and soon; the end does not come before all have stood still once.
const LIFE: &str = "--pre-stop 300ms --grace 3s --kill-margin 500ms --drain-timeout 300ms --leftovers 300ms \
     --drain-check exec:/bin/false --log-level debug";

/// The line at which a phase begins, and whether a stop leads there or the app's own end.
const PHASES: [(&str, Way); 8] = [
    ("starting: ", Way::Stop),
    ("running: ", Way::Stop),
    ("stop requested", Way::Stop),
    ("draining: ", Way::Stop),
    ("stopping: ", Way::Stop),
    ("killing: ", Way::Stop),
    ("sweeping: ", Way::OwnEnd),
    ("leaving: ", Way::OwnEnd),
];

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Stop,
    OwnEnd,
}

/// Lives through all phases, and stands still in one of them.
fn stands_still_at(line: &str, way: Way, launch: Launch, stand_still: impl FnOnce(&Running)) {
    let ready = if line == "starting: " { "--ready exec:true" } else { "" };
    let mut run = launch
        .options(LIFE)
        .options(ready)
        .option("--on-exit")
        .option("exec:sleep 0.2")
        .args(if way == Way::Stop { "--deaf" } else { "" })
        .start();
    let mut stand_still = Some(stand_still);
    let mut at = |run: &mut Running| {
        run.log(line);
        if let Some(stand_still) = stand_still.take() {
            stand_still(run);
        }
    };
    if ["starting: ", "running: "].contains(&line) {
        at(&mut run);
        run.expect("ready");
        if line == "starting: " {
            run.log("running: ");
        }
        run.term();
    } else {
        run.expect("ready");
        match way {
            Way::Stop => run.term(),
            Way::OwnEnd => {
                run.say("orphan --name left --deaf --setsid");
                run.find("left: ready");
                run.say("exit 3");
            }
        }
        at(&mut run);
    }
    // Who stood still with a signal that he had not read yet may find KILL beside it.
    if way == Way::Stop && !["stopping: ", "killing: "].contains(&line) {
        run.find("got TERM ");
    }
    run.expect_exit(if way == Way::Stop { 128 + libc::SIGKILL } else { 3 });
    let errors = run.errors();
    assert!(!errors.iter().any(|line| line.contains("cannot end")), "{line}: {errors:?}");
}

/// How long all stand still: longer than a phase, or than the grace.
const TIMES: [Duration; 2] = [Duration::from_millis(500), Duration::from_millis(3500)];

fn pass(time: Duration) {
    let since = Instant::now();
    harness::until("time has passed", || since.elapsed() > time);
}

#[test]
fn stopped_with_all_its_processes_in_any_phase_the_end_is_the_right_one() {
    require!(harness::pid_namespaces());
    std::thread::scope(|scope| {
        for ((line, way), time) in PHASES.into_iter().flat_map(|phase| TIMES.map(|time| (phase, time))) {
            for launch in [Launch::pid1(Init::Adieu), Launch::ordinary(Init::Adieu)] {
                scope.spawn(move || {
                    stands_still_at(line, way, launch, |run| {
                        signal_all(&[run.pid], libc::SIGSTOP);
                        let others = harness::descendants(run.pid);
                        signal_all(&others, libc::SIGSTOP);
                        pass(time);
                        signal_all(&others, libc::SIGCONT);
                        signal_all(&[run.pid], libc::SIGCONT);
                    });
                });
            }
        }
    });
}

fn signal_all(pids: &[i32], signal: i32) {
    for &pid in pids {
        // SAFETY: kill touches no memory. Who is gone needs no signal.
        unsafe { libc::kill(pid, signal) };
    }
}

#[test]
fn frozen_in_any_phase_the_end_is_the_right_one() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    if let Err(reason) = Freezer::new() {
        left_out!("{reason}");
    }
    std::thread::scope(|scope| {
        for ((line, way), time) in PHASES.into_iter().flat_map(|phase| TIMES.map(|time| (phase, time))) {
            scope.spawn(move || {
                let freezer = Freezer::new().expect("as above");
                let launch = Launch::pid1(Init::Adieu).in_cgroup(freezer.procs());
                stands_still_at(line, way, launch, |_| {
                    freezer.freeze();
                    pass(time);
                    freezer.thaw();
                });
            });
        }
    });
}

#[test]
fn what_comes_while_frozen_is_done_when_thawed() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let freezer = match Freezer::new() {
        Ok(freezer) => freezer,
        Err(reason) => left_out!("{reason}"),
    };
    let mut run = Launch::pid1(Init::Adieu).options(AT_ONCE).in_cgroup(freezer.procs()).start();
    run.expect("ready");
    freezer.freeze();
    for value in [1, 2, 3] {
        run.queue(40, value);
    }
    freezer.thaw();
    for value in [1, 2, 3] {
        assert!(run.expect_signal("40").contains(&format!(" value={value} ")));
    }
    freezer.freeze();
    run.term();
    freezer.thaw();
    run.expect_signal("TERM");
    run.expect_signal("CONT");
    run.say("exit 11");
    run.expect_exit(11);
}

/// Time goes on for the platform while a container stands still; what is late is done at once and
/// in order.
#[test]
fn a_stop_that_was_frozen_past_its_end_still_ends() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let freezer = match Freezer::new() {
        Ok(freezer) => freezer,
        Err(reason) => left_out!("{reason}"),
    };
    let mut run = Launch::pid1(Init::Adieu)
        .options("--pre-stop 200ms --grace 1s --kill-margin 100ms")
        .in_cgroup(freezer.procs())
        .start();
    run.expect("ready");
    run.term();
    run.log("stop requested");
    freezer.freeze();
    let frozen = std::time::Instant::now();
    harness::until("the grace is over", || frozen.elapsed() > std::time::Duration::from_millis(1200));
    freezer.thaw();
    run.expect_exit(128 + libc::SIGKILL);
}

/// A cgroup of the test's own that can stand still: of version 2, or of version 1's freezer.
struct Freezer {
    folder: PathBuf,
    unified: bool,
}

impl Freezer {
    fn new() -> Result<Self, String> {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("adieu-test-{}-{count}", std::process::id());
        let places =
            [("/sys/fs/cgroup", true), ("/sys/fs/cgroup/unified", true), ("/sys/fs/cgroup/freezer", false)];
        for (place, unified) in places {
            let folder = Path::new(place).join(&name);
            let file = if unified { "cgroup.freeze" } else { "freezer.state" };
            if std::fs::create_dir(&folder).is_ok() {
                if folder.join(file).exists() {
                    return Ok(Self { folder, unified });
                }
                let _ = std::fs::remove_dir(&folder); // an ordinary directory, or a hierarchy without a freezer
            }
        }
        Err("no cgroup that can be frozen may be made here".into())
    }

    fn procs(&self) -> CString {
        CString::new(self.folder.join("cgroup.procs").as_os_str().as_bytes()).expect("no NUL")
    }

    fn freeze(&self) {
        if self.unified {
            self.write("cgroup.freeze", "1");
            harness::until("the cgroup is frozen", || self.read("cgroup.events").contains("frozen 1"));
        } else {
            self.write("freezer.state", "FROZEN");
            harness::until("the cgroup is frozen", || self.read("freezer.state").trim() == "FROZEN");
        }
    }

    fn thaw(&self) {
        if self.unified { self.write("cgroup.freeze", "0") } else { self.write("freezer.state", "THAWED") }
    }

    fn write(&self, file: &str, text: &str) {
        std::fs::write(self.folder.join(file), text).expect("one's own cgroup");
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(self.folder.join(file)).expect("one's own cgroup")
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // A test that failed while all stood still must not leave frozen processes behind.
        let _ = std::fs::write(
            self.folder.join(if self.unified { "cgroup.freeze" } else { "freezer.state" }),
            if self.unified { "0" } else { "THAWED" },
        );
        let gone = || std::fs::remove_dir(&self.folder).is_ok();
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while !gone() && std::time::Instant::now() < deadline {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}
