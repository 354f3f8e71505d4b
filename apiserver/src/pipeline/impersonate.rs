mod modes;

use super::{Exchange, Next, Step};
use crate::{body::Body, query::decode_segment};
use async_trait::async_trait;
use http::{HeaderMap, Response};
use kubeplane_core::{
    ApiError,
    auth::{Attributes, Authorizer, UserInfo},
    status::ApiResult,
};
use modes::Mode;
use std::sync::Arc;
use tracing::Instrument;

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

/// Lets those who may act as others do so.
#[derive(Debug)]
pub(crate) struct Impersonate {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    /// Beside the right to act as somebody there are those to do so in single requests.
    pub(crate) constrained: bool,
}

#[async_trait]
impl Step for Impersonate {
    async fn run(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        if let Some(wanted) = self.wanted(&exchange.head.headers)? {
            let span = tracing::debug_span!("impersonation");
            let request = exchange.info.attributes(&exchange.user);
            let (mode, user) = self.chosen(&request, &wanted).instrument(span).await?;
            tracing::debug!(by = exchange.user.name, user = user.name, ?mode, "impersonated");
            exchange.user = Arc::new(user);
            if let Some(record) = &exchange.audit {
                record.impersonated(&exchange.user, mode.constraint());
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
    /// The first way that is allowed, and the user it makes; else why the first that could be one is not.
    async fn chosen(&self, request: &Attributes, wanted: &UserInfo) -> ApiResult<(Mode, UserInfo)> {
        let mut refused = None;
        for mode in modes::ALL {
            let tried = mode == Mode::Legacy || self.constrained;
            if !tried || !mode.is_for(wanted, &request.user) {
                continue;
            }
            match mode.user(&*self.authorizer, request, wanted).await {
                Ok(user) => return Ok((mode, user)),
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| ApiError::internal("all impersonation modes failed")))
    }

    fn wanted(&self, headers: &HeaderMap) -> ApiResult<Option<UserInfo>> {
        let wanted = wanted(headers);
        if !wanted.name.is_empty() {
            return Ok(Some(wanted));
        }
        if wanted == UserInfo::default() {
            return Ok(None);
        }
        if self.constrained {
            let why = format!("requested {} without impersonating a user name", as_go(&wanted));
            return Err(ApiError::bad_request(why));
        }
        Err(ApiError::internal("requested impersonation without impersonating a user"))
    }
}

fn wanted(headers: &HeaderMap) -> UserInfo {
    let texts = |name: &str| -> Vec<String> {
        let values = headers.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok()).map(str::to_owned).collect()
    };
    let first = |name: &str| texts(name).into_iter().next().unwrap_or_default();
    let mut user = UserInfo {
        name: first(USER),
        uid: first(UID),
        groups: texts(GROUP),
        ..UserInfo::default()
    };
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            user.extra.insert(decode_segment(key), texts(name.as_str()));
        }
    }
    user
}

/// A user as Go prints it.
fn as_go(user: &UserInfo) -> String {
    let list = |items: &[String]| {
        let items: Vec<_> = items.iter().map(|item| format!("{item:?}")).collect();
        format!("[]string{{{}}}", items.join(", "))
    };
    let groups = match user.groups.as_slice() {
        [] => "[]string(nil)".to_owned(),
        groups => list(groups),
    };
    let extra: Vec<_> =
        user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect();
    let extra = match extra.as_slice() {
        [] => "(nil)".to_owned(),
        extra => format!("{{{}}}", extra.join(", ")),
    };
    let (name, uid) = (&user.name, &user.uid);
    format!(
        "&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:{groups}, Extra:map[string][]string{extra}}}"
    )
}
