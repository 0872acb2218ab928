//! What runs while the app is under load: the balancer, its clients, and the watchers.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use super::balancer::Balancer;
use super::load::{self, Log, Manner};
use super::plan::RehearsalPlan;
use super::recording::{LoadTarget, Mode};
use super::sandbox::Sandbox;
use super::snapshot::Observer;
use super::url::Url;
use super::watch::{self, Answers, AppHistory, Watcher};

pub(crate) struct LiveRun {
    pub(crate) balancer: Arc<Balancer>,
    pub(crate) clients: Vec<JoinHandle<Log>>,
    pub(crate) history: Watcher<AppHistory>,
    pub(crate) readiness: Option<Watcher<Answers>>,
}

impl LiveRun {
    pub(crate) fn begin(
        plan: &RehearsalPlan,
        targets: &[(Url, LoadTarget)],
        sandbox: &Sandbox,
        question: Option<Url>,
    ) -> LiveRun {
        let balancer = Arc::new(Balancer::default());
        let slowest = targets.iter().map(|(_, target)| target.first_ms).max().unwrap_or_default();
        let patience = plan.limits.grace + Duration::from_millis(slowest) + Duration::from_secs(10);
        let manner = Manner { patience, ..plan.load.manner.clone() };
        let clients = load::clients(targets, plan.load.crowd)
            .into_iter()
            .map(|client| load::start(client, Arc::clone(&balancer), manner.clone()))
            .collect();
        let history = watch::history(observer(plan, sandbox), sandbox.main);
        LiveRun { balancer, clients, history, readiness: question.map(watch::readiness) }
    }
}

/// Observes the app's processes: all in the sandbox except the init.
pub(crate) fn observer(plan: &RehearsalPlan, sandbox: &Sandbox) -> Observer {
    let init = match plan.mode {
        Mode::Bare => None,
        Mode::Adieu | Mode::Init => Some(sandbox.main),
    };
    Observer::new(sandbox.members.clone(), init, &plan.databases)
}
