//! Annotations that mean something for pods.

use super::containers;
use crate::{check, look::At};
use kubeplane_core::{Object, field::Errors, names};
use serde_json::Value;

const MIRROR: &str = "kubernetes.io/config.mirror";
const TOLERATIONS: &str = "scheduler.alpha.kubernetes.io/tolerations";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
const SECCOMP_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const SECCOMP_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
const SIZE_MAX: usize = 256 * 1024;

/// Whether the pod mirrors one that its kubelet reads from a file.
pub(super) fn is_mirror(pod: &Object) -> bool {
    pod.annotation(MIRROR).is_some()
}

/// The names of any annotations, and their size together.
pub(crate) fn names_and_size(annotations: &At<'_>, errors: &mut Errors) {
    let mut size = 0;
    for (key, value) in annotations.entries() {
        let problems = names::is_qualified_name(&key.to_lowercase()).into_iter();
        errors.extend(problems.map(|message| annotations.invalid_as(key, message)));
        size += key.len() + value.str().len();
    }
    if size > SIZE_MAX {
        errors.push(annotations.too_long(SIZE_MAX));
    }
}

/// The annotations of a pod or of its template.
pub(crate) fn pod_annotations(annotations: &At<'_>, spec: &At<'_>, errors: &mut Errors) {
    let mirror = annotations.key(MIRROR);
    if mirror.is_set() && spec.get("nodeName").str().is_empty() {
        errors.push(mirror.invalid("must set spec.nodeName if mirror pod annotation is set"));
    }
    tolerations(annotations, errors);
    let cost = annotations.key(DELETION_COST);
    if cost.is_set() && !is_cost(cost.str()) {
        errors.push(cost.invalid("must be a 32bit integer"));
    }
    for (key, value) in annotations.entries() {
        if key == SECCOMP_POD || key.starts_with(SECCOMP_CONTAINER) {
            seccomp(annotations, key, &value, errors);
        }
        if let Some(name) = key.strip_prefix(APP_ARMOR) {
            if !containers::all(spec).any(|container| container.get("name").str() == name) {
                errors.push(value.invalid_as(name, "container not found"));
            }
            let profile = value.str();
            if !matches!(profile, "" | "runtime/default" | "unconfined")
                && !profile.starts_with("localhost/")
            {
                errors.push(value.invalid(format!("invalid AppArmor profile name: {profile:?}")));
            }
        }
    }
}

fn is_cost(text: &str) -> bool {
    let first = text == "0" || text.starts_with(|c: char| c == '-' || ('1'..='9').contains(&c));
    first && text.parse::<i32>().is_ok()
}

fn tolerations(annotations: &At<'_>, errors: &mut Errors) {
    let text = annotations.key(TOLERATIONS);
    if text.str().is_empty() {
        return;
    }
    match serde_json::from_str::<Value>(text.str()) {
        Ok(list) => {
            super::tolerations::tolerations(&annotations.get(TOLERATIONS).with(&list), errors)
        }
        Err(error) => errors.push(annotations.invalid_as(TOLERATIONS, error.to_string())),
    }
}

/// The original names this field with a dot.
fn seccomp(annotations: &At<'_>, key: &str, value: &At<'_>, errors: &mut Errors) {
    let profile = value.str();
    let path = annotations.path().child(key);
    let mut refuse = |text: &str, detail| {
        errors.push(kubeplane_core::field::Error::invalid(&path, text, detail))
    };
    match profile.strip_prefix("localhost/") {
        Some(file) => {
            if file.starts_with('/') {
                refuse(file, "must be a relative path");
            }
            if check::has_backsteps(file) {
                refuse(file, "must not contain '..'");
            }
        }
        None if matches!(profile, "runtime/default" | "docker/default" | "unconfined") => {}
        None => refuse(profile, "must be a valid seccomp profile"),
    }
}

/// Older annotations and newer fields say the same where both are there.
pub(super) fn match_fields(pod: &Object, spec: &At<'_>, errors: &mut Errors) {
    let annotations = At::top(pod.map(), "metadata").get("annotations");
    seccomp_matches(annotations.key(SECCOMP_POD).value(), &spec.get("securityContext"), errors);
    for container in containers::all(spec) {
        let key = format!("{SECCOMP_CONTAINER}{}", container.get("name").str());
        seccomp_matches(annotations.key(&key).value(), &container.get("securityContext"), errors);
    }
    if spec.get("os").get("name").str() == "windows" {
        return;
    }
    for container in containers::all(spec) {
        let key = format!("{APP_ARMOR}{}", container.get("name").str());
        app_armor_matches(annotations.key(&key).value(), spec, &container, errors);
    }
}

fn seccomp_matches(annotation: &Value, context: &At<'_>, errors: &mut Errors) {
    let profile = context.get("seccompProfile");
    let Some(annotation) = annotation.as_str().filter(|_| profile.is_set()) else {
        return;
    };
    let allowed: &[&str] = match profile.get("type").str() {
        "Unconfined" => &["unconfined"],
        "RuntimeDefault" => &["runtime/default", "docker/default"],
        "Localhost" => return local_matches(annotation, &profile, "seccomp", errors),
        _ => return,
    };
    if !allowed.contains(&annotation) {
        errors
            .push(profile.get("type").forbidden("seccomp type in annotation and field must match"));
    }
}

fn app_armor_matches(annotation: &Value, spec: &At<'_>, container: &At<'_>, errors: &mut Errors) {
    let own = container.get("securityContext").get("appArmorProfile");
    let whole = spec.get("securityContext").get("appArmorProfile");
    let profile = if own.is_set() { own } else { own.with(whole.value()) };
    let Some(annotation) = annotation.as_str().filter(|_| profile.is_set()) else {
        return;
    };
    let expected = match profile.get("type").str() {
        "Unconfined" => "unconfined",
        "RuntimeDefault" => "runtime/default",
        "Localhost" => return local_matches(annotation, &profile, "apparmor", errors),
        _ => return,
    };
    if annotation != expected {
        errors.push(
            profile.get("type").forbidden("apparmor type in annotation and field must match"),
        );
    }
}

fn local_matches(annotation: &str, profile: &At<'_>, what: &str, errors: &mut Errors) {
    let file = profile.get("localhostProfile");
    match annotation.strip_prefix("localhost/") {
        None => errors.push(
            profile
                .get("type")
                .forbidden(format!("{what} type in annotation and field must match")),
        ),
        Some(name) if !file.is_set() || file.str() != name => {
            errors
                .push(file.forbidden(format!("{what} profile in annotation and field must match")));
        }
        Some(_) => {}
    }
}

/// Annotations that never change after creation.
pub(super) fn updates(pod: &Object, old: &Object, errors: &mut Errors) {
    let (new, before) = (At::top(pod.map(), "metadata"), At::top(old.map(), "metadata"));
    let (new, before) = (new.get("annotations"), before.get("annotations"));
    let what = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        _ if key.starts_with(APP_ARMOR) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, value) in before.entries() {
        if let Some(what) = what(key).filter(|_| new.key(key).value() != value.value()) {
            errors.push(new.key(key).forbidden(format!("may not remove or update {what}")));
        }
    }
    for (key, value) in new.entries() {
        if let Some(what) = what(key).filter(|_| !before.key(key).is_set()) {
            errors.push(value.forbidden(format!("may not add {what}")));
        }
    }
}
