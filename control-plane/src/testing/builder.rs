//! Which parts a test cluster has.

use super::{
    BoxError, ClusterSnapshot, Inner, LOOPBACK, Plane, StartError, TestCluster,
    clock::ClusterClock,
    faults::{ADMIN, Faults},
    gate::Gate,
    history::History,
    idle::Idle,
    keys,
    nodes::NodeParts,
    server::ApiPart,
    store::TestStore,
};
use crate::{
    ControlPlane,
    api::ApiOptions,
    credentials::{CONTROLLER_MANAGER, Credentials, SCHEDULER, component_user, controller_user},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::ServiceAccount,
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kubeplane_apiserver::Builder as ApiBuilder;
use kubeplane_client::{ClientSource, Informers};
use kubeplane_clock::{OffsetClock, PausedClock, Seed, SharedClock};
use kubeplane_controllers::{
    BoxController, BuiltinOptions, Controller, Manager, Selection, builtin,
};
use kubeplane_core::{
    auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo},
    component::Component,
};
use kubeplane_pki::Identity;
use kubeplane_scheduler_framework::{Profile, Scheduler};
use kubeplane_simulated::{SimulatedNodes, Simulation};
use kubeplane_store_memory::MemoryStore;
use kubeplane_telemetry::{Health, Metrics};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

type Make<T> = Arc<dyn Fn() -> T + Send + Sync>;
type MakeComponent =
    Arc<dyn Fn(&ClusterParts) -> Result<Box<dyn Component>, BoxError> + Send + Sync>;

/// Which parts a [`TestCluster`] has beside its API server. A clone makes another cluster like it.
#[derive(Clone, Default)]
#[must_use]
pub struct TestClusterBuilder {
    controllers: Option<Selection>,
    scheduler: bool,
    nodes: u16,
    simulation: Simulation,
    listen: Option<SocketAddr>,
    serving: Option<Identity>,
    options: ApiOptions,
    /// Whether the options were.
    given: bool,
    seed: Option<u64>,
    paused: Option<Timestamp>,
    skews: BTreeMap<String, SignedDuration>,
    profiles: Vec<Make<Profile>>,
    own_controllers: Vec<Make<BoxController>>,
    components: Vec<MakeComponent>,
    crds: Vec<CustomResourceDefinition>,
    snapshot: Option<ClusterSnapshot>,
    pub(super) idle: Option<Idle>,
    pub(super) history: Option<History>,
}

impl fmt::Debug for TestClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestClusterBuilder")
            .field("controllers", &self.controllers)
            .field("scheduler", &self.scheduler)
            .field("nodes", &self.nodes)
            .field("seed", &self.seed)
            .field("paused", &self.paused)
            .finish_non_exhaustive()
    }
}

/// What a component of a test's own is made of.
#[derive(Debug)]
#[non_exhaustive]
pub struct ClusterParts {
    gate: Arc<Gate>,
    /// The cluster's clock.
    pub clock: SharedClock,
    /// The cluster's chance.
    pub seed: Seed,
}

impl ClusterParts {
    /// A client that is this user; as an authenticated one only with the group for it among the groups.
    #[must_use]
    pub fn client_as(&self, user: UserInfo) -> kube::Client {
        self.gate.client(user)
    }
}

impl TestClusterBuilder {
    /// All built-in controllers, and a default StorageClass whose volumes are directories of nodes.
    pub fn controllers(mut self) -> Self {
        self.controllers = Some(Selection::default());
        self
    }

    /// Built-in controllers by name: a list as `--controllers` takes it, such as
    /// `deployment-controller,replicaset-controller` or `*,-cronjob-controller`.
    pub fn controllers_named(mut self, names: &str) -> Self {
        self.controllers = Some(Selection::parse(names));
        self
    }

    /// A controller of your own, with an administrator's rights.
    pub fn controller<C: Controller>(
        mut self,
        make: impl Fn() -> C + Send + Sync + 'static,
    ) -> Self {
        self.own_controllers.push(Arc::new(move || BoxController::new(make())));
        self
    }

    /// The scheduler with its default profile.
    pub fn scheduler(mut self) -> Self {
        self.scheduler = true;
        self
    }

    /// The scheduler with a profile of your own; may be said several times.
    pub fn profile(mut self, make: impl Fn() -> Profile + Send + Sync + 'static) -> Self {
        self.profiles.push(Arc::new(make));
        self.scheduler()
    }

    /// This many nodes whose containers are simulated, named `node-1` and so on, each with a kubelet. They take
    /// pods when there are [`controllers`](Self::controllers), which find them ready.
    pub fn nodes(mut self, count: u16) -> Self {
        self.nodes = count;
        self
    }

    /// This many nodes without kubelets, named `simulated-1` and so on: their pods run because their status says so.
    /// They cost next to nothing; thousands of them are no matter.
    pub fn simulated_nodes(self, count: u32) -> Self {
        self.simulation(Simulation::of_nodes(count))
    }

    /// Nodes without kubelets, and the stages of their pods; may be said several times.
    pub fn simulation(mut self, simulation: Simulation) -> Self {
        self.simulation = self.simulation.and(simulation);
        self
    }

    /// A component of your own, started after all others.
    pub fn component<C: Component, E: Into<BoxError>>(
        mut self,
        make: impl Fn(&ClusterParts) -> Result<C, E> + Send + Sync + 'static,
    ) -> Self {
        let boxed = move |parts: &ClusterParts| -> Result<Box<dyn Component>, BoxError> {
            make(parts).map(|made| Box::new(made) as Box<dyn Component>).map_err(Into::into)
        };
        self.components.push(Arc::new(boxed));
        self
    }

    /// Adds to the API server what its builder takes: admission steps, authenticators, authorizers, kinds,
    /// handlers, routes.
    pub fn api(
        mut self,
        extend: impl Fn(ApiBuilder) -> ApiBuilder + Send + Sync + 'static,
    ) -> Self {
        self.options.extend = self.options.extend.and(extend);
        self
    }

    /// A kind of your own, served when the cluster is there.
    pub fn crd(mut self, crd: CustomResourceDefinition) -> Self {
        self.crds.push(crd);
        self
    }

    /// Listens on a free loopback port; see [`TestCluster::kubeconfig`].
    pub fn listen(self) -> Self {
        self.listen_on(SocketAddr::new(LOOPBACK, 0))
    }

    /// Listens on this address of the loopback interface.
    pub fn listen_on(mut self, address: SocketAddr) -> Self {
        self.listen = Some(address);
        self
    }

    /// Serves with this certificate in place of one of the cluster's own authority.
    pub fn serving(mut self, identity: Identity) -> Self {
        self.serving = Some(identity);
        self
    }

    /// Stands still at the beginning of 2026 until it is told to [advance](TestCluster::advance).
    pub fn paused(self) -> Self {
        self.paused_at(Timestamp::constant(1_767_225_600, 0))
    }

    /// Stands still at this time until it is told to [advance](TestCluster::advance).
    pub fn paused_at(mut self, start: Timestamp) -> Self {
        self.paused = Some(start);
        self
    }

    /// Takes all chance from this: names, uids, back-off, and the cluster's authority.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    pub(super) fn seed_or(self, seed: u64) -> Self {
        let seed = self.seed.unwrap_or(seed);
        self.seed(seed)
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused.is_some()
    }

    /// A part whose clock is off by so much: `kube-scheduler`, `kube-controller-manager`, `simulated-nodes` or a
    /// node's name.
    pub fn skew(mut self, part: impl Into<String>, offset: SignedDuration) -> Self {
        self.skews.insert(part.into(), offset);
        self
    }

    /// Begins with what a cluster had stored when this was taken, and with its keys.
    pub fn snapshot(mut self, snapshot: ClusterSnapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Feature gates, versions, ranges and whatever else the API server has; clock and seed are also those of the
    /// other parts, unless they are said here.
    pub fn options(mut self, options: ApiOptions) -> Self {
        (self.options, self.given) = (options, true);
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
        let history = self.history.take().unwrap_or_default();
        let origin = self.clone();
        let directory = TempDir::new()?;
        // Clones of a builder are to share nothing.
        self.options.seed = Seed::new(self.seed.unwrap_or_else(|| match self.given {
            true => self.options.seed.value(),
            false => Seed::random().value(),
        }));
        if !self.given {
            (self.options.metrics, self.options.health) = (Metrics::new(), Health::new());
        }
        let paused = self.paused_clock();
        if let Some(paused) = &paused {
            self.options.clock = Arc::new(paused.clone());
        }
        self.options.listen = self.listen;
        let credentials = Arc::new(self.credentials(directory.path())?);
        let (restarts, asked) = mpsc::channel(1);
        let faults = Faults::default();
        let store = Arc::new(self.store(faults.clone(), history)?);
        let gate = Arc::new(Gate { server: watch::Sender::new(None), faults, store, restarts });
        let bound = watch::Sender::new(None);
        let api = ApiPart {
            gate: gate.clone(),
            credentials: credentials.clone(),
            options: self.options.clone(),
            local_storage: self.controllers.is_some(),
            restarts: asked,
            bound: bound.clone(),
        };
        let (plane, parts) = self.assemble(api, &gate, &credentials, &directory)?;
        let (stop, plane) = self.run(plane, parts).await?;
        self.define(gate.client(admin())).await?;
        self.await_account(gate.client(admin())).await?;
        let kubeconfig = match *bound.borrow() {
            Some(address) => {
                let file = directory.path().join("kubeconfig");
                credentials.admin_kubeconfig(&format!("https://{address}")).write(&file)?;
                Some(file)
            }
            None => None,
        };
        Ok(TestCluster(Arc::new(Inner {
            clock: ClusterClock { shared: self.options.clock, paused, idle: self.idle },
            seed: self.options.seed,
            gate,
            kubeconfig,
            stop,
            plane: Mutex::new(Some(plane)),
            directory,
            origin,
        })))
    }

    fn credentials(&mut self, directory: &Path) -> Result<Credentials, BoxError> {
        let (pki, now) = (directory.join("pki"), self.options.clock.now());
        keys::prepare(&pki, self.seed, self.snapshot.as_ref(), now)?;
        let addresses = [LOOPBACK].into_iter().chain(self.listen.map(|address| address.ip()));
        let addresses = Vec::from_iter(addresses.collect::<BTreeSet<_>>());
        let mut credentials = Credentials::open(&pki, &[], &addresses, now)?;
        if let Some(identity) = self.serving.take() {
            credentials.serving = identity;
        }
        Ok(credentials)
    }

    fn paused_clock(&self) -> Option<PausedClock> {
        let start = self.paused?;
        let kept = self.snapshot.as_ref().and_then(|snapshot| snapshot.clock.as_ref());
        Some(kept.map_or_else(|| PausedClock::starting_at(start), PausedClock::fork))
    }

    fn store(&self, faults: Faults, history: History) -> Result<TestStore, BoxError> {
        let clock = self.options.clock.clone();
        // As long as a test runs its past can be read.
        let mut builder =
            MemoryStore::builder().clock(clock.clone()).history(Duration::MAX, 100_000, 256 << 20);
        if let Some(snapshot) = &self.snapshot {
            builder = builder.snapshot(&snapshot.store);
        }
        Ok(TestStore { inner: builder.open()?, clock, faults, history })
    }

    fn clock_of(&self, part: &str) -> SharedClock {
        let clock = self.options.clock.clone();
        match self.skews.get(part) {
            Some(offset) => Arc::new(OffsetClock::new(clock, *offset)),
            None => clock,
        }
    }

    /// All components, and how many.
    fn assemble(
        &self,
        api: ApiPart,
        gate: &Arc<Gate>,
        credentials: &Credentials,
        directory: &TempDir,
    ) -> Result<(ControlPlane, usize), BoxError> {
        let mut parts: Vec<Box<dyn Component>> = vec![Box::new(api)];
        if let Some(selection) = &self.controllers {
            parts.push(Box::new(self.manager(selection, gate, credentials)?));
        }
        if self.scheduler {
            parts.push(Box::new(self.scheduler_part(gate)?));
        }
        for number in 1..=self.nodes {
            let name = format!("node-{number}");
            let clock = self.clock_of(&name);
            let node = NodeParts { number, name, clock, seed: &self.options.seed };
            parts.push(Box::new(node.kubelet(gate, credentials, directory.path())?));
        }
        if self.simulation != Simulation::default() {
            parts.push(Box::new(self.simulated(gate)?));
        }
        if !self.own_controllers.is_empty() {
            parts.push(Box::new(self.own_manager(gate)?));
        }
        let own = ClusterParts {
            gate: gate.clone(),
            clock: self.options.clock.clone(),
            seed: self.options.seed.clone(),
        };
        for make in &self.components {
            parts.push(make(&own)?);
        }
        let count = parts.len();
        let plane = ControlPlane::new().clock(self.options.clock.clone());
        Ok((parts.into_iter().fold(plane, ControlPlane::with_boxed), count))
    }

    /// Informers whose retries depend on nobody else's chance.
    fn informers(&self, client: kube::Client, clock: &SharedClock) -> Informers {
        let seed = Seed::new(self.options.seed.value());
        Informers::from_source(Arc::new(ClientSource::new(client)), clock.clone(), seed)
    }

    fn manager(
        &self,
        selection: &Selection,
        gate: &Arc<Gate>,
        credentials: &Credentials,
    ) -> Result<Manager, BoxError> {
        let clock = self.clock_of("kube-controller-manager");
        let controllers = builtin(&BuiltinOptions::new(clock.clone(), credentials.authority()));
        let own = gate.clone();
        let client = gate.client(component_user(CONTROLLER_MANAGER));
        let manager = Manager::builder(client.clone())
            .informers(self.informers(client, &clock))
            .client_for(move |name| own.client(controller_user(name)))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone())
            .select(selection.clone())
            .add_all(controllers);
        Ok(manager.build()?)
    }

    fn simulated(&self, gate: &Arc<Gate>) -> Result<SimulatedNodes, BoxError> {
        let user = UserInfo::new("system:simulated-nodes", [GROUP_MASTERS, GROUP_AUTHENTICATED]);
        let nodes = SimulatedNodes::builder(gate.client(user), self.simulation.clone())
            .clock(self.clock_of("simulated-nodes"))
            .seed(self.options.seed.clone());
        Ok(nodes.build()?)
    }

    fn own_manager(&self, gate: &Arc<Gate>) -> Result<Manager, BoxError> {
        let user = UserInfo::new("system:test-controllers", [GROUP_MASTERS, GROUP_AUTHENTICATED]);
        let client = gate.client(user);
        let manager = Manager::builder(client.clone())
            .informers(self.informers(client, &self.options.clock))
            .clock(self.options.clock.clone())
            .seed(self.options.seed.clone())
            .add_all(self.own_controllers.iter().map(|make| make()));
        Ok(manager.build()?)
    }

    fn scheduler_part(&self, gate: &Arc<Gate>) -> Result<Scheduler, BoxError> {
        let client = gate.client(component_user(SCHEDULER));
        let clock = self.clock_of("kube-scheduler");
        let scheduler = Scheduler::builder(client.clone())
            .informers(self.informers(client, &clock))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone());
        let scheduler =
            self.profiles.iter().fold(scheduler, |scheduler, make| scheduler.profile(make()));
        Ok(scheduler.build()?)
    }

    /// Returns when all components are ready.
    async fn run(
        &self,
        plane: ControlPlane,
        parts: usize,
    ) -> Result<(CancellationToken, Plane), BoxError> {
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

    /// Makes the custom kinds and waits until they are served.
    async fn define(&self, client: kube::Client) -> Result<(), BoxError> {
        use kube::runtime::wait::{await_condition, conditions::is_crd_established};
        let crds: kube::Api<CustomResourceDefinition> = kube::Api::all(client);
        for crd in &self.crds {
            let name = crd.metadata.name.as_deref().unwrap_or_default();
            match crds.create(&kube::api::PostParams::default(), crd).await {
                // A snapshot may have brought it.
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                other => drop(other?),
            }
            await_condition(crds.clone(), name, is_crd_established()).await?;
        }
        Ok(())
    }

    /// Waits until pods can be made in the namespace `default`, where a controller sees to their account.
    async fn await_account(&self, client: kube::Client) -> Result<(), BoxError> {
        let controllers = self.controllers.as_ref();
        if controllers.is_some_and(|names| names.includes("serviceaccount-controller")) {
            let accounts: kube::Api<ServiceAccount> = kube::Api::namespaced(client, "default");
            let there = |account: Option<&ServiceAccount>| account.is_some();
            kube::runtime::wait::await_condition(accounts, "default", there).await?;
        }
        Ok(())
    }
}

/// The user a test is.
pub(super) fn admin() -> UserInfo {
    UserInfo::new(ADMIN, [GROUP_MASTERS, GROUP_AUTHENTICATED])
}
