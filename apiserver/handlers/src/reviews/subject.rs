use super::user_info;
use async_trait::async_trait;
use http::{Response, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::status::ApiResult;
use serde_json::json;

/// `selfsubjectreviews`: who am I?
#[derive(Debug, Clone, Copy, Default)]
pub struct SelfSubjectReview;

#[async_trait]
impl Handler for SelfSubjectReview {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let sent = request.object().await?;
        // The answer has nothing of what was sent.
        let mut review = super::blank(&sent);
        let now = Time(request.api.clock().now());
        review.set(&["metadata", "creationTimestamp"], json!(now));
        review.set(&["status"], json!({"userInfo": user_info(&request.user)}));
        request.respond(StatusCode::CREATED, &review)
    }
}
