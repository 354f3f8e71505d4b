//! The claims of a pod.

use super::{DynamicResources, devices::results};
use crate::{PodInfo, objects::ClusterObjects};
use jiff::Timestamp;
use k8s_openapi::api::{
    core::v1::PodResourceClaim,
    resource::v1::{
        AllocationResult, DeviceRequestAllocationResult, ResourceClaim, ResourceClaimStatus,
    },
};
use kubeplane_client::is_controlled_by;
use std::{sync::Arc, time::Duration};

/// The name of the claim behind an entry of a pod, and whether it was made for the pod; `None` when none is needed.
fn claim_name<'a>(
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
            let claim = self.tracker.claim(objects, pod.namespace(), name);
            let claim = claim.ok_or_else(|| format!("resourceclaim {name:?} not found"))?;
            if claim.metadata.deletion_timestamp.is_some() {
                return Err(format!("resourceclaim {name:?} is being deleted"));
            }
            if made && !is_controlled_by(&*claim, pod.uid()) {
                let (namespace, pod) = (pod.namespace(), pod.key());
                return Err(format!(
                    "ResourceClaim {namespace}/{name} was not created for Pod {pod} (Pod is not owner)"
                ));
            }
            claims.push(claim);
        }
        Ok(claims)
    }
}

pub(super) fn allocation(claim: &ResourceClaim) -> Option<&AllocationResult> {
    claim.status.as_ref()?.allocation.as_ref()
}

/// The uids of those who use the claim.
pub(super) fn users(claim: &ResourceClaim) -> impl Iterator<Item = &str> {
    let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.as_ref());
    reserved.into_iter().flatten().map(|own| own.uid.as_str())
}

fn is_true(
    status: &ResourceClaimStatus,
    result: &DeviceRequestAllocationResult,
    kind: &str,
) -> bool {
    let devices = status.devices.iter().flatten();
    let own = devices.filter(|own| {
        own.device == result.device && own.driver == result.driver && own.pool == result.pool
    });
    let conditions = own.flat_map(|own| own.conditions.iter().flatten());
    conditions.into_iter().any(|own| own.type_ == kind && own.status == "True")
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
        let mut failures = result.binding_failure_conditions.iter().flatten();
        if let Some(failed) = failures.find(|kind| is_true(status, result, kind)) {
            let name = claim.metadata.name.as_deref().unwrap_or_default();
            return Err(failure(status, name, failed));
        }
        if !wanted.iter().all(|kind| is_true(status, result, kind)) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn failure(status: &ResourceClaimStatus, name: &str, kind: &str) -> String {
    let all = status.devices.iter().flatten().flat_map(|own| own.conditions.iter().flatten());
    let own = all.into_iter().find(|own| own.type_ == kind);
    let (reason, message) =
        own.map(|own| (own.reason.as_str(), own.message.as_str())).unwrap_or_default();
    format!("device binding failed: claim={name}, reason={reason}, message={message:?}")
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
