use super::{
    CLIENT, IDENTITY, KUBELET_CLIENT, KUBELET_SERVING, LEGACY, check_client, check_kubelet_client,
    check_kubelet_serving, conditions, has, is_issued, usages,
};
use crate::{Action, Context, Controller, Error, Sources, builtin::BuiltinOptions};
use async_trait::async_trait;
use jiff::SignedDuration;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    apimachinery::pkg::apis::meta::v1::Time,
};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;
use kubeplane_pki::{Authority, SigningRequest, Terms};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const SHORTEST: Duration = Duration::from_secs(600);
/// For peers whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(300);
/// Certificates that are good for less are not cut by the time they are dated back.
const SHORT: Duration = Duration::from_secs(8 * 3600);

/// Signs what was approved, for the signers that belong to the cluster.
pub(crate) struct CertificateSigning {
    authority: Option<Arc<Authority>>,
    /// What signs for single signers instead.
    signers: BTreeMap<String, Arc<Authority>>,
    /// How long certificates are good that ask for nothing else; none is good for longer.
    longest: Duration,
}

impl CertificateSigning {
    pub(crate) fn new(options: &BuiltinOptions, longest: Duration) -> Self {
        let (authority, signers) = (options.authority.clone(), options.signer_authorities.clone());
        Self { authority, signers, longest }
    }

    fn authority_of(&self, signer: &str) -> Option<&Authority> {
        self.signers.get(signer).or(self.authority.as_ref()).map(Arc::as_ref)
    }

    fn sign(
        &self,
        authority: &Authority,
        parsed: &SigningRequest,
        request: &CertificateSigningRequest,
        context: &Context,
    ) -> Result<String, Error> {
        let lifetime = lifetime(request.spec.expiration_seconds, self.longest);
        let after = |duration: Duration| {
            let duration = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
            context.now().saturating_add(duration).unwrap_or(jiff::Timestamp::MAX)
        };
        let back = SignedDuration::from_secs(BACKDATE.as_secs().cast_signed());
        let cut = if lifetime < SHORT { Duration::ZERO } else { BACKDATE };
        let terms = Terms {
            usages: usages(request),
            not_before: context.now().saturating_sub(back).unwrap_or(jiff::Timestamp::MIN),
            not_after: after(lifetime.saturating_sub(cut)),
        };
        authority
            .sign(parsed, &terms)
            .map_err(|error| Error::Invalid(format!("error auto signing csr: {error}")))
    }
}

fn lifetime(asked: Option<i32>, longest: Duration) -> Duration {
    let asked = asked.and_then(|seconds| u64::try_from(seconds).ok()).map(Duration::from_secs);
    match asked {
        Some(asked) if asked <= longest => asked.max(SHORTEST),
        _ => longest,
    }
}

#[async_trait]
impl Controller for CertificateSigning {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-signing-controller"
    }

    fn identity(&self) -> &'static str {
        IDENTITY
    }

    fn watches(&self, sources: &mut Sources<ObjectKey>) {
        sources.objects::<CertificateSigningRequest>();
    }

    async fn reconcile(&self, key: &ObjectKey, context: &Context) -> Result<Action, Error> {
        let requests = context.informers().of::<CertificateSigningRequest>();
        let Some(request) = requests.get("", &key.name) else { return Ok(Action::Done) };
        let failed = conditions(&request).any(|condition| {
            condition.type_ == "Failed" && matches!(condition.status.as_str(), "" | "True")
        });
        let approved = has(&request, "Approved") && !has(&request, "Denied");
        if is_issued(&request) || failed || !approved {
            return Ok(Action::Done);
        }
        let signer = request.spec.signer_name.as_str();
        if ![CLIENT, KUBELET_CLIENT, KUBELET_SERVING, LEGACY].contains(&signer) {
            return Ok(Action::Done);
        }
        let Some(authority) = self.authority_of(signer) else { return Ok(Action::Done) };
        let parsed = SigningRequest::parse(&request.spec.request.0).map_err(|error| {
            Error::Invalid(format!("unable to parse csr {:?}: {error}", key.name))
        })?;
        let asked = usages(&request);
        let valid = match signer {
            CLIENT => check_client(&asked),
            KUBELET_CLIENT => check_kubelet_client(&parsed, &asked),
            KUBELET_SERVING => check_kubelet_serving(&parsed, &asked),
            _ => Ok(()),
        };
        let mut next = (*request).clone();
        let status = next.status.get_or_insert_default();
        match valid {
            Ok(()) => {
                let certificate = self.sign(authority, &parsed, &request, context)?;
                status.certificate = Some(ByteString(certificate.into_bytes()));
            }
            Err(why) => {
                status.conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("SignerValidationFailure".to_owned()),
                    message: Some(why),
                    last_update_time: Some(Time(context.now())),
                    ..CertificateSigningRequestCondition::default()
                })
            }
        }
        let api: Api<CertificateSigningRequest> = Api::all(context.client());
        api.replace_status(&key.name, &PostParams::default(), &next).await?;
        Ok(Action::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_as_asked_within_bounds() {
        let longest = Duration::from_secs(365 * 24 * 3600);
        assert_eq!(lifetime(None, longest), longest);
        assert_eq!(lifetime(Some(1), longest), SHORTEST);
        assert_eq!(lifetime(Some(3600), longest), Duration::from_secs(3600));
        assert_eq!(lifetime(Some(i32::MAX), longest), longest);
        let little = Duration::from_secs(60);
        assert_eq!(lifetime(Some(3600), little), little);
    }
}
