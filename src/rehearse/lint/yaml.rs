//! A YAML node with its position in the file. Merge keys are followed; a scalar of any type can be
//! read as text.

use saphyr::{LoadableYamlNode, MarkedYaml};

use super::finding::{Position, Spot};

#[derive(Clone, Copy)]
pub(crate) struct Node<'a>(&'a MarkedYaml<'a>);

/// All documents in a text.
///
/// # Errors
/// The line, and what is wrong on it.
pub(crate) fn documents(text: &str) -> Result<Vec<MarkedYaml<'_>>, (usize, String)> {
    MarkedYaml::load_from_str(text).map_err(|error| (error.marker().line(), error.info().to_owned()))
}

impl<'a> Node<'a> {
    pub(crate) fn new(document: &'a MarkedYaml<'a>) -> Node<'a> {
        Node(document)
    }

    pub(crate) fn place(self) -> Position {
        let start = self.0.span.start;
        Position { line: start.line().max(1), column: start.col() + 1 }
    }

    pub(crate) fn get(self, key: &str) -> Option<Node<'a>> {
        if let Some(found) = self.0.data.as_mapping_get(key) {
            return Some(Node(found));
        }
        let merged = Node(self.0.data.as_mapping_get("<<")?);
        merged.get(key).or_else(|| merged.items().into_iter().find_map(|item| item.get(key)))
    }

    /// A path of keys: `spec.template.spec`.
    pub(crate) fn at(self, path: &str) -> Option<Node<'a>> {
        path.split('.').try_fold(self, Node::get)
    }

    pub(crate) fn items(self) -> Vec<Node<'a>> {
        self.0.data.as_sequence().map(|items| items.iter().map(Node).collect()).unwrap_or_default()
    }

    /// The items of a list below a key.
    pub(crate) fn items_at(self, path: &str) -> Vec<Node<'a>> {
        self.at(path).map(Node::items).unwrap_or_default()
    }

    /// All keys with their values; also those that are merged in, where the mapping has none of its
    /// own.
    pub(crate) fn entries(self) -> Vec<(String, Node<'a>)> {
        let Some(mapping) = self.0.data.as_mapping() else { return Vec::new() };
        let all = mapping.iter().filter_map(|(key, value)| Some((Node(key).text()?, Node(value))));
        let (merges, mut entries): (Vec<_>, Vec<_>) = all.partition(|(key, _)| key == "<<");
        let merged = merges.into_iter().flat_map(|(_, node)| {
            let mappings = if node.items().is_empty() { vec![node] } else { node.items() };
            mappings.into_iter().flat_map(Node::entries).collect::<Vec<_>>()
        });
        for (key, value) in merged {
            if !entries.iter().any(|(other, _)| *other == key) {
                entries.push((key, value));
            }
        }
        entries
    }

    /// All keys with their values as text, if they are scalars.
    pub(crate) fn settings(self) -> Vec<(String, Option<String>)> {
        self.entries().into_iter().map(|(key, value)| (key, value.text())).collect()
    }

    pub(crate) fn text(self) -> Option<String> {
        let scalar = &self.0.data;
        scalar
            .as_str()
            .map(str::to_owned)
            .or_else(|| scalar.as_integer().map(|number| number.to_string()))
            .or_else(|| scalar.as_bool().map(|on| on.to_string()))
            .or_else(|| scalar.as_floating_point().map(|number| number.to_string()))
    }

    pub(crate) fn text_at(self, path: &str) -> Option<String> {
        self.at(path)?.text()
    }

    pub(crate) fn number(self) -> Option<u64> {
        self.0.data.as_integer().and_then(|number| u64::try_from(number).ok())
    }

    pub(crate) fn number_at(self, path: &str) -> Option<u64> {
        self.at(path)?.number()
    }

    pub(crate) fn texts(self) -> Vec<String> {
        self.items().into_iter().filter_map(Node::text).collect()
    }

    pub(crate) fn spot<T>(self, value: T) -> Spot<T> {
        Spot::new(value, self.place())
    }

    /// All scalars below, with their keys: `("terminationGracePeriodSeconds", node)`.
    pub(crate) fn scalars(self, key: &str, found: &mut Vec<(String, Node<'a>)>) {
        for (name, value) in self.entries() {
            value.scalars(&name, found);
        }
        for item in self.items() {
            item.scalars(key, found);
        }
        if self.text().is_some() {
            found.push((key.to_owned(), self));
        }
    }
}
