mod claims;
mod identity;
mod status;
mod steps;

use super::{
    figures::{Labels, Place, labels},
    pods,
    revisions::{self, History},
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use jiff::SignedDuration;
use k8s_openapi::api::{
    apps::v1::{ControllerRevision, StatefulSet},
    core::v1::{PersistentVolumeClaim, Pod},
};
use kube::ResourceExt;
use kubeplane_client::{Change, ControllerRefManager, Informer, ObjectKey, controller_of};
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{condition, is_ready};
use parking_lot::Mutex;
use prometheus_client::metrics::{family::Family, gauge::Gauge};
use std::{collections::HashMap, sync::Arc, time::Duration};
use steps::Sync;

/// Keeps pods that have names, and storage of their own, in order.
pub(super) struct StatefulSets {
    sets: Written,
    pods: Written,
    claims: Written,
    revisions: Written,
    /// Whether a set may say how many of its pods an update leaves unavailable.
    several: bool,
    figures: Figures,
}

/// What is told of each set, under the original's names.
struct Figures {
    /// How many pods may be unavailable.
    most: Family<Labels<3>, Gauge>,
    unavailable: Family<Labels<3>, Gauge>,
    /// Under which labels sets were told of.
    told: Mutex<HashMap<ObjectKey, Labels<3>>>,
}

impl Figures {
    fn shown(metrics: Option<&Metrics>) -> Self {
        let place = Place::new(metrics, "statefulset_controller");
        let help = "Pods of a StatefulSet that may be unavailable during an update";
        Self {
            most: place.show("statefulset_max_unavailable", help),
            unavailable: place.show(
                "statefulset_unavailable_replicas",
                "Pods of a StatefulSet that are missing or not available",
            ),
            told: Mutex::default(),
        }
    }

    fn tell(&self, key: &ObjectKey, policy: &str, (most, unavailable): (i32, Option<i32>)) {
        let label = labels([
            ("statefulset_namespace", &key.namespace),
            ("statefulset_name", &key.name),
            ("pod_management_policy", policy),
        ]);
        self.most.get_or_create(&label).set(i64::from(most));
        if let Some(unavailable) = unavailable {
            self.unavailable.get_or_create(&label).set(i64::from(unavailable));
        }
        self.told.lock().insert(key.clone(), label);
    }

    fn forget(&self, key: &ObjectKey) {
        if let Some(label) = self.told.lock().remove(key) {
            self.most.remove(&label);
            self.unavailable.remove(&label);
        }
    }
}

impl StatefulSets {
    pub(super) fn new(clock: SharedClock, features: &Features, metrics: Option<&Metrics>) -> Self {
        let skips = Place::new(metrics, "statefulset_controller").skips();
        let written = || Written::new(clock.clone()).counted(&skips);
        Self {
            sets: written(),
            pods: written(),
            claims: written(),
            revisions: written(),
            several: features.is_on("MaxUnavailableStatefulSet"),
            figures: Figures::shown(metrics),
        }
    }

    fn caches_are_current(&self, key: &ObjectKey, context: &Context) -> bool {
        let informers = context.informers();
        self.sets.is_seen(key, &informers.of::<StatefulSet>())
            && self.pods.is_seen(key, &informers.of::<Pod>())
            && self.claims.is_seen(key, &informers.of::<PersistentVolumeClaim>())
            && self.revisions.is_seen(key, &informers.of::<ControllerRevision>())
    }
}

#[async_trait]
impl Controller for StatefulSets {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "statefulset-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let sets = sources.informer::<StatefulSet>();
        pods::index(&sources.informer::<Pod>());
        pods::index_other(&sources.informer::<ControllerRevision>());
        sources.objects::<StatefulSet>();
        sources.for_owner::<StatefulSet, Pod>();
        sources.for_owner::<StatefulSet, ControllerRevision>();
        let written = self.revisions.clone();
        sources.watch::<ControllerRevision>(move |change| {
            written.gone_of::<StatefulSet, _>(change);
            Vec::new()
        });
        let (written, all) = (self.claims.clone(), sets.clone());
        // A pod may wait for the claim of the one before it to go.
        sources.watch::<PersistentVolumeClaim>(move |change| {
            let users =
                if change.is_deleted() { claims::users(&all, change.object()) } else { Vec::new() };
            users.iter().for_each(|set| written.gone(set, &**change.object()));
            users
        });
        let written = self.pods.clone();
        sources.watch::<Pod>(move |change| {
            written.gone_of::<StatefulSet, _>(change);
            if change.is_deleted() { Vec::new() } else { adopters(&sets, change) }
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let seen = self.caches_are_current(key, context);
        let Some(set) = informers.of::<StatefulSet>().get(&key.namespace, &key.name) else {
            for written in [&self.sets, &self.pods, &self.claims, &self.revisions] {
                written.forget(key);
            }
            self.figures.forget(key);
            return Ok(Action::Done);
        };
        if !seen {
            return Ok(LAGGING);
        }
        let Some(spec) = &set.spec else { return Ok(Action::Done) };
        let mut history =
            History::read(context, &*set, key, &self.revisions, &spec.selector, revisions::HASH)
                .await?;
        let before = set.status.clone().unwrap_or_default();
        history.collisions = before.collision_count.unwrap_or_default();
        let uid = set.metadata.uid.as_deref().unwrap_or_default();
        let found = pods::managed_or_orphaned(&informers.of::<Pod>(), uid, &key.namespace);
        let claims = ControllerRefManager::new(context.client(), &*set, &spec.selector)?;
        let member = |pod: &Pod| identity::split(&pod.name_any()).0 == key.name;
        let pods = claims.claim(found, member).await?;

        let update = history.newest(&spec.template).await?;
        let current = before.current_revision.as_deref();
        let current =
            history.all.iter().find(|revision| Some(revision.name_any().as_str()) == current);
        let current = current.cloned().unwrap_or_else(|| update.clone());
        let sync = Sync::new(self, context, key, &set, &current, &update, &pods)?;
        let (mut status, result) = sync.run().await;
        if self.several {
            let policy = spec.pod_management_policy.as_deref().unwrap_or("OrderedReady");
            let unavailable = result.is_ok().then(|| sync.unavailable());
            self.figures.tell(key, policy, (sync.most_unavailable(), unavailable));
        }
        status.collision_count = Some(history.collisions);
        let (ready, available) = (status.ready_replicas, status.available_replicas);
        let written = status::write(self, context, key, &set, status).await;
        let labels = pods.iter().filter_map(|pod| pod.labels().get(identity::REVISION).cloned());
        let live = labels.chain([current.name_any(), update.name_any()]).collect();
        // Also for a set that cannot go on, or its revisions would pile up with every new template.
        let truncated = history.truncate(&live, spec.revision_history_limit.unwrap_or(10)).await;
        result.and(written).and(truncated)?;

        let min_ready = spec.min_ready_seconds.unwrap_or_default();
        if min_ready > 0 && ready != available {
            return Ok(Action::RequeueAfter(until_available(&pods, min_ready, context)));
        }
        Ok(Action::Done)
    }
}

/// How long until the next ready pod has been ready for long enough.
fn until_available(pods: &[Arc<Pod>], min_ready: i32, context: &Context) -> Duration {
    let wait = SignedDuration::from_secs(i64::from(min_ready));
    let left = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| {
        let since = condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
        let left = wait - context.now().duration_since(since);
        left.is_positive().then_some(left)
    });
    Duration::try_from(left.min().unwrap_or(wait)).unwrap_or_default()
}

/// Those who might adopt a pod that nobody manages.
fn adopters(sets: &Informer<StatefulSet>, change: &Change<Pod>) -> Vec<ObjectKey> {
    let pod = change.object();
    let changed = change.old().is_none_or(|old| {
        old.metadata.labels != pod.metadata.labels || controller_of(&**old) != controller_of(&**pod)
    });
    if controller_of(&**pod).is_some() || !changed || pod.metadata.labels.is_none() {
        return Vec::new();
    }
    let all = sets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
    let matching = all.iter().filter(|set| {
        set.spec.as_ref().is_some_and(|spec| {
            !pods::is_empty(&spec.selector)
                && pods::selects(&spec.selector, pod.metadata.labels.as_ref())
        })
    });
    matching.map(|set| ObjectKey::of(&**set)).collect()
}

/// The template of a revision, or that of the set when it cannot be read.
fn template(
    set: &StatefulSet,
    revision: &ControllerRevision,
) -> Result<k8s_openapi::api::core::v1::PodTemplateSpec, Error> {
    let own = || set.spec.as_ref().map(|spec| spec.template.clone());
    revisions::template_of(revision)
        .or_else(own)
        .ok_or_else(|| Error::Invalid(format!("revision {} has no template", revision.name_any())))
}
