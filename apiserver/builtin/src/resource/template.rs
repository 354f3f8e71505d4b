//! ResourceClaimTemplates.

use super::{ROW, constraint::one_attribute, features::drop_from_claim, request};
use crate::{
    check,
    defaulting::map_in,
    look::{At, Look, sub},
    plain::Plain,
    pod::validation::annotations::names_and_size,
    row::Row,
};
use kubeplane_core::{Definition, Object, definition::Context, field::Error, field::Errors};
use serde_json::Value;

pub(super) fn definition() -> Definition {
    let scope = Row::NAMESPACED.scope;
    let row = Row { kind: "ResourceClaimTemplate", plural: "resourceclaimtemplates", scope, ..ROW };
    row.define(Plain {
        default,
        create: |context, object| drop_disabled(context, object, &Value::Null),
        change: |context, object, old| drop_disabled(context, object, sub(old.map(), "spec")),
        validate,
        update,
        gates: one_attribute,
        ..Plain::NEW
    })
}

fn drop_disabled(context: &Context<'_>, object: &mut Object, before: &Value) {
    if let Some(claim) = map_in(object.map_at_mut(&["spec"]), "spec") {
        drop_from_claim(context.features, claim, before.sub("spec"));
    }
}

fn default(object: &mut Object) {
    if let Some(claim) = map_in(object.map_at_mut(&["spec"]), "spec") {
        request::default(claim);
    }
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let metadata = spec.get("metadata");
    names_and_size(&metadata.get("annotations"), &mut errors);
    check::labels(&metadata.get("labels"), &mut errors);
    for (field, value) in metadata.entries() {
        if !matches!(field, "annotations" | "labels") && value.is_set() {
            // As the original spells it.
            let shown = if field == "uid" { "uID" } else { field };
            errors.push(Error::forbidden(&metadata.path().child(shown), "cannot be set"));
        }
    }
    request::claim_spec(&spec.get("spec"), &mut errors);
    errors
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let definition = "io.k8s.api.resource.v1.ResourceClaimTemplateSpec";
    check::same(&At::top(object.map(), "spec"), sub(old.map(), "spec"), definition, &mut errors);
    errors
}
