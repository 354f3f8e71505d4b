use super::{machine, supervise};
use crate::cli::{ComponentArgs, ControllersArgs, SchedulerArgs};
use anyhow::Context as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kubeplane::{
    ControlPlane,
    client::LeaseConfig,
    controller_clients::ControllerClients,
    controllers::{BuiltinOptions, Selection, builtin},
    endpoint::{DelegatedAccess, HealthEndpoint},
    pki::{Authority, Identity, Request, Usage},
    prelude::*,
    signing,
    telemetry::{Health, Metrics},
};
use std::{net::SocketAddr, path::Path};

/// The configuration of a component's client.
pub(super) async fn config(args: &ComponentArgs) -> anyhow::Result<kube::Config> {
    let named = || format!("kubeconfig {}", args.kubeconfig.display());
    let file = Kubeconfig::read_from(&args.kubeconfig).with_context(named)?;
    let options = KubeConfigOptions::default();
    kube::Config::from_custom_kubeconfig(file, &options).await.with_context(named)
}

/// Whether a certificate was made by an authority of its own, which nobody knows.
pub(super) struct SelfSigned(pub(super) bool);

/// A serving certificate signed by the authority of the data directory if its key is there, else by one of
/// its own.
pub(super) fn serving(
    data_dir: &Path,
    name: &str,
    address: SocketAddr,
) -> anyhow::Result<(Identity, SelfSigned)> {
    let now = kubeplane::clock::real().now();
    let pki = data_dir.join("pki");
    let read = |file: &str| std::fs::read_to_string(pki.join(file));
    let (authority, own) = match (read("ca.crt"), read("ca.key")) {
        (Ok(certificate), Ok(key)) => {
            let authority = Authority::from_pem(&certificate, &key);
            (authority.with_context(|| format!("authority in {}", pki.display()))?, false)
        }
        _ => (Authority::generate("kubeplane", now)?, true),
    };
    let request = Request::new(name, Usage::Server)
        .names(["localhost".to_owned(), machine::name()])
        .addresses([address.ip(), machine::address()]);
    Ok((authority.issue(&request, now)?, SelfSigned(own)))
}

fn endpoint(
    name: &str,
    args: &ComponentArgs,
    listen: SocketAddr,
    client: kube::Client,
    health: Health,
    metrics: Metrics,
) -> anyhow::Result<HealthEndpoint> {
    let (serving, _) = serving(&args.data_dir, name, listen)?;
    let access = DelegatedAccess::new(client);
    Ok(HealthEndpoint::new(name, listen, serving, health, metrics, access))
}

pub(super) async fn scheduler(args: SchedulerArgs) -> anyhow::Result<()> {
    let client = kube::Client::try_from(config(&args.component).await?)?;
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let name = "kube-scheduler";
    let served = endpoint(
        name,
        &args.component,
        args.listen,
        client.clone(),
        health.clone(),
        metrics.clone(),
    )?;
    let scheduler = Scheduler::builder(client).health(health).metrics(metrics).build()?;
    supervise(ControlPlane::new().with(served).with(scheduler)).await
}

pub(super) async fn controllers(args: ControllersArgs) -> anyhow::Result<()> {
    let config = config(&args.component).await?;
    let authority = authority(&config);
    let clock = kubeplane::clock::real();
    let clients = ControllerClients::new(&config, clock.clone())?;
    // What the keys of the data directory sign is signed where they are.
    let pki = args.component.data_dir.join("pki");
    let read = |file: &str| std::fs::read_to_string(pki.join(file)).ok();
    let options = BuiltinOptions::new(clock.clone(), authority);
    let options = signing::with_keys(
        args.cluster_cidr.iter().fold(options, |options, range| options.with_cluster_cidr(*range)),
        &read("ca.crt").unwrap_or_default(),
        read("ca.key").as_deref(),
        read("sa.key").as_deref(),
    );
    let client = kube::Client::try_from(config)?;
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let name = "kube-controller-manager";
    let served = endpoint(
        name,
        &args.component,
        args.listen,
        client.clone(),
        health.clone(),
        metrics.clone(),
    )?;
    let selection = Selection::parse(&args.controllers.join(","));
    let mut manager = Manager::builder(client)
        .client_for(move |controller| clients.client(controller))
        .clock(clock.clone())
        .health(health)
        .metrics(metrics)
        .select(selection)
        .add_all(builtin(&options));
    if args.leader_elect {
        let identity = format!("{}_{}", machine::name(), std::process::id());
        manager = manager.leader_election(LeaseConfig::new("kube-system", name, &identity));
    }
    supervise(ControlPlane::new().with(served).with(manager.build()?)).await
}

/// The authority the kubeconfig trusts, PEM: it is published to pods.
pub(super) fn authority(config: &kube::Config) -> String {
    use kubeplane::pki::pem;
    let roots = config.root_cert.iter().flatten();
    roots.map(|der| pem("CERTIFICATE", der)).collect()
}
