//! From autoscaling/v1 to autoscaling/v2 and back.

use super::{
    CPU_PERCENT,
    annotation::{Text, read},
    cpu_metric, metrics,
};
use crate::look::{Look, sub};
use kubeplane_core::{Object, decode::conform, schema::builtin};
use serde_json::{Map, Value, json};

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
const CURRENT: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
const CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";
const BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// Those that only conversions write.
const RESERVED: [&str; 6] = [
    METRICS,
    BEHAVIOR,
    "autoscaling.alpha.kubernetes.io/scale-down-tolerance",
    "autoscaling.alpha.kubernetes.io/scale-up-tolerance",
    CURRENT,
    CONDITIONS,
];
const RULES: &[&str] = &[
    "scaleUp",
    "scaleDown",
    "stabilizationWindowSeconds",
    "selectPolicy",
    "policies",
    "tolerance",
    "type",
    "value",
    "periodSeconds",
];
const CONDITION: &[&str] = &["type", "status", "lastTransitionTime", "reason", "message"];

/// Only conversions write these annotations.
fn drop_reserved(object: &mut Object) {
    let Some(annotations) =
        object.map_mut().get_mut("metadata").and_then(|metadata| metadata.get_mut("annotations"))
    else {
        return;
    };
    let Some(map) = annotations.as_object_mut() else { return };
    let before = map.len();
    for key in RESERVED {
        map.remove(key);
    }
    if map.is_empty() && before > 0 {
        object.remove(&["metadata", "annotations"]);
    }
}

/// Gives the object the shape of its version: which empty fields are written differs.
fn shaped(mut object: Object, version: &str) -> Object {
    object.set(&["apiVersion"], format!("autoscaling/{version}"));
    let name = format!("io.k8s.api.autoscaling.{version}.HorizontalPodAutoscaler");
    let Some(schema) = builtin(&name) else { return object };
    let mut shaped = object.clone();
    if conform(&mut shaped, &schema).is_ok() { shaped } else { object }
}

fn is_cpu_percent(metric: &Value) -> bool {
    let resource = metric.sub("resource");
    metric.text("type") == "Resource"
        && resource.text("name") == "cpu"
        && resource.sub("target").has("averageUtilization")
}

fn kept(from: &Value, fields: &[&str]) -> Map<String, Value> {
    let some = fields.iter().filter(|field| from.has(field));
    some.map(|field| ((*field).to_owned(), from.sub(field).clone())).collect()
}

/// The object in the newer version, whatever version it comes in.
pub(super) fn to_v2(mut object: Object) -> Object {
    if object.api_version() != "autoscaling/v1" {
        drop_reserved(&mut object);
        return object;
    }
    let (old_spec, old_status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
    let mut spec = kept(old_spec, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    let mut list = Vec::new();
    let annotated = |key: &str, names| object.annotation(key).map(|text| read(text, names));
    if let Some(Some(old)) = annotated(METRICS, metrics::OLD_NAMES) {
        list = metrics::new_list(&old, metrics::new_spec).unwrap_or_default();
    }
    if let Some(percent) = old_spec.sub("targetCPUUtilizationPercentage").as_i64() {
        list.push(cpu_metric(percent));
    }
    if list.is_empty() {
        list.push(cpu_metric(CPU_PERCENT));
    }
    spec.insert("metrics".to_owned(), list.into());
    let behavior = annotated(BEHAVIOR, RULES).flatten();
    if let Some(behavior) = behavior.filter(|value| value.has("scaleUp") || value.has("scaleDown"))
    {
        spec.insert("behavior".to_owned(), behavior);
    }
    let mut status = kept(
        old_status,
        &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"],
    );
    let mut current = Vec::new();
    if let Some(percent) = old_status.sub("currentCPUUtilizationPercentage").as_i64() {
        current.push(json!({"type": "Resource", "resource": {
            "name": "cpu", "current": {"averageUtilization": percent},
        }}));
    }
    if let Some(Some(old)) = annotated(CURRENT, metrics::OLD_NAMES) {
        current = metrics::new_list(&old, metrics::new_status).unwrap_or(current);
    }
    let current = if current.is_empty() { Value::Null } else { current.into() };
    status.insert("currentMetrics".to_owned(), current);
    if let Some(Some(Value::Array(conditions))) = annotated(CONDITIONS, CONDITION) {
        status.insert("conditions".to_owned(), conditions.into());
    }
    object.set(&["spec"], spec);
    object.set(&["status"], status);
    drop_reserved(&mut object);
    shaped(object, "v2")
}

/// An object of the newer version in the older one.
pub(super) fn to_v1(mut object: Object) -> Object {
    drop_reserved(&mut object);
    let (full, full_status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
    let mut spec = kept(full, &["scaleTargetRef", "minReplicas", "maxReplicas"]);
    let list = full.list("metrics");
    if let Some(metric) = list.iter().find(|metric| is_cpu_percent(metric)) {
        let percent = metric.sub("resource").sub("target").sub("averageUtilization").clone();
        spec.insert("targetCPUUtilizationPercentage".to_owned(), percent);
    }
    let mut status = kept(
        full_status,
        &["observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas"],
    );
    let current = full_status.list("currentMetrics");
    let of_cpu = current.iter().rev().find_map(|metric| {
        let resource = metric.sub("resource");
        let is_cpu = metric.text("type") == "Resource" && resource.text("name") == "cpu";
        resource.sub("current").sub("averageUtilization").as_i64().filter(|_| is_cpu)
    });
    if let Some(percent) = of_cpu {
        status.insert("currentCPUUtilizationPercentage".to_owned(), percent.into());
    }
    let others: Vec<_> =
        list.iter().filter(|metric| !is_cpu_percent(metric)).map(metrics::old_spec).collect();
    let current: Vec<_> = current.iter().map(metrics::old_status).collect();
    let conditions: Vec<_> = full_status.list("conditions").iter().map(condition).collect();
    let behavior = full.has("behavior").then(|| behavior(full.sub("behavior")));
    let written = [
        (METRICS, (!others.is_empty()).then_some(Text::List(others))),
        (CURRENT, (!current.is_empty()).then_some(Text::List(current))),
        (BEHAVIOR, behavior),
        (CONDITIONS, (!conditions.is_empty()).then_some(Text::List(conditions))),
    ];
    object.set(&["spec"], spec);
    object.set(&["status"], status);
    for (key, text) in written {
        if let Some(text) = text {
            object.set(&["metadata", "annotations", key], text.print());
        }
    }
    shaped(object, "v1")
}

fn condition(from: &Value) -> Text {
    let optional = |field| Text::some(from.sub(field)).filter(|_| !from.text(field).is_empty());
    Text::Fields(vec![
        ("type", Text::string(from.sub("type"))),
        ("status", Text::string(from.sub("status"))),
        ("lastTransitionTime", Text::or_null(from.sub("lastTransitionTime"))),
        ("reason", optional("reason")),
        ("message", optional("message")),
    ])
}

/// The original writes this with the names of its own fields.
fn behavior(from: &Value) -> Text {
    let policy = |policy: &Value| {
        Text::Fields(vec![
            ("Type", Text::string(policy.sub("type"))),
            ("Value", Text::number(policy.sub("value"))),
            ("PeriodSeconds", Text::number(policy.sub("periodSeconds"))),
        ])
    };
    let rules = |field: &str| {
        let rules = from.sub(field);
        if rules.is_null() {
            return Some(Text::Null);
        }
        let policies = match rules.sub("policies").as_array() {
            Some(list) => Text::List(list.iter().map(policy).collect()),
            None => Text::Null,
        };
        Some(Text::Fields(vec![
            ("StabilizationWindowSeconds", Text::or_null(rules.sub("stabilizationWindowSeconds"))),
            ("SelectPolicy", Text::or_null(rules.sub("selectPolicy"))),
            ("Policies", Some(policies)),
            ("Tolerance", Text::or_null(rules.sub("tolerance"))),
        ]))
    };
    Text::Fields(vec![("ScaleUp", rules("scaleUp")), ("ScaleDown", rules("scaleDown"))])
}
