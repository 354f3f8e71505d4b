mod expected;
mod stale;
mod status;

use super::{autoscaler::printed, pods};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, StatefulSet},
    core::v1::{Pod, PodTemplateSpec, ReplicationController},
    policy::v1::PodDisruptionBudget,
};
use kube::ResourceExt;
use kubeplane_client::{EventType, Informer, ObjectKey, Watchable};
use std::{collections::BTreeMap, sync::Arc};

/// Tells how many pods of each budget may be evicted.
pub(super) struct Disruption;

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Request {
    /// A budget to recompute.
    Budget(ObjectKey),
    /// A pod that was to be evicted and may still be there.
    Pod(ObjectKey),
}

#[async_trait]
impl Controller for Disruption {
    type Request = Request;
    type Error = Error;

    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn event_source(&self) -> &'static str {
        "controllermanager"
    }

    fn watches(&self, sources: &mut Sources<Request>) {
        let budgets = sources.informer::<PodDisruptionBudget>();
        watch_owners::<Deployment>(sources, &budgets, |owner| {
            let spec = owner.spec.as_ref();
            (spec.and_then(|spec| spec.replicas), spec.map(|spec| &spec.template))
        });
        watch_owners::<ReplicaSet>(sources, &budgets, |owner| {
            let spec = owner.spec.as_ref();
            (spec.and_then(|spec| spec.replicas), spec.and_then(|spec| spec.template.as_ref()))
        });
        watch_owners::<StatefulSet>(sources, &budgets, |owner| {
            let spec = owner.spec.as_ref();
            (spec.and_then(|spec| spec.replicas), spec.map(|spec| &spec.template))
        });
        watch_owners::<ReplicationController>(sources, &budgets, |owner| {
            let spec = owner.spec.as_ref();
            (spec.and_then(|spec| spec.replicas), spec.and_then(|spec| spec.template.as_ref()))
        });
        sources.watch::<PodDisruptionBudget>(|change| {
            let present = !change.is_deleted();
            let key = || Request::Budget(ObjectKey::of(&**change.object()));
            present.then(key).into_iter().collect()
        });
        let recorder = sources.context().recorder().clone();
        let clock = sources.context().clock().clone();
        sources.handle::<Pod>(move |change, queue| {
            let pod = change.object();
            let all = budgets.list_in(pod.metadata.namespace.as_deref().unwrap_or_default());
            let labels = pod.metadata.labels.as_ref();
            let matching: Vec<_> = all.iter().filter(|budget| selects(budget, labels)).collect();
            if let [first, _, ..] = matching[..]
                && !change.is_deleted()
            {
                let (namespace, name) = (pod.namespace().unwrap_or_default(), pod.name_any());
                let message = format!(
                    "Pod {namespace:?}/{name:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                    first.name_any()
                );
                let reason = "MultiplePodDisruptionBudgets";
                recorder.event_for(&**pod, EventType::Warning, reason, message);
            }
            // Also those that selected it before.
            let before = change.old().map(|old| old.metadata.labels.as_ref());
            let before = before.filter(|before| *before != labels);
            let left = all.iter().filter(|own| before.is_some_and(|before| selects(own, before)));
            for budget in matching.into_iter().chain(left) {
                queue.add(Request::Budget(ObjectKey::of(&**budget)));
            }
            if let Some(wait) = stale::wait(pod, clock.now()).filter(|_| !change.is_deleted()) {
                queue.add_after(Request::Pod(ObjectKey::of(&**pod)), wait);
            }
        });
    }

    async fn reconcile(&self, request: &Request, context: &Context) -> Result<Action, Error> {
        match request {
            Request::Pod(key) => stale::clear(context, key).await,
            Request::Budget(key) => {
                let informer = context.informers().of::<PodDisruptionBudget>();
                let Some(budget) = informer.get(&key.namespace, &key.name) else {
                    return Ok(Action::Done);
                };
                match sync(context, &budget).await {
                    // What cannot be counted must not be evicted. Nobody tells when it can be.
                    Err(error) if !error.is_conflict() => {
                        status::fail(context, &budget, &error.text()).await?;
                        Err(error)
                    }
                    result => result,
                }
            }
        }
    }
}

fn selects(budget: &PodDisruptionBudget, labels: Option<&BTreeMap<String, String>>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| pods::selects(selector, labels))
}

/// How many pods an owner asks for, and of what kind.
type Wanted<'a> = (Option<i32>, Option<&'a PodTemplateSpec>);

/// Asks for the budgets of pods whose owner is seen, perhaps after them, or asks for another number.
fn watch_owners<K>(
    sources: &mut Sources<Request>,
    budgets: &Informer<PodDisruptionBudget>,
    wanted: fn(&K) -> Wanted<'_>,
) where
    K: Watchable,
{
    let budgets = budgets.clone();
    sources.watch::<K>(move |change| {
        let owner = change.object();
        let (replicas, template) = wanted(owner);
        if change.is_deleted() || change.old().is_some_and(|old| wanted(old).0 == replicas) {
            return Vec::new();
        }
        let labels = template.and_then(|template| template.metadata.as_ref()?.labels.as_ref());
        let all = budgets.list_in(owner.meta().namespace.as_deref().unwrap_or_default());
        let theirs = all.iter().filter(|budget| selects(budget, labels));
        theirs.map(|budget| Request::Budget(ObjectKey::of(&**budget))).collect()
    });
}

async fn sync(context: &Context, budget: &PodDisruptionBudget) -> Result<Action, Error> {
    let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
    let all = context.informers().of::<Pod>().list_in(namespace);
    let pods: Vec<Arc<Pod>> =
        all.into_iter().filter(|pod| selects(budget, pod.metadata.labels.as_ref())).collect();
    let event = |kind, reason: &str, message: String| {
        context.recorder().event_for(budget, kind, reason, message);
    };
    if pods.is_empty() {
        event(EventType::Normal, "NoPods", "No matching pods found".to_owned());
    }
    let expected = match expected::count(context, budget, &pods).await {
        Ok(expected) => expected,
        Err(error) => {
            let text = error.text();
            let message = format!("Failed to calculate the number of expected pods: {text}");
            event(EventType::Warning, "CalculateExpectedPodCountFailed", message);
            return Err(error);
        }
    };
    if expected.unmanaged {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
        let selector = printed(selector);
        let message = format!(
            "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be \
             unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may \
             result in undefined behavior. To account for these pods please set \
             \".spec.minAvailable\" field of the PDB to an integer value."
        );
        event(EventType::Warning, "UnmanagedPods", message);
    }
    status::update(context, budget, &pods, &expected).await
}
