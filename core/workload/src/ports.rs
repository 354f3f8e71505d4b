//! The ports that a pod takes of its node's own addresses.

use k8s_openapi::api::core::v1::PodSpec;

/// A port of a node's own address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The address; `0.0.0.0` for all of them.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// The number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be had on one node.
    #[must_use]
    pub fn conflicts(&self, other: &Self) -> bool {
        let every = |port: &Self| port.ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || every(self) || every(other))
    }
}

/// The host ports of the pod's containers and sidecars.
#[must_use]
pub fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|container| crate::is_sidecar(container));
    let ports = spec
        .containers
        .iter()
        .chain(sidecars)
        .flat_map(|container| container.ports.iter().flatten());
    let or = |text: &Option<String>, other: &str| {
        text.as_deref().filter(|text| !text.is_empty()).unwrap_or(other).to_owned()
    };
    ports
        .filter_map(|port| {
            let number = port.host_port.filter(|number| *number > 0)?;
            Some(HostPort {
                ip: or(&port.host_ip, "0.0.0.0"),
                protocol: or(&port.protocol, "TCP"),
                port: number,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_addresses_conflict_with_each() {
        let spec: PodSpec = serde_json::from_value(json!({"containers": [{"name": "c", "ports": [
            {"containerPort": 80, "hostPort": 80},
            {"containerPort": 81, "hostPort": 80, "hostIP": "127.0.0.1"},
            {"containerPort": 82, "hostPort": 80, "protocol": "UDP"},
            {"containerPort": 83},
        ]}]}))
        .unwrap();
        let ports = host_ports(&spec);
        assert_eq!(ports.len(), 3);
        assert!(ports[0].conflicts(&ports[1]) && !ports[0].conflicts(&ports[2]));
    }
}
