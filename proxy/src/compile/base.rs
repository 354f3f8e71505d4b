//! The rules every node has: hooks, dispatch, masquerading, refusals.

use crate::{
    config::ProxyConfig,
    ruleset::{Chain, Family, Map, Ruleset, Set},
};

pub(super) const SERVICE_IPS: &str = "service-ips";
pub(super) const SERVICE_PORTS: &str = "service-nodeports";
pub(super) const NO_ENDPOINT_SERVICES: &str = "no-endpoint-services";
pub(super) const NO_ENDPOINT_PORTS: &str = "no-endpoint-nodeports";
pub(super) const FIREWALL_IPS: &str = "firewall-ips";
pub(super) const CLUSTER_IPS: &str = "cluster-ips";
pub(super) const HAIRPIN: &str = "hairpin-connections";
pub(super) const REJECT: &str = "reject-chain";
const NODE_PORT_IPS: &str = "nodeport-ips";

/// The hooks, and the chains they jump to. Filters come before the destination is rewritten where they look at the
/// source ranges of balancers, and after it where they refuse what nothing was rewritten for.
const HOOKS: &[(&str, &str, &[&str])] = &[
    (
        "filter-prerouting-pre-dnat",
        "type filter hook prerouting priority -110;",
        &["ct state new jump firewall-check"],
    ),
    (
        "filter-output-pre-dnat",
        "type filter hook output priority -110;",
        &["ct state new jump firewall-check"],
    ),
    (
        "filter-input",
        "type filter hook input priority 0;",
        &[
            "ct state new jump nodeport-endpoints-check",
            "ct state new jump service-endpoints-check",
        ],
    ),
    (
        "filter-forward",
        "type filter hook forward priority 0;",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    (
        "filter-output",
        "type filter hook output priority 0;",
        &["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"],
    ),
    ("nat-prerouting", "type nat hook prerouting priority -100;", &["jump services"]),
    ("nat-output", "type nat hook output priority -100;", &["jump services"]),
    ("nat-postrouting", "type nat hook postrouting priority 100;", &["jump masquerading"]),
];

/// Marks a packet to be masqueraded.
pub(super) fn mark(config: &ProxyConfig) -> String {
    format!("mark set mark or {:#010x}", config.masquerade_mark())
}

/// A table without services.
pub(super) fn rules(config: &ProxyConfig, family: Family) -> Ruleset {
    let mut rules = Ruleset::new(family);
    for (name, hook, jumps) in HOOKS {
        let jumps = jumps.iter().map(|jump| (*jump).to_owned()).collect();
        rules.chains.insert((*name).to_owned(), Chain { hook: Some(hook), rules: jumps });
    }
    containers(&mut rules, config);
    masquerading(&mut rules, config);
    dispatch(&mut rules, config);
    refusals(&mut rules, config);
    rules
}

fn containers(rules: &mut Ruleset, config: &ProxyConfig) {
    let address = rules.family.address();
    let service = format!("type {address} . inet_proto . inet_service : verdict;");
    let port = "type inet_proto . inet_service : verdict;".to_owned();
    for (name, definition) in [
        (SERVICE_IPS, &service),
        (NO_ENDPOINT_SERVICES, &service),
        (FIREWALL_IPS, &service),
        (SERVICE_PORTS, &port),
        (NO_ENDPOINT_PORTS, &port),
    ] {
        let map = Map { definition: definition.clone(), ..Map::default() };
        rules.maps.insert(name.to_owned(), map);
    }
    let hairpin = format!("type {address} . {address} . inet_proto . inet_service;");
    let single = format!("type {address};");
    let mut sets = vec![(CLUSTER_IPS, &single), (HAIRPIN, &hairpin)];
    let node_ips = config.node_ips(rules.family);
    if !node_ips.is_empty() {
        sets.push((NODE_PORT_IPS, &single));
    }
    for (name, definition) in sets {
        let set = Set { definition: definition.clone(), ..Set::default() };
        rules.sets.insert(name.to_owned(), set);
    }
    for ip in node_ips {
        rules.member(NODE_PORT_IPS, ip.to_string());
    }
}

fn masquerading(rules: &mut Ruleset, config: &ProxyConfig) {
    let ip = rules.family.word();
    let mark = format!("{:#010x}", config.masquerade_mark());
    let marked = format!("mark and {mark} != 0 mark set mark xor {mark} masquerade fully-random");
    rules.rule("masquerading", marked);
    let hairpin = format!(
        "ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @{HAIRPIN} masquerade fully-random"
    );
    rules.rule("masquerading", hairpin);
}

fn dispatch(rules: &mut Ruleset, config: &ProxyConfig) {
    let family = rules.family;
    let ip = family.word();
    let outside = ProxyConfig::members(&config.cluster_cidrs, family);
    if config.masquerade_all {
        rules.rule("services", format!("{ip} daddr @{CLUSTER_IPS} {}", mark(config)));
    } else if let Some(pods) = outside {
        let rule = format!("{ip} daddr @{CLUSTER_IPS} {ip} saddr != {pods} {}", mark(config));
        rules.rule("services", rule);
    }
    let key = format!("{ip} daddr . meta l4proto . th dport");
    rules.rule("services", format!("{key} vmap @{SERVICE_IPS}"));
    let ports = node_port_match(config, family, "fib daddr type local ");
    rules.rule("services", format!("{ports} meta l4proto . th dport vmap @{SERVICE_PORTS}"));
    rules.rule("firewall-check", format!("{key} vmap @{FIREWALL_IPS}"));
}

fn refusals(rules: &mut Ruleset, config: &ProxyConfig) {
    let family = rules.family;
    let ip = family.word();
    rules.rule(REJECT, "reject");
    let key = format!("{ip} daddr . meta l4proto . th dport");
    rules.rule("service-endpoints-check", format!("{key} vmap @{NO_ENDPOINT_SERVICES}"));
    let ports = node_port_match(config, family, "");
    let rule = format!("{ports} meta l4proto . th dport vmap @{NO_ENDPOINT_PORTS}");
    rules.rule("nodeport-endpoints-check", rule);
    rules.rule("cluster-ips-check", format!("{ip} daddr @{CLUSTER_IPS} reject"));
    if let Some(services) = ProxyConfig::members(&config.service_cidrs, family) {
        rules.rule("cluster-ips-check", format!("{ip} daddr {services} drop"));
    }
}

/// Which destinations have node ports: the node's addresses, or all local ones but loopback.
fn node_port_match(config: &ProxyConfig, family: Family, local: &str) -> String {
    let ip = family.word();
    if !config.node_ips(family).is_empty() {
        return format!("{ip} daddr @{NODE_PORT_IPS}");
    }
    let loopback = match family {
        Family::V4 => "127.0.0.0/8",
        Family::V6 => "::1",
    };
    format!("{local}{ip} daddr != {loopback}")
}
