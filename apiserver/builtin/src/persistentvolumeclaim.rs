//! PersistentVolumeClaims.

use crate::{
    check,
    defaulting::{map, map_in, text},
    hooks::{change_only, keep},
    look::{At, Look, sub},
    pod::defaults::{resources::round, volumes::claim_spec},
    row::{Part, Row},
    table::{age, or},
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, Object, Strategy, definition::Context, features::Features, field::Errors,
    quantity::Quantity,
};
use serde_json::{Map, Value, json};

mod validation;

/// Named the class before there was a field for it.
pub(crate) const OLD_CLASS: &str = "volume.beta.kubernetes.io/storage-class";

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "PersistentVolumeClaim",
        plural: "persistentvolumeclaims",
        short: &["pvc"],
        columns: &[
            "Name",
            "Status",
            "Volume",
            "Capacity",
            "Access Modes",
            "StorageClass",
            "VolumeAttributesClass",
            "Age",
            "+VolumeMode",
        ],
        parts: &[Part::Status],
        ..Row::NAMESPACED
    };
    row.define(Claims)
}

#[derive(Debug)]
struct Claims;

/// The defaults of a claim or of the template of one.
pub(crate) fn default_claim(claim: &mut Map<String, Value>) {
    claim_spec(map(claim, "spec"));
    let status = map(claim, "status");
    text(status, "phase", "Pending");
    for field in ["capacity", "allocatedResources"] {
        if let Some(amounts) = map_in(status, field) {
            round(amounts);
        }
    }
}

impl Strategy for Claims {
    fn default(&self, object: &mut Object) {
        default_claim(object.map_mut());
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object.set(&["status"], json!({"phase": "Pending"}));
        drop_sources(context.features, object, None);
        normalize(object);
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource == "status" {
            return change_only(object, old, "status");
        }
        keep(object, old, "status");
        drop_sources(context.features, object, Some(old));
        normalize(object);
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let errors = validation::create(object);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        if context.subresource == "status" {
            return validation::status(object);
        }
        let mut old = old.clone();
        normalize(&mut old);
        let errors = validation::update(object, &old);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let volume = spec.text("volumeName");
        let (mut capacity, mut modes) = (String::new(), String::new());
        if !volume.is_empty() {
            capacity = storage(status.sub("capacity"));
            modes = short_modes(status.sub("accessModes"));
        }
        vec![
            object.name().into(),
            if object.is_deleting() { "Terminating".into() } else { status.text("phase").into() },
            volume.into(),
            capacity.into(),
            modes.into(),
            class(object).into(),
            or(spec.text("volumeAttributesClassName"), unset(spec, "volumeAttributesClassName"))
                .into(),
            age(object, now),
            or(spec.text("volumeMode"), unset(spec, "volumeMode")).into(),
        ]
    }
}

/// The class of a claim or volume, wherever it is named.
pub(crate) fn class(object: &Object) -> &str {
    object.annotation(OLD_CLASS).unwrap_or_else(|| object.text(&["spec", "storageClassName"]))
}

/// What is printed for a field that is not there at all.
pub(crate) fn unset(spec: &Value, field: &str) -> &'static str {
    if spec.has(field) { "" } else { "<unset>" }
}

/// The amount of storage among resources, as printed.
pub(crate) fn storage(resources: &Value) -> String {
    Quantity::from_json(resources.sub("storage")).unwrap_or_default().to_string()
}

/// Access modes in short, in the order of the original.
pub(crate) fn short_modes(modes: &Value) -> String {
    const SHORT: [(&str, &str); 4] = [
        ("ReadWriteOnce", "RWO"),
        ("ReadOnlyMany", "ROX"),
        ("ReadWriteMany", "RWX"),
        ("ReadWriteOncePod", "RWOP"),
    ];
    let has = |mode: &str| modes.as_array().is_some_and(|list| list.iter().any(|m| m == mode));
    let found = SHORT.iter().filter(|(mode, _)| has(mode)).map(|(_, short)| *short);
    found.collect::<Vec<_>>().join(",")
}

fn is_set(object: &Object, field: &str) -> bool {
    object.at(&["spec", field]).is_some_and(|value| !value.is_null())
}

/// Drops sources in other namespaces where that feature is off, and sources that the older field never took.
fn drop_sources(features: &Features, object: &mut Object, old: Option<&Object>) {
    let had = |field| old.is_some_and(|old| is_set(old, field));
    let elsewhere = !object.text(&["spec", "dataSourceRef", "namespace"]).is_empty();
    let allowed = features.is_on("CrossNamespaceVolumeDataSource");
    if elsewhere && !allowed && !had("dataSourceRef") {
        object.remove(&["spec", "dataSourceRef"]);
    }
    if had("dataSource") || had("dataSourceRef") || is_set(object, "dataSourceRef") {
        return;
    }
    let text = |field| object.text(&["spec", "dataSource", field]);
    let known = matches!(
        (text("kind"), text("apiGroup")),
        ("PersistentVolumeClaim", "") | ("VolumeSnapshot", "snapshot.storage.k8s.io")
    );
    if !known {
        object.remove(&["spec", "dataSource"]);
    }
}

/// Both fields for the source say the same, when one of them is set.
fn normalize(object: &mut Object) {
    let (source, reference) = (is_set(object, "dataSource"), is_set(object, "dataSourceRef"));
    let spec = sub(object.map(), "spec");
    if source && !reference {
        object.set(&["spec", "dataSourceRef"], spec.sub("dataSource").clone());
    } else if reference && !source && spec.sub("dataSourceRef").text("namespace").is_empty() {
        let mut copy = spec.sub("dataSourceRef").clone();
        if let Some(copy) = copy.as_object_mut() {
            copy.remove("namespace");
        }
        object.set(&["spec", "dataSource"], copy);
    }
}

fn warn(context: &Context<'_>, object: &Object) {
    if object.annotation(OLD_CLASS).is_some() {
        context.warnings.add(format!(
            "metadata.annotations[{OLD_CLASS}]: deprecated since v1.8; use \"storageClassName\" attribute instead"
        ));
    }
    warn_of_spec(context, &At::top(object.map(), "spec"));
}

/// Bytes are whole.
pub(crate) fn warn_of_spec(context: &Context<'_>, spec: &At<'_>) {
    for list in ["requests", "limits"] {
        let at = spec.get("resources").get(list).key("storage");
        let amount = check::quantity(&at);
        if at.is_set() && amount.milli_value() % 1000 != 0 {
            context.warnings.add(format!(
                "{}: fractional byte value \"{amount}\" is invalid, must be an integer",
                at.path()
            ));
        }
    }
}
