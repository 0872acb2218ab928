//! SPECIFICATION.md promises nothing that no test holds, and its figures are the code's.

use std::path::Path;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The promises by their numbers.
fn promises() -> Vec<(usize, String)> {
    let text = read("SPECIFICATION.md");
    let mut promises: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let number = line.split_once(". ").and_then(|(number, _)| number.parse().ok());
        match (number, promises.last_mut()) {
            (Some(number), _) => promises.push((number, line.to_string())),
            (None, Some((_, promise))) if line.starts_with("   ") => *promise += line,
            (None, _) => {}
        }
    }
    promises
}

/// What stands in backquotes behind the last bracket: files, each with its tests.
fn tests_of(promise: &str) -> Vec<(String, String)> {
    let (_, named) = promise.split_once("(`").expect("a promise names its tests in brackets");
    let words = format!("`{named}");
    let mut file = String::new();
    let mut tests = Vec::new();
    for word in words.split('`').skip(1).step_by(2) {
        if word.contains('/') {
            file = word.to_string();
        } else {
            tests.push((file.clone(), word.to_string()));
        }
    }
    tests
}

#[test]
fn promises_are_numbered_and_every_test_named_exists() {
    let promises = promises();
    assert!(promises.len() >= 30, "the promises are found: {}", promises.len());
    for (at, (number, promise)) in promises.iter().enumerate() {
        assert_eq!(*number, at + 1, "{promise}");
        let tests = tests_of(promise);
        assert!(!tests.is_empty(), "no test holds: {promise}");
        for (file, test) in tests {
            let text = read(&file);
            let exists = text.contains(&format!("fn {test}("))
                || text.contains(&format!("::{test} ")) && file.ends_with("cases.rs");
            assert!(exists, "{file} has no {test}, which shall hold: {promise}");
        }
    }
}

#[test]
fn a_turn_is_bounded_by_the_figures() {
    let figures = [
        ("src/supervise/mod.rs", "SIGNALS_A_TURN: usize = 1024"),
        ("src/supervise/mod.rs", "ORPHANS_A_TURN: usize = 128"),
        ("src/ready/endpoint.rs", "ARRIVALS_A_TURN: usize = 64"),
        ("src/ready/endpoint.rs", "ANSWERS_A_TURN: usize = 64"),
        ("src/notify.rs", "MESSAGES_A_TURN: usize = 64"),
        ("src/report/mod.rs", "SAMPLES: usize = 256"),
        ("src/report/mod.rs", "TERMINATION_LIMIT: usize = 4096"),
    ];
    for (file, figure) in figures {
        assert!(read(file).contains(figure), "{file} no longer says {figure}; SPECIFICATION.md does");
    }
}

#[test]
fn the_two_pages_name_files_that_exist() {
    for page in ["SECURITY.md", "SPECIFICATION.md"] {
        let text = read(page);
        let words = text.split('`').skip(1).step_by(2);
        for path in words.filter(|word| word.starts_with("tests/") || word.starts_with("src/")) {
            assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists(), "{page}: {path}");
        }
    }
}
