//! HorizontalPodAutoscalers: one resource in the store, served as autoscaling/v1 and as autoscaling/v2.
//!
//! ```text
//!   v1 --conversion--> v2: defaults, preparation, validation, rows --conversion--> v1
//! ```
//! What v1 has no field for stands in its annotations.

use crate::{
    defaulting::{map, map_in, missing},
    hooks::{change_only, keep},
    look::{Look, sub},
    row::{Part, Row},
    table::age,
};
use jiff::Timestamp;
use kubeplane_core::{
    Definition, GroupVersion, Object, Strategy, definition::Context, field::Errors,
};
use serde_json::{Map, Value, json};

mod annotation;
mod conversion;
mod metrics;
mod table;
mod validation;

/// How much of its request a pod may use of the CPU where nothing is said.
const CPU_PERCENT: i64 = 80;

const ROW: Row = Row {
    group: "autoscaling",
    version: "v2",
    kind: "HorizontalPodAutoscaler",
    plural: "horizontalpodautoscalers",
    short: &["hpa"],
    categories: &["all"],
    columns: &["Name", "Reference", "Targets", "MinPods", "MaxPods", "Replicas", "Age"],
    parts: &[Part::Status],
    ..Row::NAMESPACED
};

/// autoscaling/v1.
pub(crate) fn v1() -> Definition {
    let row = Row { version: "v1", ..ROW };
    let mut definition = row.define(Autoscalers { version: Version::V1 });
    definition.storage_version = "v2".into();
    definition
}

/// autoscaling/v2, the form that is stored.
pub(crate) fn v2() -> Definition {
    ROW.define(Autoscalers { version: Version::V2 })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

#[derive(Debug)]
struct Autoscalers {
    version: Version,
}

impl Autoscalers {
    /// Does something to an object in the form that has all fields.
    fn with_all_fields(&self, object: &mut Object, change: impl FnOnce(&mut Object)) {
        let mut full = conversion::to_v2(std::mem::take(object));
        change(&mut full);
        *object = match self.version {
            Version::V1 => conversion::to_v1(full),
            Version::V2 => full,
        };
    }
}

impl Strategy for Autoscalers {
    fn default(&self, object: &mut Object) {
        let spec = object.map_at_mut(&["spec"]);
        missing(spec, "minReplicas", 1);
        if self.version == Version::V2 {
            default_metrics(spec);
            if let Some(behavior) = map_in(spec, "behavior") {
                default_rules(behavior);
            }
        }
    }

    fn prepare_create(&self, context: &Context<'_>, object: &mut Object) {
        self.with_all_fields(object, |object| {
            drop_tolerance(context, object, None);
            object.set(&["status"], json!({"currentMetrics": null, "desiredReplicas": 0}));
        });
    }

    fn prepare_update(&self, context: &Context<'_>, object: &mut Object, old: &Object) {
        let old = conversion::to_v2(old.clone());
        self.with_all_fields(object, |object| match context.subresource {
            "status" => change_only(object, &old, "status"),
            _ => {
                drop_tolerance(context, object, Some(&old));
                keep(object, &old, "status");
            }
        });
    }

    fn validate(&self, context: &Context<'_>, object: &Object) -> Errors {
        let to_zero = context.features.is_on("HPAScaleToZero");
        validation::create(&conversion::to_v2(object.clone()), to_zero)
    }

    fn validate_update(&self, context: &Context<'_>, object: &Object, old: &Object) -> Errors {
        let object = conversion::to_v2(object.clone());
        match context.subresource {
            "status" => validation::status(&object),
            _ => {
                let to_zero = context.features.is_on("HPAScaleToZero");
                validation::update(&object, &conversion::to_v2(old.clone()), to_zero)
            }
        }
    }

    fn table_row(&self, object: &Object, now: Timestamp) -> Vec<Value> {
        let object = conversion::to_v2(object.clone());
        let (spec, status) = (sub(object.map(), "spec"), sub(object.map(), "status"));
        let target = spec.sub("scaleTargetRef");
        let least = spec.sub("minReplicas").as_i64();
        vec![
            object.name().into(),
            format!("{}/{}", target.text("kind"), target.text("name")).into(),
            table::targets(spec.list("metrics"), status.list("currentMetrics")).into(),
            least.map_or_else(|| "<unset>".to_owned(), |least| least.to_string()).into(),
            spec.int("maxReplicas").into(),
            status.int("currentReplicas").into(),
            age(&object, now),
        ]
    }

    fn convert(&self, object: Object, to: &GroupVersion) -> Object {
        match &*to.version {
            "v1" => conversion::to_v1(conversion::to_v2(object)),
            _ => conversion::to_v2(object),
        }
    }
}

/// The field of a feature that can be off: how far from its aim an autoscaler does nothing.
fn drop_tolerance(context: &Context<'_>, object: &mut Object, old: Option<&Object>) {
    const WAYS: [&str; 2] = ["scaleUp", "scaleDown"];
    let has = |old: &Object, way: &str| {
        let tolerance = old.at(&["spec", "behavior", way, "tolerance"]);
        tolerance.is_some_and(|tolerance| !tolerance.is_null())
    };
    let known = old.is_some_and(|old| WAYS.into_iter().any(|way| has(old, way)));
    if !known && !context.features.is_on("HPAConfigurableTolerance") {
        for way in WAYS {
            object.remove(&["spec", "behavior", way, "tolerance"]);
        }
    }
}

/// The metric of an autoscaler that names none.
fn cpu_metric(percent: i64) -> Value {
    json!({"type": "Resource", "resource": {
        "name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent},
    }})
}

fn default_metrics(spec: &mut Map<String, Value>) {
    if sub(spec, "metrics").as_array().is_none_or(Vec::is_empty) {
        spec.insert("metrics".to_owned(), json!([cpu_metric(CPU_PERCENT)]));
    }
}

/// How fast pods come and go, where something is said of it.
fn default_rules(behavior: &mut Map<String, Value>) {
    let up = map(behavior, "scaleUp");
    missing(up, "stabilizationWindowSeconds", 0);
    missing(up, "selectPolicy", "Max");
    missing(
        up,
        "policies",
        json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15},
            {"type": "Percent", "value": 100, "periodSeconds": 15},
        ]),
    );
    let down = map(behavior, "scaleDown");
    missing(down, "selectPolicy", "Max");
    missing(down, "policies", json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_version_keeps_what_it_has_no_field_for() {
        let object = json!({
            "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "h"},
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
                "minReplicas": 1, "maxReplicas": 3,
                "metrics": [
                    {"type": "Pods", "pods": {
                        "metric": {"name": "qps", "selector": {"matchLabels": {"a": "b"}}},
                        "target": {"type": "AverageValue", "averageValue": "10"},
                    }},
                    cpu_metric(50),
                ],
                "behavior": {"scaleDown": {
                    "selectPolicy": "Max", "stabilizationWindowSeconds": 60,
                    "policies": [{"type": "Percent", "value": 10, "periodSeconds": 15}],
                }},
            },
            "status": {
                "currentReplicas": 2, "desiredReplicas": 2,
                "currentMetrics": [{"type": "Resource", "resource": {
                    "name": "cpu", "current": {"averageUtilization": 40, "averageValue": "80m"},
                }}],
                "conditions": [{"type": "AbleToScale", "status": "True",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"}],
            },
        });
        let object = Object::from_value(object).unwrap();
        let old = Autoscalers { version: Version::V1 }
            .convert(object.clone(), &GroupVersion::new("autoscaling", "v1"));
        assert_eq!(old.at(&["spec", "targetCPUUtilizationPercentage"]), Some(&50.into()));
        assert_eq!(old.at(&["status", "currentCPUUtilizationPercentage"]), Some(&40.into()));
        assert_eq!(
            old.annotation("autoscaling.alpha.kubernetes.io/metrics"),
            Some(
                "[{\"type\":\"Pods\",\"pods\":{\"metricName\":\"qps\",\"targetAverageValue\":\"10\",\
                 \"selector\":{\"matchLabels\":{\"a\":\"b\"}}}}]"
            )
        );
        assert_eq!(
            old.annotation("autoscaling.alpha.kubernetes.io/behavior"),
            Some(
                "{\"ScaleUp\":null,\"ScaleDown\":{\"StabilizationWindowSeconds\":60,\"SelectPolicy\":\"Max\",\
                 \"Policies\":[{\"Type\":\"Percent\",\"Value\":10,\"PeriodSeconds\":15}],\"Tolerance\":null}}"
            )
        );
        let back = Autoscalers { version: Version::V2 }
            .convert(old, &GroupVersion::new("autoscaling", "v2"));
        assert_eq!(back, object);
    }
}
