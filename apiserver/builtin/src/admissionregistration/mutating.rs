//! MutatingAdmissionPolicies.

use super::{
    REINVOCATION_POLICIES, ROW,
    expression::{Returns, Variables},
    policy::{define_variables, head, match_conditions, param_kind_cell, same_conditions},
    reserve,
    rules::{default_resources, mutable, spec},
    warn,
};
use crate::{
    check,
    defaulting::missing,
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors};
use serde_json::Value;

pub(super) fn definition() -> Definition {
    let row = Row {
        kind: "MutatingAdmissionPolicy",
        plural: "mutatingadmissionpolicies",
        columns: &["Name", "Mutations:integer", "ParamKind", "Age"],
        ..ROW
    };
    row.define(Plain {
        default,
        counted: &["spec"],
        warn,
        gates: reserve,
        validate: |object| policy(object, None),
        revalidate: false,
        update: |object, old| policy(object, Some(old)),
        row: cells,
        ..Plain::NEW
    })
}

fn default(object: &mut Object) {
    missing(spec(object), "failurePolicy", "Fail");
    default_resources(spec(object), "matchConstraints");
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    vec![
        object.name().into(),
        spec.list("mutations").len().into(),
        param_kind_cell(spec).into(),
        age(object, now),
    ]
}

fn policy(object: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    head(&spec, &mut errors);
    mutable(&spec.get("matchConstraints"), &mut errors);
    let mut variables = Variables::new(spec.get("paramKind").is_set(), true);
    if !old.is_some_and(|old| same_conditions(object, old)) {
        match_conditions(&spec.get("matchConditions"), &variables, &mut errors);
    }
    define_variables(&spec.get("variables"), &mut variables, &mut errors);
    let mutations = spec.get("mutations");
    if mutations.is_empty() {
        errors.push(mutations.required("mutations must contain at least one item"));
    }
    for mutation in mutations.items() {
        self::mutation(&mutation, &variables, &mut errors);
    }
    check::one_of(&spec.get("reinvocationPolicy"), &REINVOCATION_POLICIES, &mut errors);
    errors
}

fn mutation(at: &At<'_>, variables: &Variables, errors: &mut Errors) {
    let kind = at.get("patchType");
    let (own, other, returns) = match kind.str() {
        "" => return errors.push(kind.required("")),
        "JSONPatch" => ("jsonPatch", "applyConfiguration", Returns::Patch),
        "ApplyConfiguration" => ("applyConfiguration", "jsonPatch", Returns::Object),
        _ => return errors.push(kind.not_supported(&["ApplyConfiguration", "JSONPatch"])),
    };
    if at.get(own).is_set() {
        let expression = at.get(own).get("expression");
        let source = expression.str().trim();
        if source.is_empty() {
            errors.push(expression.required(""));
        } else {
            let trimmed = Value::from(source);
            variables.check(&expression.with(&trimmed), source, returns, errors);
        }
    } else {
        let detail = format!("must be specified when patchType is {}", kind.str());
        errors.push(at.get(own).required(detail));
    }
    if at.get(other).is_set() {
        let detail = format!("must not be specified when patchType is {}", kind.str());
        errors.push(at.get(other).invalid_as(format!("{{{other}}}"), detail));
    }
}
