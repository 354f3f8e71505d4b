//! The claims of a pod.

use super::{DynamicResources, devices::results};
use crate::{PodInfo, groups::PodGroupObject, objects::ClusterObjects};
use jiff::Timestamp;
use k8s_openapi::{
    api::{
        core::v1::PodResourceClaim,
        resource::v1::{
            AllocationResult, DeviceRequestAllocationResult, ResourceClaim,
            ResourceClaimConsumerReference, ResourceClaimStatus,
        },
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kubeplane_client::{controller_of, is_controlled_by};
use std::{sync::Arc, time::Duration};

/// The API group of PodGroups, and what their kind is called in paths.
const GROUP: &str = "scheduling.k8s.io";
const PLURAL: &str = "podgroups";

/// The name of the claim behind an entry of a pod, and whether it was made for the pod; `None` when none is needed.
pub(super) fn claim_name<'a>(
    pod: &'a PodInfo,
    own: &'a PodResourceClaim,
) -> Result<Option<(&'a str, bool)>, String> {
    if let Some(name) = &own.resource_claim_name {
        return Ok(Some((name, false)));
    }
    if own.resource_claim_template_name.is_none() {
        return Err(format!(
            "pod \"{}\", spec.resourceClaim {:?}: none of the supported fields are set",
            pod.key(),
            own.name
        ));
    }
    let statuses = pod.pod().status.as_ref().and_then(|own| own.resource_claim_statuses.as_ref());
    let mut statuses = statuses.into_iter().flatten();
    let status = statuses.find(|status| status.name == own.name);
    let status =
        status.ok_or_else(|| format!("pod \"{}\": ResourceClaim not created yet", pod.key()))?;
    Ok(status.resource_claim_name.as_deref().map(|name| (name, true)))
}

impl DynamicResources {
    /// A claim as it is by now.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn claim(
        &self,
        objects: &ClusterObjects,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<ResourceClaim>, String> {
        let found = self.stock().tracker.claim(objects, namespace, name);
        found.ok_or_else(|| format!("could not find ResourceClaim \"{namespace}/{name}\""))
    }

    /// All claims that the pod names.
    ///
    /// # Errors
    /// Why the pod has to wait for one.
    pub(super) fn claims(
        &self,
        objects: &ClusterObjects,
        pod: &PodInfo,
    ) -> Result<Vec<Arc<ResourceClaim>>, String> {
        let mut claims = Vec::new();
        for own in pod.spec().resource_claims.iter().flatten() {
            let Some((name, made)) = claim_name(pod, own)? else { continue };
            let claim = self.claim(objects, pod.namespace(), name)?;
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("resourceclaim {name:?} is being deleted"));
            }
            if made && !is_controlled_by(&*claim, pod.uid()) {
                self.check_owner(&claim, pod)?;
            }
            claims.push(claim);
        }
        Ok(claims)
    }

    /// Whether a claim that was not made for the pod itself was made for its group.
    fn check_owner(&self, claim: &ResourceClaim, pod: &PodInfo) -> Result<(), String> {
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let what = format!(
            "ResourceClaim {}/{name} was not created for Pod {}",
            pod.namespace(),
            pod.key()
        );
        let Some(group) = group_name(pod).filter(|_| self.group_claims) else {
            return Err(format!("{what} (Pod is not owner)"));
        };
        let of_groups =
            |version: &str| version.split_once('/').is_some_and(|(own, _)| own == GROUP);
        let owned = controller_of(claim).is_some_and(|own| {
            own.kind == "PodGroup" && own.name == group && of_groups(&own.api_version)
        });
        if owned {
            return Ok(());
        }
        Err(format!("{what} (neither Pod nor PodGroup {group} is the owner)"))
    }

    /// The PodGroup of a pod, where groups have claims.
    ///
    /// # Errors
    /// When it is not there.
    pub(super) fn group_of(
        &self,
        objects: &ClusterObjects,
        pod: &PodInfo,
    ) -> Result<Option<Arc<PodGroupObject>>, String> {
        let Some(name) = group_name(pod).filter(|_| self.group_claims) else { return Ok(None) };
        let found = objects.pod_groups.find(pod.namespace(), name);
        found.map(Some).ok_or_else(|| format!("podgroup.scheduling.k8s.io {name:?} not found"))
    }

    /// Who is to use the claims that [`claims`](Self::claims) gives, in the same order: the pod, or its group where the
    /// group has the same entry.
    ///
    /// # Errors
    /// Why the pod has to wait.
    pub(super) fn consumers(
        &self,
        objects: &ClusterObjects,
        pod: &PodInfo,
    ) -> Result<Vec<ResourceClaimConsumerReference>, String> {
        let group = self.group_of(objects, pod)?;
        let mut consumers = Vec::new();
        for own in pod.spec().resource_claims.iter().flatten() {
            if claim_name(pod, own)?.is_none() {
                continue;
            }
            let group = group.as_ref().filter(|group| group.spec.resource_claims.contains(own));
            consumers.push(match group {
                Some(group) => ResourceClaimConsumerReference {
                    api_group: Some(GROUP.to_owned()),
                    resource: PLURAL.to_owned(),
                    name: group.metadata.name.clone().unwrap_or_default(),
                    uid: group.metadata.uid.clone().unwrap_or_default(),
                },
                None => consumer(pod),
            });
        }
        Ok(consumers)
    }

    /// Whether a claim says that the pod may use it: the pod itself or, where groups have claims, its group.
    pub(super) fn is_reserved(&self, claim: &ResourceClaim, pod: &PodInfo) -> bool {
        let group = group_name(pod).filter(|_| self.group_claims);
        let status = claim.status.as_ref();
        let all = status.and_then(|status| status.reserved_for.as_ref()).into_iter().flatten();
        all.into_iter().any(|own| {
            // Pods do not know the uid of their group.
            own.uid == pod.uid()
                || own.api_group.as_deref() == Some(GROUP)
                    && own.resource == PLURAL
                    && Some(own.name.as_str()) == group
        })
    }
}

fn group_name(pod: &PodInfo) -> Option<&str> {
    pod.spec().scheduling_group.as_ref()?.pod_group_name.as_deref()
}

/// A pod as the user of a claim.
pub(super) fn consumer(pod: &PodInfo) -> ResourceClaimConsumerReference {
    ResourceClaimConsumerReference {
        api_group: None,
        resource: "pods".to_owned(),
        name: pod.name().to_owned(),
        uid: pod.uid().to_owned(),
    }
}

/// The claim behind an entry of a group, and whether it was made for the group; `None` when none is needed.
///
/// # Errors
/// When there is none yet.
pub(super) fn claim_of_group<'a>(
    group: &'a PodGroupObject,
    own: &'a PodResourceClaim,
) -> Result<Option<(&'a str, bool)>, String> {
    if let Some(name) = &own.resource_claim_name {
        return Ok(Some((name, false)));
    }
    let mut statuses = group.status.resource_claim_statuses.iter();
    let status = statuses.find(|status| status.name == own.name).ok_or_else(|| {
        let key = super::super::volumes::key(&group.metadata);
        format!("PodGroup {key}: ResourceClaim not created yet")
    })?;
    Ok(status.resource_claim_name.as_deref().map(|name| (name, true)))
}

pub(super) fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// The uids of those who use the claim.
pub(super) fn users(claim: &ResourceClaim) -> impl Iterator<Item = &str> {
    let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.as_ref());
    reserved.into_iter().flatten().map(|own| own.uid.as_str())
}

/// What is reported of a device of a claim.
fn condition<'a>(
    status: &'a ResourceClaimStatus,
    result: &DeviceRequestAllocationResult,
    kind: &str,
) -> Option<&'a Condition> {
    let mut devices = status.devices.iter().flatten();
    let own = devices.find(|own| {
        own.device == result.device && own.driver == result.driver && own.pool == result.pool
    })?;
    own.conditions.iter().flatten().find(|own| own.type_ == kind)
}

/// Whether all devices of a claim that must be made ready are.
///
/// # Errors
/// When one never will be.
pub(super) fn is_ready(claim: &ResourceClaim) -> Result<bool, String> {
    let Some(status) = claim.status.as_ref().filter(|own| own.allocation.is_some()) else {
        return Ok(false);
    };
    for result in results(claim) {
        let wanted = result.binding_conditions.as_deref().unwrap_or_default();
        if wanted.is_empty() {
            continue;
        }
        let met =
            |kind: &String| condition(status, result, kind).filter(|own| own.status == "True");
        let mut failures = result.binding_failure_conditions.iter().flatten();
        if let Some(failed) = failures.find_map(met) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            let (reason, message) = (&failed.reason, &failed.message);
            return Err(format!(
                "device binding failed: claim={name}, reason={reason}, message={message:?}"
            ));
        }
        if !wanted.iter().all(|kind| met(kind).is_some()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether a claim has devices that must be made ready.
pub(super) fn has_conditions(claim: &ResourceClaim) -> bool {
    results(claim)
        .iter()
        .any(|own| own.binding_conditions.as_ref().is_some_and(|own| !own.is_empty()))
}

/// Whether its devices should be ready by now.
pub(super) fn is_late(claim: &ResourceClaim, limit: Duration, now: Timestamp) -> bool {
    let since = allocation(claim).and_then(|own| own.allocation_timestamp.as_ref());
    has_conditions(claim) && since.is_some_and(|since| since.0 + limit < now)
}
