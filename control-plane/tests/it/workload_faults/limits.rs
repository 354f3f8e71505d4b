//! Sizes that follow the use of pods, and evictions as far as budgets let them.

use super::{name, number, player::Play, text};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{EvictParams, ListParams},
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many pods `auto` has when they have little to do, and when they have much.
const FEWEST: i64 = 2;
const MOST: i64 = 6;
/// How many pods `kept` has, and how many of them stay ready whoever is evicted.
const KEPT: i64 = 4;
const LEAST: usize = 3;

impl Play {
    pub(super) async fn begin_limits(&self) {
        for (app, replicas) in [("auto", FEWEST), ("kept", KEPT)] {
            let labels = json!({"app": app});
            let container =
                json!({"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}});
            let template =
                json!({"metadata": {"labels": labels}, "spec": {"containers": [container]}});
            let spec = json!({"replicas": replicas, "selector": {"matchLabels": labels},
                "template": template});
            let deployment = json!({"metadata": {"name": app}, "spec": spec});
            self.make("Deployment", "default", deployment).await;
        }
        let target = json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "auto"});
        let full = json!({"type": "Utilization", "averageUtilization": 100});
        let spec = json!({"scaleTargetRef": target, "minReplicas": FEWEST, "maxReplicas": MOST,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": full}}]});
        let scaler = json!({"metadata": {"name": "auto"}, "spec": spec});
        self.make("HorizontalPodAutoscaler", "default", scaler).await;
        let limits = [
            ("kept", json!({"minAvailable": LEAST})),
            ("web", json!({"maxUnavailable": "50%"})),
            ("db", json!({"minAvailable": "50%"})),
        ];
        for (app, mut spec) in limits {
            spec["selector"] = json!({"matchLabels": {"app": app}});
            let budget = json!({"metadata": {"name": app}, "spec": spec});
            self.make("PodDisruptionBudget", "default", budget).await;
        }
    }

    /// Gives the pods of `auto` much to do after little, and little after much.
    pub(super) async fn work_much_or_little(&mut self) {
        self.busy = !self.busy;
        let cpu = if self.busy { "250m" } else { "20m" };
        let metadata = json!({"annotations": {"kubeplane.dev/cpu": cpu}});
        let patch = json!({"spec": {"template": {"metadata": metadata}}});
        self.patch("Deployment", "auto", patch).await;
    }

    /// Asks for all pods of `kept` to go at once, as who empties nodes does.
    pub(super) async fn drain(&mut self) {
        let pods: Api<Pod> = Api::default_namespaced(self.cluster.client());
        let Ok(kept) = pods.list(&ListParams::default().labels("app=kept")).await else { return };
        for pod in kept {
            match pods.evict(&pod.name_any(), &EvictParams::default()).await {
                Ok(_) => self.evictions[0] += 1,
                Err(kube::Error::Api(status)) if status.code == 429 => self.evictions[1] += 1,
                // The pod is gone, or the server.
                Err(_) => {}
            }
        }
    }
}

fn is_true(object: &Value, kind: &str) -> bool {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// What autoscalers and budgets say that is not so.
pub(super) fn wrong_limits(
    play: &Play,
    all: &BTreeMap<String, Value>,
    say: &mut impl FnMut(String),
) {
    for object in all.values() {
        let kind = text(object, "/kind");
        if !matches!(kind, "HorizontalPodAutoscaler" | "PodDisruptionBudget") {
            continue;
        }
        // All of them are called as what they are about.
        let target = all.values().find(|other| {
            matches!(text(other, "/kind"), "Deployment" | "StatefulSet")
                && ["/metadata/namespace", "/metadata/name"]
                    .iter()
                    .all(|part| text(other, part) == text(object, part))
        });
        let Some(target) = target else {
            say(format!("{} is about nothing", name(object)));
            continue;
        };
        let replicas = number(target, "/spec/replicas");
        let is_right = match kind {
            "PodDisruptionBudget" => is_right_budget(object, replicas),
            _ => is_right_scaler(object, replicas, if play.busy { MOST } else { FEWEST }),
        };
        if !is_right {
            say(format!("{} says of {replicas} replicas: {}", name(object), object["status"]));
        }
    }
}

fn is_right_scaler(scaler: &Value, replicas: i64, wanted: i64) -> bool {
    let told = ["currentReplicas", "desiredReplicas"];
    let told = told.map(|field| number(scaler, &format!("/status/{field}")));
    // Its pods have far more to do than all of them can, or far less.
    let kinds = ["AbleToScale", "ScalingActive", "ScalingLimited"];
    replicas == wanted && told == [wanted; 2] && kinds.iter().all(|kind| is_true(scaler, kind))
}

fn is_right_budget(budget: &Value, replicas: i64) -> bool {
    let half = (replicas + 1) / 2;
    let healthy = match text(budget, "/metadata/name") {
        "kept" => LEAST as i64,
        "web" => replicas - half,
        _ => half,
    };
    let spare = replicas - healthy;
    let told = ["expectedPods", "currentHealthy", "desiredHealthy", "disruptionsAllowed"];
    let told = told.map(|field| number(budget, &format!("/status/{field}")));
    let disrupted = budget.pointer("/status/disruptedPods");
    told == [replicas, replicas, healthy, spare]
        && disrupted.is_none_or(|pods| *pods == json!({}))
        && is_true(budget, "DisruptionAllowed") == (spare > 0)
        && budget["status"]["observedGeneration"] == budget["metadata"]["generation"]
}

/// Evictions that left fewer ready pods than the budget of `kept` asks for, by the history of writes.
pub(super) fn violated(play: &Play) -> Vec<String> {
    let mut ready = BTreeSet::new();
    let mut broken = Vec::new();
    for write in play.cluster.history().writes() {
        let Some(pod) = write.key.strip_prefix("/registry/pods/default/kept-") else { continue };
        let object = serde_json::from_slice::<Value>(&write.value).unwrap_or_default();
        let going = object.pointer("/metadata/deletionTimestamp").is_some();
        if !going && is_true(&object, "Ready") {
            ready.insert(pod.to_owned());
            continue;
        }
        let was_ready = ready.remove(pod);
        if was_ready && going && is_true(&object, "DisruptionTarget") && ready.len() < LEAST {
            broken.push(format!("{} were left ready by: {write}", ready.len()));
        }
    }
    broken
}
