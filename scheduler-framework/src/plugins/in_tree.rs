//! What volumes of former in-tree plugins are to the CSI drivers that serve them now (KEP-625).

mod topology;

use crate::objects::ClusterObjects;
use k8s_openapi::api::{
    core::v1::{AzureDiskVolumeSource, Node, PersistentVolume, PersistentVolumeSpec, Volume},
    storage::v1::CSINode,
};
use kubeplane_workload::storage::{self, annotation, migrated};

const AWS: &str = "kubernetes.io/aws-ebs";
const GCE: &str = "kubernetes.io/gce-pd";
const AZURE_DISK: &str = "kubernetes.io/azure-disk";
const CINDER: &str = "kubernetes.io/cinder";
const PORTWORX: &str = "kubernetes.io/portworx-volume";

/// On CSINodes: the plugins whose volumes the node's drivers serve, separated by commas.
pub(super) const MIGRATED_PLUGINS: &str = "storage.alpha.kubernetes.io/migrated-plugins";

/// A volume as its driver knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Served {
    /// The CSI driver.
    pub(super) driver: String,
    /// What the driver calls the volume.
    pub(super) volume: String,
}

/// The plugin of an inline volume, if a CSI driver serves it now.
fn inline_plugin(volume: &Volume) -> Option<&'static str> {
    let all = [
        (volume.aws_elastic_block_store.is_some(), AWS),
        (volume.gce_persistent_disk.is_some(), GCE),
        (volume.azure_disk.is_some(), AZURE_DISK),
        (volume.azure_file.is_some(), "kubernetes.io/azure-file"),
        (volume.cinder.is_some(), CINDER),
        (volume.vsphere_volume.is_some(), "kubernetes.io/vsphere-volume"),
        (volume.portworx_volume.is_some(), PORTWORX),
    ];
    all.into_iter().find_map(|(has, plugin)| has.then_some(plugin))
}

/// The driver of an inline volume of a former in-tree plugin.
pub(super) fn inline_driver(volume: &Volume) -> Option<&'static str> {
    inline_plugin(volume).and_then(migrated)
}

/// The driver whose volumes a provisioner makes, `None` where those do not count as a driver's.
pub(super) fn provisioner(name: &str) -> Option<&str> {
    match migrated(name) {
        Some(driver) => is_served(name).then_some(driver),
        None => Some(name),
    }
}

/// Whether the scheduler takes the plugin's volumes for its driver's: not yet so for files of Azure and disks of vSphere.
fn is_served(plugin: &str) -> bool {
    [AWS, GCE, AZURE_DISK, CINDER, PORTWORX].contains(&plugin)
}

/// An inline volume as its driver knows it, `None` for one that does not count as a driver's; why it has no meaning.
pub(super) fn inline(volume: &Volume) -> Result<Option<Served>, String> {
    let (plugin, handle) = if let Some(own) = &volume.aws_elastic_block_store {
        (AWS, aws(&own.volume_id)?)
    } else if let Some(own) = &volume.gce_persistent_disk {
        (GCE, format!("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/{}", own.pd_name))
    } else if let Some(own) = &volume.azure_disk {
        (AZURE_DISK, azure(own)?)
    } else if let Some(own) = &volume.cinder {
        (CINDER, own.volume_id.clone())
    } else if let Some(own) = &volume.portworx_volume {
        (PORTWORX, own.volume_id.clone())
    } else {
        return Ok(None);
    };
    Ok(migrated(plugin).map(|driver| Served { driver: driver.to_owned(), volume: handle }))
}

/// The plugin of a volume, if it counts as its driver's.
fn plugin(spec: &PersistentVolumeSpec) -> Option<&'static str> {
    let all = [
        (spec.aws_elastic_block_store.is_some(), AWS),
        (spec.gce_persistent_disk.is_some(), GCE),
        (spec.azure_disk.is_some(), AZURE_DISK),
        (spec.cinder.is_some(), CINDER),
        (spec.portworx_volume.is_some(), PORTWORX),
    ];
    all.into_iter().find_map(|(has, plugin)| has.then_some(plugin))
}

/// A volume as its driver knows it, as [`inline`] says it of one without an object.
pub(super) fn persistent(volume: &PersistentVolume) -> Result<Option<Served>, String> {
    let Some(spec) = &volume.spec else { return Ok(None) };
    let (plugin, handle) = if let Some(own) = &spec.aws_elastic_block_store {
        (AWS, aws(&own.volume_id)?)
    } else if let Some(own) = &spec.gce_persistent_disk {
        (GCE, gce(volume, &own.pd_name)?)
    } else if let Some(own) = &spec.azure_disk {
        (AZURE_DISK, azure(own)?)
    } else if let Some(own) = &spec.cinder {
        (CINDER, own.volume_id.clone())
    } else if let Some(own) = &spec.portworx_volume {
        (PORTWORX, own.volume_id.clone())
    } else {
        return Ok(None);
    };
    Ok(migrated(plugin).map(|driver| Served { driver: driver.to_owned(), volume: handle }))
}

/// The id of a volume that may be given as `aws://ZONE/ID`.
fn aws(id: &str) -> Result<String, String> {
    let Some(rest) = id.strip_prefix("aws://") else { return Ok(id.to_owned()) };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let own = path.split_once('/').map_or("", |(_, path)| path).trim_matches('/');
    if own.starts_with("vol-") && !own.contains('/') {
        return Ok(own.to_owned());
    }
    Err(format!(
        "failed to translate Kubernetes ID to EBS Volume ID Invalid format for AWS volume ({id})"
    ))
}

fn azure(disk: &AzureDiskVolumeSource) -> Result<String, String> {
    match &disk.kind {
        Some(kind) if !kind.eq_ignore_ascii_case("Managed") => {
            Err(format!("kind({kind}) is not supported in csi migration"))
        }
        _ => Ok(disk.disk_uri.clone()),
    }
}

/// A disk of a zone, of the region of several, or of one that is not known.
fn gce(volume: &PersistentVolume, disk: &str) -> Result<String, String> {
    let labels = volume.metadata.labels.as_ref();
    let label = |key: &str| {
        labels.and_then(|own| own.get(key)).map(String::as_str).filter(|own| !own.is_empty())
    };
    let zones: Vec<_> = label(topology::OLD_ZONE)
        .or_else(|| label(topology::ZONE))
        .map(|own| own.split("__").collect())
        .unwrap_or_default();
    match zones[..] {
        [] => Ok(format!("projects/UNSPECIFIED/zones/UNSPECIFIED/disks/{disk}")),
        [zone] => Ok(format!("projects/UNSPECIFIED/zones/{zone}/disks/{disk}")),
        _ => {
            let region = topology::region(&zones)
                .map_err(|why| format!("failed to get region from zones: {why}"))?;
            Ok(format!("projects/UNSPECIFIED/regions/{region}/disks/{disk}"))
        }
    }
}

/// Whether a node's drivers serve the volumes of a plugin.
fn names(node: &CSINode, plugin: &str) -> bool {
    let all = annotation(&node.metadata, MIGRATED_PLUGINS).unwrap_or_default();
    all.split(',').any(|own| own == plugin)
}

/// Whether a volume can be used on a node: where the node's driver serves what was in the tree, by the driver's labels of
/// the node.
///
/// # Errors
/// Why the volume has no meaning to the driver.
pub(super) fn fits_node(
    objects: &ClusterObjects,
    volume: &PersistentVolume,
    node: &Node,
) -> Result<bool, String> {
    let Some(plugin) = volume.spec.as_ref().and_then(plugin) else {
        return Ok(storage::fits_node(volume, node));
    };
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if objects.csi_nodes.find("", name).is_none_or(|own| !names(&own, plugin)) {
        return Ok(storage::fits_node(volume, node));
    }
    persistent(volume).map_err(|why| format!("could not translate pv: {why}"))?;
    let key = match plugin {
        AWS => "topology.ebs.csi.aws.com/zone",
        GCE => "topology.gke.io/zone",
        CINDER => "topology.cinder.csi.openstack.org/zone",
        // Their drivers keep the volume's own words.
        _ => return Ok(storage::fits_node(volume, node)),
    };
    Ok(storage::fits_node(&topology::translated(volume, key), node))
}

/// Whether a volume can be used on every node: it says nothing of nodes, and no node's driver could serve it in another way.
pub(super) fn fits_every_node(objects: &ClusterObjects, volume: &PersistentVolume) -> bool {
    let spec = volume.spec.as_ref();
    spec.is_none_or(|own| own.node_affinity.is_none())
        && (spec.and_then(plugin).is_none() || objects.csi_nodes.all().is_empty())
}

#[cfg(test)]
mod tests;
