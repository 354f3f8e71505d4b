//! Namespaces.

use crate::{
    hooks::{change_only, keep},
    row::{Part, Row},
    table,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy,
    apply::Filter,
    definition::{Context, NameRule, Verb},
    field::Errors,
};
use serde_json::{Value, json};

mod validation;

const KUBERNETES: &str = "kubernetes";
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "Namespace",
        plural: "namespaces",
        short: &["ns"],
        verbs: &[
            Verb::Create,
            Verb::Delete,
            Verb::Get,
            Verb::List,
            Verb::Patch,
            Verb::Update,
            Verb::Watch,
        ],
        columns: &["Name", "Status", "Age"],
        parts: &[Part::Of("finalize", &[Verb::Update]), Part::Status],
        fields: &["status.phase"],
        ..Row::CLUSTER
    };
    row.define(Namespaces)
}

#[derive(Debug)]
struct Namespaces;

impl Strategy for Namespaces {
    fn default(&self, object: &mut Object) {
        let name = object.name().to_owned();
        if !name.is_empty() {
            object.set(&["metadata", "labels", NAME_LABEL], name);
        }
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"phase": "Active"}));
        let spec = object.map_at_mut(&["spec"]);
        let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
        if let Some(list) = finalizers.as_array_mut()
            && !list.iter().any(|finalizer| finalizer == KUBERNETES)
        {
            list.push(KUBERNETES.into());
        }
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        match context.subresource {
            "status" => {
                change_only(object, old, "status");
                if object.text(&["status", "phase"]).is_empty() {
                    object.set(&["status", "phase"], "Active");
                }
            }
            "finalize" => keep(object, old, "status"),
            _ => {
                match old.at(&["spec", "finalizers"]) {
                    Some(finalizers) => object.set(&["spec", "finalizers"], finalizers.clone()),
                    None => drop(object.remove(&["spec", "finalizers"])),
                }
                keep(object, old, "status");
            }
        }
        self.default(object);
    }

    fn reset_fields(&self, subresource: &str) -> Option<Filter> {
        (subresource == "finalize").then(|| Filter::exclude(&[&["status"]]))
    }

    fn validate(&self, _context: &Context<'_>, object: &Object) -> Errors {
        validation::finalizers(object, false)
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, _old: &Object) -> Errors {
        match context.subresource {
            "status" => validation::status(object),
            other => validation::finalizers(object, other == "finalize"),
        }
    }

    fn name_rule(&self) -> NameRule {
        NameRule::DnsLabel
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        vec![
            object.name().into(),
            object.text(&["status", "phase"]).into(),
            table::age(object, now),
        ]
    }
}
