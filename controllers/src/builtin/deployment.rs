pub(super) mod hash;
mod revision;
mod rollback;
mod rollout;
mod scale;
mod sets;
mod status;
pub(super) mod steps;

use super::{
    patient, pods,
    written::{LAGGING, Written},
};
use crate::{Action, Context, Controller, Error, Sources, sources::owner_key};
use async_trait::async_trait;
use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet},
    core::v1::Pod,
};
use kubeplane_client::{
    Change, ControllerRefManager, EventType, Informer, ObjectKey, controller_of,
};
use kubeplane_clock::SharedClock;
use kubeplane_core::features::Features;
use rollout::Rollout;

/// Rolls a Deployment's template out by growing one ReplicaSet and shrinking the others.
pub(super) struct DeploymentController {
    deployments: Written,
    sets: Written,
    /// Whether statuses tell of pods that are going away.
    terminating: bool,
}

impl DeploymentController {
    pub(super) fn new(clock: SharedClock, features: &Features) -> Self {
        Self {
            deployments: Written::new(clock.clone()),
            sets: Written::new(clock),
            terminating: features.is_on("DeploymentReplicaSetTerminatingReplicas"),
        }
    }
}

#[async_trait]
impl Controller for DeploymentController {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        let deployments = sources.informer::<Deployment>();
        let sets = sources.informer::<ReplicaSet>();
        pods::index(&sources.informer::<Pod>());
        pods::index_other(&sets);
        sources.objects::<Deployment>();
        sources.for_owner::<Deployment, ReplicaSet>();
        let (all, written) = (deployments.clone(), self.sets.clone());
        sources.watch::<ReplicaSet>(move |change| {
            written.gone_of::<Deployment, _>(change);
            adopters(&all, change)
        });
        // A Recreate rollout goes on when the last old pod is gone.
        sources.watch::<Pod>(move |change| match change {
            Change::Deleted(pod) => owner_of_pod(pod, &sets, &deployments).into_iter().collect(),
            _ => Vec::new(),
        });
    }

    async fn reconcile(&self, request: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let (all, all_sets) = (informers.of::<Deployment>(), informers.of::<ReplicaSet>());
        let seen = self.deployments.is_seen(request, &all) && self.sets.is_seen(request, &all_sets);
        let Some(deployment) = all.get(&request.namespace, &request.name) else {
            self.deployments.forget(request);
            self.sets.forget(request);
            return Ok(Action::Done);
        };
        if !seen {
            return Ok(LAGGING);
        }
        let selector =
            deployment.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default();
        if pods::is_empty(&selector) {
            let message =
                "This deployment is selecting all pods. A non-empty selector is required.";
            context.recorder().event_for(&*deployment, EventType::Warning, "SelectingAll", message);
            return Rollout::new(self, context, (*deployment).clone(), Vec::new())
                .observe_only()
                .await;
        }
        let uid = deployment.metadata.uid.as_deref().unwrap_or_default();
        let sets = pods::managed_or_orphaned(&all_sets, uid, &request.namespace);
        let claims = ControllerRefManager::new(context.client(), &*deployment, &selector)?;
        let sets = claims.claim(sets, |_| true).await?;
        Rollout::new(self, context, (*deployment).clone(), sets).run().await
    }

    fn on_error(&self, _: &ObjectKey, error: &Error, failures: u32) -> crate::Retry {
        // A namespace that is going away takes no new replica sets, so there is nothing left to do.
        if error.is_namespace_terminating() { crate::Retry::Drop } else { patient(failures) }
    }
}

/// Those who might adopt a ReplicaSet that nobody manages.
fn adopters(deployments: &Informer<Deployment>, change: &Change<ReplicaSet>) -> Vec<ObjectKey> {
    let set = change.object();
    let changed = change.old().is_none_or(|old| {
        old.metadata.labels != set.metadata.labels || controller_of(&**old) != controller_of(&**set)
    });
    if change.is_deleted() || controller_of(&**set).is_some() || !changed {
        return Vec::new();
    }
    let all = deployments.list_in(set.metadata.namespace.as_deref().unwrap_or_default());
    let matching = all.iter().filter(|deployment| {
        deployment.spec.as_ref().is_some_and(|spec| {
            !pods::is_empty(&spec.selector)
                && pods::selects(&spec.selector, set.metadata.labels.as_ref())
        })
    });
    matching.map(|deployment| ObjectKey::of(&**deployment)).collect()
}

fn owner_of_pod(
    pod: &Pod,
    sets: &Informer<ReplicaSet>,
    all: &Informer<Deployment>,
) -> Option<ObjectKey> {
    let set = owner_key::<ReplicaSet, _>(pod)?;
    let set = sets.get(&set.namespace, &set.name)?;
    let key = owner_key::<Deployment, _>(&*set)?;
    let deployment = all.get(&key.namespace, &key.name)?;
    let strategy = deployment.spec.as_ref()?.strategy.as_ref()?;
    (strategy.type_.as_deref() == Some("Recreate")).then_some(key)
}
