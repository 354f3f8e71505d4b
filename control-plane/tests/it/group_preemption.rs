//! Pods leave to make room for a PodGroup as a whole, those of some groups together.

use crate::gangs::{node, until_placed, until_saying, until_told};
use k8s_openapi::api::core::v1::{Event, Node, Pod};
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use kubeplane::{api::ApiOptions, scheduler::PodGroupObject, testing::TestCluster};
use serde_json::{Value, json};

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

/// Every pod of the names whose deletion was told of in these words.
async fn told_of(events: &Api<Event>, message: &str) -> Vec<String> {
    let all = events.list(&ListParams::default()).await.unwrap();
    let own = all.items.into_iter().filter(|own| own.message.as_deref() == Some(message));
    let mut names: Vec<_> = own.filter_map(|own| own.involved_object.name).collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_leaves_as_a_whole_for_one_that_is_worth_more() {
    let gates = "GenericWorkload=true,GangScheduling=true,WorkloadAwarePreemption=true";
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    let cluster = TestCluster::builder()
        .options(options)
        .controllers_named("serviceaccount-controller")
        .scheduler()
        .start()
        .await
        .unwrap();
    let nodes: Api<Node> = Api::all(cluster.client());
    let pods: Api<Pod> = Api::default_namespaced(cluster.client());
    let groups: Api<PodGroupObject> = Api::default_namespaced(cluster.client());
    let events: Api<Event> = Api::default_namespaced(cluster.client());
    let parameters = PostParams::default();
    for (name, value) in [("low", 10), ("high", 100)] {
        let class = json!({"metadata": {"name": name}, "value": value});
        make(cluster.client(), "PriorityClass", class).await.unwrap();
    }
    for name in ["a", "b"] {
        nodes.create(&parameters, &node(name)).await.unwrap();
    }
    let crew = group("crew", 2, &json!({"disruptionMode": "PodGroup", "priorityClassName": "low"}));
    let crew = make(cluster.client(), "PodGroup", crew).await.unwrap();
    assert_eq!(crew.data["spec"]["priority"], 10, "what its class says");
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
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(crate::gangs::PATIENCE, told).await.is_ok(), "no event tells");

    // Nobody leaves where that does not help, or is worth as much.
    make(cluster.client(), "PodGroup", group("huge", 3, &json!({"priorityClassName": "high"})))
        .await
        .unwrap();
    make(cluster.client(), "PodGroup", group("meek", 3, &json!({}))).await.unwrap();
    for number in 1..=3 {
        let huge = pod(&format!("huge-{number}"), Some("huge"), "high", "600m");
        pods.create(&parameters, &huge).await.unwrap();
        let meek = pod(&format!("meek-{number}"), Some("meek"), "high", "600m");
        pods.create(&parameters, &meek).await.unwrap();
    }
    let refused = "pod group is unschedulable, ";
    until_told(&groups, "huge", &format!("{refused}pod group is unschedulable")).await;
    let nobody = "No preemption victims found for incoming preemptor";
    until_told(&groups, "meek", &format!("{refused}{nobody}")).await;
    let alone = "0/2 nodes are available: 2 Insufficient cpu. no new claims to deallocate, \
                 preemption: not eligible due to workload aware preemption enabled";
    until_saying(&pods, 4, alone).await;
    assert!(pods.get("lone").await.unwrap().spec.unwrap().node_name.is_some());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_group_is_worth_what_its_class_says() {
    let options = ApiOptions {
        features: "GenericWorkload=true,GangScheduling=true,WorkloadAwarePreemption=true"
            .parse()
            .unwrap(),
        ..ApiOptions::default()
    };
    let cluster = TestCluster::builder().options(options).start().await.unwrap();
    let own = group("own", 1, &json!({"priority": 5}));
    let refused = make(cluster.client(), "PodGroup", own).await.unwrap_err().to_string();
    let why = "priority set in the pod group (5) must match the priority computed (0) based on the \
               priority class set in the spec";
    assert!(refused.contains(why), "{refused}");
    let unknown = group("own", 1, &json!({"priorityClassName": "none"}));
    let refused = make(cluster.client(), "PodGroup", unknown).await.unwrap_err().to_string();
    assert!(refused.contains("no PriorityClass with name none was found"), "{refused}");
    let plain = make(cluster.client(), "PodGroup", group("own", 1, &json!({}))).await.unwrap();
    assert_eq!(plain.data["spec"]["priority"], 0);
    cluster.stop().await.unwrap();
}
