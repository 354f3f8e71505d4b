//! Where a container sees the volumes of its pod.

use super::spec::Scene;
use crate::{check, look::At};
use kubeplane_core::field::Errors;
use std::collections::BTreeSet;

pub(super) fn mounts(container: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let privileged = container.get("securityContext").get("privileged").bool();
    let mut paths = BTreeSet::new();
    for mount in mounts.items() {
        let (name, path) = (mount.get("name"), mount.get("mountPath"));
        check::required(&name, errors);
        if !scene.volumes.has(name.str()) {
            errors.push(name.not_found());
        }
        check::required(&path, errors);
        if !paths.insert(path.str()) {
            errors.push(path.invalid("must be unique"));
        }
        if devices.items().any(|device| device.get("name").str() == name.str()) {
            errors.push(name.invalid("must not already exist in volumeDevices"));
        }
        if devices.items().any(|device| device.get("devicePath").str() == path.str()) {
            errors.push(path.invalid("must not already exist as a path in volumeDevices"));
        }
        sub_paths(&mounts, &mount, errors);
        propagation(&mounts, &mount, privileged, errors);
    }
}

/// The original's paths of these errors leave out which mount it is.
fn sub_paths(mounts: &At<'_>, mount: &At<'_>, errors: &mut Errors) {
    let (path, expression) = (mount.get("subPath"), mount.get("subPathExpr"));
    if !path.str().is_empty() {
        check::descending_path(&mounts.get("subPath").with(path.value()), errors);
    }
    if !expression.str().is_empty() {
        if !path.str().is_empty() {
            errors.push(expression.invalid("subPathExpr and subPath are mutually exclusive"));
        }
        check::descending_path(&mounts.get("subPathExpr").with(expression.value()), errors);
    }
}

fn propagation(mounts: &At<'_>, mount: &At<'_>, privileged: bool, errors: &mut Errors) {
    let mode = mounts.get("mountPropagation").with(mount.get("mountPropagation").value());
    check::one_of_if_set(&mode, &["Bidirectional", "HostToContainer", "None"], errors);
    if mode.str() == "Bidirectional" && !privileged {
        errors.push(mode.forbidden(
            "Bidirectional mount propagation is available only to privileged containers",
        ));
    }
    let recursive = mounts.get("recursiveReadOnly").with(mount.get("recursiveReadOnly").value());
    match recursive.str() {
        _ if !recursive.is_set() => {}
        "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.get("readOnly").bool() {
                errors.push(recursive.forbidden("may only be specified when readOnly is true"));
            }
            if mode.is_set() && mode.str() != "None" {
                let detail = "may only be specified when mountPropagation is None or not specified";
                errors.push(recursive.forbidden(detail));
            }
        }
        _ => errors.push(recursive.not_supported(&["Disabled", "Enabled", "IfPossible"])),
    }
}

pub(super) fn devices(container: &At<'_>, scene: &Scene<'_>, errors: &mut Errors) {
    let (mounts, devices) = (container.get("volumeMounts"), container.get("volumeDevices"));
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for device in devices.items() {
        let (name, path) = (device.get("name"), device.get("devicePath"));
        check::required(&name, errors);
        if names.contains(name.str()) {
            errors.push(name.invalid("must be unique"));
        }
        match scene.volumes.is_claim(name.str()) {
            Some(true) => {}
            Some(false) => errors.push(name.invalid(
                "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode",
            )),
            None => errors.push(name.not_found()),
        }
        check::required(&path, errors);
        if paths.contains(path.str()) {
            errors.push(path.invalid("must be unique"));
        }
        if check::has_backsteps(path.str()) {
            errors.push(path.invalid("can not contain backsteps ('..')"));
        } else {
            paths.insert(path.str());
        }
        if mounts.items().any(|mount| mount.get("name").str() == name.str()) {
            errors.push(name.invalid("must not already exist in volumeMounts"));
        }
        if mounts.items().any(|mount| mount.get("mountPath").str() == path.str()) {
            errors.push(path.invalid("must not already exist as a path in volumeMounts"));
        }
        if !name.str().is_empty() {
            names.insert(name.str());
        }
    }
}
