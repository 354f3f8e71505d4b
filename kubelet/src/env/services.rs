use k8s_openapi::api::core::v1::Service;
use std::{collections::BTreeMap, sync::Arc};

/// The variables by which containers of `namespace` find services; without `links` only the API.
pub(crate) fn variables(
    services: &[Arc<Service>],
    namespace: &str,
    links: bool,
) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let is_api = |service: &Service| {
        service.metadata.namespace.as_deref() == Some("default")
            && service.metadata.name.as_deref() == Some("kubernetes")
    };
    let own = |service: &Service| service.metadata.namespace.as_deref() == Some(namespace);
    // The pod's own namespace comes last, because its services win over the API of the same name.
    for service in services.iter().filter(|service| is_api(service)) {
        add(service, &mut variables);
    }
    for service in services.iter().filter(|service| links && own(service) && !is_api(service)) {
        add(service, &mut variables);
    }
    variables
}

fn add(service: &Service, variables: &mut BTreeMap<String, String>) {
    let Some(spec) = &service.spec else { return };
    let Some(ip) = spec.cluster_ip.as_deref().filter(|ip| !ip.is_empty() && *ip != "None") else {
        return;
    };
    let ports = spec.ports.as_deref().unwrap_or_default();
    let Some(first) = ports.first() else { return };
    let name = variable_name(service.metadata.name.as_deref().unwrap_or_default());
    variables.insert(format!("{name}_SERVICE_HOST"), ip.to_owned());
    variables.insert(format!("{name}_SERVICE_PORT"), first.port.to_string());
    for (index, port) in ports.iter().enumerate() {
        if let Some(port_name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            let port_name = variable_name(port_name);
            variables.insert(format!("{name}_SERVICE_PORT_{port_name}"), port.port.to_string());
        }
        let protocol = port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let host = if ip.contains(':') { format!("[{ip}]") } else { ip.to_owned() };
        let url = format!("{lower}://{host}:{}", port.port);
        if index == 0 {
            variables.insert(format!("{name}_PORT"), url.clone());
        }
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        variables.insert(format!("{prefix}_PROTO"), lower);
        variables.insert(format!("{prefix}_PORT"), port.port.to_string());
        variables.insert(format!("{prefix}_ADDR"), ip.to_owned());
        variables.insert(prefix, url);
    }
}

fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(namespace: &str, name: &str, ip: &str) -> Arc<Service> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": {"namespace": namespace, "name": name},
                "spec": {"clusterIP": ip, "ports": [{"name": "http-alt", "port": 80, "protocol": "TCP"}]}
            }))
            .unwrap(),
        )
    }

    #[test]
    fn services_of_the_namespace_and_the_api_are_found() {
        let all = [
            service("default", "kubernetes", "10.96.0.1"),
            service("shop", "redis-primary", "10.96.0.9"),
            service("shop", "headless", "None"),
            service("other", "db", "10.96.0.8"),
        ];
        let variables = super::variables(&all, "shop", true);
        assert_eq!(variables["KUBERNETES_SERVICE_HOST"], "10.96.0.1");
        assert_eq!(variables["REDIS_PRIMARY_SERVICE_PORT_HTTP_ALT"], "80");
        assert_eq!(variables["REDIS_PRIMARY_PORT"], "tcp://10.96.0.9:80");
        assert_eq!(variables["REDIS_PRIMARY_PORT_80_TCP_ADDR"], "10.96.0.9");
        assert!(!variables.keys().any(|key| key.starts_with("DB") || key.starts_with("HEADLESS")));
        let few = super::variables(&all, "shop", false);
        assert!(few.keys().all(|key| key.starts_with("KUBERNETES_")));
    }
}
