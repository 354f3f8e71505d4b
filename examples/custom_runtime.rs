//! A container runtime of your own around another one: images come from the house's registry and from nowhere else.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::PostParams, runtime::wait::await_condition};
use kubeplane::{
    credentials::node_user,
    prelude::*,
    runtime_cri::{Error, ImageRef, Images, Result, SimulatedRuntime, delegate, v1},
    testing::TestCluster,
};
use serde_json::json;
use std::sync::Arc;

/// Only the images are its own matter; all else is the inner runtime's, which could as well be containerd.
#[derive(Debug)]
struct HouseRuntime {
    inner: SimulatedRuntime,
}

delegate!(HouseRuntime, inner: ContainerRuntime, Sandboxes, Containers, Stats);

#[async_trait]
impl Images for HouseRuntime {
    async fn pull_image(
        &self,
        image: &v1::ImageSpec,
        auth: Option<v1::AuthConfig>,
        sandbox: Option<v1::PodSandboxConfig>,
    ) -> Result<ImageRef> {
        if !image.image.starts_with("registry.house/") {
            let message = format!("{} is not of this house", image.image);
            return Err(Error::Unavailable { message, source: None });
        }
        self.inner.pull_image(image, auth, sandbox).await
    }

    async fn image_status(&self, image: &v1::ImageSpec) -> Result<Option<v1::Image>> {
        self.inner.image_status(image).await
    }

    async fn list_images(&self, filter: v1::ImageFilter) -> Result<Vec<v1::Image>> {
        self.inner.list_images(filter).await
    }

    async fn remove_image(&self, image: &v1::ImageSpec) -> Result<()> {
        self.inner.remove_image(image).await
    }

    async fn image_fs_info(&self) -> Result<v1::ImageFsInfoResponse> {
        self.inner.image_fs_info().await
    }
}

/// Runs a node with the runtime as long as `show` takes; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let cluster = TestCluster::builder().controllers().scheduler().start().await?;
    let inner = SimulatedRuntime::new(kubeplane::clock::real(), Default::default());
    let mut config = KubeletConfig::new("house");
    config.data_dir = cluster.directory().join("house");
    config.log_dir = config.data_dir.join("logs");
    config.cni_conf_dir = config.data_dir.join("cni");
    let client = cluster.client_as(node_user("house"));
    let kubelet = Kubelet::builder(client, Arc::new(HouseRuntime { inner }), config).build()?;
    let mut shown = Ok(Vec::new());
    let show = async { shown = show(cluster.client()).await };
    ControlPlane::new().with(kubelet).run_until(show).await?;
    cluster.stop().await?;
    shown
}

async fn show(client: Client) -> anyhow::Result<Vec<String>> {
    let pods: Api<Pod> = Api::default_namespaced(client);
    let mut lines = Vec::new();
    for (name, image) in [("ours", "registry.house/web"), ("theirs", "registry.elsewhere/web")] {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": name, "image": image}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        let known = |pod: Option<&Pod>| pod.and_then(state).is_some();
        let pod = await_condition(pods.clone(), name, known).await?;
        lines.push(format!("{name}: {}", pod.as_ref().and_then(state).unwrap_or_default()));
    }
    Ok(lines)
}

/// Whether the pod runs, or its image is refused; nothing while neither is known.
fn state(pod: &Pod) -> Option<&str> {
    let status = pod.status.as_ref()?;
    let state = status.container_statuses.as_ref()?.first()?.state.as_ref()?;
    let waiting = state.waiting.as_ref().and_then(|waiting| waiting.reason.as_deref());
    let refused = waiting.filter(|why| ["ErrImagePull", "ImagePullBackOff"].contains(why));
    refused.map(|_| "no image").or_else(|| state.running.as_ref().map(|_| "running"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}
