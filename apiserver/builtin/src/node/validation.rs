//! Whether a Node makes sense.

use super::annotations::annotations;
use crate::{
    check,
    look::At,
    pod::validation::{quantity_value, taint_effect},
};
use ipnet::IpNet;
use kubeplane_core::{
    Object,
    field::{Error, Errors},
    names,
};
use std::collections::BTreeSet;

pub(super) fn node(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    annotations(object, &mut errors);
    taints(object, &mut errors);
    resources(object, &mut errors);
    swap(object, &mut errors);
    declared_features(object, &mut errors);
    let networks = spec.get("podCIDRs");
    for network in networks.items() {
        check::legacy_cidr(&network, &[], &mut errors);
    }
    if networks.len() > 1 {
        pair(&networks, &mut errors);
    }
    errors
}

/// One of each family.
fn pair(networks: &At<'_>, errors: &mut Errors) {
    let parsed = |network: &At<'_>| network.str().parse::<IpNet>().ok();
    let bad = networks.items().enumerate().find(|(_, network)| parsed(network).is_none());
    if let Some((index, network)) = &bad {
        errors.push(Error::internal(
            &networks.path(),
            format!(
                "invalid PodCIDRs. failed to check with dual stack with error:invalid CIDR[{index}]: <nil> (invalid \
                 CIDR address: {})",
                network.str()
            ),
        ));
    }
    let sixes = networks.items().filter(|network| network.str().contains(':')).count();
    if bad.is_some() || networks.len() > 2 || sixes != 1 {
        errors.push(networks.invalid("may specify no more than one CIDR for each IP family"));
    }
}

/// The original's path of taints is one of the metadata.
fn taints(object: &Object, errors: &mut Errors) {
    let spec = At::top(object.map(), "spec").get("taints");
    unique_taints(&At::top(object.map(), "metadata").get("taints").with(spec.value()), errors);
}

pub(super) fn unique_taints(list: &At<'_>, errors: &mut Errors) {
    let mut seen = BTreeSet::new();
    for taint in list.items() {
        let (key, value, effect) = (taint.get("key"), taint.get("value"), taint.get("effect"));
        check::qualified_name(&key, errors);
        let problems = names::is_valid_label_value(value.str());
        if !problems.is_empty() {
            errors.push(value.invalid(problems.join(";")));
        }
        if check::required(&effect, errors) {
            taint_effect(&effect, errors);
        }
        if !seen.insert((effect.str(), key.str())) {
            let mut error = taint.duplicate();
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}

fn resources(object: &Object, errors: &mut Errors) {
    let status = At::top(object.map(), "status");
    for list in ["capacity", "allocatable"] {
        for (name, amount) in status.get(list).entries() {
            let path = status.get(list).path().child(name);
            let mut found = Errors::new();
            quantity_value(&amount, name, &mut found);
            errors.extend(
                found
                    .into_iter()
                    .map(|error| kubeplane_core::field::Error { path: path.clone(), ..error }),
            );
        }
    }
}

/// The original's path of swap is one of the metadata.
fn swap(object: &Object, errors: &mut Errors) {
    let swap = At::top(object.map(), "status").get("nodeInfo").get("swap").get("capacity");
    if swap.is_set() {
        let at = At::top(object.map(), "metadata").get("nodeSwapStatus").get("capacity");
        check::positive(&at.with(swap.value()), errors);
    }
}

fn declared_features(object: &Object, errors: &mut Errors) {
    let list: Vec<_> = At::top(object.map(), "status").get("declaredFeatures").items().collect();
    for (index, feature) in list.iter().enumerate() {
        let name = feature.str();
        let segment = |text: &str| {
            text.starts_with(|c: char| c.is_ascii_alphabetic())
                && text.bytes().all(|c| c.is_ascii_alphanumeric())
        };
        if name.len() > 253 {
            errors.push(feature.invalid(format!(
                "invalid feature name {name:?}: must be no more than 253 characters"
            )));
        } else if !name.starts_with(|c: char| c.is_ascii_uppercase())
            || !name.split('/').all(segment)
        {
            errors.push(feature.invalid(format!(
                "invalid feature name {name:?}: must start with an UpperCamelCase segment, with subsequent segments \
                 separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric characters \
                 and slashes"
            )));
        }
        if let Some(next) = list.get(index + 1) {
            if name == next.str() {
                errors.push(next.duplicate());
            } else if name > next.str() {
                errors.push(next.invalid("list must be sorted alphabetically"));
            }
        }
    }
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    annotations(object, &mut errors);
    resources(object, &mut errors);
    declared_features(object, &mut errors);
    let mut seen = Vec::new();
    for address in At::top(object.map(), "status").get("addresses").items() {
        if seen.contains(&address.value()) {
            errors.push(address.duplicate());
        }
        seen.push(address.value());
    }
    let (spec, before) = (At::top(object.map(), "spec"), At::top(old.map(), "spec"));
    let (networks, old_networks) = (spec.get("podCIDRs"), before.get("podCIDRs"));
    // The original tells of each that is another one.
    let others = if networks.len() == old_networks.len() {
        networks
            .items()
            .zip(old_networks.items())
            .filter(|(new, old)| new.str() != old.str())
            .count()
    } else {
        usize::from(!old_networks.is_empty())
    };
    let detail = "node updates may not change podCIDR except from \"\" to valid";
    errors.extend((0..others).map(|_| networks.forbidden(detail)));
    let (provider, old_provider) = (spec.get("providerID"), before.get("providerID"));
    if !old_provider.str().is_empty() && provider.str() != old_provider.str() {
        errors.push(
            provider.forbidden("node updates may not change providerID except from \"\" to valid"),
        );
    }
    taints(object, &mut errors);
    if spec.get("externalID").str() != before.get("externalID").str() {
        errors.push(spec.get("externalID").forbidden("may not be updated"));
    }
    errors
}
