//! The cases that any init can be asked, held against adieu, and against tini where tini passes: if
//! tini fails there, suspect the test. The program of the same name makes a table of them for any
//! init.

mod cases;
#[path = "../harness/mod.rs"]
mod harness;

use std::process::Command;
use std::time::Duration;

use cases::{CASES, Case};
use harness::Init;
use serde_json::Value;

/// Every case as a test of adieu, and of tini where that passes.
macro_rules! tests {
    ($($kind:ident $known:ident $topic:ident::$case:ident $about:literal;)+) => { $(
        mod $case {
            use super::*;

            #[test]
            fn adieu() {
                run($topic(stringify!($case)), Init::Adieu);
            }

            tests!(@$known $topic $case);

            fn $topic(name: &str) -> &'static Case {
                case(stringify!($topic), name)
            }
        }
    )+ };
    (@tini $topic:ident $case:ident) => {
        #[test]
        fn tini() {
            require!(Init::Tini.present());
            run($topic(stringify!($case)), Init::Tini);
        }
    };
    (@adieu $topic:ident $case:ident) => {};
}

every_case!(tests);

fn case(topic: &str, name: &str) -> &'static Case {
    let case = CASES.iter().find(|case| case.topic == topic && case.name == name);
    case.expect("the list and the tests are made of one table")
}

fn run(case: &Case, init: Init) {
    if case.as_pid_1 {
        require!(harness::pid_namespaces());
    }
    // As an ordinary process it becomes a subreaper only when it is told to.
    static TINI: std::sync::LazyLock<harness::Given> = std::sync::LazyLock::new(|| harness::Given {
        program: Init::Tini.path(),
        options: vec!["-s".to_string(), "--".to_string()],
    });
    static ADIEU: std::sync::LazyLock<harness::Given> = std::sync::LazyLock::new(|| harness::Given {
        program: Init::Adieu.path(),
        options: ["--pre-stop", "0", "--grace", "50s", "--"].map(str::to_string).to_vec(),
    });
    (case.run)(Init::Given(if init == Init::Tini { &TINI } else { &ADIEU }));
}

/// A case that this machine cannot show.
fn cannot_run(reason: &str) {
    harness::left_out(reason);
}

/// The program as people run it, over what is built already: else the first cases would spend their
/// time on the probe's build, and be a no for every init.
fn program(words: &[&str]) -> Value {
    harness::probe();
    let mut command = Command::new(harness::example("conformance", "tests/conformance/program.rs"));
    let output = harness::output(command.args(["--built", "--json"]).args(words), Duration::from_secs(1200));
    let error = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|why| panic!("no JSON ({why}): {error}"))
}

/// The name of each case and its outcome for the init at this place.
fn outcomes(table: &Value, at: usize) -> Vec<(String, String)> {
    let cases = table["cases"].as_array().expect("cases");
    let text = |value: &Value| value.as_str().expect("a text").to_string();
    cases.iter().map(|case| (text(&case["case"]), text(&case["results"][at]["outcome"]))).collect()
}

#[test]
fn every_case_says_what_it_is_about() {
    let about: std::collections::BTreeSet<&str> = CASES.iter().map(|case| case.about).collect();
    assert_eq!(about.len(), CASES.len());
    assert!(about.iter().all(|words| words.len() > 10), "{about:?}");
}

#[test]
fn the_program_tells_two_inits_apart() {
    require!(harness::pid_namespaces());
    require!(Init::Tini.present());
    let adieu = Init::Adieu.path();
    let table = program(&[
        "--init",
        &format!("{} --pre-stop 0 --", adieu.display()),
        "--init",
        "tini -s --",
        "--case",
        "queue_keeps",
    ]);
    let expected = |last: &str| {
        let names = ["signals::a_queue_keeps_its_count", "signals::a_queue_keeps_values_and_order"];
        names.map(str::to_string).into_iter().zip(["yes", last].map(str::to_string)).collect::<Vec<_>>()
    };
    assert_eq!(outcomes(&table, 0), expected("yes"));
    assert_eq!(outcomes(&table, 1), expected("no"));
    assert!(table["cases"][1]["results"][1]["why"].as_str().is_some_and(|why| why.contains("value=0")));
}

#[test]
fn a_program_that_is_no_init_passes_nothing() {
    require!(harness::pid_namespaces());
    let table = program(&["--init", "/bin/false", "--case", "status::", "--limit", "5"]);
    assert!(outcomes(&table, 0).iter().all(|(_, outcome)| outcome == "no"), "{table:#}");
}

/// adieu passes everything, the peers what the README says of them.
#[test]
fn the_readme_counts_what_the_program_counts() {
    long!();
    require!(harness::pid_namespaces());
    for peer in ["tini", "dumb-init", "catatonit"] {
        require!(harness::program(peer));
    }
    let table = program(&[]);
    let passed = |at: usize| outcomes(&table, at).iter().filter(|(_, outcome)| outcome == "yes").count();
    assert_eq!(passed(0), CASES.len(), "{table:#}");
    for ((name, outcome), case) in outcomes(&table, 1).iter().zip(CASES) {
        assert!(outcome == "yes" || !case.tini, "tini: {name}");
    }
    let row = format!("of {0} | {0} | {1} | {2} | {3} |", CASES.len(), passed(1), passed(2), passed(3));
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&row), "the README does not say {row}");
}
