//! What a claim says of whether a pod names it: alpha, of 1.36.

use crate::{Context, Error, builtin::claimed::is_over};
use k8s_openapi::{
    api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimCondition, Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, ResourceExt, api::PostParams};
use kubeplane_client::is_controlled_by;
use kubeplane_workload::storage::claim_names;
use std::sync::Arc;

const UNUSED: &str = "Unused";

/// Whether a pod that is not over names the claim, wherever it is.
pub(super) fn names(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let mut named = claim_names(pod).filter(|own| own.name == claim.name_any());
    !is_over(pod) && named.any(|own| !own.ephemeral || is_controlled_by(claim, uid))
}

/// Says in the claim's status whether a pod names it; the claim as it is then.
pub(super) async fn tell(
    context: &Context,
    claim: Arc<PersistentVolumeClaim>,
    used: bool,
) -> Result<Arc<PersistentVolumeClaim>, Error> {
    let conditions = claim.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut known = conditions.filter(|own| own.type_ == UNUSED);
    if known.next().is_some_and(|own| (own.status == "True") != used) {
        return Ok(claim);
    }
    let (status, reason, message) = match used {
        true => ("False", "PodUsingPVC", "A pod is currently referencing this PVC"),
        false => ("True", "NoPodsUsingPVC", "No pods are currently referencing this PVC"),
    };
    let told = PersistentVolumeClaimCondition {
        type_: UNUSED.to_owned(),
        status: status.to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        last_transition_time: Some(Time(context.now())),
        ..PersistentVolumeClaimCondition::default()
    };
    let mut next = (*claim).clone();
    let conditions = next.status.get_or_insert_default().conditions.get_or_insert_default();
    match conditions.iter_mut().find(|own| own.type_ == UNUSED) {
        Some(own) => *own = told,
        None => conditions.push(told),
    }
    let namespace = claim.namespace().unwrap_or_default();
    let api: Api<PersistentVolumeClaim> = Api::namespaced(context.client(), &namespace);
    let written = api.replace_status(&claim.name_any(), &PostParams::default(), &next).await?;
    Ok(Arc::new(written))
}
