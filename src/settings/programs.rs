//! Programs that do not stop cleanly on a plain TERM, known by name: one row each, with its source.
//! And the launchers in front of them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What adieu knows of a program.
pub struct Program {
    /// Base names of its command; the first one is shown.
    pub names: &'static [&'static str],
    /// Its stop schedule, in the notation of `--stop`; `None`: the signal of the stop request.
    pub schedule: Option<&'static str>,
    /// The signal besides TERM that counts as a stop request: the STOPSIGNAL of its images.
    pub asks: Option<&'static str>,
    /// A second stop signal would make it drop its work.
    pub stop_once: bool,
    /// A variable that it needs for a clean stop; adieu sets it unless it is set.
    pub variable: Option<(&'static str, &'static str)>,
    /// A word that its configuration needs for a clean stop.
    pub needs: Option<Need>,
    /// What the stop signal makes it do, for the documentation.
    pub effect: &'static str,
}

/// A word that must be in one of these files.
pub struct Need {
    pub word: &'static str,
    /// Files and folders.
    pub places: &'static [&'static str],
    pub otherwise: &'static str,
}

const BY_TERM: Program = Program {
    names: &[],
    schedule: None,
    asks: None,
    stop_once: false,
    variable: None,
    needs: None,
    effect: "",
};
const BY_QUIT: Program = Program { schedule: Some("QUIT"), asks: Some("QUIT"), ..BY_TERM };
const BY_INT: Program = Program { schedule: Some("INT"), asks: Some("INT"), ..BY_TERM };

/// Every known program.
#[rustfmt::skip]
pub static PROGRAMS: &[Program] = &[
    // The first three wait for their clients, which may stay: TERM ends them more cleanly than KILL
    // would. nginx.org/en/docs/control.html; STOPSIGNAL of the official images.
    Program { names: &["nginx", "openresty"], schedule: Some("QUIT/kill-1s/TERM"),
        effect: "finishes open requests and waits for its clients, until TERM a second before the kill", ..BY_QUIT },
    // httpd.apache.org/docs/2.4/stopping.html; STOPSIGNAL of the official image.
    Program { names: &["httpd", "apache2", "httpd-foreground", "apache2-foreground"],
        schedule: Some("WINCH/kill-1s/TERM"), asks: Some("WINCH"),
        effect: "finishes open requests and waits for its clients, until TERM a second before the kill", ..BY_TERM },
    // HAProxy Management Guide, "Stopping and restarting HAProxy"; STOPSIGNAL of the official
    // image.
    Program { names: &["haproxy"], schedule: Some("USR1/kill-1s/TERM"), asks: Some("USR1"),
        effect: "finishes open sessions and waits for its clients, until TERM a second before the kill", ..BY_TERM },
    // php-fpm(8); php.net/manual/en/install.fpm.configuration.php: process_control_timeout is 0 by
    // default, and QUIT is then as abrupt as TERM. STOPSIGNAL of the official image.
    Program { names: &["php-fpm"], needs: Some(Need {
            word: "process_control_timeout",
            places: &["/usr/local/etc/php-fpm.conf", "/usr/local/etc/php-fpm.d", "/etc/php-fpm.conf", "/etc/php-fpm.d",
                "/etc/php"],
            otherwise: "php-fpm drops its requests at the stop unless process_control_timeout is set, \
                as in 'process_control_timeout = 20s' in its [global] section" }),
        effect: "finishes open requests, if process_control_timeout is set", ..BY_QUIT },
    // postgresql.org/docs/current/server-shutdown.html; STOPSIGNAL of the official image.
    Program { names: &["postgres"],
        effect: "ends open transactions and shuts down cleanly; TERM would wait for every client", ..BY_INT },
    // The SIGNALS page of unicorn.
    Program { names: &["unicorn"], effect: "finishes open requests", ..BY_QUIT },
    // starman(1), SIGNALS.
    Program { names: &["starman"], effect: "finishes open requests", ..BY_QUIT },
    // Mojo::Server::Hypnotoad, MANAGER SIGNALS.
    Program { names: &["hypnotoad"], effect: "finishes open requests", ..BY_QUIT },
    // nghttpx(1), SIGNALS.
    Program { names: &["nghttpx"], effect: "finishes open requests", ..BY_QUIT },
    // README of resque, "Signals".
    Program { names: &["resque"], effect: "finishes the job", ..BY_QUIT },
    // docs.gitlab.com/runner/commands, "Signals".
    Program { names: &["gitlab-runner"], effect: "finishes the running jobs", ..BY_QUIT },
    // goteleport.com/docs/reference/deployment/signals.
    Program { names: &["teleport"], effect: "waits for open connections", ..BY_QUIT },
    // lighttpd(8), SIGNALS.
    Program { names: &["lighttpd"], effect: "finishes open requests", ..BY_INT },
    // README of pgcat: INT waits for clients up to shutdown_timeout, TERM does not.
    Program { names: &["pgcat"], effect: "finishes open transactions", ..BY_INT },
    // docs.pgdog.dev, shutdown_timeout.
    Program { names: &["pgdog"], effect: "finishes open transactions", ..BY_INT },
    // uwsgi-docs, "Signals for controlling uWSGI" and "Hooks". Measured on 2.0.31: without the hook
    // INT, QUIT and TERM with --die-on-term all cut open requests.
    Program { names: &["uwsgi"], variable: Some(("UWSGI_HOOK_MASTER_START", "unix_signal:2 gracefully_kill_them_all")),
        effect: "finishes open requests, by a variable that adieu sets", ..BY_INT },
    // beanstalkd(1), SIGNALS: drain mode takes no new jobs. USR1 is no stop request, since an
    // operator may send it and want the server to stay.
    Program { names: &["beanstalkd"], schedule: Some("USR1/2s/TERM"),
        effect: "takes no new jobs, and is stopped later", ..BY_TERM },
    // The "Signals" page of Sidekiq's wiki. TSTP comes long before a stop and is no stop request.
    Program { names: &["sidekiq"], schedule: Some("TSTP/2s/TERM"),
        effect: "takes no new jobs, and is stopped later", ..BY_TERM },
    // Changelog of pgbouncer 1.23: TERM waits for clients, a second one does not.
    Program { names: &["pgbouncer"], stop_once: true, effect: "waits for its clients; a second TERM would not", ..BY_TERM },
    // python-rq.org/docs/workers, "Taking Down Workers".
    Program { names: &["rq"], stop_once: true, effect: "finishes the job; a second TERM would drop it", ..BY_TERM },
    // buildkite.com/docs/agent/lifecycle, "Signal handling".
    Program { names: &["buildkite-agent"], stop_once: true,
        effect: "finishes the job; a second TERM would cancel it", ..BY_TERM },
];

/// A program that ends by executing another one, or runs it as its only child.
struct Launcher {
    names: &'static [&'static str],
    /// Its options that take a value in the next word.
    valued: &'static [&'static str],
    /// The word that must come before the other program's name.
    then: Option<&'static str>,
    /// How many words stand between its options and the other program's name: a user.
    operands: u8,
    /// Assignments (`NAME=VALUE`) may stand there.
    assigns: bool,
}

const PLAIN: Launcher = Launcher { names: &[], valued: &[], then: None, operands: 0, assigns: false };

#[rustfmt::skip]
static LAUNCHERS: &[Launcher] = &[
    // Entry points of official images.
    Launcher { names: &["docker-entrypoint.sh", "docker-php-entrypoint"], ..PLAIN },
    Launcher { names: &["tini", "tini-static", "docker-init"], valued: &["-p", "-e"], ..PLAIN },
    Launcher { names: &["dumb-init"], valued: &["-r", "--rewrite"], ..PLAIN },
    Launcher { names: &["catatonit"], ..PLAIN },
    // What changes the user or the environment, in entry points and Dockerfiles.
    Launcher { names: &["gosu", "su-exec", "s6-setuidgid"], operands: 1, ..PLAIN },
    Launcher { names: &["setpriv"], valued: &["--reuid", "--regid", "--groups", "--inh-caps", "--bounding-set"], ..PLAIN },
    Launcher { names: &["env"], valued: &["-u", "--unset", "-C", "--chdir"], assigns: true, ..PLAIN },
    Launcher { names: &["bundle", "bundler"], then: Some("exec"), ..PLAIN },
    Launcher { names: &["python"], valued: &["-W", "-X"], then: Some("-m"), ..PLAIN },
    Launcher { names: &["npx"], valued: &["-p", "--package"], ..PLAIN },
];

impl Program {
    /// As it is shown and as `--profile` takes it.
    pub fn name(&self) -> &'static str {
        self.names.first().copied().unwrap_or_default()
    }
}

/// The program of a name, as `--profile` takes it.
pub(super) fn by_name(name: &str) -> Option<&'static Program> {
    PROGRAMS.iter().find(|program| program.names.contains(&name))
}

/// The values of `--profile`.
pub(super) fn choices() -> Vec<&'static str> {
    PROGRAMS.iter().map(Program::name).chain(["none"]).collect()
}

/// The program that COMMAND runs, by its base name: `/usr/sbin/nginx`, `php-fpm8.2`, `bundle exec
/// unicorn`.
pub fn of_command(command: &[OsString]) -> Option<&'static Program> {
    let mut words = command;
    // Such as tini, docker-entrypoint.sh, bundle exec. More than a few are a loop.
    for _ in 0..4 {
        let name = base_name(words.first()?)?;
        let plain = without_version(name);
        let is_it = |names: &[&str]| names.iter().any(|known| *known == name || *known == plain);
        match LAUNCHERS.iter().find(|launcher| is_it(launcher.names)) {
            Some(launcher) => words = launcher.launched(words.get(1..)?)?,
            None => return PROGRAMS.iter().find(|program| is_it(program.names)),
        }
    }
    None
}

impl Launcher {
    /// The other program's words, out of those after the launcher's name.
    fn launched<'a>(&self, words: &'a [OsString]) -> Option<&'a [OsString]> {
        let words = self.behind_options(words)?.get(usize::from(self.operands)..)?;
        let is_assignment = |word: &&OsString| self.assigns && word.as_bytes().contains(&b'=');
        words.get(words.iter().take_while(is_assignment).count()..)
    }

    fn behind_options<'a>(&self, mut words: &'a [OsString]) -> Option<&'a [OsString]> {
        loop {
            let (first, rest) = words.split_first()?;
            let first = first.to_str()?;
            if self.then == Some(first) {
                return Some(rest);
            }
            words = match first {
                "--" if self.then.is_none() => return Some(rest),
                _ if self.valued.contains(&first) => rest.get(1..)?,
                _ if first.starts_with('-') => rest,
                _ if self.then.is_none() => return Some(words),
                _ => return None,
            };
        }
    }
}

/// `php-fpm8.2` is php-fpm, `python3` python.
fn without_version(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.')
}

fn base_name(command: &OsString) -> Option<&str> {
    let name = Path::new(command).file_name().unwrap_or(OsStr::new(""));
    std::str::from_utf8(name.as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::values;

    fn of(command: &str) -> Option<&'static str> {
        let words: Vec<OsString> = command.split(' ').map(OsString::from).collect();
        of_command(&words).map(Program::name)
    }

    #[test]
    fn a_program_is_known_by_its_base_name() {
        assert_eq!(of("/usr/sbin/nginx -g daemon_off"), Some("nginx"));
        assert_eq!(of("php-fpm8.2"), Some("php-fpm"));
        assert_eq!(of("apache2-foreground"), Some("httpd"));
        assert_eq!(of("sh -c nginx"), None);
        assert_eq!(of("nginx-exporter"), None);
        assert_eq!(of("app nginx"), None);
    }

    #[test]
    fn a_program_is_known_behind_its_launchers() {
        for (command, program) in [
            ("docker-entrypoint.sh postgres", Some("postgres")),
            ("/usr/local/bin/docker-php-entrypoint php-fpm", Some("php-fpm")),
            ("/tini -- nginx", Some("nginx")),
            ("/usr/bin/tini -g -p SIGTERM -e 143 -- /docker-entrypoint.sh nginx", Some("nginx")),
            ("tini nginx", Some("nginx")),
            ("dumb-init --rewrite 15:3 -- haproxy -f x", Some("haproxy")),
            ("bundle exec unicorn -c x", Some("unicorn")),
            ("bundle install", None),
            ("python3.12 -u -m rq worker", Some("rq")),
            ("python -X dev -m rq", Some("rq")),
            ("python rq", None),
            ("npx --yes sidekiq", Some("sidekiq")),
            ("npx -p ruby --package rack sidekiq", Some("sidekiq")),
            // Behind -- stands the program, whatever its name looks like.
            ("tini -- -g nginx", None),
            ("python -- rq", None),
            ("tini --", None),
            ("tini -p", None),
            ("tini tini tini tini tini nginx", None),
            ("catatonit -- nginx", Some("nginx")),
            ("gosu postgres postgres -D /data", Some("postgres")),
            ("docker-entrypoint.sh su-exec haproxy:haproxy haproxy -W", Some("haproxy")),
            ("gosu nginx", None),
            ("gosu", None),
            ("setpriv --reuid=33 --regid 33 --clear-groups -- php-fpm8.2", Some("php-fpm")),
            ("env -i -u LANG PATH=/bin RAILS_ENV=production bundle exec unicorn", Some("unicorn")),
            ("env A=nginx", None),
        ] {
            assert_eq!(of(command), program, "{command}");
        }
    }

    /// The signals are facts about other people's programs: a change here must be one there.
    #[test]
    fn programs_are_stopped_by_the_signals_of_their_manuals() {
        for (names, schedule) in [
            ("nginx openresty", Some("QUIT/kill-1s/TERM")),
            ("httpd apache2", Some("WINCH/kill-1s/TERM")),
            ("haproxy", Some("USR1/kill-1s/TERM")),
            ("php-fpm unicorn starman hypnotoad nghttpx resque gitlab-runner teleport", Some("QUIT")),
            ("postgres lighttpd pgcat pgdog uwsgi", Some("INT")),
            ("beanstalkd", Some("USR1/2s/TERM")),
            ("sidekiq", Some("TSTP/2s/TERM")),
            ("pgbouncer rq buildkite-agent", None),
        ] {
            for name in names.split(' ') {
                let program = by_name(name).unwrap();
                assert_eq!(program.schedule, schedule, "{name}");
                assert_eq!(program.stop_once, schedule.is_none(), "{name}");
            }
        }
    }

    /// The STOPSIGNAL of their images.
    #[test]
    fn programs_are_asked_to_stop_by_the_signals_of_their_images() {
        for (names, asks) in [
            (
                "nginx openresty php-fpm unicorn starman hypnotoad nghttpx resque gitlab-runner teleport",
                Some("QUIT"),
            ),
            ("httpd apache2", Some("WINCH")),
            ("haproxy", Some("USR1")),
            ("postgres lighttpd pgcat pgdog uwsgi", Some("INT")),
            ("beanstalkd sidekiq pgbouncer rq buildkite-agent", None),
        ] {
            for name in names.split(' ') {
                assert_eq!(by_name(name).unwrap().asks, asks, "{name}");
            }
        }
    }

    #[test]
    fn a_profile_is_a_program_by_its_first_name_or_none() {
        assert_eq!(choices().len(), PROGRAMS.len() + 1);
        assert_eq!((choices().first(), choices().last()), (Some(&"nginx"), Some(&"none")));
    }

    #[test]
    fn every_schedule_and_signal_in_the_table_is_valid() {
        for program in PROGRAMS {
            let name = program.name();
            assert!(!name.is_empty() && !program.effect.is_empty(), "{name}");
            assert!(program.schedule.is_none_or(|schedule| values::schedule(schedule).is_ok()), "{name}");
            assert!(program.asks.is_none_or(|signal| values::catchable(signal).is_ok()), "{name}");
        }
    }
}
