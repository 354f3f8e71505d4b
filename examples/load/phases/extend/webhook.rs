//! A webhook in this process that allows everything, and what calling it costs.

use super::super::super::{
    connection::{Call, Connection},
    fixture::{self, NAMESPACE, configmaps},
    meter::{Sample, measure},
    phases::Plan,
    server::Server,
};
use super::{ADMISSION, DEADLINE, configmap};
use anyhow::{Result, bail};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use k8s_openapi::ByteString;
use kubeplane::pki::{self, Authority, LiveIdentity, Usage};
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{ServerConfig, crypto::aws_lc_rs},
};

/// Creates one after the other, at first without the webhook and then with it. A latency is what a create took longer than
/// the median of those without, less what the webhook took itself: what remains goes into the review and the way there and
/// back.
pub(crate) async fn hooked(server: &Server, plan: &Plan) -> Result<Sample> {
    let (hook, connection) = (Hook::start().await?, server.another().await?);
    let webhooks = format!("{ADMISSION}/validatingwebhookconfigurations");
    connection.send(Call::delete(format!("{webhooks}/load"))).await?;
    let mut plain = creates(&connection, plan.objects, || Duration::ZERO).await?;
    plain.sort_unstable();
    let plain = plain.get(plain.len() / 2).copied().unwrap_or_default();
    let millis = plain.as_secs_f64() * 1e3;
    eprintln!("{:<24} {:<10} {millis:.3} ms for a create without the webhook", "", server.name);
    fixture::empty(server).await?;
    connection.succeed(Call::post(webhooks.clone(), hook.configuration().to_string())).await?;
    hook.called(&connection, true).await?;
    let sample = measure(server, async {
        let took = creates(&connection, plan.objects, || hook.own()).await?;
        let added: Vec<Duration> = took.iter().map(|took| took.saturating_sub(plain)).collect();
        Ok((added.len(), added))
    })
    .await;
    connection.send(Call::delete(format!("{webhooks}/load"))).await?;
    hook.called(&connection, false).await?;
    fixture::empty(server).await?;
    sample
}

/// How long each create took, less what `own` says after it.
async fn creates(
    connection: &Connection,
    count: usize,
    own: impl Fn() -> Duration,
) -> Result<Vec<Duration>> {
    let mut took = Vec::with_capacity(count);
    for index in 0..count {
        let began = Instant::now();
        connection.succeed(Call::post(configmaps(), configmap(index))).await?;
        took.push(began.elapsed().saturating_sub(own()));
    }
    Ok(took)
}

/// How often the webhook was called, and how many nanoseconds the last call took it.
#[derive(Debug, Default)]
struct Calls {
    count: AtomicU64,
    last: AtomicU64,
}

/// A running webhook; dropping it ends it.
#[derive(Debug)]
struct Hook {
    port: u16,
    authority: String,
    calls: Arc<Calls>,
    task: JoinHandle<()>,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hook {
    async fn start() -> Result<Self> {
        let now = jiff::Timestamp::now();
        let authority = Authority::generate("load", now)?;
        let wanted = pki::Request::new("webhook", Usage::Server)
            .addresses([IpAddr::V4(Ipv4Addr::LOCALHOST)]);
        let identity = Arc::new(LiveIdentity::new(authority.issue(&wanted, now)?)?);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(identity);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let calls = Arc::new(Calls::default());
        let tls = TlsAcceptor::from(Arc::new(config));
        let task = tokio::spawn(accept(listener, tls, calls.clone()));
        Ok(Self { port, authority: authority.certificate().to_owned(), calls, task })
    }

    fn configuration(&self) -> Value {
        let client = json!({"url": format!("https://127.0.0.1:{}/allow", self.port),
            "caBundle": ByteString(self.authority.clone().into_bytes())});
        json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "load"}, "webhooks": [{
                "name": "allow.load.example.com", "clientConfig": client,
                "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
                "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"],
                    "resources": ["configmaps"]}]}]})
    }

    /// What the last call took the webhook itself.
    fn own(&self) -> Duration {
        Duration::from_nanos(self.calls.last.load(Ordering::Acquire))
    }

    /// Waits until creates come here, or no longer do.
    async fn called(&self, connection: &Connection, wanted: bool) -> Result<()> {
        let began = Instant::now();
        loop {
            let before = self.calls.count.load(Ordering::Acquire);
            let dry = format!("{}?dryRun=All", configmaps());
            connection.send(Call::post(dry, configmap(0))).await?;
            if (self.calls.count.load(Ordering::Acquire) > before) == wanted {
                return Ok(());
            }
            if began.elapsed() > DEADLINE {
                bail!("the webhook is called: {}", !wanted);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, calls: Arc<Calls>) {
    let mut open = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        open.spawn(serve(stream, tls.clone(), calls.clone()));
    }
}

/// Serves one connection to its end, however that comes.
async fn serve(stream: TcpStream, tls: TlsAcceptor, calls: Arc<Calls>) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(stream) = tls.accept(stream).await else { return };
    let service = service_fn(move |request: Request<Incoming>| {
        let calls = calls.clone();
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            let began = Instant::now();
            let answer = Response::new(Full::new(allowed(&body)));
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            calls.last.store(took, Ordering::Release);
            calls.count.fetch_add(1, Ordering::Release);
            Ok::<_, hyper::Error>(answer)
        }
    });
    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

/// The review with the answer that it may be.
fn allowed(review: &Bytes) -> Bytes {
    let review: Value = serde_json::from_slice(review).unwrap_or_default();
    let response = json!({"uid": review["request"]["uid"], "allowed": true});
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    answer.to_string().into()
}
