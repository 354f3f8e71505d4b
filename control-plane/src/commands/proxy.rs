use super::{
    components::{self, Port},
    machine, supervise,
};
use crate::cli::ProxyArgs;
use anyhow::Context as _;
use kubeplane::{
    ControlPlane,
    core::features::Features,
    proxy::{Proxy, ProxyConfig},
    telemetry::{Health, Metrics},
};

pub(super) async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    let features: Features = args.feature_gates.join(",").parse().context("--feature-gates")?;
    Proxy::available().await.map_err(anyhow::Error::msg)?;
    let clients = components::clients(&args.component).await?;
    let port = Port {
        name: "kube-proxy",
        args: &args.component,
        listen: args.listen,
        clients: &args.clients,
        trusted: &components::authority(&clients.config()),
    };
    let client = clients.client();
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let (served, renewal) = port.endpoint(client.clone(), &health, &metrics)?;
    let mut config = ProxyConfig::new(args.node_name.unwrap_or_else(machine::name));
    config.node_ips = vec![args.node_ip.unwrap_or_else(machine::address)];
    config.cluster_cidrs = vec![args.cluster_cidr];
    config.external_ips = features.is_on("AllowServiceExternalIPs");
    let proxy = Proxy::builder(client, config).health(health).metrics(metrics).build()?;
    let plane = ControlPlane::new().with(clients.reload()).with(served).with(renewal);
    supervise(plane.with(proxy)).await
}
