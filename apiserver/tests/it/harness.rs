//! A server and a client that shows status, headers and bodies as they are.

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use kubeplane_apiserver::{ApiServer, Body, Builder, admission::NamespaceLifecycle};
use kubeplane_core::{
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    status::{ApiError, ApiResult},
};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::Store;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;

/// `Authorization: Bearer name` is that user.
#[derive(Debug)]
pub(crate) struct Names;

#[async_trait]
impl Authenticator for Names {
    async fn authenticate(&self, request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        let Some(sent) = request.headers.get(header::AUTHORIZATION) else { return Ok(None) };
        match sent.to_str().ok().and_then(|sent| sent.strip_prefix("Bearer ")) {
            Some("bad") | None => Err(ApiError::unauthorized()),
            Some(name) => Ok(Some(UserInfo::new(name, Vec::<String>::new()))),
        }
    }
}

/// Only `admin` may do anything.
#[derive(Debug)]
pub(crate) struct Admins;

#[async_trait]
impl Authorizer for Admins {
    async fn authorize(&self, request: &Attributes) -> Decision {
        match request.user.name.as_str() {
            "admin" => Decision::Allow(String::new()),
            _ => Decision::NoOpinion(String::new()),
        }
    }
}

pub(crate) struct Server {
    pub(crate) api: ApiServer,
    pub(crate) store: Arc<MemoryStore>,
}

pub(crate) struct Answer {
    pub(crate) code: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The body; what is no UTF-8 is replaced.
    pub(crate) text: String,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The JSON body of an answer that must have this code.
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code.as_u16(), code, "{}", self.text);
        self.json()
    }

    pub(crate) fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn warnings(&self) -> Vec<&str> {
        self.headers.get_all(header::WARNING).iter().map(|value| value.to_str().unwrap()).collect()
    }
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::with(|builder| builder)
    }

    pub(crate) fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let store = Arc::new(MemoryStore::new());
        let builder = ApiServer::builder(store.clone() as Arc<dyn Store>)
            .resources(kubeplane_builtin::all())
            .authenticate(Names)
            .authorize(Admins)
            .admit(NamespaceLifecycle);
        Self { api: change(builder).build().unwrap(), store }
    }

    /// A server with the namespace `default`.
    pub(crate) async fn ready() -> Self {
        let server = Self::start();
        server
            .post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}}))
            .await
            .expect(201);
        server
    }

    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> http::Response<Body> {
        self.api.service().oneshot(request).await.unwrap()
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            request = request.header("authorization", "Bearer admin");
        }
        for (name, value) in headers.iter().filter(|(_, value)| !value.is_empty()) {
            request = request.header(*name, *value);
        }
        let response =
            self.send(request.body(Full::new(Bytes::copy_from_slice(body))).unwrap()).await;
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Answer {
            code: head.status,
            headers: head.headers,
            text: String::from_utf8_lossy(&bytes).into_owned(),
            bytes,
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.call(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.to_string().as_bytes(),
        )
        .await
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.call("PUT", path, &[("content-type", "application/json")], body.to_string().as_bytes())
            .await
    }

    pub(crate) async fn patch(&self, path: &str, kind: &str, body: &Value) -> Answer {
        let kind = format!("application/{kind}");
        self.call("PATCH", path, &[("content-type", &kind)], body.to_string().as_bytes()).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Answer {
        let body = if options.is_null() { String::new() } else { options.to_string() };
        self.call("DELETE", path, &[("content-type", "application/json")], body.as_bytes()).await
    }

    /// Creates a ConfigMap in `default` and returns it.
    pub(crate) async fn config_map(&self, name: &str, labels: Value) -> Value {
        let body = json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}});
        self.post("/api/v1/namespaces/default/configmaps", &body).await.expect(201)
    }

    pub(crate) async fn watch(&self, path: &str) -> Events {
        let request = Request::get(path)
            .header("authorization", "Bearer admin")
            .body(Full::default())
            .unwrap();
        let response = self.send(request).await;
        assert_eq!(response.status(), StatusCode::OK);
        Events { body: response.into_body(), buffer: Vec::new() }
    }
}

/// The lines of a watch.
pub(crate) struct Events {
    body: Body,
    buffer: Vec<u8>,
}

impl Events {
    /// The next event; `None` at the end. Panics when nothing comes for long.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<_> = self.buffer.drain(..=end).collect();
                return Some(serde_json::from_slice(&line).unwrap());
            }
            let frame = tokio::time::timeout(Duration::from_secs(30), self.body.frame()).await;
            let frame = frame.expect("a frame in time")?;
            self.buffer.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
    }

    /// Type and name of the next event.
    pub(crate) async fn brief(&mut self) -> (String, String) {
        let event = self.next().await.expect("an event");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

pub(crate) fn brief(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

pub(crate) fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

pub(crate) fn version(object: &Value) -> String {
    object["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}
