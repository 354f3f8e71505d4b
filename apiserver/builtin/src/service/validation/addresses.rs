//! Changes of the addresses of a Service in the cluster.

use super::is_headless;
use crate::look::At;
use kubeplane_core::{Object, field::Errors};

const CHANGED: &str = "may not change once set";

/// A second address can come and go; the first stays.
pub(super) fn changes(object: &Object, old: &Object, errors: &mut Errors) {
    let (spec, before) = (At::top(object.map(), "spec"), At::top(old.map(), "spec"));
    let external = |spec: &At<'_>| spec.get("type").str() == "ExternalName";
    if external(&spec) || external(&before) {
        return;
    }
    let (headless, was_headless) = (is_headless(&spec), is_headless(&before));
    if !(headless && was_headless) {
        list(&spec, &before, "clusterIPs", "clusterIP", errors);
    }
    if !headless && !was_headless {
        list(&spec, &before, "ipFamilies", "ipFamily", errors);
    }
}

fn list(spec: &At<'_>, before: &At<'_>, field: &'static str, what: &str, errors: &mut Errors) {
    let (new, old) = (spec.get(field), before.get(field));
    let first_changed =
        !new.is_empty() && !old.is_empty() && new.index(0).str() != old.index(0).str();
    let at_first = || new.index(0).with(new.value());
    if new.len() == old.len() {
        for (index, (item, before)) in new.items().zip(old.items()).enumerate() {
            if item.str() != before.str() {
                let index = if field == "clusterIPs" { index } else { 0 };
                errors.push(new.index(index).with(new.value()).invalid(CHANGED));
            }
        }
        return;
    }
    if old.len() > new.len() && spec.get("clusterIPs").is_empty() {
        errors.push(at_first().invalid(format!("primary {what} can not be unset")));
    }
    if first_changed {
        // The original shows the addresses, of whichever the first has changed.
        errors.push(new.index(0).with(spec.get("clusterIPs").value()).invalid(CHANGED));
    }
    let policy = spec.get("ipFamilyPolicy");
    if old.len() > new.len() && new.len() == 1 && policy.str() != "SingleStack" {
        errors.push(
            policy.invalid(format!(
                "must be set to 'SingleStack' when releasing the secondary {what}"
            )),
        );
    }
}
