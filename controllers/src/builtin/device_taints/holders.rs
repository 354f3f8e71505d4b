use crate::builtin::resource_claims;
use k8s_openapi::api::{
    core::v1::Pod,
    resource::v1::{ResourceClaim, ResourceClaimConsumerReference},
};
use kube::ResourceExt;
use kubeplane_client::{Informer, ObjectKey};

/// The index of pods by their PodGroup.
const MEMBERS: &str = "device-taint-members";

/// Finds the pods that claims are reserved for.
#[derive(Clone)]
pub(super) struct Holders {
    /// Where PodGroups have claims, too.
    members: Option<Informer<Pod>>,
}

impl Holders {
    /// `groups` where PodGroups have claims, too.
    pub(super) fn new(pods: &Informer<Pod>, groups: bool) -> Self {
        if groups {
            pods.add_index(MEMBERS, |pod| {
                let namespace = pod.namespace().unwrap_or_default();
                let group = resource_claims::group_name(pod);
                group.map(|name| format!("{namespace}/{name}")).into_iter().collect()
            });
        }
        Self { members: groups.then(|| pods.clone()) }
    }

    /// The pods that a claim is reserved for, by themselves or as a group.
    pub(super) fn of(&self, claim: &ResourceClaim) -> Vec<ObjectKey> {
        let namespace = claim.namespace().unwrap_or_default();
        let all = claim.status.iter().flat_map(|status| status.reserved_for.iter().flatten());
        all.flat_map(|own| self.behind(&namespace, own)).collect()
    }

    fn behind(&self, namespace: &str, own: &ResourceClaimConsumerReference) -> Vec<ObjectKey> {
        if own.resource == "pods" && own.api_group.as_deref().unwrap_or_default().is_empty() {
            return vec![ObjectKey::new(namespace, own.name.clone())];
        }
        match &self.members {
            Some(pods) if resource_claims::is_group(own) => {
                let members = pods.by_index(MEMBERS, &format!("{namespace}/{}", own.name));
                members.iter().map(|pod| ObjectKey::of(&**pod)).collect()
            }
            _ => Vec::new(),
        }
    }
}
