//! What extends admission: webhooks, policies in expressions, and what binds policies to parameters.

use crate::row::Row;
use kubeplane_core::{Definition, Object, definition::Context};

mod binding;
mod expression;
mod mutating;
mod policy;
mod rules;
mod url;
mod validating;
mod webhook;

const ROW: Row = Row {
    group: "admissionregistration.k8s.io",
    categories: &["api-extensions"],
    unconditional_update: false,
    ..Row::CLUSTER
};

const STATIC_SUFFIX: &str = ".static.k8s.io";
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

/// All kinds of the group.
pub(crate) fn definitions() -> Vec<Definition> {
    vec![
        webhook::mutating(),
        webhook::validating(),
        validating::definition(),
        mutating::definition(),
        binding::validating(),
        binding::mutating(),
    ]
}

fn warn(context: &Context<'_>, object: &Object, _old: Option<&Object>) {
    if object.name().ends_with(STATIC_SUFFIX) {
        context.warnings.add(format!(
            "metadata.name: names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
        ));
    }
}
