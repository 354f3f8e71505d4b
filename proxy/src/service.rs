//! The ports of Services.

use crate::ruleset::Family;
use ipnet::IpNet;
use k8s_openapi::api::core::v1::{Service, ServicePort as ApiPort};
use std::net::IpAddr;

/// The label of Services that another proxy serves.
pub(crate) const PROXY_NAME_LABEL: &str = "service.kubernetes.io/service-proxy-name";
/// The label of Services without an address.
pub(crate) const HEADLESS_LABEL: &str = "service.kubernetes.io/headless";

/// The protocol of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    pub(crate) fn of(name: Option<&str>) -> Option<Self> {
        match name {
            None | Some("" | "TCP") => Some(Self::Tcp),
            Some("UDP") => Some(Self::Udp),
            Some("SCTP") => Some(Self::Sctp),
            Some(_) => None,
        }
    }

    /// As nftables calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// Which port of which Service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PortName {
    pub(crate) namespace: String,
    pub(crate) service: String,
    pub(crate) port: String,
    pub(crate) protocol: Protocol,
}

/// A port of a Service in one family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServicePort {
    pub(crate) cluster_ip: IpAddr,
    pub(crate) port: u16,
    /// Zero for none.
    pub(crate) node_port: u16,
    pub(crate) external_ips: Vec<IpAddr>,
    pub(crate) balancer_ips: Vec<IpAddr>,
    /// Who may reach the balancer's addresses; empty for everyone.
    pub(crate) source_ranges: Vec<IpNet>,
    /// Seconds a client stays with its endpoint.
    pub(crate) affinity: Option<u32>,
    pub(crate) external_local: bool,
    pub(crate) internal_local: bool,
}

impl ServicePort {
    /// Whether it can be reached by more than its ClusterIP.
    pub(crate) fn is_external(&self) -> bool {
        self.node_port != 0 || !self.balancer_ips.is_empty() || !self.external_ips.is_empty()
    }

    /// Whether some traffic goes to endpoints of the whole cluster. With an external port it always does:
    /// local traffic to external addresses does not obey their policy.
    pub(crate) fn uses_cluster(&self) -> bool {
        !self.internal_local || self.is_external()
    }

    /// Whether some traffic goes to endpoints of this node only.
    pub(crate) fn uses_local(&self) -> bool {
        self.internal_local || (self.external_local && self.is_external())
    }
}

/// The ports of a Service in a family; none for Services that are not proxied.
pub(crate) fn ports(service: &Service, family: Family) -> Vec<(PortName, ServicePort)> {
    let Some(cluster_ip) = proxied_ip(service, family) else { return Vec::new() };
    let listed = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    listed.filter_map(|port| one(service, port, cluster_ip, family)).collect()
}

fn proxied_ip(service: &Service, family: Family) -> Option<IpAddr> {
    let spec = service.spec.as_ref()?;
    let labels = service.metadata.labels.as_ref();
    let labelled = |label| labels.is_some_and(|labels| labels.contains_key(label));
    let external_name = spec.type_.as_deref() == Some("ExternalName");
    if external_name || labelled(PROXY_NAME_LABEL) || labelled(HEADLESS_LABEL) {
        return None;
    }
    let all = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    all.filter_map(|ip| ip.parse().ok()).find(|ip| family.has(*ip))
}

fn one(
    service: &Service,
    port: &ApiPort,
    cluster_ip: IpAddr,
    family: Family,
) -> Option<(PortName, ServicePort)> {
    let spec = service.spec.as_ref()?;
    let kind = spec.type_.as_deref().unwrap_or("ClusterIP");
    let external_ips = addresses(spec.external_ips.iter().flatten(), family);
    let has_external =
        kind != "ClusterIP" || spec.external_ips.as_ref().is_some_and(|ips| !ips.is_empty());
    let name = PortName {
        namespace: service.metadata.namespace.clone()?,
        service: service.metadata.name.clone()?,
        port: port.name.clone().unwrap_or_default(),
        protocol: Protocol::of(port.protocol.as_deref())?,
    };
    let sticky = (spec.session_affinity.as_deref() == Some("ClientIP")).then(|| {
        let config = spec.session_affinity_config.as_ref().and_then(|all| all.client_ip.as_ref());
        config.and_then(|client| client.timeout_seconds).map_or(10_800, i32::unsigned_abs)
    });
    let port = ServicePort {
        cluster_ip,
        port: u16::try_from(port.port).ok()?,
        node_port: port.node_port.and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
        external_ips,
        balancer_ips: balancer_ips(service, family),
        source_ranges: source_ranges(spec.load_balancer_source_ranges.iter().flatten(), family),
        affinity: sticky,
        external_local: has_external && spec.external_traffic_policy.as_deref() == Some("Local"),
        internal_local: spec.internal_traffic_policy.as_deref() == Some("Local"),
    };
    Some((name, port))
}

fn addresses<'a>(texts: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpAddr> {
    texts.filter_map(|text| text.parse().ok()).filter(|ip| family.has(*ip)).collect()
}

/// Addresses of balancers that keep the destination as it is; the others are no business of a node.
fn balancer_ips(service: &Service, family: Family) -> Vec<IpAddr> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let kept = ingress.filter(|one| one.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    addresses(kept.filter_map(|one| one.ip.as_ref()), family)
}

/// Networks of a family; none when one of them is everything.
fn source_ranges<'a>(texts: impl Iterator<Item = &'a String>, family: Family) -> Vec<IpNet> {
    let parsed = texts.filter_map(|text| text.trim().parse::<IpNet>().ok());
    let networks: Vec<_> = parsed.filter(|network| family.has(network.addr())).collect();
    if networks.iter().any(|network| network.prefix_len() == 0) { Vec::new() } else { networks }
}
