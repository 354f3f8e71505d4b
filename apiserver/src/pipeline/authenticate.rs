use super::{Exchange, Next, Step};
use crate::{audit::AuditLog, body::Body, info::RequestInfo, metrics::AccessMetrics};
use async_trait::async_trait;
use http::{Response, header, request::Parts};
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    ApiError,
    auth::{ANONYMOUS, Authenticator, GROUP_AUTHENTICATED, UserInfo},
    status::ApiResult,
};
use std::sync::Arc;
use tracing::Instrument;

/// The identity of a client in this process; no request from the wire can carry it.
#[derive(Debug, Clone)]
pub(crate) struct InProcess(pub(crate) Arc<UserInfo>);

/// Finds out who asks. Without credentials it is the anonymous user, with bad ones it is nobody.
#[derive(Debug)]
pub(crate) struct Authenticate {
    pub(crate) chain: Vec<Arc<dyn Authenticator>>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: AccessMetrics,
    /// Where it is recorded that nobody was found.
    pub(crate) audit: Option<Arc<AuditLog>>,
}

#[async_trait]
impl Step for Authenticate {
    async fn run(&self, mut exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        exchange.user = match exchange.head.extensions.get::<InProcess>() {
            Some(InProcess(user)) if is_complete(user) => user.clone(),
            Some(InProcess(user)) => Arc::new(completed(UserInfo::clone(user))),
            None => {
                let found = self.found_or_recorded(&exchange.head, &exchange.info).await?;
                Arc::new(completed(found))
            }
        };
        exchange.head.headers.remove(header::AUTHORIZATION);
        next.run(exchange).await
    }
}

/// Whether a user is in the group of all that are known, if known at all.
fn is_complete(user: &UserInfo) -> bool {
    user.name == ANONYMOUS || user.is_in(GROUP_AUTHENTICATED)
}

fn completed(mut user: UserInfo) -> UserInfo {
    if !is_complete(&user) {
        user.groups.push(GROUP_AUTHENTICATED.to_owned());
    }
    user
}

impl Authenticate {
    async fn found_or_recorded(&self, head: &Parts, info: &RequestInfo) -> ApiResult<UserInfo> {
        let found = self.found(head).await;
        if let (Err(error), Some(log)) = (&found, &self.audit) {
            super::audit::nobody(log, &self.clock, head, info, error).await;
        }
        found
    }

    async fn found(&self, head: &Parts) -> ApiResult<UserInfo> {
        let start = self.clock.elapsed();
        let user = self.user(head).instrument(tracing::debug_span!("authentication")).await;
        let took = self.clock.elapsed().saturating_sub(start);
        self.metrics
            .authenticated(user.as_ref().map(|user| user.name.as_str()).map_err(drop), took);
        user
    }

    async fn user(&self, head: &Parts) -> ApiResult<UserInfo> {
        let mut bad = false;
        for authenticator in &self.chain {
            match authenticator.authenticate(head).await {
                Ok(Some(user)) => return Ok(user),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "credentials refused");
                    bad = true;
                }
            }
        }
        let unknown = head.headers.contains_key(header::AUTHORIZATION);
        if bad || unknown { Err(ApiError::unauthorized()) } else { Ok(UserInfo::anonymous()) }
    }
}
