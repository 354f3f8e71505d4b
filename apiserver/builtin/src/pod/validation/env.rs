//! The environment of a container.

use crate::{check, look::At};
use kubeplane_core::{field::Errors, names, quantity::Quantity};

const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
const RESOURCES: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];
/// What the downward API can name in some place or other.
const KNOWN_FIELDS: &[&str] = &[
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.serviceAccountName",
    "spec.schedulerName",
    "status.phase",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
    "spec.host",
];

pub(super) fn variables(variables: &At<'_>, errors: &mut Errors) {
    for variable in variables.items() {
        let name = variable.get("name");
        if check::required(&name, errors) {
            check::messages(&name, names::is_relaxed_env_var_name(name.str()), errors);
        }
        value_from(&variable, errors);
    }
}

fn value_from(variable: &At<'_>, errors: &mut Errors) {
    let from = variable.get("valueFrom");
    if !from.is_set() {
        return;
    }
    let mut sources = 0;
    for kind in ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"] {
        let source = from.get(kind);
        if !source.is_set() {
            continue;
        }
        sources += 1;
        match kind {
            "fieldRef" => field(&source, FIELDS, errors),
            "resourceFieldRef" => resource(&source, false, errors),
            "fileKeyRef" => file_key(&source, errors),
            _ => key(&source, errors),
        }
    }
    let detail = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
        }
        _ if !variable.get("value").str().is_empty() => {
            "may not be specified when `value` is not empty"
        }
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    errors.push(from.invalid_as("", detail));
}

/// A field of the pod; `supported` are those that can stand here whole.
pub(super) fn field(source: &At<'_>, supported: &[&str], errors: &mut Errors) {
    let (version, path) = (source.get("apiVersion"), source.get("fieldPath"));
    if !check::required(&version, errors) || !check::required(&path, errors) {
        return;
    }
    let parts = path.str().strip_suffix("']").and_then(|text| text.split_once("['"));
    let parts = parts.filter(|(name, _)| !name.is_empty());
    let problem = match parts {
        _ if version.str() != "v1" => Some(format!("unsupported pod version: {}", version.str())),
        Some((name, _)) if !matches!(name, "metadata.annotations" | "metadata.labels") => {
            Some(format!("field label does not support subscript: {}", path.str()))
        }
        None if !KNOWN_FIELDS.contains(&path.str()) => {
            Some(format!("field label not supported: {}", path.str()))
        }
        _ => None,
    };
    if let Some(problem) = problem {
        return errors.push(path.invalid(format!("error converting fieldPath: {problem}")));
    }
    match parts {
        Some((name, key)) => {
            let key =
                if name == "metadata.annotations" { key.to_lowercase() } else { key.to_owned() };
            let problems = names::is_qualified_name(&key).into_iter();
            errors.extend(problems.map(|message| source.invalid_as(&*key, message)));
        }
        None if path.str() == "spec.host" || supported.contains(&path.str()) => {}
        None => errors.push(path.not_supported(supported)),
    }
}

/// A request or limit of a container.
pub(super) fn resource(source: &At<'_>, in_volume: bool, errors: &mut Errors) {
    let (container, resource) = (source.get("containerName"), source.get("resource"));
    let name = resource.str();
    let pages = name.starts_with("requests.hugepages-") || name.starts_with("limits.hugepages-");
    if in_volume && container.str().is_empty() {
        errors.push(container.required(""));
    } else if name.is_empty() {
        errors.push(resource.required(""));
    } else if !RESOURCES.contains(&name) && !pages {
        errors.push(resource.not_supported(RESOURCES));
    }
    let divisor = source.get("divisor");
    let Some(amount) = Quantity::from_json(divisor.value()).ok().filter(|amount| !amount.is_zero())
    else {
        return;
    };
    let text = amount.to_string();
    let bytes = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";
    let in_bytes = bytes.split(", ").any(|known| known == text);
    let detail = match name {
        "limits.cpu" | "requests.cpu" if !matches!(&*text, "1m" | "1") => {
            "only divisor's values 1m and 1 are supported with the cpu resource".to_owned()
        }
        "limits.memory" | "requests.memory" if !in_bytes => {
            format!("only divisor's values {bytes} are supported with the memory resource")
        }
        "limits.ephemeral-storage" | "requests.ephemeral-storage" if !in_bytes => {
            format!(
                "only divisor's values {bytes} are supported with the local ephemeral storage resource"
            )
        }
        _ if pages && !in_bytes => {
            format!("only divisor's values {bytes} are supported with the hugepages resource")
        }
        _ => return,
    };
    errors.push(divisor.invalid_as(name, detail));
}

fn key(source: &At<'_>, errors: &mut Errors) {
    check::dns_subdomain(&source.get("name"), errors);
    let key = source.get("key");
    if check::required(&key, errors) {
        check::messages(&key, names::is_config_map_key(key.str()), errors);
    }
}

fn file_key(source: &At<'_>, errors: &mut Errors) {
    let (key, path) = (source.get("key"), source.get("path"));
    if check::required(&key, errors) {
        check::messages(&key, names::is_relaxed_env_var_name(key.str()), errors);
    }
    check::required_dns_label(&source.get("volumeName"), errors);
    if check::required(&path, errors) {
        check::no_backsteps(&path, errors);
    }
}

/// Whole ConfigMaps and Secrets as variables.
pub(super) fn sources(list: &At<'_>, errors: &mut Errors) {
    for source in list.items() {
        let prefix = source.get("prefix");
        if !prefix.str().is_empty() {
            check::messages(&prefix, names::is_relaxed_env_var_name(prefix.str()), errors);
        }
        let references = ["configMapRef", "secretRef"].map(|kind| source.get(kind));
        let mut count = 0;
        for reference in references.iter().filter(|reference| reference.is_set()) {
            count += 1;
            let name = reference.get("name");
            if check::required(&name, errors) {
                let problems = names::check(
                    kubeplane_core::definition::NameRule::DnsSubdomain,
                    name.str(),
                    true,
                );
                check::messages(&name, problems, errors);
            }
        }
        match count {
            0 => errors
                .push(list.invalid_as("", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors
                .push(list.invalid_as("", "may not have more than one field specified at a time")),
        }
    }
}
