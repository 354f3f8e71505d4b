//! ServiceAccounts.

use crate::{
    row::{CREATE, Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Map, Value};

const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "ServiceAccount",
        plural: "serviceaccounts",
        short: &["sa"],
        parts: &[Part::Handler("token", "authentication.k8s.io", "v1", "TokenRequest", CREATE)],
        ..Row::NAMESPACED
    };
    row.define(ServiceAccounts)
}

#[derive(Debug)]
struct ServiceAccounts;

impl Strategy for ServiceAccounts {
    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        keep_secret_names(object);
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Object, _old: &Object) {
        keep_secret_names(object);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        warn(context, object);
        Errors::new()
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if old.annotation(MOUNTABLE).is_none() {
            warn(context, object);
        }
        Errors::new()
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![object.name().into(), age(object, now)]
    }
}

/// Only the name of a secret means anything here.
fn keep_secret_names(object: &mut Object) {
    let secrets = object.map_mut().get_mut("secrets").and_then(Value::as_array_mut);
    for secret in secrets.into_iter().flatten() {
        let mut kept = Map::new();
        if let Some(name) = secret.get("name").filter(|name| **name != "") {
            kept.insert("name".to_owned(), name.clone());
        }
        *secret = Value::Object(kept);
    }
}

fn warn(context: &Context<'_>, object: &Object) {
    if object.annotation(MOUNTABLE).is_some() {
        context.warnings.add(format!(
            "metadata.annotations[{MOUNTABLE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to \
             mounted secrets"
        ));
    }
}
