use crate::{
    budgets::Keep,
    cluster::{Cluster, eventually, gone},
};
use async_trait::async_trait;
use http::Response;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod, ServiceAccount};
use kube::{
    Api,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use kubeplane_apiserver::{Body, Delegate, Delegated, DelegatedRequest, Described};
use kubeplane_core::{
    GroupVersion,
    status::{ApiError, ApiResult},
};
use serde_json::json;
use std::sync::Arc;

fn in_temp(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client.clone(), "temp")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_gets_its_defaults_and_goes_with_its_content() {
    let cluster = Cluster::start().await;
    cluster.create::<Namespace>(json!({"metadata": {"name": "temp"}})).await;
    let maps = in_temp(&cluster);
    let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), "temp");
    eventually("the defaults appear", || async {
        let root = maps.get_opt("kube-root-ca.crt").await.unwrap().and_then(|map| map.data);
        let account = accounts.get_opt("default").await.unwrap();
        let right = root.as_ref().is_some_and(|data| data["ca.crt"] == "the root");
        if right && account.is_some() { Ok(()) } else { Err(format!("{root:?} {account:?}")) }
    })
    .await;
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    eventually("the account comes back", || async {
        accounts.get("default").await.map_err(|error| error.to_string())
    })
    .await;

    let held: ConfigMap = serde_json::from_value(
        json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}}),
    )
    .unwrap();
    maps.create(&PostParams::default(), &held).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("temp", &DeleteParams::default()).await.unwrap();
    eventually("what holds the namespace is told", || async {
        let status = namespaces.get("temp").await.unwrap().status.unwrap_or_default();
        let message = |kind: &str| {
            let condition =
                status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
            condition.and_then(|condition| condition.message.clone()).unwrap_or_default()
        };
        let remaining = message("NamespaceContentRemaining");
        let finalizers = message("NamespaceFinalizersRemaining");
        let told = remaining.contains("configmaps. has 1 resource instances")
            && finalizers.contains("example.com/hold in 1 resource instances");
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let status = namespaces.get("temp").await.unwrap().status.unwrap();
    let told = status.conditions.iter().flatten();
    let mut told: Vec<_> = told
        .map(|own| (own.type_.as_str(), own.status.as_str(), own.reason.as_deref().unwrap()))
        .collect();
    told.sort_unstable();
    let expected = [
        ("NamespaceContentRemaining", "True", "SomeResourcesRemain"),
        ("NamespaceDeletionContentFailure", "False", "ContentDeleted"),
        ("NamespaceDeletionDiscoveryFailure", "False", "ResourcesDiscovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "False", "ParsedGroupVersions"),
        ("NamespaceFinalizersRemaining", "True", "SomeFinalizersRemain"),
    ];
    assert_eq!(told, expected);
    let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    maps.patch("held", &PatchParams::default(), &release).await.unwrap();
    gone(&namespaces, "temp").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_cannot_be_told_to_go_hold_up_nothing_else() {
    let clock = kubeplane_clock::real();
    let cluster = Cluster::with(clock, |builder| builder.admit(Keep(""))).await;
    cluster.create::<Namespace>(json!({"metadata": {"name": "temp"}})).await;
    let (maps, pods) = (in_temp(&cluster), Api::<Pod>::namespaced(cluster.client.clone(), "temp"));
    let map = serde_json::from_value(json!({"metadata": {"name": "map"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let pod = json!({"metadata": {"name": "kept"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    let pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("temp", &DeleteParams::default()).await.unwrap();
    gone(&maps, "map").await;
    let check = || async {
        let status = namespaces.get("temp").await.unwrap().status.unwrap_or_default();
        let mut conditions = status.conditions.iter().flatten();
        let failed = conditions.find(|own| own.type_ == "NamespaceDeletionContentFailure");
        let why = failed.and_then(|own| own.message.clone()).unwrap_or_default();
        let reason = failed.and_then(|own| own.reason.as_deref()).unwrap_or_default();
        let told = reason == "ContentDeletionFailed" && why.contains("it is kept");
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    };
    eventually("why it stays is told", check).await;
    assert!(pods.get_opt("kept").await.unwrap().is_some());
}

/// Serves a group version, and does not answer.
#[derive(Debug)]
struct Silent;

#[async_trait]
impl Delegate for Silent {
    async fn serve(&self, _: DelegatedRequest) -> ApiResult<Response<Body>> {
        Err(ApiError::unavailable("nobody is there"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namespace_stays_while_nobody_knows_what_else_is_in_it() {
    let cluster = Cluster::start().await;
    cluster.create::<Namespace>(json!({"metadata": {"name": "temp"}})).await;
    let maps = in_temp(&cluster);
    let map = serde_json::from_value(json!({"metadata": {"name": "map"}})).unwrap();
    maps.create(&PostParams::default(), &map).await.unwrap();
    let version = GroupVersion::new("down.example.com", "v1");
    let delegated = Delegated {
        delegate: Arc::new(Silent),
        resources: Arc::default(),
        fresh: false,
        openapi: Described::Nowhere,
        swagger: Arc::default(),
    };
    cluster.server.registry().delegate(version.clone(), delegated);
    let namespaces: Api<Namespace> = Api::all(cluster.client.clone());
    namespaces.delete("temp", &DeleteParams::default()).await.unwrap();
    // What is known goes all the same.
    gone(&maps, "map").await;
    let why = "Discovery failed for some groups, 1 failing: unable to retrieve the complete list of server \
               APIs: down.example.com/v1: stale GroupVersion discovery: down.example.com/v1";
    eventually("it is told why it stays", || async {
        let status = namespaces.get("temp").await.unwrap().status.unwrap_or_default();
        let told = status.conditions.iter().flatten().any(|own| {
            own.type_ == "NamespaceDeletionDiscoveryFailure"
                && own.status == "True"
                && own.reason.as_deref() == Some("DiscoveryFailed")
                && own.message.as_deref() == Some(why)
        });
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    cluster.server.registry().undelegate(&version);
    gone(&namespaces, "temp").await;
}
