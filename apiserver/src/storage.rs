//! Store errors in the API's own form.

use http::StatusCode;
use kubeplane_core::{
    GroupResource,
    status::{ApiError, ApiResult, Cause, Details},
};
use kubeplane_store_trait::{Error, Revision};

/// The failure of a call about one object.
pub(crate) fn error(error: &Error, resource: &GroupResource, name: &str) -> ApiError {
    match error {
        Error::Exists { .. } => ApiError::already_exists(resource, name),
        Error::Conflict { current: None, .. } => ApiError::not_found(resource, name),
        Error::Conflict { .. } => ApiError::modified(resource, name),
        Error::Unavailable { .. } => {
            let message = format!(
                "The operation against {resource} could not be completed at this time, please try again."
            );
            let details = Details {
                name: name.to_owned(),
                group: resource.group.to_string(),
                kind: resource.resource.to_string(),
                ..Details::default()
            };
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ServerTimeout", message)
                .with_details(details)
                .retry_after(2)
        }
        other => plain_error(other),
    }
}

/// The failure of a call about no object in particular.
pub(crate) fn plain_error(error: &Error) -> ApiError {
    match error {
        Error::Compacted { .. } => {
            ApiError::expired("The resourceVersion for the provided list is too old.")
        }
        Error::Future { requested, latest } => future_error(*requested, *latest),
        Error::TooLarge { .. } => ApiError::too_large("etcdserver: request is too large"),
        Error::Unavailable { reason } => {
            ApiError::unavailable(format!("storage is unavailable: {reason}"))
        }
        Error::Indeterminate { .. } => ApiError::timeout(
            "Timeout: request did not complete within the allotted time; it may have been applied",
        ),
        other => ApiError::internal(other),
    }
}

/// 504: a revision that has not been reached.
pub(crate) fn future_error(wanted: Revision, current: Revision) -> ApiError {
    let cause = Cause {
        reason: "ResourceVersionTooLarge".into(),
        message: "Too large resource version".into(),
        field: String::new(),
    };
    let details = Details { causes: vec![cause], ..Details::default() };
    ApiError::timeout(format!("Timeout: Too large resource version: {wanted}, current: {current}"))
        .with_details(details)
        .retry_after(1)
}

/// Turns a failure about one object.
pub(crate) trait About<T> {
    fn about(self, resource: &GroupResource, name: &str) -> ApiResult<T>;
}

impl<T> About<T> for kubeplane_store_trait::Result<T> {
    fn about(self, resource: &GroupResource, name: &str) -> ApiResult<T> {
        self.map_err(|failure| error(&failure, resource, name))
    }
}
