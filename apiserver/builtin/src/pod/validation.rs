//! Whether a pod, or the template of one, makes sense.

use crate::look::At;
use kubeplane_core::{Object, field::Errors};

pub(crate) mod affinity;
pub(crate) mod annotations;
mod container;
pub(crate) mod containers;
mod env;
mod handlers;
mod mounts;
mod projected;
mod ratchet;
pub(crate) mod resources;
mod security;
mod spec;
mod spread;
mod tolerations;
pub(crate) mod update;
pub(crate) mod volumes;
mod windows;

pub(crate) use annotations::pod_annotations;
pub(crate) use ratchet::forgive_template;
pub(crate) use resources::{overhead, quantity_value};
pub(crate) use spec::{Owner, pod_spec};
pub(crate) use tolerations::{taint_effect, tolerations};

/// A pod about to be created.
pub(crate) fn create(pod: &Object) -> Errors {
    let mut errors = Errors::new();
    metadata_and_spec(pod, &mut errors);
    let spec = At::top(pod.map(), "spec");
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("cannot be set on create"));
    }
    let node = spec.get("nodeName");
    if !node.str().is_empty() && !spec.get("schedulingGates").is_empty() {
        errors.push(node.forbidden("cannot be set until all schedulingGates have been cleared"));
    }
    annotations::match_fields(pod, &spec, &mut errors);
    errors
}

/// What holds for a pod at any time.
fn metadata_and_spec(pod: &Object, errors: &mut Errors) {
    let (metadata, spec) = (At::top(pod.map(), "metadata"), At::top(pod.map(), "spec"));
    pod_annotations(&metadata.get("annotations"), &spec, errors);
    pod_spec(
        &spec,
        &Owner::Pod { name: pod.name(), is_static: annotations::is_mirror(pod) },
        errors,
    );
    if spec.get("serviceAccountName").str().is_empty() {
        for volume in spec.get("volumes").items() {
            for source in volume.get("projected").get("sources").items() {
                let token = source.get("serviceAccountToken");
                if token.is_set() {
                    errors.push(
                        token.forbidden("must not be specified when serviceAccountName is not set"),
                    );
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get(list).items() {
            container::no_padding(&container, errors);
        }
    }
}

/// The labels, annotations and spec of a pod template, at the path of the template.
pub(crate) fn pod_template(template: &At<'_>, errors: &mut Errors) {
    template_metadata(template, errors);
    let spec = template.get("spec");
    pod_spec(&spec, &Owner::Template, errors);
    let ephemeral = spec.get("ephemeralContainers");
    if !ephemeral.is_empty() {
        errors.push(ephemeral.forbidden("ephemeral containers not allowed in pod template"));
    }
}

/// The labels and annotations of a pod template.
pub(crate) fn template_metadata(template: &At<'_>, errors: &mut Errors) {
    let metadata = template.get("metadata");
    crate::check::labels(&template.get("labels").with(metadata.get("labels").value()), errors);
    let annotations = template.get("annotations").with(metadata.get("annotations").value());
    annotations::names_and_size(&annotations, errors);
    pod_annotations(&annotations, &template.get("spec"), errors);
}
