//! The configuration of a pod's sandbox.

pub(crate) mod dns;

use crate::{
    Result,
    config::KubeletConfig,
    container::security,
    observed::{POD_NAME, POD_NAMESPACE, POD_UID},
    spec,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use kubeplane_runtime_cri::v1;
use std::{collections::HashMap, path::PathBuf};

/// How the runtime arranges cgroups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CgroupDriver {
    Cgroupfs,
    Systemd,
}

/// The directory of the logs of a pod.
pub(crate) fn log_dir(config: &KubeletConfig, pod: &spec::PodId) -> PathBuf {
    config.log_dir.join(format!("{}_{}_{}", pod.namespace, pod.name, pod.uid))
}

/// The name of the machine as the pod sees it, and its domain if it has one.
pub(crate) fn host_names(pod: &Pod, cluster_domain: &str) -> (String, Option<String>) {
    let spec = spec::spec(pod);
    let given = spec.hostname.clone().filter(|name| !name.is_empty());
    let name = given.or_else(|| pod.metadata.name.clone()).unwrap_or_default();
    let name = truncated(&name, 63);
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = spec
        .subdomain
        .as_deref()
        .filter(|subdomain| !subdomain.is_empty())
        .map(|subdomain| format!("{subdomain}.{namespace}.svc.{cluster_domain}"));
    (name, domain)
}

fn truncated(name: &str, limit: usize) -> String {
    let cut: String = name.chars().take(limit).collect();
    cut.trim_end_matches(['-', '.']).to_owned()
}

/// The cgroup all containers of a pod are in.
pub(crate) fn cgroup_parent(pod: &Pod, driver: CgroupDriver) -> String {
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let class = match security::qos(pod) {
        "Guaranteed" => None,
        "Burstable" => Some("burstable"),
        _ => Some("besteffort"),
    };
    match driver {
        CgroupDriver::Cgroupfs => match class {
            None => format!("/kubepods/pod{uid}"),
            Some(class) => format!("/kubepods/{class}/pod{uid}"),
        },
        CgroupDriver::Systemd => {
            let uid = uid.replace('-', "_");
            match class {
                None => format!("kubepods-pod{uid}.slice"),
                Some(class) => format!("kubepods-{class}-pod{uid}.slice"),
            }
        }
    }
}

/// The labels sandboxes and containers of a pod are found by.
pub(crate) fn identity_labels(pod: &spec::PodId) -> HashMap<String, String> {
    HashMap::from([
        (POD_NAME.to_owned(), pod.name.clone()),
        (POD_NAMESPACE.to_owned(), pod.namespace.clone()),
        (POD_UID.to_owned(), pod.uid.clone()),
    ])
}

/// The sandbox of a pod, for its attempt of this number.
///
/// # Errors
/// When the node's resolver configuration cannot be read although it is needed.
pub(crate) fn config(
    pod: &Pod,
    attempt: u32,
    config: &KubeletConfig,
    driver: CgroupDriver,
) -> Result<v1::PodSandboxConfig> {
    let id = spec::PodId::of(pod);
    let spec = spec::spec(pod);
    let host_network = spec::is_host_network(pod);
    let (hostname, domain) = host_names(pod, &config.cluster_domain);
    let hostname = match domain {
        // It has the machine's own name, which nobody may set.
        _ if host_network => String::new(),
        Some(domain) if spec.set_hostname_as_fqdn == Some(true) => format!("{hostname}.{domain}"),
        _ => hostname,
    };
    let labels = pod.metadata.labels.clone().unwrap_or_default();
    let annotations = pod.metadata.annotations.clone().unwrap_or_default();
    let mut labels: HashMap<_, _> = labels.into_iter().collect();
    labels.extend(identity_labels(&id));
    Ok(v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: id.name.clone(),
            uid: id.uid.clone(),
            namespace: id.namespace.clone(),
            attempt,
        }),
        hostname,
        log_directory: log_dir(config, &id).to_string_lossy().into_owned(),
        dns_config: Some(dns::config(pod, config)?),
        port_mappings: if host_network { Vec::new() } else { port_mappings(pod) },
        labels,
        annotations: annotations.into_iter().collect(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: cgroup_parent(pod, driver),
            security_context: Some(security::sandbox(pod)),
            sysctls: sysctls(pod),
            ..Default::default()
        }),
    })
}

fn sysctls(pod: &Pod) -> HashMap<String, String> {
    let context = spec::spec(pod).security_context.clone().unwrap_or_default();
    let list = context.sysctls.unwrap_or_default();
    list.into_iter().map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value)).collect()
}

fn port_mappings(pod: &Pod) -> Vec<v1::PortMapping> {
    let sidecars = spec::init_containers(pod).iter().filter(|c| spec::is_sidecar(c));
    let ports = |container: &Container| container.ports.clone().unwrap_or_default();
    let all = spec::containers(pod).iter().chain(sidecars).flat_map(ports);
    all.filter(|port| port.host_port.is_some_and(|port| port > 0))
        .map(|port| v1::PortMapping {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => v1::Protocol::Udp.into(),
                Some("SCTP") => v1::Protocol::Sctp.into(),
                _ => v1::Protocol::Tcp.into(),
            },
            container_port: port.container_port,
            host_port: port.host_port.unwrap_or_default(),
            host_ip: port.host_ip.unwrap_or_default(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(spec: serde_json::Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"uid": "a-b", "namespace": "n", "name": "web-0", "labels": {"app": "web"}},
            "spec": spec, "status": {"qosClass": "Burstable"}
        }))
        .unwrap()
    }

    fn kubelet() -> KubeletConfig {
        let mut config = KubeletConfig::new("node-1");
        config.cluster_dns = vec!["10.96.0.10".parse().unwrap()];
        config.resolv_conf = PathBuf::from("/dev/null");
        config
    }

    #[test]
    fn a_sandbox_has_the_pods_names_ports_and_labels() {
        let pod = pod(json!({"subdomain": "db", "setHostnameAsFQDN": true, "containers": [
            {"name": "a", "ports": [{"containerPort": 80, "hostPort": 8080}, {"containerPort": 81}]}
        ]}));
        let config = config(&pod, 2, &kubelet(), CgroupDriver::Cgroupfs).unwrap();
        assert_eq!(config.hostname, "web-0.db.n.svc.cluster.local");
        assert_eq!(config.log_directory, "/var/log/pods/n_web-0_a-b");
        assert_eq!(
            (config.labels["app"].as_str(), config.labels[POD_UID].as_str()),
            ("web", "a-b")
        );
        assert_eq!(config.port_mappings.len(), 1);
        assert_eq!(config.linux.unwrap().cgroup_parent, "/kubepods/burstable/poda-b");
        let dns = config.dns_config.unwrap();
        assert_eq!(dns.servers, ["10.96.0.10"]);
        assert_eq!(dns.searches, ["n.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!(dns.options, ["ndots:5"]);
    }

    #[test]
    fn a_pod_on_the_hosts_network_has_the_hosts_resolver_and_no_name_of_its_own() {
        let pod = pod(json!({"hostNetwork": true, "containers": [
            {"name": "a", "ports": [{"containerPort": 80, "hostPort": 80}]}
        ]}));
        let config = config(&pod, 0, &kubelet(), CgroupDriver::Systemd).unwrap();
        assert_eq!(config.hostname, "");
        assert!(config.port_mappings.is_empty());
        assert!(config.dns_config.unwrap().servers.is_empty());
        let linux = config.linux.unwrap();
        assert_eq!(linux.cgroup_parent, "kubepods-burstable-poda_b.slice");
        let namespaces = linux.security_context.unwrap().namespace_options.unwrap();
        assert_eq!(namespaces.network(), v1::NamespaceMode::Node);
    }
}
