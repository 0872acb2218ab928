//! The lint: it checks Kubernetes objects, compose files, systemd units, Quadlets and Dockerfiles
//! without running anything. Each kind of file is read into the same few types: a `service`, and a
//! `cluster` for what needs several objects. The rules check those. All texts of rules are in one
//! table, `rules`.

mod cluster;
mod command;
mod compose;
mod dockerfile;
pub(crate) mod expand;
pub mod finding;
pub(crate) mod interpolate;
pub(crate) mod kubernetes;
pub mod pages;
mod quadlet;
pub mod rules;
pub(crate) mod service;
pub(crate) mod services;
pub mod show;
mod unit;
pub(crate) mod unit_file;
pub(crate) mod yaml;

use cluster::Cluster;
use command::base_name;
pub(crate) use command::is_other_init;
use finding::{Finding, Findings, ObjectRef, Position};
use rules::Rule;
use unit_file::Unit;
use yaml::Node;

/// A file to check.
pub struct SourceFile {
    /// Its name in findings.
    pub name: String,
    pub text: String,
}

/// What was found.
pub struct Judgement {
    pub findings: Vec<Finding>,
    /// The number of files.
    pub files: usize,
    /// How many containers, services and images are in them.
    pub services: usize,
}

/// After a `#`, which begins a comment in every kind of file, this skips a rule for its file: `#
/// adieu: allow one-replica`.
const ALLOW: &str = "adieu: allow ";

/// All findings in these files, in their order. An object in one file may apply to objects in
/// another.
///
/// # Errors
/// One line for the first file that cannot be read: file, line, and how to fix it.
pub fn judge(sources: &[SourceFile], allowed: &[Rule]) -> Result<Judgement, String> {
    let (mut findings, mut cluster) = (Findings::default(), Cluster::default());
    for source in sources {
        read_routes(source, &mut cluster);
    }
    for source in sources {
        let refused = |(place, why): (Position, String)| format!("{}:{}: {why}", source.name, place.line);
        read(source, &mut cluster, &mut findings).map_err(refused)?;
    }
    cluster.check(&mut findings);
    let order = |file: &str| sources.iter().position(|source| source.name == file);
    let Findings { mut found, services } = findings;
    found.retain(|finding| !allowed.contains(&finding.rule) && !allows(sources, finding));
    found.sort_by_key(|finding| (order(&finding.file), finding.line, finding.column, finding.rule));
    found.dedup();
    Ok(Judgement { findings: found, files: sources.len(), services })
}

fn allows(sources: &[SourceFile], finding: &Finding) -> bool {
    let source = sources.iter().find(|source| source.name == finding.file);
    let lines = source.into_iter().flat_map(|source| source.text.lines());
    let named = lines
        .filter_map(|line| line.split_once(ALLOW))
        .filter(|(before, _)| before.trim_end().ends_with('#'));
    named.flat_map(|(_, rest)| rest.split([',', ' ', ':'])).any(|word| word == finding.rule.id())
}

/// What is not YAML has no Services; `read` names what is wrong with it.
fn read_routes(source: &SourceFile, cluster: &mut Cluster) {
    for document in yaml::documents(&source.text).iter().flatten() {
        kubernetes::read_routes(Node::new(document), cluster);
    }
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
        return read_unit(name, text, findings);
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
        return Err((Position::line(1), not_yaml(text, "it has no kind: and no services:")));
    }
    let what = "this is not a Kubernetes object, compose file, systemd unit, Quadlet or Dockerfile";
    Err((
        Position::line(1),
        format!("{what}; a Kubernetes object has 'kind:', a compose file 'services:', a unit '[Service]'"),
    ))
}

fn read_unit(name: &str, text: &str, findings: &mut Findings) -> Result<(), (Position, String)> {
    let unit = Unit::parse(text)?;
    let subject = ObjectRef { file: name.to_owned(), object: base_name(name) };
    if unit.has("Container") {
        quadlet::read(&unit, subject, findings)
    } else if unit.has("Service") {
        unit::read(&unit, subject, findings)
    } else {
        Ok(())
    }
}

/// The first line that is neither empty nor a comment is a section.
pub(crate) fn looks_like_unit(text: &str) -> bool {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    first.is_some_and(|line| line.starts_with('[') && line.ends_with(']') && !line.contains([',', '"', '{']))
}

fn not_yaml(text: &str, why: &str) -> String {
    if text.contains("{{") {
        return format!(
            "this is a template, not YAML ({why}); render it first: helm template CHART | adieu-rehearse --lint -"
        );
    }
    format!(
        "this is not YAML: {why}; correct the line; a Dockerfile is recognised by its name, a unit by a section ([Service])"
    )
}
