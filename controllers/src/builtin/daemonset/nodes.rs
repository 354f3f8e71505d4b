//! Which nodes a set's pods are for, as the scheduler would see it.

use k8s_openapi::api::{
    apps::v1::DaemonSet,
    core::v1::{
        Affinity, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec,
        Toleration,
    },
};
use kubeplane_workload::{first_untolerated_comparing, node_affinity_matches};

const FIELD: &str = "metadata.name";

/// Whether a pod is to be on a node, and whether one that is there may stay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fitness {
    pub(super) should_run: bool,
    pub(super) may_stay: bool,
}

/// Tells it; if `comparing`, tolerations may compare numbers.
pub(super) fn fitness(set: &DaemonSet, node: &Node, comparing: bool) -> Fitness {
    let template = set.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let Some(mut spec) = template.cloned() else { return Fitness::default() };
    let elsewhere = spec.node_name.as_ref().filter(|name| !name.is_empty());
    if elsewhere.is_some_and(|name| Some(name) != node.metadata.name.as_ref())
        || !node_affinity_matches(&spec, node)
    {
        return Fitness::default();
    }
    tolerate(&mut spec);
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let tolerations = spec.tolerations.unwrap_or_default();
    let fits = |effects: &[&str]| {
        first_untolerated_comparing(&taints, &tolerations, effects, comparing).is_none()
    };
    Fitness { should_run: fits(&["NoExecute", "NoSchedule"]), may_stay: fits(&["NoExecute"]) }
}

/// Lets a pod be where trouble of the node is no reason to leave.
pub(super) fn tolerate(spec: &mut PodSpec) {
    let mut all = vec![
        ("not-ready", "NoExecute"),
        ("unreachable", "NoExecute"),
        ("disk-pressure", "NoSchedule"),
        ("memory-pressure", "NoSchedule"),
        ("pid-pressure", "NoSchedule"),
        ("unschedulable", "NoSchedule"),
    ];
    if spec.host_network == Some(true) {
        all.push(("network-unavailable", "NoSchedule"));
    }
    let present = spec.tolerations.get_or_insert_default();
    for (taint, effect) in all {
        let wanted = Toleration {
            key: Some(format!("node.kubernetes.io/{taint}")),
            operator: Some("Exists".to_owned()),
            effect: Some(effect.to_owned()),
            value: None,
            toleration_seconds: None,
        };
        let same = |other: &&mut Toleration| {
            other.key == wanted.key
                && other.effect == wanted.effect
                && other.operator == wanted.operator
                && other.value.as_deref().unwrap_or_default().is_empty()
        };
        match present.iter_mut().find(same) {
            Some(other) => *other = wanted,
            None => present.push(wanted),
        }
    }
}

/// Ties a pod to a node in the place of the node terms it has, which the node was chosen by.
pub(super) fn tie(spec: &mut PodSpec, node: &str) {
    let field = NodeSelectorRequirement {
        key: FIELD.to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![node.to_owned()]),
    };
    let term = NodeSelectorTerm { match_expressions: None, match_fields: Some(vec![field]) };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    affinity
        .node_affinity
        .get_or_insert_default()
        .required_during_scheduling_ignored_during_execution =
        Some(NodeSelector { node_selector_terms: vec![term] });
}

/// The node a pod is on or tied to.
pub(super) fn target(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    if let Some(name) = spec.node_name.as_deref().filter(|name| !name.is_empty()) {
        return Some(name);
    }
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    let required = affinity.required_during_scheduling_ignored_during_execution.as_ref()?;
    let terms = required.node_selector_terms.iter();
    let mut fields = terms.flat_map(|term| term.match_fields.iter().flatten());
    let field = fields.find(|field| field.key == FIELD && field.operator == "In")?;
    match field.values.as_deref() {
        Some([name]) => Some(name),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn taints_keep_pods_away_and_only_some_push_them_out() {
        let set: DaemonSet =
            serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {
            "containers": [], "nodeSelector": {"disk": "ssd"}}}}}))
            .unwrap();
        let node = |disk: &str, key: &str, effect: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"disk": disk}},
                "spec": {"taints": [{"key": key, "effect": effect}]}}))
            .unwrap()
        };
        let table = [
            (node("ssd", "node.kubernetes.io/not-ready", "NoExecute"), (true, true)),
            (node("ssd", "node.kubernetes.io/unschedulable", "NoSchedule"), (true, true)),
            (node("ssd", "own", "PreferNoSchedule"), (true, true)),
            (node("ssd", "own", "NoSchedule"), (false, true)),
            (node("ssd", "own", "NoExecute"), (false, false)),
            (node("hdd", "own", "PreferNoSchedule"), (false, false)),
        ];
        for (node, expected) in table {
            let Fitness { should_run, may_stay } = fitness(&set, &node, false);
            assert_eq!((should_run, may_stay), expected, "{node:?}");
        }
    }

    #[test]
    fn numbers_of_taints_are_compared_where_that_is_wanted() {
        let set: DaemonSet =
            serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {
            "containers": [], "tolerations": [{"key": "load", "operator": "Lt", "value": "80"}]}}}}))
            .unwrap();
        let fit = |load: &str, effect: &str, comparing: bool| {
            let taints = json!([{"key": "load", "value": load, "effect": effect}]);
            let node = json!({"metadata": {"name": "n"}, "spec": {"taints": taints}});
            let Fitness { should_run, may_stay } =
                fitness(&set, &serde_json::from_value(node).unwrap(), comparing);
            (should_run, may_stay)
        };
        assert_eq!(fit("79", "NoExecute", true), (true, true));
        assert_eq!(fit("80", "NoExecute", true), (false, false));
        assert_eq!(fit("80", "NoSchedule", true), (false, true));
        assert_eq!(fit("79", "NoExecute", false), (false, false));
    }

    #[test]
    fn a_pod_is_tied_to_its_node() {
        let mut pod = Pod { spec: Some(PodSpec::default()), ..Pod::default() };
        assert_eq!(target(&pod), None);
        tie(pod.spec.as_mut().unwrap(), "n");
        assert_eq!(target(&pod), Some("n"));
    }
}
