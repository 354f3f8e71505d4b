//! CSIStorageCapacities.

use crate::{
    check,
    look::{At, sub},
    plain::Plain,
    pod::warnings::deprecated_label,
    row::Row,
    table::created_at,
};
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "storage.k8s.io",
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        columns: &["Name", "Created At:date"],
        unconditional_update: false,
        ..Row::NAMESPACED
    };
    row.define(Plain {
        warn,
        validate,
        revalidate: false,
        update,
        row: |object, _| vec![object.name().into(), created_at(object)],
        ..Plain::NEW
    })
}

fn warn(context: &Context<'_>, object: &Object, _old: Option<&Object>) {
    let topology = At::top(object.map(), "nodeTopology");
    for key in topology.get("matchExpressions").items().map(|term| term.get("key")) {
        if let Some(text) = deprecated_label(key.str()) {
            context.warnings.add(format!("{}: {} is {text}", key.path(), key.str()));
        }
    }
    let labels = topology.get("matchLabels");
    for (label, _) in labels.entries() {
        if let Some(text) = deprecated_label(label) {
            context.warnings.add(format!("{}: {text}", labels.path().child(label)));
        }
    }
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let top = |field| At::top(object.map(), field);
    check::label_selector(&top("nodeTopology"), &mut errors);
    check::dns_subdomain(&top("storageClassName"), &mut errors);
    let capacity = top("capacity");
    if capacity.is_set() && check::quantity(&capacity).sign() < 0 {
        errors.push(capacity.invalid(check::NEGATIVE));
    }
    errors
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = validate(object);
    let mut before = Errors::new();
    check::label_selector(&At::top(old.map(), "nodeTopology"), &mut before);
    if !before.is_empty() {
        check::forgive_selected_values(&mut errors);
    }
    for field in ["nodeTopology", "storageClassName"] {
        check::unchanged(&At::top(object.map(), field), sub(old.map(), field), &mut errors);
    }
    errors
}
