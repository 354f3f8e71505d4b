//! The claims of a set's pods, and who owns them.

use super::{identity, steps::Sync};
use crate::Error;
use k8s_openapi::{
    api::{
        apps::v1::{StatefulSet, StatefulSetSpec},
        core::v1::{PersistentVolumeClaim, Pod},
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{Api, Resource, ResourceExt, api::PostParams};
use kubeplane_client::{EventType, Informer, ObjectKey, controller_ref};
use kubeplane_workload::phase::phase;
use std::sync::Arc;

pub(super) fn name(set: &StatefulSet, template: &PersistentVolumeClaim, ordinal: i32) -> String {
    format!("{}-{}-{ordinal}", template.name_any(), set.name_any())
}

/// The sets that a claim is of, by its name.
pub(super) fn users(sets: &Informer<StatefulSet>, claim: &PersistentVolumeClaim) -> Vec<ObjectKey> {
    let own = claim.name_any();
    let is_of = |set: &StatefulSet| {
        let templates =
            set.spec.iter().flat_map(|spec| spec.volume_claim_templates.iter().flatten());
        let mut ordinals = templates.filter_map(|template| {
            own.strip_prefix(&*format!("{}-{}-", template.name_any(), set.name_any()))
        });
        ordinals.any(|ordinal| ordinal.parse::<i32>().is_ok())
    };
    let all = sets.list_in(claim.namespace().as_deref().unwrap_or_default());
    all.iter().filter(|set| is_of(set)).map(|set| ObjectKey::of(&**set)).collect()
}

fn claims(set: &StatefulSet, spec: &StatefulSetSpec, ordinal: i32) -> Vec<PersistentVolumeClaim> {
    let templates = spec.volume_claim_templates.iter().flatten();
    let claims = templates.map(|template| {
        let mut claim = template.clone();
        claim.metadata.name = Some(name(set, template, ordinal));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        let labels = spec.selector.match_labels.clone().unwrap_or_default();
        claim.labels_mut().extend(labels);
        let managed = claim.owner_references().iter().any(|owner| owner.controller == Some(true));
        if deletes(spec).0 && !managed {
            // The set may go before there is a pod to look at.
            claim.owner_references_mut().push(controller_ref(set));
        }
        claim.status = None;
        claim
    });
    claims.collect()
}

/// Whether claims go with the set, and with the pod that is not wanted any more.
fn deletes(spec: &StatefulSetSpec) -> (bool, bool) {
    let policy = spec.persistent_volume_claim_retention_policy.as_ref();
    let is_delete = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    let deleted = policy.and_then(|policy| policy.when_deleted.as_ref());
    let scaled = policy.and_then(|policy| policy.when_scaled.as_ref());
    (is_delete(deleted), is_delete(scaled))
}

fn refers_to<O: Resource<DynamicType = ()>>(reference: &OwnerReference, owner: &O) -> bool {
    reference.api_version == O::api_version(&())
        && reference.kind == O::kind(&())
        && Some(&reference.name) == owner.meta().name.as_ref()
}

fn is_stale<O: Resource<DynamicType = ()>>(claim: &PersistentVolumeClaim, owner: &O) -> bool {
    let first = claim.owner_references().iter().find(|reference| refers_to(reference, owner));
    first.is_some_and(|reference| Some(&reference.uid) != owner.meta().uid.as_ref())
}

/// The owners a claim should have; `None` when they are not this set's to decide.
fn wanted_owners(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pod: &Pod,
) -> Option<Vec<OwnerReference>> {
    if is_stale(claim, set) || is_stale(claim, pod) {
        // The collector has yet to see what the old owner's end means for the claim.
        return None;
    }
    let ours = |reference: &&OwnerReference| refers_to(reference, set) || refers_to(reference, pod);
    let (with_set, with_pod) = deletes(spec);
    let others = || claim.owner_references().iter().filter(|reference| !ours(reference));
    let managed = others().any(|reference| reference.controller == Some(true));
    let mut wanted: Vec<_> = others().cloned().collect();
    if managed {
        return Some(wanted);
    }
    let gone = identity::ordinal(pod).is_none_or(|ordinal| !identity::is_wanted(spec, ordinal));
    if with_pod && gone {
        wanted.push(controller_ref(pod));
    } else if with_set {
        wanted.push(controller_ref(set));
    }
    Some(wanted)
}

/// Whether another has a claim that is to go by this set's policy: its controller, or an earlier set or pod of the name.
fn is_foreign(
    claim: &PersistentVolumeClaim,
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    pod: &Pod,
) -> bool {
    let foreign = |reference: &OwnerReference| {
        if refers_to(reference, set) {
            Some(&reference.uid) != set.metadata.uid.as_ref()
        } else if refers_to(reference, pod) {
            Some(&reference.uid) != pod.metadata.uid.as_ref()
        } else {
            reference.controller == Some(true)
        }
    };
    deletes(spec) != (false, false) && claim.owner_references().iter().any(foreign)
}

fn same_owners(a: &[OwnerReference], b: &[OwnerReference]) -> bool {
    let owner = |reference: &OwnerReference| (reference.uid.clone(), reference.controller);
    let (mut a, mut b): (Vec<_>, Vec<_>) =
        (a.iter().map(owner).collect(), b.iter().map(owner).collect());
    a.sort();
    b.sort();
    a == b
}

impl Sync<'_> {
    fn claim(&self, name: &str) -> Option<Arc<PersistentVolumeClaim>> {
        let informer = self.context.informers().of::<PersistentVolumeClaim>();
        informer.get(&self.key.namespace, name)
    }

    fn claim_api(&self) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.context.client(), &self.key.namespace)
    }

    /// Creates the claims that are not there.
    pub(super) async fn create_claims(&self, pod: &str, ordinal: i32) -> Result<(), Error> {
        let mut failures = Vec::new();
        for claim in claims(self.set, self.spec, ordinal) {
            let name = claim.name_any();
            match self.claim(&name) {
                Some(present) if present.metadata.deletion_timestamp.is_some() => {
                    failures.push(format!("pvc {name} is being deleted"));
                }
                Some(_) => {}
                None => {
                    if let Err(why) = self.create_claim(pod, &claim).await {
                        failures.push(format!("failed to create PVC {name}: {why}"));
                    }
                }
            }
        }
        match failures.as_slice() {
            [] => Ok(()),
            [one] => Err(Error::Incomplete(one.clone())),
            several => Err(Error::Incomplete(format!("[{}]", several.join(", ")))),
        }
    }

    async fn create_claim(&self, pod: &str, claim: &PersistentVolumeClaim) -> Result<(), String> {
        let (name, set) = (claim.name_any(), &self.key.name);
        let result = self.claim_api().create(&PostParams::default(), claim).await;
        match result.map_err(Error::from) {
            Ok(created) => {
                self.controller.claims.created(self.key, &created);
                let message = format!("Create Claim {name} Pod {pod} in StatefulSet {set} success");
                self.event(EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) => {
                let text = error.text();
                if !error.is_already_exists() {
                    let message = format!(
                        "Create Claim {name} for Pod {pod} in StatefulSet {set} failed error: {text}"
                    );
                    self.event(EventType::Warning, "FailedCreate", message);
                }
                Err(text)
            }
        }
    }

    /// Brings the owners of a pod's claims into line with the retention policy; whether they were not.
    pub(super) async fn own_claims(&self, pod: &Pod, ordinal: i32) -> Result<bool, Error> {
        let mut changed = false;
        for template in self.spec.volume_claim_templates.iter().flatten() {
            let name = name(self.set, template, ordinal);
            let Some(claim) = self.claim(&name) else { continue };
            let wanted = wanted_owners(&claim, self.set, self.spec, pod);
            let wanted = wanted.filter(|wanted| !same_owners(claim.owner_references(), wanted));
            // Of one that is well it was told before.
            let begins = phase(pod) == "Pending" || !identity::is_wanted(self.spec, ordinal);
            if (begins || wanted.is_some()) && is_foreign(&claim, self.set, self.spec, pod) {
                let message = format!(
                    "PersistentVolumeClaim {name} has a conflicting OwnerReference that acts as a \
                     manging controller, the retention policy is ignored for this claim"
                );
                self.event(EventType::Warning, "ConflictingController", message);
            }
            let Some(wanted) = wanted else { continue };
            let mut next = (*claim).clone();
            next.metadata.owner_references = Some(wanted);
            let written = self.claim_api().replace(&name, &PostParams::default(), &next).await;
            let written = written.map_err(Error::from).map_err(|error| {
                let why = error.text();
                let what = format!("could not update claim {name} for delete policy ownerRefs");
                Error::Incomplete(format!("{what}: {why}"))
            })?;
            self.controller.claims.updated(self.key, &written);
            changed = true;
        }
        Ok(changed)
    }

    /// Whether a claim still belongs to an earlier pod of the same name, and will go with it.
    pub(super) fn has_stale_claim(&self, pod: &Pod, ordinal: i32) -> bool {
        let mut claims = claims(self.set, self.spec, ordinal).into_iter();
        deletes(self.spec).1
            && claims.any(|claim| {
                self.claim(&claim.name_any()).is_some_and(|present| is_stale(&present, pod))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_goes_with_its_pod_or_its_set_or_with_neither_whoever_owned_it_before() {
        let pod = |ordinal: i32| -> Pod {
            let pod = json!({"metadata": {"name": format!("web-{ordinal}"), "uid": "pod"}});
            serde_json::from_value(pod).unwrap()
        };
        let guest =
            json!({"apiVersion": "custom/v1", "kind": "Guest", "name": "guest", "uid": "guest"});
        let guest: OwnerReference = serde_json::from_value(guest).unwrap();
        let ruler =
            OwnerReference { controller: Some(true), uid: "ruler".to_owned(), ..guest.clone() };
        let table = [
            (("Retain", "Retain"), 1, None, None),
            (("Retain", "Retain"), 8, None, None),
            (("Delete", "Retain"), 1, None, Some("set")),
            (("Delete", "Retain"), 8, None, Some("set")),
            (("Retain", "Delete"), 1, None, None),
            (("Retain", "Delete"), 8, None, Some("pod")),
            (("Delete", "Delete"), 1, None, Some("set")),
            (("Delete", "Delete"), 8, None, Some("pod")),
            (("Delete", "Delete"), 1, Some(&ruler), None),
            (("Delete", "Delete"), 8, Some(&ruler), None),
        ];
        for ((deleted, scaled), ordinal, controller, expected) in table {
            let set = json!({"metadata": {"name": "web", "uid": "set"}, "spec": {"replicas": 5,
                "selector": {}, "serviceName": "", "template": {},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}});
            let set: StatefulSet = serde_json::from_value(set).unwrap();
            let (spec, pod) = (set.spec.as_ref().unwrap(), pod(ordinal));
            let (by_set, by_pod) = (controller_ref(&set), controller_ref(&pod));
            for before in [vec![], vec![by_pod.clone()], vec![by_set.clone()], vec![by_set, by_pod]]
            {
                let others: Vec<_> = controller.into_iter().chain([&guest]).cloned().collect();
                let mut claim = PersistentVolumeClaim::default();
                claim.metadata.owner_references = Some([before.clone(), others.clone()].concat());
                let wanted = wanted_owners(&claim, &set, spec, &pod).unwrap();
                let wanted: Vec<_> = wanted.iter().map(|owner| owner.uid.as_str()).collect();
                let others = others.iter().map(|owner| owner.uid.as_str());
                let expected: Vec<_> = others.chain(expected).collect();
                assert_eq!(wanted, expected, "{deleted} {scaled} {ordinal} after {before:?}");
            }
        }
    }
}
