//! Annotations of nodes that stood for fields once, and are still looked at.

use super::validation::unique_taints;
use crate::look::At;
use kubeplane_core::{Object, field::Errors};
use serde_json::Value;

const TAINTS: &str = "scheduler.alpha.kubernetes.io/taints";
const AVOIDED: &str = "scheduler.alpha.kubernetes.io/preferAvoidPods";

pub(super) fn annotations(object: &Object, errors: &mut Errors) {
    let at = At::top(object.map(), "metadata").get("annotations");
    let text = |name: &str| object.annotation(name).filter(|text| !text.is_empty());
    if let Some(text) = text(TAINTS) {
        match parsed(text, Value::is_array) {
            Ok(taints) => unique_taints(&at.get(TAINTS).with(&taints), errors),
            Err(why) => errors.push(at.invalid_as(TAINTS, why)),
        }
    }
    if let Some(text) = text(AVOIDED) {
        match parsed(text, Value::is_object) {
            Ok(avoided) => {
                let list = avoided.get("preferAvoidPods").unwrap_or(&Value::Null);
                at.get(AVOIDED).with(list).items().for_each(|entry| avoids(&entry, errors));
            }
            Err(why) => errors.push(at.get("AvoidPods").invalid_as(AVOIDED, why)),
        }
    }
}

/// The value of an annotation of this form, or none at all; not in the original's words where it is none.
fn parsed(text: &str, form: fn(&Value) -> bool) -> Result<Value, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if form(&value) || value.is_null() {
        return Ok(value);
    }
    Err("json: cannot unmarshal what is of another type".to_owned())
}

/// Pods are avoided by what controls them.
fn avoids(entry: &At<'_>, errors: &mut Errors) {
    let owner = entry.value()["podSignature"]["podController"].clone();
    let signature = entry.get("PodSignature");
    if owner.is_null() {
        errors.push(signature.required(""));
    } else if owner["controller"] != true {
        let at = signature.get("PodController").get("Controller");
        errors.push(at.invalid_as(false, "must point to a controller"));
    }
}
