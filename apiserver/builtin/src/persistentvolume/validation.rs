//! Whether a PersistentVolume, or a change of one, makes sense.

use super::OLD_OPTIONS;
use crate::{
    check,
    look::{At, Look, sub},
    pod::validation::{
        affinity::node_selector,
        volumes::{host_path, remote},
    },
};
use kubeplane_core::{
    Object,
    field::{Error, Errors, Path, internal_diff},
    names,
    schema::builtin,
};
use serde_json::{Map, Value};

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
/// In the order the original looks at them.
const SOURCES: &[&str] = &[
    "hostPath",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "flocker",
    "nfs",
    "rbd",
    "quobyte",
    "cephfs",
    "iscsi",
    "cinder",
    "fc",
    "flexVolume",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "scaleIO",
    "local",
    "storageos",
    "csi",
];
/// Those that mount options were known for while they stood in an annotation.
const MOUNTABLE: &[&str] = &[
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "glusterfs",
    "nfs",
    "rbd",
    "quobyte",
    "iscsi",
    "cinder",
    "cephfs",
    "azureFile",
    "vsphereVolume",
    "azureDisk",
    "photonPersistentDisk",
];

pub(super) fn create(object: &Object) -> Errors {
    let mut errors = Errors::new();
    spec(object, false, &mut errors);
    mount_options(object, &mut errors);
    errors
}

/// `moves` lets the nodes change from which a volume can be reached.
pub(super) fn update(object: &Object, old: &Object, moves: bool) -> Errors {
    let lenient = has_odd_values(old);
    let mut errors = Errors::new();
    spec(object, lenient, &mut errors);
    mount_options(object, &mut errors);
    // The original looks twice, and says twice what it finds.
    spec(object, lenient, &mut errors);
    let (source, source_before) = (sources(object, old), sources(old, old));
    if source != source_before {
        let path = Path::new("spec.persistentvolumesource");
        let changed = builtin("io.k8s.api.core.v1.PersistentVolumeSpec").map(|schema| {
            let (old, new) = (Value::Object(source_before), Value::Object(source));
            internal_diff(&old, &new, &schema, |field| SOURCES.contains(&&*field.name))
        });
        let detail = format!(
            "spec.persistentvolumesource is immutable after creation\n{}",
            changed.unwrap_or_default()
        );
        errors.push(Error::forbidden(&path, detail));
    }
    let (new, before) = (sub(object.map(), "spec"), sub(old.map(), "spec"));
    let mode = new.sub("volumeMode");
    if mode != before.sub("volumeMode") {
        let path = Path::new("volumeMode");
        errors.push(Error::invalid(&path, mode.clone(), check::IMMUTABLE));
    }
    if !moves && before.has("nodeAffinity") && !same_affinity(new, before) {
        let detail = format!("{}, except for updating from beta label to GA", check::IMMUTABLE);
        let value = new.sub("nodeAffinity").clone();
        errors.push(Error::invalid(&Path::new("nodeAffinity"), value, detail));
    }
    if before.has("volumeAttributesClassName") && !new.has("volumeAttributesClassName") {
        let path = Path::new("spec.volumeAttributesClassName");
        errors.push(Error::forbidden(&path, "update from non-nil value to nil is forbidden"));
    }
    errors
}

/// Where the data is; a secret for growing it may be added later.
fn sources(object: &Object, old: &Object) -> Map<String, Value> {
    let spec = sub(object.map(), "spec");
    let secret = "controllerExpandSecretRef";
    let known = sub(old.map(), "spec").sub("csi");
    let found = SOURCES.iter().filter(|source| spec.has(source));
    let mut found: Map<_, _> =
        found.map(|source| ((*source).to_owned(), spec.sub(source).clone())).collect();
    if known.is_object()
        && !known.has(secret)
        && let Some(csi) = found.get_mut("csi").and_then(Value::as_object_mut)
    {
        csi.remove(secret);
    }
    found
}

fn same_affinity(new: &Value, old: &Value) -> bool {
    let mut old = old.sub("nodeAffinity").clone();
    let path = "/required/nodeSelectorTerms";
    let new = new.sub("nodeAffinity");
    let terms = old.pointer_mut(path).and_then(Value::as_array_mut);
    for (index, term) in terms.into_iter().flatten().enumerate() {
        for list in ["matchExpressions", "matchFields"] {
            let requirements = term.get_mut(list).and_then(Value::as_array_mut);
            for (number, requirement) in requirements.into_iter().flatten().enumerate() {
                let now = new.pointer(&format!("{path}/{index}/{list}/{number}/key"));
                let stable = stable_label(requirement.text("key"));
                if stable.is_some() && now.and_then(Value::as_str) == stable {
                    requirement["key"] = stable.into();
                }
            }
        }
    }
    *new == old
}

fn stable_label(beta: &str) -> Option<&'static str> {
    Some(match beta {
        "failure-domain.beta.kubernetes.io/zone" => "topology.kubernetes.io/zone",
        "failure-domain.beta.kubernetes.io/region" => "topology.kubernetes.io/region",
        "beta.kubernetes.io/os" => "kubernetes.io/os",
        "beta.kubernetes.io/arch" => "kubernetes.io/arch",
        "beta.kubernetes.io/instance-type" => "node.kubernetes.io/instance-type",
        _ => return None,
    })
}

fn required_terms(object: &Object) -> At<'_> {
    At::top(object.map(), "spec").get("nodeAffinity").get("required")
}

fn has_odd_values(object: &Object) -> bool {
    let terms = required_terms(object).get("nodeSelectorTerms");
    let values = terms.items().flat_map(|term| {
        let requirements: Vec<_> = term.get("matchExpressions").items().collect();
        requirements.into_iter().flat_map(|requirement| requirement.get("values").items())
    });
    values.into_iter().any(|value| !names::is_valid_label_value(value.str()).is_empty())
}

/// `lenient` lets values in the affinity pass that are no values of labels.
fn spec(object: &Object, lenient: bool, errors: &mut Errors) {
    let spec = At::top(object.map(), "spec");
    modes(&spec.get("accessModes"), errors);
    capacity(&spec.get("capacity"), errors);
    let policy = spec.get("persistentVolumeReclaimPolicy");
    if !policy.str().is_empty() {
        check::one_of_if_set(&policy, &["Delete", "Recycle", "Retain"], errors);
    }
    let affinity = spec.get("nodeAffinity");
    if affinity.is_set() {
        let required = affinity.get("required");
        let mut found = Errors::new();
        if required.is_set() {
            node_selector(&required, &mut found);
        } else {
            found.push(required.required("must specify required node constraints"));
        }
        if lenient {
            found.retain(|error| !error.path.as_str().contains(".values["));
        }
        errors.append(&mut found);
    }
    source(object.name(), &spec, errors);
    let root = is_root(spec.get("hostPath").get("path").str());
    if spec.get("hostPath").is_set() && root && policy.str() == "Recycle" {
        errors.push(policy.forbidden("may not be 'recycle' for a hostPath mount of '/'"));
    }
    check::optional_dns_subdomain(&spec.get("storageClassName"), errors);
    check::one_of_if_set(&spec.get("volumeMode"), &["Block", "Filesystem"], errors);
    let class = spec.get("volumeAttributesClassName");
    if class.is_set() {
        if class.str().is_empty() {
            errors.push(class.required("an empty string is disallowed"));
        } else {
            check::dns_subdomain(&class, errors);
        }
        if !spec.get("csi").is_set() {
            let detail = "has to be specified when using volumeAttributesClassName";
            errors.push(spec.get("csi").required(detail));
        }
    }
}

/// Whether a path comes out at the root once its dots are resolved.
fn is_root(path: &str) -> bool {
    let mut depth = 0_usize;
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => depth = depth.saturating_sub(1),
            _ => depth += 1,
        }
    }
    path.starts_with('/') && depth == 0
}

fn modes(modes: &At<'_>, errors: &mut Errors) {
    if modes.is_empty() {
        errors.push(modes.required(""));
    }
    for mode in modes.items().filter(|mode| !MODES.contains(&mode.str())) {
        errors.push(modes.with(mode.value()).not_supported(MODES));
    }
    let exclusive = |mode: &At<'_>| mode.str() == "ReadWriteOncePod";
    if modes.items().any(|mode| exclusive(&mode))
        && modes.items().any(|mode| MODES.contains(&mode.str()) && !exclusive(&mode))
    {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
}

fn capacity(capacity: &At<'_>, errors: &mut Errors) {
    if capacity.is_empty() {
        errors.push(capacity.required(""));
    }
    if !capacity.value().has("storage") || capacity.len() > 1 {
        errors.push(capacity.not_supported(&["storage"]));
    }
    for (_, amount) in capacity.entries() {
        let quantity = check::quantity(&amount);
        if quantity.value() < 0 {
            let detail = "must be a valid resource quantity";
            errors.push(amount.invalid_as(quantity.value(), detail));
        }
        if quantity.sign() <= 0 {
            errors.push(amount.invalid_as(quantity.to_string(), check::NOT_POSITIVE));
        }
    }
}

/// Exactly one source, and that one well formed.
pub(crate) fn source(name: &str, spec: &At<'_>, errors: &mut Errors) {
    let mut found = false;
    for kind in SOURCES {
        let source = spec.get(kind);
        if !source.is_set() {
            continue;
        }
        // The original lets a flexVolume stand beside one other.
        if found && *kind != "flexVolume" {
            let shown = if *kind == "cephfs" { spec.get("cephFS") } else { source };
            errors.push(shown.forbidden("may not specify more than 1 volume type"));
            continue;
        }
        found = true;
        match *kind {
            "hostPath" => host_path(&source, errors),
            "iscsi" => iscsi(name, &source, errors),
            "csi" => csi(&source, errors),
            "local" => local(spec, &source, errors),
            _ => {
                // Secrets of cluster-wide volumes have their own rules.
                let bare = without_secret(source.value());
                remote::source(kind, spec, &source.with(&bare), errors);
                extra(kind, &source, errors);
            }
        }
    }
    if !found {
        errors.push(spec.required("must specify a volume type"));
    }
}

fn without_secret(source: &Value) -> Value {
    let mut bare = source.clone();
    if let Some(map) = bare.as_object_mut() {
        map.remove("secretRef");
    }
    bare
}

/// What only volumes of the cluster have.
fn extra(kind: &str, source: &At<'_>, errors: &mut Errors) {
    match kind {
        "glusterfs" => {
            let namespace = source.get("endpointsNamespace");
            if namespace.is_set() && namespace.str().is_empty() {
                errors.push(
                    namespace.invalid(
                        "if the endpointnamespace is set, it must be a valid namespace name",
                    ),
                );
            } else if namespace.is_set() {
                check::dns_label(&namespace, errors);
            }
        }
        "cinder" | "storageos" => {
            let secret = source.get("secretRef");
            if secret.is_set() {
                check::required(&secret.get("name"), errors);
                check::required(&secret.get("namespace"), errors);
            }
        }
        "azureFile" => {
            let namespace = source.get("secretNamespace");
            if namespace.is_set() {
                check::required(&namespace, errors);
            }
        }
        _ => {}
    }
}

fn iscsi(volume: &str, source: &At<'_>, errors: &mut Errors) {
    let (portal, name) = (source.get("targetPortal"), source.get("iqn"));
    let (initiator, secret) = (source.get("initiatorName"), source.get("secretRef"));
    check::required(&portal, errors);
    if initiator.is_set() && volume.len() + 1 + portal.str().len() > 64 {
        let at = source.get("targetportal").with(portal.value());
        errors.push(at.invalid(
            "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is \
             specified.",
        ));
    }
    if check::required(&name, errors) {
        iscsi_name(&name, errors);
    }
    check::in_range(&source.get("lun"), 0, 255, errors);
    if (source.get("chapAuthDiscovery").bool() || source.get("chapAuthSession").bool())
        && !secret.is_set()
    {
        errors.push(secret.required(""));
    }
    if secret.is_set() {
        check::required(&secret.get("name"), errors);
    }
    if initiator.is_set() {
        iscsi_name(&source.get("initiatorname").with(initiator.value()), errors);
    }
}

fn iscsi_name(at: &At<'_>, errors: &mut Errors) {
    let mut found = Errors::new();
    remote::iscsi_name(at, &mut found);
    errors.extend(found.into_iter().map(|_| at.invalid("must be valid format")));
}

fn csi(source: &At<'_>, errors: &mut Errors) {
    csi_driver(&source.get("driver"), errors);
    check::required(&source.get("volumeHandle"), errors);
    for field in [
        "controllerPublishSecretRef",
        "controllerExpandSecretRef",
        "nodePublishSecretRef",
        "nodeExpandSecretRef",
    ] {
        let secret = source.get(field);
        if !secret.is_set() {
            continue;
        }
        let (name, namespace) = (secret.get("name"), secret.get("namespace"));
        if check::required(&name, errors) {
            check::dns_subdomain(&name, errors);
        }
        check::required_dns_label(&namespace, errors);
    }
}

fn csi_driver(driver: &At<'_>, errors: &mut Errors) {
    if check::required(driver, errors) {
        if driver.str().len() > 63 {
            errors.push(driver.too_long(63));
        }
        check::messages(driver, names::is_dns1123_subdomain(&driver.str().to_lowercase()), errors);
    }
}

fn local(spec: &At<'_>, source: &At<'_>, errors: &mut Errors) {
    let path = source.get("path");
    if check::required(&path, errors) {
        check::no_backsteps(&path, errors);
    }
    let affinity = spec.get("nodeAffinity");
    if !affinity.is_set() {
        errors.push(affinity.required("Local volume requires node affinity"));
    }
}

fn mount_options(object: &Object, errors: &mut Errors) {
    let spec = sub(object.map(), "spec");
    let mountable = MOUNTABLE.iter().any(|source| spec.has(source));
    if !mountable && object.annotation(OLD_OPTIONS).is_some() {
        let path = Path::new("metadata.annotations").child(OLD_OPTIONS);
        let detail = "may not specify mount options for this volume type";
        errors.push(Error::forbidden(&path, detail));
    }
}

pub(super) fn status(object: &Object) -> Errors {
    let missing = object.resource_version().is_empty();
    let error = || Error::required(&Path::new("resourceVersion"), "");
    missing.then(error).into_iter().collect()
}
