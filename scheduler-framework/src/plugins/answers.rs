//! What the API server answers, as users are told of it.

/// What the server said, without the client's decoration.
pub(super) fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
