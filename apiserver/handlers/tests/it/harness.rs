//! A server on memory, and requests of any user.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use kubeplane_apiserver::{ApiServer, Body, Builder};
use kubeplane_core::{
    GroupResource,
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    status::ApiResult,
};
use kubeplane_handlers::{PodBinding, PodEviction};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::Store;
use serde_json::{Value, json};
use std::sync::Arc;
use tower::ServiceExt;

/// `Authorization: Bearer name` is that user; nodes are in their group.
#[derive(Debug)]
struct Names;

#[async_trait]
impl Authenticator for Names {
    async fn authenticate(&self, request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        let sent = request.headers.get(header::AUTHORIZATION).and_then(|sent| sent.to_str().ok());
        let Some(name) = sent.and_then(|sent| sent.strip_prefix("Bearer ")) else {
            return Ok(None);
        };
        let group = if name.starts_with("system:node:") { "system:nodes" } else { "people" };
        Ok(Some(UserInfo::new(name, [group])))
    }
}

/// What is refused here is refused by admission, but that only `admin` speaks for signers,
/// `guest` can neither delete nor finalize, `looker` can only get and nodes have tokens for `open` alone.
#[derive(Debug)]
struct Everyone;

#[async_trait]
impl Authorizer for Everyone {
    async fn authorize(&self, wanted: &Attributes) -> Decision {
        if wanted.resource == "signers" && wanted.user.name != "admin" {
            return Decision::NoOpinion(String::new());
        }
        if wanted.verb == "request-serviceaccounts-token-audience" && wanted.resource != "open" {
            return Decision::NoOpinion(String::new());
        }
        let removes = wanted.verb == "delete" || wanted.subresource == "finalizers";
        let of_claims = wanted.resource == "resourceclaims"
            && matches!(wanted.subresource.as_str(), "binding" | "driver");
        if of_claims && wanted.user.name == "guest" {
            return Decision::NoOpinion("for no guest".to_owned());
        }
        if removes && wanted.user.name == "guest" {
            return Decision::NoOpinion("for no guest".to_owned());
        }
        if wanted.verb != "get" && wanted.user.name == "looker" {
            return Decision::NoOpinion("only looks".to_owned());
        }
        Decision::Allow(String::new())
    }
}

pub(crate) struct Server(pub(crate) ApiServer);

pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn expect(&self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", self.text);
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    /// That admission refuses, saying this.
    #[track_caller]
    pub(crate) fn forbidden(&self, why: &str) {
        let message = self.expect(403)["message"].as_str().unwrap_or_default().to_owned();
        assert!(message.contains(why), "{message}");
    }
}

impl Server {
    pub(crate) async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        Self::on(Arc::new(MemoryStore::new()), change).await
    }

    /// A server on a store that others may share.
    pub(crate) async fn on(store: Arc<dyn Store>, change: impl FnOnce(Builder) -> Builder) -> Self {
        let pods = GroupResource::new("", "pods");
        let builder = ApiServer::builder(store)
            .resources(kubeplane_builtin::all())
            .authenticate(Names)
            .authorize(Everyone)
            .handler(pods.clone(), "binding", Arc::new(PodBinding))
            .handler(pods, "eviction", Arc::new(PodEviction));
        let server = Self(change(builder).build().unwrap());
        let namespace = json!({"metadata": {"name": "default"}});
        let made = server.admin("POST", "/api/v1/namespaces", &namespace).await;
        assert!(made.code == 201 || made.code == 409, "{}", made.text);
        server
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Body> {
        self.0.service().oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, body) = self.send(request).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        Answer { code: head.status, headers: head.headers, text }
    }

    pub(crate) async fn as_user(
        &self,
        user: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Answer {
        let kind = if method == "PATCH" { "merge-patch+json" } else { "json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {user}"))
            .header("content-type", format!("application/{kind}"))
            .body(Full::from(body))
            .unwrap();
        self.call(request).await
    }

    pub(crate) async fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        self.as_user("admin", method, path, body).await
    }

    /// A pod bound to a node (or to none).
    pub(crate) async fn pod(&self, name: &str, node: &str) -> Value {
        let mut pod = json!({
            "metadata": {"name": name, "labels": {"app": "web"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        });
        if !node.is_empty() {
            pod["spec"]["nodeName"] = node.into();
        }
        self.admin("POST", "/api/v1/namespaces/default/pods", &pod).await.expect(201)
    }
}
