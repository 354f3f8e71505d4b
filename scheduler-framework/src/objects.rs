//! What plugins know of objects other than pods and nodes.

use crate::groups::PodGroupObject;
use k8s_openapi::api::{
    apps::v1::{ReplicaSet, StatefulSet},
    core::v1::{
        Namespace, PersistentVolume, PersistentVolumeClaim, ReplicationController, Service,
    },
    policy::v1::PodDisruptionBudget,
    resource::v1::{DeviceClass, ResourceClaim, ResourceSlice},
    storage::v1::{CSIDriver, CSINode, CSIStorageCapacity, StorageClass, VolumeAttachment},
};
use kubeplane_client::{Changes, Informers, Lister, Watchable};
use kubeplane_workload::{DeviceTaintRule, device_rules::with_rules};
use std::{fmt::Debug, sync::Arc};

/// Where the objects of one kind come from: an informer, or a fixed list.
pub trait ObjectSource<K>: Debug + Send + Sync {
    /// One object; the namespace of what has none is empty.
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>>;

    /// All of them.
    fn all(&self) -> Vec<Arc<K>>;

    /// Those of a namespace.
    fn within(&self, namespace: &str) -> Vec<Arc<K>>;

    /// All of them as added, then what changes: no later than any other method shows it. `None` when the source cannot tell,
    /// or never changes: then it is listed each time.
    fn changes(&self) -> Option<Changes<K>> {
        None
    }
}

impl<K: Watchable> ObjectSource<K> for Lister<K> {
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(namespace, name)
    }

    fn all(&self) -> Vec<Arc<K>> {
        self.list()
    }

    fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        self.list_in(namespace)
    }

    fn changes(&self) -> Option<Changes<K>> {
        Some(self.subscribe())
    }
}

impl<K: Watchable> ObjectSource<K> for Vec<Arc<K>> {
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let own = |object: &&Arc<K>| {
            let meta = object.meta();
            meta.namespace.as_deref().unwrap_or_default() == namespace
                && meta.name.as_deref() == Some(name)
        };
        self.iter().find(own).cloned()
    }

    fn all(&self) -> Vec<Arc<K>> {
        self.clone()
    }

    fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        let own = |object: &&Arc<K>| object.meta().namespace.as_deref() == Some(namespace);
        self.iter().filter(own).cloned().collect()
    }
}

/// ResourceSlices with the taints that DeviceTaintRules add to those of their devices.
#[derive(Debug)]
struct Ruled {
    slices: Lister<ResourceSlice>,
    rules: Lister<DeviceTaintRule>,
}

impl Ruled {
    fn tainted(&self, slices: Vec<Arc<ResourceSlice>>) -> Vec<Arc<ResourceSlice>> {
        let rules = self.rules.list();
        let rules: Vec<&DeviceTaintRule> = rules.iter().map(|rule| &**rule).collect();
        let tainted = slices.into_iter().map(|slice| match with_rules(&slice, &rules) {
            Some(tainted) => Arc::new(tainted),
            None => slice,
        });
        tainted.collect()
    }
}

impl ObjectSource<ResourceSlice> for Ruled {
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<ResourceSlice>> {
        self.tainted(self.slices.get(namespace, name).into_iter().collect()).pop()
    }

    fn all(&self) -> Vec<Arc<ResourceSlice>> {
        self.tainted(self.slices.list())
    }

    fn within(&self, namespace: &str) -> Vec<Arc<ResourceSlice>> {
        self.tainted(self.slices.list_in(namespace))
    }
}

/// The objects of one kind.
pub type Objects<K> = Arc<dyn ObjectSource<K>>;

fn none<K: Watchable>() -> Objects<K> {
    Arc::new(Vec::<Arc<K>>::new())
}

/// The objects that plugins ask for, by kind. The default has none.
#[derive(Debug, Clone)]
pub struct ClusterObjects {
    /// Namespaces.
    pub namespaces: Objects<Namespace>,
    /// Services.
    pub services: Objects<Service>,
    /// ReplicationControllers.
    pub replication_controllers: Objects<ReplicationController>,
    /// ReplicaSets.
    pub replica_sets: Objects<ReplicaSet>,
    /// StatefulSets.
    pub stateful_sets: Objects<StatefulSet>,
    /// PodDisruptionBudgets.
    pub budgets: Objects<PodDisruptionBudget>,
    /// PersistentVolumeClaims.
    pub claims: Objects<PersistentVolumeClaim>,
    /// PersistentVolumes.
    pub volumes: Objects<PersistentVolume>,
    /// StorageClasses.
    pub classes: Objects<StorageClass>,
    /// CSINodes.
    pub csi_nodes: Objects<CSINode>,
    /// CSIDrivers.
    pub csi_drivers: Objects<CSIDriver>,
    /// CSIStorageCapacities.
    pub capacities: Objects<CSIStorageCapacity>,
    /// VolumeAttachments.
    pub attachments: Objects<VolumeAttachment>,
    /// ResourceClaims.
    pub resource_claims: Objects<ResourceClaim>,
    /// ResourceSlices.
    pub resource_slices: Objects<ResourceSlice>,
    /// DeviceClasses.
    pub device_classes: Objects<DeviceClass>,
    /// PodGroups; none unless a profile places groups.
    pub pod_groups: Objects<PodGroupObject>,
}

impl Default for ClusterObjects {
    fn default() -> Self {
        Self {
            namespaces: none(),
            services: none(),
            replication_controllers: none(),
            replica_sets: none(),
            stateful_sets: none(),
            budgets: none(),
            claims: none(),
            volumes: none(),
            classes: none(),
            csi_nodes: none(),
            csi_drivers: none(),
            capacities: none(),
            attachments: none(),
            resource_claims: none(),
            resource_slices: none(),
            device_classes: none(),
            pod_groups: none(),
        }
    }
}

impl ClusterObjects {
    /// With the taints that DeviceTaintRules put on devices; a watch of the rules begins.
    #[must_use]
    pub fn with_device_rules(self, informers: &Informers) -> Self {
        let slices = informers.of::<ResourceSlice>().lister();
        let rules = informers.of::<DeviceTaintRule>().lister();
        Self { resource_slices: Arc::new(Ruled { slices, rules }), ..self }
    }

    /// As informers know them; watches of all these kinds begin.
    #[must_use]
    pub fn from_informers(informers: &Informers) -> Self {
        fn of<K: Watchable>(informers: &Informers) -> Objects<K> {
            Arc::new(informers.of::<K>().lister())
        }
        Self {
            namespaces: of(informers),
            services: of(informers),
            replication_controllers: of(informers),
            replica_sets: of(informers),
            stateful_sets: of(informers),
            budgets: of(informers),
            claims: of(informers),
            volumes: of(informers),
            classes: of(informers),
            csi_nodes: of(informers),
            csi_drivers: of(informers),
            capacities: of(informers),
            attachments: of(informers),
            resource_claims: of(informers),
            resource_slices: of(informers),
            device_classes: of(informers),
            pod_groups: none(),
        }
    }
}
