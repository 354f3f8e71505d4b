//! Who may approve and sign certificates, and for whom.

use super::refuse;
use async_trait::async_trait;
use base64::Engine as _;
use kubeplane_core::{
    Definition,
    admission::{Admission, Does, Operation, Request},
    auth::{Attributes, Decision},
    status::ApiResult,
};
use std::sync::Arc;
use x509_parser::{
    certification_request::X509CertificationRequest, pem::Pem, prelude::FromDer as _,
};

const GROUP: &str = "certificates.k8s.io";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const MASTERS: &str = "system:masters";

fn is_request(definition: &Definition) -> bool {
    definition.kind.group == GROUP && definition.plural == "certificatesigningrequests"
}

/// Whether the user may do this for a signer, by its name or by that of all signers of its domain.
async fn may(request: &Request<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split_once('/').map(|(domain, _)| format!("{domain}/*"));
    for name in [Some(signer.to_owned()), domain].into_iter().flatten() {
        let wanted = Attributes {
            user: Arc::new(request.user.clone()),
            verb: verb.to_owned(),
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            resource: "signers".to_owned(),
            name,
            ..Attributes::default()
        };
        if let Decision::Allow(_) = request.authorizer.authorize(&wanted).await {
            return true;
        }
    }
    false
}

/// Lets those approve a request who may `approve` for its signer.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateApproval;

#[async_trait]
impl Admission for CertificateApproval {
    fn name(&self) -> &'static str {
        "CertificateApproval"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && subresource == "approval" && is_request(definition)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(old) = request.old else { return Ok(()) };
        let signer = old.text(&["spec", "signerName"]);
        if may(request, "approve", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to approve requests with signerName {signer:?}");
        Err(refuse(request, why))
    }
}

/// Lets those write a certificate or conditions who may `sign` for the signer.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateSigning;

#[async_trait]
impl Admission for CertificateSigning {
    fn name(&self) -> &'static str {
        "CertificateSigning"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Update && subresource == "status" && is_request(definition)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let (Some(new), Some(old)) = (request.object.as_deref(), request.old) else {
            return Ok(());
        };
        let same = |part: &str| new.at(&["status", part]) == old.at(&["status", part]);
        let signer = old.text(&["spec", "signerName"]);
        if (same("certificate") && same("conditions")) || may(request, "sign", signer).await {
            return Ok(());
        }
        let why = format!("user not permitted to sign requests with signerName {signer:?}");
        Err(refuse(request, why))
    }
}

/// Refuses requests for client certificates of `system:masters`.
#[derive(Debug, Clone, Copy, Default)]
pub struct CertificateSubjectRestriction;

#[async_trait]
impl Admission for CertificateSubjectRestriction {
    fn name(&self) -> &'static str {
        "CertificateSubjectRestriction"
    }

    fn does(&self) -> Does {
        Does::Validates
    }

    fn sees_managers(&self) -> bool {
        false
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && subresource.is_empty() && is_request(definition)
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(object) = request.object.as_deref() else { return Ok(()) };
        if object.text(&["spec", "signerName"]) != CLIENT {
            return Ok(());
        }
        let organizations = organizations(object.text(&["spec", "request"]))
            .map_err(|why| refuse(request, format!("failed to parse CSR: {why}")))?;
        if organizations.iter().any(|group| group == MASTERS) {
            let why = format!("use of {CLIENT} signer with {MASTERS} group is not allowed");
            return Err(refuse(request, why));
        }
        Ok(())
    }
}

/// The organizations in the subject of a request, a PEM block in base64.
fn organizations(field: &str) -> Result<Vec<String>, String> {
    let text = base64::engine::general_purpose::STANDARD.decode(field).unwrap_or_default();
    let block = Pem::iter_from_buffer(&text).find_map(Result::ok);
    let block = block
        .filter(|block| block.label == "CERTIFICATE REQUEST")
        .ok_or("PEM block type must be CERTIFICATE REQUEST")?;
    let (_, request) =
        X509CertificationRequest::from_der(&block.contents).map_err(|error| error.to_string())?;
    let subject = &request.certification_request_info.subject;
    Ok(subject
        .iter_organization()
        .map(|part| part.as_str().map(str::to_owned).unwrap_or_default())
        .collect())
}
