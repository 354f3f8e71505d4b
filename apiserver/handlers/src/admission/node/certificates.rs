//! Certificates: a node asks for none but its own.

use crate::admission::refuse;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use kubeplane_core::{
    admission::{Operation, Request},
    status::ApiResult,
};
use kubeplane_pki::SigningRequest;

/// Who signs what kubelets serve and show.
const SIGNERS: [&str; 2] =
    ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];

pub(super) fn check(request: &Request<'_>, node: &str) -> ApiResult<()> {
    let Some(asked) = request.object.as_deref().filter(|_| request.operation == Operation::Create)
    else {
        return Ok(());
    };
    if !SIGNERS.contains(&asked.text(&["spec", "signerName"])) {
        return Ok(());
    }
    let text = STANDARD.decode(asked.text(&["spec", "request"])).unwrap_or_default();
    let parsed = SigningRequest::parse(&text)
        .map_err(|why| refuse(request, format!("unable to parse csr: {why}")))?;
    let wanted = format!("system:node:{node}");
    match parsed.common_name == wanted {
        true => Ok(()),
        false => Err(refuse(request, format!("can only create a node CSR with CN={wanted}"))),
    }
}
