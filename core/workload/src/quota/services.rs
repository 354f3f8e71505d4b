use super::number;
use crate::resources::Resources;
use kubeplane_core::Object;
use serde_json::Value;

const NAMES: [&str; 3] = ["services", "services.nodeports", "services.loadbalancers"];

pub(super) fn counts(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Node ports are counted as they are meant: they may not be given out yet.
pub(super) fn usage(service: &Object) -> Resources {
    let ports = service.at(&["spec", "ports"]).and_then(Value::as_array);
    let ports = ports.map(Vec::as_slice).unwrap_or_default();
    let asked = || ports.iter().filter(|port| port["nodePort"].as_i64().unwrap_or(0) != 0).count();
    let given = service.at(&["spec", "allocateLoadBalancerNodePorts"]) != Some(&Value::Bool(false));
    let (node_ports, balancers) = match service.text(&["spec", "type"]) {
        "NodePort" => (ports.len(), 0),
        "LoadBalancer" if given => (ports.len(), 1),
        "LoadBalancer" => (asked(), 1),
        _ => (0, 0),
    };
    let node_ports = i64::try_from(node_ports).unwrap_or(i64::MAX);
    let values = [1, node_ports, balancers];
    NAMES.iter().zip(values).map(|(name, value)| ((*name).to_owned(), number(value))).collect()
}
