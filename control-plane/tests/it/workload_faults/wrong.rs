//! What is not as it was asked for.

use super::{
    NODES,
    limits::wrong_limits,
    name, number, owners,
    player::{Play, WATCHED},
    storage::wrong_storage,
    text,
};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Everything there is, by uid.
async fn uids(play: &Play) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for (_, kind, _) in WATCHED {
        for object in play.all(kind).await {
            all.insert(text(&object, "/metadata/uid").to_owned(), object);
        }
    }
    all
}

fn is_over(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// What is not as it should be, if anything.
pub(super) async fn wrong(play: &Play) -> Vec<String> {
    let all = uids(play).await;
    let mut wrong = Vec::new();
    let mut say = |what: String| wrong.push(what);
    for object in all.values() {
        if object.pointer("/metadata/deletionTimestamp").is_some() {
            say(format!("{} still goes", name(object)));
        }
        for owner in owners(object) {
            if !all.contains_key(text(owner, "/uid")) {
                say(format!("{} has lost its owner {}", name(object), text(owner, "/name")));
            }
        }
    }
    let of = |owner: &Value| -> Vec<&Value> {
        let uid = text(owner, "/metadata/uid");
        all.values()
            .filter(|object| object["kind"] == "Pod")
            .filter(|pod| owners(pod).any(|owner| text(owner, "/uid") == uid))
            .collect()
    };
    for pod in all.values().filter(|object| object["kind"] == "Pod") {
        if owners(pod).next().is_none() {
            say(format!("{} belongs to nobody", name(pod)));
        }
    }
    for object in all.values() {
        let wanted = number(object, "/spec/replicas");
        match text(object, "/kind") {
            "Deployment" | "StatefulSet" => {
                let ready = number(object, "/status/readyReplicas");
                let (count, updated) =
                    (number(object, "/status/replicas"), number(object, "/status/updatedReplicas"));
                if [ready, count, updated] != [wanted; 3] {
                    let status = &object["status"];
                    say(format!("{} wants {wanted} and has {status}", name(object)));
                }
            }
            "DaemonSet" => {
                let told = |field: &str| number(object, &format!("/status/{field}"));
                let told =
                    ["desiredNumberScheduled", "updatedNumberScheduled", "numberReady"].map(told);
                if told != [NODES; 3] || of(object).len() as i64 != NODES {
                    let (status, pods) = (&object["status"], of(object).len());
                    say(format!("{} has {pods} pods and {status}", name(object)));
                }
            }
            "ReplicaSet" if of(object).len() as i64 != wanted => {
                say(format!("{} wants {wanted} and has {}", name(object), of(object).len()));
            }
            "Job" => wrong_job(object, &of(object), &mut say),
            _ => {}
        }
    }
    for set in all.values().filter(|object| object["kind"] == "StatefulSet") {
        let mut found: Vec<_> = of(set).iter().map(|pod| text(pod, "/metadata/name")).collect();
        found.sort_unstable();
        let own = text(set, "/metadata/name");
        let count = number(set, "/spec/replicas");
        let expected: Vec<_> = (0..count).map(|index| format!("{own}-{index}")).collect();
        if found != expected {
            say(format!("{} has pods {found:?}", name(set)));
        }
    }
    wrong_storage(play, &all, &mut say);
    wrong_limits(play, &all, &mut say);
    wrong
}

fn wrong_job(job: &Value, pods: &[&Value], say: &mut impl FnMut(String)) {
    let finished = job.pointer("/status/conditions").and_then(Value::as_array).is_some_and(|all| {
        all.iter().any(|own| own["type"] == "Complete" && own["status"] == "True")
    });
    let started = job.pointer("/spec/completions").is_some_and(|own| own == 6);
    if started && !finished {
        say(format!("{} is not over: {}", name(job), job["status"]));
    }
    let wanted = number(job, "/spec/completions");
    let succeeded = number(job, "/status/succeeded");
    // A pod whose making was not heard of may succeed beside the one made in its place; an index succeeds once.
    let exact = text(job, "/spec/completionMode") == "Indexed";
    if finished && (succeeded < wanted || exact && succeeded > wanted) {
        say(format!("{} wants {wanted} successes and counts {succeeded}", name(job)));
    }
    let left = job.pointer("/status/uncountedTerminatedPods").cloned().unwrap_or(json!({}));
    if finished && left != json!({}) {
        say(format!("{} has not counted {left}", name(job)));
    }
    for pod in pods.iter().filter(|pod| finished && is_over(pod)) {
        if pod.pointer("/metadata/finalizers").is_some() {
            say(format!("{} was not let go", name(pod)));
        }
    }
    let mut running = BTreeSet::new();
    for pod in pods.iter().filter(|pod| !is_over(pod)) {
        let index = text(pod, "/metadata/labels/batch.kubernetes.io~1job-completion-index");
        if !index.is_empty() && !running.insert(index) {
            say(format!("{} is the second of index {index}", name(pod)));
        }
    }
}
