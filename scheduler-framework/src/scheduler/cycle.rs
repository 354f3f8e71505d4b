//! The scheduling loop: it alone owns cache and queue.

use super::{
    bindings::{Bound, after, bind},
    reports::Reports,
};
use crate::{
    ClusterEvent, Diagnosis, EventObject, Framework, PodInfo,
    cache::Cache,
    diagnosis::Nomination,
    framework::{Failure, Permission, Setback},
    groups::Groups,
    info::RequestGates,
    metrics::SchedulerMetrics,
    plugin::Wake,
    plugins::assumed,
    queue::{Queue, QueuedPod},
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kubeplane_client::{Changes, EventType, SeriesRecorder};
use kubeplane_clock::SharedClock;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Long enough to never matter: there is always another reason to wake.
const IDLE: Duration = Duration::from_secs(3600);

/// Events of objects other than pods and nodes.
pub(super) type OtherChanges = futures::stream::BoxStream<'static, (ClusterEvent, EventObject)>;

pub(super) struct Loop {
    pub(super) client: kube::Client,
    pub(super) clock: SharedClock,
    pub(super) frameworks: HashMap<String, Arc<Framework>>,
    pub(super) cache: Cache,
    pub(super) queue: Queue,
    pub(super) recorder: SeriesRecorder,
    pub(super) metrics: SchedulerMetrics,
    /// Set once everything that was there at the start was taken in.
    pub(super) caught_up: Arc<AtomicBool>,
    /// The pods of all groups.
    pub(super) groups: Arc<Groups>,
    pub(super) counting: RequestGates,
    pub(super) bindings: JoinSet<Bound>,
    pub(super) reports: Reports,
}

impl Loop {
    pub(super) fn new(
        client: kube::Client,
        clock: SharedClock,
        frameworks: HashMap<String, Arc<Framework>>,
        queue: Queue,
        recorder: SeriesRecorder,
        metrics: SchedulerMetrics,
    ) -> Self {
        Self {
            client,
            clock,
            frameworks,
            cache: Cache::default(),
            queue,
            recorder,
            metrics,
            caught_up: Arc::default(),
            groups: Arc::default(),
            counting: RequestGates::default(),
            bindings: JoinSet::new(),
            reports: Reports::default(),
        }
    }

    pub(super) async fn run(
        mut self,
        mut pods: Changes<Pod>,
        mut nodes: Changes<Node>,
        mut others: OtherChanges,
        mut wakes: mpsc::Receiver<Wake>,
        token: &CancellationToken,
    ) {
        loop {
            let active = self.queue.has_active();
            let flush = self.queue.next_flush().unwrap_or(IDLE);
            // What changed is taken in before the next pod is looked at.
            tokio::select! {
                biased;
                () = token.cancelled() => break,
                Some(change) = nodes.next() => self.on_node(change),
                Some((event, object)) = others.next() => self.tell(event, &object),
                Some(change) = pods.next() => self.on_pod(change),
                Some(wake) = wakes.recv() => self.queue.wake(&wake.uid, wake.always),
                () = std::future::ready(()), if !self.caught_up.load(Ordering::Relaxed) => {
                    self.caught_up.store(true, Ordering::Relaxed);
                }
                Some(Ok(bound)) = self.bindings.join_next() => self.on_bound(bound),
                Some(()) = self.reports.next() => {}
                () = std::future::ready(()), if active => self.schedule_next().await,
                () = self.clock.sleep(flush), if !active => self.queue.flush(),
            }
            if flush.is_zero() {
                self.queue.flush();
            }
            self.metrics.sizes(self.queue.counts(), self.cache.counts(), self.bindings.len());
        }
        // Bindings on their way are let finish: their pods count on them.
        while let Some(Ok(bound)) = self.bindings.join_next().await {
            self.on_bound(bound);
        }
    }

    pub(super) fn framework(&self, pod: &Pod) -> Option<&Arc<Framework>> {
        let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
        self.frameworks.get(name.unwrap_or("default-scheduler"))
    }

    async fn schedule_next(&mut self) {
        let Some(pod) = self.queue.take() else { return };
        let Some(framework) = self.framework(pod.info.pod()).cloned() else {
            return self.queue.done(pod.info.uid());
        };
        if self.cache.is_assumed(pod.info.uid()) {
            return self.queue.done(pod.info.uid());
        }
        if framework.is_for_groups()
            && let Some(group) = pod.info.group()
        {
            return self.schedule_group(framework, pod, &group).await;
        }
        let started = self.clock.elapsed();
        let outcome = {
            // Let go of before anything is placed, so that the cache changes in place.
            let snapshot = self.cache.snapshot();
            framework.schedule(&pod.info, &snapshot).await
        };
        self.metrics.algorithm(self.clock.elapsed().saturating_sub(started));
        let result = match outcome {
            Ok(mut placement) => match self.place(&framework, &pod, &mut placement) {
                Ok(permission) => {
                    // The attempt counts when it is known how the binding went.
                    let before = self.reports.turn(pod.info.uid());
                    let (client, clock) = (self.client.clone(), self.clock.clone());
                    let binding =
                        bind(client, clock, framework, pod, placement, permission, started);
                    self.bindings.spawn(after(before, binding));
                    return;
                }
                Err(setback) => self.give_up(pod, &placement.node, &setback),
            },
            Err(Failure::Unschedulable(diagnosis)) => {
                self.refuse(pod, &diagnosis);
                "unschedulable"
            }
            Err(Failure::Error(why)) => {
                self.fail(pod, &why);
                "error"
            }
        };
        self.attempted(&framework, result, started);
    }

    /// The pod fits nowhere.
    pub(super) fn refuse(&mut self, pod: QueuedPod, diagnosis: &Diagnosis) {
        self.nominate(&pod, &diagnosis.nomination);
        let message = diagnosis.to_string();
        self.report(&pod.info, "Unschedulable", &message, &diagnosis.nomination);
        self.queue.set_unschedulable(pod, diagnosis.plugins.clone());
    }

    pub(super) fn nominate(&mut self, pod: &QueuedPod, nomination: &Nomination) {
        match nomination {
            Nomination::Keep => {}
            Nomination::Clear => self.cache.clear_nomination(pod.info.uid()),
            Nomination::Node(node) => self.cache.nominate(node, pod.info.clone()),
        }
    }

    pub(super) fn attempted(&self, framework: &Framework, result: &'static str, started: Duration) {
        let took = self.clock.elapsed().saturating_sub(started);
        self.metrics.attempt(result, framework.name(), took);
    }

    /// Assumes the pod on its node and asks Reserve and Permit.
    fn place(
        &mut self,
        framework: &Framework,
        pod: &QueuedPod,
        placement: &mut crate::Placement,
    ) -> Result<Permission, Setback> {
        let held = self.cache.held_for(pod.info.uid()).map(str::to_owned);
        let assumed = assumed(&placement.state, &pod.info, &placement.node);
        self.cache.assume(&placement.node, assumed);
        self.groups.set(&pod.info, Some(&placement.node));
        if let Some(node) = held.filter(|own| *own != placement.node) {
            // Room was made for it where it does not go.
            self.announce_yielding(pod.info.pod(), &node);
        }
        framework.reserve(&mut placement.state, &pod.info, &placement.node)?;
        let permission = framework.permit(&mut placement.state, &pod.info, &placement.node);
        if permission.is_err() {
            framework.unreserve(&mut placement.state, &pod.info, &placement.node);
        }
        permission
    }

    fn on_bound(&mut self, bound: Bound) {
        let result = match bound.outcome {
            Ok(()) => {
                self.queue.done(bound.pod.info.uid());
                let info = &bound.pod.info;
                let message = format!("Successfully assigned {} to {}", info.key(), bound.node);
                let recorder = self.recorder.named(bound.framework.name());
                let kind = EventType::Normal;
                recorder.event_for(&**info.pod(), kind, "Scheduled", "Binding", message);
                let began = bound.pod.first_active.unwrap_or_default();
                let waited = self.clock.elapsed().saturating_sub(began);
                self.metrics.bound(bound.pod.attempts, waited, bound.pod.flushed);
                "scheduled"
            }
            Err(setback) => {
                let mut pod = bound.pod;
                let latest = self.queue.latest(pod.info.uid());
                pod.info = latest.unwrap_or(pod.info);
                if bound.announced && pod.info.nominated_node().is_none() {
                    // What says so is on its way here.
                    pod.info = Arc::new(nominated(&pod.info, &bound.node, self.counting));
                }
                let own = pod.info.pod().clone();
                let held = self.cache.is_assumed(pod.info.uid());
                let result = self.give_up(pod, &bound.node, &setback);
                if held {
                    // Others may have been refused because of it.
                    self.announce_leaving(&own, &bound.node);
                }
                result
            }
        };
        self.attempted(&bound.framework, result, bound.started);
    }

    /// Takes back a placement that did not come to a binding; what that counts as.
    pub(super) fn give_up(
        &mut self,
        pod: QueuedPod,
        node: &str,
        setback: &Setback,
    ) -> &'static str {
        let why = setback.why();
        tracing::warn!(pod = pod.info.key(), node, why, "pod not bound");
        self.cache.forget(pod.info.uid());
        if !self.queue.is_in_flight(pod.info.uid()) {
            // It is gone, or is on the node after all: only the answer was lost.
            return "error";
        }
        self.groups.set(&pod.info, None);
        match setback {
            Setback::Rejected { plugin, why } => {
                self.refuse(pod, &Diagnosis::of_placed(plugin, why));
                "unschedulable"
            }
            Setback::Refused(why) => {
                self.retry(pod, "Unschedulable", why);
                "unschedulable"
            }
            Setback::Failed(why) => {
                self.fail(pod, why);
                "error"
            }
        }
    }

    /// Something failed that is not the pod's fault.
    pub(super) fn fail(&mut self, pod: QueuedPod, why: &str) {
        self.retry(pod, "SchedulerError", why);
    }

    /// No event is known that would help the pod.
    fn retry(&mut self, pod: QueuedPod, reason: &'static str, why: &str) {
        self.nominate(&pod, &Nomination::Clear);
        self.report(&pod.info, reason, why, &Nomination::Clear);
        self.queue.retry(pod);
    }

    /// Tells the user, by condition and event.
    pub(super) fn report(
        &mut self,
        info: &PodInfo,
        reason: &'static str,
        message: &str,
        nomination: &Nomination,
    ) {
        let note = super::report::shortened(message);
        let profile = info.spec().scheduler_name.as_deref().unwrap_or("default-scheduler");
        let recorder = self.recorder.named(profile);
        let (kind, failed) = (EventType::Warning, "FailedScheduling");
        recorder.event_for(&**info.pod(), kind, failed, "Scheduling", note);
        let now = self.clock.now();
        if let Some(patch) =
            super::report::condition_patch(info.pod(), reason, message, nomination, now)
        {
            let (client, pod) = (self.client.clone(), info.pod().clone());
            self.reports.spawn(info.uid(), async move {
                super::report::send(client, &pod, patch).await;
            });
        }
    }
}

/// The pod with a node where room is held for it.
fn nominated(info: &PodInfo, node: &str, counting: RequestGates) -> PodInfo {
    let mut pod = Pod::clone(info.pod());
    pod.status.get_or_insert_default().nominated_node_name = Some(node.to_owned());
    PodInfo::counting(Arc::new(pod), counting)
}
