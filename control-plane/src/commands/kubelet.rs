use super::{components, machine, serve::kubelet_config, supervise};
use crate::cli::KubeletArgs;
use kubeplane::{ControlPlane, kubelet::ServingCertificate, prelude::*, runtime};
use std::net::SocketAddr;

pub(super) async fn run(args: KubeletArgs) -> anyhow::Result<()> {
    let config = components::config(&args.component).await?;
    let data_dir = machine::directory(&args.component.data_dir)?;
    let node = args.node.node_name.clone().unwrap_or_else(machine::name);
    let address = args.node_ip.unwrap_or_else(machine::address);
    let clock = kubeplane::clock::real();
    let found = runtime::find(&args.node.runtime, clock.clone(), args.node.pod_cidr).await;
    let found = found.map_err(anyhow::Error::msg)?;
    eprintln!("container runtime: {}", found.description);
    let mut own = kubelet_config(&args.node, &data_dir, address, &node);
    let name = format!("system:node:{node}");
    let serving =
        components::serving(&data_dir, &name, SocketAddr::new(address, own.listen.port()))?;
    own.serving = Some(ServingCertificate { certificate: serving.certificate, key: serving.key });
    own.client_ca = std::fs::read_to_string(data_dir.join("pki/ca.crt")).ok();
    let client = kube::Client::try_from(config)?;
    let kubelet = Kubelet::builder(client, found.runtime, own).clock(clock).build()?;
    supervise(ControlPlane::new().with(kubelet)).await
}
