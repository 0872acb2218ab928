//! A YAML node, as manifests need it: merge keys are followed, and scalars of any type have a text.

use saphyr::Yaml;

#[derive(Clone, Copy)]
pub(super) struct Node<'a>(pub(super) &'a Yaml<'a>);

impl<'a> Node<'a> {
    pub(super) fn get(self, key: &str) -> Option<Node<'a>> {
        if let Some(found) = self.0.as_mapping_get(key) {
            return Some(Node(found));
        }
        let merged = Node(self.0.as_mapping_get("<<")?);
        merged.get(key).or_else(|| merged.items().into_iter().find_map(|item| item.get(key)))
    }

    /// A path of keys: `spec.template.spec`.
    pub(super) fn at(self, path: &str) -> Option<Node<'a>> {
        path.split('.').try_fold(self, Node::get)
    }

    pub(super) fn items(self) -> Vec<Node<'a>> {
        self.0.as_sequence().map(|items| items.iter().map(Node).collect()).unwrap_or_default()
    }

    pub(super) fn entries(self) -> Vec<(String, Node<'a>)> {
        let Some(mapping) = self.0.as_mapping() else { return Vec::new() };
        mapping.iter().filter_map(|(key, value)| Some((Node(key).text()?, Node(value)))).collect()
    }

    pub(super) fn text(self) -> Option<String> {
        let scalar = self.0;
        scalar
            .as_str()
            .map(str::to_owned)
            .or_else(|| scalar.as_integer().map(|number| number.to_string()))
            .or_else(|| scalar.as_bool().map(|on| on.to_string()))
            .or_else(|| scalar.as_floating_point().map(|number| number.to_string()))
    }

    pub(super) fn number(self) -> Option<u64> {
        self.0.as_integer().and_then(|number| u64::try_from(number).ok())
    }

    pub(super) fn texts(self) -> Vec<String> {
        self.items().into_iter().filter_map(Node::text).collect()
    }
}
