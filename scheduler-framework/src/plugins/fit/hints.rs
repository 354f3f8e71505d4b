use super::{
    super::device_classes::{stands_for, wanted},
    NodeResourcesFit,
};
use crate::{Amounts, ClusterEvent, EnqueueExtensions, EventObject, Hint, NodeInfo, PodInfo};
use k8s_openapi::api::{
    core::v1::{Node, Pod},
    resource::v1::DeviceClass,
};
use std::{collections::BTreeSet, sync::Arc};

impl EnqueueExtensions for NodeResourcesFit {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Pod { old, new } => pod_helps(pod, old.as_ref(), new.as_ref()),
            EventObject::DeviceClass { old, new: Some(new) } => {
                let named = |own: &Arc<DeviceClass>| own.spec.extended_resource_name.clone();
                // What it stands for by its own name it has stood for since it came.
                let by_field = |name: &str| named(new).is_some_and(|own| own == name);
                let mut wanted = wanted(pod).map(|(name, _)| name);
                match old {
                    None => wanted.any(|name| stands_for(new, name)),
                    Some(old) => named(old) != named(new) && wanted.any(by_field),
                }
            }
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
    let set = |name: Option<&String>| name.is_some_and(|name| !name.is_empty());
    let placed = |pod: &Arc<Pod>| set(pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()));
    let awaited = |pod: &Arc<Pod>| {
        set(pod.status.as_ref().and_then(|status| status.nominated_node_name.as_ref()))
    };
    match (old, new) {
        (Some(old), None) => placed(old) || awaited(old),
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
    /// What a pod wants that devices stand for; while it is not known which classes there are, all that they may stand for.
    fn covered_now(&self, pod: &PodInfo) -> BTreeSet<String> {
        match self.objects.get() {
            Some(objects) => self.covered(objects, pod),
            None if self.blind => BTreeSet::new(),
            None => wanted(pod).map(|(name, _)| name.to_owned()).collect(),
        }
    }

    /// Whether the pod could be alone on the node as it is now, and there is more than before of what it wants, or devices
    /// stand for some of that.
    fn node_helps(&self, pod: &PodInfo, old: Option<&Arc<Node>>, new: &Arc<Node>) -> bool {
        let (new, covered) = (NodeInfo::new(new.clone()), self.covered_now(pod));
        if !NodeResourcesFit::default().has_room_but_for(&covered, pod, &new) {
            return false;
        }
        let Some(old) = old else { return true };
        let old = NodeInfo::new(old.clone());
        new.allocatable().pods > old.allocatable().pods
            || any_less(pod.requests(), new.allocatable(), old.allocatable())
            || covered.iter().any(|name| new.allocatable().amount(name) <= 0)
    }
}
