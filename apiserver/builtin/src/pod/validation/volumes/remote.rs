//! Volumes on storage of the network and of clouds.

use crate::{check, look::At};
use kubeplane_core::{field::Errors, names};

/// Checks a source by its name.
pub(crate) fn source(kind: &str, volume: &At<'_>, source: &At<'_>, errors: &mut Errors) {
    match kind {
        "iscsi" => iscsi(volume, source, errors),
        "nfs" => nfs(source, errors),
        "fc" => fibre_channel(source, errors),
        "flexVolume" => flex(source, errors),
        "flocker" => flocker(source, errors),
        "quobyte" => quobyte(source, errors),
        "azureDisk" => azure_disk(source, errors),
        "storageos" => storage_os(source, errors),
        "csi" => csi(source, errors),
        "gitRepo" => {
            check::required(&source.get("repository"), errors);
            check::descending_path(&source.get("directory"), errors);
        }
        "gcePersistentDisk" => {
            let source = volume.get("persistentDisk").with(source.value());
            check::required(&source.get("pdName"), errors);
            partition(&source.get("partition"), errors);
        }
        "awsElasticBlockStore" => {
            check::required(&source.get("volumeID"), errors);
            partition(&source.get("partition"), errors);
        }
        _ => required_fields(kind, source, errors),
    }
}

fn required_fields(kind: &str, source: &At<'_>, errors: &mut Errors) {
    let (lists, texts): (&[&'static str], &[&'static str]) = match kind {
        "glusterfs" => (&[], &["endpoints", "path"]),
        "rbd" => (&["monitors"], &["image"]),
        "cephfs" => (&["monitors"], &[]),
        "cinder" | "portworxVolume" => (&[], &["volumeID"]),
        "azureFile" => (&[], &["secretName", "shareName"]),
        "vsphereVolume" => (&[], &["volumePath"]),
        "photonPersistentDisk" => (&[], &["pdID"]),
        "scaleIO" => (&[], &["gateway", "system", "volumeName"]),
        _ => (&[], &[]),
    };
    for list in lists {
        if source.get(list).is_empty() {
            errors.push(source.get(list).required(""));
        }
    }
    for text in texts {
        check::required(&source.get(text), errors);
    }
    if kind == "cinder" {
        secret_name(source, errors);
    }
}

fn secret_name(source: &At<'_>, errors: &mut Errors) {
    let secret = source.get("secretRef");
    if secret.is_set() {
        check::required(&secret.get("name"), errors);
    }
}

fn partition(at: &At<'_>, errors: &mut Errors) {
    if let Some(number) = at.int().filter(|number| !(0..=255).contains(number)) {
        errors.push(at.invalid_as(number, names::range_message(1, 255)));
    }
}

fn nfs(source: &At<'_>, errors: &mut Errors) {
    let path = source.get("path");
    check::required(&source.get("server"), errors);
    check::required(&path, errors);
    if !path.str().starts_with('/') {
        errors.push(path.invalid("must be an absolute path"));
    }
}

fn iscsi(volume: &At<'_>, source: &At<'_>, errors: &mut Errors) {
    let (portal, name) = (source.get("targetPortal"), source.get("iqn"));
    check::required(&portal, errors);
    if check::required(&name, errors) {
        iscsi_name(&name, errors);
    }
    check::in_range(&source.get("lun"), 0, 255, errors);
    let secret = source.get("secretRef");
    if (source.get("chapAuthDiscovery").bool() || source.get("chapAuthSession").bool())
        && !secret.is_set()
    {
        errors.push(secret.required(""));
    }
    let initiator = source.get("initiatorName");
    if initiator.is_set() {
        iscsi_name(&source.get("initiatorname").with(initiator.value()), errors);
        let own = volume.get("name");
        if own.str().len() + 1 + portal.str().len() > 64 {
            let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                          iscsi.initiatorName is specified.";
            errors.push(own.invalid(detail));
        }
    }
}

pub(crate) fn iscsi_name(at: &At<'_>, errors: &mut Errors) {
    let name = at.str();
    let hex = |rest: &str, length: usize| {
        rest.len() == length + 1 && rest[1..].bytes().all(|c| c.is_ascii_alphanumeric())
    };
    let valid = match name.get(..3) {
        Some("iqn") => is_qualified_name(name),
        Some("eui") => name.is_ascii() && hex(&name[3..], 16),
        Some("naa") => name.is_ascii() && hex(&name[3..], 32),
        _ => return errors.push(at.invalid("must be valid format starting with iqn, eui, or naa")),
    };
    if !valid {
        errors.push(at.invalid("must be valid format"));
    }
}

/// `iqn.2001-04.com.example:storage`.
fn is_qualified_name(name: &str) -> bool {
    let Some((authority, target)) = name.split_once(':') else {
        return false;
    };
    let mut parts = authority.splitn(3, '.');
    let (_, date, owner) =
        (parts.next(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let digits =
        |text: &str, count| text.len() == count && text.bytes().all(|c| c.is_ascii_digit());
    let dated =
        date.split_once('-').is_some_and(|(year, month)| digits(year, 4) && digits(month, 2));
    let owned = !owner.is_empty()
        && owner.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.'));
    let barred = |c: char| c.is_whitespace() || matches!(c, ',' | ';' | '*' | '&' | '$' | '|');
    dated && owned && !target.is_empty() && !target.contains(barred)
}

fn fibre_channel(source: &At<'_>, errors: &mut Errors) {
    let (names, ids, lun) = (source.get("targetWWNs"), source.get("wwids"), source.get("lun"));
    if names.is_empty() && ids.is_empty() {
        errors.push(names.required("must specify either targetWWNs or wwids, but not both"));
    }
    if !names.is_empty() && !ids.is_empty() {
        errors.push(names.invalid("targetWWNs and wwids can not be specified simultaneously"));
    }
    if !names.is_empty() {
        if lun.is_set() {
            check::in_range(&lun, 0, 255, errors);
        } else {
            errors.push(lun.required("lun is required if targetWWNs is specified"));
        }
    }
}

fn flex(source: &At<'_>, errors: &mut Errors) {
    check::required(&source.get("driver"), errors);
    for (key, option) in source.get("options").entries() {
        let namespace = key.split_once('/').map_or(key, |(namespace, _)| namespace);
        let dotted = format!(".{}", namespace.to_lowercase());
        if dotted.ends_with(".kubernetes.io") || dotted.ends_with(".k8s.io") {
            errors.push(option.invalid_as(key, "kubernetes.io and k8s.io namespaces are reserved"));
        }
    }
}

fn flocker(source: &At<'_>, errors: &mut Errors) {
    let (name, uuid) = (source.get("datasetName"), source.get("datasetUUID"));
    match (name.str().is_empty(), uuid.str().is_empty()) {
        (true, true) => {
            errors.push(source.required("one of datasetName and datasetUUID is required"))
        }
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            errors.push(source.invalid_as("resource", detail));
        }
        _ => {}
    }
    if name.str().contains('/') {
        errors.push(name.invalid("must not contain '/'"));
    }
}

fn quobyte(source: &At<'_>, errors: &mut Errors) {
    const REGISTRY: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, tenant) = (source.get("registry"), source.get("tenant"));
    if registry.str().is_empty() {
        errors.push(registry.required(REGISTRY));
    } else if tenant.str().len() >= 65 {
        errors.push(tenant.required("must be a UUID and may not exceed a length of 64 characters"));
    } else {
        let bad = registry.str().split(',').filter(|pair| pair.matches(':').count() != 1);
        errors.extend(bad.map(|_| registry.invalid(REGISTRY)));
    }
    check::required(&source.get("volume"), errors);
}

fn azure_disk(source: &At<'_>, errors: &mut Errors) {
    let (uri, kind) = (source.get("diskURI"), source.get("kind"));
    check::required(&source.get("diskName"), errors);
    check::required(&uri, errors);
    check::one_of_if_set(&source.get("cachingMode"), &["None", "ReadOnly", "ReadWrite"], errors);
    check::one_of_if_set(&kind, &["Dedicated", "Managed", "Shared"], errors);
    let managed = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    let blob = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    match kind.str() {
        "Managed" if !uri.str().starts_with("/subscriptions/") => {
            errors.push(uri.not_supported(&[managed]))
        }
        "Managed" => {}
        _ if kind.is_set() && !uri.str().starts_with("https://") => {
            errors.push(uri.not_supported(&[blob]))
        }
        _ => {}
    }
}

fn storage_os(source: &At<'_>, errors: &mut Errors) {
    check::required_dns_label(&source.get("volumeName"), errors);
    check::optional_dns_label(&source.get("volumeNamespace"), errors);
    secret_name(source, errors);
}

fn csi(source: &At<'_>, errors: &mut Errors) {
    let driver = source.get("driver");
    if check::required(&driver, errors) {
        if driver.str().len() > 63 {
            errors.push(driver.too_long(63));
        }
        check::messages(&driver, names::is_dns1123_subdomain(&driver.str().to_lowercase()), errors);
    }
    let secret = source.get("nodePublishSecretRef");
    if secret.is_set() && check::required(&secret.get("name"), errors) {
        let at = source.get("name").with(secret.get("name").value());
        check::dns_subdomain(&at, errors);
    }
}
