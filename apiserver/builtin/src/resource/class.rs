//! DeviceClasses.

use super::{
    ROW,
    constraint::{CONFIG_MAX, configuration},
    features::drop_from_class,
    lists::list,
    selector::selectors,
};
use crate::{
    hooks::is_same, look::At, plain::Plain, pod::validation::resources::is_native, row::Row,
};
use kubeplane_core::{
    Definition, Object,
    definition::{Context, NameRule},
    field::Errors,
    names,
};

pub(super) fn definition() -> Definition {
    let row = Row { kind: "DeviceClass", plural: "deviceclasses", ..ROW };
    row.define(Plain {
        name: NameRule::LongName,
        counted: &["spec"],
        create: |context, object| drop_from_class(context.features, object, None),
        change,
        validate,
        ..Plain::NEW
    })
}

fn change(context: &Context<'_>, object: &mut Object, old: &Object) {
    drop_from_class(context.features, object, Some(old));
    // What was just dropped is no change.
    let changed = !is_same(object, old, &["spec"]);
    object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    selectors(&spec.get("selectors"), &mut errors);
    list(&spec.get("config"), CONFIG_MAX, configuration, &mut errors);
    let name = spec.get("extendedResourceName");
    if name.is_set() && !is_extended(name.str()) {
        errors.push(name.invalid("must be a valid extended resource name"));
    }
    errors
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && names::is_qualified_name(&format!("requests.{name}")).is_empty()
}
