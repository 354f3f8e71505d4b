//! What a claim is still needed for.

use super::{FINALIZER, group, group::PodGroup, is_done, owner};
use crate::{Context, Error, error::unless_gone};
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, PostParams},
};
use kubeplane_client::{ObjectKey, finalizers};

/// `groups` where PodGroups have claims, too.
pub(super) async fn sync(context: &Context, key: &ObjectKey, groups: bool) -> Result<(), Error> {
    let found = context.informers().of::<ResourceClaim>().get(&key.namespace, &key.name);
    let Some(claim) = found else { return Ok(()) };
    let claims: Api<ResourceClaim> = Api::namespaced(context.client(), &key.namespace);
    let reserved = claim.status.as_ref().and_then(|status| status.reserved_for.clone());
    let reserved = reserved.unwrap_or_default();
    let mut remaining = Vec::new();
    for consumer in &reserved {
        if is_needed(context, &key.namespace, consumer, groups).await? {
            remaining.push(consumer.clone());
        }
    }
    let ours = finalizers::has(&*claim, FINALIZER);
    let unused = remaining.is_empty();
    let going = claim.metadata.deletion_timestamp.is_some();
    if remaining.len() < reserved.len() || ours && going && unused {
        let mut next = (*claim).clone();
        let status = next.status.get_or_insert_default();
        status.reserved_for = (!unused).then_some(remaining);
        if ours && unused {
            status.allocation = None;
        }
        if next.status != claim.status {
            next = claims.replace_status(&key.name, &PostParams::default(), &next).await?;
        }
        let allocated = next.status.as_ref().is_some_and(|status| status.allocation.is_some());
        if finalizers::has(&next, FINALIZER) && !allocated {
            next.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
            unless_gone(claims.replace(&key.name, &PostParams::default(), &next).await)?;
        }
    }
    match owner(&claim).filter(|_| unused) {
        Some((pod, uid)) => {
            let pod = context.informers().of::<Pod>().get(&key.namespace, pod);
            let over = |pod: &Pod| pod.metadata.uid.as_deref() != Some(uid) || is_done(pod);
            if !going && pod.is_some_and(|pod| over(&pod)) {
                unless_gone(claims.delete(&key.name, &DeleteParams::default()).await)?;
            }
            Ok(())
        }
        None => Ok(()),
    }
}

/// Whether a consumer is there and will use the claim; of those that are neither pods nor groups of them nothing is
/// known.
async fn is_needed(
    context: &Context,
    namespace: &str,
    consumer: &ResourceClaimConsumerReference,
    groups: bool,
) -> Result<bool, Error> {
    let group = consumer.api_group.as_deref().unwrap_or_default();
    if groups && group == group::GROUP && consumer.resource == group::PLURAL {
        let is_it = |group: &PodGroup| group.metadata.uid.as_deref() == Some(&*consumer.uid);
        let known = context.informers().of::<PodGroup>().get(namespace, &consumer.name);
        if known.is_some_and(|group| is_it(&group)) {
            return Ok(true);
        }
        let groups: Api<PodGroup> = Api::namespaced(context.client(), namespace);
        return Ok(groups.get_opt(&consumer.name).await?.is_some_and(|group| is_it(&group)));
    }
    if !group.is_empty() || consumer.resource != "pods" {
        return Ok(true);
    }
    let is_it = |pod: &Pod| pod.metadata.uid.as_deref() == Some(consumer.uid.as_str());
    let known = context.informers().of::<Pod>().get(namespace, &consumer.name);
    if let Some(pod) = known.filter(|pod| is_it(pod)) {
        return Ok(!is_done(&pod));
    }
    // The cache may be late, also where it shows another pod of the name: the one before.
    let pods: Api<Pod> = Api::namespaced(context.client(), namespace);
    Ok(pods.get_opt(&consumer.name).await?.is_some_and(|pod| is_it(&pod)))
}
