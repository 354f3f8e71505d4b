use super::*;

fn merge_spec(live: Value, applied: Value) -> Value {
    let schema = custom();
    let ty = Type::root(schema.field("spec").map(|field| &*field.schema).unwrap());
    let map = |value: Value| value.as_object().cloned().unwrap();
    Value::Object(merge::merge_maps(ty.object(), map(live), map(applied)).unwrap())
}

#[test]
fn sets_keep_the_live_order_where_the_applied_one_says_nothing() {
    let cases = [
        ("a b c", "a b", "a b c"),
        ("a b", "a b c", "a b c"),
        ("a b c", "", "a b c"),
        ("", "a b c", "a b c"),
        ("a b", "b a", "b a"),
        ("a b c", "d e f", "a b c d e f"),
        ("a b c", "c d e f", "a b c d e f"),
        ("a b c g f", "c d e f", "a b c g d e f"),
        ("c d e f", "a c e", "a c d e f"),
        ("a b c x y z", "d e f", "a b c x y z d e f"),
        ("a b c x y z", "d e f x y z", "a b c d e f x y z"),
        ("c a g f", "c f a g", "c f a g"),
        ("a b c d", "d e f a", "b c d e f a"),
        ("c d e f g h i j", "2 h 3 e 4 k l", "c d f g 2 h i j 3 e 4 k l"),
        ("a b c d e f g h i j", "1 b 2 h 3 e 4 k l", "a 1 b c d f g 2 h i j 3 e 4 k l"),
        // duplicates can only be live
        ("a b b", "c", "a b b c"),
        ("a b b", "b", "a b"),
        ("a b b", "a", "a b b"),
        ("a b c d e c", "1 b 2 e d", "a 1 b c 2 e c d"),
        ("a b c d e c", "1 b 2 c e d", "a 1 b 2 c e d"),
        ("a a b b", "b c d", "a a b c d"),
        ("a a b b", "", "a a b b"),
        ("c a g f c a", "c f a g", "c f a g"),
    ];
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    for (live, applied, expected) in cases {
        let merged = merge_spec(json!({"set": words(live)}), json!({"set": words(applied)}));
        assert_eq!(merged, json!({"set": words(expected)}), "{live} + {applied}");
    }
}

#[test]
fn values_merge_by_their_shape() {
    let cases = [
        (json!({"replicas": 1}), json!({"text": "x"}), json!({"replicas": 1, "text": "x"})),
        (json!({"replicas": 1}), json!({"replicas": 2.5}), json!({"replicas": 2.5})),
        (json!({"atomic": ["a", "b"]}), json!({"atomic": ["c"]}), json!({"atomic": ["c"]})),
        (json!({"atomic": ["a"]}), json!({"atomic": null}), json!({"atomic": null})),
        (
            json!({"labels": {"a": "1"}}),
            json!({"labels": {"b": "2"}}),
            json!({"labels": {"a": "1", "b": "2"}}),
        ),
        (json!({"labels": {"a": "1"}}), json!({"labels": {}}), json!({"labels": {"a": "1"}})),
        (json!({"labels": {}}), json!({"labels": null}), json!({"labels": null})),
        (
            json!({"items": [{"name": "a", "value": 1}, {"name": "b"}]}),
            json!({"items": [{"name": "c"}, {"name": "a", "tags": ["x"]}]}),
            json!({"items": [{"name": "c"}, {"name": "a", "value": 1, "tags": ["x"]}, {"name": "b"}]}),
        ),
        (
            json!({"ports": [{"port": 80, "name": "http"}]}),
            json!({"ports": [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}]}),
            json!({"ports": [{"port": 80, "name": "http", "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}]}),
        ),
        (
            json!({"any": {"m": {"a": 1}, "l": [1, 2], "s": 1}}),
            json!({"any": {"m": {"b": 2}, "l": [3], "s": {"x": 1}}}),
            json!({"any": {"m": {"a": 1, "b": 2}, "l": [3], "s": {"x": 1}}}),
        ),
    ];
    for (live, applied, expected) in cases {
        assert_eq!(merge_spec(live.clone(), applied.clone()), expected, "{live} + {applied}");
    }
}

fn field_set_of(spec: Value) -> Value {
    let schema = custom();
    let object = json!({"spec": spec});
    field_set(Type::root(&schema), object.as_object().unwrap()).to_json()
}

#[test]
fn field_sets_name_leaves_and_items() {
    let cases = [
        (json!({"replicas": 1}), json!({"f:spec": {"f:replicas": {}}})),
        (json!({}), json!({"f:spec": {}})),
        (json!({"labels": {"a": "1"}}), json!({"f:spec": {"f:labels": {"f:a": {}}}})),
        (json!({"atomic": ["x"]}), json!({"f:spec": {"f:atomic": {}}})),
        (json!({"set": ["b", "a"]}), json!({"f:spec": {"f:set": {"v:\"a\"": {}, "v:\"b\"": {}}}})),
        (
            json!({"items": [{"name": "a", "value": 1}]}),
            json!({"f:spec": {"f:items": {"k:{\"name\":\"a\"}": {".": {}, "f:name": {}, "f:value": {}}}}}),
        ),
        (
            json!({"ports": [{"port": 80}]}),
            json!({"f:spec": {"f:ports": {"k:{\"port\":80,\"protocol\":\"TCP\"}": {".": {}, "f:port": {}}}}}),
        ),
        (json!({"nested": {}}), json!({"f:spec": {"f:nested": {}}})),
        (
            json!({"any": {"m": {"a": 1}, "l": [1]}}),
            json!({"f:spec": {"f:any": {"f:l": {}, "f:m": {".": {}, "f:a": {}}}}}),
        ),
    ];
    for (spec, expected) in cases {
        assert_eq!(field_set_of(spec.clone()), expected, "{spec}");
    }
}

#[test]
fn sets_follow_set_algebra() {
    let read = |value: &Value| FieldSet::from_json(value).unwrap();
    let left = json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}, "i:3": {}});
    let right = json!({"f:a": {".": {}, "f:b": {}}, "f:e": {}});

    let mut union = read(&left);
    union.extend(read(&right));
    assert_eq!(
        union.to_json(),
        json!({"f:a": {".": {}, "f:b": {}, "f:c": {}}, "f:d": {}, "f:e": {}, "i:3": {}})
    );
    let mut difference = read(&left);
    difference.subtract(&read(&right));
    assert_eq!(difference.to_json(), json!({"f:a": {"f:c": {}}, "f:d": {}, "i:3": {}}));
    let mut recursive = read(&left);
    recursive.subtract_recursively(&read(&right));
    assert_eq!(recursive.to_json(), json!({"f:d": {}, "i:3": {}}));
    let both = read(&left).intersection(&read(&right));
    assert_eq!(both.to_json(), json!({"f:a": {".": {}, "f:b": {}}}));
    let paths: Vec<String> = read(&left).to_string().lines().map(str::to_owned).collect();
    assert_eq!(paths, [".a", ".d", "[3]", ".a.b", ".a.c"]);
}

#[test]
fn bad_field_sets_are_refused() {
    for bad in
        [json!({"x": {}}), json!({"fa": {}}), json!({"k:{": {}}), json!({"i:x": {}}), json!([])]
    {
        assert!(FieldSet::from_json(&bad).is_err(), "{bad}");
    }
    assert!(FieldSet::from_json(&json!({"z:new": {}})).unwrap().is_empty());
}

#[test]
fn filters_leave_out_and_let_in() {
    let mut set = FieldSet::from_paths(&[&["spec", "a"], &["status"], &["status", "b"]]);
    Filter::exclude(&[&["status"]]).apply(&mut set);
    assert_eq!(set.to_json(), json!({"f:spec": {"f:a": {}}}));

    let containers = json!({"f:spec": {"f:x": {}, "f:items": {"k:{\"name\":\"a\"}": {
        ".": {}, "f:image": {}, "f:resources": {"f:limits": {}}}}}});
    let mut set = FieldSet::from_json(&containers).unwrap();
    let path = vec![Step::Field("spec"), Step::Field("items"), Step::Any, Step::Field("resources")];
    Filter::Include(vec![path]).apply(&mut set);
    assert_eq!(
        set.to_json(),
        json!({"f:spec": {"f:items": {"k:{\"name\":\"a\"}": {".": {}, "f:resources": {"f:limits": {}}}}}})
    );
}

#[test]
fn fields_that_became_atomic_are_folded() {
    let schema = custom();
    let stored = json!({"f:spec": {"f:atomic": {"v:\"a\"": {}}, "f:nested": {"f:a": {}}}});
    let mut set = FieldSet::from_json(&stored).unwrap();
    reconcile(Type::root(&schema), &mut set);
    assert_eq!(set.to_json(), json!({"f:spec": {"f:atomic": {}, "f:nested": {"f:a": {}}}}));
}
