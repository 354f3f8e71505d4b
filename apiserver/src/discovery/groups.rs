//! Groups and their versions, in the original's order.

use crate::{delegation::Standing, registry::Registry};
use kubeplane_core::GroupVersion;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// Built-in groups from the most to the least important one; others follow by name.
const ORDER: [&str; 21] = [
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// What is listed first, before all that APIServices can say.
const FIRST: Standing = Standing { group: 20_001, version: 0 };
/// What stands for a version that no APIService tells of.
const UNTOLD: Standing = Standing { group: 1000, version: 100 };

/// Every served version, here or elsewhere: groups by importance, versions of a group from the most preferred one down.
pub(super) fn versions(registry: &Registry) -> Vec<GroupVersion> {
    let delegation = registry.delegation();
    let mut found: BTreeSet<GroupVersion> =
        registry.all().iter().map(|resource| resource.definition().group_version()).collect();
    found.extend(delegation.delegated.keys().cloned());
    let versions: Vec<_> = found.into_iter().collect();
    let place = |group: &str| ORDER.iter().position(|known| *known == group).unwrap_or(ORDER.len());
    let standing = |version: &GroupVersion| match delegation.standings.get(version) {
        Some(standing) => *standing,
        None if version.group == "apiregistration.k8s.io" => FIRST,
        None => UNTOLD,
    };
    let mut groups: BTreeMap<&str, i64> = BTreeMap::new();
    if !delegation.standings.is_empty() {
        for version in &versions {
            let group = groups.entry(&version.group).or_default();
            *group = standing(version).group.max(*group);
        }
    }
    let importance = |version: &GroupVersion| groups.get(&*version.group).copied();
    let mut order: Vec<_> = versions.iter().map(|version| (importance(version), version)).collect();
    order.sort_by(|(one, a), (other, b)| {
        other
            .cmp(one)
            .then_with(|| match one {
                Some(_) => std::cmp::Ordering::Equal,
                None => place(&a.group).cmp(&place(&b.group)),
            })
            .then_with(|| a.group.cmp(&b.group))
            .then_with(|| standing(b).version.cmp(&standing(a).version))
            .then_with(|| version_rank(&b.version).cmp(&version_rank(&a.version)))
    });
    order.into_iter().map(|(_, version)| version.clone()).collect()
}

/// How preferred a version is among those of its group: stable over beta over alpha, higher numbers over
/// lower ones, everything over names of other forms.
#[must_use]
pub fn version_rank(version: &str) -> (u8, u32, u32) {
    let Some(rest) = version.strip_prefix('v') else { return (0, 0, 0) };
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let major = rest[..digits].parse().unwrap_or(0);
    match &rest[digits..] {
        "" if digits > 0 => (3, major, 0),
        tail => match (tail.strip_prefix("beta"), tail.strip_prefix("alpha")) {
            (Some(minor), _) => (2, major, minor.parse().unwrap_or(0)),
            (_, Some(minor)) => (1, major, minor.parse().unwrap_or(0)),
            _ => (0, 0, 0),
        },
    }
}

/// Versions by group, in order; the core group left out.
pub(super) fn grouped(registry: &Registry) -> Vec<(String, Vec<GroupVersion>)> {
    let mut groups: Vec<(String, Vec<GroupVersion>)> = Vec::new();
    for version in versions(registry).into_iter().filter(|version| !version.group.is_empty()) {
        match groups.last_mut().filter(|(group, _)| *group == version.group) {
            Some((_, versions)) => versions.push(version),
            None => groups.push((version.group.to_string(), vec![version])),
        }
    }
    groups
}

/// `/api`, with where the server is, if that is known.
pub(super) fn core(registry: &Registry, address: Option<&SocketAddr>) -> Value {
    let versions = versions(registry).into_iter().filter(|version| version.group.is_empty());
    let names: Vec<_> = versions.map(|version| version.version).collect();
    let everybody = |address: &SocketAddr| json!({"clientCIDR": "0.0.0.0/0", "serverAddress": address.to_string()});
    let addresses: Vec<_> = address.map(everybody).into_iter().collect();
    json!({"kind": "APIVersions", "versions": names, "serverAddressByClientCIDRs": addresses})
}

/// `/apis`.
pub(super) fn all(registry: &Registry) -> Value {
    let groups: Vec<_> =
        grouped(registry).iter().map(|(group, versions)| described(group, versions)).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

/// `/apis/{group}`.
pub(super) fn one(registry: &Registry, group: &str) -> Option<Value> {
    let groups = grouped(registry);
    let (group, versions) = groups.iter().find(|(name, _)| name == group)?;
    let mut value = described(group, versions);
    value["kind"] = "APIGroup".into();
    value["apiVersion"] = "v1".into();
    Some(value)
}

fn described(group: &str, versions: &[GroupVersion]) -> Value {
    let all: Vec<_> = versions
        .iter()
        .map(|version| json!({"groupVersion": version.to_string(), "version": version.version}))
        .collect();
    json!({"name": group, "versions": all, "preferredVersion": all.first()})
}

#[cfg(test)]
mod tests {
    use super::version_rank;

    #[test]
    fn versions_order_as_the_original_orders_them() {
        let mut versions = ["v1alpha1", "v2", "v1", "v1beta2", "foo", "v1beta1", "v10"];
        versions.sort_by_key(|version| std::cmp::Reverse(version_rank(version)));
        assert_eq!(versions, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo"]);
    }
}
