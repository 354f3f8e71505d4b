//! Defaults of volumes.

use super::{Json, resources};
use crate::defaulting::{map_in, maps_in, missing, text};
use serde_json::json;

pub(super) fn volume(volume: &mut Json) {
    if !volume.iter().any(|(name, source)| name != "name" && !source.is_null()) {
        volume.insert("emptyDir".to_owned(), json!({}));
    }
    for name in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = map_in(volume, name) {
            missing(source, "defaultMode", 0o644);
            field_items(source);
        }
    }
    if let Some(source) = map_in(volume, "hostPath") {
        missing(source, "type", "");
    }
    if let Some(projected) = map_in(volume, "projected") {
        maps_in(projected, "sources").for_each(projection);
    }
    if let Some(source) = map_in(volume, "image") {
        super::pull_policy(source, "reference", "pullPolicy");
    }
    if let Some(claim) =
        map_in(volume, "ephemeral").and_then(|source| map_in(source, "volumeClaimTemplate"))
    {
        claim_spec(crate::defaulting::map(claim, "spec"));
    }
    older_sources(volume);
}

/// The defaults of a PersistentVolumeClaim's spec.
pub(crate) fn claim_spec(spec: &mut Json) {
    missing(spec, "volumeMode", "Filesystem");
    if let Some(list) = map_in(spec, "resources") {
        resources::round_lists(list);
    }
}

fn projection(source: &mut Json) {
    if let Some(downward) = map_in(source, "downwardAPI") {
        field_items(downward);
    }
    if let Some(token) = map_in(source, "serviceAccountToken") {
        missing(token, "expirationSeconds", 3600);
    }
}

fn field_items(source: &mut Json) {
    for item in maps_in(source, "items") {
        if let Some(field) = map_in(item, "fieldRef") {
            text(field, "apiVersion", "v1");
        }
    }
}

/// The defaults of sources that volumes of pods and PersistentVolumes have in common.
pub(crate) fn older_sources(volume: &mut Json) {
    if let Some(source) = map_in(volume, "iscsi") {
        text(source, "iscsiInterface", "default");
    }
    if let Some(source) = map_in(volume, "rbd") {
        text(source, "pool", "rbd");
        text(source, "user", "admin");
        text(source, "keyring", "/etc/ceph/keyring");
    }
    if let Some(source) = map_in(volume, "azureDisk") {
        missing(source, "cachingMode", "ReadWrite");
        missing(source, "fsType", "ext4");
        missing(source, "readOnly", false);
        missing(source, "kind", "Shared");
    }
    if let Some(source) = map_in(volume, "scaleIO") {
        text(source, "storageMode", "ThinProvisioned");
        text(source, "fsType", "xfs");
    }
}
