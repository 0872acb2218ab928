//! The rehearsal tool as a person uses it: what it prints and writes, its errors, that it runs
//! without root and without namespaces, and that nothing is left behind when it is interrupted or
//! killed.

#[path = "../harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use harness::{Companion, Scratch, WATCHDOG, pid_namespaces, program};

const TOOL: &str = env!("CARGO_BIN_EXE_adieu-rehearse");

fn tool(options: &str) -> Command {
    let mut command = undisturbed(Command::new(TOOL));
    command.args(options.split_whitespace());
    command
}

/// Without the tests' own variables, which adieu would take for its settings.
fn undisturbed(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ADIEU_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn run(options: &str) -> (Option<i32>, String, String) {
    heard(&mut tool(options))
}

/// Many times longer than the longest rehearsal here.
const REHEARSAL: Duration = Duration::from_secs(180);

fn heard(command: &mut Command) -> (Option<i32>, String, String) {
    said(&harness::output(command, REHEARSAL))
}

fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).expect("a folder");
    path
}

#[test]
fn without_arguments_it_shows_the_difference() {
    require!(pid_namespaces());
    let folder = folder("demo");
    let (svg, junit) = (folder.join("demo.svg"), folder.join("demo.xml"));
    let (status, page, steps) = run(&format!("--svg {} --junit {}", svg.display(), junit.display()));
    assert_eq!(status, Some(0), "the run under adieu decides: {page}{steps}");
    assert!(page.contains("under adieu: nothing lost"), "{page}");
    let lost = page.lines().find(|line| line.starts_with("bare: ")).expect("the bare run");
    assert!(lost.contains("requests lost"), "{lost}");
    assert!(!page.contains('\u{1b}'), "no colours without a terminal");
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    for step in ["bare: starting", "under adieu: answers on :", "under adieu: asked to stop with SIGTERM"] {
        assert!(steps.contains(step), "{step} is missing in {steps}");
    }
    let svg = std::fs::read_to_string(svg).expect("the picture");
    assert!(svg.starts_with("<svg") && svg.contains("pre-stop"), "{svg}");
    let junit = std::fs::read_to_string(junit).expect("the report");
    assert!(
        junit.contains("finishes requests in flight")
            && junit.contains("would fail: ")
            && junit.contains("failures=\"0\""),
        "{junit}"
    );
}

#[test]
fn the_worst_of_several_rehearsals_is_shown_and_counts() {
    require!(pid_namespaces());
    let (status, page, steps) = run(&format!(
        "--json --bare --repeat 3 --removal 0..0.4s --url /fast --warm-up 0.5s -- {TOOL} --as-legacy-app"
    ));
    assert_eq!(status, Some(1), "{steps}");
    let lost = |line: &str| line.split("bare: ").nth(1)?.split(' ').next()?.parse::<u64>().ok();
    let each: Vec<u64> =
        steps.lines().filter(|line| line.ends_with("requests lost")).filter_map(lost).collect();
    assert_eq!(each.len(), 3, "{steps}");
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let tally = &page["runs"][0]["verdict"]["tally"];
    let shown: u64 = ["cut_off", "turned_away"].iter().filter_map(|fate| tally[fate].as_u64()).sum();
    assert_eq!(Some(&shown), each.iter().max(), "{steps}");
    assert_eq!(page["runs"].as_array().map(Vec::len), Some(1));
}

#[test]
fn an_app_on_ipv6_alone_is_reached() {
    require!(pid_namespaces().and_then(|()| program("python3")));
    let server = "import http.server, socket; s = http.server.ThreadingHTTPServer; s.address_family = socket.AF_INET6; \
                  s(('::1', 0), http.server.SimpleHTTPRequestHandler).serve_forever()";
    let mut command = tool("-q --json --pre-stop 0.5s --removal 0.1s --warm-up 0.5s");
    let (status, page, error) = heard(command.args(["--", "python3", "-c", server]));
    assert_eq!(status, Some(0), "{page}{error}");
    assert!(page.contains("http://[::1]:"), "{page}");
}

#[test]
fn usage_errors_and_help_have_their_statuses() {
    for wrong in [
        "--grace soon",
        "--removal 3s..1s",
        "--platform mars",
        "--url ftp://x/",
        "--env NAME",
        "--no-such-option",
        "--bare --compare",
    ] {
        let (status, page, error) = run(wrong);
        assert_eq!(status, Some(125), "{wrong}");
        assert!(page.is_empty() && error.contains("error:"), "{wrong}: {error}");
    }
    let (status, page, _) = run("--help");
    assert_eq!(status, Some(0));
    assert!(page.contains("--removal") && page.contains("Exit status"), "{page}");
}

#[test]
fn the_manual_of_the_rehearsal_names_its_flags() {
    let help = run("--help").1;
    let flags = |text: &str| -> BTreeSet<String> {
        // An option begins its line.
        let first = |line: &str| line.trim_start().starts_with('-');
        let words =
            text.lines().filter(|line| first(line)).flat_map(|line| line.split([' ', ',', '=', '[', ':']));
        words.filter(|word| word.starts_with("--")).map(str::to_owned).collect()
    };
    let manual =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/man/adieu-rehearse.1"));
    let manual = manual.expect("the manual page").replace("\\fB", "").replace("\\fR", "").replace('\\', "");
    let manual = manual.replace(".BI ", "").replace(".B ", "");
    assert_eq!(flags(&manual), flags(&help), "the manual page on the left, --help on the right");
}

/// Checks the error of the tool when it cannot rehearse.
fn cannot(options: &str, why: &str) {
    let (status, page, error) = run(options);
    assert_eq!(status, Some(125), "{options}: {page}{error}");
    assert!(page.is_empty() && error.contains(why), "{options}: {error}");
}

#[test]
fn what_cannot_be_rehearsed_says_why() {
    cannot("-q -- /no/such/program", "not found");
    cannot("-q --bare -- /no/such/program", "no such file");
    cannot("-q --bare -- sh -c", "ended by itself with status 2");
    cannot("-q -- true", "ended by itself with status 0 before the stop request; its last output: none");
    cannot("-q --bare --start 1s -- sleep 60", "did not listen on any port within 1 s");
    cannot(
        "-q --start 1s --port 1 -- sleep 60",
        "did not listen on port 1 within 1 s: it listens on no port",
    );
    cannot("-q --manifest /no/such/file", "cannot read '/no/such/file'");
    cannot("-q -o pre-stop=60s --grace 10s -- sleep 60", "pre-stop");
}

#[test]
fn a_wrong_port_names_the_right_ones() {
    require!(pid_namespaces());
    for wrong in ["--port 1", "--url http://127.0.0.1:1/fast"] {
        let (status, _, error) = run(&format!("-q --start 1s {wrong} -- {TOOL} --as-legacy-app"));
        assert_eq!(status, Some(125), "{error}");
        let named = error.split("it listens on :").nth(1);
        let named = named.and_then(|rest| rest.split([' ', ';']).next()?.parse::<u16>().ok());
        assert!(named.is_some_and(|port| port > 1), "{wrong}: {error}");
    }
}

#[test]
fn an_app_that_dies_at_its_start_has_a_junit_report() {
    let path = folder("junit").join("dead.xml");
    let _old = std::fs::remove_file(&path);
    cannot(&format!("-q --junit {} -- /no/such/program", path.display()), "not found");
    let report = std::fs::read_to_string(path).expect("the report");
    assert!(report.contains("errors=\"1\"") && report.contains("<error message="), "{report}");
}

#[test]
fn a_manifest_without_a_command_asks_for_it() {
    let path = folder("manifest").join("pod.yaml");
    std::fs::write(&path, "kind: Pod\nspec: {containers: [{name: web, image: web:1}]}\n")
        .expect("a manifest");
    cannot(&format!("-q --manifest {}", path.display()), "leaves the command of 'web' to its image");
    cannot(&format!("-q --manifest {} --container db", path.display()), "names no 'db'; there is web");
}

#[test]
fn another_service_may_be_without_its_env_file() {
    require!(pid_namespaces());
    let path = folder("env-file").join("compose.yaml");
    let text = format!(
        "services:\n  db: {{command: [db], env_file: no.env}}\n  \
         web: {{command: [{TOOL}, --as-legacy-app], stop_grace_period: 20s}}\n"
    );
    std::fs::write(&path, text).expect("a manifest");
    let options = format!(
        "-q --json --pre-stop 1s --removal 0.5s --url /fast --manifest {} --container",
        path.display()
    );
    let (status, page, error) = run(&format!("{options} web"));
    assert_eq!(status, Some(0), "{page}{error}");
    assert!(page.contains("service db: cannot read env_file 'no.env'"), "{page}");
    cannot(&format!("{options} db"), "service db: cannot read env_file 'no.env'");
}

#[test]
fn a_manifest_is_rehearsed_as_it_says() {
    require!(pid_namespaces());
    let path = folder("manifest").join("run.yaml");
    let pod = format!(
        "kind: Pod\nspec:\n  terminationGracePeriodSeconds: 9\n  containers:\n  - name: web\n    command: [{TOOL}, --as-legacy-app]\n    \
         lifecycle: {{preStop: {{sleep: {{seconds: 1}}}}}}\n"
    );
    std::fs::write(&path, pod).expect("a manifest");
    let options = format!("-q --json --pre-stop 1s --removal 0.5s --url /fast --manifest {}", path.display());
    let (status, page, error) = run(&options);
    assert_eq!(status, Some(0), "{page}{error}");
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let recording = &page["runs"][0]["recording"];
    assert_eq!(recording["limits"]["platform"], "kubernetes");
    assert_eq!(recording["limits"]["grace_ms"], 9000);
    assert_eq!(recording["limits"]["hook_ms"], 1000);
    let end = recording["end"]["at"].as_i64().expect("a time");
    assert!(end >= 2000, "the hook and the pre-stop sleep take two seconds: {end}");
    let pre_stop = &recording["adieu_report"]["phases"][0];
    assert_eq!(pre_stop["phase"], "pre-stop");
    assert!(pre_stop["from"].as_i64().expect("a time") >= 900, "adieu is asked after the hook: {pre_stop}");
}

/// A copy that any user may run, wherever the build directory stands. Written by another process:
/// what this one has open for writing, a child of another test may hold when it is to run.
fn for_everyone(folder: &Path) -> PathBuf {
    let to = folder.join("tool");
    let copied = harness::output(Command::new("install").arg("--mode=755").arg(TOOL).arg(&to), WATCHDOG);
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
    to
}

/// Writes its user, directory and variables to a file before it serves.
const WHO: &str = "echo $(id -u):$(id -g) $(pwd) $A $B > \"$OUT\"; exec \"$TOOL\" --as-legacy-app";

#[test]
fn a_unit_is_rehearsed_as_its_user_in_its_folder_after_what_runs_before() {
    require!(pid_namespaces());
    require!(harness::root());
    let scratch = Scratch::new();
    let place = scratch.path("unit");
    std::fs::create_dir(&place).expect("a folder");
    let tool = for_everyone(&place);
    std::fs::write(place.join("app.env"), "B=file\n").expect("a file");
    let (out, before) = (place.join("out"), place.join("before"));
    let unit = format!(
        "[Service]\nUser=65534\nGroup=65534\nWorkingDirectory={0}\nEnvironment=A=unit OUT={1} TOOL={2}\n\
         EnvironmentFile=app.env\nExecStartPre=-/bin/false\n\
         ExecStartPre=/bin/sh -c 'echo $(id -u) $B > {3}; : > {1}'\nExecStart=/bin/sh -c '{WHO}'\n",
        place.display(),
        out.display(),
        tool.display(),
        before.display(),
    );
    for path in [&out, &before] {
        std::fs::write(path, "").expect("a file");
        std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("root may");
    }
    let path = place.join("app.service");
    std::fs::write(&path, unit).expect("a unit");
    let options = format!("-q --json --pre-stop 1s --removal 0.5s --url /fast --manifest {}", path.display());
    let (status, page, error) = run(&options);
    assert_eq!(status, Some(0), "{page}{error}");
    let said = |path| std::fs::read_to_string(path).expect("it was written");
    assert_eq!(said(&before), "65534 file\n");
    assert_eq!(said(&out), format!("65534:65534 {} unit file\n", place.display()));
    let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    assert!(page["runs"][0]["recording"]["adieu_report"].is_object(), "adieu has reported as that user");
    std::fs::write(&path, "[Service]\nExecStartPre=/bin/sh -c 'echo no; exit 3'\nExecStart=/bin/true\n")
        .expect("a unit");
    cannot(&format!("-q --manifest {}", path.display()), "runs before the app, ended with exit status: 3");
}

/// What ships for systemd, with the lines that its comment recommends behind a balancer.
#[test]
fn the_shipped_units_behind_a_balancer_pass_their_rehearsal() {
    require!(pid_namespaces());
    for (name, not_rehearsed) in [
        ("adieu-example.service", &["not rehearsed of [Service]: DynamicUser"][..]),
        ("adieu-example.container", &[]),
    ] {
        let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd")).join(name);
        let unit = std::fs::read_to_string(shipped).expect("the unit is there");
        let behind = unit
            .replace("#Environment=", "Environment=")
            .replace("#PublishPort=", "PublishPort=")
            // The rehearsal gives the app another port.
            .replace("Environment=ADIEU_READY=tcp://127.0.0.1:8080\n", "")
            .replace("/usr/bin/python3 -m http.server 8080", &format!("{TOOL} --as-legacy-app"));
        assert!(behind.contains("\nEnvironment=ADIEU_HEALTH=0.0.0.0") && behind.contains(TOOL), "{behind}");
        let path = folder("shipped").join(name);
        std::fs::write(&path, behind).expect("a unit");
        let options = format!("-q --json --url /fast --url /slow --manifest {}", path.display());
        let (status, page, error) = run(&options);
        assert_eq!(status, Some(0), "{name}: {page}{error}");
        let page: serde_json::Value = serde_json::from_str(&page).expect("JSON");
        // Nothing else is said about it.
        let lints = page["runs"][0]["recording"]["lints"].as_array().expect("a list");
        let said: Vec<&str> = lints.iter().filter_map(|lint| lint["what"].as_str()).collect();
        assert_eq!(said, not_rehearsed, "{name}: {page}");
    }
}

#[test]
fn a_signal_that_is_no_stop_request_to_adieu_is_advised_to_be_one() {
    require!(pid_namespaces());
    let path = folder("interrupt").join("compose.yaml");
    let text = format!(
        "services: {{web: {{command: [{TOOL}, --as-legacy-app], stop_signal: SIGINT, stop_grace_period: 20s}}}}"
    );
    std::fs::write(&path, text).expect("a manifest");
    let options =
        format!("-q --pre-stop 1s --removal 0.5s --url /fast --url /slow --manifest {}", path.display());
    let (status, page, error) = run(&options);
    assert_eq!(status, Some(1), "{page}{error}");
    let words = page.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("give adieu --stop-on INT"), "{page}");
    let (status, page, error) = run(&format!("--option stop-on=INT {options}"));
    assert_eq!(status, Some(0), "the advice helps: {page}{error}");
}

#[test]
fn a_manifest_whose_app_dies_at_its_start_is_named_in_the_junit_report() {
    require!(pid_namespaces());
    let place = folder("dies");
    let (path, junit) = (place.join("app.service"), place.join("junit.xml"));
    std::fs::write(&path, "[Service]\nExecStart=/bin/false\n").expect("a unit");
    let (status, ..) = run(&format!("-q --junit {} --manifest {}", junit.display(), path.display()));
    assert_eq!(status, Some(125));
    let report = std::fs::read_to_string(&junit).expect("a report");
    assert!(report.contains(&format!("<testsuite name=\"{}\"", path.display())), "{report}");
}

#[test]
fn what_is_not_on_this_machine_is_named_and_left_out() {
    require!(pid_namespaces());
    let path = folder("elsewhere").join("compose.yaml");
    std::fs::write(
        &path,
        format!("services: {{web: {{command: [{TOOL}, --as-legacy-app], working_dir: /nowhere/at-all, user: nobody-at-all}}}}"),
    )
    .expect("a manifest");
    let options = format!("-q --json --pre-stop 1s --removal 0.5s --url /fast --manifest {}", path.display());
    let (_, page, error) = run(&options);
    for named in ["not rehearsed as user nobody-at-all", "does not start in /nowhere/at-all"] {
        assert!(page.contains(named), "{named}: {page}{error}");
    }
}

#[test]
fn it_works_without_root() {
    require!(pid_namespaces().and_then(|()| program("setpriv")));
    require!(harness::root());
    let scratch = Scratch::new();
    let tool = for_everyone(&scratch.path(""));
    let mut command = undisturbed(Command::new("setpriv"));
    command.args("--reuid 65534 --regid 65534 --clear-groups".split(' ')).arg(tool);
    let (status, page, error) = heard(command.args(["--removal", "0.5s", "-q"]));
    assert_eq!(status, Some(0), "{page}{error}");
    assert!(page.contains("PID 1 of its own namespace, without root"), "{page}");
}

/// Runs in a user namespace whose limits allow no further namespaces.
fn without_namespaces(command: &Command) -> Command {
    let mut outer = undisturbed(Command::new("unshare"));
    let script =
        "echo 0 >/proc/sys/user/max_pid_namespaces; echo 0 >/proc/sys/user/max_user_namespaces; exec \"$@\"";
    outer
        .args(["--user", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(command.get_program())
        .args(command.get_args());
    outer
}

fn user_namespaces() -> Result<(), String> {
    program("unshare")?;
    let mut unshare = Command::new("unshare");
    let made = harness::output(unshare.args(["--user", "--map-root-user", "true"]), WATCHDOG);
    if made.status.success() { Ok(()) } else { Err("no user namespaces here".into()) }
}

#[test]
fn without_namespaces_it_says_so_and_rehearses_all_the_same() {
    require!(user_namespaces());
    let (status, page, steps) = heard(&mut without_namespaces(&tool("--removal 0.5s")));
    assert_eq!(status, Some(0), "{page}{steps}");
    assert!(steps.contains("no namespaces are permitted here"), "{steps}");
    assert!(page.contains("an ordinary process, not PID 1"), "{page}");
}

/// The processes that have this mark in their command line.
fn marked(mark: &str) -> Vec<String> {
    let numbers = std::fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    let lines = numbers.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(mark))
        .collect()
}

/// Starts a rehearsal of an app with a process in another session, ends the tool in the middle of
/// it, and waits until no process is left.
fn ended_in_the_middle(
    mark: &str,
    options: &str,
    around: fn(&Command) -> Command,
    signal: i32,
) -> Option<i32> {
    let app = format!("setsid sleep {mark} & sleep {mark} & exec {TOOL} --as-legacy-app");
    let mut command = tool(options);
    command.args(["--warm-up", "50s", "--", "sh", "-c", &app]);
    let mut tool = Companion::start(around(&command).stdout(Stdio::null()).stderr(Stdio::null()));
    harness::until("the app runs", || {
        marked(&format!("sleep {mark}")).iter().filter(|line| !line.contains("sh")).count() == 2
    });
    tool.signal(signal);
    let ended = tool.end(WATCHDOG);
    harness::until("nothing is left", || marked(mark).is_empty());
    ended.code()
}

fn as_it_is(command: &Command) -> Command {
    let mut same = undisturbed(Command::new(command.get_program()));
    same.args(command.get_args());
    same
}

#[test]
fn an_interrupt_leaves_no_process_behind() {
    require!(pid_namespaces());
    for (mark, options) in [("98101", "-q"), ("98102", "-q --bare")] {
        assert_eq!(ended_in_the_middle(mark, options, as_it_is, libc::SIGINT), Some(130));
    }
}

/// Runs the tool on its own terminal, types Ctrl-C after this output, and prints its exit status.
const CTRL_C: &str = r#"
import os, pty, sys
said, command = sys.argv[1].encode(), sys.argv[2:]
pid, terminal = pty.fork()
if pid == 0:
    os.execv(command[0], command)
seen, typed = b"", False
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if said in seen and not typed:
        typed = True
        os.write(terminal, b"\x03")
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), typed, repr(seen.decode()))
"#;

#[test]
fn ctrl_c_on_a_terminal_means_interrupted_at_any_time() {
    require!(pid_namespaces().and_then(|()| program("python3")));
    let (temporary, results) = (folder("interrupted/tmp"), folder("interrupted/results"));
    for old in std::fs::read_dir(&results).expect("the folder").flatten() {
        std::fs::remove_file(old.path()).expect("the folder is ours");
    }
    let files = |folder| std::fs::read_dir(folder).expect("the folder").count();
    let second = "under adieu: asked to stop";
    for (said, more) in [
        ("starting", &["--json"][..]),
        ("load begins", &[]),
        ("asked to stop", &["--json"]),
        (second, &["--compare"]),
        (second, &["--compare", "--json"]),
    ] {
        let mut command = undisturbed(Command::new("python3"));
        command.env("TMPDIR", &temporary).args([
            "-c",
            CTRL_C,
            said,
            TOOL,
            "--pre-stop",
            "2s",
            "--url",
            "/fast",
        ]);
        for result in ["--report", "--html", "--svg", "--junit"] {
            command.arg(result).arg(results.join(result));
        }
        command.args(more).args(["--", TOOL, "--as-legacy-app"]);
        let (_, page, error) = heard(&mut command);
        assert!(page.starts_with("130 True"), "{said}: {page}{error}");
        assert!(page.contains("interrupted"), "{said}: {page}");
        // In a text and in JSON.
        for verdict in ["fails readiness first", "fails-readiness-first"] {
            assert!(!page.contains(verdict), "{said} {more:?}: {page}");
        }
        assert_eq!(files(&results), 0, "{said}: no files of an unfinished rehearsal");
        assert_eq!(files(&temporary), 0, "{said}: a temporary folder is left");
    }
}

#[test]
fn the_temporary_folder_is_nobody_elses() {
    require!(pid_namespaces().and_then(|()| program("stat")));
    let temporary = folder("private");
    let mut command = tool("-q --no-load --pre-stop 0.1s --warm-up 0.3s --grace 3s");
    let script =
        "trap 'exit 0' TERM; stat -c '%a %n' \"$TMPDIR\"/* >\"$TMPDIR/../private.txt\"; sleep 60 & wait";
    command.env("TMPDIR", &temporary).args(["--", "sh", "-c", script]);
    let (status, page, error) = heard(&mut command);
    assert_eq!(status, Some(0), "{page}{error}");
    assert!(page.contains("no loss could be seen") && !page.contains("nothing lost"), "{page}");
    let line = std::fs::read_to_string(temporary.join("../private.txt")).expect("the app wrote it");
    let predictable = format!("adieu-rehearse-{}", std::process::id());
    assert!(line.starts_with("700 ") && !line.contains(&predictable), "{line}");
    assert_eq!(std::fs::read_dir(&temporary).expect("the folder").count(), 0, "it is removed");
}

#[test]
fn a_killed_tool_leaves_no_process_behind() {
    require!(pid_namespaces());
    ended_in_the_middle("98103", "-q", as_it_is, libc::SIGKILL);
    ended_in_the_middle("98104", "-q --bare", as_it_is, libc::SIGKILL);
}

#[test]
fn without_namespaces_no_process_is_left_behind_either() {
    require!(user_namespaces());
    ended_in_the_middle("98105", "-q", without_namespaces, libc::SIGINT);
    ended_in_the_middle("98106", "-q", without_namespaces, libc::SIGKILL);
    ended_in_the_middle("98107", "-q --bare", without_namespaces, libc::SIGKILL);
}
