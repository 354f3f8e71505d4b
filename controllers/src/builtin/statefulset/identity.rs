//! What makes a pod a certain member of a set: its name, labels and volumes.

use super::claims;
use crate::builtin::pods;
use k8s_openapi::api::{
    apps::v1::{StatefulSet, StatefulSetSpec},
    core::v1::{PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume},
};
use kube::ResourceExt;
use std::ops::Range;

pub(super) const REVISION: &str = "controller-revision-hash";
const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";

/// The name of a pod's set and its ordinal.
pub(super) fn split(pod: &str) -> (&str, Option<i32>) {
    match pod.rsplit_once('-') {
        Some((parent, ordinal)) if ordinal.bytes().all(|byte| byte.is_ascii_digit()) => {
            (parent, ordinal.parse().ok())
        }
        _ => ("", None),
    }
}

pub(super) fn ordinal(pod: &Pod) -> Option<i32> {
    split(pod.metadata.name.as_deref().unwrap_or_default()).1
}

pub(super) fn start(spec: &StatefulSetSpec) -> i32 {
    spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or_default()
}

pub(super) fn replicas(spec: &StatefulSetSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

/// The ordinals of the pods that the set wants; those above the highest number are left out.
pub(super) fn ordinals(spec: &StatefulSetSpec) -> Range<i32> {
    start(spec)..start(spec).saturating_add(replicas(spec))
}

/// Whether the set wants a pod of this ordinal.
pub(super) fn is_wanted(spec: &StatefulSetSpec, ordinal: i32) -> bool {
    ordinals(spec).contains(&ordinal)
}

/// The pod of an ordinal.
pub(super) fn pod(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    template: &PodTemplateSpec,
    revision: &str,
    ordinal: i32,
) -> Pod {
    let mut pod = pods::from_template(template, set);
    pod.metadata.namespace.clone_from(&set.metadata.namespace);
    identify(set, ordinal, &mut pod);
    pod.labels_mut().insert(REVISION.to_owned(), revision.to_owned());
    let name = pod.metadata.name.clone();
    if let Some(pod_spec) = &mut pod.spec {
        pod_spec.hostname = name;
        pod_spec.subdomain = spec.service_name.clone().filter(|name| !name.is_empty());
    }
    mount(set, spec, ordinal, &mut pod);
    pod
}

/// Gives a pod its name and the labels that go with it.
pub(super) fn identify(set: &StatefulSet, ordinal: i32, pod: &mut Pod) {
    let name = format!("{}-{ordinal}", set.name_any());
    pod.labels_mut().insert(POD_NAME.to_owned(), name.clone());
    pod.labels_mut().insert(POD_INDEX.to_owned(), ordinal.to_string());
    pod.metadata.name = Some(name);
}

pub(super) fn is_identified(set: &StatefulSet, pod: &Pod) -> bool {
    let name = pod.name_any();
    split(&name).0 == set.name_any() && pod.labels().get(POD_NAME) == Some(&name)
}

/// Gives a pod the volumes of its claims, in the place of those of the same names.
pub(super) fn mount(set: &StatefulSet, spec: &StatefulSetSpec, ordinal: i32, pod: &mut Pod) {
    let Some(pod_spec) = &mut pod.spec else { return };
    let templates: Vec<_> = spec.volume_claim_templates.iter().flatten().collect();
    if templates.is_empty() {
        return;
    }
    let mut volumes: Vec<Volume> = templates
        .iter()
        .map(|template| Volume {
            name: template.name_any(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claims::name(set, template, ordinal),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    let own = pod_spec.volumes.take().into_iter().flatten();
    volumes.extend(own.filter(|volume| {
        templates.iter().all(|template| template.metadata.name.as_ref() != Some(&volume.name))
    }));
    pod_spec.volumes = Some(volumes);
}

pub(super) fn is_mounted(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    ordinal: i32,
    pod: &Pod,
) -> bool {
    let volumes = || pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    spec.volume_claim_templates.iter().flatten().all(|template| {
        let named = volumes().find(|volume| Some(&volume.name) == template.metadata.name.as_ref());
        let claim = named.and_then(|volume| volume.persistent_volume_claim.as_ref());
        claim.is_some_and(|claim| claim.claim_name == claims::name(set, template, ordinal))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ordinals_begin_where_they_are_told_to_and_end_with_the_highest_number() {
        for (start, replicas, expected) in
            [(0, 2, 0..2), (4, 2, 4..6), (i32::MAX - 1, 5, i32::MAX - 1..i32::MAX)]
        {
            let spec = json!({"ordinals": {"start": start}, "replicas": replicas, "selector": {},
                "serviceName": "", "template": {}});
            let spec: StatefulSetSpec = serde_json::from_value(spec).unwrap();
            assert_eq!(ordinals(&spec), expected);
            assert!(is_wanted(&spec, start) && !is_wanted(&spec, expected.end));
        }
    }

    #[test]
    fn a_name_tells_the_set_and_the_ordinal() {
        for (name, expected) in [
            ("web-1", ("web", Some(1))),
            ("a-web-20", ("a-web", Some(20))),
            ("web-99999999999", ("web", None)),
            ("1-web", ("", None)),
            ("web", ("", None)),
        ] {
            assert_eq!(split(name), expected, "{name}");
        }
    }

    #[test]
    fn a_pod_without_its_volumes_or_its_label_is_mended() {
        let set = json!({"metadata": {"name": "web"}, "spec": {"selector": {}, "serviceName": "",
            "template": {}, "volumeClaimTemplates": [{"metadata": {"name": "data"}}]}});
        let set: StatefulSet = serde_json::from_value(set).unwrap();
        let spec = set.spec.as_ref().unwrap();
        for volumes in [
            json!([]),
            json!([{"name": "data", "emptyDir": {}}]),
            json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data-web-2"}}]),
            json!([{"name": "other", "persistentVolumeClaim": {"claimName": "data-web-1"}}]),
        ] {
            let about = volumes.to_string();
            let pod = json!({"metadata": {"name": "web-1"},
                "spec": {"containers": [], "volumes": volumes}});
            let mut pod: Pod = serde_json::from_value(pod).unwrap();
            assert!(!is_identified(&set, &pod) && !is_mounted(&set, spec, 1, &pod), "{about}");
            identify(&set, 1, &mut pod);
            mount(&set, spec, 1, &mut pod);
            assert!(is_identified(&set, &pod) && is_mounted(&set, spec, 1, &pod), "{about}");
            assert!(!is_mounted(&set, spec, 2, &pod), "{about}");
        }
    }
}
