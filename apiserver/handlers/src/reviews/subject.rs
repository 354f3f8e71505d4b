use super::user_info;
use async_trait::async_trait;
use http::{Response, StatusCode};
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::status::ApiResult;
use serde_json::json;

/// `selfsubjectreviews`: who am I?
#[derive(Debug, Clone, Copy, Default)]
pub struct SelfSubjectReview;

#[async_trait]
impl Handler for SelfSubjectReview {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut review = request.object().await?;
        review.set(&["status"], json!({"userInfo": user_info(&request.user)}));
        request.respond(StatusCode::CREATED, &review)
    }
}
