//! An API server with the four steps, and a webhook server of its own.

use async_trait::async_trait;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use kubeplane_apiserver::{
    ApiServer, Builder,
    admission::NamespaceLifecycle,
    audit::{AuditLog, AuditSink, Event},
};
use kubeplane_core::{
    auth::{Attributes, Authenticator, Authorizer, Decision, UserInfo},
    component::{Component, Supervision, lifecycle},
    status::ApiResult,
};
use kubeplane_extensions::{CustomResourceDefinitionDeletion, CustomResources};
use kubeplane_pki::{Authority, Request as CertificateRequest, Usage};
use kubeplane_store_memory::MemoryStore;
use kubeplane_webhooks::{Extensions, Options, PolicyTypeChecking};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};
use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

pub(crate) const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";

#[derive(Debug)]
struct Anyone;

#[async_trait]
impl Authenticator for Anyone {
    async fn authenticate(&self, _request: &http::request::Parts) -> ApiResult<Option<UserInfo>> {
        Ok(Some(UserInfo::new("admin", ["makers"])))
    }
}

/// Everything is allowed but the verb `paint`.
#[async_trait]
impl Authorizer for Anyone {
    async fn authorize(&self, request: &Attributes) -> Decision {
        match request.verb.as_str() {
            "paint" => Decision::NoOpinion("no colours here".to_owned()),
            _ => Decision::Allow(String::new()),
        }
    }
}

pub(crate) struct Server {
    api: ApiServer,
    metrics: kubeplane_telemetry::Metrics,
    supervision: Supervision,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.supervision.stop();
    }
}

pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) body: Value,
    pub(crate) warnings: Vec<String>,
}

impl Answer {
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{}", self.body);
        self.body
    }

    /// Code and message of a refusal.
    pub(crate) fn refusal(&self) -> (u16, &str) {
        (self.code, self.body["message"].as_str().unwrap_or_default())
    }
}

/// What a server audits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Vec<Value>>>);

impl AuditSink for Kept {
    fn write(&mut self, event: &Event) -> io::Result<()> {
        self.0.lock().unwrap().push(serde_json::to_value(event)?);
        Ok(())
    }
}

impl Kept {
    /// The annotations of the request that was about this name, once it is recorded.
    pub(crate) async fn annotations(&self, name: &str) -> Value {
        let is_it = |event: &&Value| {
            event["stage"] == "ResponseComplete" && event["objectRef"]["name"] == name
        };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let found = self.0.lock().unwrap().iter().find(is_it).cloned();
            if let Some(event) = found {
                return event["annotations"].clone();
            }
            assert!(tokio::time::Instant::now() < deadline, "no request about {name}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Server {
    /// A server with the namespace `default`.
    pub(crate) async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    /// The same, and what it audits with what was sent.
    pub(crate) async fn audited() -> (Self, Kept) {
        let kept = Kept::default();
        let policy = "{apiVersion: audit.k8s.io/v1, kind: Policy, rules: [{level: Request}]}";
        let log = AuditLog::new(policy.parse().unwrap(), kept.clone()).unwrap();
        (Self::with(|builder| builder.audit(Arc::new(log))).await, kept)
    }

    async fn with(change: impl FnOnce(Builder) -> Builder) -> Self {
        let metrics = kubeplane_telemetry::Metrics::new();
        let extensions =
            Extensions::new(Options { metrics: metrics.clone(), ..Options::default() });
        let mut definitions = kubeplane_builtin::all();
        definitions.push(Arc::new(kubeplane_extensions::definition()));
        let builder = ApiServer::builder(Arc::new(MemoryStore::new()))
            .resources(definitions)
            .hook(kubeplane_extensions::resource(), Arc::new(CustomResourceDefinitionDeletion))
            .authenticate(Anyone)
            .authorize(Anyone)
            .admit(NamespaceLifecycle)
            .admit(extensions.mutating_policies())
            .admit(extensions.mutating_webhooks())
            .admit(extensions.validating_policies())
            .admit(extensions.validating_webhooks());
        let api = change(builder).build().unwrap();
        extensions.attach(&api.api());
        let (own, mut supervision) = lifecycle();
        tokio::spawn(Box::new(PolicyTypeChecking::new(api.api())).run(own.clone()));
        tokio::spawn(Box::new(CustomResources::new(api.api())).run(own));
        assert!(supervision.became_ready().await);
        let server = Self { api, metrics, supervision };
        server.namespace("default", json!({})).await;
        server
    }

    pub(crate) fn metrics(&self) -> String {
        self.metrics.encode_plain()
    }

    pub(crate) async fn call(&self, method: &str, path: &str, body: &Value) -> Answer {
        let sent = if body.is_null() { Bytes::new() } else { Bytes::from(body.to_string()) };
        let request = Request::builder().method(method).uri(path);
        let request = request.header("content-type", "application/json").body(Full::new(sent));
        let response = self.api.service().oneshot(request.unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let warnings = head.headers.get_all("warning").iter();
        Answer {
            code: head.status.as_u16(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            warnings: warnings.map(|one| one.to_str().unwrap().to_owned()).collect(),
        }
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &body).await
    }

    pub(crate) async fn namespace(&self, name: &str, labels: Value) {
        let body = json!({"metadata": {"name": name, "labels": labels}});
        self.post("/api/v1/namespaces", body).await.expect(201);
    }

    /// Creates an object, and waits until admission sees it.
    pub(crate) async fn seen(&self, path: &str, object: Value) -> Value {
        let made = self.post(path, object).await.expect(201);
        let text = |key: &str| made["metadata"][key].as_str().unwrap().to_owned();
        let path = format!("{path}/{}?resourceVersion={}", text("name"), text("resourceVersion"));
        self.call("GET", &path, &Value::Null).await.expect(200)
    }

    /// A configuration of one sort, as in `validatingadmissionpolicies`.
    pub(crate) async fn configure(&self, plural: &str, name: &str, spec: Value) {
        let object = json!({"metadata": {"name": name}, "spec": spec});
        self.seen(&format!("{GROUP}/{plural}"), object).await;
    }

    pub(crate) async fn webhooks(&self, sort: &str, name: &str, webhooks: Vec<Value>) {
        let object = json!({"metadata": {"name": name}, "webhooks": webhooks});
        self.seen(&format!("{GROUP}/{sort}webhookconfigurations"), object).await;
    }

    /// Creates a ConfigMap in `default`.
    pub(crate) async fn map(&self, name: &str, labels: Value) -> Answer {
        self.post(MAPS, json!({"metadata": {"name": name, "labels": labels}, "data": {"a": "1"}}))
            .await
    }
}

type Handler = dyn Fn(Value) -> BoxFuture<'static, Value> + Send + Sync;

/// A webhook server with a certificate for 127.0.0.1 and `hook.default.svc`.
pub(crate) struct Webhook {
    pub(crate) port: u16,
    authority: String,
    calls: Arc<Mutex<Vec<Value>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Webhook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Webhook {
    /// Answers every request of a review with this `response`.
    pub(crate) async fn answering(response: Value) -> Self {
        Self::start(move |_| {
            let response = response.clone();
            Box::pin(async move { response })
        })
        .await
    }

    /// Answers with what the handler makes of the request of a review.
    pub(crate) async fn start(
        handler: impl Fn(Value) -> BoxFuture<'static, Value> + Send + Sync + 'static,
    ) -> Self {
        let now = jiff::Timestamp::now();
        let authority = Authority::generate("webhooks", now).unwrap();
        let wanted = CertificateRequest::new("webhook", Usage::Server)
            .addresses([IpAddr::V4(Ipv4Addr::LOCALHOST)])
            .names(["hook.default.svc"]);
        let identity = authority.issue(&wanted, now).unwrap();
        let chain = CertificateDer::pem_slice_iter(identity.certificate.as_bytes());
        let chain: Vec<_> = chain.map(Result::unwrap).collect();
        let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (calls, connections) = (Arc::new(Mutex::default()), Arc::new(AtomicUsize::new(0)));
        let accepting = accept(
            listener,
            TlsAcceptor::from(Arc::new(config)),
            Arc::new(handler),
            calls.clone(),
            connections.clone(),
        );
        let task = tokio::spawn(accepting);
        Self { port, authority: authority.certificate().to_owned(), calls, connections, task }
    }

    /// The requests of all reviews so far.
    pub(crate) fn calls(&self) -> Vec<Value> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    fn bundle(&self) -> String {
        use base64::{Engine as _, engine::general_purpose::STANDARD};
        STANDARD.encode(&self.authority)
    }

    /// A webhook here that looks at ConfigMaps, with these fields over the usual ones.
    pub(crate) fn hook(&self, name: &str, fields: Value) -> Value {
        let mut hook = json!({
            "name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": format!("https://127.0.0.1:{}/review", self.port), "caBundle": self.bundle()},
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
        });
        for (key, value) in fields.as_object().unwrap() {
            hook[key] = value.clone();
        }
        hook
    }

    /// The same, behind the Service `hook`.
    pub(crate) fn behind_service(&self, name: &str) -> Value {
        let service =
            json!({"namespace": "default", "name": "hook", "path": "/x", "port": self.port});
        let config = json!({"service": service, "caBundle": self.bundle()});
        self.hook(name, json!({"clientConfig": config}))
    }
}

async fn accept(
    listener: TcpListener,
    tls: TlsAcceptor,
    handler: Arc<Handler>,
    calls: Arc<Mutex<Vec<Value>>>,
    connections: Arc<AtomicUsize>,
) {
    let mut open = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, handler, calls) = (tls.clone(), handler.clone(), calls.clone());
        let connections = connections.clone();
        open.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            connections.fetch_add(1, Ordering::SeqCst);
            let service = service_fn(move |request: Request<Incoming>| {
                let (handler, calls) = (handler.clone(), calls.clone());
                async move {
                    let bytes = request.into_body().collect().await?.to_bytes();
                    let review: Value = serde_json::from_slice(&bytes).unwrap();
                    calls.lock().unwrap().push(review["request"].clone());
                    let mut response = handler(review["request"].clone()).await;
                    response["uid"] = review["request"]["uid"].clone();
                    let answer = json!({
                        "apiVersion": review["apiVersion"], "kind": "AdmissionReview", "response": response,
                    });
                    Ok::<_, hyper::Error>(Response::new(Full::new(Bytes::from(answer.to_string()))))
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// The response that patches an object.
pub(crate) fn patch(operations: Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let patch = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patch": patch, "patchType": "JSONPatch"})
}

/// The response that gives an object a label; it must have some.
pub(crate) fn label(name: &str, value: &str) -> Value {
    patch(json!([{"op": "add", "path": format!("/metadata/labels/{name}"), "value": value}]))
}

/// Never answers.
pub(crate) fn silence(_request: Value) -> BoxFuture<'static, Value> {
    Box::pin(async {
        tokio::time::sleep(Duration::from_secs(3600)).await;
        Value::Null
    })
}
