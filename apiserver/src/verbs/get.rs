use super::{Call, list};
use crate::{
    body::Body,
    cache::Freshness,
    options::bad_version,
    output::{self, Accepted, Offer},
    storage::About,
};
use http::{Response, StatusCode};
use kubeplane_core::status::ApiResult;
use kubeplane_store_trait::{ReadAt, Revision};

/// Reads one object; never decodes it for a client that takes JSON.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::forms(call.definition()))?;
    let resource = call.resource.group_resource();
    let key =
        call.resource.key(call.namespace(), &call.info.name).ok_or_else(|| call.not_found())?;
    let shape = call.resource.cache().shape();
    let query = call.query();
    let sent = query.text("resourceVersion");
    let (value, revision) = match sent {
        "" => {
            let read = call
                .api
                .store()
                .get(&key, ReadAt::Latest)
                .await
                .about(&resource, &call.info.name)?;
            let entry = read.entry.ok_or_else(|| call.not_found())?;
            (shape.adopt(entry.value).await?, entry.revision)
        }
        _ => {
            let freshness = match sent.parse() {
                Ok(0) => Freshness::Any,
                Ok(revision) => Freshness::AtLeast(Revision(revision)),
                Err(_) => return Err(bad_version(sent, call.definition())),
            };
            let snapshot = call.resource.cache().snapshot(freshness).await;
            let snapshot = snapshot.map_err(|error| list::without_cache(&call, error))?;
            let row = snapshot.rows.get(key.as_bytes()).ok_or_else(|| call.not_found())?;
            (row.value.clone(), row.revision)
        }
    };
    output::entity(&accepted, shape, StatusCode::OK, &value, Some(revision), call.now)
}
