use super::normalize::normalize;
use crate::{
    ActionType, ClusterEvent, CycleState, EnqueueExtensions, EventObject, EventResource, Filter,
    FilterVerdict, Hint, NodeInfo, PodInfo, PreFilter, PreFilterVerdict, PreScore, PreScoreVerdict,
    SchedulerPlugin, Score, Snapshot,
};
use k8s_openapi::api::core::v1::{
    Node, NodeAffinity as Rules, NodeSelectorTerm, PreferredSchedulingTerm,
};
use kubeplane_core::{
    field::{Errors, Path, aggregate},
    selector::{Operator, Requirement},
};
use kubeplane_workload::{node_affinity_matches, node_affinity_score, node_selector_matches};
use std::{collections::BTreeSet, sync::Arc};

/// Only nodes that match a pod's node selector and required node affinity; prefers those it prefers.
#[derive(Debug, Clone, Default)]
pub struct NodeAffinity {
    /// What holds for all pods besides their own.
    added: Rules,
}

impl NodeAffinity {
    /// With rules for all pods of the profile besides their own (`addedAffinity`).
    #[must_use]
    pub fn with_added(added: Rules) -> Self {
        Self { added }
    }

    fn added_allows(&self, node: &Node) -> bool {
        let added = self.added.required_during_scheduling_ignored_during_execution.as_ref();
        added.is_none_or(|own| node_selector_matches(own, node))
    }

    fn added_preferred(&self) -> &[PreferredSchedulingTerm] {
        let terms = self.added.preferred_during_scheduling_ignored_during_execution.as_deref();
        terms.unwrap_or_default()
    }

    fn allows(&self, pod: &PodInfo, node: &Node) -> bool {
        self.added_allows(node) && node_affinity_matches(pod.spec(), node)
    }
}

impl SchedulerPlugin for NodeAffinity {
    fn name(&self) -> &'static str {
        "NodeAffinity"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        vec![ClusterEvent::new(EventResource::Node, ActionType::ADD.or(ActionType::UPDATE_LABELS))]
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_enqueue_extensions(&self) -> Option<&dyn EnqueueExtensions> {
        Some(self)
    }

    fn as_pre_filter(&self) -> Option<&dyn PreFilter> {
        Some(self)
    }

    fn as_filter(&self) -> Option<&dyn Filter> {
        Some(self)
    }

    fn as_pre_score(&self) -> Option<&dyn PreScore> {
        Some(self)
    }

    fn as_score(&self) -> Option<&dyn Score> {
        Some(self)
    }
}

fn rules(pod: &PodInfo) -> Option<&Rules> {
    pod.spec().affinity.as_ref()?.node_affinity.as_ref()
}

fn required(pod: &PodInfo) -> Option<&[NodeSelectorTerm]> {
    let own = rules(pod)?.required_during_scheduling_ignored_during_execution.as_ref()?;
    Some(&own.node_selector_terms)
}

fn preferred(pod: &PodInfo) -> &[PreferredSchedulingTerm] {
    let terms = rules(pod)
        .and_then(|own| own.preferred_during_scheduling_ignored_during_execution.as_deref());
    terms.unwrap_or_default()
}

/// The operators of requirements; the API server lets no others in.
fn operator(name: &str) -> Option<Operator> {
    Some(match name {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        "Gt" => Operator::GreaterThan,
        "Lt" => Operator::LessThan,
        _ => return None,
    })
}

/// Why preferred terms are malformed, if they are: values that no label can have are let in there.
fn malformed(terms: &[PreferredSchedulingTerm]) -> Option<String> {
    let mut errors = Errors::new();
    for (index, term) in terms.iter().enumerate().filter(|(_, own)| own.weight != 0) {
        let path = Path::root().index(index).child("matchExpressions");
        for (index, own) in term.preference.match_expressions.iter().flatten().enumerate() {
            let Some(operator) = operator(&own.operator) else { continue };
            let values = own.values.clone().unwrap_or_default();
            let checked = Requirement::new(&own.key, operator, values, &path.index(index));
            errors.extend(checked.err().into_iter().flatten());
        }
    }
    aggregate(&errors)
}

/// Whether nodes cannot be scored for the pod.
pub(super) fn is_malformed(pod: &PodInfo) -> bool {
    malformed(preferred(pod)).is_some()
}

/// The nodes that a term names by their names; `None` when it names none so.
fn named(term: &NodeSelectorTerm) -> Option<BTreeSet<String>> {
    let fields = term.match_fields.iter().flatten();
    let names = fields
        .filter(|field| field.key == "metadata.name" && field.operator == "In")
        .map(|field| field.values.iter().flatten().cloned().collect::<BTreeSet<_>>());
    names.reduce(|a, b| a.intersection(&b).cloned().collect())
}

/// The only nodes that required terms allow, if all of them name some.
pub(super) fn only_nodes(pod: &PodInfo) -> Option<BTreeSet<String>> {
    let terms = required(pod).filter(|terms| !terms.is_empty())?;
    let sets: Option<Vec<_>> = terms.iter().map(named).collect();
    Some(sets?.into_iter().flatten().collect())
}

impl PreFilter for NodeAffinity {
    fn pre_filter(&self, _: &mut CycleState, pod: &PodInfo, _: &Snapshot) -> PreFilterVerdict {
        let selects = pod.spec().node_selector.is_some() || required(pod).is_some();
        if !selects && self.added.required_during_scheduling_ignored_during_execution.is_none() {
            return PreFilterVerdict::Skip;
        }
        match only_nodes(pod) {
            None => PreFilterVerdict::Continue,
            Some(names) if names.is_empty() => {
                PreFilterVerdict::Unresolvable("pod affinity terms conflict".into())
            }
            Some(names) => PreFilterVerdict::Nodes(names),
        }
    }
}

impl Filter for NodeAffinity {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> FilterVerdict {
        let reason = if !self.added_allows(node.node()) {
            "node(s) didn't match scheduler-enforced node affinity"
        } else if !node_affinity_matches(pod.spec(), node.node()) {
            "node(s) didn't match Pod's node affinity/selector"
        } else {
            return FilterVerdict::Fits;
        };
        FilterVerdict::Unresolvable(vec![reason.into()])
    }
}

impl PreScore for NodeAffinity {
    /// Fails for terms that are malformed, as in the original: such a pod gets a node only where there is no choice.
    fn pre_score(&self, _: &mut CycleState, pod: &PodInfo, _: &[Arc<NodeInfo>]) -> PreScoreVerdict {
        if let Some(why) = malformed(preferred(pod)) {
            return PreScoreVerdict::Error(why);
        }
        if preferred(pod).is_empty() && self.added_preferred().is_empty() {
            return PreScoreVerdict::Skip;
        }
        PreScoreVerdict::Continue
    }
}

impl Score for NodeAffinity {
    fn score(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> i64 {
        node_affinity_score(preferred(pod), node.node())
            + node_affinity_score(self.added_preferred(), node.node())
    }

    fn normalize(&self, _: &CycleState, _: &PodInfo, scores: &mut [i64]) {
        normalize(scores, false);
    }
}

impl EnqueueExtensions for NodeAffinity {
    /// A node helps that matches now and did not before; what the added rules said before is not asked, as in the original.
    fn hint(&self, pod: &PodInfo, _: ClusterEvent, object: &EventObject) -> Hint {
        let EventObject::Node { old, new: Some(new) } = object else { return Hint::Queue };
        let matched = old.as_ref().is_some_and(|old| node_affinity_matches(pod.spec(), old));
        if self.allows(pod, new) && !matched { Hint::Queue } else { Hint::Skip }
    }

    fn is_same_for_pods_alike(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::{fitting, node, pod};
    use serde_json::json;

    #[test]
    fn terms_that_all_name_nodes_leave_no_others() {
        let term = |names: &[&str]| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": names}]});
        let of = |terms: serde_json::Value| {
            let own = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
            let pod = pod("p", "", json!({"affinity": {"nodeAffinity": own}}));
            let mut state = CycleState::new();
            NodeAffinity::default().pre_filter(&mut state, &pod, &Snapshot::default())
        };
        let names = |all: &[&str]| all.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(
            of(json!([term(&["a"]), term(&["b"])])),
            PreFilterVerdict::Nodes(names(&["a", "b"]))
        );
        assert_eq!(of(json!([term(&["a"]), {}])), PreFilterVerdict::Continue);
        let both = json!([{"matchFields": [
            {"key": "metadata.name", "operator": "In", "values": ["a"]},
            {"key": "metadata.name", "operator": "In", "values": ["b"]}]}]);
        assert_eq!(of(both), PreFilterVerdict::Unresolvable("pod affinity terms conflict".into()));
    }

    #[test]
    fn added_rules_hold_for_every_pod() {
        let added = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "disk", "operator": "Exists"}]}]}});
        let plugin = NodeAffinity::with_added(serde_json::from_value(added).unwrap());
        let nodes = Snapshot::new(vec![node("a", "disk=ssd", &[]), node("b", "", &[])]);
        assert_eq!(fitting(&plugin, &pod("p", "", json!({})), &nodes), "a");
    }
}
