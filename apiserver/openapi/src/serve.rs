//! The routes.

use crate::{document::Document, negotiation, store::Documents};
use async_trait::async_trait;
use http::{HeaderValue, Response, StatusCode, header, request::Parts};
use kubeplane_apiserver::{Api, Body, DelegatedRequest, Query, Route, body, nowhere};
use kubeplane_core::{
    auth::UserInfo,
    status::{ApiError, ApiResult},
};
use std::sync::Arc;
use tokio::sync::Mutex;

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
/// How [`PROTOBUF`] is called in answers: an `@` may not stand in a media type, and Go refuses it there.
const PROTOBUF_SENT: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// As what the original sends the list of documents, JSON though it is, whatever is accepted.
const INDEX: &str = "text/plain; charset=utf-8";

/// Serves `/openapi/v2` and `/openapi/v3`.
///
/// Documents are made when first asked for, kept gzipped (under a megabyte for all built-in kinds) and made again for
/// the group versions that changed.
#[derive(Debug, Default)]
pub struct OpenApi {
    documents: Mutex<Documents>,
}

impl OpenApi {
    /// The paths and what serves them, for `Builder::route`.
    #[must_use]
    pub fn routes() -> [(&'static str, Arc<dyn Route>); 2] {
        let route: Arc<dyn Route> = Arc::new(Self::default());
        [("/openapi/v2", route.clone()), ("/openapi/v3", route)]
    }

    async fn swagger(&self, api: &Api, head: &Parts) -> ApiResult<Response<Body>> {
        let mut documents = self.documents.lock().await;
        if negotiation::names(&head.headers, PROTOBUF) {
            let document = documents.protobuf(api).await?;
            return send(head, &document, PROTOBUF_SENT);
        }
        if !negotiation::accepts(&head.headers, JSON) {
            return Ok(bare(StatusCode::NOT_ACCEPTABLE));
        }
        let document = documents.swagger(api).await?;
        send(head, &document, JSON)
    }

    async fn version(&self, api: &Api, head: &Parts, path: &str) -> ApiResult<Response<Body>> {
        if let Some(other) = self.documents.lock().await.elsewhere(api, path).await? {
            let user = Arc::new(UserInfo::new("system:aggregator", Vec::<String>::new()));
            let (head, body, api) = (head.clone(), body::empty(), api.clone());
            let request = DelegatedRequest { head, body, user, api };
            return other.delegate.serve(request).await;
        }
        let found = self.documents.lock().await.version(api, path).await?;
        let Some(document) = found else { return Ok(bare(StatusCode::NOT_FOUND)) };
        if !negotiation::accepts(&head.headers, JSON) {
            return Ok(bare(StatusCode::NOT_ACCEPTABLE));
        }
        match Query::of(&head.uri).first("hash") {
            Some(hash) if !hash.is_empty() && hash != document.hash() => moved(path, &document),
            Some(hash) if !hash.is_empty() => {
                let mut response = send(head, &document, JSON)?;
                let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
                response.headers_mut().insert(header::CACHE_CONTROL, forever);
                Ok(response)
            }
            _ => send(head, &document, JSON),
        }
    }
}

#[async_trait]
impl Route for OpenApi {
    async fn serve(&self, api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let path = head.uri.path();
        if path == "/openapi/v2" {
            return self.swagger(api, head).await;
        }
        if path == "/openapi/v3" {
            let index = self.documents.lock().await.index(api).await?;
            return send(head, &index, INDEX);
        }
        match path.strip_prefix("/openapi/v3/") {
            Some(version) => self.version(api, head, version).await,
            None => Ok(nowhere()),
        }
    }
}

/// An answer without a body, as the original refuses here.
fn bare(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = code;
    response
}

/// An outdated hash: the document is elsewhere now.
fn moved(path: &str, document: &Document) -> ApiResult<Response<Body>> {
    let url = format!("/openapi/v3/{path}?hash={}", document.hash());
    Response::builder()
        .status(StatusCode::MOVED_PERMANENTLY)
        .header(header::LOCATION, url)
        .body(body::empty())
        .map_err(ApiError::internal)
}

fn send(head: &Parts, document: &Document, media_type: &str) -> ApiResult<Response<Body>> {
    let etag = format!("\"{}\"", document.hash());
    let response = Response::builder()
        .header(header::ETAG, &etag)
        .header(header::VARY, "Accept, Accept-Encoding")
        .header(header::CACHE_CONTROL, "no-cache, private");
    if negotiation::has(&head.headers, &etag) {
        return response
            .status(StatusCode::NOT_MODIFIED)
            .body(body::empty())
            .map_err(ApiError::internal);
    }
    let response = response.header(header::CONTENT_TYPE, media_type);
    let sent = if negotiation::accepts_gzip(&head.headers) {
        response.header(header::CONTENT_ENCODING, "gzip").body(body::full(document.gzipped()))
    } else {
        response.body(body::full(document.plain().map_err(ApiError::internal)?))
    };
    sent.map_err(ApiError::internal)
}
