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
use tower::ServiceExt;

/// The small routes every component has.
#[derive(Debug)]
pub(crate) struct HealthRoute {
    health: Health,
    metrics: Metrics,
}

impl HealthRoute {
    pub(crate) fn new(health: Health, metrics: Metrics) -> Self {
        health.add("ping", Probe::Both, || Ok(()));
        Self { health, metrics }
    }
}

#[async_trait]
impl Route for HealthRoute {
    async fn serve(&self, _api: &Api, head: &Parts, _body: Body) -> ApiResult<Response<Body>> {
        let router = kubeplane_telemetry::router(self.health.clone(), self.metrics.clone());
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        let Ok(response) = router.oneshot(request).await;
        Ok(response.map(body::boxed))
    }
}
