//! NetworkPolicies.

use crate::{
    addresses::warn_of_cidr,
    check,
    defaulting::{maps_in, missing},
    gates,
    look::{At, Look, sub},
    plain::Plain,
    row::Row,
    table::{age, selector},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object,
    definition::Context,
    field::Errors,
    names::{self, address},
};
use serde_json::{Value, json};

const PEERS: [(&str, &str); 2] = [("ingress", "from"), ("egress", "to")];

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "networking.k8s.io",
        kind: "NetworkPolicy",
        plural: "networkpolicies",
        short: &["netpol"],
        columns: &["Name", "Pod-Selector", "Age"],
        ..Row::NAMESPACED
    };
    row.define(Plain {
        default,
        counted: &["spec"],
        warn,
        validate: |object| policy(object, &[]),
        revalidate: false,
        update,
        gates: |context, _, _, errors| gates::allow(context.features, errors),
        row: cells,
        ..Plain::NEW
    })
}

fn warn(context: &Context<'_>, object: &Object, _old: Option<&Object>) {
    for (rules, peers) in PEERS {
        let rules = At::top(object.map(), "spec").get(rules);
        let blocks = rules.items().flat_map(|rule| rule.get(peers).items().collect::<Vec<_>>());
        for block in blocks.map(|peer| peer.get("ipBlock")) {
            warn_of_cidr(context.warnings, &block.get("cidr"));
            block.get("except").items().for_each(|at| warn_of_cidr(context.warnings, &at));
        }
    }
}

fn default(object: &mut Object) {
    let spec = object.map_at_mut(&["spec"]);
    if sub(spec, "policyTypes").as_array().is_none_or(Vec::is_empty) {
        let egress = sub(spec, "egress").as_array().is_some_and(|rules| !rules.is_empty());
        let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
        spec.insert("policyTypes".to_owned(), types);
    }
    for rules in ["ingress", "egress"] {
        for rule in maps_in(spec, rules) {
            for port in maps_in(rule, "ports") {
                missing(port, "protocol", "TCP");
            }
        }
    }
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let pods = sub(object.map(), "spec").sub("podSelector");
    vec![object.name().into(), selector(pods).into(), age(object, now)]
}

/// Networks that were there may stay as they are written, and values of selectors that are no values of labels if the
/// policy's own selector has such.
fn update(object: &Object, old: &Object) -> Errors {
    let before = At::top(old.map(), "spec");
    let mut known = Vec::new();
    for (rules, peers) in PEERS {
        for rule in before.get(rules).items() {
            for block in rule.get(peers).items().map(|peer| peer.get("ipBlock")) {
                known.push(block.get("cidr").str());
                known.extend(block.get("except").items().map(|except| except.str()));
            }
        }
    }
    let mut errors = policy(object, &known);
    let mut selector = Errors::new();
    check::label_selector(&before.get("podSelector"), &mut selector);
    if !selector.is_empty() {
        check::forgive_selected_values(&mut errors);
    }
    errors
}

fn policy(object: &Object, known: &[&str]) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    check::label_selector(&spec.get("podSelector"), &mut errors);
    for (rules, peers) in PEERS {
        for rule in spec.get(rules).items() {
            for port in rule.get("ports").items() {
                self::port(&port, &mut errors);
            }
            for peer in rule.get(peers).items() {
                self::peer(&peer, known, &mut errors);
            }
        }
    }
    let types = spec.get("policyTypes");
    if types.len() > 2 {
        errors.push(types.invalid("may not specify more than two policyTypes"));
        return errors;
    }
    for kind in types.items().filter(|kind| !matches!(kind.str(), "Ingress" | "Egress")) {
        errors.push(kind.not_supported(&["Ingress", "Egress"]));
    }
    errors
}

fn port(port: &At<'_>, errors: &mut Errors) {
    let (number, end) = (port.get("port"), port.get("endPort"));
    check::one_of_if_set(&port.get("protocol"), &["TCP", "UDP", "SCTP"], errors);
    let last = end.int();
    match number.value() {
        Value::Number(_) => {
            check::port_number(&number, errors);
            if let Some(last) = last {
                if last < number.int().unwrap_or_default() {
                    let detail = "must be greater than or equal to `port`";
                    errors.push(end.invalid_as(number.value().clone(), detail));
                }
                check::port_number(&end, errors);
            }
        }
        Value::String(name) => {
            if last.is_some() {
                errors.push(end.invalid("may not be specified when `port` is non-numeric"));
            }
            check::messages(&number, names::is_valid_port_name(name), errors);
        }
        _ if last.is_some() => {
            errors.push(end.invalid("may not be specified when `port` is not specified"))
        }
        _ => {}
    }
}

fn peer(peer: &At<'_>, known: &[&str], errors: &mut Errors) {
    let (pods, namespaces, block) =
        (peer.get("podSelector"), peer.get("namespaceSelector"), peer.get("ipBlock"));
    check::label_selector(&pods, errors);
    check::label_selector(&namespaces, errors);
    if block.is_set() {
        ip_block(&block, known, errors);
    }
    match (pods.is_set() || namespaces.is_set(), block.is_set()) {
        (false, false) => errors.push(peer.required("must specify a peer")),
        (true, true) => {
            errors.push(peer.forbidden("may not specify both ipBlock and another peer"))
        }
        _ => {}
    }
}

fn ip_block(block: &At<'_>, known: &[&str], errors: &mut Errors) {
    let network = block.get("cidr");
    if !check::required(&network, errors) {
        return;
    }
    check::legacy_cidr(&network, known, errors);
    let Some((base, length)) = address::parse_cidr_sloppy(network.str()) else { return };
    for except in block.get("except").items() {
        check::legacy_cidr(&except, known, errors);
        let Some((inner, inner_length)) = address::parse_cidr_sloppy(except.str()) else {
            continue;
        };
        let inside = base.is_ipv4() == inner.is_ipv4()
            && address::mask(inner, length) == address::mask(base, length)
            && length < inner_length;
        if !inside {
            errors.push(except.invalid("must be a strict subset of `cidr`"));
        }
    }
}
