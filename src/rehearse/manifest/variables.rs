//! Variables that a manifest takes from other places: env files, and a pod's ConfigMaps and
//! Secrets, if they are in the same file.

use crate::lint::yaml::Node;
use crate::recording::ManifestNote;

/// Names and values; a later one overrides an earlier one.
pub(super) type Variables = Vec<(String, String)>;

/// A compose env_file: a comment may follow a value.
pub(super) fn of_compose(text: &str) -> Variables {
    assignments(text, |value| value.split_once(" #").map_or(value, |(value, _)| value).trim_end())
}

/// An EnvironmentFile of systemd.exec(5).
pub(super) fn of_systemd(text: &str) -> Variables {
    assignments(&text.replace("\\\n", ""), |value| value)
}

/// NAME=VALUE lines. A value in quotes ends at its quote; `cut` ends any other value.
fn assignments(text: &str, cut: impl Fn(&str) -> &str) -> Variables {
    let lines = text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.strip_prefix("export ").unwrap_or(line).split_once('='));
    let value = |value: &str| {
        let value = value.trim();
        let quoted = ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.split_once(quote));
        quoted.map_or_else(|| cut(value), |(inner, _)| inner).to_owned()
    };
    pairs.map(|(name, text)| (name.trim().to_owned(), value(text))).collect()
}

/// The ConfigMaps and Secrets of one file.
pub(super) struct PodVariables<'a> {
    maps: Vec<VariableMap<'a>>,
}

struct VariableMap<'a> {
    kind: String,
    name: String,
    object: Node<'a>,
}

impl VariableMap<'_> {
    fn values(&self) -> Variables {
        let text = |key: &str| self.object.get(key).map(Node::entries).unwrap_or_default();
        let plain = |(name, node): (String, Node)| Some((name, node.text()?));
        let mut values: Variables = match self.kind.as_str() {
            "Secret" => text("data")
                .into_iter()
                .filter_map(|(name, node)| Some((name, from_base64(&node.text()?)?)))
                .collect(),
            _ => text("data").into_iter().filter_map(plain).collect(),
        };
        values.extend(text("stringData").into_iter().filter_map(plain));
        values
    }
}

impl<'a> PodVariables<'a> {
    pub(super) fn of(objects: &[Node<'a>]) -> PodVariables<'a> {
        let map = |object: &Node<'a>| {
            let kind =
                object.get("kind")?.text().filter(|kind| ["ConfigMap", "Secret"].contains(&kind.as_str()));
            Some(VariableMap { kind: kind?, name: object.at("metadata.name")?.text()?, object: *object })
        };
        PodVariables { maps: objects.iter().filter_map(map).collect() }
    }

    /// The variables of a container, where `env` overrides `envFrom`, and notes for unknown values.
    pub(super) fn of_container(&self, container: Node) -> (Variables, Vec<ManifestNote>) {
        let (mut known, mut unknown) = (Variables::new(), Vec::new());
        for entry in container.get("envFrom").map(Node::items).unwrap_or_default() {
            let prefix = entry.get("prefix").and_then(Node::text).unwrap_or_default();
            for (key, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
                let Some(name) = entry.get(key).and_then(|map| map.get("name")?.text()) else { continue };
                match self.map(kind, &name) {
                    Some(map) => {
                        let prefixed = |(name, value)| (format!("{prefix}{name}"), value);
                        known.extend(map.values().into_iter().map(prefixed));
                    }
                    None => unknown.push(ManifestNote::new(
                        format!("the variables of {kind} '{name}' are not in the manifest"),
                        "put it into the same file, or give them with --env NAME=VALUE",
                    )),
                }
            }
        }
        for entry in container.get("env").map(Node::items).unwrap_or_default() {
            let Some(name) = entry.get("name").and_then(Node::text) else { continue };
            let from = |entry: Node| match entry.get("valueFrom") {
                Some(from) => self.referred(from),
                None => Some(entry.get("value").and_then(Node::text).unwrap_or_default()),
            };
            known.retain(|(other, _)| *other != name);
            match from(entry) {
                Some(value) => known.push((name, value)),
                None => unknown.push(ManifestNote::new(
                    format!("the value of {name} is not in the manifest"),
                    format!("give it with --env {name}=VALUE"),
                )),
            }
        }
        (known, unknown)
    }

    fn referred(&self, from: Node) -> Option<String> {
        let kinds = [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")];
        let (reference, kind) = kinds.into_iter().find_map(|(key, kind)| Some((from.get(key)?, kind)))?;
        let (name, key) = (reference.get("name")?.text()?, reference.get("key")?.text()?);
        self.map(kind, &name)?.values().into_iter().find_map(|(name, value)| (name == key).then_some(value))
    }

    fn map(&self, kind: &str, name: &str) -> Option<&VariableMap<'a>> {
        self.maps.iter().find(|map| map.kind == kind && map.name == name)
    }
}

/// Decodes base64, RFC 4648, section 4; `None` for anything else, or when the result is not text.
fn from_base64(text: &str) -> Option<String> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for letter in text.bytes().filter(|letter| !letter.is_ascii_whitespace() && *letter != b'=') {
        let value = ALPHABET.iter().position(|known| *known == letter)? as u32;
        bits = bits << 6 | value;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_assignments_are_read_as_their_owners_do() {
        let text = "# a comment\nexport A=1 # why\nB=\"two words\" # x\nC='#3'\n\nD\nE=\n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            of_compose(text),
            [pair("A", "1"), pair("B", "two words"), pair("C", "#3"), pair("E", "")]
        );
        assert_eq!(
            of_systemd("; none\nA=1 # no comment\nB=x\\\ny\n"),
            [pair("A", "1 # no comment"), pair("B", "xy")]
        );
    }

    #[test]
    fn secrets_are_read() {
        for (encoded, text) in [("aHVudGVyMg==", "hunter2"), ("YQ==", "a"), ("", ""), ("YWJj", "abc")] {
            assert_eq!(from_base64(encoded).as_deref(), Some(text));
        }
        assert_eq!(from_base64("a-b"), None);
        assert_eq!(from_base64("/w=="), None, "no text");
    }
}
