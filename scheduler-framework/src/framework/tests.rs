mod alike;
mod points;

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

/// Never done with what has to be done before a pod is bound.
#[derive(Debug)]
struct Slow;

impl SchedulerPlugin for Slow {
    fn name(&self) -> &'static str {
        "Slow"
    }

    fn as_pre_bind(&self) -> Option<&dyn crate::PreBind> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl crate::PreBind for Slow {
    async fn pre_bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> Result<(), crate::Objection> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_pod_that_is_made_ready_says_where_it_will_be_and_gives_way_to_others() {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let profile = Profile::default().add(Bound, 1).add(Slow, 1);
    let slow = Framework::new(profile, clock, Seed::new(7)).unwrap();
    let (own, state) = (pod(json!({}), "1"), CycleState::new());
    assert_eq!(slow.announces(&state, &own, "a", &Permission::Granted), Ok(true));
    let at_once = framework().announces(&state, &own, "a", &Permission::Granted);
    assert_eq!(at_once, Ok(false), "bound at once");
    let preempt = async {
        while !slow.preempt(own.uid()) {
            tokio::task::yield_now().await;
        }
    };
    let (bound, ()) = tokio::join!(slow.bind(&state, &own, "a"), preempt);
    let preempted = "running PreBind plugin \"Slow\": preempted by DefaultPreemption".to_owned();
    assert_eq!(bound, Err(Setback::Failed(preempted)));
    assert!(!slow.preempt(own.uid()), "it has given way already");
    assert_eq!(framework().bind(&state, &own, "a").await, Ok(()));
}

/// Cannot say whether there is something to do before a pod is bound.
#[derive(Debug)]
struct Unsure;

impl SchedulerPlugin for Unsure {
    fn name(&self) -> &'static str {
        "Unsure"
    }

    fn as_permit(&self) -> Option<&dyn crate::Permit> {
        Some(self)
    }

    fn as_pre_bind(&self) -> Option<&dyn crate::PreBind> {
        Some(self)
    }
}

impl crate::Permit for Unsure {
    fn permit(&self, _: &mut CycleState, _: &PodInfo, _: &str) -> crate::PermitVerdict {
        crate::PermitVerdict::Wait(std::time::Duration::from_secs(60))
    }
}

#[async_trait::async_trait]
impl crate::PreBind for Unsure {
    fn preflight(&self, _: &CycleState, _: &PodInfo, _: &str) -> crate::PreBindVerdict {
        crate::PreBindVerdict::Error("no idea".to_owned())
    }

    async fn pre_bind(&self, _: &CycleState, _: &PodInfo, _: &str) -> Result<(), crate::Objection> {
        Err(crate::Objection::Unschedulable("asked all the same".to_owned()))
    }
}

#[tokio::test]
async fn a_plugin_that_cannot_say_what_it_has_to_do_ends_the_binding() {
    let framework = || {
        let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
        let profile = Profile::default().add(Bound, 1).add(Unsure, 1);
        Framework::new(profile, clock, Seed::new(7)).unwrap()
    };
    let (own, mut state) = (pod(json!({}), "1"), CycleState::new());
    let expecting = framework();
    let permission = expecting.permit(&mut state, &own, "a").unwrap();
    assert_eq!(expecting.waiting(), [own.uid()]);
    let why = "running PreBindPreFlight \"Unsure\": no idea".to_owned();
    assert_eq!(expecting.announces(&state, &own, "a", &permission), Err(Setback::Failed(why)));
    assert!(expecting.waiting().is_empty(), "nobody waits for its permission any more");
    let silent = framework().expecting(false);
    assert_eq!(silent.announces(&state, &own, "a", &Permission::Granted), Ok(false));
    let refused = Setback::Refused("asked all the same".to_owned());
    assert_eq!(silent.bind(&state, &own, "a").await, Err(refused));
}

/// Lets a pod go where its annotation says; asked late, it may say so for each of several pods alike.
#[derive(Debug)]
struct Disks;

impl SchedulerPlugin for Disks {
    fn name(&self) -> &'static str {
        "Disks"
    }

    fn as_filter(&self) -> Option<&dyn crate::Filter> {
        Some(self)
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }
}

impl crate::Filter for Disks {
    fn filter(&self, _: &CycleState, pod: &PodInfo, node: &NodeInfo) -> crate::FilterVerdict {
        let wanted = pod.pod().metadata.annotations.as_ref().and_then(|own| own.get("disk"));
        match node.label("disk") == wanted.map(String::as_str) {
            true => crate::FilterVerdict::Fits,
            false => crate::FilterVerdict::Unschedulable(vec!["wrong disk".to_owned()]),
        }
    }
}

impl crate::Track for Disks {
    fn track(&self, _: &PodInfo, _: &Snapshot) -> crate::Tracking {
        crate::Tracking::Late
    }
}

fn wanting(number: usize, disk: &str) -> Arc<PodInfo> {
    let metadata = json!({"name": format!("p{number}"), "namespace": "d", "uid": format!("u{number}"),
        "annotations": {"disk": disk}});
    let requests = json!({"cpu": "1", "memory": "1Gi"});
    let value = json!({"metadata": metadata, "spec": {"containers": [
        {"name": "c", "resources": {"requests": requests}}]}});
    Arc::new(PodInfo::new(Arc::new(serde_json::from_value(value).unwrap())))
}

#[tokio::test]
async fn plugins_asked_late_decide_as_a_full_pass_would() {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let profile = Profile::default().add(Bound, 1).add(Disks, 1);
    let framework = Framework::new(profile, clock, Seed::new(7)).unwrap();
    let mut cache = crate::Cache::default();
    for index in 0..30 {
        // Some nodes are better avoided, so that the scores hang on which nodes are left.
        let taints = if index % 3 == 0 {
            json!([{"key": "soft", "effect": "PreferNoSchedule"}])
        } else {
            json!([])
        };
        let value = json!({"metadata": {"name": format!("n{index}"), "labels": {"disk": format!("d{}", index % 5)}},
            "spec": {"taints": taints},
            "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "4"}}});
        cache.set_node(Arc::new(serde_json::from_value(value).unwrap()));
    }
    let mut followed = 0;
    for number in 0..88 {
        let own = wanting(number, &format!("d{}", number % 4));
        let snapshot = cache.snapshot();
        let trace = framework.trace(&own, &snapshot).unwrap();
        let placement = framework.schedule(&own, &snapshot).await.unwrap();
        assert!(trace.best.contains(&placement.node), "{} {trace}", placement.node);
        followed += usize::from(placement.followed);
        drop(snapshot);
        cache.assume(&placement.node, own);
    }
    assert_eq!(followed, 87, "all but the first");
    let none = wanting(99, "none");
    let Err(Failure::Unschedulable(own)) = framework.schedule(&none, &cache.snapshot()).await
    else {
        panic!("there is no such disk")
    };
    // Of the nodes with other disks those that are full are not asked.
    assert_eq!(own.reasons.get("wrong disk"), Some(&14), "{own}");
}

/// As [`Disks`], followed: pods that name other disks are signed otherwise.
#[derive(Debug)]
struct SignedDisks;

impl SchedulerPlugin for SignedDisks {
    fn name(&self) -> &'static str {
        "SignedDisks"
    }

    fn as_filter(&self) -> Option<&dyn crate::Filter> {
        Some(&Disks)
    }

    fn as_track(&self) -> Option<&dyn crate::Track> {
        Some(self)
    }

    fn as_sign(&self) -> Option<&dyn crate::Sign> {
        Some(self)
    }
}

fn disk_of(pod: &PodInfo) -> Option<String> {
    pod.pod().metadata.annotations.as_ref()?.get("disk").cloned()
}

impl crate::Track for SignedDisks {
    fn track(&self, pod: &PodInfo, _: &Snapshot) -> crate::Tracking {
        let wanted = disk_of(pod);
        let fits =
            move |node: &NodeInfo| (node.label("disk") == wanted.as_deref()).then_some(0_i64);
        crate::Tracking::Alone(Box::new(fits))
    }
}

impl crate::Sign for SignedDisks {
    fn sign(&self, pod: &PodInfo) -> Option<Vec<u8>> {
        Some(disk_of(pod)?.into_bytes())
    }
}

#[tokio::test]
async fn pods_that_a_plugin_signs_otherwise_are_not_taken_for_alike() {
    let clock = Arc::new(PausedClock::starting_at("2026-01-01T00:00:00Z".parse().unwrap()));
    let profile = Profile::default().add(Bound, 1).add(SignedDisks, 1);
    let framework = Framework::new(profile, clock, Seed::new(7)).unwrap();
    let mut cache = crate::Cache::default();
    for index in 0..4 {
        let labels = json!({"disk": format!("d{}", index % 2)});
        let value = json!({"metadata": {"name": format!("n{index}"), "labels": labels},
            "status": {"allocatable": {"cpu": "32", "memory": "64Gi", "pods": "30"}}});
        cache.set_node(Arc::new(serde_json::from_value(value).unwrap()));
    }
    let mut followed = 0;
    for number in 0..20 {
        let disk = format!("d{}", number % 2);
        let (own, snapshot) = (wanting(number, &disk), cache.snapshot());
        let placement = framework.schedule(&own, &snapshot).await.unwrap();
        let node = snapshot.node(&placement.node).unwrap();
        assert_eq!(node.label("disk"), Some(disk.as_str()), "{number}");
        followed += usize::from(placement.followed);
        drop(snapshot);
        cache.assume(&placement.node, own);
    }
    assert_eq!(followed, 18, "all but the first of each");
}

#[tokio::test]
async fn pods_alike_are_told_the_same_until_a_node_changes() {
    let full = |name: &str, number| {
        let mut own = NodeInfo::clone(&node(name, json!({}), "4"));
        own.add_pod(wanting(number, "any"));
        Arc::new(own)
    };
    let closed = node("b", json!({"unschedulable": true}), "4");
    let mut nodes = vec![full("a", 1), closed, full("c", 2)];
    let (framework, own) = (framework(), pod(json!({}), "4"));
    // Of the first nothing is kept, for the second it is begun, and the third is told what is known.
    for round in 0..3 {
        let outcome = framework.schedule(&own, &Snapshot::new(nodes.clone())).await;
        let Err(Failure::Unschedulable(told)) = outcome else { panic!("it fits nowhere") };
        assert_eq!(
            told.to_string(),
            "0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu. \
             no new claims to deallocate, preemption: 0/3 nodes are available: \
             1 Preemption is not helpful for scheduling, \
             2 No preemption victims found for incoming pod."
        );
        assert_eq!(told.resolvable, NodeSet::from_iter([0, 2]), "round {round}");
        assert_eq!(told.plugins, BTreeSet::from(["NodeResourcesFit", "NodeUnschedulable"]));
    }
    assert!(Arc::make_mut(&mut nodes[2]).remove_pod("u2"));
    let placement = framework.schedule(&own, &Snapshot::new(nodes)).await.unwrap();
    assert_eq!((placement.node.as_str(), placement.evaluated), ("c", 3));
}

/// A volume that can be used in one zone, and the claim it is bound to.
fn bound(number: usize) -> (Value, Value) {
    let (volume, claim) = (format!("v{number}"), format!("c{number}"));
    let zone = json!({"key": "zone", "operator": "In", "values": [format!("z{}", number % 3)]});
    let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [zone]}]}});
    let modes = json!(["ReadWriteOnce"]);
    let own = json!({"metadata": {"name": volume}, "spec": {"accessModes": modes,
        "capacity": {"storage": "1Gi"}, "nodeAffinity": affinity,
        "claimRef": {"namespace": "d", "name": claim}}, "status": {"phase": "Bound"}});
    let annotations = json!({"pv.kubernetes.io/bind-completed": "yes"});
    let of = json!({"metadata": {"name": claim, "namespace": "d", "annotations": annotations},
        "spec": {"accessModes": modes, "volumeName": volume, "storageClassName": "",
            "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Bound"}});
    (own, of)
}

fn typed<K: serde::de::DeserializeOwned>(values: Vec<Value>) -> Arc<Vec<Arc<K>>> {
    let one = |own| Arc::new(serde_json::from_value(own).unwrap());
    Arc::new(values.into_iter().map(one).collect())
}

#[tokio::test]
async fn pods_that_differ_by_their_claims_only_are_decided_as_in_a_full_pass() {
    let framework = framework();
    let (volumes, claims) = (0..30).map(bound).unzip();
    let objects = crate::ClusterObjects {
        volumes: typed(volumes),
        claims: typed(claims),
        ..crate::ClusterObjects::default()
    };
    let mut cache = crate::Cache::with_objects(Arc::new(objects));
    for index in 0..12 {
        let value = json!({"metadata": {"name": format!("n{index}"), "labels": {"zone": format!("z{}", index % 3)}},
            "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "9"}}});
        cache.set_node(Arc::new(serde_json::from_value(value).unwrap()));
    }
    for number in 0..30 {
        let claim = json!({"claimName": format!("c{number}")});
        let own = pod(json!({"volumes": [{"name": "v", "persistentVolumeClaim": claim}]}), "1");
        let mut named = own.pod().as_ref().clone();
        named.metadata.uid = Some(format!("u{number}"));
        let own = Arc::new(PodInfo::new(Arc::new(named)));
        let snapshot = cache.snapshot();
        let trace = framework.trace(&own, &snapshot).unwrap();
        let placement = framework.schedule(&own, &snapshot).await.unwrap();
        assert!(trace.best.contains(&placement.node), "{} {trace}", placement.node);
        assert_eq!(trace.nodes.iter().filter(|node| node.fits).count(), 4, "one zone only");
        assert_eq!(placement.followed, number > 0);
        drop(snapshot);
        cache.assume(&placement.node, own);
    }
}
