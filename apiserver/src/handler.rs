//! What outsiders and this crate alike plug into the server: [`Handler`], [`WriteHook`] and [`Route`].

use crate::{
    api::Api,
    audit::Record,
    body::{self, Body, Unread},
    held::Held,
    info::RequestInfo,
    messages::{self, Content},
    options::WriteOptions,
    output::{Accepted, Offer},
    query::Query,
    registry::Resource,
    write,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Response, request::Parts};
use hyper::upgrade::OnUpgrade;
use kubeplane_core::{
    Object,
    admission::Warnings,
    apply,
    auth::UserInfo,
    decode::FieldValidation,
    definition::Context,
    field,
    status::{ApiError, ApiResult},
};
use std::{
    fmt::{self, Debug},
    sync::Arc,
};

/// Serves a subresource with [`Form::Handler`](kubeplane_core::definition::Form::Handler), or all verbs of
/// a resource that is not stored (registered under the empty subresource name, as the review kinds are).
///
/// # Contract
/// The request is authenticated and authorized, and its verb is one the definition lists. Admission is
/// the handler's own work, through [`Api::admit_connect`] or the writes of [`Api`].
///
/// # Errors
/// Sent to the client as a Status.
///
/// # Cancellation
/// The client went away or the request timed out.
#[async_trait]
pub trait Handler: Debug + Send + Sync + 'static {
    /// Answers one request.
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>>;
}

/// One request to a [`Handler`].
pub struct HandlerRequest {
    /// Method, URI, headers and extensions.
    pub head: Parts,
    /// What the path asks for.
    pub info: Arc<RequestInfo>,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The resource the subresource belongs to.
    pub resource: Arc<Resource>,
    /// Warnings to the client.
    pub warnings: Arc<Warnings>,
    /// The server, for reads and writes of other objects.
    pub api: Api,
    /// The body, not read yet.
    pub body: Unread,
    pub(crate) audit: Option<Arc<Record>>,
}

impl Debug for HandlerRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandlerRequest")
            .field("info", &self.info)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl HandlerRequest {
    /// Annotates the request for the audit log, if it is audited; the first value of a key stays.
    pub fn annotate(&self, key: &str, value: &str) {
        if let Some(record) = &self.audit {
            record.annotate(key, value);
        }
    }

    /// The query parameters.
    #[must_use]
    pub fn query(&self) -> Query {
        Query::of(&self.head.uri)
    }

    /// The whole body, at most [`body::MAX_BODY`] bytes; later calls find it empty.
    ///
    /// # Errors
    /// 413 when it is larger.
    pub async fn read_body(&mut self) -> ApiResult<Bytes> {
        body::read(self.body.take()).await
    }

    /// The body as an object: JSON or YAML by its content type. `kind` and `apiVersion` must be those of
    /// the subresource (or of the resource, without one) where the body says them, and are filled in. Of an object
    /// that is posted, who writes it is noted in its metadata as in what is stored.
    ///
    /// # Errors
    /// 400 for a malformed body or another kind, 406, 413, 415, 422 for bad options of the request.
    pub async fn object(&mut self) -> ApiResult<Object> {
        self.object_with(|_| ()).await
    }

    /// The same with defaults of its own.
    ///
    /// # Errors
    /// As of [`object`](Self::object).
    pub async fn object_with(&mut self, fill: impl FnOnce(&mut Object)) -> ApiResult<Object> {
        Accepted::of(&self.head, Offer::ANSWER)?;
        let posts = self.head.method == http::Method::POST;
        let options = if posts { "CreateOptions" } else { "UpdateOptions" };
        let bytes = self.read_body().await?;
        let options = WriteOptions::parse(options, &self.query(), &self.head.headers, None)?;
        let definition = self.resource.definition();
        let subresource = self.info.subresource.as_str();
        let kind = definition
            .subresource(subresource)
            .map_or_else(|| definition.kind.clone(), |subresource| subresource.kind.clone());
        let validation = options.field_validation;
        let decoded = crate::decode::loose(&self.head.headers, &bytes, &kind, validation)?;
        if validation == FieldValidation::Warn {
            decoded.warnings.into_iter().for_each(|warning| self.warnings.add(warning));
        }
        let mut object = decoded.object;
        if subresource.is_empty() {
            definition.strategy.default(&mut object);
        }
        fill(&mut object);
        if !posts {
            return Ok(object);
        }
        // What these ask for is held against what is stored.
        if !matches!(subresource, "binding" | "token") {
            write::wipe(&mut object);
        }
        let namespace = if definition.is_namespaced() { &self.info.namespace } else { "" };
        write::ensure_namespace(&mut object, namespace)?;
        let request = apply::Request {
            manager: &options.manager,
            subresource,
            kind: &kind,
            schema: &crate::decode::shape(&kind),
            reset: &apply::Filter::None,
            now: self.api.clock().now(),
            versions: None,
        };
        Ok(apply::update(None, object, &request))
    }

    /// Checks an object of the resource's own kind as a create would.
    #[must_use]
    pub fn validate(&self, object: &Object) -> field::Errors {
        let context = Context {
            now: self.api.clock().now(),
            user: &self.user,
            subresource: "",
            warnings: &self.warnings,
            features: self.api.features(),
        };
        self.resource.definition().strategy.validate(&context, object)
    }

    /// What is to be held until a connection that was taken over has ended.
    #[must_use]
    pub fn held(&self) -> Held {
        Held::of(&self.head.extensions)
    }

    /// The connection after the answer `101 Switching Protocols`; `None` when it cannot be taken over. Whoever goes on
    /// with it holds [`held`](Self::held) meanwhile.
    pub fn upgrade(&mut self) -> Option<OnUpgrade> {
        self.head.extensions.remove::<OnUpgrade>()
    }

    /// Answers with bytes that go on for long, as a log does: with `response` as it is, or, where the client asks for a
    /// WebSocket, with the bytes of its body as messages of that, after an empty one; the connection then ends with them
    /// or with the server. A client none of whose protocols is known is refused with 403, one whose handshake lacks
    /// something with 400.
    #[must_use]
    pub fn stream(&mut self, response: Response<Body>) -> Response<Body> {
        messages::send(&self.api, &mut self.head, Content::Bytes, response)
    }

    /// Answers with objects of the resource's own kind, as a get of the only one or as a list of all, in
    /// the form the client accepts: tables and metadata too.
    ///
    /// # Errors
    /// 406 when the client accepts none that is offered.
    pub fn respond_kind(&self, objects: Vec<Object>, list: bool) -> ApiResult<Response<Body>> {
        let now = self.api.clock().now();
        crate::output::objects(&self.head, self.resource.definition(), objects, list, now)
    }

    /// Answers with an object in the form the client accepts.
    ///
    /// # Errors
    /// 406 when the client accepts none that is offered.
    pub fn respond(&self, code: http::StatusCode, object: &Object) -> ApiResult<Response<Body>> {
        crate::output::object(&self.head, code, object)
    }
}

/// What is still to do about a write once its outcome is known.
#[derive(Default)]
pub struct Finish {
    committed: Vec<BoxFuture<'static, ()>>,
    failed: Vec<BoxFuture<'static, ()>>,
}

impl Finish {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// Runs `work` if the write fails: give back what was allocated.
    #[must_use]
    pub fn on_failure(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.failed.push(Box::pin(work));
        self
    }

    /// Runs `work` if the write succeeds: release what is no longer used.
    #[must_use]
    pub fn on_success(mut self, work: impl Future<Output = ()> + Send + 'static) -> Self {
        self.committed.push(Box::pin(work));
        self
    }

    pub(crate) fn join(&mut self, other: Self) {
        self.committed.extend(other.committed);
        self.failed.extend(other.failed);
    }

    pub(crate) async fn run(self, success: bool) {
        for work in if success { self.committed } else { self.failed } {
            work.await;
        }
    }
}

impl Debug for Finish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Finish")
            .field("committed", &self.committed.len())
            .field("failed", &self.failed.len())
            .finish()
    }
}

/// Side effects of the writes of one resource, as the allocation of a Service's address is.
///
/// # Contract
/// The `before` hooks run after mutating admission and before preparation and validation, on every try of
/// a write; what they return is run once the outcome of that try is known. With `dry_run` nothing may be
/// kept. `after_delete` runs once an object is gone from the store.
#[async_trait]
pub trait WriteHook: Debug + Send + Sync + 'static {
    /// Before an object is created.
    ///
    /// # Errors
    /// Refuses the write.
    async fn before_create(
        &self,
        _api: &Api,
        _object: &mut Object,
        _dry_run: bool,
    ) -> ApiResult<Finish> {
        Ok(Finish::nothing())
    }

    /// Before an object is changed (not through a subresource).
    ///
    /// # Errors
    /// Refuses the write.
    async fn before_update(
        &self,
        _api: &Api,
        _object: &mut Object,
        _old: &Object,
        _dry_run: bool,
    ) -> ApiResult<Finish> {
        Ok(Finish::nothing())
    }

    /// Before an object's deletion begins.
    ///
    /// # Errors
    /// Refuses the deletion.
    async fn before_delete(&self, _api: &Api, _object: &Object) -> ApiResult<()> {
        Ok(())
    }

    /// What else changes in an object when its deletion begins, as a namespace's phase does.
    fn mark_deleting(&self, _object: &mut Object) {}

    /// Whether something beside its finalizers keeps an object from being removed.
    fn holds(&self, _object: &Object) -> bool {
        false
    }

    /// After an object is gone.
    async fn after_delete(&self, _api: &Api, _object: &Object) {}
}

/// Serves paths that name no resource, as `/openapi/v3` and below.
///
/// # Errors
/// Sent to the client as a Status.
#[async_trait]
pub trait Route: Debug + Send + Sync + 'static {
    /// Answers one request.
    async fn serve(&self, api: &Api, head: &Parts, body: Body) -> ApiResult<Response<Body>>;
}

/// 404 for paths nobody serves; for handlers that look at more of the path themselves.
#[must_use]
pub fn no_such_path() -> ApiError {
    ApiError::no_such_path()
}
