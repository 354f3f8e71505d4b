//! Claims of sets, and the volumes behind them.

use super::{name, number, player::Play, text};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams, PropagationPolicy},
};
use kubeplane::testing::{TestCluster, WriteKind};
use serde_json::{Map, Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// Where a node is asked to remove the directory of a volume, and says that it did.
const DIRECTORY: &str = "local-volume.kubeplane.dev/";
const CLAIMS: &str = "/registry/persistentvolumeclaims/default/";
/// How many pods a set has that is there for what it stores.
const PODS: i64 = 2;

pub(super) fn claim_templates() -> Value {
    json!([{"metadata": {"name": "data"}, "spec": {"storageClassName": "standard",
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}])
}

/// Whether what the set of this number stores goes with it.
fn goes_with_set(number: u64) -> bool {
    !number.is_multiple_of(2)
}

/// Says that directories of volumes are gone, as the kubelets of nodes do.
pub(super) async fn sweep(cluster: TestCluster) {
    let nodes: Api<Node> = Api::all(cluster.client());
    loop {
        cluster.clock().sleep(Duration::from_secs(5)).await;
        // The server may be starting anew.
        let Ok(list) = nodes.list(&ListParams::default()).await else { continue };
        for node in list {
            let marks = node.annotations().iter();
            let asked = marks
                .filter(|(key, value)| key.starts_with(DIRECTORY) && value.as_str() == "remove");
            let answers: Map<String, Value> =
                asked.map(|(key, _)| (key.clone(), json!("removed"))).collect();
            if !answers.is_empty() {
                let patch = Patch::Merge(json!({"metadata": {"annotations": answers}}));
                let _ = nodes.patch(&node.name_any(), &PatchParams::default(), &patch).await;
            }
        }
    }
}

impl Play {
    /// The class of volumes that are directories of nodes, and the rights of who makes them.
    pub(super) async fn begin_storage(&self) {
        let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "cluster-admin"});
        let provisioner = json!({"kind": "ServiceAccount", "namespace": "kube-system",
            "name": "local-path-provisioner"});
        let binding =
            json!({"metadata": {"name": "local"}, "roleRef": role, "subjects": [provisioner]});
        self.make("ClusterRoleBinding", "", binding).await;
        let class = json!({"metadata": {"name": "standard"},
            "provisioner": "kubeplane.dev/local-path",
            "volumeBindingMode": "WaitForFirstConsumer"});
        self.make("StorageClass", "", class).await;
    }

    /// Makes a set whose claims go with it or stay, and deletes the one before.
    pub(super) async fn store_and_delete(&mut self) {
        self.stores += 1;
        let name = format!("store{}", self.stores);
        let when = if goes_with_set(self.stores) { "Delete" } else { "Retain" };
        let labels = json!({"app": name});
        let template = json!({"metadata": {"labels": labels},
            "spec": {"containers": [{"name": "c", "image": "i"}]}});
        let spec = json!({"replicas": PODS, "serviceName": name,
            "selector": {"matchLabels": labels}, "template": template,
            "volumeClaimTemplates": claim_templates(),
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": when}});
        let set = json!({"metadata": {"name": name}, "spec": spec});
        self.make("StatefulSet", "default", set).await;
        if self.stores > 1 {
            let before = format!("store{}", self.stores - 1);
            let sets = self.api("StatefulSet", "default");
            self.delete(&sets, &before, PropagationPolicy::Background).await;
        }
    }
}

/// The names of the claims that a pod uses.
fn used(pod: &Value) -> impl Iterator<Item = &str> {
    let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array).into_iter().flatten();
    volumes.filter_map(|volume| volume.pointer("/persistentVolumeClaim/claimName")?.as_str())
}

/// Claims and volumes that do not belong together, that a pod waits for, or that should be gone.
pub(super) fn wrong_storage(
    play: &Play,
    all: &BTreeMap<String, Value>,
    say: &mut impl FnMut(String),
) {
    let of = |kind: &'static str| all.values().filter(move |object| object["kind"] == kind);
    let mut bound = BTreeSet::new();
    for volume in of("PersistentVolume") {
        let (claim, phase) = (text(volume, "/spec/claimRef/uid"), text(volume, "/status/phase"));
        let own = text(volume, "/metadata/name");
        let is_its = all.get(claim).is_some_and(|claim| text(claim, "/spec/volumeName") == own);
        if !is_its || phase != "Bound" {
            say(format!("{} is {phase}, claimed by {}", name(volume), volume["spec"]["claimRef"]));
        }
        if !bound.insert(claim) {
            say(format!("{} is the second of one claim", name(volume)));
        }
    }
    let used: BTreeSet<_> = of("Pod").flat_map(used).collect();
    for claim in of("PersistentVolumeClaim") {
        let (own, phase) = (text(claim, "/metadata/name"), text(claim, "/status/phase"));
        let is_bound = bound.contains(text(claim, "/metadata/uid"));
        let waits = phase == "Pending" && !is_bound && !used.contains(own);
        if !(phase == "Bound" && is_bound || waits) {
            say(format!("{} is {phase} (used: {})", name(claim), used.contains(own)));
        }
        if outlived(play, of("StatefulSet"), own) {
            say(format!("{} should have gone", name(claim)));
        }
    }
}

/// Whether a claim is still there though the policy of its set says otherwise.
fn outlived<'a>(play: &Play, mut sets: impl Iterator<Item = &'a Value>, claim: &str) -> bool {
    let parts = claim.strip_prefix("data-").and_then(|own| own.rsplit_once('-'));
    let Some((set, ordinal)) = parts else { return true };
    let ordinal: i64 = ordinal.parse().unwrap();
    let present = sets.find(|own| text(own, "/metadata/name") == set);
    match (set, present) {
        ("shards", Some(present)) => {
            ordinal >= number(present, "/spec/replicas") && condemned(play).contains(&ordinal)
        }
        (_, Some(_)) => false,
        (set, None) => {
            let number = set.strip_prefix("store").and_then(|number| number.parse::<u64>().ok());
            number.is_none_or(goes_with_set)
        }
    }
}

/// The pods of `shards` that its controller deleted because it wants fewer, and that it has not wanted again since. What
/// another had deleted before that takes its claim to nobody: the next pod of the name is to have it.
fn condemned(play: &Play) -> BTreeSet<i64> {
    let mut wanted = 0;
    let (mut condemned, mut going) = (BTreeSet::<i64>::new(), BTreeSet::<i64>::new());
    for write in play.cluster.history().writes() {
        let object = serde_json::from_slice::<Value>(&write.value).unwrap_or_default();
        if write.key == "/registry/statefulsets/default/shards" {
            wanted = number(&object, "/spec/replicas");
            condemned.retain(|ordinal| *ordinal >= wanted);
        }
        let Some(pod) = write.key.strip_prefix("/registry/pods/default/shards-") else { continue };
        let ordinal: i64 = pod.parse().unwrap();
        let is_gone = write.kind == WriteKind::Delete;
        let goes = is_gone || object.pointer("/metadata/deletionTimestamp").is_some();
        let by_controller = write.by.ends_with(":statefulset-controller");
        if goes && going.insert(ordinal) && by_controller && ordinal >= wanted {
            condemned.insert(ordinal);
        }
        if is_gone || !goes {
            going.remove(&ordinal);
        }
    }
    condemned
}

/// Claims that somebody deleted though they are to stay, by the history of writes.
pub(super) fn lost(play: &Play) -> Vec<String> {
    let stays = |claim: &str| {
        let set = claim.strip_prefix("data-").and_then(|own| own.rsplit_once('-'));
        let set = set.map(|(set, _)| set).unwrap_or_default();
        let number = set.strip_prefix("store").and_then(|number| number.parse::<u64>().ok());
        set == "db" || number.is_some_and(|number| !goes_with_set(number))
    };
    let writes = play.cluster.history().writes().into_iter();
    let gone = writes.filter(|write| {
        write.kind == WriteKind::Delete && write.key.strip_prefix(CLAIMS).is_some_and(stays)
    });
    gone.map(|write| format!("{} was to stay: {write}", write.key)).collect()
}
