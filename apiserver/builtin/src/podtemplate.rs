//! PodTemplates.

use crate::{
    defaulting::map_in,
    gates,
    look::{At, Look, sub},
    plain::Plain,
    pod::{defaults, features::drop_disabled, validation},
    row::Row,
    table::{containers, labels},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};
use serde_json::{Value, json};

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "PodTemplate",
        plural: "podtemplates",
        columns: &["Name", "Containers", "Images", "Pod Labels"],
        ..Row::NAMESPACED
    };
    row.define(Plain {
        default,
        counted: &["template"],
        create: |context, object| drop_off(context, object, None),
        change: |context, object, old| drop_off(context, object, Some(old)),
        validate,
        revalidate: false,
        update: |object, old| {
            let mut errors = validate(object);
            validation::forgive_template(&mut errors, &At::top(old.map(), "template"));
            errors
        },
        gates: |context, _, _, errors| gates::allow(context.features, errors),
        row: cells,
        ..Plain::NEW
    })
}

fn default(object: &mut Object) {
    defaults::pod_template(object.map_mut().entry("template").or_insert_with(|| json!({})));
}

/// Fields of features that are off, but for those that the template before uses.
fn drop_off(context: &Context<'_>, object: &mut Object, old: Option<&Object>) {
    let before = old.map_or(&Value::Null, |old| sub(old.map(), "template").sub("spec"));
    let template = map_in(object.map_mut(), "template");
    if let Some(spec) = template.and_then(|template| map_in(template, "spec")) {
        drop_disabled(context.features, spec, before);
    }
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    validation::pod_template(&At::top(object.map(), "template"), &mut errors);
    errors
}

fn cells(object: &Object, _now: Timestamp) -> Vec<Value> {
    let template = sub(object.map(), "template");
    let [names, images] = containers(template.sub("spec"));
    vec![object.name().into(), names, images, labels(template.sub("metadata").sub("labels")).into()]
}
