//! Managers of a replica count, seen through the `scale` subresource.
//!
//! ```text
//!   parent: a/Update/apps/v1  .spec.replicas + .spec.template      scale: a/Update/autoscaling/v1  .spec.replicas
//!           b/Apply/apps/v1   .spec.paused                 ──>
//!   what the write of the scale leaves of these goes back:         scale: c/Update/autoscaling/v1  .spec.replicas
//!           a/Update/apps/v1  .spec.template               <──
//!           b/Apply/apps/v1   .spec.paused
//!           c/Update/apps/v1  .spec.replicas
//! ```

use super::{
    managed::{Managed, Manager, Operation, Owned, strip},
    packed::unpack_managers,
    path::PathElement,
    set::FieldSet,
};
use crate::{GroupVersion, Object};
use std::collections::BTreeMap;

const SCALE: &str = "autoscaling/v1";
const REPLICAS: [&str; 2] = ["spec", "replicas"];

/// Where the versions of a kind keep their replica count.
#[derive(Debug, Clone, Default)]
pub struct ReplicaPaths(BTreeMap<String, Option<Vec<PathElement>>>);

impl ReplicaPaths {
    /// The same with one more version; its path is dotted, as in `spec.replicas`, and `None` where the version has no
    /// scale. Managers of versions that are not named here are forgotten by a write of a scale.
    #[must_use]
    pub fn with(mut self, version: &GroupVersion, replicas: Option<&str>) -> Self {
        let names = |path: &str| -> Vec<_> {
            let names = path.trim_start_matches('.').split('.');
            names.map(|name| PathElement::field(name.to_owned())).collect()
        };
        self.0.insert(version.to_string(), replicas.map(names));
        self
    }

    fn of(&self, version: &str) -> Option<&[PathElement]> {
        self.0.get(version)?.as_deref()
    }
}

/// Gives a Scale those managers of its parent that own the replica count, in the scale's own words. Managers that do
/// not decode are none.
pub fn scale_from_parent(parent: &Object, replicas: &ReplicaPaths, scale: &mut Object) {
    let mut managed = Managed::decode(parent).unwrap_or_default();
    managed.owners.retain(|_, owned| {
        replicas.of(&owned.api_version).is_some_and(|path| owned.set.contains(path))
    });
    let owners = managed.owners.into_iter().map(|(manager, owned)| {
        let set = FieldSet::from_paths(&[&REPLICAS[..]]);
        (manager.in_version(SCALE), Owned { set, api_version: SCALE.to_owned(), ..owned })
    });
    Managed { owners: owners.collect() }.encode_into(scale);
    unpack_managers(scale);
}

/// Takes the managers of a written Scale over into its parent, as of `version`, whose other managers lose the replica
/// count.
///
/// As in the original whoever is new has no time, and an updater that still owns the count after the write has it in an
/// entry of its own, apart from what else it owns.
pub fn scale_to_parent(
    scale: &Object,
    replicas: &ReplicaPaths,
    version: &GroupVersion,
    parent: &mut Object,
) {
    let version = version.to_string();
    let (Ok(managed), Ok(of_scale)) = (Managed::decode(parent), Managed::decode(scale)) else {
        return strip(parent);
    };
    let (mut of_scale, mut owners) = (of_scale.owners, BTreeMap::new());
    let times: BTreeMap<_, _> =
        managed.owners.iter().map(|(manager, owned)| (manager.clone(), owned.time)).collect();
    for (manager, mut owned) in managed.owners {
        let Some(path) = replicas.0.get(&owned.api_version) else { continue };
        if let Some(path) = path.as_ref().filter(|path| owned.set.contains(path))
            && of_scale.remove(&manager).is_none()
        {
            let mut count = FieldSet::new();
            count.insert(path);
            owned.set.subtract(&count);
            if owned.set.is_empty() {
                continue;
            }
        }
        owners.insert(manager, owned);
    }
    let in_scale = REPLICAS.map(PathElement::field);
    let mut count = FieldSet::new();
    count.insert(replicas.of(&version).unwrap_or(&in_scale));
    for (manager, owned) in of_scale {
        if owned.set.contains(&in_scale) {
            let time = times.get(&manager).copied().flatten();
            let owned = Owned { set: count.clone(), time, api_version: version.clone() };
            owners.insert(manager, owned);
        }
    }
    Managed { owners }.encode_into(parent);
    unpack_managers(parent);
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
