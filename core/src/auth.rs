//! Who asks, and whether they may.

use crate::status::ApiResult;
use async_trait::async_trait;
use std::{collections::BTreeMap, fmt::Debug, net::IpAddr, sync::Arc};

/// The user name of requests without credentials.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of all authenticated users.
pub const GROUP_AUTHENTICATED: &str = "system:authenticated";
/// The group of requests without credentials.
pub const GROUP_UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do everything.
pub const GROUP_MASTERS: &str = "system:masters";

/// An authenticated user.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserInfo {
    /// The name.
    pub name: String,
    /// The uid, if the authenticator knows one.
    pub uid: String,
    /// The groups.
    pub groups: Vec<String>,
    /// More, by key.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user of this name and these groups.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        groups: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        Self {
            name: name.into(),
            groups: groups.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }

    /// The user of requests without credentials.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, [GROUP_UNAUTHENTICATED])
    }

    /// Whether the user is in a group.
    #[must_use]
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }
}

/// The certificates a client presented in its TLS handshake, leaf first, as DER. Kept in the request's
/// extensions as `Arc<PeerCertificates>`; not verified yet.
#[derive(Debug, Clone, Default)]
pub struct PeerCertificates(pub Vec<Vec<u8>>);

/// Where a request came from; kept in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub IpAddr);

/// Finds out who sent a request.
///
/// # Contract
/// `Ok(None)` means "no credentials of my kind here": the next authenticator is asked. `Err` means
/// credentials of this kind that are bad; the request is refused with 401 unless another authenticator
/// accepts it. Adding `system:authenticated` is the caller's work.
#[async_trait]
pub trait Authenticator: Debug + Send + Sync + 'static {
    /// Looks at a request's head.
    ///
    /// # Errors
    /// When the credentials are bad.
    ///
    /// # Cancellation
    /// No effect.
    async fn authenticate(&self, request: &http::request::Parts) -> ApiResult<Option<UserInfo>>;
}

/// What a request wants to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Who.
    pub user: Arc<UserInfo>,
    /// The verb: `get`, `list`, `watch`, `create`, ... or the lower-case method of a non-resource request.
    pub verb: String,
    /// The namespace; empty for cluster-wide requests.
    pub namespace: String,
    /// The group.
    pub group: String,
    /// The version.
    pub version: String,
    /// The resource; empty for non-resource requests.
    pub resource: String,
    /// The subresource, if any.
    pub subresource: String,
    /// The object's name, if the request names one.
    pub name: String,
    /// The path.
    pub path: String,
    /// The field selector of a list, watch or deletecollection, as sent.
    pub field_selector: String,
    /// The label selector of a list, watch or deletecollection, as sent.
    pub label_selector: String,
}

impl Attributes {
    /// Whether the request is about a resource (and not, say, `/version`).
    #[must_use]
    pub fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// Whether the verb only reads.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        matches!(self.verb.as_str(), "get" | "list" | "watch")
    }
}

/// The answer of an authorizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Yes, and why.
    Allow(String),
    /// No, whatever others say.
    Deny(String),
    /// Not mine to say; why not is kept for the message.
    NoOpinion(String),
}

/// One rule a user has, as SelfSubjectRulesReview shows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UserRule {
    /// The verbs.
    pub verbs: Vec<String>,
    /// The groups.
    pub api_groups: Vec<String>,
    /// The resources.
    pub resources: Vec<String>,
    /// The names, if it is for some only.
    pub resource_names: Vec<String>,
    /// The paths, for non-resource rules.
    pub non_resource_urls: Vec<String>,
}

/// Says whether a request may go on.
#[async_trait]
pub trait Authorizer: Debug + Send + Sync + 'static {
    /// Decides. Never fails: an authorizer that cannot tell has no opinion, and says why.
    ///
    /// # Cancellation
    /// No effect.
    async fn authorize(&self, request: &Attributes) -> Decision;

    /// The rules a user has in a namespace, and whether the list is incomplete.
    async fn rules(&self, _user: &UserInfo, _namespace: &str) -> (Vec<UserRule>, bool) {
        (Vec::new(), true)
    }
}
