use super::{
    super::device_classes::{stands_for, wanted},
    NodeResourcesFit,
};
use crate::{Amounts, ClusterEvent, EnqueueExtensions, EventObject, Hint, NodeInfo, PodInfo};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::DeviceClass,
};
use std::sync::Arc;

impl EnqueueExtensions for NodeResourcesFit {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Pod { old, new } => pod_helps(pod, old.as_ref(), new.as_ref()),
            EventObject::DeviceClass { old, new: Some(new) } => {
                let named = |old: &Arc<DeviceClass>| old.spec.extended_resource_name.clone();
                old.as_ref().is_none_or(|old| named(old) != named(new))
                    && wanted(pod).any(|(name, _)| stands_for(new, name))
            }
            // Devices may stand for what the node has not.
            EventObject::Node { .. } if !self.blind && wanted(pod).next().is_some() => true,
            EventObject::Node { old, new: Some(new) } => self.node_helps(pod, old.as_ref(), new),
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}

/// Whether a pod that left, or asks for less, frees something.
fn pod_helps(pod: &PodInfo, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> bool {
    let placed = |pod: &Arc<Pod>| {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        node.is_some_and(|name| !name.is_empty())
    };
    match (old, new) {
        (Some(old), None) => {
            placed(old) || old.status.as_ref().is_some_and(|own| own.nominated_node_name.is_some())
        }
        (Some(old), Some(new)) => {
            if new.metadata.uid.as_deref() == Some(pod.uid()) {
                return true;
            }
            let requests = |pod: &Arc<Pod>| PodInfo::new(pod.clone()).requests().clone();
            placed(new) && any_less(pod.requests(), &requests(old), &requests(new))
        }
        _ => true,
    }
}

/// Whether, of what is wanted, there is less in `after` than in `before`.
fn any_less(wanted: &Amounts, before: &Amounts, after: &Amounts) -> bool {
    let named = ["cpu", "memory", "ephemeral-storage"].into_iter();
    let all = named.chain(wanted.scalars.keys().map(String::as_str));
    let mut wanted_ones = all.filter(|name| wanted.amount(name) != 0);
    wanted_ones.any(|name| before.amount(name) > after.amount(name))
}

impl NodeResourcesFit {
    /// Whether the pod could be alone on the node as it is now, and there is more than before of what it wants.
    fn node_helps(&self, pod: &PodInfo, old: Option<&Arc<Node>>, new: &Arc<Node>) -> bool {
        let new = NodeInfo::new(new.clone());
        if !NodeResourcesFit::default().has_room(pod, &new) {
            return false;
        }
        let Some(old) = old else { return true };
        let old = NodeInfo::new(old.clone());
        new.allocatable().pods > old.allocatable().pods
            || any_less(pod.requests(), new.allocatable(), old.allocatable())
    }
}
