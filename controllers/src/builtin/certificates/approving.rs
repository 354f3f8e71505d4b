use super::{IDENTITY, KUBELET_CLIENT, check_kubelet_client, has, is_issued, usages};
use crate::{Action, Context, Controller, Error, Sources};
use async_trait::async_trait;
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
};
use kube::{Api, api::PostParams};
use kubeplane_client::ObjectKey;
use kubeplane_pki::SigningRequest;

/// Approves kubelets' client certificates when those who ask may have them.
pub(crate) struct CertificateApproving;

#[async_trait]
impl Controller for CertificateApproving {
    type Request = ObjectKey;
    type Error = Error;

    fn name(&self) -> &'static str {
        "certificatesigningrequest-approving-controller"
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
        if is_issued(&request) || has(&request, "Approved") || has(&request, "Denied") {
            return Ok(Action::Done);
        }
        let parsed = SigningRequest::parse(&request.spec.request.0).map_err(|error| {
            Error::Invalid(format!("unable to parse csr {:?}: {error}", key.name))
        })?;
        if request.spec.signer_name != KUBELET_CLIENT
            || check_kubelet_client(&parsed, &usages(&request)).is_err()
        {
            return Ok(Action::Done);
        }
        let own = request.spec.username.as_deref() == Some(parsed.common_name.as_str());
        let mut tried = Vec::new();
        for (right, what) in [("selfnodeclient", "self kubelet"), ("nodeclient", "kubelet")] {
            if right == "selfnodeclient" && !own {
                continue;
            }
            tried.push(right);
            if may_have(context, &request, right).await? {
                let message =
                    format!("Auto approving {what} client certificate after SubjectAccessReview.");
                approve(context, (*request).clone(), message).await?;
                return Ok(Action::Done);
            }
        }
        // Rights may be given later.
        Err(Error::Incomplete(format!(
            "recognized csr {:?} as {tried:?} but subject access review was not approved",
            key.name
        )))
    }
}

/// Whether who asks has this right to certificates.
async fn may_have(
    context: &Context,
    request: &CertificateSigningRequest,
    right: &str,
) -> Result<bool, Error> {
    let spec = &request.spec;
    let attributes = ResourceAttributes {
        group: Some("certificates.k8s.io".to_owned()),
        resource: Some("certificatesigningrequests".to_owned()),
        verb: Some("create".to_owned()),
        subresource: Some(right.to_owned()),
        version: Some("*".to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(attributes),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let reviews: Api<SubjectAccessReview> = Api::all(context.client());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn approve(
    context: &Context,
    mut request: CertificateSigningRequest,
    message: String,
) -> Result<(), Error> {
    let approved = CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message),
        ..CertificateSigningRequestCondition::default()
    };
    request.status.get_or_insert_default().conditions.get_or_insert_default().push(approved);
    let name = request.metadata.name.clone().unwrap_or_default();
    let api: Api<CertificateSigningRequest> = Api::all(context.client());
    api.replace_subresource("approval", &name, &PostParams::default(), &request).await?;
    Ok(())
}
