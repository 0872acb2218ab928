//! Settings as a whole: words and variables in, what adieu will do out. What a user sees of them
//! is in tests/settings.rs.

use super::*;
use crate::lifecycle::Schedule;
use values::show_schedule;

/// Variables, and files with their texts.
#[derive(Clone, Copy, Default)]
struct Around<'a> {
    variables: &'a [(&'a str, &'a str)],
    texts: &'a [(&'a str, &'a str)],
}

impl Around<'_> {
    fn task(self, words: &str) -> Result<Task, Refusal> {
        let find = |from: &[(&str, &str)], name: &str| {
            from.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let environment = self.variables.iter().map(|(name, value)| (name.into(), value.into()));
        let around = Surroundings {
            variable: &|name| find(self.variables, name),
            exists: &|_| false,
            texts: &|path| find(self.texts, path).into_iter().collect(),
            pid: 7,
        };
        task(words.split_whitespace().map(OsString::from), environment, &around)
    }

    /// Those of `--check`, which alone are shown.
    fn settings(self, words: &str) -> Settings {
        match self.task(&format!("--check {words}")) {
            Ok(Task::Check(settings)) => *settings,
            Ok(_) => panic!("{words}: another task"),
            Err(refusal) => panic!("{words}: {refusal}"),
        }
    }
}

fn with<'a>(variables: &'a [(&'a str, &'a str)]) -> Around<'a> {
    Around { variables, texts: &[] }
}

/// Of an app without any default but adieu's own.
fn settings(words: &str) -> Settings {
    with(&[]).settings(&format!("--platform none {words} -- app"))
}

fn refusal(words: &str) -> String {
    match with(&[]).task(words) {
        Ok(_) => panic!("{words}: accepted"),
        Err(refusal) => refusal.to_string(),
    }
}

fn wait(words: &str) -> WaitSettings {
    match with(&[]).task(&format!("--wait {words}")) {
        Ok(Task::Wait(settings)) => *settings,
        Ok(_) => panic!("{words}: another task"),
        Err(refusal) => panic!("{words}: {refusal}"),
    }
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn shown<'a>(settings: &'a Settings, name: &str) -> (&'a str, String) {
    let (_, value, origin) = settings.shown.iter().find(|(long, ..)| *long == name).expect("a setting");
    (value, origin.to_string())
}

#[test]
fn what_is_not_set_follows_from_the_grace() {
    for (words, pre_stop, drain, kill_margin, hook, spread) in [
        ("", 5000, 15_000, 1000, 10_000, 2000),
        ("--grace 6s", 2000, 2000, 600, 2000, 666),
        ("--grace 9s", 3000, 3000, 900, 3000, 1000),
        // Half of what is left for drain and stop, where the pre-stop sleep takes two thirds.
        ("--pre-stop 20s", 20_000, 4500, 1000, 10_000, 1500),
        ("--drain-timeout 3s", 5000, 3000, 1000, 10_000, 1000),
    ] {
        let settings = settings(words);
        let plan = &settings.plan;
        assert_eq!(plan.pre_stop, ms(pre_stop), "{words}");
        assert_eq!(plan.drain, Some(ms(drain)), "{words}");
        assert_eq!(plan.kill_margin, ms(kill_margin), "{words}");
        assert_eq!(settings.hooks.timeout, ms(hook), "{words}");
        assert_eq!(settings.drain.close.spread.as_millis(), u128::from(spread as u32), "{words}");
    }
}

#[test]
fn times_that_do_not_fit_into_one_another_are_refused() {
    for (fits, does_not) in [
        ("--grace 10s --pre-stop 0 --kill-margin 9999ms", "--grace 10s --pre-stop 0 --kill-margin 10s"),
        ("--grace 10s --pre-stop 8999ms", "--grace 10s --pre-stop 9s"),
        ("--grace 10s --pre-stop 4s --drain-timeout 4999ms", "--grace 10s --pre-stop 4s --drain-timeout 5s"),
        ("--grace 10s --drain-timeout 9s --drain off", "--grace 10s --drain-timeout 9s"),
        ("--grace 10s --pre-stop 4s --stop TERM/4999ms/INT", "--grace 10s --pre-stop 4s --stop TERM/5s/INT"),
        ("--stop TERM/5s/INT/60s/QUIT", "--grace 30s --stop TERM/5s/INT/60s/QUIT"),
        ("--grace 10s --stop TERM/kill-9s/INT", "--grace 10s --stop TERM/3s/INT/3s/QUIT"),
        ("--grace 1ms", "--grace 0"),
    ] {
        settings(fits);
        refusal(&format!("--platform none {does_not} -- app"));
    }
    // A default is shortened, not refused.
    assert_eq!(settings("--grace 3s --pre-stop 2699ms").plan.drain, Some(Duration::from_micros(500)));
    let line = refusal("--platform none --grace 10s --pre-stop 4s --kill-margin 2s --drain-timeout 5s app");
    assert!(line.contains("kills 4s after the end of the pre-stop sleep of 4s"), "{line}");
    let line = refusal("--platform none --grace 10s --pre-stop 9s --kill-margin 2s app");
    assert!(line.contains("kills after 8s, 2s before the grace ends"), "{line}");
    let line = refusal("--platform none --grace 10s --pre-stop 4s --stop TERM/7s/INT app");
    assert!(line.contains("only 5s are left"), "{line}");
}

#[test]
fn a_wait_leaves_the_reserve_to_the_app() {
    for (words, pre_stop, until, spread) in [
        ("--platform none", 5000, 25_000, 2000),
        ("--platform none --grace 6s", 1333, 4000, 888),
        ("--platform none --reserve 10s", 5000, 20_000, 2000),
        ("--platform none --drain-timeout 3s", 5000, 8000, 1000),
        ("--platform none --drain-timeout 60s", 5000, 25_000, 2000),
        ("--platform none --pre-stop 24999ms", 24_999, 25_000, 0),
        ("--platform cloud-run", 0, 6666, 2000),
    ] {
        let wait = wait(words);
        let seen = [wait.pre_stop, wait.until, wait.drain.close.spread].map(|time| time.as_millis() as u64);
        assert_eq!(seen, [pre_stop, until, spread], "{words}");
    }
    for words in ["--reserve 30s", "--pre-stop 25s", "app"] {
        refusal(&format!("--wait --platform none {words}"));
    }
    let line = refusal("--wait --platform none --pre-stop 25s");
    assert!(line.contains("has to end after 25s"), "{line}");
    assert_eq!(wait("--health 127.0.0.1:8086").own_ports, [8086]);
    let on_fly = with(&[("FLY_APP_NAME", "shop")]).task("--wait");
    assert!(matches!(on_fly, Ok(Task::Wait(wait)) if wait.until < Duration::from_secs(5)));
}

#[test]
fn the_plan_has_what_was_set() {
    let plan = settings("--leftovers 7s --stop-once --stop-on INT,HUP --rewrite USR1:0,USR2:HUP").plan;
    assert_eq!(plan.leftovers, ms(7000));
    assert!(plan.stop_once && !plan.awaits_ready);
    assert_eq!(plan.stop_on.iter().collect::<Vec<_>>(), [Signal::HUP, Signal::INT]);
    assert_eq!(plan.rewrites.apply(Signal::USR1), None);
    assert_eq!(plan.rewrites.apply(Signal::USR2), Some(Signal::HUP));
    assert!(settings("--ready tcp://127.0.0.1:80").plan.awaits_ready);
    assert_eq!(settings("").plan.leftovers, ms(2000));
    assert_eq!(settings("--drain off").plan.drain, None);
    assert!(settings("--drain off --drain-check exec:true").plan.drain.is_some());
    assert!(settings("--drain-check exec:true").plan.drain.is_some());
}

#[test]
fn hooks_of_one_point_share_no_time() {
    let plan = settings("").plan;
    assert_eq!((plan.stop_hooks, plan.exit_hooks), (None, None));
    let settings = settings("--on-stop exec:a --on-stop exec:b --on-exit exec:c --hook-timeout 3s");
    assert_eq!(settings.plan.stop_hooks, Some(ms(6000)));
    assert_eq!(settings.plan.exit_hooks, Some(ms(3000)));
    assert_eq!((settings.hooks.on_stop.len(), settings.hooks.on_exit.len()), (2, 1));
    for target in ["tcp://127.0.0.1:80", "notify"] {
        assert!(refusal(&format!("--on-start {target} app")).contains("is no hook"));
    }
}

#[test]
fn what_stops_the_app_and_asks_for_it_depends_on_the_platform_and_the_program() {
    let of = |variables: &[(&str, &str)], words: &str| {
        let settings = with(variables).settings(words);
        let asks = shown(&settings, "stop-on");
        (show_schedule(&settings.plan.schedule), format!("{}; {}", asks.0, asks.1))
    };
    let plain = show_schedule(&Schedule::AsAsked);
    for (variables, words, schedule, asks) in [
        (&[][..], "app", plain.as_str(), "TERM; default"),
        (&[], "nginx", "QUIT/kill-1s/TERM", "QUIT, TERM; program nginx"),
        (&[], "--profile none nginx", plain.as_str(), "TERM; default"),
        (&[], "--profile nginx app", "QUIT/kill-1s/TERM", "QUIT, TERM; flag --profile"),
        (&[], "--stop-on HUP nginx", "QUIT/kill-1s/TERM", "HUP; flag --stop-on"),
        (&[], "--stop HUP nginx", "HUP", "QUIT, TERM; program nginx"),
        (&[("NOMAD_ALLOC_ID", "x")], "app", plain.as_str(), "INT, TERM; platform nomad"),
        (&[("NOMAD_ALLOC_ID", "x")], "pgdog", "INT", "INT, TERM; program pgdog"),
        // Heroku signals every process by itself; who names a program knows better.
        (&[("DYNO", "web.1")], "nginx", "none", "QUIT, TERM; program nginx"),
        (&[("DYNO", "web.1")], "--profile nginx app", "QUIT/kill-1s/TERM", "QUIT, TERM; flag --profile"),
    ] {
        assert_eq!(of(variables, words), (schedule.to_owned(), asks.to_owned()), "{words} {variables:?}");
    }
    assert!(settings("").plan.schedule == Schedule::AsAsked && !settings("").plan.stop_once);
    let pgbouncer = with(&[]).settings("pgbouncer");
    assert!(pgbouncer.plan.stop_once);
    assert_eq!(shown(&pgbouncer, "stop-once"), ("true", "program pgbouncer".to_owned()));
    assert!(!with(&[("ADIEU_STOP_ONCE", "no")]).settings("pgbouncer").plan.stop_once);
    assert_eq!(shown(&with(&[]).settings("nginx"), "stop-once"), ("false", "default".to_owned()));
}

#[test]
fn a_program_gets_what_it_lacks_or_a_warning() {
    let uwsgi = with(&[]).settings("uwsgi").app_variable().expect("a variable");
    assert!(uwsgi.to_bytes().starts_with(b"UWSGI_HOOK_MASTER_START=unix_signal:2 "), "{uwsgi:?}");
    assert!(with(&[("UWSGI_HOOK_MASTER_START", "x")]).settings("uwsgi").app_variable().is_none());
    assert!(settings("").app_variable().is_none());
    let warnings = |texts, words: &str| Around { variables: &[], texts }.settings(words).warnings.len();
    assert_eq!(warnings(&[], "php-fpm"), 1);
    assert_eq!(warnings(&[], "php-fpm -d process_control_timeout=20"), 0);
    assert_eq!(warnings(&[("/etc/php", "[global]\n  process_control_timeout = 20s\n")], "php-fpm"), 0);
    assert_eq!(warnings(&[("/etc/php", ";process_control_timeout = 0\n")], "php-fpm"), 1);
    assert_eq!(warnings(&[("/etc/other", "process_control_timeout = 20s\n")], "php-fpm"), 1);
    assert_eq!(warnings(&[], "nginx"), 0);
}

#[test]
fn signals_go_to_the_app_or_to_its_group() {
    for (words, group, parent_death, orphan) in [
        ("", false, None, Some(Signal::KILL)),
        ("-g", true, None, Some(Signal::KILL)),
        ("-g -c", false, None, Some(Signal::KILL)),
        ("-c", false, None, Some(Signal::KILL)),
        ("-p HUP --orphan-signal none", false, Some(Signal::HUP), None),
        ("--orphan-signal TERM", false, None, Some(Signal::TERM)),
    ] {
        let signals = settings(words).signals;
        assert_eq!((signals.group, signals.parent_death, signals.orphan), (group, parent_death, orphan));
    }
}

#[test]
fn adieu_dies_of_the_apps_signal_where_systemd_itself_started_it() {
    let dies = |variables: &[(&str, &str)], words: &str| with(variables).settings(words).exit.die_of_signal;
    let by_systemd = &[("SYSTEMD_EXEC_PID", "7")][..];
    assert!(dies(by_systemd, "app"));
    assert!(!dies(by_systemd, "--exit-signal never app"));
    assert!(!dies(by_systemd, "--platform docker app"));
    assert!(!dies(&[], "--platform systemd app"), "a wrapper of the unit's main process");
    assert!(!dies(&[], "app"));
    assert!(dies(&[], "--exit-signal always app"));
    let exit = settings("-e 3 -e 4,5 --success-on-stop 143").exit;
    assert_eq!((exit.success, exit.success_on_stop), (vec![3, 4, 5], vec![143]));
}

#[test]
fn readiness_has_what_was_set() {
    let ready = settings("--health :8086 --ready notify --ready exec:true --ready-file ready").ready;
    assert_eq!(ready.health, Some("0.0.0.0:8086".parse().expect("an address")));
    assert_eq!(ready.checks, [Target::Notify, Target::Exec(vec!["true".into()])]);
    assert_eq!(ready.file, Some(std::env::current_dir().expect("a folder").join("ready")));
    let none = settings("").ready;
    assert!(none.health.is_none() && none.checks.is_empty() && none.file.is_none());
    let settings = settings("--health :8086");
    assert_eq!(shown(&settings, "health"), ("0.0.0.0:8086", "flag --health".to_owned()));
}

#[test]
fn the_drain_has_what_was_set() {
    let drain =
        settings("--drain-port 80,81 --drain-outbound 5432 --drain-quiet 2s --drain-longest 3s").drain;
    assert!(drain.on);
    assert_eq!((drain.ports, drain.outbound), (vec![80, 81], vec![5432]));
    assert_eq!((drain.quiet, drain.longest), (ms(2000), ms(3000)));
    let usual = settings("").drain;
    assert_eq!((usual.quiet, usual.longest), (ms(1000), ms(10_000)));
    assert!(!settings("--drain off").drain.on);
    let check = settings("--drain-check exec:true").drain.check;
    assert_eq!(check, Some(Target::Exec(vec!["true".into()])));
    assert!(refusal("--drain-check tcp://127.0.0.1:80 app").contains("cannot tell"));
}

#[test]
fn connections_are_closed_where_a_port_speaks_http() {
    for (words, on, ports, only_these) in [
        ("", true, &[][..], false),
        ("--close-connections auto", true, &[], false),
        ("--close-connections off", false, &[], false),
        ("--close-connections 80,443", true, &[80, 443], true),
        ("--ready http://127.0.0.1:8080/ --ready tcp://127.0.0.1:81", true, &[8080], false),
        ("--ready http://127.0.0.1:8080/ --close-connections 80", true, &[80], true),
    ] {
        let close = settings(words).drain.close;
        assert_eq!((close.on, close.ports.as_slice(), close.only_these), (on, ports, only_these), "{words}");
    }
    for words in ["auto,80", "80,off", "off,auto"] {
        assert!(refusal(&format!("--close-connections {words} app")).contains("stand alone"), "{words}");
    }
}

#[test]
fn the_log_is_as_loud_as_the_loudest_word_says() {
    let filter = |variables: &[(&str, &str)], words: &str| {
        let settings = with(variables).settings(words);
        let (value, origin) = shown(&settings, "log-level");
        assert_eq!(value, settings.log.filter);
        (settings.log.filter.clone(), origin)
    };
    let rust_log = &[("RUST_LOG", "adieu=debug")][..];
    for (variables, words, level, origin) in [
        (&[][..], "app", "info", "default"),
        (&[], "-v app", "debug", "flag --verbose"),
        (&[], "-vv app", "trace", "flag --verbose"),
        (&[], "-v --log-level warn app", "debug", "flag --verbose"),
        (&[], "--log-level warn app", "warn", "flag --log-level"),
        (rust_log, "app", "adieu=debug", "variable RUST_LOG"),
        (rust_log, "--log-level warn app", "warn", "flag --log-level"),
        (&[("RUST_LOG", "")], "app", "info", "default"),
    ] {
        assert_eq!(filter(variables, words), (level.to_owned(), origin.to_owned()), "{words}");
    }
    let log = settings("--log-format json -w").log;
    assert!(log.json && log.warn_on_reap);
    let log = settings("").log;
    assert!(!log.json && !log.warn_on_reap);
}

#[test]
fn secrets_are_not_published() {
    let words = "--on-stop http://127.0.0.1/?token=x --drain-check exec:secret --grace 20s";
    assert!(settings(words).published.is_empty(), "nobody can ask");
    let settings = settings(&format!("{words} --health :8086"));
    let names = |all: &[Shown]| all.iter().map(|(name, ..)| *name).collect::<Vec<_>>();
    let (shown, published) = (names(&settings.shown), names(&settings.published));
    assert!(shown.contains(&"on-stop") && shown.contains(&"drain-check") && shown.contains(&"grace"));
    assert!(!published.contains(&"on-stop") && !published.contains(&"drain-check"));
    assert!(published.contains(&"grace") && published.contains(&"report"));
    assert!(!shown.contains(&"check") && !published.contains(&"config"), "settings of one run");
}

#[test]
fn every_setting_is_shown_with_its_value_and_origin() {
    let settings = settings("--on-start exec:a --on-start exec:b --report /r --stop-on TERM --group");
    for (name, value, origin) in [
        ("on-start", "exec:a, exec:b", "flag --on-start"),
        ("report", "/r", "flag --report"),
        ("group", "true", "flag --group"),
        ("warn-on-reap", "false", "default"),
        ("ready-file", "-", "default"),
        ("drain", "auto", "default"),
        ("parent-death-signal", "-", "default"),
        ("platform", "none", "flag --platform"),
        ("grace", "30s", "default"),
        ("hook-timeout", "10s", "default"),
        ("profile", "by COMMAND", "default"),
    ] {
        assert_eq!(shown(&settings, name), (value, origin.to_owned()), "{name}");
    }
    let on_ecs = with(&[("ECS_CONTAINER_METADATA_URI", "x")]).settings("app");
    assert_eq!(shown(&on_ecs, "platform"), ("ecs", "detected".to_owned()));
    assert_eq!(shown(&on_ecs, "grace"), ("30s", "platform ecs".to_owned()));
    assert_eq!(shown(&with(&[("ADIEU_GROUP", "no")]).settings("app"), "group").0, "false");
}

#[test]
fn each_task_has_its_words() {
    let task = |words: &str| with(&[]).task(words).expect("a task");
    let shows = |words: &str| match task(words) {
        Task::Show(text) => text,
        _ => panic!("{words}: nothing is shown"),
    };
    assert!(shows("--help").starts_with("adieu: a tiny init"));
    assert!(shows("--license").contains("Permission is hereby granted"));
    assert_eq!(shows("--version"), format!("adieu {}\n", env!("CARGO_PKG_VERSION")));
    assert!(matches!(task("--check app"), Task::Check(settings) if settings.command == ["app"]));
    assert!(matches!(task("-- app -x"), Task::Run(settings) if settings.command == ["app", "-x"]));
    assert!(matches!(task("--install /a"), Task::Install(path) if path.as_os_str() == "/a"));
    let probe = task("--probe livez --health :8086");
    assert!(matches!(probe, Task::Probe { address, what: "livez" } if address.port() == 8086));
    assert!(refusal("--probe livez").contains("--health"));
    assert!(refusal("--probe tea --health :8086").contains("readyz, livez or status"));
    assert!(refusal("--grace 5s").contains("no COMMAND given"));
    assert!(refusal("--profile emacs app").contains("'emacs' is no known program; write nginx, httpd, "));
    assert!(refusal("--report= app").contains("needs a value"));
}

/// Whatever else is wrong, whoever asks for help gets it.
#[test]
fn what_only_shows_a_text_reads_no_settings() {
    for words in ["--help", "--license", "--version"] {
        assert!(matches!(with(&[("ADIEU_TYPO", "1")]).task(words), Ok(Task::Show(_))), "{words}");
    }
}

#[test]
fn the_timeline_shows_each_phase_of_the_stop() {
    let page = |words: &str| timeline(&settings(words));
    let usual = page("--stop QUIT/3s/TERM --on-stop exec:a --on-stop exec:b");
    let (head, stop) = usual.split_once("\nwhen TERM requests a stop:\n").expect("a timeline");
    assert!(head.starts_with(&format!("adieu {}: these settings are valid\n\n", env!("CARGO_PKG_VERSION"))));
    assert!(head.contains("  grace                30s                     default\n"), "{head}");
    assert_eq!(
        stop.lines().collect::<Vec<_>>(),
        [
            "      0s  pre-stop: readiness fails at once, the app goes on serving, 2 hooks run",
            "      5s  draining: until nothing is in flight, at most 15s",
            "     20s  at the latest, stopping: the app gets QUIT/3s/TERM",
            "     29s  killing: the app and all leftovers get KILL",
            "     30s  the platform kills",
        ]
    );
    assert!(page("--on-stop exec:a").contains("serving, 1 hook runs\n"));
    assert!(page("").contains("goes on serving\n"));
    assert!(page("").contains("stopping: the app gets the signal of the stop request\n"));
    assert!(page("--stop none").contains("stopping: the app gets no signal from adieu"));
    assert!(page("--stop none").contains("goes on serving\n"));
    // Heroku's dyno manager signals the app together with adieu.
    let heroku = page("--platform heroku");
    assert!(heroku.contains(
        "      0s  pre-stop: readiness fails at once, the app gets the platform's signal at once\n"
    ));
    assert!(!heroku.contains("goes on serving"), "{heroku}");
    assert!(page("--platform heroku --stop none").contains("the platform's signal at once\n"));
    let without_drain = page("--drain off --stop-on INT,TERM");
    assert!(without_drain.contains("when INT or TERM requests a stop:\n"));
    assert!(without_drain.contains("      5s  stopping: ") && !without_drain.contains("draining: "));
    assert!(!page("").contains("warning: "));
    let lacking = timeline(&with(&[]).settings("php-fpm"));
    assert!(lacking.contains("\nwarning: php-fpm drops its requests"), "{lacking}");
    let helped = timeline(&with(&[]).settings("uwsgi"));
    assert!(helped.contains("\nthe app gets UWSGI_HOOK_MASTER_START=unix_signal:2"), "{helped}");
}
