use super::*;

#[test]
fn an_empty_list_of_managers_forgets_them_until_the_next_apply() {
    for reset in [json!([]), json!([{}]), json!([{"manager": ""}])] {
        let mut server = Server::custom();
        server.update("one", json!({"spec": {"text": "a"}}));
        server.update("two", json!({"metadata": {"managedFields": reset}, "spec": {"text": "b"}}));
        assert!(server.owners().is_empty());
        server.update("two", json!({"spec": {"text": "c"}}));
        assert!(server.owners().is_empty(), "an object without managers stays without");
        server.apply("three", json!({"spec": {"replicas": 1}})).unwrap();
        let names: Vec<_> = server.owners().into_iter().map(|(name, ..)| name).collect();
        assert_eq!(names, ["three", "before-first-apply"]);
        assert_eq!(server.fields("before-first-apply"), json!({"f:spec": {".": {}, "f:text": {}}}));
    }
}

#[test]
fn managers_the_client_sends_count_if_they_decode() {
    let mut server = Server::custom();
    server.update("one", json!({"spec": {"text": "a"}}));
    let entry = |operation: &str| {
        json!([{"manager": "sent", "operation": operation, "apiVersion": "test.io/v1",
                "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": {"f:text": {}}}}])
    };
    server.update(
        "one",
        json!({"metadata": {"managedFields": entry("Apply")}, "spec": {"text": "a"}}),
    );
    assert_eq!(server.owners()[0].0, "sent");
    assert_eq!(server.owners().len(), 1);
    server
        .update("one", json!({"metadata": {"managedFields": entry("Odd")}, "spec": {"text": "a"}}));
    assert_eq!(server.owners()[0].0, "sent");
}

#[test]
fn managers_that_do_not_decode_are_explained() {
    let entry = |change: (&str, Value)| {
        let mut entry = json!({"manager": "m", "operation": "Apply", "apiVersion": "v1",
                               "fieldsType": "FieldsV1", "fieldsV1": {"f:a": {}}});
        entry[change.0] = change.1;
        Object::from_value(json!({"metadata": {"managedFields": [entry]}})).unwrap()
    };
    let cases = [
        (("operation", json!("RandomOperation")), "operation must be `Apply` or `Update`"),
        (("apiVersion", json!("")), "apiVersion must not be empty"),
        (("fieldsType", json!("")), "missing fieldsType in managed fields entry 0"),
        (
            ("fieldsType", json!("FieldsV2")),
            "invalid fieldsType \"FieldsV2\" in managed fields entry 0",
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(validate_managed_fields(&entry(change)), Err(expected.to_owned()));
    }
    assert_eq!(validate_managed_fields(&entry(("manager", json!("n")))), Ok(()));
    assert!(validate_managed_fields(&entry(("fieldsV1", json!({"bad": {}})))).is_err());
}

#[test]
fn many_updaters_are_thrown_together() {
    let mut server = Server::custom();
    server.apply("applier", json!({"spec": {"text": "a"}})).unwrap();
    let mut labels = serde_json::Map::new();
    for index in 0..14 {
        labels.insert(format!("l{index}"), "x".into());
        let body = json!({"metadata": {"labels": labels}, "spec": {"text": "a"}});
        server.update(&format!("m{index:02}"), body);
    }
    let updaters: Vec<_> =
        server.owners().into_iter().filter(|(_, operation, _)| operation == "Update").collect();
    assert_eq!(updaters.len(), 10);
    assert_eq!(updaters[0].0, "ancient-changes");
    assert_eq!(
        updaters[0].2,
        json!({"f:metadata": {"f:labels": {".": {}, "f:l0": {}, "f:l1": {}, "f:l2": {}, "f:l3": {}, "f:l4": {}}}})
    );
    assert_eq!(server.time("ancient-changes"), "1970-01-12T13:46:46Z");
}

#[test]
fn kubectl_takes_over_what_client_side_apply_left_alone() {
    let manifest = |replicas: u32, text: &str| {
        json!({"apiVersion": "test.io/v1", "kind": "Thing", "metadata": {"name": "x"},
               "spec": {"replicas": replicas, "text": text}})
    };
    let annotated = |replicas: u32, text: &str, live: u32| {
        let mut body = manifest(live, text);
        let last = manifest(replicas, text).to_string();
        body["metadata"]["annotations"] =
            json!({"kubectl.kubernetes.io/last-applied-configuration": last});
        body
    };
    let mut server = Server::custom();
    server.update("kubectl-client-side-apply", annotated(1, "a", 1));
    server.apply("kubectl", manifest(2, "<b>")).unwrap();
    assert_eq!(server.spec(), json!({"replicas": 2, "text": "<b>"}));
    let live = server.live.clone().unwrap();
    let annotation = live.annotation("kubectl.kubernetes.io/last-applied-configuration").unwrap();
    assert!(annotation.ends_with("\"text\":\"\\u003cb\\u003e\"}}\n"), "{annotation}");

    // a field changed by someone else since is not free to take
    let mut server = Server::custom();
    server.update("kubectl-client-side-apply", annotated(1, "a", 1));
    server.update("autoscaler", annotated(1, "a", 5));
    let error = server.apply("kubectl", manifest(2, "b")).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"autoscaler\" using test.io/v1: .spec.replicas"
    );
    // and other managers do not take part
    let mut server = Server::custom();
    server.update("kubectl-client-side-apply", annotated(1, "a", 1));
    assert!(server.apply("helm", manifest(2, "b")).is_err());
}

#[test]
fn times_settle_when_nothing_else_changed() {
    let mut server = Server::custom();
    server.apply("one", json!({"spec": {"text": "a"}})).unwrap();
    let old = server.live.clone().unwrap();
    let mut new = old.clone();
    new.map_at_mut(&["metadata"])["managedFields"][0]["time"] = "2030-01-01T00:00:00Z".into();
    let mut same = new.clone();
    settle_times(&old, &mut same);
    assert_eq!(same, old);
    new.set(&["spec", "text"], "b");
    let changed = new.clone();
    settle_times(&old, &mut new);
    assert_eq!(new, changed);

    server.apply("one", json!({"spec": {"text": "a"}})).unwrap();
    assert_eq!(server.live, Some(old));
}

#[test]
fn default_managers_come_from_the_user_agent() {
    assert_eq!(default_manager("kubectl/v1.36.0 (linux/amd64)"), "kubectl");
    assert_eq!(default_manager("a\u{7}b"), "ab");
    assert_eq!(default_manager(""), "");
    assert_eq!(default_manager(&"ü".repeat(100)).len(), 128);
}

#[test]
fn untyped_objects_merge_maps_and_replace_lists() {
    let schema: SchemaRef = Schema::anonymous(Kind::Any).into();
    let mut server = Server::of(GroupVersionKind::new("", "v1", "Loose"), schema);
    server.apply("one", json!({"spec": {"list": [1, 2], "map": {"a": 1}}})).unwrap();
    server.apply("two", json!({"spec": {"map": {"b": 2}}})).unwrap();
    assert_eq!(server.spec(), json!({"list": [1, 2], "map": {"a": 1, "b": 2}}));
    server.apply("one", json!({"spec": {"list": [3]}})).unwrap();
    assert_eq!(server.spec(), json!({"list": [3], "map": {"b": 2}}));
    assert!(server.apply("two", json!({"spec": {"list": [4]}})).is_err());
}

#[test]
fn scales_share_the_managers_of_the_replica_count() {
    let mut server = Server::deployments();
    server.apply("applier", json!({"spec": {"replicas": 1, "paused": true}})).unwrap();
    server.update(
        "other",
        json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 1, "paused": true}}),
    );
    let mut parent = server.live.clone().unwrap();
    let body = |count: u32| {
        json!({"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "x", "uid": "u"},
               "spec": {"replicas": count}})
    };
    let version = GroupVersionKind::new("apps", "v1", "Deployment").group_version();
    let paths = ReplicaPaths::default().with(&version, Some("spec.replicas"));
    let mut scale = Object::from_value(body(1)).unwrap();
    scale_from_parent(&parent, &paths, &mut scale);
    let mut scales = Server::of(
        GroupVersionKind::new("autoscaling", "v1", "Scale"),
        schema::builtin("io.k8s.api.autoscaling.v1.Scale").unwrap(),
    );
    scales.live = Some(scale);
    assert_eq!(
        scales.owners(),
        [("applier".into(), "Apply".into(), json!({"f:spec": {"f:replicas": {}}}))]
    );
    scales.subresource = "scale";
    scales.second = 10;
    scales.update("hpa", body(3));
    let written = scales.live.clone().unwrap();
    scale_to_parent(&written, &paths, &version, &mut parent);
    server.live = Some(parent);
    assert_eq!(server.fields("applier"), json!({"f:spec": {"f:paused": {}}}));
    assert_eq!(server.fields("hpa"), json!({"f:spec": {"f:replicas": {}}}));
    let error = server.apply("applier", json!({"spec": {"replicas": 2}})).unwrap_err();
    assert_eq!(
        error.message(),
        "Apply failed with 1 conflict: conflict with \"hpa\" with subresource \"scale\" using apps/v1: .spec.replicas"
    );
}

/// `metadata.managedFields` of an object, each as `manager/operation/version/subresource/time fields`.
fn entries(object: &Object) -> Vec<String> {
    let list = object.at(&["metadata", "managedFields"]).and_then(Value::as_array).cloned();
    let shown = |entry: &Value| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default();
        let keys = ["manager", "operation", "apiVersion", "subresource", "time"].map(text);
        format!("{} {}", keys.join("/"), entry["fieldsV1"])
    };
    list.unwrap_or_default().iter().map(shown).collect()
}

fn managed(kind: &str, entries: &[(&str, &str, &str, &str, Value)]) -> Object {
    let entry = |(manager, operation, version, part, fields): &(&str, &str, &str, &str, Value)| {
        json!({"manager": manager, "operation": operation, "apiVersion": version, "subresource": part,
               "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields})
    };
    let list: Vec<_> = entries.iter().map(entry).collect();
    let object = json!({"kind": kind, "metadata": {"name": "x", "managedFields": list}});
    Object::from_value(object).unwrap()
}

#[test]
fn managers_of_a_scale_are_translated_by_the_path_of_each_version() {
    let [one, two, three] = ["v1", "v2", "v3"]
        .map(|version| GroupVersionKind::new("x.io", version, "X").group_version());
    let paths = ReplicaPaths::default()
        .with(&one, Some(".spec.replicas"))
        .with(&two, Some(".spec.size.count"))
        .with(&three, None);
    let count = json!({"f:spec": {"f:replicas": {}}});
    let size = json!({"f:spec": {"f:size": {"f:count": {}}}});
    let mut parent = managed(
        "X",
        &[
            ("first", "Update", "x.io/v1", "", json!({"f:spec": {"f:a": {}, "f:replicas": {}}})),
            ("second", "Apply", "x.io/v2", "", size.clone()),
            ("third", "Update", "x.io/v3", "", count.clone()),
            ("alien", "Update", "x.io/v9", "", count.clone()),
        ],
    );
    let mut scale =
        Object::from_value(json!({"kind": "Scale", "metadata": {"name": "x"}})).unwrap();
    scale_from_parent(&parent, &paths, &mut scale);
    let time = "2026-01-01T00:00:00Z";
    let seen = [
        format!("second/Apply/autoscaling/v1//{time} {count}"),
        format!("first/Update/autoscaling/v1//{time} {count}"),
    ];
    assert_eq!(entries(&scale), seen, "what has no scale or is not known has no part in it");

    let written = managed("Scale", &[("hpa", "Update", "autoscaling/v1", "scale", count.clone())]);
    scale_to_parent(&written, &paths, &two, &mut parent);
    let left = [
        format!("hpa/Update/x.io/v2/scale/ {size}"),
        format!("first/Update/x.io/v1//{time} {}", json!({"f:spec": {"f:a": {}}})),
        format!("third/Update/x.io/v3//{time} {count}"),
    ];
    assert_eq!(entries(&parent), left, "the count is in the words of the version that was written");
}

#[test]
fn who_keeps_the_count_of_a_scale_keeps_it() {
    let version = GroupVersionKind::new("apps", "v1", "Deployment").group_version();
    let paths = ReplicaPaths::default().with(&version, Some("spec.replicas"));
    let count = json!({"f:spec": {"f:replicas": {}}});
    let both = json!({"f:spec": {"f:paused": {}, "f:replicas": {}}});
    let owners = [
        ("applier", "Apply", "apps/v1", "", both.clone()),
        ("updater", "Update", "apps/v1", "", both.clone()),
    ];
    let mut parent = managed("Deployment", &owners);
    let mut scale =
        Object::from_value(json!({"kind": "Scale", "metadata": {"name": "x"}})).unwrap();
    scale_from_parent(&parent, &paths, &mut scale);
    scale_to_parent(&scale, &paths, &version, &mut parent);
    let time = "2026-01-01T00:00:00Z";
    let paused = json!({"f:spec": {"f:paused": {}}});
    let left = [
        format!("applier/Apply/apps/v1//{time} {both}"),
        format!("updater/Update/apps/v1// {count}"),
        format!("updater/Update/apps/v1//{time} {paused}"),
    ];
    assert_eq!(entries(&parent), left, "an updater has it in an entry of its own");
}
