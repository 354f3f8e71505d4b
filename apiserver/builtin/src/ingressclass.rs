//! IngressClasses.

use crate::{
    check,
    defaulting::{map_in, missing},
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::Value;

const DEFAULT: &str = "ingressclass.kubernetes.io/is-default-class";
const CONTROLLER_MAX: usize = 250;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "networking.k8s.io",
        kind: "IngressClass",
        plural: "ingressclasses",
        columns: &["Name", "Controller", "Parameters", "Age"],
        ..Row::CLUSTER
    };
    row.define(Plain {
        default,
        counted: &["spec"],
        validate,
        update,
        update_first: true,
        row: cells,
        ..Plain::NEW
    })
}

fn default(object: &mut Object) {
    let spec = map_in(object.map_mut(), "spec");
    if let Some(parameters) = spec.and_then(|spec| map_in(spec, "parameters")) {
        missing(parameters, "scope", "Cluster");
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let chosen = object.annotation(DEFAULT) == Some("true");
    let parameters = sub(object.map(), "spec").sub("parameters");
    let (kind, name) = (parameters.text("kind"), parameters.text("name"));
    let reference = match parameters.sub("apiGroup").as_str() {
        _ if parameters.is_null() => "<none>".to_owned(),
        Some(group) => format!("{kind}.{group}/{name}"),
        None => format!("{kind}/{name}"),
    };
    vec![
        if chosen { format!("{} (default)", object.name()).into() } else { object.name().into() },
        object.text(&["spec", "controller"]).into(),
        reference.into(),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let (controller, parameters) = (spec.get("controller"), spec.get("parameters"));
    if controller.str().len() > CONTROLLER_MAX {
        errors.push(controller.too_long(CONTROLLER_MAX));
    }
    if check::required(&controller, &mut errors) {
        check::messages(&controller, names::is_domain_prefixed_path(controller.str()), &mut errors);
    }
    if parameters.is_set() {
        object_reference(&parameters, &mut errors);
        scope(&parameters, &mut errors);
    }
    errors
}

/// A reference by group, kind and name.
pub(crate) fn object_reference(at: &At<'_>, errors: &mut Errors) {
    let group = at.get("apiGroup");
    if group.is_set() {
        check::dns_subdomain(&group, errors);
    }
    for field in ["kind", "name"] {
        let text = at.get(field);
        if check::required(&text, errors) {
            check::messages(&text, names::is_path_segment_name(text.str()), errors);
        }
    }
}

fn scope(parameters: &At<'_>, errors: &mut Errors) {
    let (scope, namespace) = (parameters.get("scope"), parameters.get("namespace"));
    match scope.str() {
        _ if !scope.is_set() => errors.push(scope.required("")),
        "Namespace" if namespace.is_set() => check::dns_label(&namespace, errors),
        "Namespace" => errors.push(namespace.required("`parameters.scope` is set to 'Namespace'")),
        "Cluster" if namespace.is_set() => {
            errors.push(namespace.forbidden("`parameters.scope` is set to 'Cluster'"));
        }
        "Cluster" => {}
        _ => errors.push(scope.not_supported(&["Cluster", "Namespace"])),
    }
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let (new, before) =
        (At::top(object.map(), "spec").get("controller"), At::top(old.map(), "spec"));
    check::unchanged(&new, before.get("controller").value(), &mut errors);
    errors
}
