use crate::{Error, Result, config::KubeletConfig, spec};
use k8s_openapi::api::core::v1::{Pod, PodDNSConfig};
use kubeplane_runtime_cri::v1::DnsConfig;
use std::fs;

const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// The resolver configuration of a pod, by its policy.
pub(crate) fn config(pod: &Pod, config: &KubeletConfig) -> Result<DnsConfig> {
    let spec = spec::spec(pod);
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let cluster = match policy {
        "ClusterFirst" => !spec::is_host_network(pod),
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = if policy == "None" {
        DnsConfig::default()
    } else if cluster && !config.cluster_dns.is_empty() {
        of_cluster(pod, config)?
    } else {
        of_host(config)?
    };
    if let Some(own) = &spec.dns_config {
        append(&mut dns, own);
    }
    dns.servers.truncate(MAX_SERVERS);
    dns.searches.truncate(MAX_SEARCHES);
    Ok(dns)
}

fn of_host(config: &KubeletConfig) -> Result<DnsConfig> {
    let path = &config.resolv_conf;
    match fs::read_to_string(path) {
        Ok(text) => Ok(parse(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(DnsConfig::default()),
        Err(error) => Err(Error::file(path, error)),
    }
}

fn of_cluster(pod: &Pod, config: &KubeletConfig) -> Result<DnsConfig> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let domain = &config.cluster_domain;
    let mut searches =
        vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
    searches.extend(of_host(config)?.searches);
    dedup(&mut searches);
    Ok(DnsConfig {
        servers: config.cluster_dns.iter().map(ToString::to_string).collect(),
        searches,
        options: vec!["ndots:5".to_owned()],
    })
}

fn append(dns: &mut DnsConfig, own: &PodDNSConfig) {
    dns.servers.extend(own.nameservers.iter().flatten().cloned());
    dedup(&mut dns.servers);
    dns.searches.extend(own.searches.iter().flatten().cloned());
    dedup(&mut dns.searches);
    for option in own.options.iter().flatten() {
        let Some(name) = &option.name else { continue };
        dns.options.retain(|known| known.split(':').next() != Some(name));
        dns.options.push(match option.value.as_deref().filter(|value| !value.is_empty()) {
            Some(value) => format!("{name}:{value}"),
            None => name.clone(),
        });
    }
}

fn dedup(list: &mut Vec<String>) {
    let mut seen = std::collections::HashSet::new();
    list.retain(|item| seen.insert(item.clone()));
}

/// The text of `/etc/resolv.conf` as a configuration; the last `search` counts.
fn parse(text: &str) -> DnsConfig {
    let mut dns = DnsConfig::default();
    for line in text.lines() {
        let line = line.split(['#', ';']).next().unwrap_or_default();
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => dns.servers.extend(words.next().map(str::to_owned)),
            Some("search") => {
                dns.searches = words.filter(|word| *word != ".").map(str::to_owned).collect();
            }
            Some("options") => dns.options = words.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn resolver_files_are_read() {
        let dns = parse("# x\nnameserver 1.1.1.1\nsearch a b . # c\noptions ndots:2 rotate\n");
        assert_eq!(dns.servers, ["1.1.1.1"]);
        assert_eq!(dns.searches, ["a", "b"]);
        assert_eq!(dns.options, ["ndots:2", "rotate"]);
    }

    #[test]
    fn a_pods_own_settings_are_added_and_win() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"namespace": "n"}, "spec": {
            "containers": [], "dnsPolicy": "None",
            "dnsConfig": {"nameservers": ["9.9.9.9"], "searches": ["x"],
                "options": [{"name": "ndots", "value": "1"}, {"name": "edns0"}]}}}))
        .unwrap();
        let dns = super::config(&pod, &KubeletConfig::new("node")).unwrap();
        assert_eq!((dns.servers, dns.searches), (vec!["9.9.9.9".into()], vec!["x".into()]));
        assert_eq!(dns.options, ["ndots:1", "edns0"]);
    }
}
