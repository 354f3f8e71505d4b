//! Extended resources that devices of a class stand for.

use super::is_extended_resource;
use crate::{PodInfo, info::digest, objects::ClusterObjects};
use k8s_openapi::api::resource::v1::DeviceClass;
use std::{collections::BTreeSet, sync::Arc};

/// Every class stands for the resource of this prefix and its name.
const PREFIX: &str = "deviceclass.resource.kubernetes.io/";

/// Whether devices may stand for a resource.
pub(super) fn may_stand_for(resource: &str) -> bool {
    is_extended_resource(resource) || resource.starts_with(PREFIX)
}

/// Whether a class stands for a resource.
pub(super) fn stands_for(class: &DeviceClass, resource: &str) -> bool {
    class.spec.extended_resource_name.as_deref() == Some(resource)
        || resource
            .strip_prefix(PREFIX)
            .is_some_and(|own| class.metadata.name.as_deref() == Some(own))
}

/// The class whose devices stand for a resource: of several the newest.
pub(super) fn class_for(objects: &ClusterObjects, resource: &str) -> Option<Arc<DeviceClass>> {
    if let Some(name) = resource.strip_prefix(PREFIX) {
        return objects.device_classes.find("", name);
    }
    if !is_extended_resource(resource) {
        return None;
    }
    let all = objects.device_classes.all().into_iter();
    all.filter(|class| stands_for(class, resource)).min_by(|a, b| {
        let (a, b) = (&a.metadata, &b.metadata);
        let since = b.creation_timestamp.cmp(&a.creation_timestamp);
        since.then_with(|| a.name.cmp(&b.name))
    })
}

/// What a pod asks for that devices may stand for.
pub(super) fn wanted(pod: &PodInfo) -> impl Iterator<Item = (&str, i64)> {
    let all = pod.requests().scalars.iter().filter(|(_, amount)| **amount != 0);
    all.map(|(name, amount)| (name.as_str(), *amount)).filter(|(name, _)| may_stand_for(name))
}

/// Whether devices stand for something the pod asks for.
pub(super) fn concern(objects: &ClusterObjects, pod: &PodInfo) -> bool {
    wanted(pod).any(|(name, _)| class_for(objects, name).is_some())
}

/// What of it devices stand for.
pub(super) fn covered(objects: &ClusterObjects, pod: &PodInfo) -> BTreeSet<String> {
    let covered = wanted(pod).filter(|(name, _)| class_for(objects, name).is_some());
    covered.map(|(name, _)| name.to_owned()).collect()
}

/// A number for that; zero where there is nothing.
pub(super) fn coverage(objects: &ClusterObjects, pod: &PodInfo) -> u128 {
    let mut bytes = Vec::new();
    for name in covered(objects, pod) {
        bytes.extend_from_slice(name.as_bytes());
        bytes.push(0);
    }
    if bytes.is_empty() { 0 } else { digest(&bytes) }
}
