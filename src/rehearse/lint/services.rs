//! The services of a compose file. What a service `extends` in the same file is below it.

use super::yaml::Node;

/// More layers are a loop.
const DEEPEST: usize = 16;

/// A service, with those that it extends.
pub(crate) struct ComposeService<'a> {
    pub(crate) name: String,
    /// Its own settings first.
    layers: Vec<Node<'a>>,
    /// It also extends a service of another file, which is not read.
    pub(crate) extends_elsewhere: bool,
}

pub(crate) fn all(file: Node) -> Vec<ComposeService> {
    let services = file.get("services").map(Node::entries).unwrap_or_default();
    services.into_iter().map(|(name, node)| layered(file, name, node)).collect()
}

fn layered<'a>(file: Node<'a>, name: String, own: Node<'a>) -> ComposeService<'a> {
    let mut service = ComposeService { name, layers: vec![own], extends_elsewhere: false };
    let mut next = own.get("extends");
    while let Some(extends) = next {
        let below = extends.text().or_else(|| extends.text_at("service"));
        let below = below.filter(|_| extends.get("file").is_none() && service.layers.len() < DEEPEST);
        match below.and_then(|name| file.get("services")?.get(&name)) {
            Some(below) => {
                service.layers.push(below);
                next = below.get("extends");
            }
            None => {
                service.extends_elsewhere = true;
                next = None;
            }
        }
    }
    service
}

impl<'a> ComposeService<'a> {
    /// The mapping of its own settings.
    pub(crate) fn own(&self) -> Node<'a> {
        self.layers[0]
    }

    /// A setting, by a path of keys: the uppermost layer that has it counts.
    pub(crate) fn at(&self, path: &str) -> Option<Node<'a>> {
        self.layers.iter().find_map(|layer| layer.at(path))
    }

    /// The text of a setting.
    pub(crate) fn text_at(&self, path: &str) -> Option<String> {
        self.at(path)?.text()
    }

    /// Compose takes YAML 1.1's words, too.
    pub(crate) fn says_true(&self, path: &str) -> bool {
        self.text_at(path)
            .is_some_and(|text| ["true", "yes", "on", "y"].contains(&text.to_lowercase().as_str()))
    }

    /// The names of all settings, each once, with their values if they are scalars.
    pub(crate) fn settings(&self) -> Vec<(String, Option<String>)> {
        let mut all: Vec<(String, Option<String>)> = Vec::new();
        for (key, value) in self.layers.iter().flat_map(|layer| layer.settings()) {
            if !all.iter().any(|(other, _)| *other == key) {
                all.push((key, value));
            }
        }
        all
    }

    /// What each layer has for a list, the lowest first: a layer above adds to it.
    pub(crate) fn lists(&self, key: &str) -> Vec<Node<'a>> {
        self.layers.iter().rev().filter_map(|layer| layer.get(key)).collect()
    }

    /// A list of NAME=VALUE or a mapping; a name may come without a value. A later one overrides.
    pub(crate) fn environment(&self) -> Vec<(String, Option<String>, Node<'a>)> {
        let mut all: Vec<(String, Option<String>, Node<'a>)> = Vec::new();
        for list in self.lists("environment") {
            let of_mapping = list.entries().into_iter().map(|(name, value)| (name, value.text(), value));
            let of_list = list.items().into_iter().filter_map(|item| {
                let text = item.text()?;
                Some(match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned()), item),
                    None => (text, None, item),
                })
            });
            for one in of_mapping.chain(of_list) {
                all.retain(|(name, ..)| *name != one.0);
                all.push(one);
            }
        }
        all
    }
}
