//! The kernel's table of flows: forgetting UDP flows to endpoints that are gone, through ctnetlink.

#[cfg(target_os = "linux")]
mod linux;

use crate::service::ServicePort;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

#[cfg(target_os = "linux")]
pub(crate) use linux::forget_stale;

/// Fails: the flows of other kernels are not known.
#[cfg(not(target_os = "linux"))]
pub(crate) fn forget_stale(
    _family: crate::ruleset::Family,
    _ports: &UdpPorts,
) -> std::io::Result<usize> {
    Err(std::io::Error::new(std::io::ErrorKind::Unsupported, "flows are forgotten on Linux only"))
}

/// Where datagrams to services may go.
#[derive(Debug, Default)]
pub(crate) struct UdpPorts {
    addresses: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    node_ports: BTreeMap<u16, BTreeSet<SocketAddr>>,
}

impl UdpPorts {
    /// One service of one endpoint.
    #[cfg(test)]
    pub(crate) fn of(service: SocketAddr, endpoint: SocketAddr) -> Self {
        Self { addresses: [(service, [endpoint].into())].into(), node_ports: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Adds a port and all its endpoints that still serve.
    pub(crate) fn add(&mut self, port: &ServicePort, endpoints: BTreeSet<SocketAddr>) {
        let external = port.external_ips.iter().chain(&port.balancer_ips);
        for ip in external.chain([&port.cluster_ip]) {
            self.addresses.insert(SocketAddr::new(*ip, port.port), endpoints.clone());
        }
        if port.node_port != 0 {
            self.node_ports.insert(port.node_port, endpoints);
        }
    }
}
