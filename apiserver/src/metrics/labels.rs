//! What requests are counted under. Names of resources are only those the registry serves: what clients make
//! up must not grow the server.

use crate::{decode, info::RequestInfo, query::Query, registry::Registry};
use http::request::Parts;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use std::{
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    component: &'static str,
    group: String,
    resource: String,
    scope: &'static str,
    subresource: String,
    verb: &'static str,
    version: String,
}

/// The labels of one request, made and hashed once and shared by all that is counted of it.
#[derive(Debug, Clone)]
pub(crate) struct Labels {
    hash: u64,
    request: Arc<Request>,
}

impl Labels {
    fn new(request: Request) -> Self {
        let mut hasher = DefaultHasher::new();
        request.hash(&mut hasher);
        Self { hash: hasher.finish(), request: Arc::new(request) }
    }
}

impl Default for Labels {
    fn default() -> Self {
        Self::new(Request::default())
    }
}

impl PartialEq for Labels {
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash
            && (Arc::ptr_eq(&self.request, &other.request) || self.request == other.request)
    }
}

impl Eq for Labels {}

impl Hash for Labels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        self.request.encode(encoder)
    }
}

/// Paths that are counted by themselves though they name no resource.
const PATHS: [&str; 4] = ["/healthz", "/livez", "/readyz", "/metrics"];

impl Labels {
    /// Of a request, as far as it names what is served.
    pub(crate) fn of(head: &Parts, info: &RequestInfo, registry: &Registry) -> Self {
        let mut labels = Request {
            component: "apiserver",
            verb: verb(head, info),
            scope: scope(info),
            ..Request::default()
        };
        let resource = info
            .is_resource()
            .then(|| registry.find(&info.group_version(), &info.resource))
            .flatten();
        if let Some(resource) = resource {
            labels.group.clone_from(&info.group);
            labels.version.clone_from(&info.version);
            labels.resource.clone_from(&info.resource);
            if resource.definition().subresource(&info.subresource).is_some() {
                labels.subresource.clone_from(&info.subresource);
            }
        } else if PATHS.contains(&info.path.as_str()) {
            labels.subresource.clone_from(&info.path);
        }
        Self::new(labels)
    }

    /// The same without the resource.
    pub(crate) fn of_no_resource(&self) -> Self {
        let Request { component, scope, verb, .. } = *self.request;
        Self::new(Request { component, scope, verb, ..Request::default() })
    }
}

/// The verb as the original shows it: of a method nobody knows, `other`.
fn verb(head: &Parts, info: &RequestInfo) -> &'static str {
    const STREAMS: [&str; 5] = ["log", "exec", "portforward", "attach", "proxy"];
    if info.is_resource() && STREAMS.contains(&info.subresource.as_str()) {
        return "CONNECT";
    }
    match info.verb.as_str() {
        "get" | "head" => "GET",
        "list" => "LIST",
        "watch" => "WATCH",
        "create" | "post" => "POST",
        "update" | "put" => "PUT",
        "patch" if decode::media_type(&head.headers) == "application/apply-patch+yaml" => "APPLY",
        "patch" => "PATCH",
        "delete" | "deletecollection" => "DELETE",
        _ => "other",
    }
}

fn scope(info: &RequestInfo) -> &'static str {
    let many = matches!(info.verb.as_str(), "list" | "watch" | "deletecollection");
    match info.is_resource() {
        false => "",
        true if info.verb == "create" || (!many && !info.name.is_empty()) => "resource",
        true if !info.namespace.is_empty() => "namespace",
        true => "cluster",
    }
}

impl Labels {
    /// The `dry_run` label of a request: empty for a real write.
    pub(crate) fn dry_run(head: &Parts) -> &'static str {
        if !head.uri.query().is_some_and(|query| query.contains("dryRun")) {
            return "";
        }
        match Query::of(&head.uri).first("dryRun") {
            None => "",
            Some("All") => "All",
            Some(_) => "invalid",
        }
    }
}

/// What is known of a request once it was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Outcome {
    pub(super) dry_run: Option<&'static str>,
    pub(super) code: Option<u16>,
}

impl EncodeLabelSet for Outcome {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), fmt::Error> {
        if let Some(dry_run) = self.dry_run {
            [("dry_run", dry_run)].encode(encoder)?;
        }
        if let Some(code) = self.code {
            [("code", code)].encode(encoder)?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct BodyLabels {
    pub(super) resource: String,
    pub(super) group: String,
    pub(super) verb: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    request_kind: &'static str,
}

impl KindLabel {
    pub(super) fn of(mutating: bool) -> Self {
        Self { request_kind: if mutating { "mutating" } else { "readOnly" } }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WatchLabels {
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) version: String,
}
