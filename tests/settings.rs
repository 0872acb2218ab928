//! What was typed and what is meant by it, seen from outside: flags over variables over the file
//! over the platform over defaults, one clear line for everything that is wrong, and the options of
//! tini and dumb-init.

mod harness;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use harness::{End, Init, Launch, Scratch};

fn adieu(options: &str) -> Launch {
    Launch::program(&Init::Adieu.path()).options(options)
}

/// `--check`'s settings, each with its value and its origin.
fn check(launch: Launch) -> HashMap<String, (String, String)> {
    let (end, out, err) = launch.option("--check").option("--").command(["/bin/true"]).run();
    assert_eq!((end, &err), (End::Exited(0), &Vec::new()), "{out:?}");
    let table = out.iter().skip_while(|line| !line.is_empty()).skip(1).take_while(|line| !line.is_empty());
    let columns = |line: &String| {
        let mut words = line.split("  ").map(str::trim).filter(|word| !word.is_empty()).map(str::to_string);
        let [name, value, origin] = std::array::from_fn(|_| words.next().unwrap_or_default());
        (name, (value, origin))
    };
    table.map(columns).collect()
}

fn shows(shown: &HashMap<String, (String, String)>, name: &str, value: &str, origin: &str) {
    let (seen, from) = shown.get(name).unwrap_or_else(|| panic!("no {name} in {shown:?}"));
    assert_eq!((seen.as_str(), from.as_str()), (value, origin), "{name}");
}

/// The one line of a refusal.
fn refusal(launch: Launch) -> String {
    let (end, out, err) = launch.option("--").command(["/bin/echo", "started"]).run();
    assert_eq!((end, out), (End::Exited(125), Vec::new()), "{err:?}");
    assert_eq!(err.len(), 1, "one line: {err:?}");
    assert!(err[0].starts_with("adieu: "), "{err:?}");
    err[0].clone()
}

#[test]
fn flag_beats_variable_beats_file_beats_platform_beats_default() {
    let scratch = Scratch::new();
    let file = scratch.file("adieu.toml", "[log]\nlevel = \"info\"\n[stop]\ngrace = \"21s\"\n");
    let origin = format!("file {}:4", file.display());
    shows(&check(adieu("--platform none")), "grace", "30s", "default");
    let fly = || adieu("").env("FLY_APP_NAME", "shop");
    shows(&check(fly()), "grace", "5s", "platform fly");
    let with_file = || fly().env("ADIEU_CONFIG", &file);
    shows(&check(with_file()), "grace", "21s", &origin);
    let with_variable = || with_file().env("ADIEU_GRACE", "22s");
    shows(&check(with_variable()), "grace", "22s", "variable ADIEU_GRACE");
    shows(&check(with_variable().options("--grace 23s")), "grace", "23s", "flag --grace");
    // The last flag counts, and a flag's file beats a variable's.
    shows(&check(with_variable().options("--grace 23s --grace=24s")), "grace", "24s", "flag --grace");
    let other = scratch.file("other.toml", "stop.grace = 25\n");
    let shown = check(with_file().option("--config").option(&other));
    shows(&shown, "grace", "25s", &format!("file {}:1", other.display()));
}

#[test]
fn the_default_file_is_read_if_it_exists() {
    require!(harness::pid_namespaces());
    require!(harness::root());
    let scratch = Scratch::new();
    scratch.file("adieu.toml", "stop.grace = \"33s\"\n");
    let folder = std::ffi::CString::new(scratch.path("").as_os_str().as_bytes()).expect("no NUL");
    let launch = adieu("").in_namespace().before_exec(move || {
        use nix::mount::{MsFlags, mount};
        Ok(mount(Some(folder.as_c_str()), c"/etc", None::<&str>, MsFlags::MS_BIND, None::<&str>)?)
    });
    shows(&check(launch), "grace", "33s", "file /etc/adieu.toml:1");
}

#[test]
fn platforms_are_known_by_what_they_set() {
    let platforms = [
        ("KUBERNETES_SERVICE_HOST", "10.0.0.1", "kubernetes", "30s", "5s"),
        ("ECS_CONTAINER_METADATA_URI_V4", "http://169.254.170.2/v4/x", "ecs", "30s", "5s"),
        ("K_SERVICE", "shop", "cloud-run", "10s", "0s"),
        ("NOMAD_ALLOC_ID", "x", "nomad", "5s", "1.666s"),
        ("FLY_APP_NAME", "shop", "fly", "5s", "1.666s"),
        ("DYNO", "web.1", "heroku", "30s", "5s"),
        ("container", "podman", "docker", "10s", "3.333s"),
    ];
    for (name, value, platform, grace, pre_stop) in platforms {
        for shown in [check(adieu("").env(name, value)), check(adieu("--platform").option(platform))] {
            assert_eq!(shown["platform"].0, platform);
            shows(&shown, "grace", grace, &format!("platform {platform}"));
            assert_eq!(shown["pre-stop"].0, pre_stop, "{platform}");
        }
    }
    let shown = check(adieu("--platform systemd"));
    shows(&shown, "grace", "1m30s", "platform systemd");
    assert_eq!(shown["pre-stop"].0, "0s");
}

#[test]
fn systemd_is_known_by_its_naming_this_process() {
    let check_as = |pid: &str| {
        let adieu = Init::Adieu.path();
        let script = format!("SYSTEMD_EXEC_PID={pid} exec {} --check -- /bin/true", adieu.display());
        let (end, out, _) = Launch::program(Path::new("/bin/sh")).command(["-c", &script]).run();
        assert_eq!(end, End::Exited(0));
        out.join("\n")
    };
    assert!(check_as("$$").contains("platform systemd"));
    assert!(!check_as("1").contains("platform systemd"));
}

#[test]
fn defaults_fit_a_short_grace_and_explicit_values_are_kept() {
    let shown = check(adieu("--platform none --grace 6s"));
    shows(&shown, "pre-stop", "2s", "default");
    shows(&shown, "kill-margin", "600ms", "default");
    let shown =
        check(adieu("--platform none --grace 6s --pre-stop 4s --kill-margin 1500ms --leftovers 250ms"));
    shows(&shown, "pre-stop", "4s", "flag --pre-stop");
    shows(&shown, "kill-margin", "1.5s", "flag --kill-margin");
    shows(&shown, "leftovers", "250ms", "flag --leftovers");
}

#[test]
fn check_starts_nothing_and_shows_the_stop() {
    let scratch = Scratch::new();
    let touched = scratch.path("touched");
    let launch = adieu("--check --platform none --grace 20s --stop QUIT/3s/TERM --")
        .arg("/usr/bin/touch")
        .arg(&touched);
    let (end, out, err) = launch.run();
    assert_eq!((end, err), (End::Exited(0), Vec::new()));
    assert!(!touched.exists());
    let page = out.join("\n");
    let mut at = page.find("requests a stop").expect("a timeline");
    for part in ["0s  pre-stop", "5s  draining", "QUIT/3s/TERM", "19s  killing", "20s  the platform kills"] {
        let found =
            page[at..].find(part).unwrap_or_else(|| panic!("no '{part}' after the others in:\n{page}"));
        at += found;
    }
}

#[test]
fn what_does_not_fit_names_both_and_their_places() {
    let line = refusal(adieu("--grace 10s --pre-stop 9s --kill-margin 1s"));
    for part in ["pre-stop 9s", "--pre-stop", "grace 10s", "--grace"] {
        assert!(line.contains(part), "no '{part}' in: {line}");
    }
    let scratch = Scratch::new();
    let file = scratch.file("adieu.toml", "[stop]\ngrace = \"8s\"\n");
    let line = refusal(adieu("").env("ADIEU_CONFIG", &file).env("ADIEU_PRE_STOP", "12s"));
    for part in ["pre-stop 12s", "ADIEU_PRE_STOP", "grace 8s", &format!("{}:2", file.display())] {
        assert!(line.contains(part), "no '{part}' in: {line}");
    }
    for (options, part) in [
        ("--grace 5s --kill-margin 5s", "kill-margin"),
        ("--grace 0", "--grace"),
        ("--grace 10s --pre-stop 2s --drain-timeout 20s", "drain-timeout"),
        ("--grace 10s --pre-stop 2s --stop TERM/20s/INT", "--stop"),
    ] {
        let line = refusal(adieu(options));
        assert!(line.contains(part), "no '{part}' in: {line}");
    }
    // One short of the limit fits.
    check(adieu("--grace 10s --pre-stop 8999ms --kill-margin 1s --drain off"));
}

#[test]
fn a_wrong_flag_says_what_would_be_right() {
    for (options, parts) in [
        ("--grce 5s", &["--grce", "--grace"][..]),
        ("--grace 5x", &["--grace", "5x", "5s"]),
        ("--grace=-1", &["--grace", "-1"]),
        ("--stop-once=yes", &["--stop-once"]),
        ("--stop TERM/5s", &["TERM/5s", "QUIT/20s/TERM"]),
        ("--stop NOSUCH", &["NOSUCH"]),
        ("--stop-on KILL", &["KILL"]),
        ("--stop-on CHLD", &["CHLD"]),
        ("--rewrite USR1", &["USR1", "FROM:TO"]),
        ("--rewrite KILL:TERM", &["KILL"]),
        ("--platform moon", &["moon", "kubernetes"]),
        ("--profile emacs", &["emacs", "nginx"]),
        ("--success-exit 256", &["256", "255"]),
        ("--exit-signal sometimes", &["sometimes", "always", "never", "auto"]),
        ("--log-format xml", &["xml", "json"]),
        ("--log-level loud", &["loud", "debug"]),
        ("--orphan-signal NOPE", &["NOPE"]),
        ("--health nowhere", &["nowhere", "8086"]),
        ("--ready ftp://x", &["ftp://x", "http://"]),
        ("--drain-port 0", &["0", "65535"]),
        ("-Q", &["-Q"]),
    ] {
        let line = refusal(adieu(options));
        for part in parts {
            assert!(line.contains(part), "{options}: no '{part}' in: {line}");
        }
    }
}

/// tini and dumb-init refuse these, too.
#[test]
fn an_empty_value_is_refused() {
    for (option, value) in [("-r", ""), ("-e", ""), ("--stop-on", ","), ("--report", ""), ("--config", "")] {
        let line = refusal(adieu("").option(option).option(value));
        assert!(line.contains("needs a value"), "{option} {value:?}: {line}");
    }
    assert!(refusal(adieu("").env("ADIEU_STOP_ON", " , ")).contains("ADIEU_STOP_ON"));
    let scratch = Scratch::new();
    for text in ["log.report = \"\"\n", "signals.rewrite = \"\"\n", "stop.on = \"\"\n"] {
        let file = scratch.file("adieu.toml", text);
        let line = refusal(adieu("--config").option(&file));
        assert!(line.contains("adieu.toml:1: "), "{text}: {line}");
    }
    // A variable without a value is how a manifest takes one back.
    shows(&check(adieu("--platform none").env("ADIEU_GRACE", "")), "grace", "30s", "default");
}

#[test]
fn check_shows_every_setting_with_its_origin() {
    let options = "--platform none --on-stop exec:true --rewrite 1:15 --rewrite 2:0 --report r.json -g -vv";
    let shown = check(adieu(options).env("ADIEU_STOP_ONCE", "yes").env("ADIEU_DRAIN", "OFF"));
    for setting in adieu::settings::list::LIST.iter().filter(|setting| setting.key.is_some()) {
        let (value, origin) = shown.get(setting.long).unwrap_or_else(|| panic!("no {}", setting.long));
        assert!(!value.is_empty() && !origin.is_empty(), "{}: {value} {origin}", setting.long);
    }
    shows(&shown, "on-stop", "exec:true", "flag --on-stop");
    shows(&shown, "rewrite", "1:15, 2:0", "flag --rewrite");
    shows(&shown, "group", "true", "flag --group");
    shows(&shown, "stop-once", "true", "variable ADIEU_STOP_ONCE");
    shows(&shown, "drain", "OFF", "variable ADIEU_DRAIN");
    shows(&shown, "log-level", "trace", "flag --verbose");
    shows(&shown, "success-exit", "-", "default");
    shows(&shown, "drain-longest", "10s", "default");
}

#[test]
fn a_wrong_variable_says_what_would_be_right() {
    for (name, value, parts) in [
        ("ADIEU_GRCE", &b"5s"[..], &["ADIEU_GRCE", "ADIEU_GRACE"][..]),
        ("ADIEU_GRACE", b"soon", &["ADIEU_GRACE", "soon", "5s"]),
        ("ADIEU_GRACE", b"\xff\xfe", &["ADIEU_GRACE"]),
        ("ADIEU_STOP_ONCE", b"maybe", &["ADIEU_STOP_ONCE", "maybe", "true"]),
        ("ADIEU_CONFIG", b"/nowhere/adieu.toml", &["/nowhere/adieu.toml", "no such file"]),
    ] {
        let line = refusal(adieu("").env(name, OsStr::from_bytes(value)));
        for part in parts {
            assert!(line.contains(part), "{name}: no '{part}' in: {line}");
        }
    }
}

#[test]
fn a_wrong_line_of_the_file_is_named() {
    let scratch = Scratch::new();
    for (text, line, parts) in [
        ("[stop]\ngrace = \"20s\"\npre-stopp = 3\n", 3, &["stop.pre-stopp", "stop.pre-stop"][..]),
        ("\n\n[stopp]\ngrace = 3\n", 4, &["stopp.grace", "stop.grace"]),
        ("[stop]\ngrace = \"soon\"\n", 2, &["stop.grace", "soon", "5s"]),
        ("[stop]\n\ngrace = [1]\n", 3, &["grace"]),
        ("[stop]\ngrace = \n", 2, &[]),
        ("[stop]\ngrace = 5\ngrace = 6\n", 3, &["duplicate"]),
        ("[stop]\nonce = \"maybe\"\n", 2, &["stop.once", "maybe"]),
        ("[stop]\n# a comment\non = [\"TERM\",\n  \"NOSUCH\"]\n", 4, &["NOSUCH"]),
    ] {
        let file = scratch.file("adieu.toml", text);
        let message = refusal(adieu("--config").option(&file));
        let place = format!("{}:{line}: ", file.display());
        assert!(message.contains(&place), "no '{place}' in: {message}");
        for part in parts {
            assert!(message.contains(part), "no '{part}' in: {message}");
        }
    }
    std::fs::write(scratch.path("bytes.toml"), b"[stop]\ngrace = \"\xff\"\n").expect("one's own file");
    assert!(refusal(adieu("--config").option(scratch.path("bytes.toml"))).contains("bytes.toml"));
}

#[test]
fn the_file_can_say_all_that_flags_can() {
    let scratch = Scratch::new();
    let text = "profile = \"none\"\nplatform = \"none\"\n[stop]\ngrace = 40\npre-stop = \"1m0.5s\"\non = [\"TERM\", \"HUP\"]\n\
                schedule = \"QUIT/2s/TERM\"\nonce = true\n[signals]\nrewrite = [\"USR1:HUP\"]\ngroup = true\n[exit]\nsuccess = [3, 4]\n";
    let file = scratch.file("adieu.toml", &text.replace("1m0.5s", "20.5s"));
    let shown = check(adieu("--config").option(&file));
    let place = |line: u32| format!("file {}:{line}", file.display());
    shows(&shown, "grace", "40s", &place(4));
    shows(&shown, "pre-stop", "20.5s", &place(5));
    shows(&shown, "stop", "QUIT/2s/TERM", &place(7));
    assert!(shown["stop-on"].0.contains("TERM") && shown["stop-on"].0.contains("HUP"), "{shown:?}");
    for status in [3, 4] {
        let script = format!("exit {status}");
        let (end, _, err) =
            adieu("--config").option(&file).option("--").command(["/bin/sh", "-c", &script]).run();
        assert_eq!((end, err), (End::Exited(0), Vec::new()));
    }
}

/// The kubelet sets such variables for every service of the namespace, also for one that is called
/// adieu.
#[test]
fn variables_of_a_service_called_adieu_are_not_settings() {
    let launch = adieu("")
        .env("ADIEU_SERVICE_HOST", "10.0.0.1")
        .env("ADIEU_SERVICE_PORT", "80")
        .env("ADIEU_PORT", "tcp://10.0.0.1:80")
        .env("ADIEU_PORT_80_TCP", "tcp://10.0.0.1:80")
        .env("ADIEU_PORT_80_TCP_ADDR", "10.0.0.1");
    check(launch);
}

#[test]
fn options_end_at_the_command() {
    let (end, out, err) = adieu("").command(["/bin/echo", "--grace", "never", "-e", "--", "x"]).run();
    assert_eq!((end, err), (End::Exited(0), Vec::new()));
    assert_eq!(out, ["--grace never -e -- x"]);
    let (end, out, _) = Launch::program(&Init::Adieu.path()).arg("/bin/echo").arg("--no-such-option").run();
    assert_eq!((end, out), (End::Exited(0), vec!["--no-such-option".to_string()]));
    let (end, _, err) = adieu("--").arg("--grace").arg("5s").run();
    assert_eq!(end, End::Exited(127), "{err:?}");
}

#[test]
fn tinis_short_options_mean_what_they_mean_there() {
    for options in
        ["-s", "-g", "-v", "-w", "-vvv", "-gs", "-e 0", "-e 143 -e 1", "-p SIGTERM", "-sgvw", "-e143"]
    {
        let (end, out, err) = adieu(options).option("--").command(["/bin/echo", "hello"]).run();
        assert_eq!((end, out), (End::Exited(0), vec!["hello".to_string()]), "{options}: {err:?}");
    }
    for option in ["-h", "-l", "--version", "-V", "--help", "--license"] {
        let (end, out, err) = adieu(option).run();
        assert_eq!((end, err), (End::Exited(0), Vec::new()), "{option}");
        assert!(!out.is_empty(), "{option}");
    }
}

#[test]
fn tinis_variables_mean_what_they_mean_there() {
    let with = |name: &str, value: &str| adieu("--platform none").env(name, value);
    shows(&check(with("TINI_KILL_PROCESS_GROUP", "")), "group", "true", "variable TINI_KILL_PROCESS_GROUP");
    for (verbosity, level) in [("0", "error"), ("1", "warn"), ("2", "info"), ("3", "debug"), ("9", "trace")] {
        let shown = check(with("TINI_VERBOSITY", verbosity));
        shows(&shown, "log-level", level, "variable TINI_VERBOSITY");
    }
    check(with("TINI_SUBREAPER", ""));
    // adieu's own variables and flags go above them.
    let both = with("TINI_KILL_PROCESS_GROUP", "1").env("ADIEU_GROUP", "no");
    shows(&check(both), "group", "false", "variable ADIEU_GROUP");
    let both = with("TINI_VERBOSITY", "0").options("--log-level trace");
    shows(&check(both), "log-level", "trace", "flag --log-level");
}

#[test]
fn dumb_inits_options_mean_what_they_mean_there() {
    for options in
        ["-c", "-r 15:3", "--rewrite 15:3", "--single-child", "-v", "--verbose", "-c -r 1:15 -r 2:0"]
    {
        let (end, out, err) = adieu(options).option("--").command(["/bin/echo", "hello"]).run();
        assert_eq!((end, out), (End::Exited(0), vec!["hello".to_string()]), "{options}: {err:?}");
    }
}

#[test]
fn help_never_fails_and_names_every_option() {
    let (end, out, err) = adieu("--help").env("ADIEU_CONFIG", "/nowhere").env("ADIEU_TYPO", "1").run();
    assert_eq!((end, err), (End::Exited(0), Vec::new()));
    let page = out.join("\n");
    for option in
        ["--grace", "--pre-stop", "--stop-on", "--rewrite", "--success-on-stop", "--check", "--health"]
    {
        assert!(page.contains(option), "{option}");
    }
}

/// What `docker run --init` and `podman run --init` expect under these names.
#[test]
fn it_works_as_docker_init_and_as_init() {
    require!(harness::pid_namespaces());
    let scratch = Scratch::new();
    for name in ["docker-init", "init", "catatonit", "tini"] {
        symlink(Init::Adieu.path(), scratch.path(name)).expect("a new name");
        let launch =
            Launch::program(&scratch.path(name)).option("--").command([harness::probe()]).in_namespace();
        let mut run = launch.start();
        run.expect("ready");
        run.signal(libc::SIGUSR1);
        run.expect_signal("USR1");
        run.say("exit 4");
        run.expect_exit(4);
    }
}
