//! Whether a Secret makes sense.

use crate::{
    check,
    configmap::{
        bytes_size,
        validation::{SIZE_MAX, immutable},
    },
    look::At,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use kubeplane_core::{Object, field::Errors, names};
use serde_json::{Map, Value};

const ACCOUNT: &str = "kubernetes.io/service-account.name";

pub(super) fn secret(object: &Object) -> Errors {
    let mut errors = Errors::new();
    let data = At::top(object.map(), "data");
    for (key, value) in data.entries() {
        check::messages(&value.with(&key.into()), names::is_config_map_key(key), &mut errors);
    }
    if bytes_size(data.value()) > SIZE_MAX {
        errors.push(data.too_long(SIZE_MAX));
    }
    let mut need = |key: &str| {
        if !data.key(key).is_set() {
            errors.push(data.key(key).required(""));
        }
    };
    match object.text(&["type"]) {
        "kubernetes.io/service-account-token" => {
            let name = At::top(object.map(), "metadata").get("annotations").key(ACCOUNT);
            check::required(&name, &mut errors);
        }
        "kubernetes.io/dockercfg" => json(&data.key(".dockercfg"), &mut errors),
        "kubernetes.io/dockerconfigjson" => json(&data.key(".dockerconfigjson"), &mut errors),
        "kubernetes.io/basic-auth"
            if !data.key("username").is_set() && !data.key("password").is_set() =>
        {
            ["username", "password"].into_iter().for_each(&mut need);
        }
        "kubernetes.io/ssh-auth" => drop(check::required(&data.key("ssh-privatekey"), &mut errors)),
        "kubernetes.io/tls" => ["tls.crt", "tls.key"].into_iter().for_each(&mut need),
        _ => {}
    }
    errors
}

/// The contents are a JSON map; they are not shown.
fn json(at: &At<'_>, errors: &mut Errors) {
    if !at.is_set() {
        return errors.push(at.required(""));
    }
    let bytes = STANDARD.decode(at.str()).unwrap_or_default();
    if let Err(error) = serde_json::from_slice::<Option<Map<String, Value>>>(&bytes) {
        errors.push(at.invalid_as("<secret contents redacted>", error.to_string()));
    }
}

pub(super) fn update(object: &Object, old: &Object) -> Errors {
    let mut errors = Errors::new();
    let kind = At::top(object.map(), "type");
    if kind.str() != old.text(&["type"]) {
        errors.push(kind.invalid(check::IMMUTABLE));
    }
    errors.extend(immutable(object, old, &["data"]));
    errors.extend(secret(object));
    errors
}
