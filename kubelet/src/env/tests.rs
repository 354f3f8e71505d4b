use super::*;
use crate::testing::FakeObjects;
use serde_json::{Value, json};

fn pod(container: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": "n", "name": "p", "uid": "u", "labels": {"app": "web"},
            "annotations": {"b": "two\nlines", "a": "say \"hi\""}},
        "spec": {"nodeName": "node-1", "serviceAccountName": "robot", "containers": [container]}
    }))
    .unwrap()
}

async fn environment_of(container: Value) -> Result<HashMap<String, String>> {
    let pod = pod(container);
    let objects = FakeObjects::default()
        .with_config_map("n", "settings", json!({"color": "blue", "size": "9"}))
        .with_secret("n", "keys", json!({"password": "c2VjcmV0"}));
    let input = Input {
        pod: &pod,
        container: &pod.spec.as_ref().unwrap().containers[0],
        pod_ips: &["10.244.0.4".to_owned()],
        host_ips: &["192.0.2.7".parse().unwrap()],
        services: BTreeMap::from([("DB_SERVICE_HOST".to_owned(), "10.96.0.5".to_owned())]),
        allocatable: &BTreeMap::from([("memory".to_owned(), ApiQuantity("2Gi".to_owned()))]),
    };
    Ok(environment(&input, &objects).await?.into_iter().collect())
}

use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

#[tokio::test]
async fn variables_come_from_everywhere_and_see_those_before_them() {
    let env = environment_of(json!({
        "name": "c", "image": "i",
        "resources": {"requests": {"cpu": "250m"}, "limits": {"cpu": "1500m"}},
        "envFrom": [{"prefix": "S_", "configMapRef": {"name": "settings"}},
            {"secretRef": {"name": "absent", "optional": true}}],
        "env": [
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A)-$(S_color)-$(DB_SERVICE_HOST)-$(C)"},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "password"}}},
            {"name": "D", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": true}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "MILLI", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}},
            {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "S_size", "value": "10"}
        ]
    }))
    .await
    .unwrap();
    assert_eq!(env["B"], "1-blue-10.96.0.5-$(C)");
    assert_eq!(env["C"], "secret");
    assert!(!env.contains_key("D"));
    assert_eq!((env["IP"].as_str(), env["HOST"].as_str()), ("10.244.0.4", "192.0.2.7"));
    assert_eq!(env["LABEL"], "web");
    assert_eq!(
        (env["CPU"].as_str(), env["MILLI"].as_str(), env["MEM"].as_str()),
        ("2", "250", "2048")
    );
    assert_eq!(env["S_size"], "10");
    assert_eq!(env["DB_SERVICE_HOST"], "10.96.0.5");
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let missing = |from: Value| {
        environment_of(json!({"name": "c", "env": [{"name": "X", "valueFrom": from}]}))
    };
    let error =
        missing(json!({"configMapKeyRef": {"name": "settings", "key": "no"}})).await.unwrap_err();
    assert_eq!(error.to_string(), "couldn't find key no in ConfigMap n/settings");
    let error =
        missing(json!({"secretKeyRef": {"name": "absent", "key": "no"}})).await.unwrap_err();
    assert_eq!(error.to_string(), "secret \"absent\" not found");
}

#[test]
fn maps_are_shown_as_sorted_quoted_lines() {
    let pod = pod(json!({"name": "c"}));
    let text = fields::field(&pod, "metadata.annotations", &[], &[]).unwrap();
    assert_eq!(text, "a=\"say \\\"hi\\\"\"\nb=\"two\\nlines\"");
    assert!(fields::field(&pod, "spec.containers", &[], &[]).is_err());
}
