//! The rules of one service port.

use super::{Compiled, base};
use crate::{
    config::ProxyConfig,
    endpoints::Endpoint,
    names,
    ruleset::{Ruleset, Set},
    service::{PortName, ServicePort},
    topology::Chosen,
};
use std::net::IpAddr;

/// What the rules of a port follow from.
pub(super) struct PortRules<'a> {
    pub(super) name: &'a PortName,
    pub(super) port: &'a ServicePort,
    pub(super) chosen: &'a Chosen<'a>,
    pub(super) config: &'a ProxyConfig,
}

/// Where traffic from one side goes.
struct Side {
    /// The chain with the endpoints.
    endpoints: String,
    /// There are endpoints for this side.
    served: bool,
    /// What becomes of traffic without.
    refusal: String,
}

impl PortRules<'_> {
    pub(super) fn write(&self, compiled: &mut Compiled) {
        let internal = self.side(self.port.internal_local);
        let external = self.side(self.port.external_local);
        if self.chosen.any {
            compiled.no_local_internal += usize::from(!internal.served);
            compiled.no_local_external += usize::from(self.port.is_external() && !external.served);
        }
        let rules = &mut compiled.rules;
        self.cluster_ip(rules, &internal);
        self.external_ips(rules, &external);
        self.node_port(rules, &external);
        if self.chosen.any && self.port.is_external() {
            self.external_chain(rules, &external);
        }
        self.firewall(rules);
        self.endpoints(rules);
    }

    fn chain(&self, prefix: &str) -> String {
        names::of_service(prefix, self.name)
    }

    fn side(&self, local: bool) -> Side {
        let served = self.chosen.any && !(local && self.chosen.local.is_empty());
        let refusal =
            if self.chosen.any { "drop".to_owned() } else { format!("goto {}", base::REJECT) };
        Side { endpoints: self.chain(if local { "local" } else { "service" }), served, refusal }
    }

    fn key(&self, ip: IpAddr) -> String {
        format!("{ip} . {} . {}", self.name.protocol.word(), self.port.port)
    }

    fn cluster_ip(&self, rules: &mut Ruleset, side: &Side) {
        let ip = self.port.cluster_ip;
        rules.member(base::CLUSTER_IPS, ip.to_string());
        if side.served {
            rules.verdict(base::SERVICE_IPS, self.key(ip), format!("goto {}", side.endpoints));
        } else {
            rules.verdict(base::NO_ENDPOINT_SERVICES, self.key(ip), side.refusal.clone());
        }
    }

    fn external_ips(&self, rules: &mut Ruleset, side: &Side) {
        for ip in self.port.external_ips.iter().chain(&self.port.balancer_ips) {
            if self.chosen.any {
                let verdict = format!("goto {}", self.chain("external"));
                rules.verdict(base::SERVICE_IPS, self.key(*ip), verdict);
            }
            if !side.served {
                rules.verdict(base::NO_ENDPOINT_SERVICES, self.key(*ip), side.refusal.clone());
            }
        }
    }

    fn node_port(&self, rules: &mut Ruleset, side: &Side) {
        if self.port.node_port == 0 {
            return;
        }
        let key = format!("{} . {}", self.name.protocol.word(), self.port.node_port);
        if self.chosen.any {
            let verdict = format!("goto {}", self.chain("external"));
            rules.verdict(base::SERVICE_PORTS, key.clone(), verdict);
        }
        if !side.served {
            rules.verdict(base::NO_ENDPOINT_PORTS, key, side.refusal.clone());
        }
    }

    /// Traffic to external addresses: masqueraded, since its answers must come back through this node; with the policy
    /// `Local` only what comes from this node and its pods, which may go to any endpoint.
    fn external_chain(&self, rules: &mut Ruleset, side: &Side) {
        let chain = self.chain("external");
        let mark = base::mark(self.config);
        if self.port.external_local {
            let everywhere = self.chain("service");
            let ip = rules.family.word();
            if let Some(pods) = ProxyConfig::members(&self.config.cluster_cidrs, rules.family) {
                rules.rule(&chain, format!("{ip} saddr {pods} goto {everywhere}"));
            }
            rules.rule(&chain, format!("fib saddr type local {mark}"));
            rules.rule(&chain, format!("fib saddr type local goto {everywhere}"));
        } else {
            rules.rule(&chain, mark);
        }
        if side.served {
            rules.rule(&chain, format!("goto {}", side.endpoints));
        }
    }

    fn firewall(&self, rules: &mut Ruleset) {
        let (ranges, balancers) = (&self.port.source_ranges, &self.port.balancer_ips);
        if ranges.is_empty() || balancers.is_empty() {
            return;
        }
        let chain = self.chain("firewall");
        for ip in balancers {
            rules.verdict(base::FIREWALL_IPS, self.key(*ip), format!("goto {chain}"));
        }
        let mut sources: Vec<_> = ranges.iter().map(|range| range.trunc().to_string()).collect();
        // A node that may reach the balancer may find its address among its own and use it as the source.
        let node_ips = self.config.node_ips(rules.family);
        if node_ips.iter().any(|ip| ranges.iter().any(|range| range.contains(ip))) {
            sources.extend(balancers.iter().map(ToString::to_string));
        }
        let ip = rules.family.word();
        rules.rule(&chain, format!("{ip} saddr != {{ {} }} drop", sources.join(", ")));
    }

    fn endpoints(&self, rules: &mut Ruleset) {
        let protocol = self.name.protocol.word();
        for endpoint in self.chosen.reachable.iter().filter(|endpoint| endpoint.local) {
            let (ip, port) = (endpoint.address.ip(), endpoint.address.port());
            rules.member(base::HAIRPIN, format!("{ip} . {ip} . {protocol} . {port}"));
        }
        for (prefix, endpoints) in
            [("service", &self.chosen.cluster), ("local", &self.chosen.local)]
        {
            if endpoints.is_empty() {
                continue;
            }
            let chain = self.chain(prefix);
            match self.port.affinity {
                None => rules.rule(&chain, self.balanced(rules.family.word(), endpoints)),
                Some(_) => self.sticky(rules, &chain, endpoints),
            }
        }
        if let Some(seconds) = self.port.affinity {
            self.chosen
                .reachable
                .iter()
                .for_each(|endpoint| self.remember(rules, endpoint, seconds));
        }
    }

    /// One rule that rewrites the destination to a random endpoint.
    fn balanced(&self, ip: &str, endpoints: &[&Endpoint]) -> String {
        let target = |(index, endpoint): (usize, &&Endpoint)| {
            format!("{index} : {} . {}", endpoint.address.ip(), endpoint.address.port())
        };
        let targets: Vec<_> = endpoints.iter().enumerate().map(target).collect();
        format!(
            "meta l4proto {} dnat {ip} addr . port to numgen random mod {} map {{ {} }}",
            self.name.protocol.word(),
            targets.len(),
            targets.join(", ")
        )
    }

    /// The endpoint a client went to lately, else a random one.
    fn sticky(&self, rules: &mut Ruleset, chain: &str, endpoints: &[&Endpoint]) {
        let ip = rules.family.word();
        let mut targets = Vec::new();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let target = names::of_endpoint("endpoint", self.name, endpoint.address);
            let known = names::of_endpoint("affinity", self.name, endpoint.address);
            rules.rule(chain, format!("{ip} saddr @{known} goto {target}"));
            targets.push(format!("{index} : goto {target}"));
        }
        let random =
            format!("numgen random mod {} vmap {{ {} }}", targets.len(), targets.join(", "));
        rules.rule(chain, random);
    }

    /// The chain of one endpoint, and the set of clients it keeps.
    fn remember(&self, rules: &mut Ruleset, endpoint: &Endpoint, seconds: u32) {
        let (ip, address) = (rules.family.word(), rules.family.address());
        let chain = names::of_endpoint("endpoint", self.name, endpoint.address);
        let known = names::of_endpoint("affinity", self.name, endpoint.address);
        let definition = format!("type {address}; flags dynamic,timeout;");
        rules.rule(&chain, format!("update @{known} {{ {ip} saddr timeout {seconds}s }}"));
        rules.sets.insert(known, Set { definition, ..Set::default() });
        let dnat =
            format!("meta l4proto {} dnat to {}", self.name.protocol.word(), endpoint.address);
        rules.rule(&chain, dnat);
    }
}
