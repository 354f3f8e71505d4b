//! Devices: classes and slices of them, and claims on them.

use crate::row::Row;
use kubeplane_core::Definition;

mod allocation;
mod attributes;
mod capacity;
mod class;
mod constraint;
mod device;
mod lists;
mod request;
mod resourceclaim;
mod selector;
mod slice;
mod taint;
mod template;
mod values;

const ROW: Row = Row { group: "resource.k8s.io", columns: &["Name", "Age"], ..Row::CLUSTER };

/// All kinds of the group.
pub(crate) fn definitions() -> Vec<Definition> {
    vec![
        class::definition(),
        resourceclaim::definition(),
        template::definition(),
        slice::definition(),
    ]
}
