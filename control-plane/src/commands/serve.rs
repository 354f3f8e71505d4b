use super::{machine, setup, supervise};
use crate::cli::{self, NodeArgs, ServeArgs};
use kubeplane::{
    ControlPlane, DataDir,
    api::ApiOptions,
    client::Informers,
    clock::{Seed, SharedClock},
    component_routes::ComponentRoutes,
    controllers::{Selection, builtin, trim_pod},
    credentials::{
        CONTROLLER_MANAGER, Credentials, PROXY, SCHEDULER, component_user, controller_user,
        node_user,
    },
    handlers::ComponentStatuses,
    prelude::*,
    proxy::{Proxy, ProxyConfig},
    runtime::{self, Found},
    signing::controller_options,
    telemetry::{Health, Metrics, Probe},
    ui::Ui,
};
use std::{net::IpAddr, path::Path, sync::Arc};

/// What is done beside the API server for ValidatingAdmissionPolicies goes by the name it has among controllers.
const TYPE_CHECKING: &str = "validatingadmissionpolicy-status-controller";

/// What all components of the process share.
struct Shared {
    clock: SharedClock,
    seed: Seed,
    metrics: Metrics,
    scheduler: Health,
    controllers: Health,
    components: ComponentRoutes,
}

pub(super) async fn run(args: ServeArgs) -> anyhow::Result<()> {
    let shared = Shared {
        clock: kubeplane::clock::real(),
        seed: Seed::random(),
        metrics: Metrics::new().with_process(),
        scheduler: Health::new(),
        controllers: Health::new(),
        components: ComponentRoutes::new(),
    };
    let node = args.node.node_name.clone().unwrap_or_else(machine::name);
    let data = DataDir::lock(&args.api.data_dir, "kubeplane serve")?;
    // A kubelet alone locks only its own part.
    let node_data = DataDir::lock(&data.path().join("kubelet"), "kubeplane serve")?;
    // What pods say is nobody else's business, whatever the mode of a directory that was there before.
    DataDir::make(&data.path().join("pod-logs"))?;
    eprintln!("kubeplane {}: data in {}", env!("CARGO_PKG_VERSION"), args.api.data_dir.display());
    let (ui, mut options) = (Ui::new(), api_options(&shared));
    let pages = ui.clone();
    options.extend = options.extend.and(move |builder| pages.install(builder));
    let setup = setup::prepare(&args.api, data.path(), options, vec![node.clone()]).await?;
    let found =
        runtime::find_with(&args.node.runtime, shared.clock.clone(), args.node.simulated()).await;
    let found = found.map_err(anyhow::Error::msg)?;
    eprintln!("container runtime: {}", found.description);
    let api = &setup.api;
    let selection = Selection::parse(&args.controllers.join(","));
    let checks_types = selection.includes(TYPE_CHECKING);
    let manager = controllers(api, &setup.credentials, selection, &shared)?;
    let scheduler = scheduler(api, &shared)?;
    let traces = ui.traces(api.client_as(component_user(SCHEDULER)));
    let kubelet = kubelet(
        api,
        &setup.credentials,
        &args.node,
        &found,
        data.path(),
        setup.address,
        &node,
        &shared,
    )?;
    let proxy = proxy(api, &args, &found, setup.address, &node, &shared).await?;
    let mut plane = ControlPlane::new()
        .with(setup.api)
        .with(setup.announcement)
        .with(setup.bootstrap)
        .with(setup.custom)
        .with(setup.aggregation)
        .with(setup.renewal);
    if checks_types {
        plane = plane.with(setup.type_checking);
    }
    if let Some(storage) = setup.local_storage {
        plane = plane.with(storage);
    }
    plane = plane.with(manager).with(scheduler).with(traces).with(kubelet);
    if let Some(proxy) = proxy {
        plane = plane.with(proxy);
    }
    supervise(plane.clock(shared.clock)).await?;
    drop((node_data, data));
    Ok(())
}

fn api_options(shared: &Shared) -> ApiOptions {
    let check = |health: Health| {
        move || {
            let report = health.report(Probe::Both, &[]);
            let failed: Vec<_> =
                report.failures().map(|(name, why)| format!("{name}: {why}")).collect();
            if failed.is_empty() { Ok("ok".to_owned()) } else { Err(failed.join(", ")) }
        }
    };
    shared.components.add("kube-scheduler", shared.scheduler.clone());
    shared.components.add("kube-controller-manager", shared.controllers.clone());
    ApiOptions {
        clock: shared.clock.clone(),
        seed: shared.seed.clone(),
        metrics: shared.metrics.clone(),
        components: ComponentStatuses::new()
            .with("scheduler", check(shared.scheduler.clone()))
            .with("controller-manager", check(shared.controllers.clone())),
        flags: cli::flags(),
        routes: vec![(ComponentRoutes::PATH.to_owned(), Arc::new(shared.components.clone()))],
        ..ApiOptions::default()
    }
}

fn controllers(
    api: &ApiServer,
    credentials: &Credentials,
    selection: Selection,
    shared: &Shared,
) -> anyhow::Result<Manager> {
    let client = api.client_as(component_user(CONTROLLER_MANAGER));
    let inside = api.clients();
    let options = controller_options(credentials, &shared.clock)
        .with_features(api.api().features().clone())
        .with_metrics(shared.metrics.clone());
    Ok(Manager::builder(client)
        .client_for(move |name| inside.client_as(controller_user(name)))
        .clock(shared.clock.clone())
        .seed(shared.seed.clone())
        .metrics(shared.metrics.clone())
        .health(shared.controllers.clone())
        .select(selection)
        .add_all(builtin(&options))
        .transform(trim_pod)
        .build()?)
}

fn scheduler(api: &ApiServer, shared: &Shared) -> anyhow::Result<Scheduler> {
    Ok(Scheduler::builder(api.client_as(component_user(SCHEDULER)))
        .features(api.api().features().clone())
        .clock(shared.clock.clone())
        .seed(shared.seed.clone())
        .host(machine::name())
        .metrics(shared.metrics.clone())
        .health(shared.scheduler.clone())
        .build()?)
}

#[expect(clippy::too_many_arguments, reason = "this is the one place where all parts meet")]
fn kubelet(
    api: &ApiServer,
    credentials: &Credentials,
    args: &NodeArgs,
    found: &Found,
    data_dir: &Path,
    address: IpAddr,
    node: &str,
    shared: &Shared,
) -> anyhow::Result<Kubelet> {
    let mut config = kubelet_config(args, data_dir, address, node);
    config.serving_live = Some(credentials.live_kubelet_serving(node, &[address])?);
    config.client_ca = Some(credentials.authority().to_owned());
    config.features = api.api().features().clone();
    let health = Health::new();
    shared.components.add("kubelet", health.clone());
    Ok(Kubelet::builder(api.client_as(node_user(node)), found.runtime.clone(), config)
        .clock(shared.clock.clone())
        .health(health)
        .metrics(shared.metrics.clone())
        .build()?)
}

pub(super) fn kubelet_config(
    args: &NodeArgs,
    data_dir: &Path,
    address: IpAddr,
    node: &str,
) -> KubeletConfig {
    let mut config = KubeletConfig::new(node);
    config.node_ips = vec![address];
    config.data_dir = data_dir.join("kubelet");
    config.log_dir = data_dir.join("pod-logs");
    config.listen = args.kubelet_listen;
    config.pod_cidr = Some(args.pod_cidr);
    config.cni_conf_dir.clone_from(&args.cni_conf_dir);
    config
}

async fn proxy(
    api: &ApiServer,
    args: &ServeArgs,
    found: &Found,
    address: IpAddr,
    node: &str,
    shared: &Shared,
) -> anyhow::Result<Option<Proxy>> {
    let why_not = match () {
        () if args.no_proxy => "as asked".to_owned(),
        () if !found.real => "simulated pods have no network".to_owned(),
        () => match Proxy::available().await {
            Ok(()) => {
                let client = api.client_as(component_user(PROXY));
                let mut config = ProxyConfig::new(node);
                config.node_ips = vec![address];
                config.cluster_cidrs = vec![args.node.pod_cidr];
                config.service_cidrs = args.api.service_cidr.clone();
                config.external_ips = api.api().features().is_on("AllowServiceExternalIPs");
                let health = Health::new();
                shared.components.add("kube-proxy", health.clone());
                let proxy = Proxy::builder(client.clone(), config)
                    .health(health)
                    .informers(Informers::new(client, shared.clock.clone()))
                    .clock(shared.clock.clone())
                    .metrics(shared.metrics.clone())
                    .build()?;
                return Ok(Some(proxy));
            }
            Err(why) => why,
        },
    };
    eprintln!("service proxy not run: {why_not}");
    Ok(None)
}
