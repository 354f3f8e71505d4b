use super::{Family, address_errors, cluster_ip, cluster_ips, needs_address, texts};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names::address::parse_ip_sloppy,
};
use serde_json::{Value, json};

/// Fills in `ipFamilyPolicy` and `ipFamilies` for a cluster of these families, the first of which is what a
/// Service gets that asks for none. Also drops the second address when `SingleStack` was asked for.
///
/// # Errors
/// When what was asked for does not fit together, or not this cluster.
pub fn complete_families(
    service: &mut Object,
    old: Option<&Object>,
    cluster: &[Family],
) -> Result<(), Errors> {
    if !needs_address(service) || old.is_some_and(|old| keeps_preference(service, old)) {
        return Ok(());
    }
    if policy(service).is_none() {
        let kept = old.and_then(policy);
        let policy = kept.unwrap_or(if open(service) { "RequireDualStack" } else { "SingleStack" });
        let policy = policy.to_owned();
        service.set(&["spec", "ipFamilyPolicy"], policy);
    }
    refuse(address_errors(service, old))?;
    let mut errors = Errors::new();
    if let Some(old) = old {
        drop_second(service, old, &mut errors);
    }
    hold_to_policy(service, &mut errors);
    infer(service, cluster, &mut errors);
    refuse(errors)?;
    let mut families = asked(service);
    if open(service) {
        families.extend(cluster.first().filter(|_| families.is_empty()));
        if let ([one], false) = (families.as_slice(), single(service)) {
            families = vec![*one, one.other()];
        }
        set(service, &families);
        return Ok(());
    }
    refuse(unconfigured(service, &families, cluster))?;
    families.extend(cluster.first().filter(|_| families.is_empty()));
    if let ([one], false, [_, _]) = (families.as_slice(), single(service), cluster) {
        families = vec![*one, one.other()];
    }
    set(service, &families);
    Ok(())
}

/// Whether a Service that prefers two families stays as it is, whatever the cluster has by now.
pub(super) fn keeps_preference(service: &Object, old: &Object) -> bool {
    let prefers = |service| policy(service) == Some("PreferDualStack");
    service.at(&["spec", "type"]) == old.at(&["spec", "type"])
        && needs_address(service)
        && prefers(service)
        && (policy(old).is_none() || prefers(old))
        && cluster_ips(service) == cluster_ips(old)
        && texts(service, "ipFamilies") == texts(old, "ipFamilies")
}

fn refuse(errors: Errors) -> Result<(), Errors> {
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn policy(service: &Object) -> Option<&str> {
    service.at(&["spec", "ipFamilyPolicy"]).and_then(Value::as_str)
}

fn single(service: &Object) -> bool {
    policy(service) == Some("SingleStack")
}

/// Neither an address nor a selector: its endpoints may have any family.
fn open(service: &Object) -> bool {
    let selector = service.at(&["spec", "selector"]).and_then(Value::as_object);
    cluster_ip(service) == "None" && selector.is_none_or(serde_json::Map::is_empty)
}

fn asked(service: &Object) -> Vec<Family> {
    texts(service, "ipFamilies").into_iter().filter_map(Family::parse).collect()
}

fn set(service: &mut Object, families: &[Family]) {
    let names: Vec<_> = families.iter().map(|family| family.as_str()).collect();
    service.set(&["spec", "ipFamilies"], json!(names));
}

fn wrong_policy(service: &Object, why: &str) -> Error {
    let path = Path::new("spec").child("ipFamilyPolicy");
    Error::invalid(&path, policy(service).unwrap_or_default(), why)
}

/// `SingleStack` alone is a clear wish to give the second address back; otherwise it must be said.
fn drop_second(service: &mut Object, old: &Object, errors: &mut Errors) {
    for (field, what) in [("clusterIPs", "cluster IP"), ("ipFamilies", "IP family")] {
        let (new, before) = (texts(service, field), texts(old, field));
        if single(service) {
            if new == before && new.len() > 1 {
                let first = json!(new[..1]);
                service.set(&["spec", field], first);
            }
        } else if !new.is_empty() && new.len() < before.len() {
            let why = format!("must be 'SingleStack' to release the secondary {what}");
            errors.push(wrong_policy(service, &why));
        }
    }
}

fn hold_to_policy(service: &Object, errors: &mut Errors) {
    for (field, what) in [("clusterIPs", "cluster IPs"), ("ipFamilies", "IP families")] {
        if single(service) && texts(service, field).len() == 2 {
            let why = format!(
                "must be 'RequireDualStack' or 'PreferDualStack' when multiple {what} are specified"
            );
            errors.push(wrong_policy(service, &why));
        }
    }
}

/// Families follow from the addresses asked for.
fn infer(service: &mut Object, cluster: &[Family], errors: &mut Errors) {
    let ips: Vec<_> = cluster_ips(service).into_iter().map(str::to_owned).collect();
    let mut families = asked(service);
    for (index, ip) in ips.iter().enumerate().skip(families.len()) {
        let Some(family) = parse_ip_sloppy(ip).map(Family::of) else { break };
        if cluster.contains(&family) {
            families.push(family);
        } else {
            let path = Path::new("spec").child("clusterIPs").index(index);
            let why = format!("{} is not configured on this cluster", family.as_str());
            errors.push(Error::invalid(&path, json!(ips), why));
        }
    }
    if !families.is_empty() {
        set(service, &families);
    }
}

fn unconfigured(service: &Object, families: &[Family], cluster: &[Family]) -> Errors {
    let mut errors = Errors::new();
    if policy(service) == Some("RequireDualStack") && cluster.len() < 2 {
        errors
            .push(wrong_policy(service, "this cluster is not configured for dual-stack services"));
    }
    for (index, family) in families.iter().enumerate() {
        if !cluster.contains(family) {
            let path = Path::new("spec").child("ipFamilies").index(index);
            errors.push(Error::invalid(&path, family.as_str(), "not configured on this cluster"));
        }
    }
    errors
}
