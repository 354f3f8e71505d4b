//! The options of requests: parsed from the query or a body, and checked.

mod delete;
mod list;

pub use delete::{DeleteOptions, Preconditions, Propagation};
pub(crate) use list::{ListOptions, VersionMatch};

use crate::query::Query;
use http::HeaderMap;
use kubeplane_core::{
    GroupKind, Object,
    decode::FieldValidation,
    field::{self, Path},
    status::{ApiError, ApiResult},
};
use serde_json::{Value, json};

/// The longest name of a field manager, in bytes.
const MANAGER_MAX: usize = 128;

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
        let mut errors = field::Errors::new();
        let force = query.flag("force");
        match apply {
            Some(true) if manager.is_empty() => {
                errors.push(field::Error::required(&Path::new("fieldManager"), "is required for apply patch"));
            }
            Some(false) if force.is_some() => {
                let why = "may not be specified for non-apply patch";
                errors.push(field::Error::forbidden(&Path::new("force"), why));
            }
            _ => {}
        }
        errors.extend(manager_errors(manager, &Path::new("fieldManager")));
        let dry_runs: Vec<_> = query.all("dryRun").collect();
        errors.extend(dry_run_errors(&dry_runs));
        let validation = query.text("fieldValidation");
        let field_validation = FieldValidation::parse(validation).unwrap_or_else(|| {
            let supported = ["Ignore", "Strict", "Warn"];
            errors.push(field::Error::not_supported(&Path::new("fieldValidation"), validation, &supported));
            FieldValidation::Warn
        });
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
            field_validation,
            manager: if manager.is_empty() { user_agent(headers) } else { manager.to_owned() },
            force: force.unwrap_or(false),
            sent: Object::from_value(sent).unwrap_or_default(),
        })
    }

    /// The same options under another kind's name, as admission sees them.
    pub(crate) fn sent_as(&self, kind: &str) -> Object {
        let mut sent = self.sent.clone();
        sent.set(&["kind"], kind);
        sent
    }
}

fn manager_errors(manager: &str, path: &Path) -> field::Errors {
    let mut errors = field::Errors::new();
    if manager.len() > MANAGER_MAX {
        errors.push(field::Error::too_long(path, MANAGER_MAX));
    }
    for (at, c) in manager.char_indices().filter(|(_, c)| c.is_control()) {
        let why = format!("invalid character U+{:04X} (at position {at})", c as u32);
        errors.push(field::Error::invalid(path, manager, why));
    }
    errors
}

fn dry_run_errors(values: &[&str]) -> Option<field::Error> {
    let unsupported = values.iter().any(|value| *value != "All");
    unsupported.then(|| field::Error::not_supported(&Path::new("dryRun"), Value::from(values), &["All"]))
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
