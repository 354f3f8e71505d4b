use async_trait::async_trait;
use http::{Method, Response, header, request::Parts};
use kubeplane_apiserver::{
    Api, Route, accepts_only,
    body::{self, Body},
};
use kubeplane_auth::TokenIssuer;
use kubeplane_core::status::{ApiError, ApiResult};
use serde_json::json;

const CONFIGURATION: &str = "/.well-known/openid-configuration";
const KEYS: &str = "/openid/v1/jwks";
const JSON: &str = "application/json";
const JWK_SET: &str = "application/jwk-set+json";
/// How long an answer may be kept, as in the original: one hour.
const KEPT: &str = "public, max-age=3600";

/// Tells whoever may ask how to check the tokens of service accounts: the issuer's OpenID Connect configuration and its
/// public keys, as services outside the cluster want them to take such tokens (KEP-1393). The policy gives both to
/// service accounts (`system:service-account-issuer-discovery`).
#[derive(Debug, Clone)]
pub struct IssuerDiscovery(TokenIssuer);

impl IssuerDiscovery {
    /// The paths to serve it under.
    pub const PATHS: [&'static str; 2] = [CONFIGURATION, KEYS];

    /// Of this issuer.
    #[must_use]
    pub fn new(issuer: TokenIssuer) -> Self {
        Self(issuer)
    }

    /// The keys are where the client found the server.
    fn configuration(&self, head: &Parts) -> ApiResult<String> {
        let host = || head.headers.get(header::HOST)?.to_str().ok();
        let authority = head.uri.authority().map(http::uri::Authority::as_str).or_else(host);
        let authority =
            authority.ok_or_else(|| ApiError::bad_request("the request names no host"))?;
        Ok(json!({
            "issuer": self.0.issuer(),
            "jwks_uri": format!("https://{authority}{KEYS}"),
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": [TokenIssuer::ALGORITHM],
        })
        .to_string())
    }
}

#[async_trait]
impl Route for IssuerDiscovery {
    async fn serve(&self, _api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let known = Self::PATHS.contains(&head.uri.path().trim_end_matches('/'));
        if known && head.method != Method::GET {
            return Err(ApiError::method_not_allowed());
        }
        let (content, text) = match head.uri.path().trim_end_matches('/') {
            CONFIGURATION => {
                accepts_only(&head.headers, JSON)?;
                (JSON, self.configuration(head)?)
            }
            KEYS => {
                accepts_only(&head.headers, JWK_SET)?;
                let keys = self.0.public_keys().map_err(ApiError::internal)?;
                (JWK_SET, keys.to_string())
            }
            _ => return Err(ApiError::no_such_path()),
        };
        Response::builder()
            .header(header::CONTENT_TYPE, content)
            .header(header::CACHE_CONTROL, KEPT)
            .body(body::full(text))
            .map_err(ApiError::internal)
    }
}
