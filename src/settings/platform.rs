//! Which platform runs us, and what that means for the stop.

use crate::lifecycle::Signal;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Platform {
    Kubernetes,
    Ecs,
    CloudRun,
    Nomad,
    Fly,
    Heroku,
    Systemd,
    Docker,
    None,
}

/// What tells platforms apart: variables, our pid, and files that container engines leave.
pub struct Surroundings<'a> {
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    pub exists: &'a dyn Fn(&str) -> bool,
    pub pid: u32,
}

impl Platform {
    pub const NAMES: [(&'static str, Platform); 9] = [
        ("kubernetes", Platform::Kubernetes),
        ("ecs", Platform::Ecs),
        ("cloud-run", Platform::CloudRun),
        ("nomad", Platform::Nomad),
        ("fly", Platform::Fly),
        ("heroku", Platform::Heroku),
        ("systemd", Platform::Systemd),
        ("docker", Platform::Docker),
        ("none", Platform::None),
    ];

    pub fn name(self) -> &'static str {
        Platform::NAMES.iter().find(|(_, platform)| *platform == self).map_or("none", |(name, _)| name)
    }

    /// A guess from the environment. systemd comes first, since it names the very process; Kubernetes before Cloud Run,
    /// as Knative on a cluster sets the variables of both.
    pub fn detect(around: &Surroundings) -> Platform {
        let set = |name: &str| (around.variable)(name).is_some_and(|value| !value.is_empty());
        let main_process =
            (around.variable)("SYSTEMD_EXEC_PID").is_some_and(|pid| pid == around.pid.to_string());
        match () {
            () if main_process => Platform::Systemd,
            () if set("KUBERNETES_SERVICE_HOST") => Platform::Kubernetes,
            () if set("ECS_CONTAINER_METADATA_URI_V4") || set("ECS_CONTAINER_METADATA_URI") => Platform::Ecs,
            () if set("K_SERVICE") || set("CLOUD_RUN_JOB") => Platform::CloudRun,
            () if set("NOMAD_ALLOC_ID") => Platform::Nomad,
            () if set("FLY_APP_NAME") || set("FLY_MACHINE_ID") => Platform::Fly,
            () if set("DYNO") => Platform::Heroku,
            () if (around.exists)("/.dockerenv") || (around.exists)("/run/.containerenv") => Platform::Docker,
            () if set("container") => Platform::Docker,
            () => Platform::None,
        }
    }

    /// How long the platform waits between its stop signal and its SIGKILL unless it is told otherwise.
    pub fn grace(self) -> Duration {
        Duration::from_secs(match self {
            // terminationGracePeriodSeconds, stopTimeout, and the dyno manager's 30 seconds.
            Platform::Kubernetes | Platform::Ecs | Platform::Heroku | Platform::None => 30,
            Platform::CloudRun => 10,
            // kill_timeout of both.
            Platform::Nomad | Platform::Fly => 5,
            // DefaultTimeoutStopSec.
            Platform::Systemd => 90,
            // docker stop --timeout.
            Platform::Docker => 10,
        })
    }

    /// Whether something turns requests away once readiness fails, so that serving on for a while helps.
    pub fn routes_by_readiness(self) -> bool {
        match self {
            Platform::CloudRun | Platform::Systemd => false,
            Platform::Kubernetes
            | Platform::Ecs
            | Platform::Nomad
            | Platform::Fly
            | Platform::Heroku
            | Platform::Docker
            | Platform::None => true,
        }
    }

    /// The signal other than TERM by which the platform asks for a stop.
    pub fn also_stops_on(self) -> Option<Signal> {
        match self {
            Platform::Nomad | Platform::Fly => Some(Signal::INT),
            Platform::Kubernetes
            | Platform::Ecs
            | Platform::CloudRun
            | Platform::Heroku
            | Platform::Systemd
            | Platform::Docker
            | Platform::None => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(variables: &[(&str, &str)], files: &[&str]) -> Platform {
        let find = |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Platform::detect(&Surroundings { variable: &find, exists: &|file| files.contains(&file), pid: 7 })
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

    #[test]
    fn systemd_counts_only_when_it_started_this_very_process() {
        assert_eq!(guess(&[("SYSTEMD_EXEC_PID", "7")], &[]), Platform::Systemd);
        assert_eq!(guess(&[("SYSTEMD_EXEC_PID", "8")], &[]), Platform::None);
    }
}
