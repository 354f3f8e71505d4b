use super::{IDENTITY, conditions, is_issued};
use crate::{Action, Context, Controller, Error, Sources, error::unless_gone};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::certificates::v1::CertificateSigningRequest, apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, api::DeleteParams};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(3600);
/// How long what was decided stays.
const DECIDED: SignedDuration = SignedDuration::from_hours(1);
/// How long what waits for a decision or a certificate stays.
const PENDING: SignedDuration = SignedDuration::from_hours(24);

/// Deletes requests for certificates that nobody needs any more.
pub(crate) struct CertificateCleaning;

#[async_trait]
impl Controller for CertificateCleaning {
    /// All at once.
    type Request = ();
    type Error = Error;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-cleaner-controller"
    }

    fn identity(&self) -> &'static str {
        IDENTITY
    }

    fn workers(&self) -> usize {
        1
    }

    fn watches(&self, sources: &mut Sources<()>) {
        sources.informer::<CertificateSigningRequest>();
        sources.at_start(());
    }

    async fn reconcile(&self, (): &(), context: &Context) -> Result<Action, Error> {
        let api: Api<CertificateSigningRequest> = Api::all(context.client());
        for request in context.informers().of::<CertificateSigningRequest>().list() {
            if is_done_with(&request, context.now()) {
                let name = request.metadata.name.as_deref().unwrap_or_default();
                if let Err(error) = unless_gone(api.delete(name, &DeleteParams::default()).await) {
                    tracing::warn!(name, %error, "cannot delete a certificate signing request");
                }
            }
        }
        Ok(Action::RequeueAfter(PERIOD))
    }
}

fn is_done_with(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let older = |time: Option<&Time>, age: SignedDuration| {
        time.is_some_and(|time| now.duration_since(time.0) > age)
    };
    let issued = is_issued(request);
    let mut decided = conditions(request).peekable();
    if decided.peek().is_none() {
        return older(request.metadata.creation_timestamp.as_ref(), PENDING);
    }
    decided.any(|condition| {
        let since = condition.last_update_time.as_ref();
        match (condition.type_.as_str(), issued) {
            ("Denied" | "Failed", _) => older(since, DECIDED),
            ("Approved", true) => older(since, DECIDED) || is_expired(request, now),
            ("Approved", false) => older(since, PENDING),
            _ => false,
        }
    })
}

fn is_expired(request: &CertificateSigningRequest, now: Timestamp) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    let text = certificate.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
    let info = text.and_then(|text| kubeplane_pki::inspect(text).ok());
    info.is_some_and(|info| now > info.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn requests_stay_as_long_as_somebody_may_need_them() {
        let gone = |status: Value, hour: i64| {
            let request = json!({
                "metadata": {"name": "r", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"request": "", "signerName": "a/b"}, "status": status});
            let now: Timestamp = "2026-01-01T00:30:00Z".parse().unwrap();
            let now = now + SignedDuration::from_hours(hour);
            is_done_with(&serde_json::from_value(request).unwrap(), now)
        };
        let decided = |kind: &str| {
            json!({"conditions": [{"type": kind, "status": "True",
                "lastUpdateTime": "2026-01-01T00:00:00Z"}]})
        };
        assert!(!gone(json!({}), 23) && gone(json!({}), 24));
        assert!(!gone(decided("Denied"), 0) && gone(decided("Denied"), 1));
        assert!(!gone(decided("Failed"), 0) && gone(decided("Failed"), 1));
        assert!(!gone(decided("Approved"), 23) && gone(decided("Approved"), 24));
        let mut issued = decided("Approved");
        issued["certificate"] = json!("YQ==");
        assert!(!gone(issued.clone(), 0) && gone(issued, 1));
    }
}
