//! Judging what describes a workload, without running anything: Kubernetes objects, compose files,
//! systemd units, Quadlets and Dockerfiles. Each dialect is read into the same few things (a
//! `service`, and what spans several objects of a `cluster`), and the rules are gone through on
//! those. All words about rules stand in one table, `rules`.

mod cluster;
mod compose;
mod dockerfile;
pub mod finding;
pub(crate) mod kubernetes;
pub mod pages;
pub mod rules;
mod service;
pub mod show;
mod unit;
pub(crate) mod yaml;

use cluster::Cluster;
use finding::{Finding, Findings, Position};
use rules::Rule;
pub(crate) use service::is_other_init;
use yaml::Node;

/// A file to judge.
pub struct SourceFile {
    /// As findings name it.
    pub name: String,
    pub text: String,
}

/// What is a comment in all dialects, and silences a rule in its file: `# adieu: allow
/// one-replica`.
const ALLOW: &str = "adieu: allow ";

/// Everything that is found in these files, in their order; objects of one file may belong to those
/// of another.
///
/// # Errors
/// One line for the first file that cannot be read: file, line, and what would be right.
pub fn judge(sources: &[SourceFile], allowed: &[Rule]) -> Result<Vec<Finding>, String> {
    let (mut findings, mut cluster) = (Findings::default(), Cluster::default());
    for source in sources {
        let refused = |(place, why): (Position, String)| format!("{}:{}: {why}", source.name, place.line);
        read(source, &mut cluster, &mut findings).map_err(refused)?;
    }
    cluster.check(&mut findings);
    let order = |file: &str| sources.iter().position(|source| source.name == file);
    let mut found = findings.0;
    found.retain(|finding| !allowed.contains(&finding.rule) && !allows(sources, finding));
    found.sort_by_key(|finding| (order(&finding.file), finding.line, finding.column, finding.rule));
    found.dedup();
    Ok(found)
}

fn allows(sources: &[SourceFile], finding: &Finding) -> bool {
    let source = sources.iter().find(|source| source.name == finding.file);
    let lines = source.into_iter().flat_map(|source| source.text.lines());
    let named = lines
        .filter_map(|line| line.split_once(ALLOW))
        .filter(|(before, _)| before.trim_end().ends_with('#'));
    named.flat_map(|(_, rest)| rest.split([',', ' ', ':'])).any(|word| word == finding.rule.id())
}

fn read(
    source: &SourceFile,
    cluster: &mut Cluster,
    findings: &mut Findings,
) -> Result<(), (Position, String)> {
    let SourceFile { name, text } = source;
    let file = name.rsplit('/').next().unwrap_or_default();
    if dockerfile::is_one(file, text) {
        return dockerfile::read(name, text, findings);
    }
    if looks_like_unit(text) {
        return unit::read(name, text, findings);
    }
    let documents =
        yaml::documents(text).map_err(|(line, why)| (Position::line(line), not_yaml(text, &why)))?;
    let mut known = false;
    for document in &documents {
        let node = Node::new(document);
        if node.get("services").is_some() && node.get("kind").is_none() {
            compose::read(name, node, findings)?;
            known = true;
        } else if node.get("kind").is_some() {
            kubernetes::read(name, node, cluster, findings);
            known = true;
        }
    }
    if known {
        return Ok(());
    }
    if text.contains("{{") {
        return Err((Position::line(1), not_yaml(text, "nothing in it says what it is")));
    }
    let what = "this is no Kubernetes object, compose file, systemd unit, Quadlet or Dockerfile";
    Err((
        Position::line(1),
        format!("{what}; a Kubernetes object has 'kind:', a compose file 'services:', a unit '[Service]'"),
    ))
}

/// The first line that says anything is a section.
fn looks_like_unit(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    first.is_some_and(|line| line.starts_with('[') && line.ends_with(']') && !line.contains([',', '"', '{']))
}

fn not_yaml(text: &str, why: &str) -> String {
    if text.contains("{{") {
        return format!(
            "this is a template, and no YAML yet ({why}); render it first: helm template CHART | adieu-rehearse --lint -"
        );
    }
    format!(
        "this is no YAML: {why}; mend the line, or say what the file is by its name (Dockerfile) or section ([Service])"
    )
}
