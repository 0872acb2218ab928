//! What a manifest says about an app's start and stop, whoever's manifest it is: a Kubernetes
//! object, a compose file, a systemd unit. The rules of the lint judge it before anything
//! is run. Each dialect has its file; here stands what they have in common.

mod compose;
mod kubernetes;
mod quadlet;
mod systemd;
mod variables;
pub mod workload;

use std::path::Path;

use crate::lint::yaml::{self, Node};
use crate::lint::{self, SourceFile};
use crate::recording::ManifestNote;
use adieu::errno::describe;
use adieu::settings::values;
use workload::Workload;

/// What the lint calls the one file that is read here.
const MANIFEST: &str = "manifest";

/// What a manifest takes from around it.
pub struct ManifestSources<'a> {
    /// A variable of the environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a file that it names, or why that cannot be had.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

/// Reads a manifest and takes the named container or service out of it, or the first that names a
/// command, or the first.
///
/// # Errors
/// What it is not, or whom it does not name.
pub fn read(path: &Path, wanted: Option<&str>) -> Result<Workload, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read '{}': {}", path.display(), describe(&error)))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let sources = ManifestSources {
        variable: &|name| std::env::var(name).ok(),
        file: &|name| std::fs::read_to_string(folder.join(name)).map_err(|error| describe(&error)),
    };
    let workloads = parse(&text, &sources).map_err(|error| format!("'{}': {error}", path.display()))?;
    let mut workload = choose(workloads, wanted).map_err(|error| format!("'{}': {error}", path.display()))?;
    settle(&mut workload, folder);
    Ok(workload)
}

/// All that a manifest starts.
///
/// # Errors
/// Why it is no manifest.
pub fn parse(text: &str, sources: &ManifestSources) -> Result<Vec<Workload>, String> {
    let mut workloads = understand(text, sources)?;
    let source = SourceFile { name: MANIFEST.to_owned(), text: text.to_owned() };
    let findings = lint::judge(&[source], &[])?;
    for workload in &mut workloads {
        workload.note_findings(&findings);
    }
    Ok(workloads)
}

fn understand(text: &str, sources: &ManifestSources) -> Result<Vec<Workload>, String> {
    let has_section = |name: &str| text.lines().any(|line| line.trim() == name);
    if has_section("[Container]") {
        return Ok(vec![quadlet::read(text, sources)?]);
    }
    if has_section("[Service]") {
        return Ok(vec![systemd::read(text, sources)?]);
    }
    let documents = yaml::documents(text).map_err(|(line, why)| format!("line {line}: no YAML: {why}"))?;
    let nodes: Vec<Node> = documents.iter().map(Node::new).collect();
    let mut workloads = Vec::new();
    for node in nodes.iter().filter(|node| node.get("services").is_some()) {
        workloads.extend(compose::read(*node, sources)?);
    }
    workloads.extend(kubernetes::read(&nodes)?);
    if workloads.is_empty() {
        let what = "a Kubernetes workload, a compose file, a systemd service or a Quadlet";
        return Err(format!("this is not {what}"));
    }
    Ok(workloads)
}

/// What holds in the container or on the target's machine, and not here, is named and left out.
fn settle(workload: &mut Workload, folder: &Path) {
    let nobody = |user: &String| crate::user::find(user).err();
    if let Some(why) = workload.user.as_ref().and_then(nobody) {
        let user = workload.user.take().unwrap_or_default();
        workload.notes.push(ManifestNote::new(
            format!("it is not rehearsed as user {user}: {why}"),
            "rehearse as root, on a machine that has the user, or in a container: --image",
        ));
    }
    // A relative folder is one beside the manifest, as in a compose file's build context.
    let directory = workload.directory.as_ref().map(|directory| folder.join(directory));
    if let Some(directory) = directory {
        workload.directory = directory.is_dir().then_some(directory.clone());
        if workload.directory.is_none() {
            workload.notes.push(ManifestNote::new(
                format!("it does not start in {}, which is no folder here", directory.display()),
                "rehearse where that folder is, or in a container: --image",
            ));
        }
    }
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
