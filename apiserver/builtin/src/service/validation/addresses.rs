//! The addresses of a Service in the cluster, one for each family.

use super::{is_headless, texts_of};
use crate::{check, look::At};
use kubeplane_core::{Object, field::Errors, names::address};
use std::{collections::BTreeSet, net::IpAddr};

const CHANGED: &str = "may not change once set";

pub(super) fn cluster_ips(spec: &At<'_>, old: Option<&Object>, errors: &mut Errors) {
    let (ip, ips, families) =
        (spec.get("clusterIP"), spec.get("clusterIPs"), spec.get("ipFamilies"));
    if ip.str().is_empty() {
        if !ips.is_empty() {
            errors.push(ips.invalid("must be empty when `clusterIP` is not specified"));
        }
    } else if ips.is_empty() {
        errors.push(ips.required(""));
    } else if ips.index(0).str() != ip.str() {
        errors.push(ips.invalid("first value must match `clusterIP`"));
    }
    let mut seen = BTreeSet::new();
    for family in families.items() {
        check::one_of_if_set(&family, &["IPv4", "IPv6"], errors);
        if !seen.insert(family.str()) {
            errors.push(family.duplicate());
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    check::one_of_if_set(&spec.get("ipFamilyPolicy"), &policies, errors);
    let found = errors.len();
    let known = texts_of(old, "clusterIPs");
    for (index, item) in ips.items().enumerate() {
        if index == 0 && item.str() == "None" {
            if ips.len() > 1 {
                errors.push(ips.invalid("'None' must be the first and only value"));
            }
        } else {
            check::legacy_ip(&item, &known, errors);
        }
    }
    let bad = errors.len() > found;
    if ips.len() > 2 {
        errors.push(ips.invalid("may only hold up to 2 values"));
    }
    if !bad {
        stacks(spec, &ips, &families, errors);
    }
}

fn stacks(spec: &At<'_>, ips: &At<'_>, families: &At<'_>, errors: &mut Errors) {
    let parsed: Vec<_> = ips.items().filter_map(|ip| address::parse_ip_sloppy(ip.str())).collect();
    let both = parsed.iter().any(IpAddr::is_ipv4) && parsed.iter().any(IpAddr::is_ipv6);
    if ips.len() > 1 && !both {
        errors.push(ips.invalid("may specify no more than one IP for each IP family"));
    }
    if is_headless(spec) {
        return;
    }
    for (index, (ip, family)) in ips.items().zip(families.items()).enumerate() {
        let six = ip.str().contains(':');
        let expected = family.str();
        if expected == "IPv4" && six || expected == "IPv6" && !six {
            let detail =
                format!("expected an {expected} value as indicated by `ipFamilies[{index}]`");
            errors.push(ip.invalid(detail));
        }
    }
}

/// A second address can come and go; the first stays.
pub(super) fn changes(object: &Object, old: &Object, errors: &mut Errors) {
    let (spec, before) = (At::top(object.map(), "spec"), At::top(old.map(), "spec"));
    let external = |spec: &At<'_>| spec.get("type").str() == "ExternalName";
    if external(&spec) || external(&before) {
        return;
    }
    let (headless, was_headless) = (is_headless(&spec), is_headless(&before));
    if !(headless && was_headless) {
        list(&spec, &before, "clusterIPs", "clusterIP", errors);
    }
    if !headless && !was_headless {
        list(&spec, &before, "ipFamilies", "ipFamily", errors);
    }
}

fn list(spec: &At<'_>, before: &At<'_>, field: &'static str, what: &str, errors: &mut Errors) {
    let (new, old) = (spec.get(field), before.get(field));
    let first_changed =
        !new.is_empty() && !old.is_empty() && new.index(0).str() != old.index(0).str();
    let at_first = || new.index(0).with(new.value());
    if new.len() == old.len() {
        for (index, (item, before)) in new.items().zip(old.items()).enumerate() {
            if item.str() != before.str() {
                let index = if field == "clusterIPs" { index } else { 0 };
                errors.push(new.index(index).with(new.value()).invalid(CHANGED));
            }
        }
        return;
    }
    if old.len() > new.len() && spec.get("clusterIPs").is_empty() {
        errors.push(at_first().invalid(format!("primary {what} can not be unset")));
    }
    if first_changed {
        errors.push(at_first().invalid(CHANGED));
    }
    let policy = spec.get("ipFamilyPolicy");
    if old.len() > new.len() && new.len() == 1 && policy.str() != "SingleStack" {
        errors.push(
            policy.invalid(format!(
                "must be set to 'SingleStack' when releasing the secondary {what}"
            )),
        );
    }
}
