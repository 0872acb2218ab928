//! `--image`: a container by podman and runc, or by docker, with the image's own entry point,
//! STOPSIGNAL and HEALTHCHECK. Its network has only a loopback interface, so requests come from
//! inside.

#[path = "../harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use harness::docker::{Docker, docker_runs_here};
use harness::{Companion, Scratch};
use serde_json::Value;

const TOOL: &str = env!("CARGO_BIN_EXE_adieu-rehearse");
/// crun and podman's default limits do not work on some test machines.
const ENGINE: &str = "podman --runtime=runc --cgroup-manager=cgroupfs";
const RUN: [&str; 3] = [
    "--run-option=--network=none",
    "--run-option=--ulimit=nofile=1024:1024",
    "--run-option=--ulimit=nproc=1000:1000",
];
/// podman is slow in each call.
const PATIENCE: Duration = Duration::from_secs(120);

fn podman_runs_here() -> Result<(), String> {
    harness::root()?;
    harness::program("podman")?;
    harness::program("runc")
}

fn podman(words: &[&str]) -> Output {
    harness::output(Command::new("podman").args(ENGINE.split(' ').skip(1)).args(words), PATIENCE)
}

/// An image with only the tool, which is also an app and, under the name adieu, the init.
struct Image {
    name: String,
    _files: Scratch,
}

impl Image {
    fn build(lines: &str) -> Image {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("localhost/adieu-rehearse-test:{}-{number}", std::process::id());
        let scratch = build_context(lines);
        let file = scratch.path("Containerfile");
        let (file, folder) = (file.display().to_string(), scratch.path("").display().to_string());
        // HEALTHCHECK is docker's, not OCI's.
        let words = ["build", "--format=docker", "--quiet", "--tag", &name, "--file", &file, &folder];
        let output = podman(&words);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Image { name, _files: scratch }
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _at_worst_megabytes_stay = podman(&["rmi", "--force", &self.name]);
    }
}

/// A folder from which the image is built, with these lines at the end of its Containerfile.
fn build_context(lines: &str) -> Scratch {
    let scratch = Scratch::new();
    let root = scratch.path("root");
    std::fs::create_dir_all(&root).expect("a folder");
    for (from, to) in files() {
        let to = root.join(to.strip_prefix("/").expect("an absolute path"));
        std::fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
        std::fs::copy(from, to).expect("room for a copy");
    }
    std::fs::hard_link(root.join("app"), root.join("adieu")).expect("a second name");
    scratch.file("Containerfile", &format!("FROM scratch\nCOPY root /\n{lines}\n"));
    scratch
}

/// The tool and its shared libraries, at the paths where the loader looks for them.
fn files() -> Vec<(PathBuf, PathBuf)> {
    let linked = harness::output(Command::new("ldd").arg(TOOL), PATIENCE);
    let text = String::from_utf8_lossy(&linked.stdout).into_owned();
    let paths = text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from);
    paths.map(|path| (path.clone(), path)).chain([(TOOL.into(), "/app".into())]).collect()
}

fn rehearsal(image: &Image, options: &str) -> Command {
    let mut tool = Command::new(TOOL);
    tool.args(["-q", "--json", "--image", &image.name, "--engine", ENGINE]).args(RUN);
    tool.args(options.split_whitespace()).stdin(Stdio::null());
    tool
}

fn rehearse(image: &Image, options: &str) -> (Option<i32>, Value, String) {
    let output = harness::output(&mut rehearsal(image, options), PATIENCE);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default(), error)
}

fn outcome<'a>(page: &'a Value, point: &str) -> &'a Value {
    let findings = page["runs"][0]["verdict"]["findings"].as_array().expect("findings");
    &findings.iter().find(|finding| finding["point"] == point).expect("each point is there")["outcome"]
}

/// The names of its containers in any state.
fn containers_of(image: &Image) -> String {
    let of_image = format!("--filter=ancestor={}", image.name);
    let output = podman(&["ps", "--all", "--format={{.Names}}", &of_image]);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_image_with_adieu_loses_nothing_and_its_readiness_is_seen() {
    require!(podman_runs_here());
    let image = Image::build(
        "ENV ADIEU_HEALTH=0.0.0.0:9090\nHEALTHCHECK CMD [\"/adieu\", \"--probe\", \"readyz\"]\n\
         ENTRYPOINT [\"/adieu\", \"--\"]\nCMD [\"/app\", \"--as-legacy-app\"]",
    );
    let options =
        "--grace 10s --env ADIEU_PRE_STOP=1s --env ADIEU_GRACE=10s --url /fast --url /slow --removal 0.5s";
    let (status, page, error) = rehearse(&image, options);
    assert_eq!(status, Some(0), "{page:#}{error}");
    let recording = &page["runs"][0]["recording"];
    assert_eq!(recording["mode"], "adieu");
    assert_eq!(recording["isolation"]["kind"], "container");
    assert_eq!(recording["limits"]["stop_signal"], "TERM");
    assert!(recording["readiness"]["url"].as_str().expect("an address").ends_with(":9090/readyz"));
    for point in ["fails-readiness-first", "finishes-requests", "exits-in-time"] {
        assert_eq!(outcome(&page, point), "pass", "{point}: {page:#}");
    }
    // adieu's report stays in the container.
    assert_eq!(recording["adieu_report"], Value::Null);
    assert_eq!(containers_of(&image), "");
}

#[test]
fn the_images_own_stop_signal_is_sent_and_the_engine_kills() {
    require!(podman_runs_here());
    let image = Image::build("STOPSIGNAL SIGINT\nENTRYPOINT [\"/app\", \"--as-legacy-app\"]");
    let (status, page, error) = rehearse(&image, "--grace 2s --url /fast --removal 0.5s");
    assert_eq!(status, Some(1), "{page:#}{error}");
    let recording = &page["runs"][0]["recording"];
    assert_eq!(recording["mode"], "bare");
    assert_eq!(recording["limits"]["stop_signal"], "INT");
    assert_eq!(recording["end"]["exit"]["status"], 137);
    assert!(recording["killed"].as_i64().expect("it was killed") >= 2000, "{recording:#}");
    assert_eq!(outcome(&page, "handles-stop-signal"), "fail");
    assert_eq!(outcome(&page, "exits-in-time"), "not-seen");
    assert_eq!(containers_of(&image), "");
}

#[test]
fn what_does_not_run_or_is_not_healthy_says_so() {
    require!(podman_runs_here());
    let image = Image::build("HEALTHCHECK CMD [\"/nothing\"]\nENTRYPOINT [\"/app\", \"--as-legacy-app\"]");
    let (status, _, error) = rehearse(&image, "--start 2s");
    assert_eq!(status, Some(125), "{error}");
    assert!(error.contains("HEALTHCHECK did not pass within 2 s"), "{error}");
    let mut tool = Command::new(TOOL);
    let output = harness::output(tool.args(["-q", "--image", "x", "--engine", "/no/such/engine"]), PATIENCE);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("cannot run '/no/such/engine'"), "{error}");
    assert_eq!(containers_of(&image), "");
}

#[test]
fn an_interrupt_leaves_no_container() {
    require!(podman_runs_here());
    let image = Image::build("ENTRYPOINT [\"/app\", \"--as-legacy-app\"]");
    let scratch = Scratch::new();
    let log = scratch.path("app.log");
    let mut tool = rehearsal(&image, "--warm-up 100s --log");
    let mut tool = Companion::start(tool.arg(&log).stdout(Stdio::null()));
    harness::until("the container runs", || !containers_of(&image).is_empty());
    tool.signal(libc::SIGINT);
    assert_eq!(tool.end(PATIENCE).code(), Some(130));
    assert_eq!(containers_of(&image), "");
    assert!(Path::new(&log).exists());
}

/// The other engine: its daemon does the health checks, and its commands differ in places.
#[test]
fn docker_is_an_engine_too() {
    require!(docker_runs_here());
    let docker = Docker::shared();
    let rehearse = |image: &str, lines: &str, grace: &str| {
        let context = build_context(lines);
        let file = context.path("Containerfile").display().to_string();
        let folder = context.path("").display().to_string();
        docker.run(&["build", "--quiet", "--tag", image, "--file", &file, &folder]);
        let mut tool = Command::new(TOOL);
        tool.envs(docker.environment()).args(["-q", "--json", "--image", image, "--engine", "docker"]);
        tool.args(["--run-option=--network=none", "--url", "/fast", "--url", "/slow", "--removal", "0.5s"]);
        let output = harness::output(tool.args(["--grace", grace]).stdin(Stdio::null()), PATIENCE);
        let page: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code(), page, String::from_utf8_lossy(&output.stderr).into_owned())
    };

    let lines = "ENV ADIEU_HEALTH=0.0.0.0:9090 ADIEU_GRACE=10s ADIEU_PRE_STOP=1s\n\
                 HEALTHCHECK --interval=1s CMD [\"/adieu\", \"--probe\", \"readyz\"]\n\
                 ENTRYPOINT [\"/adieu\", \"--\"]\nCMD [\"/app\", \"--as-legacy-app\"]";
    let (status, page, error) = rehearse("wrapped", lines, "10s");
    assert_eq!(status, Some(0), "{page:#}{error}");
    let recording = &page["runs"][0]["recording"];
    assert_eq!((&recording["mode"], &recording["isolation"]["kind"]), (&"adieu".into(), &"container".into()));
    assert!(recording["readiness"]["url"].as_str().expect("an address").ends_with(":9090/readyz"));
    for point in ["fails-readiness-first", "finishes-requests", "exits-in-time"] {
        assert_eq!(outcome(&page, point), "pass", "{point}: {page:#}");
    }

    let lines = "STOPSIGNAL SIGINT\nENTRYPOINT [\"/app\", \"--as-legacy-app\"]";
    let (status, page, error) = rehearse("bare", lines, "2s");
    assert_eq!(status, Some(1), "{page:#}{error}");
    let recording = &page["runs"][0]["recording"];
    assert_eq!((&recording["mode"], &recording["limits"]["stop_signal"]), (&"bare".into(), &"INT".into()));
    assert_eq!(recording["end"]["exit"]["status"], 137);
    assert!(recording["killed"].as_i64().expect("it was killed") >= 2000, "{recording:#}");
    assert_eq!(docker.run(&["ps", "--all", "--quiet"]), "", "each container is gone");
}
