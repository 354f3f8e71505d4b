//! What binds policies to parameters and to requests.

use super::{
    ROW, reserve,
    rules::{default_resources, match_resources, mutable, spec},
    warn,
};
use crate::{
    check,
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::{age, selector_text},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::Value;
use std::collections::HashSet;

const BINDING: Row = Row { columns: &["Name", "PolicyName", "ParamRef", "Age"], ..ROW };

const HOOKS: Plain = Plain {
    default: |object| default_resources(spec(object), "matchResources"),
    counted: &["spec"],
    warn,
    gates: reserve,
    row: cells,
    ..Plain::NEW
};

pub(super) fn validating() -> Definition {
    let row = Row {
        kind: "ValidatingAdmissionPolicyBinding",
        plural: "validatingadmissionpolicybindings",
        ..BINDING
    };
    row.define(Plain {
        validate: |object| {
            let mut errors = binding(object);
            actions(&At::top(object.map(), "spec").get("validationActions"), &mut errors);
            errors
        },
        ..HOOKS
    })
}

pub(super) fn mutating() -> Definition {
    let row = Row {
        kind: "MutatingAdmissionPolicyBinding",
        plural: "mutatingadmissionpolicybindings",
        ..BINDING
    };
    row.define(Plain {
        validate: |object| {
            let mut errors = binding(object);
            mutable(&At::top(object.map(), "spec").get("matchResources"), &mut errors);
            errors
        },
        ..HOOKS
    })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    let params = spec.sub("paramRef");
    let (name, namespace) = (params.text("name"), params.text("namespace"));
    let shown = match () {
        () if !name.is_empty() => format!("{}/{name}", crate::table::or(namespace, "*")),
        () if params.has("selector") => selector_text(params.sub("selector")),
        () => "<unset>".to_owned(),
    };
    vec![object.name().into(), spec.text("policyName").into(), shown.into(), age(object, now)]
}

fn binding(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    if check::required(&spec.get("policyName"), &mut errors) {
        check::dns_subdomain(&spec.get("policyName"), &mut errors);
    }
    if spec.get("paramRef").is_set() {
        params(&spec.get("paramRef"), &mut errors);
    }
    match_resources(&spec.get("matchResources"), &mut errors);
    errors
}

fn params(at: &At<'_>, errors: &mut Errors) {
    const ONE: &str = "name and selector are mutually exclusive";
    let (name, selector, missing) =
        (at.get("name"), at.get("selector"), at.get("parameterNotFoundAction"));
    let named = !name.str().is_empty();
    if named {
        check::messages(&name, names::is_path_segment_name(name.str()), errors);
        if selector.is_set() {
            errors.push(name.forbidden(ONE));
        }
    }
    if selector.is_set() {
        check::label_selector(&selector, errors);
        if named {
            errors.push(selector.forbidden(ONE));
        }
    }
    if !named && !selector.is_set() {
        errors.push(at.required("one of name or selector must be specified"));
    }
    check::one_of(&missing, &["Deny", "Allow"], errors);
}

fn actions(list: &At<'_>, errors: &mut Errors) {
    let mut seen = HashSet::new();
    for action in list.items() {
        if !matches!(action.str(), "Deny" | "Warn" | "Audit") {
            errors.push(action.not_supported(&["Audit", "Deny", "Warn"]));
        }
        if !seen.insert(action.str()) {
            errors.push(action.duplicate());
        }
    }
    if seen.contains("Deny") && seen.contains("Warn") {
        errors.push(list.invalid(
            "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)",
        ));
    }
    if seen.is_empty() {
        errors.push(list.required("at least one validation action is required"));
    }
}
