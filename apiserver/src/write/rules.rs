//! The rules all metadata obeys, with the kind's own rule for names.

use kubeplane_core::{Definition, Object, field::{Error, Errors, Path}, names};

pub(super) fn create(definition: &Definition, object: &Object) -> Errors {
    let mut errors = Errors::new();
    let path = Path::new("metadata.name");
    if object.name().is_empty() {
        errors.push(Error::required(&path, "name or generateName is required"));
    } else {
        let found = names::check(definition.strategy.name_rule(), object.name(), false);
        errors.extend(found.into_iter().map(|why| Error::invalid(&path, object.name(), why)));
    }
    errors
}

pub(super) fn update(_definition: &Definition, _object: &Object, _old: &Object) -> Errors {
    Errors::new()
}
