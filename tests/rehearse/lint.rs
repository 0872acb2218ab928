//! `--lint`: its findings in each kind of file, that it finds nothing in the files that the project
//! ships, and that each output format is valid.

#[path = "../harness/mod.rs"]
mod harness;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use adieu_rehearse::lint::rules::{Rule, Severity};
use adieu_rehearse::lint::{SourceFile, judge, pages};
use harness::WATCHDOG;

const TOOL: &str = env!("CARGO_BIN_EXE_adieu-rehearse");
/// Each of these files has flaws on purpose.
const FLAWED: [&str; 9] = [
    "web.yaml",
    "wrapped.yaml",
    "times.yaml",
    "compose.yaml",
    "my.service",
    "hangs.service",
    "web.container",
    "Dockerfile",
    "Dockerfile.nginx",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn lint(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = harness::output(Command::new(TOOL).current_dir(folder).args(words), WATCHDOG);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn flawed(more: &[&str]) -> (Option<i32>, String, String) {
    let words: Vec<&str> = ["--lint"].into_iter().chain(FLAWED).chain(more.iter().copied()).collect();
    lint(&root().join("tests/rehearse/lint"), &words)
}

/// The findings in one file with this text.
fn found_in(name: &str, text: &str) -> Vec<(Rule, usize)> {
    let source = SourceFile { name: name.to_owned(), text: text.to_owned() };
    let findings = judge(&[source], &[]).expect("it can be read").findings;
    findings
        .into_iter()
        .filter(|finding| finding.severity > Severity::Note)
        .map(|finding| (finding.rule, finding.line))
        .collect()
}

#[test]
fn flaws_are_found_where_they_stand() {
    let (status, page, error) = flawed(&[]);
    assert_eq!((status, error.as_str()), (Some(1), ""), "{page}");
    let expected = root().join("tests/rehearse/lint/expected.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&expected, &page).expect("a place to write");
    }
    let expected = std::fs::read_to_string(expected).expect("what is expected");
    for (found, expected) in page.lines().zip(expected.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(page.lines().count(), expected.lines().count(), "{page}");
}

/// The containers of a pod share their ports.
#[test]
fn advice_names_a_port_that_is_free_in_the_pod() {
    let text = "{kind: Pod, metadata: {name: a}, spec: {containers: [
        {name: web, command: [/adieu, --, app, --metrics=:9090], ports: [{containerPort: 80}]},
        {name: api, command: [/adieu, --, app], ports: [{containerPort: 81}],
         readinessProbe: {httpGet: {path: /, port: 81}}},
        {name: other, command: [app, '9091'], ports: [{containerPort: 82}]}]}}";
    let source = SourceFile { name: "pod.yaml".to_owned(), text: text.to_owned() };
    let findings = judge(&[source], &[]).expect("it can be read").findings;
    let advice = |rule: Rule| -> Vec<&str> {
        findings
            .iter()
            .filter(|finding| finding.rule == rule)
            .map(|finding| finding.remedy.as_str())
            .collect()
    };
    for remedy in [advice(Rule::ReadinessMissing), advice(Rule::ReadinessNeverFails)].concat() {
        assert!(remedy.contains("ADIEU_HEALTH=0.0.0.0:9092") && remedy.contains("port 9092"), "{remedy}");
    }
    assert_eq!((advice(Rule::ReadinessMissing).len(), advice(Rule::ReadinessNeverFails).len()), (2, 1));
}

/// A rule that no file here breaks has never been seen to work.
#[test]
fn every_rule_is_broken_by_some_file() {
    let page = flawed(&["--fail-on", "never"]).1;
    for rule in Rule::ALL {
        assert!(page.contains(&format!("[{}]", rule.id())), "{} is found in no file", rule.id());
    }
}

#[test]
fn nothing_is_found_in_what_the_project_ships() {
    let mut files = vec!["Dockerfile.example".to_owned()];
    for folder in ["packaging/kubernetes", "packaging/docker", "packaging/systemd"] {
        for entry in walk(&root().join(folder)) {
            let name = entry.strip_prefix(root()).expect("below the root").display().to_string();
            let judged =
                [".yaml", ".yml", ".service", ".container", ".conf"].iter().any(|end| name.ends_with(end));
            // Kustomize's own configuration is no object.
            files.extend((judged && !name.ends_with("/images.yaml")).then_some(name));
        }
    }
    assert!(files.len() >= 4, "{files:?}");
    let words: Vec<&str> = ["--lint"].into_iter().chain(files.iter().map(String::as_str)).collect();
    let (status, page, error) = lint(&root(), &words);
    assert_eq!(status, Some(0), "{page}{error}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect();
    files.sort();
    files
}

#[test]
fn the_documentation_is_what_the_rules_say() {
    let path = root().join("packaging/docs/lint.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, pages::book()).expect("a place to write");
    }
    let written = std::fs::read_to_string(&path).expect("the documentation");
    assert_eq!(
        written,
        pages::book(),
        "write it again: adieu-rehearse --explain all > packaging/docs/lint.md"
    );
    assert_eq!(lint(&root(), &["--explain", "all"]).1, written);
    let ids: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
    assert_eq!(ids.len(), Rule::ALL.len(), "each rule has an id of its own");
}

#[test]
fn sarif_is_valid_by_its_schema() {
    let (status, page, error) = flawed(&["--format", "sarif"]);
    assert_eq!(status, Some(1), "{error}");
    let log: serde_json::Value = serde_json::from_str(&page).expect("JSON");
    let (rules, results) = (&log["runs"][0]["tool"]["driver"]["rules"], &log["runs"][0]["results"]);
    assert_eq!(rules.as_array().map(Vec::len), Some(Rule::ALL.len()));
    for result in results.as_array().expect("results") {
        let index = result["ruleIndex"].as_u64().expect("an index") as usize;
        assert_eq!(rules[index]["id"], result["ruleId"]);
    }
    let script = "import json, sys, jsonschema; s = json.load(open(sys.argv[1])); \
                  v = jsonschema.validators.validator_for(s); v.check_schema(s); v(s).validate(json.load(sys.stdin))";
    require!(harness::python_has("jsonschema"));
    let validates = |page: &str| {
        let schema = root().join("tests/rehearse/sarif-2.1.0.json");
        let mut python = Command::new("python3");
        python.args(["-c", script]).arg(schema);
        let output = harness::output_given(&mut python, page.as_bytes(), WATCHDOG);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (valid, why) = validates(&page);
    assert!(valid, "{why}");
    assert!(!validates(&page.replace("\"startLine\": ", "\"startLine\": -")).0, "the schema finds a flaw");
}

#[test]
fn github_gets_a_command_for_each_finding() {
    let (_, page, _) = flawed(&["--format", "github"]);
    let json: serde_json::Value = serde_json::from_str(&flawed(&["--format", "json"]).1).expect("JSON");
    let findings = json["findings"].as_array().expect("findings");
    assert_eq!(page.lines().count(), findings.len());
    for (line, finding) in page.lines().zip(findings) {
        let command = match finding["severity"].as_str() {
            Some("note") => "notice",
            Some(other) => other,
            None => panic!("{finding}"),
        };
        let begins = format!(
            "::{command} file={},line={},col={},title={}::",
            finding["file"].as_str().expect("a file"),
            finding["line"],
            finding["column"],
            finding["rule"].as_str().expect("a rule")
        );
        assert!(line.starts_with(&begins), "{line}\n{begins}");
    }
}

#[test]
fn the_status_follows_the_weight_and_what_is_allowed() {
    let folder = root().join("tests/rehearse/lint");
    let status = |words: &[&str]| lint(&folder, &[&["--lint", "Dockerfile.nginx"], words].concat()).0;
    assert_eq!(status(&[]), Some(1));
    assert_eq!(status(&["--fail-on", "error"]), Some(0), "there are only warnings");
    assert_eq!(status(&["--fail-on", "never"]), Some(0));
    assert_eq!(status(&["--allow", "shell-pid-1", "--allow", "stop-signal-wrong"]), Some(0));
    assert_eq!(status(&["--allow", "no-such-rule"]), Some(125));
    assert_eq!(status(&["--fail-on", "sometimes"]), Some(125));
}

#[test]
fn what_cannot_be_judged_says_where_and_what_would_be_right() {
    let scratch = harness::Scratch::new();
    for (name, text, says) in [
        ("bad.yaml", "kind: Pod\nspec: [1,\nb: {", ["bad.yaml:3: ", "not YAML"]),
        ("other.yaml", "a: 1\n", ["other.yaml:1: ", "'services:'"]),
        ("chart.yaml", "kind: Pod\nspec: {{ .Values.x }}y\n", ["chart.yaml:", "helm template"]),
        ("values.yaml", "a: {{ .Values.x }}\n", ["values.yaml:1: ", "helm template"]),
        ("broken.service", "[Service]\nExecStart\n", ["broken.service:2: ", "Name=value"]),
        (
            "times.service",
            "[Service]\nExecStart=/a\nTimeoutStopSec=soon\n",
            ["times.service:3: ", "write 5s"],
        ),
        ("Dockerfile", "RUN x\n", ["Dockerfile:1: ", "FROM IMAGE"]),
        ("compose.yaml", "services:\n  a:\n    command: a 'b\n", ["compose.yaml:3: ", "close it"]),
    ] {
        scratch.file(name, text);
        let (status, page, error) = lint(&scratch.path(""), &["--lint", name]);
        assert_eq!((status, page.as_str()), (Some(125), ""), "{name}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(says.iter().all(|words| error.contains(words)), "{name}: {error}");
    }
    assert_eq!(lint(&scratch.path(""), &["--lint", "no-such-file"]).0, Some(125));
}

#[test]
fn standard_input_is_judged_as_well() {
    let text = b"FROM scratch\nCMD [\"/app\"]\nSTOPSIGNAL KILL\n";
    let output = harness::output_given(Command::new(TOOL).args(["--lint", "-"]), text, WATCHDOG);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("stdin:3:1: error [stop-signal-kill]"));
}

#[test]
fn what_is_right_is_not_complained_about() {
    for (name, text) in [
        ("Dockerfile", "FROM nginx:1.27\nCMD [\"nginx\", \"-g\", \"daemon off;\"]\n"),
        (
            "Dockerfile",
            "FROM debian\nSTOPSIGNAL SIGQUIT\nENTRYPOINT [\"/docker-entrypoint.sh\"]\nCMD [\"nginx\"]\n",
        ),
        ("Dockerfile", "FROM debian\nENTRYPOINT exec /app --port 1\n"),
        (
            "Dockerfile",
            "FROM a AS build\nCMD npm test\nFROM debian\nENTRYPOINT [\"/adieu\", \"--\"]\nCMD [\"nginx\"]\n",
        ),
        (
            "Dockerfile",
            "FROM debian\nENV ADIEU_GRACE=60s\nENTRYPOINT [\"/adieu\", \"--\", \"sh\", \"-c\", \"a; b\"]\n",
        ),
        ("compose.yaml", "services: {a: {image: a, stop_grace_period: '${GRACE}'}}\n"),
        (
            "compose.yaml",
            "services: {a: {image: a, command: dumb-init sh -c 'a; b', stop_grace_period: 30s}}\n",
        ),
        (
            "compose.yaml",
            "services: {a: {entrypoint: [/adieu, --, nginx], stop_signal: SIGQUIT, stop_grace_period: 10s}}\n",
        ),
        (
            "a.service",
            "[Service]\nExecStart=/usr/sbin/nginx\nExecStop=/sbin/start-stop-daemon --stop\nKillMode=mixed\n",
        ),
        ("a.service", "[Unit]\nDescription=a timer's\n[Service]\nType=oneshot\nExecStart=/bin/true\n"),
        ("a.container", "[Container]\nImage=a\nPodmanArgs=--stop-timeout 40\nEnvironment=ADIEU_GRACE=40\n"),
        ("a.container", "[Container]\nImage=a\nStopTimeout=40\nEnvironment=ADIEU_GRACE=40\n"),
        ("a.timer", "[Timer]\nOnCalendar=daily\n"),
        (
            "job.yaml",
            "kind: Job\nspec: {template: {spec: {containers: [{name: a, command: [/a], ports: [{containerPort: 1}]}]}}}\n",
        ),
        ("map.yaml", "kind: ConfigMap\ndata: {a: b}\n"),
        (
            "pod.yaml",
            "kind: Pod\nspec:\n  containers:\n  - name: a\n    image: a\n    command: [/app]\n    ports: [{containerPort: 80}]\n    \
             lifecycle: {preStop: {exec: {command: [/adieu, --wait]}}}\n    readinessProbe: {httpGet: {path: /r, port: 80}}\n    \
             livenessProbe: {httpGet: {path: /l, port: 80}}\n",
        ),
    ] {
        assert_eq!(found_in(name, text), [], "{name}:\n{text}");
    }
}

/// The preStop hook runs inside the grace, so adieu's grace must be shorter by the hook.
#[test]
fn the_arithmetic_of_the_grace_knows_hook_and_pre_stop() {
    let pod = |grace: &str, adieu: &str, seconds: u32| {
        let hook = if seconds == 0 {
            String::new()
        } else {
            format!(", lifecycle: {{preStop: {{sleep: {{seconds: {seconds}}}}}}}")
        };
        found_in(
            "pod.yaml",
            &format!(
                "kind: Pod\nspec:\n  terminationGracePeriodSeconds: {grace}\n  containers:\n  - {{name: a, command: [/adieu, --, /a], \
                 env: [{{name: ADIEU_GRACE, value: {adieu}}}, {{name: ADIEU_PRE_STOP, value: '0'}}]{hook}}}\n"
            ),
        )
    };
    assert_eq!(pod("60", "60s", 0), []);
    assert_eq!(pod("60", "61s", 0), [(Rule::GraceMismatch, 5)]);
    assert_eq!(pod("60", "50s", 10), []);
    assert_eq!(pod("60", "51s", 10), [(Rule::GraceMismatch, 5)]);
}

/// In a pod, `ports` only informs: a Service needs no more than labels.
#[test]
fn a_service_routes_to_pods_without_ports() {
    let pods = |labels: &str, ports: &str| {
        format!(
            "kind: Deployment\nmetadata: {{name: a}}\nspec: {{replicas: 1, template: {{metadata: {{labels: {{{labels}}}}}, spec: {{containers: [\n\
             {{name: web, command: [/app]}}, {{name: exporter, command: [/exporter]{ports}}}]}}}}}}\n"
        )
    };
    let service = "kind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{port: 80, targetPort: 8080}]}\n---\n";
    let missing = [(Rule::OneReplica, 7), (Rule::ReadinessMissing, 8), (Rule::NoDelay, 8)];
    assert_eq!(found_in("a.yaml", &format!("{service}{}", pods("app: a, tier: web", ""))), missing);
    // A List, with the Service behind its pods; it selects other pods; its port is another
    // container's.
    let list = |items: &str| found_in("a.yaml", &format!("kind: List\nitems: [{items}]\n"));
    let pod = "{kind: Pod, metadata: {labels: {app: a}}, spec: {containers: [{name: a, command: [/a]}]}}";
    let own = "{kind: Service, spec: {selector: {app: a}, ports: [{port: 80}]}}";
    assert_eq!(list(&format!("{pod}, {own}")), [(Rule::ReadinessMissing, 2), (Rule::NoDelay, 2)]);
    assert_eq!(list(&format!("{pod}, {}", own.replace("app: a", "app: b"))), []);
    let in_b = own.replace("spec:", "metadata: {namespace: b}, spec:");
    assert_eq!(list(&format!("{}, {in_b}", pod.replace("labels:", "namespace: a, labels:"))), []);
    let found = [(Rule::ReadinessMissing, 2), (Rule::NoDelay, 2)];
    assert_eq!(list(&format!("{pod}, {in_b}")), found, "kubectl --namespace b");
    let declared = pods("app: a", ", ports: [{containerPort: 8080}]");
    let found = judge(
        &[
            SourceFile { name: "a.yaml".to_owned(), text: declared },
            SourceFile { name: "b.yaml".to_owned(), text: service.to_owned() },
        ],
        &[],
    );
    let objects: Vec<String> =
        found.expect("it can be read").findings.into_iter().map(|one| one.object).collect();
    assert!(!objects.iter().any(|object| object.ends_with("container web")), "{objects:?}");
}

#[test]
fn a_sleep_in_front_of_other_commands_uses_up_the_grace() {
    let hook = |line: &str| {
        let container =
            format!("{{name: a, command: [/a], lifecycle: {{preStop: {{exec: {{command: {line}}}}}}}}}");
        let containers = format!("spec: {{containers: [{container}]}}\n");
        found_in("pod.yaml", &format!("kind: Pod\n{containers}"))
    };
    for line in ["sleep 40; /app stop", "/bin/sleep 40 && kill 1", "sleep 40 || true", "sleep 40;"] {
        assert_eq!(hook(&format!("[/bin/sh, -c, '{line}']")), [(Rule::GraceOverrun, 2)], "{line}");
    }
    for line in ["sleep 5; /app stop", "sleep 40 & /app stop", "/app stop; sleep 40", "echo 'sleep 40; x'"] {
        assert_eq!(hook(&format!("[sh, -c, \"{line}\"]")), [], "{line}");
    }
}

/// The kubelet waits for it until the grace is over.
#[test]
fn a_hook_that_never_ends_uses_up_the_grace() {
    let pod = |command: &str, hook: &str| {
        let hook = format!("lifecycle: {{preStop: {{exec: {{command: {hook}}}}}}}");
        let container = format!("{{name: a, command: {command}, {hook}}}");
        let text = format!("kind: Pod\nspec: {{containers: [{container}]}}\n");
        let source = SourceFile { name: "pod.yaml".to_owned(), text };
        judge(&[source], &[]).expect("it can be read").findings
    };
    for hook in [
        "[sleep, infinity]",
        "[/bin/sleep, inf]",
        "[sh, -c, sleep infinity]",
        "[tail, -f, /dev/null]",
        "[/bin/sh, -c, 'while true; do sleep 1; done']",
    ] {
        for command in ["[/app]", "[/adieu, --, /app]"] {
            let found = pod(command, hook);
            assert_eq!(found.len(), 1, "{hook}: {found:#?}");
            assert_eq!((found[0].rule, found[0].severity), (Rule::GraceOverrun, Severity::Error), "{hook}");
            let says = "the preStop hook never ends by itself: the app gets its stop signal only after the whole \
                        terminationGracePeriodSeconds of 30s, 2s before SIGKILL";
            assert_eq!(found[0].message, says, "{hook}");
            assert!(found[0].remedy.starts_with("let the hook end: "), "{}", found[0].remedy);
        }
    }
    for hook in [
        "[sh, -c, '/app stop; sleep infinity']",
        "[sh, -c, 'sleep infinity & /app stop']",
        "[timeout, '9', sleep, infinity]",
    ] {
        assert_eq!(pod("[/app]", hook), [], "the app or the hook may end before: {hook}");
    }
}

/// An init container that restarts always is one of the pod's containers until its end.
#[test]
fn native_sidecars_are_judged() {
    let pod = |policy: &str| {
        format!(
            "kind: Pod\nspec:\n  initContainers:\n  - {{name: proxy, {policy}command: [sh, -c, 'npm start'],\n     \
             lifecycle: {{preStop: {{sleep: {{seconds: 45}}}}}}}}\n  containers: [{{name: web, command: [/app]}}]\n"
        )
    };
    let rules: BTreeSet<Rule> =
        found_in("pod.yaml", &pod("restartPolicy: Always, ")).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, BTreeSet::from([Rule::GraceOverrun, Rule::ShellPidOne, Rule::NpmPidOne]));
    assert_eq!(found_in("pod.yaml", &pod("")), []);
}

/// After exec, the program is PID 1 as if there were no shell.
#[test]
fn a_program_behind_exec_is_known() {
    let dockerfile = |line: &str| found_in("Dockerfile", &format!("FROM debian\n{line}\n"));
    for line in [
        "ENTRYPOINT exec npm start",
        "ENTRYPOINT [\"sh\", \"-c\", \"exec npm start\"]",
        "CMD cd /app && exec npm start \"$@\"",
    ] {
        assert_eq!(dockerfile(line), [(Rule::NpmPidOne, 2)], "{line}");
    }
    assert_eq!(dockerfile("ENTRYPOINT exec nginx -g 'daemon off;'"), [(Rule::StopSignalWrong, 2)]);
    assert_eq!(dockerfile("ENTRYPOINT exec node server.js"), []);
    // env replaces itself, too.
    assert_eq!(dockerfile("CMD [\"/usr/bin/env\", \"A=1\", \"nginx\"]"), [(Rule::StopSignalWrong, 2)]);
    assert_eq!(dockerfile("CMD [\"env\", \"npm\", \"start\"]"), [(Rule::NpmPidOne, 2)]);
    let unit = "[Service]\nExecStart=/usr/bin/env A=1 bash -c 'cd /srv && npm start'\n";
    assert_eq!(found_in("a.service", &format!("{unit}KillMode=mixed\n")), [(Rule::ShellPidOne, 2)]);
    assert_eq!(found_in("a.service", unit), [], "systemd signals every process of the unit");
    assert_eq!(found_in("a.service", "[Service]\nExecStart=npm start\nKillMode=control-group\n"), []);
}

/// Scripts as people write them into manifests.
#[test]
fn a_script_that_hands_its_signals_on_is_no_shell_in_front() {
    let script = |lines: &str| {
        let block = lines.replace('\n', "\n      ");
        found_in(
            "pod.yaml",
            &format!(
                "kind: Pod\nspec:\n  containers:\n  - name: a\n    command: [sh, -c]\n    args:\n    - |\n      {block}\n"
            ),
        )
    };
    for lines in [
        "set -e\n./migrate\nexec gunicorn app:app \\\n  --bind :8000",
        "if [ \"$A\" = b ]; then\n  exec a\nelse\n  exec b\nfi\n# the end",
        "case \"$1\" in\nweb) exec a ;;\nesac; { exec b; }",
        "trap 'kill $!' TERM\napp &\nwait",
        "exec gosu www-data app",
    ] {
        assert_eq!(script(lines), [], "{lines}");
    }
    for lines in
        ["./migrate\napp \\\n  --exec x", "exec 2>&1\napp", "echo 'trap it; exec x'", "if true; then app; fi"]
    {
        assert_eq!(script(lines), [(Rule::ShellPidOne, 5)], "{lines}");
    }
    let signal = "FROM debian\nENTRYPOINT [\"gosu\", \"www-data\", \"nginx\"]\n";
    assert_eq!(found_in("Dockerfile", signal), [(Rule::StopSignalWrong, 2)]);
}

/// Their pods are found by their containers.
#[test]
fn the_pods_of_custom_resources_are_judged_wherever_they_are() {
    let custom = |group: &str, kind: &str, spec: &str| {
        let text =
            format!("apiVersion: {group}\nkind: {kind}\nmetadata: {{name: a}}\nspec:\n  replicas: 1\n{spec}");
        found_in("custom.yaml", &text)
    };
    let pod = "{containers: [{name: web, image: w, command: [npm, start], ports: [{containerPort: 80}],\n   \
               lifecycle: {preStop: {sleep: {seconds: 40}}}}]}";
    // Not: one-replica, no-delay, readiness-missing. Its controller knows.
    let found = [(Rule::NpmPidOne, 6), (Rule::GraceOverrun, 7)];
    for (group, kind, spec) in [
        ("example.com/v1", "App", format!("  podTemplate: {pod}")),
        ("example.com/v1", "App", format!("  workload: {{template: {pod}}}")),
        ("example.com/v1", "App", format!("  template: {{pod: {pod}}}")),
        ("flink.apache.org/v1beta1", "FlinkDeployment", format!("  podTemplate: {{spec: {pod}}}")),
        ("serving.kserve.io/v1beta1", "InferenceService", format!("  predictor: {pod}")),
        ("ray.io/v1", "RayCluster", format!("  workerGroupSpecs: [{{template: {{spec: {pod}}}}}]")),
        (
            "leaderworkerset.x-k8s.io/v1",
            "LeaderWorkerSet",
            format!("  leaderWorkerTemplate: {{workerTemplate: {{spec: {pod}}}}}"),
        ),
    ] {
        assert_eq!(custom(group, kind, &format!("{spec}\n")), found, "{kind}: {spec}");
    }
    let beside = format!("  podTemplate: {pod}\n  terminationGracePeriodSeconds: 90\n");
    assert_eq!(custom("example.com/v1", "App", &beside), found[..1], "the grace is beside the pod");
    let spec = format!("  podTemplate: {pod}\n");
    for (group, kind) in [
        ("v1", "App"),
        ("apps/v1", "App"),
        ("apiextensions.k8s.io/v1", "App"),
        ("kyverno.io/v1", "ClusterPolicy"),
    ] {
        assert_eq!(custom(group, kind, &spec), [], "{group} {kind}");
    }
}

/// As in a pod; and a policy about graces holds for it, too.
#[test]
fn a_pod_of_a_custom_resource_has_sidecars_probes_and_limits() {
    let text = "apiVersion: example.com/v1
kind: App
metadata: {name: a}
spec:
  parts:
  - pod:
      initContainers:
      - {name: proxy, image: p, restartPolicy: Always, command: [npm, start]}
      containers:
      - {name: patched, lifecycle: {preStop: {exec: {command: [sleep, inf]}}}}
      - name: web
        image: w
        command: [/adieu, --, app]
        ports: [{containerPort: 80}]
        readinessProbe: {httpGet: {path: /, port: 80}}
status: {pods: [{containers: [{name: web, image: w, command: [npm, start]}]}]}
---
kind: KubeletConfiguration
shutdownGracePeriod: 20s
";
    let found = [
        (Rule::GraceCapped, 7),
        (Rule::NpmPidOne, 8),
        (Rule::GraceOverrun, 10),
        (Rule::ReadinessNeverFails, 15),
    ];
    assert_eq!(found_in("custom.yaml", text), found);
}

/// Silence about a file without containers is no praise.
#[test]
fn what_holds_nothing_to_judge_is_said() {
    let said = |text: &str| {
        let output =
            harness::output_given(Command::new(TOOL).args(["--lint", "-"]), text.as_bytes(), WATCHDOG);
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let nothing = "nothing to judge in 1 file: no container, service or image\n".to_owned();
    for text in [
        "kind: ConfigMap\n",
        "[Timer]\nOnCalendar=daily\n",
        "kind: Kustomization\nresources: [a.yaml]\n",
        "apiVersion: example.com/v1\nkind: App\nspec: {containers: [web], image: a}\n",
    ] {
        assert_eq!(said(text), (Some(0), nothing.clone()), "{text}");
    }
    assert_eq!(said("FROM scratch\nCMD [\"/a\"]\n").1, "nothing found in 1 file\n");
}

#[test]
fn the_program_of_a_base_image_is_known() {
    let dockerfile = |image: &str, more: &str| found_in("Dockerfile", &format!("FROM {image}\n{more}"));
    for image in ["nginx:1.27", "docker.io/library/httpd", "haproxy:3@sha256:0", "postgres:17", "php:8-fpm"] {
        assert_eq!(dockerfile(image, ""), [], "{image} has its own STOPSIGNAL");
        assert_eq!(dockerfile(image, "STOPSIGNAL SIGTERM\n"), [(Rule::StopSignalWrong, 2)], "{image}");
    }
    let arguments = "STOPSIGNAL SIGTERM\nCMD [\"-c\", \"max_connections=9\"]\n";
    assert_eq!(dockerfile("postgres:17", arguments), [(Rule::StopSignalWrong, 2)]);
    assert_eq!(dockerfile("php:8-cli", "STOPSIGNAL SIGTERM\n"), []);
    assert_eq!(dockerfile("wordpress:6-fpm", "CMD [\"php-fpm\"]\n"), [], "its own image, too");
    assert_eq!(dockerfile("nginx:1.27", "STOPSIGNAL SIGTERM\nCMD [\"/app\"]\n"), []);
}

/// As in a Dockerfile, wherever an image is given no command.
#[test]
fn the_program_of_an_image_is_known() {
    let signal_is_wrong = |name: &str, text: &str| {
        let found = found_in(name, text);
        found.iter().any(|(rule, _)| *rule == Rule::StopSignalWrong)
    };
    let compose = |more: &str| {
        signal_is_wrong("compose.yaml", &format!("services: {{a: {{stop_signal: SIGTERM, {more}}}}}\n"))
    };
    assert!(compose("image: 'nginx:1.27'"));
    assert!(compose("image: 'registry.example:5000/nginx:${TAG}'"));
    assert!(compose("image: '${IMAGE:-php:8-fpm-alpine}'"));
    assert!(compose("image: postgres, command: [-c, max_connections=9]"));
    assert!(!compose("image: 'nginx:1.27', command: [/app]"));
    assert!(!compose("image: 'nginx:1.27', build: ."), "that is only the name of what is built");
    assert!(!compose("image: 'nginx:1.27', entrypoint: [/adieu, --]"), "adieu sends the right one");
    assert!(!compose("image: 'nginx:1.27', environment: {ADIEU_GRACE: 10s}"));
    assert!(!signal_is_wrong("compose.yaml", "services: {a: {image: nginx}}\n"), "its image sets QUIT");
    let pod = |more: &str| {
        let container = format!("{{name: a, lifecycle: {{stopSignal: SIGTERM}}, {more}}}");
        signal_is_wrong("pod.yaml", &format!("kind: Pod\nspec: {{containers: [{container}]}}\n"))
    };
    assert!(pod("image: 'nginxinc/nginx-unprivileged:1.27'"));
    assert!(pod("image: 'haproxy@sha256:0', args: [-f, /h.cfg]"));
    assert!(!pod("image: nginx, command: [/app]"));
    let quadlet = |line: &str| {
        signal_is_wrong("a.container", &format!("[Container]\nImage=docker.io/library/nginx:1.27\n{line}\n"))
    };
    for line in ["StopSignal=SIGTERM", "PodmanArgs=--tty --stop-signal=TERM", "PodmanArgs=--stop-signal 15"] {
        assert!(quadlet(line), "{line}");
    }
    assert!(!quadlet("PodmanArgs=--stop-signal=QUIT"));
    assert!(!quadlet("StopSignal=SIGTERM\nExec=/app"));
}

/// The rehearsal fills the same words in.
#[test]
fn a_unit_is_judged_with_its_variables_and_its_name_filled_in() {
    let unit = |lines: &str| found_in("app@80.service", &format!("[Service]\nKillMode=mixed\n{lines}\n"));
    let options = |value: &str| {
        unit(&format!("Environment=\"OPTIONS={value}\"\nExecStart=/usr/bin/adieu $OPTIONS -- /app --port=%i"))
    };
    assert_eq!(options("--grace 90 --pre-stop 2s"), []);
    assert_eq!(options("--grace 40s --pre-stop 50s"), [(Rule::SettingsRefused, 4)]);
    assert_eq!(
        unit("ExecStart=/usr/bin/adieu $NONE --grace 90 -- /app"),
        [],
        "it has no value, so it is no word"
    );
    let program =
        "Environment=SERVER=/usr/sbin/nginx\nExecStart=-@/usr/bin/env web ${SERVER} -g 'daemon off;'";
    assert_eq!(unit(program), [(Rule::StopSignalWrong, 4)], "behind env and its own name");
    let shell = "ExecStart=/bin/sh -c '${START}; true'\nEnvironment=START=/app";
    assert_eq!(unit(shell), [(Rule::ShellPidOne, 3)]);
    // What its file sets is not known.
    assert_eq!(unit("EnvironmentFile=/etc/default/app\nExecStart=/usr/bin/adieu $OPTIONS -- $COMMAND"), []);
    let kill = "Environment=BY=/bin/kill\nExecStart=/app\nExecStop=/bin/env ${BY} $MAINPID";
    assert_eq!(unit(kill), []);
    assert_eq!(unit("ExecStart=/app\nExecStop=-/bin/kill -QUIT $MAINPID"), [(Rule::ExecStopReturns, 4)]);
}

/// What is merged in by `<<` or taken over by `extends` counts as if it stood there.
#[test]
fn a_compose_service_has_what_it_is_built_on() {
    let text = "
x-env: &env {ADIEU_GRACE: '${GRACE:-60s}', ADIEU_PRE_STOP: 4s}
services:
  base:
    stop_grace_period: 1m
    environment: {<<: *env, ADIEU_PRE_STOP: 5s}
  web: {extends: base, environment: [A=1]}
  worker: {extends: {service: web}, command: [sh, -c, 'a; b'], stop_signal: '${SIGNAL:?must-be-set}'}
";
    assert_eq!(found_in("compose.yaml", text), []);
    let init = text.replace("extends: base,", "extends: base, entrypoint: [/adieu, --, app], init: yes,");
    assert_eq!(found_in("compose.yaml", &init), [(Rule::InitTwice, 7), (Rule::InitTwice, 7)], "of both");
    let short = text.replace("extends: base,", "extends: base, stop_grace_period: 50s,");
    let mismatch = [(Rule::GraceMismatch, 3), (Rule::GraceMismatch, 3)];
    let found = found_in("compose.yaml", &short);
    assert_eq!(
        found.iter().map(|(rule, _)| *rule).collect::<Vec<_>>(),
        mismatch.map(|(rule, _)| rule),
        "{found:?}"
    );
    // Another file may hold anything; a loop ends.
    for extends in ["{file: other.yaml, service: web}", "{service: none}", "a"] {
        assert_eq!(
            found_in("compose.yaml", &format!("services: {{a: {{extends: {extends}}}}}\n")),
            [],
            "{extends}"
        );
    }
}

/// What they say, each with the object's name in front.
fn lines_in(text: &str) -> Vec<String> {
    let source = SourceFile { name: "a.yaml".to_owned(), text: text.to_owned() };
    let findings = judge(&[source], &[]).expect("it can be read").findings;
    findings.iter().map(|finding| format!("{}: {}", finding.object, finding.message)).collect()
}

/// The file may say two replicas, and its scaler one.
#[test]
fn replicas_are_what_the_scaler_makes_of_them() {
    let lines = lines_in(
        "kind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2, template: {metadata: {labels: {app: a}}, spec: {containers: [\n\
         {name: a, command: [/adieu, --, a], ports: [{containerPort: 80}]}]}}}\n---\nkind: HorizontalPodAutoscaler\n\
         spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 9}\n---\nkind: PodDisruptionBudget\n\
         metadata: {name: a}\nspec: {minAvailable: 50%, selector: {matchLabels: {app: a}}}\n",
    );
    let has = |line: &str| assert!(lines.iter().any(|found| found == line), "{line}: {lines:#?}");
    has("Deployment a: its HorizontalPodAutoscaler goes down to one replica");
    has("PodDisruptionBudget a: minAvailable is 50% with 1 replica");
}

/// `kubectl --namespace` sets what a file leaves out, and refuses what differs.
#[test]
fn a_missing_namespace_may_be_any() {
    let lines = |workload: &str, others: &str| {
        let objects = format!(
            "kind: Deployment\nmetadata: {{name: a{workload}}}\nspec: {{replicas: 2, template: {{metadata: {{labels: {{app: a}}}}, spec: {{containers: [\n\
             {{name: a, command: [/adieu, --, a], ports: [{{containerPort: 80}}]}}]}}}}}}\n---\nkind: HorizontalPodAutoscaler\n\
             metadata: {{name: a{others}}}\nspec: {{scaleTargetRef: {{kind: Deployment, name: a}}, maxReplicas: 9}}\n---\n\
             kind: PodDisruptionBudget\nmetadata: {{name: b{others}}}\nspec: {{minAvailable: 1, selector: {{matchLabels: {{app: a}}}}}}\n"
        );
        let mut lines = lines_in(&objects);
        lines.retain(|line| !line.contains("container a"));
        lines
    };
    let matched = [
        "Deployment a: its HorizontalPodAutoscaler goes down to one replica",
        "PodDisruptionBudget b: minAvailable is 1 with 1 replica",
    ];
    let (shop, blog) = (", namespace: shop", ", namespace: blog");
    for (workload, others) in [("", ""), (shop, shop), (shop, ""), ("", shop)] {
        assert_eq!(lines(workload, others), matched, "{workload:?} beside {others:?}");
    }
    let unmatched = ["Deployment a: it has 2 replicas, and no PodDisruptionBudget in these files"];
    assert_eq!(lines(shop, blog), unmatched);
}

#[test]
fn other_controllers_of_pods_are_judged_as_what_they_are() {
    let knative = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\nspec: {template: {spec: {containers: [\n\
                   {image: a, command: [npm, start], ports: [{containerPort: 80}]}]}}}\n";
    assert_eq!(lines_in(knative), ["Service a: npm start runs the app"], "its proxy does the rest");
    let rollout = "kind: Rollout\nmetadata: {name: a}\nspec: {replicas: 1, strategy: {canary: {maxUnavailable: 1}}, template: {spec: {containers: [\n\
                   {name: a, command: [/adieu, --, a], ports: [{containerPort: 80}]}]}}}\n";
    let found: Vec<Rule> = found_in("a.yaml", rollout).into_iter().map(|(rule, _)| rule).collect();
    assert!(found.contains(&Rule::OneReplica) && found.contains(&Rule::RolloutGap), "{found:?}");
    let openshift = rollout
        .replace("Rollout", "DeploymentConfig")
        .replace("canary: {maxUnavailable: 1}", "type: Recreate");
    let found: Vec<Rule> = found_in("a.yaml", &openshift).into_iter().map(|(rule, _)| rule).collect();
    assert!(found.contains(&Rule::OneReplica) && found.contains(&Rule::RolloutGap), "{found:?}");
}

#[test]
fn a_probe_by_adieu_needs_a_health_address() {
    let unanswered = |name: &str, text: &str| {
        let found = found_in(name, text);
        found.iter().any(|(rule, _)| *rule == Rule::ProbeUnanswered)
    };
    let compose = |more: &str, asks: &str| {
        let service =
            format!("{{entrypoint: [/adieu, {more}--, app], healthcheck: {{test: [CMD, /adieu, {asks}]}}}}");
        unanswered("compose.yaml", &format!("services: {{a: {service}}}\n"))
    };
    assert!(compose("", "--probe, readyz"));
    assert!(compose("", "--probe, readyz, --health, ':1'"), "nothing answers");
    assert!(compose("--health, ':1', ", "--probe, readyz"), "the probe does not know where");
    assert!(!compose("--health, ':1', ", "--probe, readyz, --health, ':1'"));
    let pod = |env: &str| {
        let probe = "livenessProbe: {exec: {command: [/adieu, --probe, livez]}}";
        let container = format!("{{name: a, command: [/adieu, --, app], {env}{probe}}}");
        unanswered("pod.yaml", &format!("kind: Pod\nspec: {{containers: [{container}]}}\n"))
    };
    assert!(pod(""));
    assert!(!pod("env: [{name: ADIEU_HEALTH, value: ':9090'}], "));
    assert!(!pod("envFrom: [{configMapRef: {name: a}}], "), "it may be set there");
    let image = "FROM debian\nENTRYPOINT [\"/adieu\", \"--\"]\nHEALTHCHECK CMD [\"/adieu\", \"--probe\", \"readyz\"]\n";
    assert!(unanswered("Dockerfile", image));
    let quadlet =
        "[Container]\nEnvironment=ADIEU_GRACE=30\nStopTimeout=30\nHealthCmd=/adieu --probe readyz\n";
    assert!(unanswered("a.container", quadlet));
}

#[test]
fn the_sample_in_the_readme_is_real() {
    let text = "kind: Pod\nmetadata: {name: web}\nspec:\n  containers:\n  - name: web\n    command: [/app]\n    \
                lifecycle: {preStop: {exec: {command: [sh, -c, \"sleep 40; /app stop\"]}}}\n";
    let scratch = harness::Scratch::new();
    scratch.file("web.yaml", text);
    let (status, page, error) = lint(&scratch.path(""), &["--lint", "web.yaml"]);
    assert_eq!(status, Some(1), "{page}{error}");
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let sample = format!("```console\n$ adieu-rehearse --lint web.yaml\n{page}```\n");
    assert!(readme.contains(&sample), "{sample}");
}
