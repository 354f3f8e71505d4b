//! Pods alike that fit nowhere: what is asked again, and what they are told.

use super::*;
use k8s_openapi::api::core::v1::Node;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Refuses all nodes, and counts how often it is asked.
#[derive(Debug, Default)]
struct Stern(AtomicUsize);

impl SchedulerPlugin for Stern {
    fn name(&self) -> &'static str {
        "Stern"
    }

    fn as_filter(&self) -> Option<&dyn crate::Filter> {
        Some(self)
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }
}

impl crate::Filter for Stern {
    fn filter(&self, _: &CycleState, _: &PodInfo, _: &NodeInfo) -> crate::FilterVerdict {
        self.0.fetch_add(1, Ordering::Relaxed);
        crate::FilterVerdict::Unschedulable(vec!["no".to_owned()])
    }
}

impl crate::Track for Stern {
    fn track(&self, _: &PodInfo, _: &Snapshot) -> crate::Tracking {
        crate::Tracking::Alone(Box::new(|_: &NodeInfo| None::<i64>))
    }
}

fn node(index: usize, spec: &Value) -> Arc<Node> {
    let value = json!({"metadata": {"name": format!("n{index}")}, "spec": spec,
        "status": {"allocatable": {"cpu": "4", "memory": "8Gi", "pods": "10"}}});
    Arc::new(serde_json::from_value(value).unwrap())
}

/// How often the plugin is asked for one more pod, and what that is told.
async fn next(
    framework: &Framework,
    stern: &Stern,
    cache: &crate::Cache,
) -> (usize, Box<Diagnosis>) {
    let outcome = framework.schedule(&wanting(0, "any"), &cache.snapshot()).await;
    let Err(Failure::Unschedulable(told)) = outcome else { panic!("it fits nowhere") };
    (stern.0.swap(0, Ordering::Relaxed), told)
}

#[tokio::test]
async fn only_nodes_that_changed_are_asked_again() {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let stern = Arc::new(Stern::default());
    let profile = Profile::default().add(Bound, 1).add_shared(stern.clone(), 1);
    let framework = Framework::new(profile, clock, Seed::new(7)).unwrap();
    let mut cache = crate::Cache::default();
    (0..10).for_each(|index| cache.set_node(node(index, &json!({}))));
    for times in [10, 10, 0, 0] {
        let (asked, told) = next(&framework, &stern, &cache).await;
        assert_eq!(asked, times, "the second begins to keep what it hears");
        assert_eq!(told.resolvable, NodeSet::all(10));
        assert!(told.to_string().starts_with("0/10 nodes are available: 10 no. "), "{told}");
    }
    cache.set_pod("n3", wanting(100, "any"));
    assert_eq!(next(&framework, &stern, &cache).await.0, 1, "a pod came");
    cache.nominate("n5", wanting(101, "any"));
    assert_eq!(next(&framework, &stern, &cache).await.0, 1, "room is made for another");
    assert_eq!(next(&framework, &stern, &cache).await.0, 0);
    cache.clear_nomination("u101");
    assert_eq!(next(&framework, &stern, &cache).await.0, 1, "and is made no more");
    cache.set_node(node(7, &json!({"unschedulable": true})));
    let reasons = [("no", 9), ("node(s) were unschedulable", 1)];
    let reasons = BTreeMap::from(reasons.map(|(why, count)| (why.to_owned(), count)));
    for _ in 0..2 {
        let (asked, told) = next(&framework, &stern, &cache).await;
        assert_eq!(asked, 0, "another plugin refuses the node first");
        assert_eq!(told.reasons, reasons);
        assert_eq!(told.resolvable, (0..10).filter(|own| *own != 7).collect::<NodeSet>());
        assert_eq!(told.plugins, BTreeSet::from(["NodeUnschedulable", "Stern"]));
    }
    cache.set_node(node(10, &json!({})));
    let (asked, told) = next(&framework, &stern, &cache).await;
    assert_eq!((asked, told.nodes), (1, 11), "a node came");
    assert_eq!(told.reasons["no"], 10);
    assert_eq!(next(&framework, &stern, &cache).await.0, 0);
}
