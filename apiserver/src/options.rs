//! The options of requests: parsed from the query or a body, and checked.

mod delete;
mod list;

pub use delete::{DeleteOptions, Preconditions, Propagation};
pub(crate) use list::{ListOptions, VersionMatch, bad_version};

use crate::query::Query;
use http::HeaderMap;
use kubeplane_core::{
    GroupKind, Object,
    decode::FieldValidation,
    field,
    metadata::{PatchForm, validate_create_options, validate_patch_options},
    status::{ApiError, ApiResult},
};
use serde_json::json;

/// The options of a create, update or patch.
#[derive(Debug, Clone, Default)]
pub(crate) struct WriteOptions {
    pub(crate) dry_run: bool,
    pub(crate) field_validation: FieldValidation,
    /// The manager as sent, or made from the user agent.
    pub(crate) manager: String,
    pub(crate) force: bool,
    /// As sent, for admission.
    pub(crate) sent: Object,
}

impl WriteOptions {
    /// Reads CreateOptions, UpdateOptions or (with `apply` saying whether it is server-side apply)
    /// PatchOptions.
    pub(crate) fn parse(
        kind: &'static str,
        query: &Query,
        headers: &HeaderMap,
        apply: Option<bool>,
    ) -> ApiResult<Self> {
        let manager = query.text("fieldManager");
        let force = query.flag("force");
        let dry_runs: Vec<_> = query.all("dryRun").collect();
        let validation = query.text("fieldValidation");
        let errors = match apply {
            None => validate_create_options(manager, &dry_runs, validation),
            Some(apply) => {
                let form = if apply { PatchForm::Apply } else { PatchForm::Other };
                validate_patch_options(form, force, manager, &dry_runs, validation)
            }
        };
        refuse(kind, &errors)?;
        let mut sent = json!({"kind": kind, "apiVersion": "meta.k8s.io/v1"});
        for (key, value) in [("fieldManager", manager), ("fieldValidation", validation)] {
            if !value.is_empty() {
                sent[key] = value.into();
            }
        }
        if !dry_runs.is_empty() {
            sent["dryRun"] = dry_runs.clone().into();
        }
        if let Some(force) = force {
            sent["force"] = force.into();
        }
        Ok(Self {
            dry_run: !dry_runs.is_empty(),
            field_validation: FieldValidation::parse(validation).unwrap_or_default(),
            manager: if manager.is_empty() { user_agent(headers) } else { manager.to_owned() },
            force: force.unwrap_or(false),
            sent: Object::from_value(sent).unwrap_or_default(),
        })
    }
}

fn refuse(kind: &'static str, errors: &[field::Error]) -> ApiResult<()> {
    if errors.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid(&GroupKind::new("meta.k8s.io", kind), "", errors))
}

/// The manager of a request that names none.
fn user_agent(headers: &HeaderMap) -> String {
    let agent = headers.get(http::header::USER_AGENT).and_then(|agent| agent.to_str().ok());
    kubeplane_core::apply::default_manager(agent.unwrap_or_default())
}
