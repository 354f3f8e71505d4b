//! The `scale` subresource: an `autoscaling/v1` view of a kind that has replicas.

use super::{Call, patch, update::check_name};
use crate::{
    body::Body,
    decode,
    options::WriteOptions,
    output::{self, Accepted, Offer},
    registry::Resource,
    storage::About,
    write,
};
use bytes::Bytes;
use http::{Response, StatusCode};
use kubeplane_core::{
    ApiError, GroupKind, GroupVersion, GroupVersionKind, Object, apply,
    decode::FieldValidation,
    definition::{Form, NameRule, Strategy, Verb},
    field, metadata,
    schema::SchemaRef,
    selector::LabelSelector,
    status::ApiResult,
};
use kubeplane_store_trait::ReadAt;
use serde_json::{Value, json};
use std::sync::Arc;

/// The count of an object that has none, while its Scale is written.
const UNSET: i64 = i32::MIN as i64;

/// Where a kind keeps what a Scale shows.
struct Paths {
    kind: GroupVersionKind,
    wanted: String,
    counted: String,
    selector: Option<String>,
    /// Where the counts of all served versions are.
    counts: Vec<(GroupVersion, Option<String>)>,
    strategy: Arc<dyn Strategy>,
    /// Kinds that know their versions themselves are those of users: their own rules say what a count may be.
    custom: bool,
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
        counts: counts(&call),
        strategy: definition.strategy.clone(),
        custom: definition.strategy.shape_in(&definition.group_version()).is_some(),
    };
    let accepted = Accepted::of(&call.head, Offer::PLAIN)?;
    let object = match verb {
        Verb::Get => {
            let object = read(&call).await?;
            if at(&object, &paths.wanted).is_none() && paths.custom {
                let why = format!("the spec replicas field \".{}\" does not exist", paths.wanted);
                return Err(ApiError::internal(why));
            }
            object
        }
        _ => {
            let body = call.read_body().await?;
            change(&call, verb, &paths, &body).await?
        }
    };
    output::value(&accepted, StatusCode::OK, &paths.view(&object))
}

/// Where the served versions of the kind keep the count, as far as they have a scale.
fn counts(call: &Call) -> Vec<(GroupVersion, Option<String>)> {
    let definition = call.definition();
    let served = call.api.registry().all().into_iter().filter(|resource| {
        let other = resource.definition();
        other.kind.group == definition.kind.group && other.plural == definition.plural
    });
    let count = |resource: Arc<Resource>| {
        let other = resource.definition();
        let scale = other.subresource(&call.info.subresource);
        let path = scale.and_then(|scale| match &scale.form {
            Form::Scale { spec_replicas, .. } => Some(spec_replicas.to_string()),
            _ => None,
        });
        (other.group_version(), path)
    };
    served.map(count).collect()
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

/// Changes the object as its Scale is changed, with the Scale's managers.
async fn change(call: &Call, verb: Verb, paths: &Paths, body: &Bytes) -> ApiResult<Object> {
    let kind = match verb {
        Verb::Patch => Some(patch::Kind::of(call)?),
        _ => None,
    };
    let is_apply = kind == Some(patch::Kind::Apply);
    let options = if kind.is_some() { "PatchOptions" } else { "UpdateOptions" };
    let apply = kind.map(|_| is_apply);
    let options = WriteOptions::parse(options, &call.query(), &call.head.headers, apply)?;
    let write = Write { call, paths, shape: decode::shape(&paths.kind), options: &options, body };
    let sent = match kind {
        Some(patch::Kind::Apply) => Some(patch::applied(call, body, options.field_validation)?),
        Some(_) => None,
        None => Some(write.decoded()?),
    };
    // The managers are those of the Scale.
    let writer = call.writer(options.dry_run, None, &options.sent);
    let make = |live: Option<&Object>, _: &write::Conversions<'_>| {
        let live = live.ok_or_else(|| call.not_found())?;
        let mut scale = write.change(live, kind, sent.as_ref())?;
        write::ensure_namespace(&mut scale, call.namespace())?;
        check_name(&scale, &call.info.name)?;
        let object = paths.merged(live, &scale)?;
        if kind.is_none() {
            writer.check_uid(&object, Some(live))?;
        }
        Ok(object)
    };
    writer.update(&call.info.name, false, make).await?.into_object()
}

/// One write of a Scale.
struct Write<'a> {
    call: &'a Call,
    paths: &'a Paths,
    shape: SchemaRef,
    options: &'a WriteOptions,
    body: &'a Bytes,
}

impl Write<'_> {
    fn decoded(&self) -> ApiResult<Object> {
        let (call, validation) = (self.call, self.options.field_validation);
        let decoded = decode::loose(&call.head.headers, self.body, &self.paths.kind, validation)?;
        if validation == FieldValidation::Warn {
            decoded.warnings.into_iter().for_each(|warning| call.warnings.add(warning));
        }
        Ok(decoded.object)
    }

    /// The Scale after the write, its managers noted.
    fn change(
        &self,
        live: &Object,
        kind: Option<patch::Kind>,
        sent: Option<&Object>,
    ) -> ApiResult<Object> {
        let Self { call, paths, options, .. } = *self;
        let request = apply::Request {
            manager: &options.manager,
            subresource: &call.info.subresource,
            kind: &paths.kind,
            schema: &self.shape,
            reset: &apply::Filter::None,
            now: call.now,
            versions: None,
        };
        let mut before = Object::from_value(paths.view(live)).unwrap_or_default();
        if at(live, &paths.wanted).is_none() && paths.custom {
            before.set(&["spec", "replicas"], UNSET);
        }
        apply::scale_from_parent(live, &paths.known(live), &mut before);
        match (kind, sent) {
            (Some(patch::Kind::Apply), Some(applied)) => {
                let merged = apply::apply(Some(&before), applied.clone(), options.force, &request)?;
                let sent = decode::Sent { applied: true, ..decode::Sent::default() };
                self.conformed(merged.into_value(), sent)
            }
            (Some(kind), _) => {
                let value =
                    patch::merged(kind, before.clone().into_value(), self.body, Some(&self.shape))?;
                let sent = patch::sent(kind, self.body, &self.shape, options.field_validation)?;
                let after = self.conformed(value, sent)?;
                Ok(apply::update(Some(&before), after, &request))
            }
            (None, Some(sent)) => Ok(apply::update(Some(&before), sent.clone(), &request)),
            (None, None) => Err(ApiError::bad_request("no scale was sent")),
        }
    }

    fn conformed(&self, value: Value, sent: decode::Sent<'_>) -> ApiResult<Object> {
        let validation = self.options.field_validation;
        decode::patched_as(self.call, &self.paths.kind, &self.shape, value, validation, sent)
    }
}

impl Paths {
    /// The names on the way to the wanted count.
    fn count(&self) -> Vec<&str> {
        self.wanted.trim_start_matches('.').split('.').collect()
    }

    /// Where the counts of the versions are that an object's managers may have written. Of those that are no longer
    /// served it is not told.
    fn known(&self, live: &Object) -> apply::ReplicaPaths {
        let entries = live.at(&["metadata", "managedFields"]).and_then(Value::as_array);
        let versions = entries.into_iter().flatten().filter_map(|entry| {
            GroupVersion::parse(entry.get("apiVersion").and_then(Value::as_str)?)
        });
        let kept = versions.filter(|version| self.strategy.shape_in(version).is_some());
        let kept =
            kept.fold(apply::ReplicaPaths::default(), |paths, version| paths.with(&version, None));
        let served = self.counts.iter();
        served.fold(kept, |paths, (version, count)| paths.with(version, count.as_deref()))
    }

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
        if self.custom && replicas == UNSET {
            let why = format!("the spec replicas field \".{}\" cannot be empty", self.wanted);
            return Err(ApiError::bad_request(why));
        }
        let errors = if self.custom { Vec::new() } else { wrong(scale, replicas) };
        if !errors.is_empty() {
            let kind = GroupKind::new("autoscaling", "Scale");
            return Err(ApiError::invalid(&kind, scale.name(), &errors));
        }
        let mut object = live.clone();
        object.set(&self.count(), replicas);
        let version = live.group_version().unwrap_or_default();
        apply::scale_to_parent(scale, &self.known(live), &version, &mut object);
        for field in ["resourceVersion", "uid"] {
            let sent = scale.text(&["metadata", field]);
            if !sent.is_empty() {
                object.set(&["metadata", field], sent);
            }
        }
        Ok(object)
    }
}

/// What is wrong with a Scale, of which more is checked than is kept.
fn wrong(scale: &Object, replicas: i64) -> field::Errors {
    let mut sent = scale.clone();
    // The managers are the server's own.
    sent.remove(&["metadata", "managedFields"]);
    let path = field::Path::new("metadata");
    let mut errors = metadata::validate_metadata(&sent, true, NameRule::DnsSubdomain, &path);
    if replicas < 0 {
        let path = field::Path::new("spec.replicas");
        errors.push(field::Error::invalid(&path, replicas, "must be greater than or equal to 0"));
    }
    errors
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
