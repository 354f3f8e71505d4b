//! Devices: classes and slices of them, and claims on them.

use crate::row::Row;
use kubeplane_core::{Definition, features::Features};

mod allocation;
mod attributes;
mod capacity;
mod class;
mod constraint;
mod device;
mod features;
mod lists;
mod request;
mod resourceclaim;
mod rule;
mod selector;
mod slice;
mod taint;
mod template;
mod values;
mod versions;

const ROW: Row = Row { group: "resource.k8s.io", columns: &["Name", "Age"], ..Row::CLUSTER };

/// All kinds of the group.
pub(crate) fn definitions() -> Vec<Definition> {
    kinds().into_iter().map(versions::current).collect()
}

/// Their older versions and the rules about taints, off by default; the rules also need the gate
/// `DRADeviceTaintRules`.
pub(crate) fn optional(features: &Features) -> Vec<Definition> {
    let rules = features.is_on("DRADeviceTaintRules").then(rule::definitions);
    kinds().iter().flat_map(versions::older).chain(rules.into_iter().flatten()).collect()
}

fn kinds() -> [Definition; 4] {
    [class::definition(), resourceclaim::definition(), template::definition(), slice::definition()]
}
