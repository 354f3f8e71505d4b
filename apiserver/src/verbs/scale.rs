//! The `scale` subresource: an `autoscaling/v1` view of a kind that has replicas.

use super::{Call, patch, update::check_name};
use crate::{
    body::Body,
    decode,
    options::WriteOptions,
    output::{self, Accepted, Offer},
    storage::About,
    write,
};
use http::{Response, StatusCode};
use kubeplane_core::{
    ApiError, GroupKind, GroupVersionKind, Object,
    definition::{Form, Verb},
    field,
    selector::LabelSelector,
    status::ApiResult,
};
use kubeplane_store_trait::ReadAt;
use serde_json::{Value, json};

/// Where a kind keeps what a Scale shows.
struct Paths {
    kind: GroupVersionKind,
    wanted: String,
    counted: String,
    selector: Option<String>,
}

/// Reads or writes the Scale of an object.
pub(super) async fn serve(call: Call, verb: Verb) -> ApiResult<Response<Body>> {
    let definition = call.definition().clone();
    let subresource =
        definition.subresource(&call.info.subresource).ok_or_else(ApiError::no_such_path)?;
    let Form::Scale { spec_replicas, status_replicas, selector } = &subresource.form else {
        return Err(ApiError::no_such_path());
    };
    let paths = Paths {
        kind: subresource.kind.clone(),
        wanted: spec_replicas.to_string(),
        counted: status_replicas.to_string(),
        selector: selector.as_ref().map(ToString::to_string),
    };
    let accepted = Accepted::of(&call.head, Offer::PLAIN)?;
    let object = match verb {
        Verb::Get => read(&call).await?,
        _ => {
            let body = call.read_body().await?;
            change(&call, verb, &paths, &body).await?
        }
    };
    output::value(&accepted, StatusCode::OK, &paths.view(&object))
}

async fn read(call: &Call) -> ApiResult<Object> {
    let resource = call.resource.group_resource();
    let key =
        call.resource.key(call.namespace(), &call.info.name).ok_or_else(|| call.not_found())?;
    let read =
        call.api.store().get(&key, ReadAt::Latest).await.about(&resource, &call.info.name)?;
    let entry = read.entry.ok_or_else(|| call.not_found())?;
    let shape = call.resource.cache().shape();
    shape.decode(&entry.value, entry.revision).await
}

async fn change(call: &Call, verb: Verb, paths: &Paths, body: &bytes::Bytes) -> ApiResult<Object> {
    let patching = verb == Verb::Patch;
    let kind = if patching { Some(patch::Kind::of(call)?) } else { None };
    if kind == Some(patch::Kind::Apply) {
        return Err(ApiError::unsupported_media_type(&[
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
        ]));
    }
    let options = if patching { "PatchOptions" } else { "UpdateOptions" };
    let options =
        WriteOptions::parse(options, &call.query(), &call.head.headers, patching.then_some(false))?;
    let sent = match kind {
        Some(_) => None,
        None => {
            let ignore = kubeplane_core::decode::FieldValidation::Ignore;
            Some(decode::loose(&call.head.headers, body, &paths.kind, ignore)?.object)
        }
    };
    let writer = call.writer(options.dry_run, Some(&options.manager), &options.sent);
    let make = |live: Option<&Object>| {
        let live = live.ok_or_else(|| call.not_found())?;
        let mut scale = match (&sent, kind) {
            (Some(sent), _) => sent.clone(),
            (None, Some(kind)) => {
                let value = patch::patched_scale(kind, paths.view(live), body)?;
                Object::from_value(value)
                    .ok_or_else(|| ApiError::bad_request("the patched object is no map"))?
            }
            (None, None) => return Err(ApiError::bad_request("no scale was sent")),
        };
        write::ensure_namespace(&mut scale, call.namespace())?;
        check_name(&scale, &call.info.name)?;
        let object = paths.merged(live, &scale)?;
        if sent.is_some() {
            writer.check_uid(&object, Some(live))?;
        }
        Ok(object)
    };
    writer.update(&call.info.name, false, make).await?.into_object()
}

impl Paths {
    fn view(&self, object: &Object) -> Value {
        let mut metadata = json!({});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = object.at(&["metadata", field]) {
                metadata[field] = value.clone();
            }
        }
        let number = |path: &str| at(object, path).and_then(Value::as_i64).unwrap_or_default();
        let mut status = json!({"replicas": number(&self.counted)});
        let selector = self.selector.as_ref().and_then(|path| selector(at(object, path)?));
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            status["selector"] = selector.into();
        }
        let wanted = number(&self.wanted);
        let spec = if wanted == 0 { json!({}) } else { json!({"replicas": wanted}) };
        json!({
            "kind": self.kind.kind, "apiVersion": self.kind.group_version().to_string(),
            "metadata": metadata, "spec": spec, "status": status,
        })
    }

    fn merged(&self, live: &Object, scale: &Object) -> ApiResult<Object> {
        let replicas = scale.at(&["spec", "replicas"]).and_then(Value::as_i64).unwrap_or_default();
        if replicas < 0 {
            let path = field::Path::new("spec.replicas");
            let errors =
                [field::Error::invalid(&path, replicas, "must be greater than or equal to 0")];
            return Err(ApiError::invalid(
                &GroupKind::new("autoscaling", "Scale"),
                scale.name(),
                &errors,
            ));
        }
        let mut object = live.clone();
        let keys: Vec<_> = self.wanted.trim_start_matches('.').split('.').collect();
        object.set(&keys, replicas);
        for field in ["resourceVersion", "uid"] {
            let sent = scale.text(&["metadata", field]);
            if !sent.is_empty() {
                object.set(&["metadata", field], sent);
            }
        }
        Ok(object)
    }
}

fn at<'a>(object: &'a Object, path: &str) -> Option<&'a Value> {
    let keys: Vec<_> = path.trim_start_matches('.').split('.').collect();
    object.at(&keys)
}

/// A selector as text, from text, a LabelSelector or a plain map.
fn selector(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Object(map)
            if map.contains_key("matchLabels") || map.contains_key("matchExpressions") =>
        {
            LabelSelector::from_json(Some(value)).ok().map(|selector| selector.to_string())
        }
        Value::Object(map) => {
            let labels =
                map.iter().filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)));
            Some(LabelSelector::from_map(labels).to_string())
        }
        _ => None,
    }
}
