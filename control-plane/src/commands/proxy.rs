use super::{components, machine, supervise};
use crate::cli::ProxyArgs;
use kubeplane::{
    ControlPlane,
    endpoint::{DelegatedAccess, HealthEndpoint},
    proxy::{Proxy, ProxyConfig},
    telemetry::{Health, Metrics},
};

pub(super) async fn run(args: ProxyArgs) -> anyhow::Result<()> {
    Proxy::available().await.map_err(anyhow::Error::msg)?;
    let client = kube::Client::try_from(components::config(&args.component).await?)?;
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let (serving, _) = components::serving(&args.component.data_dir, "kube-proxy", args.listen)?;
    let access = DelegatedAccess::new(client.clone());
    let served = HealthEndpoint::new(
        "kube-proxy",
        args.listen,
        serving,
        health.clone(),
        metrics.clone(),
        access,
    );
    let mut config = ProxyConfig::new(args.node_name.unwrap_or_else(machine::name));
    config.node_ips = vec![args.node_ip.unwrap_or_else(machine::address)];
    config.cluster_cidrs = vec![args.cluster_cidr];
    let proxy = Proxy::builder(client, config).health(health).metrics(metrics).build()?;
    supervise(ControlPlane::new().with(served).with(proxy)).await
}
