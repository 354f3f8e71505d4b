use super::{Call, update::check_name};
use crate::{
    body::Body,
    decode,
    options::WriteOptions,
    output::{Accepted, Offer},
    write::{self, Conversions, reset},
};
use bytes::Bytes;
use http::{Response, StatusCode};
use kubeplane_core::{
    ApiError, Object,
    apply::{self, Request, refuse_packed_managers, unpack_managers},
    decode::{FieldValidation, json_kind, misfit},
    patch,
    schema::{SchemaRef, builtin},
    status::{ApiResult, Details},
    yaml,
};
use serde_json::Value;

/// The forms of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

const JSON: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

impl Kind {
    /// By content type; kinds made at run time have no strategic merge.
    pub(super) fn of(call: &Call) -> ApiResult<Self> {
        let strategic = matches!(call.definition().schema, SchemaRef::Static(_));
        match decode::media_type(&call.head.headers).as_str() {
            JSON => Ok(Self::Json),
            MERGE => Ok(Self::Merge),
            STRATEGIC if strategic => Ok(Self::Strategic),
            APPLY => Ok(Self::Apply),
            _ if strategic => Err(ApiError::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "UnsupportedMediaType",
                "415: Unsupported Media Type",
            )
            .with_details(Details::default())),
            _ => Err(ApiError::unsupported_media_type(&[JSON, MERGE, APPLY])),
        }
    }
}

/// Changes an object by a patch; server-side apply may create it.
pub(super) async fn serve(call: Call) -> ApiResult<Response<Body>> {
    let kind = Kind::of(&call)?;
    let accepted = Accepted::of(&call.head, Offer::forms(call.definition()))?;
    let body = call.read_body().await?;
    let is_apply = kind == Kind::Apply;
    let options =
        WriteOptions::parse("PatchOptions", &call.query(), &call.head.headers, Some(is_apply))?;
    let name = call.info.name.as_str();
    // Server-side apply notes its managers itself.
    let manager = (!is_apply).then_some(options.manager.as_str());
    let writer = call.writer(options.dry_run, manager, &options.sent);
    let create = is_apply && call.info.subresource.is_empty();
    let applied =
        if is_apply { Some(applied(&call, &body, options.field_validation)?) } else { None };
    let make = |live: Option<&Object>, versions: &Conversions<'_>| {
        let mut object = match (&applied, live) {
            (Some(applied), live) => apply_over(&call, live, applied.clone(), &options, versions)?,
            (None, Some(live)) => changed(&call, kind, live, &body, options.field_validation)?,
            (None, None) => return Err(call.not_found()),
        };
        write::ensure_namespace(&mut object, call.namespace())?;
        check_name(&object, name)?;
        Ok(object)
    };
    let written = writer.update(name, create, make).await?;
    let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
    call.respond(&accepted, code, &written)
}

/// An object after a patch that is no apply.
fn changed(
    call: &Call,
    kind: Kind,
    live: &Object,
    body: &Bytes,
    validation: FieldValidation,
) -> ApiResult<Object> {
    let sent = sent(kind, body, &call.definition().schema, validation)?;
    let plain = settles(call) && sent.faults.is_empty() && !may_see_managers(kind, body);
    if plain && let Some(object) = decode::settled(call, patched(call, kind, live.clone(), body)?) {
        return Ok(object);
    }
    let mut live = live.clone();
    unpack_managers(&mut live);
    let value = patched(call, kind, live, body)?;
    let mut object = decode::patched(call, value, validation, sent)?;
    refuse_packed_managers(&mut object);
    Ok(object)
}

/// What there is to tell of a patch that is no apply.
pub(super) fn sent<'a>(
    kind: Kind,
    body: &'a Bytes,
    schema: &SchemaRef,
    validation: FieldValidation,
) -> ApiResult<decode::Sent<'a>> {
    let faults = match kind {
        Kind::Merge | Kind::Strategic => kubeplane_core::decode::duplicates(body, schema),
        Kind::Json if validation != FieldValidation::Ignore => {
            let found = kubeplane_core::decode::operation_faults(body)
                .map_err(|why| ApiError::bad_request(format!("error decoding patch: {why}")))?;
            found.into_iter().map(|fault| format!("json patch {fault}")).collect()
        }
        Kind::Json | Kind::Apply => Vec::new(),
    };
    let strategic = (kind == Kind::Strategic).then_some(&body[..]);
    Ok(decode::Sent { faults, strategic, applied: false })
}

/// Whether what fits the kind can be seen without decoding it again.
fn settles(call: &Call) -> bool {
    matches!(call.definition().schema, SchemaRef::Static(_))
}

/// The JSON of an object after a patch that is no apply.
fn patched(call: &Call, kind: Kind, live: Object, body: &Bytes) -> ApiResult<Value> {
    merged(kind, live.into_value(), body, Some(&call.definition().schema))
}

/// Whether a patch may look at the managers, which it must see as they are then: one that can point anywhere, and one
/// that names them.
fn may_see_managers(kind: Kind, body: &[u8]) -> bool {
    const NAME: &[u8] = b"managedFields";
    kind == Kind::Json || body.contains(&b'\\') || body.windows(NAME.len()).any(|at| at == NAME)
}

/// The JSON of an object of this shape after a patch that is no apply.
pub(super) fn merged(
    kind: Kind,
    original: Value,
    body: &Bytes,
    schema: Option<&SchemaRef>,
) -> ApiResult<Value> {
    Ok(match (kind, schema) {
        (Kind::Json, _) => patch::json_patch(original, body)?,
        (Kind::Strategic, Some(schema)) => {
            let sent: Value = serde_json::from_slice(body).map_err(|error| {
                ApiError::bad_request(patch::unreadable(body, &error, "map[string]interface {}"))
            })?;
            patch::strategic::merge(original, sent, schema)?
        }
        _ => patch::merge_patch(original, body)?,
    })
}

/// The configuration of an apply.
pub(super) fn applied(call: &Call, body: &Bytes, validation: FieldValidation) -> ApiResult<Object> {
    let (value, twice) = yaml::parse_reporting_duplicates(body).map_err(|error| {
        let why = format!("error decoding YAML: error converting YAML to JSON: {error}");
        ApiError::bad_request(why)
    })?;
    match validation {
        FieldValidation::Strict if !twice.is_empty() => {
            let why = format!("error strict decoding YAML: {}", twice.join(", "));
            return Err(ApiError::bad_request(why));
        }
        FieldValidation::Warn => twice.iter().for_each(|text| {
            let told = text.split_once("unmarshal errors:").map_or(text.as_str(), |(_, rest)| rest);
            call.warnings.add(told.trim().to_owned());
        }),
        _ => {}
    }
    let value = if value.is_null() { Value::Object(serde_json::Map::new()) } else { value };
    let what = json_kind(&value);
    let mut object = Object::from_value(value).ok_or_else(|| {
        ApiError::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {what} into Go \
             value of type map[string]interface {{}}"
        ))
    })?;
    // What is applied need not name its namespace.
    if !object.namespace().is_empty() {
        write::ensure_namespace(&mut object, call.namespace())?;
    }
    // Only what is there already need not be named.
    if !object.name().is_empty() {
        check_name(&object, &call.info.name)?;
    }
    Ok(object)
}

fn apply_over(
    call: &Call,
    live: Option<&Object>,
    applied: Object,
    options: &WriteOptions,
    versions: &Conversions<'_>,
) -> ApiResult<Object> {
    let definition = call.definition();
    let request = Request {
        manager: &options.manager,
        subresource: &call.info.subresource,
        kind: &definition.kind,
        schema: &definition.schema,
        reset: &reset(definition, &call.info.subresource),
        now: call.now,
        versions: Some(versions),
    };
    let merge = |applied| merged_over(call, live, applied, options.force, &request);
    // What does not settle is told of as it came, before anything about it was settled.
    if settles(call)
        && let Some(object) = decode::settled(call, merge(applied.clone())?.into_value())
    {
        return Ok(object);
    }
    let namespace = applied.namespace().to_owned();
    let mut whole = merge(applied)?;
    unpack_managers(&mut whole);
    if !settles(call) {
        drop_unreadable(&mut whole);
    }
    let sent = decode::Sent { applied: true, ..decode::Sent::default() };
    decode::patched(call, whole.into_value(), options.field_validation, sent)
        .map_err(|error| unconvertible(call, &namespace, &error))
}

/// Takes what is no time or no whole number out of the metadata of a kind made at run time: the original does not see it
/// there, and the server says itself what it is.
fn drop_unreadable(object: &mut Object) {
    let Some(schema) = builtin("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta") else { return };
    for name in
        ["creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        let path = ["metadata", name];
        let found = object.at(&path).zip(schema.field(name));
        if found.is_some_and(|(value, field)| misfit(value, &field.schema).is_some()) {
            object.remove(&path);
        }
    }
}

fn merged_over(
    call: &Call,
    live: Option<&Object>,
    applied: Object,
    force: bool,
    request: &Request<'_>,
) -> ApiResult<Object> {
    let sent_version = applied.resource_version().to_owned();
    let mut merged = apply::apply_packed(live, applied, force, request)?;
    if live.is_none() && !merged.uid().is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {}, and no existing object was found",
            merged.uid()
        );
        return Err(ApiError::conflict(&call.resource.group_resource(), &call.info.name, why));
    }
    if let (true, Some(live)) = (sent_version.is_empty(), live) {
        merged.set(&["metadata", "resourceVersion"], live.resource_version());
    }
    Ok(merged)
}

/// As the original, which does not take what cannot be read for the client's fault.
fn unconvertible(call: &Call, namespace: &str, error: &ApiError) -> ApiError {
    let (kind, name) = (&call.definition().kind, &call.info.name);
    let why = error.message().rsplit_once("}\": ").map_or(error.message(), |(_, why)| why);
    let text = format!(
        "failed to convert new object ({namespace}/{name}; {kind}) to proper version: unable to convert unstructured object to {kind}: {why}"
    );
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "", text)
}
