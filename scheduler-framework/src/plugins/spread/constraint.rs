use crate::{NodeInfo, PodInfo, objects::ClusterObjects, plugins::taints::are_tolerated};
use k8s_openapi::{
    api::core::v1::TopologySpreadConstraint,
    apimachinery::pkg::apis::meta::v1::LabelSelector as TypedSelector,
};
use kubeplane_client::controller_of;
use kubeplane_core::selector::LabelSelector;
use kubeplane_workload::node_affinity_matches;
use std::{collections::BTreeMap, fmt::Write};

/// What happens to a pod whose constraint no node meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    DoNotSchedule,
    ScheduleAnyway,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::DoNotSchedule => "DoNotSchedule",
            Self::ScheduleAnyway => "ScheduleAnyway",
        }
    }
}

/// One constraint, ready to be matched.
#[derive(Debug, Clone)]
pub(super) struct Constraint {
    pub(super) max_skew: i64,
    pub(super) key: String,
    pub(super) selector: LabelSelector,
    pub(super) min_domains: usize,
    pub(super) honors_affinity: bool,
    pub(super) honors_taints: bool,
    /// Whether tolerations may compare numbers.
    pub(super) comparing: bool,
}

impl Constraint {
    /// Those of a kind.
    pub(super) fn all(
        constraints: &[TopologySpreadConstraint],
        pod: &PodInfo,
        action: Action,
    ) -> Result<Vec<Self>, String> {
        let own = constraints.iter().filter(|own| own.when_unsatisfiable == action.name());
        own.map(|own| Self::new(own, pod)).collect()
    }

    fn new(own: &TopologySpreadConstraint, pod: &PodInfo) -> Result<Self, String> {
        let selector = LabelSelector::from_typed(own.label_selector.as_ref())
            .map_err(|error| error.to_string())?;
        let policy =
            |policy: Option<&String>, default| policy.map_or(default, |policy| policy == "Honor");
        Ok(Self {
            max_skew: i64::from(own.max_skew),
            key: own.topology_key.clone(),
            selector: with_keys(selector, own.match_label_keys.as_deref(), pod),
            min_domains: usize::try_from(own.min_domains.unwrap_or(1)).unwrap_or_default(),
            honors_affinity: policy(own.node_affinity_policy.as_ref(), true),
            honors_taints: policy(own.node_taints_policy.as_ref(), false),
            comparing: false,
        })
    }

    /// Whether the node takes part, by the constraint's inclusion policies.
    pub(super) fn includes(&self, pod: &PodInfo, node: &NodeInfo) -> bool {
        if self.honors_affinity && !node_affinity_matches(pod.spec(), node.node()) {
            return false;
        }
        if !self.honors_taints {
            return true;
        }
        let taints = node.node().spec.as_ref().and_then(|spec| spec.taints.as_deref());
        let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
        are_tolerated(taints.unwrap_or_default(), tolerations, self.comparing)
    }
}

/// Narrows a selector to the pod's own values of some labels.
fn with_keys(selector: LabelSelector, keys: Option<&[String]>, pod: &PodInfo) -> LabelSelector {
    let own: BTreeMap<_, _> = keys
        .unwrap_or_default()
        .iter()
        .filter_map(|key| Some((key.clone(), pod.labels()?.get(key)?.clone())))
        .collect();
    if own.is_empty() || selector.is_nothing() {
        return selector;
    }
    add(LabelSelector::from_map(own), &selector)
}

fn add(selector: LabelSelector, more: &LabelSelector) -> LabelSelector {
    more.requirements().iter().cloned().fold(selector, LabelSelector::and)
}

/// Whether a node has the labels of all constraints.
pub(super) fn has_all_keys(
    labels: Option<&BTreeMap<String, String>>,
    constraints: &[Constraint],
) -> bool {
    constraints.iter().all(|own| labels.is_some_and(|labels| labels.contains_key(&own.key)))
}

/// Names everything the counts of nodes depend on.
pub(super) fn key(pod: &PodInfo, constraints: &[Constraint]) -> String {
    let mut key = pod.namespace().to_owned();
    let (mut affinity, mut taints) = (false, false);
    for own in constraints {
        let nothing = own.selector.is_nothing();
        // Writing to a string does not fail.
        let _ = write!(
            key,
            "\n{}\0{nothing}\0{}\0{}\0{}",
            own.key, own.selector, own.honors_affinity, own.honors_taints
        );
        affinity |= own.honors_affinity;
        taints |= own.honors_taints;
    }
    let spec = pod.spec();
    if affinity {
        let required = spec.affinity.as_ref().and_then(|own| own.node_affinity.as_ref());
        if spec.node_selector.is_some() || required.is_some() {
            let _ = write!(key, "\n{:?}{required:?}", spec.node_selector);
        }
    }
    if taints {
        let _ = write!(key, "\n{:?}", spec.tolerations);
    }
    key
}

/// What the Services and the controller of a pod select; everything when it has none.
pub(super) fn owners_selector(pod: &PodInfo, objects: &ClusterObjects) -> LabelSelector {
    let mut labels = BTreeMap::new();
    for service in objects.services.within(pod.namespace()) {
        let Some(selector) = service.spec.as_ref().and_then(|spec| spec.selector.as_ref()) else {
            continue;
        };
        let own = |(key, value)| pod.labels().is_some_and(|labels| labels.get(key) == Some(value));
        if selector.iter().all(own) {
            labels.extend(selector.clone());
        }
    }
    let Some(owner) = controller_of(&**pod.pod()) else {
        return LabelSelector::from_map(labels);
    };
    let (namespace, name) = (pod.namespace(), owner.name.as_str());
    let of = |selector: &TypedSelector| LabelSelector::from_typed(Some(selector)).ok();
    let more = match (owner.api_version.as_str(), owner.kind.as_str()) {
        ("v1", "ReplicationController") => {
            let controller = objects.replication_controllers.find(namespace, name);
            let spec = controller.as_ref().and_then(|own| own.spec.as_ref());
            labels.extend(spec.and_then(|spec| spec.selector.clone()).unwrap_or_default());
            None
        }
        ("apps/v1", "ReplicaSet") => objects
            .replica_sets
            .find(namespace, name)
            .and_then(|own| own.spec.as_ref().and_then(|spec| of(&spec.selector))),
        ("apps/v1", "StatefulSet") => objects
            .stateful_sets
            .find(namespace, name)
            .and_then(|own| own.spec.as_ref().and_then(|spec| of(&spec.selector))),
        _ => None,
    };
    let selector = LabelSelector::from_map(labels);
    more.map_or_else(|| selector.clone(), |more| add(selector.clone(), &more))
}
