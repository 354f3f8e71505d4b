//! The component that keeps what is passed on in step with the APIServices.

use crate::{
    availability,
    documents::{self, Documents},
    metrics::Measures,
    proxy::Extension,
    services::{self, Condition, Registered, Service},
};
use async_trait::async_trait;
use futures::{StreamExt, future::join_all};
use kubeplane_apiserver::{Api, Body, Delegated, StartCheck};
use kubeplane_core::{
    GroupResource, GroupVersion,
    component::{Component, ComponentError, Lifecycle},
    status::ApiResult,
};
use kubeplane_outbound::{Clients, Identity};
use kubeplane_store_trait::{BoxWatcher, Event, ListOptions, Revision};
use kubeplane_telemetry::Metrics;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

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
}

struct Worker {
    api: Api,
    clients: Arc<Clients<Body>>,
    measures: Measures,
    checks: [StartCheck; 5],
    known: BTreeMap<String, Known>,
}

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
            let all: Vec<_> = all.into_iter().map(Registered::of).collect();
            self.sync(&all).await;
            self.checks.iter().for_each(StartCheck::done);
            lifecycle.ready();
            if self.known.is_empty() {
                watches.backends = None;
            } else if watches.backends.is_none() {
                // What changed before is seen by the checks that follow at once.
                watches.open_backends(&self.api).await?;
                self.known.values_mut().for_each(|known| known.check_at = Duration::ZERO);
                continue;
            }
            let due = self.known.values().map(|known| known.check_at.min(known.fetch_at)).min();
            let wait = due.map(|due| due.saturating_sub(self.api.clock().elapsed()));
            let places = self.known.values().map(|known| known.service.namespace.clone()).collect();
            let pause = async {
                match wait {
                    Some(wait) => self.api.clock().sleep(wait).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = watches.next(&places) => match changed {
                    Changed::Services => {}
                    Changed::Backends => {
                        self.known.values_mut().for_each(|known| known.check_at = Duration::ZERO);
                    }
                    Changed::Ended => return Ok(()),
                },
                () = pause => {}
            }
        }
    }

    async fn sync(&mut self, all: &[Registered]) {
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
        let now = self.api.clock().elapsed();
        let due = all.iter().filter(|one| {
            self.known.get(&one.name).is_some_and(|known| known.check_at.min(known.fetch_at) <= now)
        });
        let due: Vec<&Registered> = due.collect();
        let looks = due.iter().filter_map(|one| {
            let known = self.known.get(&one.name)?;
            Some(look(&self.api, one, known))
        });
        let looked = join_all(looks.collect::<Vec<_>>()).await;
        for (one, looked) in due.into_iter().zip(looked) {
            self.settle(one, looked).await;
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
        };
        publish(&self.api, &known);
        self.known.insert(one.name.clone(), known);
    }

    async fn settle(&mut self, one: &Registered, looked: Looked) {
        let Some(known) = self.known.get_mut(&one.name) else { return };
        let now = self.api.clock().elapsed();
        known.available = looked.condition.is_true();
        known.extension.set_available(known.available);
        known.failures = if looked.is_well() { 0 } else { known.failures.saturating_add(1) };
        let pause = match known.failures {
            0 => RECHECK,
            failures => RETRY.0.saturating_mul(1 << (failures - 1).min(10)).min(RETRY.1),
        };
        known.check_at = now.saturating_add(pause);
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
        let written = self.api.update_with(&services::resource(), "", &one.name, change).await;
        if let Err(error) = written.map(drop)
            && error.code() != 404
        {
            tracing::warn!(name = one.name, %error, "status of an APIService cannot be written");
        }
    }
}

/// What one look at an extension found.
struct Looked {
    condition: Condition,
    documents: Option<Documents>,
}

impl Looked {
    fn is_well(&self) -> bool {
        self.condition.is_true() && self.documents.is_some()
    }
}

async fn look(api: &Api, one: &Registered, known: &Known) -> Looked {
    let (service, extension) = (&known.service, &*known.extension);
    let condition = availability::check(api, one, service, extension).await;
    if !condition.is_true() {
        return Looked { condition, documents: None };
    }
    // Requests may come through while its documents are fetched.
    extension.set_available(true);
    if let Some(documents) = known
        .documents
        .clone()
        .filter(|_| known.available && known.fetch_at > api.clock().elapsed())
    {
        return Looked { condition, documents: Some(documents) };
    }
    let fetched = documents::fetch(api, one, extension).await;
    let documents = fetched.map_err(|why| {
        tracing::warn!(name = one.name, why, "discovery of an extension API server failed");
    });
    Looked { condition, documents: documents.ok() }
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

/// What may have changed.
enum Changed {
    Services,
    Backends,
    Ended,
}

/// Watches of the store: of APIServices, and while any has a Service, of Services and their endpoints.
struct Watches {
    services: BoxWatcher,
    backends: Option<[BoxWatcher; 2]>,
}

impl Watches {
    async fn open(api: &Api, resource: &GroupResource) -> ApiResult<Self> {
        Ok(Self { services: watch(api, resource).await?, backends: None })
    }

    async fn open_backends(&mut self, api: &Api) -> ApiResult<()> {
        let services = watch(api, &GroupResource::new("", "services")).await?;
        let slices = GroupResource::new("discovery.k8s.io", "endpointslices");
        self.backends = Some([services, watch(api, &slices).await?]);
        Ok(())
    }

    async fn services_changed(&mut self) -> Changed {
        loop {
            match self.services.next().await {
                Some(Ok(batch)) if batch.events.is_empty() => {}
                Some(Ok(_)) => return Changed::Services,
                _ => return Changed::Ended,
            }
        }
    }

    /// Waits for the next change; of backends only those in these namespaces count.
    async fn next(&mut self, namespaces: &BTreeSet<String>) -> Changed {
        loop {
            let Some([services, slices]) = &mut self.backends else {
                return self.services_changed().await;
            };
            let batch = tokio::select! {
                biased;
                batch = self.services.next() => match batch {
                    Some(Ok(batch)) if batch.events.is_empty() => continue,
                    Some(Ok(_)) => return Changed::Services,
                    _ => return Changed::Ended,
                },
                batch = services.next() => batch,
                batch = slices.next() => batch,
            };
            let Some(Ok(batch)) = batch else { return Changed::Ended };
            let concerns = |event: &Event| {
                let key = String::from_utf8_lossy(event.key().as_bytes());
                let mut parts = key.rsplit('/');
                parts.nth(1).is_some_and(|namespace| namespaces.contains(namespace))
            };
            if batch.events.iter().any(concerns) {
                return Changed::Backends;
            }
        }
    }
}

async fn watch(api: &Api, resource: &GroupResource) -> ApiResult<BoxWatcher> {
    let range = api.resource(resource)?.range("");
    let failed = |error| kubeplane_core::ApiError::internal(error);
    let options = ListOptions { limit: Some(1), ..ListOptions::default() };
    let Revision(now) = api.store().list(&range, options).await.map_err(failed)?.revision;
    api.store().watch(&range, Revision(now)).await.map_err(failed)
}
