//! RuntimeClasses.

use crate::{
    check,
    look::At,
    plain::Plain,
    pod::validation::{overhead, tolerations},
    row::Row,
    table::age,
};
use kubeplane_core::{Definition, Object, field::Errors};

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "node.k8s.io",
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        columns: &["Name", "Handler", "Age"],
        create_on_update: true,
        unconditional_update: false,
        ..Row::CLUSTER
    };
    row.define(Plain {
        validate,
        update,
        row: |object, now| {
            vec![object.name().into(), object.text(&["handler"]).into(), age(object, now)]
        },
        ..Plain::NEW
    })
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    check::required_dns_label(&At::top(object.map(), "handler"), &mut errors);
    let whole = At::top(object.map(), "overhead");
    overhead(&whole.with(whole.get("podFixed").value()), &mut errors);
    let scheduling = At::top(object.map(), "scheduling");
    check::labels(&scheduling.get("nodeSelector"), &mut errors);
    let list = scheduling.get("tolerations");
    tolerations(&list, &mut errors);
    let mut seen = Vec::new();
    for toleration in list.items() {
        let key = ["key", "operator", "value", "effect"].map(|field| toleration.get(field).str());
        if seen.contains(&key) {
            errors.push(toleration.duplicate());
        }
        seen.push(key);
    }
    errors
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let before = At::top(old.map(), "handler");
    check::unchanged(&At::top(object.map(), "handler"), before.value(), &mut errors);
    errors
}
