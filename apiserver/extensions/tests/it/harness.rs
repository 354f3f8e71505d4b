//! A server with CustomResourceDefinitions, and the definition of widgets.

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use kubeplane_apiserver::ApiServer;
use kubeplane_core::{
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    component::{Component, Supervision, lifecycle},
    status::ApiResult,
};
use kubeplane_extensions::{
    CustomResourceDefinitionDeletion, CustomResources, definition, resource,
};
use kubeplane_store_memory::MemoryStore;
use kubeplane_store_trait::{Key, ReadAt, Store};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use tower::ServiceExt;

pub(crate) const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(crate) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

#[derive(Debug)]
struct Anyone;

#[async_trait]
impl Authenticator for Anyone {
    async fn authenticate(&self, _request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        Ok(Some(UserInfo::new("admin", Vec::<String>::new())))
    }
}

#[async_trait]
impl Authorizer for Anyone {
    async fn authorize(&self, _request: &Attributes) -> Decision {
        Decision::Allow(String::new())
    }
}

pub(crate) struct Server {
    api: ApiServer,
    supervision: Supervision,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.supervision.stop();
    }
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::on(Arc::new(MemoryStore::new())).await
    }

    /// A server whose component is ready.
    pub(crate) async fn on(store: Arc<dyn Store>) -> Self {
        let mut definitions = kubeplane_builtin::all();
        definitions.push(Arc::new(definition()));
        let api = ApiServer::builder(store)
            .resources(definitions)
            .hook(resource(), Arc::new(CustomResourceDefinitionDeletion))
            .authenticate(Anyone)
            .authorize(Anyone)
            .build()
            .unwrap();
        let (own, mut supervision) = lifecycle();
        tokio::spawn(Box::new(CustomResources::new(api.api())).run(own));
        assert!(supervision.became_ready().await);
        Self { api, supervision }
    }

    /// Steps with every change of what is served.
    pub(crate) fn changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.api.api().registry().changes()
    }

    /// What is stored under a key, as it is.
    pub(crate) async fn stored(&self, key: &str) -> Value {
        let key = Key::new(key.to_owned()).unwrap();
        let read = self.api.api().store().get(&key, ReadAt::Latest).await.unwrap();
        serde_json::from_slice(&read.entry.unwrap().value).unwrap()
    }

    /// The first lines of a watch.
    pub(crate) async fn watched(&self, path: &str, lines: usize) -> Vec<Value> {
        let request = Request::get(path).body(Full::new(Bytes::new())).unwrap();
        let mut body = self.api.service().oneshot(request).await.unwrap().into_body();
        let (mut text, mut found) = (String::new(), Vec::new());
        while found.len() < lines {
            let frame = tokio::time::timeout(Duration::from_secs(30), body.frame()).await;
            let data = frame.unwrap().unwrap().unwrap().into_data().unwrap();
            text.push_str(std::str::from_utf8(&data).unwrap());
            found = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        }
        found
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: &Value,
    ) -> (StatusCode, Value) {
        let sent = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let response =
            self.api.service().oneshot(request.body(Full::new(sent)).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (head.status, serde_json::from_slice(&bytes).unwrap_or_default())
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let kind =
            if method == "PATCH" { "application/merge-patch+json" } else { "application/json" };
        let (code, body) = self.call(method, path, kind, &body).await;
        (code.as_u16(), body)
    }

    /// The answer, which must have this code.
    pub(crate) async fn expect(&self, code: u16, method: &str, path: &str, body: Value) -> Value {
        let (found, answer) = self.send(method, path, body).await;
        assert_eq!(found, code, "{method} {path}: {answer}");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.expect(200, "GET", path, Value::Null).await
    }

    /// What the client is warned with.
    pub(crate) async fn warnings(&self, method: &str, path: &str, body: Value) -> Vec<String> {
        let sent = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json").body(Full::new(sent));
        let answer = self.api.service().oneshot(request.unwrap()).await.unwrap();
        let warnings = answer.headers().get_all("warning").iter();
        warnings.map(|warning| warning.to_str().unwrap().to_owned()).collect()
    }

    pub(crate) async fn table(&self, path: &str) -> Value {
        self.accepting(path, "application/json;as=Table;v=v1;g=meta.k8s.io").await.1
    }

    /// The answer to a client that accepts this, which is JSON in any case.
    pub(crate) async fn accepting(&self, path: &str, accept: &str) -> (u16, Value) {
        let request =
            Request::get(path).header("accept", accept).body(Full::new(Bytes::new())).unwrap();
        let response = self.api.service().oneshot(request).await.unwrap();
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        (code, serde_json::from_slice(&bytes).unwrap())
    }

    /// Asks until the answer is as wanted.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let (code, answer) = self.send("GET", path, Value::Null).await;
            if wanted(code, &answer) {
                return answer;
            }
            assert!(tokio::time::Instant::now() < deadline, "{path} is still {code} {answer}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Creates a definition and waits until it is served.
    pub(crate) async fn define(&self, crd: Value) -> Value {
        let path = format!("{CRDS}/{}", crd["metadata"]["name"].as_str().unwrap());
        self.expect(201, "POST", CRDS, crd).await;
        self.until(&path, |_, crd| condition(crd, "Established") == "True").await
    }
}

pub(crate) fn condition<'a>(crd: &'a Value, kind: &str) -> &'a str {
    let conditions = crd["status"]["conditions"].as_array();
    let found = conditions.into_iter().flatten().find(|condition| condition["type"] == kind);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default()
}

pub(crate) fn widgets() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [{
                "name": "v1", "served": true, "storage": true,
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas",
                    "labelSelectorPath": ".status.selector",
                }},
                "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                "selectableFields": [{"jsonPath": ".spec.mode"}],
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                    "spec": {
                        "type": "object", "required": ["size"],
                        "x-kubernetes-validations": [
                            {"rule": "self.size < 9 || self.mode == 'b'", "message": "big needs b"},
                            {"rule": "self.size >= oldSelf.size - 5", "messageExpression": "'shrinks by ' + (self.size < 9 ? 'much' : 'more')",
                             "reason": "FieldValueForbidden", "fieldPath": ".size"},
                        ],
                        "properties": {
                            "size": {"type": "integer", "minimum": 0, "maximum": 20, "default": 2},
                            "mode": {"type": "string", "enum": ["a", "b"]},
                            "tags": {"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
                            "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        },
                    },
                    "status": {"type": "object", "properties": {
                        "replicas": {"type": "integer"}, "selector": {"type": "string"},
                    }},
                }}},
            }],
        },
    })
}

pub(crate) fn widget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}
