//! The timeline of a stop, for `--check`.

use super::values::show_schedule;
use super::{Platform, Settings, Target};
use crate::lifecycle::Schedule;
use crate::moment::show_duration;
use std::time::Duration;

/// The settings with their origins, and the timeline that a stop would follow.
pub fn timeline(settings: &Settings) -> String {
    let mut page = format!("adieu {}: these settings are valid\n\n", env!("CARGO_PKG_VERSION"));
    for (name, value, origin) in &settings.shown {
        page.push_str(&format!("  {name:<19}  {value:<22}  {origin}\n"));
    }
    let asked_by: Vec<String> = settings.plan.stop_on.iter().map(|signal| signal.to_string()).collect();
    page.push_str(&format!(
        "\nwhen {} requests a stop:\n",
        super::values::list_or(&asked_by.iter().map(String::as_str).collect::<Vec<_>>())
    ));
    for (at, what) in moments(settings) {
        page.push_str(&format!("  {:>6}  {what}\n", show_duration(at)));
    }
    for warning in &settings.warnings {
        page.push_str(&format!("\nwarning: {warning}\n"));
    }
    if let Some((name, value)) = settings.app_variable {
        page.push_str(&format!("\nthe app gets {name}={value}\n"));
    }
    page
}

fn moments(settings: &Settings) -> Vec<(Duration, String)> {
    let plan = &settings.plan;
    let hooks = hooks(&settings.hooks.on_stop);
    let app = match (settings.platform, &plan.schedule) {
        (Platform::Heroku, Schedule::Silent) => "the app gets the platform's signal at once",
        _ => "the app goes on serving",
    };
    let mut moments = vec![(Duration::ZERO, format!("pre-stop: readiness fails at once, {app}{hooks}"))];
    let mut at = plan.pre_stop;
    if let Some(drain) = plan.drain {
        moments.push((at, format!("draining: until nothing is in flight, at most {}", show_duration(drain))));
        at = at.saturating_add(drain);
    }
    let latest = if plan.drain.is_some() { "at the latest, " } else { "" };
    let kill_at = plan.grace.saturating_sub(plan.kill_margin);
    let schedule = match &plan.schedule {
        Schedule::AsAsked => "the app gets the signal of the stop request".to_owned(),
        Schedule::Steps(_) => format!("the app gets {}", show_schedule(&plan.schedule)),
        Schedule::Silent => "the app gets no signal from adieu, only the platform's".to_owned(),
    };
    moments.push((at.min(kill_at), format!("{latest}stopping: {schedule}")));
    moments.push((kill_at, "killing: the app and all leftovers get KILL".to_owned()));
    moments.push((plan.grace, "the platform kills".to_owned()));
    moments
}

fn hooks(targets: &[Target]) -> String {
    match targets.len() {
        0 => String::new(),
        1 => ", 1 hook runs".to_owned(),
        many => format!(", {many} hooks run"),
    }
}
