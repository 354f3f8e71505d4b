//! Pods leave to make room for a PodGroup as a whole, those of some groups together.

use crate::gangs::{PATIENCE, node, until_placed, until_saying, until_told};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use kubeplane::{api::ApiOptions, scheduler::PodGroupObject, testing::TestCluster};
use serde_json::{Value, json};
use std::time::Duration;

fn pod(name: &str, group: Option<&str>, class: &str, cpu: &str) -> Pod {
    let pod = json!({"metadata": {"name": name}, "spec": {
        "schedulingGroup": group.map(|name| json!({"podGroupName": name})),
        "priorityClassName": class, "terminationGracePeriodSeconds": 0,
        "tolerations": [{"operator": "Exists"}],
        "containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]}});
    serde_json::from_value(pod).unwrap()
}

async fn make(client: Client, kind: &str, object: Value) -> kube::Result<DynamicObject> {
    let (version, namespaced) = match kind {
        "PodGroup" => ("v1alpha2", true),
        _ => ("v1", false),
    };
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("scheduling.k8s.io", version, kind));
    let api: Api<DynamicObject> = match namespaced {
        true => Api::default_namespaced_with(client, &kind),
        false => Api::all_with(client, &kind),
    };
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await
}

fn group(name: &str, least: u32, more: &Value) -> Value {
    let mut spec = json!({"schedulingPolicy": {"gang": {"minCount": least}}});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"metadata": {"name": name}, "spec": spec})
}

/// The pods of which something was told in these words.
async fn told_of(events: &Api<Event>, message: &str) -> Vec<String> {
    let all = events.list(&ListParams::default()).await.unwrap();
    let own = all.items.into_iter().filter(|own| own.message.as_deref() == Some(message));
    let mut names: Vec<_> = own.filter_map(|own| own.involved_object.name).collect();
    names.sort();
    names
}

/// A cluster with the gates, two nodes for one large pod each, and two classes of priority.
async fn start() -> TestCluster {
    let gates = "GenericWorkload=true,GangScheduling=true,WorkloadAwarePreemption=true";
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    let cluster = TestCluster::builder()
        .options(options)
        .controllers_named("serviceaccount-controller")
        .scheduler()
        .start()
        .await
        .unwrap();
    for (name, value) in [("low", 10), ("high", 100)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        make(cluster.client(), "PriorityClass", class).await.unwrap();
    }
    let nodes: Api<Node> = Api::all(cluster.client());
    for name in ["a", "b"] {
        nodes.create(&PostParams::default(), &node(name)).await.unwrap();
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_leaves_as_a_whole_for_one_that_is_worth_more() {
    let cluster = start().await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let parameters = PostParams::default();
    let crew = group("crew", 2, &json!({"disruptionMode": "PodGroup", "priorityClassName": "low"}));
    make(cluster.client(), "PodGroup", crew).await.unwrap();
    for name in ["crew-1", "crew-2"] {
        pods.create(&parameters, &pod(name, Some("crew"), "low", "600m")).await.unwrap();
    }
    pods.create(&parameters, &pod("lone", None, "low", "300m")).await.unwrap();
    until_placed(&pods, "", 3).await;

    // There would be room if one left, but those of the crew leave together.
    let guard = group("guard", 1, &json!({"priorityClassName": "high"}));
    let guard = make(cluster.client(), "PodGroup", guard).await.unwrap();
    pods.create(&parameters, &pod("guard-1", Some("guard"), "high", "600m")).await.unwrap();
    until_placed(&pods, "guard", 1).await;
    for name in ["crew-1", "crew-2"] {
        assert!(pods.get_opt(name).await.unwrap().is_none(), "{name} has left");
    }
    assert!(pods.get("lone").await.unwrap().spec.unwrap().node_name.is_some());
    let uid = guard.metadata.uid.unwrap();
    let message = format!("Preempted by podgroup {uid} on node cluster");
    let told = async {
        while told_of(&events, &message).await != ["crew-1", "crew-2"] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, told).await.is_ok(), "no event tells of it");
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_leaves_for_a_group_where_that_does_not_help_or_who_leaves_is_worth_as_much() {
    let cluster = start().await;
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
    let parameters = PostParams::default();
    pods.create(&parameters, &pod("guard", None, "high", "600m")).await.unwrap();
    pods.create(&parameters, &pod("lone", None, "low", "300m")).await.unwrap();
    until_placed(&pods, "", 2).await;
    let huge = group("huge", 3, &json!({"priorityClassName": "high"}));
    make(cluster.client(), "PodGroup", huge).await.unwrap();
    make(cluster.client(), "PodGroup", group("meek", 3, &json!({}))).await.unwrap();
    for number in 1..=3 {
        for name in ["huge", "meek"] {
            let own = pod(&format!("{name}-{number}"), Some(name), "high", "600m");
            pods.create(&parameters, &own).await.unwrap();
        }
    }
    let refused = "pod group is unschedulable";
    until_told(&groups, "huge", &format!("{refused}, {refused}")).await;
    let nobody = "No preemption victims found for incoming preemptor";
    until_told(&groups, "meek", &format!("{refused}, {nobody}")).await;
    let alone = "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, \
                 preemption: not eligible due to workload aware preemption enabled";
    until_saying(&pods, 4, alone).await;
    assert!(pods.get("lone").await.unwrap().spec.unwrap().node_name.is_some());
    cluster.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_worth_what_its_class_says() {
    let cluster = start().await;
    let own = group("own", 1, &json!({"priority": 5}));
    let refused = make(cluster.client(), "PodGroup", own).await.unwrap_err().to_string();
    let why = "priority set in the pod group (5) must match the priority computed (0) based on the \
               priority class set in the spec";
    assert!(refused.contains(why), "{refused}");
    let unknown = group("own", 1, &json!({"priorityClassName": "none"}));
    let refused = make(cluster.client(), "PodGroup", unknown).await.unwrap_err().to_string();
    assert!(refused.contains("no PriorityClass with name none was found"), "{refused}");
    for (name, more, priority) in
        [("plain", json!({}), 0), ("classy", json!({"priorityClassName": "low"}), 10)]
    {
        let made = make(cluster.client(), "PodGroup", group(name, 1, &more)).await.unwrap();
        assert_eq!(made.data["spec"]["priority"], priority);
    }
    cluster.stop().await.unwrap();
}
