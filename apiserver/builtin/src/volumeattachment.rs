//! VolumeAttachments.

use crate::{
    check,
    csinode::driver_name,
    look::{At, Look, sub},
    persistentvolume::validation::source,
    plain::Plain,
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{Definition, Object, field::Errors, names};
use serde_json::{Value, json};

const METADATA_MAX: usize = 256 * 1024;
const MESSAGE_MAX: usize = 1024;

pub(crate) fn definition() -> Definition {
    let row = Row {
        group: "storage.k8s.io",
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        columns: &["Name", "Attacher", "PV", "Node", "Attached:boolean", "Age"],
        parts: &[Part::Status],
        unconditional_update: false,
        ..Row::CLUSTER
    };
    let mut definition = row.define(Plain {
        status: Some(|| json!({"attached": false})),
        validate,
        update,
        update_status: |object, _| validate(object),
        row: cells,
        ..Plain::NEW
    });
    // The original says so of this column too.
    for column in definition.columns.iter_mut().filter(|column| column.name == "Attacher") {
        column.format = "name".into();
    }
    definition
}

fn cells(object: &Object, now: Timestamp) -> Vec<Value> {
    let spec = sub(object.map(), "spec");
    vec![
        object.name().into(),
        spec.text("attacher").into(),
        spec.sub("source").text("persistentVolumeName").into(),
        spec.text("nodeName").into(),
        sub(object.map(), "status").flag("attached").into(),
        age(object, now),
    ]
}

fn validate(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let spec = At::top(object.map(), "spec");
    driver_name(&spec.get("attacher"), &mut errors);
    let source = spec.get("source");
    let (inline, name) = (source.get("inlineVolumeSpec"), source.get("persistentVolumeName"));
    const ONE: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (inline.is_set(), name.is_set()) {
        (false, false) => errors.push(source.required(ONE)),
        (true, true) => errors.push(source.forbidden(ONE)),
        (false, true) if name.str().is_empty() => {
            errors.push(name.required("must specify non empty persistentVolumeName"));
        }
        (false, true) => {}
        (true, false) => inline_spec(&inline, &mut errors),
    }
    check::messages(
        &spec.get("nodeName"),
        names::is_dns1123_subdomain(spec.get("nodeName").str()),
        &mut errors,
    );
    status(&At::top(object.map(), "status"), &mut errors);
    if name.is_set() {
        check::dns_subdomain(&name, &mut errors);
    }
    errors
}

/// A volume without a PersistentVolume: of CSI, and nothing that only makes sense for a claim.
fn inline_spec(spec: &At<'_>, errors: &mut Errors) {
    const INLINE: &str = "may not be specified in the context of inline volumes";
    let (csi, modes) = (spec.get("csi"), spec.get("accessModes"));
    if spec.get("claimRef").is_set() {
        errors.push(spec.get("claimRef").forbidden(INLINE));
    }
    if !spec.get("capacity").is_empty() {
        errors.push(spec.get("capacity").forbidden(INLINE));
    }
    if !csi.is_set() {
        errors.push(csi.required("has to be specified in the context of inline volumes"));
    }
    access_modes(&modes, errors);
    if !matches!(spec.get("persistentVolumeReclaimPolicy").str(), "" | "Retain") {
        errors.push(
            spec.get("persistentVolumeReclaimPolicy")
                .forbidden("may only be Retain in the context of inline volumes"),
        );
    }
    if spec.get("nodeAffinity").is_set() {
        errors.push(spec.get("nodeAffinity").forbidden(INLINE));
    }
    source("", spec, errors);
    if !spec.get("storageClassName").str().is_empty() {
        errors.push(spec.get("storageClassName").forbidden(INLINE));
    }
    if spec.get("volumeMode").is_set() && spec.get("volumeMode").str() != "Filesystem" {
        errors.push(spec.get("volumeMode").forbidden(
            "may not specify volumeMode other than Filesystem in the context of inline volumes",
        ));
    }
}

fn access_modes(modes: &At<'_>, errors: &mut Errors) {
    const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
    if modes.is_empty() {
        errors.push(modes.required(""));
    }
    for mode in modes.items().filter(|mode| !MODES.contains(&mode.str())) {
        errors.push(modes.with(mode.value()).not_supported(&MODES));
    }
    let (alone, shared): (Vec<_>, Vec<_>) = modes
        .items()
        .filter(|mode| MODES.contains(&mode.str()))
        .partition(|mode| mode.str() == "ReadWriteOncePod");
    if !alone.is_empty() && !shared.is_empty() {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn status(status: &At<'_>, errors: &mut Errors) {
    let metadata = status.get("attachmentMetadata");
    let size: usize = metadata.entries().map(|(key, value)| key.len() + value.str().len()).sum();
    if size > METADATA_MAX {
        errors.push(metadata.too_long(METADATA_MAX));
    }
    for field in ["attachError", "detachError"] {
        let (message, code) =
            (status.get(field).get("message"), status.get(field).get("errorCode"));
        if message.str().len() > MESSAGE_MAX {
            // The limit told is that of the metadata, as the original's.
            errors.push(message.too_long(METADATA_MAX));
        }
        if code.int().is_some_and(|code| code < 0) {
            errors.push(code.invalid(names::range_message(0, i64::from(i32::MAX))));
        }
    }
}

fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let definition = "io.k8s.api.storage.v1.VolumeAttachmentSpec";
    check::same(&At::top(object.map(), "spec"), sub(old.map(), "spec"), definition, &mut errors);
    errors
}
