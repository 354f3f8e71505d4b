mod nodes;
mod pace;
mod rolling;
mod sync;

use super::{
    figures::Place,
    nodes::{index, pods_on},
    pods,
    revisions::History,
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone, sources::owner_key};
use async_trait::async_trait;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, DaemonSet},
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubeplane_client::{
    Change, ControllerRefManager, EventType, Informer, ObjectKey, controller_of,
};
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use nodes::Fitness;
use pace::Pace;
use serde_json::json;
use std::{sync::Arc, time::Duration};
use sync::Sync;

/// Keeps one pod on every node that is fit for it.
pub(super) struct DaemonSets {
    sets: Written,
    pods: Written,
    revisions: Written,
    pace: Pace,
    /// Whether tolerations may compare numbers.
    comparing: bool,
}

impl DaemonSets {
    pub(super) fn new(clock: SharedClock, features: &Features, metrics: Option<&Metrics>) -> Self {
        let skips = Place::new(metrics, "daemonset_controller").skips();
        let written = || Written::new(clock.clone()).counted(&skips);
        Self {
            sets: written(),
            pods: written(),
            revisions: written(),
            pace: Pace::new(clock),
            comparing: features.is_on("TaintTolerationComparisonOperators"),
        }
    }

    fn caches_are_current(&self, key: &ObjectKey, context: &Context) -> bool {
        let informers = context.informers();
        self.sets.is_seen(key, &informers.of::<DaemonSet>())
            && self.pods.is_seen(key, &informers.of::<Pod>())
            && self.revisions.is_seen(key, &informers.of::<ControllerRevision>())
    }
}

#[async_trait]
impl Controller for DaemonSets {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "daemonset-controller"
    }

    fn identity(&self) -> &'static str {
        "daemon-set-controller"
    }

    fn event_source(&self) -> &'static str {
        "daemonset-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let sets = sources.informer::<DaemonSet>();
        pods::index(&sources.informer::<Pod>());
        pods::index_other(&sources.informer::<ControllerRevision>());
        sources.objects::<DaemonSet>();
        sources.for_owner::<DaemonSet, Pod>();
        let written = self.revisions.clone();
        sources.watch::<ControllerRevision>(move |change| {
            written.gone_of::<DaemonSet, _>(change);
            woken_by(change, &written)
        });
        let (written, all) = (self.pods.clone(), sets.clone());
        sources.watch::<Pod>(move |change| {
            let pod = change.object();
            written.gone_of::<DaemonSet, _>(change);
            if change.is_deleted() {
                return Vec::new();
            }
            if controller_of(&**pod).is_some() || pod.metadata.labels.is_none() {
                return Vec::new();
            }
            let near = all.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
            let selecting = near.iter().filter(|set| {
                set.spec.as_ref().is_some_and(|spec| {
                    !pods::is_empty(&spec.selector)
                        && pods::selects(&spec.selector, pod.metadata.labels.as_ref())
                })
            });
            selecting.map(|set| ObjectKey::of(&**set)).collect()
        });
        let (comparing, pods) = (self.comparing, sources.informer::<Pod>());
        index(&pods);
        sources.watch::<Node>(move |change| concerned(change, &sets, &pods, comparing));
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let seen = self.caches_are_current(key, context);
        let Some(set) = informers.of::<DaemonSet>().get(&key.namespace, &key.name) else {
            for written in [&self.sets, &self.pods, &self.revisions] {
                written.forget(key);
            }
            return Ok(Action::Done);
        };
        if !seen {
            return Ok(LAGGING);
        }
        let Some(spec) = &set.spec else { return Ok(Action::Done) };
        if pods::is_empty(&spec.selector) {
            let message =
                "This daemon set is selecting all pods. A non-empty selector is required.";
            context.recorder().event_for(&*set, EventType::Warning, "SelectingAll", message);
            return Ok(Action::Done);
        }
        if set.metadata.deletion_timestamp.is_some() {
            return Ok(Action::Done);
        }
        let mut history =
            History::read(context, &*set, key, &self.revisions, &spec.selector, sync::REVISION)
                .await?;
        history.label_all().await?;
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        history.collisions = collisions.unwrap_or_default();
        let current = history.newest(&spec.template).await?;
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let found = pods::managed_or_orphaned(&informers.of::<Pod>(), uid, &key.namespace);
        let claims = ControllerRefManager::new(context.client(), &*set, &spec.selector)?;
        let pods = claims.claim(found, |_| true).await?;

        for double in history.doubles(&current) {
            merge(context, &pods, history.hash_of(&double), history.hash_of(&current)).await?;
            history.delete(&double).await?;
        }
        let hash = history.hash_of(&current).to_owned();
        let mut sync = Sync::new(self, context, key, &set, spec, hash, &pods);
        let managed = sync.run().await;
        sync.write_status(history.collisions).await?;
        managed?;
        let mut live: std::collections::BTreeSet<String> = [current.name_any()].into();
        for pod in &pods {
            let hash = pod.labels().get(sync::REVISION);
            let used = |revision: &&ControllerRevision| {
                hash.is_some_and(|hash| history.hash_of(revision) == hash)
            };
            live.extend(history.all.iter().filter(used).map(ResourceExt::name_any));
        }
        // Old revisions count towards the limit also while pods have them.
        let in_use = i32::try_from(live.len() - 1).unwrap_or(i32::MAX);
        let keep = spec.revision_history_limit.unwrap_or(10).saturating_sub(in_use).max(0);
        history.truncate(&live, keep).await?;
        Ok(sync.again.map_or(Action::Done, |again: Duration| Action::RequeueAfter(again)))
    }
}

/// The sets that are looked at because of a revision. One that somebody else made is taken in with what happens next, as
/// in the original.
fn woken_by(change: &Change<ControllerRevision>, written: &Written) -> Vec<ObjectKey> {
    let revision = change.object();
    let owner = owner_key::<DaemonSet, _>(&**revision);
    if matches!(change, Change::Added(_)) {
        let own = owner.filter(|owner| written.awaits(owner, &**revision));
        return own.into_iter().collect();
    }
    let before = change.old().and_then(|old| owner_key::<DaemonSet, _>(&**old));
    let mut owners: Vec<_> = before.into_iter().chain(owner).collect();
    owners.dedup();
    owners
}

/// The sets for which it makes a difference what became of a node.
fn concerned(
    change: &Change<Node>,
    sets: &Informer<DaemonSet>,
    pods: &Informer<Pod>,
    comparing: bool,
) -> Vec<ObjectKey> {
    let fitness = |set: &DaemonSet, node: &Node| nodes::fitness(set, node, comparing);
    let has = |set: &DaemonSet, node: &Node| {
        let there = pods_on(pods, node.metadata.name.as_deref().unwrap_or_default());
        let uid = set.metadata.uid.as_ref();
        there.iter().any(|pod| controller_of(&**pod).map(|owner| &owner.uid) == uid)
    };
    let concerned = sets.list().into_iter().filter(|set| match change {
        Change::Updated { old, new } => fitness(set, old) != fitness(set, new),
        // One that comes back may not be what its pods were made for.
        Change::Added(node) => {
            let Fitness { should_run, may_stay } = fitness(set, node);
            should_run || (!may_stay && has(set, node))
        }
        Change::Deleted(_) => true,
    });
    concerned.map(|set| ObjectKey::of(&*set)).collect()
}

/// Makes pods of one revision say that they are of another, which is the same.
async fn merge(context: &Context, pods: &[Arc<Pod>], from: &str, to: &str) -> Result<(), Error> {
    for pod in pods.iter().filter(|pod| {
        pod.labels().get(sync::REVISION).map(String::as_str) == Some(from) && from != to
    }) {
        let api: Api<Pod> =
            Api::namespaced(context.client(), pod.namespace().as_deref().unwrap_or_default());
        let label = json!({"metadata": {"uid": pod.metadata.uid, "labels": {sync::REVISION: to}}});
        let patch = Patch::Merge(label);
        unless_gone(api.patch(&pod.name_any(), &PatchParams::default(), &patch).await)?;
    }
    Ok(())
}
