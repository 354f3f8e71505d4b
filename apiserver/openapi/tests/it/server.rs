//! A server in this process, with everyone an administrator.

use async_trait::async_trait;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use kubeplane_apiserver::{ApiServer, Builder};
use kubeplane_core::{
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    component::{Component, Supervision, lifecycle},
    status::ApiResult,
};
use kubeplane_extensions::{CustomResourceDefinitionDeletion, CustomResources};
use kubeplane_openapi::OpenApi;
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::Store;
use serde_json::Value;
use std::sync::Arc;
use tower::ServiceExt;

#[derive(Debug)]
struct Everyone;

#[async_trait]
impl Authenticator for Everyone {
    async fn authenticate(&self, _: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        Ok(Some(UserInfo::new("admin", Vec::<String>::new())))
    }
}

#[async_trait]
impl Authorizer for Everyone {
    async fn authorize(&self, _: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }
}

pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, StatusCode::OK, "{}", String::from_utf8_lossy(&self.bytes));
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) fn build() -> ApiServer {
    builder().build().unwrap()
}

pub(crate) fn builder() -> Builder {
    let mut definitions = kubeplane_builtin::all();
    definitions.push(Arc::new(kubeplane_extensions::definition()));
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let builder = ApiServer::builder(store)
        .resources(definitions)
        .hook(kubeplane_extensions::resource(), Arc::new(CustomResourceDefinitionDeletion))
        .authenticate(Everyone)
        .authorize(Everyone);
    OpenApi::routes().into_iter().fold(builder, |builder, (path, route)| builder.route(path, route))
}

pub(crate) async fn ask(server: &ApiServer, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Empty::new()).unwrap();
    let response = server.service().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes().to_vec();
    Answer { code: head.status, headers: head.headers, bytes }
}

/// Serves what CustomResourceDefinitions define, until the answer is dropped.
pub(crate) async fn serve_custom_resources(server: &ApiServer) -> Supervision {
    let (own, mut supervision) = lifecycle();
    tokio::spawn(Box::new(CustomResources::new(server.api())).run(own));
    assert!(supervision.became_ready().await);
    supervision
}
