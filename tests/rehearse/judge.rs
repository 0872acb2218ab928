//! The pure parts of the rehearsal: the judge's verdicts on given recordings, and the output
//! formats. tests/rehearse/recordings.json has one recording of each mode; the expected outputs are
//! beside it (UPDATE_GOLDEN=1 writes them again; review the diff).

use std::path::PathBuf;

use adieu_rehearse::judge::judge;
use adieu_rehearse::manifest;
use adieu_rehearse::recording::{
    AdieuReport, At, ConnectionEnd, ConnectionUse, DatabaseConnection, End, Fate, Mode, RecordedExit,
    Recording, Request,
};
use adieu_rehearse::show::{json, junit, run::Run, svg, text};
use adieu_rehearse::verdict::{Outcome, Point, RunVerdict};

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/rehearse")
}

fn recordings() -> Vec<Recording> {
    let text = std::fs::read(folder().join("recordings.json")).expect("the recordings are kept");
    serde_json::from_slice(&text).expect("the recordings can be read")
}

fn bare() -> Recording {
    recordings().swap_remove(0)
}

fn wrapped() -> Recording {
    recordings().swap_remove(1)
}

fn runs() -> Vec<Run> {
    recordings().into_iter().map(|recording| Run { verdict: judge(&recording), recording }).collect()
}

fn same_as_kept(name: &str, page: &str) {
    let path = folder().join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, page).expect("the page can be kept");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(kept == page, "{name} differs from the expected file; UPDATE_GOLDEN=1 writes this:\n{page}");
}

fn outcome(verdict: &RunVerdict, point: Point) -> Outcome {
    verdict.findings.iter().find(|finding| finding.point == point).expect("every point is judged").outcome
}

fn failures(recording: &Recording) -> Vec<Point> {
    judge(recording).failures().map(|finding| finding.point).collect()
}

fn report(recording: &mut Recording) -> &mut AdieuReport {
    recording.adieu_report.as_mut().expect("adieu's report")
}

fn lose(recording: &mut Recording, connection: ConnectionUse, from: i64, to: i64, fate: Fate) {
    recording.requests.push(Request { client: 0, connection, target: 0, from: At(from), to: At(to), fate });
}

fn turned_away(why: &str) -> Fate {
    Fate::TurnedAway { why: why.into() }
}

fn cut() -> Fate {
    Fate::CutOff { why: "connection reset".into() }
}

#[test]
fn pages_are_as_kept() {
    let plain = |runs: &[Run]| anstream::adapter::strip_str(&text::text(runs)).to_string();
    same_as_kept("compared.txt", &plain(&runs()));
    same_as_kept("bare.txt", &plain(&runs()[..1]));
    same_as_kept("compared.xml", &junit::junit(&runs()));
    same_as_kept("compared.svg", &svg::svg(&runs()));
    let page: serde_json::Value =
        serde_json::from_str(&json::json(&runs(), true)).expect("JSON that can be read");
    let verdicts: Vec<_> = page["runs"].as_array().expect("runs").iter().map(|run| &run["verdict"]).collect();
    same_as_kept(
        "verdicts.json",
        &format!("{}\n", serde_json::to_string_pretty(&verdicts).expect("plain data")),
    );
    assert_eq!(page["good"], true);
    assert_eq!(page["runs"][1]["recording"]["limits"]["grace_ms"], 10_000);
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    let page = anstream::adapter::strip_str(&text::text(&runs())).to_string();
    for line in page.lines() {
        assert!(line.chars().count() <= 80, "too wide: {line}");
    }
}

#[test]
fn colours_are_used_and_can_be_taken_out() {
    let page = text::text(&runs());
    assert!(page.contains("\u{1b}["));
    assert!(!anstream::adapter::strip_str(&page).to_string().contains('\u{1b}'));
}

#[test]
fn the_orderly_run_passes_every_point_it_shows() {
    let verdict = judge(&wrapped());
    assert!(verdict.good(), "{verdict:#?}");
    for finding in &verdict.findings {
        let unseen = [Point::ClosesDatabases, Point::LetsConnectionsGo].contains(&finding.point);
        let expected = if unseen { Outcome::NotSeen } else { Outcome::Pass };
        assert_eq!(finding.outcome, expected, "{finding:?}");
    }
}

#[test]
fn dying_at_once_loses_what_is_in_flight_and_turns_the_rest_away() {
    assert_eq!(failures(&bare()), [Point::FailsReadinessFirst, Point::FinishesRequests]);
}

#[test]
fn a_request_accepted_after_the_stop_and_dropped_is_laid_to_accepting() {
    let mut recording = wrapped();
    lose(&mut recording, ConnectionUse::New, 100, 200, cut());
    assert_eq!(failures(&recording), [Point::StopsAccepting]);
}

#[test]
fn a_connection_that_the_closing_listener_dropped_is_laid_to_closing_too_early() {
    let mut recording = wrapped();
    recording.closed = Some(At(210));
    lose(&mut recording, ConnectionUse::New, 195, 200, cut());
    assert!(failures(&recording).contains(&Point::FailsReadinessFirst));
    assert!(!failures(&recording).contains(&Point::StopsAccepting));
}

#[test]
fn a_request_on_a_kept_connection_is_one_in_flight_whenever_it_came() {
    let mut recording = wrapped();
    lose(&mut recording, ConnectionUse::Kept, 100, 200, cut());
    assert_eq!(failures(&recording), [Point::FinishesRequests]);
}

#[test]
fn a_pinned_client_is_let_go_between_two_requests_or_cut_off() {
    let mut recording = wrapped();
    recording.moved_on = vec![At(2500), At(3000)];
    let verdict = judge(&recording);
    assert_eq!(outcome(&verdict, Point::LetsConnectionsGo), Outcome::Pass);
    lose(&mut recording, ConnectionUse::Pinned, 3900, 4075, cut());
    assert_eq!(failures(&recording), [Point::LetsConnectionsGo]);
}

#[test]
fn a_refusal_within_the_balancers_time_is_laid_to_readiness() {
    let mut recording = wrapped();
    lose(&mut recording, ConnectionUse::New, 900, 900, turned_away("connection refused"));
    lose(&mut recording, ConnectionUse::Kept, 900, 901, turned_away("answered 503"));
    assert_eq!(failures(&recording), [Point::FailsReadinessFirst]);
}

#[test]
fn readiness_that_stays_good_to_the_end_fails() {
    let mut recording = wrapped();
    recording.readiness.turned = None;
    assert_eq!(failures(&recording), [Point::FailsReadinessFirst]);
}

/// The recording of an app that the platform had to kill.
fn kill(recording: &mut Recording) {
    recording.killed = Some(At(10_000));
    recording.end = End { at: At(10_002), exit: RecordedExit::Signal(9) };
    recording.requests.retain(|request| !request.fate.lost());
    recording.databases.clear();
}

#[test]
fn an_app_that_ignores_the_signal_fails_that_point_alone() {
    let mut recording = bare();
    kill(&mut recording);
    recording.leftovers = vec!["worker".into()];
    assert_eq!(failures(&recording), [Point::HandlesStopSignal]);
    assert_eq!(outcome(&judge(&recording), Point::ExitsInTime), Outcome::NotSeen);
    lose(&mut recording, ConnectionUse::New, 9000, 10_001, cut());
    assert_eq!(failures(&recording), [Point::HandlesStopSignal], "what the kill cut off has the same cause");
}

#[test]
fn an_app_that_stops_serving_and_then_hangs_fails_to_exit() {
    let mut recording = bare();
    kill(&mut recording);
    recording.closed = Some(At(2200));
    assert_eq!(failures(&recording), [Point::ExitsInTime]);
}

#[test]
fn requests_that_outlast_the_grace_are_laid_to_the_grace() {
    let mut recording = bare();
    kill(&mut recording);
    recording.closed = Some(At(2200));
    lose(&mut recording, ConnectionUse::New, -100, 10_001, cut());
    assert_eq!(failures(&recording), [Point::DrainFitsGrace]);
}

#[test]
fn a_drain_that_gave_up_is_laid_to_the_grace() {
    let mut recording = wrapped();
    report(&mut recording).phases[1].in_flight = Some(1);
    lose(&mut recording, ConnectionUse::Kept, 0, 4075, cut());
    assert_eq!(failures(&recording), [Point::DrainFitsGrace]);
}

#[test]
fn a_kill_by_adieu_is_a_kill() {
    let mut recording = wrapped();
    report(&mut recording).killed = Some(At(9000));
    recording.end.exit = RecordedExit::Status(137);
    assert_eq!(failures(&recording), [Point::HandlesStopSignal]);
}

#[test]
fn a_strange_status_fails_and_the_usual_ones_pass() {
    for (exit, clean) in [
        (RecordedExit::Status(0), true),
        (RecordedExit::Status(143), true),
        (RecordedExit::Signal(15), true),
        (RecordedExit::Status(1), false),
        (RecordedExit::Status(139), false),
        (RecordedExit::Signal(11), false),
    ] {
        let mut recording = wrapped();
        recording.end.exit = exit;
        assert_eq!(failures(&recording).is_empty(), clean, "{exit:?}");
    }
}

fn to_postgres(end: ConnectionEnd<At>) -> DatabaseConnection {
    let address = |text: &str| text.parse().expect("an address");
    DatabaseConnection {
        local: address("127.0.0.1:40000"),
        remote: address("127.0.0.1:5432"),
        main: true,
        end,
    }
}

#[test]
fn database_connections_are_judged_by_what_was_seen_of_them() {
    let mut recording = wrapped();
    recording.databases = vec![to_postgres(ConnectionEnd::Closed(At(4000)))];
    assert_eq!(outcome(&judge(&recording), Point::ClosesDatabases), Outcome::Pass);
    recording.databases.push(to_postgres(ConnectionEnd::Open));
    report(&mut recording).app_end = Some(RecordedExit::Status(0));
    assert_eq!(
        outcome(&judge(&recording), Point::ClosesDatabases),
        Outcome::NotSeen,
        "it may have closed it after the last look"
    );
    report(&mut recording).app_end = Some(RecordedExit::Signal(15));
    assert_eq!(
        failures(&recording),
        [Point::ClosesDatabases],
        "a process that dies of a signal closes nothing"
    );
    recording.databases[1].end = ConnectionEnd::WithOwner;
    assert_eq!(failures(&recording), [Point::ClosesDatabases]);
    recording.databases[1].main = false;
    assert_eq!(
        outcome(&judge(&recording), Point::ClosesDatabases),
        Outcome::NotSeen,
        "a worker may have closed it as it ended"
    );
    recording.databases[1].end = ConnectionEnd::Open;
    recording.mode = Mode::Bare;
    recording.end.exit = RecordedExit::Status(0);
    recording.held_at_exit = true;
    assert_eq!(
        failures(&recording),
        [Point::ClosesDatabases],
        "it was open while the process was held at its exit"
    );
}

#[test]
fn an_app_that_ended_by_itself_is_not_praised_for_the_signal() {
    let mut recording = wrapped();
    report(&mut recording).signalled = false;
    for point in [Point::HandlesStopSignal, Point::ExitsInTime] {
        assert_eq!(outcome(&judge(&recording), point), Outcome::NotSeen);
    }
    recording.end.exit = RecordedExit::Status(1);
    assert_eq!(failures(&recording), [Point::ExitsInTime], "a crash fails, even without a signal");
    let mut recording = bare();
    recording.limits.hook_ms = 2000;
    assert_eq!(
        outcome(&judge(&recording), Point::HandlesStopSignal),
        Outcome::NotSeen,
        "the hook still slept"
    );
}

#[test]
fn the_table_and_the_checklist_count_the_same_events_by_the_same_words() {
    let mut recording = bare();
    recording.closed = Some(At(0));
    // It waited in the accept queue when the listener was closed.
    lose(&mut recording, ConnectionUse::New, -1, 0, cut());
    lose(&mut recording, ConnectionUse::New, 0, 1, cut());
    let verdict = judge(&recording);
    let said = |word: &str| -> usize {
        let seen = verdict.findings.iter().map(|finding| finding.seen.as_str());
        let words: Vec<&str> =
            seen.flat_map(|seen| seen.split([' ', ','])).filter(|w| !w.is_empty()).collect();
        let before = |at: usize| words[..at].iter().rev().find_map(|word| word.parse::<usize>().ok());
        let places =
            (0..words.len()).filter(|at| words[*at..].starts_with(&word.split(' ').collect::<Vec<_>>()));
        places.filter_map(before).sum()
    };
    assert_eq!(said("turned away"), verdict.tally.turned_away, "{verdict:#?}");
    assert_eq!(said("cut off"), verdict.tally.cut_off, "{verdict:#?}");
    let page: serde_json::Value = serde_json::to_value(&verdict).expect("plain data");
    assert_eq!(page["tally"]["turned_away"], verdict.tally.turned_away);
}

#[test]
fn without_requests_nothing_is_said_of_losses() {
    let mut recording = wrapped();
    recording.targets.clear();
    recording.requests.clear();
    let runs = [Run { verdict: judge(&recording), recording }];
    let page = anstream::adapter::strip_str(&text::text(&runs)).to_string();
    assert!(!page.contains("nothing lost"), "{page}");
    assert!(page.contains("no request was sent, so no loss could be seen"), "{page}");
    assert!(junit::junit(&runs).contains("<skipped message=\"no request was sent\"/>"));
    assert!(svg::svg(&runs).contains("no request was sent"));
}

#[test]
fn leftovers_fail_where_they_were_certainly_left() {
    let mut recording = wrapped();
    recording.leftovers = vec!["sleep".into()];
    report(&mut recording).swept = true;
    assert_eq!(outcome(&judge(&recording), Point::LeavesNoProcess), Outcome::Pass, "adieu swept it");
    report(&mut recording).killed_leftovers = true;
    assert_eq!(failures(&recording), [Point::LeavesNoProcess], "adieu had to kill it");
    recording.mode = Mode::Bare;
    recording.adieu_report = None;
    assert_eq!(outcome(&judge(&recording), Point::LeavesNoProcess), Outcome::NotSeen);
    recording.held_at_exit = true;
    assert_eq!(failures(&recording), [Point::LeavesNoProcess]);
}

#[test]
fn a_worker_without_load_shows_half_of_the_points() {
    let mut recording = wrapped();
    recording.targets.clear();
    recording.requests.clear();
    let verdict = judge(&recording);
    assert!(verdict.good());
    for point in [Point::StopsAccepting, Point::FinishesRequests, Point::DrainFitsGrace] {
        assert_eq!(outcome(&verdict, point), Outcome::NotSeen);
    }
}

fn workload(file: &str, name: &str) -> manifest::workload::Workload {
    let text = std::fs::read_to_string(folder().join("manifests").join(file)).expect("the manifest is kept");
    let workloads = parse(&text).expect("a manifest");
    workloads.into_iter().find(|workload| workload.name == name).expect("the container is in it")
}

/// Without environment variables, and with one file beside the manifest.
fn parse(text: &str) -> Result<Vec<manifest::workload::Workload>, String> {
    parse_as("app.service", text)
}

fn parse_as(name: &str, text: &str) -> Result<Vec<manifest::workload::Workload>, String> {
    let file = |name: &str| match name {
        "app.env" | "web.env" => Ok("A=1\nB=2 # of two\n"
            .replace(" # of two", if text.contains("services") { " # of two" } else { "" })),
        _ => Err("it is not there".to_owned()),
    };
    manifest::parse(text, &manifest::ManifestSources { name, given: &[], variable: &|_| None, file: &file })
}

/// Its notes, one line each.
fn said(workload: &manifest::workload::Workload) -> Vec<String> {
    workload.notes.iter().map(|lint| lint.what.clone()).collect()
}

#[test]
fn a_kubernetes_deployment_is_understood_and_its_notes_made() {
    let shop = workload("deployment.yaml", "shop");
    assert_eq!(shop.command, ["sh", "-c", "python3 app.py --port 8080"]);
    assert_eq!(shop.grace.as_secs(), 15);
    assert_eq!(shop.hook.as_secs(), 10);
    assert_eq!(shop.pre_stop().as_secs(), 6);
    assert_eq!(shop.env, [("PORT".to_owned(), "8080".to_owned())]);
    assert_eq!(shop.readiness.as_ref().map(|probe| probe.port), Some(8080), "a named port is looked up");
    assert_eq!(
        said(&shop),
        [
            "the value of SECRET is not in the manifest",
            "not run: container sidecar",
            "it has no number of replicas, which means one",
            "adieu plans with a grace of 30s (the default), but the platform kills 15s after the stop request, minus 10s for the preStop hook",
            "the preStop hook sleeps 10s, and then adieu's own pre-stop sleep takes 6s",
            "the readiness probe asks the app on port 8080, but adieu answers on 9000",
            "the liveness probe asks /readyz: the pod is restarted whenever it is not ready",
        ]
    );
    let sidecar = workload("deployment.yaml", "sidecar");
    assert!(sidecar.command.is_empty(), "args belong to an entrypoint that only the image knows");
    assert_eq!(sidecar.adieu, None);
}

#[test]
fn a_compose_file_is_understood_and_its_notes_made() {
    let web = workload("compose.yaml", "web");
    assert_eq!(web.command, ["python3", "my app.py", "--port", "8080"]);
    assert_eq!(web.adieu.as_deref(), Some(&[][..]));
    assert_eq!(web.grace.as_secs(), 10);
    assert_eq!(
        said(&web),
        [
            "the value of TOKEN is not in the manifest",
            "init: true adds another init in front of adieu",
            "there is no stop_grace_period, so the engine kills after 10s",
            "the platform stops with INT, which is no stop request for adieu",
            "the healthcheck asks the app, not adieu: CMD curl -f http://localhost:8080/",
        ]
    );
    let worker = workload("compose.yaml", "worker");
    assert_eq!(worker.command, ["python3", "worker.py"]);
    assert_eq!(worker.grace.as_secs(), 90);
    assert_eq!(said(&worker), Vec::<String>::new());
}

#[test]
fn a_systemd_unit_is_understood_and_its_notes_made() {
    let service = workload("app.service", "service");
    assert_eq!(service.command, ["/usr/bin/python3", "/srv/app.py"]);
    assert_eq!(service.adieu.as_deref(), Some(&["--pre-stop".to_owned(), "2s".to_owned()][..]));
    assert_eq!(service.grace.as_secs(), 90);
    assert_eq!(service.env.len(), 2);
    assert_eq!(
        said(&service),
        [
            "the variables in /etc/default/app are not read: it is not there",
            "ExecStop runs before the stop signal and is not rehearsed: /usr/bin/curl http://127.0.0.1:8080/bye",
            "systemd sends the stop signal to the app as well as to adieu",
        ]
    );
}

const ENTRY_POINT: &str =
    "adieu is taken for the image's entry point, as its variables show, and args for the command";

#[test]
fn args_for_an_adieu_in_the_image_are_the_command() {
    let pod = |args: &str, env: &str| {
        let container = format!("{{name: a, image: a, args: {args}, env: [{{name: {env}, value: '30'}}]}}");
        parse(&format!("kind: Pod\nspec: {{containers: [{container}]}}\n")).expect("a pod").swap_remove(0)
    };
    let plain = pod("[app, -x]", "ADIEU_GRACE");
    assert_eq!((plain.command.len(), plain.adieu.as_deref()), (2, Some(&[][..])));
    assert!(said(&plain).iter().any(|note| note == ENTRY_POINT), "{:?}", said(&plain));
    let options = pod("[--pre-stop, 2s, --, app]", "ADIEU_GRACE");
    assert_eq!(options.command, ["app"]);
    assert_eq!(options.adieu.as_deref(), Some(&["--pre-stop".to_owned(), "2s".to_owned()][..]));
    assert!(pod("[app, -x]", "GRACE").command.is_empty(), "the entry point may be anything");
}

/// The shipped examples have only arguments, because adieu is their image's entry point.
#[test]
fn adieu_in_an_image_is_known_by_its_variables() {
    for file in ["kubernetes/deployment.yaml", "docker/compose.yaml"] {
        let path =
            std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("packaging").join(file);
        let text = std::fs::read_to_string(path).expect("an example");
        let workloads = parse(&text).expect("a manifest");
        assert!(workloads.iter().all(|workload| workload.adieu.is_some()), "{file}");
        for workload in &workloads {
            assert!(!workload.command.is_empty(), "{file} can be rehearsed");
            let by_args = file.starts_with("kubernetes").then_some(ENTRY_POINT);
            assert_eq!(said(workload), Vec::from_iter(by_args), "{file} fits");
        }
    }
}

#[test]
fn what_is_no_manifest_is_refused() {
    for text in [
        "",
        "just: yaml",
        "kind: Service\nspec: {}",
        "[Service]\nType=simple",
        "a: [1",
        "services: {a: {command: \"'\"}}",
    ] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    for (text, says) in [
        ("# drop-in\n[Service]\nKillMode=mixed\n", "systemctl cat NAME"),
        ("[Pod]\nPodName=a\n", "neither [Service] nor [Container]"),
    ] {
        let why = parse(text).expect_err(text);
        assert!(why.contains(says), "{why}");
    }
}

#[test]
fn a_request_too_long_for_the_grace_is_named() {
    let second = std::time::Duration::from_secs;
    assert!(manifest::workload::too_short(second(10), second(5), second(2)).is_none());
    assert!(manifest::workload::too_short(second(10), second(5), second(6)).is_some());
}

#[test]
fn what_a_rehearsal_does_not_honour_is_named() {
    let said_of = |text: &str| -> Vec<String> { said(&parse(text).expect("a manifest")[0]) };
    let pod = "kind: Pod\nspec: {containers: [{name: web, command: [app], envFrom: [{configMapRef: {name: a}}], \
               lifecycle: {postStart: {exec: {command: [x]}}}}]}";
    assert_eq!(
        said_of(pod),
        ["the variables of ConfigMap 'a' are not in the manifest", "postStart is not rehearsed"]
    );
    let compose =
        "services: {web: {command: [app], stop_grace_period: 30s, pre_stop: [], extends: {}, init: true}}";
    assert_eq!(
        said_of(compose),
        [
            "init: true adds the engine's init, which is not rehearsed",
            "extends is not rehearsed",
            "pre_stop is not rehearsed",
        ]
    );
    let unit = "[Service]\nType=forking\nEnvironmentFile=/nowhere\nExecStart=/bin/app\n";
    assert_eq!(said_of(unit).len(), 2, "{:?}", said_of(unit));
}

/// Nothing is dropped in silence: a key that the rehearsal has never heard of is named, too. What
/// is the default, what says that something is off, and what does not matter for a stop is not.
#[test]
fn whatever_else_a_manifest_sets_is_named() {
    let said_of = |text: &str| -> Vec<String> {
        let mut said = said(&parse(text).expect("a manifest")[0]);
        said.retain(|line| line.starts_with("not rehearsed of "));
        said
    };
    let unit = "[Unit]\nAfter=x\n[Service]\nExecStart=app\nDynamicUser=yes\nProtectSystem=strict\nPrivateTmp=yes\n\
                PrivateDevices=no\nReadWritePaths=/srv\nCapabilityBoundingSet=CAP_KILL\nCapabilityBoundingSet=\n\
                NoNewPrivileges=true\nMemoryMax=1G\nStateDirectory=app\nRuntimeDirectory=app\nRestart=always\n\
                ExecStopPost=/bin/x\nSendSIGKILL=no\nIgnoreSIGPIPE=yes\nNew=thing\n[Install]\nWantedBy=y\n";
    assert_eq!(
        said_of(unit),
        ["not rehearsed of [Service]: DynamicUser, ProtectSystem, PrivateTmp, ReadWritePaths, \
          CapabilityBoundingSet, NoNewPrivileges, MemoryMax, StateDirectory, RuntimeDirectory, ExecStopPost, \
          SendSIGKILL, New"]
    );
    let pod = "
kind: Pod
spec:
  hostNetwork: true
  dnsPolicy: ClusterFirst
  restartPolicy: Always
  securityContext: {fsGroup: 7, fsGroupChangePolicy: Always}
  initContainers: [{name: migrate, image: a}]
  volumes: [{name: data, emptyDir: {}}]
  containers:
  - name: web
    image: a
    command: [app]
    tty: true
    stdin: false
    resources: {limits: {cpu: 1}}
    volumeMounts: [{name: data, mountPath: /data}]
    readinessProbe: {exec: {command: [x]}}
    securityContext: {privileged: false}
    lifecycle: {preStart: x}
    newField: 1
";
    assert_eq!(
        said_of(pod),
        [
            "not rehearsed of the securityContext: fsGroup, fsGroupChangePolicy",
            "not rehearsed of container web: tty, resources, volumeMounts, readinessProbe, newField",
            "not rehearsed of the pod: hostNetwork",
            "not rehearsed of lifecycle: preStart",
        ]
    );
    let asked = pod.replace("exec: {command: [x]}", "httpGet: {port: 80}");
    assert!(said_of(&asked).iter().all(|line| !line.contains("readinessProbe")), "{:?}", said_of(&asked));
    let compose = "
x-shared: &shared {mem_limit: 1g, tty: false}
services:
  web: {<<: *shared, image: a, command: [app], volumes: ['/a:/b'], ports: [80], deploy: {replicas: 2}, x-y: 1, new: 1}
";
    assert_eq!(said_of(compose), ["not rehearsed of service web: volumes, deploy, new, mem_limit"]);
    let quadlet = "[Container]\nImage=a\nExec=app\nVolume=/a:/b\nReadOnly=true\nNoNewPrivileges=false\nHealthCmd=x\n\
                   PodmanArgs=--stop-timeout=30 --cpus 2 --pid=host\nNew=1\n[Service]\nRestart=always\nExecStartPre=x\n";
    assert_eq!(
        said_of(quadlet),
        [
            "not rehearsed of [Container]: Volume, ReadOnly, New, PodmanArgs=--cpus, PodmanArgs=--pid",
            "not rehearsed of [Service]: ExecStartPre",
        ]
    );
}

#[test]
fn a_compose_service_is_rehearsed_with_what_it_is_built_on() {
    let text = "
x-env: &env {MODE: fast, LEVEL: '${LEVEL:-${NONE:-info}}'}
services:
  base: {working_dir: /srv, stop_grace_period: 40s, env_file: app.env, environment: {<<: *env}, command: [base]}
  web: {extends: {service: base}, command: [app], environment: [MODE=slow], volumes: ['/a:/a']}
  other: {extends: {file: common.yaml, service: x}, command: [app], stop_grace_period: 30s}
";
    let workloads = parse(text).expect("a manifest");
    let web = workloads.iter().find(|workload| workload.name == "web").expect("it is there");
    let env: Vec<String> = web.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A=1", "B=2", "LEVEL=info", "MODE=slow"]);
    assert_eq!((web.command.clone(), web.grace.as_secs()), (vec!["app".into()], 40));
    assert_eq!(web.directory.as_deref(), Some("/srv".as_ref()));
    assert_eq!(said(web), ["not rehearsed of service web: volumes"]);
    let other = workloads.iter().find(|workload| workload.name == "other").expect("it is there");
    assert_eq!(said(other), ["extends is not rehearsed"]);
    for (wrong, why) in [
        ("stop_grace_period: '${NONE:?give it}'", "service a: NONE is not set: give it"),
        ("stop_grace_period: '${NONE}'", "service a: stop_grace_period: '' is no duration"),
        ("stop_signal: '${NONE:-NO}'", "service a: stop_signal: "),
    ] {
        let refused = parse(&format!("services: {{a: {{command: [app], {wrong}}}}}")).expect_err(wrong);
        assert!(refused.starts_with(why), "{refused}");
    }
}

#[test]
fn lists_of_any_kind_and_hooks_that_begin_with_a_sleep_are_read() {
    let pod = |hook: &str| {
        let container = format!("{{command: [app], lifecycle: {{preStop: {{exec: {{command: {hook}}}}}}}}}");
        let list = format!(
            "kind: DeploymentList\nitems:\n- kind: Deployment\n  spec: {{template: {{spec: {{containers: [{container}]}}}}}}\n"
        );
        let text = format!("---\n# of a chart\n---\n{list}").replace('\n', "\r\n");
        parse(&text).expect("a manifest").swap_remove(0)
    };
    for (hook, seconds, says) in [
        ("[sleep, 1m]", 60, None),
        ("[sh, -c, 'sleep 15s; app stop']", 15, Some("of the preStop hook, only the sleep is rehearsed")),
        ("[app, stop]", 0, Some("the preStop hook is not a sleep and is not rehearsed")),
        ("[sleep, inf]", 0, Some("the preStop hook never ends by itself and is not rehearsed")),
    ] {
        let workload = pod(hook);
        assert_eq!(workload.hook.as_secs(), seconds, "{hook}");
        let said = said(&workload);
        assert!(!said.iter().any(|line| line.starts_with("not run: ")), "it is alone: {said:?}");
        let of_hook =
            said.iter().find(|line| line.contains("is rehearsed") || line.contains("is not rehearsed"));
        assert_eq!(of_hook.and_then(|line| line.split_once(": ")).map(|(line, _)| line), says, "{said:?}");
    }
}

/// One container alone is rehearsed.
#[test]
fn what_a_manifest_starts_beside_the_app_is_named() {
    let not_run = |text: &str| -> Vec<String> {
        let workloads = parse(text).expect("a manifest");
        let said = workloads.iter().flat_map(said);
        said.filter(|line| line.starts_with("not run: ")).collect()
    };
    let pod = "
kind: Pod
spec:
  initContainers: [{name: migrate, image: a}, {name: proxy, image: b, restartPolicy: Always}]
  containers: [{name: web, command: [app]}, {name: cache, command: [redis]}]
";
    assert_eq!(
        not_run(pod),
        [
            "not run: init container migrate, sidecar proxy, container cache",
            "not run: init container migrate, sidecar proxy, container web",
        ]
    );
    assert!(not_run("kind: Pod\nspec: {containers: [{name: web, command: [app]}]}\n").is_empty());
    let list = "services: {web: {command: [app], stop_grace_period: 30s, depends_on: [db, cache]}}";
    assert_eq!(not_run(list), ["not run: service db, service cache"]);
    let mapping = list.replace("[db, cache]", "{db: {condition: service_healthy}}");
    assert_eq!(not_run(&mapping), ["not run: service db"]);
}

/// More notes would hide what matters.
#[test]
fn of_the_shipped_units_only_their_sandbox_is_named() {
    let packaging = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd"));
    let named = |file: &str| -> Vec<String> {
        let text = std::fs::read_to_string(packaging.join(file)).expect("it ships");
        let mut said = said(&parse(&text).expect("a unit")[0]);
        said.retain(|line| line.starts_with("not rehearsed of "));
        said
    };
    assert_eq!(named("adieu-example.container"), Vec::<String>::new());
    assert_eq!(named("adieu-example.service"), ["not rehearsed of [Service]: DynamicUser"]);
    let sandbox = named("adieu@.service");
    assert!(sandbox.len() == 1 && sandbox[0].contains("DynamicUser, "), "{sandbox:?}");
    let harmless = ["Restart", "Notify", "Watchdog", "Timeout", "Exec"];
    assert!(!harmless.iter().any(|key| sandbox[0].contains(&format!(", {key}"))), "{sandbox:?}");
}

#[test]
fn a_kubernetes_container_has_its_variables_its_folder_and_its_signal() {
    let text = "
kind: ConfigMap
metadata: {name: common}
data: {PORT: '8080', MODE: fast}
---
kind: Secret
metadata: {name: keys}
data: {TOKEN: aHVudGVyMg==}
stringData: {USER: me}
---
kind: Pod
metadata: {name: test, annotations: {helm.sh/hook: test}}
spec: {containers: [{name: check, command: [wget, web]}]}
---
kind: Deployment
spec:
  template:
    spec:
      containers:
      - name: web
        command: [/tini, -g, --, app, $(A_PORT)]
        workingDir: /srv
        lifecycle: {stopSignal: SIGQUIT}
        envFrom: [{configMapRef: {name: common}, prefix: A_}, {secretRef: {name: keys}}]
        env:
        - {name: A_MODE, value: slow}
        - {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: TOKEN}}}
        - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
";
    let workloads = parse(text).expect("a manifest");
    assert_eq!(workloads.len(), 1, "the pod of Helm's test is not the app");
    let web = &workloads[0];
    assert_eq!(web.command, ["app", "8080"], "tini stands in front");
    let env: Vec<String> = web.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(env, ["A_PORT=8080", "TOKEN=hunter2", "USER=me", "A_MODE=slow", "KEY=hunter2"]);
    assert_eq!((web.directory.as_deref(), web.stop_signal as i32), (Some("/srv".as_ref()), 3));
    assert_eq!(
        said(web),
        ["/tini in front of the command is not rehearsed", "the value of NODE is not in the manifest"]
    );
    let wrong = text.replace("SIGQUIT", "SIGNONE");
    let why = parse(&wrong).expect_err("no such signal");
    assert!(why.contains("lifecycle.stopSignal of 'web'") && why.contains("SIGNONE"), "{why}");
}

#[test]
fn a_security_context_sets_the_user_and_the_rest_of_it_is_named() {
    let text = "
kind: Pod
spec:
  securityContext: {runAsUser: 1000, runAsGroup: 50, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
  - {name: of-the-pod, command: [app]}
  - name: its-own
    command: [app]
    securityContext: {runAsUser: 7, privileged: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
---
kind: Pod
spec:
  containers: [{name: of-the-image, command: [app], securityContext: {runAsNonRoot: true}}]
";
    let workloads = parse(text).expect("a manifest");
    let users: Vec<Option<&str>> = workloads.iter().map(|workload| workload.user.as_deref()).collect();
    assert_eq!(users, [Some("1000:50"), Some("7:50"), None]);
    assert_eq!(said(&workloads[0])[0], "not rehearsed of the securityContext: seccompProfile");
    let left_out = "readOnlyRootFilesystem, capabilities, seccompProfile";
    assert_eq!(said(&workloads[1])[0], format!("not rehearsed of the securityContext: {left_out}"));
    assert_eq!(said(&workloads[2]), ["the image's user is not known here, so it is rehearsed as you"]);
}

#[test]
fn a_compose_service_has_its_files_its_folder_and_its_user() {
    let text = "services: {web: {entrypoint: [dumb-init, --rewrite, '15:2', app], stop_grace_period: 30s, \
                working_dir: /srv, user: '1000:50', env_file: [{path: app.env}, {path: none, required: false}], \
                environment: {B: own}}}";
    let web = &parse(text).expect("a manifest")[0];
    assert_eq!(web.command, ["app"]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(web.env, [pair("A", "1"), pair("B", "2"), pair("B", "own")], "the last one counts");
    assert_eq!(web.directory.as_deref(), Some("/srv".as_ref()));
    assert_eq!(web.user.as_deref(), Some("1000:50"));
    assert_eq!(
        said(web),
        [
            "dumb-init in front of the command is not rehearsed",
            "env_file 'none' cannot be read: it is not there"
        ]
    );
    let limited = text.replace("user:", "cap_drop: [ALL], privileged: false, read_only: true, user:");
    let limited = &parse(&limited).expect("a manifest")[0];
    assert!(said(limited).iter().any(|what| what == "not rehearsed of service web: cap_drop, read_only"));
}

#[test]
fn only_the_rehearsed_service_needs_its_env_file() {
    let text = "services:\n  job: {env_file: [no.env, app.env]}\n  db: {command: [db], env_file: no.env}\n  \
                web: {command: [app], env_file: app.env, stop_grace_period: 30s}\n";
    let choose = |wanted| manifest::choose(parse(text).expect("a manifest"), wanted);
    let missing = "cannot read env_file 'no.env': it is not there";
    let web = choose(Some("web")).expect("it has its file");
    assert_eq!(web.env.len(), 2);
    assert_eq!(said(&web), ["job", "db"].map(|name| format!("service {name}: {missing}")));
    assert_eq!(choose(Some("job")), Err(format!("service job: {missing}")));
    assert_eq!(choose(None), Err(format!("service db: {missing}")), "it is the first with a command");
}

#[test]
fn a_unit_has_its_files_its_folder_its_user_and_what_runs_before() {
    let text = "[Service]\nUser=me\nGroup=us\nWorkingDirectory=-/srv\nEnvironment=A=0 C=3\n\
                EnvironmentFile=-app.env\nExecStartPre=-/bin/false x\nExecStartPre=+/bin/true\nExecStart=app\n";
    let service = &parse(text).expect("a unit")[0];
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(service.env, [pair("C", "3"), pair("A", "1"), pair("B", "2")], "a file goes over");
    assert_eq!(service.user.as_deref(), Some("me:us"));
    assert_eq!(service.directory.as_deref(), Some("/srv".as_ref()));
    let before: Vec<bool> = service.before.iter().map(|step| step.may_fail).collect();
    assert_eq!(before, [true, false]);
    assert_eq!(service.before[0].command, ["/bin/false", "x"]);
    assert_eq!(said(service), Vec::<String>::new());
}

/// systemd.service(5), "Command lines".
#[test]
fn a_unit_fills_in_its_variables_and_its_name() {
    let text = "[Service]\nEnvironment=\"OPTIONS=-v 'two words'\" NAME=%i\nEnvironmentFile=%i.env\nExecStartPre=/bin/mkdir /run/%i-${A}\n\
                ExecStart=/app $OPTIONS ${OPTIONS} x$A --a=${A} $$A 5%% %p ${NONE} $NONE ${NAME}\n";
    let service = &parse_as("app@web.service", text).expect("a unit")[0];
    assert_eq!(
        service.command,
        ["/app", "-v", "two words", "-v 'two words'", "x$A", "--a=1", "$A", "5%", "app", "", "web"]
    );
    assert_eq!(service.before[0].command, ["/bin/mkdir", "/run/web-1"]);
    assert_eq!(said(service), ["in its command, variables without a value are empty: NONE"]);
    let plain = &parse("[Service]\nExecStart=:/app $A %H %t/x\n").expect("a unit")[0];
    assert_eq!(plain.command, ["/app", "$A", "%H", "%t/x"]);
    assert_eq!(said(plain), ["not filled in: %H, %t"]);
    // The word behind the program is its own name; lines may end as on Windows.
    let named = &parse("[Service]\r\nExecStart=-@/usr/sbin/app app: \\\r\n  ; why\r\n  --port 80\r\n")
        .expect("a unit")[0];
    assert_eq!(named.command, ["/usr/sbin/app", "--port", "80"]);
    assert_eq!(
        said(named),
        ["the program is not started under the name 'app:', which @ in ExecStart gives it"]
    );
}

/// Its command is in a file that each instance brings.
#[test]
fn the_shipped_template_is_rehearsed_by_its_instance() {
    let packaging = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/systemd"));
    let text = std::fs::read_to_string(packaging.join("adieu@.service")).expect("it ships");
    let file = |name: &str| match name {
        "/etc/adieu/web.conf" => Ok("COMMAND=/usr/bin/python3 -m http.server 8080\n".to_owned()),
        _ => Err("it is not there".to_owned()),
    };
    let read = |name, given: &[(String, String)]| {
        let sources = manifest::ManifestSources { name, given, variable: &|_| None, file: &file };
        manifest::parse(&text, &sources).expect("a unit").swap_remove(0).command
    };
    assert_eq!(read("adieu@web.service", &[]), ["/usr/bin/python3", "-m", "http.server", "8080"]);
    assert_eq!(read("adieu@.service", &[("COMMAND".to_owned(), "a b".to_owned())]), ["a", "b"]);
}

#[test]
fn a_quadlet_is_understood_and_its_notes_made() {
    let text = "[Container]\nImage=web\nEntrypoint=[\"/adieu\", \"--pre-stop\", \"2s\", \"--\"]\nExec=app --port 80\n\
                StopTimeout=30\nStopSignal=SIGINT\nUser=7\nWorkingDir=/srv\nEnvironmentFile=app.env\n\
                RunInit=true\n[Service]\nTimeoutStopSec=20\n";
    let web = &parse(text).expect("a Quadlet")[0];
    assert_eq!(web.command, ["app", "--port", "80"]);
    assert_eq!(web.adieu.as_deref(), Some(&["--pre-stop".to_owned(), "2s".to_owned()][..]));
    assert_eq!((web.grace.as_secs(), web.stop_signal as i32, web.env.len()), (30, 2, 2));
    assert_eq!((web.user.as_deref(), web.directory.as_deref()), (Some("7"), Some("/srv".as_ref())));
    assert_eq!(
        said(web),
        [
            "RunInit=true adds another init in front of adieu",
            "systemd kills podman after 20s, but the container has 30s",
        ]
    );
    let by_podman =
        text.replace("StopTimeout=30\nStopSignal=SIGINT", "PodmanArgs=--stop-timeout 25 --stop-signal=QUIT");
    let by_podman = &parse(&by_podman).expect("a Quadlet")[0];
    assert_eq!((by_podman.grace.as_secs(), by_podman.stop_signal as i32), (25, 3));
    assert!(!said(by_podman).iter().any(|what| what.contains("PodmanArgs")), "{:?}", said(by_podman));
    // An env file may set --stop-on; without one, it is known that nothing sets it.
    let alone = &parse(&text.replace("EnvironmentFile=app.env\n", "")).expect("a Quadlet")[0];
    let asks = "the platform stops with INT, which is no stop request for adieu";
    assert!(said(alone).iter().any(|what| what == asks), "{:?}", said(alone));
    let own = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/systemd");
    let text = std::fs::read_to_string(own.join("adieu-example.container")).expect("an example");
    let example = &parse(&text).expect("a Quadlet")[0];
    assert!(example.adieu.is_some() && example.grace.as_secs() == 30, "{example:?}");
    assert_eq!(said(example), Vec::<String>::new(), "what is shipped fits");
}
