//! From service ports and endpoints to the desired rules.

mod base;
mod port;
#[cfg(test)]
mod tests;

use crate::{
    config::ProxyConfig,
    conntrack::UdpPorts,
    endpoints,
    ruleset::{Family, Ruleset},
    service::{self, Protocol},
    topology::{self, Place},
};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use std::{collections::BTreeMap, sync::Arc};

/// The desired rules, and what the metrics say about them.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) rules: Ruleset,
    /// Service ports in this family.
    pub(crate) ports: usize,
    /// Ports with the internal policy `Local` and no local endpoint.
    pub(crate) no_local_internal: usize,
    /// Ports with the external policy `Local` and no local endpoint.
    pub(crate) no_local_external: usize,
    /// Where datagrams may go.
    pub(crate) udp: UdpPorts,
}

/// Compiles the rules of a family.
pub(crate) fn compile(
    services: &[Arc<Service>],
    slices: &[Arc<EndpointSlice>],
    config: &ProxyConfig,
    zone: &str,
    family: Family,
) -> Compiled {
    let endpoints =
        endpoints::collect(slices.iter().map(|slice| &**slice), family, &config.node_name);
    let mut ports: BTreeMap<_, _> =
        services.iter().flat_map(|service| service::ports(service, family)).collect();
    if !config.external_ips {
        ports.values_mut().for_each(|port| port.external_ips.clear());
    }
    let place = Place { node: &config.node_name, zone };
    let mut compiled = Compiled {
        rules: base::rules(config, family),
        ports: ports.len(),
        no_local_internal: 0,
        no_local_external: 0,
        udp: UdpPorts::default(),
    };
    for (name, port) in &ports {
        let all = endpoints.get(name).map(Vec::as_slice).unwrap_or_default();
        if name.protocol == Protocol::Udp {
            let serving = all.iter().filter(|endpoint| endpoint.serving);
            compiled.udp.add(port, serving.map(|endpoint| endpoint.address).collect());
        }
        let chosen = topology::choose(all, port, place);
        port::PortRules { name, port, chosen: &chosen, config }.write(&mut compiled);
    }
    compiled
}
