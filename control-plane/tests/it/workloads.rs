//! Controllers and the scheduler together.

use kube::{
    Api,
    api::{DynamicObject, ListParams, PostParams},
};
use kubeplane::testing::{TestCluster, run};
use serde_json::{Value, json};
use std::time::Duration;

fn api(cluster: &TestCluster, version: &str, kind: &str) -> Api<DynamicObject> {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    let kind = kube::core::GroupVersionKind::gvk(group, version, kind);
    let resource = kube::api::ApiResource::from_gvk(&kind);
    match kind.kind.as_str() {
        "Node" => Api::all_with(cluster.client(), &resource),
        _ => Api::default_namespaced_with(cluster.client(), &resource),
    }
}

async fn make(cluster: &TestCluster, object: Value) {
    let kind = object["kind"].as_str().unwrap().to_owned();
    let api = api(cluster, object["apiVersion"].as_str().unwrap(), &kind);
    let object = serde_json::from_value(object).unwrap();
    api.create(&PostParams::default(), &object).await.unwrap();
}

#[test]
fn daemons_wait_for_room_on_their_node() {
    let small = "kind: Nodes\nmetadata: {name: small}\nspec: {count: 1, capacity: {cpu: 200m, memory: 100M, pods: '10'}}\n";
    let large = "---\nkind: Nodes\nmetadata: {name: large}\nspec: {count: 1, capacity: {cpu: '2', memory: 200M, pods: '10'}}\n";
    let simulation = format!("{small}{large}").parse().unwrap();
    let builder = TestCluster::builder().controllers().scheduler().paused().simulation(simulation);
    run(builder, async |cluster| {
        let wants = json!({"requests": {"memory": "120M", "cpu": "75m"}});
        let containers = json!([{"name": "c", "image": "i", "resources": wants}]);
        let template =
            json!({"metadata": {"labels": {"app": "agent"}}, "spec": {"containers": containers}});
        let spec = json!({"selector": {"matchLabels": {"app": "agent"}}, "template": template});
        make(
            &cluster,
            json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"}, "spec": spec}),
        )
        .await;
        cluster.advance(Duration::from_secs(30)).await;
        let pods = api(&cluster, "v1", "Pod").list(&ListParams::default()).await.unwrap().items;
        assert_eq!(pods.len(), 2, "one for each node, whether or not there is room");
        let mut states: Vec<_> = pods
            .iter()
            .map(|pod| {
                let conditions = pod.data["status"]["conditions"].as_array().unwrap();
                let scheduled =
                    conditions.iter().find(|own| own["type"] == "PodScheduled").unwrap();
                let node = pod.data["spec"]["nodeName"].as_str().unwrap_or_default().to_owned();
                (node, scheduled["reason"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        states.sort();
        assert_eq!(states[0], (String::new(), "Unschedulable".to_owned()));
        assert_eq!(states[1].0, "large-1");
        let set = api(&cluster, "apps/v1", "DaemonSet").get("agent").await.unwrap();
        let status = &set.data["status"];
        assert_eq!(
            (&status["desiredNumberScheduled"], &status["numberReady"]),
            (&json!(2), &json!(1))
        );
    });
}
