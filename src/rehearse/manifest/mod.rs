//! What a manifest says about an app's start and stop, whoever's manifest it is: a Kubernetes
//! object, a compose file, a systemd unit. Reading one also finds what does not fit together,
//! before anything is run. Each dialect has its file; here stands what they have in common.

mod compose;
mod kubernetes;
mod systemd;
pub mod workload;

use std::path::Path;

use crate::lint::yaml::{self, Node};
use adieu::errno::describe;
use adieu::settings::values;
use workload::Workload;

/// Reads a manifest and takes the named container or service out of it, or the first that names a
/// command, or the first.
///
/// # Errors
/// What it is not, or whom it does not name.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Workload, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read '{}': {}", path.display(), describe(&error)))?;
    let workloads = parse(&text, &|name| std::env::var(name).ok())
        .map_err(|error| format!("'{}': {error}", path.display()))?;
    choose(workloads, wanted).map_err(|error| format!("'{}': {error}", path.display()))
}

/// All that a manifest starts. `variable` looks up what a compose file takes from its surroundings.
///
/// # Errors
/// Why it is no manifest.
pub fn parse(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<Vec<Workload>, String> {
    if text.lines().any(|line| line.trim() == "[Service]") {
        return Ok(vec![systemd::read(text)?]);
    }
    let documents = yaml::documents(text).map_err(|(line, why)| format!("line {line}: no YAML: {why}"))?;
    let mut workloads = Vec::new();
    for document in &documents {
        let node = Node::new(document);
        if node.get("services").is_some() {
            workloads.extend(compose::read(node, variable)?);
        } else if node.get("kind").is_some() {
            workloads.extend(kubernetes::read(node)?);
        }
    }
    if workloads.is_empty() {
        return Err("neither a Kubernetes workload, nor a compose file, nor a systemd service".into());
    }
    Ok(workloads)
}

fn choose(mut workloads: Vec<Workload>, wanted: Option<&str>) -> Result<Workload, String> {
    let place = match wanted {
        Some(name) => workloads.iter().position(|workload| workload.name == name).ok_or_else(|| {
            let names: Vec<&str> = workloads.iter().map(|workload| workload.name.as_str()).collect();
            format!("names no '{name}'; there is {}", values::list_or(&names))
        })?,
        None => workloads.iter().position(|workload| !workload.command.is_empty()).unwrap_or(0),
    };
    Ok(workloads.swap_remove(place))
}
