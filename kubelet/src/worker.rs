//! The life of one pod on this node.
//!
//! ```text
//!   Running ── deleted, failed, done, too long ──> Ending ── nothing runs ──> Ended ── gone ──> removed
//!      │                                             │                          │
//!   synchronize: sandbox, volumes, containers     preStop, grace, kill      delete in the API
//! ```
//! One task per pod does one step after the other; whatever happens only wakes it.

pub(crate) mod end;
pub(crate) mod hooks;
pub(crate) mod messages;
pub(crate) mod remove;
mod resize;
pub(crate) mod start;
pub(crate) mod sync;

use crate::{
    Result,
    allocation::Kept,
    host::Host,
    observed::{self, ObservedPod},
    probes::{Results, prober::Prober},
    spec::{self, PodId},
    status::{self, Reason, Verdict, writer::StatusWriter},
};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kubeplane_client::EventType;
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// How long a worker waits after something failed, at first and at most.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// What the API asks for.
#[derive(Debug, Clone)]
pub(crate) struct Desired {
    pub(crate) pod: Arc<Pod>,
    /// The pod is no longer in the API.
    pub(crate) gone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Ending,
    Ended,
}

/// What a step leaves to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Again,
    Wait(Duration),
    Finished,
}

/// Does everything for one pod.
#[derive(Debug)]
pub(crate) struct Worker {
    host: Arc<Host>,
    id: PodId,
    desired: watch::Receiver<Desired>,
    wake: Arc<Notify>,
    stage: Stage,
    admitted: bool,
    verdict: Option<Verdict>,
    status: Arc<PodStatus>,
    reasons: HashMap<String, Reason>,
    results: Arc<Results>,
    prober: Prober,
    writer: StatusWriter,
    retry: Duration,
    first_seen: Duration,
    /// The pod was worked on before.
    synchronized: bool,
    /// What is written down of what it was given.
    kept: Option<Kept>,
    /// How often it had been given something else when its work began.
    turn: u64,
}

impl Worker {
    /// A worker for the pod of `desired`, woken through `wake`.
    pub(crate) fn new(
        host: Arc<Host>,
        desired: watch::Receiver<Desired>,
        wake: Arc<Notify>,
    ) -> Self {
        let pod = desired.borrow().pod.clone();
        let id = PodId::of(&pod);
        let known = spec::status(&pod).into_owned();
        let results = Arc::new(Results::default());
        let writer =
            StatusWriter::new(host.client.clone(), host.clock.clone(), id.clone(), pod.clone());
        Self {
            first_seen: host.clock.elapsed(),
            synchronized: false,
            kept: None,
            turn: 0,
            prober: Prober::new(host.clone(), results.clone(), wake.clone(), pod),
            host,
            id,
            desired,
            wake,
            stage: Stage::Running,
            admitted: false,
            verdict: None,
            status: Arc::new(known),
            reasons: HashMap::new(),
            results,
            writer,
            retry: FIRST_RETRY,
        }
    }

    /// Works until nothing of the pod is left.
    pub(crate) async fn run(mut self) {
        loop {
            let next = match self.step().await {
                Ok(next) => {
                    self.retry = FIRST_RETRY;
                    next
                }
                Err(error) => {
                    tracing::warn!(pod = %self.id, %error, "a step of a pod failed");
                    let wait = self.retry;
                    self.retry = (self.retry * 2).min(LAST_RETRY);
                    Next::Wait(wait)
                }
            };
            match next {
                Next::Again => {}
                Next::Finished => return,
                Next::Wait(time) => {
                    let sleep = self.host.clock.sleep(time);
                    tokio::select! {
                        () = sleep => {}
                        () = self.wake.notified() => {}
                        // The sender lives as long as the kubelet, which ends this task.
                        _ = self.desired.changed() => {}
                    }
                }
            }
        }
    }

    async fn step(&mut self) -> Result<Next> {
        match self.stage {
            Stage::Running => {
                if self.must_end().await? {
                    self.stage = Stage::Ending;
                    return Ok(Next::Again);
                }
                let ended = ends(self.desired.clone());
                tokio::select! {
                    biased;
                    () = ended => Ok(Next::Again),
                    next = self.synchronize_timed() => next,
                }
            }
            Stage::Ending => self.end().await,
            Stage::Ended => self.ended().await,
        }
    }

    async fn synchronize_timed(&mut self) -> Result<Next> {
        let kind = if self.synchronized { "sync" } else { "create" };
        self.synchronized = true;
        let start = self.host.clock.elapsed();
        let next = self.synchronize().await;
        let took = self.host.clock.elapsed().saturating_sub(start);
        self.host.metrics.worked(kind, took);
        next
    }

    /// The pod with what it was given.
    fn pod(&self) -> Arc<Pod> {
        let pod = self.desired.borrow().pod.clone();
        self.host.pods.allocated(&self.id.uid, pod)
    }

    /// Whether the pod must not run any longer.
    async fn must_end(&mut self) -> Result<bool> {
        let Desired { pod, gone } = self.desired.borrow_and_update().clone();
        if gone || spec::is_being_deleted(&pod) || self.verdict.is_some() {
            return Ok(true);
        }
        if spec::is_terminal(&spec::status(&pod)) || spec::is_terminal(&self.status) {
            return Ok(true);
        }
        if self.deadline(&pod).is_some_and(|left| left.is_zero()) {
            let message = "Pod was active on the node longer than the specified deadline";
            self.host.pod_event(&pod, EventType::Normal, "DeadlineExceeded", message);
            self.verdict =
                Some(Verdict { reason: "DeadlineExceeded".into(), message: message.into() });
            return Ok(true);
        }
        Ok(false)
    }

    /// How long the pod may still be active, when it has a limit.
    fn deadline(&self, pod: &Pod) -> Option<Duration> {
        let limit = pod.spec.as_ref()?.active_deadline_seconds?;
        let started = self.status.start_time.as_ref()?.0;
        let end = started.as_second().saturating_add(limit);
        let left = end.saturating_sub(self.host.clock.now().as_second());
        Some(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }

    async fn observe(&self, pod: &Pod) -> Result<ObservedPod> {
        let mut observed = observed::observe(self.host.runtime.as_ref(), &self.id.uid).await?;
        let dir = crate::sandbox::log_dir(&self.host.config, &self.id);
        messages::fill(&mut observed, pod, &dir);
        self.host.pods.fill(&self.id.uid, &mut observed);
        Ok(observed)
    }

    /// Computes the status and gives it to the API, the probes and the server.
    fn publish(
        &mut self,
        pod: &Arc<Pod>,
        observed: &ObservedPod,
        terminal: bool,
    ) -> Arc<PodStatus> {
        let mut status = status::compute(&status::Input {
            pod,
            observed,
            previous: &self.status,
            reasons: &self.reasons,
            results: &self.results,
            host_ips: &self.host.config.node_ips,
            runtime_name: &self.host.runtime_name,
            terminal,
            // While something still runs the pod has not failed yet.
            verdict: self.verdict.as_ref().filter(|_| terminal),
            resizes: &self.host.pods.resizes(&self.id.uid),
            now: self.host.clock.now(),
        });
        if terminal {
            status::settle(&mut status, self.host.clock.now());
        }
        let status = Arc::new(status);
        self.note_start(pod, &status);
        self.status = status.clone();
        self.host.pods.set_status(&self.id.uid, status.clone());
        self.writer.set(status.clone(), pod);
        self.prober.update(pod, &status);
        status
    }
}

impl Worker {
    /// Times the start of a pod that runs from now on.
    fn note_start(&self, pod: &Pod, status: &PodStatus) {
        let runs = |status: &PodStatus| status.phase.as_deref() == Some("Running");
        if !runs(status) || runs(&self.status) {
            return;
        }
        let clock = &self.host.clock;
        let created = pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
        let since = created.and_then(|created| Duration::try_from(clock.now() - created).ok());
        self.host.metrics.pod_runs(clock.elapsed().saturating_sub(self.first_seen), since);
    }
}

/// Resolves when the pod is to end.
async fn ends(mut desired: watch::Receiver<Desired>) {
    let ending = |desired: &Desired| {
        desired.gone
            || spec::is_being_deleted(&desired.pod)
            || spec::is_terminal(&spec::status(&desired.pod))
    };
    if desired.wait_for(ending).await.is_err() {
        std::future::pending::<()>().await;
    }
}
