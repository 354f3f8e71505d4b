//! How claims and volumes belong together: classes, what is bound to what, which volume suits a claim.

use k8s_openapi::{
    api::{
        core::v1::{
            Node, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference, PersistentVolume,
            PersistentVolumeClaim, Pod, Volume,
        },
        storage::v1::StorageClass,
    },
    apimachinery::pkg::{api::resource::Quantity as ApiQuantity, apis::meta::v1::ObjectMeta},
};
use kubeplane_core::{quantity::Quantity, selector::LabelSelector};
use std::collections::BTreeMap;

use crate::affinity::node_selector_term_matches;

/// On claims whose binding was finished once.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On claims and volumes that were bound by a component, not by a user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On claims for which the scheduler has chosen a node, where the volume is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// On claims: the provisioner that is to make the volume.
pub const STORAGE_PROVISIONER: &str = "volume.kubernetes.io/storage-provisioner";
/// The older form of [`STORAGE_PROVISIONER`], still written.
pub const BETA_STORAGE_PROVISIONER: &str = "volume.beta.kubernetes.io/storage-provisioner";
/// On volumes: the provisioner that made them.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// On claims and volumes of former in-tree plugins: the CSI driver that serves them now.
pub const MIGRATED_TO: &str = "pv.kubernetes.io/migrated-to";
/// The provisioner of classes whose volumes are made by hand.
pub const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// On classes that claims without one get.
pub const DEFAULT_CLASS: [&str; 2] = [
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
];

/// On nodes: the directory for volumes that are directories of the node.
pub const LOCAL_VOLUMES: &str = "kubeplane.dev/local-volumes";
/// On such volumes: the node whose directory they are.
pub const LOCAL_NODE: &str = "kubeplane.dev/node";
/// On nodes, followed by the name of such a volume: what is to become of its directory.
pub const LOCAL_VOLUME: &str = "local-volume.kubeplane.dev/";
/// The value of [`LOCAL_VOLUME`] by which the node's kubelet is asked to remove a directory.
pub const REMOVE: &str = "remove";
/// The value of [`LOCAL_VOLUME`] by which the kubelet says that it did.
pub const REMOVED: &str = "removed";

const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// An annotation.
#[must_use]
pub fn annotation<'a>(meta: &'a ObjectMeta, key: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(key).map(String::as_str)
}

/// Whether a claim says which class it wants, be it none.
#[must_use]
pub fn names_class(claim: &PersistentVolumeClaim) -> bool {
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_ref());
    annotation(&claim.metadata, CLASS).is_some() || spec.is_some()
}

/// The class a claim asks for; empty for none.
#[must_use]
pub fn claim_class(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS).or(spec).unwrap_or_default()
}

/// The class a volume belongs to; empty for none.
#[must_use]
pub fn volume_class(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata, CLASS).or(spec).unwrap_or_default()
}

/// Whether claims that name no class get this one.
#[must_use]
pub fn is_default(class: &StorageClass) -> bool {
    DEFAULT_CLASS.iter().any(|key| annotation(&class.metadata, key) == Some("true"))
}

/// The name of the volume a claim has, or is to have.
#[must_use]
pub fn volume_name(claim: &PersistentVolumeClaim) -> Option<&str> {
    claim.spec.as_ref()?.volume_name.as_deref().filter(|name| !name.is_empty())
}

/// The phase of a claim; empty when it has none yet.
#[must_use]
pub fn claim_phase(claim: &PersistentVolumeClaim) -> &str {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The phase of a volume; empty when it has none yet.
#[must_use]
pub fn volume_phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// The claim a volume is bound to or set aside for.
#[must_use]
pub fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// A claim that a pod needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimName {
    /// The claim's name.
    pub name: String,
    /// Whether it is made for the pod alone.
    pub ephemeral: bool,
}

/// The claim behind a volume of the pod of this name, if there is one.
#[must_use]
pub fn claim_name(pod: &str, volume: &Volume) -> Option<ClaimName> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(ClaimName { name: claim.claim_name.clone(), ephemeral: false });
    }
    volume.ephemeral.as_ref()?;
    Some(ClaimName { name: format!("{pod}-{}", volume.name), ephemeral: true })
}

/// The claims behind all volumes of a pod.
pub fn claim_names(pod: &Pod) -> impl Iterator<Item = ClaimName> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(move |volume| claim_name(name, volume))
}

/// Whether a volume is bound to a claim, or set aside for it.
#[must_use]
pub fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(own) = claim_ref(volume) else { return false };
    let uid = own.uid.as_deref().filter(|uid| !uid.is_empty());
    own.name == claim.metadata.name
        && own.namespace == claim.metadata.namespace
        && uid.is_none_or(|uid| claim.metadata.uid.as_deref() == Some(uid))
}

/// The volume as it is when bound to the claim; equal to what it was when it is bound already.
#[must_use]
pub fn bound(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> PersistentVolume {
    let mut bound = volume.clone();
    if !is_bound_to(volume, claim) {
        let annotations = bound.metadata.annotations.get_or_insert_default();
        annotations.entry(BOUND_BY_CONTROLLER.into()).or_insert_with(|| "yes".into());
    }
    let meta = &claim.metadata;
    let spec = bound.spec.get_or_insert_default();
    let same = |own: &ObjectReference| {
        own.uid == meta.uid && own.name == meta.name && own.namespace == meta.namespace
    };
    if !spec.claim_ref.as_ref().is_some_and(same) {
        spec.claim_ref = Some(ObjectReference {
            api_version: Some("v1".into()),
            kind: Some("PersistentVolumeClaim".into()),
            name: meta.name.clone(),
            namespace: meta.namespace.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version.clone(),
            ..ObjectReference::default()
        });
    }
    bound
}

/// Whether a volume can be used on a node. As in the original that goes by the node's labels: what else is asked of its
/// fields counts as given.
#[must_use]
pub fn fits_node(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|own| own.node_selector_terms.iter().any(|term| has_labels(term, node)))
}

fn has_labels(term: &NodeSelectorTerm, node: &Node) -> bool {
    fn asks(own: Option<&Vec<NodeSelectorRequirement>>) -> bool {
        own.is_some_and(|own| !own.is_empty())
    }
    if !asks(term.match_fields.as_ref()) {
        return node_selector_term_matches(term, node);
    }
    let of_labels = NodeSelectorTerm { match_fields: None, ..term.clone() };
    !asks(of_labels.match_expressions.as_ref()) || node_selector_term_matches(&of_labels, node)
}

/// The amount of storage in a list.
#[must_use]
pub fn storage(amounts: Option<&BTreeMap<String, ApiQuantity>>) -> Option<Quantity> {
    amounts?.get("storage").map(Quantity::from_api)
}

/// The storage a claim asks for.
#[must_use]
pub fn requested(claim: &PersistentVolumeClaim) -> Option<Quantity> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    storage(resources.requests.as_ref())
}

/// The storage a volume has; nothing when it does not say.
#[must_use]
pub fn capacity(volume: &PersistentVolume) -> Quantity {
    storage(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref())).unwrap_or_else(zero)
}

fn zero() -> Quantity {
    Quantity::new(0, kubeplane_core::quantity::Format::BinarySi)
}

/// Whether both are file systems or both are block devices.
#[must_use]
pub fn same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let volume = volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    let claim = claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref());
    volume.unwrap_or("Filesystem") == claim.unwrap_or("Filesystem")
}

/// Whether both are of the same attributes class, or both of none.
#[must_use]
pub fn same_attributes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let volume = volume.spec.as_ref().and_then(|own| own.volume_attributes_class_name.as_deref());
    let claim = claim.spec.as_ref().and_then(|own| own.volume_attributes_class_name.as_deref());
    volume.unwrap_or_default() == claim.unwrap_or_default()
}

/// Whether a volume can be used in every way the claim asks for.
#[must_use]
pub fn has_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let offered = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
    let wanted = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref());
    let offered = offered.unwrap_or_default();
    wanted.unwrap_or_default().iter().all(|mode| offered.contains(mode))
}

/// What a claim may be given.
#[derive(Debug, Clone, Copy)]
pub enum Choice<'a> {
    /// Any volume that suits.
    Any,
    /// Only a volume that is set aside for the claim.
    SetAside,
    /// Only a volume that can be used on this node.
    OnNode(&'a Node),
}

/// The volume set aside for the claim, or else the smallest one that suits. Whether the access modes suit is
/// looked at for a node only: others choose among volumes whose modes do.
///
/// # Errors
/// When the claim's selector has no meaning.
pub fn best_match<'a, V>(
    claim: &PersistentVolumeClaim,
    volumes: impl IntoIterator<Item = &'a V>,
    choice: Choice<'_>,
) -> Result<Option<&'a V>, String>
where
    V: std::ops::Deref<Target = PersistentVolume> + 'a,
{
    let wanted = requested(claim).unwrap_or_else(zero);
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let selector = selector.map(|own| LabelSelector::from_typed(Some(own))).transpose();
    let selector = selector.map_err(|error| {
        let text = |own: &Option<String>| own.clone().unwrap_or_default();
        let (namespace, name) = (text(&claim.metadata.namespace), text(&claim.metadata.name));
        format!("error creating internal label selector for claim: {namespace}/{name}: {error}")
    })?;
    let mut smallest: Option<(&V, Quantity)> = None;
    for volume in volumes {
        let own = is_bound_to(volume, claim);
        if claim_ref(volume).is_some() && !own
            || volume.metadata.deletion_timestamp.is_some()
            || !same_mode(volume, claim)
            || !same_attributes(volume, claim)
        {
            continue;
        }
        let size = capacity(volume);
        if size < wanted {
            continue;
        }
        let on_node = match choice {
            Choice::OnNode(node) => fits_node(volume, node),
            Choice::Any | Choice::SetAside => true,
        };
        if own {
            return Ok(on_node.then_some(volume));
        }
        let modes = !matches!(choice, Choice::OnNode(_)) || has_modes(volume, claim);
        let picked =
            selector.as_ref().is_none_or(|own| own.matches_labels(volume.metadata.labels.as_ref()));
        if !matches!(choice, Choice::SetAside)
            && volume_phase(volume) == "Available"
            && picked
            && volume_class(volume) == claim_class(claim)
            && on_node
            && modes
            && smallest.as_ref().is_none_or(|(_, least)| size < *least)
        {
            smallest = Some((volume, size));
        }
    }
    Ok(smallest.map(|(volume, _)| volume))
}

/// The CSI driver that serves what was a plugin in the tree.
#[must_use]
pub fn migrated(plugin: &str) -> Option<&'static str> {
    Some(match plugin {
        "kubernetes.io/aws-ebs" => "ebs.csi.aws.com",
        "kubernetes.io/gce-pd" => "pd.csi.storage.gke.io",
        "kubernetes.io/cinder" => "cinder.csi.openstack.org",
        "kubernetes.io/azure-disk" => "disk.csi.azure.com",
        "kubernetes.io/azure-file" => "file.csi.azure.com",
        "kubernetes.io/vsphere-volume" => "csi.vsphere.vmware.com",
        "kubernetes.io/portworx-volume" => "pxd.portworx.com",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::sync::Arc;

    fn claim(spec: Value) -> PersistentVolumeClaim {
        let meta = json!({"namespace": "ns", "name": "claim", "uid": "u"});
        serde_json::from_value(json!({"metadata": meta, "spec": spec})).unwrap()
    }

    fn volume(name: &str, size: &str, more: Value) -> Arc<PersistentVolume> {
        let mut spec = json!({"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"]});
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let labels = json!({"size": size});
        Arc::new(
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels},
                "spec": spec, "status": {"phase": "Available"}}))
            .unwrap(),
        )
    }

    fn best(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>]) -> Option<String> {
        best_match(claim, volumes, Choice::Any).unwrap()?.metadata.name.clone()
    }

    #[test]
    fn the_smallest_volume_that_suits_is_chosen() {
        let volumes = [
            volume("large", "10Gi", json!({})),
            volume("small", "1Gi", json!({})),
            volume("fits", "5Gi", json!({})),
            volume("classy", "5Gi", json!({"storageClassName": "fast"})),
            volume("block", "5Gi", json!({"volumeMode": "Block"})),
        ];
        let wish = |more: Value| {
            let mut spec = json!({"resources": {"requests": {"storage": "5Gi"}}});
            for (key, value) in more.as_object().unwrap() {
                spec[key] = value.clone();
            }
            claim(spec)
        };
        assert_eq!(best(&wish(json!({})), &volumes).as_deref(), Some("fits"));
        let class = wish(json!({"storageClassName": "fast"}));
        assert_eq!(best(&class, &volumes).as_deref(), Some("classy"));
        let block = wish(json!({"volumeMode": "Block"}));
        assert_eq!(best(&block, &volumes).as_deref(), Some("block"));
        let labels = wish(json!({"selector": {"matchLabels": {"size": "10Gi"}}}));
        assert_eq!(best(&labels, &volumes).as_deref(), Some("large"));
        assert_eq!(best(&wish(json!({"volumeAttributesClassName": "gold"})), &volumes), None);
    }

    #[test]
    fn a_volume_set_aside_is_taken_before_any_other() {
        let own = json!({"claimRef": {"namespace": "ns", "name": "claim"}});
        let other = json!({"claimRef": {"namespace": "ns", "name": "other"}});
        let volumes = [
            volume("free", "1Gi", json!({})),
            volume("other", "1Gi", other),
            volume("own", "9Gi", own),
        ];
        let claim = claim(json!({"resources": {"requests": {"storage": "1Gi"}}}));
        assert_eq!(best(&claim, &volumes).as_deref(), Some("own"));
        assert!(best_match(&claim, &volumes[..2], Choice::SetAside).unwrap().is_none());
        let taken = bound(&volumes[2], &claim);
        assert!(is_bound_to(&taken, &claim) && bound(&taken, &claim) == taken);
        assert_eq!(annotation(&taken.metadata, BOUND_BY_CONTROLLER), None);
        let free = bound(&volumes[0], &claim);
        assert_eq!(annotation(&free.metadata, BOUND_BY_CONTROLLER), Some("yes"));
    }

    #[test]
    fn a_volume_is_used_where_the_labels_of_the_node_suit_whatever_its_name() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"zone": "a"}}}))
                .unwrap();
        let zone = |value: &str| json!({"matchExpressions": [{"key": "zone", "operator": "In", "values": [value]}]});
        let name = |operator: &str| json!({"matchFields": [{"key": "metadata.name", "operator": operator, "values": ["n"]}]});
        let both = |mut one: Value, other: Value| {
            one["matchFields"] = other["matchFields"].clone();
            one
        };
        for (terms, expected) in [
            (json!([zone("a")]), true),
            (json!([zone("b")]), false),
            (json!([zone("b"), zone("a")]), true),
            (json!([]), false),
            (json!([{}]), false),
            (json!([name("In")]), true),
            (json!([name("NotIn")]), true),
            (json!([both(zone("a"), name("NotIn"))]), true),
            (json!([both(zone("b"), name("In"))]), false),
        ] {
            let affinity = json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}});
            assert_eq!(fits_node(&volume("v", "1Gi", affinity), &node), expected, "{terms}");
        }
        assert!(fits_node(&volume("v", "1Gi", json!({})), &node));
    }
}
