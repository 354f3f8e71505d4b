//! Runs the probes of one pod.

use super::{
    Kind, Outcome, Results,
    action::{Answer, ask},
    machine::{Change, Machine, Subject, SubjectState, Turn},
};
use crate::{
    host::Host,
    spec::{self, Role},
};
use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, PodStatus, Probe};
use kubeplane_client::EventType;
use kubeplane_runtime_cri::ContainerId;
use std::{collections::HashSet, sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};

const TRIES: u32 = 3;

/// What probes see of their pod.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) pod: Arc<Pod>,
    pub(crate) status: Arc<PodStatus>,
}

/// The probes of one pod; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Prober {
    host: Arc<Host>,
    results: Arc<Results>,
    wake: Arc<Notify>,
    view: watch::Sender<View>,
    known: HashSet<(String, Kind)>,
    tasks: JoinSet<()>,
}

impl Prober {
    /// No probes yet; `wake` is told of every changed outcome.
    pub(crate) fn new(
        host: Arc<Host>,
        results: Arc<Results>,
        wake: Arc<Notify>,
        pod: Arc<Pod>,
    ) -> Self {
        let status = Arc::new(spec::status(&pod).into_owned());
        let (view, _) = watch::channel(View { pod, status });
        Self { host, results, wake, view, known: HashSet::new(), tasks: JoinSet::new() }
    }

    /// Shows the probes the newest status of the pod, and starts those that do not run yet.
    pub(crate) fn update(&mut self, pod: &Arc<Pod>, status: &Arc<PodStatus>) {
        self.view.send_replace(View { pod: pod.clone(), status: status.clone() });
        let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
        for container in sidecars.chain(spec::containers(pod)) {
            let probes = [
                (Kind::Startup, &container.startup_probe),
                (Kind::Readiness, &container.readiness_probe),
                (Kind::Liveness, &container.liveness_probe),
            ];
            for (kind, probe) in probes {
                let Some(probe) = probe else { continue };
                if self.known.insert((container.name.clone(), kind)) {
                    let turns = Turns {
                        host: self.host.clone(),
                        results: self.results.clone(),
                        wake: self.wake.clone(),
                        view: self.view.subscribe(),
                        machine: Machine::new(kind, probe),
                        kind,
                        probe: probe.clone(),
                        container: container.clone(),
                    };
                    self.tasks.spawn(turns.run());
                }
            }
        }
    }

    /// Ends all probes.
    pub(crate) fn stop(&mut self) {
        self.tasks.abort_all();
    }
}

struct Turns {
    host: Arc<Host>,
    results: Arc<Results>,
    wake: Arc<Notify>,
    view: watch::Receiver<View>,
    machine: Machine,
    kind: Kind,
    probe: Probe,
    container: Container,
}

impl Turns {
    async fn run(mut self) {
        loop {
            let view = self.view.borrow_and_update().clone();
            if spec::is_terminal(&view.status) {
                return;
            }
            let turn = self.turn(&view);
            let goes_on = match turn {
                Turn::Stop => return,
                Turn::Idle => self.view.changed().await.is_ok(),
                Turn::Wait(time) => {
                    let sleep = self.host.clock.sleep(time);
                    tokio::select! {
                        () = sleep => true,
                        changed = self.view.changed() => changed.is_ok(),
                    }
                }
                Turn::Probe => {
                    self.probe_once(&view).await;
                    self.period(&view).await
                }
            };
            if !goes_on {
                return;
            }
        }
    }

    fn turn(&mut self, view: &View) -> Turn {
        let Some(subject) = subject(view, &self.container, &self.results) else {
            return Turn::Idle;
        };
        let (turn, changes) = self.machine.turn(&subject, self.wall());
        for change in changes {
            self.apply(change);
        }
        turn
    }

    fn wall(&self) -> Duration {
        let nanos = self.host.clock.now().as_nanosecond();
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    }

    fn apply(&self, change: Change) {
        match change {
            Change::Set(id, outcome) => {
                if self.results.set(self.kind, &id, outcome) {
                    self.wake.notify_one();
                }
            }
            Change::Forget(id) => self.results.remove(self.kind, &id),
        }
    }

    async fn probe_once(&mut self, view: &View) {
        let Some(status) = container_status(view, &self.container.name) else { return };
        let Some(id) = container_id(status) else { return };
        let pod_ip = view.status.pod_ip.clone().unwrap_or_default();
        let mut answer = Err(String::new());
        for _ in 0..TRIES {
            let runtime = self.host.runtime.as_ref();
            answer =
                ask(runtime, &self.host.clock, &self.probe, &self.container, &id, &pod_ip).await;
            if answer.is_ok() {
                break;
            }
        }
        let kind = self.kind;
        let outcome = match answer {
            Ok(Answer::Success) => Outcome::Success,
            Ok(Answer::Warning(output)) => {
                self.event(view, "ProbeWarning", format!("{kind} probe warning: {output}"));
                Outcome::Success
            }
            Ok(Answer::Failure(output)) => {
                self.event(view, "Unhealthy", format!("{kind} probe failed: {output}"));
                Outcome::Failure
            }
            Err(error) => {
                let message =
                    format!("{kind} probe errored and resulted in unknown state: {error}");
                self.event(view, "Unhealthy", message);
                return;
            }
        };
        self.host.metrics.probe(kind, outcome);
        if let Some(change) = self.machine.record(outcome) {
            self.apply(change);
        }
    }

    fn event(&self, view: &View, reason: &str, message: String) {
        let sidecar = spec::is_sidecar(&self.container);
        let role = if sidecar { Role::Sidecar } else { Role::App };
        let host = &self.host;
        host.container_event(
            &view.pod,
            role,
            &self.container.name,
            EventType::Warning,
            reason,
            message,
        );
    }

    /// Waits for the next turn, which comes sooner when the container is another one.
    async fn period(&mut self, before: &View) -> bool {
        let seconds = self.probe.period_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(10);
        let mut sleep = self.host.clock.sleep(Duration::from_secs(seconds.max(1)));
        let known = mark(before, &self.container.name);
        loop {
            tokio::select! {
                () = &mut sleep => return true,
                changed = self.view.changed() => {
                    if changed.is_err() {
                        return false;
                    }
                    let now = self.view.borrow_and_update().clone();
                    if mark(&now, &self.container.name) != known {
                        return true;
                    }
                }
            }
        }
    }
}

fn mark(view: &View, name: &str) -> (Option<String>, Option<bool>, bool, bool) {
    let status = container_status(view, name);
    (
        status.and_then(|status| status.container_id.clone()),
        status.and_then(|status| status.started),
        status.and_then(|s| s.state.as_ref()).is_some_and(|state| state.running.is_some()),
        spec::is_being_deleted(&view.pod),
    )
}

fn container_status<'a>(view: &'a View, name: &str) -> Option<&'a ContainerStatus> {
    let all = view.status.container_statuses.iter().chain(&view.status.init_container_statuses);
    all.flatten().find(|status| status.name == name)
}

fn container_id(status: &ContainerStatus) -> Option<ContainerId> {
    let id = status.container_id.as_deref()?;
    Some(ContainerId::new(id.split_once("://").map_or(id, |(_, id)| id)))
}

fn subject(view: &View, container: &Container, results: &Results) -> Option<Subject> {
    let status = container_status(view, &container.name)?;
    let id = container_id(status)?;
    let state = status.state.as_ref();
    let since = |at: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| {
        Duration::from_secs(u64::try_from(at.0.as_second()).unwrap_or(0))
    };
    let state = if let Some(running) = state.and_then(|state| state.running.as_ref()) {
        SubjectState::Running { since: running.started_at.as_ref().map(since).unwrap_or_default() }
    } else if let Some(ended) = state.and_then(|state| state.terminated.as_ref()) {
        let restarts = spec::restarts_after(container, &view.pod, ended.exit_code);
        SubjectState::Ended { restarts }
    } else {
        SubjectState::Waiting
    };
    // What the API knew before this kubelet started is still true of a container that kept running.
    let known = spec::status(&view.pod);
    let before = known.container_statuses.iter().chain(&known.init_container_statuses).flatten();
    let same = before.into_iter().find(|s| s.container_id == status.container_id);
    let first_look = results.readiness(&id).is_none();
    Some(Subject {
        id,
        state,
        started: status.started.unwrap_or(false) || same.is_some_and(|s| s.started == Some(true)),
        pod_deleting: spec::is_being_deleted(&view.pod),
        was_ready: first_look && same.is_some_and(|same| same.ready),
    })
}
