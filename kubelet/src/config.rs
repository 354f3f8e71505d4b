use crate::{Error, Result};
use ipnet::IpNet;
use k8s_openapi::api::core::v1::Taint;
use kubeplane_core::features::Features;
use kubeplane_pki::LiveIdentity;
use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

/// A certificate with its key, PEM; the key is not shown by `Debug`.
#[derive(Clone)]
pub struct ServingCertificate {
    /// The certificate, followed by those between it and the authority.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

impl fmt::Debug for ServingCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServingCertificate").finish_non_exhaustive()
    }
}

/// What a kubelet must know of its node.
///
/// ```
/// use kubeplane_kubelet::KubeletConfig;
/// let config = KubeletConfig::new("node-1");
/// assert_eq!(config.max_pods, 110);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct KubeletConfig {
    /// The name of the node object.
    pub node_name: String,
    /// The addresses of the node, at most one of each family, the preferred one first.
    pub node_ips: Vec<IpAddr>,
    /// Where volumes and other files of pods are kept.
    pub data_dir: PathBuf,
    /// Under which directory the logs of pods are.
    pub log_dir: PathBuf,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// The certificate of the server; without one, here or in `serving_live`, there is no server.
    pub serving: Option<ServingCertificate>,
    /// The same where somebody renews it while the kubelet runs, in place of the one above.
    pub serving_live: Option<Arc<LiveIdentity>>,
    /// Asks for another serving certificate through the API (signer `kubernetes.io/kubelet-serving`) and serves with
    /// it once somebody has approved it; until then with the one above.
    pub request_serving: bool,
    /// The authorities (PEM) whose client certificates the server believes.
    pub client_ca: Option<String>,
    /// The range pods have their addresses from when the node object does not tell one.
    pub pod_cidr: Option<IpNet>,
    /// Where the cluster's names are resolved; empty for the node's own resolver.
    pub cluster_dns: Vec<IpAddr>,
    /// The domain of the cluster's names.
    pub cluster_domain: String,
    /// The node's resolver configuration.
    pub resolv_conf: PathBuf,
    /// Where network configurations of the runtime are looked for, and written when there is none.
    pub cni_conf_dir: PathBuf,
    /// How many pods may run at once.
    pub max_pods: u32,
    /// Further labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Taints the node is registered with.
    pub taints: Vec<Taint>,
    /// How often the runtime is asked for changes when it does not tell them.
    pub relist_period: Duration,
    /// How often the node's status is written although nothing changed.
    pub status_period: Duration,
    /// How often volumes are brought up to date and pods are looked at without a reason.
    pub sync_period: Duration,
    /// The gates of the cluster: with `TaintTolerationComparisonOperators` tolerations may compare numbers.
    pub features: Features,
}

impl KubeletConfig {
    /// The defaults of the original for a node of this name, with the server on port 10250 of all
    /// addresses.
    #[must_use]
    pub fn new(node_name: impl Into<String>) -> Self {
        Self {
            node_name: node_name.into(),
            node_ips: vec![IpAddr::V4(Ipv4Addr::LOCALHOST)],
            data_dir: PathBuf::from("/var/lib/kubelet"),
            log_dir: PathBuf::from("/var/log/pods"),
            listen: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 10250)),
            serving: None,
            serving_live: None,
            request_serving: false,
            client_ca: None,
            pod_cidr: None,
            cluster_dns: Vec::new(),
            cluster_domain: "cluster.local".to_owned(),
            resolv_conf: PathBuf::from("/etc/resolv.conf"),
            cni_conf_dir: PathBuf::from("/etc/cni/net.d"),
            max_pods: 110,
            labels: BTreeMap::new(),
            taints: Vec::new(),
            relist_period: Duration::from_secs(1),
            status_period: Duration::from_secs(300),
            sync_period: Duration::from_secs(30),
            features: Features::default(),
        }
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.node_name.is_empty() {
            return Err(Error::config("the node needs a name"));
        }
        if self.node_ips.is_empty() {
            return Err(Error::config("the node needs an address"));
        }
        if !self.data_dir.is_absolute() || !self.log_dir.is_absolute() {
            return Err(Error::config("data_dir and log_dir must be absolute paths"));
        }
        Ok(())
    }
}
