//! What a PodGroup needs of its claims (KEP-5729): one for all of its pods.

use super::{ResourceClaims, pod::find_or_make};
use crate::{Context, Error};
use k8s_openapi::{
    Metadata, NamespaceResourceScope, Resource,
    api::{
        core::v1::{Pod, PodResourceClaim},
        resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use kubeplane_client::{EventType, ObjectKey, controller_of, is_controlled_by};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

pub(super) const GROUP: &str = "scheduling.k8s.io";
pub(super) const PLURAL: &str = "podgroups";

/// A PodGroup, as far as it has to do with claims and with the Workload it is of.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::builtin) struct PodGroup {
    pub(in crate::builtin) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pod_group_template_ref: Option<TemplateRef>,
    pub(super) resource_claims: Vec<PodResourceClaim>,
}

/// What the group was made by.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct TemplateRef {
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<WorkloadRef>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WorkloadRef {
    workload_name: String,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) resource_claim_statuses: Vec<Made>,
}

/// Which claim was made by a template.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Made {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resource_claim_name: Option<String>,
}

impl Resource for PodGroup {
    type Scope = NamespaceResourceScope;
    const API_VERSION: &'static str = "scheduling.k8s.io/v1alpha2";
    const GROUP: &'static str = GROUP;
    const KIND: &'static str = "PodGroup";
    const URL_PATH_SEGMENT: &'static str = PLURAL;
    const VERSION: &'static str = "v1alpha2";
}

impl Metadata for PodGroup {
    type Ty = ObjectMeta;

    fn metadata(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn metadata_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl PodGroup {
    /// The name of the Workload it is of.
    pub(in crate::builtin) fn workload(&self) -> Option<&str> {
        let reference = self.spec.pod_group_template_ref.as_ref()?.workload.as_ref()?;
        Some(&*reference.workload_name).filter(|name| !name.is_empty())
    }

    /// The claim behind an entry that is there by name or by the group's status.
    fn claim_of<'a>(&'a self, entry: &'a PodResourceClaim) -> Option<&'a str> {
        if let Some(name) = &entry.resource_claim_name {
            return Some(name);
        }
        let mut statuses = self.status.resource_claim_statuses.iter();
        statuses.find(|own| own.name == entry.name)?.resource_claim_name.as_deref()
    }

    /// The names of all of its claims.
    pub(super) fn claims(&self) -> impl Iterator<Item = &str> {
        self.spec.resource_claims.iter().filter_map(|entry| self.claim_of(entry))
    }

    /// The names of the templates that claims are made by.
    pub(super) fn templates(&self) -> impl Iterator<Item = &str> {
        let entries = self.spec.resource_claims.iter();
        entries.filter_map(|entry| entry.resource_claim_template_name.as_deref())
    }

    /// Whether a claim of its pods is the group's: the same entry under the same name.
    pub(super) fn shares(&self, entry: &PodResourceClaim) -> bool {
        self.spec.resource_claims.contains(entry)
    }

    /// The group as the user of a claim.
    pub(super) fn consumer(&self) -> ResourceClaimConsumerReference {
        ResourceClaimConsumerReference {
            api_group: Some(GROUP.to_owned()),
            resource: PLURAL.to_owned(),
            name: self.name_any(),
            uid: self.uid().unwrap_or_default(),
        }
    }
}

/// Whether the user of a claim is a PodGroup.
pub(in crate::builtin) fn is_group(consumer: &ResourceClaimConsumerReference) -> bool {
    consumer.api_group.as_deref() == Some(GROUP) && consumer.resource == PLURAL
}

/// The name of the group of a pod.
pub(in crate::builtin) fn name_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.scheduling_group.as_ref()?.pod_group_name.as_deref()
}

/// Whether a claim was made for the group of this pod, which knows no more of it than its name.
pub(in crate::builtin) fn owns(pod: &Pod, claim: &ResourceClaim) -> bool {
    let of_groups = |version: &str| version.split_once('/').is_some_and(|(own, _)| own == GROUP);
    controller_of(claim).is_some_and(|own| {
        own.kind == "PodGroup"
            && of_groups(&own.api_version)
            && Some(own.name.as_str()) == name_of(pod)
    })
}

/// The group of a pod, once it is known; `None` for a pod without one.
pub(super) fn of_pod(context: &Context, pod: &Pod) -> Result<Option<Arc<PodGroup>>, Error> {
    let Some(name) = name_of(pod) else { return Ok(None) };
    let namespace = pod.namespace().unwrap_or_default();
    match context.informers().of::<PodGroup>().get(&namespace, name) {
        Some(group) => Ok(Some(group)),
        None => Err(Error::Invalid(format!(
            "get PodGroup for Pod {}: podgroup.scheduling.k8s.io {name:?} not found",
            ObjectKey::of(pod)
        ))),
    }
}

/// What a group's request is remembered by; a pod may have its name.
pub(super) fn memory(group: &ObjectKey) -> ObjectKey {
    ObjectKey::new(group.namespace.clone(), format!("{PLURAL}/{}", group.name))
}

pub(super) async fn sync(
    controller: &ResourceClaims,
    context: &Context,
    key: &ObjectKey,
) -> Result<(), Error> {
    let found = context.informers().of::<PodGroup>().get(&key.namespace, &key.name);
    let Some(group) = found.filter(|group| group.metadata.deletion_timestamp.is_none()) else {
        return Ok(());
    };
    let mut made = BTreeMap::new();
    for entry in &group.spec.resource_claims {
        match ensure(controller, context, &group, entry).await {
            Ok(Some(name)) => {
                made.insert(entry.name.clone(), name);
            }
            Ok(None) => {}
            Err(error) => {
                let text = format!("PodGroupResourceClaim {}: {}", entry.name, error.text());
                let (kind, reason) = (EventType::Warning, "FailedResourceClaimCreation");
                context.recorder().event_for(&*group, kind, reason, text);
                return Err(error);
            }
        }
    }
    if made.is_empty() { Ok(()) } else { tell(context, &group, made).await }
}

/// The name of a claim that the group's status does not tell yet.
async fn ensure(
    controller: &ResourceClaims,
    context: &Context,
    group: &PodGroup,
    entry: &PodResourceClaim,
) -> Result<Option<String>, Error> {
    let Some(template) = &entry.resource_claim_template_name else { return Ok(None) };
    let known = context.informers().of::<ResourceClaim>();
    let namespace = group.namespace().unwrap_or_default();
    let told = group.claim_of(entry).and_then(|name| known.get(&namespace, name));
    let uid = group.metadata.uid.as_deref().unwrap_or_default();
    if told.is_some_and(|claim| is_controlled_by(&*claim, uid)) {
        return Ok(None);
    }
    let memory = memory(&ObjectKey::of(group));
    find_or_make(controller, context, group, &memory, &entry.name, template).await.map(Some)
}

/// Writes the names of the claims into the group's status, with those that it tells already.
async fn tell(
    context: &Context,
    group: &PodGroup,
    made: BTreeMap<String, String>,
) -> Result<(), Error> {
    let told = &group.status.resource_claim_statuses;
    let told = told.iter().filter(|own| !made.contains_key(&own.name));
    let statuses: Vec<_> = told
        .map(|own| json!(own))
        .chain(made.iter().map(|(name, claim)| json!({"name": name, "resourceClaimName": claim})))
        .collect();
    let namespace = group.namespace().unwrap_or_default();
    let patch = Patch::Apply(json!({
        "apiVersion": PodGroup::API_VERSION, "kind": PodGroup::KIND,
        "metadata": {"name": group.name_any(), "namespace": namespace},
        "status": {"resourceClaimStatuses": statuses},
    }));
    let groups: Api<PodGroup> = Api::namespaced(context.client(), &namespace);
    let params = PatchParams::apply("ResourceClaimController").force();
    groups.patch_status(&group.name_any(), &params, &patch).await?;
    Ok(())
}
