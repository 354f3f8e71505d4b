//! The endpoints of service ports, from EndpointSlices.

use crate::{
    ruleset::Family,
    service::{PortName, Protocol},
};
use k8s_openapi::api::discovery::v1::{Endpoint as ApiEndpoint, EndpointPort, EndpointSlice};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

const SERVICE_NAME_LABEL: &str = "kubernetes.io/service-name";

/// An endpoint of a service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
    pub(crate) ready: bool,
    pub(crate) serving: bool,
    pub(crate) terminating: bool,
    /// On this node.
    pub(crate) local: bool,
    /// The zones whose traffic it is meant for.
    pub(crate) zones: Vec<String>,
    /// The nodes whose traffic it is meant for.
    pub(crate) nodes: Vec<String>,
}

/// All endpoints of a family by port, ordered by address, each once.
pub(crate) fn collect<'a>(
    slices: impl Iterator<Item = &'a EndpointSlice>,
    family: Family,
    node: &str,
) -> BTreeMap<PortName, Vec<Endpoint>> {
    let mut found: BTreeMap<PortName, BTreeMap<SocketAddr, Endpoint>> = BTreeMap::new();
    for slice in slices.filter(|slice| slice.address_type == family.name()) {
        for port in slice.ports.iter().flatten() {
            let Some((name, number)) = port_of(slice, port) else { continue };
            let endpoints = found.entry(name).or_default();
            for endpoint in
                slice.endpoints.iter().flatten().filter_map(|endpoint| one(endpoint, number, node))
            {
                insert(endpoints, endpoint, family);
            }
        }
    }
    let ordered =
        |(name, endpoints): (_, BTreeMap<_, _>)| (name, endpoints.into_values().collect());
    found.into_iter().map(ordered).collect()
}

/// An address in two slices is one endpoint, while it moves from one to the other: the ready one counts.
fn insert(endpoints: &mut BTreeMap<SocketAddr, Endpoint>, endpoint: Endpoint, family: Family) {
    if !family.has(endpoint.address.ip()) {
        return;
    }
    match endpoints.get(&endpoint.address) {
        Some(other) if other.ready && !endpoint.ready => {}
        _ => {
            endpoints.insert(endpoint.address, endpoint);
        }
    }
}

fn port_of(slice: &EndpointSlice, port: &EndpointPort) -> Option<(PortName, u16)> {
    let name = PortName {
        namespace: slice.metadata.namespace.clone()?,
        service: slice.metadata.labels.as_ref()?.get(SERVICE_NAME_LABEL)?.clone(),
        port: port.name.clone().unwrap_or_default(),
        protocol: Protocol::of(port.protocol.as_deref())?,
    };
    Some((name, u16::try_from(port.port?).ok()?))
}

fn one(endpoint: &ApiEndpoint, port: u16, node: &str) -> Option<Endpoint> {
    let address: IpAddr = endpoint.addresses.first()?.parse().ok()?;
    let conditions = endpoint.conditions.clone().unwrap_or_default();
    let hints = endpoint.hints.as_ref();
    let zones = hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
    let nodes = hints.iter().flat_map(|hints| hints.for_nodes.iter().flatten());
    Some(Endpoint {
        address: SocketAddr::new(address, port),
        ready: conditions.ready.unwrap_or(true),
        serving: conditions.serving.unwrap_or(true),
        terminating: conditions.terminating.unwrap_or(false),
        local: endpoint.node_name.as_deref() == Some(node),
        zones: zones.map(|zone| zone.name.clone()).collect(),
        nodes: nodes.map(|node| node.name.clone()).collect(),
    })
}
