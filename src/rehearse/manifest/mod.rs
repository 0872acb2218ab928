//! What a manifest sets for an app's start and stop: a Kubernetes object, a compose file, a systemd
//! unit or a Quadlet. The lint checks it before anything runs. Each kind has its own file; this one
//! has what they share.

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

/// The name of the file in findings of the lint.
const MANIFEST: &str = "manifest";

/// Where a manifest gets values that are not in it.
pub struct ManifestSources<'a> {
    /// The name of its file, which is a unit's name too.
    pub name: &'a str,
    /// Variables that the rehearsal gets for the app.
    pub given: &'a [(String, String)],
    /// Looks up an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Reads a file that it names, or returns why that fails.
    pub file: &'a dyn Fn(&str) -> Result<String, String>,
}

/// Reads a manifest and returns the named container or service, or the first with a command, or the
/// first.
///
/// # Errors
/// It is not a manifest, or does not have that container or service.
pub fn read(path: &Path, wanted: Option<&str>, given: &[(String, String)]) -> Result<Workload, String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| format!("cannot read '{}': {}", path.display(), describe(&error)))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let sources = ManifestSources {
        name: &name,
        given,
        variable: &|name| std::env::var(name).ok(),
        file: &|name| std::fs::read_to_string(folder.join(name)).map_err(|error| describe(&error)),
    };
    let workloads = parse(&text, &sources).map_err(|error| format!("'{}': {error}", path.display()))?;
    let mut workload = choose(workloads, wanted).map_err(|error| format!("'{}': {error}", path.display()))?;
    settle(&mut workload, folder);
    Ok(workload)
}

/// All containers or services of a manifest; also those that cannot be rehearsed.
///
/// # Errors
/// The reason why it is not a manifest.
pub fn parse(text: &str, sources: &ManifestSources) -> Result<Vec<Workload>, String> {
    let mut workloads = understand(text, sources)?;
    let source = SourceFile { name: MANIFEST.to_owned(), text: text.to_owned() };
    let findings = lint::judge(&[source], &[])?.findings;
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
    if lint::looks_like_unit(text) {
        let advice = "rehearse the file of the service or container itself";
        return Err(format!("this unit has neither [Service] nor [Container]; {advice}"));
    }
    let documents = yaml::documents(text).map_err(|(line, why)| format!("line {line}: not YAML: {why}"))?;
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

/// A user or directory that does not exist here is dropped, with a note.
fn settle(workload: &mut Workload, folder: &Path) {
    let nobody = |user: &String| crate::user::find(user).err();
    if let Some(why) = workload.user.as_ref().and_then(nobody) {
        let user = workload.user.take().unwrap_or_default();
        workload.notes.push(ManifestNote::new(
            format!("it is not rehearsed as user {user}: {why}"),
            "rehearse as root, on a machine that has the user, or in a container: --image",
        ));
    }
    // A relative directory is relative to the manifest, as a compose file's build context is.
    let directory = workload.directory.as_ref().map(|directory| folder.join(directory));
    if let Some(directory) = directory {
        workload.directory = directory.is_dir().then_some(directory.clone());
        if workload.directory.is_none() {
            workload.notes.push(ManifestNote::new(
                format!("it does not start in {}, which is not a folder here", directory.display()),
                "rehearse where that folder exists, or in a container: --image",
            ));
        }
    }
}

/// The named workload, or the first with a command, or the first. It notes which others could not
/// be rehearsed.
///
/// # Errors
/// There is none of that name, or it cannot be rehearsed.
pub fn choose(mut workloads: Vec<Workload>, wanted: Option<&str>) -> Result<Workload, String> {
    let place = match wanted {
        Some(name) => workloads.iter().position(|workload| workload.name == name).ok_or_else(|| {
            let names: Vec<&str> = workloads.iter().map(|workload| workload.name.as_str()).collect();
            format!("names no '{name}'; there is {}", values::list_or(&names))
        })?,
        None => workloads.iter().position(|workload| !workload.command.is_empty()).unwrap_or(0),
    };
    let mut workload = workloads.remove(place);
    if let Some(why) = workload.refusal {
        return Err(format!("{}: {why}", workload.object));
    }
    let refused = workloads.iter().filter_map(|other| Some((&other.object, other.refusal.as_ref()?)));
    workload.notes.extend(refused.map(|(object, why)| {
        ManifestNote::new(format!("{object}: {why}"), "only a rehearsal of that service needs the file")
    }));
    Ok(workload)
}
