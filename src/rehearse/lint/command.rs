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
    let [shell, flag, line, ..] = behind_launchers(words) else { return None };
    let name = base_name(shell);
    let is_shell = ["sh", "bash", "ash", "dash", "zsh", "ksh"].contains(&name.as_str());
    (is_shell && flag.starts_with('-') && flag.ends_with('c')).then_some((name, line.as_str()))
}

/// The words behind `env NAME=VALUE` or `gosu USER`, which replace themselves by them.
pub(crate) fn behind_launchers(words: &[String]) -> &[String] {
    let Some((first, rest)) = words.split_first() else { return words };
    let skipped = match base_name(first).as_str() {
        "env" => rest.iter().take_while(|word| word.contains('=') && !word.starts_with('-')).count(),
        "gosu" | "su-exec" => 1,
        _ => return words,
    };
    rest.get(skipped..).unwrap_or_default()
}

/// The app gets the shell's signals: the last command replaces the shell, or a trap passes them on.
pub(crate) fn hands_over(line: &str) -> bool {
    handed_over(line).is_some() || commands(line).iter().any(|command| command.starts_with("trap "))
}

/// What `exec` in front of the last command starts.
fn handed_over(line: &str) -> Option<String> {
    const ENDS: [&str; 5] = ["fi", "esac", "done", "}", ")"];
    let commands = commands(line);
    let last = commands.iter().rev().find(|command| !ENDS.contains(&command.as_str()))?;
    let words = ["then ", "else ", "do ", "{ "].iter().find_map(|word| last.strip_prefix(word));
    words.unwrap_or(last).trim_start().strip_prefix("exec ").map(str::to_owned)
}

/// The commands of a shell's line, roughly: it is parted where a command ends, outside of quotes.
pub(crate) fn commands(line: &str) -> Vec<String> {
    let line = line.replace("\\\n", " ");
    let (mut all, mut command, mut quote) = (Vec::new(), String::new(), None);
    for letter in line.chars() {
        match quote {
            Some(open) if open == letter => quote = None,
            Some(_) => {}
            None if ['"', '\''].contains(&letter) => quote = Some(letter),
            None if ['\n', ';', '&', '|'].contains(&letter) => {
                all.push(std::mem::take(&mut command));
                continue;
            }
            None => {}
        }
        command.push(letter);
    }
    all.push(command);
    let whole = all.iter().map(|command| command.trim()).filter(|command| !command.is_empty());
    whole.filter(|command| !command.starts_with('#')).map(str::to_owned).collect()
}

/// The words of the program that the line starts in the shell's place, or alone.
pub(crate) fn started_by(line: &str) -> Option<Vec<String>> {
    handed_over(line).and_then(|line| shlex::split(&line)).or_else(|| simple(line))
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
