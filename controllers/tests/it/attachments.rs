//! Volumes of drivers are attached where pods need them.

use crate::{
    cluster::{Cluster, NODE, eventually, gone, trickle},
    volumes::{claim, make, told, until, volume},
    world::World,
};
use k8s_openapi::api::{
    core::v1::{Event, Node, PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::{CSIDriver, VolumeAttachment},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use kubeplane_clock::{Clock, PausedClock};
use kubeplane_controllers::Settings;
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};

/// Who binds volumes and has them attached, and nobody else.
const SELECTED: &str =
    "persistentvolume-binder-controller,persistentvolume-attach-detach-controller";
const UNIQUE: &str = "kubernetes.io/csi/disks.example.com^disk-1";

async fn node(cluster: &Cluster, name: &str) {
    let managed = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
    make::<Node>(cluster, json!({"metadata": {"name": name, "annotations": managed}})).await;
}

/// A claim `data` with a volume that a driver attaches.
async fn disk(cluster: &Cluster, driver: &str) {
    let more = json!({"hostPath": null, "csi": {"driver": driver, "volumeHandle": "disk-1"}});
    make::<PersistentVolume>(cluster, volume("disk", "5Gi", more)).await;
    cluster.create::<PersistentVolumeClaim>(claim("data", json!({"volumeName": "disk"}))).await;
}

fn user(name: &str, node: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {
        "nodeName": node, "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}})
}

async fn attachment(cluster: &Cluster, node: &str) -> VolumeAttachment {
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    eventually(&format!("an attachment to {node}"), || async {
        let found = all.list(&Default::default()).await.unwrap().items;
        let own = found.iter().find(|own| own.spec.node_name == node).cloned();
        own.ok_or_else(|| format!("{found:?}"))
    })
    .await
}

/// The driver's part.
async fn answer(cluster: &Cluster, name: &str, status: Value) {
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"status": status}));
    all.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

/// The kubelet's part.
async fn in_use(cluster: &Cluster, node: &str, volumes: &[&str]) {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let patch = Patch::Merge(json!({"status": {"volumesInUse": volumes}}));
    nodes.patch_status(node, &PatchParams::default(), &patch).await.unwrap();
}

/// Waits for lines of metrics.
async fn counted(cluster: &Cluster, lines: &[String]) {
    eventually("it is counted", || async {
        let told = cluster.metrics.encode_plain();
        let all = lines.iter().all(|line| told.lines().any(|own| own == line));
        if all { Ok(()) } else { Err(told) }
    })
    .await;
}

fn reports(node: &Node) -> Vec<String> {
    let status = node.status.iter();
    status
        .flat_map(|status| status.volumes_attached.iter().flatten())
        .map(|own| own.name.clone())
        .collect()
}

async fn end(cluster: &Cluster, pod: &str) {
    let pods = cluster.api::<Pod>();
    pods.delete(pod, &DeleteParams::default().grace_period(0)).await.unwrap();
    gone(&pods, pod).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_goes_from_node_to_node_and_is_never_on_two() {
    let cluster = Cluster::start().await;
    for name in [NODE, "node-2"] {
        node(&cluster, name).await;
    }
    disk(&cluster, "disks.example.com").await;
    cluster.create::<Pod>(user("first", NODE)).await;
    let own = attachment(&cluster, NODE).await;
    assert_eq!(own.spec.attacher, "disks.example.com");
    assert_eq!(own.spec.source.persistent_volume_name.as_deref(), Some("disk"));
    let name = own.name_any();
    answer(&cluster, &name, json!({"attached": false, "attachError": {"message": "no such disk"}}))
        .await;
    let text = "AttachVolume.Attach failed for volume \"disk\" : no such disk";
    told(&cluster, "first", "FailedAttachVolume", text).await;
    answer(&cluster, &name, json!({"attached": true, "attachError": null})).await;
    let text = "AttachVolume.Attach succeeded for volume \"disk\" ";
    told(&cluster, "first", "SuccessfulAttachVolume", text).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    until(&nodes, NODE, "the kubelet may mount", |node| reports(node) == [UNIQUE]).await;
    in_use(&cluster, NODE, &[UNIQUE]).await;

    cluster.create::<Pod>(user("second", "node-2")).await;
    let text = "Multi-Attach error for volume \"disk\" Volume is already used by pod(s) first";
    told(&cluster, "second", "FailedAttachVolume", text).await;
    end(&cluster, "first").await;
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    assert!(
        all.get(&name).await.unwrap().metadata.deletion_timestamp.is_none(),
        "it is still mounted"
    );
    in_use(&cluster, NODE, &[]).await;
    gone(&all, &name).await;
    until(&nodes, NODE, "the kubelet may not mount", |node| reports(node).is_empty()).await;
    attachment(&cluster, "node-2").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_well_loses_its_volumes_after_six_minutes() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    let cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
    node(&cluster, NODE).await;
    disk(&cluster, "disks.example.com").await;
    cluster.create::<Pod>(user("user", NODE)).await;
    let name = attachment(&cluster, NODE).await.name_any();
    answer(&cluster, &name, json!({"attached": true})).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    until(&nodes, NODE, "the kubelet may mount", |node| reports(node) == [UNIQUE]).await;
    in_use(&cluster, NODE, &[UNIQUE]).await;
    end(&cluster, "user").await;
    let start = clock.elapsed();
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    eventually("it is taken away", || async {
        clock.advance(Duration::from_secs(5));
        match all.get_opt(&name).await.unwrap() {
            None => Ok(()),
            Some(own) => Err(format!("{own:?}")),
        }
    })
    .await;
    assert!(clock.elapsed() - start >= Duration::from_secs(360));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_well_may_keep_its_volumes_until_it_is_out_of_service() {
    let clock = PausedClock::starting_at(kubeplane_clock::real().now());
    let _time = trickle(&clock);
    let mut cluster = Cluster::with_clock(Arc::new(clock.clone())).await;
    let mut settings = Settings::default();
    settings.disable_force_detach_on_timeout = true;
    cluster.set(settings).await;
    node(&cluster, NODE).await;
    disk(&cluster, "disks.example.com").await;
    cluster.create::<Pod>(user("user", NODE)).await;
    let name = attachment(&cluster, NODE).await.name_any();
    answer(&cluster, &name, json!({"attached": true})).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    until(&nodes, NODE, "the kubelet may mount", |node| reports(node) == [UNIQUE]).await;
    in_use(&cluster, NODE, &[UNIQUE]).await;
    end(&cluster, "user").await;
    let end = clock.elapsed() + Duration::from_secs(1200);
    eventually("twenty minutes pass", || async {
        clock.advance(Duration::from_secs(5));
        if clock.elapsed() > end { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    assert!(all.get_opt(&name).await.unwrap().is_some());
    let taint = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    let patch = Patch::Merge(json!({"spec": {"taints": taint}}));
    nodes.patch(NODE, &PatchParams::default(), &patch).await.unwrap();
    gone(&all, &name).await;
    eventually("it is told why", || async {
        let told = cluster.metrics.encode();
        let forced = |reason: &str| {
            let line = format!("forced_detaches{{reason=\"{reason}\"}}");
            told.contains(&line)
        };
        assert!(!forced("timeout"), "{told}");
        if forced("out-of-service") { Ok(()) } else { Err(told.clone()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_driver_may_have_nothing_to_attach() {
    let cluster = Cluster::start().await;
    node(&cluster, NODE).await;
    let driver =
        json!({"metadata": {"name": "shares.example.com"}, "spec": {"attachRequired": false}});
    make::<CSIDriver>(&cluster, driver).await;
    disk(&cluster, "shares.example.com").await;
    cluster.create::<Pod>(user("user", NODE)).await;
    let claims = cluster.api::<PersistentVolumeClaim>();
    until(&claims, "data", "it is bound", |own| {
        kubeplane_workload::storage::claim_phase(own) == "Bound"
    })
    .await;
    // Another driver's volume on the same node shows that the first was looked at.
    let more =
        json!({"hostPath": null, "csi": {"driver": "disks.example.com", "volumeHandle": "d"}});
    make::<PersistentVolume>(&cluster, volume("other", "5Gi", more)).await;
    cluster.create::<PersistentVolumeClaim>(claim("other", json!({"volumeName": "other"}))).await;
    let mut pod = user("other", NODE);
    pod["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] = json!("other");
    cluster.create::<Pod>(pod).await;
    let own = attachment(&cluster, NODE).await;
    assert_eq!(own.spec.attacher, "disks.example.com");
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    assert_eq!(all.list(&Default::default()).await.unwrap().items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_driver_that_does_nothing_pods_are_told_after_two_minutes() {
    let world = World::selected(SELECTED).await;
    let cluster = &world.cluster;
    node(cluster, NODE).await;
    disk(cluster, "disks.example.com").await;
    let since = world.clock.elapsed();
    cluster.create::<Pod>(user("user", NODE)).await;
    let text = "AttachVolume.Attach failed for volume \"disk\" : timed out waiting for external-attacher of \
                disks.example.com CSI driver to attach volume disk-1";
    let events = cluster.api::<Event>();
    let check = async || {
        world.pass(1);
        let all = events.list(&Default::default()).await.unwrap().items;
        let told = all.iter().find(|event| event.message.as_deref() == Some(text));
        let reason = told.and_then(|event| event.reason.as_deref());
        if reason == Some("FailedAttachVolume") { Ok(()) } else { Err(format!("{all:?}")) }
    };
    world.eventually("it is told", check).await;
    assert!(world.clock.elapsed() - since >= Duration::from_secs(120));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_that_is_gone_did_not_use_goes_with_its_pods() {
    let world = World::selected(SELECTED).await;
    let _time = trickle(&world.clock);
    let cluster = &world.cluster;
    for name in [NODE, "node-2"] {
        node(cluster, name).await;
    }
    disk(cluster, "disks.example.com").await;
    cluster.create::<Pod>(user("user", NODE)).await;
    let name = attachment(cluster, NODE).await.name_any();
    answer(cluster, &name, json!({"attached": true})).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    until(&nodes, NODE, "the kubelet may mount", |node| reports(node) == [UNIQUE]).await;
    let plugin = "kubernetes.io/csi:disks.example.com";
    let lines = [
        format!(
            "storage_count_attachable_volumes_in_use{{node=\"{NODE}\",volume_plugin=\"{plugin}\"}} 1"
        ),
        format!(
            "attachdetach_controller_total_volumes{{plugin_name=\"{plugin}\",state=\"desired_state_of_world\"}} 1"
        ),
        format!(
            "attachdetach_controller_total_volumes{{plugin_name=\"{plugin}\",state=\"actual_state_of_world\"}} 1"
        ),
    ];
    counted(cluster, &lines).await;
    nodes.delete(NODE, &DeleteParams::default()).await.unwrap();
    gone(&nodes, NODE).await;
    let since = world.clock.elapsed();
    cluster.create::<Pod>(user("second", "node-2")).await;
    let text = "Multi-Attach error for volume \"disk\" Volume is already used by pod(s) user";
    told(cluster, "second", "FailedAttachVolume", text).await;
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    let own = all.get(&name).await.unwrap();
    assert!(own.metadata.deletion_timestamp.is_none(), "its pod is still there");
    end(cluster, "user").await;
    gone(&all, &name).await;
    attachment(cluster, "node-2").await;
    assert!(world.clock.elapsed() - since < Duration::from_secs(360));
    let lines = ["volume_attach", "volume_detach"].map(|operation| {
        format!(
            "storage_operation_duration_seconds_count{{volume_plugin=\"{plugin}\",operation_name=\"{operation}\",\
             status=\"success\",migrated=\"false\"}} 1"
        )
    });
    counted(cluster, &lines).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_not_well_keeps_what_it_mounts_where_that_is_said() {
    let mut world = World::selected(SELECTED).await;
    let mut settings = Settings::default();
    settings.disable_force_detach_on_timeout = true;
    world.cluster.set(settings).await;
    let _time = trickle(&world.clock);
    let cluster = &world.cluster;
    node(cluster, NODE).await;
    disk(cluster, "disks.example.com").await;
    cluster.create::<Pod>(user("user", NODE)).await;
    let name = attachment(cluster, NODE).await.name_any();
    answer(cluster, &name, json!({"attached": true})).await;
    in_use(cluster, NODE, &[UNIQUE]).await;
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    until(&nodes, NODE, "the kubelet may mount", |node| reports(node) == [UNIQUE]).await;
    end(cluster, "user").await;
    let all: Api<VolumeAttachment> = Api::all(cluster.client.clone());
    // Each look at the node comes after what was done before it.
    for look in 0..20 {
        world.pass(60);
        let label = json!({"metadata": {"labels": {"look": look.to_string()}}});
        nodes.patch(NODE, &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
        let own = all.get(&name).await.unwrap();
        assert!(own.metadata.deletion_timestamp.is_none(), "it is still mounted");
    }
    let taint = json!({"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"});
    let out = json!({"spec": {"taints": [taint]}});
    nodes.patch(NODE, &PatchParams::default(), &Patch::Merge(out)).await.unwrap();
    gone(&all, &name).await;
}
