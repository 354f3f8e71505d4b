use super::{Exchange, Next, Step};
use crate::{audit::Record, body::Body, metrics::AccessMetrics};
use async_trait::async_trait;
use http::Response;
use kubeplane_clock::SharedClock;
use kubeplane_core::{
    ApiError, GroupResource,
    auth::{Attributes, Authorizer, Decision, UserInfo, UserRule},
    status::ApiResult,
};
use std::sync::Arc;
use tracing::Instrument;

/// Paths that tell nothing but whether the server is well.
const OPEN: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Asks whether the user may do it.
#[derive(Debug)]
pub(crate) struct Authorize {
    pub(crate) authorizer: Arc<dyn Authorizer>,
    pub(crate) clock: SharedClock,
    pub(crate) metrics: AccessMetrics,
}

#[async_trait]
impl Step for Authorize {
    async fn run(&self, exchange: Exchange, next: Next<'_>) -> ApiResult<Response<Body>> {
        if !OPEN.contains(&exchange.info.path.as_str()) {
            let attributes = exchange.info.attributes(&exchange.user);
            let decision = self.decide(&attributes).await;
            if let Some(record) = &exchange.audit {
                note(record, &decision);
            }
            match decision {
                Decision::Allow(_) => {}
                Decision::Deny(reason) | Decision::NoOpinion(reason) => {
                    return Err(forbidden(&attributes, &reason));
                }
            }
        }
        next.run(exchange).await
    }
}

impl Authorize {
    async fn decide(&self, attributes: &Attributes) -> Decision {
        let start = self.clock.elapsed();
        let span = tracing::debug_span!("authorization");
        let decision = self.authorizer.authorize(attributes).instrument(span).await;
        self.metrics.authorized(&decision, self.clock.elapsed().saturating_sub(start));
        decision
    }
}

fn note(record: &Record, decision: &Decision) {
    let (word, reason) = match decision {
        Decision::Allow(reason) => ("allow", reason),
        Decision::Deny(reason) | Decision::NoOpinion(reason) => ("forbid", reason),
    };
    record.annotate("authorization.k8s.io/decision", word);
    record.annotate("authorization.k8s.io/reason", reason);
}

/// The refusal of what an authorizer does not allow, for this reason (or the empty text), in the original's words.
#[must_use]
pub fn forbidden(attributes: &Attributes, reason: &str) -> ApiError {
    let user = &attributes.user.name;
    let verb = &attributes.verb;
    let text = if attributes.is_resource() {
        let mut resource = attributes.resource.clone();
        if !attributes.subresource.is_empty() {
            resource = format!("{resource}/{}", attributes.subresource);
        }
        let group = &attributes.group;
        let place = match attributes.namespace.as_str() {
            "" => "at the cluster scope".to_owned(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        format!("User {user:?} cannot {verb} resource {resource:?} in API group {group:?} {place}")
    } else {
        format!("User {user:?} cannot {verb} path {:?}", attributes.path)
    };
    let mut text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    let resource = GroupResource::new(attributes.group.clone(), attributes.resource.clone());
    ApiError::forbidden(&resource, &attributes.name, text)
}

/// Authorizers in order: the first that has an opinion decides. Without any, nothing is allowed.
#[derive(Debug)]
pub(crate) struct Union(pub(crate) Vec<Arc<dyn Authorizer>>);

#[async_trait]
impl Authorizer for Union {
    async fn authorize(&self, request: &Attributes) -> Decision {
        let mut reasons = Vec::new();
        for authorizer in &self.0 {
            match authorizer.authorize(request).await {
                Decision::NoOpinion(reason) => reasons.push(reason),
                decided => return decided,
            }
        }
        reasons.retain(|reason| !reason.is_empty());
        Decision::NoOpinion(reasons.join(", "))
    }

    async fn rules(&self, user: &UserInfo, namespace: &str) -> (Vec<UserRule>, bool) {
        let (mut all, mut incomplete) = (Vec::new(), false);
        for authorizer in &self.0 {
            let (rules, partial) = authorizer.rules(user, namespace).await;
            all.extend(rules);
            incomplete |= partial;
        }
        (all, incomplete)
    }
}
