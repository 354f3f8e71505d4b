use super::{
    ListMeta,
    negotiate::{Include, TableForm},
    partial,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object};
use serde_json::{Value, json};

/// A table in the making.
#[derive(Debug)]
pub(crate) struct Table<'a> {
    form: &'a TableForm,
    definition: &'a Definition,
    now: Timestamp,
    rows: Vec<Value>,
}

impl<'a> Table<'a> {
    pub(crate) fn new(form: &'a TableForm, definition: &'a Definition, now: Timestamp) -> Self {
        Self { form, definition, now, rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, object: &Object) {
        let strategy = &self.definition.strategy;
        let cells = strategy.table_row(object, self.now);
        let shown = match self.form.include {
            Include::Nothing => Value::Null,
            Include::Metadata => partial(object, self.form.version),
            Include::Object => Value::Object(object.map().clone()),
        };
        let mut row = json!({"cells": cells, "object": shown});
        let conditions = strategy.row_conditions(object);
        if !conditions.is_empty() {
            row["conditions"] = conditions.into();
        }
        self.rows.push(row);
    }

    /// The table; a watch shows the columns in its first event only.
    pub(crate) fn finish(self, meta: &ListMeta, columns: bool) -> Value {
        let definitions: Value = match columns {
            false => Value::Null,
            true => self
                .definition
                .columns
                .iter()
                .map(|column| {
                    json!({
                        "name": column.name, "type": column.kind, "format": column.format,
                        "description": column.description, "priority": column.priority,
                    })
                })
                .collect(),
        };
        json!({
            "kind": "Table",
            "apiVersion": format!("meta.k8s.io/{}", self.form.version),
            "metadata": meta.to_value(),
            "columnDefinitions": definitions,
            "rows": self.rows,
        })
    }
}
