use super::{Claim, SELECTED_NODE};
use crate::{NodeInfo, objects::ClusterObjects, plugins::volumes::key};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm},
    storage::v1::StorageClass,
};
use kubeplane_core::{quantity::Quantity, selector::LabelSelector};
use kubeplane_workload::storage::{
    Choice, NO_PROVISIONER, best_match, claim_class, requested, volume_class,
};
use std::{collections::HashSet, sync::Arc};

/// What the claims of a pod get on a node.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Volumes there are, with the claims they are for.
    pub(super) bindings: Vec<(Arc<PersistentVolume>, Claim)>,
    /// Claims whose volumes are to be made.
    pub(super) provisions: Vec<Claim>,
    /// Where they would be made, as far as drivers tell.
    pub(super) rooms: Vec<Room>,
}

/// Room for a volume of a class that is to be made.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) class: String,
    /// Bytes.
    pub(super) wanted: i64,
    /// Bytes in all.
    pub(super) capacity: i64,
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.bindings.is_empty() && self.provisions.is_empty()
    }
}

pub(super) enum Outcome {
    Found(Found),
    /// A claim finds no volume, and none can be made.
    NoMatch,
    /// Storage for a new volume is used up.
    NoRoom,
}

/// Finds volumes for claims on a node, the smallest that do.
pub(super) fn find(
    objects: &ClusterObjects,
    claims: &[Claim],
    volumes: &[Arc<PersistentVolume>],
    node: &NodeInfo,
) -> Result<Outcome, String> {
    let mut found = Found::default();
    let mut unmatched = Vec::new();
    let mut provision = Vec::new();
    for claim in claims {
        match claim.metadata.annotations.as_ref().and_then(|own| own.get(SELECTED_NODE)) {
            Some(selected) if selected != node.name() => return Ok(Outcome::NoMatch),
            Some(_) => provision.push(claim.clone()),
            None => unmatched.push(claim.clone()),
        }
    }
    // Small claims first, so that they do not take what larger ones need.
    unmatched.sort_by(|a, b| size(a).partial_cmp(&size(b)).unwrap_or(std::cmp::Ordering::Equal));
    let mut taken = HashSet::new();
    for claim in unmatched {
        let free = volumes.iter().filter(|volume| {
            volume_class(volume) == claim_class(&claim) && !taken.contains(&volume.metadata.name)
        });
        match best_match(&claim, free, Choice::OnNode(node.node()))? {
            Some(volume) => {
                taken.insert(volume.metadata.name.clone());
                found.bindings.push((volume.clone(), claim));
            }
            None => provision.push(claim),
        }
    }
    for claim in provision {
        match can_provision(objects, &claim, node)? {
            Provision::Yes(room) => {
                found.rooms.extend(room);
                found.provisions.push(claim);
            }
            Provision::No => return Ok(Outcome::NoMatch),
            Provision::NoRoom => return Ok(Outcome::NoRoom),
        }
    }
    Ok(Outcome::Found(found))
}

fn size(claim: &PersistentVolumeClaim) -> Quantity {
    requested(claim).unwrap_or_else(zero)
}

fn zero() -> Quantity {
    Quantity::new(0, kubeplane_core::quantity::Format::BinarySi)
}

enum Provision {
    Yes(Option<Room>),
    No,
    NoRoom,
}

fn can_provision(
    objects: &ClusterObjects,
    claim: &PersistentVolumeClaim,
    node: &NodeInfo,
) -> Result<Provision, String> {
    let name = claim_class(claim);
    if name.is_empty() {
        return Err(format!("no class for claim {:?}", key(&claim.metadata)));
    }
    let Some(class) = objects.classes.find("", name) else {
        return Err(format!("failed to find storage class {name:?}"));
    };
    if class.provisioner.is_empty() || class.provisioner == NO_PROVISIONER {
        return Ok(Provision::No);
    }
    if !allows(class.allowed_topologies.as_deref().unwrap_or_default(), node) {
        return Ok(Provision::No);
    }
    Ok(room(objects, claim, &class, node))
}

/// Whether a class may make volumes for the node.
fn allows(terms: &[TopologySelectorTerm], node: &NodeInfo) -> bool {
    let holds = |term: &TopologySelectorTerm| {
        let expressions = term.match_label_expressions.as_deref().unwrap_or_default();
        !expressions.is_empty()
            && expressions.iter().all(|own| {
                node.label(&own.key).is_some_and(|value| own.values.iter().any(|one| one == value))
            })
    };
    terms.is_empty() || terms.iter().any(holds)
}

/// Whether the driver has room for the volume where the node can reach it, as far as it tells.
fn room(
    objects: &ClusterObjects,
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: &NodeInfo,
) -> Provision {
    let Some(wanted) = requested(claim) else { return Provision::Yes(None) };
    let driver = objects.csi_drivers.find("", &class.provisioner);
    if driver.is_none_or(|driver| driver.spec.storage_capacity != Some(true)) {
        return Provision::Yes(None);
    }
    let capacities = objects.capacities.all();
    let found = capacities.iter().find(|own| {
        let limit = own.maximum_volume_size.as_ref().or(own.capacity.as_ref());
        let reaches = own.node_topology.as_ref().is_some_and(|topology| {
            LabelSelector::from_typed(Some(topology))
                .is_ok_and(|selector| selector.matches_labels(node.labels()))
        });
        Some(&own.storage_class_name) == class.metadata.name.as_ref()
            && limit.is_some_and(|limit| Quantity::from_api(limit).value() >= wanted.value())
            && reaches
    });
    found.map_or(Provision::NoRoom, |own| {
        let capacity = own.capacity.as_ref().map_or(0, |own| Quantity::from_api(own).value());
        let class = own.storage_class_name.clone();
        Provision::Yes(Some(Room { class, wanted: wanted.value(), capacity }))
    })
}
