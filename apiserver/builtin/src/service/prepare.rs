//! Fields that a Service of another type has no use for.

use super::Shape;
use crate::look::Look;
use kubeplane_core::Object;
use serde_json::{Value, json};
use std::collections::BTreeSet;

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

/// One that has no address inside never shows how that is reached, whoever set it.
pub(super) fn drop_what_is_hidden(object: &mut Object) {
    let shape = Shape::of(object);
    let known = ["Cluster", "Local"].contains(&shape.spec.text("internalTrafficPolicy"));
    if known && !shape.has_cluster_ip() {
        object.remove(&["spec", "internalTrafficPolicy"]);
    }
}

fn within(new: Shape<'_>, old: Shape<'_>) -> bool {
    let ports = |shape: Shape<'_>| -> BTreeSet<i64> {
        let numbers = shape.spec.list("ports").iter().map(|port| port.int("nodePort"));
        numbers.filter(|number| *number != 0).collect()
    };
    ports(new).is_subset(&ports(old))
}
