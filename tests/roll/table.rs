//! Rolls many apps at once, under adieu and under tini, and shows what became of their requests.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::path::Path;
use std::sync::Mutex;
use std::thread::scope;
use std::time::Duration;

use super::load::MIXED;
use super::net;
use super::outcome::Outcome;
use super::rolling::{Plan, Way};
use crate::harness::{End, Init};

/// How many rolls go on at a time: most of a roll is waiting.
const AT_ONCE: usize = 6;

struct Row {
    app: &'static str,
    way: Way,
    adieu: Outcome,
    tini: Outcome,
}

/// Rolls each, prints the table, and fails if any request failed under adieu or none under tini.
pub fn show_and_judge(chosen: &[(&'static str, Way)], seed: u64) {
    let left: Mutex<VecDeque<_>> = Mutex::new(chosen.iter().copied().collect());
    let rows = Mutex::new(Vec::new());
    let next = || left.lock().expect("no roll panics here").pop_front();
    scope(|workers| {
        for _ in 0..AT_ONCE.min(chosen.len()) {
            workers.spawn(|| {
                while let Some((app, way)) = next() {
                    let [adieu, tini] = [Init::Adieu, Init::Tini].map(|init| {
                        net::enter();
                        let plan = Plan { app, way, init, load: MIXED, options: &[], env: &[], seed };
                        let mut outcome = plan.roll();
                        outcome.survivors.clear();
                        outcome
                    });
                    keep_story(app, way, &adieu);
                    rows.lock().expect("no roll panics here").push(Row { app, way, adieu, tini });
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no roll panics here");
    let place = |row: &Row| chosen.iter().position(|&(app, way)| (app, way) == (row.app, row.way));
    rows.sort_by_key(place);
    say(&format!("\n{}seed {seed}\n", render(&rows)));
    let faults: Vec<String> = rows.iter().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What was said at each stop, below target, for whoever wants to know more than the table tells.
fn keep_story(app: &str, way: Way, outcome: &Outcome) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("roll");
    let file = folder.join(format!("{app}, {}.txt", way.name()));
    let kept = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(file, outcome.story()));
    kept.expect("target is writable");
}

/// Past the test runner, which shows what a test prints only when it fails.
pub fn say(text: &str) {
    std::io::stderr().write_all(text.as_bytes()).expect("stderr is writable");
}

/// Outlasted: requests in flight at a server after its pre-stop sleep, which its drain waited for.
/// Beyond need: how long a stop took after the sleep and the last answer were over; `--drain-quiet`
/// is 1 s of it.
fn render(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<14} {:<13} {:>8} {:>9} {:>7} {:>16} {:>11} {:>11}\n",
        "app", "way", "requests", "outlasted", "failed", "failed with tini", "median stop", "beyond need"
    );
    for row in rows {
        let (with_tini, of) = (row.tini.failed().count(), row.tini.requests.len());
        text += &format!(
            "{:<14} {:<13} {:>8} {:>9} {:>7} {:>16} {:>9.2} s {:>9.2} s\n",
            row.app,
            row.way.name(),
            row.adieu.requests.len(),
            row.adieu.outlasting(),
            row.adieu.failed().count(),
            format!("{with_tini} ({:.0} %)", 100.0 * with_tini as f64 / of as f64),
            median(row.adieu.stops.iter().map(|stop| stop.took)).as_secs_f64(),
            median(row.adieu.beyond_need().into_iter()).as_secs_f64(),
        );
    }
    text
}

fn median(times: impl Iterator<Item = Duration>) -> Duration {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    times[times.len() / 2]
}

/// What is wrong with a row.
fn fault(row: &Row) -> Option<String> {
    let name = format!("{}, {}", row.app, row.way.name());
    let killed = row.adieu.stops.iter().any(|stop| stop.end == End::Exited(137));
    if row.adieu.failed().count() > 0 || killed {
        let what = if killed { "a server was killed" } else { "requests failed under adieu" };
        return Some(format!("=== {name}: {what}\n{}", row.adieu.story()));
    }
    (row.tini.failed().count() == 0).then(|| {
        let mut fates = BTreeMap::new();
        row.tini.requests.iter().for_each(|request| *fates.entry(request.fate).or_insert(0) += 1);
        format!("=== {name}: no request failed under tini, so the roll proves nothing: {fates:?}")
    })
}
