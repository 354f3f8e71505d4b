//! The component that keeps what is passed on in step with the APIServices.

mod look;
mod watches;

use crate::{
    documents::Documents,
    metrics::Measures,
    proxy::Extension,
    services::{self, Condition, Registered, Service},
};
use async_trait::async_trait;
use kubeplane_apiserver::{Api, Body, Delegated, StartCheck};
use kubeplane_core::{
    GroupVersion,
    component::{Component, ComponentError, Lifecycle},
    status::ApiResult,
};
use kubeplane_outbound::{Clients, Identity};
use kubeplane_telemetry::Metrics;
use look::{Look, Looked};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinSet;
use watches::{Changed, Watches};

/// How often an extension is checked when nothing has changed.
const RECHECK: Duration = Duration::from_secs(30);
/// How often its documents are fetched again.
const REFETCH: Duration = Duration::from_secs(60);
/// The first and the longest pause after a check that failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));
/// The pause after a failure of the store.
const PAUSE: Duration = Duration::from_millis(200);

/// What the original has in `/readyz` for this.
const CHECKS: [&str; 5] = [
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-discovery-controller",
    "autoregister-completion",
];

/// Serves group versions of extension API servers: passes requests on to the Service of an APIService, tells in its
/// status whether that is available, and lists its resources in discovery and OpenAPI.
///
/// Ready when every APIService was looked at once; the server is not before that.
#[derive(Debug)]
pub struct Aggregation {
    api: Api,
    clients: Arc<Clients<Body>>,
    measures: Measures,
    checks: [StartCheck; 5],
}

impl Aggregation {
    /// Works on this server, with a client certificate by which extensions know it.
    #[must_use]
    pub fn new(
        api: Api,
        identity: Identity,
        provider: Arc<rustls::crypto::CryptoProvider>,
    ) -> Self {
        let clients = Clients::new(provider, api.seed().clone()).identity(identity);
        let checks = CHECKS.map(|name| api.start_check(name));
        Self { api, clients: Arc::new(clients), measures: Measures::default(), checks }
    }

    /// Measures there which APIServices are available.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        Self { measures: Measures::new(metrics), ..self }
    }
}

#[async_trait]
impl Component for Aggregation {
    fn name(&self) -> &str {
        "aggregation"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        let mut worker = Worker {
            api: self.api,
            clients: self.clients,
            measures: self.measures,
            checks: self.checks,
            known: BTreeMap::new(),
            looks: JoinSet::new(),
            looked: Vec::new(),
        };
        tokio::select! {
            biased;
            () = lifecycle.stopping() => Ok(()),
            () = worker.work(&lifecycle) => Ok(()),
        }
    }
}

/// An extension that is passed on to.
#[derive(Debug)]
struct Known {
    version: GroupVersion,
    service: Service,
    extension: Arc<Extension>,
    available: bool,
    documents: Option<Documents>,
    /// When it is looked at again, on the clock's own count.
    check_at: Duration,
    fetch_at: Duration,
    failures: u32,
    watched: Watched,
}

/// Whether an extension was looked at, and is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Watched {
    /// At least once.
    seen: bool,
    /// Right now.
    looking: bool,
    /// What it stands behind has changed meanwhile.
    again: bool,
}

struct Worker {
    api: Api,
    clients: Arc<Clients<Body>>,
    measures: Measures,
    checks: [StartCheck; 5],
    known: BTreeMap<String, Known>,
    /// One for each extension at most: one that hangs shall hold up no other.
    looks: JoinSet<Done>,
    /// What they found, to be noted.
    looked: Vec<Done>,
}

/// The name of an APIService, the extension that was looked at for it, and what was found.
type Done = (String, Arc<Extension>, Looked);

impl Worker {
    async fn work(&mut self, lifecycle: &Lifecycle) {
        loop {
            match self.follow(lifecycle).await {
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "APIServices cannot be followed"),
            }
            self.api.clock().sleep(PAUSE).await;
        }
    }

    /// Works until the store's watch ends.
    async fn follow(&mut self, lifecycle: &Lifecycle) -> ApiResult<()> {
        let mut watches = Watches::open(&self.api, &services::resource()).await?;
        loop {
            let all = self.api.list_stored(&services::resource(), "").await?;
            let all: Vec<_> =
                all.into_iter().map(|object| Arc::new(Registered::of(object))).collect();
            self.sync(&all).await;
            if self.known.values().all(|known| known.watched.seen) {
                self.checks.iter().for_each(StartCheck::done);
                lifecycle.ready();
            }
            if self.known.is_empty() {
                watches.backends = None;
            } else if watches.backends.is_none() {
                // What changed before is seen by the checks that follow at once.
                watches.open_backends(&self.api).await?;
                self.check_all();
                continue;
            }
            let clock = self.api.clock().clone();
            let idle = self.known.values().filter(|known| !known.watched.looking);
            let due = idle.map(|known| known.check_at.min(known.fetch_at)).min();
            let wait = due.map(|due| due.saturating_sub(clock.elapsed()));
            let places = self.known.values().map(|known| known.service.namespace.clone()).collect();
            let pause = async {
                match wait {
                    Some(wait) => clock.sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = watches.next(&places) => match changed {
                    Changed::Services => {}
                    Changed::Backends => self.check_all(),
                    Changed::Ended => return Ok(()),
                },
                Some(done) = self.looks.join_next(), if !self.looks.is_empty() => match done {
                    Ok(done) => self.looked.push(done),
                    // Whose it was is not said any more: all may be looked at again.
                    Err(_) => self.known.values_mut().for_each(|known| known.watched.looking = false),
                },
                () = pause => {}
            }
        }
    }

    /// Lets all extensions be looked at as soon as can be.
    fn check_all(&mut self) {
        for known in self.known.values_mut() {
            known.check_at = Duration::ZERO;
            known.watched.again = known.watched.looking;
        }
    }

    async fn sync(&mut self, all: &[Arc<Registered>]) {
        let registry = self.api.registry().clone();
        let standings = all.iter().map(|one| (one.version.clone(), one.standing));
        registry.rank(standings.collect());
        let remote: BTreeSet<&str> =
            all.iter().filter(|one| one.service.is_some()).map(|one| one.name.as_str()).collect();
        self.known.retain(|name, known| {
            let keep = remote.contains(name.as_str());
            if !keep {
                registry.undelegate(&known.version);
                self.measures.forget(name);
            }
            keep
        });
        for one in all {
            match &one.service {
                None => self.say(one, &Condition::local()).await,
                Some(service) => self.know(one, service),
            }
        }
        for (name, extension, looked) in std::mem::take(&mut self.looked) {
            if let Some(one) = all.iter().find(|one| one.name == name) {
                self.settle(one, &extension, looked).await;
            }
        }
        let now = self.api.clock().elapsed();
        for one in all {
            let Some(known) = self.known.get_mut(&one.name) else { continue };
            if !known.watched.looking && known.check_at.min(known.fetch_at) <= now {
                known.watched.looking = true;
                let (name, extension) = (one.name.clone(), known.extension.clone());
                let look = Look::of(&self.api, one, known);
                self.looks.spawn(async move { (name, extension, look.run().await) });
            }
        }
    }

    /// Notes an APIService with a service, or that its service is another one now.
    fn know(&mut self, one: &Registered, service: &Service) {
        if self.known.get(&one.name).is_some_and(|known| known.service == *service) {
            return;
        }
        let extension =
            Extension::new(service.endpoint.clone(), service.authority(), self.clients.clone());
        let known = Known {
            version: one.version.clone(),
            service: service.clone(),
            extension: Arc::new(extension),
            available: false,
            documents: None,
            check_at: Duration::ZERO,
            fetch_at: Duration::ZERO,
            failures: 0,
            watched: Watched::default(),
        };
        publish(&self.api, &known);
        self.known.insert(one.name.clone(), known);
    }

    async fn settle(&mut self, one: &Registered, extension: &Arc<Extension>, looked: Looked) {
        let Some(known) = self.known.get_mut(&one.name) else { return };
        if !Arc::ptr_eq(&known.extension, extension) {
            return;
        }
        let again = std::mem::take(&mut known.watched).again;
        known.watched.seen = true;
        let now = self.api.clock().elapsed();
        known.available = looked.condition.is_true();
        known.extension.set_available(known.available);
        known.failures = if looked.is_well() { 0 } else { known.failures.saturating_add(1) };
        let pause = match known.failures {
            0 => RECHECK,
            failures => RETRY.0.saturating_mul(1 << (failures - 1).min(10)).min(RETRY.1),
        };
        known.check_at = if again { Duration::ZERO } else { now.saturating_add(pause) };
        known.fetch_at = now.saturating_add(if looked.is_well() { REFETCH } else { pause });
        let fresh = looked.documents.is_some();
        if let Some(documents) = looked.documents {
            known.documents = Some(documents);
        }
        known.available &= fresh;
        publish(&self.api, known);
        self.say(one, &looked.condition).await;
    }

    async fn say(&self, one: &Registered, condition: &Condition) {
        let changed = !one.has(condition);
        self.measures.found(&one.name, condition, changed);
        if !changed {
            return;
        }
        let now = self.api.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let change = |object: &mut kubeplane_core::Object| {
            condition.set(object, &now);
            Ok(())
        };
        let written = self.api.write_status(&services::resource(), "", &one.name, change).await;
        if let Err(error) = written.map(drop)
            && error.code() != 404
        {
            tracing::warn!(name = one.name, %error, "status of an APIService cannot be written");
        }
    }
}

/// Tells the server who serves the group version, and what discovery says of it.
fn publish(api: &Api, known: &Known) {
    let documents = known.documents.as_ref();
    api.registry().delegate(
        known.version.clone(),
        Delegated {
            delegate: known.extension.clone(),
            resources: documents.map(|own| own.resources.clone()).unwrap_or_default(),
            fresh: known.available,
            openapi: documents.map(|own| own.openapi.clone()).unwrap_or_default(),
            swagger: documents.map(|own| own.swagger.clone()).unwrap_or_default(),
        },
    );
}
