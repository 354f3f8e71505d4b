//! What a pod needs of its claims.

use super::{
    BY_OWNER, Named, POD_CLAIM, ResourceClaims, entries, group, group::PodGroup, is_done, named,
};
use crate::{Context, Error};
use k8s_openapi::{
    api::{
        core::v1::{Pod, PodResourceClaim},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate},
    },
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use kubeplane_client::{EventType, ObjectKey, controller_ref, is_controlled_by};
use kubeplane_workload::phase::node_name;
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

/// How many pods may have one claim at a time.
const CONSUMERS: usize = 256;

pub(super) async fn sync(
    controller: &ResourceClaims,
    context: &Context,
    key: &ObjectKey,
) -> Result<(), Error> {
    let found = context.informers().of::<Pod>().get(&key.namespace, &key.name);
    let Some(pod) = found.filter(|pod| pod.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    let group = if controller.groups { group::of_pod(context, &pod)? } else { None };
    let group = group.as_deref();
    let mut made = BTreeMap::new();
    for entry in entries(&pod) {
        match ensure(controller, context, &pod, group, entry).await {
            Ok(Some(name)) => {
                made.insert(entry.name.clone(), name);
            }
            Ok(None) => {}
            Err(error) => {
                let text = format!("PodResourceClaim {}: {}", entry.name, error.text());
                let (kind, reason) = (EventType::Warning, "FailedResourceClaimCreation");
                context.recorder().event_for(&*pod, kind, reason, text);
                return Err(error);
            }
        }
    }
    if !made.is_empty() {
        tell(context, &pod, made).await?;
    }
    if node_name(&pod).is_some() {
        reserve(controller, context, &pod, group).await?;
    }
    Ok(())
}

/// `groups` where one that was made for the pod's group will do.
fn is_for(claim: &ResourceClaim, pod: &Pod, groups: bool) -> Result<(), Error> {
    let own = is_controlled_by(claim, pod.metadata.uid.as_deref().unwrap_or_default());
    if own || groups && group::owns(pod, claim) {
        return Ok(());
    }
    let (claim, pod) = (ObjectKey::of(claim), ObjectKey::of(pod));
    let why = format!("ResourceClaim {claim} was not created for pod {pod} (pod is not owner)");
    Err(Error::Invalid(why))
}

fn find(context: &Context, pod: &Pod, name: &str) -> Option<Arc<ResourceClaim>> {
    let namespace = pod.namespace().unwrap_or_default();
    context.informers().of::<ResourceClaim>().get(&namespace, name)
}

/// The name of a claim that the pod's status does not tell yet.
async fn ensure(
    controller: &ResourceClaims,
    context: &Context,
    pod: &Pod,
    group: Option<&PodGroup>,
    entry: &PodResourceClaim,
) -> Result<Option<String>, Error> {
    match named(pod, entry) {
        Named::Nothing | Named::Given(_) => return Ok(None),
        // Its claim is deleted as soon as it has ended, and so would be another.
        Named::Made(_) if is_done(pod) => return Ok(None),
        Named::Made(name) => {
            if find(context, pod, &name)
                .is_some_and(|claim| is_for(&claim, pod, controller.groups).is_ok())
            {
                return Ok(None);
            }
        }
        Named::Not => {}
    }
    let Some(template) = &entry.resource_claim_template_name else { return Ok(None) };
    if let Some(group) = group.filter(|group| group.shares(entry)) {
        // It is the group's to make.
        let uid = group.metadata.uid.as_deref().unwrap_or_default();
        return Ok(made_for(context, uid, &entry.name).map(|claim| claim.name_any()));
    }
    find_or_make(controller, context, pod, &ObjectKey::of(pod), &entry.name, template)
        .await
        .map(Some)
}

/// The claim that was made by a template for an entry of the owner of this uid.
fn made_for(context: &Context, uid: &str, entry: &str) -> Option<Arc<ResourceClaim>> {
    let own = context.informers().of::<ResourceClaim>().by_index(BY_OWNER, uid);
    own.into_iter().find(|claim| claim.annotations().get(POD_CLAIM).is_some_and(|own| own == entry))
}

/// The name of the claim for an owner's entry that has a template; made if it is not there. `memory` is what the
/// request is remembered by.
pub(super) async fn find_or_make<O>(
    controller: &ResourceClaims,
    context: &Context,
    owner: &O,
    memory: &ObjectKey,
    entry: &str,
    template: &str,
) -> Result<String, Error>
where
    O: kube::Resource<DynamicType = ()>,
{
    if let Some(claim) = made_for(context, owner.meta().uid.as_deref().unwrap_or_default(), entry) {
        return Ok(claim.name_any());
    }
    let namespace = owner.meta().namespace.clone().unwrap_or_default();
    let found = context.informers().of::<ResourceClaimTemplate>().get(&namespace, template);
    let Some(found) = found else {
        return Err(Error::Invalid(format!(
            "resource claim template {template:?}: resourceclaimtemplate.resource.k8s.io {template:?} not found"
        )));
    };
    if !controller.alternatives && has_alternatives(&found) {
        let why =
            "template includes a prioritized list of subrequests, but the feature is disabled";
        return Err(Error::Invalid(why.to_owned()));
    }
    let claims: Api<ResourceClaim> = Api::namespaced(context.client(), &namespace);
    let claim = from_template(owner, entry, &found);
    let created = claims.create(&PostParams::default(), &claim).await.map_err(Error::from);
    controller.count(&claim, created.is_ok());
    // The original tells the name, which nobody has given yet.
    let created = created
        .map_err(|error| Error::Invalid(format!("create ResourceClaim : {}", error.text())))?;
    controller.written.created(memory, &created);
    Ok(created.name_any())
}

/// Whether a request of a template's claims can be served in more than one way.
fn has_alternatives(template: &ResourceClaimTemplate) -> bool {
    let devices = template.spec.spec.devices.as_ref();
    let requests = devices.and_then(|own| own.requests.as_ref()).into_iter().flatten();
    requests.filter_map(|own| own.first_available.as_ref()).any(|own| !own.is_empty())
}

/// The part of a name before its random end; long ones are cut so that both parts are recognized.
fn base(pod: &str, entry: &str) -> String {
    const LONGEST: usize = 57;
    let whole = format!("{pod}-{entry}-");
    if whole.len() <= LONGEST {
        return whole;
    }
    let cut =
        |text: &str| text.chars().take(text.len() * LONGEST / whole.len()).collect::<String>();
    format!("{}-{}", cut(pod), cut(entry))
}

fn from_template<O>(owner: &O, entry: &str, template: &ResourceClaimTemplate) -> ResourceClaim
where
    O: kube::Resource<DynamicType = ()>,
{
    let meta = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(POD_CLAIM.to_owned(), entry.to_owned());
    let reference = OwnerReference { block_owner_deletion: None, ..controller_ref(owner) };
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(base(&owner.name_any(), entry)),
            owner_references: Some(vec![reference]),
            annotations: Some(annotations),
            labels: meta.labels,
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// Writes the names of the claims into the pod's status, with those that it tells already: what is not applied again
/// is taken away.
async fn tell(context: &Context, pod: &Pod, made: BTreeMap<String, String>) -> Result<(), Error> {
    let told = pod.status.as_ref().and_then(|status| status.resource_claim_statuses.as_ref());
    let told = told.into_iter().flatten().filter(|own| !made.contains_key(&own.name));
    let statuses: Vec<_> = told
        .map(|own| json!(own))
        .chain(made.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim})))
        .collect();
    let namespace = pod.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(context.client(), &namespace);
    let patch = Patch::Apply(json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod.name_any(), "namespace": namespace, "uid": pod.metadata.uid},
        "status": {"resourceClaimStatuses": statuses},
    }));
    let params = PatchParams::apply("ResourceClaimController").force();
    pods.patch_status(&pod.name_any(), &params, &patch).await?;
    Ok(())
}

/// A pod on a node has its claims, whoever put it there.
async fn reserve(
    controller: &ResourceClaims,
    context: &Context,
    pod: &Pod,
    group: Option<&PodGroup>,
) -> Result<(), Error> {
    let namespace = pod.namespace().unwrap_or_default();
    let own = ResourceClaimConsumerReference {
        api_group: None,
        resource: "pods".to_owned(),
        name: pod.name_any(),
        uid: pod.metadata.uid.clone().unwrap_or_default(),
    };
    for entry in entries(pod) {
        let named = named(pod, entry);
        let Some(claim) = named.name().and_then(|name| find(context, pod, name)) else { continue };
        if matches!(named, Named::Made(_)) {
            is_for(&claim, pod, controller.groups)?;
        }
        let Some(status) = claim.status.as_ref().filter(|own| own.allocation.is_some()) else {
            continue;
        };
        let theirs = group.map(PodGroup::consumer);
        let consumers = status.reserved_for.as_deref().unwrap_or_default();
        let has = |uid: &str| consumers.iter().any(|other| other.uid == uid);
        let reserved = has(&own.uid) || theirs.as_ref().is_some_and(|group| has(&group.uid));
        if consumers.len() >= CONSUMERS || reserved {
            continue;
        }
        let shared = group.is_some_and(|group| group.shares(entry));
        let consumer = theirs.filter(|_| shared).unwrap_or_else(|| own.clone());
        let mut next = (*claim).clone();
        next.status.get_or_insert_default().reserved_for.get_or_insert_default().push(consumer);
        let claims: Api<ResourceClaim> = Api::namespaced(context.client(), &namespace);
        claims.replace_status(&claim.name_any(), &PostParams::default(), &next).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_in_both_parts() {
        assert_eq!(base("pod", "gpu"), "pod-gpu-");
        let long = base(&"p".repeat(60), &"c".repeat(60));
        assert_eq!(long, format!("{}-{}", "p".repeat(28), "c".repeat(28)));
    }
}
