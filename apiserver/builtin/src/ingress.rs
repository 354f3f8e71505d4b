//! Ingresses.

use crate::{
    addresses::warn_of_balancers,
    check, gates,
    ingressclass::object_reference,
    look::{At, Look, sub},
    plain::Plain,
    row::{Part, Row},
    table::{age, or},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, definition::Context, field::Errors, names};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const CLASS: &str = "kubernetes.io/ingress.class";

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "networking.k8s.io",
        kind: "Ingress",
        plural: "ingresses",
        short: &["ing"],
        columns: &["Name", "Class", "Hosts", "Address", "Ports", "Age"],
        parts: &[Part::Status],
        ..Row::NAMESPACED
    };
    row.define(Plain {
        status: Some(|| json!({"loadBalancer": {}})),
        counted: &["spec"],
        validate,
        revalidate: false,
        update,
        update_status,
        gates: allow,
        warn_status: |context, object| warn_of_balancers(context.warnings, object),
        row: cells,
        ..Plain::NEW
    })
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    let points = sub(object.map(), "status").sub("loadBalancer").list("ingress").iter();
    let addresses: BTreeSet<_> =
        points.map(|point| or(point.text("ip"), point.text("hostname"))).collect();
    let addresses: Vec<_> = addresses.into_iter().filter(|address| !address.is_empty()).collect();
    vec![
        object.name().into(),
        spec.sub("ingressClassName").as_str().unwrap_or("<none>").into(),
        hosts(spec.list("rules")).into(),
        addresses.join(",").into(),
        if spec.list("tls").is_empty() { "80".into() } else { "80, 443".into() },
        age(object, now),
    ]
}

fn hosts(rules: &[Value]) -> String {
    let named: Vec<_> =
        rules.iter().map(|rule| rule.text("host")).filter(|host| !host.is_empty()).collect();
    let shown = named[..named.len().min(3)].join(",");
    if named.len() >= 3 && rules.len() > 3 {
        format!("{shown} + {} more...", rules.len() - 3)
    } else {
        or(&shown, "*").to_owned()
    }
}

/// What is let pass because the stored object has it.
#[derive(Debug, Default, Clone, Copy)]
struct Leniency {
    secrets: bool,
    wildcard_rules: bool,
}

fn validate(object: &Object) -> Errors {
    let mut errors = spec(object, Leniency::default());
    let class = At::top(object.map(), "spec").get("ingressClassName");
    let annotation = object.annotation(CLASS);
    if let Some(annotation) = annotation.filter(|text| class.is_set() && *text != class.str()) {
        let at = At::top(object.map(), "annotations").get(CLASS);
        errors.push(
            at.invalid_as(annotation, "must match `ingressClassName` when both are specified"),
        );
    }
    errors
}

/// Addresses of the status as old gates had them, and names of Services too, unless the stored object has such a name.
fn allow(context: &Context<'_>, object: &Object, old: Option<&Object>, errors: &mut Errors) {
    gates::allow(context.features, errors);
    let odd = |object: &Object| {
        let mut found = Errors::new();
        let names = services(&At::top(object.map(), "spec"));
        names.iter().for_each(|name| gates::service_name(context.features, name, &mut found));
        found
    };
    if context.subresource.is_empty() && old.is_none_or(|old| odd(old).is_empty()) {
        errors.extend(odd(object));
    }
}

/// The names of Services that requests go to.
fn services<'a>(spec: &At<'a>) -> Vec<At<'a>> {
    let rules = spec.get("rules").items();
    let paths = rules.flat_map(|rule| rule.get("http").get("paths").items());
    let backends = paths.map(|path| path.get("backend"));
    let all = std::iter::once(spec.get("defaultBackend")).chain(backends);
    all.map(|backend| backend.get("service").get("name")).collect()
}

fn update(object: &Object, old: &Object) -> Errors {
    let before = At::top(old.map(), "spec");
    let mut secrets = Errors::new();
    for tls in before.get("tls").items() {
        check::optional_dns_subdomain(&tls.get("secretName"), &mut secrets);
    }
    let wildcard_rules = before.get("rules").items().any(|rule| {
        let mut wrong = Errors::new();
        http(&rule.get("http"), &mut wrong);
        rule.get("host").str().contains('*')
            && (!wrong.is_empty() || names_a_service_oddly(&rule.get("http")))
    });
    spec(object, Leniency { secrets: !secrets.is_empty(), wildcard_rules })
}

/// Services of names that were none once.
fn names_a_service_oddly(http: &At<'_>) -> bool {
    http.get("paths").items().any(|path| {
        let name = path.get("backend").get("service").get("name");
        !name.str().is_empty() && !names::is_dns1035_label(name.str()).is_empty()
    })
}

fn spec(object: &Object, leniency: Leniency) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let (backend, rules, class) =
        (spec.get("defaultBackend"), spec.get("rules"), spec.get("ingressClassName"));
    if rules.is_empty() && !backend.is_set() {
        errors.push(
            spec.invalid_as(Value::Null, "either `defaultBackend` or `rules` must be specified"),
        );
    }
    if backend.is_set() {
        self::backend(&backend, &mut errors);
    }
    for rule in rules.items() {
        host(&rule.get("host"), &mut errors);
        if !(leniency.wildcard_rules && rule.get("host").str().contains('*')) {
            http(&rule.get("http"), &mut errors);
        }
    }
    for tls in spec.get("tls").items() {
        for host in tls.get("hosts").items() {
            wildcard_or_name(&host, &mut errors);
        }
        if !leniency.secrets {
            check::optional_dns_subdomain(&tls.get("secretName"), &mut errors);
        }
    }
    if class.is_set() {
        check::dns_subdomain(&class, &mut errors);
    }
    errors
}

fn wildcard_or_name(host: &At<'_>, errors: &mut Errors) {
    if host.str().contains('*') {
        check::messages(host, names::is_wildcard_dns1123_subdomain(host.str()), errors);
    } else {
        check::dns_subdomain(host, errors);
    }
}

fn host(host: &At<'_>, errors: &mut Errors) {
    if host.str().is_empty() {
        return;
    }
    if names::address::parse_ip_sloppy(host.str()).is_some() {
        errors.push(host.invalid("must be a DNS name, not an IP address"));
    }
    wildcard_or_name(host, errors);
}

fn http(http: &At<'_>, errors: &mut Errors) {
    if !http.is_set() {
        return;
    }
    let paths = http.get("paths");
    if paths.is_empty() {
        errors.push(paths.required(""));
    }
    for path in paths.items() {
        let kind = path.get("pathType");
        if !kind.is_set() {
            errors.push(kind.required("pathType must be specified"));
            continue;
        }
        self::path(&path.get("path"), &kind, errors);
        backend(&path.get("backend"), errors);
    }
}

fn path(path: &At<'_>, kind: &At<'_>, errors: &mut Errors) {
    let text = path.str();
    match kind.str() {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
            for part in
                ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part))
            {
                errors.push(path.invalid(format!("must not contain '{part}'")));
            }
            for end in ["/..", "/."].into_iter().filter(|end| text.ends_with(end)) {
                errors.push(path.invalid(format!("cannot end with '{end}'")));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.push(path.invalid("must be an absolute path"));
            }
        }
        _ => errors.push(kind.not_supported(&["Exact", "ImplementationSpecific", "Prefix"])),
    }
}

fn backend(backend: &At<'_>, errors: &mut Errors) {
    let (service, resource) = (backend.get("service"), backend.get("resource"));
    match (service.is_set(), resource.is_set()) {
        (true, true) => {
            errors.push(backend.invalid_as("", "cannot set both resource and service backends"))
        }
        (false, true) => object_reference(&resource, errors),
        (false, false) => {
            errors.push(backend.invalid_as("", "resource or service backend is required"))
        }
        (true, false) => {
            check::required_dns_label(&service.get("name"), errors);
            let (name, number) =
                (service.get("port").get("name"), service.get("port").get("number"));
            match (!name.str().is_empty(), number.int().unwrap_or_default() != 0) {
                (true, true) => {
                    errors.push(backend.invalid_as("", "cannot set both port name & port number"))
                }
                (true, false) => {
                    check::messages(&name, names::is_valid_port_name(name.str()), errors)
                }
                (false, true) => check::port_number(&number, errors),
                (false, false) => errors.push(backend.required("port name or number is required")),
            }
        }
    }
}

fn update_status(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let points = |object: &Object| -> Vec<String> {
        let points = sub(object.map(), "status").sub("loadBalancer").list("ingress").iter();
        points.map(|point| point.text("ip").to_owned()).collect()
    };
    let known = points(old);
    let known: Vec<_> = known.iter().map(String::as_str).collect();
    for point in At::top(object.map(), "status").get("loadBalancer").get("ingress").items() {
        let (ip, hostname) = (point.get("ip"), point.get("hostname"));
        if !ip.str().is_empty() {
            check::legacy_ip(&ip, &known, &mut errors);
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
