//! PersistentVolumes.

use crate::{
    defaulting::{map_in, missing, text},
    hooks::{change_only, keep},
    look::{At, Look, sub},
    persistentvolumeclaim::{OLD_CLASS, class, short_modes, storage, unset},
    pod::{
        defaults::{resources::round, volumes::older_sources},
        warnings::deprecated_label,
    },
    row::{Part, Row},
    table::{age, or},
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, Strategy, definition::Context, field::Errors};
use serde_json::{Value, json};

pub(crate) mod validation;

/// Held the mount options before there was a field for them.
const OLD_OPTIONS: &str = "volume.beta.kubernetes.io/mount-options";

pub(crate) fn definition() -> Definition {
    let row = Row {
        kind: "PersistentVolume",
        plural: "persistentvolumes",
        short: &["pv"],
        columns: &[
            "Name",
            "Capacity",
            "Access Modes",
            "Reclaim Policy",
            "Status",
            "Claim",
            "StorageClass",
            "VolumeAttributesClass",
            "Reason",
            "Age",
            "+VolumeMode",
        ],
        parts: &[Part::Status],
        ..Row::CLUSTER
    };
    row.define(Volumes)
}

#[derive(Debug)]
struct Volumes;

impl Strategy for Volumes {
    fn default(&self, object: &mut Object) {
        text(object.map_at_mut(&["status"]), "phase", "Pending");
        let spec = object.map_at_mut(&["spec"]);
        text(spec, "persistentVolumeReclaimPolicy", "Retain");
        missing(spec, "volumeMode", "Filesystem");
        if let Some(capacity) = map_in(spec, "capacity") {
            round(capacity);
        }
        if let Some(source) = map_in(spec, "hostPath") {
            missing(source, "type", "");
        }
        older_sources(spec);
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        object
            .set(&["status"], json!({"lastPhaseTransitionTime": now(context), "phase": "Pending"}));
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        if context.subresource != "status" {
            return keep(object, old, "status");
        }
        change_only(object, old, "status");
        let path = ["status", "lastPhaseTransitionTime"];
        let phase = ["status", "phase"];
        let (time, before) = (object.text(&path), old.text(&path));
        if object.text(&phase) != old.text(&phase) {
            if time.is_empty() || time == before {
                object.set(&path, now(context));
            }
        } else if time.is_empty() && !before.is_empty() {
            object.set(&path, before.to_owned());
        }
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
        let moves = context.features.is_on("MutablePVNodeAffinity");
        let errors = validation::update(object, old, moves);
        if errors.is_empty() {
            warn(context, object);
        }
        errors
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let claim = spec.sub("claimRef");
        let claimed = match claim.is_null() {
            true => String::new(),
            false => format!("{}/{}", claim.text("namespace"), claim.text("name")),
        };
        vec![
            object.name().into(),
            storage(spec.sub("capacity")).into(),
            short_modes(spec.sub("accessModes")).into(),
            spec.text("persistentVolumeReclaimPolicy").into(),
            if object.is_deleting() { "Terminating".into() } else { status.text("phase").into() },
            claimed.into(),
            class(object).into(),
            or(spec.text("volumeAttributesClassName"), unset(spec, "volumeAttributesClassName"))
                .into(),
            status.text("reason").into(),
            age(object, now),
            or(spec.text("volumeMode"), unset(spec, "volumeMode")).into(),
        ]
    }
}

fn now(context: &Context<'_>) -> String {
    context.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn warn(context: &Context<'_>, object: &Object) {
    let warn = |text: String| context.warnings.add(text);
    for (key, text) in [
        (OLD_CLASS, "deprecated since v1.8; use \"storageClassName\" attribute instead"),
        (OLD_OPTIONS, "deprecated since v1.31; use \"mountOptions\" attribute instead"),
    ] {
        if object.annotation(key).is_some() {
            warn(format!("metadata.annotations[{key}]: {text}"));
        }
    }
    let spec = At::top(object.map(), "spec");
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if policy.str() == "Recycle" {
        warn(format!(
            "{}: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic \
             provisioning.",
            policy.path()
        ));
    }
    for term in spec.get("nodeAffinity").get("required").get("nodeSelectorTerms").items() {
        for expression in term.get("matchExpressions").items() {
            let key = expression.get("key");
            if let Some(text) = deprecated_label(key.str()) {
                warn(format!("{}: {} is {text}", key.path(), key.str()));
            }
        }
    }
    for (field, shown, since, until) in [
        ("cephfs", "cephfs", "1.28", "1.31"),
        ("photonPersistentDisk", "photonPersistentDisk", "1.11", "1.16"),
        ("scaleIO", "scaleIO", "1.16", "1.22"),
        ("storageos", "storageOS", "1.22", "1.25"),
        ("glusterfs", "glusterfs", "1.25", "1.26"),
        ("rbd", "rbd", "1.28", "1.31"),
    ] {
        if spec.get(field).is_set() {
            warn(format!("spec.{shown}: deprecated in v{since}, non-functional in v{until}+"));
        }
    }
}
