//! Nodes with kubelets whose containers are simulated.

use super::{BoxError, LOOPBACK, gate::Gate};
use crate::credentials::{Credentials, node_user};
use ipnet::{IpNet, Ipv4Net};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::features::Features;
use kubeplane_kubelet::{Kubelet, KubeletConfig, ServingCertificate};
use kubeplane_runtime_cri::{SimulatedOptions, SimulatedRuntime};
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

/// What one node differs in.
#[derive(Debug)]
pub(super) struct NodeParts<'a> {
    pub(super) number: u16,
    pub(super) name: String,
    pub(super) clock: SharedClock,
    pub(super) seed: &'a Seed,
    pub(super) features: &'a Features,
}

impl NodeParts<'_> {
    pub(super) fn kubelet(
        self,
        gate: &Arc<Gate>,
        credentials: &Credentials,
        directory: &Path,
    ) -> Result<Kubelet, BoxError> {
        let range = pod_range(self.number);
        let serving = credentials.kubelet_serving(&self.name, &[LOOPBACK])?;
        let mut config = KubeletConfig::new(&self.name);
        config.data_dir = directory.join(&self.name);
        config.log_dir = config.data_dir.join("logs");
        config.cni_conf_dir = config.data_dir.join("cni");
        config.listen = SocketAddr::new(LOOPBACK, 0);
        config.serving =
            Some(ServingCertificate { certificate: serving.certificate, key: serving.key });
        config.client_ca = Some(credentials.authority().to_owned());
        config.pod_cidr = Some(range);
        config.features = self.features.clone();
        let options = SimulatedOptions {
            pod_cidr: range.to_string(),
            seed: self.seed.clone(),
            ..SimulatedOptions::default()
        };
        let runtime = Arc::new(SimulatedRuntime::new(self.clock.clone(), options));
        let client = gate.client(node_user(&self.name));
        Ok(Kubelet::builder(client, runtime, config).clock(self.clock).build()?)
    }
}

/// The n-th /24 of 10.244.0.0 and what follows.
fn pod_range(number: u16) -> IpNet {
    let first = u32::from(Ipv4Addr::new(10, 244, 0, 0)) + (u32::from(number) << 8);
    Ipv4Net::new_assert(Ipv4Addr::from(first), 24).into()
}
