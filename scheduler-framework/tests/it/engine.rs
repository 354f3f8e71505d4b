//! What is kept for pods alike decides as a full pass would, whatever comes and goes between.

use crate::{
    replay::{completed, framework, info},
    scenario::{Dice, Mix, Scenario},
};
use k8s_openapi::api::{
    apps::v1::ReplicaSet,
    core::v1::{Namespace, Node, Service},
};
use kubeplane_scheduler_framework::{Cache, ClusterObjects, Failure, Framework, PodInfo};
use serde_json::{Value, json};
use std::sync::Arc;

fn cache(scenario: &Scenario) -> Cache {
    let namespaces: Vec<Arc<Namespace>> = (scenario.namespaces.iter())
        .map(|own| Arc::new(serde_json::from_value(own.clone()).unwrap()))
        .collect();
    let objects = ClusterObjects { namespaces: Arc::new(namespaces), ..ClusterObjects::default() };
    let mut cache = Cache::with_objects(Arc::new(objects));
    scenario.nodes.iter().for_each(|own| cache.set_node(node(own)));
    cache
}

fn node(own: &Value) -> Arc<Node> {
    Arc::new(serde_json::from_value(own.clone()).unwrap())
}

/// Decides by both ways; where the pod goes, and whether it was followed.
async fn decide(framework: &Framework, cache: &Cache, pod: &PodInfo) -> Option<(String, bool)> {
    let snapshot = cache.snapshot();
    let trace = framework.trace(pod, &snapshot).unwrap();
    match framework.schedule(pod, &snapshot).await {
        Ok(placement) => {
            let fit = trace.nodes.iter().filter(|node| node.fits).count();
            let told = format!("{} not among {:?}\n{trace}", placement.node, trace.best);
            assert!(trace.best.contains(&placement.node), "{} {told}", pod.key());
            assert_eq!(placement.feasible, fit, "{}\n{trace}", pod.key());
            Some((placement.node, placement.followed))
        }
        Err(Failure::Unschedulable(_)) => {
            assert!(trace.best.is_empty(), "{}\n{trace}", pod.key());
            None
        }
        Err(other) => panic!("{other}"),
    }
}

/// Something else happens in the cluster.
fn disturb(
    dice: &mut Dice,
    cache: &mut Cache,
    scenario: &mut Scenario,
    placed: &mut Vec<Arc<PodInfo>>,
) {
    let count = scenario.nodes.len() as u64;
    let index = usize::try_from(dice.below(count)).unwrap();
    match dice.below(14) {
        0..=4 if !placed.is_empty() => {
            let leaves = usize::try_from(dice.below(placed.len() as u64)).unwrap();
            cache.remove_pod(placed.swap_remove(leaves).uid());
        }
        5 => {
            let closed = dice.percent(40);
            scenario.nodes[index]["spec"]["unschedulable"] = json!(closed);
            cache.set_node(node(&scenario.nodes[index]));
        }
        6 => {
            scenario.nodes[index]["metadata"]["labels"]["topology.kubernetes.io/zone"] =
                json!(format!("z{}", dice.below(5)));
            cache.set_node(node(&scenario.nodes[index]));
        }
        7 => {
            scenario.nodes[index]["status"]["images"] = json!([{"names": ["registry.test/app:2"],
                "sizeBytes": 400_000_000}]);
            cache.set_node(node(&scenario.nodes[index]));
        }
        8 if dice.percent(30) => {
            cache.remove_node(scenario.nodes[index]["metadata"]["name"].as_str().unwrap());
            cache.set_node(node(&scenario.nodes[index]));
        }
        _ => {}
    }
}

async fn play(seed: u64, nodes: usize, pods: usize, mix: Mix) -> (usize, usize) {
    let mut scenario = Scenario::new(seed, nodes, pods, mix);
    let framework = framework(seed);
    let mut cache = cache(&scenario);
    let mut dice = Dice::new(seed);
    let (mut placed, mut followed, mut all) = (Vec::new(), 0, 0);
    for (number, pod) in scenario.pods.clone().iter().enumerate() {
        let own = info(&completed(pod));
        if let Some((node, by_class)) = decide(&framework, &cache, &own).await {
            followed += usize::from(by_class);
            all += 1;
            cache.assume(&node, own.clone());
            if dice.percent(50) {
                // As the API server tells it.
                cache.set_pod(&node, info(&completed(pod)));
            }
            placed.push(own);
        }
        if number % 3 == 0 {
            disturb(&mut dice, &mut cache, &mut scenario, &mut placed);
        }
    }
    (followed, all)
}

#[tokio::test]
async fn pods_alike_go_where_a_full_pass_would_put_them() {
    let (mut followed, mut all) = (0, 0);
    for seed in 1..=12 {
        let mix = Mix { classes: 9, priority: 0, ..Mix::default() };
        let (own, placed) = play(seed, 18, 160, mix).await;
        followed += own;
        all += placed;
    }
    // Others select namespaces, or name nodes.
    assert!(followed * 4 > all, "{followed} of {all}");
}

#[tokio::test]
async fn pods_that_only_differ_by_name_are_all_followed_but_the_first() {
    let mix = Mix {
        classes: 1,
        node_affinity: 0,
        pod_affinity: 0,
        spread: 0,
        priority: 0,
        ..Mix::default()
    };
    let (followed, all) = play(3, 30, 120, mix).await;
    assert!(all >= 20 && followed + 1 >= all, "{followed} of {all}");
}

#[tokio::test]
async fn pods_alike_that_fit_nowhere_are_told_what_a_full_pass_would_say() {
    let (mut refused, mut some) = (0, 0);
    for seed in 1..=8 {
        let mix = Mix { classes: 5, priority: 30, pod_affinity: 15, spread: 15, ..Mix::default() };
        let mut scenario = Scenario::new(seed, 10, 240, mix);
        let (kept, mut cache) = (framework(seed), cache(&scenario));
        let (mut dice, mut placed) = (Dice::new(seed), Vec::new());
        for pod in scenario.pods.clone() {
            let own = info(&completed(&pod));
            let snapshot = cache.snapshot();
            match kept.schedule(&own, &snapshot).await {
                Ok(placement) => {
                    drop(snapshot);
                    cache.assume(&placement.node, own.clone());
                    placed.push(own);
                }
                Err(Failure::Unschedulable(told)) => {
                    // One that has seen no pod before looks at every node.
                    let Err(Failure::Unschedulable(anew)) =
                        framework(seed).schedule(&own, &snapshot).await
                    else {
                        panic!("{} fits after all", own.key())
                    };
                    assert_eq!(told.reasons, anew.reasons, "{}", own.key());
                    assert_eq!(told.plugins, anew.plugins, "{}", own.key());
                    assert_eq!(told.resolvable, anew.resolvable, "{}", own.key());
                    refused += 1;
                    some += usize::from(!told.resolvable.is_empty());
                }
                Err(other) => panic!("{other}"),
            }
            if dice.percent(40) {
                disturb(&mut dice, &mut cache, &mut scenario, &mut placed);
            }
        }
    }
    assert!(refused > 100 && some > 50, "{refused} refused, {some} for want of room");
}

/// A pod for which room is being made somewhere: like one of those that come, under another name.
fn waiting(pod: &Value, number: usize) -> Arc<PodInfo> {
    let mut pod = pod.clone();
    pod["metadata"]["name"] = json!(format!("w{number}"));
    info(&completed(&pod))
}

#[tokio::test]
async fn pods_alike_yield_the_room_that_is_made_for_others() {
    let (mut followed, mut refused, mut made) = (0, 0, 0);
    for seed in 1..=6 {
        let mix = Mix { classes: 3, pod_affinity: 0, spread: 0, priority: 40, ..Mix::default() };
        let mut scenario = Scenario::new(seed, 12, 240, mix);
        let (kept, mut cache) = (framework(seed), cache(&scenario));
        let (mut dice, mut placed) = (Dice::new(seed), Vec::new());
        for (number, pod) in scenario.pods.clone().iter().enumerate() {
            let own = info(&completed(pod));
            if let Some((node, by_class)) = decide(&kept, &cache, &own).await {
                followed += usize::from(by_class);
                cache.assume(&node, own.clone());
                placed.push(own);
            } else {
                let snapshot = cache.snapshot();
                let told = (kept.schedule(&own, &snapshot).await, framework(seed));
                let anew = told.1.schedule(&own, &snapshot).await;
                let (Err(Failure::Unschedulable(told)), Err(Failure::Unschedulable(anew))) =
                    (told.0, anew)
                else {
                    panic!("{} fits after all", own.key())
                };
                assert_eq!(told.reasons, anew.reasons, "{}", own.key());
                assert_eq!(told.resolvable, anew.resolvable, "{}", own.key());
                refused += 1;
            }
            let node = usize::try_from(dice.below(12)).unwrap();
            match dice.below(6) {
                0 | 1 => {
                    let name = scenario.nodes[node]["metadata"]["name"].as_str().unwrap();
                    cache.nominate(name, waiting(pod, number));
                    made += 1;
                }
                2 => {
                    let given_up = dice.below(number as u64 + 1);
                    cache.clear_nomination(&format!("w{given_up}"));
                }
                _ => {}
            }
            if dice.percent(40) {
                disturb(&mut dice, &mut cache, &mut scenario, &mut placed);
            }
        }
    }
    assert!(followed > 50 && refused > 100 && made > 200, "{followed} {refused} {made}");
}

const SETS: u64 = 40;

/// Pods of many controllers, some of them also behind a Service.
fn owned(scenario: &mut Scenario, dice: &mut Dice) -> ClusterObjects {
    for pod in &mut scenario.pods {
        let set = format!("set-{}", dice.below(SETS));
        pod["metadata"]["namespace"] = json!("red");
        pod["metadata"]["labels"] = json!({"app": set, "tier": dice.pick(&["front", "back"])});
        if dice.percent(90) {
            pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet",
                "name": set, "uid": set, "controller": true}]);
        }
    }
    let set = |index: u64| {
        let name = format!("set-{index}");
        let labels = json!({"app": name});
        let set: ReplicaSet = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "red", "uid": name},
            "spec": {"selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}}},
        }))
        .unwrap();
        Arc::new(set)
    };
    let service = |tier: &str| -> Arc<Service> {
        let service = json!({"metadata": {"name": tier, "namespace": "red"}, "spec": {"selector": {"tier": tier}}});
        Arc::new(serde_json::from_value(service).unwrap())
    };
    ClusterObjects {
        replica_sets: Arc::new((0..SETS).map(set).collect::<Vec<_>>()),
        services: Arc::new(vec![service("front")]),
        ..ClusterObjects::default()
    }
}

#[tokio::test]
async fn pods_of_many_controllers_are_followed_together() {
    let (mut followed, mut all, mut quiet) = (0, 0, 0);
    for seed in 1..=6 {
        let mix = Mix {
            classes: 2,
            node_affinity: 30,
            pod_affinity: 0,
            spread: 0,
            priority: 0,
            ..Mix::default()
        };
        let mut scenario = Scenario::new(seed, 18, 240, mix);
        let mut dice = Dice::new(seed);
        let objects = owned(&mut scenario, &mut dice);
        let framework = framework(seed);
        let mut cache = Cache::with_objects(Arc::new(objects));
        scenario.nodes.iter().for_each(|own| cache.set_node(node(own)));
        let (mut placed, mut shy) = (Vec::new(), None);
        for (number, pod) in scenario.pods.clone().iter().enumerate() {
            let own = info(&completed(pod));
            if let Some((node, by_class)) = decide(&framework, &cache, &own).await {
                followed += usize::from(by_class);
                all += 1;
                quiet += usize::from(by_class && shy.is_some());
                cache.assume(&node, own.clone());
                if dice.percent(50) {
                    cache.set_pod(&node, info(&completed(pod)));
                }
                placed.push(own);
            }
            if number % 3 == 0 {
                disturb(&mut dice, &mut cache, &mut scenario, &mut placed);
            }
            match number % 60 {
                // While one pod wants to be away from others, what sets classes apart is not only whom they count.
                30 => {
                    let mut pod = pod.clone();
                    pod["metadata"]["name"] = json!("s9999");
                    let term = json!({"labelSelector": {"matchLabels": {"tier": "front"}}, "topologyKey": "kubernetes.io/hostname"});
                    pod["spec"]["affinity"] = json!({"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}});
                    let pod = info(&completed(&pod));
                    let name = scenario.nodes[0]["metadata"]["name"].as_str().unwrap();
                    cache.assume(name, pod.clone());
                    shy = Some(pod);
                }
                45 => {
                    if let Some(pod) = shy.take() {
                        cache.remove_pod(pod.uid());
                    }
                }
                _ => {}
            }
        }
    }
    // The classes are far too many to be followed each for itself.
    assert!(all > 300 && followed * 4 > all * 3, "{followed} of {all}, {quiet} beside the shy one");
}
