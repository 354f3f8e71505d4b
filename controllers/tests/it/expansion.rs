//! Claims that ask for more than they have, where others make volumes larger.

use crate::world::{CLAIM, VOLUME, World, text, uid};
use serde_json::{Value, json};

/// A claim of 1 GiB that is bound to a volume of this source, and asks for two.
async fn asks_for_more(world: &World, name: &str, source: Value) {
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
    world.make_spec(VOLUME, name, spec).await;
    let bound = json!({"phase": "Bound", "accessModes": modes, "capacity": size});
    world.merge_status(CLAIM, name, bound).await;
    let more = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    world.merge(CLAIM, name, more).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_made_a_volume_is_left_to_make_it_larger() {
    let world = World::selected("persistentvolume-expander-controller").await;
    let driver = json!({"csi": {"driver": "disks.example.com", "volumeHandle": "1"}});
    asks_for_more(&world, "driven", driver).await;
    let said = world.told("driven", "ExternalExpanding").await;
    assert_eq!(said, "waiting for an external controller to expand this PVC");
    // What was once part of Kubernetes is told which driver it is for now.
    let former = json!({"awsElasticBlockStore": {"volumeID": "aws://z/vol-1", "fsType": "ext4"}});
    asks_for_more(&world, "former", former).await;
    let said = world.told("former", "ExternalExpanding").await;
    assert_eq!(
        said,
        "CSI migration enabled for kubernetes.io/aws-ebs; waiting for external resizer to expand the pvc"
    );
    let resizer = "/metadata/annotations/volume.kubernetes.io~1storage-resizer";
    let handed = |claim: &Value| text(claim, resizer) == "ebs.csi.aws.com";
    world.until(CLAIM, "former", "the driver is named", handed).await;
}
