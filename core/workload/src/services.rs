//! Addresses of a Service: which fields follow from which, what fits together, what a write takes and gives back.
//!
//! A write goes [`keep_allocated`], [`normalize`], [`complete_families`], [`plan`]; all are pure.

mod check;
mod families;

pub use check::address_errors;
pub use families::complete_families;

use kubeplane_core::{Object, names::address::parse_ip_sloppy};
use serde_json::{Value, json};
use std::{collections::BTreeSet, net::IpAddr};

/// A family of addresses, as `ipFamilies` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// `IPv4`
    V4,
    /// `IPv6`
    V6,
}

impl Family {
    /// That of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// As in `ipFamilies`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// From `ipFamilies`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::V4, Self::V6].into_iter().find(|family| family.as_str() == text)
    }

    /// The one that it is not.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// Whether a Service has addresses in the cluster, be it that it has none on purpose.
#[must_use]
pub fn needs_address(service: &Object) -> bool {
    service.text(&["spec", "type"]) != "ExternalName"
}

/// `spec.clusterIPs`.
#[must_use]
pub fn cluster_ips(service: &Object) -> Vec<&str> {
    texts(service, "clusterIPs")
}

fn texts<'a>(service: &'a Object, field: &str) -> Vec<&'a str> {
    let list = service.at(&["spec", field]).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}

fn cluster_ip(service: &Object) -> &str {
    service.text(&["spec", "clusterIP"])
}

fn ports(service: &Object) -> &[Value] {
    service.at(&["spec", "ports"]).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn node_port(port: &Value) -> u64 {
    port["nodePort"].as_u64().unwrap_or_default()
}

/// Whether every port of a Service gets a node port.
#[must_use]
pub fn needs_node_ports(service: &Object) -> bool {
    match service.text(&["spec", "type"]) {
        "NodePort" => true,
        "LoadBalancer" => {
            let allocate = service.at(&["spec", "allocateLoadBalancerNodePorts"]);
            allocate.and_then(Value::as_bool).unwrap_or(true)
        }
        _ => false,
    }
}

/// Whether load balancers ask nodes for the health of a Service, on a port of its own.
#[must_use]
pub fn needs_health_check(service: &Object) -> bool {
    service.text(&["spec", "type"]) == "LoadBalancer"
        && service.text(&["spec", "externalTrafficPolicy"]) == "Local"
}

/// The node ports a Service holds, that of its health check too; ordered, each once.
#[must_use]
pub fn node_ports(service: &Object) -> BTreeSet<u16> {
    let health = service.at(&["spec", "healthCheckNodePort"]).and_then(Value::as_u64);
    let health = health.filter(|_| needs_health_check(service));
    let numbers = ports(service).iter().map(node_port).chain(health);
    numbers.filter_map(|number| u16::try_from(number).ok()).filter(|number| *number != 0).collect()
}

/// What was allocated stays when a writer leaves it out.
pub fn keep_allocated(service: &mut Object, old: &Object) {
    let copy = |service: &mut Object, field: &str| {
        if let Some(value) = old.at(&["spec", field]) {
            service.set(&["spec", field], value.clone());
        }
    };
    if needs_address(service) && needs_address(old) {
        if cluster_ip(service).is_empty() {
            copy(service, "clusterIP");
        }
        if cluster_ips(service).is_empty() && !cluster_ips(old).is_empty() {
            copy(service, "clusterIPs");
        }
    }
    if needs_node_ports(service) && needs_node_ports(old) {
        keep_node_ports(service, old);
    }
    let health = service.at(&["spec", "healthCheckNodePort"]).and_then(Value::as_u64);
    if needs_health_check(service) && needs_health_check(old) && health.unwrap_or_default() == 0 {
        copy(service, "healthCheckNodePort");
    }
}

fn keep_node_ports(service: &mut Object, old: &Object) {
    let used =
        |service: &Object| -> BTreeSet<u64> { ports(service).iter().map(node_port).collect() };
    let both: BTreeSet<_> = used(old).intersection(&used(service)).copied().collect();
    let Some(Value::Array(list)) = service.map_at_mut(&["spec"]).get_mut("ports") else { return };
    for port in list.iter_mut().filter(|port| node_port(port) == 0) {
        let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
        let named = ports(old).iter().rfind(|old| name(old) == name(port));
        let number = named.map_or(0, node_port);
        if let Some(port) = port.as_object_mut().filter(|_| number != 0 && !both.contains(&number))
        {
            port.insert("nodePort".to_owned(), number.into());
        }
    }
}

/// Old clients know `clusterIP` only, so that `clusterIPs` follows it.
pub fn normalize(service: &mut Object, old: Option<&Object>) {
    let ip = cluster_ip(service).to_owned();
    let Some(old) = old else {
        if !ip.is_empty() && cluster_ips(service).is_empty() {
            service.set(&["spec", "clusterIPs"], json!([ip]));
        }
        return;
    };
    let (old_ip, old_ips) = (cluster_ip(old), cluster_ips(old));
    let same = cluster_ips(service) == old_ips;
    if !old_ips.is_empty() && cluster_ips(service).is_empty() && old_ip == ip {
        service.set(&["spec", "clusterIPs"], json!(old_ips));
    }
    if old_ip == ip || !same {
    } else if !old_ip.is_empty() && ip.is_empty() {
        service.remove(&["spec", "clusterIPs"]);
    } else {
        service.set(&["spec", "clusterIPs"], json!([ip]));
    }
}

/// An address that a write takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    /// Where in `clusterIPs` it goes.
    pub index: usize,
    /// Of which family it is.
    pub family: Family,
    /// What was asked for; empty for any.
    pub wanted: String,
}

/// What a write takes and, once it is made, gives back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Addresses to claim.
    pub take: Vec<Take>,
    /// Addresses to give back.
    pub release: Vec<IpAddr>,
}

/// What becomes of addresses in the write of a Service whose families are complete.
#[must_use]
pub fn plan(service: &Object, old: Option<&Object>) -> Plan {
    let held = |old: &Object, from: usize| -> Vec<IpAddr> {
        cluster_ips(old).into_iter().skip(from).filter_map(parse_ip_sloppy).collect()
    };
    let Some(old) = old.filter(|old| needs_address(old)) else {
        return Plan { take: takes(service, 0), release: Vec::new() };
    };
    if families::keeps_preference(service, old) || cluster_ips(old).first() == Some(&"None") {
        return Plan::default();
    }
    if !needs_address(service) {
        return Plan { take: Vec::new(), release: held(old, 0) };
    }
    match (texts(old, "ipFamilies").len(), texts(service, "ipFamilies").len()) {
        (1, 2) => Plan { take: takes(service, 1), release: Vec::new() },
        (2, 1) => Plan { take: Vec::new(), release: held(old, 1) },
        _ => Plan::default(),
    }
}

fn takes(service: &Object, from: usize) -> Vec<Take> {
    let ips = cluster_ips(service);
    if !needs_address(service) || ips.first() == Some(&"None") {
        return Vec::new();
    }
    let families = texts(service, "ipFamilies").into_iter().enumerate().skip(from);
    families
        .filter_map(|(index, family)| {
            let wanted = ips.get(index).copied().unwrap_or_default().to_owned();
            Some(Take { index, family: Family::parse(family)?, wanted })
        })
        .collect()
}

#[cfg(test)]
mod tests;
