use crate::{
    groups::PodGroupObject,
    info::{RequestGates, counted, differs},
};
use k8s_openapi::api::{
    core::v1::{
        Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod,
        PodExtendedResourceClaimStatus, PodResourceClaimStatus, PodSpec,
    },
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use std::sync::Arc;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EventResource {
    /// A pod that runs or ran on a node.
    AssignedPod,
    /// A pod that waits, this one or another.
    UnscheduledPod,
    /// A node.
    Node,
    /// A claim.
    PersistentVolumeClaim,
    /// A volume.
    PersistentVolume,
    /// A storage class.
    StorageClass,
    /// A node's list of storage drivers.
    CsiNode,
    /// A storage driver.
    CsiDriver,
    /// A storage driver's room somewhere.
    CsiStorageCapacity,
    /// A volume's attachment to a node.
    VolumeAttachment,
    /// A claim for devices.
    ResourceClaim,
    /// Devices that there are.
    ResourceSlice,
    /// A class of devices.
    DeviceClass,
    /// A group of pods.
    PodGroup,
    /// A namespace.
    Namespace,
    /// Anything at all.
    Any,
}

/// What happened, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ActionType(u16);

impl ActionType {
    /// It came to be.
    pub const ADD: Self = Self(1);
    /// It is gone.
    pub const DELETE: Self = Self(1 << 1);
    /// A node's allocatable resources changed.
    pub const UPDATE_ALLOCATABLE: Self = Self(1 << 2);
    /// Labels changed.
    pub const UPDATE_LABELS: Self = Self(1 << 3);
    /// A node's taints (or whether it takes pods at all) changed.
    pub const UPDATE_TAINTS: Self = Self(1 << 4);
    /// A node's conditions changed.
    pub const UPDATE_CONDITIONS: Self = Self(1 << 5);
    /// A pod asks for less than before.
    pub const UPDATE_SCALE_DOWN: Self = Self(1 << 6);
    /// A pod's tolerations changed.
    pub const UPDATE_TOLERATIONS: Self = Self(1 << 7);
    /// A pod lost its last scheduling gate.
    pub const UPDATE_GATES_ELIMINATED: Self = Self(1 << 8);
    /// A pod was told of a claim for devices that was made for it.
    pub const UPDATE_GENERATED_CLAIM: Self = Self(1 << 10);
    /// A node declares other features.
    pub const UPDATE_DECLARED_FEATURES: Self = Self(1 << 11);
    /// A node's annotations changed.
    pub const UPDATE_ANNOTATIONS: Self = Self(1 << 12);
    /// Something else of it changed.
    pub const UPDATE_OTHER: Self = Self(1 << 9);
    /// All of them.
    pub const ALL: Self = Self((1 << 13) - 1);

    /// Both.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether they have anything in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether nothing happened.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What happened, one by one.
    pub(crate) fn each(self) -> impl Iterator<Item = Self> {
        let all = (0..u16::BITS).map(|bit| Self(1 << bit));
        all.filter(move |own| self.intersects(*own))
    }
}

/// A kind of change that may make a pod schedulable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClusterEvent {
    /// What it is about.
    pub resource: EventResource,
    /// What happened.
    pub action: ActionType,
}

impl ClusterEvent {
    /// This happened to that.
    #[must_use]
    pub const fn new(resource: EventResource, action: ActionType) -> Self {
        Self { resource, action }
    }

    /// Every event.
    #[must_use]
    pub fn any() -> Vec<Self> {
        vec![Self::new(EventResource::Any, ActionType::ALL)]
    }

    /// Its name in metrics, as the original has it: `NodeAdd`, `AssignedPodDelete`, `storage.k8s.io/CSINodeUpdate`.
    pub(crate) fn label(self) -> String {
        let resource = match self.resource {
            EventResource::AssignedPod => "AssignedPod",
            EventResource::UnscheduledPod => "UnschedulablePod",
            EventResource::Node => "Node",
            EventResource::PersistentVolumeClaim => "PersistentVolumeClaim",
            EventResource::PersistentVolume => "PersistentVolume",
            EventResource::StorageClass => "storage.k8s.io/StorageClass",
            EventResource::CsiNode => "storage.k8s.io/CSINode",
            EventResource::CsiDriver => "storage.k8s.io/CSIDriver",
            EventResource::CsiStorageCapacity => "storage.k8s.io/CSIStorageCapacity",
            EventResource::VolumeAttachment => "storage.k8s.io/VolumeAttachment",
            EventResource::ResourceClaim => "resource.k8s.io/ResourceClaim",
            EventResource::ResourceSlice => "resource.k8s.io/ResourceSlice",
            EventResource::DeviceClass => "resource.k8s.io/DeviceClass",
            EventResource::PodGroup => "scheduling.k8s.io/PodGroup",
            EventResource::Namespace => "Namespace",
            EventResource::Any => "*",
        };
        let node = self.resource == EventResource::Node;
        let action = match self.action {
            ActionType::ADD => "Add",
            ActionType::DELETE => "Delete",
            ActionType::UPDATE_ALLOCATABLE => "UpdateNodeAllocatable",
            ActionType::UPDATE_LABELS if node => "UpdateNodeLabel",
            ActionType::UPDATE_LABELS => "UpdatePodLabel",
            ActionType::UPDATE_TAINTS => "UpdateNodeTaint",
            ActionType::UPDATE_CONDITIONS => "UpdateNodeCondition",
            ActionType::UPDATE_DECLARED_FEATURES => "UpdateNodeDeclaredFeature",
            ActionType::UPDATE_ANNOTATIONS => "UpdateNodeAnnotation",
            ActionType::UPDATE_SCALE_DOWN => "UpdatePodScaleDown",
            ActionType::UPDATE_TOLERATIONS => "UpdatePodToleration",
            ActionType::UPDATE_GATES_ELIMINATED => "UpdatePodSchedulingGatesEliminated",
            ActionType::UPDATE_GENERATED_CLAIM => "UpdatePodGeneratedResourceClaim",
            ActionType::ALL => "All",
            _ => "Update",
        };
        format!("{resource}{action}")
    }

    /// Whether an event that happened is one of this kind.
    #[must_use]
    pub fn matches(self, happened: Self) -> bool {
        (self.resource == EventResource::Any || self.resource == happened.resource)
            && self.action.intersects(happened.action)
    }
}

/// The objects of an event, before and after.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EventObject {
    /// A node.
    Node {
        /// As it was; `None` when it is new.
        old: Option<Arc<Node>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<Node>>,
    },
    /// A pod.
    Pod {
        /// As it was; `None` when it is new.
        old: Option<Arc<Pod>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<Pod>>,
    },
    /// A claim.
    PersistentVolumeClaim {
        /// As it was; `None` when it is new.
        old: Option<Arc<PersistentVolumeClaim>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<PersistentVolumeClaim>>,
    },
    /// A volume.
    PersistentVolume {
        /// As it was; `None` when it is new.
        old: Option<Arc<PersistentVolume>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<PersistentVolume>>,
    },
    /// A storage class.
    StorageClass {
        /// As it was; `None` when it is new.
        old: Option<Arc<StorageClass>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<StorageClass>>,
    },
    /// A node's list of storage drivers.
    CsiNode {
        /// As it was; `None` when it is new.
        old: Option<Arc<CSINode>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<CSINode>>,
    },
    /// A storage driver.
    CsiDriver {
        /// As it was; `None` when it is new.
        old: Option<Arc<CSIDriver>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<CSIDriver>>,
    },
    /// A storage driver's room somewhere.
    CsiStorageCapacity {
        /// As it was; `None` when it is new.
        old: Option<Arc<CSIStorageCapacity>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<CSIStorageCapacity>>,
    },
    /// A volume's attachment to a node.
    VolumeAttachment {
        /// As it was; `None` when it is new.
        old: Option<Arc<VolumeAttachment>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<VolumeAttachment>>,
    },
    /// A claim for devices.
    ResourceClaim {
        /// As it was; `None` when it is new.
        old: Option<Arc<ResourceClaim>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<ResourceClaim>>,
    },
    /// Devices that there are.
    ResourceSlice {
        /// As it was; `None` when it is new.
        old: Option<Arc<ResourceSlice>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<ResourceSlice>>,
    },
    /// A class of devices.
    DeviceClass {
        /// As it was; `None` when it is new.
        old: Option<Arc<DeviceClass>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<DeviceClass>>,
    },
    /// A group of pods.
    PodGroup {
        /// As it was; `None` when it is new.
        old: Option<Arc<PodGroupObject>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<PodGroupObject>>,
    },
    /// A namespace.
    Namespace {
        /// As it was; `None` when it is new.
        old: Option<Arc<Namespace>>,
        /// As it is; `None` when it is gone.
        new: Option<Arc<Namespace>>,
    },
    /// Time passed: pods left over are tried again.
    Flush,
}

/// What a plugin makes of an event for a pod it refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// It may fit now: try again.
    Queue,
    /// It changes nothing for this pod.
    Skip,
}

/// What of a pod changed that may matter to scheduling.
pub(crate) fn pod_action(old: &Pod, new: &Pod) -> ActionType {
    let mut action = ActionType::default();
    let none = PodSpec::default();
    let (before, after) = (old.spec.as_ref().unwrap_or(&none), new.spec.as_ref().unwrap_or(&none));
    let gates = |spec: &PodSpec| spec.scheduling_gates.as_ref().map_or(0, Vec::len);
    let asks_less = || {
        let all = RequestGates::default();
        let (before, after) = (
            kubeplane_workload::requests(&counted(old, before, all)),
            kubeplane_workload::requests(&counted(new, after, all)),
        );
        before.iter().any(|(name, amount)| after.get(name).is_none_or(|own| own < amount))
    };
    let resized = || {
        before.containers != after.containers
            || before.init_containers != after.init_containers
            || before.resources != after.resources
    };
    type Made<'a> =
        (Option<&'a Vec<PodResourceClaimStatus>>, Option<&'a PodExtendedResourceClaimStatus>);
    fn made(pod: &Pod) -> Made<'_> {
        let status = pod.status.as_ref();
        (
            status.and_then(|own| own.resource_claim_statuses.as_ref()),
            status.and_then(|own| own.extended_resource_claim_status.as_ref()),
        )
    }
    let same = before == after;
    for (changed, what) in [
        (made(old) != made(new), ActionType::UPDATE_GENERATED_CLAIM),
        (old.metadata.labels != new.metadata.labels, ActionType::UPDATE_LABELS),
        (before.tolerations != after.tolerations, ActionType::UPDATE_TOLERATIONS),
        (gates(before) > 0 && gates(after) == 0, ActionType::UPDATE_GATES_ELIMINATED),
        ((!same && resized() || differs(old, new)) && asks_less(), ActionType::UPDATE_SCALE_DOWN),
    ] {
        if changed {
            action = action.or(what);
        }
    }
    let rest = |spec: &PodSpec| PodSpec {
        tolerations: None,
        scheduling_gates: None,
        containers: Vec::new(),
        init_containers: None,
        resources: None,
        ..spec.clone()
    };
    let noted = old.metadata.annotations != new.metadata.annotations;
    if action.is_empty() && (noted || !same && rest(before) != rest(after)) {
        action = ActionType::UPDATE_OTHER;
    }
    action
}

#[cfg(test)]
mod tests;
