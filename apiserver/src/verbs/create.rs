use super::Call;
use crate::{
    body::Body,
    decode,
    options::WriteOptions,
    output::{Accepted, Offer},
    write,
};
use http::{Response, StatusCode};
use kubeplane_core::status::ApiResult;

/// Creates an object.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::forms(call.definition()))?;
    let format = decode::format(&call.head.headers, &call.definition().schema)?;
    let body = call.read_body().await?;
    let options = WriteOptions::parse("CreateOptions", &call.query(), &call.head.headers, None)?;
    let mut object = decode::body(&call, format, &body, options.field_validation)?;
    write::wipe(&mut object);
    write::ensure_namespace(&mut object, call.namespace())?;
    let writer = call.writer(options.dry_run, Some(&options.manager), &options.sent);
    let written = writer.create(object).await?;
    call.respond(&accepted, StatusCode::CREATED, &written)
}
