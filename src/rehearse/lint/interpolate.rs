//! Variables in a compose file: `$NAME`, `${NAME:-default}` and their kin, as in the Compose
//! Specification, "Interpolation". `$$` is a dollar sign.

/// Fills in the variables; `unset` says what one without a value and a default becomes.
///
/// # Errors
/// What `unset` says, or that a variable is required (`${NAME:?why}`).
pub(crate) fn interpolate(
    text: &str,
    value: &dyn Fn(&str) -> Option<String>,
    unset: &dyn Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once('$') {
        out.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some((inner, after)) = after.strip_prefix('{').and_then(closed) {
            out.push_str(&braced(inner, value, unset)?);
            rest = after;
        } else {
            let (name, after) = after.split_at(name_length(after));
            if name.is_empty() {
                out.push('$');
            } else {
                out.push_str(&value(name).map_or_else(|| unset(name), Ok)?);
            }
            rest = after;
        }
    }
    Ok(out + rest)
}

/// Up to the brace that closes the first one: a default may hold variables, too.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut open = 1;
    let close = text.char_indices().find(|(place, letter)| {
        match letter {
            '{' if text[..*place].ends_with('$') => open += 1,
            '}' => open -= 1,
            _ => {}
        }
        open == 0
    });
    close.map(|(place, _)| (&text[..place], &text[place + 1..]))
}

fn braced(
    inner: &str,
    value: &dyn Fn(&str) -> Option<String>,
    unset: &dyn Fn(&str) -> Result<String, String>,
) -> Result<String, String> {
    let (name, rest) = inner.split_at(name_length(inner));
    // With a colon, an empty value counts as none.
    let (operator, counts_empty) = rest.strip_prefix(':').map_or((rest, true), |rest| (rest, false));
    let found = value(name).filter(|value| counts_empty || !value.is_empty());
    let more = operator.get(1..).unwrap_or_default();
    match operator.chars().next() {
        Some('-') => found.map_or_else(|| interpolate(more, value, unset), Ok),
        Some('?') => found.ok_or_else(|| format!("{name} is not set: {more}")),
        Some('+') if found.is_some() => interpolate(more, value, unset),
        Some('+') => unset(name).map(|_| String::new()),
        _ => found.map_or_else(|| unset(name), Ok),
    }
}

fn name_length(text: &str) -> usize {
    let letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.find(|one: char| !letter(one)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_as_compose_does() {
        let value = |name: &str| match name {
            "A" => Some("a".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        let fill = |text: &str| interpolate(text, &value, &|_| Ok(String::new()));
        for (text, filled) in [
            ("plain", "plain"),
            ("$A-${A}-$$A $ ${", "a-a-$A $ ${"),
            ("${A:-x}${EMPTY:-x}${EMPTY-x}|${NONE-x}", "ax|x"),
            ("${NONE:-${EMPTY:-${A}/y}}z", "a/yz"),
            ("${NONE:-a-b:?c}", "a-b:?c"),
            ("${A:+set}${EMPTY:+set}${EMPTY+set}${NONE+set}", "setset"),
            ("$NONE${NONE}", ""),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(filled), "{text}");
        }
        assert_eq!(fill("${NONE:?not-given}"), Err("NONE is not set: not-given".to_owned()));
        assert_eq!(fill("${A:?x}${EMPTY?x}").as_deref(), Ok("a"));
    }
}
