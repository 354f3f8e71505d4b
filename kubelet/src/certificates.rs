//! Certificates that are asked for through the API.

mod client;

pub use client::{ClientCertificate, ClientRotation};

use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use kubeplane_clock::Clock;
use kubeplane_pki::{CertificateInfo, Identity, Request, SigningRequest, generate_key};
use std::time::Duration;

/// How often it is looked whether somebody has decided.
const LOOK: Duration = Duration::from_secs(2);
/// How long a request waits for somebody to decide before there is another.
const PATIENCE: Duration = Duration::from_secs(900);
/// The wait after a first failure.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);
/// The longest wait after a failure.
pub(crate) const LONGEST: Duration = Duration::from_secs(300);

/// What a signer is asked for.
pub(crate) struct Wanted<'a> {
    pub(crate) signer: &'a str,
    /// What the certificate is for, as in `client auth`.
    pub(crate) purpose: &'a str,
    pub(crate) request: Request,
}

/// Asks for a certificate of a new key, and waits until it is there.
pub(crate) async fn ask(
    client: &kube::Client,
    clock: &dyn Clock,
    wanted: &Wanted<'_>,
) -> Result<Identity, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = generate_key().map_err(|error| text(&error))?;
    let body = SigningRequest::create(&wanted.request, &key).map_err(|error| text(&error))?;
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(body.into_bytes()),
            signer_name: wanted.signer.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), wanted.purpose.to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let api: Api<CertificateSigningRequest> = Api::all(client.clone());
    let created = api.create(&PostParams::default(), &request).await;
    let name = created.map_err(|error| text(&error))?.metadata.name.unwrap_or_default();
    let signed = kubeplane_clock::timeout(clock, PATIENCE, signed(clock, &api, &name)).await;
    let certificate = signed.unwrap_or_else(|| Err(format!("nobody has decided about {name}")))?;
    Ok(Identity { certificate, key })
}

/// The certificate, once it is there.
async fn signed(
    clock: &dyn Clock,
    api: &Api<CertificateSigningRequest>,
    name: &str,
) -> Result<String, String> {
    loop {
        let request = api.get(name).await.map_err(|error| error.to_string())?;
        let status = request.status.unwrap_or_default();
        if let Some(certificate) = status.certificate.filter(|bytes| !bytes.0.is_empty()) {
            return String::from_utf8(certificate.0).map_err(|error| error.to_string());
        }
        let mut refused = status.conditions.iter().flatten();
        if let Some(refused) =
            refused.find(|condition| matches!(condition.type_.as_str(), "Denied" | "Failed"))
        {
            let why = refused.message.as_deref().unwrap_or_default();
            return Err(format!("{name} is {}: {why}", refused.type_));
        }
        clock.sleep(LOOK).await;
    }
}

/// When this share of a certificate's time is over.
pub(crate) fn rotation(info: &CertificateInfo, share: f64) -> Timestamp {
    let whole = info.not_after.duration_since(info.not_before).as_secs_f64();
    let passed = jiff::SignedDuration::try_from_secs_f64(whole * share).unwrap_or_default();
    info.not_before.saturating_add(passed).unwrap_or(info.not_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_rotated_when_a_share_of_its_time_is_over() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let info = CertificateInfo {
            common_name: String::new(),
            organizations: Vec::new(),
            names: Vec::new(),
            addresses: Vec::new(),
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2026-01-01T10:00:00Z"),
        };
        assert_eq!(rotation(&info, 0.5), at("2026-01-01T05:00:00Z"));
        assert_eq!(rotation(&info, 0.75), at("2026-01-01T07:30:00Z"));
    }
}
