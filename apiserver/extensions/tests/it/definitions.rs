//! Definitions: names, conditions, discovery, deletion, restarts.

use crate::harness::{CRDS, Server, WIDGETS, condition, widget, widgets};
use kubeplane_store_memory::MemoryStore;
use serde_json::{Value, json};
use std::sync::Arc;

#[tokio::test]
async fn a_definition_is_established_and_discovered() {
    let server = Server::start().await;
    let crd = server.define(widgets()).await;
    assert_eq!(condition(&crd, "NamesAccepted"), "True");
    assert_eq!(crd["status"]["acceptedNames"]["listKind"], "WidgetList");
    assert_eq!(crd["status"]["storedVersions"], json!(["v1"]));
    assert_eq!(crd["metadata"]["generation"], 1);
    let list = server.get("/apis/example.com/v1").await;
    let names: Vec<_> = list["resources"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["widgets", "widgets/scale", "widgets/status"]);
    assert_eq!(list["resources"][0]["shortNames"], json!(["wd"]));
    let objects = server.get(WIDGETS).await;
    assert_eq!(objects["kind"], "WidgetList");
}

#[tokio::test]
async fn names_in_use_are_refused_until_they_are_free() {
    let server = Server::start().await;
    server.define(widgets()).await;
    let mut other = widgets();
    other["metadata"]["name"] = json!("wobbles.example.com");
    other["spec"]["names"] = json!({"kind": "Wobble", "plural": "wobbles", "shortNames": ["wd"]});
    server.expect(201, "POST", CRDS, other).await;
    let path = format!("{CRDS}/wobbles.example.com");
    let crd = server.until(&path, |_, crd| condition(crd, "NamesAccepted") == "False").await;
    assert_eq!(crd["status"]["conditions"][0]["reason"], "ShortNamesConflict");
    assert_eq!(crd["status"]["conditions"][0]["message"], "\"wd\" is already in use");
    server.expect(200, "DELETE", &format!("{CRDS}/widgets.example.com"), Value::Null).await;
    server.until(&path, |_, crd| condition(crd, "Established") == "True").await;
}

#[tokio::test]
async fn objects_go_with_their_definition() {
    let server = Server::start().await;
    server.define(widgets()).await;
    server.expect(201, "POST", WIDGETS, widget("plain", json!({"size": 1}))).await;
    let mut held = widget("held", json!({"size": 1}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    server.expect(201, "POST", WIDGETS, held).await;
    let path = format!("{CRDS}/widgets.example.com");
    let deleted = server.expect(200, "DELETE", &path, Value::Null).await;
    assert_eq!(
        deleted["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    assert_eq!(condition(&deleted, "Terminating"), "True");
    server.until(&format!("{WIDGETS}/plain"), |code, _| code == 404).await;
    let held = server.get(&format!("{WIDGETS}/held")).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string());
    let (code, _) = server.send("POST", WIDGETS, widget("late", json!({"size": 1}))).await;
    assert_eq!(code, 405);
    let released = json!({"metadata": {"finalizers": null}});
    server.expect(200, "PATCH", &format!("{WIDGETS}/held"), released).await;
    server.until(&path, |code, _| code == 404).await;
    server.until("/apis/example.com/v1", |code, _| code == 404).await;
}

#[tokio::test]
async fn a_definition_is_served_again_after_a_restart() {
    let store = Arc::new(MemoryStore::new());
    let server = Server::on(store.clone()).await;
    server.define(widgets()).await;
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 1}))).await;
    drop(server);
    let server = Server::on(store).await;
    assert_eq!(server.get(&format!("{WIDGETS}/one")).await["spec"]["size"], 1);
}

#[tokio::test]
async fn changes_of_a_definition_are_followed() {
    let server = Server::start().await;
    server.define(widgets()).await;
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 1}))).await;
    let path = format!("{CRDS}/widgets.example.com");
    let mut crd = server.get(&path).await;
    let mut second = crd["spec"]["versions"][0].clone();
    second["name"] = json!("v2");
    second["storage"] = json!(false);
    crd["spec"]["versions"].as_array_mut().unwrap().push(second);
    let written = server.expect(200, "PUT", &path, crd).await;
    assert_eq!(written["metadata"]["generation"], 2);
    let one = server
        .until("/apis/example.com/v2/namespaces/default/widgets/one", |code, _| code == 200)
        .await;
    assert_eq!(one["apiVersion"], "example.com/v2");
    assert_eq!(one["spec"]["size"], 1);
    let mut two = widget("two", json!({"size": 2}));
    two["apiVersion"] = json!("example.com/v2");
    server.expect(201, "POST", "/apis/example.com/v2/namespaces/default/widgets", two).await;
    server
        .until(&format!("{WIDGETS}/two"), |code, two| {
            code == 200 && two["apiVersion"] == "example.com/v1"
        })
        .await;
}

#[tokio::test]
async fn a_bad_definition_is_refused_with_all_its_faults() {
    let server = Server::start().await;
    let mut crd = widgets();
    crd["spec"]["scope"] = json!("Global");
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]
        ["default"] = json!("x");
    let answer = server.expect(422, "POST", CRDS, crd).await;
    assert_eq!(
        answer["message"],
        "CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.com\" is invalid: [spec.scope: Unsupported value: \"Global\": supported values: \"Cluster\", \"Namespaced\", spec.validation.openAPIV3Schema.properties[spec].properties[size].default: Invalid value: \"string\":  in body must be of type integer: \"string\"]"
    );
}

#[tokio::test]
async fn clients_of_a_deprecated_version_are_warned() {
    let server = Server::start().await;
    let mut crd = widgets();
    let version = crd["spec"]["versions"][0].clone();
    let mut named = |name: &str, more: serde_json::Value| {
        let mut version = version.clone();
        version["name"] = name.into();
        version["storage"] = json!(name == "v1");
        for (key, value) in more.as_object().unwrap() {
            version[key] = value.clone();
        }
        crd["spec"]["versions"].as_array_mut().unwrap().push(version);
    };
    named("v1alpha1", json!({"deprecated": true}));
    named(
        "v1beta1",
        json!({"deprecated": true, "deprecationWarning": "v1beta1 goes in \"spring\""}),
    );
    named("v1beta2", json!({}));
    named("v2", json!({"deprecated": true}));
    named("v3", json!({"served": false}));
    let defined = server.warnings("POST", CRDS, crd).await;
    assert_eq!(defined, Vec::<String>::new());
    let path = format!("{CRDS}/widgets.example.com");
    server.until(&path, |_, crd| condition(crd, "Established") == "True").await;
    let at = |version: &str| WIDGETS.replace("/v1/", &format!("/{version}/"));
    server.until(&at("v2"), |code, _| code == 200).await;
    for (version, warning) in [
        ("v1", None),
        (
            "v1alpha1",
            Some(r#"299 - "example.com/v1alpha1 Widget is deprecated; use example.com/v1 Widget""#),
        ),
        ("v1beta1", Some(r#"299 - "v1beta1 goes in \"spring\"""#)),
        ("v1beta2", None),
        ("v2", Some(r#"299 - "example.com/v2 Widget is deprecated""#)),
    ] {
        let expected: Vec<&str> = warning.into_iter().collect();
        let path = at(version);
        assert_eq!(server.warnings("GET", &path, Value::Null).await, expected, "{version}");
        let mut body = widget(&format!("of-{version}"), json!({"size": 1}));
        body["apiVersion"] = format!("example.com/{version}").into();
        assert_eq!(server.warnings("POST", &path, body).await, expected, "{version}");
        let status = format!("{path}/of-{version}/status");
        assert_eq!(server.warnings("GET", &status, Value::Null).await, expected, "{version}");
    }
}
