use super::{cluster_ip, cluster_ips, needs_address, texts};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names::address,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const POLICIES: [&str; 3] = ["PreferDualStack", "RequireDualStack", "SingleStack"];

/// What does not fit in `clusterIP`, `clusterIPs`, `ipFamilies` and `ipFamilyPolicy`; addresses that `old` has
/// may have any form.
#[must_use]
pub fn address_errors(service: &Object, old: Option<&Object>) -> Errors {
    let mut errors = Errors::new();
    if !needs_address(service) {
        return errors;
    }
    let at = |field: &str| Path::new("spec").child(field);
    let ips = cluster_ips(service);
    let all = |why: &str| Error::invalid(&at("clusterIPs"), json!(ips), why);
    match cluster_ip(service) {
        "" if !ips.is_empty() => {
            errors.push(all("must be empty when `clusterIP` is not specified"))
        }
        "" => {}
        _ if ips.is_empty() => errors.push(Error::required(&at("clusterIPs"), "")),
        ip if ips.first() != Some(&ip) => errors.push(all("first value must match `clusterIP`")),
        _ => {}
    }
    families(service, &mut errors);
    if let Some(policy) = service.at(&["spec", "ipFamilyPolicy"]).and_then(Value::as_str)
        && !POLICIES.contains(&policy)
    {
        errors.push(Error::not_supported(&at("ipFamilyPolicy"), policy, &POLICIES));
    }
    let found = errors.len();
    let known = old.map(cluster_ips).unwrap_or_default();
    for (index, ip) in ips.iter().enumerate() {
        if index == 0 && *ip == "None" {
            if ips.len() > 1 {
                errors.push(all("'None' must be the first and only value"));
            }
        } else if !known.contains(ip) {
            let problems = address::is_valid_ip_for_legacy_field(ip).into_iter();
            let path = at("clusterIPs").index(index);
            errors.extend(problems.map(|problem| Error::invalid(&path, *ip, problem)));
        }
    }
    let bad = errors.len() > found;
    if ips.len() > 2 {
        errors.push(all("may only hold up to 2 values"));
    }
    if !bad {
        stacks(service, &ips, &mut errors);
    }
    errors
}

fn families(service: &Object, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for (index, family) in texts(service, "ipFamilies").into_iter().enumerate() {
        let path = Path::new("spec").child("ipFamilies").index(index);
        if !FAMILIES.contains(&family) {
            errors.push(Error::not_supported(&path, family, &FAMILIES));
        }
        if !seen.insert(family) {
            errors.push(Error::duplicate(&path, family));
        }
    }
}

fn stacks(service: &Object, ips: &[&str], errors: &mut Errors) {
    let path = Path::new("spec").child("clusterIPs");
    let six = |ip: &&str| ip.contains(':');
    if ips.len() > 1 && (ips.iter().all(six) || !ips.iter().any(six)) {
        let why = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid(&path, json!(ips), why));
    }
    if ips == ["None"] {
        return;
    }
    for (index, (ip, expected)) in ips.iter().zip(texts(service, "ipFamilies")).enumerate() {
        if FAMILIES.contains(&expected) && six(ip) != (expected == "IPv6") {
            let why = format!("expected an {expected} value as indicated by `ipFamilies[{index}]`");
            errors.push(Error::invalid(&path.index(index), *ip, why));
        }
    }
}
