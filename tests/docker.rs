//! Docker for real: a daemon of the test's own, images FROM scratch, and the commands that people
//! type.

mod harness;

use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use harness::Scratch;
use harness::docker::{Docker, LIMIT, docker_runs_here};

const CTRL_C: &str = "\x03";
const ADIEU: &str = "ENTRYPOINT [\"/adieu\", \"--\"]";

/// What a person tries first, with the defaults: the app serves on while balancers would notice,
/// then hears TERM.
#[test]
fn a_kill_by_term_is_a_clean_stop() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("killed", &format!("{ADIEU}\nCMD [\"/app\", \"serve\", \"8080\", \"1000\"]"));
    docker.run(&["run", "--detach", "--name", "killed", "--network", "none", "killed"]);
    let mut logs = docker.logs("killed");
    logs.expect("ready 8080");
    let request = harness::request_in_network_of(docker.pid("killed"), 8080);
    logs.expect("request");
    docker.run(&["kill", "--signal=SIGTERM", "killed"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("adieu"), "{answer}");
    // Docker closes the log with the container.
    logs.expect_exit(0);
    assert_eq!(docker.inspect("killed", ".State.ExitCode"), "143");
}

#[test]
fn docker_stop_gives_the_time_that_was_asked_for() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("stopped", &format!("{ADIEU}\nENV ADIEU_GRACE=40s ADIEU_PRE_STOP=500ms"));
    docker.run(&[
        "run",
        "--detach",
        "--name",
        "stopped",
        "--network",
        "none",
        "stopped",
        "/app",
        "serve",
        "8080",
        "12000",
    ]);
    let mut logs = docker.logs("stopped");
    logs.expect("ready 8080");
    let request = harness::request_in_network_of(docker.pid("stopped"), 8080);
    logs.expect("request");
    // The request takes longer than the ten seconds of `docker stop` alone.
    docker.run(&["stop", "-t", "40", "stopped"]);
    let answer = request.join().expect("no panic").expect("an answer");
    assert!(answer.ends_with("adieu"), "{answer}");
    assert_eq!(docker.inspect("stopped", ".State.ExitCode"), "143");
}

/// HEALTHCHECK in an image that has no curl, and nothing else but adieu and the app.
#[test]
fn the_health_check_asks_the_running_adieu() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    let health =
        "HEALTHCHECK --interval=1s --timeout=10s --retries=2 CMD [\"/adieu\", \"--probe\", \"readyz\"]";
    docker.build("health", &format!("{ADIEU}\nENV ADIEU_HEALTH=127.0.0.1:9090 ADIEU_PRE_STOP=0\n{health}"));
    for (port, expected) in [("8080", "healthy"), ("8081", "unhealthy")] {
        let ready = format!("ADIEU_READY=tcp://127.0.0.1:{port}");
        docker.run(&[
            "run",
            "--detach",
            "--name",
            expected,
            "--network",
            "none",
            "--env",
            &ready,
            "health",
            "/app",
            "serve",
            "8080",
            "10",
        ]);
        harness::until("Docker knows its health", || {
            docker.inspect(expected, ".State.Health.Status") == expected
        });
    }
}

#[test]
fn ctrl_c_in_an_interactive_run_reaches_the_app() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("typed", &format!("{ADIEU}\nENV ADIEU_PRE_STOP=0"));
    let mut run = docker.launch(&["--interactive", "--tty", "typed", "/app"]).on_terminal().start();
    run.find("ready");
    run.type_in(CTRL_C);
    run.find("got INT ");
    run.say("exit 7");
    run.expect_exit(7);
}

/// An engine whose `docker-init` is adieu: nobody has to change an image. The daemon asks its init
/// for the version and reads the answer as tini's.
#[test]
fn the_engines_own_init_can_be_adieu() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    docker.build("own-init", "ENTRYPOINT [\"/app\"]");
    let version = docker.run(&["info", "--format", "{{.InitCommit.ID}}"]);
    assert_eq!(version, concat!("adieu-", env!("CARGO_PKG_VERSION")).replace(".", "-"), "{}", docker.log());
    let words = ["--interactive", "--init", "--name", "own-init", "--env", "ADIEU_PRE_STOP=0", "own-init"];
    let mut run = docker.launch(&words).start();
    run.expect("ready");
    let pids = run.ask("pids");
    assert!(pids.contains(" parent 1 "), "{pids}");
    let first =
        std::fs::read_to_string(format!("/proc/{}/cmdline", docker.pid("own-init"))).expect("it runs");
    assert_eq!(first, "/sbin/docker-init\0--\0/app\0");
    run.order("storm 100");
    docker.run(&["kill", "--signal=TERM", "own-init"]);
    run.expect_signal("TERM");
    run.expect_signal("CONT");
    run.say("exit 5");
    run.expect_exit(5);
}

/// What the README's Install says: the release's archive is loaded, and a Dockerfile copies from it.
#[test]
fn an_image_copies_adieu_from_the_archive_of_the_release() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    let scratch = Scratch::new();
    write_archive(&scratch.path("oci.tar"));
    let archive = scratch.path("oci.tar").display().to_string();

    docker.run(&["load", "--input", &archive]);
    let version = env!("CARGO_PKG_VERSION");
    let machine = |name: String| docker.inspect(&name, ".Architecture");
    assert_eq!(machine(format!("adieu:{version}")), "amd64");
    assert_eq!(machine(format!("adieu:{version}-amd64")), "amd64");
    assert_eq!(machine(format!("adieu:{version}-arm64")), "arm64");
    docker.build("copied", &format!("COPY --from=adieu:{version} /adieu /from-the-release\n{ADIEU}"));
    let run = ["run", "--rm", "--network", "none", "--entrypoint", "/from-the-release", "copied"];
    let said = docker.run(&run.into_iter().chain(["--version"]).collect::<Vec<_>>());
    assert_eq!(said, format!("adieu {version}"));

    // By what Docker 29 loads it with, under the name that Docker looks for.
    let mut import = docker.containerd();
    assert!(harness::output(import.args(["images", "import", &archive]), LIMIT).status.success());
    let images = harness::output(docker.containerd().args(["images", "list", "--quiet"]), LIMIT);
    let images = String::from_utf8_lossy(&images.stdout).into_owned();
    assert_eq!(images.trim(), format!("docker.io/library/adieu:{version}"));
}

/// The Dockers of Debian 13 and of the Debian that is not released yet: the archive of the release,
/// both builders, both image stores, and adieu as the image's init and as Docker's own.
#[test]
fn newer_dockers_do_the_same() {
    long!();
    require!(harness::root());
    require!(harness::program("mmdebstrap"));
    let (adieu, app) = harness::static_programs();
    for suite in ["trixie", "forky"] {
        let root = harness::debian(suite, "-docker", "docker.io,docker-cli,docker-buildx");
        let scratch = Scratch::new();
        for (from, to) in [(&adieu, "adieu"), (&adieu, "docker-init"), (&app, "app")] {
            std::fs::copy(from, scratch.path(to)).expect("room for a copy");
        }
        write_archive(&scratch.path("oci.tar"));
        let mut script = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/newer_docker.sh"));
        script.arg(root).arg(scratch.path("")).arg(env!("CARGO_PKG_VERSION"));
        let ran = harness::output(&mut script, 4 * LIMIT);
        let (said, error) = (String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "{suite}: {said}{error}");
        let stores: Vec<_> =
            said.lines().filter_map(|line| line.split_once(' ')).map(|(_, store)| store).collect();
        assert_eq!(stores, ["vfs", "native"], "{suite}: {said}{error}");
    }
}

/// The archive that a release has; both processors get this machine's adieu.
fn write_archive(archive: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/docker/oci-image.sh");
    let adieu = harness::static_programs().0;
    let mut write = Command::new(script);
    write.arg(archive).args(["amd64", "arm64"].map(|name| format!("{name}={}", adieu.display())));
    assert!(harness::output(&mut write, LIMIT).status.success());
}

/// An app that was built for another processor, in an image that has no shell.
#[test]
fn a_foreign_app_is_126_and_says_why() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    let mut foreign = std::fs::read(harness::static_programs().1).expect("the app");
    // e_machine, in elf(5): a number that no processor has.
    foreign.splice(18..20, [0xfe, 0xca]);
    docker.build_with(&foreign, "foreign", &format!("{ADIEU}\nCMD [\"/app\"]"));
    let ran = harness::output(docker.command().args(["run", "--network", "none", "foreign"]), LIMIT);
    let said = String::from_utf8_lossy(&ran.stderr);
    assert_eq!(ran.status.code(), Some(126), "{said}");
    assert!(said.contains("exec format error") && said.contains("/app"), "{said}");
}

/// The engine's own seccomp profile refuses pidfd_getfd(2) to a container without SYS_PTRACE.
#[test]
fn the_default_profile_lets_clients_go_only_with_a_capability() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    assert!(docker.run(&["info", "--format", "{{.SecurityOptions}}"]).contains("seccomp"));
    // Long enough to see a request line before the app has read it.
    docker.build("pinned", &format!("{ADIEU}\nENV ADIEU_PRE_STOP=3s ADIEU_GRACE=30s"));
    for (name, option) in [("permitted", Some("--cap-add=SYS_PTRACE")), ("refused", None)] {
        let run = ["run", "--detach", "--name", name, "--network", "none"].into_iter().chain(option);
        let run: Vec<_> = run.chain(["pinned", "/app", "serve", "8080", "5"]).collect();
        docker.run(&run);
        let mut logs = docker.logs(name);
        logs.expect("ready 8080");
        let (client, answered) = client_that_stays(docker.pid(name), 8080);
        answered.recv_timeout(LIMIT).expect("an answer");
        docker.run(&["stop", "-t", "30", name]);
        let closed = client.join().expect("no panic");
        let said = logs.all_errors();
        let count = |part: &str| said.iter().filter(|line| line.contains(part)).count();
        let refused = "cannot let clients go: ";
        if option.is_some() {
            assert!(closed.is_ok(), "{closed:?}: {said:#?}");
            assert_eq!((count("let 1 client go"), count(refused)), (1, 0), "{said:#?}");
        } else {
            assert_eq!((count("let 1 client go"), count(refused)), (0, 1), "said once: {said:#?}");
            let line = said.iter().find(|line| line.contains(refused)).expect("it was counted");
            assert!(line.contains("pidfd_getfd") && line.contains("SYS_PTRACE"), "{line}");
        }
    }
}

/// A preStop hook beside an app that is PID 1 itself, and beside one below tini.
#[test]
fn a_hook_by_exec_lets_clients_go_whoever_is_pid_1() {
    require!(docker_runs_here());
    require!(harness::program("tini-static"));
    let docker = Docker::shared();
    docker.build("waits", "");
    let tini = "/usr/bin/tini-static:/tini:ro";
    let below: [&[&str]; 2] = [&[], &["/tini", "--"]];
    for (name, below) in ["hook-bare", "hook-below-tini"].into_iter().zip(below) {
        let mut run = vec!["run", "--detach", "--name", name, "--network", "none", "--cap-add=SYS_PTRACE"];
        run.extend(["--volume", tini, "waits"]);
        run.extend(below.iter().chain(&["/app", "serve", "8080", "5"]));
        docker.run(&run);
        docker.logs(name).expect("ready 8080");
        let (client, answered) = client_that_stays(docker.pid(name), 8080);
        answered.recv_timeout(LIMIT).expect("an answer");
        let hook = ["exec", name, "/adieu", "--wait", "--pre-stop", "1s", "--grace", "30s"];
        let hook = hook.into_iter().chain(["--close-connections", "8080"]);
        let waited = harness::output(docker.command().args(hook), LIMIT);
        let said = String::from_utf8_lossy(&waited.stderr);
        assert_eq!(waited.status.code(), Some(0), "{name}: {said}");
        assert!(said.contains("let 1 client go"), "{name}: {said}");
        let closed = client.join().expect("no panic");
        assert!(closed.is_ok(), "{name}: {closed:?}: {said}");
        assert_eq!(docker.inspect(name, ".State.Running"), "true", "{name} was not signalled");
    }
}

/// Asks again and again on one connection, and sends a word for its first answer. Ok when that is
/// closed right behind an answer, where nothing is lost.
fn client_that_stays(pid: i32, port: u16) -> (JoinHandle<std::io::Result<()>>, Receiver<()>) {
    let network = std::fs::File::open(format!("/proc/{pid}/ns/net")).expect("the process lives");
    let (sender, answered) = channel();
    let client = std::thread::spawn(move || {
        nix::sched::setns(network, nix::sched::CloneFlags::CLONE_NEWNET)?;
        let mut stream = harness::try_connect(("127.0.0.1", port))?;
        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nadieu";
        loop {
            stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: keep-alive\r\n\r\n")?;
            harness::try_exactly(&mut stream, answer.len())?;
            // Only the first one is waited for.
            let _ = sender.send(());
            // A pause as between two clicks, in which the end shows.
            stream.set_read_timeout(Some(Duration::from_millis(30)))?;
            if stream.peek(&mut [0]).is_ok_and(|left| left == 0) {
                return Ok(());
            }
            stream.set_read_timeout(Some(LIMIT))?;
        }
    });
    (client, answered)
}
