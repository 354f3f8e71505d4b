//! The names of a kind.

use kubeplane_core::{
    Object,
    field::{Error, Errors, Path},
    names,
};
use serde_json::Value;

/// Names a definition cannot do without.
pub(super) fn required(object: &Object, path: &Path) -> Errors {
    let fields = ["plural", "singular", "kind", "listKind"].into_iter();
    let missing = fields.filter(|field| object.text(&["spec", "names", *field]).is_empty());
    missing.map(|field| Error::required(&path.child(field), "")).collect()
}

/// What is wrong with the names that are there.
pub(super) fn validate(own: &Value, path: &Path) -> Errors {
    let mut errors = Vec::new();
    let text = |field: &str| own.get(field).and_then(Value::as_str).unwrap_or_default();
    for field in ["plural", "singular", "kind", "listKind"] {
        let name = text(field);
        let is_kind = field == "kind" || field == "listKind";
        let wrong = match is_kind {
            true => names::is_dns1035_label(&name.to_lowercase()),
            false => names::is_dns1035_label(name),
        };
        if !name.is_empty() && !wrong.is_empty() {
            let before =
                if is_kind { "may have mixed case, but should otherwise match: " } else { "" };
            errors.push(Error::invalid(
                &path.child(field),
                name,
                format!("{before}{}", wrong.join(",")),
            ));
        }
    }
    errors.extend(labels(own, "shortNames", path));
    if !text("kind").is_empty() && text("kind") == text("listKind") {
        let detail = "kind and listKind may not be the same";
        errors.push(Error::invalid(&path.child("listKind"), text("listKind"), detail));
    }
    errors.extend(labels(own, "categories", path));
    errors
}

fn labels(own: &Value, field: &str, path: &Path) -> Errors {
    let list = own.get(field).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let mut errors = Vec::new();
    for (index, name) in list.iter().enumerate() {
        let wrong = names::is_dns1035_label(name.as_str().unwrap_or_default());
        if !wrong.is_empty() {
            errors.push(Error::invalid(
                &path.child(field).index(index),
                name.clone(),
                wrong.join(","),
            ));
        }
    }
    errors
}
