//! Pods of a PodGroup are placed together or not at all.

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use kubeplane::{
    ControlPlane,
    api::ApiOptions,
    scheduler::{GangScheduling, PodGroupObject, Profile, Scheduler},
    testing::TestCluster,
};
use serde_json::json;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn node(name: &str) -> Node {
    let resources = json!({"cpu": "1", "memory": "1Gi", "pods": "20"});
    let node = json!({"metadata": {"name": name},
        "status": {"allocatable": resources, "capacity": resources}});
    serde_json::from_value(node).unwrap()
}

/// Only one fits on a node.
fn pod(name: &str) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": {
        "schedulingGroup": {"podGroupName": "crew"}, "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "600m"}}}]}});
    serde_json::from_value(pod).unwrap()
}

/// The status and the message of the group's condition, once it has one of this status.
async fn told(groups: &Api<PodGroupObject>, status: &str) -> String {
    let told = async {
        loop {
            let group = groups.get("crew").await.unwrap();
            let mut conditions = group.status.conditions.into_iter();
            if let Some(own) =
                conditions.find(|own| own.type_ == "PodGroupScheduled" && own.status == status)
            {
                break own.message;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the group says how it stands")
}

async fn placed(pods: &Api<Pod>) -> usize {
    let all = pods.list(&ListParams::default()).await.unwrap();
    all.items.iter().filter(|pod| pod.spec.as_ref().unwrap().node_name.is_some()).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gang_is_placed_when_there_is_room_for_enough_of_it() {
    let options = ApiOptions {
        features: "GenericWorkload=true".parse().unwrap(),
        versions: "scheduling.k8s.io/v1alpha2=true".parse().unwrap(),
        ..ApiOptions::default()
    };
    let cluster =
        TestCluster::builder().options(options).controllers_named("serviceaccount-controller");
    let cluster = cluster.start().await.unwrap();
    let scheduler = Scheduler::builder(cluster.client())
        .profile(Profile::default().add(GangScheduling::default(), 1))
        .backoff(Duration::from_millis(50), Duration::from_millis(200))
        .build()
        .unwrap();
    let play = async {
        let nodes: Api<Node> = Api::all(cluster.client());
        let pods: Api<Pod> = Api::default_namespaced(cluster.client());
        let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
        let parameters = PostParams::default();
        nodes.create(&parameters, &node("a")).await.unwrap();
        nodes.create(&parameters, &node("b")).await.unwrap();
        let reference =
            json!({"workload": {"workloadName": "ship", "podGroupTemplateName": "hands"}});
        let group = json!({"metadata": {"name": "crew"}, "spec": {
            "schedulingPolicy": {"gang": {"minCount": 3}}, "podGroupTemplateRef": reference}});
        let any: Api<kube::api::DynamicObject> = Api::default_namespaced_with(
            cluster.client(),
            &kube::api::ApiResource::erase::<PodGroupObject>(&()),
        );
        any.create(&parameters, &serde_json::from_value(group).unwrap()).await.unwrap();
        for name in ["p1", "p2", "p3"] {
            assert_eq!(placed(&pods).await, 0, "none goes before there are enough");
            pods.create(&parameters, &pod(name)).await.unwrap();
        }
        assert_eq!(told(&groups, "False").await, "pod group is unschedulable");
        assert_eq!(placed(&pods).await, 0, "there is room for two of three");
        nodes.create(&parameters, &node("c")).await.unwrap();
        told(&groups, "True").await;
        let all = async {
            while placed(&pods).await < 3 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("all have a node");
    };
    ControlPlane::new().with(scheduler).run_until(play).await.unwrap();
    cluster.stop().await.unwrap();
}
