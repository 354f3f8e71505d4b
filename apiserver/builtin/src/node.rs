//! Nodes.

use crate::{
    addresses::warn_of_cidr,
    gates,
    hooks::{change_only, keep},
    look::{At, Look, sub},
    row::{PROXY, Part, Row},
    table::{age, or},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::Value;
use std::collections::BTreeSet;

mod annotations;
mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "Node",
        plural: "nodes",
        short: &["no"],
        columns: &[
            "Name",
            "Status",
            "Roles",
            "Age",
            "Version",
            "+Internal-IP",
            "+External-IP",
            "+OS-Image",
            "+Kernel-Version",
            "+Container-Runtime",
        ],
        parts: &[Part::Handler("proxy", "", "v1", "NodeProxyOptions", PROXY), Part::Status],
        fields: &["spec.unschedulable"],
        ..Row::CLUSTER
    };
    row.define(Nodes)
}

#[derive(Debug)]
struct Nodes;

impl Strategy for Nodes {
    fn default(&self, object: &mut Object) {
        both_networks(object);
        let Some(capacity) = object.at(&["status", "capacity"]).and_then(Value::as_object).cloned()
        else {
            return;
        };
        if object.at(&["status", "allocatable"]).is_some_and(Value::is_object) {
            return;
        }
        object.set(&["status", "allocatable"], capacity);
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        if !context.features.is_on("NodeDeclaredFeatures") {
            object.remove(&["status", "declaredFeatures"]);
        }
        object.remove(&["spec", "configSource"]);
        object.remove(&["status", "config"]);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            change_only(object, old, "status");
            if old.at(&["status", "config"]).is_none() {
                object.remove(&["status", "config"]);
            }
            return;
        }
        keep(object, old, "status");
        if old.at(&["spec", "configSource"]).is_none() {
            object.remove(&["spec", "configSource"]);
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::node(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = Errors::new();
        if context.subresource != "status" {
            errors.extend(validation::node(object));
        }
        errors.extend(validation::update(object, old));
        gates::allow(context.features, &mut errors);
        if errors.is_empty() && context.subresource != "status" {
            warn(context, object);
        }
        errors
    }

    fn field(&self, object: &Object, _path: &str) -> String {
        object
            .at(&["spec", "unschedulable"])
            .and_then(Value::as_bool)
            .unwrap_or_default()
            .to_string()
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let status = sub(object.map(), "status");
        let info = status.sub("nodeInfo");
        let mut kernel = or(info.text("kernelVersion"), "<unknown>").to_owned();
        let architecture = info.text("architecture");
        if !architecture.is_empty() {
            kernel.push_str(&format!(" ({architecture})"));
        }
        vec![
            object.name().into(),
            state(object).into(),
            roles(object).into(),
            age(object, now),
            info.text("kubeletVersion").into(),
            address(status, "InternalIP").into(),
            address(status, "ExternalIP").into(),
            or(info.text("osImage"), "<unknown>").into(),
            kernel.into(),
            or(info.text("containerRuntimeVersion"), "<unknown>").into(),
        ]
    }
}

/// The field of old clients, `podCIDR`, is the first of `podCIDRs` and wins over it.
fn both_networks(object: &mut Object) {
    let first = sub(object.map(), "spec")
        .list("podCIDRs")
        .first()
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let single = object.text(&["spec", "podCIDR"]).to_owned();
    if single.is_empty() && !first.is_empty() {
        object.set(&["spec", "podCIDR"], first);
    } else if single != first {
        object.set(&["spec", "podCIDRs"], vec![single]);
    }
}

fn warn(context: &Context<'_>, object: &Object) {
    if object.at(&["spec", "configSource"]).is_some() {
        context.warnings.add("spec.configSource: the feature is removed");
    }
    if !object.text(&["spec", "externalID"]).is_empty() {
        context
            .warnings
            .add("spec.externalID: this field is deprecated, and is unused by Kubernetes");
    }
    for network in At::top(object.map(), "spec").get("podCIDRs").items() {
        warn_of_cidr(context.warnings, &network);
    }
}

fn state(object: &Object) -> String {
    let conditions = sub(object.map(), "status").list("conditions");
    let ready = match conditions.iter().rfind(|condition| condition.text("type") == "Ready") {
        Some(condition) if condition.text("status") == "True" => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    let cordoned = sub(object.map(), "spec").flag("unschedulable");
    if cordoned { format!("{ready},SchedulingDisabled") } else { ready.to_owned() }
}

fn roles(object: &Object) -> String {
    let mut roles = BTreeSet::new();
    for (key, value) in object.labels() {
        match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) if !role.is_empty() => drop(roles.insert(role)),
            None if key == "kubernetes.io/role" && !value.is_empty() => drop(roles.insert(value)),
            _ => {}
        }
    }
    let roles: Vec<_> = roles.into_iter().collect();
    or(&roles.join(","), "<none>").to_owned()
}

fn address<'a>(status: &'a Value, kind: &str) -> &'a str {
    let found = status.list("addresses").iter().find(|address| address.text("type") == kind);
    found.map_or("<none>", |address| address.text("address"))
}
