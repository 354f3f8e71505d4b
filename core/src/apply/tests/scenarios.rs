use super::*;

#[test]
fn a_created_deployment_is_owned_as_the_original_writes_it() {
    let mut server = Server::deployments();
    server.update(
        "kubectl-create",
        json!({
            "metadata": {"namespace": "default", "labels": {"app": "web"}},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": {"app": "web"}},
                "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}},
                "template": {
                    "metadata": {"labels": {"app": "web"}},
                    "spec": {"containers": [{
                        "name": "web", "image": "nginx", "resources": {},
                        "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    }]}
                }
            },
            "status": {}
        }),
    );
    let expected = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
        "f:spec": {
            "f:replicas": {},
            "f:selector": {},
            "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}}, "f:type": {}},
            "f:template": {
                "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
                    ".": {}, "f:image": {}, "f:name": {}, "f:resources": {},
                    "f:ports": {".": {}, "k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {
                        ".": {}, "f:containerPort": {}, "f:protocol": {}}}}}}
            }
        }
    });
    assert_eq!(server.owners(), [("kubectl-create".into(), "Update".into(), expected)]);
    let entry =
        server.live.as_ref().unwrap().at(&["metadata", "managedFields"]).unwrap()[0].clone();
    assert_eq!(entry["apiVersion"], "apps/v1");
    assert_eq!(entry["fieldsType"], "FieldsV1");
    assert_eq!(entry["time"], "1970-01-12T13:46:41Z");
    assert_eq!(entry.get("subresource"), None);
}

#[test]
fn updates_take_what_they_change_and_keep_their_time_otherwise() {
    let mut server = Server::custom();
    server.update("one", json!({"spec": {"replicas": 1, "text": "a"}}));
    server.update("two", json!({"spec": {"replicas": 2, "text": "a"}}));
    assert_eq!(server.fields("one"), json!({"f:spec": {".": {}, "f:text": {}}}));
    assert_eq!(server.fields("two"), json!({"f:spec": {"f:replicas": {}}}));
    let before = server.live.clone();
    server.update("two", json!({"spec": {"replicas": 2, "text": "a"}}));
    assert_eq!(server.live, before);
    server.update("one", json!({"spec": {"text": "a"}}));
    assert_eq!(server.fields("two"), Value::Null);
    assert_eq!(server.time("one"), "1970-01-12T13:46:41Z");
}

#[test]
fn conflicts_name_managers_and_fields() {
    let mut server = Server::deployments();
    server.update("kubectl-client-side-apply", json!({"spec": {"replicas": 1}}));
    let error = server.apply("kubectl", json!({"spec": {"replicas": 2}})).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using apps/v1: .spec.replicas"
    );
    assert_eq!((error.code().as_u16(), error.reason()), (409, "Conflict"));
    let cause = &error.details().unwrap().causes[0];
    assert_eq!(
        (cause.reason.as_str(), cause.field.as_str(), cause.message.as_str()),
        (
            "FieldManagerConflict",
            ".spec.replicas",
            "conflict with \"kubectl-client-side-apply\" using apps/v1"
        )
    );

    server.apply("other", json!({"metadata": {"labels": {"a": "b"}}})).unwrap();
    let both = json!({"spec": {"replicas": 3}, "metadata": {"labels": {"a": "c"}}});
    let error = server.apply("kubectl", both.clone()).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 2 conflicts: conflicts with \"kubectl-client-side-apply\" using apps/v1:\n- .spec.replicas\nconflicts with \"other\":\n- .metadata.labels.a"
    );
    server.force("kubectl", both);
    assert_eq!(
        server.owners(),
        [(
            "kubectl".into(),
            "Apply".into(),
            json!({"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": {"f:replicas": {}}})
        )]
    );
}

#[test]
fn appliers_share_and_release_list_items() {
    let mut server = Server::custom();
    let names = |names: &[&str]| {
        let items: Vec<_> = names.iter().map(|name| json!({"name": name})).collect();
        json!({"spec": {"items": items}})
    };
    server.apply("one", names(&["a", "b", "c"])).unwrap();
    server.apply("two", names(&["c", "d"])).unwrap();
    server.apply("one", names(&["a"])).unwrap();
    assert_eq!(server.spec(), names(&["a", "c", "d"])["spec"]);
    assert_eq!(
        server.fields("one"),
        json!({"f:spec": {"f:items": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}}}}})
    );

    server.apply("two", json!({"spec": {"items": [{"name": "a", "value": 1}]}})).unwrap();
    let error = server.apply("one", json!({"spec": {"items": [{"name": "a", "value": 2}]}}));
    assert_eq!(
        error.unwrap_err().message(),
        "Apply failed with 1 conflict: conflict with \"two\": .spec.items[name=\"a\"].value"
    );
}

#[test]
fn what_is_left_out_goes_unless_someone_else_owns_it() {
    let mut server = Server::custom();
    server
        .apply("one", json!({"spec": {"replicas": 1, "text": "a", "nested": {"a": "1", "b": "2"}}}))
        .unwrap();
    server.apply("two", json!({"spec": {"nested": {"b": "2"}}})).unwrap();
    server.apply("one", json!({"spec": {"text": "a"}})).unwrap();
    assert_eq!(server.spec(), json!({"text": "a", "nested": {"b": "2"}}));
    server.apply("two", json!({})).unwrap();
    assert_eq!(server.spec(), json!({"text": "a"}));
    assert_eq!(server.owners().len(), 1);

    // what an updater added inside goes with the item, what it added elsewhere stays
    server.apply("one", json!({"spec": {"labels": {"a": "1"}}})).unwrap();
    server.update("controller", json!({"spec": {"labels": {"a": "1", "b": "2"}}}));
    server.apply("one", json!({"spec": {}})).unwrap();
    assert_eq!(server.spec(), json!({"labels": {"b": "2"}}));
}

#[test]
fn dangling_parts_of_a_removed_item_go_with_it() {
    let mut server = Server::custom();
    let items = |items: Value| json!({"spec": {"items": items}});
    server.apply("one", items(json!([{"name": "a"}, {"name": "b", "tags": ["c"]}]))).unwrap();
    server.update("controller", items(json!([{"name": "a"}, {"name": "b", "tags": ["c", "d"]}])));
    let mut other = Server { live: server.live.clone(), ..Server::custom() };

    server.apply("one", items(json!([{"name": "a"}]))).unwrap();
    assert_eq!(server.spec(), json!({"items": [{"name": "a"}]}));
    assert_eq!(server.fields("controller"), Value::Null);

    other.apply("two", items(json!([{"name": "b", "tags": ["e"]}]))).unwrap();
    other.apply("one", items(json!([{"name": "a"}]))).unwrap();
    assert_eq!(other.spec(), json!({"items": [{"name": "a"}, {"name": "b", "tags": ["d", "e"]}]}));
}

#[test]
fn sets_grow_between_what_a_controller_added() {
    let mut server = Server::custom();
    let set = |items: &[&str]| json!({"spec": {"set": items}});
    server.apply("default", set(&["a", "c"])).unwrap();
    server.update("controller", set(&["a", "b", "c", "d"]));
    server.apply("default", set(&["a", "aprime", "c", "cprime"])).unwrap();
    assert_eq!(server.spec(), json!({"set": ["a", "b", "aprime", "c", "d", "cprime"]}));
    assert_eq!(
        server.fields("controller"),
        json!({"f:spec": {"f:set": {"v:\"b\"": {}, "v:\"d\"": {}}}})
    );
}

#[test]
fn duplicates_of_old_objects_are_owned_as_one() {
    let mut server = Server::custom();
    server.update("one", json!({"spec": {"set": ["1", "1", "3"]}}));
    let error = server.apply("two", json!({"spec": {"set": ["1"]}})).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"one\" using test.io/v1: .spec.set[=\"1\"]"
    );
    server.force("two", json!({"spec": {"set": ["1"]}}));
    assert_eq!(server.spec(), json!({"set": ["1", "3"]}));
    let error = server.apply("two", json!({"spec": {"set": ["1", "1"]}})).unwrap_err();
    assert_eq!(
        error.message(),
        "failed to create typed patch object (/x; test.io/v1, Kind=Thing): .spec.set: duplicate entries for key [=\"1\"]"
    );
}

#[test]
fn default_keys_identify_items() {
    let mut server = Server::deployments();
    let ports = |ports: Value| json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "ports": ports}]}}}});
    server.apply("one", ports(json!([{"containerPort": 80}]))).unwrap();
    server.apply("two", ports(json!([{"containerPort": 80, "protocol": "TCP"}]))).unwrap();
    server
        .apply(
            "one",
            ports(json!([{"containerPort": 80}, {"containerPort": 80, "protocol": "UDP"}])),
        )
        .unwrap();
    let containers = &server.spec()["template"]["spec"]["containers"];
    assert_eq!(
        containers[0]["ports"],
        json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}])
    );
}

/// Validation says that the key is missing, not the merge.
#[test]
fn a_key_that_is_always_written_may_be_left_out() {
    let mut server = Server::deployments();
    let container = json!({"image": "x", "env": [{"value": "y"}]});
    server
        .apply("a", json!({"spec": {"template": {"spec": {"containers": [container]}}}}))
        .unwrap();
    let fields = server.fields("a");
    let containers = &fields["f:spec"]["f:template"]["f:spec"]["f:containers"];
    let own = &containers["k:{\"name\":\"\"}"];
    assert!(own["f:image"].is_object(), "{fields}");
    assert!(own["f:env"]["k:{\"name\":\"\"}"]["f:value"].is_object(), "{fields}");
    let owner = json!({"metadata": {"ownerReferences": [{"name": "n"}]}});
    Server::deployments().apply("a", owner).unwrap();
}

#[test]
fn applied_objects_must_fit() {
    let cases = [
        (json!({"metadata": {"managedFields": []}}), 400, "metadata.managedFields must be nil"),
        (
            json!({"spec": {"replicas": "many"}}),
            500,
            "failed to create typed patch object (/x; apps/v1, Kind=Deployment): .spec.replicas: expected numeric (int or float), got string",
        ),
        (
            json!({"spec": {"bogus": 1}}),
            500,
            "failed to create typed patch object (/x; apps/v1, Kind=Deployment): .spec.bogus: field not declared in schema",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": "x"}, {"image": "y"}]}}}}),
            500,
            "failed to create typed patch object (/x; apps/v1, Kind=Deployment): .spec.template.spec.containers: duplicate entries for key [name=\"\"]",
        ),
        (
            json!({"metadata": {"managedFields": [1]}}),
            500,
            "failed to create typed patch object (/x; apps/v1, Kind=Deployment): .metadata.managedFields[0]: expected map, got &{1}",
        ),
        (
            json!({"metadata": {"labels": {"a": [1, "b"]}}}),
            500,
            "failed to create typed patch object (/x; apps/v1, Kind=Deployment): .metadata.labels.a: expected string, got &value.valueUnstructured{Value:[]interface {}{1, \"b\"}}",
        ),
    ];
    for (body, code, message) in cases {
        let error = Server::deployments().apply("a", body).unwrap_err();
        assert_eq!((error.code().as_u16(), error.message()), (code, message));
    }
    let mut server = Server::deployments();
    let wrong =
        json!({"apiVersion": "apps/v1beta1", "kind": "Deployment", "metadata": {"name": "x"}});
    let wrong = Object::from_value(wrong).unwrap();
    let error = server.request("a", |_, request| apply(None, wrong, false, request)).unwrap_err();
    assert_eq!(
        (error.code().as_u16(), error.message()),
        (400, "invalid object type: apps/v1beta1, Kind=Deployment")
    );
}

#[test]
fn writes_of_a_subresource_are_owned_apart() {
    let mut server = Server::custom();
    server.reset = Filter::exclude(&[&["status"]]);
    server.update("m", json!({"spec": {"text": "a"}, "status": {"count": 1}}));
    assert_eq!(server.fields("m"), json!({"f:spec": {".": {}, "f:text": {}}}));
    server.subresource = "status";
    server.reset = Filter::exclude(&[&["spec"]]);
    let status =
        json!({"spec": {"text": "a"}, "status": {"count": 2}, "metadata": {"managedFields": []}});
    server.update("m", status);
    let list = server.live.as_ref().unwrap().at(&["metadata", "managedFields"]).unwrap();
    assert_eq!(list[1]["subresource"], "status");
    assert_eq!(list[1]["fieldsV1"], json!({"f:status": {"f:count": {}}}));
    server.subresource = "";
    let error = server.apply("n", json!({"status": {"count": 3}})).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"m\" with subresource \"status\" using test.io/v1: .status.count"
    );
}
