//! The volumes of a pod.

use super::{container::pull_policy, env, projected, spec::Owner};
use crate::{
    check,
    look::{At, Look},
};
use kubeplane_core::{field::Errors, names};
use std::collections::BTreeMap;

pub(crate) mod claim;
pub(crate) mod remote;

pub(super) const MODE: &str = "must be a number between 0 and 0777 (octal), both inclusive";

/// The sound volumes by name; whether each is a claim.
#[derive(Debug, Default)]
pub(super) struct Volumes<'a>(BTreeMap<&'a str, bool>);

impl Volumes<'_> {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub(super) fn is_claim(&self, name: &str) -> Option<bool> {
        self.0.get(name).copied()
    }
}

pub(super) fn volumes<'a>(list: &At<'a>, owner: &Owner<'_>, errors: &mut Errors) -> Volumes<'a> {
    let mut sound = Volumes::default();
    let pod = match owner {
        Owner::Pod { name, .. } if !name.is_empty() => Some(*name),
        _ => None,
    };
    let ephemeral = list.items().filter(|volume| volume.get("ephemeral").is_set());
    let made: Vec<_> = pod
        .map(|pod| ephemeral.map(|v| format!("{pod}-{}", v.get("name").str())).collect())
        .unwrap_or_default();
    for volume in list.items() {
        let mut found = Errors::new();
        source(&volume, owner, pod, &mut found);
        let name = volume.get("name");
        check::required_dns_label(&name, &mut found);
        if sound.has(name.str()) {
            found.push(name.duplicate());
        }
        if found.is_empty() {
            let claim =
                volume.get("persistentVolumeClaim").is_set() || volume.get("ephemeral").is_set();
            sound.0.insert(name.str(), claim);
        }
        errors.append(&mut found);
        let claim = volume.get("persistentVolumeClaim").get("claimName");
        if made.iter().any(|made| made == claim.str()) {
            errors.push(
                claim.invalid("must not reference a PVC that gets created for an ephemeral volume"),
            );
        }
    }
    sound
}

/// In the order the original looks at them.
const KINDS: &[&str] = &[
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn source(volume: &At<'_>, owner: &Owner<'_>, pod: Option<&str>, errors: &mut Errors) {
    let empty = volume.get("emptyDir");
    let mut found = empty.is_set();
    let limit = empty.get("sizeLimit");
    if limit.is_set() && check::quantity(&limit).sign() < 0 {
        errors.push(limit.forbidden("SizeLimit field must be a valid resource quantity"));
    }
    for kind in KINDS.iter().filter(|kind| volume.value().has(kind)) {
        let source = volume.get(kind);
        if found {
            errors.push(source.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        match *kind {
            "hostPath" => host_path(&source, errors),
            "secret" => keys(&source, "secretName", errors),
            "configMap" => keys(&source, "name", errors),
            "persistentVolumeClaim" => drop(check::required(&source.get("claimName"), errors)),
            "downwardAPI" => downward_api(&source, errors),
            "projected" => projected::projected(&source, errors),
            "ephemeral" => ephemeral(volume, &source, pod, errors),
            "image" => image(&source, owner, errors),
            _ => remote::source(kind, volume, &source, errors),
        }
    }
    if !found {
        errors.push(volume.required("must specify a volume type"));
    }
}

pub(crate) fn host_path(source: &At<'_>, errors: &mut Errors) {
    let path = source.get("path");
    if check::required(&path, errors) {
        check::no_backsteps(&path, errors);
        let kinds = [
            "",
            "BlockDevice",
            "CharDevice",
            "Directory",
            "DirectoryOrCreate",
            "File",
            "FileOrCreate",
            "Socket",
        ];
        check::one_of_if_set(&source.get("type"), &kinds, errors);
    }
}

pub(super) fn mode(at: &At<'_>, errors: &mut Errors) {
    if let Some(mode) = at.int().filter(|mode| !(0..=0o777).contains(mode)) {
        errors.push(at.invalid_as(mode, MODE));
    }
}

fn keys(source: &At<'_>, name: &'static str, errors: &mut Errors) {
    check::required(&source.get(name), errors);
    mode(&source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        key_to_path(&item, errors);
    }
}

/// One key of a ConfigMap or Secret and the file it becomes.
pub(super) fn key_to_path(item: &At<'_>, errors: &mut Errors) {
    check::required(&item.get("key"), errors);
    check::required(&item.get("path"), errors);
    check::local_path(&item.get("path"), errors);
    mode(&item.get("mode"), errors);
}

fn downward_api(source: &At<'_>, errors: &mut Errors) {
    mode(&source.get("defaultMode"), errors);
    for item in source.get("items").items() {
        downward_file(&source.with(item.value()), errors);
    }
}

/// A file with a field of the pod in it. The original's paths leave out which file it is.
pub(super) fn downward_file(file: &At<'_>, errors: &mut Errors) {
    const FIELDS: &[&str] = &[
        "metadata.annotations",
        "metadata.labels",
        "metadata.name",
        "metadata.namespace",
        "metadata.uid",
    ];
    let (field, resource) = (file.get("fieldRef"), file.get("resourceFieldRef"));
    check::required(&file.get("path"), errors);
    check::local_path(&file.get("path"), errors);
    if field.is_set() {
        env::field(&field, FIELDS, errors);
        if resource.is_set() {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(file.invalid_as("resource", detail));
        }
    } else if resource.is_set() {
        env::resource(&resource, true, errors);
    } else {
        errors.push(file.required("one of fieldRef and resourceFieldRef is required"));
    }
    mode(&file.get("mode"), errors);
}

fn ephemeral(volume: &At<'_>, source: &At<'_>, pod: Option<&str>, errors: &mut Errors) {
    let template = source.get("volumeClaimTemplate");
    if template.is_set() {
        claim::template(&template, errors);
    } else {
        errors.push(template.required(""));
    }
    let name = volume.get("name");
    if let Some(pod) = pod.filter(|_| !name.str().is_empty()) {
        let claim = format!("{pod}-{}", name.str());
        let problems = names::is_dns1123_subdomain(&claim).into_iter();
        errors
            .extend(problems.map(|message| name.invalid(format!("PVC name {claim:?}: {message}"))));
    }
}

fn image(source: &At<'_>, owner: &Owner<'_>, errors: &mut Errors) {
    if owner.is_pod() {
        check::required(&source.get("reference"), errors);
    }
    pull_policy(&source.get("pullPolicy"), errors);
}
