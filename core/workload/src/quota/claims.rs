use super::{Scope, number};
use crate::resources::Resources;
use kubeplane_core::{Object, quantity::Quantity};
use std::collections::BTreeSet;

const CLAIMS: &str = "persistentvolumeclaims";
const STORAGE: &str = "requests.storage";
const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(super) fn counts(name: &str) -> bool {
    let of_class = |(_, name): (&str, &str)| matches!(name, CLAIMS | STORAGE);
    matches!(name, CLAIMS | STORAGE) || name.rsplit_once(BY_CLASS).is_some_and(of_class)
}

fn amount(claim: &Object, path: &[&str]) -> Option<Quantity> {
    let mut amount = Quantity::from_json(claim.at(path)?).ok()?;
    amount.round_up(0);
    Some(amount)
}

fn storage(claim: &Object) -> Option<Quantity> {
    let asked = amount(claim, &["spec", "resources", "requests", "storage"])?;
    let given = amount(claim, &["status", "allocatedResources", "storage"]);
    Some(given.map_or(asked.clone(), |given| given.max(asked)))
}

pub(super) fn usage(claim: &Object) -> Resources {
    let class =
        claim.annotation(CLASS).unwrap_or_else(|| claim.text(&["spec", "storageClassName"]));
    let mut usage = Resources::new();
    let of = [(CLAIMS, Some(number(1))), (STORAGE, storage(claim))];
    for (name, amount) in of.into_iter().filter_map(|(name, amount)| Some((name, amount?))) {
        if !class.is_empty() {
            usage.insert(format!("{class}{BY_CLASS}{name}"), amount.clone());
        }
        usage.insert(name.to_owned(), amount);
    }
    usage
}

/// The classes of volume attributes a claim asks for, has, or is being changed to.
fn attribute_classes(claim: &Object) -> BTreeSet<&str> {
    let paths: [&[&str]; 3] = [
        &["spec", "volumeAttributesClassName"],
        &["status", "currentVolumeAttributesClassName"],
        &["status", "modifyVolumeStatus", "targetVolumeAttributesClassName"],
    ];
    paths.iter().map(|path| claim.text(path)).filter(|class| !class.is_empty()).collect()
}

pub(super) fn is_to_be_counted_anew(claim: &Object, old: &Object) -> bool {
    let given = |claim: &Object| amount(claim, &["status", "allocatedResources", "storage"]);
    given(claim) != given(old) || attribute_classes(claim) != attribute_classes(old)
}

pub(super) fn is_in(scope: &Scope<'_>, claim: &Object) -> bool {
    scope.name == "VolumeAttributesClass" && scope.picks(attribute_classes(claim))
}
