//! Managers of a replica count, seen through the `scale` subresource.

use super::{
    managed::{Managed, Manager, Operation, Owned, strip},
    packed::unpack_managers,
    path::PathElement,
    set::FieldSet,
};
use crate::{GroupVersion, Object};

const SCALE: &str = "autoscaling/v1";
const REPLICAS: &[&[&str]] = &[&["spec", "replicas"]];

/// Gives a Scale those managers of its parent that own the replica count at the path `replicas`, as in
/// `["spec", "replicas"]`. Managers that do not decode are none.
pub fn scale_from_parent(parent: &Object, replicas: &[&str], scale: &mut Object) {
    let path = path(replicas);
    let mut managed = Managed::decode(parent).unwrap_or_default();
    managed.owners.retain(|_, owned| owned.set.contains(&path));
    let owners = managed.owners.into_iter().map(|(manager, owned)| {
        let set = FieldSet::from_paths(REPLICAS);
        (manager.in_version(SCALE), Owned { set, api_version: SCALE.to_owned(), ..owned })
    });
    Managed { owners: owners.collect() }.encode_into(scale);
    unpack_managers(scale);
}

/// Takes the managers of a written Scale over into its parent, whose other managers lose the replica
/// count. The parent's entries are of `version`.
pub fn scale_to_parent(
    scale: &Object,
    replicas: &[&str],
    version: &GroupVersion,
    parent: &mut Object,
) {
    let version = version.to_string();
    let path = path(replicas);
    let mut count = FieldSet::new();
    count.insert(&path);
    let (Ok(mut managed), Ok(of_scale)) = (Managed::decode(parent), Managed::decode(scale)) else {
        return strip(parent);
    };
    let in_scale: Vec<PathElement> = ["spec", "replicas"].map(PathElement::field).into();
    for owned in managed.owners.values_mut() {
        owned.set.subtract(&count);
    }
    for (manager, owned) in of_scale.owners {
        if owned.set.contains(&in_scale) {
            // As in the original, whoever is new has no time and who was there keeps that of then.
            let entry = managed
                .owners
                .entry(manager.in_version(&version))
                .or_insert_with(|| Owned::none(version.clone()));
            entry.set.extend(count.clone());
        }
    }
    managed.tidy();
    managed.encode_into(parent);
    unpack_managers(parent);
}

fn path(names: &[&str]) -> Vec<PathElement> {
    names.iter().map(|name| PathElement::field((*name).to_owned())).collect()
}

impl Manager {
    /// The same manager writing another version.
    fn in_version(&self, version: &str) -> Self {
        match self.operation {
            Operation::Apply => self.clone(),
            operation @ Operation::Update => {
                Self::new(&self.name, operation, version, &self.subresource)
            }
        }
    }
}
