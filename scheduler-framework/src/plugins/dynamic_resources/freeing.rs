use super::{
    DynamicResources, FINALIZER,
    claims::{allocation, claim_of_group},
    extended::is_unwritten,
    filtering::{Cycle, is_idle},
    reserving::leave,
};
use crate::{
    Diagnosis, Handle, PodInfo, PostFilter, PostFilterVerdict, WhatIf,
    objects::ClusterObjects,
    plugins::{answers::said, volumes::key},
};
use async_trait::async_trait;
use k8s_openapi::api::resource::v1::ResourceClaim;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::is_controlled_by;
use std::sync::Arc;

/// How often a write is tried again when others wrote meanwhile.
pub(super) const TRIES: usize = 5;

pub(super) fn api(handle: &Handle, claim: &ResourceClaim) -> Api<ResourceClaim> {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    Api::namespaced(handle.client.clone(), namespace)
}

pub(super) fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409 && status.reason == "Conflict")
}

#[async_trait]
impl PostFilter for DynamicResources {
    /// Takes back one allocation that no node the pod could go to can use.
    async fn post_filter(&self, what_if: &mut WhatIf<'_>, _: &Diagnosis) -> PostFilterVerdict {
        let unchanged = |text: &str| PostFilterVerdict::Unchanged(text.to_owned());
        let (pod, start) = (what_if.pod(), what_if.chance(usize::MAX));
        let (idle, extended) = {
            let Some(cycle) = what_if.state().value::<Cycle>() else {
                return unchanged("no new claims to deallocate");
            };
            let (unavailable, claims) = (cycle.unavailable.lock(), cycle.claims.lock());
            let idle: Vec<_> = unavailable
                .iter()
                .filter(|index| **index < cycle.users)
                .map(|index| claims[*index].clone())
                .filter(|claim| is_idle(claim, pod))
                .collect();
            let extended = claims.get(cycle.users).filter(|claim| !is_unwritten(claim)).cloned();
            (idle, extended)
        };
        let Some(handle) = self.handle.get() else { return unchanged("still not schedulable") };
        if let Some(claim) = idle.get(start % idle.len().max(1)) {
            return match deallocate(handle, claim).await {
                Ok(()) => unchanged("deallocation of ResourceClaim completed"),
                Err(error) => PostFilterVerdict::Error(said(&error)),
            };
        }
        if let Some(claim) = extended {
            return match delete(handle, &claim).await {
                Ok(()) => unchanged("deletion of ResourceClaim completed"),
                Err(why) => PostFilterVerdict::Error(why),
            };
        }
        let begun = what_if.nodes().group().is_none_or(|own| own.has_placed);
        if self.group_claims && !begun {
            let freed = self.leave_as_group(handle, what_if.nodes().objects(), pod).await;
            match freed {
                Ok(false) => {}
                Ok(true) => {
                    let text = "ResourceClaim unreserved for PodGroup";
                    return PostFilterVerdict::Unresolvable(text.to_owned());
                }
                Err(why) => return PostFilterVerdict::Error(why),
            }
        }
        unchanged("still not schedulable")
    }
}

impl DynamicResources {
    /// Has the group of a pod use one of its claims no more, so that other devices can be found for it: it would do so
    /// for ever, as no pod of the group has a node. Whether there was one.
    async fn leave_as_group(
        &self,
        handle: &Handle,
        objects: &ClusterObjects,
        pod: &PodInfo,
    ) -> Result<bool, String> {
        let Some(group) = self.group_of(objects, pod)? else { return Ok(false) };
        let uid = group.metadata.uid.as_deref().unwrap_or_default();
        for own in &group.spec.resource_claims {
            let Some((name, made)) = claim_of_group(&group, own)? else { continue };
            let claim = self.claim(objects, pod.namespace(), name)?;
            let foreign = made && !is_controlled_by(&*claim, uid);
            if foreign || allocation(&claim).is_none() || !self.is_reserved(&claim, pod) {
                continue;
            }
            match leave(handle, &claim, uid).await {
                Ok(()) => return Ok(true),
                Err(error) => tracing::warn!(claim = name, %error, "claim stays reserved"),
            }
        }
        Ok(false)
    }
}

async fn deallocate(handle: &Handle, claim: &Arc<ResourceClaim>) -> Result<(), kube::Error> {
    let mut claim = ResourceClaim::clone(claim);
    if let Some(status) = &mut claim.status {
        (status.allocation, status.devices, status.reserved_for) = (None, None, None);
    }
    let (api, name) = (api(handle, &claim), claim.name_any());
    api.replace_status(&name, &PostParams::default(), &claim).await.map(|_| ())
}

/// Deletes a claim that the scheduler has made.
pub(super) async fn delete(handle: &Handle, claim: &ResourceClaim) -> Result<(), String> {
    let (api, name, key) = (api(handle, claim), claim.name_any(), key(&claim.metadata));
    let failed = |what: &str, error: &kube::Error| {
        let why = said(error);
        format!("{what} resourceclaim {key}: {why}")
    };
    let mut claim = claim.clone();
    for attempt in 1.. {
        claim.finalizers_mut().retain(|own| own != FINALIZER);
        match api.replace(&name, &PostParams::default(), &claim).await {
            Err(error) if is_conflict(&error) && attempt < TRIES => {
                claim = api.get(&name).await.map_err(|error| failed("get", &error))?;
            }
            Err(error) => return Err(failed("update", &error)),
            Ok(_) => break,
        }
    }
    let deleted = api.delete(&name, &DeleteParams::default()).await;
    deleted.map(|_| ()).map_err(|error| said(&error))
}
