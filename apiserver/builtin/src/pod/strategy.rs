//! The hooks of pods.

use super::{
    defaults,
    features::{drop_disabled, drop_from_status},
    table, validation, warnings,
};
use crate::{
    gates,
    hooks::{change_only, is_same, keep, keep_metadata, put, start_generation},
    look::{Look, sub},
};
use jiff::Timestamp;
use kubeplane_core::{
    Object, Strategy,
    definition::{Context, Deletion},
    field::Errors,
};
use serde_json::{Value, json};

mod prepare;

#[derive(Debug)]
pub(crate) struct Pods;

impl Strategy for Pods {
    fn default(&self, object: &mut Object) {
        defaults::pod(object);
        both_addresses(object);
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        start_generation(object);
        drop_disabled(context.features, object.map_at_mut(&["spec"]), &Value::Null);
        prepare::app_armor(context, object);
        let class = prepare::qos_class(object);
        object.set(&["status"], json!({"phase": "Pending", "qosClass": class}));
        prepare::scheduling_gates(context, object);
        prepare::label_keys(context.features, object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        match context.subresource {
            "status" => {
                change_status(object, old);
                return drop_from_status(context.features, object, old);
            }
            "ephemeralcontainers" => change_in_spec(object, old, |spec, old| {
                let mut changed = old.clone();
                put(
                    &mut changed,
                    "ephemeralContainers",
                    spec.at(&["ephemeralContainers"]).cloned(),
                );
                changed
            }),
            "resize" => change_in_spec(object, old, |spec, old| {
                prepare::resized(context.features, spec, old)
            }),
            _ => keep(object, old, "status"),
        }
        let before = sub(old.map(), "spec");
        drop_disabled(context.features, object.map_at_mut(&["spec"]), before);
        let changed = !is_same(object, old, &["spec"]);
        object.set(&["metadata", "generation"], old.generation() + i64::from(changed));
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let mut errors = validation::create(object);
        gates::allow(context.features, &mut errors);
        if errors.is_empty() {
            warn_of_name(context, object);
            warnings::pod(context.warnings, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let mut errors = match context.subresource {
            "status" => validation::update::status(object, old),
            "ephemeralcontainers" => validation::update::ephemeral_containers(object, old),
            "resize" => validation::update::resize(object, old, context.features),
            _ => validation::update::pod(object, old),
        };
        gates::allow(context.features, &mut errors);
        if context.subresource == "status" && errors.is_empty() {
            warnings::status(context.warnings, object);
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        table::row(object, now)
    }

    fn row_conditions(&self, object: &Object) -> Vec<Value> {
        table::conditions(object)
    }

    fn field(&self, object: &Object, path: &str) -> String {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        match path.split_once('.') {
            Some(("spec", "hostNetwork")) => spec.flag("hostNetwork").to_string(),
            Some(("spec", "host")) => spec.text("nodeName").to_owned(),
            Some(("spec", name)) => spec.text(name).to_owned(),
            Some(("status", "podIP")) => {
                let first = status.list("podIPs").first().map(|ip| ip.text("ip"));
                first.unwrap_or_else(|| status.text("podIP")).to_owned()
            }
            // The original takes it in a selector, and knows it of no pod.
            Some(("status", "podIPs")) => String::new(),
            Some((_, name)) => status.text(name).to_owned(),
            None => String::new(),
        }
    }

    fn deletion(&self, object: &Object, grace: Option<i64>) -> Deletion {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let unbound = spec.text("nodeName").is_empty();
        let finished = matches!(status.text("phase"), "Failed" | "Succeeded");
        let seconds = match grace.unwrap_or_else(|| spec.int("terminationGracePeriodSeconds")) {
            _ if unbound || finished => 0,
            seconds if seconds < 0 => 1,
            seconds => seconds,
        };
        Deletion::Graceful { seconds }
    }
}

/// The field of old clients is the first of the list and wins over it.
fn both_addresses(object: &mut Object) {
    let ips = sub(object.map(), "status").list("podIPs");
    let first = ips.first().map(|ip| ip.text("ip")).unwrap_or_default().to_owned();
    let only = object.text(&["status", "podIP"]).to_owned();
    if only.is_empty() && !first.is_empty() {
        object.set(&["status", "podIP"], first);
    } else if only != first {
        object.set(&["status", "podIPs"], json!([{"ip": only}]));
    }
}

fn warn_of_name(context: &Context<'_>, object: &Object) {
    let problems = kubeplane_core::names::is_dns1123_label(object.name());
    if !object.name().is_empty() && !problems.is_empty() {
        context.warnings.add(format!(
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is \
             recommended: [{}]",
            problems.join(" ")
        ));
    }
}

/// A write to `status`: owners stay, since old kubelets spoil them, and so does what an older client dropped.
fn change_status(object: &mut Object, old: &Object) {
    change_only(object, old, "status");
    keep_metadata(object, old, "ownerReferences");
    keep_metadata(object, old, "generation");
    let class = old.at(&["status", "qosClass"]);
    if let Some(class) = class.filter(|_| object.text(&["status", "qosClass"]).is_empty()) {
        object.set(&["status", "qosClass"], class.clone());
    }
    prepare::keep_observed_generations(object, old);
}

/// Takes the stored pod but for what `change` makes of both specs.
fn change_in_spec(object: &mut Object, old: &Object, change: impl Fn(&Object, &Object) -> Object) {
    let spec_of =
        |pod: &Object| pod.at(&["spec"]).cloned().and_then(Object::from_value).unwrap_or_default();
    let spec = change(&spec_of(object), &spec_of(old));
    let metadata = object.remove(&["metadata"]);
    *object = old.clone();
    put(object, "metadata", metadata);
    for field in ["labels", "annotations", "ownerReferences", "finalizers", "generation"] {
        keep_metadata(object, old, field);
    }
    object.set(&["spec"], spec.into_value());
}
