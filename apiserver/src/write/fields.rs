//! Who manages which fields, recorded on every write.

use super::Writer;
use kubeplane_core::{
    Definition, Object,
    apply::{self, Filter},
};
use serde_json::Value;

/// The fields a request may not come to own: `status` in a write of the whole object, and all but
/// `status` in a write of that.
pub(crate) fn reset(definition: &Definition, subresource: &str) -> Filter {
    match subresource {
        "" if definition.subresource("status").is_some() => Filter::exclude(&[&["status"]]),
        "status" => Filter::exclude(&[
            &["spec"],
            &["data"],
            &["metadata", "labels"],
            &["metadata", "annotations"],
            &["metadata", "finalizers"],
            &["metadata", "ownerReferences"],
        ]),
        _ => Filter::None,
    }
}

/// What managed fields an object carries.
pub(super) fn managed(object: &Object) -> Option<Value> {
    object.at(&["metadata", "managedFields"]).cloned()
}

impl Writer<'_> {
    /// Records that the request's manager owns what it changes.
    pub(super) fn track(&self, live: Option<&Object>, object: &mut Object) {
        let Some(manager) = self.manager else { return };
        let definition = self.definition();
        let request = apply::Request {
            manager,
            subresource: self.subresource,
            kind: &definition.kind,
            schema: &definition.schema,
            reset: &reset(definition, self.subresource),
            now: self.now,
        };
        let update = if self.packs() { apply::update_packed } else { apply::update };
        *object = update(live, std::mem::take(object), &request);
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
