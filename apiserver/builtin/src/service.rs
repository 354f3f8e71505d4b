//! Services.

use crate::{
    addresses::warn_of_balancers,
    gates,
    hooks::{change_only, keep},
    look::{At, Look, sub},
    row::{PROXY, Part, Row},
    table::{age, labels, or},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    definition::{Context, NameRule},
    field::Errors,
};
use kubeplane_workload::services;
use serde_json::{Value, json};
use std::collections::BTreeSet;

mod defaults;
mod prepare;
mod validation;
mod warnings;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "Service",
        plural: "services",
        short: &["svc"],
        categories: &["all"],
        columns: &["Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "+Selector"],
        parts: &[Part::Handler("proxy", "", "v1", "ServiceProxyOptions", PROXY), Part::Status],
        fields: &["spec.clusterIP", "spec.type"],
        create_on_update: true,
        ..Row::NAMESPACED
    };
    row.define(Services)
}

#[derive(Debug)]
struct Services;

impl Strategy for Services {
    fn default(&self, object: &mut Object) {
        defaults::service(object);
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"loadBalancer": {}}));
        services::normalize(object, None);
        prepare::drop_what_is_hidden(object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        keep(object, old, "status");
        services::keep_allocated(object, old);
        services::normalize(object, Some(old));
        prepare::drop_what_the_type_lacks(object, old);
        prepare::drop_what_is_hidden(object);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = Errors::new();
        let name = At::top(object.map(), "metadata").get("name");
        gates::service_name(context.features, &name, &mut errors);
        errors.extend(validation::create(object));
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warnings::service(context.warnings, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        match context.subresource {
            "status" => {
                let mut errors = validation::status(object, old);
                gates::allow(context.features, &mut errors);
                if errors.is_empty() {
                    warn_of_balancers(context.warnings, object);
                }
                errors
            }
            _ => {
                let mut errors = validation::update(object, old);
                gates::allow(context.features, &mut errors);
                if errors.is_empty() {
                    warnings::service(context.warnings, object);
                }
                errors
            }
        }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::DnsLabel
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let ports: Vec<_> = spec.list("ports").iter().map(port_text).collect();
        vec![
            object.name().into(),
            spec.text("type").into(),
            spec.list("clusterIPs").first().and_then(Value::as_str).unwrap_or("<none>").into(),
            external_ip(spec, status).into(),
            or(&ports.join(","), "<none>").into(),
            age(object, now),
            labels(spec.sub("selector")).into(),
        ]
    }
}

fn port_text(port: &Value) -> String {
    let (number, protocol) = (port.int("port"), port.text("protocol"));
    match port.int("nodePort") {
        node_port if node_port > 0 => format!("{number}:{node_port}/{protocol}"),
        _ => format!("{number}/{protocol}"),
    }
}

fn external_ip(spec: &Value, status: &Value) -> String {
    let own: Vec<_> = spec.list("externalIPs").iter().filter_map(Value::as_str).collect();
    match spec.text("type") {
        "ClusterIP" | "NodePort" => or(&own.join(","), "<none>").to_owned(),
        "ExternalName" => spec.text("externalName").to_owned(),
        "LoadBalancer" => {
            let ingress = status.sub("loadBalancer").list("ingress").iter();
            let given: BTreeSet<_> = ingress
                .map(|point| or(point.text("ip"), point.text("hostname")))
                .filter(|address| !address.is_empty())
                .collect();
            let all: Vec<_> = given.into_iter().chain(own).collect();
            or(&all.join(","), "<pending>").to_owned()
        }
        _ => "<unknown>".to_owned(),
    }
}

/// What kind of access a service gives.
#[derive(Debug, Clone, Copy)]
struct Shape<'a> {
    spec: &'a Value,
    kind: &'a str,
}

impl<'a> Shape<'a> {
    fn of(service: &'a Object) -> Self {
        let spec = sub(service.map(), "spec");
        Self { spec, kind: spec.text("type") }
    }

    fn has_cluster_ip(self) -> bool {
        self.kind != "ExternalName"
    }

    fn is_balanced(self) -> bool {
        self.kind == "LoadBalancer"
    }

    fn has_node_ports(self) -> bool {
        matches!(self.kind, "NodePort" | "LoadBalancer")
    }

    fn has_health_check_port(self) -> bool {
        self.is_balanced() && self.spec.text("externalTrafficPolicy") == "Local"
    }

    fn is_reachable_from_outside(self) -> bool {
        let has_ips = !self.spec.list("externalIPs").is_empty();
        self.has_node_ports() || self.kind == "ClusterIP" && has_ips
    }
}
