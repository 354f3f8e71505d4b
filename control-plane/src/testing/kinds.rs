//! The custom kinds of a test cluster, there before the parts that may ask for them.

use super::BoxError;
use async_trait::async_trait;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kubeplane_core::component::{Component, ComponentError, Lifecycle};

/// Makes them; ready when they are served.
pub(super) struct CustomKinds {
    pub(super) client: kube::Client,
    pub(super) crds: Vec<CustomResourceDefinition>,
}

impl std::fmt::Debug for CustomKinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CustomKinds").finish_non_exhaustive()
    }
}

impl CustomKinds {
    async fn define(&self) -> Result<(), BoxError> {
        let crds: kube::Api<CustomResourceDefinition> = kube::Api::all(self.client.clone());
        for crd in &self.crds {
            let name = crd.metadata.name.as_deref().unwrap_or_default();
            match crds.create(&kube::api::PostParams::default(), crd).await {
                // A snapshot may have brought it.
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
                other => drop(other?),
            }
            await_condition(crds.clone(), name, is_crd_established()).await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Component for CustomKinds {
    fn name(&self) -> &str {
        "custom kinds"
    }

    async fn run(self: Box<Self>, lifecycle: Lifecycle) -> Result<(), ComponentError> {
        tokio::select! {
            biased;
            () = lifecycle.stopping() => return Ok(()),
            defined = self.define() => defined?,
        }
        lifecycle.ready();
        lifecycle.stopping().await;
        Ok(())
    }
}
