//! ResourceQuotas.

use crate::{
    check,
    defaulting::{map, map_in},
    hooks::{change_only, keep},
    look::{At, Look, sub},
    pod::{defaults::resources::round, validation::resources::resource_name},
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy, definition::Context, field::Errors, quantity::Quantity,
};
use serde_json::{Value, json};

mod validation;

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "ResourceQuota",
        plural: "resourcequotas",
        short: &["quota"],
        columns: &["Name", "Request", "Limit", "Age"],
        parts: &[Part::Status],
        ..Row::NAMESPACED
    };
    row.define(Quotas)
}

#[derive(Debug)]
struct Quotas;

impl Strategy for Quotas {
    fn default(&self, object: &mut Object) {
        for (part, field) in [("spec", "hard"), ("status", "hard"), ("status", "used")] {
            let part = map_in(object.map_mut(), part);
            if let Some(amounts) = part.and_then(|part| map_in(part, field)) {
                round(amounts);
            }
        }
        map(object.map_mut(), "spec");
    }

    fn prepare_create(&self, _context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({}));
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        keep(object, old, "status");
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let errors = validation::spec(object);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        match context.subresource {
            "status" => validation::status(object),
            _ => validation::update(object, old),
        }
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let status = sub(object.map(), "status");
        let (hard, used) = (status.sub("hard"), status.sub("used"));
        let mut names: Vec<_> =
            hard.as_object().into_iter().flatten().map(|(name, _)| name).collect();
        names.sort();
        let (mut requests, mut limits) = (Vec::new(), Vec::new());
        for name in names {
            let shown = |list: &Value| Quantity::from_json(list.sub(name)).unwrap_or_default();
            let text = format!("{name}: {}/{}", shown(used), shown(hard));
            if name.starts_with("limits.") { limits.push(text) } else { requests.push(text) }
        }
        vec![
            object.name().into(),
            requests.join(", ").into(),
            limits.join(", ").into(),
            age(object, now),
        ]
    }
}

/// Requests are meant to stay below limits.
fn warn(context: &Context<'_>, object: &Object) {
    let hard = At::top(object.map(), "spec").get("hard");
    for resource in ["cpu", "memory", "storage", "ephemeral-storage"] {
        let (mut name, limit) = (format!("requests.{resource}"), format!("limits.{resource}"));
        if !hard.value().has(&name) && matches!(resource, "cpu" | "memory") {
            resource.clone_into(&mut name);
        }
        if !hard.value().has(&name) || !hard.value().has(&limit) {
            continue;
        }
        let (requested, most) =
            (check::quantity(&hard.key(&name)), check::quantity(&hard.key(&limit)));
        if requested > most {
            context.warnings.add(format!(
                "ResourceQuota {name} ({requested}) should be less than {limit} ({most})"
            ));
        }
    }
}

fn quota_name(at: &At<'_>, name: &str, errors: &mut Errors) {
    resource_name(at, name, errors);
    if !name.contains('/') && !validation::is_standard(name) {
        errors.push(at.invalid_as(name, "must be a standard resource for quota"));
    }
}
