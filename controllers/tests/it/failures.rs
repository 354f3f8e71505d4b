use crate::cluster::{Cluster, NODE, eventually, trickle};
use async_trait::async_trait;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{Event, Node, Pod},
};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use kubeplane_clock::PausedClock;
use kubeplane_core::{
    Definition,
    admission::{Admission, Operation, Request},
    status::{ApiError, ApiResult},
};
use serde_json::json;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Refuses every pod while it is on.
#[derive(Debug, Clone, Default)]
struct NoPods(Arc<AtomicBool>);

#[async_trait]
impl Admission for NoPods {
    fn name(&self) -> &'static str {
        "NoPods"
    }

    fn handles(&self, operation: Operation, definition: &Definition, subresource: &str) -> bool {
        operation == Operation::Create && definition.plural == "pods" && subresource.is_empty()
    }

    async fn validate(&self, request: &Request<'_>) -> ApiResult<()> {
        if self.0.load(Ordering::SeqCst) {
            return Err(ApiError::forbidden(
                &request.definition.resource(),
                request.name,
                "no pods today",
            ));
        }
        Ok(())
    }
}

fn web(deadline: u32) -> serde_json::Value {
    json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2,
            "progressDeadlineSeconds": deadline,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"nodeName": NODE, "containers": [{"name": "c", "image": "i"}]},
            },
        },
    })
}

async fn condition(api: &Api<Deployment>, kind: &str) -> Result<(String, String, String), String> {
    let status =
        api.get("web").await.map_err(|error| error.to_string())?.status.unwrap_or_default();
    let found = status.conditions.iter().flatten().find(|condition| condition.type_ == kind);
    let found = found.ok_or_else(|| format!("{status:?}"))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok((found.status.clone(), text(&found.reason), text(&found.message)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_are_refused_show_in_the_status_and_are_tried_again() {
    let refusing = NoPods::default();
    refusing.0.store(true, Ordering::SeqCst);
    let step = refusing.clone();
    let cluster = Cluster::with(kubeplane_clock::real(), |builder| builder.admit(step))
        .await
        .with_kubelet()
        .await;
    cluster.create::<Deployment>(web(600)).await;
    let api = cluster.api::<Deployment>();
    let failure = eventually("the failure is told", || condition(&api, "ReplicaFailure")).await;
    assert_eq!((failure.0.as_str(), failure.1.as_str()), ("True", "FailedCreate"));
    assert!(failure.2.contains("no pods today"), "{}", failure.2);
    eventually("an event tells it too", || async {
        let events = cluster.list::<Event>().await;
        let told = events.iter().find(|event| event.reason.as_deref() == Some("FailedCreate"));
        let message = told.and_then(|event| event.message.clone()).unwrap_or_default();
        if message.starts_with("Error creating: ") { Ok(()) } else { Err(format!("{events:?}")) }
    })
    .await;
    refusing.0.store(false, Ordering::SeqCst);
    eventually("the pods come", || async {
        let pods = cluster.list::<Pod>().await.len();
        let failing = condition(&api, "ReplicaFailure").await.is_ok();
        if pods == 2 && !failing { Ok(()) } else { Err(format!("{pods} pods, failing: {failing}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollout_without_progress_misses_its_deadline_and_recovers() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    // Nobody makes pods ready.
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
    cluster.create::<Node>(json!({"metadata": {"name": NODE}})).await;
    cluster.create::<Deployment>(web(60)).await;
    let api = cluster.api::<Deployment>();
    eventually("the pods are made", || async {
        let status = api.get("web").await.unwrap().status.unwrap_or_default();
        if status.replicas == Some(2) { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let late = eventually("the deadline passes", || async {
        clock.advance(Duration::from_secs(5));
        let (status, reason, message) = condition(&api, "Progressing").await?;
        if reason == "ProgressDeadlineExceeded" { Ok((status, message)) } else { Err(reason) }
    })
    .await;
    assert_eq!(late.0, "False");
    assert!(late.1.ends_with("has timed out progressing."), "{}", late.1);

    let pods = cluster.api::<Pod>();
    for pod in cluster.list::<Pod>().await {
        let ready = json!({"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}});
        let name = pod.metadata.name.unwrap();
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(ready)).await.unwrap();
    }
    eventually("it completes after all", || async {
        clock.advance(Duration::from_secs(1));
        let (_, reason, _) = condition(&api, "Progressing").await?;
        if reason == "NewReplicaSetAvailable" { Ok(()) } else { Err(reason) }
    })
    .await;
}
