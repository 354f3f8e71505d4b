//! Making pods and taking them away.

use super::{
    TRACKING,
    backoff::{self, FAILURES, IGNORED},
    figures::Action as Done,
    indexes::{INDEX, Indexes, index_of, taken},
    orphans::without_finalizer,
    policy,
    sync::{Sync, count, is_indexed, is_suspended, only_replaces_failed},
};
use crate::{
    Error,
    builtin::{
        pods,
        replicas::{
            rank,
            scale::{BURST, slow_start},
        },
    },
    error::unless_gone,
};
use futures::future::join_all;
use k8s_openapi::api::core::v1::{EnvVar, EnvVarSource, ObjectFieldSelector, Pod, PodSpec};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_client::finalizers;
use kubeplane_workload::is_ready;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// The longest prefix that leaves room for what the server adds to it.
const LONGEST_PREFIX: usize = 58;

impl Sync<'_> {
    /// Deletes the active pods, which keep their finalizers until they are counted.
    pub(super) async fn delete_active(&mut self) -> (i32, Result<(), Error>) {
        let pods = std::mem::take(&mut self.active);
        let deletions = pods.iter().map(|pod| self.delete(pod));
        let results = join_all(deletions).await;
        self.ready -= count(pods.iter().filter(|pod| is_ready(pod)));
        let deleted = count(results.iter().filter(|result| result.is_ok()));
        (deleted, results.into_iter().collect())
    }

    async fn delete(&self, pod: &Pod) -> Result<(), Error> {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        match pods::delete(self.context, &self.job, name).await {
            Err(error) if error.is_not_found() => Ok(()),
            result => {
                result?;
                self.controller.pods.deleted(self.key, pod);
                Ok(())
            }
        }
    }

    /// Brings the number of active pods to what is wanted.
    pub(super) async fn manage(&mut self, active: &mut i32) -> Result<(), Error> {
        self.action = Done::Tracking;
        let parallelism = self.spec().parallelism.unwrap_or(1);
        let wanted = match self.spec().completions {
            _ if is_suspended(self.spec()) => 0,
            // Without a number of completions no pod is made once one has succeeded.
            None if self.succeeded > 0 => *active,
            None => parallelism,
            Some(completions) => (completions - self.succeeded).min(parallelism).max(0),
        };
        let surplus = usize::try_from(*active - wanted).unwrap_or_default();
        let mut doomed = self.doomed(surplus);
        let suspended = is_suspended(self.spec());
        if !suspended {
            doomed.truncate(BURST);
        }
        if suspended || !doomed.is_empty() {
            self.action = Done::PodsDeleted;
            return self.remove(&doomed, active).await;
        }
        let going = if only_replaces_failed(self.spec()) { self.terminating } else { 0 };
        let missing = usize::try_from(wanted - going - *active).unwrap_or_default();
        if missing == 0 {
            return Ok(());
        }
        self.action = Done::PodsCreated;
        self.create(missing.min(BURST), active).await
    }

    /// At least `surplus` active pods; also those that share an index or have none.
    fn doomed(&mut self, surplus: usize) -> Vec<Arc<Pod>> {
        let (mut doomed, mut left) = (Vec::new(), self.active.clone());
        if is_indexed(self.spec()) {
            let mut by_index: BTreeMap<Option<i32>, Vec<Arc<Pod>>> = BTreeMap::new();
            for pod in left.drain(..) {
                by_index.entry(self.valid_index(&pod)).or_default().push(pod);
            }
            for (index, mut pods) in by_index {
                if index.is_some() {
                    let spare = rank::newest(pods.clone(), pods.len() - 1);
                    pods.retain(|pod| !spare.iter().any(|other| Arc::ptr_eq(pod, other)));
                    left.append(&mut pods);
                    pods = spare;
                }
                doomed.append(&mut pods);
            }
        }
        let more = surplus.saturating_sub(doomed.len());
        doomed.extend(rank::newest(left, more));
        doomed
    }

    /// Deletes pods that are not to be counted.
    async fn remove(&mut self, doomed: &[Arc<Pod>], active: &mut i32) -> Result<(), Error> {
        let removals = doomed.iter().map(|pod| async {
            self.untrack(pod).await?;
            self.delete(pod).await
        });
        let results = join_all(removals).await;
        let removed = count(results.iter().filter(|result| result.is_ok()));
        *active -= removed;
        self.terminating += removed;
        self.ready -= count(doomed.iter().filter(|pod| is_ready(pod)));
        results.into_iter().collect()
    }

    /// Takes the finalizer off a pod.
    pub(super) async fn untrack(&self, pod: &Pod) -> Result<(), Error> {
        if !finalizers::has(pod, TRACKING) {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.context.client(), &self.key.namespace);
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let patch = Patch::Strategic(without_finalizer(pod));
        match api.patch(name, &PatchParams::default(), &patch).await {
            Ok(written) => {
                let last = written.metadata.finalizers.as_ref().is_none_or(Vec::is_empty);
                if written.metadata.deletion_timestamp.is_some() && last {
                    // Counted again if the cache showed it once more as one that is going away.
                    self.controller.pods.removed(self.key, &written);
                } else {
                    self.controller.pods.updated(self.key, &written);
                }
                Ok(())
            }
            gone => unless_gone(gone),
        }
    }

    async fn create(&mut self, missing: usize, active: &mut i32) -> Result<(), Error> {
        let per_index = self.spec().backoff_limit_per_index.is_some();
        let wait = if per_index { Duration::ZERO } else { self.backoff.remaining(self.now) };
        if !wait.is_zero() {
            self.look_again_in(wait);
            return Ok(());
        }
        let indexes: Vec<Option<i32>> = if is_indexed(self.spec()) {
            self.next_indexes(missing).into_iter().map(Some).collect()
        } else {
            vec![None; missing]
        };
        let (next, refused, this) = (AtomicUsize::new(0), AtomicUsize::new(0), &*self);
        let refused = &refused;
        let pace = &self.controller.pace;
        let (created, result) = slow_start(indexes.len(), pace.first(self.key), || {
            let index = indexes.get(next.fetch_add(1, Ordering::Relaxed)).copied().flatten();
            let pod = this.pod(index);
            async move {
                match pods::create_pod(this.context, &this.job, &pod).await {
                    Ok(created) => {
                        this.controller.pods.created(this.key, &created);
                        Ok(())
                    }
                    // Creation fails until the namespace is gone, and the Job with it.
                    Err(error) if error.is_namespace_terminating() => Ok(()),
                    Err(error) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        Err(error)
                    }
                }
            }
        })
        .await;
        pace.went_well(self.key, created);
        let (before, made) =
            ((self.failed, self.terminating), (created, refused.load(Ordering::Relaxed)));
        self.controller.figures.made(self.spec(), before, made);
        *active += i32::try_from(created).unwrap_or(i32::MAX);
        result
    }

    /// The first indexes that have no pod and may have one now.
    fn next_indexes(&mut self, missing: usize) -> Vec<i32> {
        let taken = taken(&self.pods, only_replaces_failed(self.spec()));
        let over = self.done.with(taken);
        let over = over.merge(self.failed_indexes.as_ref().unwrap_or(&Indexes::default()));
        let candidates = over.first_missing(missing, self.completions());
        if self.spec().backoff_limit_per_index.is_none() {
            return candidates;
        }
        let waits = candidates.into_iter().map(|index| {
            let last = self.delayed.get(&index).map(|pod| &**pod);
            (index, backoff::remaining_for_index(last, self.now))
        });
        let (now, later): (Vec<_>, Vec<_>) = waits.partition(|(_, wait)| wait.is_zero());
        if let Some(first) = later.iter().map(|(_, wait)| *wait).min() {
            self.look_again_in(first);
        }
        now.into_iter().map(|(index, _)| index).collect()
    }

    fn pod(&self, index: Option<i32>) -> Pod {
        let spec = self.spec();
        let mut pod = pods::from_template(&spec.template, &self.job);
        if let Some(group) = &self.group {
            group.admit(&mut pod);
        }
        let meta = &mut pod.metadata;
        let all = meta.finalizers.get_or_insert_default();
        if !all.iter().any(|finalizer| finalizer == TRACKING) {
            all.push(TRACKING.to_owned());
        }
        if let Some(pod_spec) = pod.spec.as_mut().filter(|_| is_indexed(spec)) {
            tell_index(pod_spec);
        }
        let Some(index) = index else { return pod };
        let name = self.job.metadata.name.as_deref().unwrap_or_default();
        meta.generate_name = Some(prefix(name, index));
        meta.labels.get_or_insert_default().insert(INDEX.to_owned(), index.to_string());
        let annotations = meta.annotations.get_or_insert_default();
        annotations.insert(INDEX.to_owned(), index.to_string());
        if spec.backoff_limit_per_index.is_some() {
            let (failures, ignored) = self.failures_of(index);
            annotations.insert(FAILURES.to_owned(), failures.to_string());
            if ignored > 0 {
                annotations.insert(IGNORED.to_owned(), ignored.to_string());
            }
        }
        if let Some(pod_spec) = &mut pod.spec {
            pod_spec.hostname = Some(format!("{name}-{index}"));
        }
        pod
    }

    /// How often an index failed, and how often that was ignored, its last pod included.
    fn failures_of(&self, index: i32) -> (i32, i32) {
        let Some(last) = self.delayed.get(&index) else { return (0, 0) };
        debug_assert_eq!(index_of(last), Some(index));
        let counts = i32::from(policy::judge(self.spec(), last).counts());
        (
            backoff::failures(last).saturating_add(counts),
            backoff::ignored(last).saturating_add(1 - counts),
        )
    }
}

fn prefix(job: &str, index: i32) -> String {
    let suffix = format!("-{index}-");
    let room = LONGEST_PREFIX.saturating_sub(suffix.len());
    let name: String = job.chars().take(room).collect();
    name + &suffix
}

/// Gives every container its pod's index.
fn tell_index(spec: &mut PodSpec) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let init = spec.init_containers.iter_mut().flatten();
    for container in init.chain(&mut spec.containers) {
        let env = container.env.get_or_insert_default();
        if env.iter().any(|variable| variable.name == NAME) {
            continue;
        }
        let field = ObjectFieldSelector {
            api_version: None,
            field_path: format!("metadata.labels['{INDEX}']"),
        };
        let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
        env.push(EnvVar { name: NAME.to_owned(), value_from: Some(source), ..EnvVar::default() });
    }
}
