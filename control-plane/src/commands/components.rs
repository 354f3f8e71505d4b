use super::{keys::Keys, machine, supervise};
use crate::cli::{ClientArgs, ComponentArgs, ControllersArgs, SchedulerArgs, SchedulerQuestion};
use anyhow::Context as _;
use k8s_openapi::api::coordination::v1::Lease;
use kubeplane::{
    ControlPlane,
    client::{ClientSource, Informers, KubeconfigClients, LeaseConfig},
    clock::Seed,
    controller_clients::ControllerClients,
    controllers::{BuiltinOptions, Selection, Settings, builtin_with, trim_pod},
    core::features::Features,
    endpoint::{DelegatedAccess, HealthEndpoint},
    pki::{Authority, LiveIdentity, Request, Usage},
    prelude::*,
    renewal::Renewal,
    scheduler::{
        Extender, PodResources, SchedulerBuilder,
        config::{Configuration, Registry},
    },
    signing,
    telemetry::{Health, Metrics},
};
use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

/// The clients of a component, which go on when the kubeconfig's credentials are renewed.
pub(super) async fn clients(args: &ComponentArgs) -> anyhow::Result<KubeconfigClients> {
    Ok(KubeconfigClients::open(&args.kubeconfig, kubeplane::clock::real()).await?)
}

/// What a component serves with.
pub(super) struct Serving {
    pub(super) live: Arc<LiveIdentity>,
    /// Made by an authority of its own, which nobody knows.
    pub(super) self_signed: bool,
    /// Keeps the certificate from ending while the component runs.
    pub(super) renewal: Renewal,
}

/// A serving certificate signed by the authority of the data directory if its key is there, else by one of
/// its own.
pub(super) fn serving(data_dir: &Path, name: &str, address: SocketAddr) -> anyhow::Result<Serving> {
    let clock = kubeplane::clock::real();
    let now = clock.now();
    let pki = data_dir.join("pki");
    let read = |file: &str| std::fs::read_to_string(pki.join(file));
    let (authority, self_signed) = match (read("ca.crt"), read("ca.key")) {
        (Ok(certificate), Ok(key)) => {
            let authority = Authority::from_pem(&certificate, &key);
            (authority.with_context(|| format!("authority in {}", pki.display()))?, false)
        }
        _ => (Authority::generate("kubeplane", now)?, true),
    };
    let name = name.to_owned();
    let request = Request::new(&name, Usage::Server)
        .names(["localhost".to_owned(), machine::name()])
        .addresses([address.ip(), machine::address()]);
    let live = Arc::new(LiveIdentity::new(authority.issue(&request, now)?)?);
    let shown = live.clone();
    let renewal = Renewal::new(clock).with(move |now| {
        if !shown.is_due(now) {
            return Ok(Vec::new());
        }
        shown.set(authority.issue(&request, now)?)?;
        Ok(vec![name.clone()])
    });
    Ok(Serving { live, self_signed, renewal })
}

/// A component's port, and what it is seen by.
pub(super) struct Port<'a> {
    pub(super) name: &'a str,
    pub(super) args: &'a ComponentArgs,
    pub(super) listen: SocketAddr,
    pub(super) clients: &'a ClientArgs,
    /// What the kubeconfig trusts, PEM.
    pub(super) trusted: &'a str,
}

impl Port<'_> {
    /// What serves health and metrics there, and what renews its certificate.
    pub(super) fn endpoint(
        &self,
        client: kube::Client,
        health: &Health,
        metrics: &Metrics,
    ) -> anyhow::Result<(HealthEndpoint, Renewal)> {
        let named = (&self.clients.tls_cert_file, &self.clients.tls_private_key_file);
        let serving = match named {
            (Some(certificate), Some(key)) => super::kubelet::given(certificate, key)?,
            _ => serving(&self.args.data_dir, self.name, self.listen)?,
        };
        let access = self.access(client)?;
        let (health, metrics) = (health.clone(), metrics.clone());
        let identity = serving.live.identity();
        let endpoint =
            HealthEndpoint::new(self.name, self.listen, identity, health, metrics, access);
        Ok((endpoint.serving(serving.live), serving.renewal))
    }

    fn access(&self, client: kube::Client) -> anyhow::Result<DelegatedAccess> {
        let access = DelegatedAccess::new(client);
        let (authorities, place) = match &self.clients.client_ca_file {
            Some(file) => {
                let place = file.display().to_string();
                (std::fs::read_to_string(file).with_context(|| place.clone())?, place)
            }
            None if self.trusted.is_empty() => return Ok(access),
            None => (self.trusted.to_owned(), "authorities of the kubeconfig".to_owned()),
        };
        let known = access.client_authorities(&authorities);
        known.map_err(|error| anyhow::anyhow!("{place}: {error}"))
    }
}

fn scheduler_configuration(
    file: Option<&Path>,
    features: &Features,
) -> anyhow::Result<Configuration> {
    let Some(file) = file else { return Ok(Configuration::default()) };
    let named = || format!("scheduler configuration {}", file.display());
    let text = std::fs::read(file).with_context(named)?;
    Configuration::parse_with(&text, features).with_context(named)
}

/// A scheduler with the profiles and extenders of a configuration.
async fn configured(
    configuration: &Configuration,
    features: Features,
    client: kube::Client,
) -> anyhow::Result<SchedulerBuilder> {
    let seconds = |own: Option<i64>| Duration::from_secs(own.unwrap_or_default().unsigned_abs());
    let registry = Registry::new(client.clone()).with_features(features.clone());
    let profiles = configuration.profiles(&registry)?;
    let mut builder = Scheduler::builder(client)
        .features(features)
        .profiles(profiles)
        .host(machine::name())
        .backoff(
            seconds(configuration.pod_initial_backoff_seconds),
            seconds(configuration.pod_max_backoff_seconds),
        );
    for own in &configuration.extenders {
        let extender = Extender::new(own.clone(), kubeplane::clock::real()).await;
        builder = builder.extender(extender.map_err(anyhow::Error::msg)?);
    }
    Ok(builder)
}

#[expect(clippy::print_stdout, reason = "the answer is what was asked for")]
async fn explain(
    args: &SchedulerArgs,
    features: Features,
    question: &SchedulerQuestion,
) -> anyhow::Result<()> {
    let SchedulerQuestion::Explain { pod, namespace, output } = question;
    let client = clients(&args.component).await?.client();
    let configuration = scheduler_configuration(args.config.as_deref(), &features)?;
    let scheduler = configured(&configuration, features, client).await?.build()?;
    let trace = scheduler.explain(namespace, pod).await?;
    match output.as_str() {
        "json" => println!("{}", serde_json::to_string_pretty(&trace)?),
        _ => print!("{trace}"),
    }
    Ok(())
}

pub(super) async fn scheduler(args: SchedulerArgs) -> anyhow::Result<()> {
    let features: Features = args.feature_gates.join(",").parse().context("--feature-gates")?;
    if let Some(question) = &args.question {
        return explain(&args, features, question).await;
    }
    let clients = clients(&args.component).await?;
    let port = Port {
        name: "kube-scheduler",
        args: &args.component,
        listen: args.listen,
        clients: &args.clients,
        trusted: &authority(&clients.config()),
    };
    let client = clients.client();
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let (served, renewal) = port.endpoint(client.clone(), &health, &metrics)?;
    let resources = PodResources::default();
    let shown = resources.clone();
    let served = served.page("/metrics/resources", move || shown.encode());
    let configuration = scheduler_configuration(args.config.as_deref(), &features)?;
    let builder = configured(&configuration, features, client).await?;
    let mut builder = builder.health(health).metrics(metrics).pod_resources(resources);
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
    let plane = ControlPlane::new().with(clients.reload()).with(served).with(renewal);
    supervise(plane.with(scheduler)).await
}

/// How late it may be noticed that a node has renewed its lease.
const LEASES: Duration = Duration::from_secs(1);

/// What controllers go by, or what is wrong with what was said; of what has no effect it is told.
fn settings(args: &ControllersArgs) -> anyhow::Result<Settings> {
    let settings = args.settings.settings().map_err(anyhow::Error::msg)?;
    args.manager.check(&args.component.kubeconfig).map_err(anyhow::Error::msg)?;
    for flag in args.manager.ignored() {
        tracing::warn!("--{flag} has no effect");
    }
    Ok(settings)
}

pub(super) async fn controllers(args: ControllersArgs) -> anyhow::Result<()> {
    let features: Features = args.feature_gates.join(",").parse().context("--feature-gates")?;
    let settings = settings(&args)?;
    let kubeconfig = clients(&args.component).await?;
    let authority = authority(&kubeconfig.config());
    let clock = kubeplane::clock::real();
    let clients = ControllerClients::renewed(&kubeconfig, clock.clone());
    let keys = Keys::read(&args, &authority)?;
    let (health, metrics) = (Health::new(), Metrics::new().with_process());
    let options = BuiltinOptions::new(clock.clone(), keys.root_ca).with_metrics(metrics.clone());
    let ranges = args.settings.cluster_cidrs().iter();
    let options = ranges
        .fold(options.with_features(features), |options, range| options.with_cluster_cidr(*range));
    let options = signing::with_keys(
        options,
        &keys.certificate,
        keys.key.as_deref(),
        keys.account_key.as_deref(),
    );
    let options = keys.signers.into_iter().fold(options, |options, (signer, authority)| {
        options.with_signer_authority(signer, Arc::new(authority))
    });
    let client = kubeconfig.client();
    let mut plane = ControlPlane::new().with(kubeconfig.reload());
    if let Some(listen) = args.manager.listen(args.listen) {
        let port = Port {
            name: "kube-controller-manager",
            args: &args.component,
            listen,
            clients: &args.clients,
            trusted: &authority,
        };
        let (served, renewal) = port.endpoint(client.clone(), &health, &metrics)?;
        plane = plane.with(served).with(renewal);
    }
    let selection = Selection::parse(&args.controllers.join(","));
    // Each node renews its lease every ten seconds, and is given up after forty.
    let source = ClientSource::new(client.clone()).gathering::<Lease>(LEASES, clock.clone());
    let informers = Informers::from_source(Arc::new(source), clock.clone(), Seed::random());
    let mut manager = Manager::builder(client)
        .informers(informers)
        .transform(trim_pod)
        .clock(clock.clone())
        .health(health)
        .metrics(metrics)
        .select(selection)
        .add_all(builtin_with(&options, &settings));
    if args.manager.use_service_account_credentials {
        manager = manager.client_for(move |controller| clients.client(controller));
    }
    if args.leader_elect {
        let identity = format!("{}_{}", machine::name(), std::process::id());
        let lease = args.election.lease(&identity).map_err(anyhow::Error::msg)?;
        manager = manager.leader_election(lease);
    }
    supervise(plane.with(manager.build()?)).await
}

/// The authority the kubeconfig trusts, PEM: it is published to pods.
pub(super) fn authority(config: &kube::Config) -> String {
    use kubeplane::pki::pem;
    let roots = config.root_cert.iter().flatten();
    roots.map(|der| pem("CERTIFICATE", der)).collect()
}
