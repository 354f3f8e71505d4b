//! One call of one webhook.

use super::{
    answer::{CallError, denied},
    hook::Hook,
    review::{self, Answer, Version},
};
use crate::{
    attributes::{Matched, operation},
    metrics::Ended,
    shared::Shared,
};
use kubeplane_core::{admission::Request, names, status::ApiError};

/// Which of the two steps calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Mutating,
    Validating,
}

impl Phase {
    /// As in metrics.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Mutating => "admit",
            Self::Validating => "validating",
        }
    }
}

/// Sends the review, and reads the answer: allowed, or an error.
pub(super) async fn ask(
    shared: &Shared,
    hook: &Hook,
    request: &Request<'_>,
    matched: &Matched,
    phase: Phase,
) -> Result<Answer, CallError> {
    if request.dry_run && !hook.dry_run {
        let why = format!("admission webhook {:?} does not support dry run", hook.name);
        return Err(CallError::Refused(ApiError::bad_request(why)));
    }
    let version = Version::choose(&hook.versions).ok_or_else(|| {
        let why = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
        CallError::failed(400, format!("could not create admission objects: {why}"))
    })?;
    let uid = uuid::Builder::from_random_bytes(shared.seed.bytes::<16>()).into_uuid().to_string();
    let review = review::of(request, matched, version, &uid).await.map_err(CallError::Refused)?;
    let body = shared
        .clients
        .post(&shared.clock, &hook.endpoint, request.reader, review, hook.timeout)
        .await?;
    let answer = review::read(&body, version, &uid, phase == Phase::Mutating)
        .map_err(|why| CallError::failed(503, why))?;
    for (key, value) in &answer.annotations {
        let key = format!("{}/{key}", hook.name);
        match names::is_qualified_name(&key).is_empty() {
            true => request.notes.annotate(key, value.as_str()),
            false => tracing::warn!(%key, "a webhook's audit annotation is not called so"),
        }
    }
    answer.warnings.iter().for_each(|warning| request.warnings.add(warning.as_str()));
    match answer.allowed {
        true => Ok(answer),
        false => Err(CallError::Denied(denied(&hook.name, answer.result.as_ref()))),
    }
}

/// Counts a call that has ended, and says what its failure means: nothing, when it is to be ignored.
pub(super) fn settle(
    shared: &Shared,
    hook: &Hook,
    request: &Request<'_>,
    phase: Phase,
    error: Option<CallError>,
    took: std::time::Duration,
) -> Result<(), ApiError> {
    let ended = match &error {
        None => Ended { rejected: false, code: 200, error: "" },
        Some(CallError::Failed { code, .. }) => {
            Ended { rejected: !hook.ignore, code: *code, error: "calling_webhook_error" }
        }
        Some(CallError::Denied(status)) => {
            Ended { rejected: true, code: status.code().as_u16(), error: "no_error" }
        }
        Some(CallError::Refused(_)) => {
            Ended { rejected: true, code: 0, error: "apiserver_internal_error" }
        }
    };
    shared.counters.called(&hook.name, operation(request.operation), phase.name(), ended, took);
    match error {
        None => Ok(()),
        Some(CallError::Denied(status) | CallError::Refused(status)) => Err(status),
        Some(CallError::Failed { why, .. }) => {
            let why = format!("failed calling webhook {:?}: {why}", hook.name);
            if !hook.ignore {
                tracing::warn!(%why, "webhook failed, the write is refused");
                return Err(ApiError::internal(why));
            }
            tracing::warn!(%why, "webhook failed, which is ignored");
            shared.counters.opened(&hook.name, phase.name());
            Ok(())
        }
    }
}
