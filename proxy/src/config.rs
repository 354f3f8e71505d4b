//! What a proxy needs to know about its node and cluster.

use crate::{Error, Result, ruleset::Family};
use ipnet::IpNet;
use std::{net::IpAddr, time::Duration};

/// The settings of a proxy.
#[derive(Debug, Clone)]
pub struct ProxyConfig {
    /// The name of the node the proxy runs on: endpoints there are local ones.
    pub node_name: String,
    /// The addresses that accept node ports. Without one of a family, every local address but loopback does.
    pub node_ips: Vec<IpAddr>,
    /// The pod addresses of the cluster, to tell traffic of pods from traffic from outside. Empty: unknown, and
    /// traffic to ClusterIPs from outside is not masqueraded.
    pub cluster_cidrs: Vec<IpNet>,
    /// The service addresses of the cluster: traffic to those nobody has is dropped. Empty: it is let through.
    pub service_cidrs: Vec<IpNet>,
    /// Serve the addresses that Services name in `externalIPs`: the gate `AllowServiceExternalIPs`.
    pub external_ips: bool,
    /// Masquerade all traffic to ClusterIPs.
    pub masquerade_all: bool,
    /// The bit of the packet mark for traffic to be masqueraded; 0 through 31.
    pub masquerade_bit: u8,
    /// The shortest time between two transactions.
    pub min_sync_period: Duration,
    /// How often the rules are looked after without changes.
    pub sync_period: Duration,
    /// Remove all rules when the proxy stops. Off as in the original, so that restarts do not cut traffic.
    pub remove_on_stop: bool,
}

impl ProxyConfig {
    /// The defaults for a node.
    #[must_use]
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: Vec::new(),
            cluster_cidrs: Vec::new(),
            service_cidrs: Vec::new(),
            external_ips: true,
            masquerade_all: false,
            masquerade_bit: 14,
            min_sync_period: Duration::from_secs(1),
            sync_period: Duration::from_secs(30),
            remove_on_stop: false,
        }
    }

    /// The mark of packets to be masqueraded.
    #[must_use]
    pub fn masquerade_mark(&self) -> u32 {
        1_u32.checked_shl(self.masquerade_bit.into()).unwrap_or_default()
    }

    pub(crate) fn check(&self) -> Result<()> {
        if self.node_name.is_empty() {
            return Err(Error::Config { field: "node_name", reason: "must not be empty" });
        }
        if self.masquerade_bit > 31 {
            let reason = "must be between 0 and 31";
            return Err(Error::Config { field: "masquerade_bit", reason });
        }
        if self.sync_period.is_zero() {
            return Err(Error::Config { field: "sync_period", reason: "must not be zero" });
        }
        Ok(())
    }

    pub(crate) fn node_ips(&self, family: Family) -> Vec<IpAddr> {
        let usable = |ip: &&IpAddr| family.has(**ip) && !ip.is_loopback();
        self.node_ips.iter().filter(usable).copied().collect()
    }

    /// The networks of a family as the members of an nft set, or nothing without any.
    pub(crate) fn members(networks: &[IpNet], family: Family) -> Option<String> {
        let of_family: Vec<_> = networks
            .iter()
            .filter(|network| family.has(network.addr()))
            .map(|network| network.trunc().to_string())
            .collect();
        (!of_family.is_empty()).then(|| format!("{{ {} }}", of_family.join(", ")))
    }
}
