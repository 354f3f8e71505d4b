//! Whether a Namespace makes sense.

use crate::{check, look::At};
use kubeplane_core::{Object, field::Errors, names};

const STANDARD: &[&str] = &["kubernetes", "orphan", "foregroundDeletion"];

/// The finalizers of the spec; only where they alone are written the original's path says which it is.
pub(super) fn finalizers(object: &Object, alone: bool) -> Errors {
    let mut errors = Errors::new();
    let list = At::top(object.map(), "spec").get("finalizers");
    for item in list.items() {
        let finalizer = if alone { item } else { list.with(item.value()) };
        check::messages(&finalizer, names::is_qualified_name(finalizer.str()), &mut errors);
        if !finalizer.str().contains('/') && !STANDARD.contains(&finalizer.str()) {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(finalizer.invalid(detail));
        }
    }
    errors
}

/// The phase says whether the namespace is being deleted.
pub(super) fn status(object: &Object) -> Errors {
    let at = At::top(object.map(), "status").get("Phase");
    let phase = object.text(&["status", "phase"]);
    let (expected, when) =
        if object.is_deleting() { ("Terminating", "not empty") } else { ("Active", "empty") };
    if phase == expected {
        return Errors::new();
    }
    vec![at.invalid_as(phase, format!("may only be '{expected}' if `deletionTimestamp` is {when}"))]
}
