//! Fields of a Service that others follow from, or that the server filled in before.

use super::Shape;
use crate::look::{Look, sub};
use kubeplane_core::Object;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Old clients know `clusterIP` only, so that `clusterIPs` follows it.
pub(super) fn cluster_ips(object: &mut Object, old: Option<&Object>) {
    let spec = Shape::of(object).spec;
    let (ip, ips) = (spec.text("clusterIP").to_owned(), spec.list("clusterIPs").to_vec());
    let Some(old) = old else {
        if !ip.is_empty() && ips.is_empty() {
            object.set(&["spec", "clusterIPs"], json!([ip]));
        }
        return;
    };
    let old = Shape::of(old).spec;
    let (old_ip, old_ips) = (old.text("clusterIP"), old.list("clusterIPs"));
    if !old_ips.is_empty() && ips.is_empty() && old_ip == ip {
        object.set(&["spec", "clusterIPs"], old_ips);
    }
    if old_ip != ip && ips == old_ips {
        if !old_ip.is_empty() && ip.is_empty() {
            object.remove(&["spec", "clusterIPs"]);
        } else {
            object.set(&["spec", "clusterIPs"], json!([ip]));
        }
    }
}

/// What was allocated stays when a writer leaves it out.
pub(super) fn keep_allocated(object: &mut Object, old: &Object) {
    let (new, before) = (Shape::of(object), Shape::of(old));
    let (needs_ip, needs_check) = (
        new.has_cluster_ip() && before.has_cluster_ip(),
        new.has_health_check_port() && before.has_health_check_port(),
    );
    let needs_ports = takes_node_ports(new) && takes_node_ports(before);
    if needs_ip {
        if new.spec.text("clusterIP").is_empty() {
            copy(object, old, "clusterIP");
        }
        if sub(object.map(), "spec").list("clusterIPs").is_empty()
            && !before.spec.list("clusterIPs").is_empty()
        {
            copy(object, old, "clusterIPs");
        }
    }
    if needs_ports {
        keep_node_ports(object, old);
    }
    if needs_check && sub(object.map(), "spec").int("healthCheckNodePort") == 0 {
        copy(object, old, "healthCheckNodePort");
    }
}

fn takes_node_ports(shape: Shape<'_>) -> bool {
    shape.kind == "NodePort"
        || shape.is_balanced()
            && shape.spec.sub("allocateLoadBalancerNodePorts").as_bool().unwrap_or(true)
}

fn keep_node_ports(object: &mut Object, old: &Object) {
    let before = sub(old.map(), "spec").list("ports");
    let used = |ports: &[Value]| -> BTreeSet<i64> {
        ports.iter().map(|port| port.int("nodePort")).collect()
    };
    let both: BTreeSet<_> = used(before)
        .intersection(&used(sub(object.map(), "spec").list("ports")))
        .copied()
        .collect();
    let ports = object.map_at_mut(&["spec"]).get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        if port.int("nodePort") != 0 {
            continue;
        }
        let named = before.iter().rfind(|old| old.text("name") == port.text("name"));
        let number = named.map_or(0, |old| old.int("nodePort"));
        if let Some(port) = port.as_object_mut().filter(|_| number != 0 && !both.contains(&number))
        {
            port.insert("nodePort".to_owned(), number.into());
        }
    }
}

fn copy(object: &mut Object, old: &Object, field: &str) {
    if let Some(value) = old.at(&["spec", field]) {
        object.set(&["spec", field], value.clone());
    }
}

/// A change of type drops the fields that the new type has no use for, unless the writer changed them too.
pub(super) fn drop_what_the_type_lacks(object: &mut Object, old: &Object) {
    let (new, before) = (Shape::of(object), Shape::of(old));
    let same = |field: &str| new.spec.sub(field) == before.spec.sub(field);
    let mut gone = Vec::new();
    if before.has_cluster_ip() && !new.has_cluster_ip() {
        if same("clusterIP") && same("clusterIPs") {
            gone.extend(["clusterIP", "clusterIPs"]);
        }
        gone.extend(["ipFamilies", "ipFamilyPolicy"].into_iter().filter(|field| same(field)));
    }
    if before.has_health_check_port() && !new.has_health_check_port() && same("healthCheckNodePort")
    {
        gone.push("healthCheckNodePort");
    }
    if before.is_balanced() && !new.is_balanced() {
        let fields = ["allocateLoadBalancerNodePorts", "loadBalancerClass"];
        gone.extend(fields.into_iter().filter(|field| same(field)));
    }
    if before.is_reachable_from_outside()
        && !new.is_reachable_from_outside()
        && same("externalTrafficPolicy")
    {
        gone.push("externalTrafficPolicy");
    }
    let drops_node_ports = before.has_node_ports() && !new.has_node_ports() && within(new, before);
    let balanced = new.is_balanced();
    for field in gone {
        object.remove(&["spec", field]);
    }
    if drops_node_ports {
        let ports = object.map_at_mut(&["spec"]).get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten().filter_map(Value::as_object_mut) {
            port.remove("nodePort");
        }
    }
    if !balanced {
        object.set(&["status", "loadBalancer"], json!({}));
    }
}

fn within(new: Shape<'_>, old: Shape<'_>) -> bool {
    let ports = |shape: Shape<'_>| -> BTreeSet<i64> {
        let numbers = shape.spec.list("ports").iter().map(|port| port.int("nodePort"));
        numbers.filter(|number| *number != 0).collect()
    };
    ports(new).is_subset(&ports(old))
}
