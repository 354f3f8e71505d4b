//! EndpointSlices.

use crate::{
    addresses::warn_of_ip,
    defaulting, gates,
    hooks::start_generation,
    look::{At, Look, sub},
    row::Row,
    table::{age, first_three, or},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "discovery.k8s.io",
        kind: "EndpointSlice",
        plural: "endpointslices",
        columns: &["Name", "AddressType", "Ports", "Endpoints", "Age"],
        ..Row::NAMESPACED
    };
    row.define(EndpointSlices)
}

#[derive(Debug)]
struct EndpointSlices;

impl Strategy for EndpointSlices {
    fn default(&self, object: &mut Object) {
        let ports = object.map_mut().get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            defaulting::missing(port, "name", "");
            defaulting::missing(port, "protocol", "TCP");
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        start_generation(object);
        drop_topology(object);
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Object, old: &Object) {
        drop_topology(object);
        let strip = |object: &Object| {
            let mut body = object.clone();
            body.remove(&["metadata"]);
            body
        };
        let labels = ["metadata", "labels"];
        let changed = strip(object) != strip(old) || object.at(&labels) != old.at(&labels);
        object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::slice(object);
        allow(context, object, &mut errors);
        if errors.is_empty() && object.text(&["addressType"]) == "FQDN" {
            context.warnings.add("spec.addressType: FQDN endpoints are deprecated");
        }
        warn(context, object, &errors);
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = validation::update(object, old);
        allow(context, object, &mut errors);
        warn(context, object, &errors);
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let ports = sub(object.map(), "ports").as_array().map_or(&[][..], Vec::as_slice);
        let ports: Vec<_> = ports.iter().map(port_text).collect();
        let endpoints = sub(object.map(), "endpoints").as_array().map_or(&[][..], Vec::as_slice);
        let addresses = endpoints.iter().flat_map(|endpoint| endpoint.list("addresses"));
        let addresses: Vec<_> = addresses.filter_map(Value::as_str).map(str::to_owned).collect();
        vec![
            object.name().into(),
            object.text(&["addressType"]).into(),
            or(&first_three(&ports), "<unset>").into(),
            or(&first_three(&addresses), "<unset>").into(),
            age(object, now),
        ]
    }
}

fn port_text(port: &Value) -> String {
    match (port.sub("port").as_i64(), port.sub("name").as_str()) {
        (Some(number), _) => number.to_string(),
        (None, Some(name)) => name.to_owned(),
        (None, None) => "*".to_owned(),
    }
}

/// Addresses of version 6 are as young as the kind, and were always looked at closely.
fn allow(context: &Context<'_>, object: &Object, errors: &mut Errors) {
    if object.text(&["addressType"]) == "IPv4" {
        gates::allow(context.features, errors);
    }
}

/// Warns of addresses, but for those that controllers wrote.
fn warn(context: &Context<'_>, object: &Object, errors: &Errors) {
    let by_controller = matches!(
        object.label("endpointslice.kubernetes.io/managed-by"),
        Some("endpointslice-controller.k8s.io" | "endpointslicemirroring-controller.k8s.io")
    );
    if !errors.is_empty() || by_controller {
        return;
    }
    for endpoint in At::top(object.map(), "endpoints").items() {
        endpoint.get("addresses").items().for_each(|ip| warn_of_ip(context.warnings, &ip));
    }
}

/// The field of v1beta1 that v1 knows only to refuse it.
fn drop_topology(object: &mut Object) {
    let endpoints = object.map_mut().get_mut("endpoints").and_then(Value::as_array_mut);
    for endpoint in endpoints.into_iter().flatten().filter_map(Value::as_object_mut) {
        endpoint.remove("deprecatedTopology");
    }
}
