//! Claims that ask for more than they have, where others make volumes larger.

use crate::world::{CLAIM, VOLUME, World, items, text, uid};
use serde_json::{Value, json};

/// What earlier attempts at growing left, and something else.
const GROWTH: [&str; 4] =
    ["ControllerResizeError", "NodeResizeError", "FileSystemResizePending", "ModifyingVolume"];

/// A claim of 1 GiB that is bound to a volume of this source, made by this provisioner, and asks for two.
async fn asks_for_more(world: &World, name: &str, source: Value, provisioner: Option<&str>) {
    let (modes, size) = (json!(["ReadWriteOnce"]), json!({"storage": "1Gi"}));
    let spec = json!({"accessModes": modes, "storageClassName": "", "volumeName": name,
        "resources": {"requests": size}});
    let claim = world.make_spec(CLAIM, name, spec).await;
    let of = json!({"kind": "PersistentVolumeClaim", "apiVersion": "v1", "namespace": "default",
        "name": name, "uid": uid(&claim)});
    let mut spec = json!({"accessModes": modes, "capacity": size, "claimRef": of});
    for (kind, own) in source.as_object().unwrap() {
        spec[kind] = own.clone();
    }
    let made = json!({"pv.kubernetes.io/provisioned-by": provisioner});
    let metadata = json!({"name": name, "annotations": provisioner.map(|_| made)});
    world.make(VOLUME, json!({"metadata": metadata, "spec": spec})).await;
    let conditions = GROWTH.map(|kind| json!({"type": kind, "status": "True"}));
    let bound = json!({"phase": "Bound", "accessModes": modes, "capacity": size,
        "conditions": conditions});
    world.merge_status(CLAIM, name, bound).await;
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    world.merge(CLAIM, name, more).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_made_a_volume_is_left_to_make_it_larger() {
    let world = World::selected("persistentvolume-expander-controller").await;
    let driver = json!({"csi": {"driver": "disks.example.com", "volumeHandle": "1"}});
    asks_for_more(&world, "driven", driver, None).await;
    let said = world.told("driven", "ExternalExpanding").await;
    assert_eq!(said, "waiting for an external controller to expand this PVC");
    // What was once part of Kubernetes is told which driver it is for now.
    let former = json!({"awsElasticBlockStore": {"volumeID": "aws://z/vol-1", "fsType": "ext4"}});
    asks_for_more(&world, "former", former, None).await;
    let said = world.told("former", "ExternalExpanding").await;
    assert_eq!(
        said,
        "CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc"
    );
    let resizer = "/metadata/annotations/volume.kubernetes.io~1storage-resizer";
    let handed = |claim: &Value| text(claim, resizer) == "ebs.csi.aws.com";
    world.until(CLAIM, "former", "the driver is named", handed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_grows_at_once_and_what_failed_before_is_over() {
    let world = World::selected("persistentvolume-expander-controller").await;
    let directory = json!({"hostPath": {"path": "/nowhere"}});
    asks_for_more(&world, "local", directory, Some("kubeplane.dev/local-path")).await;
    let said = world.told("local", "VolumeResizeSuccessful").await;
    assert_eq!(said, "ExpandVolume succeeded for volume default/local");
    let claim = world.get(CLAIM, "local").await;
    assert_eq!(text(&claim, "/status/capacity/storage"), "2Gi");
    let left: Vec<_> =
        items(&claim, "/status/conditions").iter().map(|own| text(own, "/type")).collect();
    assert_eq!(left, ["ModifyingVolume"]);
    assert_eq!(text(&world.get(VOLUME, "local").await, "/spec/capacity/storage"), "2Gi");
}
