//! Whether a Service makes sense.

use super::Shape;
use crate::{check, endpoints::validation::endpoint_ip, look::At};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

mod addresses;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
const MODE: &str = "service.kubernetes.io/topology-mode";
const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const ONLY_BALANCED: &str = "may only be used when `type` is 'LoadBalancer'";
/// One day.
const AFFINITY_MAX: i64 = 86_400;

pub(super) fn create(object: &Object) -> Errors {
    let mut errors = Errors::new();
    service(object, None, &mut errors);
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    addresses::changes(object, old, &mut errors);
    let (shape, before) = (Shape::of(object), Shape::of(old));
    let spec = At::top(object.map(), "spec");
    let (class, old_class) =
        (spec.get("loadBalancerClass"), At::top(old.map(), "spec").get("loadBalancerClass"));
    if shape.is_balanced() && before.is_balanced() && class.value() != old_class.value() {
        errors.push(class.invalid("may not change once set"));
    }
    balancer_class(&spec, &mut errors);
    let port = spec.get("healthCheckNodePort");
    let old_port = At::top(old.map(), "spec").get("healthCheckNodePort");
    if shape.has_health_check_port()
        && before.has_health_check_port()
        && port.int() != old_port.int()
    {
        errors.push(port.forbidden(check::IMMUTABLE));
    }
    service(object, Some(old), &mut errors);
    errors
}

fn service(object: &Object, old: Option<&Object>, errors: &mut Errors) {
    let spec = At::top(object.map(), "spec");
    let shape = Shape::of(object);
    topology(object, errors);
    let headless = is_headless(&spec);
    let ports = spec.get("ports");
    if ports.is_empty() && !headless && shape.has_cluster_ip() {
        errors.push(ports.required(""));
    }
    by_type(&spec, shape, headless, errors);
    self::ports(&ports, errors);
    check::labels(&spec.get("selector"), errors);
    affinity(&spec, errors);
    errors.extend(kubeplane_workload::services::address_errors(object, old));
    let known = texts_of(old, "externalIPs");
    for ip in spec.get("externalIPs").items() {
        let found = errors.len();
        check::legacy_ip(&ip, &known, errors);
        if errors.len() == found {
            endpoint_ip(&ip, errors);
        }
    }
    check::one_of(
        &spec.get("type"),
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        errors,
    );
    node_ports(&ports, shape, errors);
    source_ranges(object, old, shape, errors);
    let allocate = spec.get("allocateLoadBalancerNodePorts");
    if allocate.is_set() && !shape.is_balanced() {
        errors.push(allocate.forbidden(ONLY_BALANCED));
    }
    if !allocate.is_set() && shape.is_balanced() {
        errors.push(Error::required(&Path::new("allocateLoadBalancerNodePorts"), ""));
    }
    balancer_class(&spec, errors);
    traffic(&spec, shape, errors);
}

fn texts_of<'a>(old: Option<&'a Object>, field: &'static str) -> Vec<&'a str> {
    old.map(|old| At::top(old.map(), "spec").get(field).items().map(|item| item.str()).collect())
        .unwrap_or_default()
}

fn is_headless(spec: &At<'_>) -> bool {
    let ips = spec.get("clusterIPs");
    ips.len() == 1 && ips.index(0).str() == "None"
}

fn topology(object: &Object, errors: &mut Errors) {
    let annotations = At::top(object.map(), "metadata").get("annotations");
    let (hints, mode) = (annotations.key(HINTS), annotations.key(MODE));
    if hints.is_set() && mode.is_set() && hints.str() != mode.str() {
        errors
            .push(mode.invalid(format!("must match annotations[{HINTS}] when both are specified")));
    }
}

fn by_type(spec: &At<'_>, shape: Shape<'_>, headless: bool, errors: &mut Errors) {
    match shape.kind {
        kind @ ("LoadBalancer" | "NodePort") if headless => {
            let detail = format!("may not be set to 'None' for {kind} services");
            errors.push(spec.get("clusterIPs").index(0).invalid(detail));
        }
        "ExternalName" => {
            for field in ["clusterIPs", "ipFamilies"] {
                if !spec.get(field).is_empty() {
                    errors.push(
                        spec.get(field).forbidden("may not be set for ExternalName services"),
                    );
                }
            }
            if spec.get("ipFamilyPolicy").is_set() {
                let detail = "may not be set for ExternalName services";
                errors.push(spec.get("ipFamilyPolicy").forbidden(detail));
            }
            let name = spec.get("externalName");
            let bare = name.str().strip_suffix('.').unwrap_or(name.str());
            if bare.is_empty() {
                errors.push(name.required(""));
            } else {
                let problems = names::is_dns1123_subdomain(bare).into_iter();
                errors.extend(problems.map(|message| name.invalid_as(bare, message)));
            }
        }
        _ => {}
    }
}

fn ports(ports: &At<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for port in ports.items() {
        let name = port.get("name");
        if ports.len() > 1 && name.str().is_empty() {
            errors.push(name.required(""));
        } else if !name.str().is_empty() {
            check::dns_label(&name, errors);
            if !seen.insert(name.str()) {
                errors.push(name.duplicate());
            }
        }
        check::port_number(&port.get("port"), errors);
        check::one_of(&port.get("protocol"), PROTOCOLS, errors);
        check::port(&port.get("targetPort"), errors);
        let application = port.get("appProtocol");
        if application.is_set() {
            check::qualified_name(&application, errors);
        }
    }
}

fn affinity(spec: &At<'_>, errors: &mut Errors) {
    let (affinity, config) = (spec.get("sessionAffinity"), spec.get("sessionAffinityConfig"));
    check::one_of(&affinity, &["ClientIP", "None"], errors);
    match affinity.str() {
        "ClientIP" => {
            let detail = "when session affinity type is ClientIP";
            let client = config.get("clientIP");
            let timeout = client.get("timeoutSeconds");
            if let Some(missing) = [&config, &client, &timeout].into_iter().find(|at| !at.is_set())
            {
                errors.push(missing.required(detail));
            } else if !timeout.int().is_some_and(|seconds| (1..=AFFINITY_MAX).contains(&seconds)) {
                errors.push(
                    timeout.invalid(format!("must be greater than 0 and less than {AFFINITY_MAX}")),
                );
            }
        }
        "None" if config.is_set() => {
            errors.push(config.forbidden("must not be set when session affinity is None"));
        }
        _ => {}
    }
}

fn node_ports(ports: &At<'_>, shape: Shape<'_>, errors: &mut Errors) {
    let number = |at: &At<'_>, field| at.get(field).int().unwrap_or_default();
    if shape.kind == "ClusterIP" {
        for port in ports.items().filter(|port| number(port, "nodePort") != 0) {
            errors
                .push(port.get("nodePort").forbidden("may not be used when `type` is 'ClusterIP'"));
        }
    }
    let mut outside = BTreeSet::new();
    for port in ports.items().filter(|port| number(port, "nodePort") != 0) {
        if !outside.insert((port.get("protocol").str(), number(&port, "nodePort"))) {
            errors.push(port.get("nodePort").duplicate());
        }
    }
    let mut inside = BTreeSet::new();
    for port in ports.items() {
        if !inside.insert((port.get("protocol").str(), number(&port, "port"))) {
            // The original keeps what it has seen as ports without anything else.
            let number = number(&port, "port");
            errors.push(
                port.duplicate_as(json!({"protocol": port.get("protocol").str(), "port": number})),
            );
        }
    }
}

/// Networks that a load balancer lets in; once an annotation, and since then spaces around them are fine.
fn source_ranges(object: &Object, old: Option<&Object>, shape: Shape<'_>, errors: &mut Errors) {
    let ranges = At::top(object.map(), "spec").get("loadBalancerSourceRanges");
    let annotation = At::top(object.map(), "metadata").get("annotations").key(RANGES);
    if !ranges.is_empty() {
        let at = At::top(object.map(), "spec").get("LoadBalancerSourceRanges").with(ranges.value());
        if !shape.is_balanced() {
            errors.push(at.forbidden(ONLY_BALANCED));
        }
        let known: Vec<_> =
            texts_of(old, "loadBalancerSourceRanges").into_iter().map(str::trim).collect();
        for range in at.items() {
            let value = Value::from(range.str().trim());
            check::legacy_cidr(&range.with(&value), &known, errors);
        }
    } else if annotation.is_set() {
        if !shape.is_balanced() {
            errors.push(annotation.forbidden(ONLY_BALANCED));
        }
        let text = annotation.str();
        if !text.trim().is_empty() && old.and_then(|old| old.annotation(RANGES)) != Some(text) {
            for range in text.split(',') {
                check::legacy_cidr(&annotation.with(&range.trim().into()), &[], errors);
            }
        }
    }
}

fn balancer_class(spec: &At<'_>, errors: &mut Errors) {
    let class = spec.get("loadBalancerClass");
    if !class.is_set() {
    } else if spec.get("type").str() == "LoadBalancer" {
        check::qualified_name(&class, errors);
    } else {
        errors.push(class.forbidden(ONLY_BALANCED));
    }
}

fn traffic(spec: &At<'_>, shape: Shape<'_>, errors: &mut Errors) {
    let (outside, inside) = (spec.get("externalTrafficPolicy"), spec.get("internalTrafficPolicy"));
    if shape.is_reachable_from_outside() {
        check::one_of(&outside, &["Cluster", "Local"], errors);
    } else if !outside.str().is_empty() {
        errors.push(outside.invalid("may only be set for externally-accessible services"));
    }
    let port = spec.get("healthCheckNodePort");
    let number = port.int().unwrap_or_default();
    if !shape.has_health_check_port() {
        if number != 0 {
            let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            errors.push(port.invalid(detail));
        }
    } else if number == 0 {
        errors.push(port.required(""));
    } else {
        check::port_number(&port, errors);
    }
    if !inside.is_set() && matches!(shape.kind, "NodePort" | "LoadBalancer" | "ClusterIP") {
        errors.push(inside.required(""));
    }
    check::one_of_if_set(&inside, &["Cluster", "Local"], errors);
    let distributions = ["PreferClose", "PreferSameZone", "PreferSameNode"];
    check::one_of_if_set(&spec.get("trafficDistribution"), &distributions, errors);
}

/// What a load balancer says of itself.
pub(super) fn status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let points = At::top(object.map(), "status").get("loadBalancer").get("ingress");
    if !Shape::of(object).is_balanced() && !points.is_empty() {
        return vec![points.forbidden("may only be used when `spec.type` is 'LoadBalancer'")];
    }
    let before = At::top(old.map(), "status").get("loadBalancer").get("ingress");
    let known: Vec<_> = before.items().map(|point| point.get("ip").str()).collect();
    for point in points.items() {
        let (ip, mode, hostname) = (point.get("ip"), point.get("ipMode"), point.get("hostname"));
        if !ip.str().is_empty() {
            check::legacy_ip(&ip, &known, &mut errors);
        }
        match (mode.is_set(), ip.str().is_empty()) {
            (false, false) => errors.push(mode.required("must be specified when `ip` is set")),
            (true, true) => {
                errors.push(mode.forbidden("may not be specified when `ip` is not set"))
            }
            (true, false) => check::one_of_if_set(&mode, &["Proxy", "VIP"], &mut errors),
            (false, true) => {}
        }
        if !hostname.str().is_empty() {
            check::dns_subdomain(&hostname, &mut errors);
            if names::address::parse_ip_sloppy(hostname.str()).is_some() {
                errors.push(hostname.invalid("must be a DNS name, not an IP address"));
            }
        }
    }
    errors
}
