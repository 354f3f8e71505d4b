//! A serving certificate that is asked for through the API, and asked for anew before it ends.

use crate::host::Host;
use jiff::Timestamp;
use k8s_openapi::{
    ByteString,
    api::certificates::v1::{CertificateSigningRequest, CertificateSigningRequestSpec},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use kube::{Api, api::PostParams};
use kubeplane_pki::{
    Identity, LiveIdentity, Request, SigningRequest, Usage, generate_key, inspect,
};
use std::{sync::Arc, time::Duration};

const SIGNER: &str = "kubernetes.io/kubelet-serving";
/// How often it is looked whether somebody has decided.
const LOOK: Duration = Duration::from_secs(2);
/// How long a request waits for somebody to decide before there is another.
const PATIENCE: Duration = Duration::from_secs(900);
/// The longest wait after a failure.
const LONGEST: Duration = Duration::from_secs(300);

/// Keeps a certificate of the cluster's authority in `served`.
pub(super) async fn keep(host: Arc<Host>, served: Arc<LiveIdentity>) {
    let mut pause = Duration::from_secs(1);
    loop {
        match renew(&host, &served).await {
            Ok(left) => {
                pause = Duration::from_secs(1);
                host.clock.sleep(left).await;
            }
            Err(why) => {
                tracing::warn!(why, "there is no serving certificate of the cluster yet");
                host.clock.sleep(pause).await;
                pause = (pause * 2).min(LONGEST);
            }
        }
    }
}

/// Asks for a certificate and serves with it; how long until there must be another.
async fn renew(host: &Host, served: &LiveIdentity) -> Result<Duration, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let key = generate_key().map_err(|error| text(&error))?;
    let node = &host.config.node_name;
    let wanted = Request::new(format!("system:node:{node}"), Usage::Server)
        .organization("system:nodes")
        .names([node])
        .addresses(host.config.node_ips.iter().copied());
    let body = SigningRequest::create(&wanted, &key).map_err(|error| text(&error))?;
    let request = CertificateSigningRequest {
        metadata: ObjectMeta { generate_name: Some("csr-".to_owned()), ..ObjectMeta::default() },
        spec: CertificateSigningRequestSpec {
            request: ByteString(body.into_bytes()),
            signer_name: SIGNER.to_owned(),
            usages: Some(vec!["digital signature".to_owned(), "server auth".to_owned()]),
            ..CertificateSigningRequestSpec::default()
        },
        status: None,
    };
    let api: Api<CertificateSigningRequest> = Api::all(host.client.clone());
    let created = api.create(&PostParams::default(), &request).await;
    let name = created.map_err(|error| text(&error))?.metadata.name.unwrap_or_default();
    let signed = kubeplane_clock::timeout(&*host.clock, PATIENCE, signed(host, &api, &name)).await;
    let certificate = signed.unwrap_or_else(|| Err(format!("nobody has decided about {name}")))?;
    let info = inspect(&certificate).map_err(|error| text(&error))?;
    served.set(Identity { certificate, key }).map_err(|error| text(&error))?;
    Ok(left(info.not_before, info.not_after, host.clock.now()))
}

/// The certificate, once it is there.
async fn signed(
    host: &Host,
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
        host.clock.sleep(LOOK).await;
    }
}

/// The time until four fifths of the certificate's are over.
fn left(from: Timestamp, until: Timestamp, now: Timestamp) -> Duration {
    let whole = until.duration_since(from);
    let renewal = from.saturating_add(whole / 5 * 4).unwrap_or(until);
    Duration::try_from(renewal.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_a_fifth_of_its_time_is_left() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let (from, until) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T10:00:00Z"));
        assert_eq!(left(from, until, at("2026-01-01T07:00:00Z")), Duration::from_secs(3600));
        assert_eq!(left(from, until, at("2026-01-01T09:00:00Z")), Duration::ZERO);
    }
}
