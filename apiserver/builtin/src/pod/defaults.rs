//! What a pod, or the template of one, is when its writer does not say.

use crate::{
    defaulting::{map, map_in, maps_in, missing, number, text},
    pod::image,
};
use kubeplane_core::Object;
use serde_json::{Map, Value, json};

pub(crate) mod resources;
pub(crate) mod volumes;

type Json = Map<String, Value>;

/// The defaults of a pod itself.
pub(crate) fn pod(object: &mut Object) {
    let spec = object.map_at_mut(&["spec"]);
    resources::requests_from_limits(spec);
    resources::pod_level(spec);
    missing(spec, "enableServiceLinks", true);
    if spec.get("hostNetwork").and_then(Value::as_bool) == Some(true) {
        for list in ["containers", "initContainers"] {
            maps_in(spec, list).for_each(host_ports);
        }
    }
    if spec
        .get("terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .is_some_and(|seconds| seconds < 0)
    {
        spec.insert("terminationGracePeriodSeconds".to_owned(), 1.into());
    }
    pod_spec(spec);
}

/// The defaults of a pod template, which takes fewer than a pod.
pub(crate) fn pod_template(template: &mut Value) {
    if let Some(template) = template.as_object_mut() {
        pod_spec(map(template, "spec"));
    }
}

fn pod_spec(spec: &mut Json) {
    text(spec, "dnsPolicy", "ClusterFirst");
    text(spec, "restartPolicy", "Always");
    missing(spec, "securityContext", json!({}));
    missing(spec, "terminationGracePeriodSeconds", 30);
    text(spec, "schedulerName", "default-scheduler");
    both_service_accounts(spec);
    maps_in(spec, "volumes").for_each(volumes::volume);
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        maps_in(spec, list).for_each(container);
    }
    if let Some(overhead) = map_in(spec, "overhead") {
        resources::round(overhead);
    }
    if let Some(resources) = map_in(spec, "resources") {
        resources::round_lists(resources);
    }
}

/// The field of old clients, `serviceAccount`, is always a copy of the one that counts.
fn both_service_accounts(spec: &mut Json) {
    let set = |name: &str| {
        spec.get(name).filter(|value| value.as_str().is_some_and(|text| !text.is_empty())).cloned()
    };
    match (set("serviceAccountName"), set("serviceAccount")) {
        (Some(name), _) => drop(spec.insert("serviceAccount".to_owned(), name)),
        (None, Some(name)) => drop(spec.insert("serviceAccountName".to_owned(), name)),
        (None, None) => {}
    }
}

fn host_ports(container: &mut Json) {
    for port in maps_in(container, "ports") {
        if let Some(inside) =
            port.get("containerPort").and_then(Value::as_i64).filter(|inside| *inside != 0)
        {
            number(port, "hostPort", inside);
        }
    }
}

fn container(container: &mut Json) {
    pull_policy(container, "image", "imagePullPolicy");
    text(container, "terminationMessagePath", "/dev/termination-log");
    text(container, "terminationMessagePolicy", "File");
    for port in maps_in(container, "ports") {
        text(port, "protocol", "TCP");
    }
    for variable in maps_in(container, "env") {
        let Some(source) = map_in(variable, "valueFrom") else {
            continue;
        };
        if let Some(field) = map_in(source, "fieldRef") {
            text(field, "apiVersion", "v1");
        }
        if let Some(file) = map_in(source, "fileKeyRef") {
            missing(file, "optional", false);
        }
    }
    if let Some(resources) = map_in(container, "resources") {
        resources::round_lists(resources);
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = map_in(container, name) {
            self::probe(probe);
        }
    }
    if let Some(lifecycle) = map_in(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(action) =
                map_in(lifecycle, name).and_then(|handler| map_in(handler, "httpGet"))
            {
                http_get(action);
            }
        }
    }
}

/// How an image is pulled depends on its reference, which is only looked at where that was not said.
fn pull_policy(map: &mut Json, reference: &str, policy: &str) {
    if map.get(policy).and_then(Value::as_str).is_none_or(str::is_empty) {
        let reference = map.get(reference).and_then(Value::as_str).unwrap_or_default();
        let usual = image::pull_policy(reference);
        map.insert(policy.to_owned(), usual.into());
    }
}

fn probe(probe: &mut Json) {
    number(probe, "timeoutSeconds", 1);
    number(probe, "periodSeconds", 10);
    number(probe, "successThreshold", 1);
    number(probe, "failureThreshold", 3);
    if let Some(action) = map_in(probe, "httpGet") {
        http_get(action);
    }
    if let Some(action) = map_in(probe, "grpc") {
        missing(action, "service", "");
    }
}

fn http_get(action: &mut Json) {
    text(action, "path", "/");
    text(action, "scheme", "HTTP");
}
