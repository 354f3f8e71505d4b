//! `/etc/hosts` of pods.

use crate::{Error, Result, sandbox, spec};
use k8s_openapi::api::core::v1::Pod;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Writes the file for the pod and returns its path.
pub(crate) fn write(
    pod_dir: &Path,
    pod: &Pod,
    pod_ips: &[String],
    cluster_domain: &str,
) -> Result<PathBuf> {
    let path = pod_dir.join("etc-hosts");
    let text = if spec::is_host_network(pod) {
        let own = fs::read_to_string("/etc/hosts").unwrap_or_default();
        format!("# Kubernetes-managed hosts file (host network).\n{own}{}", aliases(pod))
    } else {
        managed(pod, pod_ips, cluster_domain)
    };
    super::super::volumes::create_dir(pod_dir)?;
    if fs::read_to_string(&path).is_ok_and(|old| old == text) {
        return Ok(path);
    }
    // Containers have the file itself, so it is written in place.
    fs::write(&path, text).map_err(|error| Error::file(&path, error))?;
    Ok(path)
}

fn managed(pod: &Pod, pod_ips: &[String], cluster_domain: &str) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    let (hostname, domain) = sandbox::host_names(pod, cluster_domain);
    for ip in pod_ips {
        let line = match &domain {
            Some(domain) => format!("{ip}\t{hostname}.{domain}\t{hostname}\n"),
            None => format!("{ip}\t{hostname}\n"),
        };
        text.push_str(&line);
    }
    text + &aliases(pod)
}

fn aliases(pod: &Pod) -> String {
    let spec = spec::spec(pod);
    let aliases = spec.host_aliases.as_deref().unwrap_or_default();
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        text.push_str(&format!("{}\t{names}\n", alias.ip));
    }
    text
}
