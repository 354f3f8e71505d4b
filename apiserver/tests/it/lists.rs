use crate::harness::{Server, names, version};
use kubeplane_store_trait::{Revision, Store};
use serde_json::json;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn filled(count: usize) -> Server {
    let server = Server::ready().await;
    for index in 0..count {
        let parity = if index % 2 == 0 { "even" } else { "odd" };
        server.config_map(&format!("m{index:02}"), json!({"parity": parity})).await;
    }
    server
}

#[tokio::test]
async fn selectors_pick_by_labels_and_fields() {
    let server = filled(4).await;
    let picked = |query: &'static str| {
        let server = &server;
        async move {
            let list = server.get(&format!("{MAPS}?{query}")).await.expect(200);
            names(&list).into_iter().map(str::to_owned).collect::<Vec<_>>()
        }
    };
    assert_eq!(picked("labelSelector=parity%3Deven").await, ["m00", "m02"]);
    assert_eq!(picked("labelSelector=parity%20notin%20(even)").await, ["m01", "m03"]);
    assert_eq!(picked("fieldSelector=metadata.name%3Dm03").await, ["m03"]);
    assert_eq!(
        picked("fieldSelector=metadata.name%21%3Dm03&labelSelector=parity").await,
        ["m00", "m01", "m02"]
    );
    let other =
        server.get("/api/v1/configmaps?fieldSelector=metadata.namespace%3Dother").await.expect(200);
    assert!(names(&other).is_empty());
    let all = server.get("/api/v1/configmaps").await.expect(200);
    assert_eq!(names(&all).len(), 4);
}

#[tokio::test]
async fn pages_show_one_state_under_writes() {
    let server = filled(5).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await.expect(200);
    assert_eq!(names(&first), ["m00", "m01"]);
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    server.config_map("m02a", json!({})).await;
    server.delete(&format!("{MAPS}/m03"), &json!(null)).await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let second = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&second), ["m02", "m03"]);
    assert_eq!(version(&second), version(&first));
    let token = second["metadata"]["continue"].as_str().unwrap();
    let last = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(200);
    assert_eq!(names(&last), ["m04"]);
    assert!(last["metadata"].get("continue").is_none());
    let picked =
        server.get(&format!("{MAPS}?limit=1&labelSelector=parity%3Deven")).await.expect(200);
    assert!(picked["metadata"].get("remainingItemCount").is_none());
    assert!(picked["metadata"]["continue"].is_string());
}

#[tokio::test]
async fn a_compacted_page_can_be_continued_inconsistently() {
    let server = filled(4).await;
    let first = server.get(&format!("{MAPS}?limit=2")).await.expect(200);
    server.config_map("m02a", json!({})).await;
    let newest = server.store.status().await.unwrap().revision;
    server.store.compact(newest).await.unwrap();
    let token = first["metadata"]["continue"].as_str().unwrap();
    let expired = server.get(&format!("{MAPS}?limit=2&continue={token}")).await.expect(410);
    assert_eq!(expired["reason"], "Expired");
    assert!(
        expired["message"]
            .as_str()
            .unwrap()
            .starts_with("The provided continue parameter is too old")
    );
    let token = expired["metadata"]["continue"].as_str().unwrap();
    let rest = server.get(&format!("{MAPS}?limit=9&continue={token}")).await.expect(200);
    assert_eq!(names(&rest), ["m02", "m02a", "m03"]);
}

#[tokio::test]
async fn versions_say_how_fresh_a_list_must_be() {
    let server = filled(2).await;
    let old = server.get(MAPS).await.expect(200);
    server.config_map("m02", json!({})).await;
    let at = version(&old);
    let exact = server
        .get(&format!("{MAPS}?resourceVersion={at}&resourceVersionMatch=Exact"))
        .await
        .expect(200);
    assert_eq!(names(&exact), ["m00", "m01"]);
    let newer = server.get(&format!("{MAPS}?resourceVersion={at}")).await.expect(200);
    assert!(names(&newer).len() >= 2);
    server.get(&format!("{MAPS}?resourceVersion=0")).await.expect(200);
    let Revision(now) = server.store.status().await.unwrap().revision;
    let future = server.get(&format!("{MAPS}?resourceVersion={}", now + 100)).await.expect(504);
    assert_eq!(future["details"]["causes"][0]["reason"], "ResourceVersionTooLarge");
}

#[tokio::test]
async fn tables_and_metadata_are_made_on_request() {
    let server = filled(2).await;
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    let answer = server.call("GET", MAPS, &[("accept", table)], b"").await.expect(200);
    assert_eq!(answer["kind"], "Table");
    assert_eq!(answer["columnDefinitions"][0]["name"], "Name");
    assert_eq!(answer["rows"][1]["cells"][0], "m01");
    assert_eq!(answer["rows"][1]["object"]["kind"], "PartialObjectMetadata");
    let one =
        server.call("GET", &format!("{MAPS}/m00"), &[("accept", table)], b"").await.expect(200);
    assert_eq!(one["rows"][0]["cells"][1], 1);
    let partial = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let answer = server.call("GET", MAPS, &[("accept", partial)], b"").await.expect(200);
    assert_eq!(answer["kind"], "PartialObjectMetadataList");
    assert_eq!(answer["items"][0]["metadata"]["name"], "m00");
    assert!(answer["items"][0].get("data").is_none());
    let pretty = server.get(&format!("{MAPS}?pretty=true")).await.expect(200);
    assert_eq!(pretty["items"][0].get("kind"), None, "the list says it: {pretty}");
    let yaml =
        server.call("GET", &format!("{MAPS}/m00"), &[("accept", "application/yaml")], b"").await;
    assert!(yaml.text.contains("kind: ConfigMap"), "{}", yaml.text);
}

/// A pod with a status.
async fn pod(server: &Server, name: &str, status: serde_json::Value) {
    let pods = "/api/v1/namespaces/default/pods";
    let spec = json!({"containers": [{"name": "c", "image": "i:1"}]});
    server.post(pods, &json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    let path = format!("{pods}/{name}/status");
    server.patch(&path, "merge-patch+json", &json!({"status": status})).await.expect(200);
}

#[tokio::test]
async fn rows_of_pods_that_ended_say_so() {
    let server = Server::ready().await;
    for (name, phase) in [("a", "Running"), ("b", "Succeeded"), ("c", "Failed")] {
        pod(&server, name, json!({"phase": phase})).await;
    }
    let table = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let answer = server.call("GET", "/api/v1/pods", &table, b"").await.expect(200);
    let ended = |reason: &str, message: &str| {
        let kind = "Completed";
        json!([{"type": kind, "status": "True", "reason": reason, "message": message}])
    };
    let rows = &answer["rows"];
    assert_eq!(rows[0].get("conditions"), None);
    let succeeded = ended("Succeeded", "The pod has completed successfully.");
    assert_eq!(rows[1]["conditions"], succeeded);
    assert_eq!(rows[2]["conditions"], ended("Failed", "The pod failed."));
}

#[tokio::test]
async fn pods_are_found_by_their_address_and_never_by_all_of_them() {
    let server = Server::ready().await;
    pod(&server, "a", json!({"podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}]})).await;
    for (field, found) in [
        ("status.podIP%3D10.1.2.3", true),
        ("status.podIP%3D10.1.2.4", false),
        ("status.podIPs%3D10.1.2.3", false),
        ("status.podIPs%21%3D10.1.2.3", true),
    ] {
        let list = server.get(&format!("/api/v1/pods?fieldSelector={field}")).await.expect(200);
        assert_eq!(names(&list).len(), usize::from(found), "{field}");
    }
}

#[tokio::test]
async fn a_collection_is_deleted_by_selector() {
    let server = filled(4).await;
    let gone = server
        .delete(&format!("{MAPS}?labelSelector=parity%3Dodd"), &json!(null))
        .await
        .expect(200);
    assert_eq!(names(&gone), ["m01", "m03"]);
    assert_eq!(names(&server.get(MAPS).await.expect(200)), ["m00", "m02"]);
}
