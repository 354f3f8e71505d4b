//! The inside of the server: what handlers, routes and hooks work with, past the pipeline.

use crate::{
    handler::{Handler, HandlerRequest, Route, WriteHook},
    health::StartCheck,
    metrics::ApiMetrics,
    options::DeleteOptions,
    registry::{Registry, Resource},
    storage::About,
    stored,
    write::{Conversions, Writer, admit},
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::{
    GroupResource, Object,
    admission::{Operation, Warnings},
    apply::{self, unpack_managers},
    auth::{Authorizer, UserInfo},
    decode::conform,
    features::Features,
    reader::{Change, ObjectReader, ObjectUpdater},
    status::{ApiError, ApiResult},
};
use kubeplane_store_trait::{ReadAt, Store};
use kubeplane_telemetry::Health;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{Arc, OnceLock},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Who manages the fields of what the server makes by itself.
const MANAGER: &str = "kube-apiserver";

/// The checks before which not everything that is there has a path.
const INSTALLED: [&str; 2] =
    ["poststarthook/crd-informer-synced", "poststarthook/apiservice-registration-controller"];
/// After how many seconds a path may be there that was not when it was asked for.
const TRY_AGAIN: u32 = 5;

/// A cheap handle on the inside of a server.
#[derive(Debug, Clone)]
pub struct Api(pub(crate) Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) reader: Arc<dyn ObjectReader>,
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) admission: Vec<admit::Step>,
    /// By resource, then subresource.
    pub(crate) handlers: HashMap<GroupResource, BTreeMap<String, Arc<dyn Handler>>>,
    pub(crate) hooks: HashMap<GroupResource, Vec<Arc<dyn WriteHook>>>,
    pub(crate) routes: Vec<(String, Arc<dyn Route>)>,
    pub(crate) clock: SharedClock,
    pub(crate) seed: Seed,
    pub(crate) metrics: ApiMetrics,
    pub(crate) features: Features,
    pub(crate) health: Health,
    /// What must be done before everything that is there has a path.
    pub(crate) installs: Mutex<Vec<StartCheck>>,
    /// Where `/api` says that the server is.
    pub(crate) advertised: OnceLock<SocketAddr>,
    /// Writes under way.
    pub(crate) writes: TaskTracker,
    /// Connections that outlive the requests they began with.
    pub(crate) connections: Connections,
    /// Cancelled when the server shuts down: watches end.
    pub(crate) stopping: CancellationToken,
}

/// Owns the tasks of connections that outlive the requests they began with; they end when the server shuts
/// down.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Connections {
    pub(crate) fn new(stopping: CancellationToken) -> Self {
        Self { tasks: TaskTracker::new(), stopping }
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let stopping = self.stopping.clone();
        self.tasks.spawn(async move {
            let _ = stopping.run_until_cancelled_owned(work).await;
        });
    }

    /// Waits until all have ended, which they do once the server is stopping.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Api {
    /// The side effects of writes of a resource.
    pub(crate) fn hooks(&self, resource: &Resource) -> &[Arc<dyn WriteHook>] {
        self.0.hooks.get(&resource.group_resource()).map(Vec::as_slice).unwrap_or_default()
    }

    /// The kinds served.
    #[must_use]
    pub fn registry(&self) -> &Arc<Registry> {
        &self.0.registry
    }

    /// Reads from the watch caches.
    #[must_use]
    pub fn reader(&self) -> &Arc<dyn ObjectReader> {
        &self.0.reader
    }

    /// All authorizers as one.
    #[must_use]
    pub fn authorizer(&self) -> &Arc<dyn Authorizer> {
        &self.0.authorizer
    }

    /// The gates of the cluster.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.0.features
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &SharedClock {
        &self.0.clock
    }

    /// Where chance comes from.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.0.seed
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.store
    }

    /// Cancelled when the server shuts down.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// A check of this name in `/livez` and `/readyz` that fails until it is [`done`](StartCheck::done). What has to be
    /// there before the server can be used has one, from assembly on: the server answers requests before it runs.
    /// The original calls them `poststarthook/NAME`.
    pub fn start_check(&self, name: &str) -> StartCheck {
        let check = StartCheck::new(&self.0.health, name);
        if INSTALLED.contains(&name) {
            self.0.installs.lock().push(check.clone());
        }
        check
    }

    /// 404: nothing is served under a path; 503 as long as something that is there may yet get it, since whoever is told
    /// that a kind is gone may take its objects for gone.
    pub(crate) fn no_such_path(&self) -> ApiError {
        if self.0.installs.lock().iter().all(StartCheck::is_done) {
            return ApiError::no_such_path();
        }
        let message = "the request has been made before all known HTTP paths have been installed, please try again";
        ApiError::unavailable(message).retry_after(TRY_AGAIN)
    }

    /// Lets `/api` tell where clients reach the server; what was told first stays.
    pub fn advertise(&self, address: SocketAddr) {
        // Told once more by each who waits for it.
        let _ = self.0.advertised.set(address);
    }

    /// Runs what goes on after a request was answered, as the two ends of an upgraded connection do. It is
    /// dropped when the server shuts down.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.connections.spawn(work);
    }

    /// Whether there is a route of exactly this path.
    #[must_use]
    pub fn serves(&self, path: &str) -> bool {
        self.0.routes.iter().any(|(own, _)| own == path)
    }

    /// The resource in its storage version.
    ///
    /// # Errors
    /// 404 when it is not served.
    pub fn resource(&self, resource: &GroupResource) -> ApiResult<Arc<Resource>> {
        self.0.registry.resource(resource).ok_or_else(ApiError::no_such_path)
    }

    /// Reads one object from the store, as every acknowledged write left it.
    ///
    /// # Errors
    /// 404 when it is not there.
    pub async fn get(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
    ) -> ApiResult<Object> {
        let found = self.resource(resource)?;
        let missing = || ApiError::not_found(resource, name);
        let key = found.key(namespace, name).ok_or_else(missing)?;
        let read = self.0.store.get(&key, ReadAt::Latest).await.about(resource, name)?;
        let entry = read.entry.ok_or_else(missing)?;
        found.cache().shape().decode(&entry.value, entry.revision).await
    }

    /// Creates an object: defaults, field tracking, hooks, preparation and validation, but no admission.
    ///
    /// # Errors
    /// 409 when it exists, 422 when it is not valid.
    pub async fn create(
        &self,
        resource: &GroupResource,
        namespace: &str,
        object: Object,
        user: &UserInfo,
    ) -> ApiResult<Object> {
        self.created(resource, namespace, object, user).await
    }

    /// Behind a pointer, as all writes are: what is awaited is compiled anew in each package that awaits it.
    fn created<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: &'a str,
        mut object: Object,
        user: &'a UserInfo,
    ) -> BoxFuture<'a, ApiResult<Object>> {
        Box::pin(async move {
            let found = self.resource(resource)?;
            let warnings = Warnings::default();
            let definition = found.definition();
            object.set(&["apiVersion"], definition.group_version().to_string());
            object.set(&["kind"], definition.kind.kind.as_ref());
            conform(&mut object, &definition.schema)
                .map_err(|error| ApiError::bad_request(error.to_string()))?;
            let mut writer = Writer::inside(self, &found, namespace, user, &warnings);
            writer.manager = Some(MANAGER);
            writer.create(object).await?.into_object()
        })
    }

    /// Changes a stored object, again and again until no other write came between. Neither hooks of the
    /// kind nor admission see it. An object whose deletion was asked for is removed when the change leaves
    /// it without finalizers.
    ///
    /// # Errors
    /// 404 when it is not there; what `change` returns.
    pub async fn update_with(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<Object> {
        self.updated(resource, namespace, name, &mut change).await
    }

    fn updated<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: &'a str,
        name: &'a str,
        change: &'a mut Change<'a>,
    ) -> BoxFuture<'a, ApiResult<Object>> {
        Box::pin(async move {
            let found = self.resource(resource)?;
            let (user, warnings) = (UserInfo::default(), Warnings::default());
            Writer::inside(self, &found, namespace, &user, &warnings).change(name, change).await
        })
    }

    /// The same for a change that neither looks at managed fields nor has a use for the outcome, as of a binding: those
    /// fields stay the text that is stored, and `change` sees them in that form.
    ///
    /// # Errors
    /// As of [`update_with`](Self::update_with).
    pub async fn amend(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<()> {
        self.amended(resource, namespace, name, &mut change).await
    }

    fn amended<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: &'a str,
        name: &'a str,
        change: &'a mut Change<'a>,
    ) -> BoxFuture<'a, ApiResult<()>> {
        Box::pin(async move {
            let found = self.resource(resource)?;
            let (user, warnings) = (UserInfo::default(), Warnings::default());
            let writer = Writer::inside(self, &found, namespace, &user, &warnings);
            writer.amend(name, change).await.map(drop)
        })
    }

    /// Changes an object's status as the server's own client would, whose name the fields changed bear.
    ///
    /// # Errors
    /// 404 when it is not there, 422 when it would not be valid; what `change` returns.
    pub async fn write_status(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<Object> {
        self.write_part("status", resource, namespace, name, &mut change).await
    }

    /// Changes an object as the server's own client would, whose name the fields changed bear; admission does not see it.
    ///
    /// # Errors
    /// 404 when it is not there, 422 when it would not be valid; what `change` returns.
    pub async fn write(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        mut change: impl FnMut(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<Object> {
        self.write_part("", resource, namespace, name, &mut change).await
    }

    fn write_part<'a>(
        &'a self,
        subresource: &'a str,
        resource: &'a GroupResource,
        namespace: &'a str,
        name: &'a str,
        change: &'a mut Change<'a>,
    ) -> BoxFuture<'a, ApiResult<Object>> {
        Box::pin(async move {
            let found = self.resource(resource)?;
            let (user, warnings) = (UserInfo::default(), Warnings::default());
            let mut writer = Writer::inside(self, &found, namespace, &user, &warnings);
            (writer.subresource, writer.manager) = (subresource, Some(MANAGER));
            let make = |live: Option<&Object>, _: &Conversions<'_>| {
                let mut object = live.cloned().unwrap_or_default();
                unpack_managers(&mut object);
                change(&mut object)?;
                Ok(object)
            };
            writer.update(name, false, make).await?.into_object()
        })
    }

    /// Applies to an object's status as this manager, whoever else manages what it says.
    ///
    /// # Errors
    /// 404 when it is not there, 422 when it would not be valid.
    pub async fn apply_status(
        &self,
        resource: &GroupResource,
        name: &str,
        manager: &str,
        applied: &Object,
    ) -> ApiResult<Object> {
        let found = self.resource(resource)?;
        let (user, warnings) = (UserInfo::default(), Warnings::default());
        let mut writer = Writer::inside(self, &found, "", &user, &warnings);
        writer.subresource = "status";
        let definition = found.definition();
        let (now, reset) = (writer.now, crate::write::reset(definition, "status"));
        let make = |live: Option<&Object>, versions: &Conversions<'_>| {
            let request = apply::Request {
                manager,
                subresource: "status",
                kind: &definition.kind,
                schema: &definition.schema,
                reset: &reset,
                now,
                versions: Some(versions),
            };
            let mut merged = apply::apply(live, applied.clone(), true, &request)?;
            let version = live.map(Object::resource_version).unwrap_or_default();
            merged.set(&["metadata", "resourceVersion"], version);
            Ok(merged)
        };
        writer.update(name, false, make).await?.into_object()
    }

    /// Deletes an object as a request would, without admission; returns it as it was or as it now waits
    /// for its finalizers.
    ///
    /// # Errors
    /// 404 when it is not there, 409 when a precondition does not hold.
    pub async fn delete(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> ApiResult<Object> {
        self.deleted(resource, namespace, name, options).await
    }

    fn deleted<'a>(
        &'a self,
        resource: &'a GroupResource,
        namespace: &'a str,
        name: &'a str,
        options: DeleteOptions,
    ) -> BoxFuture<'a, ApiResult<Object>> {
        Box::pin(async move {
            let found = self.resource(resource)?;
            let (user, warnings) = (UserInfo::default(), Warnings::default());
            let mut writer = Writer::inside(self, &found, namespace, &user, &warnings);
            writer.dry_run = options.dry_run;
            let mut removed = writer.delete(name, options).await?.object;
            unpack_managers(&mut removed);
            Ok(removed)
        })
    }

    /// Asks admission about a write that a handler is about to make: every step may change the object,
    /// then every step may refuse it. `options` are those of the write.
    ///
    /// # Errors
    /// What an admission step refuses with.
    pub async fn admit_create(
        &self,
        request: &HandlerRequest,
        object: &mut Object,
        options: &Object,
        dry_run: bool,
    ) -> ApiResult<()> {
        self.admit_create_with(request, object, options, dry_run, |_| Ok(())).await
    }

    /// The same, with something to be done between: after the steps that change the object, and before those that
    /// refuse it.
    ///
    /// # Errors
    /// What an admission step refuses with, or `between`.
    pub async fn admit_create_with(
        &self,
        request: &HandlerRequest,
        object: &mut Object,
        options: &Object,
        dry_run: bool,
        between: impl FnOnce(&mut Object) -> ApiResult<()> + Send,
    ) -> ApiResult<()> {
        let mut writer = Writer::inside(
            self,
            &request.resource,
            &request.info.namespace,
            &request.user,
            &request.warnings,
        );
        (writer.subresource, writer.verb) = (&request.info.subresource, &request.info.verb);
        writer.audit = request.audit.as_deref();
        writer.dry_run = dry_run;
        let name = request.info.name.as_str();
        admit::mutate(&writer, Operation::Create, name, Some(&mut *object), None, options).await?;
        between(object)?;
        admit::validate(&writer, Operation::Create, name, Some(object), None, options).await
    }

    /// Asks admission about a connection, as exec and port-forward must.
    ///
    /// # Errors
    /// What an admission step refuses with.
    pub async fn admit_connect(&self, request: &HandlerRequest, options: &Object) -> ApiResult<()> {
        let mut writer = Writer::inside(
            self,
            &request.resource,
            &request.info.namespace,
            &request.user,
            &request.warnings,
        );
        (writer.subresource, writer.verb) = (&request.info.subresource, &request.info.verb);
        writer.audit = request.audit.as_deref();
        let mut object = options.clone();
        let name = request.info.name.as_str();
        admit::mutate(&writer, Operation::Connect, name, Some(&mut object), None, options).await?;
        admit::validate(&writer, Operation::Connect, name, Some(&mut object), None, options).await
    }

    /// Reads all stored objects of a resource, consistently, without the watch cache.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_stored(
        &self,
        resource: &GroupResource,
        namespace: &str,
    ) -> ApiResult<Vec<Object>> {
        let found = self.resource(resource)?;
        let page = self.0.store.list(&found.range(namespace), Default::default()).await;
        let entries = page.map_err(|error| crate::storage::plain_error(&error))?.entries;
        let decoded = entries.iter().map(|entry| stored::decode(&entry.value, entry.revision));
        decoded.collect::<Result<_, _>>().map_err(ApiError::internal)
    }
}

#[async_trait]
impl ObjectUpdater for Api {
    async fn update(
        &self,
        resource: &GroupResource,
        namespace: &str,
        name: &str,
        change: &mut Change<'_>,
    ) -> ApiResult<Object> {
        self.update_with(resource, namespace, name, change).await
    }
}
