//! Claims and volumes in numbers, and what becomes of volumes of this machine.

use crate::{
    volumes::{claim, volume},
    world::{
        ACCOUNT, CLAIM, CLASS, CONFIG_MAP, NODES, POD, RC, SECRET, VOLUME, World, name, number,
        text, uid,
    },
};
use kubeplane_controllers::Settings;
use serde_json::{Value, json};
use std::time::Duration;

fn phase(object: &Value) -> &str {
    text(object, "/status/phase")
}

async fn bound(world: &World, name: &str) -> Value {
    world.until(CLAIM, name, "it is bound", |claim| phase(claim) == "Bound").await
}

async fn free(world: &World, name: &str, size: &str, more: Value) {
    world.make(VOLUME, volume(name, size, more)).await;
    world.until(VOLUME, name, "it is available", |volume| phase(volume) == "Available").await;
}

fn labelled(mut object: Value, labels: Value) -> Value {
    object["metadata"]["labels"] = labels;
    object
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_set_aside_goes_to_that_claim_of_many() {
    let world = World::start().await;
    for index in 0..100 {
        world.make(CLAIM, claim(&format!("claim-{index}"), json!({}))).await;
    }
    let of = json!({"claimRef": {"namespace": "default", "name": "claim-42"}});
    world.make(VOLUME, volume("disk", "10G", of)).await;
    bound(&world, "claim-42").await;
    let disk = world.until(VOLUME, "disk", "it is bound", |own| phase(own) == "Bound").await;
    assert_eq!(text(&disk, "/spec/claimRef/name"), "claim-42");
    let others = world.list(CLAIM).await;
    assert_eq!(others.iter().filter(|claim| phase(claim) == "Bound").count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn labels_and_expressions_choose_volumes() {
    let world = World::start().await;
    for (name, labels) in
        [("no", json!({"key": "false", "zone": "b"})), ("yes", json!({"key": "true", "zone": "a"}))]
    {
        world.make(VOLUME, labelled(volume(name, "5Gi", json!({})), labels)).await;
        world.until(VOLUME, name, "it is available", |volume| phase(volume) == "Available").await;
    }
    let selector = json!({"selector": {"matchLabels": {"key": "true"}}});
    world.make(CLAIM, claim("by-label", selector)).await;
    assert_eq!(text(&bound(&world, "by-label").await, "/spec/volumeName"), "yes");
    let expressions = json!([{"key": "key", "operator": "In", "values": ["x", "false"]},
        {"key": "zone", "operator": "Exists"}, {"key": "none", "operator": "DoesNotExist"},
        {"key": "zone", "operator": "NotIn", "values": ["a"]}]);
    let selector = json!({"selector": {"matchExpressions": expressions}});
    world.make(CLAIM, claim("by-expression", selector)).await;
    assert_eq!(text(&bound(&world, "by-expression").await, "/spec/volumeName"), "no");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_volumes_the_smallest_that_suits_is_taken() {
    let world = World::start().await;
    for size in 1..=30 {
        free(&world, &format!("disk-{size}"), &format!("{size}G"), json!({})).await;
    }
    let half = json!({"resources": {"requests": {"storage": "15G"}}});
    world.make(CLAIM, claim("half", half)).await;
    assert_eq!(text(&bound(&world, "half").await, "/spec/volumeName"), "disk-15");
    let taken = world.list(VOLUME).await;
    assert_eq!(taken.iter().filter(|volume| volume["spec"]["claimRef"].is_object()).count(), 1);
    world.delete(CLAIM, "half").await;
    world.until(VOLUME, "disk-15", "it is released", |own| phase(own) == "Released").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn access_modes_decide_too() {
    let world = World::start().await;
    free(&world, "once", "10G", json!({})).await;
    free(&world, "many", "10G", json!({"accessModes": ["ReadWriteMany"]})).await;
    world.make(CLAIM, claim("many", json!({"accessModes": ["ReadWriteMany"]}))).await;
    assert_eq!(text(&bound(&world, "many").await, "/spec/volumeName"), "many");
    assert_eq!(phase(&world.get(VOLUME, "once").await), "Available");
    world.make(CLAIM, claim("once", json!({}))).await;
    assert_eq!(text(&bound(&world, "once").await, "/spec/volumeName"), "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn classes_of_attributes_must_be_the_same() {
    let world = World::start().await;
    let driver = |handle: &str| json!({"hostPath": null, "csi": {"driver": "example.com", "volumeHandle": handle}});
    for (name, class) in [
        ("plain", None),
        ("gold", Some("gold")),
        ("gold-2", Some("gold")),
        ("silver", Some("silver")),
    ] {
        let mut more = driver(name);
        more["volumeAttributesClassName"] = json!(class);
        free(&world, name, "5Gi", more).await;
    }
    for (name, more, expected) in [
        ("by-name", json!({"volumeAttributesClassName": "gold", "volumeName": "gold-2"}), "gold-2"),
        ("of-none", json!({}), "plain"),
        ("of-gold", json!({"volumeAttributesClassName": "gold"}), "gold"),
    ] {
        world.make(CLAIM, claim(name, more)).await;
        assert_eq!(text(&bound(&world, name).await, "/spec/volumeName"), expected);
    }
    assert_eq!(phase(&world.get(VOLUME, "silver").await), "Available");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_claims_and_volumes_come_together_one_to_one_and_stay_so() {
    const COUNT: usize = 60;
    let world = World::start().await;
    let volumes = (0..COUNT).map(|index| {
        let disk = volume(&format!("disk-{index}"), "5Gi", json!({}));
        world.make(VOLUME, disk)
    });
    let claims =
        (0..COUNT).map(|index| world.make(CLAIM, claim(&format!("claim-{index}"), json!({}))));
    futures::future::join(futures::future::join_all(volumes), futures::future::join_all(claims))
        .await;
    // Those who hold them back while they are in use are done with them, too.
    let is_settled =
        |own: &Value| phase(own) == "Bound" && own.pointer("/metadata/finalizers/0").is_some();
    let all_bound = |all: &[Value]| all.len() == COUNT && all.iter().all(is_settled);
    world.until_all(CLAIM, "all claims are bound", all_bound).await;
    world.until_all(VOLUME, "all volumes are bound", all_bound).await;
    let pairs = async || {
        let claims = world.list(CLAIM).await;
        let mut pairs: Vec<_> = Vec::new();
        for volume in world.list(VOLUME).await {
            let of = text(&volume, "/spec/claimRef/name").to_owned();
            let claim = claims.iter().find(|claim| name(claim) == of).unwrap();
            assert_eq!(text(claim, "/spec/volumeName"), name(&volume));
            assert_eq!(text(&volume, "/spec/claimRef/uid"), uid(claim));
            pairs.push((name(&volume).to_owned(), of));
        }
        pairs
    };
    let before = pairs().await;
    let versions = async || {
        let mut all = world.list(CLAIM).await;
        all.extend(world.list(VOLUME).await);
        all.iter().map(|own| text(own, "/metadata/resourceVersion").to_owned()).collect::<Vec<_>>()
    };
    // Controllers that start find everything as it should be, and write nothing.
    world.cluster.stop_controllers().await;
    let written = versions().await;
    world.cluster.start_controllers().await;
    free(&world, "later", "5Gi", json!({})).await;
    world.make(CLAIM, claim("later", json!({}))).await;
    bound(&world, "later").await;
    world.delete(CLAIM, "later").await;
    world.until(VOLUME, "later", "it is released", |own| phase(own) == "Released").await;
    world.gone(CLAIM, "later").await;
    world.delete(VOLUME, "later").await;
    world.gone(VOLUME, "later").await;
    assert_eq!(pairs().await, before);
    assert_eq!(versions().await, written);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_lost_its_volume_has_it_again_when_that_is_back() {
    let world = World::start().await;
    free(&world, "disk", "10G", json!({})).await;
    world.make(CLAIM, claim("keeps", json!({}))).await;
    let keeps = bound(&world, "keeps").await;
    let held =
        |disk: &Value| phase(disk) == "Bound" && disk.pointer("/metadata/finalizers/0").is_some();
    world.until(VOLUME, "disk", "it is held", held).await;
    // Somebody takes it away by force.
    world.delete(VOLUME, "disk").await;
    world.merge(VOLUME, "disk", json!({"metadata": {"finalizers": null}})).await;
    let lost = world.until(CLAIM, "keeps", "it is lost", |claim| phase(claim) == "Lost").await;
    assert_eq!(text(&lost, "/spec/volumeName"), "disk");
    let of = json!({"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "namespace": "default", "name": "keeps", "uid": uid(&keeps)}});
    world.make(VOLUME, volume("disk", "10G", of)).await;
    bound(&world, "keeps").await;
    world.until(VOLUME, "disk", "it is bound", |disk| phase(disk) == "Bound").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_released_though_its_claim_never_named_it() {
    let world = World::selected("persistentvolume-binder-controller").await;
    let waits = world.make(CLAIM, claim("waits", json!({}))).await;
    let of = json!({"claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "namespace": "default", "name": "waits", "uid": uid(&waits)}, "volumeMode": "Block"});
    world.make(VOLUME, volume("disk", "5Gi", of)).await;
    // It is the claim's, which cannot take it.
    world.told("disk", "VolumeMismatch").await;
    world.delete(CLAIM, "waits").await;
    world.until(VOLUME, "disk", "it is released", |disk| phase(disk) == "Released").await;
}

fn class(name: &str, default: bool) -> Value {
    json!({"metadata": {"name": name, "annotations":
            {"storageclass.kubernetes.io/is-default-class": default.to_string()}},
        "provisioner": "example.com/disks"})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_claim_of_a_class_is_provisioned_for_by_itself() {
    const COUNT: usize = 30;
    let world = World::start().await;
    world.make(CLASS, class("gold", false)).await;
    for index in 0..COUNT {
        let of = json!({"storageClassName": "gold"});
        world.make(CLAIM, claim(&format!("claim-{index}"), of)).await;
    }
    let key = "/metadata/annotations/volume.kubernetes.io~1storage-provisioner";
    let asked = world
        .until_all(CLAIM, "their provisioner is asked", |all| {
            all.len() == COUNT && all.iter().all(|own| text(own, key) == "example.com/disks")
        })
        .await;
    for own in &asked {
        let of = json!({"kind": "PersistentVolumeClaim", "namespace": "default", "name": name(own), "uid": uid(own)});
        let more = json!({"claimRef": of, "storageClassName": "gold"});
        world.make(VOLUME, volume(&format!("for-{}", name(own)), "5Gi", more)).await;
    }
    let all =
        world.until_all(CLAIM, "all are bound", |all| all.iter().all(|own| phase(own) == "Bound"));
    for own in all.await {
        assert_eq!(text(&own, "/spec/volumeName"), format!("for-{}", name(&own)));
        world.delete(CLAIM, name(&own)).await;
    }
    world
        .until_all(VOLUME, "all are released", |all| all.iter().all(|own| phase(own) == "Released"))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_without_a_class_takes_a_volume_of_none_before_the_default() {
    let world = World::start().await;
    world.make(CLASS, class("silver", false)).await;
    let without = |name: &str| {
        let mut object = claim(name, json!({}));
        object["spec"].as_object_mut().unwrap().remove("storageClassName");
        object
    };
    free(&world, "one", "5Gi", json!({"storageClassName": ""})).await;
    world.make(CLAIM, without("one")).await;
    assert_eq!(text(&bound(&world, "one").await, "/spec/volumeName"), "one");
    world.make(CLAIM, without("waits")).await;
    world.told("waits", "FailedBinding").await;
    world.make(CLASS, class("gold", true)).await;
    world
        .until(CLAIM, "waits", "it gets the default", |own| {
            text(own, "/spec/storageClassName") == "gold"
        })
        .await;
    let one = world.get(CLAIM, "one").await;
    assert!(one.pointer("/spec/storageClassName").is_none(), "one that is bound is left alone");
}

/// A volume that its claim has left.
async fn released(world: &World, name: &str, more: Value) {
    free(world, name, "5Gi", more).await;
    world.make(CLAIM, claim(name, json!({"volumeName": name}))).await;
    bound(world, name).await;
    world.delete(CLAIM, name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn how_long_a_volume_is_scrubbed_is_for_the_settings_to_say() {
    let mut world = World::start().await;
    let mut settings = Settings::default();
    settings.pv_recycler_minimum_timeout_nfs = Duration::from_secs(40);
    settings.pv_recycler_increment_timeout_nfs = Duration::from_secs(20);
    world.cluster.set(settings).await;
    let nfs = json!({"server": "192.0.2.1", "path": "/"});
    let more = json!({"persistentVolumeReclaimPolicy": "Recycle", "hostPath": null, "nfs": nfs});
    released(&world, "disk", more).await;
    let pod = world.until(POD, "recycler-for-disk", "it scrubs", |_| true).await;
    assert_eq!(number(&pod, "/spec/activeDeadlineSeconds"), 100, "of 5 GiB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_is_scrubbed_by_a_pod_and_free_again() {
    let world = World::start().await;
    let directory = json!({"path": "/tmp/kubeplane-scrubbed"});
    released(
        &world,
        "disk",
        json!({"persistentVolumeReclaimPolicy": "Recycle", "hostPath": directory}),
    )
    .await;
    let pod = world.until(POD, "recycler-for-disk", "it scrubs", |_| true).await;
    assert_eq!(text(&pod, "/spec/volumes/0/hostPath/path"), "/tmp/kubeplane-scrubbed");
    assert_eq!(number(&pod, "/spec/activeDeadlineSeconds"), 150);
    world
        .merge_status(POD, "recycler-for-disk", json!({"phase": "Failed", "message": "no disk"}))
        .await;
    let failed = world.until(VOLUME, "disk", "it has failed", |own| phase(own) == "Failed").await;
    assert_eq!(
        text(&failed, "/status/message"),
        "Recycle failed: failed to recycle volume: no disk"
    );
    world.pass(16);
    let again = |own: &Value| uid(own) != uid(&pod) && phase(own) == "Pending";
    world.until(POD, "recycler-for-disk", "it is tried again", again).await;
    world.merge_status(POD, "recycler-for-disk", json!({"phase": "Succeeded"})).await;
    let freed = world.until(VOLUME, "disk", "it is free", |own| phase(own) == "Available").await;
    assert!(freed.pointer("/spec/claimRef/uid").is_none(), "{freed:#}");
    world.gone(POD, "recycler-for-disk").await;
    assert_eq!(world.told("disk", "VolumeRecycled").await, "Volume recycled");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_below_tmp_is_removed_and_no_other() {
    let world = World::start().await;
    let path = format!("/tmp/kubeplane-reclaimed-{}", std::process::id());
    std::fs::create_dir_all(format!("{path}/sub")).unwrap();
    std::fs::write(format!("{path}/sub/file"), "data").unwrap();
    let policy =
        |path: &str| json!({"persistentVolumeReclaimPolicy": "Delete", "hostPath": {"path": path}});
    released(&world, "disk", policy(&path)).await;
    world.gone(VOLUME, "disk").await;
    assert!(!std::path::Path::new(&path).exists());
    released(&world, "root", policy("/kubeplane-nowhere")).await;
    let failed = world.until(VOLUME, "root", "it has failed", |own| phase(own) == "Failed").await;
    let why = "host_path deleter only supports /tmp/.+ but received provided /kubeplane-nowhere";
    assert_eq!(text(&failed, "/status/message"), why);
    assert_eq!(world.told("root", "VolumeFailedDelete").await, why);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_out_of_service_loses_its_volumes_at_once() {
    let world = World::start().await;
    let managed = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
    let not_ready = json!({"conditions": [{"type": "Ready", "status": "False"}]});
    world
        .make(
            NODES,
            json!({"metadata": {"name": "broken", "annotations": managed}, "status": not_ready}),
        )
        .await;
    let csi =
        json!({"hostPath": null, "csi": {"driver": "disks.example.com", "volumeHandle": "disk-1"}});
    world.make(VOLUME, volume("disk", "5Gi", csi)).await;
    world.make(CLAIM, claim("data", json!({"volumeName": "disk"}))).await;
    let spec = json!({"nodeName": "broken", "containers": [{"name": "c", "image": "i"}],
        "terminationGracePeriodSeconds": 300, "tolerations": [{"operator": "Exists"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    world.make_spec(POD, "user", spec).await;
    let attachments = crate::world::ATTACHMENT;
    let own = world.until_all(attachments, "it is attached", |all| all.len() == 1).await.remove(0);
    world.merge_status(attachments, name(&own), json!({"attached": true})).await;
    world
        .merge_status(
            NODES,
            "broken",
            json!({"volumesInUse": ["kubernetes.io/csi/disks.example.com^disk-1"]}),
        )
        .await;
    world
        .until(NODES, "broken", "the kubelet may mount", |node| {
            node.pointer("/status/volumesAttached/0").is_some()
        })
        .await;
    world.delete(POD, "user").await;
    let taint = json!([{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute"}]);
    world.merge(NODES, "broken", json!({"spec": {"taints": taint}})).await;
    let start = kubeplane_clock::Clock::elapsed(&world.clock);
    let check = async || {
        world.pass(2);
        let left = world.list(attachments).await.len() + world.list(POD).await.len();
        if left == 0 { Ok(()) } else { Err(format!("{left} left")) }
    };
    world.eventually("pod and attachment go", check).await;
    let took = kubeplane_clock::Clock::elapsed(&world.clock) - start;
    assert!(took.as_secs() < 360, "six minutes are for nodes of which nobody knows: {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_nobody_used_for_long_are_marked_and_go() {
    let world = World::start().await;
    let api = world.api_in(CONFIG_MAP, "kube-system");
    let since = world.now()[..10].to_owned();
    let tracking = json!({"apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": "kube-apiserver-legacy-service-account-token-tracking"}, "data": {"since": since}});
    api.create(&Default::default(), &serde_json::from_value(tracking).unwrap()).await.unwrap();
    let secret = |name: &str, labels: Value| {
        json!({"metadata": {"name": name, "labels": labels,
                "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token"})
    };
    let listed = json!([{"name": "auto"}, {"name": "auto-mounted"}, {"name": "auto-never-used"}]);
    world.make(ACCOUNT, json!({"metadata": {"name": "robot"}, "secrets": listed})).await;
    let used = json!({"kubernetes.io/legacy-token-last-used": since});
    for (name, labels) in [
        ("auto", used.clone()),
        ("manual", used.clone()),
        ("auto-mounted", used.clone()),
        ("auto-never-used", json!({})),
    ] {
        world.make(SECRET, secret(name, labels)).await;
    }
    let pod = json!({"metadata": {"name": "user"}, "spec": {"containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "secret": {"secretName": "auto-mounted"}}]}});
    world.make(POD, pod).await;
    // All of that is in the caches when what came later is.
    let spec =
        json!({"replicas": 1, "selector": {"app": "a"}, "template": crate::world::template("a")});
    world.make_spec(RC, "later", spec).await;
    world.until(RC, "later", "its pod is seen", |set| number(set, "/status/replicas") == 1).await;
    world
        .until_all(SECRET, "their tokens are made", |all| {
            all.iter().all(|secret| secret.pointer("/data/token").is_some())
        })
        .await;
    let invalid = |secret: &Value| {
        secret.pointer("/metadata/labels/kubernetes.io~1legacy-token-invalid-since").is_some()
    };
    world.pass(24 * 3600);
    let pass_a_year = async || {
        for _ in 0..367 {
            world.pass(24 * 3600);
            tokio::task::yield_now().await;
        }
    };
    pass_a_year().await;
    for name in ["auto", "auto-never-used"] {
        let check = async || {
            world.pass(3600);
            match world.find(SECRET, name).await {
                Some(secret) if !invalid(&secret) => Err(format!("{secret:#}")),
                _ => Ok(()),
            }
        };
        world.eventually("it is marked", check).await;
    }
    for name in ["manual", "auto-mounted"] {
        assert!(!invalid(&world.get(SECRET, name).await), "{name}");
    }
    pass_a_year().await;
    for name in ["auto", "auto-never-used"] {
        let check = async || {
            world.pass(24 * 3600);
            match world.find(SECRET, name).await {
                None => Ok(()),
                Some(secret) => Err(format!("{secret:#}")),
            }
        };
        world.eventually("it goes", check).await;
    }
    assert!(world.find(SECRET, "manual").await.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn volumes_follow_pods_that_end_and_claims_that_bind_late() {
    let world = World::start().await;
    let managed = json!({"volumes.kubernetes.io/controller-managed-attach-detach": "true"});
    world.make(NODES, json!({"metadata": {"name": "node", "annotations": managed}})).await;
    world.make(CLAIM, claim("data", json!({"volumeName": "disk"}))).await;
    let spec = json!({"nodeName": "node", "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]});
    world.make_spec(POD, "user", spec.clone()).await;
    // The pod is known before its claim has a volume, and before the controllers start anew.
    world.cluster.stop_controllers().await;
    world.cluster.start_controllers().await;
    assert!(world.list(crate::world::ATTACHMENT).await.is_empty());
    let csi =
        json!({"hostPath": null, "csi": {"driver": "disks.example.com", "volumeHandle": "disk-1"}});
    world.make(VOLUME, volume("disk", "5Gi", csi)).await;
    let attached = async |count: usize| {
        let check = async || {
            world.pass(1);
            let all = world.list(crate::world::ATTACHMENT).await;
            if all.len() == count { Ok(all) } else { Err(format!("{all:#?}")) }
        };
        world.eventually(&format!("{count} are attached"), check).await
    };
    let own = attached(1).await.remove(0);
    world.merge_status(crate::world::ATTACHMENT, name(&own), json!({"attached": true})).await;
    world.merge_status(POD, "user", json!({"phase": "Succeeded"})).await;
    attached(0).await;
    // And one that is deleted while nobody looks.
    world.make_spec(POD, "another", spec).await;
    let own = attached(1).await.remove(0);
    world.merge_status(crate::world::ATTACHMENT, name(&own), json!({"attached": true})).await;
    world.cluster.stop_controllers().await;
    world.end(&world.get(POD, "another").await).await;
    world.cluster.start_controllers().await;
    attached(0).await;
}
