use crate::builtin::services::{addresses, hostname, is_endpoint, target_port};
use k8s_openapi::api::{
    core::v1::{Node, ObjectReference, Pod, Service, ServiceSpec},
    discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone},
};
use kubeplane_client::Informer;
use kubeplane_workload::{is_ready, phase::node_name};
use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

const ZONE: &str = "topology.kubernetes.io/zone";

/// Endpoints of one address family that have the same ports.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) ports: Vec<EndpointPort>,
    pub(super) endpoints: Vec<Endpoint>,
}

/// All endpoints a Service should have, by address family and ports.
#[derive(Debug, Default)]
pub(super) struct Desired {
    pub(super) families: BTreeMap<&'static str, BTreeMap<String, Group>>,
    /// Why pods were left out: their nodes are not known (yet).
    pub(super) missing: Vec<String>,
}

impl Desired {
    pub(super) fn new(
        service: &Service,
        spec: &ServiceSpec,
        pods: &[Arc<Pod>],
        nodes: &Informer<Node>,
    ) -> Self {
        let mut desired = Self::default();
        let publish = spec.publish_not_ready_addresses.unwrap_or_default();
        for family in families(spec) {
            let groups = desired.families.entry(family).or_default();
            for pod in pods.iter().filter(|pod| is_endpoint(pod, true)) {
                let node = node_name(pod).and_then(|name| nodes.get("", name));
                if node.is_none() && !publish {
                    let why = without_node(service, pod);
                    if !desired.missing.contains(&why) {
                        desired.missing.push(why);
                    }
                    continue;
                }
                let endpoint = endpoint(service, spec, pod, node.as_deref(), family);
                let ports = ports(spec, pod);
                let group = groups
                    .entry(port_key(&ports))
                    .or_insert_with(|| Group { ports, endpoints: Vec::new() });
                if !endpoint.addresses.is_empty() {
                    group.endpoints.push(endpoint);
                }
            }
        }
        desired
    }
}

fn without_node(service: &Service, pod: &Pod) -> String {
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let (namespace, service) = (name(&service.metadata.namespace), name(&service.metadata.name));
    let (pod, node) = (name(&pod.metadata.name), node_name(pod).unwrap_or_default());
    format!("skipping Pod {pod} for Service {namespace}/{service}: Node {node} Not Found")
}

/// The same for equal sets of ports.
pub(in crate::builtin) fn port_key(ports: &[EndpointPort]) -> String {
    let mut keys: Vec<_> = ports
        .iter()
        .map(|port| format!("{:?}", (&port.name, &port.port, &port.protocol, &port.app_protocol)))
        .collect();
    keys.sort();
    keys.join(",")
}

fn families(spec: &ServiceSpec) -> Vec<&'static str> {
    let family = |name: &str| match name {
        "IPv4" => Some("IPv4"),
        "IPv6" => Some("IPv6"),
        _ => None,
    };
    let named: Vec<_> = spec.ip_families.iter().flatten().filter_map(|name| family(name)).collect();
    if !named.is_empty() {
        return named;
    }
    match spec.cluster_ip.as_deref().and_then(|ip| ip.parse::<IpAddr>().ok()) {
        Some(IpAddr::V4(_)) => vec!["IPv4"],
        Some(IpAddr::V6(_)) => vec!["IPv6"],
        None => vec!["IPv4", "IPv6"],
    }
}

fn ports(spec: &ServiceSpec, pod: &Pod) -> Vec<EndpointPort> {
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some(EndpointPort {
            // The API server keeps an empty name apart from none.
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(target_port(pod, port)?),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".to_owned())),
            app_protocol: port.app_protocol.clone(),
        })
    });
    ports.collect()
}

fn endpoint(
    service: &Service,
    spec: &ServiceSpec,
    pod: &Pod,
    node: Option<&Node>,
    family: &str,
) -> Endpoint {
    let serving = is_ready(pod);
    let terminating = pod.metadata.deletion_timestamp.is_some();
    let ready = spec.publish_not_ready_addresses.unwrap_or_default() || (serving && !terminating);
    let zone = node
        .and_then(|node| node.metadata.labels.as_ref()?.get(ZONE))
        .filter(|zone| !zone.is_empty());
    let of_family = |ip: &IpAddr| ip.is_ipv6() == (family == "IPv6");
    let node = node_name(pod).map(str::to_owned);
    Endpoint {
        addresses: addresses(pod)
            .iter()
            .filter(|ip| of_family(ip))
            .map(IpAddr::to_string)
            .collect(),
        conditions: Some(EndpointConditions {
            ready: Some(ready),
            serving: Some(serving),
            terminating: Some(terminating),
        }),
        hints: if ready { hints(spec, zone, node.as_ref()) } else { None },
        hostname: hostname(pod, service),
        node_name: node,
        target_ref: Some(ObjectReference {
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        }),
        zone: zone.cloned(),
        deprecated_topology: None,
    }
}

/// Where traffic to the endpoint should come from, when the Service prefers short ways.
fn hints(
    spec: &ServiceSpec,
    zone: Option<&String>,
    node: Option<&String>,
) -> Option<EndpointHints> {
    let zones = zone.map(|zone| vec![ForZone { name: zone.clone() }]);
    match spec.traffic_distribution.as_deref()? {
        "PreferClose" | "PreferSameZone" => {
            zones.map(|zones| EndpointHints { for_zones: Some(zones), for_nodes: None })
        }
        "PreferSameNode" => {
            let nodes = node.map(|node| vec![ForNode { name: node.clone() }])?;
            Some(EndpointHints { for_zones: zones, for_nodes: Some(nodes) })
        }
        _ => None,
    }
}
