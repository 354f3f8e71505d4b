use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kubeplane_workload::{
    condition, is_active, is_ready, is_sidecar,
    phase::{node_name, phase},
};
use std::{cmp::Ordering, cmp::Reverse, collections::HashMap, sync::Arc};

const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";

/// The `count` pods whose deletion costs least; `related` are those that pods should not share a node with.
pub(in crate::builtin) fn to_delete(
    mut pods: Vec<Arc<Pod>>,
    related: &[Arc<Pod>],
    count: usize,
    now: Timestamp,
) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        let mut on_node: HashMap<Option<&str>, usize> = HashMap::new();
        for pod in related.iter().filter(|pod| is_active(pod)) {
            *on_node.entry(node_name(pod)).or_default() += 1;
        }
        let neighbours = |pod: &Pod| on_node.get(&node_name(pod)).copied().unwrap_or_default();
        pods.sort_by(|a, b| cheaper((a, neighbours(a)), (b, neighbours(b)), now));
    }
    pods.truncate(count);
    pods
}

/// The `count` pods that have got the least far, and of those that are as far the newest: a Job's pods have no costs of
/// deletion, and their ages are compared as they are.
pub(in crate::builtin) fn newest(mut pods: Vec<Arc<Pod>>, count: usize) -> Vec<Arc<Pod>> {
    if count < pods.len() {
        pods.sort_by(|a, b| by_state(a, b).then_with(|| by_age(a, b, None)));
    }
    pods.truncate(count);
    pods
}

/// Less means that the first is to go before the second.
fn cheaper(
    (a, a_neighbours): (&Pod, usize),
    (b, b_neighbours): (&Pod, usize),
    now: Timestamp,
) -> Ordering {
    by_state(a, b)
        .then_with(|| cost(a).cmp(&cost(b)))
        .then_with(|| b_neighbours.cmp(&a_neighbours))
        .then_with(|| by_age(a, b, Some(now)))
}

/// How far they are on their way to being of use.
fn by_state(a: &Pod, b: &Pod) -> Ordering {
    let bound = |pod| node_name(pod).is_some();
    let started = |pod| match phase(pod) {
        "Pending" => 0,
        "Unknown" => 1,
        _ => 2,
    };
    bound(a)
        .cmp(&bound(b))
        .then_with(|| started(a).cmp(&started(b)))
        .then_with(|| is_ready(a).cmp(&is_ready(b)))
}

/// How long they have been of use, how often they failed, and how old they are; of about the same age when it is said
/// what time it is.
fn by_age(a: &Pod, b: &Pod, now: Option<Timestamp>) -> Ordering {
    let by_readiness = || {
        if is_ready(a) && is_ready(b) {
            younger(a, b, ready_since(a), ready_since(b), now)
        } else {
            Ordering::Equal
        }
    };
    let created = |pod: &Pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0);
    by_readiness()
        .then_with(|| Reverse(restarts(a)).cmp(&Reverse(restarts(b))))
        .then_with(|| younger(a, b, created(a), created(b), now))
}

fn cost(pod: &Pod) -> i32 {
    let annotation =
        pod.metadata.annotations.as_ref().and_then(|annotations| annotations.get(DELETION_COST));
    // A cost that is not in canonical form does not count.
    annotation
        .filter(|text| {
            text.as_str() == "0"
                || !(text.starts_with('+') || text.starts_with('0') || text.starts_with("-0"))
        })
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

fn ready_since(pod: &Pod) -> Option<Timestamp> {
    condition(pod, "Ready")?.last_transition_time.as_ref().map(|time| time.0)
}

/// The most restarts of any container, then of any sidecar.
fn restarts(pod: &Pod) -> (i32, i32) {
    let status = pod.status.as_ref();
    let spec = pod.spec.as_ref();
    let sidecars: Vec<_> = spec
        .iter()
        .flat_map(|spec| spec.init_containers.iter().flatten())
        .filter(|container| is_sidecar(container))
        .map(|container| container.name.as_str())
        .collect();
    let most = |count: Option<i32>| count.unwrap_or_default();
    let regular = status.and_then(|status| status.container_statuses.as_ref());
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let is_sidecar_status = |status: &&ContainerStatus| sidecars.contains(&status.name.as_str());
    (
        most(regular.and_then(|all| all.iter().map(|status| status.restart_count).max())),
        most(init.and_then(|all| {
            all.iter().filter(is_sidecar_status).map(|status| status.restart_count).max()
        })),
    )
}

/// The later of two times first, with `now` on a logarithmic scale of ages so that pods of about the same age go in an
/// order that depends on neither; a missing time is the latest.
fn younger(
    a: &Pod,
    b: &Pod,
    at_a: Option<Timestamp>,
    at_b: Option<Timestamp>,
    now: Option<Timestamp>,
) -> Ordering {
    match (at_a, at_b) {
        (Some(at_a), Some(at_b)) if at_a == at_b => Ordering::Equal,
        (Some(at_a), Some(at_b)) => {
            let Some(now) = now else { return at_b.cmp(&at_a) };
            let magnitude = |at: Timestamp| {
                let nanoseconds = now.duration_since(at).as_nanos();
                u128::try_from(nanoseconds).ok().and_then(u128::checked_ilog2)
            };
            magnitude(at_a).cmp(&magnitude(at_b)).then_with(|| a.metadata.uid.cmp(&b.metadata.uid))
        }
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trim_pod;
    use serde_json::{Value, json};

    fn pod(name: &str, extra: Value) -> Arc<Pod> {
        let mut pod = json!({
            "metadata": {"name": name, "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"nodeName": "n", "containers": []},
            "status": {"phase": "Running", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ]},
        });
        json_patch(&mut pod, &extra);
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    fn json_patch(target: &mut Value, patch: &Value) {
        match (target, patch) {
            (Value::Object(target), Value::Object(patch)) => {
                for (key, value) in patch {
                    json_patch(target.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
            (target, patch) => *target = patch.clone(),
        }
    }

    fn first(pods: Vec<Arc<Pod>>, related: &[Arc<Pod>]) -> String {
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let kept = |pods: &[Arc<Pod>]| -> Vec<Arc<Pod>> {
            let less = pods.iter().map(|pod| {
                let mut pod = (**pod).clone();
                trim_pod(&mut pod);
                Arc::new(pod)
            });
            less.collect()
        };
        let by_less = to_delete(kept(&pods), &kept(related), 1, now);
        let doomed = to_delete(pods, related, 1, now);
        assert_eq!(by_less[0].metadata.name, doomed[0].metadata.name);
        doomed[0].metadata.name.clone().unwrap()
    }

    #[test]
    fn the_less_useful_of_two_pods_goes_first() {
        let young = json!({"status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T23:59:00Z"}]}});
        let cheap = json!({"metadata": {"annotations": {DELETION_COST: "-5"}}});
        let restarted = json!({"status": {"containerStatuses": [
            {"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 3}]}});
        let table = [
            ("unbound", json!({"spec": {"nodeName": ""}})),
            ("pending", json!({"status": {"phase": "Pending"}})),
            ("unready", json!({"status": {"conditions": []}})),
            ("low cost", cheap),
            ("ready for a shorter time", young),
            ("restarted", restarted),
            ("younger", json!({"metadata": {"creationTimestamp": "2026-01-01T23:59:00Z"}})),
        ];
        for (why, extra) in table {
            let (keep, go) = (pod("keep", json!({})), pod("go", extra));
            assert_eq!(first(vec![keep.clone(), go.clone()], &[]), "go", "{why}");
            assert_eq!(first(vec![go, keep], &[]), "go", "{why}, the other way round");
        }
    }

    #[test]
    fn pods_of_about_the_same_age_are_as_good() {
        let of = |name: &str, ready: &str| {
            pod(
                name,
                json!({"metadata": {"creationTimestamp": ready}, "status": {"conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": ready}]}}),
            )
        };
        // A second apart after most of a day: neither is younger, so chance (the uid) decides.
        let (older, younger) = (of("a", "2026-01-01T01:00:00Z"), of("b", "2026-01-01T01:00:01Z"));
        assert_eq!(first(vec![older.clone(), younger.clone()], &[]), "a");
        let much_younger = of("c", "2026-01-01T20:00:00Z");
        assert_eq!(first(vec![older, younger, much_younger], &[]), "c");
    }

    #[test]
    fn of_a_jobs_pods_the_newest_goes_whatever_it_costs() {
        let of = |name: &str, created: &str, ready: &str| {
            let condition = json!({"type": "Ready", "status": "True", "lastTransitionTime": ready});
            let metadata =
                json!({"creationTimestamp": created, "annotations": {DELETION_COST: "-5"}});
            pod(name, json!({"metadata": metadata, "status": {"conditions": [condition]}}))
        };
        let (early, late) = ("2026-01-01T01:00:00Z", "2026-01-01T01:00:01Z");
        let dear = json!({"metadata": {"creationTimestamp": late,
            "annotations": {DELETION_COST: "5"}}, "status": {"conditions": [
            {"type": "Ready", "status": "True", "lastTransitionTime": early}]}});
        let unready = json!({"status": {"conditions": []}});
        for (why, go) in [
            ("created later", pod("z", dear)),
            ("ready later", of("z", early, late)),
            ("not ready", pod("z", unready)),
        ] {
            let keep = of("a", early, early);
            for pods in [vec![keep.clone(), go.clone()], vec![go, keep]] {
                assert_eq!(newest(pods, 1)[0].metadata.name.as_deref(), Some("z"), "{why}");
            }
        }
    }

    #[test]
    fn pods_that_share_a_node_with_related_ones_go_first() {
        let lonely = pod("lonely", json!({"spec": {"nodeName": "a"}}));
        let crowded = pod("crowded", json!({"spec": {"nodeName": "b"}}));
        let neighbour = pod("neighbour", json!({"spec": {"nodeName": "b"}}));
        let related = [lonely.clone(), crowded.clone(), neighbour];
        assert_eq!(first(vec![lonely, crowded], &related), "crowded");
    }
}
