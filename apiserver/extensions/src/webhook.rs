//! The other side of conversion: a webhook that converts.

use async_trait::async_trait;
use http::{Response, header, request::Parts};
use kubeplane_apiserver::{Api, Body, Route, body};
use kubeplane_core::status::{ApiError, ApiResult};
use serde_json::{Value, json};
use std::fmt;

/// Answers ConversionReviews (`apiextensions.k8s.io/v1`) with a function that brings one object into the wanted
/// apiVersion or says why it cannot: the webhook of a CustomResourceDefinition with several versions, as a route of any
/// API server of yours. Whoever calls it must be authorized for its path; API servers show no credentials unless they
/// are configured to.
///
/// ```
/// use kubeplane_extensions::ConversionWebhook;
/// use serde_json::Value;
///
/// let webhook = ConversionWebhook::new(|mut object: Value, wanted: &str| {
///     object["apiVersion"] = wanted.into();
///     Ok(object)
/// });
/// # drop(webhook);
/// ```
pub struct ConversionWebhook<F>(F);

impl<F> fmt::Debug for ConversionWebhook<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConversionWebhook")
    }
}

impl<F: Fn(Value, &str) -> Result<Value, String> + Send + Sync + 'static> ConversionWebhook<F> {
    /// Converts with this function. It must leave alone all metadata but labels and annotations.
    pub fn new(convert: F) -> Self {
        Self(convert)
    }

    fn answer(&self, mut review: Value) -> Value {
        let request = review["request"].take();
        let wanted = request["desiredAPIVersion"].as_str().unwrap_or_default();
        let objects = request["objects"].as_array().into_iter().flatten().cloned();
        let all: Result<Vec<_>, _> = objects.map(|object| (self.0)(object, wanted)).collect();
        let (result, objects) = match all {
            Ok(objects) => (json!({"status": "Success"}), objects),
            Err(why) => (json!({"status": "Failure", "message": why}), Vec::new()),
        };
        json!({
            "apiVersion": review["apiVersion"], "kind": review["kind"],
            "response": {"uid": request["uid"], "result": result, "convertedObjects": objects},
        })
    }
}

#[async_trait]
impl<F: Fn(Value, &str) -> Result<Value, String> + Send + Sync + 'static> Route
    for ConversionWebhook<F>
{
    async fn serve(&self, _api: &Api, _head: &Parts, sent: Body) -> ApiResult<Response<Body>> {
        let review = serde_json::from_slice(&body::read(sent).await?)
            .map_err(|error| ApiError::bad_request(error.to_string()))?;
        Response::builder()
            .header(header::CONTENT_TYPE, "application/json")
            .body(body::full(self.answer(review).to_string()))
            .map_err(ApiError::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_objects_are_converted_or_none() {
        let convert = |mut object: Value, wanted: &str| {
            if object["bad"] == true {
                return Err("it is bad".to_owned());
            }
            object["apiVersion"] = wanted.into();
            Ok(object)
        };
        let webhook = ConversionWebhook::new(convert);
        let review = |objects: Value| {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "ConversionReview",
                "request": {"uid": "u", "desiredAPIVersion": "g/v2", "objects": objects}})
        };
        let answer = webhook.answer(review(json!([{"a": 1}])));
        let wanted = json!({"uid": "u", "result": {"status": "Success"},
            "convertedObjects": [{"a": 1, "apiVersion": "g/v2"}]});
        assert_eq!((&answer["kind"], &answer["response"]), (&json!("ConversionReview"), &wanted));
        let answer = webhook.answer(review(json!([{"a": 1}, {"bad": true}])));
        let result = json!({"status": "Failure", "message": "it is bad"});
        assert_eq!(answer["response"]["result"], result);
    }
}
