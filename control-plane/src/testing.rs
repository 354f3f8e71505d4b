//! A control plane inside a test.
//!
//! ```text
//!   TestCluster::builder().controllers().scheduler().nodes(2).start()
//!        │
//!        └─> ControlPlane: API server on memory ─ bootstrap ─ custom resources ─ controllers ─ scheduler ─ kubelets
//!                          (the standard assembly, in a directory of its own that goes with it)
//! ```

use crate::{
    ControlPlane, ControlPlaneError,
    api::{ApiOptions, standard_aggregation, standard_api_server, standard_bootstrap},
    credentials::{
        CONTROLLER_MANAGER, Credentials, SCHEDULER, component_user, controller_user, node_user,
    },
};
use futures::FutureExt;
use ipnet::{IpNet, Ipv4Net};
use kubeplane_apiserver::{ApiServer, Clients};
use kubeplane_controllers::{BuiltinOptions, Manager, builtin};
use kubeplane_core::{
    auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo},
    reader::ObjectReader,
};
use kubeplane_extensions::CustomResources;
use kubeplane_kubelet::{Kubelet, KubeletConfig, ServingCertificate};
use kubeplane_runtime_cri::{SimulatedOptions, SimulatedRuntime};
use kubeplane_scheduler_framework::Scheduler;
use kubeplane_store_memory::MemoryStore;
use kubeplane_webhooks::PolicyTypeChecking;
use parking_lot::Mutex;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    panic::{AssertUnwindSafe, resume_unwind},
    path::{Path, PathBuf},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a [`TestCluster`] does not start: what the part says that does not.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(BoxError);

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// Which parts a [`TestCluster`] has beside its API server.
#[derive(Debug, Clone, Default)]
pub struct TestClusterBuilder {
    controllers: bool,
    scheduler: bool,
    nodes: u16,
    listen: bool,
    options: ApiOptions,
}

impl TestClusterBuilder {
    /// All built-in controllers.
    #[must_use]
    pub fn controllers(mut self) -> Self {
        self.controllers = true;
        self
    }

    /// The scheduler with its default profile.
    #[must_use]
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// This many nodes whose containers are simulated, named `node-1` and so on. They take pods when
    /// there are [`controllers`](Self::controllers), which find them ready.
    #[must_use]
    pub fn nodes(mut self, count: u16) -> Self {
        self.nodes = count;
        self
    }

    /// Listens on a free loopback port; see [`TestCluster::kubeconfig`].
    #[must_use]
    pub fn listen(mut self) -> Self {
        self.listen = true;
        self
    }

    /// Clock, seed and ranges of the API server; clock and seed are also those of the other parts.
    #[must_use]
    pub fn options(mut self, options: ApiOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts it; returns when every part is ready.
    ///
    /// # Errors
    /// When a part does not start.
    ///
    /// # Cancellation
    /// What was started is gone.
    pub async fn start(self) -> Result<TestCluster, StartError> {
        self.try_start().await.map_err(StartError)
    }

    async fn try_start(mut self) -> Result<TestCluster, BoxError> {
        let directory = TempDir::new()?;
        if self.listen {
            self.options.listen = Some(SocketAddr::new(LOOPBACK, 0));
        }
        let pki = directory.path().join("pki");
        let credentials = Credentials::open(&pki, &[], &[LOOPBACK], self.options.clock.now())?;
        let api = standard_api_server(Arc::new(MemoryStore::new()), &credentials, &self.options)?;
        let (clients, reader, bound) = (api.clients(), api.reader(), api.bound());
        let plane = self.assemble(api, &credentials, directory.path())?;
        let (stop, plane) = self.run(plane).await?;
        let address = *bound.borrow();
        let kubeconfig = address.map(|_| directory.path().join("kubeconfig"));
        if let (Some(file), Some(address)) = (&kubeconfig, address) {
            credentials.admin_kubeconfig(&format!("https://{address}")).write(file)?;
        }
        let plane = Mutex::new(Some(plane));
        Ok(TestCluster(Arc::new(Inner { clients, reader, kubeconfig, stop, plane, directory })))
    }

    fn assemble(
        &self,
        api: ApiServer,
        credentials: &Credentials,
        directory: &Path,
    ) -> Result<ControlPlane, BoxError> {
        let clients = api.clients();
        let address = SocketAddr::new(LOOPBACK, 6443);
        let bootstrap = standard_bootstrap(&api, credentials, &self.options, address)?;
        let custom = CustomResources::new(api.api());
        let aggregation = standard_aggregation(&api, credentials)?;
        let checking = PolicyTypeChecking::new(api.api());
        let mut plane = ControlPlane::new().with(api).with(bootstrap).with(custom);
        plane = plane.with(aggregation).with(checking);
        if self.controllers {
            plane = plane.with(self.manager(&clients, credentials)?);
        }
        if self.scheduler {
            let scheduler = Scheduler::builder(clients.client_as(component_user(SCHEDULER)))
                .clock(self.options.clock.clone())
                .seed(self.options.seed.clone())
                .metrics(self.options.metrics.clone());
            plane = plane.with(scheduler.build()?);
        }
        for number in 1..=self.nodes {
            plane = plane.with(self.node(number, &clients, credentials, directory)?);
        }
        Ok(plane)
    }

    fn manager(&self, clients: &Clients, credentials: &Credentials) -> Result<Manager, BoxError> {
        let clock = self.options.clock.clone();
        let controllers = builtin(&BuiltinOptions::new(clock.clone(), credentials.authority()));
        let own = clients.clone();
        let manager = Manager::builder(clients.client_as(component_user(CONTROLLER_MANAGER)))
            .client_for(move |name| own.client_as(controller_user(name)))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone())
            .add_all(controllers);
        Ok(manager.build()?)
    }

    fn node(
        &self,
        number: u16,
        clients: &Clients,
        credentials: &Credentials,
        directory: &Path,
    ) -> Result<Kubelet, BoxError> {
        let clock = self.options.clock.clone();
        let name = format!("node-{number}");
        let range = pod_range(number);
        let serving = credentials.kubelet_serving(&name, &[LOOPBACK])?;
        let mut config = KubeletConfig::new(&name);
        config.data_dir = directory.join(&name);
        config.log_dir = config.data_dir.join("logs");
        config.cni_conf_dir = config.data_dir.join("cni");
        config.listen = SocketAddr::new(LOOPBACK, 0);
        config.serving =
            Some(ServingCertificate { certificate: serving.certificate, key: serving.key });
        config.client_ca = Some(credentials.authority().to_owned());
        config.pod_cidr = Some(range);
        let options = SimulatedOptions {
            pod_cidr: range.to_string(),
            seed: self.options.seed.clone(),
            ..SimulatedOptions::default()
        };
        let runtime = Arc::new(SimulatedRuntime::new(clock.clone(), options));
        let client = clients.client_as(node_user(&name));
        Ok(Kubelet::builder(client, runtime, config).clock(clock).build()?)
    }

    /// Returns when all components are ready.
    async fn run(&self, plane: ControlPlane) -> Result<(CancellationToken, Plane), BoxError> {
        let parts = 5 + usize::from(self.controllers) + usize::from(self.scheduler);
        let parts = parts + usize::from(self.nodes);
        let stop = CancellationToken::new();
        let (ready, mut all_ready) = watch::channel(0);
        let plane = plane.on_ready(move |_| ready.send_modify(|count| *count += 1));
        let stopped = stop.clone().cancelled_owned();
        let plane = AbortOnDropHandle::new(tokio::spawn(plane.run_until(stopped)));
        if all_ready.wait_for(|count| *count == parts).await.is_err() {
            plane.await??;
            return Err("the control plane ended before it was ready".into());
        }
        Ok((stop, plane))
    }
}

/// The n-th /24 of 10.244.0.0 and what follows.
fn pod_range(number: u16) -> IpNet {
    let first = u32::from(Ipv4Addr::new(10, 244, 0, 0)) + (u32::from(number) << 8);
    Ipv4Net::new_assert(Ipv4Addr::from(first), 24).into()
}

type Plane = AbortOnDropHandle<Result<(), ControlPlaneError>>;

#[derive(Debug)]
struct Inner {
    clients: Clients,
    reader: Arc<dyn ObjectReader>,
    kubeconfig: Option<PathBuf>,
    stop: CancellationToken,
    plane: Mutex<Option<Plane>>,
    directory: TempDir,
}

/// A full API server on memory, in this process, with no port unless asked for one, and the parts asked for.
///
/// [`stop`](Self::stop) ends it in order. Dropping the last clone ends it at once. Either way its tasks and
/// files go with it.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use k8s_openapi::api::core::v1::Namespace;
/// use kubeplane::testing::TestCluster;
///
/// let cluster = TestCluster::start().await?;
/// let namespaces: kube::Api<Namespace> = kube::Api::all(cluster.client());
/// assert!(namespaces.get_opt("kube-system").await?.is_some());
/// cluster.stop().await?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TestCluster(Arc<Inner>);

impl TestCluster {
    /// An API server with its bootstrap objects and custom resources, and nothing else.
    ///
    /// # Errors
    /// When it does not start.
    ///
    /// # Cancellation
    /// As of [`TestClusterBuilder::start`].
    pub async fn start() -> Result<Self, StartError> {
        Self::builder().start().await
    }

    /// Chooses more parts.
    #[must_use]
    pub fn builder() -> TestClusterBuilder {
        TestClusterBuilder::default()
    }

    /// An administrator's client, in-process.
    #[must_use]
    pub fn client(&self) -> kube::Client {
        self.client_as(UserInfo::new("kubernetes-admin", [GROUP_MASTERS, GROUP_AUTHENTICATED]))
    }

    /// Anybody's client, in-process; as an authenticated user only with the group for it among the groups.
    #[must_use]
    pub fn client_as(&self, user: UserInfo) -> kube::Client {
        self.0.clients.client_as(user)
    }

    /// Reads from the watch caches.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn ObjectReader> {
        self.0.reader.clone()
    }

    /// The administrator's kubeconfig, if the cluster listens; it is there as long as the cluster.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<&Path> {
        self.0.kubeconfig.as_deref()
    }

    /// A directory for files of the test, which goes with the cluster.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.0.directory.path()
    }

    /// Stops all parts, last started first, and waits for them. Other clones are of no more use.
    ///
    /// # Errors
    /// The first failure of a part, now or earlier.
    ///
    /// # Cancellation
    /// What was not stopped yet ends at once.
    pub async fn stop(self) -> Result<(), ControlPlaneError> {
        self.0.stop.cancel();
        let plane = self.0.plane.lock().take();
        let Some(plane) = plane else { return Ok(()) };
        let panicked = |_| ControlPlaneError::Panicked { component: "control plane".into() };
        plane.await.map_err(panicked)?
    }
}

/// Runs a test with a cluster on a runtime of its own; what [`kubeplane::test`](macro@crate::test) expands to.
/// The cluster is stopped in order also when the test panics.
///
/// # Panics
/// When the test does, and when the cluster does not start or a part of it fails.
#[expect(clippy::expect_used, clippy::panic, reason = "this is a test, which fails by panicking")]
pub fn run<T>(builder: TestClusterBuilder, test: impl AsyncFnOnce(TestCluster) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(async {
        let cluster = match builder.start().await {
            Ok(cluster) => cluster,
            Err(error) => panic!("the cluster does not start: {error}"),
        };
        let output = AssertUnwindSafe(test(cluster.clone())).catch_unwind().await;
        let stopped = cluster.stop().await;
        match (output, stopped) {
            (Err(panic), _) => resume_unwind(panic),
            (Ok(_), Err(error)) => panic!("a part of the cluster failed: {error}"),
            (Ok(output), Ok(())) => output,
        }
    })
}

#[cfg(test)]
mod tests;
