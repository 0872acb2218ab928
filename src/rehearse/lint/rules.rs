//! The table of rules: one row each. Findings, `--explain`, the documentation and SARIF all use its
//! texts.

/// How severe a finding is.
#[derive(serde::Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing breaks.
    Note,
    /// Requests may be lost.
    Warning,
    /// The stop cannot work as intended.
    Error,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Note, Severity::Warning, Severity::Error];

    /// The name that SARIF uses.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// A rule and its texts.
struct RuleRow {
    id: &'static str,
    severity: Severity,
    title: &'static str,
    /// What goes wrong, and the source for it.
    why: &'static str,
    /// What to do about it.
    remedy: &'static str,
}

/// Makes the type and the table from one list, so that they cannot differ.
macro_rules! rules {
    ($($rule:ident: $id:literal, $severity:ident, $title:literal, why: $why:literal, remedy: $remedy:literal;)*) => {
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        pub enum Rule { $($rule),* }

        impl Rule {
            pub const ALL: &'static [Rule] = &[$(Rule::$rule),*];

            const fn facts(self) -> RuleRow {
                match self {
                    $(Rule::$rule => RuleRow {
                        id: $id, severity: Severity::$severity, title: $title, why: $why, remedy: $remedy,
                    }),*
                }
            }
        }
    };
}

#[rustfmt::skip]
rules! {
    GraceZero: "grace-zero", Error, "the grace is zero",
        why: "The platform kills at once: no request in flight can finish, and no process can end by itself.",
        remedy: "Leave the setting out, or make it some seconds longer than the longest request.";
    GraceOverrun: "grace-overrun", Error, "the sleeps before the stop use up the grace",
        why: "A preStop hook and adieu's pre-stop sleep run inside the grace: the platform starts to count when the hook \
            starts. Only the rest is left for requests in flight and the app's own stop. If the hook still runs \
            when the grace is over, the kubelet extends it once, by 2 s, and only then sends the stop signal (Kubernetes, \
            \"Pod Lifecycle\").",
        remedy: "Make the grace at least as long as the sleeps, the longest request and the app's own stop together.";
    GraceMismatch: "grace-mismatch", Error, "adieu and the platform have different graces",
        why: "adieu cannot see when the platform will kill; it plans with ADIEU_GRACE, or with the platform's default. If \
            that is longer than the real grace, the platform kills in the middle of adieu's plan: requests in flight are \
            cut off, and nothing is reported. A preStop hook runs inside the grace, so subtract its time.",
        remedy: "Set ADIEU_GRACE to the platform's grace minus the time of a preStop hook.";
    GraceMissing: "grace-missing", Warning, "the engine kills after its default grace of 10 s",
        why: "Docker and podman kill 10 s after the stop signal by default. Many requests and database shutdowns take \
            longer.",
        remedy: "Set stop_grace_period (compose) or StopTimeout (Quadlet) to the pre-stop sleep, the longest request and \
            some seconds more.";
    GraceCapped: "grace-capped", Error, "something else kills before the grace is over",
        why: "A kubelet that shuts its node down, a node pool, an autoscaler, an admission policy, a liveness probe with a \
            grace of its own or the unit around a container can each have a shorter limit than the workload's grace. The \
            shortest one counts.",
        remedy: "Raise the shorter limit, or make the stop fit into it.";
    GraceEndless: "grace-endless", Warning, "the stop of the service may hang forever",
        why: "Without a limit (TimeoutStopSec=infinity or 0) a process that does not end blocks every shutdown and restart.",
        remedy: "Set TimeoutStopSec to the time that a stop needs.";
    ScheduleOverrun: "schedule-overrun", Warning, "later signals of the stop schedule never come",
        why: "The waits of the stop schedule, after the pre-stop sleep, are longer than the time until adieu kills.",
        remedy: "Shorten the waits, or make the grace longer.";
    DrainSqueeze: "drain-squeeze", Warning, "a drain that uses its whole timeout leaves the app no time to stop",
        why: "Pre-stop sleep, drain timeout and the waits of the stop schedule run one after the other inside the grace.",
        remedy: "Lower ADIEU_DRAIN_TIMEOUT, or make the grace longer.";
    SettingsRefused: "settings-refused", Error, "adieu rejects these settings",
        why: "adieu exits with status 125 on typos and impossible combinations, so the container does not start.",
        remedy: "Correct the setting; adieu --check shows what a stop would look like.";
    StopSignalKill: "stop-signal-kill", Error, "the stop signal cannot be caught",
        why: "No process can catch KILL or STOP (signal(7)): KILL ends it at once, and STOP only freezes it until the \
            platform kills.",
        remedy: "Leave the setting out, so that the platform sends TERM, or name the program's graceful signal.";
    StopSignalWrong: "stop-signal-wrong", Warning, "the program stops gracefully on another signal",
        why: "Some programs drop their requests in flight on one signal and finish them on another.",
        remedy: "Name the program's graceful signal as the stop signal, or run the program under adieu, which knows it.";
    StopSignalNoRequest: "stop-signal-no-request", Error, "adieu does not take the platform's signal as a stop request",
        why: "adieu forwards every signal that is not in its stop-on list and goes on running: readiness does not fail, \
            nothing drains, and if the signal ends the app, that is not an orderly stop.",
        remedy: "Let the platform send TERM, or name its signal: --stop-on or ADIEU_STOP_ON.";
    ShellPidOne: "shell-pid-1", Warning, "a shell is between the platform and the app",
        why: "The stop signal reaches only the shell. As PID 1 it ignores the signal, and the app is killed when the \
            grace is over. Some shells replace themselves with a single simple command, and others do not. A shell-form \
            ENTRYPOINT also ignores CMD and arguments.",
        remedy: "Name the program itself in brackets (exec form), write exec in front of the command, or run it under \
            adieu.";
    NpmPidOne: "npm-pid-1", Warning, "a package manager is between the platform and the app",
        why: "npm, yarn, pnpm and npx start the script through a shell and have their own exit statuses. Whether the stop \
            signal reaches the app depends on their version, and they may end before it does.",
        remedy: "Start the program itself: node server.js. Or run it under adieu, which gives the processes they leave \
            behind the rest of the grace.";
    ExecFormBroken: "exec-form-broken", Error, "the brackets are not JSON, so a shell gets them as its command",
        why: "The exec form is a JSON array with double quotes. Anything else is read as the shell form.",
        remedy: "Write [\"program\", \"argument\"], with double quotes and without a comma at the end.";
    InitTwice: "init-twice", Warning, "another init runs in front of adieu",
        why: "Then adieu is not PID 1: orphans are reparented to the other init, which also gets the stop request first.",
        remedy: "Remove the other init (init: true, RunInit=true, tini); adieu also reaps and forwards signals.";
    LivenessIsReadiness: "liveness-is-readiness", Warning, "the liveness probe asks the readiness address",
        why: "An app that is only not ready (starting, overloaded, without its database, about to stop) is killed, with \
            all its requests in flight.",
        remedy: "Let liveness ask an address that fails only when a restart helps; under adieu: /livez.";
    ReadinessMissing: "readiness-missing", Warning, "there is no readiness probe",
        why: "Requests come as soon as the container has started, before the app listens, and a balancer outside the \
            cluster never learns of a stop.",
        remedy: "Add a readinessProbe; under adieu: ADIEU_HEALTH=0.0.0.0:9090, and path /readyz on that port.";
    ReadinessNeverFails: "readiness-never-fails", Warning, "readiness does not fail when the stop comes",
        why: "The check asks the app, which does not know of the stop until the pre-stop sleep and the drain are over. It \
            answers ready until then, so a balancer that uses this check keeps sending requests.",
        remedy: "Let the check ask adieu: /readyz on ADIEU_HEALTH's port, or adieu --probe readyz.";
    HealthUnreachable: "health-unreachable", Error, "the kubelet cannot reach adieu's health address",
        why: "A probe comes over the pod's network address. adieu listens only on loopback, so the pod never gets ready.",
        remedy: "Let it listen on all addresses: ADIEU_HEALTH=0.0.0.0:9090.";
    ProbeUnanswered: "probe-unanswered", Error, "a check asks adieu at no health address",
        why: "adieu --probe asks the adieu of its container at ADIEU_HEALTH, or at the --health of its own command line. \
            Without one, or when adieu has none to answer on, the check never passes.",
        remedy: "Set ADIEU_HEALTH=127.0.0.1:9090 for the container: adieu and the check both read it.";
    NoDelay: "no-delay", Warning, "the app gets its stop signal while new requests still arrive",
        why: "A pod gets its stop signal at the moment when its endpoint is removed. Nodes and balancers learn of that \
            some seconds later, and send it new requests until then.",
        remedy: "Run the app under adieu, or add a preStop hook: adieu --wait, or sleep.";
    PreStopTwice: "pre-stop-twice", Warning, "there are two pre-stop sleeps",
        why: "The preStop hook runs first. Only then adieu gets the stop request and begins its own pre-stop sleep, so \
            readiness fails only after the hook.",
        remedy: "Remove the preStop hook: the app keeps serving during adieu's pre-stop sleep.";
    OneReplica: "one-replica", Warning, "there is only one replica",
        why: "When its node is drained or its pod is evicted, no pod answers until the next one is ready, even if the stop \
            is orderly.",
        remedy: "Run two or more, or accept the gap and skip this rule.";
    RolloutGap: "rollout-gap", Warning, "a rollout may stop all pods at once",
        why: "With the strategy Recreate, or with maxUnavailable at or above the number of replicas, old pods end before \
            new ones are ready.",
        remedy: "Use RollingUpdate with maxUnavailable: 0 and maxSurge: 1.";
    BudgetMissing: "budget-missing", Note, "there is no PodDisruptionBudget",
        why: "When nodes are drained, all pods may be evicted at the same time.",
        remedy: "Add a PodDisruptionBudget with maxUnavailable: 1.";
    BudgetBlocks: "budget-blocks", Warning, "the PodDisruptionBudget allows no eviction",
        why: "A node drain waits for it until somebody deletes the pods by force, often without any grace.",
        remedy: "Allow one: maxUnavailable: 1, with at least two replicas.";
    KillMode: "kill-mode", Warning, "this KillMode breaks an orderly stop",
        why: "By default (control-group) systemd sends the stop signal to every process at once, not only to adieu: the \
            app stops before it is drained. process and none leave processes running (systemd.kill(5)).",
        remedy: "Set KillMode=mixed: the signal goes to the main process only, the final SIGKILL to all.";
    KillOff: "kill-off", Warning, "a process that hangs is never killed",
        why: "With SendSIGKILL=no a process that does not end keeps running, and the next start runs beside it.",
        remedy: "Leave SendSIGKILL out.";
    UnitType: "unit-type", Error, "this Type= does not work with adieu",
        why: "adieu stays in the foreground and never forks, so with Type=forking the start times out. With Type=oneshot \
            the unit is starting for as long as the app runs, and start jobs wait for it.",
        remedy: "Set Type=notify: adieu reports when the app is ready and when it is stopping. Without adieu: Type=exec.";
    ExecStopReturns: "exec-stop-returns", Warning, "ExecStop returns before the service has ended",
        why: "When ExecStop has returned, systemd at once sends KillSignal to all that is left (systemd.service(5)). A \
            command that only sends a signal returns immediately, so the process has no time to react to that signal.",
        remedy: "Set KillSignal instead, or let ExecStop wait until the process is gone.";
}

impl Rule {
    /// Its name in `--allow`, findings and documentation.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.facts().id
    }

    /// Its usual severity; a single finding may have another.
    #[must_use]
    pub fn severity(self) -> Severity {
        self.facts().severity
    }

    #[must_use]
    pub fn title(self) -> &'static str {
        self.facts().title
    }

    #[must_use]
    pub fn why(self) -> &'static str {
        self.facts().why
    }

    #[must_use]
    pub fn remedy(self) -> &'static str {
        self.facts().remedy
    }

    /// The rule with this id.
    ///
    /// # Errors
    /// Lists all ids.
    pub fn named(id: &str) -> Result<Rule, String> {
        Rule::ALL.iter().copied().find(|rule| rule.id() == id).ok_or_else(|| {
            let all: Vec<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
            format!("'{id}' is not a rule; there are {}", all.join(", "))
        })
    }
}
