use super::{
    devices::{Allocated, DeviceId},
    gates::Gates,
    pools::{device_is_for, devices, is_for},
    selectors::Selectors,
    shelf::{Shelf, Shelves},
    tracker::Tracker,
};
use crate::objects::ClusterObjects;
use k8s_openapi::api::{
    core::v1::Node,
    resource::v1::{Device, DeviceClass, ResourceSlice},
};
use kubeplane_core::features::Features;
use std::sync::Arc;

/// What is known of devices beside the objects themselves: one for all profiles of a scheduler, lest two of them give a
/// device to two pods.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    pub(super) tracker: Tracker,
    pub(super) selectors: Arc<Selectors>,
    pub(super) shelves: Shelves,
}

impl Stock {
    pub(crate) fn new(features: &Features) -> Self {
        let selectors = Selectors::new(Gates::from(features).lists);
        Self { selectors: Arc::new(selectors), ..Self::default() }
    }

    /// How many devices there are now, and how many of them are allocated.
    pub(in crate::plugins) fn totals(&self, objects: &ClusterObjects) -> Totals {
        Totals {
            allocated: self.tracker.allocated(objects),
            shelf: self.shelves.of(&objects.resource_slices),
            selectors: self.selectors.clone(),
        }
    }
}

/// The devices of a moment, to be counted by node and class.
#[derive(Debug)]
pub(in crate::plugins) struct Totals {
    allocated: Arc<Allocated>,
    shelf: Arc<Shelf>,
    selectors: Arc<Selectors>,
}

impl Totals {
    /// How many devices of a class are allocated on a node, wholly or in part, and how many there are. All slices count, also
    /// those of pools that are being updated.
    ///
    /// # Errors
    /// When a selector of the class fails.
    pub(in crate::plugins) fn on(
        &self,
        node: &Node,
        class: &DeviceClass,
    ) -> Result<(i64, i64), String> {
        let (mut taken, mut total) = (0, 0);
        for slice in self.shelf.near(node.metadata.name.as_deref().unwrap_or_default()) {
            let spec = &slice.spec;
            let by_device = spec.per_device_node_selection == Some(true);
            let name = spec.node_name.as_deref();
            if !by_device && !is_for(node, name, spec.all_nodes, spec.node_selector.as_ref()) {
                continue;
            }
            for (index, device) in devices(slice).iter().enumerate() {
                if by_device && !device_is_for(device, node)
                    || !self.is_of(class, slice, (index, device))?
                {
                    continue;
                }
                let (driver, pool) = (&spec.driver, &spec.pool.name);
                let id = DeviceId { driver, pool, device: &device.name };
                taken += i64::from(self.allocated.is_used(id));
                total += 1;
            }
        }
        Ok((taken, total))
    }

    /// Whether a device, and which of its slice it is, is of a class.
    fn is_of(
        &self,
        class: &DeviceClass,
        slice: &Arc<ResourceSlice>,
        place: (usize, &Device),
    ) -> Result<bool, String> {
        for selector in class.spec.selectors.iter().flatten() {
            let Some(cel) = &selector.cel else { continue };
            let seen = self.shelf.seen(&self.selectors, slice, place);
            if !self.selectors.matches(&cel.expression, &seen)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
