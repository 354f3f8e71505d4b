//! What a claim says of several requests at once: constraints and configuration.

use super::{
    lists::{list, set},
    request::Names,
    values::{fully_qualified_name, opaque},
};
use crate::{check, csinode::driver_name, look::At};
use kubeplane_core::{
    Object,
    definition::Context,
    field::{Error, Errors},
};

pub(super) const REQUESTS_MAX: usize = 32;
pub(super) const CONFIG_MAX: usize = 32;
const CONSTRAINTS_MAX: usize = 32;
const PARAMETERS_MAX: usize = 10 * 1024;
const ONE_ATTRIBUTE: &str = "exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but multiple fields are set";
const REFERENCE: &str = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'";

/// The name of a request, or of one of its alternatives.
pub(super) fn reference(at: &At<'_>, names: &Names<'_>, errors: &mut Errors) {
    let parts: Vec<_> = at.str().split('/').collect();
    if parts.len() > 2 {
        return errors.push(at.invalid(REFERENCE));
    }
    for part in parts {
        check::dns_label(&at.with(&part.into()), errors);
    }
    if !names.has(at.str()) {
        errors.push(at.invalid(REFERENCE));
    }
}

fn references(at: &At<'_>, names: &Names<'_>, errors: &mut Errors) {
    let text = |item: &At<'_>| item.str().to_owned();
    set(at, REQUESTS_MAX, text, |item, errors| reference(item, names, errors), errors);
}

pub(super) fn constraints(constraints: &At<'_>, names: &Names<'_>, errors: &mut Errors) {
    let each = |constraint: &At<'_>, errors: &mut Errors| {
        references(&constraint.get("requests"), names, errors);
        let (same, distinct) =
            (constraint.get("matchAttribute"), constraint.get("distinctAttribute"));
        if same.is_set() {
            fully_qualified_name(&same, errors);
        } else if distinct.is_set() {
            fully_qualified_name(&distinct, errors);
        } else {
            errors.push(constraint.required(ONE_ATTRIBUTE));
        }
    };
    list(constraints, CONSTRAINTS_MAX, each, errors);
}

/// With the gate `DRAConsumableCapacity` off there is but one attribute to name.
pub(super) fn one_attribute(
    context: &Context<'_>,
    _: &Object,
    _: Option<&Object>,
    errors: &mut Errors,
) {
    if context.features.is_on("DRAConsumableCapacity") {
        return;
    }
    for error in errors.iter_mut().filter(|error| error.detail == ONE_ATTRIBUTE) {
        *error = Error::required(&error.path.child("matchAttribute"), "");
    }
}

/// Configuration for some requests of a claim, or for all.
pub(super) fn for_requests(config: &At<'_>, names: &Names<'_>, errors: &mut Errors) {
    references(&config.get("requests"), names, errors);
    configuration(config, errors);
}

pub(super) fn configuration(config: &At<'_>, errors: &mut Errors) {
    let own = config.get("opaque");
    if own.is_set() {
        driver_name(&own.get("driver"), errors);
        opaque(&own.get("parameters"), PARAMETERS_MAX, errors);
    } else {
        errors.push(own.required(""));
    }
}
