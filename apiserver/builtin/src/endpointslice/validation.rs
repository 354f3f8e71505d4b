//! Whether an EndpointSlice makes sense.

use crate::{check, endpoints::validation::endpoint_ip, look::At};
use kubeplane_core::{
    Object,
    field::Errors,
    names::{self, address},
};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
const ADDRESSES_MAX: usize = 100;
const ENDPOINTS_MAX: usize = 1000;
const HINTS_MAX: usize = 8;
const PORTS_MAX: usize = 20_000;

pub(super) fn slice(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let kind = At::top(object.map(), "addressType");
    check::one_of(&kind, &["FQDN", "IPv4", "IPv6"], &mut errors);
    ports(&At::top(object.map(), "ports"), &mut errors);
    endpoints(&At::top(object.map(), "endpoints"), kind.str(), &mut errors);
    errors
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = slice(object);
    if object.at(&["endpoints"]) == old.at(&["endpoints"]) {
        errors.retain(|error| !error.path.as_str().starts_with("endpoints"));
    }
    let before = At::top(old.map(), "addressType");
    check::unchanged(&At::top(object.map(), "addressType"), before.value(), &mut errors);
    errors
}

fn ports(ports: &At<'_>, errors: &mut Errors) {
    if ports.len() > PORTS_MAX {
        return errors.push(ports.too_many(PORTS_MAX));
    }
    let mut seen = Vec::new();
    for port in ports.items() {
        let (name, protocol, application) =
            (port.get("name"), port.get("protocol"), port.get("appProtocol"));
        check::optional_dns_label(&name, errors);
        if seen.contains(&name.str()) {
            errors.push(name.duplicate());
        } else {
            seen.push(name.str());
        }
        if protocol.is_set() {
            check::one_of_if_set(&protocol, PROTOCOLS, errors);
        } else {
            errors.push(protocol.required(""));
        }
        if application.is_set() {
            check::qualified_name(&application, errors);
        }
    }
}

fn endpoints(list: &At<'_>, kind: &str, errors: &mut Errors) {
    if list.len() > ENDPOINTS_MAX {
        return errors.push(list.too_many(ENDPOINTS_MAX));
    }
    for endpoint in list.items() {
        let addresses = endpoint.get("addresses");
        if addresses.is_empty() {
            errors.push(addresses.required("must contain at least 1 address"));
        } else if addresses.len() > ADDRESSES_MAX {
            errors.push(addresses.too_many(ADDRESSES_MAX));
        }
        for address in addresses.items() {
            self::address(&addresses, &address, kind, errors);
        }
        let (node, hostname) = (endpoint.get("nodeName"), endpoint.get("hostname"));
        if node.is_set() {
            check::dns_subdomain(&node, errors);
        }
        if hostname.is_set() {
            check::dns_label(&hostname, errors);
        }
        let hints = endpoint.get("hints");
        if self::hints(&hints.get("forZones"), check::label_value, errors) {
            self::hints(&hints.get("forNodes"), check::dns_subdomain, errors);
        }
    }
}

fn address(list: &At<'_>, at: &At<'_>, kind: &str, errors: &mut Errors) {
    let problems = match kind {
        "IPv4" => address::is_valid_ip_for_legacy_field(at.str()),
        "IPv6" => address::is_valid_ip(at.str()),
        "FQDN" => names::is_fully_qualified_domain_name(at.str()),
        _ => return,
    };
    if !problems.is_empty() || kind == "FQDN" {
        return check::messages(at, problems, errors);
    }
    let is_v4 = address::parse_ip_sloppy(at.str()).is_some_and(|ip| ip.to_canonical().is_ipv4());
    if is_v4 != (kind == "IPv4") {
        errors.push(list.with(at.value()).invalid(format!("must be an {kind} address")));
    }
    endpoint_ip(at, errors);
}

/// Whether there are not too many.
fn hints(list: &At<'_>, check: fn(&At<'_>, &mut Errors), errors: &mut Errors) -> bool {
    if list.len() > HINTS_MAX {
        errors.push(list.too_many(HINTS_MAX));
        return false;
    }
    let mut seen = Vec::new();
    for hint in list.items() {
        let name = hint.get("name");
        if seen.contains(&name.str()) {
            errors.push(name.duplicate());
        } else {
            seen.push(name.str());
        }
        check(&name, errors);
    }
    true
}
