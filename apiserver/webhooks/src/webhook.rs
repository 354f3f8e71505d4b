//! Webhooks: configurations, calls, and the two steps that make them.

mod answer;
mod call;
mod hook;
mod mutating;
mod review;
mod validating;

pub use mutating::MutatingAdmissionWebhook;
pub use validating::ValidatingAdmissionWebhook;

use crate::{
    attributes::{Matched, admission_request, operation},
    expressions::{CONDITIONS_BUDGET, Evaluation, Inputs, Verdict, answered},
    metrics::About,
    shared::Shared,
};
pub(crate) use answer::reason;
use hook::Hook;
use kubeplane_cel::Authorizer;
use kubeplane_core::{
    admission::Request,
    status::{ApiError, ApiResult},
};

/// The version in which a webhook is to be called; `None` when it is not.
///
/// # Errors
/// When that cannot be told.
async fn wanted(
    shared: &Shared,
    hook: &Hook,
    request: &Request<'_>,
    phase: &'static str,
) -> ApiResult<Option<Matched>> {
    let Some(matched) = hook.matching.matches(shared, request).await? else { return Ok(None) };
    if hook.conditions.is_empty() {
        return Ok(Some(matched));
    }
    let views = matched.views(request).await?;
    let described = admission_request(request, &matched);
    let inputs = Inputs::new(request, described, views, None);
    let about =
        About { kind: "webhook", name: &hook.name, operation: operation(request.operation), phase };
    let authorizer = Authorizer::default();
    let verdict = answered(shared, request.user, &authorizer, || {
        let base = inputs.activation(&authorizer);
        let mut evaluation = Evaluation::new(&base, &[], None, CONDITIONS_BUDGET);
        hook.conditions.evaluate(&mut evaluation, shared, about)
    });
    match verdict.await {
        Verdict::Matches => Ok(Some(matched)),
        Verdict::Excluded => Ok(None),
        Verdict::Failed(_) if hook.ignore => Ok(None),
        Verdict::Failed(why) => {
            Err(ApiError::forbidden(&request.definition.resource(), request.name, why))
        }
    }
}
