//! ValidatingAdmissionPolicies.

use super::{
    ROW,
    expression::{Returns, Variables},
    policy::{define_variables, head, match_conditions, param_kind_cell, same_conditions},
    reserve,
    rules::{default_resources, spec},
    warn,
};
use crate::{
    check,
    conditions::conditions,
    defaulting::missing,
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::{Value, json};
use std::collections::HashSet;

const ANNOTATIONS_MAX: usize = 20;
const ANNOTATION_MAX: usize = 5 * 1024;

pub(super) fn definition() -> Definition {
    let row = Row {
        kind: "ValidatingAdmissionPolicy",
        plural: "validatingadmissionpolicies",
        columns: &["Name", "Validations:integer", "ParamKind", "Age"],
        parts: &[Part::Status],
        ..ROW
    };
    row.define(Plain {
        default,
        status: Some(|| json!({})),
        counted: &["spec"],
        warn,
        gates: reserve,
        validate: |object| policy(object, None),
        revalidate: false,
        update: |object, old| policy(object, Some(old)),
        update_status: |object, _| status(object),
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
        spec.list("validations").len().into(),
        param_kind_cell(spec).into(),
        age(object, now),
    ]
}

fn policy(object: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    head(&spec, &mut errors);
    let own = spec.get("variables");
    let mut variables = Variables::new(spec.get("paramKind").is_set(), !own.is_empty());
    if !old.is_some_and(|old| same_conditions(object, old)) {
        match_conditions(&spec.get("matchConditions"), &variables, &mut errors);
    }
    define_variables(&own, &mut variables, &mut errors);
    let (validations, annotations) = (spec.get("validations"), spec.get("auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for list in [validations, annotations] {
            errors.push(
                list.required("validations or auditAnnotations must contain at least one item"),
            );
        }
        return errors;
    }
    for validation in validations.items() {
        self::validation(&validation, &variables, &mut errors);
    }
    audit_annotations(&annotations, object.name(), &variables, &mut errors);
    errors
}

fn validation(at: &At<'_>, variables: &Variables, errors: &mut Errors) {
    let (expression, message, text) =
        (at.get("expression"), at.get("messageExpression"), at.get("message"));
    if expression.str().trim().is_empty() {
        errors.push(expression.required("expression is not specified"));
    } else {
        variables.check(&expression, expression.str(), Returns::Bool, errors);
    }
    if !message.str().is_empty() && message.str().trim().is_empty() {
        errors.push(message.invalid("must be non-empty if specified"));
    } else if !message.str().is_empty() {
        variables.check(&message, message.str(), Returns::Text, errors);
    }
    if !text.str().is_empty() && text.str().trim().is_empty() {
        errors.push(text.invalid("must be non-empty if specified"));
    } else if text.str().trim().contains(['\n', '\r']) {
        errors.push(text.invalid("must not contain line breaks"));
    }
    const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];
    check::one_of_if_set(&at.get("reason"), &REASONS, errors);
}

fn audit_annotations(list: &At<'_>, policy: &str, variables: &Variables, errors: &mut Errors) {
    if list.len() > ANNOTATIONS_MAX {
        let detail = format!("must not have more than {ANNOTATIONS_MAX} auditAnnotations");
        errors.push(list.invalid(detail));
    }
    let mut seen = HashSet::new();
    for annotation in list.items() {
        let (key, value) = (annotation.get("key"), annotation.get("valueExpression"));
        if policy.is_empty() {
            errors.push(key.invalid("requires metadata.name be non-empty"));
        } else {
            let whole = format!("{policy}/{}", key.str());
            let problems = names::is_qualified_name(&whole).into_iter();
            errors.extend(problems.map(|problem| key.invalid_as(&*whole, problem)));
        }
        let source = value.str().trim();
        if source.is_empty() {
            errors.push(value.required("valueExpression is not specified"));
        } else if source.len() > ANNOTATION_MAX {
            let detail = format!("must not exceed {ANNOTATION_MAX} bytes in length");
            errors.push(value.required(detail));
        } else {
            variables.check(&value, source, Returns::TextOrNull, errors);
        }
        if !seen.insert(key.str()) {
            errors.push(key.duplicate());
        }
    }
}

fn status(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let status = At::top(object.map(), "status");
    for warning in status.get("typeChecking").get("expressionWarnings").items() {
        check::required(&warning.get("warning"), &mut errors);
        let place = warning.get("fieldRef");
        if place.str().trim().is_empty() {
            errors.push(place.required(""));
        }
    }
    conditions(&status.get("conditions"), &mut errors);
    errors
}
