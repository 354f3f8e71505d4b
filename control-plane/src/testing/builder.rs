//! Which parts a test cluster has.

use super::{
    BoxError, ClusterSnapshot, FaultPlan, LOOPBACK, StartError, TestCluster,
    assembly::Clocks,
    gate::Gate,
    idle::Idle,
    story::{Story, asked_seed},
};
use crate::api::ApiOptions;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kubeplane_apiserver::Builder as ApiBuilder;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_controllers::{BoxController, Controller, Selection};
use kubeplane_core::{auth::UserInfo, component::Component};
use kubeplane_pki::Identity;
use kubeplane_scheduler_framework::Profile;
use kubeplane_simulated::Simulation;
use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::Arc};

pub(super) type Make<T> = Arc<dyn Fn() -> T + Send + Sync>;
pub(super) type MakeComponent =
    Arc<dyn Fn(&ClusterParts) -> Result<Box<dyn Component>, BoxError> + Send + Sync>;

/// Which parts a [`TestCluster`] has beside its API server. A clone makes another cluster like it.
#[derive(Clone, Default)]
#[must_use]
pub struct TestClusterBuilder {
    pub(super) controllers: Option<Selection>,
    pub(super) scheduler: bool,
    pub(super) nodes: u16,
    pub(super) simulation: Simulation,
    pub(super) listen: Option<SocketAddr>,
    pub(super) serving: Option<Identity>,
    pub(super) options: ApiOptions,
    /// Whether the options were.
    pub(super) given: bool,
    pub(super) seed: Option<u64>,
    pub(super) paused: Option<Timestamp>,
    pub(super) skews: BTreeMap<String, SignedDuration>,
    pub(super) profiles: Vec<Make<Profile>>,
    pub(super) own_controllers: Vec<Make<BoxController>>,
    pub(super) components: Vec<MakeComponent>,
    pub(super) crds: Vec<CustomResourceDefinition>,
    pub(super) snapshot: Option<ClusterSnapshot>,
    pub(super) idle: Option<Idle>,
    pub(super) faults: Option<FaultPlan>,
    pub(super) story: Option<Story>,
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
    pub(super) gate: Arc<Gate>,
    pub(super) clocks: Clocks,
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

    /// The clock of the part of this name, which is off when [`skew`](TestClusterBuilder::skew) or a
    /// [plan](FaultPlan::skews) says so of that name.
    #[must_use]
    pub fn clock_of(&self, part: &str) -> SharedClock {
        self.clocks.of(part, part)
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
    /// They cost next to nothing; thousands of them are no matter. Each is a user of its own; see
    /// [`Faults::cut`](super::Faults::cut).
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

    /// A part whose clock is off by so much: `kube-scheduler`, `kube-controller-manager`, the name of a node, simulated or
    /// not, `simulated-nodes` for those simulated ones of which nothing else is said, `test-controllers` for the
    /// controllers of your own, or what a component of your own [asks for](ClusterParts::clock_of). The cluster does not
    /// start when it has no such part.
    pub fn skew(mut self, part: impl Into<String>, offset: SignedDuration) -> Self {
        self.skews.insert(part.into(), offset);
        self
    }

    /// Things go wrong by this plan from the start on, as [`Faults::set`](super::Faults::set) has it later. On a
    /// [paused](Self::paused) clock time passes during the start as far as somebody waits for it.
    pub fn faults(mut self, plan: FaultPlan) -> Self {
        self.faults = Some(plan);
        self
    }

    /// Begins with what a cluster had stored when this was taken, and with its keys. Its chance is another than that
    /// of the cluster with the same seed it was taken of, so that no name or uid is given out twice.
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
    /// When a part does not start, a part whose clock is to be off is none of the cluster, or `KUBEPLANE_SEED` is no
    /// number.
    ///
    /// # Cancellation
    /// What was started is gone.
    pub async fn start(mut self) -> Result<TestCluster, StartError> {
        self.seed = self.seed.map_or_else(asked_seed, |seed| Ok(Some(seed)))?;
        let seed = self.base_seed();
        self.try_start(seed).await.map_err(|error| match error.downcast::<StartError>() {
            Ok(own) => *own,
            Err(source) => StartError::Part { seed, source },
        })
    }

    /// What all chance comes from.
    fn base_seed(&self) -> u64 {
        self.seed.unwrap_or_else(|| match self.given {
            true => self.options.seed.value(),
            false => Seed::random().value(),
        })
    }
}
