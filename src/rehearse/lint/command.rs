//! What a command line starts: adieu or another init in front of the app, a shell, a known program.

use std::path::Path;

/// How the command reaches the app.
pub(crate) struct Invocation {
    /// adieu's own options; `None` without adieu.
    pub(crate) adieu: Option<Vec<String>>,
    /// Another init, which comes first.
    pub(crate) init: Option<String>,
    /// The app and its arguments.
    pub(crate) app: Vec<String>,
}

/// Whether adieu is in front of the command, and what the command is then.
pub(crate) fn invocation(words: &[String]) -> Invocation {
    let mut invocation = Invocation { adieu: None, init: None, app: words.to_vec() };
    if let Some(first) = words.first().filter(|first| is_other_init(first)) {
        // An init's options may have values, so only what follows the dashes is certain.
        let dashes = words.iter().position(|word| word == "--");
        let rest = dashes.map_or(1, |dashes| dashes + 1);
        invocation.init = Some(base_name(first));
        invocation.app = words.get(rest..).unwrap_or_default().to_vec();
    }
    if invocation.app.first().is_some_and(|first| base_name(first) == "adieu") {
        let rest = invocation.app.split_off(1);
        let dashes = rest.iter().position(|word| word == "--");
        invocation.adieu = Some(rest[..dashes.unwrap_or(rest.len())].to_vec());
        invocation.app = dashes.map(|dashes| rest[dashes + 1..].to_vec()).unwrap_or_default();
    }
    invocation
}

/// Whether this is an init that is not adieu.
pub(crate) fn is_other_init(word: &str) -> bool {
    ["tini", "tini-static", "docker-init", "dumb-init", "catatonit"].contains(&base_name(word).as_str())
}

pub(crate) fn base_name(word: &str) -> String {
    Path::new(word).file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The program that an image of this name runs, when it is given no command.
pub(crate) fn program_of_image(image: &str) -> Option<&'static str> {
    let image = image.split('@').next().unwrap_or_default();
    let last = image.rsplit('/').next().unwrap_or_default();
    let (name, tag) = last.split_once(':').unwrap_or((last, ""));
    match name {
        "php" | "wordpress" if tag.contains("fpm") => Some("php-fpm"),
        "php" if tag.contains("apache") => Some("apache2"),
        "nginx-unprivileged" => Some("nginx"),
        "postgis" => Some("postgres"),
        _ => ["nginx", "openresty", "httpd", "haproxy", "postgres"].into_iter().find(|known| *known == name),
    }
}

/// The shell and its line, in `sh -c LINE`.
pub(crate) fn shell_line(words: &[String]) -> Option<(String, &str)> {
    let [shell, flag, line, ..] = without_env(words) else { return None };
    let name = base_name(shell);
    let is_shell = ["sh", "bash", "ash", "dash", "zsh", "ksh"].contains(&name.as_str());
    (is_shell && flag.starts_with('-') && flag.ends_with('c')).then_some((name, line.as_str()))
}

/// The words behind `env NAME=VALUE`, which replaces itself by them.
pub(crate) fn without_env(words: &[String]) -> &[String] {
    let Some((first, rest)) = words.split_first() else { return words };
    if base_name(first) != "env" {
        return words;
    }
    let assigned = rest.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count();
    &rest[assigned..]
}

/// The last command of the line replaces the shell.
pub(crate) fn hands_over(line: &str) -> bool {
    handed_over(line).is_some()
}

/// What `exec` in front of the last command starts.
fn handed_over(line: &str) -> Option<&str> {
    let ends = ['\n', ';', '&', '|', ' '];
    let line = line.trim().trim_end_matches(ends);
    let mut quote = None;
    let mut last = 0;
    for (place, letter) in line.char_indices() {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if ['"', '\''].contains(&letter) => quote = Some(letter),
            None if ends.contains(&letter) && letter != ' ' => last = place + 1,
            None => {}
        }
    }
    line[last..].trim_start().strip_prefix("exec ")
}

/// The words of the program that the line starts in the shell's place, or alone.
pub(crate) fn started_by(line: &str) -> Option<Vec<String>> {
    handed_over(line).and_then(shlex::split).or_else(|| simple(line))
}

/// The words of a line that needs no shell.
pub(crate) fn simple(line: &str) -> Option<Vec<String>> {
    // Between single quotes no character is special; between double quotes only $ and ` are.
    let outside: String = line.split('\'').step_by(2).collect();
    let bare: String = outside.split('"').step_by(2).collect();
    let needs_shell =
        outside.contains(['$', '`']) || bare.contains(['|', ';', '&', '<', '>', '(', '*', '?', '\n', '~']);
    let words = shlex::split(line)?;
    let assigns = words.first().is_some_and(|word| word.contains('='));
    (!needs_shell && !assigns && !words.is_empty()).then_some(words)
}
