//! Whether a pod that was given to this node can run on it.

use crate::{spec, status::Verdict};
use k8s_openapi::api::core::v1::{Node, Pod};
use kubeplane_core::{features::Features, quantity::Quantity};
use kubeplane_workload::{
    first_untolerated_comparing, host_ports, node_affinity_matches,
    resources::{requests_beside, taken_by_devices},
};
use std::{collections::BTreeMap, sync::Arc};

/// What the node has for pods.
pub(crate) type Amounts = BTreeMap<String, Quantity>;

/// What of that is switched on.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gates {
    /// Whether tolerations may compare numbers.
    pub(crate) comparing: bool,
    /// Whether devices take of their node's own resources.
    pub(crate) of_nodes: bool,
}

impl Gates {
    pub(crate) fn of(features: &Features) -> Self {
        Self {
            comparing: features.is_on("TaintTolerationComparisonOperators"),
            of_nodes: features.is_on("DRANodeAllocatableResources"),
        }
    }
}

/// Checks a pod against the node and the pods that are on it.
///
/// # Errors
/// The reason and message the pod fails with.
pub(crate) fn check(
    pod: &Pod,
    others: &[Arc<Pod>],
    node: Option<&Node>,
    allocatable: &Amounts,
    gates: Gates,
) -> Result<(), Verdict> {
    let max_pods = allocatable.get("pods").map_or(0, Quantity::value);
    let count = i64::try_from(others.len()).unwrap_or(i64::MAX);
    if count >= max_pods {
        return Err(rejected("OutOfpods", &lacking("pods", 1, count, max_pods)));
    }
    resources(pod, others, node, allocatable, gates)?;
    let pod_spec = spec::spec(pod);
    if let Some(node) = node
        && !node_affinity_matches(&pod_spec, node)
    {
        let message = "node(s) didn't match Pod's node affinity/selector";
        return Err(predicate("NodeAffinity", message));
    }
    let wanted = host_ports(&pod_spec);
    let taken = others.iter().flat_map(|other| host_ports(&spec::spec(other)));
    if taken.into_iter().any(|taken| wanted.iter().any(|port| port.conflicts(&taken))) {
        let message = "node(s) didn't have free ports for the requested pod ports";
        return Err(predicate("NodePorts", message));
    }
    let taints = node.and_then(|node| node.spec.as_ref()?.taints.as_deref()).unwrap_or_default();
    let tolerations = pod_spec.tolerations.as_deref().unwrap_or_default();
    match first_untolerated_comparing(taints, tolerations, &["NoExecute"], gates.comparing) {
        Some(_) => {
            let message = "node(s) had taints that the pod didn't tolerate";
            Err(predicate("TaintToleration", message))
        }
        None => Ok(()),
    }
}

/// What the kubelet does not know of itself, as resources that somebody added to the node's status, is as the node says. What
/// nobody knows of is the scheduler's business, or that of devices.
fn resources(
    pod: &Pod,
    others: &[Arc<Pod>],
    node: Option<&Node>,
    allocatable: &Amounts,
    gates: Gates,
) -> Result<(), Verdict> {
    let requests = |pod: &Pod| {
        let more = if gates.of_nodes { taken_by_devices(pod) } else { Amounts::new() };
        requests_beside(&spec::spec(pod), &more)
    };
    let milli = |name: &str, quantity: &Quantity| {
        if name == "cpu" { quantity.milli_value() } else { quantity.value() }
    };
    for (name, wanted) in requests(pod) {
        let wanted = milli(&name, &wanted);
        if wanted == 0 {
            continue;
        }
        let used: i64 = others
            .iter()
            .filter_map(|other| requests(other).get(&name).map(|q| milli(&name, q)))
            .sum();
        let added = || node.and_then(|node| stated(node, &name));
        let capacity = allocatable.get(&name).cloned().or_else(added);
        if capacity.is_none() && name.contains('/') || is_of_devices(pod, &name) {
            continue;
        }
        let capacity = capacity.map_or(0, |quantity| milli(&name, &quantity));
        if wanted > capacity - used {
            let message = lacking(&name, wanted, used, capacity);
            return Err(rejected(&format!("OutOf{name}"), &message));
        }
    }
    Ok(())
}

/// How much of a resource the node's status says there is.
fn stated(node: &Node, name: &str) -> Option<Quantity> {
    let amounts = node.status.as_ref()?.allocatable.as_ref()?;
    Quantity::parse(&amounts.get(name)?.0).ok()
}

/// Whether devices of a claim stand for a resource.
fn is_of_devices(pod: &Pod, name: &str) -> bool {
    let status = pod.status.as_ref().and_then(|own| own.extended_resource_claim_status.as_ref());
    status.is_some_and(|own| own.request_mappings.iter().any(|one| one.resource_name == name))
}

fn lacking(name: &str, wanted: i64, used: i64, capacity: i64) -> String {
    format!(
        "Node didn't have enough resource: {name}, requested: {wanted}, used: {used}, capacity: \
         {capacity}"
    )
}

fn rejected(reason: &str, message: &str) -> Verdict {
    Verdict { reason: reason.to_owned(), message: format!("Pod was rejected: {message}") }
}

fn predicate(name: &str, message: &str) -> Verdict {
    rejected(name, &format!("Predicate {name} failed: {message}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(cpu: &str, port: i32) -> Pod {
        serde_json::from_value(json!({"spec": {"nodeSelector": {"disk": "ssd"}, "containers": [
            {"name": "c", "resources": {"requests": {"cpu": cpu}}, "ports": [{"containerPort": 80, "hostPort": port}]}
        ]}}))
        .unwrap()
    }

    fn amounts() -> Amounts {
        [("cpu", "2"), ("pods", "3")]
            .into_iter()
            .map(|(name, amount)| (name.to_owned(), Quantity::parse(amount).unwrap()))
            .collect()
    }

    fn node(label: &str) -> Node {
        serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"disk": label}}}))
            .unwrap()
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_reason() {
        let others = [Arc::new(pod("1500m", 1))];
        let gates = Gates::default();
        let check =
            |pod: &Pod, label: &str| check(pod, &others, Some(&node(label)), &amounts(), gates);
        assert_eq!(check(&pod("500m", 2), "ssd"), Ok(()));
        let refused = check(&pod("501m", 2), "ssd").unwrap_err();
        assert_eq!(refused.reason, "OutOfcpu");
        assert_eq!(
            refused.message,
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 501, used: 1500, capacity: 2000"
        );
        assert_eq!(check(&pod("1m", 2), "hdd").unwrap_err().reason, "NodeAffinity");
        assert_eq!(check(&pod("1m", 1), "ssd").unwrap_err().reason, "NodePorts");
    }

    #[test]
    fn resources_that_others_added_to_the_node_are_as_it_says() {
        let pod = |count: &str| -> Pod {
            serde_json::from_value(json!({"spec": {"containers": [
                {"name": "c", "resources": {"requests": {"example.com/fpga": count}}}]}}))
            .unwrap()
        };
        let verdict = |wanted: &str, status: serde_json::Value| {
            let node = json!({"metadata": {"name": "n"}, "status": status});
            let node: Node = serde_json::from_value(node).unwrap();
            let others = [Arc::new(pod("3"))];
            check(&pod(wanted), &others, Some(&node), &amounts(), Gates::default())
        };
        let five = json!({"allocatable": {"example.com/fpga": "5"}});
        assert_eq!(verdict("2", five.clone()), Ok(()));
        assert_eq!(verdict("3", five).unwrap_err().reason, "OutOfexample.com/fpga");
        assert_eq!(verdict("3", json!({})), Ok(()), "the scheduler placed it there");
    }

    #[test]
    fn what_devices_stand_for_is_not_the_nodes() {
        let mapping =
            json!({"containerName": "c", "resourceName": "example.com/fpga", "requestName": "r"});
        let mut pod: Pod = serde_json::from_value(json!({"spec": {"containers": [
            {"name": "c", "resources": {"requests": {"example.com/fpga": "9"}}}]}}))
        .unwrap();
        let node = json!({"metadata": {"name": "n"}, "status": {"allocatable": {"example.com/fpga": "5"}}});
        let node: Node = serde_json::from_value(node).unwrap();
        let verdict = |pod: &Pod| check(pod, &[], Some(&node), &amounts(), Gates::default());
        assert!(verdict(&pod).is_err());
        let status = json!({"extendedResourceClaimStatus": {"resourceClaimName": "x", "requestMappings": [mapping]}});
        pod.status = serde_json::from_value(status).unwrap();
        assert_eq!(verdict(&pod), Ok(()));
    }

    #[test]
    fn what_devices_take_of_the_node_counts_by_its_gate_alone() {
        let mut other = pod("100m", 1);
        other.spec.get_or_insert_default().node_name = Some("n".to_owned());
        let told = json!({"nodeAllocatableResourceClaimStatuses": [
            {"resourceClaimName": "x", "containers": ["c"], "resources": {"cpu": "1"}}]});
        other.status = serde_json::from_value(told).unwrap();
        let others = [Arc::new(other)];
        let verdict = |cpu: &str, of_nodes: bool| {
            let gates = Gates { of_nodes, ..Gates::default() };
            check(&pod(cpu, 2), &others, Some(&node("ssd")), &amounts(), gates)
        };
        assert_eq!(verdict("900m", true), Ok(()));
        assert_eq!(verdict("901m", true).unwrap_err().reason, "OutOfcpu");
        assert_eq!(verdict("901m", false), Ok(()));
    }

    #[test]
    fn pods_may_bear_a_taint_up_to_a_limit_where_numbers_are_compared() {
        let pod: Pod = serde_json::from_value(json!({"spec": {"containers": [], "tolerations": [
            {"key": "failures", "operator": "Lt", "value": "5", "effect": "NoExecute"}]}}))
        .unwrap();
        let verdict = |failures: &str, comparing: bool| {
            let taint = json!({"key": "failures", "value": failures, "effect": "NoExecute"});
            let node = json!({"metadata": {"name": "n"}, "spec": {"taints": [taint]}});
            let node: Node = serde_json::from_value(node).unwrap();
            let gates = Gates { comparing, ..Gates::default() };
            check(&pod, &[], Some(&node), &amounts(), gates).err()
        };
        let message = "Pod was rejected: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        let (reason, message) = ("TaintToleration".to_owned(), message.to_owned());
        let refused = Some(Verdict { reason, message });
        assert_eq!(verdict("4", true), None);
        assert_eq!(verdict("5", true), refused);
        assert_eq!(verdict("4", false), refused);
    }
}
