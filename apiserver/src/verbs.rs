//! What can be done with a resource: one file per verb, none per kind.

mod create;
mod delete;
mod deletecollection;
mod get;
mod list;
mod patch;
mod scale;
mod update;
mod watch;

use crate::{
    api::Api,
    audit::Record,
    body::{self, Body, Unread},
    handler::HandlerRequest,
    info::RequestInfo,
    output::{self, Accepted},
    pipeline::Exchange,
    query::Query,
    registry::Resource,
    write::{Writer, Written},
};
use bytes::Bytes;
use futures::FutureExt;
use http::{Method, Response, StatusCode, request::Parts};
use jiff::Timestamp;
use kubeplane_core::{
    ApiError, Definition, Object,
    admission::Warnings,
    auth::UserInfo,
    definition::{Form, Verb},
    schema::SchemaRef,
    status::ApiResult,
};
use std::sync::Arc;

/// A request for a resource.
pub(crate) struct Call {
    pub(crate) api: Api,
    pub(crate) head: Parts,
    pub(crate) body: Unread,
    pub(crate) info: Arc<RequestInfo>,
    pub(crate) user: Arc<UserInfo>,
    pub(crate) warnings: Arc<Warnings>,
    pub(crate) audit: Option<Arc<Record>>,
    pub(crate) resource: Arc<Resource>,
    pub(crate) now: Timestamp,
}

/// Serves a request for a resource.
pub(crate) async fn serve(api: Api, exchange: Exchange) -> ApiResult<Response<Body>> {
    let Exchange { head, body, info, user, warnings, audit, .. } = exchange;
    let resource = api
        .registry()
        .find(&info.group_version(), &info.resource)
        .ok_or_else(|| api.no_such_path())?;
    let now = api.clock().now();
    let body = Unread::new(body);
    let call = Call { api, head, body, info, user, warnings, audit, resource, now };
    call.check_scope()?;
    if call.info.subresource.is_empty() {
        call.serve_whole().await
    } else {
        call.serve_part().await
    }
}

impl Call {
    pub(crate) fn definition(&self) -> &Arc<Definition> {
        self.resource.definition()
    }

    pub(crate) fn query(&self) -> Query {
        Query::of(&self.head.uri)
    }

    /// The namespace as storage knows it: empty for what lives in the cluster.
    pub(crate) fn namespace(&self) -> &str {
        if self.definition().is_namespaced() { &self.info.namespace } else { "" }
    }

    pub(crate) fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource.group_resource(), &self.info.name)
    }

    /// Paths must name a namespace exactly where the resource lives in one.
    fn check_scope(&self) -> ApiResult<()> {
        let info = &self.info;
        let own_namespace = info.resource == "namespaces" && info.group.is_empty();
        let everywhere = matches!(info.verb.as_str(), "list" | "watch");
        match (self.definition().is_namespaced(), info.namespace.is_empty()) {
            (true, false) | (false, true) => Ok(()),
            (false, false) if own_namespace => Ok(()),
            (true, true) if everywhere => Ok(()),
            _ if self.is_custom() => Err(ApiError::no_such_path()),
            // The path is there, for lists and watches of all namespaces.
            (true, true) if info.name.is_empty() => Err(self.unsupported()),
            _ => Err(ApiError::no_such_path()),
        }
    }

    async fn serve_whole(self) -> ApiResult<Response<Body>> {
        let verb = self.verb().filter(|verb| self.definition().verbs.contains(verb));
        let named = !self.info.name.is_empty();
        let custom = self.is_custom();
        if custom && !named && matches!(verb, Some(Verb::Update | Verb::Patch)) {
            if verb == Some(Verb::Patch) {
                patch::Kind::of(&self)?;
            }
            return Err(ApiError::bad_request("name must be provided"));
        }
        let verb = verb.filter(|verb| match verb {
            Verb::Create => custom || !named,
            Verb::Update | Verb::Patch => named,
            _ => true,
        });
        // As in the original, which has no route for what no verb takes, and none for HEAD.
        let has_items = self
            .definition()
            .verbs
            .iter()
            .any(|verb| matches!(verb, Verb::Get | Verb::Update | Verb::Patch | Verb::Delete));
        if named && !has_items {
            return Err(ApiError::no_such_path());
        }
        let verb = verb.filter(|_| custom || self.head.method != Method::HEAD);
        let Some(verb) = verb else { return Err(self.unsupported()) };
        self.warn_of_version(verb);
        if let Some(handler) = self.handler("") {
            return handler.handle(self.into_request()).await;
        }
        // Each by itself: one that could be any of them would be as large as the largest, and is moved several times.
        let serving = match verb {
            Verb::Create => create::serve(self).boxed(),
            Verb::Delete => delete::serve(self).boxed(),
            Verb::DeleteCollection => deletecollection::serve(self).boxed(),
            Verb::Get => get::serve(self).boxed(),
            Verb::List => list::serve(self).boxed(),
            Verb::Patch => patch::serve(self).boxed(),
            Verb::Update => update::serve(self).boxed(),
            Verb::Watch => watch::serve(self).boxed(),
        };
        serving.await
    }

    async fn serve_part(self) -> ApiResult<Response<Body>> {
        let definition = self.definition().clone();
        let subresource =
            definition.subresource(&self.info.subresource).ok_or_else(|| {
                match self.is_custom() {
                    true => self.not_found(),
                    false => ApiError::no_such_path(),
                }
            })?;
        let verb = self.verb().filter(|verb| subresource.verbs.contains(verb));
        let handler = self.handler(&self.info.subresource);
        // What takes every verb passes them on, and OPTIONS too, which is none.
        let any = subresource.verbs.contains(&Verb::Delete) && self.head.method == Method::OPTIONS;
        if let Some(handler) = handler.as_ref().filter(|_| any) {
            return handler.handle(self.into_request()).await;
        }
        let Some(verb) = verb else { return Err(self.unsupported()) };
        self.warn_of_version(verb);
        if let Some(handler) = handler {
            return handler.handle(self.into_request()).await;
        }
        let serving = match (&subresource.form, verb) {
            (Form::Part, Verb::Get) => get::serve(self).boxed(),
            (Form::Part, Verb::Update) => update::serve(self).boxed(),
            (Form::Part, Verb::Patch) => patch::serve(self).boxed(),
            (Form::Scale { .. }, _) => scale::serve(self, verb).boxed(),
            _ => return Err(ApiError::no_such_path()),
        };
        serving.await
    }

    /// Only those are warned who ask for what is there, in a form that is.
    fn warn_of_version(&self, verb: Verb) {
        let Some(warning) = self.definition().strategy.deprecation() else { return };
        let unknown = verb == Verb::Patch && patch::Kind::of(self).is_err();
        if !unknown && !output::is_unknown(&self.head.headers) {
            self.warnings.add(warning);
        }
    }

    fn verb(&self) -> Option<Verb> {
        Verb::ALL.iter().copied().find(|verb| verb.as_str() == self.info.verb)
    }

    fn unsupported(&self) -> ApiError {
        // As in the original, which has routes for the built-in kinds and none for others.
        match self.is_custom() {
            false => ApiError::method_not_allowed(),
            true => {
                ApiError::method_not_supported(&self.resource.group_resource(), &self.info.verb)
            }
        }
    }

    /// Whether the kind was made at run time, for which the original has one route.
    fn is_custom(&self) -> bool {
        matches!(self.definition().schema, SchemaRef::Shared(_))
    }

    fn handler(&self, subresource: &str) -> Option<Arc<dyn crate::handler::Handler>> {
        self.api.0.handlers.get(&self.resource.group_resource())?.get(subresource).cloned()
    }

    fn into_request(self) -> HandlerRequest {
        let Self { api, head, body, info, user, warnings, audit, resource, .. } = self;
        HandlerRequest { head, info, user, resource, warnings, api, body, audit }
    }

    pub(crate) async fn read_body(&self) -> ApiResult<Bytes> {
        let bytes = body::read(self.body.take()).await?;
        self.api.0.metrics.body_read(&self.info, bytes.len());
        Ok(bytes)
    }

    /// A writer for this request.
    pub(crate) fn writer<'a>(
        &'a self,
        dry_run: bool,
        manager: Option<&'a str>,
        options: &'a Object,
    ) -> Writer<'a> {
        Writer {
            api: &self.api,
            resource: &self.resource,
            namespace: self.namespace(),
            subresource: &self.info.subresource,
            verb: &self.info.verb,
            user: &self.user,
            warnings: &self.warnings,
            now: self.now,
            dry_run,
            manager,
            options: Some(options),
            audit: self.audit.as_deref(),
            hooks: self.api.hooks(&self.resource),
        }
    }

    /// Answers with a written object.
    pub(crate) fn respond(
        &self,
        accepted: &Accepted,
        code: StatusCode,
        written: &Written,
    ) -> ApiResult<Response<Body>> {
        let _span = tracing::debug_span!("response").entered();
        let shape = self.resource.cache().shape();
        output::entity(accepted, shape, code, &written.value, written.revision, self.now)
    }
}
