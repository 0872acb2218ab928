//! What systemd fills in: specifiers in most settings of a unit (systemd.unit(5), "Specifiers"),
//! and variables in its command lines (systemd.service(5), "Command lines").

use std::collections::BTreeSet;

/// A unit's name, such as `app@blue.service`.
pub(crate) struct UnitName<'a>(pub(crate) &'a str);

/// What was not filled in.
#[derive(Default)]
pub(crate) struct Unfilled {
    /// Specifiers that are left as they stand.
    pub(crate) specifiers: BTreeSet<String>,
    /// Variables without a value, which systemd takes as empty.
    pub(crate) variables: BTreeSet<String>,
}

impl UnitName<'_> {
    /// The name without its suffix.
    fn stem(&self) -> Option<&str> {
        self.0.strip_suffix(".service").filter(|stem| !stem.is_empty())
    }

    fn prefix(&self) -> Option<&str> {
        self.stem().map(|stem| stem.split_once('@').map_or(stem, |(prefix, _)| prefix))
    }

    /// A unit without `@` has an empty one; that of a template is not known.
    fn instance(&self) -> Option<&str> {
        let instance = self.stem()?.split_once('@').map_or("", |(_, instance)| instance);
        (!self.stem()?.ends_with('@')).then_some(instance)
    }

    fn value(&self, letter: char) -> Option<String> {
        match letter {
            '%' => Some("%".to_owned()),
            'i' => self.instance().map(str::to_owned),
            'I' => self.instance().and_then(unescape),
            'p' => self.prefix().map(str::to_owned),
            'P' => self.prefix().and_then(unescape),
            // The whole name of a template is that of no unit.
            'n' => self.instance().map(|_| self.0.to_owned()),
            'N' => self.instance().and(self.stem()).map(str::to_owned),
            _ => None,
        }
    }

    /// Fills in the specifiers that the name gives.
    pub(crate) fn specifiers(&self, text: &str, unfilled: &mut Unfilled) -> String {
        let (mut out, mut letters) = (String::new(), text.chars());
        while let Some(letter) = letters.next() {
            let named = if letter == '%' { letters.next() } else { None };
            match named.map(|named| (named, self.value(named))) {
                Some((_, Some(value))) => out.push_str(&value),
                Some((named, None)) => {
                    out.extend(['%', named]);
                    // systemd, too, leaves a per cent sign before anything but a letter.
                    if named.is_ascii_alphabetic() {
                        unfilled.specifiers.insert(format!("%{named}"));
                    }
                }
                None => out.push(letter),
            }
        }
        out
    }
}

/// systemd-escape(1): a dash is a slash, and `\x2d` a dash.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next()?.replace('-', "/").into_bytes();
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend(part.get(2..)?.replace('-', "/").into_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// Fills variables into the words of a command line, except the program's: a word `$A` becomes the
/// words of its value, `${A}` its value anywhere in a word, and `$$` a dollar sign.
pub(super) fn variables(
    words: Vec<String>,
    value: &dyn Fn(&str) -> Option<String>,
    unfilled: &mut Unfilled,
) -> Vec<String> {
    let mut value = |name: &str| {
        value(name).unwrap_or_else(|| {
            unfilled.variables.insert(name.to_owned());
            String::new()
        })
    };
    let mut words = words.into_iter();
    let mut out: Vec<String> = words.next().into_iter().collect();
    for word in words {
        match word.strip_prefix('$').filter(|name| is_name(name)) {
            Some(name) => {
                let text = value(name);
                let plain = || text.split_whitespace().map(str::to_owned).collect();
                out.extend(shlex::split(&text).unwrap_or_else(plain));
            }
            None => out.push(in_braces(&word, &mut value)),
        }
    }
    out
}

fn in_braces(word: &str, value: &mut impl FnMut(&str) -> String) -> String {
    let (mut out, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        let braced = after.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        if let Some((name, after)) = braced.filter(|(name, _)| is_name(name)) {
            out.push_str(&value(name));
            rest = after;
        } else {
            out.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    out + rest
}

fn is_name(text: &str) -> bool {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.chars().all(letter) && text.chars().next().is_some_and(|first| !first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in_as_systemd_does() {
        let mut unfilled = Unfilled::default();
        let mut filled = |name: &str, text: &str| UnitName(name).specifiers(text, &mut unfilled);
        assert_eq!(
            filled("a@b-c\\x2dd.service", "%p %i %I %n %N"),
            "a b-c\\x2dd b/c-d a@b-c\\x2dd.service a@b-c\\x2dd"
        );
        assert_eq!(filled("a.service", "%p '%i' 5%% 5% %"), "a '' 5% 5% %");
        assert!(unfilled.specifiers.is_empty());
        assert_eq!(UnitName("a@.service").specifiers("%p %i %H", &mut unfilled), "a %i %H");
        assert_eq!(unfilled.specifiers.into_iter().collect::<Vec<_>>(), ["%H", "%i"]);
    }
}
