//! What discovery will say of the built-in kinds.

use kubeplane_builtin::all;
use kubeplane_core::{definition::Form, schema::Kind};
use std::collections::BTreeSet;

#[test]
fn every_kind_has_its_shape_and_a_name_of_its_own() {
    let mut seen = BTreeSet::new();
    for kind in all() {
        assert!(!matches!(kind.schema.kind, Kind::Any), "{} has no schema", kind.kind);
        let name = format!("{} {}", kind.group_version(), kind.plural);
        assert!(seen.insert(name.clone()), "{name} is there twice");
        assert!(kind.columns.iter().any(|column| column.format == "name"), "{}", kind.kind);
    }
}

#[test]
fn pods_have_the_subresources_of_the_original() {
    let pods = all().into_iter().find(|kind| kind.plural == "pods").unwrap();
    let parts: Vec<_> = pods
        .subresources
        .iter()
        .filter(|part| matches!(part.form, Form::Part))
        .map(|p| &*p.name)
        .collect();
    assert_eq!(parts, ["ephemeralcontainers", "resize", "status"]);
    let exec = pods.subresource("exec").unwrap();
    let verbs: Vec<_> = exec.verbs.iter().map(|verb| verb.as_str()).collect();
    assert_eq!(
        (verbs, exec.kind.to_string().as_str()),
        (vec!["create", "get"], "/v1, Kind=PodExecOptions")
    );
}
