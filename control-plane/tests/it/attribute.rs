//! `#[kubeplane::test]` as those write it who use it.

use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::{Api, Client, api::ListParams};
use kubeplane::testing::TestCluster;
use std::time::Duration;

const SEED: u64 = 7;
const HOUR: Duration = Duration::from_secs(3600);

#[kubeplane::test(paused, listen, seed = SEED, controllers_named = "serviceaccount-controller")]
async fn each_word_in_parentheses_is_done(cluster: TestCluster) -> kube::Result<()> {
    assert_eq!(cluster.seed(), SEED);
    assert!(cluster.kubeconfig().is_some_and(|file| file.exists()));
    let before = cluster.clock().elapsed();
    cluster.advance(HOUR).await;
    assert_eq!(cluster.clock().elapsed() - before, HOUR, "no more than was asked for");
    let accounts: Api<ServiceAccount> = Api::default_namespaced(cluster.client());
    assert_eq!(accounts.list(&ListParams::default()).await?.items.len(), 1);
    Ok(())
}

#[kubeplane::test]
async fn a_test_may_take_no_more_than_a_client(client: Client) -> kube::Result<()> {
    let namespaces: Api<Namespace> = Api::all(client);
    assert!(namespaces.get_opt("kube-system").await?.is_some());
    Ok(())
}

#[kubeplane::test]
async fn a_test_may_leave_its_cluster_alone() {}

#[kubeplane::test]
#[should_panic(expected = "wrong number")]
async fn what_else_is_said_of_a_test_holds(cluster: TestCluster) {
    assert!(cluster.kubeconfig().is_some(), "wrong number");
}
