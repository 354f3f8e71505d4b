use super::*;
use crate::{
    FilterVerdict, Snapshot, VolumeBinding,
    plugins::fixtures::{filter, node, pod},
};
use kubeplane_workload::storage::BIND_COMPLETED;
use serde_json::{Value, json};
use std::sync::Arc;

fn volume(labels: Value, spec: Value) -> PersistentVolume {
    serde_json::from_value(json!({"metadata": {"name": "v", "labels": labels}, "spec": spec}))
        .unwrap()
}

fn known(labels: Value, spec: Value) -> Result<String, String> {
    let served = persistent(&volume(labels, spec))?;
    Ok(served.map_or_else(String::new, |own| format!("{} {}", own.driver, own.volume)))
}

#[test]
fn drivers_know_volumes_by_their_own_names() {
    let none = json!({});
    let aws = |id: &str| json!({"awsElasticBlockStore": {"volumeID": id}});
    for id in ["vol-1", "aws://us-east-1a/vol-1", "aws:///vol-1"] {
        assert_eq!(known(none.clone(), aws(id)).unwrap(), "ebs.csi.aws.com vol-1", "{id}");
    }
    for id in ["aws://us-east-1a/disk", "aws://us-east-1a/vol-1/2", "aws://vol-1"] {
        let why = known(none.clone(), aws(id)).unwrap_err();
        assert!(why.ends_with(&format!("Invalid format for AWS volume ({id})")), "{why}");
    }
    let disk = json!({"gcePersistentDisk": {"pdName": "d"}});
    for (labels, expected) in [
        (json!({}), "projects/UNSPECIFIED/zones/UNSPECIFIED/disks/d"),
        (json!({"topology.kubernetes.io/zone": "z"}), "projects/UNSPECIFIED/zones/z/disks/d"),
        (
            json!({"failure-domain.beta.kubernetes.io/zone": "old",
                "topology.kubernetes.io/zone": "new"}),
            "projects/UNSPECIFIED/zones/old/disks/d",
        ),
        (
            json!({"topology.kubernetes.io/zone": "us-central1-a__us-central1-c"}),
            "projects/UNSPECIFIED/regions/us-central1/disks/d",
        ),
    ] {
        let expected = format!("pd.csi.storage.gke.io {expected}");
        assert_eq!(known(labels, disk.clone()).unwrap(), expected);
    }
    for (zones, why) in [
        ("a__b", "zone in unexpected format, expected: {locale}-{region}-{zone}, got: a"),
        ("a-b-1__a-c-1", "multiple or no regions gotten from zones, got: map[a-b:{} a-c:{}]"),
    ] {
        let labels = json!({"topology.kubernetes.io/zone": zones});
        let expected = format!("failed to get region from zones: {why}");
        assert_eq!(known(labels, disk.clone()), Err(expected));
    }
    let azure = json!({"azureDisk": {"diskName": "d", "diskURI": "uri", "kind": "managed"}});
    assert_eq!(known(none.clone(), azure).unwrap(), "disk.csi.azure.com uri");
    let cinder = json!({"cinder": {"volumeID": "c"}});
    assert_eq!(known(none.clone(), cinder).unwrap(), "cinder.csi.openstack.org c");
    let portworx = json!({"portworxVolume": {"volumeID": "x"}});
    assert_eq!(known(none.clone(), portworx).unwrap(), "pxd.portworx.com x");
    assert_eq!(known(none, json!({"nfs": {"path": "/", "server": "s"}})).unwrap(), "");
}

fn asking(key: &str, values: &[&str]) -> Value {
    json!({"required": {"nodeSelectorTerms":
        [{"matchExpressions": [{"key": key, "operator": "In", "values": values}]}]}})
}

/// What VolumeBinding says of a node with these labels, whose CSINode (if any) names these plugins.
fn said(volume: &PersistentVolume, labels: &str, plugins: Option<&str>) -> FilterVerdict {
    let claim = json!({"metadata": {"name": "c", "namespace": "d", "uid": "c",
        "annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": "v"}});
    let csi_node = plugins.map(|plugins| {
        let own = json!({"metadata": {"name": "n", "annotations": {MIGRATED_PLUGINS: plugins}},
            "spec": {"drivers": []}});
        Arc::new(serde_json::from_value::<CSINode>(own).unwrap())
    });
    let objects = ClusterObjects {
        claims: Arc::new(vec![Arc::new(serde_json::from_value(claim).unwrap())]),
        volumes: Arc::new(vec![Arc::new(volume.clone())]),
        csi_nodes: Arc::new(csi_node.into_iter().collect::<Vec<_>>()),
        ..ClusterObjects::default()
    };
    let nodes = Snapshot::new(vec![node("n", labels, &[])]).with_objects(Arc::new(objects));
    let volumes = json!([{"name": "c", "persistentVolumeClaim": {"claimName": "c"}}]);
    let own = pod("p", "", json!({"volumes": volumes}));
    filter(&VolumeBinding::default(), &own, &nodes).remove(0)
}

fn elsewhere() -> FilterVerdict {
    let why = "node(s) didn't match PersistentVolume's node affinity";
    FilterVerdict::Unresolvable(vec![why.to_owned()])
}

#[test]
fn nodes_whose_driver_serves_a_volume_are_asked_for_the_drivers_zone() {
    let both = "kubernetes.io/gce-pd,kubernetes.io/aws-ebs";
    let (old, new) = ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone");
    let source = json!({"volumeID": "vol-1"});
    let by_affinity =
        |key: &str| json!({"awsElasticBlockStore": source, "nodeAffinity": asking(key, &["z"])});
    let by_label = |key: &str, zones: &str| {
        volume(json!({key: zones}), json!({"awsElasticBlockStore": source}))
    };
    let plain = |key: &str| volume(json!({}), by_affinity(key));
    let (own, other) = ("topology.ebs.csi.aws.com/zone=z", "topology.ebs.csi.aws.com/zone=y");
    for volume in [plain(new), plain(old), by_label(new, "z"), by_label(old, "x__ z"), {
        // What it asks of nodes goes before its labels.
        volume(json!({new: "y"}), by_affinity(new))
    }] {
        assert_eq!(said(&volume, own, Some(both)), FilterVerdict::Fits, "{volume:?}");
        assert_eq!(said(&volume, other, Some(both)), elsewhere(), "{volume:?}");
        assert_eq!(said(&volume, "", Some(both)), elsewhere(), "{volume:?}");
    }
    // As it says itself, where nothing is known of the driver or it serves others.
    for plugins in [None, Some(""), Some("kubernetes.io/gce-pd")] {
        assert_eq!(said(&plain(new), &format!("{new}=z"), plugins), FilterVerdict::Fits);
        assert_eq!(said(&plain(new), own, plugins), elsewhere());
        assert_eq!(said(&by_label(new, "z"), "", plugins), FilterVerdict::Fits);
    }
}

#[test]
fn older_regions_are_asked_for_by_the_name_they_have_now() {
    let required = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [
        {"key": "failure-domain.beta.kubernetes.io/zone", "operator": "In", "values": ["z"]},
        {"key": "failure-domain.beta.kubernetes.io/region", "operator": "In", "values": ["r"]},
    ]}]}});
    let cinder = volume(json!({}), json!({"cinder": {"volumeID": "c"}, "nodeAffinity": required}));
    let (zone, region) =
        ("topology.cinder.csi.openstack.org/zone=z", "topology.kubernetes.io/region=r");
    let there = format!("{zone} {region}");
    assert_eq!(said(&cinder, &there, Some("kubernetes.io/cinder")), FilterVerdict::Fits);
    assert_eq!(said(&cinder, zone, Some("kubernetes.io/cinder")), elsewhere());
}

#[test]
fn volumes_that_mean_nothing_to_their_driver_are_an_error_where_it_serves_them() {
    let zones = json!({"topology.kubernetes.io/zone": "a__b"});
    let disk = volume(zones, json!({"gcePersistentDisk": {"pdName": "d"}}));
    let why = "could not translate pv: failed to get region from zones: zone in unexpected \
               format, expected: {locale}-{region}-{zone}, got: a";
    let error = FilterVerdict::Error(why.to_owned());
    assert_eq!(said(&disk, "", Some("kubernetes.io/gce-pd")), error);
    assert_eq!(said(&disk, "", None), FilterVerdict::Fits);
    // Their drivers have no words of their own for zones.
    let azure = volume(
        json!({}),
        json!({"azureDisk": {"diskName": "d", "diskURI": "u", "kind": "Managed"},
            "nodeAffinity": asking("topology.kubernetes.io/zone", &["z"])}),
    );
    let plugin = Some("kubernetes.io/azure-disk");
    assert_eq!(said(&azure, "topology.kubernetes.io/zone=z", plugin), FilterVerdict::Fits);
}
