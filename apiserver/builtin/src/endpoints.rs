//! Endpoints, the older form of EndpointSlices.

use crate::{
    addresses::warn_of_ip,
    gates,
    look::{At, Look, sub},
    row::Row,
    table::{age, first_three},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;

pub(crate) mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "Endpoints",
        plural: "endpoints",
        short: &["ep"],
        columns: &["Name", "Endpoints", "Age"],
        create_on_update: true,
        ..Row::NAMESPACED
    };
    Definition { list_kind: "EndpointsList".into(), ..row.define(Endpoints) }
}

#[derive(Debug)]
struct Endpoints;

impl Strategy for Endpoints {
    fn deprecation(&self) -> Option<&str> {
        Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
    }

    fn default(&self, object: &mut Object) {
        let subsets = object.map_mut().get_mut("subsets").and_then(Value::as_array_mut);
        for subset in subsets.into_iter().flatten() {
            let ports = subset.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
                crate::defaulting::text(port, "protocol", "TCP");
            }
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::endpoints(object);
        gates::allow(context.features, &mut errors);
        warn(context, object, &errors);
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = validation::update(object, old);
        gates::allow(context.features, &mut errors);
        warn(context, object, &errors);
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), addresses(object).into(), age(object, now)]
    }
}

/// Warns of addresses, but for those that the controller wrote.
fn warn(context: &Context<'_>, object: &Object, errors: &Errors) {
    let by_controller =
        object.label("endpoints.kubernetes.io/managed-by") == Some("endpoint-controller");
    if !errors.is_empty() || by_controller {
        return;
    }
    for subset in At::top(object.map(), "subsets").items() {
        for list in ["addresses", "notReadyAddresses"] {
            subset.get(list).items().for_each(|at| warn_of_ip(context.warnings, &at.get("ip")));
        }
    }
}

fn addresses(object: &Object) -> String {
    let subsets = sub(object.map(), "subsets").as_array().map_or(&[][..], Vec::as_slice);
    if subsets.is_empty() {
        return "<none>".to_owned();
    }
    let mut list = Vec::new();
    for subset in subsets {
        let ips = || subset.list("addresses").iter().map(|address| address.text("ip"));
        if subset.list("ports").is_empty() {
            list.extend(ips().map(str::to_owned));
        }
        for port in subset.list("ports") {
            list.extend(ips().map(|ip| host_port(ip, port.int("port"))));
        }
    }
    first_three(&list)
}

fn host_port(host: &str, port: i64) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
