//! Jobs whose pods are scheduled together.

use kube::{
    Api,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams},
    core::GroupVersionKind,
};
use kubeplane::{
    api::ApiOptions,
    testing::{TestCluster, run},
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

    async fn make_job(&self, name: &str, completions: i64) {
        let pod = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        let job = json!({"metadata": {"name": name}, "spec": {"completionMode": "Indexed",
            "parallelism": 2, "completions": completions, "template": {"spec": pod}}});
        let job = serde_json::from_value(job).unwrap();
        self.jobs.create(&PostParams::default(), &job).await.unwrap();
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
    kinds.make_job("crew", 2).await;
    // Not all of its pods are there at once.
    kinds.make_job("line", 3).await;
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
    let others = kinds.pods_of("line").await;
    assert_eq!(others.len(), 2);
    for pod in &others {
        assert_eq!(pod.data["spec"]["schedulingGroup"], Value::Null);
    }

    // One that is made later joins the same group.
    let gone = DeleteParams::default().grace_period(0);
    kinds.pods.delete(name(&pods[0]), &gone).await.unwrap();
    cluster.advance(Duration::from_secs(120)).await;
    let pods = kinds.pods_of("crew").await;
    assert!(pods.len() == 2 && pods.iter().all(member), "{pods:?}");
    assert_eq!((all(&kinds.workloads).await.len(), all(&kinds.groups).await.len()), (1, 1));
}

#[test]
fn a_job_that_needs_all_its_pods_at_once_has_a_workload_and_a_group() {
    let features = "GenericWorkload=true,WorkloadWithJob=true".parse().unwrap();
    let options = ApiOptions { features, ..ApiOptions::default() };
    run(TestCluster::builder().options(options).controllers().paused(), play);
}
