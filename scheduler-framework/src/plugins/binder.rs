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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::fixtures::pod;
    use http::{Request, Response};
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// What was sent where.
    type Sent = Arc<Mutex<Vec<(String, Value)>>>;

    /// A client of a server that answers everything so, and what it is asked.
    fn answering(code: u16, answer: &Value) -> (kube::Client, Sent) {
        let (sent, answer) = (Sent::default(), answer.to_string());
        let seen = sent.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                let place = format!("{} {}", request.method(), request.uri().path());
                let body = request.into_body().collect_bytes().await?;
                seen.lock().push((place, serde_json::from_slice(&body)?));
                let answer = Body::from(answer.into_bytes());
                let response = Response::builder().status(code).body(answer)?;
                Ok::<_, Box<dyn std::error::Error + Send + Sync>>(response)
            }
        });
        (kube::Client::new(service, "default"), sent)
    }

    #[tokio::test]
    async fn a_pod_is_bound_by_its_subresource() {
        let (client, sent) = answering(201, &json!({"kind": "Status", "status": "Success"}));
        let (own, node) = (pod("ns/foo", "", json!({})), "foohost.example.com");
        let verdict = DefaultBinder::new(client).bind(&CycleState::new(), &own, node).await;
        assert_eq!(verdict, BindVerdict::Bound);
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": {"name": "foo", "namespace": "ns", "uid": "foo"},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        });
        let place = "POST /api/v1/namespaces/ns/pods/foo/binding".to_owned();
        assert_eq!(*sent.lock(), [(place, binding)]);
    }

    #[tokio::test]
    async fn what_the_server_says_against_it_is_told() {
        let own = pod("ns/foo", "", json!({}));
        let status = json!({"kind": "Status", "status": "Failure", "message": "binding error"});
        for (answer, expected) in [(&status, "binding error"), (&json!({}), "409 Conflict")] {
            let (client, _) = answering(409, answer);
            let verdict = DefaultBinder::new(client).bind(&CycleState::new(), &own, "n").await;
            assert_eq!(verdict, BindVerdict::Error(expected.to_owned()));
        }
    }
}
