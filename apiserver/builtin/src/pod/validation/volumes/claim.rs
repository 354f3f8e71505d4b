//! Templates of PersistentVolumeClaims.

use crate::{check, look::At, pod::validation::quantity_value};
use kubeplane_core::field::Errors;

const MODES: &[&str] = &["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];

pub(super) fn template(template: &At<'_>, errors: &mut Errors) {
    let metadata = template.get("metadata");
    super::super::annotations::names_and_size(&metadata.get("annotations"), errors);
    check::labels(&metadata.get("labels"), errors);
    for (field, value) in metadata.entries() {
        let known = matches!(field, "annotations" | "labels") || !value.is_set();
        if !known {
            // As the original spells it.
            let shown = if field == "uid" { "uID" } else { field };
            let path = metadata.path().child(shown);
            errors.push(kubeplane_core::field::Error::forbidden(&path, "cannot be set"));
        }
    }
    spec(&template.get("spec"), Leniency::default(), errors);
}

/// What an update lets pass because the claim had it before.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Leniency {
    /// Values of the selector that are no values of labels.
    pub(crate) selector: bool,
    /// Groups of data sources that are no subdomains.
    pub(crate) groups: bool,
}

/// The spec of a claim.
pub(crate) fn spec(spec: &At<'_>, leniency: Leniency, errors: &mut Errors) {
    let modes = spec.get("accessModes");
    if modes.is_empty() {
        errors.push(modes.required("at least 1 access mode is required"));
    }
    let mut selector = Errors::new();
    check::label_selector(&spec.get("selector"), &mut selector);
    if leniency.selector {
        selector.retain(|error| !error.path.as_str().contains("values["));
    }
    errors.append(&mut selector);
    for mode in modes.items().filter(|mode| !MODES.contains(&mode.str())) {
        errors.push(modes.with(mode.value()).not_supported(MODES));
    }
    let exclusive = |mode: &At<'_>| mode.str() == "ReadWriteOncePod";
    if modes.items().any(|mode| exclusive(&mode))
        && modes.items().any(|mode| MODES.contains(&mode.str()) && !exclusive(&mode))
    {
        errors.push(modes.forbidden("may not use ReadWriteOncePod with other access modes"));
    }
    let resources = spec.get("resources");
    let amount = resources.get("requests").key("storage");
    let at = resources.key("storage").with(amount.value());
    if !amount.is_set() {
        errors.push(at.required(""));
    } else if check::quantity(&at).sign() <= 0 {
        errors.push(at.invalid_as(check::quantity(&at).to_string(), check::NOT_POSITIVE));
    } else {
        quantity_value(&at, "storage", errors);
    }
    for field in ["storageClassName", "volumeAttributesClassName"] {
        check::optional_dns_subdomain(&spec.get(field), errors);
    }
    check::one_of_if_set(&spec.get("volumeMode"), &["Block", "Filesystem"], errors);
    sources(spec, leniency, errors);
}

fn sources(spec: &At<'_>, leniency: Leniency, errors: &mut Errors) {
    let (source, reference) = (spec.get("dataSource"), spec.get("dataSourceRef"));
    for at in [&source, &reference].into_iter().filter(|at| at.is_set()) {
        let kind = at.get("kind");
        check::required(&at.get("name"), errors);
        check::required(&kind, errors);
        let group = at.get("apiGroup").str();
        if group.is_empty() && kind.str() != "PersistentVolumeClaim" {
            let detail = "must be 'PersistentVolumeClaim' when referencing the default apiGroup";
            errors.push(at.invalid_as(kind.str(), detail));
        }
        if !leniency.groups {
            check::optional_dns_subdomain(&at.get("apiGroup"), errors);
        }
    }
    check::optional_dns_label(&reference.get("namespace"), errors);
    if !source.is_set() || !reference.is_set() {
        return;
    }
    let same = ["apiGroup", "kind", "name"]
        .iter()
        .all(|field| source.get(field).value() == reference.get(field).value());
    if !reference.get("namespace").str().is_empty() {
        let detail = "may not be specified when dataSourceRef.namespace is specified";
        errors.push(spec.invalid_as("dataSource", detail));
    } else if !same {
        errors.push(spec.invalid_as("dataSource", "must match dataSourceRef"));
    }
}
