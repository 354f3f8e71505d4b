//! What `serve` and `apiserver` share: store, credentials, the API server and what is said about it.

use super::{admission, audit, etcd, machine};
use crate::cli::{ApiArgs, StoreChoice};
use anyhow::Context as _;
use async_trait::async_trait;
use kubeplane::{
    aggregation::Aggregation,
    api::{ApiOptions, standard_aggregation, standard_api_server, standard_bootstrap},
    core::component::{Component, ComponentError, Lifecycle},
    credentials::{Credentials, Kubeconfigs},
    extensions::CustomResources,
    handlers::Bootstrap,
    local_storage::LocalStorage,
    prelude::*,
    renewal::Renewal,
    snapshots::SnapshotRoute,
    webhooks::PolicyTypeChecking,
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};
use tokio::sync::watch;

/// An API server and what stands around it, not running yet.
pub(super) struct Setup {
    pub(super) address: IpAddr,
    pub(super) credentials: Arc<Credentials>,
    pub(super) api: ApiServer,
    pub(super) bootstrap: Bootstrap,
    pub(super) custom: CustomResources,
    pub(super) aggregation: Aggregation,
    pub(super) type_checking: PolicyTypeChecking,
    pub(super) local_storage: Option<LocalStorage>,
    pub(super) announcement: Announcement,
    /// Keeps certificates and kubeconfigs from ending while the server runs.
    pub(super) renewal: Renewal,
}

/// Makes everything but the directory, which the caller has locked.
pub(super) async fn prepare(
    args: &ApiArgs,
    data_dir: &Path,
    mut options: ApiOptions,
    nodes: Vec<String>,
) -> anyhow::Result<Setup> {
    // Refused before anything is made on the disk.
    options.features = args.feature_gates.join(",").parse().context("--feature-gates")?;
    options.versions = args.runtime_config.join(",").parse().context("--runtime-config")?;
    options.admission = admission::plugins(&args.admission)?;
    options.audit = audit::log(&args.audit, &options.clock)?;
    let address = args.advertise_address.unwrap_or_else(|| reachable(args.listen));
    let credentials = Arc::new(credentials(args, data_dir, address, &options)?);
    let store = open(args, data_dir, &mut options).await?;
    options.storage_prefix = args.etcd.etcd_prefix.clone();
    options.listen = Some(args.listen);
    options.host = Some(machine::name());
    options.service_ranges.clone_from(&args.service_cidr);
    let api = standard_api_server(store, &credentials, &options)?;
    let advertised = SocketAddr::new(address, args.listen.port());
    let bootstrap = standard_bootstrap(&api, &credentials, &options, advertised)?;
    let files = Kubeconfigs::new(data_dir, nodes);
    let announcement =
        Announcement { bound: api.bound(), credentials: credentials.clone(), files: files.clone() };
    let renewal = Renewal::new(options.clock.clone());
    let renewal = renewal.with_kubeconfigs(credentials.clone(), files, api.bound());
    let custom = CustomResources::new(api.api()).with_metrics(&options.metrics);
    let local_storage = (!args.no_local_storage).then(|| LocalStorage::new(api.api()));
    let aggregation = standard_aggregation(&api, &credentials)?.with_metrics(&options.metrics);
    let type_checking = PolicyTypeChecking::new(api.api());
    Ok(Setup {
        address,
        credentials,
        api,
        bootstrap,
        custom,
        aggregation,
        type_checking,
        local_storage,
        announcement,
        renewal,
    })
}

fn reachable(listen: SocketAddr) -> IpAddr {
    if listen.ip().is_unspecified() { machine::address() } else { listen.ip() }
}

fn credentials(
    args: &ApiArgs,
    data_dir: &Path,
    address: IpAddr,
    options: &ApiOptions,
) -> anyhow::Result<Credentials> {
    let first = kubeplane::handlers::ServiceAddresses::new(
        args.service_cidr.clone(),
        options.node_ports.clone(),
    )?
    .first();
    let mut names = vec![machine::name()];
    let mut addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST), address, first];
    for name in &args.names {
        match name.parse() {
            Ok(address) => addresses.push(address),
            Err(_) => names.push(name.clone()),
        }
    }
    let pki = data_dir.join("pki");
    Ok(Credentials::open(&pki, &names, &addresses, options.clock.now())?)
}

/// Opens the store, and the door to its snapshots where it has them.
async fn open(
    args: &ApiArgs,
    data_dir: &Path,
    options: &mut ApiOptions,
) -> anyhow::Result<Arc<dyn Store>> {
    Ok(match &args.store {
        StoreChoice::Embedded => {
            let store = MemoryStore::builder()
                .path(data_dir.join("store"))
                .relaxed(&args.relaxed)
                .accept_data_loss(args.accept_data_loss_from_damaged_store)
                .open()
                .context("embedded store")?;
            for loss in store.data_loss() {
                eprintln!("DATA LOST: {loss}");
            }
            let door = SnapshotRoute::new(store.clone());
            options.routes.push((SnapshotRoute::PATH.to_owned(), Arc::new(door)));
            Arc::new(store)
        }
        StoreChoice::Etcd(urls) => etcd::open(urls, &args.etcd).await?,
    })
}

/// Writes the kubeconfigs once the address is known, and says where the server listens.
#[derive(Debug)]
pub(super) struct Announcement {
    bound: watch::Receiver<Option<SocketAddr>>,
    credentials: Arc<Credentials>,
    files: Kubeconfigs,
}

impl Announcement {
    fn announce(&self, bound: SocketAddr) -> Result<(), ComponentError> {
        let server = Kubeconfigs::server(bound);
        let admin = self.files.write(&self.credentials, &server)?;
        eprintln!("listening on {server} ({bound})");
        eprintln!("export KUBECONFIG={}", admin.display());
        Ok(())
    }
}

#[async_trait]
impl Component for Announcement {
    fn name(&self) -> &str {
        "kubeconfig"
    }

    async fn run(mut self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let bound = *self.bound.wait_for(Option::is_some).await?;
        if let Some(bound) = bound {
            self.announce(bound)?;
        }
        lifecycle.ready();
        lifecycle.stopping().await;
        Ok(())
    }
}
