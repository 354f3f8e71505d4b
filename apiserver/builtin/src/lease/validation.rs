//! Whether a Lease makes sense.

use crate::{check, look::At};
use kubeplane_core::{Object, field::Errors, names};

pub(super) fn lease(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    let duration = spec.get("leaseDurationSeconds");
    if duration.int().is_some_and(|seconds| seconds <= 0) {
        errors.push(duration.invalid("must be greater than 0"));
    }
    check::nonnegative(&spec.get("leaseTransitions"), &mut errors);
    let (strategy, holder) = (spec.get("strategy"), spec.get("preferredHolder"));
    let at = strategy.get("strategy").with(strategy.value());
    if strategy.str().contains('/') {
        check::messages(&at, names::is_qualified_name(strategy.str()), &mut errors);
    } else if strategy.is_set() && strategy.str() != "OldestEmulationVersion" {
        errors.push(at.not_supported(&["OldestEmulationVersion"]));
    }
    if !holder.str().is_empty() && strategy.str().is_empty() {
        errors.push(holder.forbidden("may only be specified if `strategy` is defined"));
    }
    errors
}
