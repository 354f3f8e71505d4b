//! Jobs whose pods are scheduled together.

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::GroupVersionKind,
};
use kubeplane::{
    api::ApiOptions,
    testing::{TestCluster, TestClusterBuilder, run},
};
use serde_json::{Value, json};
use std::time::Duration;

struct Kinds {
    jobs: Api<DynamicObject>,
    workloads: Api<DynamicObject>,
    groups: Api<DynamicObject>,
    pods: Api<DynamicObject>,
    events: Api<DynamicObject>,
}

impl Kinds {
    fn of(cluster: &TestCluster) -> Self {
        let api = |group: &str, version: &str, kind: &str| {
            let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
            Api::default_namespaced_with(cluster.client(), &resource)
        };
        Self {
            jobs: api("batch", "v1", "Job"),
            workloads: api("scheduling.k8s.io", "v1alpha2", "Workload"),
            groups: api("scheduling.k8s.io", "v1alpha2", "PodGroup"),
            pods: api("", "v1", "Pod"),
            events: api("", "v1", "Event"),
        }
    }

    /// Makes a Job that is indexed, but for what is said here.
    async fn make_job(&self, name: &str, more: Value) {
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        let mut spec = json!({"completionMode": "Indexed", "parallelism": 2, "completions": 2,
            "template": {"spec": pod}});
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let job = json!({"metadata": {"name": name}, "spec": spec});
        let job = serde_json::from_value(job).unwrap();
        self.jobs.create(&PostParams::default(), &job).await.unwrap();
    }

    async fn change(&self, job: &str, spec: Value) -> kube::Result<DynamicObject> {
        let patch = Patch::Merge(json!({"spec": spec}));
        self.jobs.patch(job, &PatchParams::default(), &patch).await
    }

    /// The pods of a Job.
    async fn pods_of(&self, job: &str) -> Vec<DynamicObject> {
        let all = all(&self.pods).await.into_iter();
        all.filter(|pod| name(pod).starts_with(&format!("{job}-"))).collect()
    }
}

async fn all(api: &Api<DynamicObject>) -> Vec<DynamicObject> {
    api.list(&ListParams::default()).await.unwrap().items
}

fn name(object: &DynamicObject) -> &str {
    object.metadata.name.as_deref().unwrap()
}

/// Kind, name, and whether it controls.
fn owners(object: &DynamicObject) -> Vec<(&str, &str, bool)> {
    let owners = object.metadata.owner_references.iter().flatten();
    owners.map(|own| (&*own.kind, &*own.name, own.controller == Some(true))).collect()
}

async fn play(cluster: TestCluster) {
    let kinds = Kinds::of(&cluster);
    cluster.advance(Duration::from_secs(30)).await;
    kinds.make_job("crew", json!({})).await;
    // Those of which not all pods are there at once, which have one, or that others put into a group.
    kinds.make_job("line", json!({"completions": 3})).await;
    kinds.make_job("crowd", json!({"completionMode": "NonIndexed"})).await;
    kinds.make_job("alone", json!({"parallelism": 1, "completions": 1})).await;
    let chosen = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}],
        "schedulingGroup": {"podGroupName": "theirs"}});
    kinds.make_job("placed", json!({"template": {"spec": chosen}})).await;
    cluster.advance(Duration::from_secs(30)).await;

    let workloads = all(&kinds.workloads).await;
    assert_eq!(workloads.len(), 1, "{workloads:?}");
    let workload = name(&workloads[0]);
    assert!(workload.starts_with("crew-"), "{workload}");
    assert_eq!(owners(&workloads[0]), [("Job", "crew", true)]);
    let gang = json!({"gang": {"minCount": 2}});
    let spec = &workloads[0].data["spec"];
    let of = json!({"apiGroup": "batch", "kind": "Job", "name": "crew"});
    assert_eq!(spec["controllerRef"], of);
    assert_eq!(spec["podGroupTemplates"][0]["name"], "crew-pgt-0");
    assert_eq!(spec["podGroupTemplates"][0]["schedulingPolicy"], gang);

    let groups = all(&kinds.groups).await;
    assert_eq!(groups.len(), 1, "{groups:?}");
    let group = name(&groups[0]);
    assert!(group.starts_with(&format!("{workload}-crew-pgt-0-")), "{group}");
    assert_eq!(owners(&groups[0]), [("Job", "crew", true), ("Workload", workload, false)]);
    let reference = json!({"workloadName": workload, "podGroupTemplateName": "crew-pgt-0"});
    let spec = &groups[0].data["spec"];
    assert_eq!(spec["podGroupTemplateRef"], json!({"workload": reference}));
    assert_eq!(spec["schedulingPolicy"], gang);

    let events = all(&kinds.events).await;
    let told = events.iter().find(|event| event.data["reason"] == "WorkloadCreated").unwrap();
    assert_eq!(told.data["message"], format!("Created Workload {workload} for Job crew"));

    let in_group = json!({"podGroupName": group});
    let member = |pod: &DynamicObject| {
        pod.data["spec"]["schedulingGroup"] == in_group
            && owners(pod) == [("Job", "crew", true), ("PodGroup", group, false)]
    };
    let pods = kinds.pods_of("crew").await;
    assert!(pods.len() == 2 && pods.iter().all(member), "{pods:?}");
    for (job, count, group) in [
        ("line", 2, Value::Null),
        ("crowd", 2, Value::Null),
        ("alone", 1, Value::Null),
        ("placed", 2, json!({"podGroupName": "theirs"})),
    ] {
        let pods = kinds.pods_of(job).await;
        assert_eq!(pods.len(), count, "{job}");
        for pod in &pods {
            assert_eq!(pod.data["spec"]["schedulingGroup"], group, "{job}");
            assert_eq!(owners(pod), [("Job", job, true)]);
        }
    }

    // One that is made later joins the same group.
    let gone = DeleteParams::default().grace_period(0);
    kinds.pods.delete(name(&pods[0]), &gone).await.unwrap();
    cluster.advance(Duration::from_secs(120)).await;
    let pods = kinds.pods_of("crew").await;
    assert!(pods.len() == 2 && pods.iter().all(member), "{pods:?}");
    assert_eq!((all(&kinds.workloads).await.len(), all(&kinds.groups).await.len()), (1, 1));
}

const BOTH: &str = "GenericWorkload=true,WorkloadWithJob=true";

fn builder(gates: &str) -> TestClusterBuilder {
    let options = ApiOptions { features: gates.parse().unwrap(), ..ApiOptions::default() };
    TestCluster::builder().options(options).controllers().paused()
}

#[test]
fn a_job_that_needs_all_its_pods_at_once_has_a_workload_and_a_group() {
    run(builder(BOTH), play);
}

async fn wait(cluster: TestCluster) {
    let kinds = Kinds::of(&cluster);
    cluster.advance(Duration::from_secs(30)).await;
    kinds.make_job("crew", json!({"suspend": true})).await;
    cluster.advance(Duration::from_secs(30)).await;
    let (workloads, groups) = (all(&kinds.workloads).await, all(&kinds.groups).await);
    assert_eq!((workloads.len(), groups.len()), (1, 1));
    assert!(kinds.pods_of("crew").await.is_empty());
    kinds.change("crew", json!({"suspend": false})).await.unwrap();
    cluster.advance(Duration::from_secs(30)).await;
    let pods = kinds.pods_of("crew").await;
    assert_eq!(pods.len(), 2);
    let group = json!({"podGroupName": name(&groups[0])});
    assert!(pods.iter().all(|pod| pod.data["spec"]["schedulingGroup"] == group), "{pods:?}");
    let kept = all(&kinds.workloads).await;
    assert_eq!((kept.len(), &kept[0].metadata.uid), (1, &workloads[0].metadata.uid));
}

#[test]
fn a_suspended_job_has_its_group_before_its_pods_and_keeps_it() {
    run(builder(BOTH), wait);
}

async fn refuse(cluster: TestCluster) {
    let kinds = Kinds::of(&cluster);
    cluster.advance(Duration::from_secs(30)).await;
    kinds.make_job("crew", json!({})).await;
    kinds.make_job("crowd", json!({"completionMode": "NonIndexed"})).await;
    cluster.advance(Duration::from_secs(30)).await;
    let group = name(&all(&kinds.groups).await[0]).to_owned();
    let refused = kinds.change("crew", json!({"parallelism": 1})).await.unwrap_err().to_string();
    let why = format!(
        "jobs.batch \"crew\" is forbidden: cannot change parallelism for a Job referencing \
         gang-scheduled PodGroup \"{group}\""
    );
    assert!(refused.contains(&why), "{refused}");
    kinds.change("crowd", json!({"parallelism": 1})).await.unwrap();
}

#[test]
fn how_many_pods_are_scheduled_together_does_not_change() {
    run(builder(BOTH), refuse);
}

async fn allow(cluster: TestCluster) {
    let kinds = Kinds::of(&cluster);
    cluster.advance(Duration::from_secs(30)).await;
    kinds.make_job("crew", json!({})).await;
    cluster.advance(Duration::from_secs(30)).await;
    kinds.change("crew", json!({"parallelism": 1})).await.unwrap();
}

#[test]
fn others_may_change_how_many_run_at_once() {
    for gates in ["GenericWorkload=true", ""] {
        run(builder(gates), allow);
    }
}
