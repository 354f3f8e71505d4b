//! What is done about each pod of a set, in order or all at once.

use super::{StatefulSets, identity, template};
use crate::{
    Context, Error,
    builtin::{deployment::steps::resolve, replicas::scale::slow_start},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus},
        core::v1::{Pod, PodTemplateSpec},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams, Preconditions},
};
use kubeplane_client::{EventType, ObjectKey};
use kubeplane_workload::{
    is_available, is_ready, is_terminal,
    phase::{is_deleting, phase},
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

pub(super) struct Sync<'a> {
    pub(super) controller: &'a StatefulSets,
    pub(super) context: &'a Context,
    pub(super) key: &'a ObjectKey,
    pub(super) set: &'a StatefulSet,
    pub(super) spec: &'a StatefulSetSpec,
    current: (String, PodTemplateSpec),
    update: (String, PodTemplateSpec),
    pods: &'a [Arc<Pod>],
    /// By ordinal, from the first that is wanted.
    wanted: Vec<(i32, Option<Arc<Pod>>)>,
    /// Those that are not wanted, the highest ordinal first.
    condemned: Vec<(i32, Arc<Pod>)>,
    now: Timestamp,
}

/// Whether the next pod must wait for another round.
type Wait = bool;

impl<'a> Sync<'a> {
    pub(super) fn new(
        controller: &'a StatefulSets,
        context: &'a Context,
        key: &'a ObjectKey,
        set: &'a StatefulSet,
        current: &ControllerRevision,
        update: &ControllerRevision,
        pods: &'a [Arc<Pod>],
    ) -> Result<Self, Error> {
        let no_spec = || Error::Invalid(format!("{key} has no specification"));
        let spec = set.spec.as_ref().ok_or_else(no_spec)?;
        let ordinals = pods.iter().filter_map(|pod| Some((identity::ordinal(pod)?, pod.clone())));
        let (mut members, mut condemned) = (HashMap::new(), Vec::new());
        for (ordinal, pod) in ordinals {
            if identity::is_wanted(spec, ordinal) {
                members.insert(ordinal, pod);
            } else {
                condemned.push((ordinal, pod));
            }
        }
        let ordinals = identity::ordinals(spec);
        let wanted = ordinals.map(|ordinal| (ordinal, members.remove(&ordinal))).collect();
        condemned.sort_by_key(|(ordinal, _)| std::cmp::Reverse(*ordinal));
        Ok(Self {
            controller,
            context,
            key,
            set,
            spec,
            current: (current.name_any(), template(set, current)?),
            update: (update.name_any(), template(set, update)?),
            pods,
            wanted,
            condemned,
            now: context.now(),
        })
    }

    fn is_ordered(&self) -> bool {
        self.spec.pod_management_policy.as_deref() != Some("Parallel")
    }

    fn is_available(&self, pod: &Pod) -> bool {
        is_available(pod, self.spec.min_ready_seconds.unwrap_or_default(), self.now)
    }

    fn is_healthy(&self, pod: &Pod) -> bool {
        phase(pod) == "Running" && is_ready(pod) && self.is_available(pod)
    }

    /// Brings the pods one round forward; gives the status, and what went wrong.
    pub(super) async fn run(&self) -> (StatefulSetStatus, Result<(), Error>) {
        let mut status = self.status();
        if self.set.metadata.deletion_timestamp.is_some() {
            return (status, Ok(()));
        }
        let mut deleted = 0;
        let result = self.round(&mut deleted).await;
        status.current_replicas = status.current_replicas.map(|count| (count - deleted).max(0));
        (status, result)
    }

    async fn round(&self, deleted: &mut i32) -> Result<(), Error> {
        let wanted = self.wanted.len();
        if self.for_each(wanted, |index| self.keep(index)).await? {
            return Ok(());
        }
        for (ordinal, pod) in &self.condemned {
            self.own_claims(pod, *ordinal).await?;
        }
        if self.for_each(self.condemned.len(), |index| self.condemn(index)).await? {
            return Ok(());
        }
        self.roll(deleted).await
    }

    /// In order until one must be waited for, or all of them.
    async fn for_each<F, Fut>(&self, count: usize, step: F) -> Result<Wait, Error>
    where
        F: Fn(usize) -> Fut,
        Fut: Future<Output = Result<Wait, Error>>,
    {
        if self.is_ordered() {
            for index in 0..count {
                if step(index).await? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        let (next, waits) = (AtomicUsize::new(0), AtomicBool::new(false));
        let run = || {
            let future = step(next.fetch_add(1, Ordering::Relaxed));
            let waits = &waits;
            async move {
                if future.await? {
                    waits.store(true, Ordering::Relaxed);
                }
                Ok(())
            }
        };
        slow_start(count, 1, run).await.1?;
        // Nobody waits for another where all go at once.
        Ok(false)
    }

    /// Makes, replaces or corrects a pod that is wanted.
    async fn keep(&self, index: usize) -> Result<Wait, Error> {
        let Some((ordinal, present)) = self.wanted.get(index) else { return Ok(false) };
        let Some(pod) = present else {
            let pod = self.make(*ordinal);
            if !self.has_stale_claim(&pod, *ordinal) {
                self.create(&pod, *ordinal).await?;
            }
            return Ok(true);
        };
        if is_terminal(pod) {
            if !is_deleting(pod) {
                self.delete(pod).await?;
            }
            return Ok(true);
        }
        let begins = phase(pod) == "Pending";
        if begins {
            self.create_claims(&pod.name_any(), *ordinal).await?;
            self.own_or_tell(pod, *ordinal).await?;
        }
        if self.is_ordered() && (is_deleting(pod) || !self.is_healthy(pod)) {
            return Ok(true);
        }
        // The cache need not show yet what has just been written.
        let owned = !begins && self.own_or_tell(pod, *ordinal).await?;
        let mounted = identity::is_mounted(self.set, self.spec, *ordinal, pod);
        if !identity::is_identified(self.set, pod) || !mounted {
            self.correct(pod, *ordinal).await?;
        } else if owned {
            self.tell("Update", pod, None);
        }
        Ok(false)
    }

    /// Brings the owners of a pod's claims into line, and tells when that fails; whether there was anything to do.
    async fn own_or_tell(&self, pod: &Pod, ordinal: i32) -> Result<bool, Error> {
        let owned = self.own_claims(pod, ordinal).await;
        if let Err(error) = &owned {
            self.tell("Update", pod, Some(error));
        }
        owned
    }

    /// A new pod: of the old revision where an update has not got to it, or is not to.
    fn make(&self, ordinal: i32) -> Pod {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let on_delete = strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete");
        let status = self.set.status.as_ref();
        let kept = match rolling {
            Some(rolling) => rolling.partition.unwrap_or_default(),
            None if on_delete => 0,
            None => status.and_then(|status| status.current_replicas).unwrap_or_default(),
        };
        let old = ordinal < identity::start(self.spec).saturating_add(kept);
        let (revision, template) = if old { &self.current } else { &self.update };
        identity::pod(self.set, self.spec, template, revision, ordinal)
    }

    /// Deletes a pod that is not wanted.
    async fn condemn(&self, index: usize) -> Result<Wait, Error> {
        let Some((_, pod)) = self.condemned.get(index) else { return Ok(false) };
        if is_deleting(pod) {
            return Ok(true);
        }
        let first = self.first_unavailable();
        let is_first = first.is_some_and(|first| Arc::ptr_eq(&first, pod));
        if self.is_ordered() && !self.is_healthy(pod) && !is_first {
            return Ok(true);
        }
        self.delete(pod).await?;
        Ok(true)
    }

    /// The unavailable pod of the lowest ordinal, wanted ones first.
    fn first_unavailable(&self) -> Option<Arc<Pod>> {
        let wanted = self.wanted.iter().filter_map(|(_, pod)| pod.as_ref());
        let condemned = self.condemned.iter().rev().map(|(_, pod)| pod);
        let mut all = wanted.chain(condemned);
        all.find(|pod| is_deleting(pod) || !self.is_available(pod)).cloned()
    }

    /// Deletes pods of an old revision, the highest ordinal first, as many as may be unavailable: one, where no other number
    /// may be said.
    async fn roll(&self, deleted: &mut i32) -> Result<(), Error> {
        let strategy = self.spec.update_strategy.as_ref();
        if strategy.and_then(|strategy| strategy.type_.as_deref()) == Some("OnDelete") {
            return Ok(());
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let partition = rolling.and_then(|rolling| rolling.partition).unwrap_or_default();
        let first = usize::try_from(partition).unwrap_or_default().min(self.wanted.len());
        if !self.controller.several {
            return self.roll_one(first, deleted).await;
        }
        let (most, down) = (self.most_unavailable(), self.unavailable());
        for (_, pod) in self.wanted[first..].iter().rev() {
            if down + *deleted >= most {
                break;
            }
            let Some(pod) = pod else { continue };
            if self.is_outdated(pod) {
                self.delete(pod).await?;
                *deleted += 1;
            }
        }
        Ok(())
    }

    /// Deletes the pod of an old revision with the highest ordinal, once all above it are available; whether it is
    /// available itself, or those below it are, makes no difference.
    async fn roll_one(&self, first: usize, deleted: &mut i32) -> Result<(), Error> {
        for (_, pod) in self.wanted[first..].iter().rev() {
            let Some(pod) = pod else { break };
            if self.is_outdated(pod) {
                self.delete(pod).await?;
                *deleted += 1;
                break;
            }
            if is_deleting(pod) || !self.is_available(pod) {
                break;
            }
        }
        Ok(())
    }

    fn is_outdated(&self, pod: &Pod) -> bool {
        revision_of(pod) != self.update.0 && !is_deleting(pod)
    }

    /// How many pods an update may leave unavailable at a time.
    pub(super) fn most_unavailable(&self) -> i32 {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let most = rolling.and_then(|rolling| rolling.max_unavailable.clone());
        let most = most.unwrap_or(IntOrString::Int(1));
        resolve(Some(&most), identity::replicas(self.spec), false).max(1)
    }

    /// How many of the pods that are wanted are not available.
    pub(super) fn unavailable(&self) -> i32 {
        let down = self.wanted.iter().filter(|(_, pod)| {
            pod.as_ref().is_none_or(|pod| is_deleting(pod) || !self.is_available(pod))
        });
        i32::try_from(down.count()).unwrap_or(i32::MAX)
    }

    fn status(&self) -> StatefulSetStatus {
        let count = |counts: &dyn Fn(&Pod) -> bool| {
            i32::try_from(self.pods.iter().filter(|pod| counts(pod)).count()).unwrap_or(i32::MAX)
        };
        let ready = |pod: &Pod| phase(pod) == "Running" && is_ready(pod);
        let of = |revision: &str, pod: &Pod| !is_deleting(pod) && revision_of(pod) == revision;
        StatefulSetStatus {
            observed_generation: self.set.metadata.generation,
            current_revision: Some(self.current.0.clone()),
            update_revision: Some(self.update.0.clone()),
            replicas: count(&|_| true),
            ready_replicas: Some(count(&ready)),
            available_replicas: Some(count(&|pod| ready(pod) && self.is_available(pod))),
            current_replicas: Some(count(&|pod| of(&self.current.0, pod))),
            updated_replicas: Some(count(&|pod| of(&self.update.0, pod))),
            ..StatefulSetStatus::default()
        }
    }

    pub(super) fn event(&self, kind: EventType, reason: &str, message: String) {
        self.context.recorder().event_for(self.set, kind, reason, message);
    }

    fn tell(&self, verb: &str, pod: &Pod, error: Option<&Error>) {
        let (pod, set) = (pod.name_any(), &self.key.name);
        match error {
            None => {
                let message = format!("{verb} Pod {pod} in StatefulSet {set} successful");
                self.event(EventType::Normal, &format!("Successful{verb}"), message);
            }
            Some(error) => {
                let text = error.text();
                let message = format!("{verb} Pod {pod} in StatefulSet {set} failed error: {text}");
                self.event(EventType::Warning, &format!("Failed{verb}"), message);
            }
        }
    }

    fn api(&self) -> Api<Pod> {
        Api::namespaced(self.context.client(), &self.key.namespace)
    }

    async fn create(&self, pod: &Pod, ordinal: i32) -> Result<(), Error> {
        if let Err(error) = self.create_claims(&pod.name_any(), ordinal).await {
            self.tell("Create", pod, Some(&error));
            return Err(error);
        }
        match self.api().create(&PostParams::default(), pod).await.map_err(Error::from) {
            Ok(created) => {
                self.controller.pods.created(self.key, &created);
                self.own_or_tell(&created, ordinal).await?;
                self.tell("Create", pod, None);
                Ok(())
            }
            Err(error) => {
                if !error.is_already_exists() {
                    self.tell("Create", pod, Some(&error));
                }
                Err(error)
            }
        }
    }

    async fn delete(&self, pod: &Pod) -> Result<(), Error> {
        let preconditions = Preconditions { uid: pod.metadata.uid.clone(), resource_version: None };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        match self.api().delete(&pod.name_any(), &params).await.map_err(Error::from) {
            Err(error) if !error.is_not_found() => {
                self.tell("Delete", pod, Some(&error));
                Err(error)
            }
            _ => {
                self.controller.pods.deleted(self.key, pod);
                self.tell("Delete", pod, None);
                Ok(())
            }
        }
    }

    async fn correct(&self, pod: &Pod, ordinal: i32) -> Result<(), Error> {
        let mended = self.mend(pod, ordinal).await;
        self.tell("Update", pod, mended.as_ref().err());
        self.controller.pods.updated(self.key, &mended?);
        Ok(())
    }

    /// Writes the pod as the server has it with what it lacks, for a cache need not have all of it; claims come first.
    async fn mend(&self, pod: &Pod, ordinal: i32) -> Result<Pod, Error> {
        if !identity::is_mounted(self.set, self.spec, ordinal, pod) {
            self.create_claims(&pod.name_any(), ordinal).await?;
        }
        let (api, name) = (self.api(), pod.name_any());
        let mut next = api.get(&name).await?;
        if next.metadata.uid != pod.metadata.uid {
            return Err(Error::Incomplete(format!("pod {name} is another one by now")));
        }
        identity::identify(self.set, ordinal, &mut next);
        if !identity::is_mounted(self.set, self.spec, ordinal, &next) {
            identity::mount(self.set, self.spec, ordinal, &mut next);
        }
        Ok(api.replace(&name, &PostParams::default(), &next).await?)
    }
}

fn revision_of(pod: &Pod) -> &str {
    pod.labels().get(identity::REVISION).map(String::as_str).unwrap_or_default()
}
