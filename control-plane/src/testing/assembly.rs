//! Puts the parts of a test cluster together.

use super::{
    BoxError, Inner, LOOPBACK, Plane, StartError, TestCluster, TestClusterBuilder,
    builder::ClusterParts,
    clock::{ClusterClock, PartClock},
    faults::{ADMIN, Chance, Faults},
    gate::{Asking, Gate},
    history::History,
    keys,
    kinds::CustomKinds,
    nodes::NodeParts,
    server::ApiPart,
    store::TestStore,
    story::Story,
};
use crate::{
    ControlPlane,
    credentials::{
        CONTROLLER_MANAGER, Credentials, SCHEDULER, component_user, controller_user, node_user,
    },
    signing::controller_options,
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::ServiceAccount;
use kubeplane_client::{ClientSource, Informers};
use kubeplane_clock::{OffsetClock, PausedClock, Seed, SharedClock, watch};
use kubeplane_controllers::{Manager, Selection, builtin, trim_pod};
use kubeplane_core::{
    auth::{GROUP_AUTHENTICATED, GROUP_MASTERS, UserInfo},
    component::Component,
};
use kubeplane_pki::PkiDir;
use kubeplane_scheduler_framework::Scheduler;
use kubeplane_simulated::{SimulatedNodes, Simulation};
use kubeplane_store_memory::MemoryStore;
use kubeplane_telemetry::{Health, Metrics};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

/// Who watches the pods of simulated nodes, and what the names of those begin with; and as which part they have a clock.
const SIMULATED: &str = "system:simulated-nodes";
const SIMULATED_PART: &str = "simulated-nodes";
/// The user that controllers of a test's own are.
const OWN_CONTROLLERS: &str = "system:test-controllers";

/// The clocks of all parts of a cluster.
#[derive(Debug, Clone)]
pub(super) struct Clocks {
    clock: SharedClock,
    skews: Arc<BTreeMap<String, SignedDuration>>,
    faults: Faults,
    /// The parts that there are.
    known: Arc<Mutex<BTreeSet<String>>>,
}

impl Clocks {
    fn new(clock: SharedClock, skews: &BTreeMap<String, SignedDuration>, faults: &Faults) -> Self {
        Self {
            clock,
            skews: Arc::new(skews.clone()),
            faults: faults.clone(),
            known: Arc::default(),
        }
    }

    /// The clock of a part that is this user.
    pub(super) fn of(&self, part: &str, user: &str) -> SharedClock {
        self.known.lock().insert(part.to_owned());
        self.off_by(self.skews.get(part), part, user)
    }

    /// The clock of one of the simulated nodes, which are too many to be kept: off as it is said of itself, or of all.
    fn of_simulated(&self, node: &str) -> SharedClock {
        let skew = self.skews.get(node).or_else(|| self.skews.get(SIMULATED_PART));
        self.off_by(skew, node, &simulated(node).name)
    }

    fn off_by(&self, skew: Option<&SignedDuration>, part: &str, user: &str) -> SharedClock {
        let clock = self.clock.clone();
        let inner = match skew {
            Some(offset) => Arc::new(OffsetClock::new(clock, *offset)),
            None => clock,
        };
        let faults = self.faults.clone();
        Arc::new(PartClock { inner, faults, name: part.to_owned(), user: user.to_owned() })
    }

    /// Fails when the clock of a part that is not there is to be off.
    fn check(&self, simulation: &Simulation) -> Result<(), StartError> {
        let known = self.known.lock();
        let is_there = |name: &str| known.contains(name) || simulation.has_node(name);
        match self.skews.keys().find(|name| !is_there(name)) {
            Some(name) => Err(StartError::NoSuchPart {
                name: name.clone(),
                known: known.iter().cloned().collect(),
            }),
            None => Ok(()),
        }
    }
}

impl TestClusterBuilder {
    pub(super) async fn try_start(mut self, seed: u64) -> Result<TestCluster, BoxError> {
        let story = self.story.take().unwrap_or_default();
        let origin = self.clone();
        let directory = TempDir::new()?;
        // Clones of a builder are to share nothing.
        self.options.seed = Seed::new(self.stream(seed));
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
        let faults = Faults::new(self.options.clock.clone());
        if let Some(plan) = &self.faults {
            faults.set(plan.clone());
        }
        let story = Story { seed, faults: Some(faults.clone()), ..story };
        let clock =
            ClusterClock { shared: self.options.clock.clone(), paused, idle: self.idle.clone() };
        let store = Arc::new(self.store(faults.clone(), story.history.clone())?);
        let gate = Arc::new(Gate { server: watch::Sender::new(None), faults, store, restarts });
        let bound = watch::Sender::new(None);
        let api = ApiPart {
            gate: gate.clone(),
            credentials: credentials.clone(),
            options: self.options.clone(),
            local_storage: self.controllers.is_some(),
            simulation: self.simulation.clone(),
            restarts: asked,
            bound: bound.clone(),
        };
        let (plane, parts) = self.assemble(api, &gate, &credentials, &directory)?;
        let (stop, plane) = self.begin(plane, parts, &gate, &clock).await?;
        let address = *bound.borrow();
        let kubeconfig = address
            .map(|address| kubeconfig(&credentials, directory.path(), address))
            .transpose()?;
        Ok(TestCluster(Arc::new(Inner {
            clock,
            gate,
            kubeconfig,
            stop,
            plane: Mutex::new(Some(plane)),
            directory,
            origin,
            story,
        })))
    }

    /// What the stream of chance is made from: another for what begins with a snapshot, which was written by the
    /// stream of the seed itself.
    fn stream(&self, seed: u64) -> u64 {
        match &self.snapshot {
            Some(snapshot) => Chance::new(seed, "snapshot", "", snapshot.revision()).next(),
            None => seed,
        }
    }

    fn credentials(&mut self, directory: &Path) -> Result<Credentials, BoxError> {
        let (pki, now) = (directory.join("pki"), self.options.clock.now());
        let pki = keys::prepare(&pki, self.seed, self.snapshot.as_ref(), now)?;
        let addresses = [LOOPBACK].into_iter().chain(self.listen.map(|address| address.ip()));
        let addresses = Vec::from_iter(addresses.collect::<BTreeSet<_>>());
        let mut credentials = Credentials::in_directory(pki, &[], &addresses, now)?;
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

    /// All components, and how many.
    fn assemble(
        &self,
        api: ApiPart,
        gate: &Arc<Gate>,
        credentials: &Credentials,
        directory: &TempDir,
    ) -> Result<(ControlPlane, usize), BoxError> {
        let mut parts: Vec<Box<dyn Component>> = vec![Box::new(api)];
        if !self.crds.is_empty() {
            let client = gate.client(admin());
            parts.push(Box::new(CustomKinds { client, crds: self.crds.clone() }));
        }
        let clocks = Clocks::new(self.options.clock.clone(), &self.skews, &gate.faults);
        if let Some(selection) = &self.controllers {
            let clock = clocks.of("kube-controller-manager", CONTROLLER_MANAGER);
            parts.push(Box::new(self.manager(selection, gate, credentials, clock)?));
        }
        if self.scheduler {
            let clock = clocks.of("kube-scheduler", SCHEDULER);
            parts.push(Box::new(self.scheduler_part(gate, clock)?));
        }
        for number in 1..=self.nodes {
            let name = format!("node-{number}");
            let clock = clocks.of(&name, &node_user(&name).name);
            let (seed, features) = (&self.options.seed, &self.options.features);
            let node = NodeParts { number, name, clock, seed, features };
            parts.push(Box::new(node.kubelet(gate, credentials, directory.path())?));
        }
        if self.simulation != Simulation::default() {
            parts.push(Box::new(self.simulated(gate, &clocks)?));
        }
        if !self.own_controllers.is_empty() {
            let clock = clocks.of("test-controllers", OWN_CONTROLLERS);
            parts.push(Box::new(self.own_manager(gate, clock)?));
        }
        let own = ClusterParts {
            gate: gate.clone(),
            clocks,
            clock: self.options.clock.clone(),
            seed: self.options.seed.clone(),
        };
        for make in &self.components {
            parts.push(make(&own)?);
        }
        own.clocks.check(&self.simulation)?;
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
        clock: SharedClock,
    ) -> Result<Manager, BoxError> {
        let options = controller_options(credentials, &clock)
            .with_features(self.options.features.clone())
            .with_metrics(self.options.metrics.clone());
        let controllers = builtin(&options);
        let own = gate.clone();
        let client = gate.client(component_user(CONTROLLER_MANAGER));
        let manager = Manager::builder(client.clone())
            .informers(self.informers(client, &clock))
            .transform(trim_pod)
            .client_for(move |name| own.client(controller_user(name)))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone())
            .select(selection.clone())
            .add_all(controllers);
        Ok(manager.build()?)
    }

    fn simulated(&self, gate: &Arc<Gate>, clocks: &Clocks) -> Result<SimulatedNodes, BoxError> {
        let watching = UserInfo::new(SIMULATED, [GROUP_MASTERS, GROUP_AUTHENTICATED]);
        let each = clocks.clone();
        let nodes = SimulatedNodes::builder(gate.client(watching), self.simulation.clone())
            .identify(|node, head| {
                head.extensions.insert(Asking(Arc::new(simulated(node))));
            })
            .clock(clocks.of(SIMULATED_PART, SIMULATED))
            .clock_for(move |node| each.of_simulated(node))
            .seed(self.options.seed.clone());
        Ok(nodes.build()?)
    }

    fn own_manager(&self, gate: &Arc<Gate>, clock: SharedClock) -> Result<Manager, BoxError> {
        let user = UserInfo::new(OWN_CONTROLLERS, [GROUP_MASTERS, GROUP_AUTHENTICATED]);
        let client = gate.client(user);
        let manager = Manager::builder(client.clone())
            .informers(self.informers(client, &clock))
            .clock(clock)
            .seed(self.options.seed.clone())
            .add_all(self.own_controllers.iter().map(|make| make()));
        Ok(manager.build()?)
    }

    fn scheduler_part(&self, gate: &Arc<Gate>, clock: SharedClock) -> Result<Scheduler, BoxError> {
        let client = gate.client(component_user(SCHEDULER));
        let scheduler = Scheduler::builder(client.clone())
            .features(self.options.features.clone())
            .informers(self.informers(client, &clock))
            .clock(clock)
            .seed(self.options.seed.clone())
            .metrics(self.options.metrics.clone());
        let scheduler =
            self.profiles.iter().fold(scheduler, |scheduler, make| scheduler.profile(make()));
        Ok(scheduler.build()?)
    }

    /// Returns when all there is to be is there.
    async fn begin(
        &self,
        plane: ControlPlane,
        parts: usize,
        gate: &Arc<Gate>,
        clock: &ClusterClock,
    ) -> Result<(CancellationToken, Plane), BoxError> {
        let begun = async {
            let running = self.run(plane, parts).await?;
            self.await_account(gate.client(admin())).await?;
            Ok(running)
        };
        if self.faults.is_none() {
            return begun.await;
        }
        let activity = || gate.store.inner.snapshot().revision().0;
        // On a clock that stands still nobody tries a second time.
        tokio::select! {
            biased;
            begun = begun => begun,
            () = clock.pass(&activity) => Err("time came to its end".into()),
        }
    }

    /// Returns when all components are ready.
    async fn run(
        &self,
        plane: ControlPlane,
        parts: usize,
    ) -> Result<(CancellationToken, Plane), BoxError> {
        let stop = CancellationToken::new();
        let ready = watch::Sender::new(0);
        let mut all_ready = ready.subscribe();
        let plane = plane.on_ready(move |_| ready.send_modify(|count| *count += 1));
        let stopped = stop.clone().cancelled_owned();
        let plane = AbortOnDropHandle::new(tokio::spawn(plane.run_until(stopped)));
        if all_ready.wait_for(|count| *count == parts).await.is_err() {
            plane.await??;
            return Err("the control plane ended before it was ready".into());
        }
        Ok((stop, plane))
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

/// Writes the administrator's kubeconfig, and says where.
fn kubeconfig(
    credentials: &Credentials,
    directory: &Path,
    address: SocketAddr,
) -> Result<PathBuf, BoxError> {
    let admin = credentials.admin_kubeconfig(&format!("https://{address}"));
    let home = PkiDir::open(directory)?.volatile();
    home.write_private("kubeconfig", &admin.to_yaml()?)?;
    Ok(home.file("kubeconfig"))
}

/// The user a simulated node is.
pub(super) fn simulated(node: &str) -> UserInfo {
    UserInfo::new(format!("{SIMULATED}:{node}"), [GROUP_MASTERS, GROUP_AUTHENTICATED])
}

/// The user a test is.
pub(super) fn admin() -> UserInfo {
    UserInfo::new(ADMIN, [GROUP_MASTERS, GROUP_AUTHENTICATED])
}
