use super::{InterPodAffinity, all_match, tracking::selects_namespaces};
use crate::{
    AffinityTerm, AffinityTerms, ClusterEvent, EnqueueExtensions, EventObject, Hint, PodInfo,
};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kubeplane_core::selector::LabelSelector;
use std::{borrow::Cow, sync::Arc};

impl EnqueueExtensions for InterPodAffinity {
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let helps = match object {
            EventObject::Pod { old, new } => pod_helps(pod, old.as_ref(), new.as_ref()),
            EventObject::Node { old, new: Some(new) } => {
                node_helps(pod.affinity(), old.as_deref(), new)
            }
            EventObject::Namespace { old, new: Some(new) } => {
                namespace_helps(pod.affinity(), old.as_deref(), new)
            }
            _ => true,
        };
        if helps { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}

/// Whether a pod has a node, or one is being cleared for it.
fn is_placed(pod: &Pod) -> bool {
    let set = |name: Option<&String>| name.is_some_and(|name| !name.is_empty());
    set(pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()))
        || set(pod.status.as_ref().and_then(|status| status.nominated_node_name.as_ref()))
}

fn pod_helps(pod: &PodInfo, old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>) -> bool {
    if old.is_some() && new.is_some_and(|new| new.metadata.uid.as_deref() == Some(pod.uid())) {
        return true;
    }
    if old.into_iter().chain(new).any(|other| !is_placed(other)) {
        return false;
    }
    let terms = pod.affinity();
    let (with, apart) = (anywhere(&terms.required), anywhere(&terms.required_anti));
    let info = |pod: &Arc<Pod>| PodInfo::new(pod.clone());
    match (old.map(info), new.map(info)) {
        (Some(old), Some(new)) => {
            !all_match(&with, &old) && all_match(&with, &new)
                || all_match(&apart, &old) && !all_match(&apart, &new)
        }
        (None, Some(new)) => all_match(&with, &new),
        // One term is enough to keep pods apart, but as in the original only who is meant by all of them brings a pod back.
        (Some(old), None) => {
            let others = anywhere(&old.affinity().required_anti);
            all_match(&apart, &old) || all_match(&others, pod)
        }
        (None, None) => true,
    }
}

/// Whether terms may mean a namespace that they did not mean, or no longer one that they did; also those of other pods.
fn namespace_helps(terms: &AffinityTerms, old: Option<&Namespace>, new: &Namespace) -> bool {
    match old {
        None => terms.required.iter().chain(&terms.required_anti).any(selects_namespaces),
        Some(old) => old.metadata.labels != new.metadata.labels,
    }
}

/// Terms that select namespaces by labels, as if they meant all: which they select is not asked here, and to try a pod
/// once too often does no harm.
fn anywhere(terms: &[AffinityTerm]) -> Cow<'_, [AffinityTerm]> {
    if !terms.iter().any(selects_namespaces) {
        return terms.into();
    }
    let widened = |term: &AffinityTerm| match selects_namespaces(term) {
        true => AffinityTerm { namespace_selector: LabelSelector::everything(), ..term.clone() },
        false => term.clone(),
    };
    terms.iter().map(widened).collect()
}

fn node_helps(terms: &AffinityTerms, old: Option<&Node>, new: &Node) -> bool {
    fn value<'a>(node: &'a Node, key: &str) -> Option<&'a String> {
        node.metadata.labels.as_ref().and_then(|labels| labels.get(key))
    }
    let Some(old) = old else {
        return !terms.required_anti.is_empty()
            || terms.required.iter().any(|term| value(new, &term.topology_key).is_some());
    };
    let both = |key: &str| (value(old, key), value(new, key));
    let joins = terms.required.iter().any(|term| match both(&term.topology_key) {
        (None, Some(_)) => true,
        (Some(old), Some(new)) => old != new,
        _ => false,
    });
    joins
        || terms.required_anti.iter().any(|term| match both(&term.topology_key) {
            (Some(_), None) => true,
            (Some(old), Some(new)) => old != new,
            _ => false,
        })
}
