//! Zones of volumes in the words of the drivers that serve them.

use k8s_openapi::api::core::v1::{
    NodeSelectorRequirement, NodeSelectorTerm, PersistentVolume, PersistentVolumeSpec,
};
use std::collections::BTreeSet;

pub(super) const OLD_ZONE: &str = "failure-domain.beta.kubernetes.io/zone";
pub(super) const ZONE: &str = "topology.kubernetes.io/zone";
const OLD_REGION: &str = "failure-domain.beta.kubernetes.io/region";
const REGION: &str = "topology.kubernetes.io/region";

/// The region of zones `PLACE-REGION-ZONE`.
pub(super) fn region(zones: &[&str]) -> Result<String, String> {
    let mut regions = BTreeSet::new();
    for zone in zones {
        let parts: Vec<_> = zone.split('-').collect();
        let [place, region, _] = parts[..] else {
            return Err(format!(
                "zone in unexpected format, expected: {{locale}}-{{region}}-{{zone}}, got: {zone}"
            ));
        };
        regions.insert(format!("{place}-{region}"));
    }
    if regions.len() > 1 {
        let all: Vec<_> = regions.iter().map(|own| format!("{own}:{{}}")).collect();
        return Err(format!(
            "multiple or no regions gotten from zones, got: map[{}]",
            all.join(" ")
        ));
    }
    Ok(regions.pop_first().unwrap_or_default())
}

fn terms(spec: &mut PersistentVolumeSpec) -> &mut Vec<NodeSelectorTerm> {
    let affinity = spec.node_affinity.get_or_insert_default();
    &mut affinity.required.get_or_insert_default().node_selector_terms
}

/// What a volume asks of a label of its node.
fn requirements<'a>(
    spec: &'a mut PersistentVolumeSpec,
    key: &'a str,
) -> impl Iterator<Item = &'a mut NodeSelectorRequirement> {
    let required = spec.node_affinity.as_mut().and_then(|own| own.required.as_mut());
    let terms = required.into_iter().flat_map(|own| &mut own.node_selector_terms);
    terms
        .flat_map(|own| own.match_expressions.iter_mut().flatten())
        .filter(move |own| own.key == key)
}

fn names_values(spec: &mut PersistentVolumeSpec, key: &str) -> bool {
    requirements(spec, key).any(|own| own.values.as_ref().is_some_and(|own| !own.is_empty()))
}

fn rename(spec: &mut PersistentVolumeSpec, key: &str, to: &str) {
    requirements(spec, key).for_each(|own| to.clone_into(&mut own.key));
}

/// Which label says the zone, the current one or the older one; what the volume asks of its nodes goes before its labels.
fn is_old(volume: &mut PersistentVolume) -> bool {
    let spec = volume.spec.get_or_insert_default();
    if requirements(spec, ZONE).next().is_some() {
        return false;
    }
    if requirements(spec, OLD_ZONE).next().is_some() {
        return true;
    }
    let has = |key: &str| volume.metadata.labels.as_ref().is_some_and(|own| own.contains_key(key));
    !has(ZONE) && has(OLD_ZONE)
}

/// The volume as it asks for nodes of its zones by the driver's label of nodes.
pub(super) fn translated(volume: &PersistentVolume, driver: &str) -> PersistentVolume {
    let mut volume = volume.clone();
    let old = is_old(&mut volume);
    let zone = if old { OLD_ZONE } else { ZONE };
    let spec = volume.spec.get_or_insert_default();
    if names_values(spec, zone) {
        rename(spec, zone, driver);
    } else if let Some(label) = volume.metadata.labels.as_ref().and_then(|own| own.get(zone)) {
        let zones: BTreeSet<_> =
            label.split("__").map(str::trim).filter(|own| !own.is_empty()).collect();
        add(spec, driver, &zones);
    }
    if old && names_values(spec, OLD_REGION) {
        rename(spec, OLD_REGION, REGION);
    }
    volume
}

/// Asks for one of these zones, beside what each term asks for already.
fn add(spec: &mut PersistentVolumeSpec, key: &str, zones: &BTreeSet<&str>) {
    if zones.is_empty() {
        return;
    }
    let terms = terms(spec);
    if terms.is_empty() {
        terms.push(NodeSelectorTerm::default());
    }
    for term in terms {
        term.match_expressions.get_or_insert_default().push(NodeSelectorRequirement {
            key: key.to_owned(),
            operator: "In".to_owned(),
            values: Some(zones.iter().map(|own| (*own).to_owned()).collect()),
        });
    }
}
