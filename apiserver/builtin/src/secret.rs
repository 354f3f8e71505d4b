//! Secrets.

use crate::{look::sub, row::Row, table::age};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Map, Value};
use x509_parser::pem::Pem;

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "Secret",
        plural: "secrets",
        columns: &["Name", "Type", "Data", "Age"],
        fields: &["type"],
        ..Row::NAMESPACED
    };
    row.define(Secrets)
}

#[derive(Debug)]
struct Secrets;

impl Strategy for Secrets {
    fn default(&self, object: &mut Object) {
        if object.text(&["type"]).is_empty() {
            object.set(&["type"], "Opaque");
        }
        merge_string_data(object);
    }

    fn prepare_update(&self, _context: &Context<'_>, object: &mut Object, old: &Object) {
        if object.text(&["type"]).is_empty() {
            object.set(&["type"], old.text(&["type"]));
        }
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let errors = validation::secret(object);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let errors = validation::update(object, old);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let count = sub(object.map(), "data").as_object().map_or(0, Map::len);
        vec![object.name().into(), object.text(&["type"]).into(), count.into(), age(object, now)]
    }
}

/// A pair for TLS that is none.
fn warn(context: &Context<'_>, object: &Object) {
    if object.text(&["type"]) != "kubernetes.io/tls" {
        return;
    }
    let part = |key| pem_labels(object.text(&["data", key]));
    if let Some(problem) = pair_problem(&part("tls.crt"), &part("tls.key")) {
        context.warnings.add(problem);
    }
}

/// What the PEM blocks of a field of bytes are.
fn pem_labels(field: &str) -> Vec<String> {
    let bytes = STANDARD.decode(field).unwrap_or_default();
    Pem::iter_from_buffer(&bytes).map_while(Result::ok).map(|block| block.label).collect()
}

/// Why these blocks are no certificate and its key, in Go's words.
fn pair_problem(certificates: &[String], keys: &[String]) -> Option<String> {
    let is_key = |label: &String| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    if !certificates.iter().any(|label| label == "CERTIFICATE") {
        return Some(match certificates {
            [] => "tls: failed to find any PEM data in certificate input".to_owned(),
            [only] if only.ends_with("PRIVATE KEY") => {
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs \
                 may have been switched"
                    .to_owned()
            }
            others => format!(
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the \
                 following types: [{}]",
                others.join(" ")
            ),
        });
    }
    if keys.iter().any(is_key) {
        return None;
    }
    Some(match keys {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [only] if only == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        others => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks \
             of the following types: [{}]",
            others.join(" ")
        ),
    })
}

/// `stringData` is write-only: it overrides `data` and is never stored.
fn merge_string_data(object: &mut Object) {
    let Some(Value::Object(plain)) = object.remove(&["stringData"]) else {
        return;
    };
    if plain.is_empty() {
        return;
    }
    let data = object.map_at_mut(&["data"]);
    for (key, text) in plain {
        data.insert(key, STANDARD.encode(text.as_str().unwrap_or_default()).into());
    }
}
