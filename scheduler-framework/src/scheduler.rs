//! The scheduler as a component: builder and start.

mod bindings;
mod changes;
mod cycle;
mod explain;
mod others;
mod report;
mod reports;
mod together;

use crate::{
    DefaultBinder, Error, Extender, Framework, Handle, PodResources, Point, Profile,
    cache::Cache,
    groups::{Groups, PodGroupObject},
    info::RequestGates,
    metrics::SchedulerMetrics,
    objects::ClusterObjects,
    plugins::Stock,
    queue::{Backoff, Queue},
};
use async_trait::async_trait;
use cycle::Loop;
use k8s_openapi::api::core::v1::{Node, Pod};
use kubeplane_client::{Informers, LeaderElector, LeaderStatus, LeaseConfig, SeriesRecorder};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::{
    component::{Component, ComponentError, Lifecycle},
    features::Features,
};
use kubeplane_telemetry::{Health, Metrics, Probe};
use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How many wishes to try a pod again may wait.
const WAKES: usize = 1024;

/// Assembles a [`Scheduler`].
pub struct SchedulerBuilder {
    client: kube::Client,
    informers: Option<Informers>,
    clock: SharedClock,
    seed: Seed,
    profiles: Vec<Profile>,
    backoff: Backoff,
    extenders: Vec<Arc<Extender>>,
    lease: Option<LeaseConfig>,
    health: Health,
    metrics: Metrics,
    election: LeaderStatus,
    features: Features,
    host: String,
    resources: PodResources,
}

impl fmt::Debug for SchedulerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerBuilder").field("profiles", &self.profiles).finish_non_exhaustive()
    }
}

impl SchedulerBuilder {
    /// Shares these informers instead of making its own.
    #[must_use]
    pub fn informers(mut self, informers: Informers) -> Self {
        self.informers = Some(informers);
        self
    }

    /// Takes its time from this clock.
    #[must_use]
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// Takes chance from this seed.
    #[must_use]
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// Serves the pods of one more `schedulerName`. Without any, the default profile of the
    /// [gates](Self::features) is served.
    #[must_use]
    pub fn profile(mut self, profile: Profile) -> Self {
        self.profiles.push(profile);
        self
    }

    /// Serves these profiles too, as a configuration describes them.
    #[must_use]
    pub fn profiles(mut self, profiles: impl IntoIterator<Item = Profile>) -> Self {
        self.profiles.extend(profiles);
        self
    }

    /// Has these gates: with `GenericWorkload` pods of one PodGroup are placed together, with `WorkloadAwarePreemption` room
    /// is made for all of them at once ([`GroupPostFilter`](crate::GroupPostFilter)), with `DRADeviceTaintRules` the
    /// taints of DeviceTaintRules count; the API has to serve these kinds. Pods count as
    /// [`PodInfo::with_features`](crate::PodInfo::with_features) says. Where no profile is given it is that of these gates
    /// ([`Profile::with_features`]).
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// The machine's name, by which events tell this scheduler from others (`reportingInstance`); `localhost` without.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Lets pods wait so long before a second try, twice as long before a third and so on, but no longer than
    /// `most`.
    #[must_use]
    pub fn backoff(mut self, initial: Duration, most: Duration) -> Self {
        self.backoff = Backoff { initial, most };
        self
    }

    /// Asks one more webhook, for the pods of all profiles.
    #[must_use]
    pub fn extender(mut self, extender: Extender) -> Self {
        self.extenders.push(Arc::new(extender));
        self
    }

    /// Schedules only while it holds this lease.
    #[must_use]
    pub fn leader_election(mut self, lease: LeaseConfig) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Adds its checks here, by the original's names.
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Shows here what pods request, once it runs.
    #[must_use]
    pub fn pod_resources(mut self, resources: PodResources) -> Self {
        self.resources = resources;
        self
    }

    /// Registers its metrics here.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Checks the profiles. One without a plugin that binds gets [`DefaultBinder`].
    ///
    /// # Errors
    /// When a profile is not sound, or two have the same name or sort pods by different plugins.
    pub fn build(self) -> Result<Scheduler, Error> {
        let profiles = match self.profiles.is_empty() {
            true => vec![Profile::with_features(&self.features)],
            false => self.profiles,
        };
        let grouping = self.features.is_on("GenericWorkload");
        let group_preemption = self.features.is_on("WorkloadAwarePreemption");
        let expecting = self.features.is_on("NominatedNodeNameForExpectation");
        let metrics = SchedulerMetrics::new(&self.metrics);
        let (mut frameworks, mut sorted_by) = (HashMap::new(), None);
        for mut profile in profiles {
            if profile.order(Point::Bind).is_empty() {
                profile = profile.add(DefaultBinder::new(self.client.clone()), 1);
            }
            let framework = Framework::new(profile, self.clock.clone(), self.seed.clone())?
                .measured(metrics.clone())
                .with_extenders(self.extenders.clone())
                .grouping(grouping)
                .preempting_for_groups(group_preemption)
                .expecting(expecting);
            let name = framework.name().to_owned();
            let sort = framework.at(Point::QueueSort).next().map(|own| own.name());
            if let (Some(plugin), Some(first)) = (sort, *sorted_by.get_or_insert(sort))
                && plugin != first
            {
                return Err(Error::DifferentQueueSort { profile: name, plugin, first });
            }
            if frameworks.insert(name.clone(), Arc::new(framework)).is_some() {
                return Err(Error::DuplicateProfile(name));
            }
        }
        let state = State::default();
        state.add_checks(&self.health);
        Ok(Scheduler {
            metrics,
            client: self.client,
            informers: self.informers,
            clock: self.clock,
            frameworks,
            state,
            backoff: self.backoff,
            lease: self.lease,
            election: self.election,
            device_rules: self.features.is_on("DRADeviceTaintRules"),
            stock: Arc::new(Stock::new(&self.features)),
            pops_early: self.features.is_on("SchedulerPopFromBackoffQ"),
            counting: RequestGates::from(&self.features),
            host: self.host,
            resources: self.resources,
        })
    }
}

/// What health checks ask for.
#[derive(Debug, Clone, Default)]
struct State {
    synced: Arc<AtomicBool>,
    caught_up: Arc<AtomicBool>,
    token: Arc<OnceLock<CancellationToken>>,
}

impl State {
    /// The original's checks: `ping` for `/livez`, and for `/readyz` also `informer-sync`,
    /// `sched-handler-sync` and `shutdown`.
    fn add_checks(&self, health: &Health) {
        health.add("ping", Probe::Both, || Ok(()));
        let waits = |flag: &Arc<AtomicBool>, why: &'static str| {
            let flag = flag.clone();
            move || if flag.load(Ordering::Relaxed) { Ok(()) } else { Err(why.to_owned()) }
        };
        let check = waits(&self.synced, "informers have no first list yet");
        health.add("informer-sync", Probe::Ready, check);
        let check = waits(&self.caught_up, "not all pods and nodes are taken in yet");
        health.add("sched-handler-sync", Probe::Ready, check);
        let token = self.token.clone();
        health.add("shutdown", Probe::Ready, move || {
            let stopping = token.get().is_some_and(CancellationToken::is_cancelled);
            if stopping { Err("the scheduler is stopping".to_owned()) } else { Ok(()) }
        });
    }
}

/// Puts pods on nodes, as kube-scheduler does. A [`Component`]: it speaks only the Kubernetes API.
pub struct Scheduler {
    client: kube::Client,
    informers: Option<Informers>,
    clock: SharedClock,
    frameworks: HashMap<String, Arc<Framework>>,
    metrics: SchedulerMetrics,
    state: State,
    backoff: Backoff,
    lease: Option<LeaseConfig>,
    election: LeaderStatus,
    device_rules: bool,
    stock: Arc<Stock>,
    pops_early: bool,
    counting: RequestGates,
    host: String,
    resources: PodResources,
}

impl fmt::Debug for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scheduler").field("frameworks", &self.frameworks).finish_non_exhaustive()
    }
}

impl Scheduler {
    /// A scheduler that works through `client`.
    #[must_use]
    pub fn builder(client: kube::Client) -> SchedulerBuilder {
        SchedulerBuilder {
            client,
            informers: None,
            clock: kubeplane_clock::real(),
            seed: Seed::random(),
            profiles: Vec::new(),
            backoff: Backoff::default(),
            extenders: Vec::new(),
            lease: None,
            election: LeaderStatus::new(kubeplane_clock::real()),
            features: Features::default(),
            host: "localhost".to_owned(),
            resources: PodResources::default(),
            health: Health::new(),
            metrics: Metrics::new(),
        }
    }

    /// The plugins of a profile, for decisions outside the loop.
    #[must_use]
    pub fn framework(&self, scheduler_name: &str) -> Option<Arc<Framework>> {
        self.frameworks.get(scheduler_name).cloned()
    }
}

#[async_trait]
impl Component for Scheduler {
    fn name(&self) -> &str {
        "kube-scheduler"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let token = lifecycle.token();
        // Only one run is ever asked about.
        let _ = self.state.token.set(token.clone());
        let Some(lease) = self.lease.clone() else {
            self.lead(token, &lifecycle).await;
            return Ok(());
        };
        // Whoever waits to lead is as ready as it can be.
        lifecycle.ready();
        let elector = LeaderElector::new(self.client.clone(), self.clock.clone(), lease)
            .reporting_to(self.election.clone());
        elector.run(token, async |leading| self.lead(leading, &lifecycle).await).await?;
        Ok(())
    }
}

impl Scheduler {
    /// Schedules until the token is cancelled.
    async fn lead(self: Box<Self>, token: CancellationToken, lifecycle: &Lifecycle) {
        let informers = self
            .informers
            .unwrap_or_else(|| Informers::new(self.client.clone(), self.clock.clone()));
        let (pods, nodes) = (informers.of::<Pod>(), informers.of::<Node>());
        self.resources.show(pods.lister());
        let mut objects = ClusterObjects::from_informers(&informers);
        // PodGroups are served where somebody wants them only.
        let groups = self.frameworks.values().any(|own| own.is_for_groups());
        if groups {
            objects.pod_groups = Arc::new(informers.of::<PodGroupObject>().lister());
        }
        if self.device_rules {
            objects = objects.with_device_rules(&informers);
        }
        let optional = others::Optional { groups, device_rules: self.device_rules };
        let (objects, groups) = (Arc::new(objects), Arc::new(Groups::default()));
        tokio::select! {
            biased;
            () = others::synced(&informers, optional) => {}
            () = token.cancelled() => return,
        }
        self.state.synced.store(true, Ordering::Relaxed);
        let (client, clock) = (self.client.clone(), self.clock.clone());
        let recorder = SeriesRecorder::new(client, clock, "default-scheduler", &self.host);
        let queue = Queue::new(self.clock.clone(), self.frameworks.clone())
            .backing_off(self.backoff)
            .taking_early(self.pops_early)
            .measured(self.metrics.clone());
        let (wake, wakes) = mpsc::channel(WAKES);
        let handle = Handle {
            client: self.client.clone(),
            clock: self.clock.clone(),
            recorder: recorder.clone(),
            objects: objects.clone(),
            groups: groups.clone(),
            stock: self.stock,
            frameworks: self.frameworks.values().map(Arc::downgrade).collect(),
            wake,
            metrics: self.metrics.clone(),
        };
        start_plugins(&self.frameworks, &handle);
        let mut main =
            Loop::new(self.client, self.clock, self.frameworks, queue, recorder, self.metrics);
        main.caught_up = self.state.caught_up;
        main.cache = Cache::with_objects(objects);
        main.groups = groups;
        main.counting = self.counting;
        lifecycle.ready();
        let others = others::changes(&informers, optional);
        main.run(pods.subscribe(), nodes.subscribe(), others, wakes, &token).await;
    }
}

/// Each plugin tells in the name of its profile.
fn start_plugins(frameworks: &HashMap<String, Arc<Framework>>, handle: &Handle) {
    let mut frameworks: Vec<_> = frameworks.values().collect();
    // One that is of several profiles is started for the same one every time.
    frameworks.sort_by(|a, b| a.name().cmp(b.name()));
    for framework in frameworks {
        let recorder = handle.recorder.named(framework.name());
        let handle = Handle { recorder, ..handle.clone() };
        for plugin in framework.plugins() {
            plugin.start(&handle);
        }
    }
}
