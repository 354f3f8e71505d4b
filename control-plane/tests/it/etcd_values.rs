//! What a cluster keeps in etcd, looked at without it: keys and values are those of the original, so that either can
//! read what the other wrote.

use crate::{
    cluster::{Cluster, Ground},
    raw::{Answer, Raw},
};
use kubeplane::store_etcd::{EtcdOptions, EtcdStore};
use kubeplane_store_trait::{Key, ReadAt, Store, WriteOptions};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

/// etcd as it is, below the cluster.
async fn below(ground: &Ground) -> EtcdStore {
    let url = ground.etcd.as_ref().unwrap().url();
    EtcdStore::connect(EtcdOptions::new([url])).await.unwrap()
}

/// The value of a key, and its revision.
async fn stored(store: &EtcdStore, key: &str) -> (String, u64) {
    let name = Key::new(key.to_owned()).unwrap();
    let entry = store.get(&name, ReadAt::Latest).await.unwrap().entry;
    let entry = entry.unwrap_or_else(|| panic!("nothing at {key}"));
    (String::from_utf8(entry.value.to_vec()).unwrap(), entry.revision.0)
}

/// Asks until the answer has this code.
async fn until(code: u16, what: &str, mut ask: impl AsyncFnMut() -> Answer) -> Answer {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = ask().await;
        if answer.code == code {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: {} {}", answer.code, answer.text);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Waits until pods can be created: their account is made by a controller.
async fn await_account(raw: &Raw) {
    let path = "/api/v1/namespaces/default/serviceaccounts/default";
    until(200, "the account", async || raw.get(path).await).await;
}

fn workload(labels: &Value) -> Value {
    json!({
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}]},
    })
}

/// Collection, object, and key of each.
fn objects() -> [(&'static str, Value, &'static str); 4] {
    let labels = json!({"app": "kept"});
    [
        (
            "/api/v1/namespaces/default/pods",
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "kept"},
                "spec": {"containers": [{"name": "c", "image": "i"}]}}),
            "/registry/pods/default/kept",
        ),
        (
            "/api/v1/nodes",
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "kept"}}),
            "/registry/minions/kept",
        ),
        (
            "/api/v1/namespaces/default/services",
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "kept"},
                "spec": {"selector": labels, "ports": [{"port": 80}]}}),
            "/registry/services/specs/default/kept",
        ),
        (
            "/apis/apps/v1/namespaces/default/deployments",
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "kept"},
                "spec": {"replicas": 0, "selector": {"matchLabels": labels},
                    "template": workload(&labels)}}),
            "/registry/deployments/default/kept",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_lie_where_the_original_puts_them_as_json_it_can_read() {
    let ground = Ground::simulated().on_etcd();
    let cluster: Cluster = ground.start();
    let raw = Raw::admin(&cluster).await;
    await_account(&raw).await;
    let store = below(&ground).await;
    for (collection, object, key) in objects() {
        let created = raw.post(collection, object.to_string()).await;
        assert_eq!(created.code, 201, "{key}: {}", created.text);
        let created = created.json();
        let (text, revision) = stored(&store, key).await;
        let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{key}: {text}"));
        assert_eq!(
            (&value["apiVersion"], &value["kind"]),
            (&object["apiVersion"], &object["kind"]),
            "{key}"
        );
        let metadata = value["metadata"].as_object().unwrap();
        assert_eq!(metadata["name"], "kept");
        assert_eq!(metadata["uid"], created["metadata"]["uid"], "{key}");
        for told_by_the_store in ["resourceVersion", "selfLink"] {
            assert!(!metadata.contains_key(told_by_the_store), "{key}: {text}");
        }
        // The revision is that of the key. Components may have gone on since the answer.
        let at: u64 = created["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(at <= revision, "{key}: {at} {revision}");
    }
}

/// As an original with `--storage-media-type=application/json` leaves them in etcd: kind and version first, a line
/// end at the end.
fn foreign() -> [(&'static str, &'static str, String); 3] {
    let metadata = |more: &str| {
        format!(
            r#"{{"name":"foreign",{more}"uid":"0d9ce9c5-7d5a-4a6d-8b1c-0b3f0a6f1a11","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"from":"elsewhere"}}}}"#
        )
    };
    let namespaced = metadata(r#""namespace":"default","#);
    [
        (
            "/registry/configmaps/default/foreign",
            "/api/v1/namespaces/default/configmaps/foreign",
            format!(
                r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{namespaced},"data":{{"a":"b"}}}}"#
            ) + "\n",
        ),
        (
            "/registry/minions/foreign",
            "/api/v1/nodes/foreign",
            format!(
                r#"{{"kind":"Node","apiVersion":"v1","metadata":{},"spec":{{"unschedulable":true}},"status":{{}}}}"#,
                metadata("")
            ) + "\n",
        ),
        (
            "/registry/services/specs/default/foreign",
            "/api/v1/namespaces/default/services/foreign",
            format!(
                r#"{{"kind":"Service","apiVersion":"v1","metadata":{namespaced},"spec":{{"type":"ExternalName","externalName":"elsewhere.example","sessionAffinity":"None"}},"status":{{"loadBalancer":{{}}}}}}"#
            ) + "\n",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn values_the_original_wrote_are_served_and_changed() {
    let ground = Ground::simulated().on_etcd();
    let cluster = ground.start();
    let raw = Raw::admin(&cluster).await;
    let store = below(&ground).await;
    for (key, path, text) in foreign() {
        let name = Key::new(key).unwrap();
        store.create(&name, text.clone().into(), WriteOptions::default()).await.unwrap();
        let mut served = until(200, path, async || raw.get(path).await).await.json();
        let written: Value = serde_json::from_str(&text).unwrap();
        for field in ["kind", "apiVersion"] {
            assert_eq!(served[field], written[field], "{path}");
        }
        for field in ["name", "uid", "creationTimestamp", "labels"] {
            assert_eq!(served["metadata"][field], written["metadata"][field], "{path}");
        }
        assert!(served["metadata"]["resourceVersion"].is_string(), "{served}");
        assert_eq!(served["data"], written["data"], "{path}");
        for (field, value) in written["spec"].as_object().into_iter().flatten() {
            assert_eq!(served["spec"][field], *value, "{path}");
        }

        // A component may be faster: then it is tried with what that left behind.
        let changed = until(200, path, async || {
            served = raw.get(path).await.json();
            served["metadata"]["annotations"]["changed"] = "here".into();
            raw.put(path, &served).await
        });
        let changed = changed.await.json();
        assert_eq!(changed["metadata"]["annotations"]["changed"], "here");
        let (text, _) = stored(&store, key).await;
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["kind"], written["kind"], "{text}");
        assert_eq!(value["metadata"]["annotations"]["changed"], "here", "{text}");
        assert_eq!(value["metadata"]["uid"], written["metadata"]["uid"]);
        assert_eq!(value["metadata"].get("resourceVersion"), None, "{text}");
    }
}
