//! How many pods there should be: what their controllers are asked for, not what is there.

use crate::{Context, Error, builtin::deployment::steps::resolve};
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        autoscaling::v1::Scale,
        core::v1::{Pod, ReplicationController},
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::{apis::meta::v1::OwnerReference, util::intstr::IntOrString},
};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    discovery::pinned_kind,
};
use kubeplane_client::controller_of;
use kubeplane_workload::typed::{typed, untyped};
use std::{collections::BTreeMap, sync::Arc};

/// What a budget counts with.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// How many pods there should be.
    pub(super) pods: i32,
    /// How many of them must stay healthy.
    pub(super) healthy: i32,
    /// Whether some pods have no controller that could tell.
    pub(super) unmanaged: bool,
}

pub(super) async fn count(
    context: &Context,
    budget: &PodDisruptionBudget,
    pods: &[Arc<Pod>],
) -> Result<Expected, Error> {
    let Some(spec) = &budget.spec else { return Ok(Expected::default()) };
    match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => {
            let (total, unmanaged) = scale(context, pods).await?;
            let healthy = (total - resolve(Some(most), total, true)).max(0);
            Ok(Expected { pods: total, healthy, unmanaged })
        }
        (None, Some(IntOrString::Int(least))) => {
            let pods = i32::try_from(pods.len()).unwrap_or(i32::MAX);
            Ok(Expected { pods, healthy: *least, unmanaged: false })
        }
        (None, Some(least)) => {
            let (total, unmanaged) = scale(context, pods).await?;
            Ok(Expected { pods: total, healthy: resolve(Some(least), total, true), unmanaged })
        }
        (None, None) => Ok(Expected::default()),
    }
}

/// What all controllers of the pods are asked for together, and whether some pods have none.
async fn scale(context: &Context, pods: &[Arc<Pod>]) -> Result<(i32, bool), Error> {
    let mut known: BTreeMap<String, i32> = BTreeMap::new();
    let mut looked_up: BTreeMap<String, ()> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in pods {
        let Some(owner) = controller_of(&**pod) else {
            unmanaged = true;
            continue;
        };
        if looked_up.insert(owner.uid.clone(), ()).is_some() {
            continue;
        }
        let namespace = pod.namespace().unwrap_or_default();
        let found = match built_in(context, owner, &namespace) {
            Some(found) => Some(found),
            None => by_subresource(context, owner, &namespace).await?,
        };
        let none = || Error::Invalid(format!("found no controllers for pod {:?}", pod.name_any()));
        let (uid, count) = found.ok_or_else(none)?;
        known.insert(uid, count);
    }
    Ok((known.into_values().sum(), unmanaged))
}

/// The uid of the topmost controller among the built-in kinds, and what it is asked for.
fn built_in(context: &Context, owner: &OwnerReference, namespace: &str) -> Option<(String, i32)> {
    let informers = context.informers();
    let group = owner.api_version.split_once('/').map_or("", |(group, _)| group);
    let uid = owner.uid.clone();
    match (group, owner.kind.as_str()) {
        ("apps" | "extensions", "ReplicaSet") => {
            let set = informers.of::<ReplicaSet>().get(namespace, &owner.name)?;
            let set = Some(set).filter(|set| set.metadata.uid.as_ref() == Some(&uid))?;
            let above = controller_of(&*set).filter(|above| above.kind == "Deployment");
            let Some(above) = above else {
                return Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1)));
            };
            let deployment = informers.of::<Deployment>().get(namespace, &above.name)?;
            (deployment.metadata.uid.as_ref() == Some(&above.uid)).then_some(())?;
            Some((above.uid.clone(), deployment.spec.as_ref()?.replicas.unwrap_or(1)))
        }
        ("apps", "StatefulSet") => {
            let set = informers.of::<StatefulSet>().get(namespace, &owner.name)?;
            (set.metadata.uid.as_ref() == Some(&uid)).then_some(())?;
            Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1)))
        }
        ("", "ReplicationController") => {
            let controller = informers.of::<ReplicationController>().get(namespace, &owner.name)?;
            (controller.metadata.uid.as_ref() == Some(&uid)).then_some(())?;
            Some((uid, controller.spec.as_ref()?.replicas.unwrap_or(1)))
        }
        _ => None,
    }
}

/// What a controller is asked for of which the caches do not tell, if its kind can be scaled: also a ReplicaSet whose
/// Deployment is gone, or is none of ours.
async fn by_subresource(
    context: &Context,
    owner: &OwnerReference,
    namespace: &str,
) -> Result<Option<(String, i32)>, Error> {
    let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
    let kind = GroupVersionKind::gvk(group, version, &owner.kind);
    let resource = match pinned_kind(&context.client(), &kind).await {
        Ok((resource, _)) => resource,
        Err(error) if is_unknown(&error) => {
            let (kind, version) = (&owner.kind, &owner.api_version);
            let why = format!("no matches for kind {kind:?} in version {version:?}");
            return Err(Error::Invalid(why));
        }
        Err(error) => return Err(error.into()),
    };
    let api: Api<DynamicObject> = Api::namespaced_with(context.client(), namespace, &resource);
    match api.get_scale(&owner.name).await {
        Ok(scale) => {
            let scale: Option<Scale> = untyped(&scale).and_then(|scale| typed(&scale)).ok();
            let wanted = scale.filter(|scale| scale.metadata.uid.as_ref() == Some(&owner.uid));
            let replicas =
                wanted.map(|scale| scale.spec.and_then(|spec| spec.replicas).unwrap_or_default());
            Ok(replicas.map(|replicas| (owner.uid.clone(), replicas)))
        }
        // Either it is gone, or nothing of its kind can be scaled.
        Err(kube::Error::Api(status)) if status.code == 404 => {
            if can_scale(context, &resource).await? {
                return Ok(None);
            }
            let plural = &resource.plural;
            let name = if group.is_empty() { plural.clone() } else { format!("{plural}.{group}") };
            Err(Error::Invalid(format!("{name} does not implement the scale subresource")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the server told that there is no such kind.
fn is_unknown(error: &kube::Error) -> bool {
    match error {
        kube::Error::Discovery(_) => true,
        kube::Error::Api(status) => status.code == 404,
        _ => false,
    }
}

async fn can_scale(context: &Context, resource: &ApiResource) -> Result<bool, Error> {
    let client = context.client();
    let all = match resource.group.is_empty() {
        true => client.list_core_api_resources(&resource.version).await?,
        false => client.list_api_group_resources(&resource.api_version).await?,
    };
    let name = format!("{}/scale", resource.plural);
    Ok(all.resources.iter().any(|served| served.name == name))
}
