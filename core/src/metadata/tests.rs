use super::*;
use serde_json::json;

fn object(metadata: Value) -> Object {
    Object::from_value(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}))
        .unwrap()
}

fn create(metadata: Value) -> Vec<String> {
    let errors =
        validate_metadata(&object(metadata), true, NameRule::DnsSubdomain, &Path::new("metadata"));
    errors.iter().map(ToString::to_string).collect()
}

fn update(new: Value, old: Value) -> Vec<String> {
    let (new, old, path) = (object(new), object(old), Path::new("metadata"));
    let mut errors = change_errors(&new, &old, &path);
    errors.extend(common_errors(&new, &path));
    errors.extend(managed_field_errors(&new, &path.child("managedFields")));
    errors.iter().map(ToString::to_string).collect()
}

#[test]
fn good_metadata_has_no_errors() {
    let metadata = json!({
        "name": "a.b", "namespace": "default", "labels": {"app": "web", "x/y": ""}, "annotations": {"Upper/Case": "1"},
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "r", "uid": "1", "controller": true}],
        "finalizers": ["example.com/x"], "managedFields": [{"operation": "Apply", "manager": "kubectl"}],
    });
    assert_eq!(create(metadata), Vec::<String>::new());
}

#[test]
fn names_and_namespaces() {
    assert_eq!(
        create(json!({"namespace": "default"})),
        ["metadata.name: Required value: name or generateName is required"]
    );
    assert_eq!(create(json!({"name": "a"})), ["metadata.namespace: Required value"]);
    let found = create(json!({"name": "A", "namespace": "default"}));
    assert!(
        found[0].starts_with("metadata.name: Invalid value: \"A\": a lowercase RFC 1123 subdomain"),
        "{found:?}"
    );
    let errors = validate_metadata(
        &object(json!({"name": "a", "namespace": "b"})),
        false,
        NameRule::PathSegment,
        &Path::new("metadata"),
    );
    assert_eq!(errors[0].to_string(), "metadata.namespace: Forbidden: not allowed on this type");
}

#[test]
fn owners() {
    let owner = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name, "uid": "u", "controller": true});
    let found =
        create(json!({"name": "a", "namespace": "b", "ownerReferences": [owner("x"), owner("y")]}));
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("Found \"true\" in references for Pod/x and Pod/y"), "{found:?}");
    let found = create(
        json!({"name": "a", "namespace": "b", "ownerReferences": [{"apiVersion": "a/b/c"}]}),
    );
    assert_eq!(
        found[0],
        "metadata.ownerReferences.apiVersion: Invalid value: \"a/b/c\": version must not be empty"
    );
    assert_eq!(found.len(), 4);
}

#[test]
fn sizes_and_finalizers() {
    let big = "x".repeat(256 * 1024);
    let found = create(json!({"name": "a", "namespace": "b", "annotations": {"k": big}}));
    assert_eq!(found, ["metadata.annotations: Too long: may not be more than 262144 bytes"]);
    let found = create(
        json!({"name": "a", "namespace": "b", "finalizers": ["orphan", "foregroundDeletion"]}),
    );
    assert!(
        found[0].contains("finalizer orphan and foregroundDeletion cannot be both set"),
        "{found:?}"
    );
}

#[test]
fn updates_keep_what_is_fixed() {
    let old = json!({"name": "a", "namespace": "b", "uid": "u", "generation": 2, "deletionTimestamp": "2026-01-01T00:00:00Z"});
    let mut new = old.clone();
    new["resourceVersion"] = "1".into();
    assert_eq!(update(new.clone(), old.clone()), Vec::<String>::new());
    new["uid"] = "v".into();
    new["finalizers"] = json!(["x/z", "x/y"]);
    new["generation"] = 1.into();
    assert_eq!(
        update(new, old),
        [
            "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new \
             finalizers []string{\"x/y\", \"x/z\"}",
            "metadata.generation: Invalid value: 1: must not be decremented",
            "metadata.uid: Invalid value: \"v\": field is immutable",
        ]
    );
}

#[test]
fn selectors_and_conditions() {
    let selector = json!({"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Gt"}]});
    let errors = validate_label_selector(&selector, false, &Path::new("spec.selector"));
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            "spec.selector.matchExpressions[1].operator: Invalid value: \"Gt\": not a valid selector operator",
        ]
    );
    let good = json!({"type": "Ready", "status": "True", "reason": "Fine", "lastTransitionTime": "2026-01-01T00:00:00Z"});
    assert!(
        validate_conditions(std::slice::from_ref(&good), &Path::new("status.conditions"))
            .is_empty()
    );
    assert_eq!(
        validate_conditions(&[good.clone(), good], &Path::new("status.conditions")).len(),
        1
    );
}

#[test]
fn options() {
    assert!(validate_create_options("kubectl", &["All"], "Strict").is_empty());
    assert_eq!(validate_create_options("a\nb", &["x"], "y").len(), 3);
    assert_eq!(validate_patch_options(PatchForm::Apply, None, "", &[], "").len(), 1);
    assert_eq!(validate_delete_options(&json!({"propagationPolicy": "Later"})).len(), 1);
}
