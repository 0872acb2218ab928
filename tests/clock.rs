//! Somebody sets the machine's clock while a stop is under way. Setting the real one would disturb
//! whoever else works here; instead adieu alone sees it set, hours forward and back between any two
//! readings. Readings of the time of day make no system call, so the code that the kernel maps
//! for them (vdso(7)) is first made to ask the kernel, and the test answers.

mod harness;

use std::ffi::CStr;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use harness::seccomp::{Actor, Call, Supervisor};
use harness::{Init, Launch};

const HOUR: u64 = 3600;

/// What of the time of day was asked for.
#[derive(Default)]
struct Asked {
    readings: u64,
    /// Calls that would wait for a time of day.
    waits: Vec<Call>,
}

fn under_a_clock_that_is_set(launch: Launch) -> (Launch, Supervisor, Arc<Mutex<Asked>>) {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let (told, mut has_patched) = (asked.clone(), false);
    let (launch, supervisor) = launch.judged(move |call| {
        if call.actor == Actor::Child {
            return None;
        }
        if !has_patched {
            has_patched = true;
            make_readings_visible(call.pid);
        }
        answer(call, &mut told.lock().expect("no judge has panicked"))
    });
    (launch, supervisor, asked)
}

/// Answers what asks for the time of day; all other calls go on to the kernel.
fn answer(call: &Call, asked: &mut Asked) -> Option<i32> {
    let [first, second, ..] = call.arguments;
    let is_real_time = first == libc::CLOCK_REALTIME as u64;
    match call.number {
        libc::SYS_clock_gettime if is_real_time => {
            asked.readings += 1;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
            let hours = asked.readings * HOUR;
            let seconds =
                if asked.readings.is_multiple_of(2) { now.as_secs() - hours } else { now.as_secs() + hours };
            let time = [seconds.to_ne_bytes(), u64::from(now.subsec_nanos()).to_ne_bytes()].concat();
            memory_of(call.pid).write_all_at(&time, second).expect("room for a timespec");
            return Some(0);
        }
        libc::SYS_gettimeofday => panic!("nothing here reads the time of day like this"),
        libc::SYS_timerfd_create | libc::SYS_timer_create | libc::SYS_clock_nanosleep if is_real_time => {
            asked.waits.push(*call);
        }
        libc::SYS_futex if second & libc::FUTEX_CLOCK_REALTIME as u64 != 0 => asked.waits.push(*call),
        _ => {}
    }
    None
}

fn memory_of(pid: i32) -> File {
    let memory = OpenOptions::new().read(true).write(true).open(format!("/proc/{pid}/mem"));
    memory.expect("the memory of a process of one's own")
}

#[cfg(target_arch = "x86_64")]
const READINGS: [(&CStr, i64); 2] =
    [(c"__vdso_clock_gettime", libc::SYS_clock_gettime), (c"__vdso_gettimeofday", libc::SYS_gettimeofday)];
#[cfg(target_arch = "aarch64")]
const READINGS: [(&CStr, i64); 2] = [
    (c"__kernel_clock_gettime", libc::SYS_clock_gettime),
    (c"__kernel_gettimeofday", libc::SYS_gettimeofday),
];

/// `mov eax, NUMBER; syscall; ret`
#[cfg(target_arch = "x86_64")]
fn that_calls(number: i64) -> Vec<u8> {
    [&[0xb8][..], &(number as u32).to_le_bytes(), &[0x0f, 0x05, 0xc3]].concat()
}

/// `mov x8, NUMBER; svc 0; ret`
#[cfg(target_arch = "aarch64")]
fn that_calls(number: i64) -> Vec<u8> {
    [0xd280_0008 | (number as u32) << 5, 0xd400_0001, 0xd65f_03c0].map(u32::to_le_bytes).concat()
}

/// Of the process that has just executed another program and makes its first call.
fn make_readings_visible(pid: i32) {
    let (memory, code) = (memory_of(pid), vdso(pid));
    for (name, number) in READINGS {
        // SAFETY: the library is part of every process; the name is a string.
        let here = unsafe {
            let library = libc::dlopen(c"linux-vdso.so.1".as_ptr(), libc::RTLD_LAZY | libc::RTLD_NOLOAD);
            libc::dlsym(library, name.as_ptr()) as u64
        };
        assert_ne!(here, 0, "no {name:?}");
        let offset = here - vdso(std::process::id() as i32);
        memory.write_all_at(&that_calls(number), code + offset).expect("code that a debugger may write");
    }
}

/// Where the kernel's code begins in a process.
fn vdso(pid: i32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the process lives");
    let line = maps.lines().find(|line| line.ends_with("[vdso]")).expect("the kernel maps it");
    u64::from_str_radix(line.split_once('-').expect("a range").0, 16).expect("an address")
}

/// The whole stop of a deaf app, with every wait that it has. A deadline on that clock would come at
/// once, or in hours.
#[test]
fn no_phase_of_a_stop_depends_on_the_time_of_day() {
    require!(harness::pid_namespaces());
    for launch in [Launch::pid1(Init::Adieu), Launch::ordinary(Init::Adieu)] {
        let (launch, supervisor, asked) = under_a_clock_that_is_set(launch);
        let mut run = launch
            .options("--pre-stop 600ms --drain-timeout 500ms --grace 3s --kill-margin 500ms")
            .options("--ready exec:true --drain-check exec:/bin/false --log-format json --log-level debug")
            .args("--deaf")
            .start();
        run.expect("ready");
        let running = run.log("\"running: ");
        let since = Instant::now();
        run.term();
        let phases: Vec<String> = [("draining: ", 600), ("stopping: ", 1100), ("killing: ", 2500)]
            .into_iter()
            .map(|(phase, least)| {
                let line = run.log(phase);
                assert!(since.elapsed() >= Duration::from_millis(least), "{phase} came early: {line}");
                line
            })
            .collect();
        run.find("got TERM ");
        run.expect_exit(128 + libc::SIGKILL);
        supervisor.finish();
        // The answers have reached adieu: lines of a few seconds are hours apart.
        let times: Vec<u64> = phases.iter().chain([&running]).map(|line| hour(line)).collect();
        assert!(times.windows(2).any(|pair| pair[0] != pair[1]), "{times:?} {phases:?}");
        let asked = asked.lock().expect("the judge is gone");
        assert!(asked.readings > 4, "{} readings", asked.readings);
        assert!(asked.waits.is_empty(), "{:?}", asked.waits);
    }
}

/// Of a line's time: `"time":"2026-11-24T18:00:00.123Z"`.
fn hour(line: &str) -> u64 {
    let time = line.split_once('T').and_then(|(_, time)| time.get(..2));
    time.and_then(|hour| hour.parse().ok()).unwrap_or_else(|| panic!("no time in {line}"))
}
