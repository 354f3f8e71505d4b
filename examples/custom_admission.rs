//! An admission step of your own: images whose version is not said are refused.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams};
use kubeplane::{
    builtin,
    core::{
        admission::{Operation, Request},
        status::{ApiError, ApiResult},
    },
    prelude::*,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// Refuses pods with images that have no tag, or the tag `latest`.
#[derive(Debug)]
struct SayWhichImage;

#[async_trait]
impl Admission for SayWhichImage {
    fn name(&self) -> &'static str {
        "SayWhichImage"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        matches!(operation, Operation::Create | Operation::Update)
            && definition.group_kind().to_string() == "Pod"
            && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        let Some(pod) = &request.object else { return Ok(()) };
        let lists =
            ["initContainers", "containers"].iter().filter_map(|list| pod.at(&["spec", list]));
        for container in lists.filter_map(Value::as_array).flatten() {
            let image = container["image"].as_str().unwrap_or_default();
            if !is_exact(image) {
                let why = format!("image {image:?} may be another one tomorrow");
                return Err(ApiError::forbidden(&request.definition.resource(), request.name, why));
            }
        }
        Ok(())
    }
}

/// Whether it has a digest, or a tag that is not `latest`; before the last slash a colon is a port's.
fn is_exact(image: &str) -> bool {
    let last = image.rsplit('/').next().unwrap_or_default();
    image.contains('@') || last.split_once(':').is_some_and(|(_, tag)| tag != "latest")
}

/// Runs a server with the step as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let server = ApiServer::builder(Arc::new(MemoryStore::new()))
        .resources(builtin::all())
        .authorize(Masters)
        .admit(SayWhichImage)
        .build()?;
    let (client, mut shown) = (server.client(), Ok(Vec::new()));
    ControlPlane::new().with(server).run_until(async { shown = show(client).await }).await?;
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::namespaced(client, "default");
    let mut lines = Vec::new();
    for image in ["nginx", "registry:5000/nginx:latest", "registry:5000/nginx:1.29"] {
        let pod = json!({
            "metadata": {"name": "web"},
            "spec": {"containers": [{"name": "web", "image": image}]},
        });
        lines.push(
            match pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await {
                Ok(_) => format!("{image}: created"),
                Err(kube::Error::Api(status)) => {
                    format!("{image}: {} {}", status.code, status.message)
                }
                Err(other) => return Err(other.into()),
            },
        );
    }
    Ok(lines)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
