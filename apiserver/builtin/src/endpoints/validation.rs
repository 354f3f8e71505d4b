//! Whether Endpoints make sense.

use crate::{check, look::At};
use kubeplane_core::{Object, field::Errors, names::address};
use std::net::IpAddr;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub(super) fn endpoints(object: &Object) -> Errors {
    let mut errors = Errors::new();
    for subset in At::top(object.map(), "subsets").items() {
        let (ready, others, ports) =
            (subset.get("addresses"), subset.get("notReadyAddresses"), subset.get("ports"));
        if ready.len() + others.len() == 0 {
            errors.push(subset.required("must specify `addresses` or `notReadyAddresses`"));
        }
        for address in ready.items().chain(others.items()) {
            self::address(&address, &mut errors);
        }
        for port in ports.items() {
            self::port(&port, ports.len() > 1, &mut errors);
        }
    }
    errors
}

/// Subsets that did not change are not looked at again.
pub(super) fn update(object: &Object, old: &Object) -> Errors {
    if object.at(&["subsets"]) == old.at(&["subsets"]) { Errors::new() } else { endpoints(object) }
}

fn address(at: &At<'_>, errors: &mut Errors) {
    check::legacy_ip(&at.get("ip"), &[], errors);
    check::optional_dns_label(&at.get("hostname"), errors);
    let node = at.get("nodeName");
    if node.is_set() {
        check::dns_subdomain(&node, errors);
    }
    endpoint_ip(&at.get("ip"), errors);
}

/// An address that traffic can be sent to.
pub(crate) fn endpoint_ip(at: &At<'_>, errors: &mut Errors) {
    let Some(ip) = address::parse_ip_sloppy(at.str()) else {
        return errors.push(at.invalid("must be a valid IP address"));
    };
    let ip = ip.to_canonical();
    let (local, local_multicast) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.segments()[0] & 0xff0f == 0xff02),
    };
    if ip.is_unspecified() {
        errors.push(at.invalid(format!("may not be unspecified ({})", at.str())));
    }
    if ip.is_loopback() {
        errors.push(at.invalid("may not be in the loopback range (127.0.0.0/8, ::1/128)"));
    }
    if local {
        errors.push(at.invalid("may not be in the link-local range (169.254.0.0/16, fe80::/10)"));
    }
    if local_multicast {
        errors.push(
            at.invalid("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
        );
    }
}

fn port(at: &At<'_>, needs_name: bool, errors: &mut Errors) {
    let name = at.get("name");
    if needs_name {
        check::required_dns_label(&name, errors);
    } else {
        check::optional_dns_label(&name, errors);
    }
    check::port_number(&at.get("port"), errors);
    check::one_of(&at.get("protocol"), PROTOCOLS, errors);
    let application = at.get("appProtocol");
    if application.is_set() {
        check::qualified_name(&application, errors);
    }
}
