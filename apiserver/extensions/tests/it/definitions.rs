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

#[tokio::test]
async fn stored_objects_follow_the_schema_when_they_are_read() {
    let server = Server::start().await;
    server.define(widgets()).await;
    let spec = json!({"size": 1, "mode": "a", "tags": ["x"]});
    server.expect(201, "POST", WIDGETS, widget("one", spec.clone())).await;
    let path = format!("{CRDS}/widgets.example.com");
    let mut crd = server.get(&path).await;
    let version = &mut crd["spec"]["versions"][0];
    let fields = &mut version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    fields.as_object_mut().unwrap().remove("tags");
    fields["color"] = json!({"type": "string", "default": "red"});
    server.expect(200, "PUT", &path, crd).await;
    let own = format!("{WIDGETS}/one");
    let one = server.until(&own, |_, one| one["spec"]["color"] == "red").await;
    let today = json!({"size": 1, "mode": "a", "color": "red"});
    assert_eq!(one["spec"], today);
    let selected = format!("{WIDGETS}?fieldSelector=spec.mode%3Da");
    for list in
        [WIDGETS, &format!("{WIDGETS}?resourceVersion=0"), &format!("{WIDGETS}?limit=5"), &selected]
    {
        assert_eq!(server.get(list).await["items"][0]["spec"], today, "{list}");
    }
    let watched = server.watched(&format!("{WIDGETS}?watch=true"), 1).await;
    assert_eq!(watched[0]["object"]["spec"], today);
    // Reading writes nothing; the next write does.
    let key = "/registry/example.com/widgets/default/one";
    assert_eq!(server.stored(key).await["spec"], spec);
    server.expect(200, "PATCH", &own, json!({"metadata": {"labels": {"a": "b"}}})).await;
    assert_eq!(server.stored(key).await["spec"], today);
}

#[tokio::test]
async fn versions_without_a_webhook_show_only_what_they_know() {
    let server = Server::start().await;
    let version = |name: &str, stored: bool, fields: Value| {
        json!({"name": name, "served": true, "storage": stored,
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": {"type": "object", "properties": fields}}}}})
    };
    let text = json!({"type": "string"});
    let filled = |with: &str| json!({"type": "string", "default": with});
    let mut crd = widgets();
    crd["spec"]["versions"] = json!([
        version("v1", true, json!({"both": text, "old": text, "of": filled("v1")})),
        version("v2", false, json!({"both": text, "new": filled("v2"), "of": filled("v2")})),
    ]);
    server.define(crd).await;
    let second = WIDGETS.replace("/v1/", "/v2/");
    server.until(&second, |code, _| code == 200).await;
    let sent = widget("first", json!({"both": "x", "old": "y"}));
    server.expect(201, "POST", WIDGETS, sent).await;
    // Defaults are those of the version that is stored.
    let read = server.get(&format!("{second}/first")).await;
    assert_eq!(read["spec"], json!({"both": "x", "of": "v1"}));
    let list = server.get(&second).await;
    assert_eq!(list["items"][0]["spec"], read["spec"]);
    let mut sent = widget("second", json!({"both": "x"}));
    sent["apiVersion"] = json!("example.com/v2");
    let made = server.expect(201, "POST", &second, sent).await;
    assert_eq!(made["spec"], json!({"both": "x", "of": "v2"}));
    let stored = server.stored("/registry/example.com/widgets/default/second").await;
    assert_eq!(stored["spec"], json!({"both": "x", "of": "v2"}));
    assert_eq!(stored["apiVersion"], "example.com/v1");
}

#[tokio::test]
async fn groups_of_kubernetes_say_whether_they_were_approved() {
    const CONDITION: &str = "KubernetesAPIApprovalPolicyConformant";
    let server = Server::start().await;
    let crd = server.define(widgets()).await;
    assert_eq!(condition(&crd, CONDITION), "");
    let mut crd = widgets();
    crd["metadata"]["name"] = json!("widgets.things.k8s.io");
    crd["spec"]["group"] = json!("things.k8s.io");
    crd["metadata"]["annotations"] = json!({"api-approved.kubernetes.io": "https://x.com/1"});
    let crd = server.define(crd).await;
    assert_eq!(condition(&crd, CONDITION), "True");
    let path = format!("{CRDS}/widgets.things.k8s.io");
    let annotations = json!({"api-approved.kubernetes.io": "unapproved, an experiment"});
    let patch = json!({"metadata": {"annotations": annotations}});
    server.expect(200, "PATCH", &path, patch).await;
    let crd = server.until(&path, |_, crd| condition(crd, CONDITION) == "False").await;
    let all = crd["status"]["conditions"].as_array().unwrap();
    let own = all.iter().find(|one| one["type"] == CONDITION).unwrap();
    assert_eq!(own["reason"], "UnapprovedAnnotation");
    assert_eq!(own["message"], "not approved: \"unapproved, an experiment\"");
    assert_eq!(condition(&crd, "Established"), "True");
}
