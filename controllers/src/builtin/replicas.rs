mod owner;
pub(super) mod rank;
pub(super) mod scale;
mod status;

use super::{
    figures::{Place, growing},
    pods,
};
use crate::{Action, Context, Controller, Enqueue, Error, Sources, sources::owner_key};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Pod, ReplicationController},
};
use kubeplane_client::{
    Change, Class, ControllerRefManager, Expectations, Informer, ObjectKey, controller_of,
};
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use kubeplane_telemetry::Metrics;
use kubeplane_workload::{condition, is_active, is_ready, is_terminal};
use owner::Owner;
use prometheus_client::metrics::histogram::Histogram;
use std::{marker::PhantomData, sync::Arc, time::Duration};

/// How old pods are that were chosen to go, as a multiple of the age of the youngest; for both controllers.
pub(super) fn ages(metrics: Option<&Metrics>) -> Histogram {
    let place = Place::new(metrics, "replicaset_controller");
    let help = "Ages of ready pods chosen for deletion, as multiples of that of the youngest one";
    place.show_this("sorting_deletion_age_ratio", help, growing(0.25, 2.0, 6))
}

/// The controller of ReplicaSets.
pub(super) fn replica_sets(
    clock: SharedClock,
    features: &Features,
    ages: Histogram,
) -> impl Controller + use<> {
    let terminating = features.is_on("DeploymentReplicaSetTerminatingReplicas");
    Replicas::<ReplicaSet>::new(clock, ages, terminating)
}

/// The controller of ReplicationControllers.
pub(super) fn replication_controllers(clock: SharedClock, ages: Histogram) -> impl Controller {
    Replicas::<ReplicationController>::new(clock, ages, false)
}

/// Keeps as many pods of one template as an owner asks for.
struct Replicas<O> {
    expectations: Expectations,
    pace: scale::Pace,
    ages: Histogram,
    /// Whether statuses tell of pods that are going away.
    terminating: bool,
    owner: PhantomData<fn() -> O>,
}

impl<O: Owner> Replicas<O> {
    fn new(clock: SharedClock, ages: Histogram, terminating: bool) -> Self {
        let expectations = Expectations::new(clock);
        Self { expectations, pace: scale::Pace::default(), ages, terminating, owner: PhantomData }
    }
}

#[async_trait]
impl<O: Owner> Controller for Replicas<O> {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        O::CONTROLLER
    }

    fn identity(&self) -> &'static str {
        O::IDENTITY
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let owners = sources.informer::<O>();
        pods::index(&sources.informer::<Pod>());
        let expectations = self.expectations.clone();
        sources.watch::<O>(move |change| {
            let key = ObjectKey::of(&**change.object());
            if change.is_deleted() {
                // One made again under this name starts clean.
                expectations.forget(&key);
            }
            vec![key]
        });
        let handler = PodHandler { owners, expectations: self.expectations.clone() };
        sources.handle::<Pod>(move |change, queue| handler.handle(change, queue));
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let Some(owner) = context.informers().of::<O>().get(&request.namespace, &request.name)
        else {
            self.expectations.forget(request);
            self.pace.forget(request);
            return Ok(Action::Done);
        };
        // Before the pods are read: what is observed later may not be seen by then.
        let scales =
            self.expectations.satisfied(request) && owner.meta().deletion_timestamp.is_none();
        let pods = Pods::of(&*owner, context, scales).await?;

        let mut managed = Ok(());
        if scales {
            let scale = scale::Scale {
                context,
                owner: &*owner,
                key: request,
                expectations: &self.expectations,
                ages: &self.ages,
                pace: &self.pace,
            };
            managed = scale.run(&pods).await;
        }
        let now = context.now();
        let terminating = self.terminating.then(|| total(&pods.terminating));
        let active = &pods.active;
        let status = status::compute(&*owner, active, terminating, managed.as_ref().err(), now);
        let (ready, available) = (status.ready_replicas, status.available_replicas);
        status::write(context, &*owner, status).await?;
        managed?;

        let min_ready = owner.min_ready_seconds();
        if min_ready > 0 && ready != available {
            let next = next_availability(&pods.listed, min_ready, now);
            return Ok(Action::RequeueAfter(next));
        }
        Ok(match self.expectations.expires_in(request) {
            // What never shows up in the cache must not be waited for without end.
            Some(expiry) => Action::RequeueAfter(expiry + Duration::from_secs(1)),
            None => Action::Done,
        })
    }
}

/// The pods of an owner.
struct Pods {
    /// Those that count, as far as they differ for it.
    active: Vec<Class<Pod>>,
    terminating: Vec<Class<Pod>>,
    /// The first, each; only where some are to go, or time makes a difference.
    listed: Vec<Arc<Pod>>,
}

impl Pods {
    /// After all those were adopted and released that have to be. Looks at each pod only where that may be, or where some of
    /// them have to go: an owner of thousands is looked at whenever one of them changes.
    async fn of<O: Owner>(owner: &O, context: &Context, scales: bool) -> Result<Self, Error> {
        let meta = owner.meta();
        let uid = meta.uid.as_deref().unwrap_or_default();
        let namespace = meta.namespace.as_deref().unwrap_or_default();
        let (selector, informer) = (owner.selector(), context.informers().of::<Pod>());
        let claims = ControllerRefManager::new(context.client(), owner, &selector)?;
        let selected =
            |class: &Class<Pod>| pods::selects(&selector, class.sample.metadata.labels.as_ref());
        let counts = |class: &Class<Pod>| is_active(&class.sample);

        let (own, orphans) = pods::classes(&informer, uid, namespace);
        let (active, others): (Vec<_>, Vec<_>) = own.into_iter().partition(counts);
        let goes = |class: &Class<Pod>| {
            let pod = &class.sample;
            pod.metadata.deletion_timestamp.is_some() && !is_terminal(pod) && selected(class)
        };
        let terminating = others.into_iter().filter(goes).collect();
        let settled = active.iter().all(selected)
            && !orphans.iter().any(|orphan| counts(orphan) && selected(orphan));
        let surplus = scales && total(&active) > owner.replicas().max(0);
        if settled && !surplus && owner.min_ready_seconds() == 0 {
            return Ok(Self { active, terminating, listed: Vec::new() });
        }
        let mut listed = pods::managed_or_orphaned(&informer, uid, namespace);
        listed.retain(|pod| is_active(pod));
        let listed = claims.claim(listed, |_| true).await?;
        let each = |sample: &Arc<Pod>| Class { sample: sample.clone(), count: 1 };
        Ok(Self { active: listed.iter().map(each).collect(), terminating, listed })
    }
}

/// How many pods there are in some classes.
fn total(classes: &[Class<Pod>]) -> i32 {
    let count = classes.iter().map(|class| class.count).sum::<usize>();
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// How long until the next ready pod has been ready for long enough.
fn next_availability(pods: &[Arc<Pod>], min_ready: i32, now: Timestamp) -> Duration {
    let wait = SignedDuration::from_secs(i64::from(min_ready));
    let left = pods.iter().filter(|pod| is_ready(pod)).filter_map(|pod| {
        let since = condition(pod, "Ready")?.last_transition_time.as_ref()?.0;
        let left = wait - now.duration_since(since);
        left.is_positive().then_some(left)
    });
    Duration::try_from(left.min().unwrap_or(wait)).unwrap_or_default()
}

/// Turns changes of pods into requests, and observes what was expected.
struct PodHandler<O> {
    owners: Informer<O>,
    expectations: Expectations,
}

impl<O: Owner> PodHandler<O> {
    fn handle(&self, change: &Change<Pod>, queue: &Enqueue<ObjectKey>) {
        match change {
            Change::Added(pod) if pod.metadata.deletion_timestamp.is_some() => {
                self.deleted(pod, queue)
            }
            Change::Added(pod) => self.added(pod, queue),
            Change::Updated { old, new } => self.updated(old, new, queue),
            Change::Deleted(pod) => self.deleted(pod, queue),
        }
    }

    fn added(&self, pod: &Pod, queue: &Enqueue<ObjectKey>) {
        if controller_of(pod).is_none() {
            return self.orphaned(pod, queue);
        }
        if let Some((key, _)) = self.resolve(pod) {
            self.expectations.creation_observed(&key);
            queue.add(key);
        }
    }

    fn updated(&self, old: &Pod, new: &Pod, queue: &Enqueue<ObjectKey>) {
        let relabeled = old.metadata.labels != new.metadata.labels;
        if new.metadata.deletion_timestamp.is_some() {
            self.deleted(new, queue);
            if relabeled {
                self.deleted(old, queue);
            }
            return;
        }
        let reowned = controller_of(old) != controller_of(new);
        if reowned && let Some((key, _)) = self.resolve(old) {
            queue.add(key);
        }
        if controller_of(new).is_some() {
            let Some((key, owner)) = self.resolve(new) else { return };
            let min_ready = u64::try_from(owner.min_ready_seconds()).unwrap_or_default();
            if min_ready > 0 && !is_ready(old) && is_ready(new) {
                queue.add_after(key.clone(), Duration::from_secs(min_ready));
            }
            queue.add(key);
        } else if relabeled || reowned {
            self.orphaned(new, queue);
        }
    }

    fn deleted(&self, pod: &Pod, queue: &Enqueue<ObjectKey>) {
        if let Some((key, _)) = self.resolve(pod) {
            self.expectations
                .deletion_observed(&key, pod.metadata.uid.as_deref().unwrap_or_default());
            queue.add(key);
        }
    }

    /// Wakes everyone who might adopt the pod.
    fn orphaned(&self, pod: &Pod, queue: &Enqueue<ObjectKey>) {
        let labels = pod.metadata.labels.as_ref();
        for owner in self.owners.list_in(pod.metadata.namespace.as_deref().unwrap_or_default()) {
            let selector = owner.selector();
            if !pods::is_empty(&selector) && pods::selects(&selector, labels) {
                queue.add(ObjectKey::of(&*owner));
            }
        }
    }

    fn resolve(&self, pod: &Pod) -> Option<(ObjectKey, Arc<O>)> {
        let key = owner_key::<O, _>(pod)?;
        let owner = self.owners.get(&key.namespace, &key.name)?;
        let uid = &controller_of(pod)?.uid;
        (owner.meta().uid.as_ref() == Some(uid)).then_some((key, owner))
    }
}
