//! Keeps PodGroups as long as pods are in them.

use super::{
    resource_claims::{PodGroup, group_name},
    volume_protection::protect,
};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
};
use kubeplane_client::{ObjectKey, finalizers};
use kubeplane_workload::is_terminal;

const FINALIZER: &str = "scheduling.k8s.io/podgroup-protection";
/// The index of pods that have not ended by their PodGroup.
const MEMBERS: &str = "pod-group-members";

/// Lets a PodGroup that is deleted go when no pod is in it that has not ended.
#[derive(Debug)]
pub(super) struct PodGroupProtection;

#[async_trait]
impl Controller for PodGroupProtection {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "podgroup-protection-controller"
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.informer::<Pod>().add_index(MEMBERS, |pod| {
            let group = group_name(pod).filter(|_| !is_terminal(pod));
            let namespace = pod.namespace().unwrap_or_default();
            group.map(|name| format!("{namespace}/{name}")).into_iter().collect()
        });
        sources.watch::<PodGroup>(|change| {
            let group = change.object();
            let going = group.metadata.deletion_timestamp.is_some() && !change.is_deleted();
            going.then(|| ObjectKey::of(&**group)).into_iter().collect()
        });
        sources.watch::<Pod>(|change| {
            let pod = change.object();
            let left = change.is_deleted() || is_terminal(pod);
            let group = group_name(pod).filter(|_| left);
            let namespace = pod.namespace().unwrap_or_default();
            group.map(|name| ObjectKey::new(namespace, name)).into_iter().collect()
        });
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let informers = context.informers();
        let found = informers.of::<PodGroup>().get(&key.namespace, &key.name);
        let going = found.filter(|group| group.metadata.deletion_timestamp.is_some());
        let Some(group) = going.filter(|group| finalizers::has(&**group, FINALIZER)) else {
            return Ok(Action::Done);
        };
        if !informers.of::<Pod>().by_index(MEMBERS, &key.to_string()).is_empty() {
            return Ok(Action::Done);
        }
        // What is known of the group here is not all that there is of it.
        let kind = ApiResource::erase::<PodGroup>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(context.client(), &key.namespace, &kind);
        let live = api.get_opt(&key.name).await?;
        if let Some(live) = live.filter(|live| live.metadata.uid == group.metadata.uid) {
            protect(&api, &live, FINALIZER, false).await?;
        }
        Ok(Action::Done)
    }
}
