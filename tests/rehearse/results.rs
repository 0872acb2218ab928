//! The files that a rehearsal writes: the report and its schema, the HTML page, and the comparison
//! with an earlier report.

#[path = "../harness/mod.rs"]
mod harness;

use std::path::{Path, PathBuf};
use std::process::Command;

use adieu_rehearse::baseline::{Baseline, Comparison};
use adieu_rehearse::judge::judge;
use adieu_rehearse::recording::{At, ConnectionUse, Fate, Recording, Request};
use adieu_rehearse::show::run::Run;
use adieu_rehearse::show::{html, json};
use harness::WATCHDOG;

const TOOL: &str = env!("CARGO_BIN_EXE_adieu-rehearse");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn run_of(recording: Recording) -> Run {
    Run { verdict: judge(&recording), recording }
}

/// Recorded runs: one bare and one under adieu.
fn runs() -> Vec<Run> {
    let text = std::fs::read(root().join("tests/rehearse/recordings.json")).expect("the recordings are kept");
    let recordings: Vec<Recording> = serde_json::from_slice(&text).expect("they can be read");
    recordings.into_iter().map(run_of).collect()
}

fn cut_off(recording: &mut Recording, number: u16) {
    for client in 0..number {
        let fate = Fate::CutOff { why: "connection reset".into() };
        let (from, to) = (At(-100), At(300));
        recording.requests.push(Request {
            client,
            connection: ConnectionUse::Kept,
            target: 0,
            from,
            to,
            fate,
        });
    }
}

fn compare(before: &[Run], now: Run) -> Comparison {
    let baseline = Baseline::read(&json::json(before, true)).expect("a report");
    baseline.compare(&now).expect("a run of the same kind")
}

#[test]
fn the_published_schema_is_that_of_the_types() {
    let path = root().join("packaging/schema/rehearsal.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, json::schema()).expect("a place to write");
    }
    let kept = std::fs::read_to_string(path).unwrap_or_default();
    assert!(kept == json::schema(), "UPDATE_GOLDEN=1 writes packaging/schema/rehearsal.json again");
}

#[test]
fn a_report_follows_its_schema() {
    require!(harness::python_has("jsonschema"));
    let script = "import json, sys, jsonschema\n\
                  schema = json.load(open(sys.argv[1]))\n\
                  jsonschema.Draft202012Validator.check_schema(schema)\n\
                  jsonschema.Draft202012Validator(schema).validate(json.load(open(sys.argv[2])))";
    let scratch = harness::Scratch::new();
    let validates = |page: &str| {
        let file = scratch.file("report.json", page);
        let schema = root().join("packaging/schema/rehearsal.json");
        harness::output(Command::new("python3").args(["-c", script]).arg(schema).arg(file), WATCHDOG)
    };
    let page = json::json(&runs(), true);
    let output = validates(&page);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!validates(&page.replace("\"grace_ms\"", "\"grace\"")).status.success(), "a flaw is found");
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let page = html::html(&runs());
    if let Some(path) = std::env::var_os("PAGE") {
        std::fs::write(path, &page).expect("a place to write");
    }
    for outside in ["<script", "<link", "<img", "@import", "url(", "src=", "href="] {
        assert!(!page.contains(outside), "{outside}");
    }
    // The only URL is SVG's XML namespace, which no browser loads.
    let addresses = page.replace("http://www.w3.org/2000/svg", "").matches("://").count();
    assert_eq!(addresses, 0);
    for shown in ["<svg", "Checklist, bare", "Checklist, under adieu", "cut off", "nothing lost", "<details>"]
    {
        assert!(page.contains(shown), "{shown} is missing");
    }
    for element in ["table", "tr", "td", "details", "figure", "svg", "p", "ul", "li", "h2", "style"] {
        let opened =
            page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
        assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "<{element}>");
    }
}

#[test]
fn what_stands_in_the_page_is_text_and_no_markup() {
    let mut run = runs().swap_remove(0);
    run.recording.app = "app --title '<b>&\"'".into();
    assert!(html::html(&[run]).contains("app --title '&lt;b&gt;&amp;&quot;'"));
}

#[test]
fn an_equal_run_is_not_worse() {
    let comparison = compare(&runs(), runs().swap_remove(1));
    assert_eq!(comparison, Comparison::default());
    let bare = compare(&runs(), runs().swap_remove(0));
    assert_eq!(bare, Comparison::default(), "what was bad before is no news");
}

#[test]
fn losses_and_failures_that_are_new_are_worse() {
    let mut recording = runs().swap_remove(1).recording;
    cut_off(&mut recording, 3);
    let comparison = compare(&runs(), run_of(recording));
    assert!(comparison.worse.iter().any(|line| line.starts_with("3 of ")), "{comparison:?}");
    assert!(comparison.worse.iter().any(|line| line.contains("finishes requests")), "{comparison:?}");
    assert!(comparison.better.is_empty());
}

#[test]
fn what_no_longer_fails_is_better() {
    let good = runs().swap_remove(1);
    let mut recording = good.recording.clone();
    cut_off(&mut recording, 3);
    let comparison = compare(&[run_of(recording)], good);
    assert!(comparison.worse.is_empty() && comparison.better.len() >= 2, "{comparison:?}");
}

#[test]
fn what_is_no_baseline_is_refused_before_anything_runs() {
    let scratch = harness::Scratch::new();
    let other =
        json::json(&runs()[..1], true).replace(&format!("\"version\": {}", json::VERSION), "\"version\": 0");
    for (text, says) in [
        ("nonsense", "line 1: this is not a report of a rehearsal"),
        (other.as_str(), "another version of adieu-rehearse"),
    ] {
        let file = scratch.file("baseline.json", text);
        let output = harness::output(Command::new(TOOL).arg("--baseline").arg(file), WATCHDOG);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(125), "{error}");
        assert!(error.contains(says) && error.contains("--report"), "{error}");
    }
    let bare_only = Baseline::read(&json::json(&runs()[..1], true)).expect("a report");
    assert!(bare_only.compare(&runs()[1]).expect_err("no such run").contains("no run under adieu"));
}

/// The tool itself, end to end: an app that loses requests fails, but not against its own baseline.
#[test]
fn a_flawed_app_passes_against_its_own_baseline() {
    require!(harness::pid_namespaces());
    let scratch = harness::Scratch::new();
    let (report, page) = (scratch.path("report.json"), scratch.path("page.html"));
    let rehearse = |more: &[&std::ffi::OsStr]| {
        let quick = "-q --bare --url /fast --warm-up 0.5s --removal 0.3s";
        let mut tool = Command::new(TOOL);
        tool.args(quick.split(' ')).args(more).args(["--", TOOL, "--as-legacy-app"]);
        harness::output(&mut tool, WATCHDOG)
    };
    let first = rehearse(&["--report".as_ref(), report.as_ref(), "--html".as_ref(), page.as_ref()]);
    assert_eq!(first.status.code(), Some(1), "{}", String::from_utf8_lossy(&first.stderr));
    assert!(std::fs::read_to_string(&page).expect("the page").contains("Checklist, bare"));
    // More lost requests than any run can have.
    let text = std::fs::read_to_string(&report).expect("the report");
    let mut earlier: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    earlier["runs"][0]["verdict"]["tally"]["answered"] = 0.into();
    for finding in earlier["runs"][0]["verdict"]["findings"].as_array_mut().expect("findings") {
        finding["outcome"] = "fail".into();
    }
    let bad = scratch.file("bad.json", &earlier.to_string());
    let second = rehearse(&["--baseline".as_ref(), bad.as_ref()]);
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(0), "{said}");
    assert!(said.contains("nothing is worse than the baseline"), "{said}");
}

/// Runs the steps of the action as GitHub's runner does: in a shell, with the inputs in the
/// environment.
#[test]
fn the_action_lints_and_rehearses() {
    use saphyr::{LoadableYamlNode, Yaml};
    require!(harness::pid_namespaces().and_then(|()| harness::program("bash")));
    let text = std::fs::read_to_string(root().join("packaging/github/action.yml")).expect("the action");
    let documents = Yaml::load_from_str(&text).expect("YAML");
    let steps = documents[0]["runs"]["steps"].as_sequence().expect("steps");
    let scratch = harness::Scratch::new();
    let folder = scratch.path("");
    scratch.file("Dockerfile", "FROM scratch\nCMD [\"/app\"]\nSTOPSIGNAL KILL\n");
    let step = |number: usize, inputs: &[(&str, &str)]| {
        let script = scratch.file("step.sh", steps[number]["run"].as_str().expect("a script"));
        // The options that the runner uses for `shell: bash`.
        let mut bash = Command::new("bash");
        bash.args(["--noprofile", "--norc", "-eo", "pipefail"]).arg(script).current_dir(&folder);
        // adieu would reject the test suite's own ADIEU_ variables as unknown settings.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("ADIEU_") {
                bash.env_remove(name);
            }
        }
        for (name, value) in steps[number]["env"].as_mapping().expect("inputs") {
            assert!(value.as_str().expect("a text").starts_with("${{ inputs."));
            bash.env(name.as_str().expect("a name"), "");
        }
        let output = harness::output(bash.env("BINARY", TOOL).envs(inputs.iter().copied()), WATCHDOG);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (status, page, error) =
        step(0, &[("FILES", "Docker*\n"), ("FAIL_ON", "warning"), ("SARIF", "adieu.sarif")]);
    assert_eq!(status, Some(1), "{page}{error}");
    assert!(page.starts_with("::error file=Dockerfile,line=3,"), "{page}");
    assert!(
        std::fs::read_to_string(scratch.path("adieu.sarif")).expect("SARIF").contains("stop-signal-kill")
    );
    assert_eq!(step(0, &[("FILES", "no-such-*"), ("FAIL_ON", "warning")]).0, Some(125));

    let command = format!("{TOOL} --as-legacy-app");
    let options = "--pre-stop 0.5s --removal 0.2s --warm-up 0.5s --url /fast";
    let summary = scratch.path("summary.md").display().to_string();
    let (status, page, error) = step(
        1,
        &[
            ("COMMAND", &command),
            ("OPTIONS", options),
            ("RESULTS", "results"),
            ("GITHUB_STEP_SUMMARY", &summary),
        ],
    );
    assert_eq!(status, Some(0), "{page}{error}");
    for file in ["report.json", "page.html", "junit.xml", "timeline.svg", "result.txt"] {
        assert!(scratch.path("results").join(file).exists(), "{file}");
    }
    assert!(std::fs::read_to_string(summary).expect("the summary").contains("nothing lost"));
    let (status, ..) =
        step(1, &[("COMMAND", &command), ("OPTIONS", "--bare --url /fast"), ("RESULTS", "results")]);
    assert_eq!(status, Some(1), "what the rehearsal says is what the step says");

    // image.rs tests containers; this test checks only the arguments of the tool.
    let shows = scratch.file("shows", "#!/bin/sh\nprintf '%s\\n' \"$@\"\n");
    let may_run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&shows, may_run).expect("the file is ours");
    let shows = shows.display().to_string();
    let (status, words, error) = step(
        1,
        &[("BINARY", &shows), ("IMAGE", "web:1"), ("OPTIONS", "--url '/a b'"), ("RESULTS", "results")],
    );
    assert_eq!(status, Some(0), "{error}");
    let words: Vec<&str> = words.lines().collect();
    assert_eq!(words[..3], ["--url", "/a b", "--quiet"]);
    assert_eq!(words[words.len() - 2..], ["--image", "web:1"]);
}
