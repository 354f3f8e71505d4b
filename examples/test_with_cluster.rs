//! A test with a control plane of its own. Here is what is to be tested, and how: `cargo test --example
//! test_with_cluster` runs the tests, `cargo run --example test_with_cluster` does by hand what the attribute does.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams},
};
use kubeplane::testing::TestCluster;
use serde_json::json;

/// Gives every namespace without one an owner; returns the names of those.
async fn adopt(client: Client, owner: &str) -> kube::Result<Vec<String>> {
    let namespaces: Api<Namespace> = Api::all(client);
    let mut adopted = Vec::new();
    for namespace in namespaces.list(&ListParams::default().labels("!owner")).await? {
        let name = namespace.metadata.name.unwrap_or_default();
        let label = Patch::Merge(json!({"metadata": {"labels": {"owner": owner}}}));
        namespaces.patch(&name, &PatchParams::default(), &label).await?;
        adopted.push(name);
    }
    Ok(adopted)
}

/// Starts a cluster, adopts twice, stops it; returns the lines shown.
pub(crate) async fn run() -> anyhow::Result<Vec<String>> {
    let cluster = TestCluster::start().await?;
    let first = adopt(cluster.client(), "jane").await?;
    let second = adopt(cluster.client(), "jim").await?;
    cluster.stop().await?;
    Ok(vec![format!("jane got {}", first.join(", ")), format!("jim got {}", second.len())])
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    run().await?.iter().for_each(|line| println!("{line}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
    use kube::{api::PostParams, runtime::wait::await_condition};
    use kubeplane::core::auth::UserInfo;

    #[kubeplane::test]
    async fn a_namespace_is_adopted_once(cluster: TestCluster) -> kube::Result<()> {
        assert_eq!(adopt(cluster.client(), "jane").await?.len(), 4);
        assert!(adopt(cluster.client(), "jim").await?.is_empty());
        Ok(())
    }

    #[kubeplane::test]
    async fn who_has_no_rights_adopts_nothing(cluster: TestCluster) {
        let stranger = UserInfo::new("stranger", ["system:authenticated"]);
        let refused = adopt(cluster.client_as(stranger), "stranger").await.unwrap_err();
        assert!(refused.to_string().contains("forbidden"), "{refused}");
    }

    /// In parentheses stand the parts that there are beside the API server.
    #[kubeplane::test(controllers, scheduler, nodes = 1)]
    async fn a_pod_runs(cluster: TestCluster) -> anyhow::Result<()> {
        let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client());
        await_condition(accounts, "default", |account: Option<&_>| account.is_some()).await?;
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let pod = json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "web", "image": "web"}]}});
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        await_condition(pods, "web", kube::runtime::wait::conditions::is_pod_running()).await?;
        Ok(())
    }
}
