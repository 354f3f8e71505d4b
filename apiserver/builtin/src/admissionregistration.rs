//! What extends admission: webhooks, policies in expressions, and what binds policies to parameters.

use crate::{look::At, row::Row};
use kubeplane_core::{Definition, Object, definition::Context, field::Errors};

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

/// The gate for configurations that come from files; with it their names are refused, without it they are warned of.
const GATE: &str = "ManifestBasedAdmissionControlConfig";

fn reserved() -> String {
    format!(
        "names ending with {STATIC_SUFFIX:?} are reserved for static manifest-based configurations and cannot be managed via the API"
    )
}

fn warn(context: &Context<'_>, object: &Object, old: Option<&Object>) {
    let told = old.is_some() || !context.features.is_on(GATE);
    if told && object.name().ends_with(STATIC_SUFFIX) {
        context.warnings.add(format!("metadata.name: {}", reserved()));
    }
}

fn reserve(context: &Context<'_>, object: &Object, old: Option<&Object>, errors: &mut Errors) {
    let refused = old.is_none() && context.features.is_on(GATE);
    if refused && object.name().ends_with(STATIC_SUFFIX) {
        errors.push(At::top(object.map(), "metadata").get("name").invalid(reserved()));
    }
}
