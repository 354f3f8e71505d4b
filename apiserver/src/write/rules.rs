//! The rules all metadata obeys, with the kind's own rule for names.

use kubeplane_core::{
    Definition, Object,
    field::{Errors, Path},
    metadata::{validate_metadata, validate_metadata_update},
};

/// What is wrong with the metadata of an object about to be created.
pub(super) fn create(definition: &Definition, object: &Object) -> Errors {
    let rule = definition.strategy.name_rule();
    validate_metadata(object, definition.is_namespaced(), rule, &Path::new("metadata"))
}

/// What is wrong with a change of metadata.
pub(super) fn update(object: &Object, old: &Object) -> Errors {
    validate_metadata_update(object, old, &Path::new("metadata"))
}
