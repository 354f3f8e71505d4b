use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, DeleteOptions, Handler, HandlerRequest, Preconditions};
use kubeplane_core::{
    GroupResource, Object,
    status::{ApiError, ApiResult, success},
};
use serde_json::Value;

/// `pods/eviction`: deletes a pod on behalf of somebody who empties a node.
#[derive(Debug, Clone, Copy, Default)]
pub struct PodEviction;

#[async_trait]
impl Handler for PodEviction {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut eviction = request.object().await?;
        let name = request.info.name.clone();
        if !eviction.name().is_empty() && eviction.name() != name {
            return Err(ApiError::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let sent = eviction
            .at(&["deleteOptions"])
            .cloned()
            .and_then(Object::from_value)
            .unwrap_or_default();
        let precondition =
            |key: &str| sent.at(&["preconditions", key]).and_then(Value::as_str).map(str::to_owned);
        let options = DeleteOptions {
            grace_period: sent.at(&["gracePeriodSeconds"]).and_then(Value::as_i64),
            dry_run: sent.at(&["dryRun"]).is_some_and(|runs| !runs.is_null())
                || request.query().all("dryRun").any(|value| value == "All"),
            preconditions: Preconditions {
                uid: precondition("uid"),
                resource_version: precondition("resourceVersion"),
            },
            ..DeleteOptions::default()
        };
        let dry_run = options.dry_run;
        request.api.admit_create(&request, &mut eviction, &sent, dry_run).await?;
        request
            .api
            .delete(&GroupResource::new("", "pods"), &request.info.namespace, &name, options)
            .await?;
        let status = Object::from_value(success(None)).unwrap_or_default();
        request.respond(StatusCode::CREATED, &status)
    }
}
