//! The table of rules: one row each. Findings, `--explain`, the documentation and SARIF all take
//! their words from here.

/// How much a finding weighs.
#[derive(serde::Serialize, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing breaks by it.
    Note,
    /// Requests may be lost.
    Warning,
    /// The stop cannot go as it is meant to.
    Error,
}

impl Severity {
    pub const ALL: [Severity; 3] = [Severity::Note, Severity::Warning, Severity::Error];

    /// As SARIF has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// What is known of a rule.
struct RuleRow {
    id: &'static str,
    severity: Severity,
    title: &'static str,
    /// What goes wrong, and by whose word.
    why: &'static str,
    /// What to do about it.
    remedy: &'static str,
}

/// Makes the type and the table from the rows.
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
        remedy: "Leave the setting out, or give the app the time that its longest request takes, and some seconds more.";
    GraceOverrun: "grace-overrun", Error, "the sleeps before the stop use the grace up",
        why: "A preStop hook and adieu's pre-stop sleep run inside the grace: the platform starts to count when the hook \
            starts. What they leave is all that open requests and the app's own end get.",
        remedy: "Make the grace at least as long as the sleeps, the longest request and the app's own end together.";
    GraceMismatch: "grace-mismatch", Error, "adieu and the platform count on different graces",
        why: "adieu cannot see when the platform will kill; it plans with what ADIEU_GRACE says, or with the platform's \
            default. If that is longer than the truth, the platform kills in the middle of adieu's plan: open requests are \
            cut off, and nothing is reported. A preStop hook runs inside the grace, so its time has to be taken off.",
        remedy: "Set ADIEU_GRACE to the platform's grace, less the time of a preStop hook.";
    GraceMissing: "grace-missing", Warning, "the engine's default grace of 10 s is in force",
        why: "Docker and podman kill 10 s after the stop signal unless they are told otherwise. That is less than many \
            requests and database shutdowns take.",
        remedy: "Set stop_grace_period (compose) or StopTimeout (Quadlet) to the pre-stop sleep, the longest request and \
            some seconds more.";
    GraceCapped: "grace-capped", Error, "something else ends the stop before the grace is over",
        why: "A kubelet that shuts its node down, a node pool, an autoscaler, an admission policy, a liveness probe with a \
            grace of its own or the unit around a container can each have a shorter limit than the one that the workload \
            asks for. The shortest one counts.",
        remedy: "Raise the shorter limit, or plan the stop for it.";
    GraceEndless: "grace-endless", Warning, "the service may hang in its stop for ever",
        why: "Without a limit (TimeoutStopSec=infinity or 0) a process that does not end holds up every shutdown and restart.",
        remedy: "Give TimeoutStopSec a time that a stop really needs.";
    ScheduleOverrun: "schedule-overrun", Warning, "later signals of the stop schedule never come",
        why: "The waits of the stop schedule, after the pre-stop sleep, are longer than the time until adieu kills.",
        remedy: "Shorten the waits, or make the grace longer.";
    DrainSqueeze: "drain-squeeze", Warning, "a drain that takes its whole time leaves the app none for its end",
        why: "Pre-stop sleep, drain timeout and the waits of the stop schedule follow each other inside the grace.",
        remedy: "Lower ADIEU_DRAIN_TIMEOUT, or make the grace longer.";
    SettingsRefused: "settings-refused", Error, "adieu would refuse these settings",
        why: "Typos and impossible combinations are rejected at startup with status 125: the container would not start.",
        remedy: "Correct the setting; adieu --check shows what a stop would look like.";
    StopSignalKill: "stop-signal-kill", Error, "the stop signal cannot be caught",
        why: "KILL and STOP are the kernel's own (signal(7)): no process can finish anything after KILL, and STOP only \
            freezes it until the platform kills.",
        remedy: "Leave the setting out, so that the platform sends TERM, or name the program's graceful signal.";
    StopSignalWrong: "stop-signal-wrong", Warning, "the program stops gracefully by another signal",
        why: "Some programs drop their open requests on one signal and finish them on another.",
        remedy: "Name the program's graceful signal as the stop signal, or put adieu in front, which knows it.";
    StopSignalNoRequest: "stop-signal-no-request", Error, "adieu would not take the platform's signal for a stop request",
        why: "adieu forwards every signal that is not in its stop-on list and goes on running: readiness does not fail, \
            nothing drains, and if the app ends by it, that is no orderly stop.",
        remedy: "Let the platform send TERM, or name its signal: --stop-on or ADIEU_STOP_ON.";
    ShellPidOne: "shell-pid-1", Warning, "a shell stands between the platform and the app",
        why: "The stop signal reaches the shell alone. As PID 1 it ignores it, and the app is killed when the grace is over. \
            Some shells hand over to a single simple command by themselves, and others do not. With a shell-form ENTRYPOINT, \
            CMD and arguments are dropped besides.",
        remedy: "Name the program itself in brackets (exec form), write exec in front of the command, or put adieu in front.";
    NpmPidOne: "npm-pid-1", Warning, "a package manager stands between the platform and the app",
        why: "npm, yarn, pnpm and npx start the script by a shell and end with statuses of their own. Whether the stop signal \
            reaches the app depends on their version, and they may end before it does.",
        remedy: "Start the program itself: node server.js. Or put adieu in front, which gives what they leave the whole grace.";
    ExecFormBroken: "exec-form-broken", Error, "the brackets are no JSON, so a shell gets them as its command",
        why: "The exec form is a JSON array with double quotes. Anything else is taken for the shell form as it stands.",
        remedy: "Write [\"program\", \"argument\"], with double quotes and no comma at the end.";
    InitTwice: "init-twice", Warning, "another init stands in front of adieu",
        why: "Then adieu is not PID 1: orphans go past it, and the other init gets the stop request first.",
        remedy: "Drop the other init (init: true, RunInit=true, tini); adieu reaps and forwards as they do.";
    LivenessIsReadiness: "liveness-is-readiness", Warning, "the liveness probe asks the readiness address",
        why: "An app that is merely not ready (starting, overloaded, without its database, about to stop) is killed for it, with \
            all that it has in flight.",
        remedy: "Let liveness ask something that fails only when a restart helps; below adieu /livez.";
    ReadinessMissing: "readiness-missing", Warning, "there is no readiness probe",
        why: "Requests come as soon as the container has started, before the app listens, and a balancer outside of the \
            cluster never learns of a stop.",
        remedy: "Add a readinessProbe; below adieu: ADIEU_HEALTH=0.0.0.0:9090, and path /readyz on that port.";
    ReadinessNeverFails: "readiness-never-fails", Warning, "readiness does not fail when the stop comes",
        why: "The check asks the app, which adieu keeps unaware of the stop on purpose: it answers as if nothing had \
            happened until it is gone. A balancer that goes by it sends requests to the last.",
        remedy: "Let the check ask adieu: /readyz on ADIEU_HEALTH's port, or adieu --probe readyz.";
    HealthUnreachable: "health-unreachable", Error, "the kubelet cannot reach adieu's health address",
        why: "A probe comes over the pod's network address. adieu listens on loopback alone, so the pod never gets ready.",
        remedy: "Let it listen on all addresses: ADIEU_HEALTH=0.0.0.0:9090.";
    NoDelay: "no-delay", Warning, "the app is asked to stop while requests are still on their way to it",
        why: "A pod gets its stop signal at the same moment in which its endpoint is taken away. Until every node and \
            balancer knows of that, some seconds later, they send it new requests.",
        remedy: "Put adieu in front of the app, or add a preStop hook: adieu --wait, or sleep.";
    PreStopTwice: "pre-stop-twice", Warning, "the pre-stop sleep is slept twice",
        why: "The preStop hook runs first, and only then adieu hears of the stop and begins its own pre-stop sleep. Readiness \
            fails only after the hook.",
        remedy: "Drop the preStop hook: adieu goes on serving by itself.";
    OneReplica: "one-replica", Warning, "there is a single replica",
        why: "Whenever its node is drained or its pod is evicted nobody answers until the next one is ready, however orderly the \
            stop is.",
        remedy: "Run two or more, or accept the gap and allow this rule.";
    RolloutGap: "rollout-gap", Warning, "a rollout may stop all pods at once",
        why: "With the strategy Recreate, or with maxUnavailable at or above the number of replicas, old pods end before new \
            ones are ready.",
        remedy: "Use RollingUpdate with maxUnavailable: 0 and maxSurge: 1.";
    BudgetMissing: "budget-missing", Note, "there is no PodDisruptionBudget",
        why: "When nodes are drained, nothing keeps all pods from being evicted at the same time.",
        remedy: "Add a PodDisruptionBudget with maxUnavailable: 1.";
    BudgetBlocks: "budget-blocks", Warning, "the PodDisruptionBudget permits no eviction",
        why: "Node drains hang on it until someone deletes the pods by force, often without any grace.",
        remedy: "Permit one: maxUnavailable: 1, with at least two replicas.";
    KillMode: "kill-mode", Warning, "KillMode does not fit",
        why: "By default (control-group) systemd sends the stop signal to every process at once, behind adieu's back: the app \
            stops before it is drained. process and none leave processes running (systemd.kill(5)).",
        remedy: "Set KillMode=mixed: the signal goes to the main process alone, the final SIGKILL to all.";
    KillOff: "kill-off", Warning, "a process that hangs is never killed",
        why: "With SendSIGKILL=no a service that does not end stays, and its next start meets it.",
        remedy: "Leave SendSIGKILL out.";
    UnitType: "unit-type", Error, "Type= does not fit",
        why: "adieu stays in the foreground and never forks, so systemd would wait for Type=forking until the start times out. \
            With Type=oneshot the unit counts as starting for as long as the app runs, and start jobs wait for it.",
        remedy: "Set Type=notify: adieu says when the app is ready, and when it is stopping. Without adieu: Type=exec.";
    ExecStopReturns: "exec-stop-returns", Warning, "ExecStop returns before the service has ended",
        why: "When ExecStop has returned, systemd sends KillSignal to all that is left at once (systemd.service(5)). A command that \
            only sends a signal returns immediately, so its effect is cut short.",
        remedy: "Say it with KillSignal instead, or let ExecStop wait until the process is gone.";
}

impl Rule {
    /// As it is written in `--allow` and found in the documentation.
    #[must_use]
    pub fn id(self) -> &'static str {
        self.facts().id
    }

    /// How much it weighs, if nothing in the case itself makes it weigh less or more.
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

    /// The rule of an id.
    ///
    /// # Errors
    /// The ids that there are.
    pub fn named(id: &str) -> Result<Rule, String> {
        Rule::ALL.iter().copied().find(|rule| rule.id() == id).ok_or_else(|| {
            let all: Vec<&str> = Rule::ALL.iter().map(|rule| rule.id()).collect();
            format!("'{id}' is no rule; there are {}", all.join(", "))
        })
    }
}
