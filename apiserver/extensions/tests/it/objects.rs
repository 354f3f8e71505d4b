//! Objects of a definition: pruned, defaulted, validated, with their subresources and their table.

use crate::harness::{Server, WIDGETS, widget, widgets};
use serde_json::{Value, json};

async fn server() -> Server {
    let server = Server::start().await;
    server.define(widgets()).await;
    server
}

#[tokio::test]
async fn objects_are_pruned_and_defaulted() {
    let server = server().await;
    let spec = json!({"mode": "a", "bogus": 1, "free": {"kept": {"deep": true}}});
    let one = server.expect(201, "POST", WIDGETS, widget("one", spec)).await;
    assert_eq!(one["spec"], json!({"mode": "a", "size": 2, "free": {"kept": {"deep": true}}}));
    assert_eq!(one["metadata"]["generation"], 1);
    let nulls = json!({"mode": null, "size": null, "free": null});
    let two = server.expect(201, "POST", WIDGETS, widget("nulls", nulls)).await;
    assert_eq!(two["spec"], json!({"size": 2}));
    let strict = format!("{WIDGETS}?fieldValidation=Strict");
    let answer = server.expect(400, "POST", &strict, widget("two", json!({"bogus": 1}))).await;
    assert!(
        answer["message"].as_str().unwrap().contains("unknown field \"spec.bogus\""),
        "{answer}"
    );
}

#[tokio::test]
async fn values_and_rules_are_held_to_the_schema() {
    let server = server().await;
    let refused = async |spec: Value| {
        let answer = server.expect(422, "POST", WIDGETS, widget("one", spec)).await;
        let message = answer["message"].as_str().unwrap();
        message.strip_prefix("Widget.example.com \"one\" is invalid: ").unwrap().to_owned()
    };
    assert_eq!(
        refused(json!({"size": 99})).await,
        "[spec.size: Invalid value: 99: spec.size in body should be less than or equal to 20, spec: Invalid value: \"object\": no such key: mode evaluating rule: big needs b]"
    );
    assert_eq!(
        refused(json!({"size": "x"})).await,
        "[spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\", .spec.size: Invalid value: 0: .spec.size accessor error: x is of the type string, expected int64, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"
    );
    assert_eq!(
        refused(json!("x")).await,
        "[spec: Invalid value: \"string\": spec in body must be of type object: \"string\", .spec.size: Invalid value: 0: .spec.size accessor error: x is of the type string, expected map[string]interface{}, <nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing errors to complete validation]"
    );
    assert_eq!(refused(json!({"size": 10, "mode": "a"})).await, "spec: Invalid value: big needs b");
    assert_eq!(
        refused(json!({"size": 1, "tags": ["a", "a"]})).await,
        "spec.tags[1]: Duplicate value: \"a\""
    );
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 10, "mode": "b"}))).await;
    let down = json!({"spec": {"size": 1}});
    let answer = server.expect(422, "PATCH", &format!("{WIDGETS}/one"), down).await;
    assert_eq!(
        answer["message"],
        "Widget.example.com \"one\" is invalid: spec.size: Forbidden: shrinks by much"
    );
}

#[tokio::test]
async fn status_is_written_on_its_own() {
    let server = server().await;
    let mut one = widget("one", json!({"size": 1}));
    one["status"] = json!({"replicas": 7});
    let one = server.expect(201, "POST", WIDGETS, one).await;
    assert_eq!(one.get("status"), None);
    let path = format!("{WIDGETS}/one");
    let both = json!({"spec": {"size": 5}, "status": {"replicas": 3}});
    let written = server.expect(200, "PATCH", &format!("{path}/status"), both.clone()).await;
    assert_eq!((&written["spec"]["size"], &written["status"]["replicas"]), (&json!(1), &json!(3)));
    assert_eq!(written["metadata"]["generation"], 1);
    let written = server
        .expect(200, "PATCH", &path, json!({"spec": {"size": 5}, "status": {"replicas": 9}}))
        .await;
    assert_eq!((&written["spec"]["size"], &written["status"]["replicas"]), (&json!(5), &json!(3)));
    assert_eq!(written["metadata"]["generation"], 2);
    let bad = json!({"status": {"replicas": "x"}});
    let answer = server.expect(422, "PATCH", &format!("{path}/status"), bad).await;
    let message = answer["message"].as_str().unwrap();
    assert!(
        message.contains(
            "status.replicas: Invalid value: \"string\": replicas in body must be of type integer"
        ),
        "{message}"
    );
}

#[tokio::test]
async fn scale_reads_and_writes_the_counts() {
    let server = server().await;
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 3}))).await;
    let path = format!("{WIDGETS}/one");
    let status = json!({"status": {"replicas": 2, "selector": "a=b"}});
    server.expect(200, "PATCH", &format!("{path}/status"), status).await;
    let scale = server.get(&format!("{path}/scale")).await;
    assert_eq!(scale["kind"], "Scale");
    assert_eq!(scale["spec"]["replicas"], 3);
    assert_eq!(scale["status"], json!({"replicas": 2, "selector": "a=b"}));
    server.expect(200, "PATCH", &format!("{path}/scale"), json!({"spec": {"replicas": 4}})).await;
    assert_eq!(server.get(&path).await["spec"]["size"], 4);
}

#[tokio::test]
async fn tables_show_the_columns_and_selectors_their_fields() {
    let server = server().await;
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 3, "mode": "a"}))).await;
    server.expect(201, "POST", WIDGETS, widget("two", json!({"size": 4, "mode": "b"}))).await;
    let chosen = server.get(&format!("{WIDGETS}?fieldSelector=spec.mode%3Db")).await;
    let names: Vec<_> = chosen["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["two"]);
    let table = server.table(WIDGETS).await;
    let columns: Vec<_> = table["columnDefinitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["name"].clone())
        .collect();
    assert_eq!(columns, ["Name", "Size"]);
    assert_eq!(table["rows"][1]["cells"], json!(["two", 4]));
}

#[tokio::test]
async fn what_is_applied_to_the_metadata_is_seen_as_far_as_it_can_be_read() {
    let server = server().await;
    let path = format!("{WIDGETS}/one?fieldManager=me");
    let apply = async |metadata: Value| {
        let mut body = widget("one", json!({"size": 1}));
        body["metadata"] = metadata;
        let (code, answer) =
            server.call("PATCH", &path, "application/apply-patch+yaml", &body).await;
        (code.as_u16(), answer)
    };
    let unreadable = json!({"name": "one", "creationTimestamp": "x", "deletionTimestamp": 1,
        "deletionGracePeriodSeconds": 1.5, "generation": 7.5});
    let (code, made) = apply(unreadable.clone()).await;
    assert_eq!(code, 201, "{made}");
    let metadata = &made["metadata"];
    assert!(metadata["creationTimestamp"].as_str().unwrap().ends_with('Z'), "{made}");
    assert_eq!(metadata["generation"], 1);
    assert!(metadata.get("deletionTimestamp").is_none(), "{made}");
    assert!(metadata.get("deletionGracePeriodSeconds").is_none(), "{made}");
    let (code, same) = apply(unreadable).await;
    assert_eq!(code, 200, "{same}");
    assert_eq!(same["metadata"]["creationTimestamp"], metadata["creationTimestamp"]);
    let (code, refused) = apply(json!({"name": "one", "ownerReferences": [{}]})).await;
    assert_eq!(code, 422, "{refused}");
    assert_eq!(
        refused["message"],
        "Widget.example.com \"one\" is invalid: [metadata.ownerReferences.apiVersion: Invalid value: \"\": version must not be empty, metadata.ownerReferences.kind: Invalid value: \"\": must not be empty, metadata.ownerReferences.name: Invalid value: \"\": must not be empty, metadata.ownerReferences.uid: Invalid value: \"\": must not be empty]"
    );
}

#[tokio::test]
async fn owners_are_shown_in_the_order_of_their_type() {
    let server = server().await;
    let mut one = widget("one", json!({"size": 1}));
    let owner =
        json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true});
    one["metadata"]["ownerReferences"] = json!([owner, owner]);
    one["metadata"]["ownerReferences"][1]["uid"] = json!("w");
    let refused = server.expect(422, "POST", WIDGETS, one).await;
    assert_eq!(
        refused["message"],
        "Widget.example.com \"one\" is invalid: metadata.ownerReferences: Invalid value: [{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"u\",\"controller\":true},{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"name\":\"p\",\"uid\":\"w\",\"controller\":true}]: Only one reference can have Controller set to true. Found \"true\" in references for Pod/p and Pod/p"
    );
}

#[tokio::test]
async fn server_side_apply_owns_its_fields() {
    let server = server().await;
    let path = format!("{WIDGETS}/one?fieldManager=me");
    let body = widget("one", json!({"size": 3, "tags": ["a"]}));
    let (code, applied) = server.call("PATCH", &path, "application/apply-patch+yaml", &body).await;
    assert_eq!(code, 201, "{applied}");
    let other = format!("{WIDGETS}/one?fieldManager=you");
    let body = widget("one", json!({"tags": ["b"]}));
    let (code, applied) = server.call("PATCH", &other, "application/apply-patch+yaml", &body).await;
    assert_eq!(code, 200, "{applied}");
    assert_eq!(applied["spec"]["tags"], json!(["a", "b"]));
    let body = widget("one", json!({"size": 4}));
    let (code, answer) = server.call("PATCH", &other, "application/apply-patch+yaml", &body).await;
    assert_eq!(code, 409, "{answer}");
}

#[tokio::test]
async fn what_a_definition_does_not_have_is_refused_as_by_the_original() {
    let server = server().await;
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 1}))).await;
    // No Status: what has no route is said by a page.
    for (method, path) in [
        ("GET", "/apis/example.com/v2"),
        ("GET", "/apis/example.com/v2/widgets"),
        ("GET", "/apis/example.com/v1/gadgets"),
        ("GET", "/apis/example.com/v1/widgets/one"),
        ("POST", "/apis/example.com/v1/widgets"),
        ("DELETE", "/apis/example.com/v1/widgets"),
    ] {
        let answer = server.expect(404, method, path, Value::Null).await;
        assert_eq!(answer, Value::Null, "{method} {path}");
    }
    let path = format!("{WIDGETS}/one/approval");
    let answer = server.expect(404, "GET", &path, Value::Null).await;
    assert_eq!(answer["message"], "widgets.example.com \"one\" not found");
    for method in ["PUT", "PATCH"] {
        let answer = server.expect(400, method, WIDGETS, json!({})).await;
        assert_eq!(answer["message"], "name must be provided");
    }
    let named = format!("{WIDGETS}/other");
    let made = server.expect(201, "POST", &named, widget("two", json!({"size": 1}))).await;
    assert_eq!(made["metadata"]["name"], "two", "the path's name is not looked at");
    server.expect(200, "HEAD", &format!("{WIDGETS}/one"), Value::Null).await;
    for method in ["POST", "PUT"] {
        let groups = server.expect(200, method, "/apis/example.com", Value::Null).await;
        assert_eq!(groups["kind"], "APIGroup");
        let resources = server.expect(200, method, "/apis/example.com/v1", Value::Null).await;
        assert_eq!(resources["kind"], "APIResourceList");
    }
}

#[tokio::test]
async fn what_has_no_type_is_listed_and_told_as_by_the_original() {
    let server = server().await;
    server.expect(201, "POST", WIDGETS, widget("one", json!({"size": 1}))).await;
    assert_eq!(server.get(WIDGETS).await["metadata"]["continue"], "");
    let first = server.get(&format!("{WIDGETS}?limit=1")).await;
    assert_eq!(first["metadata"]["continue"], "");
    let told = server.get("/apis/example.com/v1").await;
    let widgets = told["resources"].as_array().unwrap().iter().find(|one| one["name"] == "widgets");
    let verbs =
        json!(["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]);
    assert_eq!(widgets.unwrap()["verbs"], verbs);
    assert_eq!(server.accepting(WIDGETS, "application/*").await.0, 200);
    let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
    let (code, refused) = server.accepting(&format!("{WIDGETS}/one"), list).await;
    assert_eq!((code, &refused["reason"]), (500, &Value::Null));
    let why = "you requested PartialObjectMetadataList, but the requested object is not a list (*unstructured.Unstructured)";
    assert_eq!(refused["message"], why);
}
