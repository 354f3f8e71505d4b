use super::super::{
    in_tree::{self, Served},
    volumes::{check_owner, claim_class, claim_name, find_claim, key, volume_name},
};
use crate::{NodeInfo, PodInfo, objects::ClusterObjects};
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kubeplane_workload::storage::migrated;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Volumes by driver and handle, and whether all that says so is in-tree: such volumes count only where the node has a
/// CSINode.
pub(super) type Volumes = BTreeMap<Served, bool>;

/// The volumes attached to each node, whether a pod known here uses them or not.
pub(super) type Attached = HashMap<String, BTreeSet<Served>>;

/// The volumes of a pod.
#[derive(Debug, Default)]
pub(super) struct Counted {
    pub(super) volumes: Volumes,
    /// Why an inline volume means nothing to its driver; of importance where the node has a CSINode.
    pub(super) meaningless: Option<String>,
}

impl Counted {
    pub(super) fn is_empty(&self) -> bool {
        self.volumes.is_empty() && self.meaningless.is_none()
    }

    fn add(&mut self, volume: Served, in_tree: bool) {
        self.volumes.entry(volume).and_modify(|own| *own &= in_tree).or_insert(in_tree);
    }

    /// Counts an inline volume of a former in-tree plugin.
    fn add_inline(&mut self, name: &str, found: Result<Option<Served>, String>) {
        match found {
            Ok(Some(served)) => self.add(served, true),
            Ok(None) => {}
            Err(why) => {
                let why = format!("converting volume({name}) from inline to csi: {why}");
                self.meaningless.get_or_insert(why);
            }
        }
    }
}

/// Why the volumes of a pod cannot be counted.
#[derive(Debug)]
pub(super) enum Uncounted {
    /// A claim is missing.
    NoClaim(String),
    /// Something is wrong with one.
    Failed(String),
}

/// The driver and handle of a claim's volume, and whether it was in the tree; one that is yet to be made is named by its
/// claim.
fn volume_of(objects: &ClusterObjects, claim: &PersistentVolumeClaim) -> Option<(Served, bool)> {
    let named = |own: &Served| !own.driver.is_empty() && !own.volume.is_empty();
    if let Some(volume) = volume_name(claim).and_then(|name| objects.volumes.find("", name)) {
        if let Some(own) = &volume.spec.as_ref()?.csi {
            let (driver, handle) = (own.driver.clone(), own.volume_handle.clone());
            return Some((Served { driver, volume: handle }, false)).filter(|(own, _)| named(own));
        }
        let served = in_tree::persistent(&volume).ok()??;
        return Some((served, true)).filter(|(own, _)| named(own));
    }
    let class = objects.classes.find("", claim_class(claim))?;
    let driver = in_tree::provisioner(&class.provisioner).filter(|own| !own.is_empty())?;
    let volume = format!("\0{}", key(&claim.metadata));
    let served = Served { driver: driver.to_owned(), volume };
    Some((served, migrated(&class.provisioner).is_some()))
}

/// Adds the volumes of a pod; a missing claim is left out unless the pod is the one that is to be placed.
fn collect(
    objects: &ClusterObjects,
    pod: &PodInfo,
    strict: bool,
    counted: &mut Counted,
) -> Result<(), Uncounted> {
    for volume in pod.spec().volumes.iter().flatten() {
        let Some(name) = claim_name(pod, volume) else {
            counted.add_inline(&volume.name, in_tree::inline(volume));
            continue;
        };
        if name.name.is_empty() {
            return Err(Uncounted::Failed("PersistentVolumeClaim had no name".to_owned()));
        }
        let claim = match find_claim(objects, pod.namespace(), &name.name) {
            Ok(claim) => claim,
            Err(why) if strict => {
                let own = format!("{}/{}", pod.namespace(), name.name);
                return Err(Uncounted::NoClaim(format!("looking up PVC {own}: {why}")));
            }
            Err(_) => continue,
        };
        if name.ephemeral {
            check_owner(pod, &claim).map_err(Uncounted::Failed)?;
        }
        if let Some((served, in_tree)) = volume_of(objects, &claim) {
            counted.add(served, in_tree);
        }
    }
    Ok(())
}

/// What a pod that is to be placed brings.
pub(super) fn wanted(objects: &ClusterObjects, pod: &PodInfo) -> Result<Counted, Uncounted> {
    let mut counted = Counted::default();
    collect(objects, pod, true, &mut counted)?;
    Ok(counted)
}

/// What the pods on a node that has a CSINode use.
pub(super) fn on_node(objects: &ClusterObjects, node: &NodeInfo) -> Result<Volumes, String> {
    let mut counted = Counted::default();
    for pod in node.pods() {
        collect(objects, pod, false, &mut counted).map_err(|own| match own {
            Uncounted::NoClaim(why) | Uncounted::Failed(why) => why,
        })?;
    }
    match counted.meaningless {
        Some(why) => Err(why),
        None => Ok(counted.volumes),
    }
}

pub(super) fn attached(objects: &ClusterObjects) -> Attached {
    let mut nodes = Attached::new();
    for own in objects.attachments.all() {
        let spec = &own.spec;
        let name = spec.source.persistent_volume_name.as_deref();
        let volume = name.and_then(|name| objects.volumes.find("", name));
        let source = volume.as_ref().and_then(|own| own.spec.as_ref()?.csi.as_ref());
        if let Some(source) = source
            && !spec.attacher.is_empty()
        {
            let served =
                Served { driver: spec.attacher.clone(), volume: source.volume_handle.clone() };
            nodes.entry(spec.node_name.clone()).or_default().insert(served);
        }
    }
    nodes
}
