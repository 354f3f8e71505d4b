//! A control plane inside a test.

use crate::{
    api::{ApiOptions, standard_api_server, standard_bootstrap},
    credentials::{CONTROLLER_MANAGER, Credentials, SCHEDULER, component_user, controller_user, node_user},
};
use kubeplane_apiserver::{ApiServer, Clients};
use kubeplane_controllers::{BuiltinOptions, Manager, builtin};
use kubeplane_core::{
    auth::UserInfo,
    component::{Component, Supervision, lifecycle},
    reader::ObjectReader,
};
use kubeplane_extensions::CustomResources;
use kubeplane_kubelet::{Kubelet, KubeletConfig};
use kubeplane_runtime_cri::{SimulatedOptions, SimulatedRuntime};
use kubeplane_scheduler_framework::Scheduler;
use kubeplane_store_memory::MemoryStore;
use parking_lot::Mutex;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Which parts a [`TestCluster`] has beside its API server.
#[derive(Debug, Clone, Default)]
pub struct TestClusterBuilder {
    controllers: bool,
    scheduler: bool,
    nodes: usize,
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

    /// This many nodes whose containers are simulated, named `node-1` and so on.
    #[must_use]
    pub fn nodes(mut self, count: usize) -> Self {
        self.nodes = count;
        self
    }

    /// Listens on a free loopback port; see [`TestCluster::kubeconfig`].
    #[must_use]
    pub fn listen(mut self) -> Self {
        self.listen = true;
        self
    }

    /// Clock, seed and ranges of the API server.
    #[must_use]
    pub fn options(mut self, options: ApiOptions) -> Self {
        self.options = options;
        self
    }

    /// Starts it; returns when every part is ready.
    ///
    /// # Errors
    /// When a part does not start.
    pub async fn start(mut self) -> Result<TestCluster, BoxError> {
        let directory = TempDir::new()?;
        let loopback = Ipv4Addr::LOCALHOST.into();
        let now = self.options.clock.now();
        let credentials = Credentials::open(&directory.path().join("pki"), &[], &[loopback], now)?;
        if self.listen {
            self.options.listen = Some(SocketAddr::new(loopback, 0));
        }
        let api = standard_api_server(Arc::new(MemoryStore::new()), &credentials, &self.options)?;
        let mut cluster = Parts::new(directory, api.clients(), api.reader());
        let bound = api.bound();
        let bootstrap =
            standard_bootstrap(&api, &credentials, &self.options, SocketAddr::new(loopback, 6443))?;
        let custom = CustomResources::new(api.api());
        let rest = self.rest(&api, &credentials, &cluster)?;
        cluster.start(Box::new(api)).await?;
        if let Some(address) = *bound.borrow() {
            let file = cluster.directory.path().join("kubeconfig");
            credentials.admin_kubeconfig(&format!("https://{address}")).write(&file)?;
            cluster.kubeconfig = Some(file);
        }
        cluster.start(Box::new(bootstrap)).await?;
        cluster.start(Box::new(custom)).await?;
        for component in rest {
            cluster.start(component).await?;
        }
        Ok(TestCluster(Arc::new(Mutex::new(cluster))))
    }

    fn rest(
        &self,
        api: &ApiServer,
        credentials: &Credentials,
        cluster: &Parts,
    ) -> Result<Vec<Box<dyn Component>>, BoxError> {
        let (clock, seed) = (&self.options.clock, &self.options.seed);
        let mut rest: Vec<Box<dyn Component>> = Vec::new();
        if self.controllers {
            let clients = api.clients();
            let manager = Manager::builder(api.client_as(component_user(CONTROLLER_MANAGER)))
                .client_for(move |name| clients.client_as(controller_user(name)))
                .clock(clock.clone())
                .seed(seed.clone())
                .add_all(builtin(&BuiltinOptions::new(clock.clone(), credentials.authority())));
            rest.push(Box::new(manager.build()?));
        }
        if self.scheduler {
            let scheduler = Scheduler::builder(api.client_as(component_user(SCHEDULER)));
            rest.push(Box::new(scheduler.clock(clock.clone()).seed(seed.clone()).build()?));
        }
        for number in 1..=self.nodes {
            let name = format!("node-{number}");
            let mut config = KubeletConfig::new(&name);
            config.data_dir = cluster.directory.path().join(&name);
            config.log_dir = config.data_dir.join("logs");
            config.pod_cidr = format!("10.244.{}.0/24", number % 256).parse().ok();
            let runtime = SimulatedRuntime::new(clock.clone(), SimulatedOptions::default());
            let client = api.client_as(node_user(&name));
            let kubelet = Kubelet::builder(client, Arc::new(runtime), config).clock(clock.clone());
            rest.push(Box::new(kubelet.build()?));
        }
        Ok(rest)
    }
}

#[derive(Debug)]
struct Parts {
    directory: TempDir,
    clients: Clients,
    reader: Arc<dyn ObjectReader>,
    kubeconfig: Option<PathBuf>,
    running: Vec<Supervision>,
    tasks: JoinSet<()>,
}

impl Parts {
    fn new(directory: TempDir, clients: Clients, reader: Arc<dyn ObjectReader>) -> Self {
        Self {
            directory,
            clients,
            reader,
            kubeconfig: None,
            running: Vec::new(),
            tasks: JoinSet::new(),
        }
    }

    async fn start(&mut self, component: Box<dyn Component>) -> Result<(), BoxError> {
        let (own, mut supervision) = lifecycle();
        let name = component.name().to_owned();
        let (failed, failure) = tokio::sync::oneshot::channel();
        self.tasks.spawn(async move {
            if let Err(error) = component.run(own).await {
                // Nobody waits for it once the component was ready.
                if let Err(error) = failed.send(error) {
                    tracing::error!(component = name, %error, "component failed");
                }
            }
        });
        self.running.push(supervision.clone());
        tokio::select! {
            biased;
            Ok(error) = failure => Err(error),
            ready = supervision.became_ready() => {
                if ready { Ok(()) } else { Err("a component ended before it was ready".into()) }
            }
        }
    }
}

/// A full API server on memory, in this process, with no port unless asked for one; gone with its last clone.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// use kubeplane::testing::TestCluster;
/// let cluster = TestCluster::start().await?;
/// let namespaces: kube::Api<k8s_openapi::api::core::v1::Namespace> = kube::Api::all(cluster.client());
/// assert_eq!(namespaces.list(&Default::default()).await?.items.len(), 4);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TestCluster(Arc<Mutex<Parts>>);

impl TestCluster {
    /// An API server with its bootstrap objects, and nothing else.
    ///
    /// # Errors
    /// When it does not start.
    pub async fn start() -> Result<Self, BoxError> {
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
        self.client_as(UserInfo::new("kubernetes-admin", ["system:masters", "system:authenticated"]))
    }

    /// Anybody's client, in-process.
    #[must_use]
    pub fn client_as(&self, user: UserInfo) -> kube::Client {
        self.0.lock().clients.client_as(user)
    }

    /// Reads from the watch caches.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn ObjectReader> {
        self.0.lock().reader.clone()
    }

    /// The administrator's kubeconfig, if the cluster listens.
    #[must_use]
    pub fn kubeconfig(&self) -> Option<PathBuf> {
        self.0.lock().kubeconfig.clone()
    }

    /// Stops all parts, last started first, and waits for them.
    pub async fn stop(self) {
        let (running, mut tasks) = {
            let mut parts = self.0.lock();
            (std::mem::take(&mut parts.running), std::mem::take(&mut parts.tasks))
        };
        for supervision in running.iter().rev() {
            supervision.stop();
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Runs a test with a cluster on a runtime of its own; what [`kubeplane::test`](macro@crate::test) expands to.
///
/// # Panics
/// When the cluster does not start.
#[expect(clippy::expect_used, reason = "a test that cannot start has failed")]
pub fn run<T>(test: impl AsyncFnOnce(TestCluster) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime for the test");
    runtime.block_on(async {
        let cluster = TestCluster::start().await.expect("a cluster for the test");
        let output = test(cluster.clone()).await;
        cluster.stop().await;
        output
    })
}
