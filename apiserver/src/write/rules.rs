//! The rules all metadata obeys, with the kind's own ones for names and finalizers.

use super::Writer;
use kubeplane_core::{
    Object,
    admission::Warnings,
    definition::{Context, NameRule, StatusMetadata},
    field::{Errors, Path},
    metadata::{validate_created, validate_metadata, validate_updated},
    status::ApiResult,
};

impl Writer<'_> {
    /// Refuses a new object that breaks the rules.
    pub(super) fn check_new(&self, object: &Object) -> ApiResult<()> {
        let definition = self.definition();
        self.check(object, |context| {
            let own = definition.strategy.validate(context, object);
            let rules = definition.metadata;
            let mut errors = match rules.own {
                true => validate_created(object, definition),
                false if own.is_empty() => {
                    let (namespaced, rule) = (definition.is_namespaced(), NameRule::PathSegment);
                    validate_metadata(object, namespaced, rule, &Path::new("metadata"))
                }
                false => Errors::new(),
            };
            errors.extend(own);
            errors
        })
    }

    /// Refuses a change that breaks the rules.
    pub(super) fn check_changed(&self, object: &Object, old: &Object) -> ApiResult<()> {
        let definition = self.definition();
        self.check(object, |context| {
            let mut errors = validate_updated(object, old, definition, self.subresource);
            errors.extend(definition.strategy.validate_update(context, object, old));
            errors
        })
    }

    /// Warns of what is not refused.
    fn check(&self, object: &Object, find: impl FnOnce(&Context<'_>) -> Errors) -> ApiResult<()> {
        let warnings = Warnings::default();
        let errors = find(&Context { warnings: &warnings, ..self.context() });
        self.refuse_invalid(object, &errors)?;
        warnings.take().into_iter().for_each(|warning| self.warnings.add(warning));
        Ok(())
    }

    /// Puts back the metadata that a write of the status does not change.
    pub(super) fn keep_status_metadata(&self, object: &mut Object, old: &Object) {
        const ALL: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];
        if self.subresource != "status" {
            return;
        }
        let kept = match self.definition().metadata.in_status {
            StatusMetadata::Changes | StatusMetadata::Unowned => &[],
            StatusMetadata::Keeps(fields) => fields,
            StatusMetadata::Fixed => &ALL[..],
        };
        for field in kept {
            super::metadata::copy(object, old, field);
        }
    }
}
