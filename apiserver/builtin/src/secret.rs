//! Secrets.

use crate::{look::sub, row::Row, table::age};
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Map, Value};

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

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::secret(object)
    }

    fn validate_update(&self, _context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        validation::update(object, old)
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let count = sub(object.map(), "data").as_object().map_or(0, Map::len);
        vec![object.name().into(), object.text(&["type"]).into(), count.into(), age(object, now)]
    }
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
