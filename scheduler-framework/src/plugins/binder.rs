use crate::{Bind, BindVerdict, ClusterEvent, CycleState, PodInfo, SchedulerPlugin};
use async_trait::async_trait;
use kube::client::Body;
use serde_json::{Value, json};
use std::fmt;

/// Binds pods by the `pods/binding` subresource.
#[derive(Clone)]
pub struct DefaultBinder {
    client: kube::Client,
}

impl fmt::Debug for DefaultBinder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DefaultBinder")
    }
}

impl DefaultBinder {
    /// Through this client.
    #[must_use]
    pub fn new(client: kube::Client) -> Self {
        Self { client }
    }
}

impl SchedulerPlugin for DefaultBinder {
    fn name(&self) -> &'static str {
        "DefaultBinder"
    }

    fn requeue_on(&self) -> Vec<ClusterEvent> {
        Vec::new()
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait]
impl Bind for DefaultBinder {
    async fn bind(&self, _: &CycleState, pod: &PodInfo, node: &str) -> BindVerdict {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let path = format!("/api/v1/namespaces/{}/pods/{}/binding", pod.namespace(), pod.name());
        let request = http::Request::post(path)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Body::from(binding.to_string().into_bytes()));
        let request = match request {
            Ok(request) => request.map(|body| body),
            Err(error) => return BindVerdict::Error(error.to_string()),
        };
        match self.client.send(request).await {
            Ok(response) if response.status().is_success() => BindVerdict::Bound,
            Ok(response) => BindVerdict::Error(refusal(response).await),
            Err(error) => BindVerdict::Error(error.to_string()),
        }
    }
}

async fn refusal(response: http::Response<Body>) -> String {
    let code = response.status();
    let bytes = response.into_body().collect_bytes().await.unwrap_or_default();
    let status: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    status["message"].as_str().map_or_else(|| code.to_string(), str::to_owned)
}
