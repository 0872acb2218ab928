//! The pods of custom resources, which have them at places of their own: `spec.podTemplate.spec` of
//! a FlinkDeployment, `spec.predictor` of an InferenceService. A pod is known by its containers.

use super::Pod;
use crate::lint::yaml::Node;

const GRACE: &str = "terminationGracePeriodSeconds";

/// All pods in a custom resource; none in an object of Kubernetes' own, whose places are known.
pub(super) fn pods(object: Node) -> Vec<Pod> {
    let mut found = Vec::new();
    if is_custom(object) && !is_about_others(object) {
        let parts = object.entries().into_iter();
        for (_, part) in parts.filter(|(key, _)| !["metadata", "status"].contains(&key.as_str())) {
            collect(part, None, &mut found);
        }
    }
    found
}

/// A group without a domain is Kubernetes' own, and so is one below k8s.io; those that its
/// special interest groups add to it are below x-k8s.io.
fn is_custom(object: Node) -> bool {
    let version = object.text_at("apiVersion").unwrap_or_default();
    let group = version.split_once('/').map_or("", |(group, _)| group);
    group.contains('.') && !group.ends_with(".k8s.io")
}

/// A policy has patterns of pods, and the steps of a workflow end by themselves.
fn is_about_others(object: Node) -> bool {
    let kind = object.text_at("kind").unwrap_or_default();
    ["Policy", "Constraint", "Workflow", "WorkflowTemplate"].iter().any(|end| kind.ends_with(end))
}

/// The controller may take the grace from beside the pod, so one on the way to it counts.
fn collect<'a>(node: Node<'a>, above: Option<Node<'a>>, found: &mut Vec<Pod<'a>>) {
    let grace = node.get(GRACE).or(above);
    let is_pod = has_containers(node);
    if is_pod {
        found.push(Pod { spec: node, grace });
    }
    for (key, value) in node.entries() {
        if !(is_pod && ["containers", "initContainers"].contains(&key.as_str())) {
            collect(value, grace, found);
        }
    }
    for item in node.items() {
        collect(item, grace, found);
    }
}

/// Each has a name. One may be without an image: then it changes a container of the controller.
fn has_containers(node: Node) -> bool {
    let containers = node.items_at("containers");
    containers.iter().all(|container| container.text_at("name").is_some())
        && containers.iter().any(|container| container.text_at("image").is_some())
}
