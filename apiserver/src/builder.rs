use crate::{
    api::{Api, Connections, Inner},
    audit::AuditLog,
    cache::{CacheOptions, CacheReader},
    error::{Error, Result},
    handler::{Handler, Route, WriteHook},
    health::HealthRoute,
    metrics::{ApiMetrics, FlowMetrics, show},
    namespaces::NamespaceDeletion,
    pipeline::{
        Audit, Authenticate, Authorize, Deadline, Desk, Dispatch, Dump, Fairness, Guard,
        Impersonate, Observe, Pipeline, Step, Union,
    },
    registry::Registry,
    server::{ApiServer, Listener},
    timed::Timed,
    tls::TlsOptions,
    versions::Versions,
    write::admit,
    zpages::{FlagsPage, StatusPage},
};
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::{
    Definition, GroupResource,
    admission::Admission,
    auth::{Authenticator, Authorizer},
    features::Features,
    reader::ObjectReader,
};
use kubeplane_store_trait::Store;
use kubeplane_telemetry::{Health, Metrics};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

type With<T> = Box<dyn FnOnce(&Arc<dyn ObjectReader>) -> Arc<T> + Send>;

/// Puts a server together.
pub struct Builder {
    store: Arc<dyn Store>,
    storage_prefix: String,
    definitions: Vec<Arc<Definition>>,
    handlers: HashMap<GroupResource, BTreeMap<String, Arc<dyn Handler>>>,
    hooks: HashMap<GroupResource, Vec<Arc<dyn WriteHook>>>,
    routes: Vec<(String, Arc<dyn Route>)>,
    authenticators: Vec<With<dyn Authenticator>>,
    authorizers: Vec<With<dyn Authorizer>>,
    admission: Vec<With<dyn Admission>>,
    listener: Option<(SocketAddr, TlsOptions)>,
    clock: SharedClock,
    seed: Seed,
    health: Health,
    metrics: Metrics,
    features: Features,
    versions: Versions,
    audit: Option<Arc<AuditLog>>,
    flags: BTreeMap<String, String>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("store", &self.store)
            .field("definitions", &self.definitions.len())
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl Builder {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        let namespaces = GroupResource::new("", "namespaces");
        Self {
            store,
            storage_prefix: "/registry".to_owned(),
            definitions: Vec::new(),
            handlers: HashMap::new(),
            hooks: HashMap::from([(
                namespaces,
                vec![Arc::new(NamespaceDeletion) as Arc<dyn WriteHook>],
            )]),
            routes: Vec::new(),
            authenticators: Vec::new(),
            authorizers: Vec::new(),
            admission: Vec::new(),
            listener: None,
            clock: kubeplane_clock::real(),
            seed: Seed::random(),
            health: Health::new(),
            metrics: Metrics::new(),
            features: Features::default(),
            versions: Versions::default(),
            audit: None,
            flags: BTreeMap::new(),
        }
    }

    /// Serves these kinds.
    #[must_use]
    pub fn resources(mut self, definitions: Vec<Arc<Definition>>) -> Self {
        self.definitions.extend(definitions);
        self
    }

    /// Keeps everything under this key in place of `/registry`.
    #[must_use]
    pub fn storage_prefix(mut self, prefix: &str) -> Self {
        self.storage_prefix = format!("/{}", prefix.trim_matches('/'));
        self
    }

    /// Serves a subresource, or with the empty name a whole resource, by a handler.
    #[must_use]
    pub fn handler(
        mut self,
        resource: GroupResource,
        subresource: &str,
        handler: Arc<dyn Handler>,
    ) -> Self {
        self.handlers.entry(resource).or_default().insert(subresource.to_owned(), handler);
        self
    }

    /// Adds side effects to the writes of a resource.
    #[must_use]
    pub fn hook(mut self, resource: GroupResource, hook: Arc<dyn WriteHook>) -> Self {
        self.hooks.entry(resource).or_default().push(hook);
        self
    }

    /// Serves a path that names no resource, and all below it.
    #[must_use]
    pub fn route(mut self, path: impl Into<String>, route: Arc<dyn Route>) -> Self {
        self.routes.push((path.into(), route));
        self
    }

    /// Adds an authenticator; they are asked in the order of assembly.
    #[must_use]
    pub fn authenticate(self, authenticator: impl Authenticator) -> Self {
        self.authenticate_with(|_| authenticator)
    }

    /// Adds an authenticator that reads stored objects.
    #[must_use]
    pub fn authenticate_with<A: Authenticator>(
        mut self,
        make: impl FnOnce(&Arc<dyn ObjectReader>) -> A + Send + 'static,
    ) -> Self {
        self.authenticators.push(Box::new(|reader| Arc::new(make(reader))));
        self
    }

    /// Adds an authorizer; the first that has an opinion decides.
    #[must_use]
    pub fn authorize(self, authorizer: impl Authorizer) -> Self {
        self.authorize_with(|_| authorizer)
    }

    /// Adds an authorizer that reads stored objects.
    #[must_use]
    pub fn authorize_with<A: Authorizer>(
        mut self,
        make: impl FnOnce(&Arc<dyn ObjectReader>) -> A + Send + 'static,
    ) -> Self {
        self.authorizers.push(Box::new(|reader| Arc::new(make(reader))));
        self
    }

    /// Adds an admission step; they run in the order of assembly.
    #[must_use]
    pub fn admit(self, step: impl Admission) -> Self {
        self.admit_with(|_| step)
    }

    /// Adds an admission step that reads stored objects on its own account.
    #[must_use]
    pub fn admit_with<A: Admission>(
        mut self,
        make: impl FnOnce(&Arc<dyn ObjectReader>) -> A + Send + 'static,
    ) -> Self {
        self.admission.push(Box::new(|reader| Arc::new(make(reader))));
        self
    }

    /// Listens on an address; without it the server is reached in its own process only.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr, tls: TlsOptions) -> Self {
        self.listener = Some((address, tls));
        self
    }

    /// Takes time from this clock.
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

    /// Serves these health checks beside its own.
    #[must_use]
    pub fn health(mut self, health: Health) -> Self {
        self.health = health;
        self
    }

    /// Serves these metrics beside its own.
    #[must_use]
    pub fn metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Has these feature gates on and off.
    #[must_use]
    pub fn features(mut self, features: Features) -> Self {
        self.features = features;
        self
    }

    /// Serves these of the versions it has kinds of; without it those that are neither alpha nor beta.
    #[must_use]
    pub fn versions(mut self, versions: Versions) -> Self {
        self.versions = versions;
        self
    }

    /// Tells at `/flagz` what the server was started with: flags and their values, none of them secret.
    #[must_use]
    pub fn flags(mut self, flags: BTreeMap<String, String>) -> Self {
        self.flags = flags;
        self
    }

    /// Records requests here.
    #[must_use]
    pub fn audit(mut self, log: Arc<AuditLog>) -> Self {
        self.audit = Some(log);
        self
    }

    /// Builds the server. Nothing is read, written or listened on yet.
    ///
    /// # Errors
    /// When a kind is defined twice, the TLS material is not usable, or versions are chosen that there are not.
    pub fn build(self) -> Result<ApiServer> {
        let listener =
            self.listener.map(|(address, tls)| Listener::new(address, &tls)).transpose()?;
        let metrics = ApiMetrics::new(&self.metrics);
        let flows = FlowMetrics::new(&self.metrics);
        show(&self.features, &self.metrics);
        let constrained = self.features.is_on("ConstrainedImpersonation");
        if let Some(log) = &self.audit {
            log.register(&self.metrics);
        }
        let timed = Arc::new(Timed::new(self.store, self.clock.clone(), metrics.clone()));
        let store: Arc<dyn Store> = timed.clone();
        let cache = CacheOptions { store: store.clone(), clock: self.clock.clone() };
        let registry = Registry::new(self.storage_prefix, cache);
        timed.name_by(&registry);
        install(&registry, self.versions.choose(self.definitions)?)?;
        let reader = CacheReader::shared(registry.clone(), store.clone());
        let authorizers = self.authorizers.into_iter().map(|make| make(&reader)).collect();
        let authenticators = self.authenticators.into_iter().map(|make| make(&reader)).collect();
        let admission =
            self.admission.into_iter().map(|make| admit::Step::new(make(&reader))).collect();
        let stopping = CancellationToken::new();
        let health =
            Arc::new(HealthRoute::new(self.health.clone(), self.metrics, stopping.clone()));
        let mut routes = self.routes;
        for path in ["/healthz", "/livez", "/readyz", "/metrics"] {
            routes.push((path.to_owned(), health.clone() as Arc<dyn Route>));
        }
        if self.features.is_on("ComponentStatusz") {
            let page = StatusPage::new(self.clock.now(), self.clock.elapsed());
            routes.push((StatusPage::PATH.to_owned(), Arc::new(page)));
        }
        if self.features.is_on("ComponentFlagz") {
            let page = FlagsPage::new(self.flags);
            routes.push((FlagsPage::PATH.to_owned(), Arc::new(page)));
        }
        let desk = Desk::new(self.clock.clone(), flows.clone());
        routes.push((Dump::PATH.to_owned(), Arc::new(Dump::new(desk.clone()))));
        let authorizer: Arc<dyn Authorizer> = Arc::new(Union(authorizers));
        let api = Api(Arc::new(Inner {
            store,
            registry,
            reader,
            authorizer: authorizer.clone(),
            admission,
            handlers: self.handlers,
            hooks: self.hooks,
            routes,
            clock: self.clock.clone(),
            seed: self.seed.clone(),
            metrics: metrics.clone(),
            features: self.features,
            health: self.health,
            installs: Mutex::default(),
            advertised: OnceLock::new(),
            writes: TaskTracker::new(),
            connections: Connections::new(stopping.clone()),
            stopping,
        }));
        let clock = self.clock;
        let audit = self.audit;
        let mut steps: Vec<Arc<dyn Step>> = vec![
            Arc::new(Observe {
                clock: clock.clone(),
                seed: self.seed,
                metrics: metrics.clone(),
                registry: api.registry().clone(),
            }),
            Arc::new(Guard),
            Arc::new(Deadline { clock: clock.clone(), metrics: metrics.clone() }),
            Arc::new(Authenticate {
                chain: authenticators,
                clock: clock.clone(),
                metrics: metrics.access.clone(),
                audit: audit.clone(),
            }),
        ];
        if let Some(log) = audit {
            let registry = api.registry().clone();
            steps.push(Arc::new(Audit { log, clock: clock.clone(), registry }));
        }
        let after: [Arc<dyn Step>; 4] = [
            Arc::new(Impersonate { authorizer: authorizer.clone(), constrained }),
            Arc::new(Fairness::new(
                api.registry().clone(),
                clock.clone(),
                metrics.clone(),
                flows,
                desk,
                &api.0.features,
            )),
            Arc::new(Authorize { authorizer, clock, metrics: metrics.access }),
            Arc::new(Dispatch::new(api.clone())),
        ];
        steps.extend(after);
        Ok(ApiServer::new(api, Pipeline::new(steps), listener))
    }
}

fn install(registry: &Registry, definitions: Vec<Arc<Definition>>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for definition in definitions {
        if !seen.insert((definition.group_version(), definition.plural.clone())) {
            let version = definition.kind.version.to_string();
            return Err(Error::Duplicate { resource: definition.resource(), version });
        }
        registry.install(definition);
    }
    Ok(())
}
