//! What validating and mutating policies share, and match conditions.

use super::{
    FAILURE_POLICIES,
    expression::{Returns, Variables, is_identifier},
    rules::match_resources,
};
use crate::{
    check,
    look::{At, Look},
};
use kubeplane_core::{Object, field::Errors, names};
use serde_json::Value;
use std::collections::HashSet;

const CONDITIONS_MAX: usize = 64;

/// `apiVersion/kind` of the parameters.
pub(super) fn param_kind_cell(spec: &Value) -> String {
    let kind = spec.sub("paramKind");
    match kind.is_null() {
        true => "<unset>".to_owned(),
        false => format!("{}/{}", kind.text("apiVersion"), kind.text("kind")),
    }
}

/// The parts before the expressions.
pub(super) fn head(spec: &At<'_>, errors: &mut Errors) {
    let failure = spec.get("failurePolicy");
    if failure.is_set() {
        check::one_of_if_set(&failure, &FAILURE_POLICIES, errors);
    } else {
        errors.push(failure.required(""));
    }
    if spec.get("paramKind").is_set() {
        param_kind(&spec.get("paramKind"), errors);
    }
    let constraints = spec.get("matchConstraints");
    if !constraints.is_set() {
        return errors.push(constraints.required(""));
    }
    match_resources(&constraints, errors);
    if constraints.get("resourceRules").is_empty() {
        errors.push(constraints.get("resourceRules").required(""));
    }
}

fn param_kind(at: &At<'_>, errors: &mut Errors) {
    let (version, kind) = (at.get("apiVersion"), at.get("kind"));
    if check::required(&version, errors) {
        api_version(&version, errors);
    }
    if check::required(&kind, errors) {
        let problems = names::is_dns1035_label(&kind.str().to_lowercase());
        if !problems.is_empty() {
            let problems = problems.join(",");
            errors.push(
                kind.invalid(format!(
                    "may have mixed case, but should otherwise match: {problems}"
                )),
            );
        }
    }
}

fn api_version(at: &At<'_>, errors: &mut Errors) {
    let text = at.str();
    let (group, version) = match text.matches('/').count() {
        _ if text == "/" => ("", ""),
        0 => ("", text),
        1 => text.split_once('/').unwrap_or_default(),
        _ => return errors.push(at.invalid(format!("unexpected GroupVersion string: {text}"))),
    };
    let problems = names::is_dns1123_subdomain(group);
    if !group.is_empty() && !problems.is_empty() {
        errors.push(at.invalid_as(group, problems.join(",")));
    }
    if version.is_empty() {
        return errors.push(at.invalid("version must be specified"));
    }
    let problems = names::is_dns1035_label(version);
    if !problems.is_empty() {
        errors.push(at.invalid_as(version, problems.join(",")));
    }
}

/// Whether the match conditions, and what they can speak of, are as they were.
pub(super) fn same_conditions(object: &Object, old: &Object) -> bool {
    ["paramKind", "matchConditions"]
        .iter()
        .all(|field| object.at(&["spec", field]) == old.at(&["spec", field]))
}

/// Conditions under which a webhook or policy is asked at all.
pub(super) fn match_conditions(list: &At<'_>, variables: &Variables, errors: &mut Errors) {
    if list.len() > CONDITIONS_MAX {
        errors.push(list.too_many(CONDITIONS_MAX));
    }
    let mut seen = HashSet::new();
    for condition in list.items() {
        let (name, expression) = (condition.get("name"), condition.get("expression"));
        let source = expression.str().trim();
        if source.is_empty() {
            errors.push(expression.required(""));
        } else {
            let trimmed = Value::from(source);
            variables.plain().check(&expression.with(&trimmed), source, Returns::Bool, errors);
        }
        if check::required(&name, errors) {
            check::qualified_name(&name, errors);
            if !seen.insert(name.str()) {
                errors.push(name.duplicate());
            }
        }
    }
}

/// The variables a policy defines, each known to those after it.
pub(super) fn define_variables(list: &At<'_>, variables: &mut Variables, errors: &mut Errors) {
    for variable in list.items() {
        let (name, expression) = (variable.get("name"), variable.get("expression"));
        if name.str().trim().is_empty() {
            errors.push(name.required("name is not specified"));
        } else if !is_identifier(name.str()) {
            errors.push(name.invalid("must be a valid CEL identifier"));
        }
        if expression.str().trim().is_empty() {
            errors.push(expression.required("expression is not specified"));
        } else {
            let program = variables.check(&expression, expression.str(), Returns::Anything, errors);
            variables.define(name.str(), program);
        }
    }
}
