//! Requests of whose answers nothing is read but whether they were granted: what they show, a watch shows too.

use kube::{Client, api::DeleteParams, core::Request};

/// Deletes the object of that name in the collection that is served at `url`.
///
/// # Errors
/// What the server answers, and when it cannot be reached.
pub(super) async fn delete(
    client: &Client,
    url: &str,
    name: &str,
    params: &DeleteParams,
) -> Result<(), kube::Error> {
    let request = Request::new(url).delete(name, params).map_err(kube::Error::BuildRequest)?;
    client.request_text(request).await.map(drop)
}
