//! Group versions that others serve in this server's place.

use crate::{api::Api, body::Body, info::RequestInfo};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Response, request::Parts};
use kubeplane_core::{GroupVersion, auth::UserInfo, status::ApiResult};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fmt::{self, Debug},
    sync::Arc,
};

/// What only this server may answer: who may do what.
const ALWAYS_LOCAL: [&str; 4] = [
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
];

/// Answers every request for a group version, its discovery too.
///
/// # Contract
/// The request is authenticated and authorized. Its body is not read; upgrades can be taken over.
///
/// # Errors
/// Sent to the client as a Status.
///
/// # Cancellation
/// The client went away or the request timed out.
#[async_trait]
pub trait Delegate: Debug + Send + Sync + 'static {
    /// Answers one request.
    async fn serve(&self, request: DelegatedRequest) -> ApiResult<Response<Body>>;
}

/// One request to a [`Delegate`].
pub struct DelegatedRequest {
    /// Method, URI, headers and extensions.
    pub head: Parts,
    /// The body.
    pub body: Body,
    /// Who asks.
    pub user: Arc<UserInfo>,
    /// The server.
    pub api: Api,
}

impl Debug for DelegatedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelegatedRequest")
            .field("uri", &self.head.uri)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

/// A group version that another serves.
#[derive(Debug, Clone)]
pub struct Delegated {
    /// Who.
    pub delegate: Arc<dyn Delegate>,
    /// Its resources, as the items of `versions[].resources` in `apidiscovery.k8s.io/v2`.
    pub resources: Arc<Vec<Value>>,
    /// Whether the resources are as it says now, or as it once said.
    pub fresh: bool,
    /// What it says of itself in OpenAPI v3.
    pub openapi: Described,
    /// Its OpenAPI v2 document: `paths` and `definitions` of this group version; `null` for none.
    pub swagger: Arc<Value>,
}

impl Delegated {
    /// Whether nothing that clients see is another.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.delegate, &other.delegate)
            && self.fresh == other.fresh
            && self.openapi == other.openapi
            && self.resources == other.resources
            && self.swagger == other.swagger
    }
}

/// How a group version that another serves is described in OpenAPI v3.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Described {
    /// Not at all.
    #[default]
    Nowhere,
    /// By the other itself: where its document is, with the hash of its content.
    At(String),
    /// By nothing but OpenAPI v2: its whole document in JSON, from which one of v3 is to be made.
    Swagger(Bytes),
}

/// How important a group is, and a version in it: as an APIService says it, more is listed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing {
    /// `groupPriorityMinimum`; of a group, the largest of its versions counts.
    pub group: i64,
    /// `versionPriority`.
    pub version: i64,
}

/// Who serves what, and in which order it is listed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Delegation {
    pub(crate) delegated: BTreeMap<GroupVersion, Delegated>,
    pub(crate) standings: BTreeMap<GroupVersion, Standing>,
}

impl Delegation {
    /// Who answers a request, if it is not this server.
    pub(crate) fn of(&self, info: &RequestInfo) -> Option<&Arc<dyn Delegate>> {
        if self.delegated.is_empty() {
            return None;
        }
        let version = match info.is_resource() {
            true if info.group == "authorization.k8s.io"
                && ALWAYS_LOCAL.contains(&info.resource.as_str()) =>
            {
                return None;
            }
            true => info.group_version(),
            false => version_of(&info.path)?,
        };
        self.delegated.get(&version).map(|delegated| &delegated.delegate)
    }
}

/// The group version of a discovery path, as `/apis/{group}/{version}`.
fn version_of(path: &str) -> Option<GroupVersion> {
    let parts: Vec<_> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["apis", group, version] => Some(GroupVersion::new(group.to_owned(), version.to_owned())),
        ["api", version] => Some(GroupVersion::new("", version.to_owned())),
        _ => None,
    }
}
