use super::Call;
use crate::{
    body::Body,
    decode,
    options::WriteOptions,
    output::{Accepted, Offer},
    write,
};
use http::{Response, StatusCode};
use kubeplane_core::{ApiError, Object, status::ApiResult};

/// Replaces an object, or the part of it that a subresource is.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let accepted = Accepted::of(&call.head, Offer::forms(call.definition()))?;
    let body = call.read_body().await?;
    let options = WriteOptions::parse("UpdateOptions", &call.query(), &call.head.headers, None)?;
    let format = decode::format(&call.head.headers, &call.definition().schema)?;
    let mut object = decode::body(&call, format, &body, options.field_validation)?;
    write::ensure_namespace(&mut object, call.namespace())?;
    check_name(&object, &call.info.name)?;
    let create = call.definition().create_on_update && call.info.subresource.is_empty();
    let writer = call.writer(options.dry_run, Some(&options.manager), &options.sent);
    let written = {
        let make = |live: Option<&Object>, _: &write::Conversions<'_>| {
            writer.check_uid(&object, live)?;
            Ok(object.clone())
        };
        writer.update(&call.info.name, create, make).await?
    };
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.respond(&accepted, code, &written)
}

/// The name in the body must be that of the path.
pub(super) fn check_name(object: &Object, name: &str) -> ApiResult<()> {
    let own = object.name();
    if own == name {
        return Ok(());
    }
    Err(ApiError::bad_request(if own.is_empty() {
        format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        )
    } else {
        format!("the name of the object ({own}) does not match the name on the URL ({name})")
    }))
}
