use super::user_info;
use async_trait::async_trait;
use http::{Response, StatusCode, header};
use kubeplane_apiserver::{Api, Body, Handler, HandlerRequest};
use kubeplane_auth::{ServiceAccountTokens, TokenIssuer};
use kubeplane_core::{
    auth::{Authenticator, GROUP_AUTHENTICATED},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};
use std::sync::Arc;

/// `tokenreviews`: whose token is this?
#[derive(Debug, Clone)]
pub struct TokenReview {
    issuer: TokenIssuer,
    others: Vec<Arc<dyn Authenticator>>,
}

impl TokenReview {
    /// Knows the service account tokens of `issuer`, and those of `others`, which are asked with a request that has
    /// nothing but the token.
    #[must_use]
    pub fn new(issuer: TokenIssuer, others: Vec<Arc<dyn Authenticator>>) -> Self {
        Self { issuer, others }
    }

    async fn status(&self, api: &Api, token: &str, audiences: &[String]) -> Value {
        let tokens = ServiceAccountTokens::new(self.issuer.clone(), api.reader().clone());
        match tokens.verify(token, audiences).await {
            Ok(Some(mut verified)) => {
                verified.user.groups.push(GROUP_AUTHENTICATED.into());
                return json!({"authenticated": true, "user": user_info(&verified.user), "audiences": verified.audiences});
            }
            Err(_) => return json!({"user": {}, "error": "invalid bearer token"}),
            Ok(None) => {}
        }
        let Ok(bearer) = header::HeaderValue::from_str(&format!("Bearer {token}")) else {
            return json!({"user": {}, "error": "invalid bearer token"});
        };
        let mut head = http::Request::new(()).into_parts().0;
        head.headers.insert(header::AUTHORIZATION, bearer);
        for other in &self.others {
            match other.authenticate(&head).await {
                Ok(Some(mut user)) => {
                    user.groups.push(GROUP_AUTHENTICATED.into());
                    return json!({"authenticated": true, "user": user_info(&user)});
                }
                Ok(None) => {}
                Err(_) => return json!({"user": {}, "error": "invalid bearer token"}),
            }
        }
        json!({"user": {}, "error": "invalid bearer token"})
    }
}

#[async_trait]
impl Handler for TokenReview {
    async fn handle(&self, mut request: HandlerRequest) -> ApiResult<Response<Body>> {
        let mut review = request.object().await?;
        let token = review.text(&["spec", "token"]).to_owned();
        if token.is_empty() {
            return Err(ApiError::bad_request(
                "token is required for TokenReview in authentication",
            ));
        }
        let audiences = review.at(&["spec", "audiences"]).and_then(Value::as_array);
        let audiences: Vec<_> =
            audiences.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        let status = self.status(&request.api, &token, &audiences).await;
        review.set(&["status"], status);
        request.respond(StatusCode::CREATED, &review)
    }
}
