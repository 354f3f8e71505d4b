use super::*;
use crate::{Bind, BindVerdict, NodeInfo};
use kubeplane_clock::PausedClock;
use serde_json::{Value, json};

#[derive(Debug)]
struct Bound;

impl SchedulerPlugin for Bound {
    fn name(&self) -> &'static str {
        "Bound"
    }

    fn as_bind(&self) -> Option<&dyn Bind> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl Bind for Bound {
    async fn bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> BindVerdict {
        BindVerdict::Bound
    }
}

fn framework() -> Framework {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    Framework::new(Profile::default().add(Bound, 1), clock, Seed::new(7)).unwrap()
}

fn node(name: &str, spec: Value, cpu: &str) -> Arc<NodeInfo> {
    let value = json!({"metadata": {"name": name, "labels": {"disk": name}}, "spec": spec,
        "status": {"allocatable": {"cpu": cpu, "memory": "4Gi", "pods": "2"}}});
    Arc::new(NodeInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
}

fn pod(mut spec: Value, cpu: &str) -> PodInfo {
    spec["containers"] =
        json!([{"name": "c", "resources": {"requests": {"cpu": cpu, "memory": "1Gi"}}}]);
    let value = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"}, "spec": spec});
    PodInfo::new(Arc::new(serde_json::from_value(value).unwrap()))
}

async fn refusal(pod: PodInfo, nodes: Vec<Arc<NodeInfo>>) -> String {
    match framework().schedule(&pod, &Snapshot::new(nodes)).await {
        Err(Failure::Unschedulable(diagnosis)) => diagnosis.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_is_told_why_in_the_original_words() {
    let taint = json!({"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]});
    let nodes = || {
        vec![
            node("a", json!({}), "1"),
            node("b", json!({"unschedulable": true}), "4"),
            node("c", taint.clone(), "4"),
        ]
    };
    assert_eq!(
        refusal(pod(json!({}), "2"), nodes()).await,
        "0/3 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint(s), \
         1 node(s) were unschedulable. \
         no new claims to deallocate, preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        refusal(pod(json!({"nodeSelector": {"disk": "x"}}), "1"), vec![node("a", json!({}), "1")])
            .await,
        "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. \
         no new claims to deallocate, preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."
    );
    assert_eq!(
        refusal(pod(json!({}), "1"), Vec::new()).await,
        "no nodes available to schedule pods"
    );
}

/// Makes room nowhere, and fails at that.
#[derive(Debug)]
struct Clumsy;

impl SchedulerPlugin for Clumsy {
    fn name(&self) -> &'static str {
        "Clumsy"
    }

    fn as_post_filter(&self) -> Option<&dyn crate::PostFilter> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl crate::PostFilter for Clumsy {
    async fn post_filter(&self, _: &mut WhatIf<'_>, _: &Diagnosis) -> PostFilterVerdict {
        PostFilterVerdict::Error("no hands".into())
    }
}

#[tokio::test]
async fn a_pod_that_fits_nowhere_stays_so_when_making_room_fails() {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let profile = Profile::default().without("DynamicResources").without("DefaultPreemption");
    let profile = profile.add(Bound, 1).add(Clumsy, 1);
    let framework = Framework::new(profile, clock, Seed::new(7)).unwrap();
    let nodes = Snapshot::new(vec![node("a", json!({}), "1")]);
    let Err(Failure::Unschedulable(own)) = framework.schedule(&pod(json!({}), "2"), &nodes).await
    else {
        panic!("it fits nowhere")
    };
    assert_eq!(own.to_string(), "0/1 nodes are available: 1 Insufficient cpu. no hands");
    assert!(own.plugins.contains("NodeResourcesFit"), "so that events bring it back");
}

#[tokio::test]
async fn the_emptier_node_is_chosen() {
    let (small, large) = (node("small", json!({}), "2"), node("large", json!({}), "8"));
    let all = vec![small, large];
    let placement = framework().schedule(&pod(json!({}), "1"), &Snapshot::new(all)).await.unwrap();
    assert_eq!((placement.node.as_str(), placement.feasible), ("large", 2));
}

#[tokio::test]
async fn scores_are_those_of_the_original() {
    // Least allocated: cpu (4000-1000)/4000 -> 75, memory (4-1)/4 -> 75. Balanced: no change -> 75.
    // TaintToleration adds 3 * 100 for a node without taints to avoid.
    let nodes = [node("a", json!({}), "4")];
    let scores = framework().scores(&mut CycleState::new(), &pod(json!({}), "1"), &nodes);
    assert_eq!(scores.unwrap_or_default(), [75 + 75 + 300]);
}

#[test]
fn profiles_are_checked() {
    let clock = kubeplane_clock::real();
    let build = |profile| Framework::new(profile, clock.clone(), Seed::new(1)).map(|_| ());
    assert!(matches!(build(Profile::default()), Err(Error::NoBind { .. })));
    let twice = Profile::default().add(Bound, 1).add(Bound, 1);
    assert!(matches!(build(twice), Err(Error::DuplicatePlugin { plugin: "Bound", .. })));
    let unsorted = Profile::empty("x").add(Bound, 1);
    assert!(matches!(build(unsorted), Err(Error::QueueSort { found: 0, .. })));
}
