use super::{ClientFor, Manager, Status};
use crate::{BoxController, Controller, Error, Selection};
use kubeplane_client::{Informers, LeaderStatus, LeaseConfig, QueueMetrics, Watchable};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_telemetry::{Health, Metrics, Probe};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};
use tokio_util::sync::CancellationToken;

/// What is to be kept of one kind.
type Transform = Box<dyn FnOnce(&Informers) -> kubeplane_client::Result<()> + Send + Sync>;

/// Assembles a [`Manager`].
#[must_use]
pub struct ManagerBuilder {
    client: kube::Client,
    client_for: Option<ClientFor>,
    informers: Option<Informers>,
    transforms: Vec<Transform>,
    clock: SharedClock,
    seed: Option<Seed>,
    host: String,
    metrics: Option<Metrics>,
    health: Option<Health>,
    lease: Option<LeaseConfig>,
    selection: Selection,
    controllers: Vec<BoxController>,
}

impl fmt::Debug for ManagerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagerBuilder")
            .field("controllers", &self.controllers)
            .finish_non_exhaustive()
    }
}

impl ManagerBuilder {
    pub(super) fn new(client: kube::Client) -> Self {
        Self {
            client,
            client_for: None,
            informers: None,
            transforms: Vec::new(),
            clock: kubeplane_clock::real(),
            seed: None,
            host: String::new(),
            metrics: None,
            health: None,
            lease: None,
            selection: Selection::default(),
            controllers: Vec::new(),
        }
    }

    /// Shares caches with others; without this the manager has its own.
    pub fn informers(mut self, informers: Informers) -> Self {
        self.informers = Some(informers);
        self
    }

    /// Says what the caches keep of each object of a kind, by [`Informers::transform`]: `change` takes away what no controller
    /// of this manager reads (nor anybody else whom it shares caches with), as [`trim_pod`](crate::trim_pod) does for the
    /// built-in ones. Without this everything is kept but managed fields.
    pub fn transform<K: Watchable>(
        mut self,
        change: impl Fn(&mut K) + Send + Sync + 'static,
    ) -> Self {
        let transform = move |informers: &Informers| informers.transform::<K>(change);
        self.transforms.push(Box::new(transform));
        self
    }

    /// Gives each controller a client of its own, by [`Controller::identity`].
    pub fn client_for(
        mut self,
        client: impl Fn(&str) -> kube::Client + Send + Sync + 'static,
    ) -> Self {
        self.client_for = Some(Arc::new(client));
        self
    }

    /// The clock of the cluster; the machine's without this.
    pub fn clock(mut self, clock: SharedClock) -> Self {
        self.clock = clock;
        self
    }

    /// The source of chance; an unpredictable one without this.
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The host that events name.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = host.into();
        self
    }

    /// Where the work queues count.
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = Some(metrics);
        self
    }

    /// Where checks are added, by the original's names: for `/livez` `ping`, `leaderElection` (with a lease)
    /// and each controller, for `/readyz` also `informer-sync` and `shutdown`.
    pub fn health(mut self, health: Health) -> Self {
        self.health = Some(health);
        self
    }

    /// Runs the controllers only while holding this lease.
    pub fn leader_election(mut self, lease: LeaseConfig) -> Self {
        self.lease = Some(lease);
        self
    }

    /// Runs only the controllers that `selection` includes.
    pub fn select(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Adds a controller.
    #[expect(
        clippy::should_implement_trait,
        reason = "the word every assembly uses; nobody sums managers"
    )]
    pub fn add(self, controller: impl Controller) -> Self {
        self.add_all([BoxController::new(controller)])
    }

    /// Adds controllers, as [`builtin`](crate::builtin()) gives them.
    pub fn add_all(mut self, controllers: impl IntoIterator<Item = BoxController>) -> Self {
        self.controllers.extend(controllers);
        self
    }

    /// The manager.
    ///
    /// # Errors
    /// When two controllers have one name, the selection names one that is not there, or what is to be kept of a kind was
    /// said before, here or by others whom the caches are shared with.
    pub fn build(self) -> Result<Manager, Error> {
        let mut names: Vec<_> = self.controllers.iter().map(BoxController::name).collect();
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Duplicate(pair[0].to_owned()));
        }
        self.selection.check(&names)?;
        let controllers: Vec<_> = self
            .controllers
            .into_iter()
            .filter(|controller| self.selection.includes(controller.name()))
            .collect();

        let queues = QueueMetrics::default();
        if let Some(metrics) = &self.metrics {
            metrics.with_registry(|registry| queues.register(registry));
        }
        let waiting: Vec<_> = controllers.iter().map(BoxController::name).collect();
        let status = Arc::new(Mutex::new(Status { waiting: waiting.clone(), ..Status::default() }));
        let clock = self.clock;
        let informers =
            self.informers.unwrap_or_else(|| Informers::new(self.client.clone(), clock.clone()));
        for transform in self.transforms {
            transform(&informers)?;
        }
        let election = LeaderStatus::new(clock.clone());
        if let Some(metrics) = self.metrics.as_ref().filter(|_| self.lease.is_some()) {
            metrics.with_registry(|registry| election.register(registry));
        }
        if let Some(health) = &self.health {
            add_checks(health, &waiting, &status);
            if self.lease.is_some() {
                let election = election.clone();
                health.add("leaderElection", Probe::Both, move || election.check());
            }
        }
        Ok(Manager {
            client: self.client,
            client_for: self.client_for,
            informers,
            clock,
            seed: self.seed.unwrap_or_else(Seed::random),
            host: self.host,
            metrics: queues,
            lease: self.lease,
            election,
            controllers,
            status,
        })
    }
}

fn add_checks(health: &Health, names: &[&'static str], status: &Arc<Mutex<Status>>) {
    health.add("ping", Probe::Both, || Ok(()));
    let own = status.clone();
    health.add("shutdown", Probe::Ready, move || {
        let stopping = own.lock().token.as_ref().is_some_and(CancellationToken::is_cancelled);
        if stopping { Err("the controllers are stopping".to_owned()) } else { Ok(()) }
    });
    let own = status.clone();
    health.add("informer-sync", Probe::Ready, move || {
        let status = own.lock();
        if !status.leading || status.waiting.is_empty() {
            return Ok(());
        }
        Err(format!("caches are not filled yet of {}", status.waiting.join(", ")))
    });
    for name in names {
        let (name, own) = (*name, status.clone());
        health.add(name, Probe::Live, move || {
            let ended = own.lock().ended.contains(&name);
            if ended { Err("it ended".to_owned()) } else { Ok(()) }
        });
        let own = status.clone();
        health.add(name, Probe::Ready, move || {
            let status = own.lock();
            // Another instance leads, so nothing is expected of this one.
            if status.leading && status.waiting.contains(&name) {
                return Err("its caches are not filled yet".to_owned());
            }
            Ok(())
        });
    }
}
