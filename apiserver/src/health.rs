//! `/healthz`, `/livez`, `/readyz` and `/metrics`.

use crate::{
    api::Api,
    body::{self, Body},
    handler::Route,
};
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, request::Parts};
use http_body_util::Empty;
use kubeplane_core::status::ApiResult;
use kubeplane_telemetry::{Health, Metrics, Probe};
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long the store may take to answer a probe.
const STORE_LIMIT: Duration = Duration::from_secs(2);

/// A check of `/livez` and `/readyz` that fails until something was done once; see [`Api::start_check`].
#[derive(Debug, Clone)]
#[must_use = "the server is not ready before it is done"]
pub struct StartCheck(Arc<AtomicBool>);

impl StartCheck {
    pub(crate) fn new(health: &Health, name: &str) -> Self {
        let done = Arc::<AtomicBool>::default();
        let known = done.clone();
        health.add(name, Probe::Both, move || match known.load(Ordering::Acquire) {
            true => Ok(()),
            false => Err("not finished".to_owned()),
        });
        Self(done)
    }

    /// Passes from now on.
    pub fn done(&self) {
        self.0.store(true, Ordering::Release);
    }

    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The small routes every component has.
#[derive(Debug)]
pub(crate) struct HealthRoute {
    health: Health,
    metrics: Metrics,
    /// Why the store did not answer the last probe, if it did not.
    store: Arc<Mutex<Option<String>>>,
}

impl HealthRoute {
    /// Adds the server's own checks: `ping`, the store under the original's name for it, and `shutdown`,
    /// which sends clients elsewhere once the server stops.
    pub(crate) fn new(health: Health, metrics: Metrics, stopping: CancellationToken) -> Self {
        let store: Arc<Mutex<Option<String>>> = Arc::default();
        let known = store.clone();
        health.add("ping", Probe::Both, || Ok(()));
        health.add("etcd", Probe::Both, move || known.lock().clone().map_or(Ok(()), Err));
        let known = store.clone();
        health
            .add("etcd-readiness", Probe::Ready, move || known.lock().clone().map_or(Ok(()), Err));
        health.add("shutdown", Probe::Ready, move || match stopping.is_cancelled() {
            false => Ok(()),
            true => Err("the server is stopping".to_owned()),
        });
        Self { health, metrics, store }
    }

    /// Learns how the store is, for probes and metrics.
    async fn ask_store(&self, api: &Api) {
        let answer =
            kubeplane_clock::timeout(&**api.clock(), STORE_LIMIT, api.store().status()).await;
        *self.store.lock() = match answer {
            Some(Ok(status)) => {
                api.0.metrics.store.sized(status.size);
                None
            }
            Some(Err(error)) => Some(error.to_string()),
            None => Some("the store does not answer".to_owned()),
        };
    }
}

#[async_trait]
impl Route for HealthRoute {
    async fn serve(&self, api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        self.ask_store(api).await;
        if head.uri.path() == "/metrics" {
            count_objects(api);
        }
        let router = kubeplane_telemetry::router(self.health.clone(), self.metrics.clone());
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.headers_mut() = head.headers.clone();
        let Ok(response) = router.oneshot(request).await;
        Ok(response.map(body::boxed))
    }
}

/// Notes how many objects there are of each resource somebody reads.
fn count_objects(api: &Api) {
    let mut counts = BTreeMap::new();
    for resource in api.registry().all() {
        if let Some(snapshot) = resource.cache().peek() {
            counts.insert(resource.group_resource(), snapshot.rows.len());
        }
    }
    api.0.metrics.store.counted(counts);
}
