//! Conversion between the versions of a custom resource by a webhook.
//!
//! ```text
//!   objects of other versions ─> ConversionReview ─> webhook ─> checked, metadata restored ─> objects of one version
//! ```

mod metadata;

use crate::{
    forms::Forms,
    metrics::{Failed, Measures},
};
use async_trait::async_trait;
use bytes::Bytes;
use kubeplane_apiserver::Api;
use kubeplane_clock::{Seed, SharedClock};
use kubeplane_core::{
    GroupVersion, Object,
    definition::Converter,
    reader::ObjectReader,
    status::{ApiError, ApiResult},
};
use kubeplane_outbound::{Clients, Endpoint};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// How long a webhook may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How many objects are sent at once.
const BATCH: usize = 256;

/// What conversions of all definitions share: connections, time and chance.
#[derive(Debug, Clone)]
pub(crate) struct Conversions {
    pub(crate) clients: Arc<Clients>,
    pub(crate) reader: Arc<dyn ObjectReader>,
    pub(crate) clock: SharedClock,
    pub(crate) seed: Seed,
    pub(crate) measures: Arc<Measures>,
}

impl Conversions {
    pub(crate) fn new(api: &Api, measures: Arc<Measures>) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Self {
            clients: Arc::new(Clients::new(provider, api.seed().clone())),
            reader: api.reader().clone(),
            clock: api.clock().clone(),
            seed: api.seed().clone(),
            measures,
        }
    }

    /// The converter of a definition; `None` when its versions differ in nothing but their name.
    pub(crate) fn of(&self, crd: &Object, forms: &Arc<Forms>) -> Option<Arc<dyn Converter>> {
        if crd.text(&["spec", "conversion", "strategy"]) != "Webhook" {
            return None;
        }
        let webhook = crd.at(&["spec", "conversion", "webhook"])?;
        let reviews = webhook.get("conversionReviewVersions").and_then(Value::as_array);
        let mut reviews = reviews.into_iter().flatten().filter_map(Value::as_str);
        Some(Arc::new(Webhook {
            definition: crd.name().to_owned(),
            shared: self.clone(),
            endpoint: Endpoint::of(&webhook["clientConfig"]),
            review: reviews.find(|version| matches!(*version, "v1" | "v1beta1")).map(str::to_owned),
            forms: forms.clone(),
        }))
    }
}

/// The webhook of one definition.
#[derive(Debug)]
struct Webhook {
    /// The name of the definition.
    definition: String,
    shared: Conversions,
    endpoint: Endpoint,
    /// The version of reviews it is sent.
    review: Option<String>,
    /// The versions that the definition has.
    forms: Arc<Forms>,
}

#[async_trait]
impl Converter for Webhook {
    async fn convert(&self, objects: Vec<Object>, to: &GroupVersion) -> ApiResult<Vec<Object>> {
        let target = to.to_string();
        let mut objects = objects;
        let others: Vec<usize> = objects
            .iter()
            .enumerate()
            .filter(|(_, object)| object.api_version() != target)
            .map(|(index, _)| index)
            .collect();
        for batch in others.chunks(BATCH) {
            let sent: Vec<&Object> = batch.iter().map(|index| &objects[*index]).collect();
            let began = self.shared.clock.elapsed();
            let converted = self.ask(&sent, &target).await;
            let took = self.shared.clock.elapsed().saturating_sub(began);
            let from = sent.first().map_or("", |object| version_of(object.api_version()));
            let versions = (from, version_of(&target));
            self.shared.measures.converted(&self.definition, versions, converted.is_ok(), took);
            let converted = converted.map_err(failed)?;
            for (index, object) in batch.iter().zip(converted) {
                objects[*index] = object;
            }
        }
        Ok(objects)
    }
}

/// The version without its group.
fn version_of(version: &str) -> &str {
    version.rsplit_once('/').map_or(version, |(_, version)| version)
}

/// As the original says it: no reason but the words.
fn failed(why: String) -> ApiError {
    ApiError::new(http::StatusCode::INTERNAL_SERVER_ERROR, "", why)
}

/// A kind as Go prints it.
fn shown(object: &Object) -> String {
    format!("{}, Kind={}", object.api_version(), object.kind())
}

impl Webhook {
    async fn ask(&self, objects: &[&Object], target: &str) -> Result<Vec<Object>, String> {
        let Some(first) = objects.first() else { return Ok(Vec::new()) };
        let own = |version: &str| self.forms.of_version(version).is_some();
        let Some(form) = self.forms.of_version(target) else {
            return Err(format!("request to convert CR to an invalid group/version: {target}"));
        };
        if let Some(strange) = objects.iter().find(|object| !own(object.api_version())) {
            let version = strange.api_version();
            return Err(format!("request to convert CR from an invalid group/version: {version}"));
        }
        let review = self.review.as_deref().ok_or("no supported conversion review versions")?;
        let failed = |why: String| format!("conversion webhook for {} failed: {why}", shown(first));
        let uid = self.shared.seed.bytes::<16>();
        let uid = uuid::Builder::from_random_bytes(uid).into_uuid().to_string();
        let sent: Vec<_> = objects.iter().map(|object| object.map()).collect();
        let body = json!({
            "kind": "ConversionReview", "apiVersion": format!("apiextensions.k8s.io/{review}"),
            "request": {"uid": uid, "desiredAPIVersion": target, "objects": sent},
        });
        let (shared, body) = (&self.shared, body.to_string().into_bytes());
        let began = shared.clock.elapsed();
        let count = |failed| {
            let took = shared.clock.elapsed().saturating_sub(began);
            shared.measures.called(failed, took);
        };
        let posted =
            shared.clients.post(&shared.clock, &self.endpoint, &shared.reader, body, TIMEOUT);
        let answer = posted.await.map_err(|failure| {
            count(Some(Failed::Call));
            failed(failure.to_string())
        })?;
        let converted = answered(&answer, review, &uid).map_err(|why| {
            count(Some(Failed::Malformed));
            failed(why)
        })?;
        if converted.len() != objects.len() {
            let nothing = converted.is_empty();
            count(Some(if nothing { Failed::Nothing } else { Failed::Partial }));
            return Err(format!(
                "conversion webhook for {} returned {} objects, expected {}",
                shown(first),
                converted.len(),
                objects.len()
            ));
        }
        let checked = objects.iter().zip(converted).enumerate();
        let checked = checked.map(|(index, (object, value))| {
            let mut object = accepted(object, value, target, index)?;
            form.prune(&mut object);
            Ok(object)
        });
        let checked: Result<Vec<Object>, String> = checked.collect();
        count(checked.is_err().then_some(Failed::Object));
        checked
    }
}

/// The objects of an answer.
fn answered(answer: &Bytes, review: &str, uid: &str) -> Result<Vec<Value>, String> {
    let mut answer: Value = serde_json::from_slice(answer)
        .map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    if review == "v1" {
        let found = (text(&answer, "apiVersion"), text(&answer, "kind"));
        if (found.0.as_str(), found.1.as_str()) != ("apiextensions.k8s.io/v1", "ConversionReview") {
            return Err(format!(
                "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got {}, Kind={}",
                found.0, found.1
            ));
        }
    }
    let response = answer.get_mut("response").filter(|response| response.is_object());
    let Some(response) = response else { return Err("no response provided".to_owned()) };
    let found = text(response, "uid");
    if review == "v1" && found != uid {
        return Err(format!("expected response.uid={uid:?}, got {found:?}"));
    }
    let status = text(&response["result"], "status");
    if status != "Success" {
        return Err(match text(&response["result"], "message") {
            message if message.is_empty() => {
                format!("response.result.status was '{status}', not 'Success'")
            }
            message => message,
        });
    }
    Ok(match response["convertedObjects"].take() {
        Value::Array(objects) => objects,
        _ => Vec::new(),
    })
}

/// One converted object, with the metadata of what was sent.
fn accepted(sent: &Object, value: Value, target: &str, index: usize) -> Result<Object, String> {
    let kind = shown(sent);
    let wrong = |what: &str, why: String| {
        format!("conversion webhook for {kind} returned invalid {what} at index {index}: {why}")
    };
    let missing = |raw: &str| format!("Object 'Kind' is missing in '{raw}'");
    let raw = value.to_string();
    let mut converted = Object::from_value(value).ok_or_else(|| missing(&raw))?;
    if converted.kind().is_empty() {
        return Err(missing(&raw));
    }
    if converted.api_version() != target {
        let found = converted.api_version();
        let why = format!("invalid groupVersion (expected {target}, received {found})");
        return Err(wrong("object", why));
    }
    if converted.kind() != sent.kind() {
        let (expected, found) = (sent.kind(), converted.kind());
        let why = format!("invalid kind (expected {expected}, received {found})");
        return Err(wrong("object", why));
    }
    let returned = |what: &str, why: String| {
        format!("conversion webhook for {kind} returned invalid {what}: {why}")
    };
    metadata::check(sent, &converted).map_err(|why| returned("object", why))?;
    metadata::restore(sent, &mut converted).map_err(|why| returned("metadata", why))?;
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: Value) -> Object {
        Object::from_value(value).unwrap()
    }

    fn sent() -> Object {
        object(json!({
            "apiVersion": "e.com/v1", "kind": "W", "spec": {"a": 1},
            "metadata": {"name": "w", "namespace": "n", "uid": "u", "labels": {"a": "b"}, "generation": 3},
        }))
    }

    #[test]
    fn only_labels_and_annotations_of_metadata_change() {
        let answer = json!({
            "apiVersion": "e.com/v2", "kind": "W", "spec": {"b": 1},
            "metadata": {"name": "w", "namespace": "n", "uid": "u", "generation": 9, "finalizers": ["x/y"],
                "annotations": {"k": "v"}},
        });
        let converted = accepted(&sent(), answer, "e.com/v2", 0).unwrap();
        let metadata = json!({"name": "w", "namespace": "n", "uid": "u", "generation": 3,
            "annotations": {"k": "v"}});
        assert_eq!(converted.at(&["metadata"]), Some(&metadata));
        assert_eq!(converted.at(&["spec"]), Some(&json!({"b": 1})));
    }

    #[test]
    fn what_cannot_be_is_refused_in_the_originals_words() {
        let whole = json!({"name": "w", "namespace": "n", "uid": "u"});
        let said = |version: &str, kind: &str, metadata: Value| {
            let value = json!({"apiVersion": version, "kind": kind, "metadata": metadata});
            accepted(&sent(), value, "e.com/v2", 0).unwrap_err()
        };
        let by =
            |rest: &str| format!("conversion webhook for e.com/v1, Kind=W returned invalid {rest}");
        assert_eq!(
            said("e.com/v3", "W", whole.clone()),
            by("object at index 0: invalid groupVersion (expected e.com/v2, received e.com/v3)")
        );
        assert_eq!(
            said("e.com/v2", "X", whole.clone()),
            by("object at index 0: invalid kind (expected W, received X)")
        );
        let mut other = whole.clone();
        other["uid"] = "o".into();
        assert_eq!(said("e.com/v2", "W", other), by("object: must have the same UID: u != o"));
        let mut other = whole.clone();
        other["labels"] = json!({"a": 1});
        assert_eq!(
            said("e.com/v2", "W", other),
            by("metadata: metadata.labels[a] must be a string, but is int64 in converted object")
        );
        let mut other = whole;
        other["labels"] = json!({"a": "-"});
        assert!(
            said("e.com/v2", "W", other)
                .starts_with(&by("metadata: metadata.labels: Invalid value: \"-\""))
        );
    }

    #[test]
    fn answers_are_read_strictly() {
        let read = |value: Value, review: &str| {
            answered(&Bytes::from(value.to_string()), review, "u").map_err(|why| why.to_string())
        };
        let ok = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
            "response": {"uid": "u", "result": {"status": "Success"}, "convertedObjects": [1]}});
        assert_eq!(read(ok.clone(), "v1").unwrap(), [json!(1)]);
        let mut other = ok.clone();
        other["response"]["uid"] = "x".into();
        assert_eq!(
            read(other.clone(), "v1").unwrap_err(),
            "expected response.uid=\"u\", got \"x\""
        );
        assert!(read(other, "v1beta1").is_ok());
        let mut no = ok.clone();
        no["response"]["result"] = json!({"status": "Failed", "message": "because"});
        assert_eq!(read(no.clone(), "v1").unwrap_err(), "because");
        no["response"]["result"] = json!({"status": "Failed"});
        assert_eq!(
            read(no, "v1").unwrap_err(),
            "response.result.status was 'Failed', not 'Success'"
        );
        assert_eq!(
            read(json!({"kind": "X", "apiVersion": "v2"}), "v1").unwrap_err(),
            "expected webhook response of apiextensions.k8s.io/v1, Kind=ConversionReview, got v2, Kind=X"
        );
        assert_eq!(read(json!({}), "v1beta1").unwrap_err(), "no response provided");
    }
}
