//! Programs that stop gracefully by a signal other than TERM, known by name.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub struct Program {
    pub name: &'static str,
    /// Other names of the same program.
    pub also: &'static [&'static str],
    /// How it is stopped, in the notation of `--stop`; `None`: by the signal that asks.
    pub schedule: Option<&'static str>,
    /// The signal that its images declare as STOPSIGNAL and that therefore asks for a stop, too.
    pub asks: Option<&'static str>,
    /// A second stop signal would make it drop its work.
    pub stop_once: bool,
}

const fn program(name: &'static str, also: &'static [&'static str], signal: &'static str) -> Program {
    Program { name, also, schedule: Some(signal), asks: Some(signal), stop_once: false }
}

/// Sources: the signal pages of each program's manual, and the STOPSIGNAL of the official images.
static PROGRAMS: &[Program] = &[
    program("nginx", &["openresty"], "QUIT"),
    program("httpd", &["apache2", "httpd-foreground", "apache2-foreground"], "WINCH"),
    program("php-fpm", &[], "QUIT"),
    program("postgres", &[], "INT"),
    program("unicorn", &[], "QUIT"),
    program("haproxy", &[], "USR1"),
    program("uwsgi", &[], "INT"),
    // TSTP: take no new job. It is a command of its own that comes long before a stop, so it does not ask for one.
    Program { name: "sidekiq", also: &[], schedule: Some("TSTP/2s/TERM"), asks: None, stop_once: false },
    Program { name: "rq", also: &[], schedule: None, asks: None, stop_once: true },
];

/// Entry points of official images that end by executing their first argument.
const LAUNCHERS: [&str; 2] = ["docker-entrypoint.sh", "docker-php-entrypoint"];

pub fn by_name(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.name == name || program.also.contains(&name))
}

/// What `--profile` may say.
pub fn choices() -> Vec<&'static str> {
    names().into_iter().chain(["none"]).collect()
}

pub fn names() -> Vec<&'static str> {
    PROGRAMS.iter().map(|program| program.name).collect()
}

/// The program that COMMAND runs, by its base name: `/usr/sbin/nginx`, `php-fpm8.2`.
pub fn of_command(command: &[OsString]) -> Option<&'static Program> {
    let name = base_name(command.first()?)?;
    if LAUNCHERS.contains(&name) {
        return by_name(base_name(command.get(1)?)?);
    }
    by_name(name).or_else(|| by_name(name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')))
}

fn base_name(command: &OsString) -> Option<&str> {
    let name = Path::new(command).file_name().unwrap_or(OsStr::new(""));
    std::str::from_utf8(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::values;

    fn of(command: &[&str]) -> Option<&'static str> {
        let words: Vec<OsString> = command.iter().map(OsString::from).collect();
        of_command(&words).map(|program| program.name)
    }

    #[test]
    fn a_program_is_known_by_its_base_name() {
        assert_eq!(of(&["/usr/sbin/nginx", "-g", "daemon off;"]), Some("nginx"));
        assert_eq!(of(&["php-fpm8.2"]), Some("php-fpm"));
        assert_eq!(of(&["docker-entrypoint.sh", "postgres"]), Some("postgres"));
        assert_eq!(of(&["apache2-foreground"]), Some("httpd"));
        assert_eq!(of(&["sh", "-c", "nginx"]), None);
        assert_eq!(of(&["nginx-exporter"]), None);
    }

    #[test]
    fn every_schedule_and_signal_in_the_table_is_valid() {
        for program in PROGRAMS {
            assert!(
                program.schedule.is_none_or(|schedule| values::schedule(schedule).is_ok()),
                "{}",
                program.name
            );
            assert!(program.asks.is_none_or(|signal| values::catchable(signal).is_ok()), "{}", program.name);
        }
    }
}
