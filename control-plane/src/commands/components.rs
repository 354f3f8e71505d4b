use super::{machine, supervise};
use crate::cli::{ComponentArgs, ControllersArgs, SchedulerArgs, SchedulerQuestion};
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
    scheduler::{
        Extender, SchedulerBuilder,
        config::{Configuration, Registry},
    },
    signing,
    telemetry::{Health, Metrics},
};
use std::{net::SocketAddr, path::Path, time::Duration};

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

fn scheduler_configuration(file: Option<&Path>) -> anyhow::Result<Configuration> {
    let Some(file) = file else { return Ok(Configuration::default()) };
    let named = || format!("scheduler configuration {}", file.display());
    Configuration::parse(&std::fs::read(file).with_context(named)?).with_context(named)
}

/// A scheduler with the profiles of a configuration.
fn configured(
    configuration: &Configuration,
    client: kube::Client,
) -> anyhow::Result<SchedulerBuilder> {
    let seconds = |own: Option<i64>| Duration::from_secs(own.unwrap_or_default().unsigned_abs());
    let profiles = configuration.profiles(&Registry::new(client.clone()))?;
    Ok(Scheduler::builder(client).profiles(profiles).backoff(
        seconds(configuration.pod_initial_backoff_seconds),
        seconds(configuration.pod_max_backoff_seconds),
    ))
}

#[expect(clippy::print_stdout, reason = "the answer is what was asked for")]
async fn explain(args: &SchedulerArgs, question: &SchedulerQuestion) -> anyhow::Result<()> {
    let SchedulerQuestion::Explain { pod, namespace, output } = question;
    let client = kube::Client::try_from(config(&args.component).await?)?;
    let configuration = scheduler_configuration(args.config.as_deref())?;
    let trace = configured(&configuration, client)?.build()?.explain(namespace, pod).await?;
    match output.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&trace)?),
        _ => print!("{trace}"),
    }
    Ok(())
}

pub(super) async fn scheduler(args: SchedulerArgs) -> anyhow::Result<()> {
    if let Some(question) = &args.question {
        return explain(&args, question).await;
    }
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
    let configuration = scheduler_configuration(args.config.as_deref())?;
    let mut builder = configured(&configuration, client)?.health(health).metrics(metrics);
    for own in &configuration.extenders {
        let extender = Extender::new(own.clone(), kubeplane::clock::real()).await;
        builder = builder.extender(extender.map_err(anyhow::Error::msg)?);
    }
    let election = &configuration.leader_election;
    // Without a file it is the only one.
    if args.config.is_some() && election.leader_elect == Some(true) {
        let identity = format!("{}_{}", machine::name(), std::process::id());
        builder = builder.leader_election(LeaseConfig {
            lease_duration: election.lease_duration,
            renew_deadline: election.renew_deadline,
            retry_period: election.retry_period,
            ..LeaseConfig::new(&election.resource_namespace, &election.resource_name, &identity)
        });
    }
    let scheduler = builder.build()?;
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
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let options = BuiltinOptions::new(clock.clone(), authority).with_metrics(metrics.clone());
    let options = signing::with_keys(
        args.cluster_cidr.iter().fold(options, |options, range| options.with_cluster_cidr(*range)),
        &read("ca.crt").unwrap_or_default(),
        read("ca.key").as_deref(),
        read("sa.key").as_deref(),
    );
    let client = kube::Client::try_from(config)?;
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
