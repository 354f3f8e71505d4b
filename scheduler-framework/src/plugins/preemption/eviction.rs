use super::candidates::Candidate;
use crate::{Handle, PodGroupObject, PodInfo};
use futures::future::join_all;
use k8s_openapi::{
    api::core::v1::{ObjectReference, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use kubeplane_client::{EventType, SeriesRecorder};
use kubeplane_workload::condition;
use parking_lot::Mutex;
use serde_json::json;
use std::{collections::HashSet, sync::Arc};
use tokio::task::JoinSet;

const REASON: &str = "PreemptionByScheduler";

/// Whether a pod is being deleted because the scheduler wants its place.
pub(super) fn is_preempted(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && condition(pod, "DisruptionTarget")
            .is_some_and(|own| own.status == "True" && own.reason.as_deref() == Some(REASON))
}

/// The deletions under way, beside the scheduling loop unless they are `awaited`; they end when it does.
#[derive(Debug)]
pub(super) struct Evictions {
    handle: Handle,
    /// Whether the loop waits for them.
    awaited: bool,
    running: Arc<Mutex<HashSet<String>>>,
    tasks: Mutex<JoinSet<()>>,
}

impl Evictions {
    pub(super) fn new(handle: Handle, awaited: bool) -> Self {
        Self { handle, awaited, running: Arc::default(), tasks: Mutex::default() }
    }

    /// Room is looked for.
    pub(super) fn attempted(&self) {
        self.handle.metrics.preemption.attempted();
    }

    /// Whether victims of this pod are being deleted.
    pub(super) fn is_running(&self, uid: &str) -> bool {
        self.running.lock().contains(uid)
    }

    /// Whether victims of the group of a pod are being deleted; not while the group is not known.
    pub(super) fn is_running_for_group(&self, pod: &PodInfo) -> bool {
        let key = pod.group().unwrap_or_default();
        let name = key.split_once('/').map_or("", |(_, name)| name);
        let group = self.handle.objects.pod_groups.find(pod.namespace(), name);
        let uid = group.and_then(|own| own.metadata.uid.clone());
        uid.is_some_and(|uid| self.is_running(&uid))
    }

    /// Deletes the victims; `lower` are nominated there too and must look elsewhere.
    ///
    /// # Errors
    /// Why a victim is not deleted, if that is waited for.
    pub(super) async fn start(
        &self,
        pod: &PodInfo,
        candidate: Candidate,
        lower: Vec<Arc<PodInfo>>,
    ) -> Result<(), String> {
        let preemption = Preemption {
            handle: self.handle.clone(),
            kind: "pod",
            reference: SeriesRecorder::reference(&**pod.pod()),
            uid: pod.uid().to_owned(),
            pods: vec![pod.uid().to_owned()],
            scheduler: scheduler_of(pod),
            node: candidate.node,
        };
        self.begin(preemption, candidate.victims, lower).await
    }

    /// Deletes the victims of a group, of which these pods wait.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub(super) async fn start_for_group(
        &self,
        group: &PodGroupObject,
        pods: &[Arc<PodInfo>],
        victims: Vec<Arc<PodInfo>>,
    ) -> Result<(), String> {
        let preemption = Preemption {
            handle: self.handle.clone(),
            kind: "podgroup",
            reference: SeriesRecorder::reference(group),
            uid: group.metadata.uid.clone().unwrap_or_default(),
            pods: pods.iter().map(|pod| pod.uid().to_owned()).collect(),
            scheduler: pods.first().map(|pod| scheduler_of(pod)).unwrap_or_default(),
            node: "cluster".to_owned(),
        };
        self.begin(preemption, victims, Vec::new()).await
    }

    async fn begin(
        &self,
        preemption: Preemption,
        victims: Vec<Arc<PodInfo>>,
        lower: Vec<Arc<PodInfo>>,
    ) -> Result<(), String> {
        let chosen = victims.len();
        let victims: Vec<_> =
            victims.into_iter().filter(|victim| !victim.is_terminating()).collect();
        if victims.is_empty() && !self.awaited {
            return Ok(());
        }
        self.handle.metrics.preemption.chosen(chosen);
        match self.awaited {
            true => preemption.evict_at_once(&victims, &lower).await,
            false => {
                self.run(preemption, victims, lower);
                Ok(())
            }
        }
    }

    /// Deletes beside the scheduling loop.
    fn run(&self, preemption: Preemption, victims: Vec<Arc<PodInfo>>, lower: Vec<Arc<PodInfo>>) {
        self.running.lock().insert(preemption.uid.clone());
        let metrics = self.handle.metrics.preemption.clone();
        let running = self.running.clone();
        let mut tasks = self.tasks.lock();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let began = preemption.handle.clock.elapsed();
            preemption.clear_all(&lower).await;
            let well = preemption.evict_all(&victims).await;
            metrics.done(well, preemption.handle.clock.elapsed().saturating_sub(began));
            running.lock().remove(&preemption.uid);
            preemption.pods.iter().for_each(|uid| preemption.wake(uid, well));
        });
    }
}

fn scheduler_of(pod: &PodInfo) -> String {
    pod.spec().scheduler_name.clone().unwrap_or_else(|| "default-scheduler".to_owned())
}

struct Preemption {
    handle: Handle,
    /// For what room is made: a pod or a group of them.
    kind: &'static str,
    reference: ObjectReference,
    uid: String,
    /// The pods that go on then, by uid.
    pods: Vec<String>,
    scheduler: String,
    /// Where room is made.
    node: String,
}

impl Preemption {
    /// Has a pod looked at again.
    fn wake(&self, uid: &str, well: bool) {
        let woken = match well {
            true => self.handle.release(uid),
            // Nothing may ever leave: the pod is tried again by itself.
            false => self.handle.activate(uid),
        };
        if !woken {
            tracing::warn!(uid, "preempting pod not woken, it waits for the next event");
        }
    }

    fn pods(&self, pod: &PodInfo) -> Api<Pod> {
        Api::namespaced(self.handle.client.clone(), pod.namespace())
    }

    async fn clear_all(&self, pods: &[Arc<PodInfo>]) {
        join_all(pods.iter().map(|other| self.clear(other))).await;
    }

    /// Takes back the nomination of a pod that has to yield.
    async fn clear(&self, pod: &PodInfo) {
        let patch = json!({"metadata": {"uid": pod.uid()}, "status": {"nominatedNodeName": null}});
        let parameters = PatchParams::default();
        let pods = self.pods(pod);
        if let Err(error) =
            pods.patch_status(pod.name(), &parameters, &Patch::Strategic(patch)).await
        {
            tracing::debug!(pod = pod.key(), %error, "nomination not cleared");
        }
    }

    /// Whether all victims are on their way out. The last one stays while another does: there would be no room anyway.
    async fn evict_all(&self, victims: &[Arc<PodInfo>]) -> bool {
        let Some((last, others)) = victims.split_last() else { return true };
        let others = join_all(others.iter().map(|victim| self.evict(victim))).await;
        others.iter().all(Result::is_ok) && self.evict(last).await.is_ok()
    }

    /// Has all victims on their way out, and `lower` look elsewhere, or says why one stays.
    async fn evict_at_once(
        &self,
        victims: &[Arc<PodInfo>],
        lower: &[Arc<PodInfo>],
    ) -> Result<(), String> {
        let all = join_all(victims.iter().map(|victim| self.evict(victim))).await;
        all.into_iter().collect::<Result<(), String>>()?;
        self.clear_all(lower).await;
        Ok(())
    }

    /// Has a victim on its way out, or says why it stays.
    async fn evict(&self, victim: &PodInfo) -> Result<(), String> {
        // One that is not bound yet only has to give up its place.
        if self.handle.preempt(victim.uid()) {
            self.tell(victim, " (in kube-scheduler memory).");
            return Ok(());
        }
        match self.try_evict(victim).await {
            Ok(()) => {
                self.tell(victim, "");
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => {
                tracing::warn!(pod = victim.key(), %error, "victim not deleted");
                Err(match error {
                    kube::Error::Api(status) => status.message.clone(),
                    other => other.to_string(),
                })
            }
        }
    }

    fn tell(&self, victim: &PodInfo, how: &str) {
        let Self { kind, uid, node, .. } = self;
        let message = format!("Preempted by {kind} {uid} on node {node}{how}");
        let recorder = self.handle.recorder.named(&self.scheduler);
        let (victim, related) = (SeriesRecorder::reference(&**victim.pod()), &self.reference);
        let (reason, action) = ("Preempted", "Preempting");
        recorder.event(&victim, Some(related), EventType::Normal, reason, action, message);
    }

    async fn try_evict(&self, victim: &PodInfo) -> Result<(), kube::Error> {
        let Self { scheduler, kind, .. } = self;
        let message = format!("{scheduler}: preempting to accommodate a higher priority {kind}");
        let present = condition(victim.pod(), "DisruptionTarget").is_some_and(|own| {
            own.status == "True"
                && own.reason.as_deref() == Some(REASON)
                && own.message.as_deref() == Some(&*message)
        });
        let pods = self.pods(victim);
        if !present {
            let mut condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": REASON, "message": message,
                "lastProbeTime": null, "lastTransitionTime": Time(self.handle.clock.now()),
            });
            if let Some(generation) = victim.pod().metadata.generation {
                condition["observedGeneration"] = json!(generation);
            }
            let patch =
                json!({"metadata": {"uid": victim.uid()}, "status": {"conditions": [condition]}});
            pods.patch_status(victim.name(), &PatchParams::default(), &Patch::Strategic(patch))
                .await?;
        }
        let only = Preconditions { uid: Some(victim.uid().to_owned()), resource_version: None };
        let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
        pods.delete(victim.name(), &parameters).await.map(|_| ())
    }
}
