//! Where webhooks are called.

use crate::look::At;
use kubeplane_core::{field::Errors, webhook};

/// The address of a webhook outside of the cluster.
pub(super) fn webhook_url(at: &At<'_>, errors: &mut Errors) {
    errors.extend(webhook::validate_url(&at.path(), at.str()));
}

/// The Service of a webhook in the cluster.
pub(super) fn webhook_service(at: &At<'_>, errors: &mut Errors) {
    let (namespace, name) = (at.get("namespace"), at.get("name"));
    let port = at.get("port").int().unwrap_or_default();
    let path = at.get("path");
    let named = (namespace.str(), name.str());
    errors.extend(webhook::validate_service(&at.path(), named, path.str(), port));
}
