use crate::cluster::{Cluster, eventually, gone, trickle};
use k8s_openapi::api::core::v1::{ConfigMap, Secret, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kubeplane_clock::{Clock, PausedClock};
use serde_json::json;
use std::{sync::Arc, time::Duration};

fn text(secret: &Secret, key: &str) -> Option<String> {
    let value = secret.data.as_ref()?.get(key)?;
    String::from_utf8(value.0.clone()).ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_an_account_is_filled_and_goes_with_it() {
    let cluster = Cluster::start().await;
    cluster.create::<ServiceAccount>(json!({"metadata": {"name": "robot"}})).await;
    let secret = json!({
        "metadata": {"name": "robot-token",
            "annotations": {"kubernetes.io/service-account.name": "robot"}},
        "type": "kubernetes.io/service-account-token"});
    cluster.create::<Secret>(secret).await;
    let secrets = cluster.api::<Secret>();
    let filled = eventually("the token is there", || async {
        let secret = secrets.get("robot-token").await.unwrap();
        if text(&secret, "token").is_some() { Ok(secret) } else { Err(format!("{secret:?}")) }
    })
    .await;
    assert_eq!(text(&filled, "token").as_deref(), Some("robot in robot-token"));
    assert_eq!(text(&filled, "ca.crt").as_deref(), Some("the root"));
    assert_eq!(text(&filled, "namespace").as_deref(), Some("default"));
    let accounts = cluster.api::<ServiceAccount>();
    let uid = accounts.get("robot").await.unwrap().metadata.uid;
    let annotations = filled.metadata.annotations.unwrap();
    assert_eq!(annotations.get("kubernetes.io/service-account.uid"), uid.as_ref());
    accounts.delete("robot", &DeleteParams::default()).await.unwrap();
    gone(&secrets, "robot-token").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_of_no_account_goes_and_one_that_goes_is_no_longer_listed() {
    let cluster = Cluster::start().await;
    let secret = |name: &str, account: &str| {
        json!({"metadata": {"name": name,
                "annotations": {"kubernetes.io/service-account.name": account}},
            "type": "kubernetes.io/service-account-token"})
    };
    let secrets = cluster.api::<Secret>();
    let orphan = serde_json::from_value(secret("orphan", "nobody")).unwrap();
    secrets.create(&PostParams::default(), &orphan).await.unwrap();
    gone(&secrets, "orphan").await;
    let account =
        json!({"metadata": {"name": "robot"}, "secrets": [{"name": "old"}, {"name": "kept"}]});
    cluster.create::<ServiceAccount>(account).await;
    cluster.create::<Secret>(secret("old", "robot")).await;
    secrets.delete("old", &DeleteParams::default()).await.unwrap();
    let accounts = cluster.api::<ServiceAccount>();
    eventually("it is no longer listed", || async {
        let listed = accounts.get("robot").await.unwrap().secrets.unwrap_or_default();
        let names: Vec<_> = listed.into_iter().filter_map(|entry| entry.name).collect();
        if names == ["kept"] { Ok(()) } else { Err(format!("{names:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_token_to_join_can_believe_cluster_info_until_it_ends() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
    let public: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-public");
    let info =
        json!({"metadata": {"name": "cluster-info"}, "data": {"kubeconfig": "a kubeconfig"}});
    let info = serde_json::from_value(info).unwrap();
    public.create(&PostParams::default(), &info).await.unwrap();
    let system: Api<Secret> = Api::namespaced(cluster.client.clone(), "kube-system");
    let ends = clock.now() + Duration::from_secs(3600);
    let secret = json!({
        "metadata": {"name": "bootstrap-token-abcdef"}, "type": "bootstrap.kubernetes.io/token",
        "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef",
            "usage-bootstrap-signing": "true", "expiration": ends.to_string()}});
    let secret = serde_json::from_value(secret).unwrap();
    system.create(&PostParams::default(), &secret).await.unwrap();
    let signature = |wanted: bool| {
        let public = public.clone();
        async move {
            eventually("cluster-info is signed, or no more", || async {
                let data = public.get("cluster-info").await.unwrap().data.unwrap_or_default();
                let signature = data.get("jws-kubeconfig-abcdef").cloned();
                if signature.is_some() == wanted { Ok(signature) } else { Err(format!("{data:?}")) }
            })
            .await
        }
    };
    let first = signature(true).await.unwrap();
    assert!(first.starts_with("eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9.."), "{first}");
    let other = Patch::Merge(json!({"data": {"kubeconfig": "another"}}));
    public.patch("cluster-info", &PatchParams::default(), &other).await.unwrap();
    eventually("it is signed anew", || async {
        let again = signature(true).await;
        if again.as_ref() == Some(&first) { Err(first.clone()) } else { Ok(()) }
    })
    .await;
    clock.advance(Duration::from_secs(3601));
    gone(&system, "bootstrap-token-abcdef").await;
    assert_eq!(signature(false).await, None);
}
