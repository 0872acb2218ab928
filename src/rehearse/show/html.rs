//! The result as one HTML page: verdict, picture, numbers, checklist, and each lost request. It has
//! no script and loads no other file, so it can be mailed, kept with a build, or printed. Long
//! lists are folded.

use std::fmt::Write;

use super::run::{Run, path_of};
use super::svg;
use crate::recording::At;
use crate::verdict::{Outcome, Point};

/// The most lost requests of a run on the page: more would show nothing new and slow the browser.
const MOST_LOSSES: usize = 200;

const STYLE: &str = "\
:root{color-scheme:light dark;--text:#24292f;--faint:#59636e;--line:#d1d9e0;--panel:#f6f8fa;--good:#1a7f37;--bad:#cf222e;--back:#fff}\
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--faint:#9198a1;--line:#30363d;--panel:#161b22;--good:#3fb950;--bad:#f85149;\
--back:#0d1117}}\
body{font:15px/1.5 ui-sans-serif,system-ui,'Segoe UI','DejaVu Sans',sans-serif;color:var(--text);background:var(--back);\
max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{font-size:1.5rem;margin:0 0 .5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}\
.verdict{padding:.6rem .9rem;border-left:.3rem solid;background:var(--panel);margin:.4rem 0}.good{border-color:var(--good)}\
.bad{border-color:var(--bad)}svg{max-width:100%;height:auto}\
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid var(--line)}\
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.pass{color:var(--good)}\
.fail{color:var(--bad);font-weight:600}.unseen,.faint{color:var(--faint)}summary{cursor:pointer}\
@media print{details{display:block}}";

/// One page for all runs.
#[must_use]
pub fn html(runs: &[Run]) -> String {
    let app = runs.first().map_or("", |run| run.recording.app.as_str());
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <title>How {0} shuts down</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>How <code>{0}</code> shuts down</h1>\n",
        escape(app)
    );
    for run in runs {
        verdict(&mut page, run);
    }
    let _ = writeln!(page, "<h2>Timeline</h2>\n<figure style=\"margin:0\">\n{}</figure>", svg::svg(runs));
    numbers(&mut page, runs);
    checklist(&mut page, runs);
    manifest(&mut page, runs);
    for run in runs {
        losses(&mut page, run);
    }
    page.push_str("</body>\n</html>\n");
    page
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn verdict(page: &mut String, run: &Run) {
    let (tally, failed) = (run.verdict.tally, run.verdict.failures().count());
    let lost = match (tally.sent, tally.lost()) {
        (0, _) => "no request was sent, so no loss could be seen".to_owned(),
        (_, 0) => "nothing lost".to_owned(),
        (sent, lost) => format!("{lost} of {sent} requests lost"),
    };
    let points = match failed {
        0 => "no point failed".to_owned(),
        failed => format!("{failed} of {} points failed", Point::ALL.len()),
    };
    let class = if run.verdict.good() { "good" } else { "bad" };
    let _ = writeln!(
        page,
        "<p class=\"verdict {class}\"><strong>{}</strong>: {lost}, {points}</p>",
        run.recording.mode.label()
    );
}

/// The name of a row, and its cell for a run.
type TableRow<'a> = (&'a str, &'a dyn Fn(&Run) -> String);

fn numbers(page: &mut String, runs: &[Run]) {
    let rows: [TableRow; 8] = [
        ("requests sent", &|run| run.verdict.tally.sent.to_string()),
        ("answered", &|run| run.verdict.tally.answered.to_string()),
        ("cut off", &|run| run.verdict.tally.cut_off.to_string()),
        ("turned away", &|run| run.verdict.tally.turned_away.to_string()),
        ("in flight at the stop", &|run| run.recording.in_flight().count().to_string()),
        ("grace", &|run| At(run.recording.limits.grace_ms as i64).to_string()),
        ("from the stop to the end", &|run| run.recording.end.at.to_string()),
        ("ended with", &|run| run.recording.end.exit.to_string()),
    ];
    page.push_str("<h2>Numbers</h2>\n<table>\n<tr><th></th>");
    for run in runs {
        let _ = write!(page, "<th class=\"number\">{}</th>", run.recording.mode.label());
    }
    page.push_str("</tr>\n");
    for (name, value) in rows {
        let _ = write!(page, "<tr><td>{name}</td>");
        for run in runs {
            let _ = write!(page, "<td class=\"number\">{}</td>", escape(&value(run)));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table>\n");
}

fn checklist(page: &mut String, runs: &[Run]) {
    for run in runs {
        let _ = writeln!(page, "<h2>Checklist, {}</h2>\n<table>", run.recording.mode.label());
        for finding in &run.verdict.findings {
            let class = match finding.outcome {
                Outcome::Pass => "pass",
                Outcome::Fail => "fail",
                Outcome::NotSeen => "unseen",
            };
            let advice = match finding.advice.as_str() {
                "" => String::new(),
                advice => format!("<br>\u{2192} {}", escape(advice)),
            };
            let _ = writeln!(
                page,
                "<tr><td class=\"{class}\">{}</td><td>{}</td><td><span class=\"faint\">{}</span>{advice}</td></tr>",
                finding.outcome.label().replace(' ', "\u{a0}"),
                finding.point.label(),
                escape(&finding.seen)
            );
        }
        page.push_str("</table>\n");
    }
}

/// The problems in the manifest. They are the same for every run, except for what a rehearsal adds.
fn manifest(page: &mut String, runs: &[Run]) {
    let longest = runs.iter().map(|run| &run.recording.lints).max_by_key(|lints| lints.len());
    let Some(lints) = longest.filter(|lints| !lints.is_empty()) else { return };
    page.push_str("<h2>In the manifest</h2>\n<ul>\n");
    for lint in lints {
        let _ = writeln!(page, "<li>{}<br>\u{2192} {}</li>", escape(&lint.what), escape(&lint.advice));
    }
    page.push_str("</ul>\n");
}

fn losses(page: &mut String, run: &Run) {
    let recording = &run.recording;
    let number = recording.lost().count();
    if number == 0 {
        return;
    }
    let _ = writeln!(
        page,
        "<h2>Lost requests, {}</h2>\n<details>\n<summary>{number} requests</summary>\n<table>\n<tr><th class=\"number\">sent</th>\
         <th class=\"number\">ended</th><th>address</th><th>connection</th><th>why</th></tr>",
        recording.mode.label()
    );
    for request in recording.lost().take(MOST_LOSSES) {
        let url =
            recording.targets.get(usize::from(request.target)).map_or("", |target| path_of(&target.url));
        let connection = request.connection.label();
        let _ = writeln!(
            page,
            "<tr><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td><td>{connection}</td><td>{}</td></tr>",
            request.from,
            request.to,
            escape(url),
            escape(&request.fate.to_string())
        );
    }
    page.push_str("</table>\n");
    if number > MOST_LOSSES {
        let _ = writeln!(page, "<p class=\"faint\">and {} more</p>", number - MOST_LOSSES);
    }
    page.push_str("</details>\n");
}
