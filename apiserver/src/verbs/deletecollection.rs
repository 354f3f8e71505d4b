use super::{Call, list};
use crate::{
    body::Body,
    cache::Row,
    decode,
    options::{DeleteOptions, ListOptions, VersionMatch},
    output::{self, Accepted, Offer},
    write::Writer,
};
use futures::{FutureExt, StreamExt, stream::FuturesUnordered};
use http::{Response, StatusCode};
use kubeplane_core::{Object, status::ApiResult};

/// How many objects are deleted at once.
const WORKERS: usize = 16;

/// Deletes every object a list finds. Not atomic: objects deleted before a failure stay deleted.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::forms(call.definition()))?;
    let query = call.query();
    let mut list_options =
        ListOptions::parse(&query, &call.info, call.definition(), call.api.features())?;
    // The original lists by pages here, for which a resourceVersion is an exact one.
    if list_options.version.is_some_and(|version| version.0 > 0) {
        list_options.version_match = list_options.version_match.or(Some(VersionMatch::Exact));
    }
    let body = call.read_body().await?;
    let sent = decode::options(&call.head.headers, &body)?;
    let options = DeleteOptions::parse(&query, sent)?;
    let found = list::find(&call, &list_options).await?;
    let sent = options.sent();
    call.writer(options.dry_run, None, &sent).warn_of_orphans(&options);
    let mut under_way = FuturesUnordered::new();
    for row in &found.rows {
        if under_way.len() >= WORKERS {
            under_way.next().await.transpose()?;
        }
        under_way.push(delete(&call, &options, &sent, row).boxed());
    }
    while under_way.next().await.transpose()?.is_some() {}
    drop(under_way);
    let shape = call.resource.cache().shape();
    output::list(&accepted, shape, found.rows, &found.meta, call.now).await
}

async fn delete(call: &Call, options: &DeleteOptions, sent: &Object, row: &Row) -> ApiResult<()> {
    let namespace = row.namespace();
    let writer = Writer { namespace, ..call.writer(options.dry_run, None, sent) };
    match writer.delete(row.name(), options.clone()).await {
        Err(error) if error.code() == StatusCode::NOT_FOUND => Ok(()),
        other => other.map(drop),
    }
}
