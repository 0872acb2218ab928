//! The platforms, how each is detected, and what it means for the stop: one row each.

use crate::signal::Signal;
use std::time::Duration;

/// What adieu knows of a platform.
struct Facts {
    name: &'static str,
    /// It is detected by any of these. The first row with a sign that is present counts.
    signs: &'static [Sign],
    /// Seconds from its stop signal to its SIGKILL, by default.
    grace: u64,
    /// A load balancer stops sending requests once readiness fails, so it helps to keep serving for
    /// a while.
    routes_by_readiness: bool,
    /// The signal besides TERM that it stops with.
    also_stops_on: Option<Signal>,
    /// The stop schedule, if the platform needs another than the usual one.
    schedule: Option<&'static str>,
    /// What a user has to know, in Markdown.
    note: &'static str,
}

/// What a platform is detected by.
enum Sign {
    /// This variable is set, and not empty.
    Variable(&'static str),
    /// This variable holds our own pid.
    OurPid(&'static str),
    /// This file exists.
    File(&'static str),
}

/// What settings depend on besides what was typed: signs of platforms, and configuration files of
/// programs.
pub struct Surroundings<'a> {
    /// An environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether this file exists.
    pub exists: &'a dyn Fn(&str) -> bool,
    /// The texts of a file, or of the files in a folder; empty if it cannot be read.
    pub texts: &'a dyn Fn(&str) -> Vec<String>,
    /// adieu's own.
    pub pid: u32,
}

/// What most platforms do.
const USUAL: Facts = Facts {
    name: "",
    signs: &[],
    grace: 30,
    routes_by_readiness: true,
    also_stops_on: None,
    schedule: None,
    note: "",
};

/// Makes the type and the table from the rows.
macro_rules! platforms {
    ($($(#[$about:meta])* $id:ident: $facts:expr,)*) => {
        /// Whose defaults are used.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Platform { $($(#[$about])* $id),* }

        impl Platform {
            /// Every platform, in the order of detection.
            pub const ALL: &'static [Platform] = &[$(Platform::$id),*];

            const fn facts(self) -> Facts {
                match self { $(Platform::$id => $facts),* }
            }
        }
    };
}

use Sign::{File, OurPid, Variable};

#[rustfmt::skip]
platforms! {
    /// systemd. First, since its sign holds our own pid. It routes nothing. Grace:
    /// DefaultTimeoutStopSec (systemd-system.conf(5)); sign: systemd.exec(5).
    Systemd: Facts { name: "systemd", grace: 90, signs: &[OurPid("SYSTEMD_EXEC_PID")], routes_by_readiness: false,
        note: "set `ADIEU_GRACE` to the unit's `TimeoutStopSec`; no pre-stop sleep unless you set one, so set one \
            behind a load balancer", ..USUAL },
    /// Kubernetes. Before Cloud Run, as Knative on a cluster sets the variables of both. Grace:
    /// terminationGracePeriodSeconds of the Pod API.
    Kubernetes: Facts { name: "kubernetes", signs: &[Variable("KUBERNETES_SERVICE_HOST")],
        note: "set `ADIEU_GRACE` to the pod's `terminationGracePeriodSeconds`, less the time of a preStop hook",
        ..USUAL },
    /// Amazon ECS. Grace: stopTimeout of a container definition; signs: the task metadata endpoint.
    Ecs: Facts { name: "ecs", signs: &[Variable("ECS_CONTAINER_METADATA_URI_V4"), Variable("ECS_CONTAINER_METADATA_URI")],
        note: "set `ADIEU_GRACE` to the container's `stopTimeout`", ..USUAL },
    /// Google Cloud Run. The container runtime contract: SIGTERM, 10 s, SIGKILL; an instance that
    /// is stopped gets no new requests, whatever its readiness.
    CloudRun: Facts { name: "cloud-run", grace: 10, signs: &[Variable("K_SERVICE"), Variable("CLOUD_RUN_JOB")],
        routes_by_readiness: false,
        note: "the grace is fixed; no pre-stop sleep, as no requests come after the stop signal", ..USUAL },
    /// Nomad. Grace: kill_timeout of a task. Its kill_signal is INT for exec, raw_exec and java;
    /// the docker driver uses the image's STOPSIGNAL, or TERM.
    Nomad: Facts { name: "nomad", grace: 5, signs: &[Variable("NOMAD_ALLOC_ID")], also_stops_on: Some(Signal::INT),
        note: "set `ADIEU_GRACE` to the task's `kill_timeout`; INT is a stop request too; the docker driver sends \
            the image's STOPSIGNAL or TERM", ..USUAL },
    /// Fly.io. kill_timeout and kill_signal of fly.toml.
    Fly: Facts { name: "fly", grace: 5, signs: &[Variable("FLY_APP_NAME"), Variable("FLY_MACHINE_ID")],
        also_stops_on: Some(Signal::INT),
        note: "set `ADIEU_GRACE` to `kill_timeout` of `fly.toml`; INT is a stop request too", ..USUAL },
    /// Heroku. Grace: "Graceful shutdown with SIGTERM" of its Dev Center, which also says that
    /// every process gets TERM.
    Heroku: Facts { name: "heroku", signs: &[Variable("DYNO")], schedule: Some("none"),
        note: "sends TERM to every process, so adieu sends none by default", ..USUAL },
    /// Docker and podman. Grace: `docker stop --timeout`. The files are left by the two, the
    /// variable by podman and systemd-nspawn.
    Docker: Facts { name: "docker", grace: 10,
        signs: &[File("/.dockerenv"), File("/run/.containerenv"), Variable("container")],
        note: "set `ADIEU_GRACE` to `--stop-timeout` or `stop_grace_period`", ..USUAL },
    /// No known platform.
    None: Facts { name: "none", note: "if none of the above is detected", ..USUAL },
}

impl Platform {
    /// As in `--platform`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// All names.
    pub fn names() -> Vec<&'static str> {
        Platform::ALL.iter().map(|platform| platform.name()).collect()
    }

    /// The platform of a name.
    ///
    /// # Errors
    /// The names that there are.
    pub fn named(name: &str) -> Result<Platform, String> {
        let named: Vec<_> = Platform::ALL.iter().map(|platform| (platform.name(), *platform)).collect();
        super::values::one_of(name, &named)
    }

    /// The platform that the surroundings suggest.
    pub fn detect(around: &Surroundings) -> Platform {
        let is_there = |sign: &Sign| match sign {
            Variable(name) => (around.variable)(name).is_some_and(|value| !value.is_empty()),
            OurPid(name) => (around.variable)(name).is_some_and(|pid| pid == around.pid.to_string()),
            File(path) => (around.exists)(path),
        };
        let found = Platform::ALL.iter().find(|platform| platform.facts().signs.iter().any(is_there));
        found.copied().unwrap_or(Platform::None)
    }

    /// Its own stop schedule, in the notation of `--stop`, if it has one.
    pub fn schedule(self) -> Option<&'static str> {
        self.facts().schedule
    }

    /// What a user has to know, in Markdown.
    pub fn note(self) -> &'static str {
        self.facts().note
    }

    /// What it is detected by.
    pub fn signs(self) -> Vec<&'static str> {
        let name = |sign: &Sign| match *sign {
            Variable(name) | OurPid(name) | File(name) => name,
        };
        self.facts().signs.iter().map(name).collect()
    }

    /// How long the platform waits between its stop signal and its SIGKILL by default.
    pub fn grace(self) -> Duration {
        Duration::from_secs(self.facts().grace)
    }

    /// Whether a load balancer stops sending requests once readiness fails, so that it helps to
    /// keep serving for a while.
    pub fn routes_by_readiness(self) -> bool {
        self.facts().routes_by_readiness
    }

    /// The signal besides TERM that the platform stops with.
    pub fn also_stops_on(self) -> Option<Signal> {
        self.facts().also_stops_on
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(variables: &[(&str, &str)], files: &[&str]) -> Platform {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Platform::detect(&Surroundings {
            variable: &find,
            exists: &|file| files.contains(&file),
            texts: &|_| Vec::new(),
            pid: 7,
        })
    }

    #[test]
    fn each_platform_is_known_by_what_it_sets() {
        assert_eq!(guess(&[], &[]), Platform::None);
        assert_eq!(
            guess(&[("KUBERNETES_SERVICE_HOST", "x"), ("K_SERVICE", "x")], &["/.dockerenv"]),
            Platform::Kubernetes
        );
        assert_eq!(guess(&[("ECS_CONTAINER_METADATA_URI_V4", "x")], &["/.dockerenv"]), Platform::Ecs);
        assert_eq!(guess(&[("K_SERVICE", "x")], &[]), Platform::CloudRun);
        assert_eq!(guess(&[("NOMAD_ALLOC_ID", "x")], &[]), Platform::Nomad);
        assert_eq!(guess(&[("FLY_APP_NAME", "x")], &[]), Platform::Fly);
        assert_eq!(guess(&[("DYNO", "web.1")], &[]), Platform::Heroku);
        assert_eq!(guess(&[], &["/run/.containerenv"]), Platform::Docker);
        assert_eq!(guess(&[("container", "podman")], &[]), Platform::Docker);
    }

    /// For the documentation.
    #[test]
    fn every_platform_has_a_note_and_all_but_none_have_signs() {
        for platform in Platform::ALL {
            assert!(platform.note().len() > 20, "{}", platform.name());
            let files_or_variables = |sign: &&str| sign.starts_with('/') || **sign == sign.to_uppercase();
            let odd =
                platform.signs().into_iter().find(|sign| !files_or_variables(sign) && *sign != "container");
            assert_eq!(odd, None, "{}", platform.name());
            assert_eq!(platform.signs().is_empty(), *platform == Platform::None, "{}", platform.name());
        }
        assert_eq!(Platform::Docker.signs(), ["/.dockerenv", "/run/.containerenv", "container"]);
    }

    #[test]
    fn every_schedule_in_the_table_is_valid() {
        for platform in Platform::ALL {
            let valid = |schedule| crate::settings::values::schedule(schedule).is_ok();
            assert!(platform.schedule().is_none_or(valid), "{}", platform.name());
        }
    }

    #[test]
    fn systemd_counts_only_when_it_started_this_very_process() {
        assert_eq!(guess(&[("SYSTEMD_EXEC_PID", "7")], &[]), Platform::Systemd);
        assert_eq!(guess(&[("SYSTEMD_EXEC_PID", "8")], &[]), Platform::None);
    }
}
