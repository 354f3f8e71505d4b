//! Policies: what their objects say, their parameters, and the two steps that hold writes against them.

mod checking;
mod definition;
mod invocation;
mod merge;
mod mutating;
mod params;
mod validating;
mod validator;

pub use checking::PolicyTypeChecking;
pub use mutating::MutatingAdmissionPolicy;
pub use validating::ValidatingAdmissionPolicy;

use crate::attributes::{is_configuration, is_review};
use kubeplane_core::{Definition, admission::Request, status::ApiError};

/// Whether policies look at a kind at all.
fn may_judge(definition: &Definition) -> bool {
    !is_configuration(definition) && !is_review(definition)
}

/// 403 about what is written, by the name it has or would get.
fn forbidden(request: &Request<'_>, why: &str) -> ApiError {
    let object = request.object.as_deref().or(request.old);
    let name = match (request.name, object) {
        ("", Some(object)) if object.name().is_empty() => {
            object.text(&["metadata", "generateName"])
        }
        ("", Some(object)) => object.name(),
        (name, _) => name,
    };
    ApiError::forbidden(&request.definition.resource(), name, why)
}
