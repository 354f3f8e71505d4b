//! `nodes/proxy`, `pods/proxy` and `services/proxy`: requests passed on to what runs in the cluster.
//!
//! ```text
//!   .../services/http:web:80/proxy/a?b ─ target ─> http, 10.0.0.5:8080 ─ backend ─> connection
//!                                                                          │
//!        answer <── rewrite (Location, links) <── forward (headers, path) <┘
//! ```

mod backend;
mod forward;
mod links;
mod target;

use crate::{
    KubeletClient,
    dial::{Dial, Tcp},
};
use async_trait::async_trait;
use backend::Backends;
use http::Response;
use kubeplane_apiserver::{Body, Handler, HandlerRequest};
use kubeplane_core::{Object, status::ApiResult};
use rustls::crypto::CryptoProvider;
use serde_json::json;
use std::sync::Arc;
use target::Target;

/// The `proxy` subresource of nodes, pods and services.
///
/// A node's own kubelet is spoken to as by [`KubeletClient`]; everything else without credentials, and over
/// TLS without looking at certificates, as in the original.
#[derive(Debug, Clone)]
pub struct ResourceProxy(Arc<Backends>);

impl ResourceProxy {
    /// Reaches kubelets through this client, and the rest over TCP.
    #[must_use]
    pub fn new(kubelets: KubeletClient, provider: Arc<CryptoProvider>) -> Self {
        Self(Arc::new(Backends::new(kubelets, provider, Arc::new(Tcp))))
    }

    /// Reaches pods, and other ports of nodes than the kubelet's, through `dial`; for that one see
    /// [`KubeletClient::dialing`].
    #[must_use]
    pub fn dial(self, dial: Arc<dyn Dial>) -> Self {
        Self(Arc::new(self.0.with_dial(dial)))
    }
}

#[async_trait]
impl Handler for ResourceProxy {
    async fn handle(&self, request: HandlerRequest) -> ApiResult<Response<Body>> {
        let path = target::path(&request.info);
        let kind = match &*request.info.resource {
            "nodes" => "NodeProxyOptions",
            "services" => "ServiceProxyOptions",
            _ => "PodProxyOptions",
        };
        let options = json!({"apiVersion": "v1", "kind": kind, "path": path});
        let options = Object::from_value(options).unwrap_or_default();
        request.api.admit_connect(&request, &options).await?;
        let target = Target::find(&self.0, &request).await?;
        forward::forward(&self.0, request, &target, &path).await
    }
}
