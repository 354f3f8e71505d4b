use super::{Exchange, Next, Step};
use crate::{body::Body, query::decode_segment};
use async_trait::async_trait;
use http::{HeaderMap, Response};
use kubeplane_core::{
    ApiError, GroupResource,
    auth::{
        ANONYMOUS, Attributes, Authorizer, Decision, GROUP_AUTHENTICATED, GROUP_UNAUTHENTICATED,
        UserInfo,
    },
    status::ApiResult,
};
use std::sync::Arc;
use tracing::Instrument;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const ACCOUNT: &str = "system:serviceaccount:";

/// Lets those who may act as others do so.
#[derive(Debug)]
pub(crate) struct Impersonate {
    pub(crate) authorizer: Arc<dyn Authorizer>,
}

#[async_trait]
impl Step for Impersonate {
    async fn run(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        if let Some(wanted) = wanted(&exchange.head.headers)? {
            let span = tracing::debug_span!("impersonation");
            let requester = exchange.user.clone();
            let asked = async {
                for attributes in checks(&requester, &wanted) {
                    self.check(&attributes).await?;
                }
                Ok::<(), ApiError>(())
            };
            asked.instrument(span).await?;
            tracing::debug!(by = exchange.user.name, user = wanted.name, "impersonated");
            exchange.user = Arc::new(complete(wanted));
            if let Some(record) = &exchange.audit {
                record.impersonated(&exchange.user);
            }
            let headers = &mut exchange.head.headers;
            let names: Vec<_> = headers
                .keys()
                .filter(|name| name.as_str().starts_with("impersonate-"))
                .cloned()
                .collect();
            for name in names {
                headers.remove(name);
            }
        }
        next.run(exchange).await
    }
}

impl Impersonate {
    async fn check(&self, attributes: &Attributes) -> ApiResult<()> {
        match self.authorizer.authorize(attributes).await {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                Err(super::authorize::forbidden(attributes, &reason))
            }
        }
    }
}

fn wanted(headers: &HeaderMap) -> ApiResult<Option<UserInfo>> {
    let texts = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let mut user = UserInfo { groups: texts(GROUP), ..UserInfo::default() };
    user.uid = texts(UID).into_iter().next().unwrap_or_default();
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            user.extra.insert(decode_segment(key), texts(name.as_str()));
        }
    }
    let Some(name) = texts(USER).into_iter().next().filter(|name| !name.is_empty()) else {
        if user == UserInfo::default() {
            return Ok(None);
        }
        let why = "requested impersonation without impersonating a user";
        return Err(ApiError::internal(why));
    };
    user.name = name;
    Ok(Some(user))
}

/// What the requester must be allowed.
fn checks(requester: &Arc<UserInfo>, wanted: &UserInfo) -> Vec<Attributes> {
    let one =
        |group: &str, resource: &str, subresource: &str, namespace: &str, name: &str| Attributes {
            user: requester.clone(),
            verb: "impersonate".into(),
            version: "v1".into(),
            group: group.into(),
            resource: resource.into(),
            subresource: subresource.into(),
            namespace: namespace.into(),
            name: name.into(),
            ..Attributes::default()
        };
    let mut all = Vec::new();
    match wanted.name.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':')) {
        Some((namespace, name)) => all.push(one("", "serviceaccounts", "", namespace, name)),
        None => all.push(one("", "users", "", "", &wanted.name)),
    }
    all.extend(wanted.groups.iter().map(|group| one("", "groups", "", "", group)));
    let extra = GroupResource::new("authentication.k8s.io", "userextras");
    for (key, values) in &wanted.extra {
        all.extend(values.iter().map(|value| one(&extra.group, &extra.resource, key, "", value)));
    }
    if !wanted.uid.is_empty() {
        all.push(one(&extra.group, "uids", "", "", &wanted.uid));
    }
    all
}

/// Adds the groups every user of the kind has.
fn complete(mut user: UserInfo) -> UserInfo {
    let account = user.name.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
    if let Some((namespace, _)) = account.filter(|_| user.groups.is_empty()) {
        let all = "system:serviceaccounts".to_owned();
        let own = format!("system:serviceaccounts:{namespace}");
        user.groups.extend([all, own]);
    }
    let everyone = if user.name == ANONYMOUS { GROUP_UNAUTHENTICATED } else { GROUP_AUTHENTICATED };
    let settled = user.is_in(GROUP_AUTHENTICATED) || user.is_in(GROUP_UNAUTHENTICATED);
    if !settled {
        user.groups.push(everyone.to_owned());
    }
    user
}
