//! Who manages which fields, recorded on every write.

use super::{Conversions, Writer};
use kubeplane_core::{
    Definition, Object,
    apply::{self, Filter},
    definition::StatusMetadata,
};
use serde_json::Value;

/// The fields a request may not come to own, as it cannot change them.
pub(crate) fn reset(definition: &Definition, subresource: &str) -> Filter {
    if let Some(own) = definition.strategy.reset_fields(subresource) {
        return own;
    }
    match subresource {
        "" if definition.subresource("status").is_some() => Filter::exclude(&[&["status"]]),
        "status" => match definition.metadata.in_status {
            StatusMetadata::Changes => Filter::exclude(&[&["spec"]]),
            StatusMetadata::Keeps(fields) => {
                let kept: Vec<_> = fields.iter().map(|field| ["metadata", *field]).collect();
                let kept = kept.iter().map(<[_; 2]>::as_slice);
                Filter::exclude(&[&["spec"][..]].into_iter().chain(kept).collect::<Vec<_>>())
            }
            StatusMetadata::Fixed | StatusMetadata::Unowned => {
                Filter::exclude(&[&["spec"], &["metadata"]])
            }
        },
        _ => Filter::None,
    }
}

/// What managed fields an object carries.
pub(super) fn managed(object: &Object) -> Option<Value> {
    object.at(&["metadata", "managedFields"]).cloned()
}

impl Writer<'_> {
    /// The other versions of the kind, for this write.
    pub(super) fn conversions(&self) -> Conversions<'_> {
        Conversions::new(self.api.registry(), self.definition(), self.subresource)
    }

    /// Records that the request's manager owns what it changes.
    pub(super) async fn track(&self, live: Option<&Object>, object: &mut Object) {
        let Some(manager) = self.manager else { return };
        let (definition, versions) = (self.definition(), self.conversions());
        let request = apply::Request {
            manager,
            subresource: self.subresource,
            kind: &definition.kind,
            schema: &definition.schema,
            reset: &reset(definition, self.subresource),
            now: self.now,
            versions: Some(&versions),
        };
        let update = if self.packs() { apply::update_packed } else { apply::update };
        let new = std::mem::take(object);
        *object = match definition.strategy.converter() {
            None => update(live, new, &request),
            Some(_) => versions.settled(|| update(live, new.clone(), &request)).await,
        };
    }

    /// Puts managed fields back that admission left unreadable.
    pub(super) fn check_managed(&self, object: &mut Object, before: Option<Value>) {
        if self.packs() {
            apply::pack_managers(object);
        }
        if object.at(&["metadata", "managedFields"]) == before.as_ref() {
            return;
        }
        let Err(why) = apply::validate_managed_fields(object) else { return };
        self.warnings.add(format!(
            ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated \
             mutating admission controller; please fix your requests: {why}"
        ));
        match before {
            Some(fields) => object.set(&["metadata", "managedFields"], fields),
            None => {
                object.remove(&["metadata", "managedFields"]);
            }
        }
    }
}
