//! Certificates that are asked for through the API.

mod approving;
mod cleaning;
mod signing;

pub(super) use approving::CertificateApproving;
pub(super) use cleaning::CertificateCleaning;
pub(super) use signing::CertificateSigning;

use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use kubeplane_pki::SigningRequest;

const IDENTITY: &str = "certificate-controller";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const KUBELET_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const KUBELET_SERVING: &str = "kubernetes.io/kubelet-serving";
const LEGACY: &str = "kubernetes.io/legacy-unknown";

fn conditions(
    request: &CertificateSigningRequest,
) -> impl Iterator<Item = &CertificateSigningRequestCondition> {
    request.status.iter().flat_map(|status| status.conditions.iter().flatten())
}

fn has(request: &CertificateSigningRequest, kind: &str) -> bool {
    conditions(request).any(|condition| condition.type_ == kind)
}

fn is_issued(request: &CertificateSigningRequest) -> bool {
    let certificate = request.status.as_ref().and_then(|status| status.certificate.as_ref());
    certificate.is_some_and(|certificate| !certificate.0.is_empty())
}

fn usages(request: &CertificateSigningRequest) -> Vec<&str> {
    request.spec.usages.iter().flatten().map(String::as_str).collect()
}

/// Whether exactly these usages are asked for; key encipherment is for RSA keys alone.
fn asks_for(usages: &[&str], purpose: &str) -> bool {
    let needed = ["digital signature", purpose];
    needed.iter().all(|needed| usages.contains(needed))
        && usages.iter().all(|usage| needed.contains(usage) || *usage == "key encipherment")
}

fn is_of_a_node(request: &SigningRequest) -> Result<(), String> {
    if request.organizations != ["system:nodes"] {
        return Err("subject organization is not system:nodes".to_owned());
    }
    Ok(())
}

fn is_named_after_a_node(request: &SigningRequest) -> Result<(), String> {
    match request.common_name.starts_with("system:node:") {
        true => Ok(()),
        false => Err("subject common name does not begin with system:node:".to_owned()),
    }
}

fn none(list: &[impl Sized], what: &str) -> Result<(), String> {
    match list {
        [] => Ok(()),
        _ => Err(format!("{what} subjectAltNames are not allowed")),
    }
}

/// What keeps this from being a kubelet's client certificate.
fn check_kubelet_client(request: &SigningRequest, usages: &[&str]) -> Result<(), String> {
    is_of_a_node(request)?;
    none(&request.names, "DNS")?;
    none(&request.emails, "Email")?;
    none(&request.addresses, "IP")?;
    none(&request.uris, "URI")?;
    is_named_after_a_node(request)?;
    match asks_for(usages, "client auth") {
        true => Ok(()),
        false => {
            Err("usages did not match [client auth digital signature key encipherment]".to_owned())
        }
    }
}

/// What keeps this from being a kubelet's serving certificate.
fn check_kubelet_serving(request: &SigningRequest, usages: &[&str]) -> Result<(), String> {
    is_of_a_node(request)?;
    if request.names.is_empty() && request.addresses.is_empty() {
        return Err("DNS or IP subjectAltName is required".to_owned());
    }
    none(&request.emails, "Email")?;
    none(&request.uris, "URI")?;
    if !asks_for(usages, "server auth") {
        let why = "usages did not match [digital signature key encipherment server auth]";
        return Err(why.to_owned());
    }
    is_named_after_a_node(request)
}

/// What keeps this from being a client certificate.
fn check_client(usages: &[&str]) -> Result<(), String> {
    let allowed = ["digital signature", "key encipherment", "client auth"];
    if let Some(wrong) = usages.iter().find(|usage| !allowed.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {wrong}"));
    }
    if !usages.contains(&"client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kubeplane_pki::{Request, Usage, generate_key};

    fn request(of: &Request) -> SigningRequest {
        let text = SigningRequest::create(of, &generate_key().unwrap()).unwrap();
        SigningRequest::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn kubelets_get_certificates_for_what_they_are() {
        let node = || Request::new("system:node:a", Usage::Client).organization("system:nodes");
        let client = ["digital signature", "client auth"];
        assert_eq!(check_kubelet_client(&request(&node()), &client), Ok(()));
        let named = request(&node().names(["a"]));
        assert!(check_kubelet_client(&named, &client).unwrap_err().starts_with("DNS"));
        let serving = ["digital signature", "key encipherment", "server auth"];
        assert_eq!(check_kubelet_serving(&named, &serving), Ok(()));
        assert!(check_kubelet_serving(&named, &client).unwrap_err().starts_with("usages"));
        let bare = check_kubelet_serving(&request(&node()), &serving).unwrap_err();
        assert_eq!(bare, "DNS or IP subjectAltName is required");
        let other = Request::new("somebody", Usage::Client).organization("system:nodes");
        assert!(check_kubelet_client(&request(&other), &client).is_err());
    }

    #[test]
    fn clients_get_certificates_for_clients() {
        assert_eq!(check_client(&["client auth"]), Ok(()));
        let wrong = check_client(&["client auth", "server auth"]).unwrap_err();
        assert_eq!(wrong, "invalid usage for client certificate: server auth");
        assert!(check_client(&["digital signature"]).is_err());
    }
}
